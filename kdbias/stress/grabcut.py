"""The object of an image by OpenCV's GrabCut."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kdbias.stress.stress_set import Image

ITERATIONS = 5
BORDER = 16  # the border that is certainly ground is one part in so many of the side


def silhouette(image: Image, seed: int) -> NDArray[np.bool_]:
    """Tell which pixels of an image are of the object, ``(H, W)``; its border is taken as ground.

    Source: Rother, Kolmogorov and Blake 2004, as ``cv2.grabCut`` with a rectangle and five iterations.
    """
    import cv2

    cv2.setNumThreads(1)  # the processes that build a set share the cores
    cv2.setRNGSeed(seed)
    height, width = image.shape[:2]
    edge = max(1, height // BORDER), max(1, width // BORDER)
    colour = np.ascontiguousarray(np.repeat(image, 3, 2) if image.shape[2] == 1 else image)
    if np.ptp(colour.reshape(-1, 3), axis=0).max() == 0:  # one colour, which cannot be told apart
        return np.zeros((height, width), bool)
    mask = np.zeros((height, width), np.uint8)
    rectangle = (edge[1], edge[0], width - 2 * edge[1], height - 2 * edge[0])
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(colour, mask, rectangle, *models, ITERATIONS, cv2.GC_INIT_WITH_RECT)
    return np.isin(mask, (cv2.GC_FGD, cv2.GC_PR_FGD))
