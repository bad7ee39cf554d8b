"""Aims against SciPy's shots and extremes, the talk's figures, and a network against torch and its own misses."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from scipy.optimize import brentq, minimize_scalar
from torch import Tensor, nn

from games.trebuchet import Trebuchet, shoot
from games.trebuchet.aim import PUBLISHED, descend, fire_published, home_in
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
from games.trebuchet.game import ANGLES, COUNTERWEIGHTS, farthest
from games.trebuchet.physics import DEFAULT
from tests.games.trebuchet.reference import reference_shot

BRIEF = ((200, 15), (600, 5))  # seconds of training


@pytest.fixture(scope="module")
def network() -> AimingNetwork:
    return train(rounds=BRIEF)


# --- One target


def test_the_talks_ten_steps() -> None:
    found = descend(5.0, 100.0, start=(55.0, 220.0), simulator=PUBLISHED)
    assert found.distance == pytest.approx(99.79941172730138, rel=1e-9)
    assert found.shots == 11
    assert not found.hit


def test_a_descent_goes_down_until_it_hits() -> None:
    distances = [descend(5.0, 100.0, steps=steps).distance for steps in range(8)]
    assert distances == sorted(distances)
    assert distances[-1] < 100
    # The first step, by differences: 0.1 down the slopes of the squared miss.
    (angle, weight), tiny = (55.0, 99.7903214), 1e-4
    miss = shoot(5.0, angle, weight).distance - 100
    by_angle = (shoot(5.0, angle + tiny, weight).distance - shoot(5.0, angle - tiny, weight).distance) / (2 * tiny)
    by_weight = (shoot(5.0, angle, weight + tiny).distance - shoot(5.0, angle, weight - tiny).distance) / (2 * tiny)
    first = descend(5.0, 100.0, steps=1)
    assert first[:2] == pytest.approx((angle - 0.2 * miss * by_angle, weight - 0.2 * miss * by_weight), rel=1e-5)
    found = descend(5.0, 100.0, steps=1000, tolerance=1e-3)
    assert found.hit
    assert abs(found.miss) <= 1e-3
    assert found.shots < 200


def test_a_descent_with_too_high_a_rate_gets_no_worse_and_stays_within_bounds() -> None:
    start = (75.0, 25.0)
    first = descend(10.0, 90.0, start=start, rate=100.0, steps=0)
    found = descend(10.0, 90.0, start=start, rate=100.0, steps=30)
    assert abs(found.miss) < abs(first.miss) / 10
    assert ANGLES[0] <= found.angle <= ANGLES[1]
    assert COUNTERWEIGHTS[0] <= found.counterweight <= COUNTERWEIGHTS[1]


@pytest.mark.parametrize(
    ("wind", "target", "start"),
    [(5, 100, (55, 100)), (-8, 30, (0, 20)), (10, 20, (0, 20)), (0, 90.8, (80, 25)), (-10, 61.7, (90, 120))],
)
def test_scipy_hits_with_the_same_aim(wind: float, target: float, start: tuple[float, float]) -> None:
    found = home_in(wind, target, start=start)
    assert found.hit
    *_, distance = reference_shot(wind, found.angle, found.counterweight, Trebuchet())
    assert distance == pytest.approx(target, abs=1.5e-6)
    assert found.shots <= 40


def test_scipys_angle_is_ours() -> None:
    found = home_in(3.0, 70.0, start=(60.0, 60.0))

    def miss(angle: float) -> float:
        return reference_shot(3.0, angle, found.counterweight, Trebuchet())[3] - 70.0

    angle = brentq(miss, found.angle - 5, found.angle + 5, xtol=1e-9)
    assert found.angle == pytest.approx(angle, abs=1e-5)


def test_every_target_within_reach_is_hit_from_anywhere() -> None:
    generator = np.random.default_rng(7)
    winds = generator.uniform(-10, 10, 300)
    reach = farthest(torch.from_numpy(winds), DEFAULT).numpy()
    shots = []
    for wind, target in zip(winds, generator.uniform(20, reach), strict=True):
        start = (generator.uniform(*ANGLES), generator.uniform(*COUNTERWEIGHTS))
        found = home_in(wind, target, start=start)
        assert found.hit
        assert found.distance == pytest.approx(target, abs=1e-6)
        assert found.distance == pytest.approx(shoot(wind, found.angle, found.counterweight).distance, rel=1e-12)
        assert ANGLES[0] <= found.angle <= ANGLES[1]
        assert COUNTERWEIGHTS[0] <= found.counterweight <= COUNTERWEIGHTS[1]
        shots.append(found.shots)
    assert np.mean(shots) < 7
    assert max(shots) < 60


@pytest.mark.parametrize("wind", [-10.0, 0.0, 4.4])
@pytest.mark.parametrize("start", [(55.0, 100.0), (0.0, 20.0), (90.0, 120.0)])
def test_out_of_reach_is_answered_by_the_farthest_shot(wind: float, start: tuple[float, float]) -> None:
    def short(angle: float) -> float:
        return -float(shoot(wind, angle, COUNTERWEIGHTS[1]).distance)

    best = minimize_scalar(short, bounds=(1, 89), method="bounded", options={"xatol": 1e-7})
    for beyond in (0.001, 1.0, 1000.0):
        found = home_in(wind, beyond - best.fun, start=start)
        assert not found.hit
        assert found.distance == pytest.approx(-best.fun, abs=1e-6)
        assert found.angle == pytest.approx(best.x, abs=1e-2)
        assert found.miss == pytest.approx(-beyond, abs=1e-6)
        assert found.shots < 120
    assert home_in(wind, -best.fun - 0.001, start=start).hit


def test_too_near_is_answered_by_the_nearest_shot() -> None:
    angles, weights = torch.linspace(0, 90, 91).double(), torch.linspace(20, 120, 51).double()
    for wind in (-10.0, 10.0):
        found = home_in(wind, -100.0)
        assert not found.hit
        assert found.distance == pytest.approx(shoot(wind, angles[:, None], weights).distance.min().item(), abs=1e-6)


@pytest.mark.parametrize("aim", [descend, home_in])
@pytest.mark.parametrize(
    ("wind", "target", "start", "message"),
    [
        (math.nan, 50.0, (45.0, 50.0), "the wind is to be a finite number of m/s, not nan"),
        (0.0, math.inf, (45.0, 50.0), "the target is to be a finite number of m, not inf"),
        (0.0, 50.0, (91.0, 50.0), "the angle is to be from 0 to 90 degrees, not 91"),
        (0.0, 50.0, (45.0, math.nan), "the counterweight is to be from 20 to 120 kg, not nan"),
    ],
)
def test_what_cannot_be_aimed_is_refused(
    aim: Callable[..., object], wind: float, target: float, start: tuple[float, float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        aim(wind, target, start=start)
    with pytest.raises(ValueError, match="the tolerance is to be above 0, not 0"):
        home_in(0.0, 50.0, tolerance=0.0)


def test_the_talks_trebuchet_does_not_throw_with_too_light_a_weight() -> None:
    assert fire_published(0.0, 45.0, 10.0) == (0, 0, 0)


# --- The network


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
            """Of some rounds: others may be at work on the machine."""
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
def test_what_training_solves_for_is_the_slope_of_the_misses(network: AimingNetwork, errors: Errors) -> None:
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
        (b"", "is no aiming network, or was cut short"),
        (b"PK\x03\x04 a pickle", "is no aiming network, or was cut short"),
        (other({"parameters": torch.zeros(3)}, None), "is no aiming network: its format is None, not"),
        (other({"parameters": torch.zeros(3)}, {"format": "aiming network 1"}), "is damaged: its parameters are not"),
        (other({"weights": torch.zeros(3)}, {"format": "aiming network 1"}), "is no aiming network, or was cut short"),
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
