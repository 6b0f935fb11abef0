import hashlib
import pickle

import pytest
import torch
from torchvision.datasets import CIFAR10, CIFAR100

from kdbias.data.cifar import CIFAR100_NAMES, cifar10, cifar100


@pytest.fixture
def no_network(monkeypatch):
    def refuse(self):
        raise OSError("no route to host")

    monkeypatch.setattr(CIFAR10, "download", refuse)


def test_what_is_known_without_the_files(tmp_path):
    info = cifar10(root=str(tmp_path)).info
    assert (info.channels, info.size, info.classes, info.train) == (3, 32, 10, 45_000)
    assert info.names[3] == "cat"
    assert (info.mean, info.std) == ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
    assert cifar100(root=str(tmp_path), val=1_000, limit=600).info.train == 600
    assert cifar100(root=str(tmp_path)).info.classes == 100
    assert sorted(CIFAR100_NAMES) == list(CIFAR100_NAMES)


@pytest.mark.parametrize(("builder", "folder"), [(cifar10, "cifar-10-batches-py"), (cifar100, "cifar-100-python")])
def test_offline_the_error_names_path_and_remedies(builder, folder, tmp_path, no_network):
    source = builder(root=str(tmp_path))
    with pytest.raises(FileNotFoundError) as raised:
        source.prepare()
    for part in (str(tmp_path / folder), "no route to host", "data.root", "KDBIAS_DATA", "data=cues"):
        assert part in str(raised.value)


def test_without_download_nothing_is_fetched(tmp_path, no_network):
    with pytest.raises(FileNotFoundError, match=r"data\.download is false"):
        cifar10(root=str(tmp_path), download=False).prepare()


def test_reading_before_preparing_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="not downloaded yet"):
        cifar10(root=str(tmp_path)).split("train")


@pytest.fixture
def lay(tmp_path, monkeypatch):
    """Lay images of CIFAR-100 down in its layout: one file a split, labels under fine_labels, and sums that fit."""

    def lay(images, labels, test):
        folder = tmp_path / "cifar-100-python"
        folder.mkdir()
        sums = {}
        for name, count in (("train", len(images)), ("test", test), ("meta", 0)):
            entry = {"data": images[:count].flatten(1).numpy(), "fine_labels": labels[:count].tolist()}
            stored = pickle.dumps(entry | {"fine_label_names": [*CIFAR100_NAMES]})
            (folder / name).write_bytes(stored)
            sums[name] = hashlib.md5(stored).hexdigest()
        monkeypatch.setattr(CIFAR100, "train_list", [["train", sums["train"]]])
        monkeypatch.setattr(CIFAR100, "test_list", [["test", sums["test"]]])
        monkeypatch.setattr(CIFAR100, "meta", CIFAR100.meta | {"md5": sums["meta"]})
        return folder

    return lay


def test_files_are_read_as_they_lie(tmp_path, lay):
    images = torch.randint(0, 256, (50_000, 3, 32, 32), dtype=torch.uint8)
    labels = torch.randint(0, 100, (50_000,))
    lay(images, labels, 100)
    source = cifar100(root=str(tmp_path), limit=200)
    source.prepare()
    read, read_labels = source.split("test")
    assert torch.equal(read, images[:100])
    assert torch.equal(read_labels, labels[:100])
    train, val = source.split("train"), source.split("val")
    assert len(train[0]) == source.info.train == 200
    assert len(val[0]) == 5_000
    together = torch.cat([train[0], val[0]]).flatten(1)[:, :8].contiguous().view(torch.int64)
    assert len(together.unique()) == 5_200


def cut(data):
    return data[: len(data) // 2]


def flip(data):
    return data[:1000] + bytes([data[1000] ^ 1]) + data[1001:]


@pytest.mark.parametrize("download", [False, True])
@pytest.mark.parametrize("change", [cut, flip, lambda data: b"<html>404</html>", lambda data: b""])
@pytest.mark.parametrize("name", ["train", "test", "meta"])
def test_a_broken_file_is_named_and_not_called_missing(tmp_path, lay, no_network, name, change, download):
    path = lay(torch.zeros(20, 3, 32, 32, dtype=torch.uint8), torch.zeros(20), 10) / name
    path.write_bytes(change(path.read_bytes()))
    source = cifar100(root=str(tmp_path), download=download)
    for ask in (source.prepare, lambda: source.split("train"), lambda: source.split("test")):
        with pytest.raises(ValueError, match=rf"{path} is broken \(its .* bytes are not .*\): delete it; ") as found:
            ask()
        assert "\n" not in str(found.value)
        assert ("data.download=true" in str(found.value)) is not download


def test_a_missing_file_beside_whole_ones_is_missing(tmp_path, lay, no_network):
    (lay(torch.zeros(20, 3, 32, 32, dtype=torch.uint8), torch.zeros(20), 10) / "test").unlink()
    with pytest.raises(FileNotFoundError, match="no route to host"):
        cifar100(root=str(tmp_path)).prepare()


def test_real_cifar10(shared_data):
    source = cifar10(root=str(shared_data), download=False)
    source.prepare()
    splits = {name: source.split(name) for name in ("train", "val", "test")}
    assert [len(images) for images, _ in splits.values()] == [45_000, 5_000, 10_000]
    assert torch.bincount(splits["test"][1]).tolist() == [1_000] * 10
    counts = torch.bincount(splits["train"][1]) + torch.bincount(splits["val"][1])
    assert counts.tolist() == [5_000] * 10
    grey = torch.arange(256) / 255
    for channel, (mean, std) in enumerate(zip(source.info.mean, source.info.std, strict=True)):
        share = torch.bincount(splits["train"][0][:, channel].flatten(), minlength=256) / (45_000 * 32 * 32)
        assert (share * grey).sum().item() == pytest.approx(mean, abs=1e-3)
        assert (share * (grey - mean) ** 2).sum().sqrt().item() == pytest.approx(std, abs=1e-3)
