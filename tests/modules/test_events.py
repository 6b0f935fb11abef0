"""What TensorBoard reads of a run: hyper-parameters with named metrics, descriptions, layout, and names of runs."""

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams import metadata, plugin_data_pb2

from kdbias.modules import events
from kdbias.modules.loggers import tensorboard

TREE = {
    "name": "first_try",
    "seed": 3,
    "epochs": 5,
    "batch_size": 64,
    "model": {"_target_": "kdbias.models.deit.vit"},
    "data": {"_target_": "kdbias.data.cues.cues", "preset": "demo"},
    "module": {"_target_": "kdbias.modules.distill.Distill"},
    "teacher": {"name": "resnet18"},
    "control": None,
    "loss": {"alpha": 0.5, "ce": {"_target_": "x"}, "kl": {"_target_": "y", "temperature": 4.0}},
    "optim": {"optimizer": {"lr": 1e-3, "weight_decay": 0.05}},
    "callback": {"probe_attention": {"name": "attention"}},
}


@pytest.fixture
def read(tmp_path):
    logger = tensorboard(str(tmp_path))
    logger.begin(TREE)
    logger.log_metrics({"val/accuracy": 0.5, "loss/kl": 2.0}, 7)
    logger.end({"test/accuracy": 0.6}, 9, success=True)
    logger.finalize("success")
    found = EventAccumulator(str(tmp_path / "tensorboard"))
    found.Reload()
    return found


def hparams(found, tag):
    content = found.SummaryMetadata(tag).plugin_data.content
    return plugin_data_pb2.HParamsPluginData.FromString(content)


def test_hparams_have_the_settings_and_named_metrics(read):
    start = hparams(read, metadata.SESSION_START_INFO_TAG).session_start_info
    given = {key: value.string_value or value.number_value for key, value in start.hparams.items()}
    assert given == events.hyper_parameters(TREE)
    for key, value in {"model": "vit", "data": "cues demo", "teacher": "resnet18", "control": "-"}.items():
        assert given[key] == value
    for key, value in {"loss": "ce + kl", "temperature": "4", "epochs": 5, "batch size": 64}.items():
        assert given[key] == value
    assert start.group_name.startswith("first_try, seed 3")
    experiment = hparams(read, metadata.EXPERIMENT_TAG).experiment
    assert {info.name for info in experiment.hparam_infos} == set(given)
    named = {info.name.tag: info.display_name for info in experiment.metric_infos}
    assert named["test/accuracy"] == "test accuracy"
    assert read.Scalars("test/accuracy")[0].value == pytest.approx(0.6)


def test_runs_of_any_kind_have_the_same_keys():
    plain = {**TREE, "teacher": {"name": None}, "loss": {}, "optim": {"optimizer": {"lr": 0.1}}}
    found = events.hyper_parameters(plain)
    assert found.keys() == events.hyper_parameters(TREE).keys()
    assert (found["teacher"], found["loss"], found["temperature"]) == ("none", "Distill", "-")


def test_tags_have_descriptions(read):
    assert read.Scalars("val/accuracy")[0].step == 7
    for tag in ("val/accuracy", "loss/kl", "test/accuracy"):
        assert read.SummaryMetadata(tag).summary_description == events.described(tag) != ""
    assert "Loss term kl of single steps" in events.described("loss/kl")
    assert events.described("probe/attention/distance").startswith("Probe attention, distance")
    assert events.described("something/else") == ""


def test_the_layout_opens_on_accuracy_and_bias_without_probes_that_do_not_run(read):
    (tag,) = [tag for tag in read.Tags()["tensors"] if "custom_scalars" in tag]
    found = layout_pb2.Layout.FromString(read.Tensors(tag)[0].tensor_proto.string_val[0])
    first = found.category[0]
    assert first.title == "accuracy and bias"
    assert [chart.title for chart in first.chart] == ["accuracy", "attention distance (patches)"]
    tags = [tag for chart in first.chart for tag in chart.multiline.tag]
    assert "val/accuracy$" in tags
    assert not any("cka" in tag for tag in tags)
