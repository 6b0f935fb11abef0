"""Weights & Biases: ``logger=[tensorboard,csv,wandb]``. Offline by default: files in ``<run>/wandb``, sent by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from kdbias.config.build import builder
from kdbias.config.spec import Tree
from kdbias.modules import events
from kdbias.modules.tracked import Tracked

LONGEST_TAG = 64  # characters


@builder("logger")
def wandb(run: str, project: str = "kdbias", entity: str | None = None, mode: str = "offline") -> Tracked:
    """Give the logger of Weights & Biases.

    Args:
        run: The run folder.
        project: The project of the run.
        entity: The user or team; None for the one that is logged in.
        mode: ``offline`` (files in ``<run>/wandb``, for ``wandb sync``), ``online``, or ``disabled``.
    """
    return WandbTracked(run, project, entity, mode)


class WandbTracked(Tracked):
    """A run of Weights & Biases; runs of one name (seeds, jobs of a sweep) are a group."""

    service = "wandb"

    def __init__(self, run: str, project: str, entity: str | None, mode: str) -> None:
        super().__init__(run)
        self.project, self.entity, self.mode = project, entity, mode
        self._session: Any = None

    def open(self, tree: Tree, known: str | None) -> str:
        """Open a run beside any other that the process may have."""
        import wandb as client

        given = events.hyper_parameters(tree)
        identity = known or uuid4().hex[:12]
        self._session = client.init(
            project=self.project,
            entity=self.entity,
            mode=self.mode,
            dir=self.save_dir,
            id=identity,
            resume="allow",
            reinit="create_new",
            name=events.title(given, self.run.name),
            group=str(given["name"]),
            tags=[f"{key}: {value}"[:LONGEST_TAG] for key, value in events.tags(given).items()],
            config={**given, "config": dict(tree)},
            settings=client.Settings(console="off", silent=True, symlink=False),  # lines of the run go to its own log
        )
        self._session.define_metric("step")
        self._session.define_metric("*", step_metric="step")
        return identity

    def write(self, numbers: Mapping[str, float], step: int) -> None:
        """Write numbers with their step as one of them: a resumed run may write a step again."""
        self._session.log({**numbers, "step": step})

    def close(self, scores: Mapping[str, float], step: int, success: bool) -> None:
        """Write the scores into the history and the summary."""
        if scores:
            self._session.log({**scores, "step": step})
            self._session.summary.update(dict(scores))
        self._session.finish(exit_code=0 if success else 1)
