import numpy as np
import pytest
import torch
from PIL import Image

from kdbias.batch import DataInfo
from kdbias.data.image_file import fit, light_on_black, middle, open_image

COLOUR = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
GREY = DataInfo(1, 28, 10, tuple("0123456789"), 10, (0.13,), (0.31,))


def saved(image, path, **options):
    image.save(path, **options)
    return path


def read(path):
    return np.array(open_image(path))


TURNS = {  # how a stored image is made upright
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.transpose(1, 0, 2),
    6: lambda x: np.rot90(x, -1),
    7: lambda x: x.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda x: np.rot90(x, 1),
}


@pytest.mark.parametrize("orientation", TURNS)
def test_a_image_is_turned_as_its_orientation_says(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(Image.fromarray(COLOUR), tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read(path), TURNS[orientation](COLOUR))


def test_a_photograph_held_upright(tmp_path):
    stored = np.zeros((16, 32, 3), np.uint8)
    stored[:, :16] = 255  # light on its left, which was up
    exif = Image.Exif()
    exif[0x0112] = 6
    path = saved(Image.fromarray(stored), tmp_path / "a.jpg", exif=exif, quality=95)
    found = read(path)
    assert found.shape == (32, 16, 3)
    assert (found[:15] > 200).all()
    assert (found[17:] < 55).all()


def test_what_is_transparent_becomes_white(tmp_path):
    alpha = np.zeros((6, 9, 1), np.uint8)
    alpha[:3] = 255
    found = read(saved(Image.fromarray(np.concatenate([COLOUR, alpha], 2)), tmp_path / "a.png"))
    np.testing.assert_array_equal(found[:3], COLOUR[:3])
    assert (found[3:] == 255).all()
    half = np.concatenate([np.zeros((2, 2, 1), np.uint8), np.full((2, 2, 1), 51, np.uint8)], 2)
    grey = read(saved(Image.fromarray(half), tmp_path / "la.png"))
    np.testing.assert_array_equal(grey, np.full((2, 2, 3), 204))


def test_a_palette_gives_its_colours_and_may_be_transparent(tmp_path):
    image = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8)).convert("L")
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    expected = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [0, 255, 0]]])
    np.testing.assert_array_equal(read(saved(image, tmp_path / "a.png")), expected)
    expected[0, 1] = expected[1, 1] = 255
    np.testing.assert_array_equal(read(saved(image, tmp_path / "b.png", transparency=1)), expected)


def test_deep_images_come_to_eight_bits(tmp_path):
    values = np.array([[0, 257, 65535], [32896, 771, 128]], np.uint16)
    expected = np.array([[0, 1, 255], [128, 3, 0]])
    np.testing.assert_array_equal(read(saved(Image.fromarray(values), tmp_path / "a.png")), expected)
    np.testing.assert_array_equal(read(saved(Image.fromarray(values.astype(np.int32)), tmp_path / "a.tif")), expected)
    unit = np.array([[0.0, 0.5], [1.0, 0.25]], np.float32)
    np.testing.assert_array_equal(read(saved(Image.fromarray(unit), tmp_path / "b.tif")), [[0, 128], [255, 64]])
    np.testing.assert_array_equal(read(saved(Image.fromarray(200 * unit), tmp_path / "c.tif")), [[0, 100], [200, 50]])


def test_print_colours_and_black_and_white(tmp_path):
    ink = np.zeros((8, 8, 4), np.uint8)
    ink[..., 0] = 255  # cyan
    found = read(saved(Image.fromarray(ink, mode="CMYK"), tmp_path / "a.tif"))
    np.testing.assert_array_equal(found, np.broadcast_to([0, 255, 255], (8, 8, 3)))
    one_bit = Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1")
    np.testing.assert_array_equal(read(saved(one_bit, tmp_path / "b.png")), [[0, 255]])


def test_what_is_no_image_is_named(tmp_path):
    text = tmp_path / "a.png"
    text.write_text("no image")
    with pytest.raises(ValueError, match=r"a\.png cannot be read as an image \(its format is not known\)"):
        open_image(text)
    whole = saved(Image.fromarray(np.zeros((64, 64, 3), np.uint8)), tmp_path / "b.bmp").read_bytes()
    (tmp_path / "b.bmp").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"b\.bmp cannot be read as an image"):
        open_image(tmp_path / "b.bmp")
    with pytest.raises(ValueError, match=r"c\.png is not there"):
        open_image(tmp_path / "c.png")


@pytest.mark.parametrize("size", [(1, 1), (32, 32), (640, 200), (31, 500)])
def test_any_size_fits(tiny_info, size):
    image = fit(Image.new("RGB", size, (10, 20, 30)), tiny_info)
    assert image.dtype == torch.uint8
    assert torch.equal(image, torch.tensor([10, 20, 30], dtype=torch.uint8).view(3, 1, 1).expand(3, 32, 32))


def test_a_image_of_the_right_size_is_not_touched_and_the_middle_is_kept(tiny_info):
    exact = np.random.default_rng(1).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    assert torch.equal(fit(Image.fromarray(exact), tiny_info), torch.from_numpy(exact).permute(2, 0, 1))
    wide = Image.new("RGB", (300, 100), "red")
    wide.paste("blue", (100, 0, 200, 100))
    assert torch.equal(fit(wide, tiny_info)[:, 1, 1], torch.tensor([0, 0, 255], dtype=torch.uint8))
    assert middle(wide).shape == (3, 100, 100)
    assert (middle(wide)[2] == 255).all()


def test_shrinking_does_not_alias(tiny_info):
    stripes = np.tile(np.array([[0], [255]], np.uint8), (160, 320))
    grey = fit(Image.fromarray(stripes), tiny_info)[:, 2:-2].float()
    assert (grey - 127.5).abs().max() < 8


def test_a_digit_on_paper_is_inverted_for_data_that_is_light_on_black():
    paper = Image.new("RGB", (56, 56), "white")
    paper.paste("black", (20, 20, 36, 36))
    found = fit(paper, GREY)
    assert found.shape == (1, 28, 28)
    assert found[0, 0, 0] == 0
    assert found[0, 14, 14] == 255
    screen = Image.eval(paper, lambda value: 255 - value)
    assert torch.equal(fit(screen, GREY), found)
    assert light_on_black(GREY)
    photographs = DataInfo(1, 28, 2, ("a", "b"), 10, (0.6,), (0.3,))
    assert fit(paper, photographs)[0, 0, 0] == 255
