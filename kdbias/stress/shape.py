"""``stress=shape``: only the contours or the silhouette of the object are left."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import ClassVar, Literal

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from kdbias.config.build import builder
from kdbias.stress.canny import canny
from kdbias.stress.grabcut import silhouette
from kdbias.stress.grey import luminance
from kdbias.stress.smooth import resized
from kdbias.stress.stress_set import Image, Notes, StressSet, blend, to_uint8

ENLARGED = 4
LEAST, MOST = 0.05, 0.95  # share of the image that an object covers; outside, none counts as found


@builder("stress")
@dataclass(frozen=True)
class Shape(StressSet):
    """``engine=edges``: Canny contours at four times the size, black on white, reduced by averaging.

    ``engine=grabcut`` (OpenCV) separates the object from a border of a sixteenth of the side; ``show`` is then the
    ``silhouette`` (black on white), the ``object`` on white, or the ``background`` with the object in its mean colour.
    ``sigma`` (px of the enlarged image) smooths before the contours. ``strength`` blends.

    The note ``found`` is 1 where there is a contour, or an object that covers 5 to 95 % of the image; else 0, and the
    image is the plain ground. Leave those out.

    Source: Canny 1986; Rother, Kolmogorov and Blake 2004.

    Raises:
        ValueError: a choice is unknown, OpenCV is not there, or ``engine`` is fcn.
    """

    notes: ClassVar[tuple[str, ...]] = ("found",)
    libraries: ClassVar[tuple[str, ...]] = ("scipy", "pillow", "opencv-python-headless")
    engine: Literal["edges", "grabcut", "fcn"] = "edges"
    sigma: float = 2.0
    show: Literal["silhouette", "object", "background"] = "silhouette"

    def __post_init__(self) -> None:
        if self.engine == "fcn":
            reason = "fcn needs the weights of FCN-ResNet-101, which are not here"
            raise ValueError(f"stress.shape.engine: {reason}: choose edges, which needs none")
        if self.engine not in ("edges", "grabcut"):
            raise ValueError(f"stress.shape.engine must be edges or grabcut, got {self.engine!r}")
        if self.engine == "grabcut" and find_spec("cv2") is None:
            raise ValueError(
                "stress.shape.engine: grabcut needs OpenCV: pip install 'kdbias[opencv]', or choose edges, which needs "
                "none"
            )

    @property
    def no_view(self) -> str:
        """Say that GrabCut takes too long; empty for contours."""
        return "" if self.engine == "edges" else "grabcut takes about 85 ms an image: choose engine: edges"

    def full(self, image: Image, label: int, rng: np.random.Generator) -> Image:
        """Give the contours or the silhouette."""
        return self._made(image, rng)[0]

    def noted_at(self, image: Image, label: int, strength: float, rng: np.random.Generator) -> tuple[Image, Notes]:
        """Give the image at a strength above 0, and whether something was found."""
        full, found = self._made(image, rng)
        return blend(image, full, strength), {"found": int(found)}

    def _made(self, image: Image, rng: np.random.Generator) -> tuple[Image, bool]:
        if self.engine == "edges":
            lines = contours(image, self.sigma)
            return lines, bool((lines < 255).any())
        covered = silhouette(enlarged(image), int(rng.integers(2**31)))
        found = LEAST <= covered.mean() <= MOST
        return self._shown(image, covered if found else np.zeros_like(covered)), found

    def _shown(self, image: Image, covered: NDArray[np.bool_]) -> Image:
        """Show the object where ``covered`` ``(4H, 4W)`` is true, reduced to the image's size."""
        large = enlarged(image)
        if self.show == "background":
            mean = large[~covered].mean(0)
            return _reduced(np.where(covered[..., None], to_uint8(mean), large), image)
        inside = large if self.show == "object" else np.zeros_like(large)
        return _reduced(np.where(covered[..., None], inside, np.uint8(255)), image)


def contours(image: Image, sigma: float) -> Image:
    """Draw the Canny contours of an image's luminance, found at four times its size, black on white."""
    lines = canny(luminance(enlarged(image))[..., 0], sigma)
    drawn = np.where(lines, np.uint8(0), np.uint8(255))[..., None]
    return np.ascontiguousarray(np.repeat(_reduced(drawn, image), image.shape[2], 2))


def enlarged(image: Image) -> Image:
    """Give an image at four times its size, bicubic."""
    height, width = image.shape[:2]
    return resized(image, (ENLARGED * height, ENLARGED * width), PIL.Image.Resampling.BICUBIC)


def _reduced(large: Image, like: Image) -> Image:
    return resized(large, (like.shape[0], like.shape[1]), PIL.Image.Resampling.BOX)
