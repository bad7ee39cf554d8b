"""The plan of a run, against sums and searches made step by step."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import pytest

from alphazero.config import ClusterConfig, Config, EvaluationConfig, LearnerConfig, SearchConfig, SelfPlayConfig
from alphazero.trainer.plan import Forecast, Pace, Piece, makespan, piece_at, pieces, replanned, resumed

CONFIG = Config(
    iterations=10,
    search=SearchConfig(simulations=24),
    self_play=SelfPlayConfig(streams=2, parallel_games=8, moves=10, first_simulations=4),
    learner=LearnerConfig(batch_size=16, replay_ratio=2.0),  # 160 samples an iteration: 20 steps
    evaluation=EvaluationConfig(every=0),
)
STEADY = replace(CONFIG, self_play=replace(CONFIG.self_play, first_simulations=0))


def shares(config: Config) -> list[Fraction]:
    """The progress at each iteration and at the end."""
    return [piece_at(config, done).at(done) for done in range(config.iterations + 1)]


def test_a_run_without_a_plan_progresses_evenly() -> None:
    assert shares(CONFIG) == [Fraction(done, 10) for done in range(11)]


def test_a_plan_goes_on_evenly_from_where_it_was() -> None:
    first = replanned(replace(CONFIG, iterations=99), 0, 8)
    assert shares(first) == [Fraction(done, 8) for done in range(9)]
    longer = replanned(first, 4, 12)  # the second half takes twice as long
    assert shares(longer) == [*(Fraction(done, 8) for done in range(4)), *(Fraction(done, 16) for done in range(8, 17))]
    shorter = replanned(longer, 8, 9)
    assert shares(shorter)[7:] == [Fraction(11, 16), Fraction(12, 16), Fraction(1)]
    assert shorter.plan == ((0, 0.0, 8), (4, 0.5, 12), (8, 0.75, 9))
    # What was planned for later, or for now, is planned no more.
    assert replanned(shorter, 4, 20).plan == ((0, 0.0, 8), (4, 0.5, 20))


def test_an_iteration_ends_where_its_own_piece_says() -> None:
    config = replanned(replanned(CONFIG, 0, 8), 4, 12, progress=0.25)
    assert (piece_at(config, 3).at(4), piece_at(config, 4).at(4)) == (Fraction(1, 2), Fraction(1, 4))


def test_a_plan_that_leads_elsewhere_does_not_count() -> None:
    planned = replanned(replanned(CONFIG, 0, 8), 4, 12)
    assert pieces(replace(planned, iterations=30)) == [Piece(0, 0.0, 30)]


def test_a_run_that_ends_early_goes_no_further() -> None:
    stopped = replanned(replanned(CONFIG, 0, 8), 4, 4)
    assert piece_at(stopped, 4).at(4) == Fraction(1, 2)


SAVED = replace(replanned(CONFIG, 0, 8), minutes=10.0)


@pytest.mark.parametrize(
    ("config", "spent", "plan"),
    [
        (SAVED, 300.0, ((0, 0.0, 8),)),  # unchanged: no time is lost by a stop
        (replace(SAVED, minutes=20.0), 300.0, ((0, 0.0, 8), (4, 0.25, 8))),  # 5 of 20 minutes
        (replace(SAVED, minutes=6.0), 300.0, ((0, 0.0, 8), (4, 0.5, 8))),  # as far as it was
        (replace(SAVED, minutes=0.0), 300.0, ((0, 0.0, 8),)),
        (replace(SAVED, minutes=0.0, iterations=16), 300.0, ((0, 0.0, 8), (4, 0.25, 16))),
        (replace(SAVED, minutes=0.0, iterations=5), 300.0, ((0, 0.0, 8), (4, 0.5, 5))),
    ],
)
def test_a_resumed_run_is_as_far_as_its_share_of_the_new_length(
    config: Config, spent: float, plan: tuple[tuple[int, float, int], ...]
) -> None:
    assert resumed(SAVED, config, 4, spent).plan == plan


def test_a_run_of_iterations_goes_on_with_others_as_ever_or_with_minutes() -> None:
    assert resumed(CONFIG, replace(CONFIG, iterations=40), 4, 60.0) == replace(CONFIG, iterations=40)
    assert resumed(CONFIG, replace(CONFIG, minutes=10.0), 5, 120.0).plan == ((0, 0.0, 10), (5, 0.2, 10))
    assert resumed(CONFIG, replace(CONFIG, minutes=3.0), 5, 120.0).plan == ((0, 0.0, 10), (5, 0.5, 10))


@pytest.mark.parametrize(
    ("tasks", "size", "seconds"),
    [
        ([10.0, 20.0, 20.0], 2, 30.0),  # the short one makes room for the last
        ([10.0, 20.0, 20.0], 1, 50.0),
        ([10.0, 20.0, 20.0], 3, 20.0),
        ([10.0, 20.0, 20.0], 99, 20.0),
        ([50.0, 1.0, 1.0], 2, 50.0),  # the slowest bounds it
        ([], 2, 0.0),
    ],
)
def test_tasks_follow_one_another_wherever_there_is_room(tasks: list[float], size: int, seconds: float) -> None:
    assert makespan(tasks, size) == seconds


# Segments of 4 to 24 seconds, one for each simulation; 20 steps take 10 seconds.
PACE = Pace((4.0, 24.0), 0.5)
STEADY_PACE = Pace((24.0, 24.0), 0.5)


def asynchronous(config: Config) -> Config:
    return replace(config, cluster=ClusterConfig(mode="asynchronous"))


@pytest.mark.parametrize(
    ("config", "size", "seconds"),
    [
        (STEADY, 1, 24 + 24 + 10),
        (STEADY, 2, 10 + 24),
        (STEADY, 3, 24),
        (replace(STEADY, workers=2), 2, 24),
        (replace(STEADY, workers=1), 1, 48),
        (asynchronous(STEADY), 2, (24 + 24 + 10) / 2),
        (asynchronous(replace(STEADY, workers=2)), 2, 24),
        (replace(STEADY, workers=2, learner=replace(STEADY.learner, replay_ratio=20.0)), 2, 100),
    ],
)
def test_an_iteration_takes_what_its_tasks_do_side_by_side(config: Config, size: int, seconds: float) -> None:
    assert Forecast(config, size, STEADY_PACE).seconds(0, 1, 0.0) == seconds
    assert Forecast(config, size, STEADY_PACE).seconds(3, 10, 0.0) == 7 * seconds


@pytest.mark.parametrize(("done", "iterations"), [(0, 10), (3, 10), (9, 10), (0, 1)])
def test_the_time_of_growing_searches_is_the_sum_over_the_iterations(done: int, iterations: int) -> None:
    config = replace(CONFIG, iterations=iterations)
    by_hand = 0.0
    for iteration in range(done, iterations):
        simulations = round(4 + 20 * iteration / iterations)
        # A thread learns; the second segment follows that, or the first one on the other thread if that is over sooner.
        by_hand += 10.0 + simulations if simulations > 10 else max(10.0, 2.0 * simulations)
    assert Forecast(config, 2, PACE).seconds(done, iterations, done / iterations) == pytest.approx(by_hand)


def test_evaluations_on_the_way_count_once_and_the_last_twice() -> None:
    config = replace(STEADY, evaluation=replace(STEADY.evaluation, every=4))
    forecast = Forecast(config, 2, STEADY_PACE._replace(matches=[5.0, 7.0, 1.0]))  # 7 seconds side by side
    for done, iterations in [(0, 1), (0, 4), (0, 5), (0, 9), (4, 9), (5, 9), (8, 9), (9, 9)]:
        due = [i for i in range(done, iterations) if i and i % 4 == 0]
        assert forecast.seconds(done, iterations, 0.0) == 34 * (iterations - done) + 7 * (len(due) + 2)


def test_as_many_iterations_fit_as_can_be_counted() -> None:
    config = replace(CONFIG, evaluation=replace(CONFIG.evaluation, every=3))
    forecast = Forecast(config, 2, PACE._replace(matches=[6.0]))
    times = [forecast.seconds(2, iterations, 0.25) for iterations in range(2, 40)]
    assert all(one < other for one, other in pairwise(times))
    for seconds in (0.0, 12.0, 100.0, 333.3, times[20], times[20] - 1e-6):
        counted = max([iterations for iterations in range(2, 40) if times[iterations - 2] <= seconds], default=2)
        assert forecast.fitting(2, 0.25, seconds) == counted


def test_a_forecast_follows_the_pace_of_the_last_iterations() -> None:
    forecast = Forecast(STEADY, 2, STEADY_PACE)
    for seconds in (1000.0, *[68.0] * 8):  # twice the 34 predicted; the first is forgotten
        forecast.observe(seconds, 24, 20, evaluated=False)
    assert forecast.seconds(0, 10, 0.0) == pytest.approx(680)
    forecast.observe(48 + 30.0, 24, 0, evaluated=True)  # without learning 24 predicted, and so 48
    forecast.observe(68 + 10.0, 24, 20, evaluated=True)
    assert forecast.evaluation == pytest.approx(20)
    assert forecast.seconds(0, 10, 0.0) == pytest.approx(680 + 40)


def test_without_a_measured_pace_time_grows_as_the_simulations_do() -> None:
    forecast = Forecast(CONFIG, 2)
    assert not forecast.known
    forecast.observe(40.0, 4, 0, evaluated=False)
    assert forecast.known
    assert forecast.seconds(5, 10, 0.5) == pytest.approx(10 * (14 + 16 + 18 + 20 + 22))
