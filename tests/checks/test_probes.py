"""Probes during training are asked before it begins what they make of the student."""

import pytest
from config_base import composed

from kdbias.checks.check import check


@pytest.mark.parametrize(
    ("network", "size"), [("swin_tiny_patch4_window7_224", 224), ("mobilevit_xxs", 64), ("convnextv2_atto", 64)]
)
def test_the_default_callbacks_are_refused_where_there_is_no_attention_distance(network, size):
    """Their training ended at its first probe."""
    student = ["experiment=exp1_kl", "trainer=cpu", "model=timm", f"model.name={network}", f"model.size={size}"]
    (problem,) = check(composed([*student, "callback=[checkpoint,probe_attention,probe_cka]"]))
    assert problem.startswith("callback.probe_attention: ")
    assert "attention distance is not defined for it: leave it out of callback=[...]" in problem
    assert check(composed([*student, "callback=[checkpoint,probe_cka]"])) == []


def test_images_are_counted_before_training():
    few = composed(["experiment=exp1_kl", "trainer=cpu", "probe_images=2", "callback=[checkpoint,probe_cka]"])
    assert check(few) == [
        "callback.probe_cka.images: 2 are fewer than the 4 that it takes: raise it (probe_images is for all)"
    ]


def test_a_folder_with_its_own_validation_split_does_not_read_data_val(tmp_path):
    for part in ("train", "val", "test"):
        (tmp_path / part / "one").mkdir(parents=True)
        for image in range(4):
            (tmp_path / part / "one" / f"{image}.png").touch()
    chosen = ["experiment=exp1_kl", "trainer=cpu", "callback=[checkpoint,probe_cka]", "loader=workers"]
    data = ["data=image_folder", f"data.root={tmp_path}", "data.val=3", "data.size=32"]
    assert not [problem for problem in check(composed([*chosen, *data])) if problem.startswith("data.val")]
