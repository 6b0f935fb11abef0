"""Notices of other packages that nobody who trains with this package can act on; each is named by its words and place.

Warnings about the run itself stay, and so do all that are not listed here.
"""

from __future__ import annotations

import logging
import warnings

NOTICES: tuple[tuple[str, str], ...] = (
    # loggers and checkpoints of a resumed run go on in their folder
    (r".*exists and is not empty", r"lightning\."),
    (r".*LeafSpec", ""),
    # a frozen trunk is in eval mode on purpose
    (r"Found .* in eval mode", ""),
    # the loaders read from memory, and workers are this package's own: loader.num_workers says how many
    (r".*does not have many workers which may be a bottleneck", r"lightning\."),
    (r"This DataLoader will create \d+ worker processes", r"torch\.utils\.data"),
    (r"'pin_memory' argument is set as true but no accelerator", r"torch\.utils\.data"),
    # the last step of an epoch is logged whatever the interval
    (r"The number of training batches .* is smaller than the logging interval", r"lightning\."),
    # a trainer and its plugins are chosen by this package
    (r"GPU available but not used", r"lightning\."),
    (r"Detected call of `lr_scheduler\.step\(\)` before `optimizer\.step\(\)`", r"torch\.optim\.lr_scheduler"),
    (r"The epoch parameter in `scheduler\.step\(\)` was not necessary", r"torch\.optim\.lr_scheduler"),
    (r"You are resuming from a checkpoint that ended before the epoch ended", r"lightning\."),
    (r"barrier\(\): using the device under current context", r"torch\.distributed"),
    # the accuracy is a torchmetrics metric, which is summed over the processes anyway
    (r"It is recommended to use `self\.log\(.*accuracy.*sync_dist=True", r"lightning\."),
    (r"No device id is provided via `init_process_group`", r"torch\.distributed"),
)


def quiet() -> None:
    """Hide ``NOTICES`` and Lightning's notices of devices, tips and so on; keep its warnings about the run."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message, module in NOTICES:
        warnings.filterwarnings("ignore", message=message, module=module)
