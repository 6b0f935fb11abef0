"""What trackers say of a run beside its curves: hyper-parameters; for TensorBoard, what tags mean and a layout."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

from kdbias.config.spec import Tree

NONE = "-"
TAGS = ("model", "data", "teacher", "control", "loss")
METRICS: Mapping[str, str] = {
    "test/accuracy": "test accuracy",
    "val/accuracy": "validation accuracy",
    "test/knn": "test k-NN",
    "test/linear": "test linear probe",
    "probe/attention/distance": "attention distance (patches)",
    "probe/cka/first_last": "CKA first-last",
    "probe/agreement/agreement": "agreement with the teacher",
}
"""Metrics of the hparams table, by tag. All runs have the same ones, since TensorBoard reads those of one run alone."""
DESCRIPTIONS: Mapping[str, str] = {
    r"val/accuracy": (
        "Accuracy on the validation split, 0 to 1, after each epoch; on averaged weights once averaging has begun."
    ),
    r"val/loss": "Cross-entropy with the labels on the validation split (nats).",
    r"train/loss": "Training loss: mean over the epoch of the sum of all terms, each times its weight.",
    r"train/loss_step": "Training loss of single steps: the sum of all terms, each times its weight.",
    r"train/accuracy": "Accuracy on the augmented training images of the epoch, 0 to 1.",
    r"train/images_per_second": "Training images per second, all processes together; validation does not count.",
    r"train/seconds": "Seconds of an epoch's training, without validation.",
    r"train/peak_memory": "Most GPU memory of this process since the start (GiB).",
    r"train/(?P<what>.+)": "Loss term {what}: mean over the epoch, without its weight.",
    r"loss/(?P<what>.+)": "Loss term {what} of single steps, without its weight.",
    r"weight/(?P<what>.+)": "Weight of the loss term {what} in the sum.",
    r"collapse/(?P<what>.+)": "Whether features collapse: {what}.",
    r"lr": "Learning rate of the (first) optimiser.",
    r"epoch": "Epoch of each step, from 0.",
    r"test/accuracy": "Accuracy on the test split, 0 to 1, read once, of the best checkpoint.",
    r"test/(?P<what>.+)": "Test split, read once, of the best checkpoint: {what}.",
    r"objective": "Best value of the run's objective on the validation split.",
    r"probe/(?P<probe>[^/]+)/(?P<what>.+)": (
        "Probe {probe}, {what}: on the first validation images; step 0 is the untrained network. "
        "docs/measures.md says what it measures."
    ),
    r"probe/(?P<probe>[^/]+)": "Figure of the probe {probe}, over the epochs so far.",
}
"""What a tag means, by a pattern of the whole tag; the first that fits counts."""
LAYOUT: Mapping[str, Mapping[str, list[Any]]] = {
    "accuracy and bias": {
        "accuracy": ["Multiline", ["val/accuracy$", "train/accuracy$", "probe/accuracy/accuracy$"]],
        "attention distance (patches)": ["Multiline", ["probe/attention/distance$"]],
        "CKA of the first with the last layer": ["Multiline", ["probe/cka/first_last$"]],
        "same answer as the teacher": ["Multiline", ["probe/agreement/agreement$"]],
        "Grad-CAM correlation with the teacher's": ["Multiline", ["probe/gradcam_agreement/correlation$"]],
        "accuracy on shuffled patches": ["Multiline", ["probe/shuffle/accuracy_"]],
    },
    "training": {
        "loss": ["Multiline", ["train/loss$", "val/loss$"]],
        "terms of the loss": ["Multiline", ["loss/"]],
        "weights of the terms": ["Multiline", ["weight/"]],
        "learning rate": ["Multiline", ["lr$"]],
    },
}
"""Charts of the custom scalars tab: patterns of tags by chart, in categories, of which the first is open."""


def layout(callbacks: Mapping[str, Any]) -> dict[str, dict[str, list[Any]]]:
    """Give ``LAYOUT`` without the charts of probes that are not among the ``callback`` settings of a run."""
    names = {str(node.get("name")) for node in callbacks.values() if isinstance(node, Mapping)}

    def there(tags: list[str]) -> list[str]:
        return [tag for tag in tags if not tag.startswith("probe/") or tag.split("/")[1] in names]

    kept = {
        category: {chart: [kind, there(tags)] for chart, (kind, tags) in charts.items() if there(tags)}
        for category, charts in LAYOUT.items()
    }
    return {category: charts for category, charts in kept.items() if charts}


def described(tag: str) -> str:
    """Say what a tag means; empty if that is not known."""
    for pattern, text in DESCRIPTIONS.items():
        if found := re.fullmatch(pattern, tag):
            return text.format(**found.groupdict())
    return ""


def hyper_parameters(tree: Tree) -> dict[str, str | float]:
    """Give the settings by which trackers compare runs, from a resolved config: the same keys for every run."""
    loss, optimizer = tree.get("loss") or {}, tree["optim"]["optimizer"]
    terms = {name: node for name, node in loss.items() if isinstance(node, Mapping) and "_target_" in node}
    temperatures = [f"{node['temperature']:g}" for node in terms.values() if _number(node.get("temperature"))]
    teacher, control = tree.get("teacher") or {}, tree.get("control") or {}
    alpha = loss.get("alpha")
    return {
        "name": str(tree["name"]),
        "model": _made(tree["model"]),
        "data": _made(tree["data"]),
        "teacher": str(teacher.get("name") or "none"),
        "control": str(control.get("kind") or _made(control)),
        "loss": " + ".join(terms) or _made(tree["module"]),
        "temperature": ", ".join(temperatures) or NONE,
        "alpha": f"{alpha:g}" if _number(alpha) else str(alpha or NONE),
        "epochs": float(tree["epochs"]),
        "batch size": float(tree["batch_size"]),
        "learning rate": float(optimizer["lr"]) if _number(optimizer.get("lr")) else 0.0,
        "weight decay": float(optimizer.get("weight_decay") or 0.0),
        "seed": float(tree["seed"]),
    }


def title(given: Mapping[str, str | float], folder: str) -> str:
    """Name a run by its ``hyper_parameters`` and the name of its folder."""
    return f"{given['name']}, seed {given['seed']:g} ({folder})"


def tags(given: Mapping[str, str | float]) -> dict[str, str]:
    """Give the ``hyper_parameters`` by which runs are found again, by kind; without those that a run does not have."""
    return {key: str(given[key]) for key in TAGS if given[key] not in (NONE, "none")}


def session(tree: Tree, folder: str) -> list[Summary]:
    """Give the summaries that begin a run's row of the hparams table; ``folder`` is the name of the run's folder."""
    given = hyper_parameters(tree)
    start = plugin_data_pb2.SessionStartInfo(group_name=title(given, folder))
    for key, value in given.items():
        if isinstance(value, str):
            start.hparams[key].string_value = value
        else:
            start.hparams[key].number_value = value
    kinds = {str: api_pb2.DATA_TYPE_STRING, float: api_pb2.DATA_TYPE_FLOAT64}
    experiment = api_pb2.Experiment(
        hparam_infos=[api_pb2.HParamInfo(name=key, type=kinds[type(value)]) for key, value in given.items()],
        metric_infos=[
            api_pb2.MetricInfo(name=api_pb2.MetricName(tag=tag), display_name=name, description=described(tag))
            for tag, name in METRICS.items()
        ],
    )
    return [
        _hparams(metadata.EXPERIMENT_TAG, experiment=experiment),
        _hparams(metadata.SESSION_START_INFO_TAG, session_start_info=start),
    ]


def ended(success: bool) -> Summary:
    """Give the summary that ends a run's row of the hparams table."""
    status = api_pb2.STATUS_SUCCESS if success else api_pb2.STATUS_FAILURE
    return _hparams(metadata.SESSION_END_INFO_TAG, session_end_info=plugin_data_pb2.SessionEndInfo(status=status))


def scalar(tag: str, value: float) -> Summary:
    """Give the summary of one number, with the description of its tag."""
    about = SummaryMetadata(summary_description=described(tag))
    return Summary(value=[Summary.Value(tag=tag, simple_value=value, metadata=about)])


def _hparams(tag: str, **content: Any) -> Summary:
    data = plugin_data_pb2.HParamsPluginData(version=metadata.PLUGIN_DATA_VERSION, **content)
    plugin = SummaryMetadata.PluginData(plugin_name=metadata.PLUGIN_NAME, content=data.SerializeToString())
    return Summary(value=[Summary.Value(tag=tag, metadata=SummaryMetadata(plugin_data=plugin))])


def _made(node: Mapping[str, Any]) -> str:
    """The builder that a node names, with the network or data set that it is told to take."""
    kind = str(node.get("_target_", NONE)).rpartition(".")[2]
    told = next((str(node[key]) for key in ("arch", "name", "preset") if node.get(key)), "")
    return f"{kind} {told}".strip()


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
