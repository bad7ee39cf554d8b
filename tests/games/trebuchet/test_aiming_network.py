"""A network that aims, against torch and its own misses."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from games.trebuchet import shoot
from games.trebuchet.aim import descend
from games.trebuchet.aiming_network import (
    FIELD,
    WIDTH,
    AimingError,
    AimingNetwork,
    Errors,
    Progress,
    _by_parameters,
    draw,
    histogram,
    layers,
    measure,
    misses,
    train,
)
from games.trebuchet.game import farthest
from games.trebuchet.physics import DEFAULT

BRIEF = ((200, 15), (600, 5))  # seconds of training


@pytest.fixture(scope="module")
def network() -> AimingNetwork:
    return train(rounds=BRIEF)


def in_torch(network: AimingNetwork) -> nn.Sequential:
    """[B, 2] to [B, 2], scaled."""
    module = nn.Sequential(
        nn.Linear(2, WIDTH), nn.Tanh(), nn.Linear(WIDTH, WIDTH), nn.Tanh(), nn.Linear(WIDTH, 2), nn.Sigmoid()
    ).double()
    with torch.no_grad():
        for parameter, value in zip(module.parameters(), layers(torch.from_numpy(network.parameters)), strict=True):
            parameter.copy_(value.t())  # which leaves a bias as it is
    return module


def test_one_aim_is_that_of_the_torch_module_five_times_as_fast(network: AimingNetwork) -> None:
    module = in_torch(network)
    low, high = torch.tensor([[0.0, 20.0], [90.0, 120.0]], dtype=torch.float64)
    winds, targets = torch.tensor([-7.0, 0.0, 9.0]).double(), torch.tensor([21.0, 60.0, 99.0]).double()
    with torch.inference_mode():
        expected = low + (high - low) * module(torch.stack([winds / 10, (targets - 60) / 40], 1))
        for row in range(3):
            ours = network.aim(winds[row].item(), targets[row].item())
            assert ours == pytest.approx(expected[row].tolist(), rel=1e-12)
        torch.testing.assert_close(torch.stack(network.aims(winds, targets), 1), expected, rtol=1e-12, atol=0)
        seen = torch.tensor([[0.3, 0.2]], dtype=torch.float64)

        def least(aim: Callable[[], object]) -> float:
            """The least seconds of some rounds: the machine may have other work."""
            times = []
            for _ in range(20):
                started = time.perf_counter()
                for _ in range(50):
                    aim()
                times.append(time.perf_counter() - started)
            return min(times)

        assert least(lambda: module(seen)) > 5 * least(lambda: network.aim(3.0, 68.0))


def test_seconds_of_training_aim_better_than_ten_steps_of_descent(network: AimingNetwork) -> None:
    accuracy, miss = measure(network)
    samples = draw(1000, torch.Generator().manual_seed(1 << 40))
    angle, counterweight = network.aims(samples.wind, samples.target)
    expected = shoot(samples.wind, angle, counterweight).distance - samples.target
    torch.testing.assert_close(miss, expected, rtol=0, atol=1e-9)
    assert accuracy == pytest.approx(np.quantile(expected.abs().numpy(), [0.5, 0.95]))
    assert accuracy.median < 0.05
    assert expected.abs().max() < 2  # nowhere has it got stuck
    descents = [abs(descend(*row).miss) for row in zip(samples.wind[:200].tolist(), samples.target[:200].tolist(),
                                                       strict=True)]  # fmt: skip
    assert accuracy.most < np.quantile(descents, 0.95)


def test_the_same_seed_trains_the_same_network_and_reports_its_progress() -> None:
    def trained(seed: int, reports: list[Progress]) -> AimingNetwork:
        return train(seed=seed, rounds=((60, 4), (80, 2)), report=reports.append)

    first: list[Progress] = []
    second: list[Progress] = []
    one, again, other = trained(5, first), trained(5, second), trained(6, [])
    assert (one.parameters == again.parameters).all()
    assert (one.parameters != other.parameters).any()
    assert first == second
    assert [(progress.step, progress.steps) for progress in first] == [(step, 6) for step in range(1, 7)]
    assert first[-1].miss < first[0].miss


@pytest.mark.parametrize("errors", [Errors(), FIELD], ids=["none", "some"])
def test_the_jacobian_of_training_is_the_slope_of_the_misses(network: AimingNetwork, errors: Errors) -> None:
    generator = torch.Generator().manual_seed(1)
    samples = draw(40, generator, errors)
    parameters = torch.from_numpy(network.parameters)
    direction = torch.randn(len(parameters), generator=generator, dtype=torch.float64)
    _, slopes = misses(parameters, samples)
    ours = _by_parameters(parameters, samples.seen_wind, samples.seen_target, slopes) @ direction
    ends = [misses(parameters + by * direction, samples)[0] for by in (1e-4, -1e-4)]
    torch.testing.assert_close(ours, (ends[0] - ends[1]) / 2e-4, rtol=1e-4, atol=1e-3)


def test_samples_are_within_reach_and_errors_as_large_as_said() -> None:
    errors = Errors(wind=0.5, target=2.0, angle=1.5, counterweight=3.0)
    samples = draw(20_000, torch.Generator().manual_seed(2), errors)
    assert samples.target.min() >= 20
    assert samples.target.max() <= 100
    assert (samples.target <= farthest(samples.wind, DEFAULT)).all()
    assert samples.wind.abs().max() <= 10
    found = [samples.seen_wind - samples.wind, samples.seen_target - samples.target, *samples.off.unbind(1)]
    for error, spread in zip(found, errors, strict=True):
        # The standard error of a standard deviation of N draws is one part in sqrt(2 N).
        assert error.std().item() == pytest.approx(spread, rel=4 / math.sqrt(2 * 20_000))
        assert abs(error.mean().item()) < 4 * spread / math.sqrt(20_000)


def test_shots_with_errors_are_aimed_by_what_is_seen_and_fired_as_it_is(network: AimingNetwork) -> None:
    samples = draw(50, torch.Generator().manual_seed(3), FIELD)
    miss, _ = misses(torch.from_numpy(network.parameters), samples)
    for row in range(50):
        angle, counterweight = network.aim(samples.seen_wind[row].item(), samples.seen_target[row].item())
        off = samples.off[row].tolist()
        distance = shoot(samples.wind[row].item(), angle + off[0], counterweight + off[1]).distance
        assert miss[row].item() == pytest.approx(distance - samples.target[row].item(), abs=1e-9)


def test_trained_with_errors_it_misses_less_under_them(network: AimingNetwork) -> None:
    robust = train(rounds=BRIEF, errors=FIELD)

    def spread(network: AimingNetwork, errors: Errors) -> float:
        return measure(network, errors=errors)[1].square().mean().sqrt().item()

    assert spread(robust, FIELD) < 0.95 * spread(network, FIELD)
    assert spread(robust, Errors()) > spread(network, Errors())


def test_saved_and_loaded(network: AimingNetwork, tmp_path: Path) -> None:
    path = tmp_path / "network.safetensors"
    network.save(path)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    loaded = AimingNetwork.load(path)
    assert (loaded.parameters == network.parameters).all()
    assert loaded.aim(5.0, 100.0) == network.aim(5.0, 100.0)


def other(tensors: dict[str, Tensor], metadata: dict[str, str] | None) -> bytes:
    return safetensors.torch.save(tensors, metadata)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read: No such file"),
        (b"", "is not an aiming network, or was cut short"),
        (b"PK\x03\x04 a pickle", "is not an aiming network, or was cut short"),
        (other({"parameters": torch.zeros(3)}, None), "is not an aiming network: its format is None, not"),
        (other({"parameters": torch.zeros(3)}, {"format": "aiming network 1"}), "is damaged: its parameters are not"),
        (
            other({"weights": torch.zeros(3)}, {"format": "aiming network 1"}),
            "is not an aiming network, or was cut short",
        ),
    ],
    ids=["none", "empty", "pickle", "foreign", "small", "other"],
)
def test_files_that_are_no_networks(content: bytes | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "network.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(AimingError, match=rf"network.safetensors {message}.*; train it anew"):
        AimingNetwork.load(path)


def test_truncated_and_spoilt_networks(network: AimingNetwork, tmp_path: Path) -> None:
    path = tmp_path / "network.safetensors"
    network.save(path)
    whole = path.read_bytes()
    for length in (5, 60, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(AimingError, match="was cut short"):
            AimingNetwork.load(path)
    spoilt = network.parameters.copy()
    spoilt[7] = np.nan
    AimingNetwork(spoilt).save(path)
    with pytest.raises(AimingError, match="is damaged"):
        AimingNetwork.load(path)


def test_a_histogram_shows_every_miss() -> None:
    miss = torch.linspace(-1, 1, 500, dtype=torch.float64) ** 9
    (axes,) = histogram(miss, title="500 targets").axes
    assert sum(bar.get_height() for bar in axes.patches) == 500
    assert axes.get_title() == "500 targets"
    assert "cm" in axes.get_xlabel()
