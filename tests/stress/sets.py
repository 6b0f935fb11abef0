"""Every stress set that ships with the package, and small images to change."""

from pathlib import Path

import numpy as np
from omegaconf import OmegaConf

from kdbias.config.build import build
from kdbias.config.conf import conf_dir
from kdbias.data.cues import cues
from kdbias.stress.own_images import OwnImages

NODES = {
    name: node
    for path in sorted(Path(conf_dir(), "stress").glob("*.yaml"))
    for name, node in OmegaConf.to_container(OmegaConf.load(path), resolve=True).items()
}
OWN = [name for name, node in NODES.items() if node["_target_"] == "kdbias.stress.folder.Folder"]
CHANGES = [name for name in NODES if name not in OWN]


def made(name, **settings):
    """Build a shipped set."""
    found = build(NODES[name] | settings, group="stress")
    assert not isinstance(found, OwnImages)
    return found


def small(n=40, seed=0, size=32):
    """A small source with something to see in each image."""
    return cues(train=20, val=10, test=n, seed=seed, size=size)


def pixels(n=40):
    """Its test images ``(n, H, W, 3)`` and labels."""
    image, target = small(n).split("test")
    return image.permute(0, 2, 3, 1).contiguous().numpy(), target.numpy()


def grey(image):
    """One channel of 28 px, as MNIST has."""
    return np.ascontiguousarray(image[..., 2:30, 2:30, :1])
