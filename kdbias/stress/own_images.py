"""A stress set that has images of its own, which nothing aligns with the clean ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from kdbias.batch import DataInfo
    from kdbias.stress.kept import Stressed


@runtime_checkable
class OwnImages(Protocol):
    """What reads its images instead of making them; it has one strength, 1."""

    def images(self, info: DataInfo, strength: float) -> Stressed:
        """Give the images for a data set with ``info``, with their labels.

        Raises:
            ValueError: there are none, a class is not the data's, or ``strength`` is not 1.
        """
