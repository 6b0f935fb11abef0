"""What the key of a kept Result stands for."""

import ast
import shutil
from types import SimpleNamespace

import pytest

from kdbias.analysis import measure
from kdbias.checks.check import ConfigError
from kdbias.functional.hessian.product import CurvatureError
from kdbias.probes.cache import describe, key_of
from kdbias.probes.code import ROOT, builders_in, code_digest, code_of
from kdbias.probes.code import _digest as digest

HESSIAN = "kdbias.probes.hessian.HessianProbe"
CIFAR, TIMM = "kdbias.data.cifar.cifar10", "kdbias.models.timm_network.timm_network"


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """A copy of the package, to be changed."""
    root = tmp_path_factory.mktemp("code") / "kdbias"
    shutil.copytree(ROOT, root, ignore=shutil.ignore_patterns("__pycache__"))
    return root


@pytest.fixture
def changed(package):
    """Whether the key of builders changes with a file's text; the copy is as before afterwards."""
    before: dict[str, str | None] = {}

    def change(file: str, *builders: str, text: str = "\n# changed\n") -> bool:
        path = package / file
        old = code_of_now(package, builders)
        now = path.read_text() if path.is_file() else None
        before.setdefault(file, now)
        path.write_text((now or "") + text)
        return code_of_now(package, builders) != old

    yield change
    for file, text in before.items():
        (package / file).unlink() if text is None else (package / file).write_text(text)


def code_of_now(root, builders):
    """The key as a process that begins now would make it."""
    digest.cache_clear()
    return code_digest(builders, root)


def test_a_new_loss_and_its_mathematics_leave_the_key_of_a_probe(changed):
    assert not changed("functional/pooled.py", HESSIAN, CIFAR, TIMM, text="def pooled(): ...\n")
    assert not changed("losses/pooled.py", HESSIAN, CIFAR, TIMM, text="from kdbias.functional.pooled import pooled\n")
    handed_on = "\nfrom kdbias.functional.pooled import pooled\n"
    assert not changed("functional/__init__.py", HESSIAN, "kdbias.probes.attention.AttentionProbe", text=handed_on)
    assert not changed("functional/relation.py", HESSIAN)
    assert not changed("probes/shift.py", HESSIAN)


@pytest.mark.parametrize(
    "file",
    [
        "probes/hessian.py",
        "functional/hessian/product.py",  # the probe imports it
        "functional/precision.py",  # what it imports does
        "models/reading.py",  # the way from images to features
        "models/layout.py",
        "data/base.py",
        "batch.py",
    ],
)
def test_what_a_probe_is_made_of_changes_its_key(changed, file):
    assert changed(file, HESSIAN)


def test_the_builders_of_network_and_data_count_where_they_are_used(changed):
    assert changed("models/timm_network.py", HESSIAN, TIMM)
    assert changed("data/torchvision_source.py", HESSIAN, CIFAR)
    assert not changed("models/timm_network.py", HESSIAN)
    assert not changed("data/torchvision_source.py", HESSIAN)


def test_imports_inside_functions_and_names_that_a_package_hands_on_count(changed):
    lazy = "\n\ndef later():\n    from kdbias.functional.relation import relation_kl\n    return relation_kl\n"
    assert changed("probes/hessian.py", HESSIAN, text=lazy)
    assert changed("functional/relation.py", HESSIAN)
    assert changed("functional/attention.py", "kdbias.probes.attention.AttentionProbe")
    assert changed("stats/scores.py", "kdbias.probes.shift.ShiftProbe")


def test_a_factory_and_a_module_outside_of_the_package_are_found(tmp_path, monkeypatch):
    assert "kdbias.functional.cka.stream" in code_of(["kdbias.probes.cka.teacher_cka"])
    import kdbias.probes

    (tmp_path / "mine.py").write_text("from kdbias.functional.relation import relation_kl\n")
    monkeypatch.setattr(kdbias.probes, "__path__", [*kdbias.probes.__path__, str(tmp_path)])
    found = code_of(["kdbias.probes.mine.Mine"])
    assert found["kdbias.probes.mine"] == tmp_path / "mine.py"
    assert "kdbias.functional.relation" in found


def test_every_import_of_the_package_is_one_that_is_read():
    """Relative ones and those by ``importlib`` would be missed."""
    for path in (
        path
        for room in ("batch", "data", "functional", "models", "probes", "stats", "stress")
        for path in [*(ROOT / room).glob("**/*.py"), ROOT / f"{room}.py"]
        if path.is_file()
    ):
        for node in ast.walk(ast.parse(path.read_text())):
            assert not (isinstance(node, ast.ImportFrom) and node.level), path
            assert not (isinstance(node, ast.Name) and node.id in ("import_module", "__import__")), path


def test_builders_are_found_in_plain_and_in_written_parts():
    written = '{"model": {"_target_": "kdbias.models.deit.vit"}}'
    assert builders_in({"_target_": HESSIAN}, written, {"teacher": written}, None) == {
        HESSIAN,
        "kdbias.models.deit.vit",
    }


def test_the_key_knows_the_code_of_the_network(monkeypatch):
    asked = []
    monkeypatch.setattr("kdbias.probes.cache.code_digest", lambda builders: asked.append(set(builders)) or "digest")
    images = {"data": {"_target_": CIFAR}}
    key_of(describe({"_target_": HESSIAN}, "sha", images, {}, {"_target_": TIMM}))
    assert asked == [{HESSIAN, CIFAR, TIMM}]


def test_the_key_knows_the_code_of_the_sets_that_names_stand_for(monkeypatch):
    asked = []
    monkeypatch.setattr("kdbias.probes.cache.code_digest", lambda builders: asked.append(set(builders)) or "digest")
    node = {"_target_": "kdbias.probes.bias.BiasProbe"}
    describe(node, "sha", {}, {}, None)
    describe({**node, "stress": ["corruption"]}, "sha", {}, {}, None)
    assert {"kdbias.stress.superpixel.Superpixel", "kdbias.stress.texture.Texture"} <= asked[0]
    assert "kdbias.stress.corruption.Corruption" in asked[1]


def test_a_failed_hessian_names_the_probe_and_the_network():
    def probe(network, batches):
        raise CurvatureError("no eigenvalues: allow a larger tolerance")

    subject = SimpleNamespace(name="exp/run")
    work = SimpleNamespace(_network=lambda: None, probes={"hessian": probe}, tree=None, subject=subject)
    with pytest.raises(ConfigError, match=r"probe\.hessian: on exp/run: no eigenvalues: allow a larger tolerance"):
        measure.Work.run(work, ["hessian"], None)
