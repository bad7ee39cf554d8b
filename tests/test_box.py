"""The policy over a Box against SciPy's normal distribution."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.stats import kstest, multivariate_normal, norm

from alphazero.box import NormalPolicy, from_box, into_box
from alphazero.game import Box

OUTPUT = torch.tensor([[0.2, -0.4, 0.0, -3.0], [1.5, 0.9, -5.0, 1.0]])


def deviations() -> np.ndarray:
    """By the definition: softplus above the least, 1e-3; 0.5 where the network says nothing."""
    spread = OUTPUT[:, 2:].double().numpy()
    return np.exp(math.log(1e-3) + np.log1p(np.exp(spread + math.log(0.5) - math.log(1e-3))))


def test_density_and_entropy_are_those_of_the_normal_distribution() -> None:
    policy, points = NormalPolicy.of(OUTPUT), torch.rand(2, 5, 2, generator=torch.Generator().manual_seed(1)) * 2 - 1
    density, entropy = policy.log_density(points), policy.entropy()
    for row, (mean, deviation) in enumerate(zip(OUTPUT[:, :2].numpy(), deviations(), strict=True)):
        normal = multivariate_normal(mean, np.diag(deviation**2))
        np.testing.assert_allclose(density[row].numpy(), normal.logpdf(points[row].numpy()), rtol=2e-5)
        np.testing.assert_allclose(entropy[row].item(), normal.entropy(), rtol=1e-5)


def test_a_network_that_says_nothing_draws_from_half_of_the_box() -> None:
    policy = NormalPolicy.of(torch.zeros(1, 2))
    assert abs(policy.log_deviation.exp().item() - 0.5) < 1e-3
    assert policy.mode().item() == 0


def test_samples_are_normal_and_those_outside_lie_on_the_edge() -> None:
    policy = NormalPolicy.of(OUTPUT)
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


def test_coordinates_go_from_edge_to_edge() -> None:
    box = Box((-0.3, 2.0), (0.3, 10.0))
    places = torch.tensor([[-1.0, -1.0], [1.0, 1.0], [0.0, 0.5]])
    actions = into_box(places, box)
    torch.testing.assert_close(actions, torch.tensor([[-0.3, 2.0], [0.3, 10.0], [0.0, 8.0]]))
    torch.testing.assert_close(from_box(actions, box), places)
