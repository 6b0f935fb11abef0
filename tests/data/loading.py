"""Both loaders over the same random images, and what tests compare of their batches."""

import threading

import torch

from kdbias.batch import Batch
from kdbias.data.augment import Augment
from kdbias.data.prefetch import THREAD
from kdbias.data.resident import ResidentLoader
from kdbias.data.workers import WorkerLoader, Workers

COUNT = 103
BATCH = 24
PAINTED = {"erasing": 0.5, "cutout": 8}
AUGMENTS = {
    "plain": Augment(crop=0, flip=False, erasing=0, mixup=0, cutmix=0),
    "default": Augment(),
    "mixed, one view": Augment(mix_probability=1.0, **PAINTED),
    "mixed, photometric view": Augment(mix_probability=1.0, view="photometric", **PAINTED),
    "mixed, clean view": Augment(mix_probability=1.0, view="clean", **PAINTED),
    "mixed alone, clean view": Augment(crop=0, flip=False, erasing=0, mix_probability=1.0, view="clean"),
    "AutoAugment": Augment(policy="cifar10", mix_probability=0, **PAINTED),
    "AutoAugment, photometric view": Augment(policy="imagenet", view="photometric", **PAINTED),
    "RandAugment, photometric view": Augment(policy="randaugment", operations=3, view="photometric", erasing=0),
    "TrivialAugment, clean view": Augment(policy="trivialaugment", view="clean", mix_probability=0.5),
    "stressed, mixed": Augment(mix_probability=1.0, teacher_stress="scramble", student_stress="smooth", **PAINTED),
    "stressed teacher, clean view": Augment(mix_probability=1.0, view="clean", teacher_stress="shape", **PAINTED),
    "stressed student, photometric view": Augment(view="photometric", student_stress="smooth_grey", **PAINTED),
    "stressed alike": Augment(teacher_stress="rotate", student_stress="rotate", **PAINTED),
    "unmixed, photometric view": Augment(mix_probability=0, view="photometric", **PAINTED),
}


def random_images(count=COUNT, size=32):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=generator)
    return images, torch.randint(0, 10, (count,), generator=generator)


def resident(info, *, train=True, repeats=1, prefetch=False, augment=AUGMENTS["default"], **settings):
    if train:
        settings = {"augment": augment, "shuffle": True, "drop_last": True, "seed": 1, "repeats": repeats} | settings
    return ResidentLoader(*random_images(), info=info, prefetch=prefetch, **({"batch_size": BATCH} | settings))


def workers(info, *, train=True, repeats=1, num_workers=2, augment=AUGMENTS["default"], **settings):
    if train:
        settings = {"augment": augment, "shuffle": True, "drop_last": True, "seed": 1} | settings
    chosen = Workers(repeats=repeats, num_workers=num_workers)
    settings = {"batch_size": BATCH, "device": torch.device("cpu")} | settings
    return WorkerLoader(*random_images(), info=info, workers=chosen, **settings)


def epoch_of(loader, epoch):
    loader.sampler.set_epoch(epoch)
    return list(loader)


def joined(parts):
    return Batch(*(torch.cat(field) for field in zip(*parts, strict=True)))


def assert_same(one, other):
    for field, ours, theirs in zip(Batch._fields, one, other, strict=True):
        assert torch.equal(ours, theirs), field
    assert (one.image is one.teacher_image) == (other.image is other.teacher_image)


def side_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith(THREAD)]
