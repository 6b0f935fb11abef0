"""From cues and random parameters to images: one chunk of the cue data set at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from kdbias.data import cues_ground, cues_shapes, cues_textures

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Number = TypeVar("Number", np.float32, np.int64)

SIZE = 32


@dataclass(frozen=True)
class Look:
    """Ranges from which the parameters of each image are drawn, uniformly.

    Angles in degrees and lengths in pixels of a 32-pixel image, drawn from ± the value where it is a single number;
    contrasts, chroma and noise in units of the image's range [0, 1]. Texture and ground contrast are deviations, fill
    is the step between the mean of object and ground. ``shape`` and ``texture`` are the reliabilities in training.
    """

    shape_angle: float
    texture_angle: float
    radius: tuple[float, float]
    shift: float
    chroma: float
    noise: tuple[float, float]
    texture_contrast: tuple[float, float]
    fill: tuple[float, float]
    ground: tuple[float, float]
    shape: float
    texture: float


class Scene(NamedTuple):
    """Parameters of ``n`` images except their cues: each ``(n,)``, colours ``(n, 3)``, noise ``(n, 3, size, size)``."""

    centre_x: Floats
    centre_y: Floats
    radius: Floats
    shape_angle: Floats
    texture_angle: Floats
    texture_place: Ints
    texture_contrast: Floats
    ground_tile: Ints
    ground_place: Ints
    ground_contrast: Floats
    ground_colour: Floats
    step_colour: Floats
    noise: Floats


def draw(rng: np.random.Generator, n: int, look: Look, size: int) -> Scene:
    """Draw the scenes of ``n`` images of ``size`` pixels a side; the draws do not depend on the cues."""

    def uniform(low: float, high: float, *shape: int) -> Floats:
        return rng.uniform(low, high, (n, *shape)).astype(np.float32)

    turn = np.pi / 180
    level = uniform(0.25, 0.75, 1)
    step = np.where(level > 0.5, -1, 1) * uniform(*look.fill, 1)
    tints = uniform(-0.5, 0.5, 2, 3) * np.float32(look.chroma)
    tints -= tints.mean(2, keepdims=True)
    return Scene(
        centre_x=uniform(-look.shift, look.shift),
        centre_y=uniform(-look.shift, look.shift),
        radius=uniform(*look.radius),
        shape_angle=uniform(-look.shape_angle * turn, look.shape_angle * turn),
        texture_angle=uniform(-look.texture_angle * turn, look.texture_angle * turn),
        texture_place=rng.integers(0, cues_textures.SIDE, (2, n)),
        texture_contrast=uniform(*look.texture_contrast),
        ground_tile=rng.integers(0, cues_ground.TILES, n),
        ground_place=rng.integers(0, cues_ground.SIDE, (2, n)),
        ground_contrast=uniform(*look.ground),
        ground_colour=level + tints[:, 0],
        step_colour=(step + tints[:, 1] - tints[:, 0]).astype(np.float32),
        noise=rng.standard_normal((n, 3, size, size), dtype=np.float32) * uniform(*look.noise, 1, 1, 1),
    )


def render(scene: Scene, shape: Ints, texture: Ints) -> NDArray[np.uint8]:
    """Paint ``(n, 3, size, size)`` uint8 images of the scenes.

    ``shape`` ``(n,)`` indexes the tables of ``cues_shapes`` (from 10 on: blobs); ``texture`` ``(n,)`` is a class, or -1
    for a plain fill.
    """
    size = scene.noise.shape[-1]
    axis = ((np.arange(size, dtype=np.float32) + 0.5) * (SIZE / size) - SIZE / 2)[None, :]
    x, y = (axis - scene.centre_x[:, None])[:, None, :], (axis - scene.centre_y[:, None])[:, :, None]
    mask = _mask(scene, shape, x, y, size)
    ground = _ground(scene, size) * _spread(scene.ground_contrast)
    contrast = np.where(texture < 0, np.float32(0), scene.texture_contrast)
    luminance = ground + mask * (_texture(scene, np.maximum(texture, 0), x, y) * _spread(contrast) - ground)
    image = scene.noise + luminance[:, None]
    image += mask[:, None] * scene.step_colour[:, :, None, None]
    image += scene.ground_colour[:, :, None, None]
    image *= 255
    image += 0.5
    painted: NDArray[np.uint8] = np.clip(image, 0, 255, out=image).astype(np.uint8)
    return painted


def _spread(values: NDArray[Number]) -> NDArray[Number]:
    return values[:, None, None]


def _turned(x: Floats, y: Floats, angle: Floats, scale: Floats) -> tuple[Floats, Floats]:
    """Coordinates in the frame of an object turned by ``angle``, times ``scale``: both ``(n, size, size)``."""
    cosine, sine = _spread(np.cos(angle) * scale), _spread(np.sin(angle) * scale)
    return cosine * x + sine * y, cosine * y - sine * x


def _mask(scene: Scene, shape: Ints, x: Floats, y: Floats, size: int) -> Floats:
    """Opacity of the object: its signed distance, looked up, with a ramp of one pixel."""
    side, extent = cues_shapes.SIDE, cues_shapes.EXTENT
    half = side / 2
    u, v = _turned(x, y, scene.shape_angle, np.float32(half / extent) / scene.radius)
    column = np.clip(u + half, 0, side - 1).astype(np.int32)
    row = np.clip(v + half, 0, side - 1).astype(np.int32)
    place = _spread(shape * side**2) + (row * side + column)
    distance = cues_shapes.distances().ravel().take(place)
    opacity: Floats = np.clip(0.5 - distance * _spread(scene.radius * np.float32(size / SIZE)), 0, 1)
    return opacity


def _texture(scene: Scene, texture: Ints, x: Floats, y: Floats) -> Floats:
    """The texture's tile under the object, with an angle and position of its own."""
    side = cues_textures.SIDE
    u, v = _turned(x, y, scene.texture_angle, np.full_like(scene.radius, cues_textures.TEXELS))
    row_place, column_place = scene.texture_place.astype(np.float32)
    # An offset of one side keeps the coordinates positive, so that truncation is floor.
    column = (u + _spread(column_place + side)).astype(np.int32) % side
    row = (v + _spread(row_place + side)).astype(np.int32) % side
    shade: Floats = cues_textures.tiles().ravel().take(_spread(texture * side**2) + (row * side + column))
    return shade


def _ground(scene: Scene, size: int) -> Floats:
    """A random crop of the scene's ground tile, one texel per pixel."""
    side = cues_ground.SIDE
    row, column = (scene.ground_place[:, :, None] + np.arange(size)) % side
    crop: Floats = cues_ground.tiles()[_spread(scene.ground_tile), row[:, :, None], column[:, None, :]]
    return crop
