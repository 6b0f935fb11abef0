"""``kdbias.probe``: what ``python analyze.py task=probe`` measures, as a function, on networks and tensors too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from os import PathLike
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from kdbias import zoo
from kdbias.analysis.tasks import TASKS
from kdbias.api.session import kept, own_hydra, running
from kdbias.api.words import command, listed
from kdbias.checks.command import require_command
from kdbias.config.errors import ConfigError
from kdbias.config.spec import Tree, plain

if TYPE_CHECKING:
    from torch import nn

    from kdbias.analysis.networks import Subject
    from kdbias.api.results import Results
    from kdbias.batch import DataInfo
    from kdbias.models.features import Extractor


def probe(
    network: nn.Module | str | PathLike[str],
    images: Any = None,
    probes: str | list[str] | Mapping[str, Any] = "accuracy",
    *,
    count: int | None = None,
    settings: Mapping[str, Any] | None = None,
    **named: Any,
) -> Results:
    """Measure a network as ``python analyze.py task=probe`` does, and give the Results.

    Args:
        network: A run, the path of a run folder or checkpoint, a name of the zoo, or a network: an ``Extractor`` (as
            ``load_student`` gives) or a network of timm.
        images: None for the test images of the run; an option of ``conf/data`` or a mapping of it to its settings; or
            a tensor ``(N, C, H, W)``, uint8 or floats in [0, 1], or a pair of these and labels ``(N,)``.
        probes: Options of ``conf/probe``: ``"attention"``, ``["accuracy", "cka"]``, or a mapping of them to settings.
        count: The first images alone.
        settings: Values by their full key: ``{"probe.cka.images": 500}``.
        **named: Any other setting or group of ``conf/analyze.yaml``: ``split="val", trainer="cpu"``.

    Raises:
        ConfigError: an argument has a mistake, or no probe is defined for the network; the message is one line.
    """
    named_data = images if isinstance(images, str | dict) else None
    arguments = {**named, "probe": listed(probes), "data": named_data, "images": count}
    with own_hydra():
        words = command(arguments, settings)
        require_command([*words, "task=list"], "analyze", TASKS)  # the network is an argument, not a word
        with running("analyze", words) as cfg, kept(), TemporaryDirectory(prefix="kdbias-") as folder:
            return _measured(plain(cfg), network, None if named_data is not None else images, Path(folder))


def _measured(tree: Tree, network: Any, tensors: Any, folder: Path) -> Results:
    from kdbias.analysis.labels import check_classes
    from kdbias.analysis.measure import measured
    from kdbias.analysis.passes import Shown
    from kdbias.analysis.probe_configs import selected
    from kdbias.api.results import Results
    from kdbias.probes.cache import Cache

    nodes = selected(tree)
    subject = _subject(tree, network, tensors)
    if tensors is not None and not isinstance(tensors, list | tuple):
        _require_no_labels(nodes)
    check_classes([subject], nodes)
    cache = Cache(Path(tree["paths"]["runs"]) / "cache") if tree["cache"] and subject.weights else None
    with Shown(len(nodes)) as shown:
        work = measured(tree, nodes, subject, cache, folder, shown)
    if not work.measured.results:
        raise ConfigError("; ".join(work.left_out))
    return Results(subject.name, work.measured.results, tuple(work.left_out))


def _subject(tree: Tree, network: Any, tensors: Any) -> Subject:
    """Describe the network with its images."""
    from torch import nn

    from kdbias.analysis.networks import device_name, run_subject

    if isinstance(network, str | PathLike) and tensors is None:
        return run_subject(tree, "network", Path(network), device_name(tree), {})
    if isinstance(network, str | PathLike):
        return _on_tensors(tree, network, tensors)
    if not isinstance(network, nn.Module):
        kinds = f"a run, a path, {', '.join(zoo.names())}, or a network"
        raise ConfigError(f"network: is of the type {type(network).__name__}: give {kinds}")
    return _own(tree, network, tensors)


def _on_tensors(tree: Tree, path: str | PathLike[str], tensors: Any) -> Subject:
    """Describe a saved network on given images; the classes are those of its training."""
    from kdbias.analysis.networks import Subject, device_name
    from kdbias.analysis.run_teacher import NO_TEACHER
    from kdbias.api.tensors import tensor_data
    from kdbias.batch import DataInfo
    from kdbias.models.checkpoint import Checkpoint, checkpoint_file

    opened = Checkpoint(checkpoint_file(path))
    try:
        spec = opened.spec
    except OSError as error:
        raise ConfigError(f"network: {error}") from error
    data = tensor_data(tensors, DataInfo.from_dict(spec["data"]), tree["eval_batch_size"])
    name, device = Path(path).name, device_name(tree)
    return Subject(name, lambda: opened.student().to(device), "", data, {}, label=name, spec=spec, lack=NO_TEACHER)


def _own(tree: Tree, network: nn.Module, tensors: Any) -> Subject:
    """Describe a network in memory; nothing tells whether its weights change, so its Results are not kept."""
    from kdbias.analysis.networks import Subject, image_data
    from kdbias.analysis.run_teacher import NO_TEACHER
    from kdbias.api.tensors import tensor_data

    extractor = _extractor(network)
    if tensors is None and tree.get("data") is None:
        raise ConfigError("images: a network in memory has none of its own: give a data name, or (images, labels)")
    name = type(extractor.network).__name__
    if tensors is not None:
        data = tensor_data(tensors, _info(extractor), tree["eval_batch_size"])
        return Subject(name, lambda: extractor, "", data, {}, label=name, lack=NO_TEACHER)
    known = image_data(tree, tree["data"])
    if extractor.info.classes not in (None, known.info.classes):
        text = f"the network knows {extractor.info.classes} classes, and the data has {known.info.classes}"
        raise ConfigError(f"images: {text}: choose data of its classes")
    subject = Subject(name, lambda: extractor, "", known, tree["data"], label=name)
    return replace(subject, lack=NO_TEACHER)


def _extractor(network: nn.Module) -> Extractor:
    """Read a network of timm with the statistics that it says; an ``Extractor`` is read as it is.

    Raises:
        ConfigError: it is neither.
    """
    from kdbias.models.features import Extractor

    if isinstance(network, Extractor):
        return network
    known: Any = getattr(network, "pretrained_cfg", None) or {}
    if not all(hasattr(network, name) for name in ("forward_intermediates", "forward_head", "get_classifier")):
        text = "is no network of timm: it needs forward_intermediates, forward_head and get_classifier"
        raise ConfigError(f"network: {type(network).__name__} {text}, or load_student gives one that is read")
    if not known.get("mean"):
        text = "does not say its normalisation: wrap it, as in kdbias.Extractor(network, mean=..., std=..., size=32)"
        raise ConfigError(f"network: {type(network).__name__} {text}")
    side = getattr(getattr(network, "patch_embed", None), "img_size", None) or known["input_size"][1:]
    mean, std = known["mean"], known["std"]
    return Extractor(network, mean=mean, std=std, size=int(side[0]), resize=True)


def _info(extractor: Extractor) -> DataInfo:
    from kdbias.batch import DataInfo

    classes, (mean, std) = extractor.info.classes or 0, extractor.statistics
    return DataInfo(extractor.channels, extractor.size, classes, (), 0, tuple(mean), tuple(std))


def _require_no_labels(nodes: Mapping[str, Mapping[str, Any]]) -> None:
    from kdbias.analysis.labels import judges_answers

    if bound := [name for name, node in nodes.items() if judges_answers(node)]:
        raise ConfigError(f"images: {', '.join(bound)} reads labels: give (images, labels)")
