"""A checkpoint that somebody sent: its description builds networks of this package and runs nothing."""

import json
import sys
import time
from pathlib import Path

import preloaded
import pytest
import torch

from kdbias.batch import DataInfo
from kdbias.config.build import build
from kdbias.models.checkpoint import load_student, read_spec
from kdbias.models.resnet_cifar import small_cnn

INFO = DataInfo(3, 32, 10, tuple("abcdefghij"), 100, (0.5,) * 3, (0.25,) * 3)
NAMES = [
    "kdbias.runs.process.run",
    "kdbias.runs.process.child",
    "kdbias.config.build.import_module",
    "kdbias.models.weights.load_file",
    "kdbias.models.checkpoint.Path",
    "kdbias.models.teacher.teacher_from_weights",
    "kdbias.data.image_folder.image_folder",
    "kdbias.callbacks.history.History",
    "kdbias.modules.loggers.csv",
    "os.system",
    "subprocess.check_call",
]


def sent(folder: Path, model: dict) -> Path:
    path = folder / "sent.ckpt"
    torch.save({"hyper_parameters": {"spec": {"model": model, "data": INFO.to_dict()}}, "state_dict": {}}, path)
    return path


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("nested", [False, True])
def test_a_description_runs_nothing(tmp_path, monkeypatch, name, nested):
    monkeypatch.chdir(tmp_path)
    node = {"_target_": name, "command": ["touch", "ran"], "log": None, "args": ["touch", "ran"]}
    path = sent(tmp_path, {"_target_": "kdbias.models.deit.deit_tiny", "layers": [node]} if nested else node)
    with pytest.raises(ValueError, match=r"builds no network of this package: (_target_ must name|layers)") as error:
        load_student(path)
    assert str(path) in str(error.value)
    assert [file.name for file in tmp_path.iterdir()] == ["sent.ckpt"]
    assert read_spec(path)["data"] == INFO.to_dict()


SMALL = {"_target_": "kdbias.models.resnet_cifar.small_cnn", "widths": [4, 8, 8]}
VIT = {"_target_": "kdbias.models.deit.vit", "width": 24, "depth": 2, "heads": 3}
TIMM = {"_target_": "kdbias.models.timm_network.timm_network", "name": "resnet18"}
HUGE = {  # what the description says of the network and of the images; the weights are those of SMALL
    "width": ({**VIT, "width": 10**6, "heads": 1}, {}),
    "width-within-the-values": ({**VIT, "width": 3000, "heads": 1, "depth": 16}, {}),
    "depth": ({**VIT, "depth": 10**9}, {}),
    "depth-of-the-tensors": ({**VIT, "depth": 40}, {}),
    "depth-below-zero": ({**VIT, "depth": -(10**9)}, {}),
    "heads": ({**VIT, "heads": 10**12}, {}),
    "mlp": ({**VIT, "mlp_ratio": 1e12}, {}),
    "mlp-infinite": ({**VIT, "mlp_ratio": float("inf")}, {}),
    "mlp-nan": ({**VIT, "mlp_ratio": float("nan")}, {}),
    "size": ({**VIT, "size": 10**6}, {}),
    "size-within-the-values": ({**VIT, "size": 4096}, {}),
    "blocks": ({**SMALL, "blocks": 10**8}, {}),
    "blocks-of-the-tensors": ({**SMALL, "widths": [4] * 50, "blocks": 50}, {}),
    "widths": ({**SMALL, "widths": [4] * 10**6}, {}),
    "widths-wide": ({**SMALL, "widths": [10**5, 10**5]}, {}),
    "layers": ({**SMALL, "layers": [0] * 10**6}, {}),
    "data-size": (SMALL, {"size": 10**6}),
    "data-size-within-the-values": (SMALL, {"size": 4096}),
    "data-channels": (SMALL, {"channels": 10**9}),
    "data-classes": (SMALL, {"classes": 10**10}),
    "data-classes-within-the-values": (SMALL, {"classes": 4000}),
    "data-mean": (SMALL, {"mean": [float("nan")] * 3}),
    "timm": ({**TIMM, "name": "vit_giant_patch14_dinov2", "size": 518}, {}),
    "timm-size": ({**TIMM, "size": 10**7}, {}),
}


def too_large(folder: Path) -> dict[str, str]:
    """Load every checkpoint of ``HUGE``; give what is said of it."""
    state = small_cnn(INFO, widths=(4, 8, 8)).state_dict()
    said = {}
    for name, (model, data) in HUGE.items():
        path = folder / f"{name}.ckpt"
        spec = {"model": model, "data": {**INFO.to_dict(), **data}}
        content = {"hyper_parameters": {"spec": spec}, "state_dict": {f"student.{k}": v for k, v in state.items()}}
        torch.save(content, path)
        began = time.perf_counter()
        try:
            load_student(path)
        except ValueError as error:
            said[name] = f"{time.perf_counter() - began:.3f} {error}"
    return said


def test_a_description_that_asks_for_too_much_is_refused_before_it_takes_memory_or_time(tmp_path):
    code = (
        "import json, resource, sys; from pathlib import Path; import test_checkpoint_attack as attack\n"
        "from kdbias.models.checkpoint import load_student\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before = peak(); said = attack.too_large(Path(sys.argv[1]))\n"
        "print(json.dumps({'said': said, 'kilobytes': peak() - before}))"
    )
    done = preloaded.run([sys.executable, "-c", code, str(tmp_path)])
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["said"].keys() == HUGE.keys()
    for name, text in found["said"].items():
        seconds, _, error = text.partition(" ")
        assert float(seconds) < 5, name
        assert f"{name}.ckpt: its description builds no network of this package: " in error
    assert found["kilobytes"] < 2**20


@pytest.mark.parametrize("network", [SMALL, VIT, {**VIT, "distilled": True, "conv_stem": True}, {**TIMM, "size": 64}])
def test_what_is_loaded_equals_what_was_saved_and_the_generators_go_on_as_before(network, tmp_path):
    torch.manual_seed(0)
    made = build(network, INFO, group="model").eval()
    after = torch.rand(3)
    spec = {"model": network, "data": INFO.to_dict()}
    state = {f"student.{k}": v for k, v in made.state_dict().items()}
    torch.save({"hyper_parameters": {"spec": spec}, "state_dict": state}, tmp_path / "best.ckpt")
    torch.manual_seed(0)
    loaded = load_student(tmp_path / "best.ckpt")
    assert torch.equal(torch.rand(3), after)
    image = torch.rand(2, 3, 32, 32)
    assert torch.equal(loaded(image).logits, made(image).logits)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([1, 2], "no checkpoint of kdbias"),
        ({"hyper_parameters": [1]}, "no checkpoint of kdbias"),
        ({"hyper_parameters": {"spec": "text"}}, "no checkpoint of kdbias"),
        ({"hyper_parameters": {"spec": {"model": "vit", "data": 3}}}, "no checkpoint of kdbias"),
        ({"hyper_parameters": {"spec": {"model": SMALL, "data": {}}}}, "builds no network .*must hold"),
        ({"hyper_parameters": {"spec": {"model": SMALL, "data": INFO.to_dict()}}}, "do not fit it: .* missing"),
        (
            {"hyper_parameters": {"spec": {"model": SMALL, "data": INFO.to_dict()}}, "state_dict": [1]},
            "do not fit it: .* missing",
        ),
        (
            {"hyper_parameters": {"spec": {"model": SMALL, "data": INFO.to_dict()}}, "state_dict": {1: 2}},
            "do not fit it: .* missing",
        ),
        (
            {
                "hyper_parameters": {"spec": {"model": SMALL, "data": INFO.to_dict()}},
                "state_dict": {"student.network.conv1.weight": "text"},
            },
            "holds no state dict",
        ),
    ],
)
def test_what_is_half_a_checkpoint_is_named(content, said, tmp_path):
    torch.save(content, tmp_path / "best.ckpt")
    with pytest.raises(ValueError, match=rf"best\.ckpt.*{said}"):
        load_student(tmp_path / "best.ckpt")
