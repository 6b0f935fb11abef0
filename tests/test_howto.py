"""A stranger's path: the how-tos' own files, written where the text says and nowhere else, do what the text says.

Their modules lie outside of the package, in a folder that its rooms are extended by; their yamls in a config folder.
"""

import ast
import importlib
import inspect
import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import LambdaType, ModuleType, SimpleNamespace

import numpy as np
import pytest
import timm
import torch
from hydra import compose, initialize_config_dir
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig
from PIL import Image
from test_docs import jobs

import kdbias
from kdbias import cli
from kdbias.analysis import study_train, tasks
from kdbias.api.words import command
from kdbias.batch import DataInfo
from kdbias.checks import early_loggers
from kdbias.checks.check import check
from kdbias.checks.command import require_command
from kdbias.checks.words import study_words
from kdbias.config.build import build, target
from kdbias.config.spec import plain
from kdbias.data.augment import Augment
from kdbias.data.base import ImageData
from kdbias.probes.cache import GIVEN
from kdbias.runs.launchers import of_launcher

TESTS = Path(__file__).parent
PAGES = {page.stem: page.read_text() for page in sorted((TESTS.parent / "docs" / "howto").glob("*.md"))}
FENCED = re.compile(r"^( *)```(\w*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
PLACE = re.compile(r"`((?:kdbias|conf)/[\w/]+\.(?:py|yaml))`")
COMMAND = re.compile(r"python (train|analyze)\.py ([^`\n]+)")
JOINED = re.compile(r"\\\n\s*")  # a backslash at the end of a line goes on in the next
NOT_THERE = "there is no file"  # PATH stands for the reader's own


def blocks(page: str) -> Iterator[tuple[str, str, str]]:
    """Each block's language, text, and the first file that the paragraph before it names."""
    text = PAGES[page]
    for found in FENCED.finditer(text):
        indent, language, body = found.groups()
        lead = text[: found.start()].rstrip().rsplit("\n\n", 1)[-1]
        places = PLACE.findall(lead)
        yield language, re.sub(rf"^{indent}", "", body, flags=re.MULTILINE), places[0] if places else ""


def commands() -> list[tuple[str, str, str]]:
    """Every command of a how-to, in a block or in the text: page, program and arguments."""
    joined = {page: JOINED.sub("", text) for page, text in PAGES.items()}
    found = [(page, *match) for page, text in joined.items() for match in COMMAND.findall(text)]
    return [(page, program, arguments) for page, program, arguments in found if "..." not in arguments]


class Stranger:
    """The files of a how-to in folders of their own."""

    def __init__(self, folder: Path, page: str) -> None:
        self.folder, self.conf, self.modules = folder, folder / "conf", []
        for language, body, place in blocks(page):
            if place:
                assert language == {".py": "python", ".yaml": "yaml"}[Path(place).suffix], place
                path = folder / place
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(body)
                if language == "python":
                    self.modules.append(place.removesuffix(".py").replace("/", "."))

    @contextmanager
    def running(self, program: str, overrides: list[str]) -> Iterator[DictConfig]:
        """Compose a config as ``python <program>.py --config-dir FOLDER`` does, with Hydra running."""
        cli.register()
        with initialize_config_dir(cli.conf_dir(), version_base="1.3"):
            path = create_config_search_path(cli.conf_dir())
            if self.conf.is_dir():
                path.prepend("command-line", f"file://{self.conf}", anchor="schema")
            GlobalHydra.instance().clear()
            Hydra.create_main_hydra2("stranger", path)
            yield compose(program, overrides)

    def compose(self, program: str, overrides: list[str]) -> DictConfig:
        with self.running(program, overrides) as cfg:
            return cfg

    def module(self, room: str) -> ModuleType:
        (name,) = [name for name in self.modules if name.startswith(f"kdbias.{room}.")]
        return importlib.import_module(name)


@pytest.fixture
def stranger(tmp_path, monkeypatch):
    def settle(page: str) -> Stranger:
        found = Stranger(tmp_path, page)
        for room in {name.split(".")[1] for name in found.modules}:
            package = importlib.import_module(f"kdbias.{room}")
            monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path / "kdbias" / room)])
        settled.extend(found.modules)
        importlib.invalidate_caches()
        return found

    settled: list[str] = []
    monkeypatch.chdir(tmp_path)
    yield settle
    for name in settled:
        sys.modules.pop(name, None)
        room, _, last = name.rpartition(".")
        vars(sys.modules[room]).pop(last, None)


def imported(name: str, monkeypatch) -> ModuleType:
    """A test module of another folder."""
    path = next(TESTS.glob(f"*/{name}.py"))
    monkeypatch.syspath_prepend(path.parent)
    return importlib.import_module(name)


def contract(module: ModuleType, name: str, **fixtures) -> int:
    """Run every test of a module that is made for a ``name``, with all its other parameters; count the runs."""
    runs = 0
    for test in [value for key, value in vars(module).items() if key.startswith("test_")]:
        takes = inspect.signature(test).parameters
        if "name" not in takes:
            continue
        cases = [{"name": name}]
        for key in takes.keys() - {"name"}:
            cases = [{**case, key: value} for case in cases for value in fixtures[key]]
        for case in cases:
            test(**{key: value() if isinstance(value, LambdaType) else value for key, value in case.items()})
            runs += 1
    return runs


def test_every_file_that_a_how_to_shows_has_its_place():
    files = {page: {place for _, _, place in blocks(page) if place} for page in PAGES}
    assert files == {
        "add-a-dataset": {"kdbias/data/flags.py", "conf/data/flags.yaml"},
        "add-a-loss": {"kdbias/losses/pooled.py", "conf/loss/pooled.yaml"},
        "add-a-probe": {
            "kdbias/probes/margin.py",
            "conf/probe/margin.yaml",
            "conf/callback/probe_margin.yaml",
            "kdbias/report/margin.py",
        },
        "add-a-teacher": {
            "conf/experiment/teacher_convnext_atto.yaml",
            "conf/teacher/convnext_atto.yaml",
            "kdbias/models/tiny.py",
            "conf/model/tiny.yaml",
        },
        "choose-a-control": set(),
        "compare-methods": set(),
        "export": set(),
        "keep-the-teachers-answers": set(),
        "from-python": set(),
        "loggers": set(),
        "tensorboard": set(),
        "own-images": set(),
        "run-a-study": {"conf/study/mine.yaml"},
    }
    root = Path(kdbias.__file__).parents[1]
    assert not [place for places in files.values() for place in places if (root / place).exists()]


def built(node):
    """A probe as its config builds it, without what only a measurement gives it, such as the images."""
    takes = inspect.signature(target(node, "probe")).parameters.values()
    return build(
        node, **{one.name: None for one in takes if one.name in GIVEN and one.default is inspect.Parameter.empty}
    )


@pytest.fixture(scope="module")
def own_images(tmp_path_factory) -> Path:
    """A folder of images of one class, as many as the how-tos need; only the first is one."""
    folder = tmp_path_factory.mktemp("own") / "IMAGES"
    for split in ("train", "val", "test"):
        (folder / split / "a").mkdir(parents=True)
        for image in range(600 if split == "train" else 2):
            (folder / split / "a" / f"{image}.png").touch()
    Image.new("RGB", (4, 4)).save(folder / "train" / "a" / "0.png")
    return folder


@pytest.mark.parametrize(("page", "program", "arguments"), commands())
def test_a_command_composes_and_passes_the_check(page, program, arguments, stranger, own_images, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(early_loggers, "installed", lambda package: True)
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=10**12))  # this machine's may be full
    own = stranger(page)
    (own.folder / "IMAGES").symlink_to(own_images)
    if program == "train" and "study=" in arguments:
        words = [word for word in shlex.split(arguments) if word != "-m" and not of_launcher(word)]
        of_study = [*study_words(words), "study.seeds=[0]"]  # one is enough to compose every group
        with own.running("train", of_study):
            assert study_train.composed(of_study, [word for word in words if word not in of_study]).runs
        return
    for overrides in jobs(arguments):
        with own.running(program, overrides) as cfg:
            if program == "analyze":
                assert cfg.task in tasks.TASKS
                probes = plain(cfg).get("probe") or {}
                assert [built(node).name for node in probes.values()] == list(probes)
            else:
                assert [problem for problem in check(cfg) if NOT_THERE not in problem] == []


def test_the_study_of_the_example_passes_the_check_and_its_number_of_seeds_is_the_planners(stranger):
    own = stranger("run-a-study")
    with own.running("train", ["study=mine"]):
        found = study_train.composed(["study=mine", "study.seeds=[0]"], [])
    assert [one.group for one in found.runs] == ["control", "smoothing"]
    for one in found.runs:
        assert check(own.compose("train", list(one.run.overrides))) == []


def test_two_files_are_a_loss_that_keeps_the_contract(stranger, monkeypatch, tmp_path, tiny_info):
    own = stranger("add-a-loss")
    loss = imported("test_loss_contract", monkeypatch)
    processes = imported("two_processes", monkeypatch)
    found_by = processes.found_by  # by fork: a child that begins anew would not know the stranger's folder
    monkeypatch.setattr(processes, "found_by", lambda work, world, folder, *_: found_by(work, world, folder))
    monkeypatch.setattr(loss, "FOLDER", own.conf / "loss")
    pairs = [lambda kinds=kinds: processes.make_pair(tiny_info, *kinds) for kinds in loss.PAIRS.values()]
    parts = loss.in_two_processes({"pooled": loss.term_of("pooled")}, tmp_path)
    assert contract(loss, "pooled", two=pairs, mixed=[False, True], parts=[parts]) > 40


def test_two_files_are_a_probe_that_keeps_the_contract(stranger, monkeypatch):
    own = stranger("add-a-probe")
    probes = imported("test_every_probe", monkeypatch)
    monkeypatch.setattr(probes, "CONF", own.conf)
    data = ImageData(probes.cues(train=100, val=30, test=30), Augment(), batch_size=10, eval_batch_size=12)
    teacher = probes.Teacher(probes.small_cnn(data.info, widths=[4, 8]), "small")
    assert contract(probes, "margin", data=[data], teacher=[teacher], family=["cnn", "vit"]) == 4
    path = own.conf / "callback" / "probe_margin.yaml"
    monkeypatch.setattr("config_base.composed", lambda overrides: own.compose("train", overrides))
    probes.test_a_callback_runs_the_probe_of_its_name_and_draws_it(path)


def test_the_margin_of_the_example_is_right(stranger):
    margin = stranger("add-a-probe").module("probes")
    data = ImageData(
        build({"_target_": "kdbias.data.cues.cues", "train": 20, "val": 8}), Augment(), batch_size=4, eval_batch_size=3
    )
    network = build({"_target_": "kdbias.models.resnet_cifar.small_cnn", "widths": [4, 8]}, data.info).eval()
    found = margin.MarginProbe()(network, data.batches("val"))
    with torch.no_grad():
        logits = torch.cat([network(batch.image).logits for batch in data.batches("val")]).sort(1).values
    np.testing.assert_allclose(found.arrays["margins"], logits[:, -1] - logits[:, -2], rtol=1e-4, atol=1e-6)


def test_the_data_set_of_the_example_is_one(stranger):
    own = stranger("add-a-dataset")
    source = build({**own.compose("train", ["data=flags"]).data, "root": str(own.folder)})
    with pytest.raises(FileNotFoundError, match=r"point data\.root at the folder"):
        source.prepare()
    stored = {f"{part}images": torch.zeros(10_000, 3, 32, 32, dtype=torch.uint8) for part in ("", "test_")}
    stored |= {f"{part}labels": torch.arange(10_000) % 3 for part in ("", "test_")}
    torch.save(stored, own.folder / "flags.pt")
    data = ImageData(source, Augment(), batch_size=64, eval_batch_size=100)
    data.prepare_data()
    assert [data.count(split) for split in ("train", "val", "test")] == [source.info.train, 500, 10_000]
    assert next(data.batches("val", limit=5)).image.shape == (5, 3, 32, 32)


def test_the_network_of_the_example_is_read(stranger, tiny_info: DataInfo):
    own = stranger("add-a-teacher")
    node = own.compose("train", ["model=tiny"]).model
    network = build(node, tiny_info).eval()
    assert node.keys() - {"_target_"} == inspect.signature(own.module("models").tiny).parameters.keys() - {"data"}
    assert [(layer.width, layer.grid) for layer in network.info.layers] == [(32, (16, 16)), (64, (8, 8))]
    image = torch.rand(2, 3, 32, 32)
    found = network(image)
    torch.testing.assert_close(found.logits, network.network(network.prepare(image)))
    assert found.pooled.shape == (2, 64)


def test_the_scripts_run(stranger, monkeypatch):
    make = timm.create_model
    own = stranger("add-a-teacher")
    pages = [
        page for page in PAGES if page not in ("export", "from-python", "own-images")
    ]  # these have tests of their own
    scripts = [body for page in pages for language, body, place in blocks(page) if language == "python" and not place]
    methods = [body for body in scripts if body.startswith("def ")]  # of a class that the page names
    for body in methods:
        compile(f"from __future__ import annotations\n{body}", "howto", "exec")
    scripts = [body for body in scripts if body not in methods]
    assert (len(methods), len(scripts)) == (1, 1)
    with monkeypatch.context() as without_download:
        without_download.setattr(timm, "create_model", lambda name, pretrained: make(name, pretrained=False))
        exec(compile(scripts[0], "howto", "exec"), {})
    cfg = own.compose(
        "train", ["experiment=exp1_kl", "loss=[ce,token]", "teacher=dinov2", "teacher.weights=dinov2.safetensors"]
    )
    assert [problem for problem in check(cfg) if problem.startswith("teacher")] == []


def test_the_call_for_images_of_ones_own_passes_the_check(monkeypatch, tmp_path):
    """With as many images as the page says, in folders whose names have blanks and umlauts."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KDBIAS_RUNS", raising=False)
    for number, name in enumerate(["müde Katzen", "große Schiffe", "Pferde"] * 60):
        for part in ("train", "test"):
            path = tmp_path / "IMAGES" / part / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    ((body, _),) = [(body, place) for language, body, place in blocks("own-images") if language == "python"]
    values = {one.targets[0].id: ast.literal_eval(one.value) for one in ast.parse(body).body[1:3]}
    named = {"data": values["images"], "model": "vit", "teacher": "resnet20", "loss": ["ce", "kl"], **values["more"]}
    settings = named.pop("settings")
    require_command(command(named, settings), "train")


def test_the_page_for_python_runs_from_top_to_bottom(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KDBIAS_RUNS", raising=False)
    names: dict[str, object] = {}
    for _, body, _ in blocks("from-python"):
        exec(compile(body, "from-python", "exec"), names)
    said = capsys.readouterr().out
    assert "attention  distance" in said
    assert "epoch: there is no such setting: did you mean epochs=3?" in said
    assert names["run"].folder.parent == tmp_path / "runs" / "train"
    assert {"accuracy", "attention"} <= names["figures"].keys()


def test_the_page_of_exports_runs_from_top_to_bottom(stranger, capsys):
    own = stranger("export")
    for program, arguments in [found[1:] for found in commands() if found[0] == "export"]:
        if "format=onnx" not in arguments:
            (words,) = jobs(arguments)
            tasks.run(own.compose(program, words))
    assert capsys.readouterr().out.count("largest difference of the logits: 0 ") == 1
    names: dict[str, torch.Tensor] = {}
    for language, body, _ in blocks("export"):
        if language == "python":
            exec(compile(body, "export", "exec"), names)
    assert names["logits"].shape == (2, 10)
