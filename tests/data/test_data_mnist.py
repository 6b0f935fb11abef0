import struct

import pytest
import torch
from torch.nn import functional as F
from torchvision.datasets import MNIST

from kdbias.data.mnist import fashion_mnist, invert_light_background, mnist


def write(raw, part, images, labels):
    head = struct.pack(">IIII", 2051, len(images), 28, 28)
    (raw / f"{part}-images-idx3-ubyte").write_bytes(head + images.numpy().tobytes())
    (raw / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 2049, len(labels)) + labels.numpy().tobytes())


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """MNIST's files with 10,000 test and 60,000 one-coloured training images of their own."""
    root = tmp_path_factory.mktemp("mnist")
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    images = torch.randint(0, 256, (10_000, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    many = torch.arange(60_000).remainder(256).to(torch.uint8)[:, None, None].expand(-1, 28, 28).contiguous()
    for part, stored in (("t10k", images), ("train", many)):
        write(raw, part, stored, torch.arange(len(stored)).remainder(10).to(torch.uint8))
    return root, images


@pytest.fixture
def small(files, tmp_path):
    """Those files by links, in a folder of the test's own."""
    (tmp_path / "MNIST" / "raw").mkdir(parents=True)
    for path in (files[0] / "MNIST" / "raw").iterdir():
        (tmp_path / "MNIST" / "raw" / path.name).symlink_to(path)
    return tmp_path, files[1]


@pytest.mark.parametrize("size", [28, 32])
def test_one_channel_at_28_or_padded_to_32(small, size):
    root, images = small
    source = mnist(root=str(root), size=size, download=False)
    source.prepare()
    read, labels = source.split("test")
    border = (size - 28) // 2
    assert torch.equal(read, F.pad(images, [border] * 4)[:, None])
    assert labels.tolist() == [*range(10)] * 1_000
    assert (source.info.channels, source.info.size, source.info.train) == (1, size, 55_000)


def test_images_keep_their_labels_through_the_split(small):
    root, _ = small
    source = mnist(root=str(root), limit=3_000)
    for name, count in (("train", 3_000), ("val", 5_000)):
        images, labels = source.split(name)
        assert len(images) == count
        # an image's grey is its position modulo 256 and its label its position modulo 10: both know the parity
        assert torch.equal(images[:, 0, 0, 0] % 2, (labels % 2).to(torch.uint8))


@pytest.mark.parametrize(("builder", "folder"), [(mnist, "MNIST/raw"), (fashion_mnist, "FashionMNIST/raw")])
def test_offline_the_error_names_the_path(builder, folder, tmp_path, monkeypatch):
    def refuse(self):
        raise RuntimeError("Error downloading train-images-idx3-ubyte.gz")

    monkeypatch.setattr(MNIST, "download", refuse)
    with pytest.raises(FileNotFoundError) as raised:
        builder(root=str(tmp_path)).prepare()
    assert str(tmp_path / folder) in str(raised.value)
    assert "data.root" in str(raised.value)


def rewrite(path, change):
    data = change(path.read_bytes())
    path.unlink()
    path.write_bytes(data)


def fewer(data):
    """A whole file of its kind, of 20 images or labels."""
    dimensions = data[3]
    return data[:4] + struct.pack(">I", 20) + data[8 : 4 + 4 * dimensions + 20 * 28 ** (dimensions - 1)]


BREAKS = {
    "cut": lambda data: data[:-1],
    "longer": lambda data: data + b"0",
    "empty": lambda data: b"",
    "a page": lambda data: b"<html>404</html>".ljust(len(data)),
    "another kind": lambda data: data[:3] + b"\2" + data[4:],
    "fewer": fewer,
}


@pytest.mark.parametrize("download", [False, True])
@pytest.mark.parametrize("change", BREAKS)
@pytest.mark.parametrize("part", ["train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"])
def test_a_broken_file_is_named_and_not_called_missing(small, part, change, download):
    path = small[0] / "MNIST" / "raw" / f"{part}-ubyte"
    rewrite(path, BREAKS[change])
    source = mnist(root=str(small[0]), download=download)
    for ask in (source.prepare, lambda: source.split("train"), lambda: source.split("test")):
        with pytest.raises(ValueError, match=rf"{path} is broken \(.*\): delete it; ") as found:
            ask()
        assert "\n" not in str(found.value)
        assert ("data.download=true" in str(found.value)) is not download


@pytest.mark.parametrize("part", ["train", "t10k"])
def test_a_label_that_is_no_class_is_named(small, part):
    path = small[0] / "MNIST" / "raw" / f"{part}-labels-idx1-ubyte"
    rewrite(path, lambda data: data[:-1] + b"\x0a")
    with pytest.raises(ValueError, match=r"labels-idx1-ubyte is broken \(it has the label 10, and they are 0 to 9\)"):
        mnist(root=str(small[0])).prepare()


def test_a_missing_file_beside_whole_ones_is_missing(small):
    (small[0] / "MNIST" / "raw" / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(FileNotFoundError, match=r"data\.download is false"):
        mnist(root=str(small[0]), download=False).prepare()


def test_another_size_is_refused():
    with pytest.raises(ValueError, match="size: must be 28 or 32, got 30"):
        mnist(root="data", size=30)


def test_fashion_names_and_statistics():
    info = fashion_mnist(root="data").info
    assert info.names[9] == "Ankle boot"
    assert (info.classes, info.mean, info.std) == (10, (0.2860,), (0.3530,))


@pytest.mark.parametrize(("border", "inverted"), [(127, False), (128, True), (255, True), (0, False)])
def test_inversion_looks_at_the_border_only(border, inverted):
    image = torch.full((2, 1, 28, 28), border, dtype=torch.uint8)
    image[:, :, 1:-1, 1:-1] = 255 - border
    expected = 255 - image if inverted else image
    assert torch.equal(invert_light_background(image), expected)


def test_each_image_is_judged_on_its_own():
    images = torch.stack([torch.zeros(28, 28), torch.full((28, 28), 255)]).to(torch.uint8)
    assert not invert_light_background(images).any()
    assert not invert_light_background(images[1]).any()


def test_real_mnist(shared_data):
    source = mnist(root=str(shared_data), download=False)
    source.prepare()
    images, labels = source.split("train")
    assert images.shape == (55_000, 1, 28, 28)
    assert labels.unique().tolist() == list(range(10))
    assert (images / 255).mean().item() == pytest.approx(source.info.mean[0], abs=1e-3)
    assert (images / 255).std().item() == pytest.approx(source.info.std[0], abs=1e-3)
    assert torch.equal(invert_light_background(images), images)


def test_files_of_an_old_torchvision_are_not_read_in_the_place_of_those_that_are_checked(small, tmp_path):
    root, images = small
    old = root / "MNIST" / "processed"
    old.mkdir()
    for name in ("training.pt", "test.pt"):
        torch.save((torch.zeros(70_000, 28, 28, dtype=torch.uint8), torch.full((70_000,), 77)), old / name)
    read, labels = mnist(root=str(root), download=False).split("test")
    assert torch.equal(read[:, 0], images)
    assert int(labels.max()) == 9
