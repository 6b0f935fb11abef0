"""Weights of others: what is none is one clear error; what is some is read, whatever was wrapped around it."""

import os
import re
import warnings
from argparse import Namespace
from collections import OrderedDict

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from weights_files import BAD, GOOD

from kdbias.config.errors import ConfigError
from kdbias.models.resnet_cifar import small_cnn
from kdbias.models.weights import load_state, read_weights


@pytest.mark.parametrize("name", BAD)
def test_what_holds_no_weights_is_one_error_with_key_file_and_remedy(name, tmp_path, capfd):
    suffix, make, said = BAD[name]
    path = tmp_path / f"weights{suffix}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what makes the files
        make(path)
    with pytest.raises(ValueError, match=said) as error:
        read_weights(path, "model.weights")
    text = str(error.value)
    assert isinstance(error.value, ConfigError)  # which ends a command with its message alone
    assert text.startswith(f"model.weights: {path}")
    assert re.search(r"(copy|download|give|save|run|unpack|take) ", text)
    assert "\n" not in text
    assert "weights_only" not in text  # no advice to trust it
    assert len(text) < 500 + len(str(path))
    assert "ran" not in capfd.readouterr().out.split()


def test_a_folder_is_none(tmp_path):
    with pytest.raises(ValueError, match=r"teacher.weights: .* is a folder: give"):
        read_weights(tmp_path, "teacher.weights")


def wrapped(prefix, **extra):
    return {**{f"{prefix}{name}": value for name, value in GOOD.items()}, **extra}


ARGUMENTS = Namespace(lr=0.1, size=torch.Size([2, 3]), model="resnet", nested=Namespace(a=[1]))
READ = {
    "plain": GOOD,
    "ordered": OrderedDict(GOOD),
    **{f"at-{place}": {place: GOOD, "epoch": 3} for place in ("model", "net", "network", "state_dict")},
    **{f"at-{place}": {place: OrderedDict(GOOD)} for place in ("model_state_dict", "state_dict_ema", "ema")},
    "twice": {"model": {"state_dict": GOOD}},
    "empty-beside": {"state_dict": {}, "model": GOOD},
    **{
        prefix: wrapped(prefix)
        for prefix in ("module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "module.module.", "network.")
    },
    "module.network.": wrapped("module.network."),
    "student.network._orig_mod.": {**wrapped("student.network._orig_mod."), "total.scale": torch.ones(1)},
    "_orig_mod.student.network.": wrapped("_orig_mod.student.network."),
    "averaged": wrapped("module.", n_averaged=torch.tensor(7)),
    "namespace": {"model": GOOD, "args": ARGUMENTS},
    "numpy-scalars": {"model": GOOD, "best": np.float64(0.93), "epoch": np.int64(3), "done": np.bool_(True)},
    "numpy-halves": {"model": GOOD, "best": [np.float32(0.5), np.float16(0.5), np.uint8(4)]},
    "size": {"model": GOOD, "shape": torch.Size([3, 4])},
}


@pytest.mark.parametrize("archive", [True, False])
@pytest.mark.parametrize("name", READ)
def test_weights_are_found_in_what_others_saved(name, archive, tmp_path):
    torch.save(READ[name], tmp_path / "weights.pth", _use_new_zipfile_serialization=archive)
    found = read_weights(tmp_path / "weights.pth", "model.weights")
    assert list(found) == list(GOOD)
    assert all(torch.equal(found[key], value) for key, value in GOOD.items())


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "network."])
def test_a_prefix_that_some_names_have_is_part_of_the_names(prefix, tmp_path):
    """VOLO of timm has its blocks under ``network.``, and its head beside."""
    state = wrapped(prefix, **{"head.bias": torch.ones(2)})
    torch.save(state, tmp_path / "weights.pth")
    assert list(read_weights(tmp_path / "weights.pth", "model.weights")) == list(state)


def test_of_several_state_dicts_the_plain_one_is_taken_and_said(tmp_path):
    average = {name: value + 1 for name, value in GOOD.items()}
    torch.save({"ema": average, "state_dict_ema": average, "model": GOOD}, tmp_path / "weights.pth")
    with pytest.warns(UserWarning, match="weights at model, state_dict_ema, ema: those at model are taken"):
        found = read_weights(tmp_path / "weights.pth", "model.weights")
    assert torch.equal(found["a.weight"], GOOD["a.weight"])


def test_safetensors_are_told_by_their_bytes(tmp_path):
    save_file(GOOD, tmp_path / "pytorch_model.bin")
    assert torch.equal(read_weights(tmp_path / "pytorch_model.bin", "model.weights")["a.weight"], GOOD["a.weight"])


def test_no_flipped_byte_goes_into_a_network(tmp_path):
    """Any byte of the archive: the file is refused, or holds what was saved."""
    path = tmp_path / "weights.pth"
    torch.save(GOOD, path)
    content = path.read_bytes()
    refused = 0
    for place in range(0, len(content), 11):
        damaged = bytearray(content)
        damaged[place] ^= 0x10
        path.write_bytes(damaged)
        try:
            found = read_weights(path, "model.weights")
        except ValueError:
            refused += 1
            continue
        assert found.keys() == GOOD.keys(), place
        assert all(torch.equal(found[name], value) for name, value in GOOD.items()), place
    assert refused > 600 * 4 / 11  # every value at least


def test_an_archive_without_checksums_is_read(tmp_path):
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(GOOD, tmp_path / "weights.pth")
    finally:
        torch.serialization.set_crc32_options(True)
    assert torch.equal(read_weights(tmp_path / "weights.pth", "model.weights")["a.bias"], GOOD["a.bias"])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_weights_that_are_not_finite_are_named(tiny_info, tmp_path, value, dtype):
    extractor = small_cnn(tiny_info, widths=(4, 8, 8))
    state = {name: tensor.clone() for name, tensor in extractor.network.state_dict().items()}
    state["layer2.0.conv1.weight"] = state["layer2.0.conv1.weight"].to(dtype)
    state["layer2.0.conv1.weight"].view(-1)[3:5] = value
    state["linear.bias"][0] = value
    save_file(state, tmp_path / "weights.safetensors")
    found = read_weights(tmp_path / "weights.safetensors", "model.weights")
    with pytest.raises(ValueError, match=r"model.weights: .* in 2 of \d+ tensors, first layer2.0.conv1.weight \(2 val"):
        load_state(extractor, found, "model.weights")
    assert all(bool(torch.isfinite(p).all()) for p in extractor.parameters())


def test_what_overflows_float32_is_not_finite(tiny_info):
    extractor = small_cnn(tiny_info, widths=(4, 8, 8))
    state = {**extractor.network.state_dict(), "linear.bias": torch.full((10,), 1e300, dtype=torch.float64)}
    with pytest.raises(ValueError, match=r"first linear.bias \(10 values\)"):
        load_state(extractor, state, "model.weights")


def test_negative_variances_are_named(tiny_info):
    extractor = small_cnn(tiny_info, widths=(4, 8, 8))
    state = {name: tensor.clone() for name, tensor in extractor.network.state_dict().items()}
    state["layer1.0.bn2.running_var"][1] = -0.5
    with pytest.raises(ValueError, match=r"teacher.weights: .*negative variances .*layer1.0.bn2.running_var \(1 val"):
        load_state(extractor, state, "teacher.weights")


def test_a_head_that_is_left_out_may_be_anything(tiny_info):
    extractor = small_cnn(tiny_info, widths=(4, 8, 8))
    state = {**extractor.network.state_dict(), "linear.weight": torch.full((7, 8), torch.nan)}
    state["linear.bias"] = torch.full((7,), torch.nan)
    load_state(extractor, state, "model.weights", fresh_head=True)
    assert bool(torch.isfinite(extractor.network.linear.weight).all())


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_a_file_that_may_not_be_read_is_the_systems_error(tmp_path):
    torch.save(GOOD, tmp_path / "weights.pth")
    (tmp_path / "weights.pth").chmod(0)
    with pytest.raises(PermissionError):
        read_weights(tmp_path / "weights.pth", "model.weights")
