"""Trajectories of shots against SciPy, the cases' truths against the simulator, and the drag from few flights."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from alphazero.dynamics.equations import recover, total
from alphazero.dynamics.ude import DiscoveryError, Observed, fit, inputs_of, learn, predict
from games.trebuchet import Trebuchet, shoot
from games.trebuchet.discover import (
    MOMENTS,
    Settings,
    drag,
    draw,
    ends,
    gravity,
    observe_flights,
    observe_throws,
    with_drag,
    with_gravity,
)
from games.trebuchet.game import Aiming

K = 0.0152036870  # 1/m, of the default projectile: the figure to be found
HEIGHT = Trebuchet().pivot_height


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def one(wind: float, angle: float, counterweight: float) -> Settings:
    return Settings(*(torch.tensor([value], dtype=torch.float64) for value in (wind, angle, counterweight)))


def test_a_trajectory_of_a_flight_is_scipys() -> None:
    observed = observe_flights(one(-4.0, 50.0, 60.0), 0.0, generator())
    shot = shoot(-4.0, 50.0, 60.0)

    def flight(t: float, y: np.ndarray) -> list[float]:
        speed = math.hypot(y[2] + 4.0, y[3])
        return [y[2], y[3], -K * speed * (y[2] + 4.0), -9.80665 - K * speed * y[3]]

    times = observed.times[0].numpy()
    exact = solve_ivp(flight, (0, times[-1]), observed.states[0, 0].numpy(), rtol=1e-11, atol=1e-11, t_eval=times).y
    assert observed.states.shape == (1, MOMENTS, 4)
    np.testing.assert_allclose(observed.states[0].T.numpy(), exact, atol=1e-6)
    assert observed.states[0, -1, 0].item() == pytest.approx(shot.distance, abs=1e-6)
    assert observed.states[0, -1, 1].item() == pytest.approx(-HEIGHT, abs=1e-6)
    assert observed.times[0, -1].item() == pytest.approx(shot.landing_time - shot.release_time)


def test_a_trajectory_of_a_throw_goes_from_lift_off_to_release() -> None:
    settings = draw(3, generator())
    observed, shot = observe_throws(settings, 0.0, generator()), shoot(*settings)
    torch.testing.assert_close(observed.states[:, 0], shot.lift_off)
    torch.testing.assert_close(observed.states[:, -1], shot.release, atol=1e-6, rtol=0)
    torch.testing.assert_close(observed.given[:, 0], settings.counterweight)


@pytest.mark.parametrize("observe", [observe_flights, observe_throws])
def test_noise_is_as_large_as_it_says(observe: object) -> None:
    settings = draw(40, generator())
    exact, noisy = (observe(settings, noise, generator()) for noise in (0.0, 0.05))  # type: ignore[operator]
    error = (noisy.states - exact.states) / noisy.noise
    assert error.square().mean().sqrt().item() == pytest.approx(1, abs=4 / math.sqrt(2 * error.numel()))
    scale = exact.states.square().mean((0, 1)).sqrt()
    torch.testing.assert_close(noisy.noise[0, 0], 0.05 * scale)


def test_shots_that_cannot_be_observed_are_named() -> None:
    with pytest.raises(DiscoveryError, match=r"shot 0 fails \(wind 0 m/s, 45 degrees, 3 kg\)"):
        observe_flights(one(0.0, 45.0, 3.0), 0.0, generator())
    with pytest.raises(DiscoveryError, match=r"from 0 to below 1, not -0\.1"):
        observe_flights(one(0.0, 45.0, 50.0), -0.1, generator())


@pytest.mark.parametrize("name", ["drag", "gravity"])
def test_the_truths_are_the_simulators_and_stand_in_for_it(name: str) -> None:
    case, observe = {"drag": (drag(), observe_flights), "gravity": (gravity(), observe_throws)}[name]
    settings = draw(4, generator())
    observed = observe(settings, 0.0, generator())
    assert case.truth is not None
    followed = predict(case.incomplete, case.truth, observed, observed.states[:, 0], substeps=10)
    torch.testing.assert_close(followed, observed.states, atol=1e-9, rtol=0)
    terms = {"drag": with_drag, "gravity": with_gravity}[name](case.truth)
    torch.testing.assert_close(shoot(*settings, terms=terms).distance, shoot(*settings).distance, atol=1e-6, rtol=0)


def test_the_truths_are_sums_of_the_libraries() -> None:
    """The coefficients as in the published equations, from the trebuchet's dimensions."""
    of = Trebuchet()
    centre = (of.long_arm - of.short_arm) / 2
    expected = {
        "drag": {r"|v|\,\vec v": K},
        "gravity": {
            r"\sin A": 9.80665 * (of.beam_mass * centre + of.projectile_mass * of.long_arm),
            r"\sin C": 9.80665 * of.projectile_mass * of.sling,
            r"W \sin A": -9.80665 * of.short_arm,
            r"W \sin B": -9.80665 * of.weight_arm,
        },
    }
    for case in (drag(), gravity()):
        chosen = {candidate.name: candidate for candidate in case.library}
        assert len(chosen) == len(case.library)
        inputs = torch.rand(2 if case.name == "drag" else 4, 9, generator=generator(), dtype=torch.float64)
        coefficients = torch.tensor(list(expected[case.name].values()), dtype=torch.float64)
        found = total([chosen[name] for name in expected[case.name]])(coefficients, inputs)
        assert case.truth is not None
        torch.testing.assert_close(found, case.truth(inputs), rtol=1e-8, atol=1e-8)


def test_the_drag_is_recovered_from_noisy_flights_and_aims_like_the_truth() -> None:
    """Ten short trajectories with 1 % noise: the one right term, within 1 % of the coefficient."""
    case, source = drag(), generator(1)

    def short(observed: Observed) -> Observed:
        return Observed(observed.times[:, ::3], observed.states[:, ::3], observed.given, observed.noise[:, ::3])

    observed, held_out = (short(observe_flights(draw(count, source), 0.01, source)) for count in (10, 5))
    learned = learn(case.incomplete, observed, generator=source, prior=1.0, pieces=case.pieces, steps=12)
    found = recover(case.incomplete, case.library, learned, observed, held_out, generator=source)
    equation = found.best.equation
    assert [candidate.name for candidate in equation.candidates] == [r"|v|\,\vec v"]
    assert equation.coefficients.item() == pytest.approx(K, rel=0.01)
    assert abs(equation.coefficients.item() - K) < 4 * equation.deviations.item()
    game, states = Aiming(terms=with_drag(equation.term)), Aiming().initial(8, generator=source)
    actions = torch.rand(8, 2, generator=source) - 0.5
    ours, true = game.step(states, actions).state.distance, Aiming().step(states, actions).state.distance
    vacuum = Aiming(terms=with_drag(torch.zeros_like)).step(states, actions).state.distance
    assert ((ours - true).abs() < 0.02 * (vacuum - true).abs()).all()


def test_release_and_landing_are_enough_for_the_coefficient() -> None:
    observed = ends(observe_flights(draw(20, generator()), 0.001, generator()))
    late = observe_flights(draw(2, generator()), 0.0, generator())
    late = ends(late._replace(times=late.times + 2))
    assert late.times[:, 0].tolist() == [2.0, 2.0]
    seen = observed.noise.isfinite()
    assert seen.sum((0, 2)).tolist() == [80, *[0] * 9, 40]

    def law(parameters: Tensor, velocity: Tensor) -> Tensor:
        return parameters[0] * velocity.norm(dim=0) * velocity

    found = fit(drag().incomplete, law, torch.tensor([0.01]), observed)
    assert found.parameters.item() == pytest.approx(K, rel=0.01)


def test_the_terms_inputs_are_what_it_may_depend_on() -> None:
    observed = observe_flights(one(3.0, 40.0, 50.0), 0.0, generator())
    through_air = inputs_of(drag().incomplete, observed.states, observed)
    torch.testing.assert_close(through_air, observed.states[0, :, 2:].T - torch.tensor([[3.0], [0.0]]))
    throw = observe_throws(one(3.0, 40.0, 50.0), 0.0, generator())
    assert torch.equal(inputs_of(gravity().incomplete, throw.states, throw)[3], torch.full((MOMENTS,), 50.0))
