"""Snow, fog and spatter of CIFAR-10-C."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import correlate, distance_transform_edt, uniform_filter
from skimage.feature import canny
from skimage.filters import gaussian

from kdbias.stress.corruption_blur import enlarged, moved
from kdbias.stress.grey import LUMINANCE
from kdbias.stress.stress_set import Image, scaled

SNOW = (
    (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
    (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
    (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
    (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
    (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
)
"""Mean and deviation of the flakes, their size, threshold, radius and sigma of their motion, share of the image."""
FOG = ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75))  # strength, and how fast its detail fades
SPATTER = (
    (0.62, 0.1, 0.7, 0.7, 0.5, 0),
    (0.65, 0.1, 0.8, 0.7, 0.5, 0),
    (0.65, 0.3, 1, 0.69, 0.5, 0),
    (0.65, 0.1, 0.7, 0.69, 0.6, 1),
    (0.65, 0.1, 0.5, 0.68, 0.6, 1),
)
"""Mean and deviation of the liquid, its sigma and threshold, its strength or sigma, whether it is mud."""
WATER, MUD = np.array([175, 238, 238]) / 255, np.array([63, 42, 20]) / 255
RELIEF = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]], np.float64)
Values = NDArray[np.floating]


def snow(image: Image, severity: int, rng: np.random.Generator) -> Values:
    """Whiten the image, and let flakes fall over it in two directions."""
    mean, deviation, size, least, radius, sigma, share = SNOW[severity - 1]
    x = (image / 255).astype(np.float32)
    layer = enlarged(rng.normal(mean, deviation, x.shape[:2])[..., None], size)
    layer[layer < least] = 0
    flakes = moved((np.clip(layer, 0, 1) * 255).astype(np.uint8), int(radius), sigma, rng.uniform(-135, -45)) / 255
    white = np.maximum(x, (x @ LUMINANCE)[..., None] * 1.5 + 0.5)
    return scaled(share * x + (1 - share) * white + flakes + np.rot90(flakes, 2))


def fog(image: Image, severity: int, rng: np.random.Generator) -> Values:
    """Add a cloud, and keep the brightest value."""
    strength, decay = FOG[severity - 1]
    x = image / 255
    height, width = x.shape[:2]
    top = x.max()
    cloud = plasma(1 << (max(height, width) - 1).bit_length(), decay, rng)[:height, :width, None]
    return scaled((x + strength * cloud) * top / (top + strength))


def plasma(side: int, decay: float, rng: np.random.Generator) -> Values:
    """Draw a cloud by diamonds and squares: ``(side, side)`` in [0, 1], periodic; ``side`` is a power of 2.

    Source: Fournier, Fussell and Carpenter 1982.
    """
    cloud = np.zeros((side, side))
    step, wobble = side, 100.0

    def near(total: Values) -> Values:
        return total / 4 + wobble * rng.uniform(-wobble, wobble, total.shape)

    while step >= 2:
        half = step // 2
        corners = cloud[::step, ::step]
        across = corners + np.roll(corners, -1, 0)
        cloud[half::step, half::step] = near(across + np.roll(across, -1, 1))
        middles = cloud[half::step, half::step]
        cloud[::step, half::step] = near(middles + np.roll(middles, 1, 0) + corners + np.roll(corners, -1, 1))
        cloud[half::step, ::step] = near(middles + np.roll(middles, 1, 1) + corners + np.roll(corners, -1, 0))
        step, wobble = half, wobble / decay
    cloud -= cloud.min()
    shown: Values = cloud / cloud.max()
    return shown


def spatter(image: Image, severity: int, rng: np.random.Generator) -> Values:
    """Splash water or mud.

    OpenCV's contours and distances are replaced by scikit-image's and SciPy's, so water has slightly other rims.
    """
    mean, deviation, sigma, least, last, mud = SPATTER[severity - 1]
    x = (image / 255).astype(np.float32)
    liquid = gaussian(rng.normal(mean, deviation, x.shape[:2]), sigma=sigma)
    liquid[liquid < least] = 0
    if mud:
        cover = gaussian((liquid > least).astype(np.float32), sigma=last)
        cover[cover < 0.8] = 0
        return scaled(x * (1 - cover[..., None]) + cover[..., None] * MUD)
    drops = (liquid * 255).astype(np.uint8)
    rims = drops * _relief(drops)
    if rims.max() > 0:
        rims = rims / rims.max()
    return scaled(x + last * rims[..., None] * WATER)


def _relief(drops: NDArray[np.uint8]) -> Values:
    """How much light drops reflect, by their distance to a rim: ``(H, W)``."""
    edges = canny(drops.astype(np.float64), sigma=0, low_threshold=50, high_threshold=150)
    distance = np.minimum(distance_transform_edt(~edges), 20) if edges.any() else np.full(drops.shape, 20.0)
    even = equalised(uniform_filter(distance, 3, mode="mirror").astype(np.uint8))
    lit = np.clip(correlate(even.astype(np.float64), RELIEF, mode="mirror"), 0, 255)
    made: Values = uniform_filter(lit, 3, mode="mirror")
    return made


def equalised(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Spread grey values evenly over 0..255, as OpenCV's ``equalizeHist``: ``(H, W)``."""
    counts = np.bincount(values.ravel(), minlength=256)
    first = int(np.flatnonzero(counts)[0])
    if counts[first] == values.size:
        return values
    counts[first] = 0
    table = np.rint(np.cumsum(counts) * (255 / counts.sum())).astype(np.uint8)
    spread: NDArray[np.uint8] = table[values]
    return spread
