"""The policy over a Box against SciPy's normal distribution."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import kstest, multivariate_normal, norm

from alphazero.config import NetworkConfig
from alphazero.game import Box
from alphazero.mcts.gaussian import Gaussian, from_box, into_box
from alphazero.network.architectures import make_network
from tests.stubs import Drift

OUTPUT = torch.tensor([[0.2, -0.4, 6.2, 3.0], [1.5, 0.9, 1.0, 7.0]])


def deviations() -> np.ndarray:
    """By the definition: softplus above the least, 1e-3."""
    spread = OUTPUT[:, 2:].double().numpy()
    return np.exp(math.log(1e-3) + np.log1p(np.exp(spread)))


def test_density_and_entropy_are_those_of_the_normal_distribution() -> None:
    policy, points = Gaussian.of(OUTPUT), torch.rand(2, 5, 2, generator=torch.Generator().manual_seed(1)) * 2 - 1
    density, entropy = policy.log_density(points), policy.entropy()
    for row, (mean, deviation) in enumerate(zip(OUTPUT[:, :2].numpy(), deviations(), strict=True)):
        normal = multivariate_normal(mean, np.diag(deviation**2))
        np.testing.assert_allclose(density[row].numpy(), normal.logpdf(points[row].numpy()), rtol=2e-5)
        np.testing.assert_allclose(entropy[row].item(), normal.entropy(), rtol=1e-5)


def test_the_density_has_the_gradient_of_the_normal_distribution() -> None:
    """By the output for the deviation, it is z^2 - 1, times the derivative of softplus."""
    output = OUTPUT.clone().requires_grad_()
    points = torch.tensor([[[0.3, -0.9]], [[1.0, 0.2]]])
    (gradient,) = torch.autograd.grad(Gaussian.of(output).log_density(points).sum(), output)
    z = (points[:, 0] - OUTPUT[:, :2]).double().numpy() / deviations()
    expected = np.concatenate([z / deviations(), (z**2 - 1) / (1 + np.exp(-OUTPUT[:, 2:].double().numpy()))], 1)
    np.testing.assert_allclose(gradient.numpy(), expected, rtol=1e-4)


@pytest.mark.parametrize("deviation", [0.002, 0.05, 0.5, 1.0])
def test_a_network_that_has_learned_nothing_has_the_deviation_of_its_configuration(deviation: float) -> None:
    torch.manual_seed(1)
    config = NetworkConfig(kind="dense", blocks=1, width=4, value_head="scalar", deviation=deviation)
    network = make_network(Drift(), config)
    with torch.no_grad():
        network.policy.weight.zero_()
        policy = Gaussian.of(network(torch.rand(3, 3)).logits)
    torch.testing.assert_close(policy.log_deviation.exp(), torch.full((3, 2), deviation), rtol=1e-4, atol=0)


def test_samples_are_normal_and_those_outside_lie_on_the_edge() -> None:
    policy = Gaussian.of(OUTPUT)
    samples = policy.sample(20_000, torch.Generator().manual_seed(2)).double().numpy()
    assert np.abs(samples).max() == 1
    for row, dimension in ((0, 0), (1, 1)):
        normal = norm(OUTPUT[row, dimension].item(), deviations()[row, dimension])
        inside = np.abs(samples[row, :, dimension]) < 1
        share = normal.cdf(1) - normal.cdf(-1)
        assert abs(inside.mean() - share) < 5 * math.sqrt(share * (1 - share) / 20_000)
        within = samples[row, inside, dimension]
        assert kstest(within, lambda x, n=normal, s=share: (n.cdf(x) - n.cdf(-1)) / s).pvalue > 1e-3
    np.testing.assert_array_equal(policy.mode(), [[OUTPUT[0, 0], OUTPUT[0, 1]], [1.0, OUTPUT[1, 1]]])


def test_positions_and_dimensions_are_sampled_apart() -> None:
    policy = Gaussian(torch.zeros(2, 2), torch.full((2, 2), math.log(0.2)))
    series = policy.sample(20_000, torch.Generator().manual_seed(3)).transpose(1, 2).flatten(0, 1)
    correlation = torch.corrcoef(series) - torch.eye(4)
    assert correlation.abs().max() < 5 / math.sqrt(20_000)


def test_coordinates_go_from_edge_to_edge() -> None:
    box = Box((-0.3, 2.0), (0.3, 10.0))
    places = torch.tensor([[-1.0, -1.0], [1.0, 1.0], [0.0, 0.5]])
    actions = into_box(places, box)
    torch.testing.assert_close(actions, torch.tensor([[-0.3, 2.0], [0.3, 10.0], [0.0, 8.0]]))
    torch.testing.assert_close(from_box(actions, box), places)


@pytest.mark.parametrize("kind", [int, float])
def test_bounds_may_be_whole_numbers(kind: type) -> None:
    box = Box((kind(-2), kind(0)), (kind(2), kind(8)))
    places = torch.tensor([[-0.5, 0.25]])
    actions = into_box(places, box)
    torch.testing.assert_close(actions, torch.tensor([[-1.0, 5.0]]))
    torch.testing.assert_close(from_box(actions, box), places)
