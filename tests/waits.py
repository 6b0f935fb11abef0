"""Where code waits for the device: calls that hand a tensor's values, or their number, to Python.

On a GPU each of them stops the host until all queued work is done. On the CPU they show among the operations, so the
loop can be tested without a GPU.
"""

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import kdbias

aten = torch.ops.aten
VALUES = {
    aten._local_scalar_dense, aten.item, aten.is_nonzero, aten.equal, aten.nonzero, aten.masked_select, aten._unique,
    aten._unique2, aten.unique_dim, aten.unique_consecutive, aten.bincount, aten.histc,
}  # fmt: skip
INDEXED = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_}
READ = {torch.Tensor.tolist, torch.Tensor.cpu, torch.Tensor.numpy, torch.Tensor.__array__, torch.Tensor.__contains__}
MADE = {torch.tensor, torch.as_tensor, torch.asarray}  # from values of Python: with a device, a copy that waits
HOME, TORCH = (Path(package.__file__).parent for package in (kdbias, torch))


class _Operations(TorchDispatchMode):
    def __init__(self, note: Callable[[str], None]) -> None:
        super().__init__()
        self.note = note

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        packet = func.overloadpacket
        masks = packet in INDEXED and any(x is not None and x.dtype in (torch.bool, torch.uint8) for x in args[1])
        if packet in VALUES or masks or func is aten.repeat_interleave.Tensor:
            self.note(f"{packet.__name__}")
        return func(*args, **(kwargs or {}))


class _Functions(TorchFunctionMode):
    def __init__(self, note: Callable[[str], None]) -> None:
        super().__init__()
        self.note = note

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in READ or (func in MADE and kwargs.get("device") is not None and not torch.is_tensor(args[0])):
            self.note(func.__name__)
        return func(*args, **kwargs)


@contextmanager
def noted() -> Iterator[list[str]]:
    """Give a list that holds afterwards what waited in the block: ``file:function: operation``, a line for each call.

    The place is the innermost one of the package, or the innermost outside of torch. Other threads do not count.
    """
    found: list[str] = []

    def note(operation: str) -> None:
        frames = [f for f in traceback.extract_stack()[:-2] if f.filename != __file__]
        frames = [f for f in frames if not Path(f.filename).is_relative_to(TORCH)]
        own = [f for f in frames if Path(f.filename).is_relative_to(HOME)] or frames
        found.append(f"{Path(own[-1].filename).name}:{own[-1].name}: {operation}")

    with _Functions(note), _Operations(note):
        yield found


@contextmanager
def first_batch_noted() -> Iterator[list[str]]:
    """Give a list that holds afterwards what waited in the first batch of each fit, data and callbacks included."""
    found: list[str] = []
    advance = _TrainingEpochLoop.advance

    def watched(self: _TrainingEpochLoop, *args: object) -> None:
        if self.batch_progress.current.ready or self.trainer.current_epoch:
            advance(self, *args)
            return
        with noted() as waits:
            advance(self, *args)
        found.extend(waits)

    _TrainingEpochLoop.advance = watched
    try:
        yield found
    finally:
        _TrainingEpochLoop.advance = advance
