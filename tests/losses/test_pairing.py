"""Which layers are compared, and from what width to what."""

import pytest
import torch
from torch import nn

from kdbias.losses.paired import pair_layers, pair_names
from kdbias.losses.project import project
from kdbias.models.features import Layer, NetworkInfo


def network(names: str, count: int, only: tuple[int, ...] = ()) -> NetworkInfo:
    """A network of ``count`` layers, of which ``only`` some are read."""
    layers = [Layer(names.format(i, i + 1), (i + 1) / count, 8, (4, 4)) for i in range(count)]
    return NetworkInfo(tuple(layers[i] for i in only or range(count)), 8, 10, 0, False, "vit")


VIT, DINO = network("blocks.{0}", 12), network("blocks.{0}", 12, (3, 6, 9, 11))
CNN, ODD = network("layer{1}", 4), network("stages.{0}", 3)


@pytest.mark.parametrize(
    ("student", "teacher", "expected"),
    [
        (VIT, VIT, [(i, i) for i in range(12)]),
        (VIT, DINO, [(3, 0), (6, 1), (9, 2), (11, 3)]),
        (DINO, VIT, [(0, 3), (1, 6), (2, 9), (3, 11)]),
        (VIT, CNN, [(2, 0), (5, 1), (8, 2), (11, 3)]),
        (CNN, VIT, [(0, 2), (1, 5), (2, 8), (3, 11)]),
        (VIT, ODD, [(3, 0), (7, 1), (11, 2)]),
        (CNN, ODD, [(0, 0), (2, 1), (3, 2)]),
    ],
)
def test_by_depth_the_network_of_fewer_layers_decides(student, teacher, expected):
    assert pair_layers(student, teacher) == tuple(expected)


def test_named_layers_of_the_student_all_learn():
    assert pair_layers(VIT, ODD, layers=[3, 6, 9, 11]) == ((3, 0), (6, 1), (9, 2), (11, 2))
    assert pair_layers(VIT, VIT, layers="last", teacher_layers="all") == ((11, 11),)
    assert pair_layers(VIT, CNN, teacher_layers="last") == ((11, 3),)
    assert pair_layers(VIT, DINO, ["blocks.6", 11], ["blocks.3", "blocks.11"]) == ((6, 0), (11, 3))


def test_of_two_layers_equally_near_the_deeper_one():
    assert pair_layers(network("a{0}", 4), network("b{0}", 2), layers=[0, 2]) == ((0, 0), (2, 1))


def test_by_index():
    assert pair_layers(VIT, CNN, [0, 6, 11], [0, 1, 2], by="index") == ((0, 0), (6, 1), (11, 2))
    message = r"by: index pairs one to one, .* 12 .*blocks.0, blocks.1.* and 4 of the teacher \(layer1, layer2"
    with pytest.raises(ValueError, match=message):
        pair_layers(VIT, CNN, by="index")
    with pytest.raises(ValueError, match="by: must be depth or index, got 'width'"):
        pair_layers(VIT, CNN, by="width")


@pytest.mark.parametrize(
    ("student", "layers", "message"),
    [
        (VIT, [3, 12], r"layers: 12 is not among the layers read, blocks.0, .*: name one of these, .* by model.layers"),
        (VIT, ["blocks.x"], "layers: 'blocks.x' is not among"),
        (VIT, "first", "layers: 'first' is not among"),
        (VIT, [True], "layers: True is not among"),
        (VIT, [3, "blocks.3"], r"each once, got \[3, 'blocks.3'\]"),
        (VIT, [], "name at least one layer"),
        (DINO, [3], "layers: 3 is ambiguous where a network is not read whole: give names, of blocks.3, blocks.6"),
        (network("blocks.{0}", 12, (5, 11)), [1], "layers: 1 is ambiguous"),
        (network("layer{1}", 4, (1, 3)), [1], "layers: 1 is ambiguous"),
        (network("layer{1}", 4, (3,)), [0], "layers: 0 is ambiguous"),
    ],
)
def test_layers_that_cannot_be_meant(student, layers, message):
    with pytest.raises(ValueError, match=f"^{message}" if message.startswith("layers") else message):
        pair_layers(student, VIT, layers)
    with pytest.raises(ValueError, match=r"^teacher_layers: "):
        pair_layers(VIT, student, "all", layers)


def test_pairs_are_named_by_the_student():
    assert pair_names(VIT, CNN, pair_layers(VIT, CNN)) == ("blocks.2", "blocks.5", "blocks.8", "blocks.11")
    early = network("blocks.{0}", 12, (0, 1, 2))
    pairs = pair_layers(CNN, early)
    assert pairs == ((0, 0), (0, 1), (0, 2))
    assert pair_names(CNN, early, pairs) == ("layer1-blocks.0", "layer1-blocks.1", "layer1-blocks.2")


def test_projections():
    assert [type(m) for m in project("mlp", 6, 5)] == [nn.Linear, nn.LayerNorm, nn.GELU, nn.Linear, nn.LayerNorm]
    for kind, count in (("linear", 6 * 5 + 5), ("mlp", 6 * 512 + 512 * 3 + 512 * 5 + 5 * 3)):
        made = project(kind, 6, 5)
        assert made(torch.zeros(2, 3, 6)).shape == (2, 3, 5)
        assert sum(p.numel() for p in made.parameters()) == count
    assert project("none", 6, 6)(torch.ones(1, 6)).eq(1).all()
    with pytest.raises(ValueError, match="projection: none cannot compare tokens 6 wide with tokens 5 wide"):
        project("none", 6, 5)
    with pytest.raises(ValueError, match="projection: must be one of linear, mlp, none, got 'conv'"):
        project("conv", 6, 5)


def test_depths_take_the_layers_nearest_to_them():
    paper = [0.0833, 0.5833, 1.0]
    assert pair_layers(VIT, network("layer{0}", 3), paper) == ((0, 0), (6, 1), (11, 2))
    assert [i for i, _ in pair_layers(VIT, VIT, [0.1667, 0.3333, 0.8333, 1.0])] == [1, 3, 9, 11]
    four = network("blocks.{0}", 4)
    assert [i for i, _ in pair_layers(four, VIT, paper)] == [0, 1, 3]  # .5833 is nearer to .5 than to .75
    assert [i for i, _ in pair_layers(network("blocks.{0}", 3), VIT, [0.1, 0.2, 0.3, 1])] == [0, 1, 2]
    assert [i for i, _ in pair_layers(network("blocks.{0}", 4), VIT, [0.1, 0.2])] == [0]


@pytest.mark.parametrize("depths", [[0.5, 1.5], [0.0, 0.5], [0.5, "blocks.3"], [-1.0]])
def test_a_depth_that_there_is_not_is_refused(depths):
    with pytest.raises(ValueError, match=r"layers: depths must be numbers above 0, up to 1"):
        pair_layers(VIT, VIT, depths)
