"""Convert an image file of any size and mode to the format of a data set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from kdbias.batch import DataInfo
from kdbias.data.mnist import invert_light_background

HOW = "rotated by its EXIF orientation, shorter side resized (bicubic, antialiased), centre cropped"
SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm")


def open_image(path: Path) -> Image.Image:
    """Read an image of any mode as ``RGB``, or ``L`` if it is grey, rotated according to its EXIF orientation.

    Transparent pixels become white. Channels of more than 8 bits are reduced to 8: 16-bit values are divided by 256,
    floating-point values are taken as 0..1, or as 0..255 if any is above 1. Of several frames the first is read.

    Raises:
        ValueError: the file is not there, or cannot be read as an image.
    """
    try:
        with Image.open(path) as opened:
            upright = ImageOps.exif_transpose(opened)
            upright.load()
    except FileNotFoundError as error:
        raise ValueError(f"{path} is not there") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = "its format is not known" if isinstance(error, UnidentifiedImageError) else str(error)
        raise ValueError(f"{path} cannot be read as an image ({reason})") from error
    return _over_white(_to_8_bits(upright))


def fit(image: Image.Image, info: DataInfo) -> Tensor:
    """Give ``image`` in the format of the data: uint8 ``(channels, size, size)``.

    The shorter side is resized to ``size`` (bicubic, antialiased) and the centre is cropped; a single channel is the
    luminance. If the data's images are light on black (grey, with a mean below a half, as MNIST's), an image with a
    light background is inverted.
    """
    converted = image.convert("L" if info.channels == 1 else "RGB")
    resized = F.resize(converted, [info.size], InterpolationMode.BICUBIC)
    cut: Tensor = F.pil_to_tensor(F.center_crop(resized, [info.size]))
    return invert_light_background(cut) if light_on_black(info) else cut


def light_on_black(info: DataInfo) -> bool:
    """Whether the data's images are grey and mostly dark."""
    return info.channels == 1 and info.mean[0] < 0.5


def middle(image: Image.Image) -> Tensor:
    """Give the square of an image that ``fit`` reads, at the original resolution: uint8 ``(3, s, s)``."""
    return torch.from_numpy(np.array(F.center_crop(image.convert("RGB"), [min(image.size)]))).permute(2, 0, 1)


def _to_8_bits(image: Image.Image) -> Image.Image:
    """Reduce integers of more than 8 bits and floating-point numbers to 8 bits; keep other modes."""
    if image.mode[0] not in "IF":
        return image
    values = np.asarray(image).astype(np.float64)
    if not np.isfinite(values).all():
        values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    if image.mode == "F":
        values = values * (255 if values.max() <= 1 else 1)
    elif image.mode.startswith("I;16") or values.max() > 255:
        values = values / 257
    return Image.fromarray(values.clip(0, 255).round().astype(np.uint8))


def _over_white(image: Image.Image) -> Image.Image:
    """Lay an image with transparency over white; give ``L`` for a grey one, else ``RGB``."""
    if image.has_transparency_data:
        coloured = image.convert("RGBA")
        white = Image.new("RGBA", coloured.size, "white")
        return Image.alpha_composite(white, coloured).convert("RGB")
    return image.convert("L" if image.mode in ("1", "L") else "RGB")
