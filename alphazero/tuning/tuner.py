"""The loop of a tuning: choose settings, train with them, look at each quarter, give up or go on, write down.

Each trial is a run like any other in a folder of its own, trained by a session. All are trained for the same time (or
as many iterations), with the same seed, and looked at by the same yardstick, which does not count towards their time.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from alphazero.arena.solved import SolvedPositions
from alphazero.config import Config, ConfigError
from alphazero.game import Game
from alphazero.learner import LearningError
from alphazero.mcts.evaluator import EvaluationError
from alphazero.parallel.executor import ExecutorError
from alphazero.report.events import Compared
from alphazero.report.terminal import clock as as_clock
from alphazero.report.terminal import pack
from alphazero.runs import files
from alphazero.runs.checkpoint import checkpoints, read_config
from alphazero.runs.configuration import to_toml
from alphazero.runs.lock import run_lock
from alphazero.shell.signals import on_signals
from alphazero.trainer.budget import NetworkTooWide
from alphazero.trainer.run import Stopped
from alphazero.trainer.session import Session, open_session
from alphazero.tuning import records, table
from alphazero.tuning.records import QUARTERS, Saved, Trial
from alphazero.tuning.sampling import hopeless, suggest
from alphazero.tuning.settings import values_of, with_values
from alphazero.tuning.yardsticks import Look, Yardstick, look, look_at, tag_of

# What may befall one trial and not the next: numbers that go astray, memory that does not suffice (in torch a
# RuntimeError), settings that do not go together. A disk that is full, or a fault of ours, would befall all.
FAILURES = (ConfigError, LearningError, EvaluationError, ExecutorError, MemoryError, RuntimeError)
TOO_MANY = 6  # trials in a row that fail: then the tuning ends
LONGEST = 300  # characters of why a trial failed

Show = Callable[..., None]  # of `progress_bar`


class TuningError(Exception):
    """A tuning that cannot go on."""


class Watch:
    """A clock that stands still while a trial is looked at."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock, self._stood = clock, 0.0

    def __call__(self) -> float:
        return self._clock() - self._stood

    @contextmanager
    def standing(self) -> Iterator[None]:
        began = self._clock()
        try:
            yield
        finally:
            self._stood += self._clock() - began


@dataclass
class Ending:
    """Why a trial's run ends before its time.

    early: as it is hopeless. late: as the tuning's time is over. asked: as somebody wants to stop.
    """

    early: bool = False
    late: bool = False
    asked: bool = False


class Tuner:
    """A tuning under way in its folder; `run` does all that is left of it."""

    def __init__(
        self,
        folder: Path,
        saved: Saved,
        game: Game,
        yardstick: Yardstick,
        positions: SolvedPositions | None,
        *,
        console: Console,
        show: Show = lambda *progress: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """positions: None if the yardstick needs none. show: is told a title, what is done, and the total."""
        self.folder, self.game, self.yardstick, self.positions = folder, game, yardstick, positions
        self.tuning, self.config, self.settings = saved
        self.console, self.show, self.clock = console, show, clock
        self.began, self.before = clock(), self.tuning.spent
        self.asked = False

    @property
    def trials(self) -> list[Trial]:
        return self.tuning.done

    @property
    def left(self) -> float:
        """Seconds of the budget; infinite without one."""
        return self.tuning.budget - self._spent if self.tuning.budget else float("inf")

    @property
    def _spent(self) -> float:
        return self.before + self.clock() - self.began

    @property
    def expected(self) -> float:
        """Seconds that a whole trial takes; 0 as long as nobody knows."""
        whole = [trial.seconds for trial in self.trials if trial.state == "complete"]
        return max(60 * self.tuning.minutes, sum(whole) / len(whole) if whole else 0.0)

    def forecast(self) -> str:
        """How many trials there will be, in words."""
        tuning = self.tuning
        each = (
            f"{as_clock(60 * tuning.minutes)} each" if tuning.minutes else f"{self.config.iterations} iterations each"
        )
        done = len([trial for trial in self.trials if trial.state != "running"])
        most = f"{tuning.trials - done}{' more' if done else ''} trials" if tuning.trials else "Trials"
        if not tuning.budget:
            return f"{most} of {each}"
        time_left = as_clock(max(0.0, self.left))
        if not self.expected:
            return f"{most} of {each}, as many as {time_left} hold; the first will show how long they take"
        fitting = int(self.left // self.expected)
        if tuning.trials:
            fitting = min(fitting, tuning.trials - done)
        about = "about " if self.expected > 60 * tuning.minutes else ""
        word = "trial" if fitting == 1 else "trials"
        return f"{time_left} hold {about}{fitting} {word} of {each}, and more as some are stopped early"

    def run(self) -> None:
        """Tries settings until the time is over, the trials are done, or somebody wants to stop.

        TuningError if trial after trial fails, ConfigError if the first cannot be trained at all.
        """
        with run_lock(self.folder, say=self.console.print), on_signals(self._asked_to_stop):
            try:
                while (trial := self._next()) is not None:
                    self._try(trial)
                    if trial.state != "running":
                        self._say_over(trial)
                    if self.asked or trial.state == "running":
                        break
                    self._check_failures()
            finally:
                self._write()

    def _next(self) -> Trial | None:
        """The trial that was broken off, or a new one; None if there is no more."""
        if self.trials and self.trials[-1].state == "running":
            return self.trials[-1] if self.left > 0 else None
        if self.tuning.trials and len(self.trials) >= self.tuning.trials:
            return None
        if self.left < max(self.expected, 1e-9):
            return None
        own = None if self.trials else values_of(self.config, self.settings)
        values = own or suggest(self.settings, self.trials, lower=self.yardstick.lower, seed=self.tuning.seed)
        if values is None:
            self.console.print("All that there is has been tried.")
            return None
        self.trials.append(Trial(number=len(self.trials), values=values))
        self._save()
        return self.trials[-1]

    def config_of(self, trial: Trial) -> Config:
        """The configuration of a trial: the tuning's, with its values. ConfigError if they do not go together."""
        config = with_values(self.config, trial.values, source=trial.name)
        config = replace(config, evaluation=replace(config.evaluation, every=0))  # the tuner looks instead
        if self.tuning.minutes:
            config = replace(config, minutes=self.tuning.minutes)
        if "network.width" in trial.values:
            config = replace(config, network=replace(config.network, least_width=0))
        return config

    def _try(self, trial: Trial) -> None:
        """Trains a trial to its end, or as far as it comes."""
        began, before, ending = self.clock(), trial.seconds, Ending()
        trial.state = "running"
        try:
            self._train(trial, ending)
        except Stopped:
            ending.asked = True
        except FAILURES as error:
            first = (str(error) or type(error).__name__).splitlines()[0]
            trial.state, trial.error = "failed", first[:LONGEST]
            if isinstance(error, ConfigError) and not trial.number:
                words = str(error).replace("give --minutes", "give --trial, in minutes,")
                raise ConfigError(f"{trial.name}: {words}") from error
        finally:
            trial.seconds = before + self.clock() - began
            self.asked |= ending.asked
        self._write()

    def _train(self, trial: Trial, ending: Ending) -> None:
        folder, watch, start = self.folder / trial.name, Watch(self.clock), None
        config = self.config_of(trial)
        saved = read_config(folder) if checkpoints(folder) else None
        if saved is None:
            files.remove(folder)
        compared = Compared(tuple(setting.name for setting in self.settings), tag_of(self.yardstick))
        quiet = Console(quiet=True, file=io.StringIO())
        while True:
            try:
                with open_session(
                    self.game, saved or config, folder, saved=saved, console=quiet, clock=watch, began=start,
                    compared=compared,
                ) as session:  # fmt: skip
                    self._train_session(session, trial, ending, watch)
                return
            except NetworkTooWide as found:
                config, start = replace(config, network=found.network), found.began

    def _train_session(self, session: Session, trial: Trial, ending: Ending, watch: Watch) -> None:
        run = session.run

        def after(iteration: int, metrics: Mapping[str, float]) -> None:
            trial.iterations = run.progress.iteration
            in_all = f" ({as_clock(max(0.0, self.left))} left in all)" if self.tuning.budget else ""
            self.show(f"{trial.name}{in_all}", run.progress.iteration, run.config.iterations)
            asked, more = run.control.stop.is_set(), run.progress.iteration < run.config.iterations
            with watch.standing():
                looked = self._look(session, trial)
            if looked and more and self._given_up(trial):
                ending.early, ending.asked = True, asked
                run.control.stop.set()
            elif more and self.left <= 0:
                ending.late = not asked
                run.control.stop.set()

        if self.asked:
            return
        trial.iterations = run.progress.iteration
        with watch.standing():
            self._look(session, trial)  # as the process may have died before it did
        if trial.looks and run.going_on and self._given_up(trial):  # or before it drew the conclusion
            trial.state = "stopped"
            return
        results = session.train(after, say_stopping=self.console.print)
        stopped = run.control.stop.is_set()
        if ending.early:
            trial.state = "stopped"
        elif stopped:
            ending.asked |= not ending.late
        if run.progress.iteration < run.config.iterations:
            return
        if self.yardstick.by_matches and results:
            self._note(session, trial, QUARTERS, look_at(self.yardstick, results))
        if QUARTERS in trial.looks:
            trial.state = "complete"

    def _look(self, session: Session, trial: Trial) -> bool:
        """Looks at the trial, if it has come to a quarter at which it has not been looked at; whether it did."""
        run = session.run
        quarter = int(QUARTERS * run.share(run.progress.iteration) + 1e-9)
        if run.progress.iteration >= run.config.iterations:
            quarter = QUARTERS
        by_session = quarter == QUARTERS and self.yardstick.by_matches  # its last matches will tell
        if by_session or quarter <= max(trial.looks, default=0):
            return False
        seen = look(self.yardstick, session, self.positions, last=quarter == QUARTERS)
        self._note(session, trial, quarter, seen)
        return True

    def _note(self, session: Session, trial: Trial, quarter: int, seen: Look) -> None:
        """Writes down what was seen, in the run and in the tuning."""
        trial.looks[quarter] = seen.value
        session.monitor.record(session.run.progress.iteration - 1, seen.scalars)
        self._save()

    def _given_up(self, trial: Trial) -> bool:
        return hopeless(self.settings, self.trials, lower=self.yardstick.lower)

    def _check_failures(self) -> None:
        last = self.trials[-TOO_MANY:]
        if len(last) == TOO_MANY and all(trial.state == "failed" for trial in last):
            raise TuningError(f"{TOO_MANY} trials in a row failed, the last of them: {last[-1].error}")

    def _say_over(self, trial: Trial) -> None:
        words = table.items(trial, self.trials, self.settings, self.yardstick)
        if self.tuning.budget:
            words.insert(2, f"{as_clock(max(0.0, self.left))} left")
        lines = pack(words, self.console.width if self.console.is_terminal else None)
        self.console.print("\n  ".join(lines), soft_wrap=True)

    def _asked_to_stop(self) -> None:
        """Between trials: nothing is under way that could be lost."""
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True

    def _save(self) -> None:
        """Writes the record."""
        self.tuning.spent = self._spent
        records.write(self.folder, self.tuning)

    def _write(self) -> None:
        """Writes the record, the table, and the best configuration."""
        self._save()
        order = table.ranked(self.trials, self.yardstick)
        records.write_table(self.folder, order, self.settings, self.yardstick.name)
        if leader := table.best(self.trials, self.yardstick):
            toml = to_toml(with_values(self.config, leader.values))
            files.write_file(self.folder / records.BEST, toml.encode())
