"""Weights of timm: from the hub where it answers, else one error that names the file and the alternatives."""

import io
import socket
import time
from urllib.error import HTTPError, URLError

import pytest
import timm
import torch

from kdbias.config.errors import ConfigError
from kdbias.models import pretrained
from kdbias.models.pretrained import MissingWeights, create, obtainable
from kdbias.models.teacher import ready_teacher
from kdbias.models.timm_network import timm_network

DINO = {
    "_target_": "kdbias.models.timm_network.timm_network",
    "name": "vit_small_patch14_dinov2.lvd142m",
    "pretrained": True,
    "weights": None,
    "size": 28,
    "classes": None,
}


@pytest.fixture(autouse=True)
def empty_cache(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    pretrained.obtainable.cache_clear()
    yield
    pretrained.obtainable.cache_clear()


@pytest.fixture
def offline(monkeypatch):
    def refuse(request, timeout):
        raise URLError(socket.gaierror(-2, "Name or service not known"))

    monkeypatch.setattr(pretrained, "urlopen", refuse)


@pytest.fixture
def hub(monkeypatch):
    """Give the calls of a timm that has every file."""
    calls = []
    build = timm.create_model

    def download(name, *, pretrained, **arguments):
        calls.append((name, pretrained))
        return build(name, pretrained=False, **arguments)

    monkeypatch.setattr(timm, "create_model", download)
    return calls


def test_missing_weights_are_one_error_at_once(tiny_info, offline, monkeypatch):
    """Nobody waits and tries again; the second is of computing, which a busy machine does not stretch."""
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    began = time.process_time()
    with pytest.raises(MissingWeights) as caught:
        ready_teacher(DINO, tiny_info, "dinov2")
    assert time.process_time() - began < 1
    assert slept == []
    message = str(caught.value)
    for part in (
        "model.safetensors of https://huggingface.co/timm/vit_small_patch14_dinov2.lvd142m",
        "Name or service not known",
        "teacher.weights=PATH",
        "teacher.pretrained=false",
    ):
        assert part in message
    assert message.startswith("teacher.model.pretrained: the weights of ")  # the student's keys would not help
    assert ", model." not in message
    assert "(model." not in message
    assert " model.weights" not in message
    assert "\n" not in message
    assert isinstance(caught.value, ConfigError)  # the program ends with the message alone


def test_auto_starts_from_scratch_with_a_warning(tiny_info, offline):
    with pytest.warns(UserWarning, match="resnet18 starts from scratch: .*huggingface.co/timm/resnet18"):
        extractor = timm_network(tiny_info, name="resnet18", pretrained="auto")
    assert extractor.info.classes == 10


def test_auto_takes_weights_that_are_there(monkeypatch, hub):
    monkeypatch.setattr(pretrained, "urlopen", lambda request, timeout: io.BytesIO())
    torch.manual_seed(0)
    state = torch.get_rng_state()
    assert obtainable("resnet18")
    assert hub == [("resnet18", True)]
    assert torch.equal(torch.get_rng_state(), state)
    create("resnet18", "auto", 10, {})
    assert hub == [("resnet18", True)] * 2


def test_auto_is_found_out_once_a_process(monkeypatch):
    asked = []

    def refuse(request, timeout):
        asked.append(request.full_url)
        raise URLError(socket.gaierror(-2, "Name or service not known"))

    monkeypatch.setattr(pretrained, "urlopen", refuse)
    with pytest.warns(UserWarning, match="starts from scratch") as caught:
        assert [obtainable("resnet18"), obtainable("resnet18"), obtainable("resnet34")] == [False] * 3
    create("resnet18", "auto", 10, {})
    assert len(asked) == len(caught) == 2


def test_a_hub_that_answers_with_an_error_is_left_to_its_client(monkeypatch, hub):
    def answer(request, timeout):
        assert request.full_url.startswith("https://huggingface.co/timm/resnet18")
        raise HTTPError(request.full_url, 429, "Too Many Requests", {}, None)

    monkeypatch.setattr(pretrained, "urlopen", answer)
    create("resnet18", True, 10, {})
    assert hub == [("resnet18", True)]


def test_a_cached_file_needs_no_hub(monkeypatch, hub, offline):
    monkeypatch.setattr(pretrained, "try_to_load_from_cache", lambda repository, file: f"/cache/{repository}/{file}")
    create("resnet18", True, 10, {})
    assert hub == [("resnet18", True)]


def test_a_download_that_breaks(monkeypatch):
    def breaks(name, *, pretrained, **arguments):
        raise ConnectionError("connection reset")

    monkeypatch.setattr(timm, "create_model", breaks)
    monkeypatch.setattr(pretrained, "urlopen", lambda request, timeout: io.BytesIO())
    with pytest.raises(MissingWeights, match=r"connection reset.*model.weights=PATH"):
        create("resnet18", True, 10, {})


def test_random_weights_on_request(tiny_info, offline):
    with pytest.warns(UserWarning, match="teacher dinov2 has random weights"):
        teacher = ready_teacher({**DINO, "pretrained": False, "layers": [11]}, tiny_info, "dinov2")
    features = teacher(torch.rand(1, 3, 32, 32))
    assert features.logits is None
    assert features.grids == ((2, 2),)


@pytest.mark.parametrize(("name", "message"), [("resnet81", "model.name: .*resnet81"), ("test_vit5", "model.name")])
def test_unknown_name(name, message):
    with pytest.raises(ValueError, match=message):
        create(name, False, 10, {})
    with pytest.raises(ValueError, match=message):
        obtainable(name)


def test_a_network_without_weights():
    name = next(n for n in timm.list_models("resnet*") if not timm.get_pretrained_cfg(n).has_weights)
    with pytest.raises(ValueError, match=r"model\.pretrained: timm has no weights"):
        create(name, True, 10, {})


def test_a_teacher_of_an_unknown_name_is_told_by_the_key_of_the_teacher(tiny_info):
    with pytest.raises(ValueError, match=r"^teacher\.model\.name: timm .* has no 'resnet81'"):
        ready_teacher({**DINO, "name": "resnet81"}, tiny_info, "mine")
