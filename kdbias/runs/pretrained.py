"""``pretrained: auto`` is decided once, before a config is hashed: true where timm's weights can be had, else false."""

from __future__ import annotations

from importlib import import_module

from omegaconf import DictConfig, OmegaConf

from kdbias.config.build import target
from kdbias.config.control import teacher_use
from kdbias.config.spec import plain

# The networks that may start from timm's weights, and the files that are taken instead.
FILES = {"model": ("model.weights",), "teacher.model": ("teacher.model.weights", "teacher.weights")}
KEYS = (*(f"{network}.pretrained" for network in FILES), "teacher.pretrained")


def settled(cfg: DictConfig) -> tuple[DictConfig, list[str]]:
    """Give a config without ``auto``, and what was decided as overrides for the command line of another process.

    So a run from scratch and one from ImageNet's weights are two runs, and say which they are. Weights that can be had
    lie in timm's cache afterwards; where they cannot be had, one warning says so. Nothing is looked for, and ``cfg``
    itself comes back, where no network is to start from timm's weights if they can be had.

    Raises:
        ValueError: timm has no such network, or no weights for it.
    """
    found = _decisions(cfg)
    return _with(cfg, found), [f"++{key}={str(value).lower()}" for key, value in found.items()]


def as_saved(cfg: DictConfig, saved: DictConfig) -> DictConfig:
    """Give a config in which ``auto`` is what an earlier run decided; ``cfg`` itself where nothing is ``auto``."""
    known = {key: OmegaConf.select(saved, key) for key in KEYS if OmegaConf.select(cfg, key) == "auto"}
    return _with(cfg, {key: value for key, value in known.items() if value is not None})


def _decisions(cfg: DictConfig) -> dict[str, bool]:
    found: dict[str, bool] = {}
    for network, files in FILES.items():
        if OmegaConf.select(cfg, f"{network}.pretrained") != "auto":
            continue
        if any(OmegaConf.select(cfg, file) is not None for file in files):
            continue
        if network == "teacher.model" and _unused_teacher(cfg):
            continue
        name = _timm_name(OmegaConf.select(cfg, network))
        if name is not None:
            from kdbias.models.pretrained import obtainable  # it loads torch and timm, which a sweep can do without

            found[f"{network}.pretrained"] = obtainable(name)
    if "teacher.model.pretrained" in found and OmegaConf.select(cfg, "teacher.pretrained") == "auto":
        found["teacher.pretrained"] = found["teacher.model.pretrained"]
    return found


def _unused_teacher(cfg: DictConfig) -> bool:
    use = teacher_use(cfg)
    return not (use.uses_teacher and use.uses_teacher_weights)


def _timm_name(network: DictConfig) -> str | None:
    """Give timm's name of a network: its spec's, or ``NAME`` beside a builder of that network alone; None without."""
    name = network.get("name")
    return (
        str(name)
        if name is not None
        else getattr(import_module(target(plain(network), "model").__module__), "NAME", None)
    )


def _with(cfg: DictConfig, values: dict[str, bool]) -> DictConfig:
    if not values:
        return cfg
    changed = cfg.copy()
    for key, value in values.items():
        OmegaConf.update(changed, key, value)
    return changed
