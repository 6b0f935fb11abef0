"""Texture, conflict, superpixels, contours and silhouettes, and drawings from a folder."""

import numpy as np
import pytest
import torch
from PIL import Image
from sets import made, pixels, small

from kdbias.batch import DataInfo
from kdbias.data.image_folder import read_image
from kdbias.stress import grabcut, load, shape
from kdbias.stress.chain import Chain
from kdbias.stress.conflict import Conflict
from kdbias.stress.donors import amplitude_of, with_amplitude
from kdbias.stress.enlarged import Enlarged
from kdbias.stress.folder import Folder
from kdbias.stress.shape import Shape
from kdbias.stress.stress_set import generator
from kdbias.stress.superpixel import Superpixel, mean_colours
from kdbias.stress.texture import Texture

IMAGES, LABELS = pixels(60)


def rng(seed=0):
    return np.random.default_rng(seed)


def test_an_image_with_its_own_amplitudes_is_itself_and_another_spectrum_is_taken():
    np.testing.assert_array_equal(with_amplitude(IMAGES[0], amplitude_of(IMAGES[0])), IMAGES[0])
    soft = (0.3 * IMAGES[:2] + 90).astype(np.uint8)  # far from 0 and 255, so that nothing is clipped
    found = with_amplitude(soft[0], amplitude_of(soft[1]))
    np.testing.assert_allclose(amplitude_of(found)[0, 0], amplitude_of(soft[1])[0, 0], rtol=0.01)
    near = np.abs(amplitude_of(found) - amplitude_of(soft[1])).mean()
    assert near < np.abs(amplitude_of(soft[0]) - amplitude_of(soft[1])).mean() / 5


def test_the_texture_of_a_class_is_that_of_its_mean_amplitude():
    stress = Texture(donor="class").bind(IMAGES, LABELS)
    expected = np.mean([amplitude_of(image) for image in IMAGES[LABELS == 3]], axis=0)
    np.testing.assert_allclose(stress.mean_amplitude(3), expected)


def test_the_texture_of_a_class_is_never_that_of_the_images_own():
    two = np.isin(LABELS, (0, 1))
    images, labels = IMAGES[two], LABELS[two]
    stress = Texture(donor="class").bind(images, labels)
    expected = with_amplitude(images[0], stress.mean_amplitude(1 - int(labels[0])))
    for seed in range(8):
        np.testing.assert_array_equal(stress(images[0], int(labels[0]), 1.0, rng(seed)), expected)


def test_texture_never_takes_the_image_itself():
    pair = IMAGES[:2]
    stress = Texture().bind(pair, np.array([0, 1]))
    for seed in range(8):
        found = stress(pair[0], 0, 1.0, rng(seed))
        np.testing.assert_array_equal(found, with_amplitude(pair[0], amplitude_of(pair[1])))


def test_engines_and_donors_that_are_not_there_are_named():
    with pytest.raises(ValueError, match=r"stress\.texture\.engine: gatys needs the weights.*choose spectral"):
        Texture(engine="gatys")
    with pytest.raises(RuntimeError, match="bind"):
        Texture()(IMAGES[0], 0, 1.0, rng())
    with pytest.raises(ValueError, match="two classes"):
        Conflict().bind(IMAGES[:1], LABELS[:1])


def test_a_conflict_never_has_the_class_twice_and_says_the_other(tmp_path):
    class Photographs:
        info = small().info

        def split(self, name):
            return torch.from_numpy(IMAGES).permute(0, 3, 1, 2), torch.from_numpy(LABELS)

    found = load(Conflict(), Photographs(), root=tmp_path)
    torch.testing.assert_close(found.target, torch.from_numpy(LABELS))
    texture = found.notes["texture"]
    assert (texture != found.target).all()
    assert texture.unique().numel() > 5
    clean = load(Conflict(), Photographs(), root=tmp_path, strength=0.0)
    torch.testing.assert_close(clean.image, Photographs().split("test")[0])
    assert (clean.notes["texture"] == -1).all()


def test_on_cues_a_conflict_is_drawn_by_construction(tmp_path):
    source = small(30)
    found, expected = load(Conflict(), source, root=tmp_path), source.variant("conflict", 30)
    torch.testing.assert_close(found.image, expected.image)
    torch.testing.assert_close(found.notes["texture"], expected.texture)
    torch.testing.assert_close(found.target, source.split("test")[1])
    clean = load(Conflict(), source, root=tmp_path, strength=0.0)
    torch.testing.assert_close(clean.image, source.split("test")[0])
    with pytest.raises(ValueError, match="split=test"):
        load(Conflict(), source, root=tmp_path, split="train")


def test_mean_colours_fill_segments_and_a_flat_image_stays():
    segments = np.zeros((4, 4), np.int64)
    segments[:, 2:] = 1
    image = np.zeros((4, 4, 3), np.uint8)
    image[:, 2:] = [10, 20, 30]
    image[0, 2] = [50, 60, 70]
    found = mean_colours(image, segments)
    np.testing.assert_array_equal(found[:, :2], 0)
    np.testing.assert_array_equal(found[:, 2:], np.broadcast_to([15, 25, 35], (4, 2, 3)))
    flat = np.full((32, 32, 3), 77, np.uint8)
    np.testing.assert_array_equal(Superpixel()(flat, 0, 1.0, rng()), flat)


def test_fewer_segments_have_fewer_colours():
    counts = [
        len(np.unique(Superpixel(segments)(IMAGES[0], 0, 1.0, rng()).reshape(-1, 3), axis=0))
        for segments in (25, 100, 400)
    ]
    assert counts == sorted(counts)
    assert 4 <= counts[0] <= 40 < counts[1]


def square():
    image = np.full((32, 32, 3), 220, np.uint8)
    image[10:22, 10:22] = [30, 60, 120]
    return image


def test_contours_lie_on_the_edge_and_nowhere_else():
    found, notes = Shape().noted(square(), 0, 1.0, rng())
    dark = found[..., 0] < 250
    inside = np.zeros((32, 32), bool)
    inside[8:24, 8:24] = True
    inside[12:20, 12:20] = False
    assert dark.any()
    assert not (dark & ~inside).any()
    assert notes == {"found": 1}
    blank, notes = Shape().noted(np.full((32, 32, 3), 9, np.uint8), 0, 1.0, rng())
    assert notes == {"found": 0}
    assert (blank == 255).all()


def test_grabcut_finds_a_square_and_says_where_it_finds_none():
    pytest.importorskip("cv2")
    found, notes = Shape(engine="grabcut").noted(square(), 0, 1.0, rng())
    assert notes == {"found": 1}
    assert (found[10:22, 10:22] == 0).all()
    found[8:24, 8:24] = 255  # enlarged, the square has a rim of mixed colours
    assert (found == 255).all()
    background = Shape(engine="grabcut", show="background")(square(), 0, 1.0, rng())
    assert np.abs(background.astype(int) - 220).mean() < 6
    kept = Shape(engine="grabcut", show="object")(square(), 0, 1.0, rng())
    assert np.abs(kept.astype(int)[12:20, 12:20] - square()[12:20, 12:20]).max() <= 1
    blank, notes = Shape(engine="grabcut").noted(np.full((32, 32, 3), 9, np.uint8), 0, 1.0, rng())
    assert notes == {"found": 0}
    assert (blank == 255).all()


def test_a_fragment_does_not_count_as_found(monkeypatch):
    tiny = np.zeros((128, 128), bool)
    tiny[:10, :10] = True
    monkeypatch.setattr(shape, "silhouette", lambda image, seed: tiny)
    monkeypatch.setattr(shape, "find_spec", lambda name: True)
    assert Shape(engine="grabcut").noted(square(), 0, 1.0, rng())[1] == {"found": 0}
    tiny[:40, :40] = True
    assert Shape(engine="grabcut").noted(square(), 0, 1.0, rng())[1] == {"found": 1}


def test_grabcut_without_opencv_names_the_engine_that_needs_none(monkeypatch):
    monkeypatch.setattr(shape, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"grabcut needs OpenCV.*choose edges"):
        Shape(engine="grabcut")
    assert grabcut.ITERATIONS == 5


INFO = DataInfo(3, 32, 3, ("cat", "Fire_Truck", "dog"), 1, (0.5,) * 3, (0.2,) * 3)


def drawing(path, mode="RGBA", size=(50, 40)):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGBA", size, (0, 0, 0, 0))
    image.paste((200, 0, 0, 255), (size[0] // 2 - 3, size[1] // 2 - 3, size[0] // 2 + 3, size[1] // 2 + 3))
    image.convert(mode).save(path)


def test_drawings_of_any_mode_are_matched_by_the_name_of_their_folder(tmp_path):
    drawing(tmp_path / "dog/b.png")
    drawing(tmp_path / "dog/a.png", "L")
    drawing(tmp_path / "fire truck/z.png", "P", (64, 90))
    (tmp_path / "dog/notes.txt").write_text("x")
    found = load(Folder(str(tmp_path)), type("Source", (), {"info": INFO}), root=tmp_path / "unused")
    assert found.target.tolist() == [1, 2, 2]
    assert found.image.shape == (3, 3, 32, 32)
    assert (found.image[2, :, 0, 0] == 255).all()  # transparent is white
    assert found.image[2, :, 16, 16].tolist() == pytest.approx([200, 0, 0], abs=12)
    assert "1 .txt" in found.manifest["found"]


def test_a_folder_is_of_the_class_of_its_very_name(tmp_path):
    """Classes of letters differ by their case alone, as in EMNIST."""
    letters = DataInfo(3, 32, 4, ("A", "a", "b_c", "Caf\u00e9"), 1, (0.5,) * 3, (0.2,) * 3)
    for name in ("A", "a", "B C", "cafe\u0301"):
        drawing(tmp_path / name / "a.png")
    assert Folder(str(tmp_path)).images(letters, 1.0).target.tolist() == [0, 1, 2, 3]


def test_a_folder_that_may_be_of_two_classes_is_refused(tmp_path):
    drawing(tmp_path / "fire truck" / "a.png")
    two = DataInfo(3, 32, 3, ("fire_truck", "cat", "Fire-Truck"), 1, (0.5,) * 3, (0.2,) * 3)
    with pytest.raises(ValueError, match="the folder fire truck may be of the classes fire_truck and Fire-Truck: give"):
        Folder(str(tmp_path)).images(two, 1.0)


def test_grey_drawings_are_fed_as_training_reads_them(tmp_path):
    """A light ground stays light, though the data's images are dark on the whole."""
    drawing(tmp_path / "dog/a.png", "LA")  # transparent, so its ground is white
    grey = DataInfo(1, 32, 3, INFO.names, 10, (0.4,), (0.3,))
    found = Folder(str(tmp_path)).images(grey, 1.0)
    assert torch.equal(found.image[0], read_image(tmp_path / "dog/a.png", 1, 32))
    assert found.image[0, 0, 0, 0] == 255


@pytest.mark.parametrize(
    ("folders", "says"),
    [
        (["dog", "horse"], "horse name no class of the data: the classes are cat, Fire_Truck, dog"),
        ([], "no folder"),
    ],
)
def test_a_folder_that_names_no_class_is_one_clear_error(tmp_path, folders, says):
    for name in folders:
        drawing(tmp_path / name / "a.png")
    with pytest.raises(ValueError, match=says):
        Folder(str(tmp_path)).images(INFO, 1.0)


def test_other_mistakes_with_folders_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"stress\.folder\.root is not set"):
        Folder()
    with pytest.raises(ValueError, match="is no folder"):
        Folder(str(tmp_path / "absent")).images(INFO, 1.0)
    (tmp_path / "dog").mkdir()
    with pytest.raises(ValueError, match="dog has no image"):
        Folder(str(tmp_path)).images(INFO, 1.0)
    with pytest.raises(ValueError, match="strengths"):
        Folder(str(tmp_path)).images(INFO, 0.5)


PARTS = {"found": ("shape", "scramble"), "texture": ("conflict", "grey")}


@pytest.mark.parametrize("note", PARTS)
def test_a_chain_notes_what_its_parts_note(tmp_path, note):
    noting, rest = (made(name) for name in PARTS[note])
    for parts in ([noting, rest], [rest, noting]):
        found = load(Chain(parts), small(6), root=tmp_path)
        assert (found.notes[note] >= 0).all()
    clean, said = Chain([noting, rest]).noted(IMAGES[0], 3, 0.0, rng())
    assert said == {}
    np.testing.assert_array_equal(clean, IMAGES[0])


def test_a_silhouette_that_is_not_found_is_noted_by_a_chain():
    flat = np.full((32, 32, 3), 90, np.uint8)
    chain = Chain([Shape(), made("scramble")])
    assert chain.notes == ("found",)
    assert [chain.noted(image, 3, 1.0, rng())[1] for image in (IMAGES[0], flat)] == [{"found": 1}, {"found": 0}]


@pytest.mark.parametrize("kind", [lambda part: part, lambda part: Chain([part, made("grey")])], ids=["set", "chain"])
def test_an_enlarged_set_draws_from_enlarged_images_and_notes_as_its_part(kind):
    stress, part = Enlarged(kind(Conflict()), size=48).bind(IMAGES, LABELS), kind(Conflict())
    large = [np.array(Image.fromarray(image).resize((48, 48), Image.Resampling.BILINEAR)) for image in IMAGES]
    changed, said = part.bind(np.stack(large), LABELS).noted(large[0], int(LABELS[0]), 1.0, rng())
    found, noted = stress.noted(IMAGES[0], int(LABELS[0]), 1.0, rng())
    assert noted == said
    assert stress.notes == part.notes == ("texture",)
    np.testing.assert_array_equal(found, Image.fromarray(changed).resize((32, 32), Image.Resampling.BOX))


def test_an_enlarged_set_has_the_strengths_of_its_part():
    with pytest.raises(ValueError, match="strengths"):
        Enlarged(made("gaussian_noise"), size=48).require_strength(0.31)
    own = Enlarged(made("scramble"), size=48)
    assert own.bind(IMAGES, LABELS) is own


def test_every_note_is_read_again(tmp_path):
    found = load(made("shape"), small(6), root=tmp_path)
    assert found.notes["found"].tolist() == [1] * 6
    assert generator(made("shape"), 0, 0).random() == generator(made("shape"), 0, 0).random()
