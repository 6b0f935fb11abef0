"""On photographs, a trained network is above chance on every set at full strength: the labels are right."""

import numpy as np
import torch
from scipy.stats import binomtest
from sets import CHANGES, NODES, made
from torchvision.datasets import CIFAR10

from kdbias.models.teacher import teacher_from_weights
from kdbias.stress.stress_set import generator

COUNT = 200
HARD = [name for name in CHANGES if "Corruption" not in NODES[name]["_target_"] or name == "impulse_noise"]
"""All sets of one cue, and the corruption that costs most."""


def test_a_trained_network_is_above_chance_and_below_its_clean_accuracy(tiny_info, shared_data, shared_weights):
    spec = {"_target_": "kdbias.models.resnet_cifar.resnet20"}
    network = teacher_from_weights(spec, tiny_info, shared_weights / "resnet20_cifar10.safetensors", "resnet20")
    test = CIFAR10(str(shared_data), train=False)
    images, labels = test.data[:COUNT], np.array(test.targets[:COUNT])
    clean = right(network, images, labels)
    assert clean > 170
    for name in HARD:
        stress = made(name).bind(images, labels)
        changed = [stress(image, int(labels[i]), 1.0, generator(stress, 0, i)) for i, image in enumerate(images)]
        found = right(network, np.stack(changed), labels)
        assert binomtest(found, COUNT, 0.1, "greater").pvalue < 0.01, (name, found)
        assert found < clean, (name, found)


def right(network, images, labels):
    found = network(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255).logits.argmax(1)
    return int((found.numpy() == labels).sum())
