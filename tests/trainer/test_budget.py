"""Runs of so many minutes, by a clock that moves as the test says: they end in time, and can be repeated."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from torch import Tensor

from alphazero.config import ClusterConfig, Config, ConfigError
from alphazero.report.fixed_positions import FixedPositions
from alphazero.report.monitor import Monitor
from alphazero.runs.checkpoint import checkpoints, read_config, verify
from alphazero.runs.files import WHOLE
from alphazero.trainer import budget, synchronous
from alphazero.trainer.budget import NetworkTooWide
from alphazero.trainer.plan import Pace
from alphazero.trainer.run import Iteration, Run, Stopped
from alphazero.trainer.session import Session, open_session
from games.tic_tac_toe import TicTacToe
from tests.training_runs import SMALL, NotingObserver, assert_same, run_without_session

EVALUATED = replace(SMALL, threads=1, evaluation=replace(SMALL.evaluation, every=3, games=2))
TINY = replace(SMALL.self_play, parallel_games=8, moves=3)
TIMED = replace(
    SMALL, threads=1, minutes=2.0, self_play=TINY, evaluation=replace(SMALL.evaluation, opponents=(), every=0)
)
GROWING = replace(TIMED, self_play=replace(TIMED.self_play, first_simulations=2))


class Clock:
    """Stands still unless the test moves it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    """A clock. Measuring takes 4 seconds, and finds 3 for a segment (an iteration has three), 1 for a match."""
    clock = Clock()

    def measure(*arguments: object) -> Pace:
        clock.now += 4
        return Pace((3.0, 3.0), 0.0)

    monkeypatch.setattr(budget, "measure", measure)
    monkeypatch.setattr(budget, "measure_matches", lambda run, matches, *arguments: [1.0] * len(matches))
    # Pictures take seconds, and matter elsewhere.
    monkeypatch.setattr(FixedPositions, "show", lambda *arguments: None)
    monkeypatch.setattr(Monitor, "_save_curves", lambda monitor: None)
    return clock


def train(
    config: Config,
    folder: Path,
    clock: Clock,
    seconds: Callable[[int], float] = lambda iteration: 9.0,
    *,
    resume: bool = False,
    stop_after: int = 10**9,
    began: float | None = None,
) -> Session:
    """Trains a run whose iterations take so many seconds, and stops it after one."""
    console = Console(file=io.StringIO())
    saved = read_config(folder) if resume else None
    with open_session(TicTacToe(), config, folder, saved=saved, console=console, clock=clock, began=began) as session:
        over = session.iteration_over

        def iteration_over(iteration: Iteration) -> None:
            clock.now += seconds(iteration.number)
            over(iteration)
            if iteration.number == stop_after:
                session.run.control.stop.set()

        session.iteration_over = iteration_over  # type: ignore[method-assign]
        session.train()
    return session


def weights_of(config: Config) -> dict[str, Tensor]:
    """The weights that the iterations of the configuration lead to."""
    alone = run_without_session(config)
    with alone.executor:
        synchronous.train(alone, NotingObserver(alone))
    return alone.learner.tensors()


def repeated(folder: Path) -> dict[str, Tensor]:
    """The weights of the run that the folder's configuration describes, by its iterations."""
    return weights_of(replace(read_config(folder), minutes=0.0))


def log(folder: Path) -> str:
    return (folder / "log.txt").read_text()


def test_as_many_iterations_are_trained_as_fit_and_the_plan_is_written_down(tmp_path: Path, clock: Clock) -> None:
    session = train(TIMED, tmp_path / "run", clock)
    done = (120 - 4) // 9
    assert session.run.progress.iteration == done == 12
    written = read_config(tmp_path / "run")
    assert (written.minutes, written.iterations, written.plan) == (2.0, 12, ((0, 0.0, 12),))
    assert "2 minutes: 12 iterations of about 9 s (measured), 0 s for the last matches" in log(tmp_path / "run")
    assert "The pace has changed" not in log(tmp_path / "run")
    assert session.budget.spent == 4 + 12 * 9
    assert_same(session.run.learner.tensors(), weights_of(replace(TIMED, minutes=0.0, iterations=12)))


@pytest.mark.parametrize(
    ("enough", "width"),
    # 12 iterations fit in: 64 * 12 / 18 is 42, of which 40 is a multiple of 8; 64 * 12 / 100 is 8, and 32 the least.
    [(12, 64), (18, 40), (100, 32)],
)
def test_a_network_too_wide_for_the_time_is_made_narrower(
    enough: int, width: int, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget, "ENOUGH", enough)
    config = replace(TIMED, network=replace(TIMED.network, blocks=1, width=64, least_width=32))
    began = None
    if width < 64:
        with pytest.raises(
            NetworkTooWide, match=f"2 minutes hold 12 iterations here: {width} channels instead of 64"
        ) as made:
            train(config, tmp_path / "run", clock)
        assert not (tmp_path / "run").exists()
        assert made.value.network == replace(config.network, width=width, least_width=0)
        config, began = replace(config, network=made.value.network), made.value.began
        assert began == 1000
    session = train(config, tmp_path / "run", clock, began=began)
    assert session.budget.spent == 4 * (1 + (width < 64)) + 12 * 9
    assert (read_config(tmp_path / "run").network.width, session.run.config.iterations) == (width, 12)


def test_only_a_new_run_is_made_narrower(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(TIMED, network=replace(TIMED.network, width=64, least_width=32))
    monkeypatch.setattr(budget, "ENOUGH", 12)
    train(config, tmp_path / "run", clock, stop_after=1)
    monkeypatch.setattr(budget, "ENOUGH", 100)
    train(read_config(tmp_path / "run"), tmp_path / "run", clock, resume=True)
    assert read_config(tmp_path / "run").network.width == 64


def test_a_network_of_ones_own_is_none_that_could_be_made_narrower(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has options of its own; a run says which settings do not reach it."""
    own = replace(TIMED.network, kind="tests.own_networks:Plain", width=64, least_width=32)
    monkeypatch.setattr(budget, "ENOUGH", 100)
    train(replace(TIMED, network=own), tmp_path / "run", clock)
    assert read_config(tmp_path / "run").network == own
    for name in ("width", "least_width"):
        assert f"own_networks:Plain has options of its own: network.{name} does not reach it" in log(tmp_path / "run")
    assert "network.head_channels does not" not in log(tmp_path / "run")


def test_every_line_of_an_iteration_says_what_is_left(tmp_path: Path, clock: Clock) -> None:
    train(TIMED, tmp_path / "run", clock)
    left = re.findall(r"iteration (\d+) of 12: .*?(\d:\d\d:\d\d) left", log(tmp_path / "run"))
    seconds = [9 * (12 - iteration) for iteration in range(1, 12)]
    assert left == [(str(i), f"0:0{s // 60}:{s % 60:02}") for i, s in enumerate(seconds, start=1)]


def test_so_does_a_run_of_iterations_from_its_first_one_on(tmp_path: Path, clock: Clock) -> None:
    train(replace(TIMED, minutes=0.0, iterations=5), tmp_path / "run", clock)
    assert re.findall(r"(\d:\d\d:\d\d) left", log(tmp_path / "run")) == ["0:00:36", "0:00:27", "0:00:18", "0:00:09"]


def test_matches_belong_to_the_time(tmp_path: Path, clock: Clock) -> None:
    """Two matches take 2 seconds: so do those of iterations 3, 6 and 9, and twice that the last ones."""
    session = train(replace(EVALUATED, minutes=2.0), tmp_path / "run", clock, lambda i: 11 if i and i % 3 == 0 else 9)
    assert 4 + 12 * 9 + 3 * 2 + 4 > 120 >= 4 + 11 * 9 + 3 * 2 + 4
    assert session.run.progress.iteration == 11


@pytest.mark.parametrize(("factor", "fewer"), [(2.0, True), (0.5, False)])
def test_a_run_at_another_pace_ends_in_time_all_the_same(
    factor: float, fewer: bool, tmp_path: Path, clock: Clock
) -> None:
    session = train(GROWING, tmp_path / "run", clock, lambda iteration: 9 * factor)
    assert abs(session.budget.spent - 120) <= 9 * factor
    done = session.run.progress.iteration
    assert (done < 12) == fewer
    written = read_config(tmp_path / "run")
    assert written.iterations == done
    assert len(written.plan) > 1
    assert f"{done} iterations instead of" in log(tmp_path / "run")
    assert session.run.share(done) == 1


def test_a_run_that_was_planned_anew_can_be_repeated_bit_for_bit(tmp_path: Path, clock: Clock) -> None:
    session = train(GROWING, tmp_path / "run", clock, lambda iteration: 9 if iteration < 4 else 20)
    plan = read_config(tmp_path / "run").plan
    assert len(plan) > 1
    weights = session.run.learner.tensors()
    assert_same(weights, repeated(tmp_path / "run"))
    even = weights_of(replace(GROWING, minutes=0.0, iterations=session.run.progress.iteration))
    assert any((weights[name] != even[name]).any() for name in even)


def test_so_can_one_that_was_stopped_and_given_another_time(tmp_path: Path, clock: Clock) -> None:
    folder = tmp_path / "run"
    train(GROWING, folder, clock, lambda iteration: 20, stop_after=2)
    spent = verify(checkpoints(folder)[-1], WHOLE).seconds
    assert spent == 4 + 3 * 20
    clock.now += 1e6  # nobody trains
    train(read_config(folder), folder, clock, lambda iteration: 20, resume=True, stop_after=3)
    assert verify(checkpoints(folder)[-1], WHOLE).seconds == 2 * 4 + 4 * 20
    session = train(replace(read_config(folder), minutes=4.0), folder, clock, resume=True)
    assert abs(session.budget.spent - 240) <= 20
    assert "minutes: 2.0 -> 4.0" in log(folder)
    assert_same(session.run.learner.tensors(), repeated(folder))


def test_a_run_that_is_over_goes_on_with_more_time_where_that_share_of_it_was(tmp_path: Path, clock: Clock) -> None:
    folder = tmp_path / "run"
    train(TIMED, folder, clock)
    session = train(replace(read_config(folder), minutes=4.0), folder, clock, resume=True)
    done, progress, iterations = read_config(folder).plan[-1]
    assert (done, progress, iterations) == (12, (4 + 12 * 9) / 240, session.run.progress.iteration)
    assert iterations == 12 + (240 - 112 - 4) // 9
    assert_same(session.run.learner.tensors(), repeated(folder))


def test_time_that_is_over_is_no_error(tmp_path: Path, clock: Clock) -> None:
    folder = tmp_path / "run"
    train(TIMED, folder, clock)
    assert train(read_config(folder), folder, clock, resume=True).run.progress.iteration == 12
    shorter = replace(read_config(folder), minutes=1.0)
    assert train(shorter, folder, clock, resume=True).run.progress.iteration == 12


def test_a_run_changes_from_iterations_to_minutes_and_back(tmp_path: Path, clock: Clock) -> None:
    folder = tmp_path / "run"
    train(replace(GROWING, minutes=0.0, iterations=6), folder, clock, stop_after=2)
    train(replace(read_config(folder), minutes=2.0), folder, clock, resume=True, stop_after=5)
    assert read_config(folder).plan == ((0, 0.0, 6), (3, 27 / 120, 3 + (120 - 27 - 4) // 9))
    back = replace(read_config(folder), minutes=0.0, iterations=8)
    session = train(back, folder, clock, resume=True)
    assert session.run.progress.iteration == 8
    assert_same(session.run.learner.tensors(), repeated(folder))


def test_a_run_of_an_older_version_has_spent_what_its_iterations_took(tmp_path: Path, clock: Clock) -> None:
    folder = tmp_path / "run"
    train(replace(TIMED, minutes=0.0, iterations=3), folder, clock)
    for path in checkpoints(folder):
        state = json.loads((path / "state.json").read_bytes())
        del state["seconds"], state["digest"]
        (path / "state.json").write_text(json.dumps(state | {"format": 1}))
    rows = (folder / "metrics.csv").read_text().splitlines()
    column = rows[0].split(",").index("time/iteration")
    spent = sum(float(row.split(",")[column]) for row in rows[1:])
    session = train(replace(read_config(folder), minutes=2.0), folder, clock, resume=True)
    assert session.budget.before == pytest.approx(spent)


def test_too_little_time_for_an_iteration_is_one_error_and_leaves_nothing(tmp_path: Path, clock: Clock) -> None:
    short = replace(EVALUATED, minutes=0.25)
    with pytest.raises(ConfigError) as caught:
        train(short, tmp_path / "run", clock)
    # 9 s, 4 s for the last matches, a tenth more, and the 4 s of measuring.
    assert str(caught.value) == (
        "0.25 minutes are too short: here an iteration takes about 9 s and the last matches 4 s; give --minutes 0.4 "
        "or more, or make iterations (self_play.moves) or matches (evaluation.games) shorter"
    )
    assert not (tmp_path / "run").exists()
    assert train(replace(short, minutes=0.4), tmp_path / "run", clock).run.progress.iteration == 1


def test_ctrl_c_while_the_pace_is_measured_ends_the_run_at_once_and_leaves_nothing(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure(run: Run, seconds: float, check: Callable[[int], None]) -> None:
        check(0)
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(1000):  # the system may hand the signal to another thread, which takes a moment
            check(0)
            time.sleep(0.01)

    monkeypatch.setattr(budget, "measure", measure)
    with pytest.raises(Stopped):
        train(TIMED, tmp_path / "run", clock)
    assert not (tmp_path / "run").exists()


def test_the_last_iteration_may_end_somewhat_late_rather_than_never(tmp_path: Path, clock: Clock) -> None:
    """At first 5 iterations are planned; then one takes 30 s, and only one more is tried, though it ends late."""
    config = replace(TIMED, minutes=50 / 60)
    assert train(config, tmp_path / "a", clock, lambda i: 26).run.progress.iteration == 1  # 4 + 2 * 26 > 50 + 5
    assert train(config, tmp_path / "b", clock, lambda i: 25).run.progress.iteration == 2  # 4 + 2 * 25 < 50 + 5


def test_the_asynchronous_loop_keeps_to_the_plan_too(tmp_path: Path, clock: Clock) -> None:
    config = replace(TIMED, threads=2, cluster=ClusterConfig(mode="asynchronous"))
    first = (120 - 4) // 4.5  # two threads, and nobody waits
    session = train(config, tmp_path / "run", clock, lambda iteration: 4.5)
    assert session.run.progress.iteration == first
    for factor in (2.0, 0.5):
        session = train(config, tmp_path / f"run{factor}", clock, lambda i, factor=factor: 4.5 * factor)
        assert abs(session.budget.spent - 120) <= 9
        assert [path.name for path in checkpoints(session.folder)][-1] == f"{session.run.progress.iteration:06d}"
