"""The loop of a tuning, over runs that only count: what is tried, given up, noted, stopped and gone on with.

A stand-in takes a second of a clock for each simulation of an iteration, and its worth is a known function of its
settings. tests/scripts/test_tune.py trains.
"""

from __future__ import annotations

import io
import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from alphazero.config import Config, ConfigError
from alphazero.learner import LearningError
from alphazero.runs.checkpoint import checkpoints
from alphazero.runs.configuration import load_config, make_config, to_toml
from alphazero.trainer.run import Stopped
from alphazero.tuning import records, tuner
from alphazero.tuning.records import QUARTERS, Trial, Tuning
from alphazero.tuning.settings import with_values
from alphazero.tuning.tuner import Tuner, TuningError, Watch
from alphazero.tuning.yardsticks import YARDSTICKS, Look
from games.tic_tac_toe import TicTacToe

BASE = make_config(
    {"game": "games.tic_tac_toe:TicTacToe", "iterations": 8, "search": {"simulations": 10}}, source="test"
)
OVER = ["search.c_scale=0.1..1", "search.simulations=5..20"]
OPTIMUM = 0.3


def mistakes(config: Config, progress: float) -> float:
    """Fewer as the run progresses; at its end least at c_scale = 0.3."""
    return min(1.0, 0.1 + math.log10(config.search.c_scale / OPTIMUM) ** 2 + 0.5 * (1 - progress))


@dataclass
class CountingRun:
    """The parts of a run that a tuner looks at."""

    config: Config
    progress: SimpleNamespace
    control: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(stop=threading.Event()))

    @property
    def going_on(self) -> bool:
        return self.progress.iteration < self.config.iterations and not self.control.stop.is_set()

    def share(self, iteration: int) -> float:
        return iteration / self.config.iterations


@dataclass
class Runs:
    """Stand-ins for `open_session` and `look`.

    now:    seconds of the clock.
    broken: by the number of a trial, what befalls it in its second iteration.
    before: called before an iteration with the name of the trial and the iteration.
    """

    now: float = 0.0
    broken: dict[str, Exception] = field(default_factory=dict)
    before: Callable[[str, int, Any], None] = lambda name, iteration, control: None
    clock: Callable[[], float] = lambda: 0.0  # by which the last trial counts its minutes
    trained: dict[str, list[int]] = field(default_factory=dict)  # iterations, by trial

    @contextmanager
    def open_session(
        self, game: object, config: Config, folder: Path, *, saved: Config | None, **others: Any
    ) -> Iterator[Any]:
        assert (saved is None) == (not folder.exists())
        self.clock = others["clock"]
        (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
        (folder / "config.toml").write_text(to_toml(config))
        done = int(checkpoints(folder)[-1].name) if saved else 0
        run = CountingRun(config, SimpleNamespace(iteration=done))

        def train(after: Callable[..., None], *, say_stopping: Callable[[str], None]) -> dict[str, Any]:
            while run.going_on:
                self.before(folder.name, run.progress.iteration, run.control)
                if run.progress.iteration == 1 and folder.name in self.broken:
                    raise self.broken[folder.name]
                self.now += config.search.simulations
                self.trained.setdefault(folder.name, []).append(run.progress.iteration)
                run.progress.iteration += 1
                (folder / "checkpoints" / f"{run.progress.iteration:06d}").mkdir()
                after(run.progress.iteration - 1, {})
            return {}

        monitor = SimpleNamespace(record=lambda iteration, scalars: None)
        yield SimpleNamespace(run=run, train=train, monitor=monitor)

    def look(self, yardstick: object, session: Any, positions: object, *, last: bool) -> Look:
        progress = session.run.share(session.run.progress.iteration)
        self.now += 1  # looking takes a second
        assert last == (progress == 1)
        return Look(mistakes(session.run.config, progress), {})


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Runs:
    runs = Runs()
    monkeypatch.setattr(tuner, "open_session", runs.open_session)
    monkeypatch.setattr(tuner, "look", runs.look)
    return runs


def begun(folder: Path, **options: Any) -> Path:
    records.create(folder, Tuning(over=OVER, yardstick="mistakes", **options), to_toml(BASE))
    return folder


def tuner_of(folder: Path, runs: Runs) -> Tuner:
    console = Console(file=io.StringIO(), width=200)
    return Tuner(
        folder, records.read(folder), TicTacToe(), YARDSTICKS["mistakes"], None, console=console, clock=lambda: runs.now
    )


def tune(folder: Path, runs: Runs) -> tuple[list[Trial], str]:
    """All trials at the end, and what was said."""
    one = tuner_of(folder, runs)
    one.run()
    assert isinstance(one.console.file, io.StringIO)
    return records.read(folder).tuning.done, one.console.file.getvalue()


def essence(trials: list[Trial]) -> list[Any]:
    return [(trial.number, trial.values, trial.state, trial.looks, trial.iterations) for trial in trials]


def test_the_optimum_is_found_and_written_as_a_configuration(tmp_path: Path, runs: Runs) -> None:
    folder = begun(tmp_path / "t", trials=20)
    trials, said = tune(folder, runs)
    assert len(trials) == 20
    assert trials[0].values == {"search.c_scale": 0.5, "search.simulations": 10}  # the configuration as it is
    best = min((t for t in trials if t.value is not None), key=lambda t: t.value or 0)
    assert best.values["search.c_scale"] == pytest.approx(OPTIMUM, rel=0.1)
    assert best.value == pytest.approx(0.1, abs=0.005)
    assert load_config(folder / "best.toml") == with_values(BASE, best.values)
    assert "trial-000  14.92 % · the best" in said  # 0.1 + log10(0.5 / 0.3)^2


def test_a_bad_trial_is_stopped_early_and_costs_less(tmp_path: Path, runs: Runs) -> None:
    trials, said = tune(begun(tmp_path / "t", trials=15), runs)
    stopped = [trial for trial in trials if trial.state == "stopped"]
    assert stopped
    for trial in stopped:
        assert max(trial.looks) < QUARTERS
        assert trial.iterations == 2 * max(trial.looks)  # 8 iterations, 4 quarters
        assert trial.value is None
        whole = [other.looks[max(trial.looks)] for other in trials[: trial.number] if other.state == "complete"]
        assert len(whole) >= 3
        assert trial.looks[max(trial.looks)] > sorted(whole)[len(whole) // 2]
    assert "stopped early" in said


def test_every_trial_is_looked_at_each_quarter(tmp_path: Path, runs: Runs) -> None:
    trials, _ = tune(begun(tmp_path / "t", trials=1), runs)
    assert list(trials[0].looks) == [1, 2, 3, 4]
    assert list(trials[0].looks.values()) == [mistakes(BASE, quarter / 4) for quarter in (1, 2, 3, 4)]
    assert (runs.now, runs.clock()) == (8 * 10 + 4, 8 * 10)  # which does not count towards its time


def test_the_budget_holds_all_of_it(tmp_path: Path, runs: Runs) -> None:
    """A trial of the configuration takes 8 * 10 + 4 seconds."""
    folder = begun(tmp_path / "t", budget=300.0)
    trials, _ = tune(folder, runs)
    assert runs.now <= 300 + 21
    assert trials[0].seconds == 84
    assert records.read(folder).tuning.spent == runs.now == sum(trial.seconds for trial in trials)
    over = [trial for trial in trials if trial.state != "running"]
    assert 2 <= len(over) <= 6
    left, mean = 300 - runs.now, sum(t.seconds for t in over if t.value) / len([t for t in over if t.value])
    assert left < mean  # nothing more would have fit


def test_a_trial_of_so_many_minutes_has_them_and_no_evaluations_of_its_own(tmp_path: Path, runs: Runs) -> None:
    folder = begun(tmp_path / "t", minutes=2.0, budget=3600.0)
    one = tuner_of(folder, runs)
    config = one.config_of(Trial(number=0, values={"search.c_scale": 0.2, "search.simulations": 7}))
    assert (config.minutes, config.evaluation.every) == (2.0, 0)
    assert (config.search.c_scale, config.search.simulations) == (0.2, 7)
    assert one.forecast() == "1:00:00 hold 30 trials of 0:02:00 each, and more as some are stopped early"


def test_the_width_that_is_tried_is_the_width_that_is_trained(tmp_path: Path, runs: Runs) -> None:
    narrowing = replace(BASE, network=replace(BASE.network, width=64, least_width=32))
    folder = tmp_path / "t"
    records.create(folder, Tuning(over=["network.width=32,64"], yardstick="mistakes", trials=1), to_toml(narrowing))
    config = tuner_of(folder, runs).config_of(Trial(number=0, values={"network.width": 64}))
    assert (config.network.width, config.network.least_width) == (64, 0)


def test_looking_stops_the_clock_of_a_trial() -> None:
    now = [0.0]
    watch = Watch(lambda: now[0])
    now[0] = 5.0
    with watch.standing():
        now[0] = 8.0
    now[0] = 9.0
    assert watch() == 6.0


@pytest.mark.parametrize(
    "error", [LearningError("the loss is nan"), MemoryError(), RuntimeError("CUDA out of memory\nand so on")]
)
def test_a_failure_is_noted_and_others_follow(tmp_path: Path, runs: Runs, error: Exception) -> None:
    runs.broken = {"trial-001": error}
    trials, said = tune(begun(tmp_path / "t", trials=3), runs)
    assert [trial.state for trial in trials] == ["complete", "failed", "complete"]
    assert trials[1].error == (str(error).splitlines() or ["MemoryError"])[0]
    assert f"trial-001  failed: {trials[1].error} · best " in said


def test_failure_upon_failure_ends_it(tmp_path: Path, runs: Runs) -> None:
    runs.broken = {f"trial-{number:03d}": LearningError("the loss is nan") for number in range(1, 30)}
    with pytest.raises(TuningError, match="6 trials in a row failed, the last of them: the loss is nan"):
        tune(begun(tmp_path / "t", trials=20), runs)
    assert len(records.read(tmp_path / "t").tuning.done) == 7


def test_a_configuration_that_cannot_be_trained_is_an_error_at_once(tmp_path: Path, runs: Runs) -> None:
    runs.broken = {"trial-000": ConfigError("0.1 minutes are too short")}
    with pytest.raises(ConfigError, match=r"trial-000: 0\.1 minutes are too short"):
        tune(begun(tmp_path / "t", trials=20), runs)


def test_a_fault_of_ours_is_no_failed_trial(tmp_path: Path, runs: Runs) -> None:
    runs.broken = {"trial-001": TypeError("a fault")}
    with pytest.raises(TypeError):
        tune(begun(tmp_path / "t", trials=3), runs)


def test_stopped_anywhere_and_resumed_it_is_as_undisturbed(tmp_path: Path, runs: Runs) -> None:
    undisturbed, _ = tune(begun(tmp_path / "whole", trials=6), runs)
    assert {trial.state for trial in undisturbed} == {"complete", "stopped"}
    iterations = sum(trial.iterations for trial in undisturbed)
    for way in ("after the iteration", "at once"):
        folder, calls = begun(tmp_path / way, trials=6), [0]

        def stop(name: str, iteration: int, control: Any, way: str = way, calls: list[int] = calls) -> None:
            calls[0] += 1
            if calls[0] % 3 == 0 and way == "after the iteration":
                control.stop.set()  # what Ctrl-C does
            elif calls[0] % 3 == 0:
                raise Stopped

        runs.before, runs.trained = stop, {}
        starts = 0
        while len(done := tune(folder, runs)[0]) < 6 or done[-1].state == "running":
            starts += 1
        assert starts >= iterations // 3 - 1
        assert essence(done) == essence(undisturbed)
        assert sum(map(len, runs.trained.values())) == iterations  # none was trained twice
        assert (folder / "best.toml").read_text() == (tmp_path / "whole" / "best.toml").read_text()


def test_what_died_before_it_looked_looks_when_it_is_resumed(
    tmp_path: Path, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed, _ = tune(begun(tmp_path / "whole", trials=5), runs)
    folder, look, calls = begun(tmp_path / "t", trials=5), runs.look, [0]

    def dying(*arguments: Any, **options: Any) -> Look:
        calls[0] += 1
        if calls[0] % 2:
            raise KeyboardInterrupt  # as good as a kill: nothing is noted
        return look(*arguments, **options)

    monkeypatch.setattr(tuner, "look", dying)
    while True:
        try:
            done, _ = tune(folder, runs)
            break
        except KeyboardInterrupt:
            pass
    assert essence(done) == essence(undisturbed)


def test_a_trial_that_the_time_cuts_off_goes_on_with_more_of_it(tmp_path: Path, runs: Runs) -> None:
    folder = begun(tmp_path / "t", budget=60.0)
    [trial], _ = tune(folder, runs)
    assert trial.state == "running"
    assert (trial.iterations, runs.now) == (6, 63)  # the sixth iteration and the third look were under way
    assert tune(folder, runs)[0] == [trial]  # there is no more time
    saved = records.read(folder)
    saved.tuning.budget = 100.0
    records.write(folder, saved.tuning)
    [trial], _ = tune(folder, runs)
    assert (trial.state, trial.iterations, trial.seconds) == ("complete", 8, 84)


def test_all_that_there_is_can_be_tried(tmp_path: Path, runs: Runs) -> None:
    folder = tmp_path / "t"
    over = ["search.c_scale=0.2,0.3", "search.simulations=5,6"]
    records.create(folder, Tuning(over=over, yardstick="mistakes", trials=100), to_toml(BASE))
    trials, said = tune(folder, runs)
    assert len(trials) == 4  # the configuration's own values are not among them
    assert "All that there is has been tried." in said
