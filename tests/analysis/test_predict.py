from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image
from safetensors.torch import save_file

from kdbias import zoo
from kdbias.analysis.predict import _labels, image_files, predict
from kdbias.config.build import build
from kdbias.config.errors import ConfigError
from kdbias.data.image_file import fit, open_image
from kdbias.data.image_folder import read_image
from kdbias.models.features import Extractor
from kdbias.probes.base import Result
from kdbias.probes.tta import averaged, views

CNN = {"_target_": "kdbias.models.resnet_cifar.small_cnn", "widths": [4, 8, 16]}


def run_folder(folder, info, model=CNN, data=None, **settings):
    """A run as training leaves it: a checkpoint that describes itself, and the config beside it."""
    torch.manual_seed(0)
    network: Extractor = build(model, info)
    state = {f"student.network.{k}": v for k, v in network.network.state_dict().items()}
    spec = {"model": model, "data": info.to_dict()}
    (folder / "checkpoints").mkdir(parents=True)
    torch.save({"state_dict": state, "hyper_parameters": {"spec": spec}}, folder / "checkpoints" / "best.ckpt")
    tree = {"augment": {"flip": True, **settings}} | ({} if data is None else {"data": {"_target_": data}})
    OmegaConf.save(OmegaConf.create(tree), folder / "config.yaml")
    return network.eval()


def config(tmp_path, **settings):
    base = {
        "runs": [str(tmp_path / "exp" / "one")],
        "teacher": {"name": None},
        "data": None,
        "trainer": {"accelerator": "cpu"},
        "eval_batch_size": 2,
        "out": str(tmp_path / "out"),
        "image": None,
        "tta": False,
        "top": 3,
    }
    return base | settings


@pytest.fixture
def network(tmp_path, tiny_info):
    return run_folder(tmp_path / "exp" / "one", tiny_info)


@pytest.fixture
def files(tmp_path):
    """Three images of unlike size and mode, one of them turned by its EXIF data."""
    folder, generator = tmp_path / "images", np.random.default_rng(0)
    folder.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    noise = [generator.integers(0, 256, shape, dtype=np.uint8) for shape in ((40, 60, 3), (50, 33, 4), (32, 32))]
    Image.fromarray(noise[0]).save(folder / "a.jpg", exif=exif)
    Image.fromarray(noise[1]).save(folder / "b.png")
    Image.fromarray(noise[2].astype(np.uint16) * 257).save(folder / "c.png")
    (folder / "notes.txt").write_text("no image")
    return sorted(path for path in folder.iterdir() if path.suffix != ".txt")


def test_a_folder_is_answered_as_the_network_answers(network, files, tiny_info, tmp_path, capsys):
    predict(config(tmp_path, image=str(files[0].parent)))
    result = Result.load(tmp_path / "out" / "exp-one", "predict")
    image = torch.stack([fit(open_image(file), tiny_info) for file in files]).float() / 255
    with torch.no_grad():
        expected = network(image).logits.softmax(1)
    np.testing.assert_allclose(result.arrays["probabilities"], expected, rtol=1e-5, atol=1e-7)
    images = result.meta["images"]
    assert [entry["file"] for entry in images] == [str(file) for file in files]
    for entry, row in zip(images, expected, strict=True):
        best = row.topk(3)
        assert entry["classes"] == [tiny_info.names[i] for i in best.indices]
        assert entry["probabilities"] == pytest.approx(best.values.tolist(), abs=1e-5)
    printed = capsys.readouterr().out
    for label in "abc":
        overlay = tmp_path / "out" / "exp-one" / f"predict-{label}.png"
        assert str(overlay) in printed.replace("\n", "")
        assert Image.open(overlay).size > (500, 300)
    assert f"{100 * float(expected[0].max()):.1f}" in printed
    assert printed.count("b.png") >= 1


def test_views_are_averaged_and_mirrored_only_where_training_mirrors(network, files, tiny_info, tmp_path):
    image = fit(open_image(files[1]), tiny_info)[None].float() / 255
    run_folder(tmp_path / "exp" / "upright", tiny_info, flip=False)
    runs = [str(tmp_path / "exp" / name) for name in ("one", "upright")]
    predict(config(tmp_path, image=str(files[1]), tta=True, runs=runs))
    for name, flip, count in (("one", True, 10), ("upright", False, 5)):
        result = Result.load(tmp_path / "out" / f"exp-{name}", "predict")
        with torch.no_grad():
            expected = averaged(network, image, views(flip=flip))
        assert result.meta["views"] == count
        np.testing.assert_allclose(result.arrays["probabilities"], expected, rtol=1e-5, atol=1e-7)


def test_a_network_of_grey_digits_sees_paper_as_its_own_images(tiny_info, tmp_path):
    grey = type(tiny_info)(1, 28, 10, tuple("0123456789"), 10, (0.13,), (0.31,))
    run_folder(tmp_path / "exp" / "one", grey, data="kdbias.data.mnist.mnist")
    paper = Image.new("RGB", (100, 80), "white")
    paper.paste("black", (45, 20, 55, 60))
    paper.save(tmp_path / "light.png")
    Image.eval(paper, lambda value: 255 - value).save(tmp_path / "dark.png")
    predict(config(tmp_path, image=[str(tmp_path / "light.png"), str(tmp_path / "dark.png")]))
    light, dark = Result.load(tmp_path / "out" / "exp-one", "predict").arrays["probabilities"]
    np.testing.assert_allclose(light, dark, rtol=1e-6)


def test_a_network_of_grey_images_from_folders_sees_what_it_was_trained_on(tiny_info, tmp_path, capsys):
    """A light background is no negative, though the images are dark on the whole."""
    grey = type(tiny_info)(1, 16, 2, ("a", "b"), 10, (0.4,), (0.3,))
    network = run_folder(tmp_path / "exp" / "one", grey, data="kdbias.data.image_folder.image_folder")
    path, image = tmp_path / "light.png", Image.new("L", (20, 16), "white")
    image.paste("black", (6, 4, 14, 12))
    image.save(path)
    predict(config(tmp_path, image=str(path)))
    with torch.no_grad():
        expected = network(read_image(path, 1, 16)[None] / 255).logits.softmax(1)
    found = Result.load(tmp_path / "out" / "exp-one", "predict").arrays["probabilities"]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert "light on black" not in capsys.readouterr().out


def test_images_of_one_name_do_not_overwrite_each_other(network, files, tmp_path):
    (tmp_path / "more").mkdir()
    again = tmp_path / "more" / "a.jpg"
    again.write_bytes(files[0].read_bytes())
    predict(config(tmp_path, image=[str(files[0]), str(again)]))
    found = sorted(path.name for path in (tmp_path / "out" / "exp-one").glob("*.png"))
    assert found == ["predict-a-0.png", "predict-a-1.png"]


def test_a_number_that_is_added_makes_no_name_of_another_image():
    files = [Path("x/a.png"), Path("y/a.png"), Path("x/a-0.png"), Path("b.png")]
    assert _labels(files) == ["a-1", "a-2", "a-0", "b"]


def test_one_run_may_stand_alone_and_a_folder_without_its_description_is_one_line(network, files, tmp_path):
    tree = config(tmp_path, image=str(files[0]))
    (named,) = tree["runs"]
    predict({**tree, "runs": named})
    folder = tmp_path / "exported"
    folder.mkdir()
    (folder / "network.safetensors").write_bytes(zoo.file_of(Path("demo-student")).read_bytes())
    with pytest.raises(ConfigError, match=r"^runs: .*network\.safetensors .*there is no network\.json beside it"):
        predict({**tree, "runs": [str(folder)]})


def test_a_network_by_name_is_asked_with_the_names_of_its_data(files, tmp_path):
    data = {"_target_": "kdbias.data.cues.cues", "train": 200, "val": 40, "test": 60}
    info = build(data, group="data").info
    torch.manual_seed(0)
    network = build(CNN, info)
    save_file(network.network.state_dict(), tmp_path / "w.safetensors")
    teacher = {"name": "small", "model": CNN, "weights": str(tmp_path / "w.safetensors")}
    predict(config(tmp_path, runs=[], teacher=teacher, data=data, image=str(files[1])))
    image = fit(open_image(files[1]), info)[None].float() / 255
    with torch.no_grad():
        best = network.eval()(image).logits[0].topk(3).indices
    (entry,) = Result.load(tmp_path / "out" / "small", "predict").meta["images"]
    assert entry["classes"] == [info.names[i] for i in best]


MISTAKES = {
    "no image": ({}, r"image: no image to look at: give image=FILE"),
    "a missing image": ({"image": "nowhere.png"}, r"image: nowhere\.png is not there: correct the path"),
    "no such run": ({"runs": ["nowhere"]}, r"runs: .*nowhere/checkpoints/best\.ckpt is not there; name a run folder"),
    "no run": ({"runs": []}, r"runs: no network to ask: give runs=\[RUN_DIR\]"),
    "no class": ({"top": 0}, r"top=0 must be a whole number from 1"),
    "a teacher without weights": (
        {"runs": [], "teacher": {"name": "resnet56", "weights": None}},
        r"teacher\.weights: teacher=resnet56 needs teacher\.weights=PATH",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_names_its_key_and_the_remedy(network, files, tmp_path, name):
    settings, text = MISTAKES[name]
    base = {} if name == "no image" else {"image": str(files[1])}
    with pytest.raises(ConfigError, match=text):
        predict(config(tmp_path, **(base | settings)))


def test_what_is_no_image_and_an_empty_folder_are_named(network, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"image: there is no image in the folder"):
        predict(config(tmp_path, image=str(tmp_path / "empty")))
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(ConfigError, match=r"image: .*text\.png cannot be read as an image .*give a PNG, JPEG"):
        predict(config(tmp_path, image=str(tmp_path / "text.png")))


def test_hidden_files_and_folders_are_no_images_of_a_folder(network, files, tmp_path):
    folder = files[0].parent
    (folder / "._a.jpg").write_bytes(b"a fork of resources")
    (folder / "more.png").mkdir()
    assert image_files(str(folder)) == files


def test_a_network_without_classifier_cannot_answer(tiny_info, files, tmp_path):
    run_folder(tmp_path / "exp" / "one", tiny_info, CNN | {"classes": None})
    with pytest.raises(ConfigError, match=r"runs: exp/one has no classifier \(self-supervised\): name a run that"):
        predict(config(tmp_path, image=str(files[1])))
