"""``kdbias.distil`` and ``Run``: the same config, check, hash and weights as the command; nothing is left behind."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import preloaded
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf
from omegaconf.basecontainer import BaseContainer

import kdbias
import kdbias.train
from kdbias.api.session import PROGRAM, kept
from kdbias.api.words import SEVERAL, chosen, written
from kdbias.checks.words import known_keys, options
from kdbias.config.conf import conf_dir
from kdbias.modules.trainer import trainer

PROGRAM_FILE = Path(__file__).resolve().parents[2] / "train.py"
DATA = {"cues": {"train": 120, "val": 40, "test": 40}}
VIT = {"vit": {"width": 16, "depth": 1, "heads": 2, "patch": 8}}
CNN = {"small_cnn": {"epochs": 1, "batch_size": 20, "model": {"widths": [4, 8]}}}
REST = {"trainer": "cpu", "callback": ["checkpoint"], "logger": ["csv"], "batch_size": 20, "seed": 1, "epochs": 2}
COMMAND = [
    *("data=cues", "data.train=120", "data.val=40", "data.test=40", "model=vit", "model.width=16", "model.depth=1"),
    *("model.heads=2", "model.patch=8", "teacher=small_cnn", "teacher.epochs=1", "teacher.batch_size=20"),
    *("teacher.model.widths=[4,8]", "loss=[ce,kl]", "loss.kl.temperature=2", "trainer=cpu", "callback=[checkpoint]"),
    *("logger=[csv]", "batch_size=20", "seed=1", "epochs=2"),
]


def _variables() -> dict[str, str | None]:
    """What a run sets in the environment; another test may have left it there."""
    return {name: os.environ.get(name) for name in (PROGRAM, "PL_GLOBAL_SEED", "PL_SEED_WORKERS")}


@pytest.fixture(scope="module", autouse=True)
def _forked():
    with pytest.MonkeyPatch.context() as patch:
        preloaded.fork_jobs(patch)
        yield


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder of runs; from Python a teacher is trained and a student after it, while somebody's own Hydra runs."""
    home = tmp_path_factory.mktemp("runs")
    (home / "conf").mkdir()
    (home / "conf" / "own.yaml").write_text("a: ${run_dir:}\n")
    OmegaConf.register_new_resolver("run_dir", lambda: "mine", replace=True)
    before, variables = torch.get_rng_state(), _variables()
    with initialize_config_dir(str(home / "conf"), version_base="1.3"), warnings.catch_warnings():
        hydra, filters = GlobalHydra.instance().hydra, list(warnings.filters)
        resolvers = dict(BaseContainer._resolvers)
        run = kdbias.distil(
            DATA, VIT, CNN, ["ce", "kl"], settings={"loss.kl.temperature": 2}, paths={"runs": home}, **REST
        )
        assert GlobalHydra.instance().hydra is hydra
        assert warnings.filters == filters
        assert resolvers == BaseContainer._resolvers
        assert compose("own").a == "mine"
    assert not HydraConfig.initialized()
    assert torch.equal(torch.get_rng_state(), before)
    assert _variables() == variables
    return home, run


def test_the_command_with_the_same_settings_has_the_same_hash_and_weights(runs):
    home, run = runs
    assert len(list(home.glob("teachers/small_cnn-cues-*/result.json"))) == 1
    environment = os.environ | {"KDBIAS_RUNS": str(home), "OMP_NUM_THREADS": "1", "KDBIAS_ALLOCATOR": "0"}
    command = [sys.executable, str(PROGRAM_FILE), *COMMAND, f"hydra.run.dir={home}/command"]
    ran = preloaded.run(command, cwd=home, env=environment)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "training it first" not in ran.stdout  # the same teacher
    other = kdbias.Run(home / "command")
    assert other.spec_hash == run.spec_hash
    assert other.result["spec_hash"] == run.result["spec_hash"] == run.spec_hash
    for name in ("best.ckpt", "last.ckpt"):
        states = [torch.load(one.folder / "checkpoints" / name)["state_dict"] for one in (run, other)]
        assert states[0].keys() == states[1].keys()
        assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_a_run_says_what_it_is_and_loads(runs):
    home, run = runs
    assert run.folder.parent == home / "train"
    assert run.config.loss.kl.temperature == 2
    accuracy = run.scores["accuracy"]
    assert accuracy.value == run.result["test"]["accuracy"]
    assert accuracy.low < accuracy.value < accuracy.high
    assert run.scores["loss"].reason.startswith("no interval")
    assert "seed 1" in repr(run)
    assert f"{100 * accuracy.value:.1f} % [" in repr(run)
    assert str(run.folder) in run._repr_html_()
    network, again = run.load(), kdbias.load_student(run)
    assert not network.training
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), again.parameters(), strict=True))
    assert kdbias.Run(str(run.folder)) == run


def test_a_run_that_was_interrupted_goes_on_and_a_finished_one_stays(runs, capsys):
    _, run = runs
    first, best = run.result, (run.folder / "checkpoints" / "best.ckpt").read_bytes()
    assert run.resume() == run
    assert capsys.readouterr().out.startswith("done already")
    (run.folder / "result.json").unlink()
    assert "epoch 2 of 2" in repr(run)
    with pytest.raises(kdbias.ConfigError, match=r"is not finished: go on by resume\(\)"):
        _ = run.scores
    assert run.resume().result["test"] == first["test"]
    assert (run.folder / "checkpoints" / "best.ckpt").read_bytes() == best


def test_a_folder_with_a_run_is_never_overwritten(runs):
    home, run = runs
    same = {"settings": {"loss.kl.temperature": 2}, "paths": {"runs": home}, "folder": run.folder}
    assert kdbias.distil(DATA, VIT, CNN, ["ce", "kl"], **same, **REST) == run
    with pytest.raises(kdbias.ConfigError, match=r"folder: .* not finished or of other settings: choose another"):
        kdbias.distil(DATA, VIT, CNN, ["ce", "kl"], **same, **REST | {"seed": 2})


MISTAKES = [
    ({"epoch": 3}, r"^epoch: there is no such setting: did you mean epochs=3\?$"),
    ({"data": "cue"}, r"^data: there is no cue: did you mean cues\?$"),
    ({"epochs": -3}, r"^epochs: must be a whole number of at least 1, got -3$"),
    ({"student": torch.nn.Linear(2, 2)}, "^student: is of the type Linear: .*a network of your own is a builder"),
    ({"data": torch.rand(2, 3, 32, 32)}, "^data: is of the type Tensor: .*data=image_folder or a builder"),
    ({"teacher": torch.nn.Linear(2, 2)}, "^teacher: is of the type Linear"),
    ({"teacher": "resnet21"}, "^teacher: there is no resnet21: did you mean resnet20"),
    ({"loss": [torch.nn.L1Loss()]}, "^loss: is of the type list"),
    ({"loss": {"kl": 2}}, "^loss: the settings of kl are of the type int"),
    ({"data": {"cues": {}, "mnist": {}}}, "^data: there is one only, and cues and mnist are named"),
    ({"seed": torch.tensor(1)}, "^seed: is of the type Tensor"),
    ({"student": "vit", "model": "vit"}, "^model: is given twice"),
    ({"resume": "runs/x"}, r"^resume: a run goes on by kdbias\.Run\(FOLDER\)\.resume\(\)"),
    ({"data": "cues", "trainer": {"devices": 2}}, "^trainer.devices: from Python a run has one device"),
    ({"data": "cues", "student": "vit", "loss": ["kl"]}, "^loss.kl: needs a teacher"),
    ({"name": "../x"}, "^name: must be the name of a folder"),
]


@pytest.mark.parametrize(("arguments", "message"), MISTAKES)
def test_a_mistake_is_the_error_of_the_command_and_leaves_nothing(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(kdbias.ConfigError, match=message):
        kdbias.distil(**arguments)
    assert list(tmp_path.iterdir()) == []
    assert not GlobalHydra.instance().is_initialized()


def test_a_mistake_is_answered_before_torch_is_loaded():
    code = (
        "import sys, kdbias\n"
        "for call in (lambda: kdbias.distil('cue'), lambda: kdbias.probe('demo-student', probes='attn')):\n"
        "    try: call()\n"
        "    except kdbias.ConfigError as error: print(error)\n"
        "print('torch' in sys.modules)\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[::2] == ["data: there is no cue: did you mean cues?", "False"]


TEXTS = [
    "cues",
    "null",
    "True",
    "1e-3",
    "it's",
    "a b",
    "C:\\x\\",
    "\\'",
    "[a",
    "${x}"[:1],
    "Käse",
    "",
    "x,y",
    "32-true",
]


@pytest.mark.parametrize(
    "value", [*TEXTS, None, True, 3, 1e-300, -0.5, [1, ["a", None]], {"b": {"c": "x y"}}, Path("a b")]
)
def test_a_value_is_written_so_that_hydra_reads_it(value):
    read = OverridesParser.create().parse_override(f"x={written('x', value)}").value()
    assert read == (str(value) if isinstance(value, Path) else value)


def test_no_option_of_a_group_is_also_a_setting_of_it():
    """A key of a mapping with a mapping is either; ``control`` has a number of the name of an option."""
    for group in known_keys("train"):
        if group in SEVERAL or not Path(conf_dir(), group).is_dir():
            continue
        nodes = [OmegaConf.load(path) for path in Path(conf_dir(), group).glob("*.yaml")]
        keys = {key for node in nodes for key in node if isinstance(node._get_node(key), DictConfig)}
        assert not keys & set(options(group)), group
    assert list(chosen("control", {"label_smoothing": 0.1})) == ["control.label_smoothing=0.1"]
    assert list(chosen("control", {"label_smoothing": {}})) == ["control=label_smoothing"]


def test_an_interrupt_comes_out_as_one():
    """Lightning answers an interrupt by ending the process."""

    def as_lightning_does():
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            sys.exit(1)

    with pytest.raises(KeyboardInterrupt), kept():
        as_lightning_does()
    with pytest.raises(SystemExit), kept():
        sys.exit(143)


def kernels():
    """Which kernels torch chooses."""
    cudnn = torch.backends.cudnn
    modes = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    return *modes, cudnn.benchmark, cudnn.deterministic, os.environ.get("CUBLAS_WORKSPACE_CONFIG")


@pytest.mark.parametrize("before", [False, True, "warn"])
@pytest.mark.parametrize("asked", [True, "warn"])
def test_the_choice_of_kernels_is_as_before(before, asked, monkeypatch):
    """The trainer of ``trainer.deterministic`` changes it for the whole process."""
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    torch.use_deterministic_algorithms(bool(before), warn_only=before == "warn")
    try:
        found = kernels()
        with pytest.raises(RuntimeError), kept():
            _ask_for_deterministic_kernels(asked)
        assert kernels() == found
    finally:
        torch.use_deterministic_algorithms(False)


def _ask_for_deterministic_kernels(asked):
    trainer(run="", epochs=1, callbacks=[], loggers=[], accelerator="cpu", deterministic=asked)
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = False, True
    assert kernels() == (True, asked == "warn", False, True, os.environ["CUBLAS_WORKSPACE_CONFIG"])
    raise RuntimeError


def test_where_there_is_no_run_an_error_says_so(tmp_path):
    with pytest.raises(kdbias.ConfigError, match=r"folder: there is no run in .*: it has no config\.yaml"):
        kdbias.Run(tmp_path)
