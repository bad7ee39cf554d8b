"""Settings that are drawn, and trials that are given up: the sampler finds a known optimum and never repeats itself."""

from __future__ import annotations

import math
from itertools import product

import pytest

from alphazero.tuning.records import Trial
from alphazero.tuning.sampling import AT_RANDOM, ENOUGH, WHOLE, hopeless, importances, suggest
from alphazero.tuning.settings import Choices, Range, Setting

SETTINGS: list[Setting] = [Range("a", 0.01, 10, whole=False), Range("b", 0, 100, whole=True), Choices("c", ("x", "y"))]
BEST_A, BEST_B = 0.3, 40


def error(trial: Trial) -> float:
    """0 at a = 0.3, b = 40, c = "y"; c counts less than a."""
    a, b, c = trial.values.values()
    assert isinstance(a, float)
    assert isinstance(b, int)
    return math.log10(a / BEST_A) ** 2 + ((b - BEST_B) / 100) ** 2 + 0.2 * (c == "x")


def tuned(count: int, *, seed: int = 1, lower: bool = True) -> list[Trial]:
    trials: list[Trial] = []
    for number in range(count):
        values = suggest(SETTINGS, trials, lower=lower, seed=seed)
        assert values
        trials.append(Trial(number=number, values=values))
        trials[-1].looks[4] = error(trials[-1]) * (1 if lower else -1)
        trials[-1].state = "complete"
    return trials


@pytest.mark.parametrize("lower", [True, False])
def test_the_optimum_is_found(lower: bool) -> None:
    trials = tuned(40, lower=lower)
    best = min(trials, key=error)
    a, b, c = best.values.values()
    assert isinstance(a, float)
    assert isinstance(b, int)
    assert a == pytest.approx(BEST_A, rel=0.5)
    assert abs(b - BEST_B) < 15
    assert c == "y"
    assert best.number >= AT_RANDOM
    assert all(setting.holds(trial.values[setting.name]) for setting in SETTINGS for trial in trials)


@pytest.mark.parametrize(("high", "middle"), [(1000, math.sqrt(1000)), (9, 5)])
@pytest.mark.parametrize("whole", [True, False])
def test_a_wide_range_is_drawn_by_its_logarithm_and_a_narrow_one_evenly(
    high: float, middle: float, whole: bool
) -> None:
    settings: list[Setting] = [Range("a", 1, high, whole)]
    drawn = [float(values["a"]) for seed in range(100) if (values := suggest(settings, [], lower=True, seed=seed))]
    below = sum(value < middle for value in drawn) + sum(value == middle for value in drawn) / 2
    assert 35 <= below <= 65  # 50 with a deviation of 5


def test_the_same_seed_draws_the_same_settings() -> None:
    one, same, other = tuned(10), tuned(10), tuned(10, seed=2)
    assert one == same
    assert all(a.values != b.values for a, b in zip(one, other, strict=True))


def test_what_has_been_tried_is_not_tried_again() -> None:
    settings: list[Setting] = [Choices("a", (1, 2, 3)), Choices("b", (True, False))]
    trials: list[Trial] = []
    while values := suggest(settings, trials, lower=True, seed=1):
        trials.append(Trial(number=len(trials), values=values, state="complete", looks={4: 0.5}))
    assert sorted((trial.values["a"], trial.values["b"]) for trial in trials) == sorted(
        product((1, 2, 3), (True, False))
    )


def test_failures_keep_the_sampler_away() -> None:
    """Where all above 1 fail, what follows is below it, more often than the half that is drawn evenly."""
    settings: list[Setting] = [Range("a", 0.1, 10, whole=False)]
    trials: list[Trial] = []
    for number in range(20):
        values = suggest(settings, trials, lower=True, seed=3)
        assert values
        fails = float(values["a"]) > 1
        trials.append(
            Trial(number=number, values=values, state="failed", looks={1: 0.0})
            if fails
            else Trial(number=number, values=values, state="complete", looks={4: 0.5})
        )
    later = [trial.state for trial in trials[AT_RANDOM:]]
    assert later.count("complete") > 0.7 * len(later)


def curve(number: int, *looks: float, state: str = "complete") -> Trial:
    values = {"a": float(number + 1), "b": number, "c": "x"}
    return Trial(number=number, values=values, state=state, looks=dict(enumerate(looks, 1)))  # type: ignore[arg-type]


def test_the_worst_quarter_is_given_up_after_a_few_whole_trials() -> None:
    whole = [curve(n, 0.5 + n / 10, 0.4, 0.3, 0.2) for n in range(4)]  # after a quarter: 0.5, 0.6, 0.7, 0.8
    bad, fair = curve(4, 0.78, state="running"), curve(4, 0.72, state="running")
    assert hopeless(SETTINGS, [*whole, bad], lower=True)  # three quarters of 0.5 to 0.8 is 0.725
    assert not hopeless(SETTINGS, [*whole, fair], lower=True)
    assert not hopeless(SETTINGS, [*whole, bad], lower=False)
    assert hopeless(SETTINGS, [*whole, curve(4, 0.55, state="running")], lower=False)  # a quarter of them: 0.575
    assert not hopeless(SETTINGS, [*whole[: WHOLE - 1], curve(2, 0.99, state="running")], lower=True)


def test_a_trial_is_compared_with_others_at_the_same_time() -> None:
    whole = [curve(n, 0.9, 0.5, 0.3, 0.2) for n in range(4)]
    assert not hopeless(SETTINGS, [*whole, curve(4, 0.8, state="running")], lower=True)
    assert hopeless(SETTINGS, [*whole, curve(4, 0.8, 0.7, state="running")], lower=True)


def test_what_matters_most_is_known_after_some_trials() -> None:
    trials = tuned(30)
    weights = importances(SETTINGS, trials, lower=True)
    assert sum(weights.values()) == pytest.approx(1)
    assert max(weights, key=lambda name: weights[name]) == "a"  # its share of the error is up to 2.3, of 0.36 and 0.2
    assert importances(SETTINGS, trials[: ENOUGH - 1], lower=True) == {}
