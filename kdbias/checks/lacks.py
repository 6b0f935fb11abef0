"""What keeps the teacher of a config from giving what a term or a module reads of it."""

from __future__ import annotations

from timm.models import get_pretrained_cfg

from kdbias.checks.plan import Plan
from kdbias.losses.base import logits_lack
from kdbias.models.features import Extractor


def teacher_lack(run: Plan, teacher: Extractor, need: str) -> str:
    """Say what keeps the teacher from giving what a term needs, and the remedy; empty if nothing does."""
    info, name = teacher.info, run.tree["teacher"]["name"]
    if need in ("logits", "dense"):
        if info.classes is not None and _untrained_classifier(run):
            text = "has a fresh classifier that nothing trains: choose timm_trained, or give teacher.weights=PATH"
            return f"{name} {text}"
        if lack := logits_lack(name, info.classes, run.data.classes if run.data else info.classes):
            return lack
    if need == "dense" and info.layers[-1].grid == (1, 1):
        return f"{name} ends in a map of 1x1 at {teacher.size} px: choose one with a larger last map, or a larger input"
    if need == "qkv" and not info.attends:
        return f"{name} has no attention: choose a vision transformer"
    reason = teacher.lack(need)
    return f"{name} cannot ({reason}): choose another teacher" if reason else ""


def _untrained_classifier(run: Plan) -> bool:
    """Whether the teacher is timm's network with a new, untrained classifier for the data's classes."""
    teacher = run.tree["teacher"]
    model = teacher.get("model") or {}
    used = teacher.get("weights") is None and teacher.get("recipe") is None and model.get("classes") == "data"
    if not used or run.data is None or (run.control is not None and run.control.own_weights):
        return False
    known = get_pretrained_cfg(str(model.get("name"))) if model.get("pretrained") else None
    own = known is not None and model.get("weights") is None and known.num_classes == run.data.classes
    return not own and bool(model.get("pretrained") or model.get("weights"))
