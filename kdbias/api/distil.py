"""``kdbias.distil``: what ``python train.py`` does, as a function."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from os import PathLike
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from kdbias.api.run import Run
from kdbias.api.session import kept, own_hydra, running
from kdbias.api.words import command, taught_by, written
from kdbias.checks.command import require_command
from kdbias.config import conf
from kdbias.config.errors import ConfigError
from kdbias.config.spec import plain, spec_hash
from kdbias.runs import resuming, run_folder


def distil(
    data: str | Mapping[str, Any] | None = None,
    student: str | Mapping[str, Any] | None = None,
    teacher: str | PathLike[str] | Mapping[str, Any] | None = None,
    loss: str | list[str] | Mapping[str, Any] | None = None,
    *,
    folder: str | PathLike[str] | None = None,
    settings: Mapping[str, Any] | None = None,
    **named: Any,
) -> Run:
    """Train a student as ``python train.py`` with these settings does, and give its run; the weights are bit-equal.

    What is not given has the value of ``conf/train.yaml``, or of the ``experiment`` that is named.

    Args:
        data: An option of ``conf/data``, or a mapping of it to its settings: ``{"cues": {"train": 500}}``.
        student: An option of ``conf/model``, or such a mapping.
        teacher: An option of ``conf/teacher``, or such a mapping; or a run, a checkpoint or a name of the zoo.
        loss: Options of ``conf/loss``: ``["ce", "kl"]``, or ``{"ce": {}, "kl": {"temperature": 2}}``.
        folder: The run folder; one below ``paths.runs``, named by the time, if it is not given. The finished run of the
            same settings there is given as it is.
        settings: Values by their full key: ``{"loss.kl.temperature": 2}``.
        **named: Any other setting or group by its key: ``epochs=2, seed=1, trainer="cpu", experiment="exp1_kl"``.

    Raises:
        ConfigError: the settings have mistakes; the message is that of the command.
        RunStopped: training failed.
    """
    with own_hydra():
        groups = {"data": data, "model": student, "loss": loss}
        twice = next((key for key, value in groups.items() if value is not None and key in named), None)
        if twice is not None or "resume" in named:
            text = "is given twice: leave one out" if twice else "a run goes on by kdbias.Run(FOLDER).resume()"
            raise ConfigError(f"{twice or 'resume'}: {text}")
        words = [*command({**groups, **named}, None), *taught_by(teacher), *command({}, settings)]
        place = [] if folder is None else [f"hydra.run.dir={written('folder', str(folder))}"]
        require_command([*words, *place], "train")
        with running("train", words) as cfg:
            return _trained(cfg, folder)


def resumed(run: Run) -> Run:
    """Go on with a run; see ``Run.resume``."""
    with own_hydra():
        words = [f"resume={written('resume', run.folder)}"]
        require_command(words, "train")
        with running("train", words) as cfg:
            return _run(resuming.resumed(cfg, words), run.folder)


def _trained(cfg: DictConfig, folder: str | PathLike[str] | None) -> Run:
    now = f"{datetime.now():%Y-%m-%d_%H-%M-%S-%f}"
    try:
        place = Path(folder or conf.run_dir(None, str(cfg.paths.runs), cfg.name, now)).absolute()
    except ValueError as error:
        raise ConfigError(str(error)) from error
    run_folder.require_own(place)
    return _run(cfg, place)


def _run(cfg: DictConfig, place: Path) -> Run:
    """Check and train as the command does once Hydra has composed its config."""
    run_folder.note_choices(cfg)
    OmegaConf.update(cfg, "paths.run", str(place))
    _require_one_device(cfg)
    from kdbias.checks.check import require_valid
    from kdbias.runs.pretrained import settled
    from kdbias.train import train

    place.mkdir(parents=True, exist_ok=True)
    with kept(), run_folder.dropped_if_refused(place), run_folder.trained_by_this_process(place):
        require_valid(cfg)
        if not cfg.resume and (place / run_folder.CONFIG).is_file():
            if resuming.ended(place, spec_hash(settled(plain(cfg))[0])) is None:
                text = "has a run that is not finished or of other settings"
                raise ConfigError(f"folder: {place} {text}: choose another, or go on by kdbias.Run(folder).resume()")
            return Run(place)
        train(cfg)
    return Run(place)


def _require_one_device(cfg: DictConfig) -> None:
    """Refuse several processes, which would each start the notebook or script again.

    Raises:
        ConfigError: the trainer has several devices or nodes.
    """
    devices = plain(cfg).get("trainer", {}).get("devices", 1)
    one = devices in (1, "1") or (isinstance(devices, list) and len(devices) == 1)
    if not one or cfg.trainer.get("num_nodes", 1) != 1:
        raise ConfigError("trainer.devices: from Python a run has one device: use python train.py for several")
