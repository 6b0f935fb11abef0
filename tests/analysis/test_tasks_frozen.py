"""analyze.py with probes of frozen features, on a network without a classifier."""

from config_base import composed

from kdbias.analysis import tasks
from kdbias.probes.base import Result
from kdbias.train import train

SMALL = ["model=vit", "model.width=16", "model.depth=1", "model.heads=2", "model.patch=8", "trainer=smoke"]
CUES = ["data=cues", "data.train=200", "data.val=40", "data.test=60"]


def test_a_network_without_labels_is_probed(tmp_path, capsys):
    run = tmp_path / "ssl" / "run"
    train(composed(["experiment=teacher_ssl_vit", *SMALL, *CUES, "model.classes=null", f"paths.run={run}"]))
    settings = [
        "trainer=cpu",
        "cache=false",
        "untrained=false",
        "task=probe",
        "probe=[knn,linear]",
        "probe.knn.bank=50",
        f"runs=[{run}]",
    ]
    tasks.run(composed([*settings, f"out={tmp_path}/out"], "analyze"))
    knn, linear = (Result.load(tmp_path / "out" / "ssl-run", probe) for probe in ("knn", "linear"))
    assert (knn.meta["bank"], linear.meta["bank"], knn.meta["n"]) == (50, 160, 60)
    assert 0 <= knn.scalars["knn"] <= 1
    assert linear.scalars["linear_train"] > 0.2
    assert "linear_train" in capsys.readouterr().out
