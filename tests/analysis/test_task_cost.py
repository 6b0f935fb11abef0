"""``task=cost`` on run folders made by hand."""

import csv
import json

import pytest
import torch
from omegaconf import OmegaConf

from kdbias.analysis.tasks import run
from kdbias.config.errors import ConfigError
from kdbias.config.spec import spec_hash
from kdbias.runs import memory

CE = {"_target_": "kdbias.losses.ce.CE", "weight": 0.5}
KL = {"_target_": "kdbias.losses.kl.KL", "weight": 0.5}
CRD = {"_target_": "kdbias.losses.crd.CRD", "weight": 0.8}
STUDENT = {"_target_": "kdbias.models.deit.vit_tiny", "layers": "all"}
TEACHER = {"_target_": "kdbias.models.resnet_cifar.resnet18", "layers": "all"}
ENVIRONMENT = {"cpu": "one", "threads": 2, "gpu": None, "torch": "2"}
DISTILL = "kdbias.modules.distill.Distill"


@pytest.fixture
def make(tmp_path):
    def made(
        name, seed, seconds, *, terms, result=None, teacher=TEACHER, kept=(), module=DISTILL, memory=2.0, **config
    ):
        folder = tmp_path / "runs" / f"{name}-{seed}"
        folder.mkdir(parents=True)
        named = "resnet18" if teacher else None
        tree = {
            "name": name,
            "seed": seed,
            "model": STUDENT,
            "teacher": {
                "name": named,
                "model": teacher,
                "weights": None,
                "recipe": None,
                "layers": "all",
                **dict(kept),
            },
            "loss": {"alpha": 0.5, **terms},
            "module": {"_target_": module},
            "data": {"_target_": "kdbias.data.cues.cues", "train": 1000},
            "trainer": {"accumulate": 1, "limit_train_batches": None},
            "batch_size": 64,
            "compile": False,
            "control": None,
            **config,
        }
        OmegaConf.save(OmegaConf.create(tree), folder / "config.yaml")
        found = {
            "spec_hash": spec_hash(tree),
            "epoch_seconds": seconds,
            "images_per_second": 1000 / seconds,
            "peak_memory": {"gib": memory, "of": "process"},
            "environment": ENVIRONMENT,
            "precision": "32-true",
            "processes": 1,
            "metrics": {},
            **(result or {}),
        }
        (folder / "result.json").write_text(json.dumps(found))
        return folder

    return made


@pytest.fixture
def analyse(tmp_path):
    def analysed(*folders, **settings):
        tree = {"task": "cost", "runs": [str(folder) for folder in folders], "out": str(tmp_path / "out")}
        run(OmegaConf.create({**tree, **settings}))
        with (tmp_path / "out" / "cost.csv").open() as file:
            return {row["method"]: row for row in csv.DictReader(file)}, (tmp_path / "out" / "cost.md").read_text()

    return analysed


def test_cost_with_range_over_seeds_and_factors_over_plain_kl(make, analyse):
    kl = [make("lm", seed, 10.0 + seed, terms={"ce": CE, "kl": KL}) for seed in (0, 2)]
    crd = [make("crd", seed, 22.0, terms={"ce": CE, "crd": CRD}, memory=5.0) for seed in (0, 1)]
    alone = make("independent", 0, 5.5, terms={"ce": CE}, teacher=None)
    rows, page = analyse(*kl, *crd, alone)
    lm = rows["lm"]
    assert [float(lm[key]) for key in ("an epoch (s)", "an epoch low (s)", "an epoch high (s)")] == [11, 10, 12]
    factors = {name: (row["time over reference"], row["memory over reference"]) for name, row in rows.items()}
    assert factors == {"lm": ("1.0", "1.0"), "crd": ("2.0", "2.5"), "independent": ("0.5", "1.0")}
    assert (rows["crd"]["reference"], rows["crd"]["runs"], rows["independent"]["runs"]) == ("lm", "2", "1")
    assert "| crd | 2 | 22.00 [22.00, 22.00] | 45 [45, 45] | 2.00 | 5.00 [5.00, 5.00] | 2.50 | lm |" in page
    assert "only comparable if each run was alone" in page
    assert "resident memory of one process" in page


@pytest.mark.parametrize(("own", "shared"), [([], [0, 1, 2]), ([0], [1, 2])])
def test_seeds_that_see_the_draws_of_one_of_them_are_one_method(make, analyse, own, shared):
    draws = {**dict.fromkeys(own), **dict.fromkeys(shared, 0)}
    runs = [
        make("lm", seed, 10.0, terms={"ce": CE, "kl": KL}, kept={"cache": 4, "cache_seed": of})
        for seed, of in draws.items()
    ]
    assert analyse(*runs)[0]["lm"]["runs"] == "3"
    other = make("lm", 3, 10.0, terms={"ce": CE, "kl": KL}, kept={"cache": 4})
    with pytest.raises(ConfigError, match=r"the runs called lm differ in teacher.cache_seed"):
        analyse(*runs, other)


def test_each_method_is_held_against_kl_on_its_own_networks(make, analyse):
    dist = {"_target_": "kdbias.models.deit.deit_tiny", "distilled": True}
    pairs = [
        make("lm", 0, 10.0, terms={"ce": CE, "kl": KL}),
        make("lm_dist", 0, 20.0, terms={"ce": CE, "kl": KL}, model=dist),
        make("crd", 0, 30.0, terms={"ce": CE, "crd": CRD}),
        make("cskd", 0, 30.0, terms={"ce": CE, "crd": CRD}, model=dist),
    ]
    rows, _ = analyse(*pairs)
    found = {name: (row["reference"], row["time over reference"]) for name, row in rows.items()}
    assert found["crd"] == ("lm", "3.0")
    assert found["cskd"] == ("lm_dist", "1.5")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"teacher": {**TEACHER, "_target_": "kdbias.models.resnet_cifar.resnet20"}},
            "lm differs in teacher",
        ),
        ({"model": {**STUDENT, "drop_path": 0.2}}, r"lm differs in model.drop_path \(0.2 and None\)"),
        ({"batch_size": 32}, r"lm differs in batch_size \(32 and 64\)"),
        ({"data": {"_target_": "kdbias.data.cues.cues", "train": 500}}, "lm differs in data.train"),
        ({"result": {"environment": {**ENVIRONMENT, "gpu": "H"}}}, r"lm differs in gpu \('H' and None\)"),
        ({"result": {"precision": "bf16-mixed"}}, "lm differs in precision"),
        ({"loader": {"_target_": "kdbias.data.workers.Workers"}}, r"lm differs in loader._target_ \('kdbias"),
        ({"loader": {"repeats": 3}}, r"lm differs in loader.repeats \(3 and 1\)"),
        ({"kept": {"cache": 4}}, r"lm differs in teacher.cache \(4 and None\)"),
    ],
)
def test_unlike_networks_images_or_machines_are_refused(make, analyse, change, message):
    kl = make("lm", 0, 10.0, terms={"ce": CE, "kl": KL})
    with pytest.raises(ConfigError, match=f"none by plain KL has the networks and setting of crd: {message}"):
        analyse(kl, make("crd", 0, 10.0, terms={"ce": CE, "crd": CRD}, **change))


def test_a_single_name_is_a_name_and_not_its_letters(make, analyse):
    runs = [make("lm", seed, 10.0, terms={"ce": CE, "kl": KL}) for seed in (0, 1)]
    with pytest.raises(ConfigError, match="names: 1 names for 2 runs"):
        analyse(*runs, names="KL")
    assert list(analyse(runs[0], names="KL")[0]) == ["KL"]


def test_layers_and_first_weights_are_no_other_network(make, analyse):
    kl = make("lm", 0, 10.0, terms={"ce": CE, "kl": KL})
    other = make("crd", 0, 10.0, terms={"ce": CE, "crd": CRD}, model={**STUDENT, "layers": [3], "pretrained": True})
    assert analyse(kl, other)[0]["crd"]["reference"] == "lm"


@pytest.mark.parametrize(
    "change",
    [
        {"terms": {"ce": CE, "crd": CRD, "kl": KL}},
        {"terms": {"ce": CE}},
        {"terms": {"ce": CE, "kl": KL}, "module": "kdbias.modules.capd.CAPD"},
        {"terms": {"ce": CE, "kl": KL}, "control": {"_target_": "kdbias.controls.shuffled.Shuffled"}},
    ],
)
def test_what_is_not_plain_kl_is_no_reference_unless_it_is_named(make, analyse, change):
    one, two = make("mixed", 0, 10.0, **change), make("crd", 0, 20.0, terms={"ce": CE, "crd": CRD})
    with pytest.raises(ConfigError, match="no run is by plain KL"):
        analyse(one, two)
    rows, _ = analyse(two, reference=str(one))
    assert rows["crd"]["time over reference"] == "2.0"


def test_the_reference_may_have_seeds_and_one_of_two_must_be_chosen(make, analyse):
    one = [make("lm", seed, 10.0, terms={"ce": CE, "kl": KL}) for seed in (0, 1)]
    hot = make("hot", 0, 20.0, terms={"ce": CE, "kl": {**KL, "temperature": 9.0}})
    crd = make("crd", 0, 40.0, terms={"ce": CE, "crd": CRD})
    with pytest.raises(ConfigError, match=r"reference: lm and hot are both by plain KL and fit crd"):
        analyse(*one, hot, crd)
    assert analyse(*one, hot, crd, reference=str(hot))[0]["crd"]["time over reference"] == "2.0"
    assert analyse(hot, crd, reference=[str(folder) for folder in one])[0]["crd"]["time over reference"] == "4.0"


def test_a_named_reference_must_have_the_networks_too(make, analyse):
    small = make("small", 0, 10.0, terms={"ce": CE, "kl": KL}, model={**STUDENT, "drop_path": 0.5})
    with pytest.raises(ConfigError, match=r"reference: unlike crd: small differs in model.drop_path"):
        analyse(make("crd", 0, 40.0, terms={"ce": CE, "crd": CRD}), reference=str(small))


def test_runs_of_one_name_are_seeds_of_one_method(make, analyse):
    one = make("lm", 0, 10.0, terms={"ce": CE, "kl": KL})
    two = make("lm", 1, 10.0, terms={"ce": CE, "kl": {**KL, "temperature": 9.0}})
    with pytest.raises(ConfigError, match=r"names: the runs called lm differ in loss.kl.temperature"):
        analyse(one, two)
    assert set(analyse(one, two, names=["A", "B"], reference=str(one))[0]) == {"A", "B"}
    with pytest.raises(ConfigError, match="names: 1 names for 2 runs"):
        analyse(one, two, names=["A"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"epoch_seconds": 1', "cut short or damaged"),
        ("[]", "does not hold what a run writes"),
        ('{"spec_hash": "0", "epoch_seconds": "fast"}', "epoch_seconds is 'fast'"),
        ('{"spec_hash": "0", "epoch_seconds": 0}', "epoch_seconds is 0"),
        ('{"spec_hash": "0", "images_per_second": NaN}', "images_per_second is nan"),
        ('{"peak_memory": {"gib": 1}}', "peak_memory has no gib and of"),
        ('{"environment": 3}', "does not hold what a run writes"),
        ('{"stopped": "collapsed"}', "stopped early .collapsed.: leave it out"),
    ],
)
def test_a_damaged_result_is_one_line(make, analyse, content, message):
    folder = make("lm", 0, 10.0, terms={"ce": CE, "kl": KL})
    (folder / "result.json").write_text(content)
    with pytest.raises(ConfigError, match=message) as caught:
        analyse(folder)
    assert len(str(caught.value).splitlines()) == 1
    assert str(folder) in str(caught.value)


def test_results_of_before_have_what_their_metrics_hold(make, analyse):
    metrics = {"train/seconds": 8.0, "train/peak_memory": 3.0}
    folders = []
    for name, terms in (("lm", {"ce": CE, "kl": KL}), ("crd", {"ce": CE, "crd": CRD})):
        folder = make(name, 0, 10.0, terms=terms)
        result = json.loads((folder / "result.json").read_text())
        del result["epoch_seconds"], result["peak_memory"]
        result["metrics"] = metrics if name == "lm" else {}
        (folder / "result.json").write_text(json.dumps(result))
        folders.append(folder)
    rows, page = analyse(*folders)
    assert (rows["lm"]["an epoch (s)"], rows["lm"]["peak memory (GiB)"]) == ("8.0", "3.0")
    assert rows["crd"]["time over reference"] == rows["crd"]["memory over reference"] == "-"
    assert "a run recorded no seconds" in page
    assert "what tensors took on the GPU" in page


def test_the_memory_of_a_gpus_host_stands_beside_its_own(make, analyse, monkeypatch):
    monkeypatch.setattr(memory.torch.cuda, "max_memory_allocated", lambda device: 2 * memory.GIB)
    taken = {"peak_memory": memory.peak_memory(torch.device("cuda"))}
    rows, _ = analyse(make("lm", 0, 10.0, terms={"ce": CE, "kl": KL}, result=taken))
    assert rows["lm"]["peak memory (GiB)"] == "2.0"


def test_a_gpu_is_not_held_against_a_cpu(make, analyse):
    kl = make("lm", 0, 10.0, terms={"ce": CE, "kl": KL})
    crd = make("crd", 0, 1.0, terms={"ce": CE, "crd": CRD}, result={"peak_memory": {"gib": 1.0, "of": "gpu"}})
    with pytest.raises(ConfigError, match="some trained on a GPU and some on a CPU"):
        analyse(kl, crd)


@pytest.mark.parametrize(
    "change",
    [{"model": None}, {"model": {"width": 3}}, {"module": "x"}, {"data": []}, {"data": {"_target_": 5}},
     {"trainer": None}, {"teacher": None}, {"teacher": {"name": "a", "model": "x"}}, {"loss": [1]}, {"control": "x"},
     {"loss": {"ce": {"_target_": None}}}],
)  # fmt: skip
def test_a_config_without_what_a_cost_is_read_of_is_named(make, analyse, change):
    folder = make("lm", 0, 10.0, terms={"ce": CE, "kl": KL})
    tree = OmegaConf.to_container(OmegaConf.load(folder / "config.yaml")) | change
    OmegaConf.save(OmegaConf.create(tree), folder / "config.yaml")
    with pytest.raises(ConfigError, match=r"config\.yaml"):
        analyse(folder)


def test_a_memory_of_an_unknown_place_is_named(make, analyse):
    folder = make("lm", 0, 10.0, terms={"ce": CE, "kl": KL}, result={"peak_memory": {"gib": 1.0, "of": []}})
    with pytest.raises(ConfigError, match="peak_memory has no gib and of"):
        analyse(folder)


def test_a_run_of_a_folder_that_stopped_early_is_left_out(make, analyse, capsys):
    whole = make("lm", 0, 10.0, terms={"ce": CE, "kl": KL})
    rows, _ = analyse(whole.parent)
    make("lm", 1, 99.0, terms={"ce": CE, "kl": KL}, result={"stopped": "it collapsed", "spec_hash": None})
    capsys.readouterr()
    assert analyse(whole.parent)[0] == rows
    assert "left out: " in capsys.readouterr().out
    (whole / "result.json").write_text('{"stopped": "it collapsed"}')
    with pytest.raises(ConfigError, match="none of them has a result of its own"):
        analyse(whole.parent)
    with pytest.raises(ConfigError, match="stopped early"):
        analyse(whole)


def test_a_control_is_named_as_it_is_typed(make, analyse):
    smooth = {"_target_": "kdbias.controls.label_smoothing.LabelSmoothing"}
    found = {"control": {"kind": "label_smoothing"}}
    folder = make("lm", 0, 10.0, terms={"ce": CE, "kl": KL})
    control = make("own", 0, 10.0, terms={"ce": CE, "kl": KL}, control=smooth, result=found)
    assert "own, control label_smoothing" in analyse(folder, control)[0]
