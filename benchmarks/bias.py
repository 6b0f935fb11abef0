"""Whether ``probe=bias`` orders networks by what they were taught to rely on.

    python benchmarks/bias.py --images 3000 --epochs 8

Five small CNNs learn ``data=cues`` (preset demo) with a shape that is right in 0, 25, 50, 75 and 100 % of the training
images and a texture that is right in the rest, so that only the reliabilities differ. The probe measures each on the
same 2,000 test images. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
import time

import torch
from torch.nn import functional as F

from kdbias.data.augment import Augment
from kdbias.data.base import ImageData
from kdbias.data.cues import cues
from kdbias.data.resident import ResidentLoader
from kdbias.models.features import Extractor
from kdbias.models.resnet_cifar import small_cnn
from kdbias.probes.bias import BiasProbe
from kdbias.stress.split import StressedSplit

RELIABILITIES = (0.0, 0.25, 0.5, 0.75, 1.0)
KEYS = ("accuracy", "shape_share", "decided", "share_without_guesses", "reliance_shape", "reliance_texture")
ALONE = ("sensitivity_shape", "sensitivity_texture")
AUGMENT = Augment(crop=1, flip=True, erasing=0.0, mixup=0.0, cutmix=0.0)


def fit(shape: float, texture: float, images: int, epochs: int, seed: int) -> Extractor:
    """Train a small CNN on images whose cues have these reliabilities."""
    source = cues(
        train=images, val=0, test=1, seed=seed, preset="demo", shape_reliability=shape, texture_reliability=texture
    )
    torch.manual_seed(seed)
    network = small_cnn(source.info).to(memory_format=torch.channels_last)
    loader = ResidentLoader(
        *source.split("train"),
        info=source.info,
        batch_size=64,
        seed=seed,
        augment=AUGMENT,
        shuffle=True,
        drop_last=True,
    )
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=epochs * len(loader), pct_start=0.2)
    for epoch in range(epochs):
        loader.sampler.set_epoch(epoch)
        for batch in loader:
            loss = F.cross_entropy(network(batch.image).logits, batch.target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return network.eval()


def main() -> None:
    """Train, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=3_000)
    parser.add_argument("--epochs", type=int, default=8)
    given = parser.parse_args()
    data = ImageData(cues(preset="demo", seed=99, test=2_000), Augment(), batch_size=250, eval_batch_size=250)
    probe = BiasProbe(StressedSplit(data.source, "test"), stress=[])
    found, began = [], time.monotonic()
    for number, shape in enumerate(RELIABILITIES):
        network = fit(shape, 1 - shape, given.images, given.epochs, seed=1 + number)
        result = probe(network, data.batches("test"))
        row = {"shape_reliability": shape}
        for key in (*KEYS, *ALONE):
            low, high = result.arrays[f"{key}_interval"]
            row[key] = [round(float(one), 3) for one in (result.scalars[key], low, high)]
        found.append(row)
    seconds = time.monotonic() - began
    print(json.dumps({"images": given.images, "epochs": given.epochs, "seconds": round(seconds), "networks": found}))


if __name__ == "__main__":
    main()
