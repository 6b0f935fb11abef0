"""The problems that a probe finds before training begins: in its arguments, the student or the images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

from kdbias.checks.plan import REFUSALS, Plan, refusal
from kdbias.config.build import build, target
from kdbias.config.errors import Problem
from kdbias.data.augment import Augment
from kdbias.data.base import ImageData
from kdbias.models.teacher import Teacher
from kdbias.probes.base import Probe
from kdbias.stress.split import StressedSplit


def probe_callback(run: Plan, name: str, spec: Mapping[str, Any]) -> Iterator[Problem]:
    """Give the problems of the callback ``name``, whose node ``spec`` has a probe."""
    key, drop = f"callback.{name}", f"leave it out of callback=[...], or drop it with ~callback.{name}"
    if "_target_" not in spec["probe"]:
        yield Problem(f"{key}.probe._target_", f"is missing, so no probe is named: set it, or {drop}")
        return
    parameters = signature(target(spec["probe"], "probe")).parameters
    takes = set(parameters)
    needs = "teacher" in takes and parameters["teacher"].default is Parameter.empty
    if needs and not run.has_teacher:
        yield Problem(key, f"compares with a teacher, and the run has none: {drop}")
        return
    given = _given(run, takes - spec["probe"].keys() - ({"teacher"} if not run.has_teacher else set()))
    if given is None:
        return  # the parts of the run that it takes have problems themselves
    try:
        probe: Probe = build(spec["probe"], group="probe", **given)
    except REFUSALS as error:
        yield refusal(f"{key}.probe", error)
        return
    if run.student is not None and (reason := probe.refuses(run.student)):
        yield Problem(key, f"{reason}: {drop}")
    yield from _images(run, key, spec, probe)


def _given(run: Plan, takes: set[str]) -> dict[str, Any] | None:
    """The parts of the run that a probe takes, without weights; None if a part is not known."""
    given: dict[str, Any] = {}
    if "teacher" in takes:
        if run.teacher is None:
            return None
        given["teacher"] = Teacher(run.teacher, str(run.tree["teacher"]["name"]))
    if takes & {"source", "data", "stressed"}:
        if run.data is None:
            return None
        source = build(run.tree["data"], group="data")
        data = ImageData(source, run.augment or Augment(), batch_size=1, eval_batch_size=1)
        parts = {"source": source, "data": data, "stressed": StressedSplit(source, "val")}
        given |= {key: value for key, value in parts.items() if key in takes}
    return given


def _images(run: Plan, key: str, spec: Mapping[str, Any], probe: Probe) -> Iterator[Problem]:
    """Fewer images than the probe takes, or than there are processes."""
    least, images, known = probe.least, spec.get("images"), _validation(run.tree.get("data") or {})
    if type(images) is int and 1 <= images < least:
        yield Problem(
            f"{key}.images", f"{images} are fewer than the {least} that it takes: raise it (probe_images is for all)"
        )
    elif known is not None and known < least:
        yield Problem("data.val", f"{known} images are fewer than the {least} that {key} takes: raise it")
    if known is not None and run.processes and known < run.processes:
        yield Problem("data.val", f"{known} images for {run.processes} processes, all of which {key} needs: raise it")


def _validation(data: Mapping[str, Any]) -> int | None:
    """The number of validation images; None if it is not known, or is a problem itself."""
    count, root = data.get("val"), data.get("root")
    if type(count) is not int or count < 1:
        return None
    own = root is not None and all((Path(str(root)) / part).is_dir() for part in ("val", "test"))
    return None if own else count  # a folder that has both splits does not read data.val
