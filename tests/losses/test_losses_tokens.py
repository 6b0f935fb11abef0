"""What the structural terms compute: by definition, by layer, across unlike grids, and at the edges."""

import warnings
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from kdbias.batch import Batch
from kdbias.functional import batched_cka, gram_distance, relation_kl, resample_tokens
from kdbias.losses.base import Total
from kdbias.losses.cka import CKA
from kdbias.losses.gram import Gram
from kdbias.losses.monitor import CollapseMonitor
from kdbias.losses.relation import Relation
from kdbias.losses.token import Token
from kdbias.models.features import Features, Layer, NetworkInfo


def features(tokens: list[torch.Tensor], grids: list[tuple[int, int]], prefix: int = 0) -> Features:
    """Features of tokens alone; the prefix tokens are the first patch tokens plus one."""
    first = tuple(t[:, :prefix] + 1 for t in tokens)
    return Features(None, None, None, None, tokens[-1].mean(1), tuple(tokens), first, tuple(grids), ())


def info(widths: list[int], grids: list[tuple[int, int]]) -> NetworkInfo:
    layers = [Layer(f"l{i}", (i + 1) / len(widths), w, g) for i, (w, g) in enumerate(zip(widths, grids, strict=True))]
    return NetworkInfo(tuple(layers), widths[-1], 10, 0, False, "cnn")


SHAPES = {"student": ([6, 10], [(4, 4), (2, 2)]), "teacher": ([8, 7], [(3, 3), (4, 2)])}


def network(who: str, seed: int, batch: int = 5, prefix: int = 0) -> Features:
    """A CNN whose maps shrink: every layer with a grid and a width of its own."""
    generator = torch.Generator().manual_seed(seed)
    widths, grids = SHAPES[who]
    tokens = [torch.randn(batch, h * w, d, generator=generator) for d, (h, w) in zip(widths, grids, strict=True)]
    return features(tokens, grids, prefix)


def built(term, tiny_info):
    torch.manual_seed(0)
    term.build(info(*SHAPES["student"]), info(*SHAPES["teacher"]), tiny_info)
    return term


@pytest.fixture
def seen():
    return network("student", 0), network("teacher", 1)


def on_the_students_grid(student: Features, teacher: Features):
    for k in range(2):
        yield student.tokens[k], resample_tokens(teacher.tokens[k], teacher.grids[k], student.grids[k])


def test_token_in_loops_over_layers_images_and_places(seen, tiny_info):
    student, teacher = seen
    cosine, mse = (built(Token(distance=d), tiny_info) for d in ("cosine", "mse"))
    wholes, squares = [], []
    for k, (s, t) in enumerate(on_the_students_grid(*seen)):
        ours = s @ cosine.project[k].weight.T + cosine.project[k].bias
        pairs = [(ours[b, n], t[b, n]) for b in range(5) for n in range(s.shape[1])]
        wholes.append(sum(1 - (p @ q) / (p.norm() * q.norm()) for p, q in pairs) / len(pairs))
        squares.append(sum((p - q).square().mean() for p, q in pairs) / len(pairs))
    torch.testing.assert_close(cosine(student, teacher, None, 0.0), sum(wholes) / 2)
    torch.testing.assert_close(mse(student, teacher, None, 0.0), sum(squares) / 2)
    assert list(cosine.report) == ["l0", "l1"]
    torch.testing.assert_close(torch.stack(list(cosine.report.values())), torch.stack(wholes).detach())
    assert not any(value.requires_grad for value in cosine.report.values())


def test_relation_of_images_and_of_places(seen, tiny_info):
    last = list(on_the_students_grid(*seen))[-1]
    pooled = [seen[0].tokens[1].mean(1), seen[1].tokens[1].mean(1)]
    over_batch, over_tokens = Relation(temperature=0.5), Relation(over="tokens", diagonal=True)
    torch.testing.assert_close(built(over_batch, tiny_info)(*seen, None, 0.0), relation_kl(*pooled, 0.5))
    expected = relation_kl(*last, 0.1, diagonal=True).mean()
    torch.testing.assert_close(built(over_tokens, tiny_info)(*seen, None, 0.0), expected)
    assert (list(over_batch.report), over_batch.positional, over_tokens.positional) == (["l1"], False, True)


@pytest.mark.parametrize("kernel", ["linear", "rbf"])
def test_cka_of_the_tokens_of_each_image(kernel, seen, tiny_info):
    term = built(CKA(kernel=kernel, scale=0.5), tiny_info)
    each = [
        torch.stack([batched_cka(s[b], t[b], kernel, scale=0.5) for b in range(5)])
        for s, t in on_the_students_grid(*seen)
    ]
    torch.testing.assert_close(term(*seen, None, 0.0), 1 - torch.cat(each).mean())
    assert list(term.report) == ["l0", "l1"]
    assert term.positional


def test_cka_of_tokens_of_unit_length(seen, tiny_info):
    lengths = [torch.rand(5, t.shape[1], 1) + 0.5 for t in seen[0].tokens]
    longer = replace(seen[0], tokens=tuple(t * n for t, n in zip(seen[0].tokens, lengths, strict=True)))
    published, default = (built(CKA(normalize=n), tiny_info) for n in (True, False))
    torch.testing.assert_close(published(longer, seen[1], None, 0.0), published(*seen, None, 0.0))
    assert (default(longer, seen[1], None, 0.0) - default(*seen, None, 0.0)).abs() > 1e-3


@pytest.mark.parametrize("estimator", ["biased", "debiased"])
def test_cka_of_images_by_mean_token_or_cls(estimator, tiny_info):
    """A teacher without CLS token gives its mean token, also where the student has one."""
    student, teacher = network("student", 0, prefix=2), network("teacher", 1)
    term = built(CKA(axis="sample", estimator=estimator), tiny_info)
    pooled = [
        batched_cka(s.mean(1), t.mean(1), "linear", estimator)
        for s, t in zip(student.tokens, teacher.tokens, strict=True)
    ]
    torch.testing.assert_close(term(student, teacher, None, 0.0), 1 - torch.stack(pooled).mean())
    term = built(CKA(axis="sample", estimator=estimator, cls_only=True), tiny_info)
    torch.testing.assert_close(term(student, teacher, None, 0.0), 1 - torch.stack(pooled).mean())  # registers alone
    term.has_cls = True, False
    pairs = zip(student.prefix, teacher.tokens, strict=True)
    mixed = [batched_cka(p[:, 0], t.mean(1), "linear", estimator) for p, t in pairs]
    torch.testing.assert_close(term(student, teacher, None, 0.0), 1 - torch.stack(mixed).mean())
    assert not term.positional


@pytest.mark.parametrize("as_published", [False, True])
def test_gram_of_each_image(as_published, seen, tiny_info):
    term = built(Gram(as_published=as_published), tiny_info)
    each = [gram_distance(s, t, frobenius=as_published).mean() for s, t in on_the_students_grid(*seen)]
    torch.testing.assert_close(term(*seen, None, 0.0), sum(each) / 2)
    assert list(term.report) == ["l0", "l1"]


def test_reports_stand_beside_the_parts(pair):
    two = pair()
    late = {"kind": "step", "values": [0, 1], "at": [0.5]}
    total = Total({"token": Token(two_sided=True), "cka": CKA(late)})
    total.build(two.student.info, two.teacher.info, two.info)
    batch = two.batch()
    for progress, cka in ((0.0, []), (0.5, ["cka/blocks.0", "cka/blocks.1"]), (0.2, [])):
        loss, parts = total(two.student(batch.image), two.teacher(batch.image), batch, progress)
        terms = ["token", "cka"] if cka else ["token"]
        assert list(parts) == [*terms, "token/teacher_variance", "token/blocks.0", "token/blocks.1", *cka]
        weighted = 0.5 * parts["token"] + (parts["cka"] if cka else 0)
        torch.testing.assert_close(loss.detach(), weighted)
        torch.testing.assert_close((parts["token/blocks.0"] + parts["token/blocks.1"]) / 2, parts["token"])


def batch_of(count: int) -> Batch:
    """A batch of which a term reads only how many images there are."""
    return Batch(torch.zeros(count, 3, 1, 1), torch.zeros(count), torch.arange(count), torch.zeros(count, 3, 1, 1))


def unrelated(term: Token, tiny_info) -> tuple[list[float], list[float]]:
    """Train the projections for 50 steps on random tokens, new ones each step so that there is nothing to remember.

    Gives the loss of each step, and the variance of the projected teacher.
    """
    torch.manual_seed(0)
    shapes, grid = (192, 384), (8, 8)
    term.build(*(info([w], [grid]) for w in shapes), tiny_info)
    optimizer, losses, variances = torch.optim.AdamW(term.parameters(), lr=1e-3), [], []
    for _ in range(51):
        student, teacher = (features([torch.randn(4, 64, w)], [grid]) for w in shapes)
        loss = term(student, teacher, batch_of(4), 0.0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if term.two_sided:
            term.update(term.pending)
        losses.append(loss.item())
        variances.append(term.report["teacher_variance"].item() if term.two_sided else 1.0)
    return losses, variances


def test_one_sided_cannot_be_satisfied_by_unrelated_tokens(tiny_info):
    losses, _ = unrelated(Token(), tiny_info)
    assert losses[0] == pytest.approx(1.0, abs=0.02)
    assert min(losses) > 0.9


def test_two_sided_collapses_and_the_monitor_says_so(tiny_info):
    term = Token(two_sided=True, projection="mlp", dim=256)
    with pytest.warns(UserWarning, match=r"the token loss of l0 collapses: .* set two_sided=false") as warned:
        losses, variances = unrelated(term, tiny_info)
    assert losses[0] == pytest.approx(1.0, abs=0.05)
    assert losses[-1] < 0.13
    assert variances[-1] < 0.25 * variances[0]
    assert len(warned) == 1
    assert term.state_dict()["monitors.0.first"].item() == pytest.approx(variances[0])


def test_what_a_monitor_keeps_is_the_variance_of_all_images_of_the_first_step():
    torch.manual_seed(0)
    monitor, first, second = CollapseMonitor("x"), 3 + torch.randn(6, 5, 7), torch.randn(4, 5, 7)
    variance = monitor(first)
    assert monitor.first == 0  # forward writes nothing
    monitor.remember(torch.cat([monitor.row(part) for part in first.split(2)]))
    torch.testing.assert_close(monitor.first, variance)
    monitor.remember(monitor.row(second))
    torch.testing.assert_close(monitor.first, variance)


def test_the_monitor_measures_the_spread_of_directions(seen, tiny_info):
    term = built(Token(two_sided=True), tiny_info)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        term(*seen, batch_of(len(seen[0].pooled)), 0.0)
    expected = []
    for k, (_, t) in enumerate(on_the_students_grid(*seen)):
        direction = F.normalize(term.project_teacher[k](t), dim=-1).flatten(0, 1)
        expected.append(1 - direction.mean(0).square().sum())
    torch.testing.assert_close(term.report["teacher_variance"], (sum(expected) / 2).detach())


TERMS = [
    Token,
    lambda: Token(distance="mse"),
    Relation,
    lambda: Relation(over="tokens", layers="all", teacher_layers="all"),
    CKA,
    lambda: CKA(axis="sample"),
    lambda: CKA(kernel="rbf", estimator="debiased"),
    Gram,
    lambda: Gram(as_published=True),
]


@pytest.mark.parametrize("make", TERMS)
@pytest.mark.parametrize("value", [0.0, 0.1])
@pytest.mark.parametrize("who", [0, 1, 2])
def test_equal_tokens_give_no_nan(make, value, who, seen, tiny_info):
    """A black image: tokens that are 0 or all equal, of the student, of the teacher, of both."""
    term = built(make(), tiny_info)
    flat = [replace(f, tokens=tuple(torch.full_like(t, value) for t in f.tokens)) for f in seen]
    student, teacher = (flat[k] if who in (k, 2) else seen[k] for k in (0, 1))
    tokens = tuple(t.clone().requires_grad_() for t in student.tokens)
    loss = term(replace(student, tokens=tokens), teacher, None, 0.0)
    gradients = [g for g in torch.autograd.grad(loss, tokens, allow_unused=True) if g is not None]
    assert gradients
    assert loss.isfinite()
    assert all(g.isfinite().all() and g.norm() < 100 for g in gradients)
    if isinstance(term, CKA):
        assert loss == 1
        assert all(g.eq(0).all() for g in gradients)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            Relation,
            r"loss.relation.over=batch compares images and needs at least 3 in a batch, got 1: raise batch_size",
        ),
        (lambda: CKA(axis="sample"), r"loss.cka.axis=sample .* at least 3 in a batch, got 1"),
        (lambda: CKA(axis="sample", estimator="debiased"), "at least 4 in a batch, got 1"),
    ],
)
def test_one_image_is_no_batch_to_compare(make, message, tiny_info):
    with pytest.raises(ValueError, match=message):
        built(make(), tiny_info)(network("student", 0, batch=1), network("teacher", 1, batch=1), None, 0.0)


@pytest.mark.parametrize("make", [Token, lambda: Relation(over="tokens"), CKA, Gram])
def test_one_image_is_enough_for_what_compares_its_places(make, tiny_info):
    term = built(make(), tiny_info)
    assert term(network("student", 0, batch=1), network("teacher", 1, batch=1), None, 0.0) > 0


@pytest.mark.parametrize(
    ("term", "message"),
    [
        (lambda: CKA(estimator="debiased"), "axis: token compares .* needs at least 4, but l1 of the student has 2"),
        (lambda: Relation(over="tokens"), "over: tokens compares .* needs at least 3, but l1 of the student has 2"),
    ],
)
def test_a_layer_of_few_places(term, message, tiny_info):
    small = info([6, 10], [(4, 4), (2, 1)])
    with pytest.raises(ValueError, match=message):
        term().build(small, info(*SHAPES["teacher"]), tiny_info)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Token(distance="l1"), "distance: must be cosine or mse, got 'l1'"),
        (lambda: Token(dim=256), "dim: .* where two_sided=true, got 256: set it to null"),
        (lambda: Token(dim=0, two_sided=True), "dim: .* got 0"),
        (lambda: Token(projection="none", two_sided=True), "projection: none leaves nothing to train"),
        (lambda: Relation(temperature=0), "temperature: must be above 0"),
        (lambda: Relation(over="layers"), "over: must be batch or tokens, got 'layers'"),
        (lambda: CKA(axis="batch"), "axis: must be token or sample, got 'batch'"),
        (lambda: CKA(kernel="poly"), "kernel: must be linear or rbf, got 'poly'"),
        (lambda: CKA(scale=0), "scale: must be above 0, got 0"),
        (lambda: CKA(estimator="unbiased"), "estimator: must be biased or debiased, got 'unbiased'"),
        (lambda: CKA(cls_only=True), "cls_only: .* set axis=sample"),
    ],
)
def test_settings_that_cannot_be_meant(make, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        make()
