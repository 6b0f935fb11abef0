"""``kdbias.transfer``: how much of a bias a student took over, from what ``probe=bias`` found."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdbias.api.results import Results
from kdbias.config.errors import ConfigError

if TYPE_CHECKING:
    from kdbias.report.table import Table

PROBE = "bias"


def transfer(student: Results, control: Results, teacher: Results) -> Table:
    """Give a table of what a student keeps under stress, beside its control and its teacher: difference and index.

    Each is what ``kdbias.probe(network, images, "bias")`` gave, on the same images. The intervals are over images, of
    these three networks; for several seeds, ``python analyze.py task=report probe=[bias]`` writes the page.

    Raises:
        ConfigError: the probe is not among them, or their images differ.
    """
    from kdbias.report.bias_networks import transfer_table

    named = {"student": student, "control": control, "teacher": teacher}
    for name, found in named.items():
        if PROBE not in found:
            raise ConfigError(f'{name}: has no Result of the probe {PROBE}: kdbias.probe(network, images, "bias")')
    try:
        return transfer_table(*(found[PROBE] for found in named.values()))
    except ValueError as error:
        raise ConfigError(str(error)) from error
