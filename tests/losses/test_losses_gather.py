"""Gathering with gradient: order, the sum over processes, DDP equal to one process."""

import pytest
import torch
import torch.distributed as dist
from processes import found_by
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from kdbias.losses.gather import gather


class Model(nn.Module):
    """A layer before the gather, one after it, and a loss that compares every sample with every other."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.before, self.after = nn.Linear(5, 4).double(), nn.Linear(4, 3).double()

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        hidden, labels = gather(torch.tanh(self.before(x))), gather(label)
        y = torch.tanh(self.after(hidden))
        same = (labels[:, None] == labels).double()
        return ((y @ y.T).softmax(dim=1) - same).square().sum()


def samples() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(8, 5, dtype=torch.float64, generator=generator), torch.arange(8) % 3


def value_and_gradient(module: nn.Module, x: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    loss = module(x, label)
    loss.backward()
    return loss.detach(), torch.cat([p.grad.flatten() for p in module.parameters()])


def work(rank: int, world: int) -> dict[str, object]:
    x, label = (part[rank * 4 : rank * 4 + 4] for part in samples())
    found = {"ddp": value_and_gradient(DistributedDataParallel(Model()), x, label)}

    part = torch.full((2, 3), float(rank)).T.requires_grad_()  # not contiguous, and another value in each process
    whole = gather(part)
    (whole * torch.arange(12.0).view(6, 2) * (rank + 1)).sum().backward()
    found |= {"whole": whole.detach(), "gradient": part.grad}
    found["numbers"] = gather(torch.tensor([rank + 7]))
    with torch.no_grad():
        found["silent"] = gather(part)
    return found


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return found_by(work, 2, tmp_path_factory.mktemp("processes"), "forkserver")


def test_two_processes_under_ddp_equal_one_with_the_whole_batch(found):
    value, gradient = value_and_gradient(Model(), *samples())
    assert gradient.norm() > 0.1
    for one in found:
        torch.testing.assert_close(one["ddp"][0], value, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(one["ddp"][1], gradient, rtol=1e-12, atol=1e-12)


def test_parts_stand_in_the_order_of_ranks_and_their_gradients_are_summed(found):
    weights = torch.arange(12.0).view(6, 2)
    for rank, one in enumerate(found):
        assert one["whole"].tolist() == [[0.0, 0.0]] * 3 + [[1.0, 1.0]] * 3
        assert torch.equal(one["gradient"], (1 + 2) * weights[rank * 3 : rank * 3 + 3])


def test_labels_and_what_has_no_gradient_are_gathered_too(found):
    for one in found:
        assert one["numbers"].tolist() == [7, 8]
        assert torch.equal(one["silent"], one["whole"])
        assert not one["silent"].requires_grad


def test_alone_it_gives_the_tensor_itself(tmp_path):
    x = torch.ones(2, 3, requires_grad=True)
    assert gather(x) is x
    dist.init_process_group("gloo", f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    try:
        assert gather(x) is x
    finally:
        dist.destroy_process_group()
