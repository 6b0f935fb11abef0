"""The one reader of image files: what a file of any format, size and mode shows, in training as in ``task=predict``."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

import numpy as np
import PIL
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from kdbias.batch import DataInfo
from kdbias.data.mnist import SIZES, as_mnist, is_mnist
from kdbias.files import printable

HOW = "turned as the camera held it, laid over white, shorter side resized (bicubic, antialiased), middle cut out"
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "PPM")
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm")
MOST_PIXELS = 64_000_000
LEAST_SIDE = 2  # px; below stand placeholders
MOST_ELONGATED = 100  # resized by its shorter side, a longer image takes as many times the memory of a square
SHRINK = "make it smaller, or remove it"
ORIENTATION = 0x0112  # the tag of EXIF
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def open_image(path: Path) -> Image.Image:
    """Read an image of any mode as ``RGB``, or ``L`` if it is grey, rotated according to its EXIF orientation.

    What is transparent becomes white. 16-bit grey is brought to 8 bits by its 257th part. Of several frames it is the
    first.

    Raises:
        ValueError: there is no such file, it is no image in one of ``FORMATS`` or broken, its sides are out of range,
            or the range of its values is not known; one line with the file and the remedy.
    """
    if not path.is_file():  # a pipe would be waited for
        there = path.exists() or path.is_symlink()
        raise ValueError(f"{printable(path)} {'is no file' if there else 'is not there: correct the path'}")
    try:
        with Image.open(path, formats=FORMATS) as opened:
            _check(opened)
            opened.load()
            return _over_white(_turned(_to_8_bits(opened), _orientation(opened)))
    except (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError) as error:
        reason, remedy = _why(error)
        raise ValueError(f"{printable(path)} cannot be read as an image ({reason}): {remedy}") from error


def fit(image: Image.Image, info: DataInfo, built_by: str | None = None) -> Tensor:
    """Give ``image`` as the data has its images: uint8 ``(channels, size, size)``, by ``square``.

    MNIST and Fashion-MNIST are light on black, and of 28 px, padded to a larger size: for them an image with a light
    background is inverted, and one that does not have that size is padded so. ``built_by`` is the name of the data's
    builder, as in ``is_mnist``.
    """
    if not is_mnist(info, built_by):
        return square(image, info.channels, info.size)
    padded = image.size == (info.size, info.size)
    return as_mnist(square(image, info.channels, info.size if padded else SIZES[0]), info.size)


def square(image: Image.Image, channels: int, size: int) -> Tensor:
    """Resize the shorter side to ``size`` (bicubic, antialiased) and cut out the middle.

    uint8 ``(channels, size, size)``; one channel is the luminance.
    """
    resized = F.resize(image.convert("L" if channels == 1 else "RGB"), [size], InterpolationMode.BICUBIC)
    cut: Tensor = F.pil_to_tensor(F.center_crop(resized, [size]))
    return cut


def middle(image: Image.Image) -> Tensor:
    """Give the square of an image that ``fit`` reads, at the original resolution: uint8 ``(3, s, s)``."""
    return torch.from_numpy(np.array(F.center_crop(image.convert("RGB"), [min(image.size)]))).permute(2, 0, 1)


def reader() -> str:
    """Name this reader, for what is kept of the images that it read: its code and the release of Pillow."""
    return hashlib.sha256(Path(__file__).read_bytes() + PIL.__version__.encode()).hexdigest()[:16]


class _Refused(ValueError):
    """An image that is whole, but not to be used; its arguments are the reason and the remedy."""


def _check(opened: Image.Image) -> None:
    """Refuse by its header, before it is decoded, an image too large or too thin, or of unknown range."""
    width, height = opened.size
    if width * height > MOST_PIXELS:
        raise _Refused(f"it has {width}x{height} px, more than {MOST_PIXELS // 10**6} million", SHRINK)
    if min(width, height) < LEAST_SIDE or max(width, height) > MOST_ELONGATED * min(width, height):
        shape = f"it has {width}x{height} px; a side needs {LEAST_SIDE}, and at most {MOST_ELONGATED} times the other"
        raise _Refused(shape, "cut it to a part, or remove it")
    if opened.mode == "F" or (opened.mode == "I" and opened.format not in ("PNG", "PPM")):  # those are of 16 bits
        kind = "floating-point" if opened.mode == "F" else "32-bit"
        raise _Refused(f"it has {kind} values, whose range is not known", "convert it to 8 or 16 bits a channel")


def _why(error: Exception) -> tuple[str, str]:
    """Give the reason why an image was not read, and the remedy."""
    if isinstance(error, _Refused):
        return error.args[0], error.args[1]
    if isinstance(error, Image.DecompressionBombError):  # Pillow's own limit, which is higher
        return f"it has more than {MOST_PIXELS // 10**6} million px", SHRINK
    if isinstance(error, UnidentifiedImageError):
        return "its format is not known", f"give a {', '.join(FORMATS)} file, or remove it"
    return str(error), "repair or remove it"


def _orientation(image: Image.Image) -> int:
    """Give the orientation that EXIF states, 1 (upright) to 8; 1 where it states none, or is broken."""
    try:
        stated = image.getexif().get(ORIENTATION, 1)
    except (OSError, SyntaxError, ValueError, TypeError, KeyError, struct.error):  # of the block, not of the pixels
        return 1
    return stated if stated in TURNS else 1


def _turned(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(TURNS[orientation]) if orientation in TURNS else image


def _to_8_bits(image: Image.Image) -> Image.Image:
    """Bring 16-bit grey to 8 bits, a value that stands for transparent to white; leave the rest."""
    if image.mode[0] != "I":
        return image
    values = np.asarray(image).astype(np.float64)
    transparent = image.info.get("transparency")
    if transparent is not None:
        values[values == transparent] = 65_535
    return Image.fromarray((values / 257).clip(0, 255).round().astype(np.uint8))


def _over_white(image: Image.Image) -> Image.Image:
    """Lay an image with transparency over white; give ``L`` for a grey one, else ``RGB``."""
    if image.has_transparency_data:
        coloured = image.convert("RGBA")
        white = Image.new("RGBA", coloured.size, "white")
        return Image.alpha_composite(white, coloured).convert("RGB")
    return image.convert("L" if image.mode in ("1", "L") else "RGB")
