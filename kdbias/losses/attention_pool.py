"""A frozen attention pool, in the shape of CLIP's: the mean token asks all tokens of an image for one vector."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdbias.config.errors import ArgumentError
from kdbias.functional.grid import Grid, resample_tokens
from kdbias.models.state_dict import require_values
from kdbias.models.weights import read_weights

HEAD = 64  # width of a head in CLIP's pools
PARTS = ("q_proj", "k_proj", "v_proj", "c_proj")
POSITION = "positional_embedding"


class AttentionPool(nn.Module):
    """Tokens ``(B, N, D)`` of one grid to vectors ``(B, O)``; its weights are buffers, so that no optimiser has them.

    The heads are 64 wide, or there is one head where 64 does not divide D. Only the mean token asks, so the keys and
    values are never made: the question goes through the keys' projection, and the answer through the values', which is
    the same product in another order. The keys' bias adds the same to all scores of a question and is left out.

    Source: Radford et al., ICML 2021, arXiv:2103.00020 (CLIP, ``AttentionPool2d``).
    """

    position: Tensor
    query: Tensor
    query_bias: Tensor
    key: Tensor
    value: Tensor
    value_bias: Tensor
    out: Tensor
    out_bias: Tensor

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        super().__init__()
        width = state["q_proj.weight"].shape[0]
        self.heads = width // HEAD if width % HEAD == 0 else 1
        self.register_buffer("position", state[POSITION])
        names = {"query": "q_proj", "key": "k_proj", "value": "v_proj", "out": "c_proj"}
        for name, part in names.items():
            self.register_buffer(name, state[f"{part}.weight"])
            if name != "key":
                self.register_buffer(f"{name}_bias", state[f"{part}.bias"])

    def forward(self, tokens: Tensor) -> Tensor:
        """Give a vector for each image."""
        batch, width, heads = len(tokens), tokens.shape[2], self.heads
        x = torch.cat([tokens.mean(dim=1, keepdim=True), tokens], dim=1) + self.position
        question = F.linear(x[:, 0], self.query, self.query_bias).view(batch, heads, -1)
        question = question * (width // heads) ** -0.5
        asked = torch.einsum("bhk,hkd->bhd", question, self.key.view(heads, -1, width))
        read = (asked @ x.mT).softmax(dim=-1) @ x
        found = torch.einsum("bhd,hkd->bhk", read, self.value.view(heads, -1, width)).flatten(1) + self.value_bias
        return F.linear(found, self.out, self.out_bias)


def random_pool(width: int, grid: Grid, seed: int) -> AttentionPool:
    """Make a pool with weights N(0, 1/width) that ``seed`` alone decides; its vectors are as wide as its tokens."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {POSITION: (grid[0] * grid[1] + 1, width)} | {f"{part}.weight": (width, width) for part in PARTS}
    # A config is checked where tensors are made without values, and a generator has to make them on its own device.
    state = {n: torch.randn(s, generator=generator, device="cpu") * width**-0.5 for n, s in shapes.items()}
    return AttentionPool(state | {f"{part}.bias": torch.zeros(width, device="cpu") for part in PARTS})


def pool_from_file(path: str, width: int, grid: Grid, argument: str) -> AttentionPool:
    """Make a pool of the weights at ``path``, under CLIP's names with any prefix (``visual.attnpool.q_proj.weight``).

    Its positions are resampled to ``grid``. ``argument`` is the key that named the file, for errors.

    Raises:
        ValueError: there is no such file, it is damaged, or it holds no pool for tokens of this width.
    """
    if not Path(path).is_file():
        raise ArgumentError(argument, f"there is no file {path}: correct the path")
    found = read_weights(path, argument)
    names = [POSITION, *(f"{part}.{kind}" for part in PARTS for kind in ("weight", "bias"))]
    prefixes = [name.removesuffix(POSITION) for name in found if name.endswith(POSITION)]
    prefixes = [prefix for prefix in prefixes if all(prefix + name in found for name in names)]
    if len(prefixes) != 1:
        raise ArgumentError(
            argument,
            f"{path} holds {len(prefixes) or 'no'} attention pools, and one is needed: {POSITION}, and weight and bias "
            f"of {', '.join(PARTS)}, as CLIP's ResNets have them",
        )
    state = {name: found[prefixes[0] + name] for name in names}
    require_values(state, f"{argument}: {path}")
    side = _side(state, width, path, argument)
    state = {name: value.float().clone() for name, value in state.items()}
    first, places = state[POSITION][None, :1], state[POSITION][None, 1:]
    return AttentionPool(state | {POSITION: torch.cat([first, resample_tokens(places, (side, side), grid)], 1)[0]})


def _side(state: Mapping[str, Tensor], width: int, path: str, argument: str) -> int:
    """Give the side of the square grid that a pool was made for, after a look at every shape."""
    position, out = state[POSITION], state["c_proj.weight"]
    count = position.shape[0] if position.ndim == 2 else 0
    side = math.isqrt(max(count - 1, 0))
    answer = out.shape[0] if out.ndim == 2 else 0
    expected = {POSITION: (side**2 + 1, width), "c_proj.weight": (answer, width), "c_proj.bias": (answer,)}
    for part in PARTS[:3]:
        expected |= {f"{part}.weight": (width, width), f"{part}.bias": (width,)}
    wrong = [name for name, shape in expected.items() if tuple(state[name].shape) != shape]
    if wrong or side < 1 or answer < 2:
        name = (wrong or [POSITION])[0]
        raise ArgumentError(
            argument,
            f"{path} is no attention pool for tokens {width} wide, the teacher's width: its {name} is "
            f"{tuple(state[name].shape)}; choose a teacher layer of the pool's width, or set {argument}=null",
        )
    return side
