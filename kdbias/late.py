"""Imports that other packages make at their own start and hardly any run needs, put off until something uses them.

torchvision, timm and Lightning import torch's compiler for one class, one question and one decorator; torch itself
imports it at the first call of some functions, for another such decorator. The class is asked for where a module is
compiled, the question in ``roi_align``; the decorators keep a compiler from a function, so without one they have no
effect. timm also imports the hub that has its weights. Lightning also imports torch's counter of operations, which
imports triton, and torchmetrics, which imports ``scipy.signal``, to add an old name to it for an audio package, and
matplotlib, for the types and the style of ``Metric.plot``. Together these are a third of the time of all imports.

Within ``put_off()`` these import statements, each named by the module that it is in, get a stand-in. It answers the few
names that are read at that time, by objects that import the real module when they are called. Any other name is the
real module's, which is then imported at once. ``sys.modules`` holds real modules alone, and every other import
statement is as ever. So where another version of a package imports in another way, it is imported as without this file.
"""

from __future__ import annotations

import builtins
import gc
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial, wraps
from importlib import import_module
from threading import RLock
from types import ModuleType, SimpleNamespace
from typing import Any, cast

Import = Callable[..., ModuleType]

DECORATES = frozenset(
    {
        "lightning.pytorch.trainer.connectors.logger_connector.result",
        "timm.layers.typing",
        "torchvision.tv_tensors",
    }
)
"""Modules that read ``torch.compiler.disable`` while they are imported: they or their neighbours call it then."""

HUB = ("HfApi", "hf_hub_download", "model_info")
"""What timm calls of the hub, for weights that it downloads and for models that somebody uploads."""


class StandIn(ModuleType):
    """Stands for a module: ``given`` are the names that it answers itself, while it is open."""

    def __init__(self, name: str, given: Mapping[str, Any]) -> None:
        super().__init__(name, "A stand-in: see kdbias.late.")
        self.__dict__["_given"] = dict(given)

    def close(self) -> None:
        """Let every name be the real module's from now on."""
        self.__dict__["_given"] = {}

    def __getattr__(self, name: str) -> Any:
        given = self.__dict__["_given"]
        return given[name] if name in given else getattr(import_module(self.__name__), name)


class OptimizedModule:
    """Stands for ``torch._dynamo.OptimizedModule``: nothing is one before torch's compiler is imported."""

    @staticmethod
    def _real() -> Any:
        return import_module("torch._dynamo").OptimizedModule

    def __instancecheck__(self, thing: object) -> bool:
        return "torch._dynamo" in sys.modules and isinstance(thing, self._real())

    def __subclasscheck__(self, kind: type) -> bool:
        return "torch._dynamo" in sys.modules and issubclass(kind, self._real())

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[type]:
        return (self._real(),)

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Make one."""
        return self._real()(*args, **options)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # ``typing`` looks for marks of its own on whatever an annotation names
            raise AttributeError(name)
        return getattr(self._real(), name)


_ONE = RLock()  # two threads that took turns in putting their import statements back would leave one of them


@contextmanager
def importing(statement: Callable[..., ModuleType]) -> Iterator[None]:
    """Have ``statement`` do the imports of this block; other threads wait before theirs."""
    with _ONE:
        before = builtins.__import__
        builtins.__import__ = partial(statement, before)
        try:
            yield
        finally:
            builtins.__import__ = before


@contextmanager
def uncollected() -> Iterator[None]:
    """Import in this block without garbage collection, which would walk through all that is loaded, again and again.

    What exists at the end is left out of later collections (``gc.freeze``): it is loaded to stay. Garbage that was
    there already stays as well, so this is for the start of a command.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if collects:
            gc.enable()


@contextmanager
def put_off() -> Iterator[None]:
    """Import in this block without the modules of ``_statements()`` that are not loaded already.

    The imports are ``uncollected``.
    """
    statements = _statements()
    kept: dict[str, Any] = {}

    def statement(
        real: Import, name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0
    ) -> ModuleType:
        stand_in = statements.get((globals.get("__name__", "") if globals else "", name))
        if stand_in is not None and level == 0 and name not in sys.modules:
            return stand_in
        if name == "torch" and globals and globals.get("__name__") in DECORATES:
            from torch import compiler

            kept.setdefault("disable", compiler.disable)
            compiler.disable = once_loaded(kept["disable"])
        return real(name, globals, locals, fromlist, level)

    try:
        with uncollected(), importing(statement):
            yield
    finally:
        if kept:
            sys.modules["torch.compiler"].disable = kept["disable"]  # type: ignore[attr-defined]
        for each in statements.values():
            each.close()


def eagerly() -> AbstractContextManager[None]:
    """Run compiled modules eagerly in a block; where torch's compiler is not loaded, none is compiled."""
    if "torch._dynamo" not in sys.modules:
        return nullcontext()
    from torch import compiler

    return cast("AbstractContextManager[None]", compiler.set_stance("force_eager"))


def once_loaded(keep: Callable[..., Any]) -> Callable[..., Any]:
    """Give ``keep``, a decorator that keeps torch's compiler from a function, without effect until one is loaded."""

    def decorator(function: Callable[..., Any] | None = None, *args: Any, **options: Any) -> Any:
        if function is None:
            return partial(decorator, *args, **options)
        made: list[Callable[..., Any]] = []

        @wraps(function)
        def call(*of: Any, **named: Any) -> Any:
            if "torch._dynamo" not in sys.modules:
                return function(*of, **named)
            if not made:
                made.append(keep(function, *args, **options))
            return made[0](*of, **named)

        return call

    return decorator


def _statements() -> dict[tuple[str, str], StandIn]:
    """Give what an import statement gets: by the module that it is in, and by the module that it names."""
    compiler = StandIn("torch._dynamo", {"OptimizedModule": OptimizedModule()})
    keeping = StandIn("torch._compile", {"_disable_dynamo": once_loaded(_disable_dynamo)})
    question = StandIn("torch._dynamo.utils", {"is_compile_supported": _is_compile_supported})
    hub = StandIn("huggingface_hub", {name: partial(_of_hub, name) for name in HUB})
    flops = StandIn("torch.utils.flop_counter", {"FlopCounterMode": _flop_counter})
    scipy = StandIn("scipy", {"signal": SimpleNamespace(hamming=_hamming)})
    pyplot = StandIn("matplotlib.pyplot", {"Figure": Any, "style": SimpleNamespace(context=_style)})
    axes, colors = SimpleNamespace(Axes=Any), SimpleNamespace(Colormap=Any)
    matplotlib = StandIn("matplotlib", {"axes": axes, "colors": colors, "pyplot": pyplot})
    return {
        ("torch", "torch._compile"): keeping,
        ("lightning.fabric.wrappers", "torch._dynamo"): compiler,
        ("lightning.pytorch.utilities.compile", "torch._dynamo"): compiler,
        ("lightning.pytorch.utilities.model_summary.model_summary", "torch.utils.flop_counter"): flops,
        ("timm.models._hub", "huggingface_hub"): hub,
        ("torchvision.ops.roi_align", "torch._dynamo.utils"): question,
        ("torchmetrics", "scipy.signal"): scipy,
        ("torchmetrics.audio", "scipy.signal"): scipy,
        ("torchmetrics.functional.audio", "scipy.signal"): scipy,
        ("torchmetrics.utilities.plot", "matplotlib"): matplotlib,
        ("torchmetrics.utilities.plot", "matplotlib.axes"): matplotlib,
        ("torchmetrics.utilities.plot", "matplotlib.pyplot"): matplotlib,
    }


def _disable_dynamo(*args: Any, **options: Any) -> Any:
    from torch._compile import _disable_dynamo

    return _disable_dynamo(*args, **options)


def _flop_counter(*args: Any, **options: Any) -> Any:
    from torch.utils.flop_counter import FlopCounterMode

    return FlopCounterMode(*args, **options)


def _of_hub(name: str, *args: Any, **options: Any) -> Any:
    return getattr(import_module("huggingface_hub"), name)(*args, **options)


def _is_compile_supported(device_type: str) -> bool:
    from torch._dynamo.utils import is_compile_supported

    return bool(is_compile_supported(device_type))


def _hamming(*args: Any, **options: Any) -> Any:
    from scipy.signal.windows import hamming

    return hamming(*args, **options)


@contextmanager
def _style(*args: Any, **options: Any) -> Iterator[None]:
    from matplotlib import pyplot

    with pyplot.style.context(*args, **options):
        yield
