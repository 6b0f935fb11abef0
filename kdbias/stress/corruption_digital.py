"""The digital corruptions of CIFAR-10-C: brightness, contrast, saturation, compression, pixels, elastic deformation."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import PIL.Image
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates
from skimage.color import hsv2rgb, rgb2hsv
from skimage.filters import gaussian

from kdbias.stress.smooth import resized
from kdbias.stress.stress_set import Image, scaled

BRIGHTNESS = (0.05, 0.1, 0.15, 0.2, 0.3)  # added to the value, in units of [0, 1]
CONTRAST = (0.75, 0.5, 0.4, 0.3, 0.15)  # share that is left
SATURATE = ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2))  # factor and addend of the saturation
JPEG = (80, 65, 58, 50, 40)  # quality
PIXELATE = (0.95, 0.9, 0.85, 0.75, 0.65)  # share of the side
ELASTIC = ((0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03))
"""Shares of the side: reach and smoothness of the displacement, and reach of the affine part."""
Values = NDArray[np.floating]


def brightness(image: Image, severity: int, rng: np.random.Generator) -> Values:
    """Add to the value of HSV."""
    x = rgb2hsv(image / 255)
    x[..., 2] = np.clip(x[..., 2] + BRIGHTNESS[severity - 1], 0, 1)
    return scaled(hsv2rgb(x))


def saturate(image: Image, severity: int, rng: np.random.Generator) -> Values:
    """Change the saturation of HSV."""
    factor, addend = SATURATE[severity - 1]
    x = rgb2hsv(image / 255)
    x[..., 1] = np.clip(x[..., 1] * factor + addend, 0, 1)
    return scaled(hsv2rgb(x))


def contrast(image: Image, severity: int, rng: np.random.Generator) -> Values:
    """Bring every channel nearer to its mean."""
    x = image / 255
    means = x.mean((0, 1), keepdims=True)
    return scaled((x - means) * CONTRAST[severity - 1] + means)


def jpeg_compression(image: Image, severity: int, rng: np.random.Generator) -> Values:
    """Compress."""
    file = BytesIO()
    shown = PIL.Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
    shown.save(file, "JPEG", quality=JPEG[severity - 1])
    return np.asarray(PIL.Image.open(file), np.float64).reshape(image.shape)


def pixelate(image: Image, severity: int, rng: np.random.Generator) -> Values:
    """Reduce and enlarge."""
    height, width = image.shape[:2]
    share = PIXELATE[severity - 1]
    small = resized(image, (int(height * share), int(width * share)), PIL.Image.Resampling.BOX)
    return resized(small, (height, width), PIL.Image.Resampling.BOX).astype(np.float64)


def elastic_transform(image: Image, severity: int, rng: np.random.Generator) -> Values:
    """Move three points, and the rest of the image with them; then every pixel by a smooth random field."""
    side = min(image.shape[:2])
    reach, smooth, affine = (side * part for part in ELASTIC[severity - 1])
    x = (image / 255).astype(np.float32)
    middle, arm = np.array(x.shape[:2]) // 2, side // 3
    corners = np.array([middle + arm, [middle[0] + arm, middle[1] - arm], middle - arm], np.float64)
    to = corners + rng.uniform(-affine, affine, corners.shape)
    back = np.linalg.lstsq(np.column_stack([to, np.ones(3)]), corners, rcond=None)[0]
    rows, columns = np.meshgrid(np.arange(x.shape[0]), np.arange(x.shape[1]), indexing="ij")
    source = np.stack([columns, rows, np.ones_like(rows)], 2) @ back
    x = _sampled(x, source[..., 1], source[..., 0], "mirror")
    right, down = (
        gaussian(rng.uniform(-1, 1, x.shape[:2]), smooth, mode="reflect", truncate=3) * reach for _ in range(2)
    )
    return scaled(_sampled(x, rows + down, columns + right, "reflect"))


def _sampled(values: Values, rows: Values, columns: Values, border: str) -> Values:
    """Read each channel at fractional places, bilinear."""
    made = [map_coordinates(channel, (rows, columns), order=1, mode=border) for channel in np.moveaxis(values, 2, 0)]
    return np.stack(made, 2)
