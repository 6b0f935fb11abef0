"""Teachers by the names of their configs, for controls that bring one of their own."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import MissingConfigException

from kdbias import resolvers
from kdbias.places import conf_dir
from kdbias.spec import plain


def named_teacher(name: str) -> dict[str, Any]:
    """Give the settings of ``conf/teacher/<name>.yaml``, resolved; a running program's search path counts.

    Raises:
        ValueError: there is no such config.
    """
    resolvers.register()
    running = GlobalHydra.instance().is_initialized()
    with nullcontext() if running else initialize_config_dir(conf_dir(), version_base="1.3"):
        try:
            return plain(compose("train", [f"teacher={name}"]).teacher)
        except MissingConfigException as error:
            raise ValueError(f"there is no conf/teacher/{name}.yaml: name a teacher that is there") from error
