"""CRD as a term: the official code's numbers over two steps, who is a negative, what is remembered and what is not."""

import math
from types import SimpleNamespace

import pytest
import torch
from state import in_two_processes, same, trained
from torch import Tensor

from kdbias.batch import Batch, DataInfo
from kdbias.losses import negatives
from kdbias.losses.base import Total
from kdbias.losses.ce import CE
from kdbias.losses.crd import CRD
from kdbias.losses.negatives import ByClass

INDEX = [[1, 4, 0], [4, 2, 1]]
DRAWN = [
    [[1, 0, 2, 3, 5, 6], [4, 0, 1, 2, 3, 6], [0, 1, 3, 4, 4, 2]],
    [[4, 1, 2, 3, 5, 6], [2, 0, 1, 5, 3, 6], [1, 0, 3, 4, 4, 2]],
]
# fmt: off
OFFICIAL = {
    "loss": [11.499815338351498, 4.686524656170102],
    "z": [64.51751996024862, 124.38125091833278],
    "gradient": [  # of the student's features
        [[-0.020563102237300155, -0.13789424159535194, -0.23656204224460328, -0.3032122802387551, -0.3288241585356999],
         [0.6336515878989047, 0.26087878958070343, -0.14720272906951998, -0.535361048899403, -0.8510607622529655],
         [-1.5876408624554945, -1.4197076229204633, -1.0596236167726816, -0.5561245250138173, 0.022643412307583738]],
        [[0.22241535831515144, 0.00942899135191288, -0.2048335453574091, -0.3913728226202059, -0.5249416243542666],
         [0.14363676830644453, 0.13462169263879276, 0.10738620241138958, 0.06561649345905365, 0.014965899937920815],
         [-0.3020205399046789, -0.4741473672137787, -0.582100572696345, -0.611269196421693, -0.5577054020047962]],
    ],
    "bias": [  # the gradient of the teacher's head
        [-0.33781056425669376, -1.1720035569589915, -0.352603801583449, -1.372087563816358],
        [0.04343599632787465, -0.28347139137026833, 0.2749599183587886, 0.39402393999703084],
    ],
    "bank_student": [  # entries 0, 1, 2 and 4, which the two steps write
        [[0.8251031200887644, 0.30755036792383084, 0.0013675609166506888, 0.4739364326434945],
         [-0.2680030678481997, 0.5164038195303868, -0.35044642586043323, -0.7339541902598749],
         [0.6349342910793225, 0.7759118486760691, 0.3296947881934053, -0.3660287150202571],
         [0.5642768694140625, 0.5941557771710166, -0.3538969648843131, -0.4509184686218136]],
        [[0.8251031200887644, 0.30755036792383084, 0.0013675609166506888, 0.4739364326434945],
         [-0.2360573675898274, 0.658152343566425, 0.09226509950321984, -0.7089425669814476],
         [0.09423306876964281, 0.5431946634478546, 0.6833736876249987, -0.4786022246227428],
         [0.48002333995145763, 0.73156717285195, -0.23299007243746228, -0.42438507378657697]],
    ],
    "bank_teacher": [
        [[0.5688986034225826, 0.45986987333756324, -0.652432224853097, -0.19800573373911784],
         [0.5762622528854572, 0.569349418126931, -0.11358627436426309, -0.5752053670246383],
         [-0.7100536268652037, 0.040338150245451815, 0.6693245108288449, -0.7161498942557455],
         [0.8402843938091883, 0.18941252471356934, -0.46688160070180046, -0.2001664405650482]],
        [[0.5688986034225826, 0.45986987333756324, -0.652432224853097, -0.19800573373911784],
         [0.39720497177858066, 0.6385917654622436, -0.2003779124595571, -0.6279151691721914],
         [-0.16347869375853094, 0.5670919236137958, 0.17242783133225673, -0.7886381361822823],
         [0.0697298465735714, 0.693121413007444, 0.13645887231569842, -0.7043432625458401]],
    ],
}
# fmt: on


def wave(*shape: int, step: float = 0.7) -> Tensor:
    return torch.sin(step * torch.arange(math.prod(shape), dtype=torch.float64)).view(*shape)


def features(pooled: Tensor) -> SimpleNamespace:
    return SimpleNamespace(pooled=pooled)


def images(index: list[int]) -> Batch:
    image = torch.zeros(len(index), 3, 2, 2)
    return Batch(image, torch.zeros(len(index), dtype=torch.int64), torch.tensor(index), image)


def of_widths(student: int, teacher: int, train: int, **settings) -> CRD:
    term = CRD(**settings)
    info = DataInfo(3, 2, 2, ("a", "b"), train, (0.5,) * 3, (0.25,) * 3)
    term.build(SimpleNamespace(width=student), SimpleNamespace(width=teacher), info)
    return term.double()


@pytest.fixture
def official() -> CRD:
    term = of_widths(5, 3, 7, negatives=5, temperature=0.25, momentum=0.3, dim=4)
    with torch.no_grad():
        term.bank_student.copy_(0.8 * wave(7, 4, step=0.9))
        term.bank_teacher.copy_(0.8 * wave(7, 4, step=2.1))
        for head, step in ((term.embed_student, 0.37), (term.embed_teacher, 0.53)):
            head.weight.copy_(wave(*head.weight.shape, step=step))
            head.bias.copy_(wave(4, step=step + 1))
    return term


def test_official_numbers_over_two_steps(official, monkeypatch):
    """From ``CRDLoss`` of crd/, HobbitLong/RepDistiller, in fp64, with these indices and weights."""
    untouched = {name: bank.clone()[[3, 5, 6]] for name, bank in official.named_buffers() if name != "z"}
    for k in range(2):
        monkeypatch.setattr(official, "draw", lambda index, k=k: torch.tensor(DRAWN[k]))
        student, teacher = wave(3, 5, step=1.1 + k).requires_grad_(), wave(3, 3, step=1.7 + k)
        official.zero_grad()
        loss = official.forward(features(student), features(teacher), images(INDEX[k]), 0.0)
        loss.backward()
        with torch.no_grad():
            official.update({key: row.detach() for key, row in official.pending.items()})
        found = {
            "loss": loss.detach(),
            "gradient": student.grad,
            "bias": official.embed_teacher.bias.grad,
            "bank_student": official.bank_student[[0, 1, 2, 4]],
            "bank_teacher": official.bank_teacher[[0, 1, 2, 4]],
        }
        for key, value in found.items():
            expected = torch.tensor(OFFICIAL[key][k], dtype=torch.float64)
            torch.testing.assert_close(value, expected, rtol=1e-11, atol=1e-14, msg=lambda text, key=key: key + text)
        assert official.z.tolist() == pytest.approx(OFFICIAL["z"], rel=1e-12)
    assert all(torch.equal(getattr(official, name)[[3, 5, 6]], rows) for name, rows in untouched.items())


LABELS = torch.tensor([0, 1, 2, 0, 1, 0, 0, 2, 1, 0])  # five images of class 0, three of 1, two of 2
OTHERS = {0: 5, 1: 7, 2: 8}


@pytest.mark.parametrize("count", [1, 3, 5])
def test_negatives_are_of_other_classes_and_none_comes_twice(count):
    torch.manual_seed(0)
    index = torch.arange(10).repeat(20)
    drawn = ByClass(LABELS).draw(index, count)
    assert torch.equal(drawn[:, 0], index)
    assert (LABELS[drawn[:, 1:]] != LABELS[index][:, None]).all()
    assert all(len(set(row)) == count for row in drawn[:, 1:].tolist())


def test_every_set_of_negatives_is_equally_probable():
    """Three of five: all ten sets; in every one of them 6,000 / 10 of the draws, within five standard deviations."""
    torch.manual_seed(0)
    by_class, counts = ByClass(LABELS), {}
    for _ in range(3000):
        for row in by_class.draw(torch.tensor([3, 9]), 3)[:, 1:].sort(dim=1).values.tolist():
            counts[tuple(row)] = counts.get(tuple(row), 0) + 1
    assert len(counts) == 10
    assert max(abs(found - 600) for found in counts.values()) < 5 * math.sqrt(6000 * 0.1 * 0.9)


def test_each_image_of_a_step_has_a_sample_of_its_own():
    """The order of a step is shared, the place in it is not: ten images of a class at 100 places."""
    torch.manual_seed(0)
    drawn = ByClass(torch.arange(200) % 2).draw(torch.arange(0, 20, 2), 20)
    assert len({tuple(sorted(row)) for row in drawn[:, 1:].tolist()}) >= 9


def test_more_negatives_than_images_are_drawn_with_replacement():
    torch.manual_seed(0)
    drawn = ByClass(LABELS).draw(torch.tensor([0, 1, 2]), 4000)
    for row, one in zip(drawn[:, 1:], (0, 1, 2), strict=True):
        counts = torch.bincount(row, minlength=10)
        assert (counts[one == LABELS] == 0).all()
        share = 1 / OTHERS[one]
        assert (counts[one != LABELS] - 4000 * share).abs().max() < 5 * math.sqrt(4000 * share * (1 - share))


def test_all_images_of_other_classes_are_drawn_without_chance():
    by_class, index = ByClass(LABELS), torch.tensor([0, 5, 3])
    torch.manual_seed(0)
    first = by_class.draw(index, 5)
    assert torch.equal(first, by_class.draw(index, 5))
    assert first[0].tolist() == [0, 1, 2, 4, 7, 8]


@pytest.mark.parametrize(("most", "at_once"), [(25, 2), (3, 1)])
@pytest.mark.parametrize("count", [3, 5, 7, 9])
def test_many_classes_of_many_images_are_prepared_a_few_at_a_time(count, most, at_once, monkeypatch):
    """A table of all 1,000 classes of 1.3 million images would take 10 GB."""
    prepared, made = [], negatives._without

    def without(order, kept):
        prepared.append(len(kept))
        return made(order, kept)

    monkeypatch.setattr(negatives, "_without", without)
    monkeypatch.setattr(negatives, "MOST", most)
    torch.manual_seed(0)
    index = torch.tensor([7, 0, 4, 2, 9])
    drawn = ByClass(LABELS).draw(index, count)
    assert prepared == ([2, 1] if at_once == 2 else [1, 1, 1])
    assert torch.equal(drawn[:, 0], index)
    assert (LABELS[drawn[:, 1:]] != LABELS[index][:, None]).all()
    for row, image in zip(drawn[:, 1:].tolist(), index.tolist(), strict=True):
        assert len(set(row)) == count or count > OTHERS[int(LABELS[image])]


def test_a_relaxed_positive_is_any_image_of_the_class():
    torch.manual_seed(0)
    counts = torch.zeros(10)
    for _ in range(1000):
        drawn = ByClass(LABELS).draw(torch.tensor([0, 3]), 2, relax=True)
        counts += torch.bincount(drawn[:, 0], minlength=10)
    assert (counts[LABELS != 0] == 0).all()
    assert (counts[LABELS == 0] - 400).abs().max() < 5 * math.sqrt(2000 * 0.2 * 0.8)


def test_a_device_without_float64_has_the_same_draws(monkeypatch):
    images, index = ByClass(torch.arange(60) % 3), torch.arange(20)

    def drawn(negatives_of_each: int) -> Tensor:
        torch.manual_seed(1)
        return images.draw(index, negatives_of_each, relax=True)

    whole = [drawn(count) for count in (12, 45)]  # fewer than there are, and more
    monkeypatch.setattr(negatives, "has_float64", lambda device: False)
    assert all(torch.equal(drawn(count), one) for count, one in zip((12, 45), whole, strict=True))


def test_draws_follow_torchs_generator():
    by_class, index = ByClass(torch.arange(100) % 4), torch.arange(8)
    torch.manual_seed(3)
    first, second = by_class.draw(index, 10), by_class.draw(index, 10)
    torch.manual_seed(3)
    assert torch.equal(first, by_class.draw(index, 10))
    assert not torch.equal(first, second)


def step(term: CRD, two, batch: Batch) -> Tensor:
    loss = term(two.student(batch.image), two.teacher(batch.image), batch, 0.0)
    with torch.no_grad():
        term.update({key: row.detach() for key, row in term.pending.items()})
    return loss.detach()


def ready(two, **settings) -> CRD:
    torch.manual_seed(0)
    term = CRD(**settings)
    two.build(term)
    return term


def test_a_relaxed_positive_leaves_its_entry_and_the_image_moves_its_own(pair):
    two = pair()
    term, batch = ready(two, negatives=20, positive="relax"), two.batch()
    before = term.bank_student.clone()
    step(term, two, batch)
    assert (term.bank_student != before).any(dim=1).nonzero().squeeze(1).tolist() == list(range(16))


def test_an_image_that_a_step_has_twice_moves_once_to_its_last_copy(pair):
    """Repeated augmentation: whatever the order of the writes."""
    two = pair()
    term = ready(two, negatives=20)
    index = torch.tensor([7, 3, 7, 3, 9])
    rows = {"index": index, "scores": torch.ones(5, 2)}
    rows |= {name: torch.nn.functional.normalize(torch.randn(5, 128)) for name in ("student", "teacher")}
    before = term.bank_student.clone()
    term.update(rows)
    for entry, row in ((7, 2), (3, 3), (9, 4)):
        moved = 0.5 * before[entry] + 0.5 * rows["student"][row]
        torch.testing.assert_close(term.bank_student[entry], moved / moved.norm())


def test_banks_begin_as_published_and_are_the_same_in_every_process(pair):
    two = pair()
    torch.manual_seed(1)
    one = ready(two)
    torch.manual_seed(2)
    two.build(other := CRD())
    assert torch.equal(one.bank_student, other.bank_student)
    assert torch.equal(one.bank_teacher, other.bank_teacher)
    assert not torch.equal(one.bank_student, one.bank_teacher)
    bound = 1 / math.sqrt(128 / 3)
    assert one.bank_student.abs().max() < bound
    assert one.bank_student.norm(dim=1).mean().item() == pytest.approx(1, abs=0.01)


def test_z_of_the_first_step_stays_or_moves_by_its_momentum(pair):
    two = pair()
    fixed, moving = ready(two, negatives=90), ready(two, negatives=90, z_momentum=0.75)
    moving.load_state_dict(fixed.state_dict())
    for seed in (0, 1):
        means = []
        for term in (fixed, moving):
            before = term.z.clone()
            step(term, two, two.batch(seed=seed))
            means.append(100 * term.pending["scores"].mean(0))
        if seed == 0:
            first = fixed.z.clone()
            torch.testing.assert_close(first, means[0])
            assert torch.equal(moving.z, first)
    assert torch.equal(fixed.z, first)
    torch.testing.assert_close(moving.z, 0.75 * before + 0.25 * means[1])


def test_both_sides_are_reported(pair):
    two = pair()
    total = Total({"ce": CE(), "crd": CRD(negatives=20)})
    two.build(total)
    batch = two.batch()
    _, parts = total(two.student(batch.image), two.teacher(batch.image), batch, 0.0)
    torch.testing.assert_close(parts["crd"], parts["crd/student"] + parts["crd/teacher"])


def test_at_the_first_step_the_loss_is_near_that_of_chance(pair):
    """All scores equal: log(1 + K) + K log(1 + 1/K) for each side; the random bank adds what its spread gives."""
    two = pair()
    chance = 2 * (math.log1p(90) + 90 * math.log1p(1 / 90))
    loss = step(ready(two, negatives=90, temperature=50.0), two, two.batch())
    assert loss.item() == pytest.approx(chance, rel=1e-3)


def test_it_learns_to_tell_images_apart(pair):
    """The same images again and again: their entries find each other."""
    two = pair()
    term, batch = ready(two, negatives=60), two.batch()
    optimizer = torch.optim.Adam([*term.parameters(), *two.student.parameters()], lr=3e-3)
    losses = []
    for _ in range(25):
        loss = term(two.student(batch.image), two.teacher(batch.image), batch, 0.0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            term.update({key: row.detach() for key, row in term.pending.items()})
        losses.append(loss.item())
    assert min(losses[:2]) > 2 * losses[-1]


def test_classes_are_no_state(pair):
    two = pair()
    term = ready(two, negatives=20)
    assert set(term.state_dict()) == {
        *(f"embed_{side}.{part}" for side in ("student", "teacher") for part in ("weight", "bias")),
        *("bank_student", "bank_teacher", "z"),
    }


def test_unknown_classes_and_those_of_other_data_are_named(pair):
    two = pair()
    term, batch = CRD(), two.batch()
    term.build(two.student.info, two.teacher.info, two.info)
    with pytest.raises(ValueError, match=r"loss\.crd does not know the classes .* call take_classes\(labels\)"):
        term(two.student(batch.image), two.teacher(batch.image), batch, 0.0)
    with pytest.raises(ValueError, match="banks of 100 training images and got the classes of 99"):
        term.take_classes(torch.arange(99) % 10)
    with pytest.raises(ValueError, match="all training images are of one class"):
        term.take_classes(torch.full((100,), 3))
    with pytest.raises(ValueError, match=r"expected classes \(n,\) int64, got \(100,\) torch.float32"):
        term.take_classes(torch.arange(100.0))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"negatives": 0}, "negatives: must be a whole number of at least 1, got 0"),
        ({"negatives": 4.5}, "negatives: must be a whole number"),
        ({"dim": 0}, "dim: must be a whole number of at least 1"),
        ({"momentum": 1.0}, r"momentum: must lie in \[0, 1\), got 1\.0"),
        ({"z_momentum": -0.1}, r"z_momentum: must lie in \[0, 1\), or null, got -0.1"),
        ({"positive": "any"}, "positive: must be exact or relax, got 'any'"),
        ({"temperature": 0.0}, "temperature: must be a number of at least 0.0113"),
    ],
)
def test_bad_settings_are_errors(settings, message):
    with pytest.raises(ValueError, match=message):
        CRD(**settings)


def test_data_of_one_class_are_refused(pair):
    two = pair()
    single = DataInfo(3, 32, 1, ("a",), 100, (0.5,) * 3, (0.25,) * 3)
    with pytest.raises(ValueError, match=r"loss\.crd draws negatives of other classes"):
        CRD().build(two.student.info, two.teacher.info, single)


class Told(CRD):
    """Draws by rule: 20 of the 90 others, for each image its own."""

    def draw(self, index: Tensor) -> Tensor:
        apart = torch.tensor([k for k in range(100) if k % 10][::4][:20])  # a multiple of 10 is of the same class
        return torch.cat([index[:, None], (index[:, None] + apart) % 100], dim=1)


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """What each of two processes has after some steps: with the same draws as one process, and with draws by chance."""
    terms = {"told": Told(negatives=20, z_momentum=0.5), "chance": CRD(negatives=20, positive="relax")}
    return in_two_processes(terms, tmp_path_factory.mktemp("processes"))


def test_two_processes_with_the_draws_of_one_are_one(parts):
    first, second = (part["told"] for part in parts)
    assert same(first, second)
    torch.testing.assert_close(first, trained(Told(negatives=20, z_momentum=0.5)), rtol=1e-9, atol=1e-12)


def test_two_processes_that_draw_for_themselves_remember_the_same(parts):
    first, second = (part["chance"] for part in parts)
    assert same(first, second)
    assert first["total.terms.x.z"].min() > 0
