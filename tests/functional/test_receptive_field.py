import numpy as np
import pytest
import torch

from kdbias.functional.receptive_field import energy_radius, radial_energy


def disc(share, size=32):
    """Radius about the centre that holds ``share`` of the pixels, by counting."""
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    distances = np.sort(np.hypot(y, x).ravel())
    return distances[int(np.ceil(share * size * size)) - 1]


def test_radius_of_known_maps():
    one = torch.zeros(9, 9)
    one[2, 6] = 3.0
    assert energy_radius(one) == 0
    cross = one.clone()
    cross[1, 6] = cross[3, 6] = cross[2, 5] = cross[2, 7] = 1.0
    assert energy_radius(cross) == 1  # 3/7 at the centre
    assert energy_radius(cross, 3 / 7) == 0
    pair = torch.zeros(1, 8)
    pair[0, 0] = pair[0, 6] = 1.0
    assert energy_radius(pair) == 3  # about the centre of gravity, where there is nothing
    assert energy_radius(torch.stack([one, cross])).tolist() == [0, 1]
    assert energy_radius(torch.zeros(3, 3)).isnan()


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_uniform_map_counts_pixels(share):
    assert float(energy_radius(torch.full((32, 32), 0.1), share)) == pytest.approx(disc(share), abs=1e-5)


def test_curve_reaches_one_and_meets_the_radius():
    energy = torch.rand(2, 16, 16, generator=torch.Generator().manual_seed(0))
    radii = torch.arange(0, 16, 0.5)
    curve = radial_energy(energy, radii)
    assert curve.shape == (2, 32)
    assert (curve.diff(dim=1) >= 0).all()
    torch.testing.assert_close(curve[:, -1], torch.ones(2, dtype=torch.float64))
    radius = energy_radius(energy)
    assert (radial_energy(energy, radius).diagonal() >= 0.5).all()
    assert (radial_energy(energy, radius - 1e-3).diagonal() < 0.5).all()
