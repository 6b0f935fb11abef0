"""Teachers by the names of their configs, for controls that replace the teacher."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import MissingConfigException

from kdbias.batch import DataInfo
from kdbias.checks.plan import describe_network
from kdbias.config import conf
from kdbias.config.conf import conf_dir
from kdbias.config.spec import plain
from kdbias.models.features import NetworkInfo


def named_teacher(name: str) -> dict[str, Any]:
    """Give the resolved settings of ``conf/teacher/<name>.yaml``, from the search path of the running program.

    Raises:
        ValueError: there is no such config.
    """
    conf.register()
    running = GlobalHydra.instance().is_initialized()
    with nullcontext() if running else initialize_config_dir(conf_dir(), version_base="1.3"):
        try:
            return plain(compose("train", [f"teacher={name}"]).teacher)
        except MissingConfigException as error:
            raise ValueError(f"there is no conf/teacher/{name}.yaml: name an existing teacher") from error


def network_of(teacher: Mapping[str, Any], data: DataInfo) -> NetworkInfo:
    """Describe the network of a teacher's settings for ``data``, without weights.

    Raises:
        ValueError: the settings name no network. Or any of ``kdbias.checks.plan.REFUSALS``: it cannot be built.
    """
    if teacher.get("model") is None:
        raise ValueError("this teacher has no network: name one that has")
    return describe_network(teacher["model"], data).info


def on_the_images_of(replaced: Mapping[str, Any], teacher: Mapping[str, Any]) -> dict[str, Any]:
    """Give a teacher's settings with the ``data`` of the ``replaced`` one, so that both train on the same images."""
    own = {key: value for key, value in teacher.items() if key != "data"}
    return own | ({"data": replaced["data"]} if replaced.get("data") else {})
