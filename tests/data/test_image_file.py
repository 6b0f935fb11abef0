import os
import struct
import warnings
import zlib

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from kdbias.batch import DataInfo
from kdbias.data.image_file import fit, middle, open_image, square
from kdbias.data.image_folder import read_image
from kdbias.data.mnist import fashion_mnist, mnist

COLOUR = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
MNIST, FOLDER = "kdbias.data.mnist.mnist", "kdbias.data.image_folder.image_folder"


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


DEEP = np.array([[0, 257, 65535], [32896, 771, 128]], np.uint16)
SHALLOW = np.array([[0, 1, 255], [128, 3, 0]])


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_16_bit_grey_comes_to_eight_bits(tmp_path, name):
    np.testing.assert_array_equal(read(saved(Image.fromarray(DEEP), tmp_path / name)), SHALLOW)


def test_a_transparent_value_of_16_bit_grey_becomes_white(tmp_path):
    path = saved(Image.fromarray(DEEP), tmp_path / "a.png", transparency=771)
    np.testing.assert_array_equal(read(path), np.where(SHALLOW == 3, 255, SHALLOW))


@pytest.mark.parametrize(("kind", "words"), [(np.int32, "32-bit"), (np.float32, "floating-point")])
def test_values_of_an_unknown_range_are_refused(tmp_path, kind, words):
    """Scaled by what each image happens to hold, two images of one scene would differ."""
    path = saved(Image.fromarray(DEEP.astype(kind)), tmp_path / "a.tif")
    with pytest.raises(ValueError, match=rf"a\.tif .*{words} values, whose range is not known\): convert it to 8"):
        open_image(path)


def test_print_colours_and_black_and_white(tmp_path):
    ink = np.zeros((8, 8, 4), np.uint8)
    ink[..., 0] = 255  # cyan
    found = read(saved(Image.fromarray(ink, mode="CMYK"), tmp_path / "a.tif"))
    np.testing.assert_array_equal(found, np.broadcast_to([0, 255, 255], (8, 8, 3)))
    one_bit = Image.fromarray(np.array([[0, 255], [0, 0]], np.uint8)).convert("1")
    np.testing.assert_array_equal(read(saved(one_bit, tmp_path / "b.png")), [[0, 255], [0, 0]])


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


HEADER = struct.Struct(">IIBBBBB")


def png_of_size(path, width, height):
    """A PNG whose header promises so many pixels, and which holds none."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", HEADER.pack(width, height, 8, 2, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b""))
    return path


@pytest.mark.parametrize("size", [(12_000, 12_000), (8_001, 8_000), (40_000, 40_000)])
def test_an_image_of_too_many_pixels_is_refused_by_its_header(tmp_path, size):
    path = png_of_size(tmp_path / "a.png", *size)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with pytest.raises(
            ValueError, match=r"a\.png .* more than 64 million.*: make it smaller, or remove it"
        ) as found:
            open_image(path)
    assert "\n" not in str(found.value)
    with pytest.raises(ValueError, match=r"truncated|repair or remove"):
        open_image(png_of_size(path, 8_000, 8_000))  # the largest is decoded


@pytest.mark.parametrize(
    ("size", "read"),
    [((1, 1), False), ((3000, 1), False), ((1, 50), False), ((2, 2), True), ((200, 2), True), ((201, 2), False)],
)
def test_an_image_too_thin_to_be_resized_is_refused(tmp_path, size, read):
    path = saved(Image.new("RGB", size, "red"), tmp_path / "a.png")
    if read:
        assert open_image(path).size == size
    else:
        with pytest.raises(ValueError, match=rf"a\.png .*it has {size[0]}x{size[1]} px.*: cut it to a part"):
            open_image(path)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.bmp", "a.tif", "a.gif", "a.ppm"])
def test_half_a_file_is_refused_and_a_whole_one_read(tmp_path, name):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 48, 3), dtype=np.uint8))
    path = saved(image, tmp_path / name)
    assert open_image(path).size == (48, 64)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match=rf"{name} cannot be read as an image .*remove it") as found:
        open_image(path)
    assert "\n" not in str(found.value)


def test_other_formats_of_pillow_are_refused(tmp_path):
    path = saved(Image.new("RGB", (8, 8)), tmp_path / "a.pdf").rename(tmp_path / "a.png")
    with pytest.raises(ValueError, match="its format is not known"):
        open_image(path)
    path = saved(Image.new("RGB", (8, 8)), tmp_path / "a.ico").rename(tmp_path / "b.png")
    with pytest.raises(ValueError, match="its format is not known"):
        open_image(path)


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"a\.png is no file"):
        open_image(tmp_path / "a.png")


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize("block", [b"nonsense", b"MM\0\x2a\0\0\0\x08\0\x01", b"II\x2a\0\xff\xff\xff\x7f"])
def test_a_broken_exif_block_leaves_the_image_as_it_is(tmp_path, block):
    plain, broken = (tmp_path / name for name in ("a.jpg", "b.jpg"))
    image = Image.fromarray(COLOUR)
    saved(image, plain)
    saved(image, broken, exif=b"Exif\0\0" + block)
    np.testing.assert_array_equal(read(broken), read(plain))


PLAIN = {  # what has neither orientation nor transparency, by the name of its file
    "rgb.png": lambda image: image,
    "rgb.jpg": lambda image: image,
    "grey.png": lambda image: image.convert("L"),
    "grey.jpg": lambda image: image.convert("L"),
    "black-and-white.png": lambda image: image.convert("1"),
    "palette.png": lambda image: image.convert("P"),
    "opaque.png": lambda image: image.convert("RGBA"),
    "opaque-grey.png": lambda image: image.convert("LA"),
    "ink.jpg": lambda image: image.convert("CMYK"),
}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", PLAIN)
def test_a_plain_image_has_the_very_pixels_that_pillow_gives(tmp_path, name, channels):
    noise = Image.fromarray(np.random.default_rng(3).integers(0, 256, (40, 31, 3), dtype=np.uint8))
    path = saved(PLAIN[name](noise), tmp_path / name)
    converted = Image.open(path).convert("RGB" if channels == 3 else "L")
    resized = F.resize(converted, [16], InterpolationMode.BICUBIC)
    assert torch.equal(square(open_image(path), channels, 16), F.pil_to_tensor(F.center_crop(resized, [16])))


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


def paper():
    """A dark square on a light ground."""
    drawn = Image.new("RGB", (56, 56), "white")
    drawn.paste("black", (20, 20, 36, 36))
    return drawn


@pytest.mark.parametrize("info", [mnist(root="data").info, fashion_mnist(root="data").info], ids=["digits", "fashion"])
@pytest.mark.parametrize("built_by", [None, MNIST])
def test_a_digit_on_paper_is_inverted_for_mnist(info, built_by):
    found = fit(paper(), info, built_by)
    assert found.shape == (1, 28, 28)
    assert found[0, 0, 0] == 0
    assert found[0, 14, 14] == 255
    screen = Image.eval(paper(), lambda value: 255 - value)
    assert torch.equal(fit(screen, info, built_by), found)


@pytest.mark.parametrize("size", [28, 32])
def test_a_digit_that_was_saved_is_the_digit_of_the_data(tmp_path, size):
    digit = torch.zeros(28, 28, dtype=torch.uint8)
    digit[1:27, 9:19] = torch.randint(0, 256, (26, 10), dtype=torch.uint8)
    padded = torch.nn.functional.pad(digit, [(size - 28) // 2] * 4)
    info = mnist(root="data", size=size).info
    for image in (digit, padded):
        path = saved(Image.fromarray(image.numpy()), tmp_path / "digit.png")
        assert torch.equal(fit(open_image(path), info), padded[None])


@pytest.mark.parametrize("mean", [0.4, 0.6])
def test_grey_images_of_a_folder_keep_a_light_background(tmp_path, mean):
    """Also dark ones, such as those of X-rays, and those with the statistics of MNIST, if their builder is known."""
    path = saved(paper(), tmp_path / "grey.png")
    grey = DataInfo(1, 28, 2, ("a", "b"), 10, (mean,), (0.3,))
    for found in (fit(open_image(path), grey), fit(open_image(path), mnist(root="data").info, FOLDER)):
        assert torch.equal(found, read_image(path, 1, 28))
        assert found[0, 0, 0] == 255
