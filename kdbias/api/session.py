"""Hydra, random numbers and warnings for the time of one call from Python; afterwards all is as it was before."""

from __future__ import annotations

import json
import os
import signal
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.version import VersionBase
from omegaconf import DictConfig, open_dict, read_write
from omegaconf.basecontainer import BaseContainer

from kdbias.config import conf
from kdbias.config.conf import conf_dir
from kdbias.runs.sweep import PROGRAM

TRAINS = ["-c", "from kdbias.cli import train; train()"]
"""What Python runs to train a missing teacher: a notebook and a script are no program to start again."""
GLOBALS = (GlobalHydra, HydraConfig, VersionBase)
VARIABLES = (PROGRAM, "PL_GLOBAL_SEED", "PL_SEED_WORKERS")
WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"  # set for deterministic kernels


@contextmanager
def own_hydra() -> Iterator[None]:
    """Give the block a Hydra of its own: another that runs, its resolvers and the environment come back afterwards."""
    instances: dict[Any, Any] = Singleton._instances
    before = {kind: instances.pop(kind, None) for kind in GLOBALS}
    resolvers, variables = dict(BaseContainer._resolvers), {name: os.environ.get(name) for name in VARIABLES}
    os.environ[PROGRAM] = json.dumps(TRAINS)
    conf.register()
    try:
        yield
    finally:
        for kind, instance in before.items():
            instances.pop(kind, None)
            if instance is not None:
                instances[kind] = instance
        BaseContainer._resolvers.clear()
        BaseContainer._resolvers.update(resolvers)
        for name, value in variables.items():
            _put(name, value)


@contextmanager
def running(config: str, words: Sequence[str]) -> Iterator[DictConfig]:
    """Compose ``conf/<config>.yaml`` with the words of a command, with Hydra running as in the command.

    Call it inside ``own_hydra``.
    """
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        cfg = compose(config, list(words), return_hydra_config=True)
        HydraConfig.instance().set_config(cfg)
        own = cfg.copy()
        with read_write(own), open_dict(own):
            del own["hydra"]
        conf.expand_paths(own)
        yield own


@contextmanager
def kept() -> Iterator[None]:
    """Restore the state of random generators, warnings and torch's precision and choice of kernels after the block.

    An interrupt (Ctrl-C, a notebook's stop button) comes out as KeyboardInterrupt: Lightning would end the process.
    """
    import torch
    from lightning.pytorch.utilities.seed import isolate_rng

    precision, main = torch.get_float32_matmul_precision(), threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT)
    try:
        with warnings.catch_warnings(), isolate_rng(), _kernels():
            yield
    except SystemExit as error:
        if isinstance(error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from error
        raise
    finally:
        torch.set_float32_matmul_precision(precision)
        if main:
            signal.signal(signal.SIGINT, handler)


@contextmanager
def _kernels() -> Iterator[None]:
    """Restore which kernels torch chooses: deterministic ones, or those that a benchmark shows to be the fastest."""
    import torch

    cudnn = torch.backends.cudnn
    modes, chosen, workspace = _modes(), (cudnn.benchmark, cudnn.deterministic), os.environ.get(WORKSPACE)
    try:
        yield
    finally:
        if _modes() != modes:  # else torch would import its compiler for nothing
            torch.use_deterministic_algorithms(modes[0], warn_only=modes[1])
        cudnn.benchmark, cudnn.deterministic = chosen
        _put(WORKSPACE, workspace)


def _modes() -> tuple[bool, bool]:
    """Whether torch takes deterministic algorithms alone, and whether it only warns where there is none."""
    import torch

    return torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()


def _put(name: str, value: str | None) -> None:
    """Give a variable of the environment its value; None: it has none."""
    os.environ.pop(name, None)
    if value is not None:
        os.environ[name] = value
