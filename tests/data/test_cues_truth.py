"""The ground truth of a transferred preference: teachers of known preference, students that learn from logits alone."""

import torch
from torch.nn import functional as F

from kdbias.data.augment import Augment
from kdbias.data.cues import cues
from kdbias.data.resident import ResidentLoader
from kdbias.features import Extractor
from kdbias.functional import soft_kl
from kdbias.models.resnet_cifar import small_cnn

EPOCHS, BATCH, RATE = 6, 64, 5e-3
AUGMENT = Augment(crop=2, flip=True, erasing=0.0, mixup=0.0, cutmix=0.0)


def fit(seed: int, shape: float, texture: float, teacher: Extractor | None = None) -> Extractor:
    """Train a small CNN on 1,500 pictures of its own, by cross-entropy or by the teacher's logits alone."""
    source = cues(
        train=1_500, val=0, test=1, seed=seed, preset="demo", shape_reliability=shape, texture_reliability=texture
    )
    torch.manual_seed(seed)
    student = small_cnn(source.info).to(memory_format=torch.channels_last)
    images, labels = source.split("train")
    loader = ResidentLoader(
        images, labels, info=source.info, batch_size=BATCH, seed=seed, augment=AUGMENT, shuffle=True, drop_last=True
    )
    optimizer = torch.optim.AdamW(student.parameters(), lr=RATE, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=EPOCHS * len(loader), pct_start=0.2)
    for epoch in range(EPOCHS):
        loader.sampler.set_epoch(epoch)
        for batch in loader:
            logits = student(batch.image).logits
            if teacher is None:
                loss = F.cross_entropy(logits, batch.target)
            else:
                with torch.no_grad():
                    target = teacher(batch.teacher_image).logits
                loss = soft_kl(logits, target, temperature=1.0)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return student.eval()
