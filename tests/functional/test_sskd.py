"""SSKD: the official code's numbers and selection, ties, a count by loops, where gradients flow, bad input."""

import math

import pytest
import torch
from torch.nn import functional as F

from kdbias.functional import sskd, sskd_keep, sskd_parts, sskd_similarity

TARGET = torch.tensor([3, 0, 4, 1])
NAMES = ("ce", "kd", "tf", "ss")


def wave(*shape: int, step: float = 0.7, scale: float = 3.0) -> torch.Tensor:
    return scale * torch.sin(step * torch.arange(math.prod(shape), dtype=torch.float64)).view(*shape)


def signs(*shape: int, step: float) -> torch.Tensor:
    """Vectors of ±1: in four dimensions their cosines are multiples of 1/2, with many exact ties."""
    return torch.where(wave(*shape, step=step) > 0, 1.0, -1.0).double()


def inputs(name: str) -> tuple[torch.Tensor, ...]:
    """Give logits and features of the student and the teacher, in the order of ``sskd_parts``."""
    if name == "generic":
        return wave(16, 5), wave(16, 5, step=1.3), wave(16, 6, step=0.9), wave(16, 6, step=2.1)
    return wave(16, 5), wave(16, 5, step=1.3, scale=2.0).round(), signs(16, 4, step=0.9), signs(16, 4, step=2.3)


@pytest.mark.parametrize(
    ("name", "ratios", "temperatures", "official"),
    [
        (
            "generic",
            (1.0, 0.75),
            (4.0, 4.0, 0.5),
            [2.4452043441955325, 1.1413107598549526, 4.3923940266108294, 0.16348523818453617],
        ),
        (
            "generic",
            (0.5, 0.4),
            (4.0, 4.0, 0.5),
            [2.4452043441955325, 1.1413107598549526, 3.831578326613318, 0.16034810238592184],
        ),
        (
            "generic",
            (0.3, 0.0),
            (4.0, 4.0, 0.5),
            [2.4452043441955325, 1.1413107598549526, 4.272194712139521, 0.16247083732101575],
        ),
        (
            "ties",
            (1.0, 0.75),
            (4.0, 4.0, 0.5),
            [2.4452043441955325, 0.8709626673964574, 3.240493856237776, 0.1285345079312288],
        ),
        (
            "ties",
            (0.5, 0.4),
            (4.0, 4.0, 0.5),
            [2.4452043441955325, 0.8709626673964574, 3.3771371937104293, 0.12881133015752347],
        ),
        (
            "ties",
            (0.3, 0.0),
            (4.0, 4.0, 0.5),
            [2.4452043441955325, 0.8709626673964574, 3.090047064998695, 0.11647511499897686],
        ),
        (
            "generic",
            (0.5, 0.4),
            (2.0, 3.0, 0.2),
            [2.4452043441955325, 0.8374541879541846, 3.645996552301939, 0.10666409144663003],
        ),
    ],
)
def test_official_terms(name, ratios, temperatures, official):
    """From the training step of student.py, xuguodong03/SSKD, in fp64."""
    parts = sskd_parts(*inputs(name), TARGET, *ratios, temperatures)
    assert tuple(parts) == NAMES
    assert [term.item() for term in parts.values()] == pytest.approx(official, rel=1e-12)


@pytest.mark.parametrize(
    ("name", "ratios", "by_class", "by_partner"),
    [
        ("generic", (1.0, 0.75), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11], [0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11]),
        ("generic", (0.5, 0.4), [0, 1, 3, 4, 5, 6, 7, 8], [0, 1, 2, 3, 4, 6, 7, 9, 10, 11]),
        ("generic", (0.3, 0.0), [0, 3, 4, 5, 6, 7, 8], [0, 1, 3, 4, 6, 7, 9, 10, 11]),
        ("ties", (1.0, 0.75), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11], [0, 1, 2, 3, 4, 5, 6, 7, 8, 10]),
        ("ties", (0.5, 0.4), [0, 3, 4, 5, 6, 7, 8, 9], [1, 2, 4, 5, 7, 8, 10]),
        ("ties", (0.3, 0.0), [3, 4, 5, 6, 7, 8], [1, 4, 7, 10]),
    ],
)
def test_official_selection(name, ratios, by_class, by_partner):
    """The indices that student.py keeps (``distill_index_tf`` and ``distill_index_ss``), ties included."""
    _, logits, _, features = inputs(name)
    rotated = logits.view(4, 4, 5)[:, 1:].reshape(12, 5)
    assert sskd_keep(rotated, TARGET.repeat_interleave(3), ratios[0]).tolist() == by_class
    partners = torch.arange(4).repeat_interleave(3)
    assert sskd_keep(sskd_similarity(features), partners, ratios[1]).tolist() == by_partner


def test_official_gradients():
    """The norms of the gradients of .1 ce + .9 kd + 2.7 tf + 10 ss, from student.py's step."""
    student_logits, teacher_logits, student_features, teacher_features = inputs("generic")
    student_logits.requires_grad_()
    student_features.requires_grad_()
    parts = sskd_parts(student_logits, teacher_logits, student_features, teacher_features, TARGET)
    sum(w * parts[name] for w, name in zip((0.1, 0.9, 2.7, 10.0), NAMES, strict=True)).backward()
    assert student_logits.grad.norm().item() == pytest.approx(1.02948453331204, rel=1e-10)
    assert student_features.grad.norm().item() == pytest.approx(0.1640298141089741, rel=1e-10)


def kept_in_loops(scores, true, ratio):
    ranks = []
    for row, own in zip(scores.tolist(), true.tolist(), strict=True):
        order = sorted(range(len(row)), key=lambda column: (-row[column], column))
        ranks.append(order.index(own))
    by_rank = sorted(range(len(ranks)), key=lambda row: (ranks[row], row))
    right = ranks.count(0)
    return sorted(by_rank[: right + math.floor(ratio * (len(ranks) - right))])


@pytest.mark.parametrize("ratio", [0.0, 0.25, 0.5, 0.75, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_selection_counted_by_loops_with_ties_to_lower_columns_and_rows(seed, ratio):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(0, 3, (60, 7), generator=generator).float()
    true = torch.randint(0, 7, (60,), generator=generator)
    assert sskd_keep(scores, true, ratio).tolist() == kept_in_loops(scores, true, ratio)


def test_right_rows_are_all_kept_and_the_best_wrong_ones_join_them():
    scores = torch.tensor([[5.0, 1.0, 0.0], [5.0, 1.0, 0.0], [5.0, 1.0, 0.0], [5.0, 1.0, 0.0]])
    true = torch.tensor([2, 0, 1, 1])
    assert [sskd_keep(scores, true, r).tolist() for r in (0.0, 0.3, 0.34, 0.99, 1.0)] == [
        [1],
        [1],
        [1, 2],
        [1, 2, 3],
        [0, 1, 2, 3],
    ]
    assert sskd_keep(torch.zeros(2, 3), torch.tensor([0, 1]), 0.0).tolist() == [0]  # the lower column of a tie leads


def test_similarities_are_cosines_of_every_rotated_with_every_upright_image():
    features = wave(12, 5)
    similarity = sskd_similarity(features)
    assert similarity.shape == (9, 3)
    for i in range(3):
        for j in range(3):
            for other in range(3):
                cosine = F.cosine_similarity(features[4 * i + j + 1], features[4 * other], dim=0)
                assert similarity[3 * i + j, other].item() == pytest.approx(cosine.item(), rel=1e-12)
    torch.testing.assert_close(sskd_similarity(features, 0.5), 2 * similarity)
    torch.testing.assert_close(sskd_similarity(7.0 * features), similarity)


def test_similarity_gradients_run_through_both_views_and_stop_at_zero_vectors():
    features = wave(8, 3)
    features[5] = 0.0
    features.requires_grad_()
    (sskd_similarity(features) * wave(6, 2, step=1.9)).sum().backward()
    moved = features.grad.norm(dim=1)
    assert moved[5] == 0
    assert (moved[[0, 1, 2, 3, 4, 6, 7]] > 0).all()
    assert torch.autograd.gradcheck(sskd_similarity, wave(8, 3).requires_grad_())


def test_each_term_reaches_its_own_part_of_the_student_and_none_the_teacher():
    given = [x.requires_grad_() for x in inputs("generic")]
    rotated = [r for r in range(16) if r % 4]
    reached = {"ce": (0, [0, 4, 8, 12]), "kd": (0, [0, 4, 8, 12]), "tf": (0, rotated), "ss": (2, list(range(16)))}
    for name, (index, rows) in reached.items():
        grads = torch.autograd.grad(sskd_parts(*given, TARGET, ratio_ss=1.0)[name], given, allow_unused=True)
        assert [i for i, g in enumerate(grads) if g is not None] == [index]
        assert grads[index].abs().sum(1).nonzero().flatten().tolist() == rows


def test_rows_that_are_not_kept_get_no_gradient():
    student_logits, teacher_logits, student_features, teacher_features = inputs("generic")
    student_logits.requires_grad_()
    sskd_parts(student_logits, teacher_logits, student_features, teacher_features, TARGET, ratio_tf=0.3)[
        "tf"
    ].backward()
    rotated = teacher_logits.view(4, 4, 5)[:, 1:].reshape(12, 5)
    kept = sskd_keep(rotated, TARGET.repeat_interleave(3), 0.3)
    moved = student_logits.grad.view(4, 4, 5)[:, 1:].reshape(12, 5).abs().sum(1)
    assert 0 < len(kept) < 12
    assert moved.nonzero().flatten().tolist() == kept.tolist()


def test_no_row_kept_gives_zero_and_not_nan():
    """All rotated images are wrong and none of the wrong is kept: the official mean over no rows is 0/0."""
    logits = torch.eye(5)[[0] * 16].requires_grad_()
    parts = sskd_parts(logits, logits, *inputs("generic")[2:], torch.full((4,), 3), ratio_tf=0.0)
    parts["tf"].backward()
    assert parts["tf"].item() == 0
    assert logits.grad.eq(0).all()


def test_a_student_like_its_teacher_has_only_cross_entropy_left():
    logits, features = wave(16, 5), wave(16, 6)
    parts = sskd_parts(logits, logits, 3 * features, features, TARGET)
    assert parts["ce"].item() == pytest.approx(F.cross_entropy(logits[::4], TARGET).item(), rel=1e-12)
    assert [parts[name].item() for name in ("kd", "tf", "ss")] == pytest.approx([0.0] * 3, abs=1e-12)


def test_networks_may_differ_in_width():
    student_logits, teacher_logits, student_features, _ = inputs("generic")
    parts = sskd_parts(student_logits, teacher_logits, student_features, wave(16, 9), TARGET)
    assert all(term.isfinite() for term in parts.values())


def test_bf16_autocast_gives_the_fp32_numbers():
    given = [x.bfloat16() for x in inputs("generic")]
    plain = sskd_parts(*(x.float() for x in given), TARGET)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        parts = sskd_parts(*given, TARGET)
        similarity = sskd_similarity(given[2])
    assert similarity.dtype == torch.float32
    torch.testing.assert_close(similarity, sskd_similarity(given[2].float()), rtol=0, atol=0)
    for name in NAMES:
        assert parts[name].dtype == torch.float32
        torch.testing.assert_close(parts[name], plain[name], rtol=0, atol=0)


def test_bad_input_is_an_error():
    logits, _, features, _ = inputs("generic")
    with pytest.raises(ValueError, match=r"features \(4B, D\) of 4 rotations .* got \(6, 3\)"):
        sskd_similarity(torch.ones(6, 3))
    with pytest.raises(ValueError, match="temperature must be > 0"):
        sskd_similarity(features, 0.0)
    with pytest.raises(ValueError, match=r"\(n,\), got \(3, 2\) and \(2,\)"):
        sskd_keep(torch.ones(3, 2), torch.zeros(2, dtype=torch.long), 0.5)
    with pytest.raises(ValueError, match=r"0\.\.1, got 75"):
        sskd_keep(torch.ones(3, 2), torch.zeros(3, dtype=torch.long), 75)
    with pytest.raises(ValueError, match=r"0\.\.1, got 0 to 2"):
        sskd_keep(torch.ones(3, 2), torch.tensor([0, 1, 2]), 0.5)
    with pytest.raises(ValueError, match="must be an integer"):
        sskd_keep(torch.ones(3, 2), torch.ones(3), 0.5)
    with pytest.raises(ValueError, match=r"one shape \(B, C\)"):
        sskd_parts(logits, logits[:, :4], features, features, TARGET)
    with pytest.raises(ValueError, match="teacher_features have 12 rows and the logits 16"):
        sskd_parts(logits, logits, features, features[:12], TARGET)
    with pytest.raises(ValueError, match=r"each of 4 upright images, got \(4, 5\); .*mix_probability=0"):
        sskd_parts(logits, logits, features, features, torch.ones(4, 5))
    with pytest.raises(ValueError, match="temperature must be > 0"):
        sskd_parts(logits, logits, features, features, TARGET, temperatures=(4.0, 4.0, 0.0))


@pytest.mark.parametrize("wrong", [-100, -1, 5])
def test_a_class_that_there_is_not_is_refused_and_not_left_out(wrong):
    logits, features = wave(8, 5), wave(8, 3)
    with pytest.raises(IndexError, match="out of bounds"):
        sskd_parts(logits, logits, features, features, torch.tensor([0, wrong]))


def test_a_device_without_float64_keeps_the_same_rows(monkeypatch):
    count = torch.arange(3073)
    for ratio in (0.0, 0.1, 0.29, 0.57, 0.75, 1.0):
        wide = [int(one) for one in (count.double() * ratio).long()]
        assert [sskd._part(one, ratio, 3072).item() for one in count[::97]] == wide[::97]
        with monkeypatch.context() as patch:
            patch.setattr(sskd, "has_float64", lambda device: False)
            assert [sskd._part(one, ratio, 3072).item() for one in count] == wide
    narrow = [int(one) for one in (count.float() * 0.29).long()]
    assert narrow != [int(one) for one in (count.double() * 0.29).long()]  # what fp32 would keep
    whole = sskd_keep(wave(12, 4), torch.zeros(12).long(), ratio=0.57)
    monkeypatch.setattr(sskd, "has_float64", lambda device: False)
    assert torch.equal(sskd_keep(wave(12, 4), torch.zeros(12).long(), ratio=0.57), whole)
