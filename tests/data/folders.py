"""Folders of small images, each of its own size, mode and format, and the source that reads them."""

import numpy as np
from PIL import Image

from kdbias.data.image_folder import image_folder

SIZES = [(40, 30), (20, 50), (16, 16), (9, 12)]
CLASSES = ("cat", "dog", "emu")


def save(path, number):
    """An image of its own size, mode and format, told from others by its colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    width, height = SIZES[number % 4]
    pixels = np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)
    image = Image.fromarray(pixels).convert(("RGB", "L", "P", "RGBA")[number % 4] if path.suffix == ".png" else "RGB")
    image.save(path)


def fill(root, splits, each=6):
    number = 0
    for split in splits:
        for name in CLASSES:
            for i in range(each):
                save(root / split / name / f"{i}{('.png', '.jpg', '.JPEG')[i % 3]}", number)
                number += 1
    return root


def source(root, **settings):
    return image_folder(root=str(root), **({"size": 16, "val": 4} | settings))
