"""Whether the labels of the images are the classes that a run's answers stand for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_type_hints

from kdbias.analysis.networks import Subject
from kdbias.analysis.probe_configs import shipped
from kdbias.batch import DataInfo
from kdbias.config.build import target
from kdbias.config.errors import ConfigError


def judges_answers(node: Mapping[str, Any]) -> bool:
    """Whether a probe compares a network's own answers with labels; a probe that does not say is taken to do so."""
    builder = target(node, "probe")
    kind = builder if isinstance(builder, type) else get_type_hints(builder).get("return")
    return bool(getattr(kind, "judges_answers", True))


def free() -> list[str]:
    """Name the probes of ``conf/probe`` that are equally meaningful on images of any classes."""
    return [name for name, node in shipped().items() if not judges_answers(node)]


def check_classes(found: Sequence[Subject], nodes: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse runs on data of other classes than they were trained on, if a probe compares answers with labels.

    Raises:
        ConfigError: a run and its images differ in their classes, or in the order of these, and a probe is not free
            of them.
    """
    bound = [name for name, node in nodes.items() if judges_answers(node)]
    for subject in found if bound else ():
        if not subject.spec or (subject.spec.get("model") or {}).get("classes", "data") is None:
            continue  # no run, or one without a classifier, of which such probes are left out anyway
        unlike = difference(DataInfo.from_dict(subject.spec["data"]), subject.data.info)
        if unlike:
            raise ConfigError(
                f"data: {subject.name} {unlike}; {', '.join(bound)} would hold its answers against labels that mean "
                "something else: leave data out (a run brings its own), choose data of its classes, or ask by "
                f"task=probe only for what needs none, probe=[{','.join(free())}]"
            )


def difference(own: DataInfo, shown: DataInfo) -> str:
    """Say how the classes of a run's data differ from those of the data shown; empty if they do not.

    Classes are compared by name and place; data without names, by their number alone.
    """
    if own.classes != shown.classes:
        return f"was trained on {_listed(own)}, and the data has {_listed(shown)}"
    names = zip(own.names, shown.names, strict=False)  # data without names have none to compare
    for place, (name, other) in enumerate(names):
        if name != other:
            return f"was trained on {_listed(own)}, and class {place} of the data is {other!r}, not {name!r}"
    return ""


def _listed(info: DataInfo) -> str:
    names = ", ".join(info.names[:3]) + (", ..." if len(info.names) > 3 else "")
    return f"{info.classes} classes" + (f" ({names})" if names else "")
