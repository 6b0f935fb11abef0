"""What a probe is, and what it gives."""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from kdbias.data.arrays import read_arrays
from kdbias.files import replacing, write_text

if TYPE_CHECKING:  # a figure is drawn from a Result without loading any network
    from torch import Tensor

    from kdbias.batch import Batch
    from kdbias.models.features import Extractor, Features, NetworkInfo

REFUSED = "refused"
"""Key of a Result's meta: why there is nothing in it."""


@dataclass(frozen=True)
class Result:
    """What a probe measured: numbers to log, arrays to draw, and how they came about.

    ``scalars`` are plain floats, ``arrays`` anything that a figure needs, ``meta`` plain JSON types: always ``n``,
    the number of images.
    """

    name: str
    scalars: dict[str, float]
    arrays: dict[str, npt.NDArray[Any]] = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=dict)

    @property
    def refused(self) -> str:
        """Why nothing was measured; empty if something was."""
        return str(self.meta.get(REFUSED, ""))

    def save(self, folder: str | Path) -> Path:
        """Write ``<name>.npz`` and, last, ``<name>.json`` into ``folder``, each at once; give the path of the
        latter.
        """
        folder = Path(folder)
        scalars = {k: v if math.isfinite(v) else repr(v) for k, v in self.scalars.items()}
        text = json.dumps({"name": self.name, "scalars": scalars, "meta": self.meta}, indent=1, allow_nan=False)
        path = folder / f"{self.name}.json"
        with replacing(folder / f"{self.name}.npz") as file:
            np.savez_compressed(file, **self.arrays)  # type: ignore[arg-type]
        write_text(path, text + "\n")
        return path

    @classmethod
    def load(cls, folder: str | Path, name: str) -> Result:
        """Read what ``save`` wrote.

        Raises:
            FileNotFoundError, OSError: a file is not there, or cannot be opened.
            ValueError: a file is damaged, or none of a Result.
        """
        folder = Path(folder)
        own, scalars, meta = _plain(folder / f"{name}.json")
        found = read_arrays(folder / f"{name}.npz")
        # older files say picture where newer ones say image
        arrays = {"image" if k == "picture" else k: value for k, value in found.items()}
        return cls(own, scalars, arrays, meta)


def _plain(path: Path) -> tuple[str, dict[str, float], dict[str, Any]]:
    """The name, the scalars and the meta in a Result's JSON; of the types that they must have."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is cut short or damaged ({error}): make it again") from error
    parts = (("name", str), ("scalars", dict), ("meta", dict))
    if not isinstance(found, dict) or not all(isinstance(found.get(key), kind) for key, kind in parts):
        raise ValueError(f"{path} is no Result: it must hold a name, scalars and meta")
    scalars: dict[str, float] = {}
    for key, value in found["scalars"].items():
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError(f"{path} is no Result: its scalar {key} is {value!r:.60}")
        try:
            scalars[key] = float(value)  # nan and inf are texts, which JSON has no numbers for
        except (ValueError, OverflowError) as error:
            raise ValueError(f"{path} is no Result: its scalar {key} is {str(value)[:60]!r}") from error
    return found["name"], scalars, found["meta"]


class Probe(ABC):
    """A function of a network and batches of images; it leaves the network as it was.

    ``judges_answers`` says that the network's own answers are compared with labels; images of classes that it was not
    trained on are then misjudged. ``least`` is the smallest number of images. A probe whose numbers come from a pass
    over plain images is a ``kdbias.probes.observe.PassProbe``.
    """

    judges_answers: ClassVar[bool] = True
    least: ClassVar[int] = 1

    def refuses(self, network: Extractor) -> str:
        """Say why it is not defined for ``network``, reading only shapes; empty if it is defined."""
        return ""

    @abstractmethod
    def __call__(self, network: Extractor, batches: Iterable[Batch]) -> Result:
        """Measure ``network`` on ``batches``.

        Raises:
            ValueError: it is not defined for this network or for these images.
        """


def refused(name: str, reason: str) -> Result:
    """Make the Result of a probe that could not measure, with the reason."""
    return Result(name, {}, {}, {"n": 0, REFUSED: reason})


class Reader(Protocol):
    """A network that only answers: an ``Extractor`` or a ``Teacher``."""

    @property
    def info(self) -> NetworkInfo:
        """Give what is known of the layers that are read."""
        ...

    def __call__(self, image: Tensor) -> Features:
        """Read images ``(B, C, H, W)`` in [0, 1]."""
        ...
