"""C2VKD: each part by the official formula, the pool against torch's attention, real weights, what is optimised."""

import math
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file
from small_pair import make_pair
from torch import nn
from torch.nn import functional as F

from kdbias.losses import c2vkd
from kdbias.losses.attention_pool import pool_from_file, random_pool
from kdbias.losses.c2vkd import C2VKD
from kdbias.models.features import Layer

WIDTH, OUT = 40, 6  # of the small CNN's last map, and of a pool in a file


@pytest.fixture
def two(pair):
    return pair(True, "vit", "cnn")


def ready(two, **settings) -> C2VKD:
    torch.manual_seed(0)
    term = C2VKD(**settings)
    two.build(term)
    return term


def maps(term, two, batch):
    """The projected student's tokens and the teacher's on the student's 4×4 places, as the official code has them."""
    ours = term.project(two.student(batch.image).tokens[-1])
    theirs = two.teacher(batch.image).tokens[-1].mT.reshape(len(batch.image), WIDTH, 8, 8)
    theirs = F.interpolate(theirs, size=(4, 4), mode="bilinear", antialias=True, align_corners=False)
    return ours, theirs.flatten(2).mT


def by_torch(tokens, state):
    """CLIP's pool, as its code calls torch's attention."""
    x = torch.cat([tokens.mean(1, keepdim=True), tokens], 1) + state["positional_embedding"]
    x = x.transpose(0, 1)
    zero = torch.zeros(x.shape[2])
    bias = [state.get(f"{p}_proj.bias", zero) for p in "qkv"]
    found, _ = F.multi_head_attention_forward(
        x[:1],
        x,
        x,
        x.shape[2],
        max(1, x.shape[2] // 64),
        q_proj_weight=state["q_proj.weight"],
        k_proj_weight=state["k_proj.weight"],
        v_proj_weight=state["v_proj.weight"],
        in_proj_weight=None,
        in_proj_bias=torch.cat(bias),
        bias_k=None,
        bias_v=None,
        add_zero_attn=False,
        dropout_p=0.0,
        out_proj_weight=state["c_proj.weight"],
        out_proj_bias=state["c_proj.bias"],
        use_separate_proj_weight=True,
        training=False,
    )
    return found[0]


def clip_state(width=WIDTH, side=4, out=OUT, seed=3):
    generator = torch.Generator().manual_seed(seed)
    shapes = {"positional_embedding": (side**2 + 1, width)}
    for part, rows in {"q": width, "k": width, "v": width, "c": out}.items():
        shapes |= {f"{part}_proj.weight": (rows, width), f"{part}_proj.bias": (rows,)}
    return {name: torch.randn(shape, generator=generator) * width**-0.5 for name, shape in shapes.items()}


def official_kl(ours, theirs):
    """``KLDivLoss(reduction="mean", log_target=True)`` of log-softmaxes over channels."""
    log_s, log_t = ours.log_softmax(-1), theirs.log_softmax(-1)
    return (log_t.exp() * (log_t - log_s)).mean()


def test_parts_by_the_official_formulas(two):
    """Global, graph and language as in train.py of zhengxuJosh/C2VKD; its graph's diagonal blocks, image by image."""
    term, batch = ready(two), two.batch()
    student, teacher = two.student(batch.image), two.teacher(batch.image)
    loss = term(student, teacher, batch, 0.0)
    ours, theirs = maps(term, two, batch)
    graphs = []
    for tokens in (ours, theirs):
        x = tokens / tokens.norm(dim=2, keepdim=True)
        x = x - x.mean(dim=2, keepdim=True)
        graphs.append(torch.stack([image @ image.T / (WIDTH - 1) for image in x]))
    state = {
        f"{p}_proj.weight": getattr(term.pool, n) for p, n in zip("qkvc", ("query", "key", "value", "out"), strict=True)
    }
    state |= {"positional_embedding": term.pool.position, "c_proj.bias": term.pool.out_bias}
    expected = {
        "global": official_kl(ours, theirs),
        "patch": (graphs[0] - graphs[1]).square().mean(),
        "linguistic": official_kl(by_torch(ours, state), by_torch(theirs, state)),
        "decoupled": official_dkd(student.distill_logits, teacher.logits, batch.target),
    }
    assert list(term.report) == list(expected)
    for name, value in expected.items():
        torch.testing.assert_close(term.report[name], value.detach(), rtol=1e-4, atol=1e-7)
    weights = {"global": 0.1, "patch": 0.1, "linguistic": 0.5, "decoupled": 1.0}
    total = sum(weights[name] * value for name, value in expected.items())
    torch.testing.assert_close(loss, total, rtol=1e-4, atol=1e-6)


def official_dkd(ours, theirs, target):
    """Decoupled KD with alpha = beta = .5 at temperature 1, with probabilities and a mask."""
    p_s, p_t, mask = ours.softmax(1), theirs.softmax(1), F.one_hot(target, ours.shape[1]).bool()
    pairs = [torch.stack([p[mask], 1 - p[mask]], 1) for p in (p_s, p_t)]
    rest = [p[~mask].view(len(p), -1) / (1 - p[mask])[:, None] for p in (p_s, p_t)]
    kl = [(b * (b.log() - a.log())).sum(1).mean() for a, b in (pairs, rest)]
    return 0.5 * kl[0] + 0.5 * kl[1]


def test_reductions_differ_by_the_number_of_channels(two):
    batch, found = two.batch(), {}
    for reduction in ("numel", "batchmean"):
        term = ready(two, reduction=reduction)
        term(two.student(batch.image), two.teacher(batch.image), batch, 0.0)
        found[reduction] = term.report
    for part in ("global", "linguistic"):
        torch.testing.assert_close(found["batchmean"][part], WIDTH * found["numel"][part])
    for part in ("patch", "decoupled"):
        assert torch.equal(found["batchmean"][part], found["numel"][part])


def test_over_the_batch_is_the_official_graph(two):
    term, batch = ready(two, over="batch"), two.batch(3)
    term(two.student(batch.image), two.teacher(batch.image), batch, 0.0)
    graphs = []
    for tokens in maps(term, two, batch):
        x = tokens.flatten(0, 1)
        x = x / x.norm(dim=1, keepdim=True)
        x = x - x.mean(dim=1, keepdim=True)
        graphs.append(x @ x.T / (WIDTH - 1))
    torch.testing.assert_close(
        term.report["patch"], (graphs[0] - graphs[1]).square().mean().detach(), rtol=1e-4, atol=0
    )


def test_a_graph_over_too_many_tokens_is_refused(two, monkeypatch):
    term, batch = ready(two, over="batch"), two.batch(3)
    monkeypatch.setattr(c2vkd, "LARGEST", 47)
    with pytest.raises(
        ValueError, match="over: batch makes a graph of 48 tokens, and at most 47 are allowed: set image"
    ):
        term(two.student(batch.image), two.teacher(batch.image), batch, 0.0)


def test_features_are_compared_place_by_place(two):
    term, batch = ready(two, patch="feature"), two.batch()
    term(two.student(batch.image), two.teacher(batch.image), batch, 0.0)
    ours, theirs = maps(term, two, batch)
    torch.testing.assert_close(term.report["patch"], (ours - theirs).square().mean().detach(), rtol=1e-4, atol=0)


def test_a_large_map_is_compared_on_eight_by_eight(two):
    info = replace(two.student.info, layers=(Layer("x", 1.0, 24, (14, 10)),))
    term, batch = C2VKD(patch="feature"), two.batch(2)
    term.build(info, two.teacher.info, two.info)
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(2, 140, 24, generator=generator)
    student = replace(two.student(batch.image), tokens=(tokens,), grids=((14, 10),))
    teacher = two.teacher(batch.image)
    term(student, teacher, batch, 0.0)
    smaller = F.interpolate(
        tokens.mT.reshape(2, 24, 14, 10), size=(8, 8), mode="bilinear", antialias=True, align_corners=False
    )
    expected = F.mse_loss(term.project(smaller.flatten(2).mT), teacher.tokens[-1])
    torch.testing.assert_close(term.report["patch"], expected.detach(), rtol=1e-4, atol=1e-6)


def test_parts_of_weight_0_are_not_computed_and_need_nothing(two):
    whole = C2VKD()
    assert whole.needs == {"tokens", "logits", "hard_target"}
    assert whole.hard
    term = ready(two, decoupled_weight=0.0, linguistic={"weight": 0.0})
    assert (term.needs, term.hard) == ({"tokens"}, False)
    assert C2VKD.needs == whole.needs
    batch = two.batch(mixed=True)
    loss = term(two.student(batch.image), replace(two.teacher(batch.image), logits=None), batch, 0.0)
    assert list(term.report) == ["global", "patch"]
    assert not list(term.buffers())
    torch.testing.assert_close(loss.detach(), 0.1 * term.report["global"] + 0.1 * term.report["patch"])


def test_the_pool_is_one_for_both_frozen_and_decided_by_its_seed_alone(two):
    first = ready(two)
    torch.manual_seed(99)
    again, other = C2VKD(), C2VKD(linguistic={"seed": 1})
    for term in (again, other):
        term.build(two.student.info, two.teacher.info, two.info)
    assert [name for name, _ in first.named_parameters()] == ["project.weight", "project.bias"]
    pools = [dict(term.pool.state_dict()) for term in (first, again, other)]
    assert all(torch.equal(pools[0][name], pools[1][name]) for name in pools[0])
    assert not torch.equal(pools[0]["query"], pools[2]["query"])
    same = random_pool(WIDTH, (4, 4), 0)
    tokens = torch.randn(3, 16, WIDTH)
    assert torch.equal(same(tokens), first.pool(tokens))
    assert set(first.state_dict()) > {"pool.query", "pool.position"}


@pytest.mark.parametrize("width", [WIDTH, 128])
def test_the_pool_is_clips(width, tmp_path):
    """One head, and two of 64; biases of queries, keys and values included."""
    state = clip_state(width)
    save_file({f"visual.attnpool.{name}": value for name, value in state.items()}, tmp_path / "pool.safetensors")
    pool = pool_from_file(str(tmp_path / "pool.safetensors"), width, (4, 4), "linguistic.weights")
    tokens = torch.randn(3, 16, width, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(pool(tokens), by_torch(tokens, state), rtol=1e-4, atol=1e-5)


def test_real_weights_are_used_on_another_grid(two, tmp_path):
    """Positions of 7×7 places go to the student's 4×4, half precision becomes fp32."""
    file, state = tmp_path / "pool.safetensors", clip_state(side=7)
    save_file({name: value.half() for name, value in state.items()} | {"other": torch.zeros(2)}, file)
    term, batch = ready(two, linguistic={"weights": str(file)}), two.batch()
    assert term.pool.position.shape == (17, WIDTH)
    assert torch.equal(term.pool.position[0], state["positional_embedding"][0].half().float())
    assert term.pool(torch.zeros(2, 16, WIDTH)).shape == (2, OUT)
    term(two.student(batch.image), two.teacher(batch.image), batch, 0.0).backward()
    assert term.project.weight.grad.isfinite().all()


WRONG = {
    "no pool": ({"x": torch.zeros(3)}, "holds no attention pools"),
    "two pools": ({**clip_state(), **{f"b.{n}": v for n, v in clip_state().items()}}, "holds 2 attention pools"),
    "another width": (
        clip_state(width=20),
        r"for tokens 40 wide, the teacher's width: its positional_embedding is \(17, 20\)",
    ),
    "no square": ({**clip_state(), "positional_embedding": torch.zeros(16, WIDTH)}, "positional_embedding is"),
    "no places": ({**clip_state(), "positional_embedding": torch.zeros(1, WIDTH)}, "positional_embedding is"),
    "another query": ({**clip_state(), "q_proj.weight": torch.zeros(WIDTH, 3)}, r"q_proj.weight is \(40, 3\)"),
    "another key": ({**clip_state(), "k_proj.bias": torch.zeros(3)}, r"k_proj.bias is \(3,\)"),
    "another answer": ({**clip_state(), "c_proj.bias": torch.zeros(5)}, r"c_proj.bias is \(5,\)"),
    "a vector": ({**clip_state(), "c_proj.weight": torch.zeros(5)}, r"c_proj.weight is \(5,\)"),
    "NaN": ({**clip_state(), "v_proj.bias": torch.full((WIDTH,), math.nan)}, "NaN or infinity in 1 of 9 tensors"),
}


@pytest.mark.parametrize(("state", "message"), WRONG.values(), ids=WRONG.keys())
def test_weights_that_are_no_pool_are_refused(two, tmp_path, state, message):
    file = tmp_path / "pool.safetensors"
    save_file(state, file)
    with pytest.raises(ValueError, match=rf"linguistic\.weights: .*{message}"):
        ready(two, linguistic={"weights": str(file)})
    file.write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"linguistic\.weights: .*cannot be read as weights"):
        ready(two, linguistic={"weights": str(file)})
    file.unlink()
    with pytest.raises(ValueError, match=r"linguistic\.weights: there is no file"):
        ready(two, linguistic={"weights": str(file)})


def test_a_pool_is_made_where_tensors_have_no_values():
    """As the check of a config does; the loss is not computed there."""
    with torch.device("meta"):
        pool = random_pool(8, (2, 2), 0)
        nn.Linear(2, 2)
    assert torch.equal(pool.query, random_pool(8, (2, 2), 0).query)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"patch": "graph"}, "patch: must be relation or feature"),
        ({"over": "tokens"}, "over: must be image or batch"),
        ({"reduction": "mean"}, "reduction: must be batchmean or numel"),
        ({"global_weight": -1}, "global_weight: must be a number of at least 0, got -1"),
        ({"patch_weight": "x"}, "patch_weight: must be a number of at least 0"),
        ({"decoupled_weight": math.inf}, "decoupled_weight: must be a number of at least 0"),
        ({"linguistic": {"weight": True}}, "linguistic.weight: must be a number of at least 0, got True"),
        ({"linguistic": {"seed": -1}}, "linguistic.seed: must be a whole number"),
        ({"linguistic": {"sed": 1}}, "linguistic.sed: there is no such setting"),
        ({"global_weight": 0, "patch_weight": 0, "linguistic": {"weight": 0}}, "use the term dkd instead"),
        ({"temperature": 0}, "temperature: must be above 0"),
    ],
)
def test_bad_settings_are_errors(settings, message):
    with pytest.raises(ValueError, match=message):
        C2VKD(**settings)


def test_several_layers_or_a_map_of_one_place_are_refused(tiny_info):
    two = make_pair(tiny_info)
    with pytest.raises(ValueError, match="layers: compares one layer of each network, got 2 pairs"):
        ready(two, layers="all", teacher_layers="all")
    info = replace(two.teacher.info, layers=(Layer("x", 1.0, 8, (1, 1)),))
    with pytest.raises(ValueError, match="patch: relation compares the tokens of an image"):
        C2VKD().build(two.student.info, info, two.info)
