import torch

from kdbias.functional.principal import principal_components


def test_components_of_a_known_ellipsoid():
    generator = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(5, 5, generator=generator, dtype=torch.float64)).Q
    basis = basis * basis.gather(0, basis.abs().argmax(0, keepdim=True)).sign()
    data = torch.linalg.qr(torch.randn(40, 5, generator=generator, dtype=torch.float64)).Q
    data = torch.linalg.qr(data - data.mean(0)).Q  # uncorrelated, centred
    scales = torch.tensor([4.0, 3.0, 2.0, 1.0, 0.5], dtype=torch.float64)
    components, shares = principal_components((data * scales) @ basis.T + 7.0)
    torch.testing.assert_close(components, (data * scales)[:, :3])
    torch.testing.assert_close(shares, scales[:3].square() / scales.square().sum())


def test_shape_is_kept_and_missing_components_are_zero():
    tokens = torch.rand(3, 7, 2, generator=torch.Generator().manual_seed(0))
    components, shares = principal_components(tokens)
    assert components.shape == (3, 7, 3)
    assert (components[..., 2] == 0).all()
    torch.testing.assert_close(shares.sum(), torch.tensor(1.0, dtype=torch.float64))
    assert (principal_components(torch.ones(4, 3))[1] == 0).all()
