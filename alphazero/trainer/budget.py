"""Keeps a run to its minutes: plans its iterations by its pace, and anew when that turns out otherwise."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from alphazero.arena.evaluation import PlayMatch
from alphazero.config import ConfigError, NetworkConfig
from alphazero.report.metrics_table import number
from alphazero.report.monitor import Monitor
from alphazero.runs.checkpoint import write_config
from alphazero.trainer.pace import measure, measure_matches
from alphazero.trainer.plan import TOLERANCE, Forecast
from alphazero.trainer.run import Run

MEASURING, LONGEST = 0.01, 3.0  # of the budget, and seconds at the most, for each measurement of the pace
LATE = 0.1  # of the budget: how late the last iteration may end
ENOUGH = 150  # iterations: with fewer, a narrower network becomes the stronger agent (docs/results.md)


class NetworkTooWide(Exception):
    """The run should begin anew with this network: its time holds too few iterations of the one that it has.

    began: when this run did, by the session's clock.
    """

    def __init__(self, message: str, network: NetworkConfig, began: float) -> None:
        super().__init__(message)
        self.network, self.began = network, began


class Budget:
    """The time of a run, spent and left. Without minutes it tells the time left, and plans nothing."""

    def __init__(
        self,
        run: Run,
        folder: Path,
        monitor: Monitor,
        *,
        clock: Callable[[], float] = time.monotonic,
        began: float | None = None,
    ) -> None:
        """clock: seconds. began: when this start of the run began, by the clock; None: now."""
        self.run, self.folder, self.monitor, self.clock = run, folder, monitor, clock
        self.began = clock() if began is None else began
        self.before = run.progress.seconds
        self.forecast = Forecast(run.config, run.executor.size)
        self._last = self.began  # when the last iteration ended

    @property
    def spent(self) -> float:
        """Seconds of the run so far, over all its starts."""
        return self.before + self.clock() - self.began

    @property
    def left(self) -> float:
        """Seconds that are left of the minutes."""
        return 60 * self.run.config.minutes - self.spent

    def begin(self, matches: Callable[[], Mapping[str, PlayMatch]]) -> None:
        """Measures the pace, plans the iterations, and says so; `matches`: those of an evaluation.

        ConfigError if there is not time for a single iteration, NetworkTooWide if there is for few.
        """
        run, done = self.run, self.run.progress.iteration
        if run.config.minutes and run.share(done) < 1:
            seconds = min(LONGEST, MEASURING * 60 * run.config.minutes)
            self.monitor.say("Measuring the pace ...")
            pace = measure(run, seconds, run.control.check)
            self.forecast = Forecast(run.config, run.executor.size, pace)
            if not done:
                self._check_width(self._fitting())
                run.replan(max(1, self._fitting()))  # how many matches there are depends on it
            pace = pace._replace(matches=measure_matches(run, matches(), seconds, run.control.check))
            self.forecast = Forecast(run.config, run.executor.size, pace)
            each = self.forecast.mean(max(1, run.config.iterations - done), run.share(done))
            last = 2 * self.forecast.evaluation
            if not (done or self._fitting()):
                needed = math.ceil((1.1 * (each + last) + self.spent) / 6) / 10
                raise ConfigError(
                    f"{run.config.minutes:g} minutes are too short: here an iteration takes about {number(each)} s and "
                    f"the last matches {number(last)} s; give --minutes {needed:g} or more, or make iterations "
                    "(self_play.moves) or matches (evaluation.games) shorter"
                )
            if not done or self._off:
                self._replan()
            spent = f", {self.spent / 60:.1f} of them spent" if done else ""
            more = run.config.iterations - done
            iterations = f"{more}{' more' if done else ''} iteration{'s' * (more != 1)}"
            self.monitor.say(
                f"{run.config.minutes:g} minutes{spent}: {iterations} of about {number(each)} s (measured), "
                f"{number(last)} s for the last matches"
            )
        self._last = self.clock()
        self._tell()

    def iteration_over(self, iteration: int, steps: int, *, evaluated: bool) -> None:
        """Takes in the time of an iteration with so many steps; plans anew if the run would not end in time."""
        run, now, before = self.run, self.clock(), self.run.config.iterations
        self.forecast.observe(now - self._last, run.simulations(iteration), steps, evaluated=evaluated)
        self._last = now
        if run.progress.iteration < before and self._off:
            self._replan()
            if run.config.iterations != before:
                self.monitor.say(
                    f"The pace has changed: {run.config.iterations} iterations instead of {before} end in time"
                )
        self._tell()

    def _check_width(self, iterations: int) -> None:
        """NetworkTooWide if it is for so few iterations, and the configuration allows a narrower one."""
        network = self.run.config.network
        width = max(network.least_width, network.width * iterations // ENOUGH // 8 * 8)
        if network.least_width and width < network.width and not network.own:
            minutes, narrower = self.run.config.minutes, replace(network, width=width, least_width=0)
            raise NetworkTooWide(
                f"{minutes:g} minutes hold {iterations} iterations here: {width} channels instead of {network.width}",
                narrower,
                self.began,
            )

    @property
    def _off(self) -> bool:
        """Whether the run as it is planned would end too early or too late."""
        budget = 60 * self.run.config.minutes
        return abs(self._expected() - self.left) > TOLERANCE * budget > 0

    def _fitting(self) -> int:
        """The most iterations in all that end in time; or one more that ends somewhat late, rather than stop halfway.

        A run that ends before its progress is 1 has not lowered its learning rate to the end.
        """
        done = self.run.progress.iteration
        share = self.run.share(done)
        late = self.left + LATE * 60 * self.run.config.minutes
        if done and share < 1 and self.forecast.seconds(done, done + 1, share) <= late:
            return max(done + 1, self.forecast.fitting(done, share, self.left))
        return self.forecast.fitting(done, share, self.left)

    def _expected(self) -> float:
        """Seconds to the end of the run as it is planned."""
        done = self.run.progress.iteration
        return self.forecast.seconds(done, self.run.config.iterations, self.run.share(done))

    def _replan(self) -> None:
        """Plans as many iterations as fit."""
        if (fitting := self._fitting()) != self.run.config.iterations or not self.run.progress.iteration:
            self.run.replan(fitting)
            write_config(self.folder, self.run.config)

    def _tell(self) -> None:
        self.monitor.plan(self.run.config.iterations, self._expected() if self.forecast.known else None)
