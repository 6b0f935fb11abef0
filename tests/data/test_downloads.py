"""A download that fails leaves nothing, and says in one line what to do; one that succeeds leaves the data alone."""

import gzip
import hashlib
import io
import pickle
import socket
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from torchvision.datasets import CIFAR10, MNIST

from kdbias.data.cifar import cifar10
from kdbias.data.mnist import mnist
from kdbias.data.staged import staged


def archive() -> bytes:
    """Give a small set in CIFAR-10's layout, as it is published."""
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w:gz") as tar:
        for name, content in FILES.items():
            entry = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return whole.getvalue()


BATCH = pickle.dumps({"data": np.random.default_rng(0).integers(0, 256, (20, 3072), np.uint8), "labels": [1] * 20})
FILES = {"data_batch_1": BATCH, "test_batch": BATCH, "batches.meta": pickle.dumps({"label_names": ["a", "b"]})}
ARCHIVE = archive()


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


@pytest.fixture
def host(monkeypatch):
    """Serve the archive as ``host.answer`` says; torchvision's CIFAR-10 and MNIST are to come from there."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            length, content = server.answer
            self.send_response(200 if content is not None else 404)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(content or b"")
            if content is not None and len(content) < length:  # the line is cut
                self.connection.shutdown(socket.SHUT_RDWR)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.answer = (len(ARCHIVE), ARCHIVE)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}/"
    monkeypatch.setattr(CIFAR10, "url", f"{address}cifar-10-python.tar.gz")
    monkeypatch.setattr(CIFAR10, "tgz_md5", md5(ARCHIVE))
    monkeypatch.setattr(CIFAR10, "train_list", [["data_batch_1", md5(BATCH)]])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", md5(BATCH)]])
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": md5(FILES["batches.meta"])})
    monkeypatch.setattr(MNIST, "mirrors", [address, address])
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield server
    server.shutdown()
    server.server_close()


FAILURES = {
    "the network goes down in mid-file": ((len(ARCHIVE), ARCHIVE[: len(ARCHIVE) // 2]), "cut short"),
    "nothing comes": ((len(ARCHIVE), b""), "cut short"),
    "another file": ((len(ARCHIVE), ARCHIVE[:-1] + b"!"), "MD5 sum differs"),
    "a page instead": ((15, b"<html>no</html>"), "MD5 sum differs"),
    "no such file": ((0, None), "404"),
}


@pytest.mark.parametrize("builder", [cifar10, mnist])
@pytest.mark.parametrize("failure", FAILURES)
def test_a_failed_download_leaves_nothing_and_says_what_to_do(tmp_path, host, failure, builder):
    host.answer, reason = FAILURES[failure]
    for root in (tmp_path / "new", tmp_path):  # a root that is made for it, and one that is there
        with pytest.raises(FileNotFoundError) as raised:
            builder(root=str(root)).prepare()
        said = str(raised.value)
        assert "\n" not in said
        assert reason in said
        for part in ("the download failed", "Put it there", "data.root", "KDBIAS_DATA", "data=cues"):
            assert part in said
        assert not list(tmp_path.iterdir())


def test_what_was_there_stays_when_a_download_fails(tmp_path, host):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    (folder / "test_batch").write_bytes(BATCH)
    (tmp_path / "notes.txt").write_text("mine")
    host.answer = FAILURES["the network goes down in mid-file"][0]
    with pytest.raises(FileNotFoundError):
        cifar10(root=str(tmp_path)).prepare()
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["cifar-10-batches-py", "notes.txt", "test_batch"]


def test_a_download_that_succeeds_leaves_the_data_alone(tmp_path, host):
    (tmp_path / ".cifar-10-batches-py.download").mkdir()  # of a process that was killed
    (tmp_path / ".cifar-10-batches-py.download" / "cifar-10-python.tar.gz").write_bytes(ARCHIVE[:100])
    source = cifar10(root=str(tmp_path))
    source.prepare()
    assert {path.name for path in (tmp_path / "cifar-10-batches-py").iterdir()} == set(FILES)
    assert {path.name for path in tmp_path.iterdir()} <= {"cifar-10-batches-py", ".cifar-10-batches-py.lock"}
    assert len(source.split("test")[0]) == 20


def test_an_archive_that_lies_there_is_unpacked_without_a_network(tmp_path, host):
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(ARCHIVE)
    host.answer = (0, None)
    cifar10(root=str(tmp_path)).prepare()
    assert (tmp_path / "cifar-10-python.tar.gz").read_bytes() == ARCHIVE
    assert (tmp_path / "cifar-10-batches-py" / "test_batch").read_bytes() == BATCH


def test_archives_of_other_sets_are_not_copied(tmp_path, host):
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(ARCHIVE)
    (tmp_path / "imagenet.tar").write_bytes(b"large")
    names = cifar10(root=str(tmp_path))._archives
    with staged(tmp_path, "cifar-10-batches-py", names) as place:
        assert [path.name for path in place.iterdir()] == ["cifar-10-python.tar.gz"]
    assert mnist(root=str(tmp_path))._archives[0] == "train-images-idx3-ubyte.gz"


def test_files_of_below_move_and_archives_do_not(tmp_path):
    with staged(tmp_path, "MNIST/raw") as place:
        (place / "MNIST" / "raw").mkdir(parents=True)
        (place / "MNIST" / "raw" / "train").write_bytes(b"whole")
        (place / "MNIST" / "raw" / "train.gz").write_bytes(gzip.compress(b"whole"))
        assert not (tmp_path / "MNIST").exists()
    assert [path.name for path in (tmp_path / "MNIST" / "raw").iterdir()] == ["train"]
    assert [path.name for path in tmp_path.iterdir()] == ["MNIST"]
