import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from kdbias.functional.logistic import linear_classifier, logistic_regression, standardised


def problem(n=80, width=5, classes=3):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, width, dtype=torch.float64, generator=generator)
    target = (x[:, 0] + 0.8 * torch.randn(n, dtype=torch.float64, generator=generator)).mul(1.2).round().clamp(-1, 1)
    return x, target.long() + 1


def objective(parameters, x, target, l2):
    weight, bias = parameters[: 3 * x.shape[1]].reshape(3, -1), parameters[3 * x.shape[1] :]
    logits = x @ weight.T + bias
    logits = logits - logits.max(1, keepdims=True)
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    return -log_p[np.arange(len(x)), target].mean() + 0.5 * l2 * (weight**2).sum()


@pytest.mark.parametrize("l2", [1e-3, 0.1])
def test_the_optimum_is_that_of_another_solver(l2):
    x, target = problem()
    weight, bias = logistic_regression(x, target, 3, l2)
    other = minimize(objective, np.zeros(18), args=(x.numpy(), target.numpy(), l2), tol=1e-12)
    mine = objective(torch.cat([weight.flatten(), bias]).numpy(), x.numpy(), target.numpy(), l2)
    assert mine == pytest.approx(other.fun, abs=1e-8)
    np.testing.assert_allclose(weight.flatten(), other.x[:15], atol=2e-3)


def test_it_works_where_gradients_are_off():
    x, target = problem()
    with torch.inference_mode():
        weight, _ = logistic_regression(x.float(), target, 3)
    expected, _ = logistic_regression(x.float(), target, 3)
    torch.testing.assert_close(weight.clone(), expected)
    assert not expected.requires_grad


def test_standardised_by_the_first():
    x = torch.tensor([[1.0, 7.0, 0.0], [3.0, 7.0, 4.0]])
    mine, other = standardised(x, torch.tensor([[5.0, 9.0, 2.0]]))
    assert mine.tolist() == [[-1, 0, -1], [1, 0, 1]]
    assert other.tolist() == [[3, 0, 0]]


def test_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match="n classes"):
        logistic_regression(torch.ones(3, 2), torch.ones(4, dtype=torch.long), 2)


def test_a_linear_classifier_answers_raw_features_as_the_regression_answers_standardised_ones():
    x, target = problem()
    raw = torch.cat([x * torch.tensor([100.0, 1.0, 0.01, 5.0, 2.0]) + 7, torch.full((len(x), 1), 3.0)], dim=1)
    weight, bias = linear_classifier(raw, target, 3)
    (unit,) = standardised(raw)
    expected = torch.nn.functional.linear(unit, *logistic_regression(unit, target, 3))
    torch.testing.assert_close(torch.nn.functional.linear(raw, weight, bias), expected, rtol=1e-9, atol=1e-9)
    assert not weight[:, 5].any()
