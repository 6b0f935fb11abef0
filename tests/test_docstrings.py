"""Public functions of tensors say which shapes they take and give."""

import importlib
import inspect
import pkgutil
import re

import pytest

import kdbias.functional
import kdbias.stats

SHAPE = re.compile(r"``\([^`]*\)``|``\([^`]*\)`|\bscalar", re.DOTALL)
ARRAY = re.compile(r"\b(Tensor|NDArray|ndarray|Floats|ArrayLike)\b")


def modules():
    for package in (kdbias.functional, kdbias.stats):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            yield importlib.import_module(found.name)


def documented(module):
    """Give the public functions that the module defines, and the public methods of its public classes."""
    for name, thing in vars(module).items():
        if name.startswith("_") or getattr(thing, "__module__", None) != module.__name__:
            continue
        if inspect.isfunction(thing):
            yield f"{module.__name__}.{name}", thing, ""
        elif inspect.isclass(thing):
            for key, method in vars(thing).items():
                if inspect.isfunction(method) and not key.startswith("_"):
                    yield f"{module.__name__}.{name}.{key}", method, inspect.getdoc(thing) or ""


def of_arrays(function):
    return any(ARRAY.search(str(annotation)) for annotation in function.__annotations__.values())


CASES = {name: (function, around) for m in modules() for name, function, around in documented(m) if of_arrays(function)}


def test_functions_of_arrays_are_found():
    assert {"kdbias.functional.grid.resample_tokens", "kdbias.functional.cka.stream.StreamingCKA.compute"} <= set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_a_function_of_arrays_says_its_shapes(name):
    function, around = CASES[name]
    text = f"{inspect.getdoc(function) or ''}\n{around}"
    assert SHAPE.search(text), f"{name} takes or gives an array and names no shape, such as ``(B, C)``, nor a scalar"
