"""What trials are compared by: a yardstick of the benchmark, measured of the network that a run has now."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from statistics import fmean
from typing import Any, NamedTuple

import torch

from alphazero.arena.evaluation import (
    Results,
    RunPositionTest,
    Worker,
    evaluation_matches,
    match_players,
    scalars_of,
)
from alphazero.arena.solved import PositionResult, SolvedPositions
from alphazero.config import Config, ConfigError
from alphazero.game import Game, take
from alphazero.network.architectures import InferenceModule
from alphazero.parallel.executor import Counter
from alphazero.report.metrics_table import number
from alphazero.trainer.session import Session

PARTS = 8  # of solved positions, which many threads or workers answer side by side; always as many, for rounding's sake
FEW = 1_000  # positions at most while a trial is under way; at its end, all of them


class Yardstick(NamedTuple):
    """A measure of an agent.

    meaning: in words.
    lower:   whether a lower value is better.
    share:   whether it is a share, which people read in percent.
    needs:   solved positions, opponents, or a game for one: the last two are played by matches.
    """

    name: str
    meaning: str
    lower: bool
    share: bool
    needs: str

    @property
    def by_matches(self) -> bool:
        return self.needs != "solved positions"

    def format(self, value: float) -> str:
        return f"{100 * value:.2f} %" if self.share else number(value)


YARDSTICKS = {
    yardstick.name: yardstick
    for yardstick in (
        Yardstick("mistakes", "share of solved positions in which the agent gives away a win or a draw", True, True,
                  "solved positions"),
        Yardstick("value_error", "mean squared error of the agent's values of solved positions", True, False,
                  "solved positions"),
        Yardstick("points", "share of the points against the opponents, on average", False, True, "opponents"),
        Yardstick("return", "mean reward of a game for one", False, False, "a game for one"),
    )
}  # fmt: skip


def yardstick_of(name: str | None, game: Game, config: Config, *, positions: bool) -> Yardstick:
    """The yardstick of this name, or the first of the table that suits. ConfigError if it does not suit.

    positions: whether there are solved positions.
    """
    has = {
        "solved positions": positions,
        "opponents": game.num_players == 2 and bool(config.evaluation.opponents),
        "a game for one": game.num_players == 1,
    }
    suitable = [each for each in YARDSTICKS.values() if has[each.needs]]
    if name is None:
        if not suitable:
            raise ConfigError(f"{game.name} has nothing to compare trials by; set evaluation.opponents")
        return suitable[0]
    if YARDSTICKS[name] not in suitable:
        known = ", ".join(each.name for each in suitable) or "none"
        raise ConfigError(f"--objective {name} needs {YARDSTICKS[name].needs}; what suits {game.name} here: {known}")
    return YARDSTICKS[name]


class Look(NamedTuple):
    """What a yardstick says of an agent; scalars: all that was measured, by tag."""

    value: float
    scalars: Mapping[str, float]


def tag_of(yardstick: Yardstick) -> str:
    """Of the scalar that a run records."""
    return f"tuning/{yardstick.name}"


def look(yardstick: Yardstick, session: Session, positions: SolvedPositions | None, *, last: bool) -> Look:
    """Measures the agent of a run between two iterations. `Stopped` if the run must stop at once.

    last: whether it is the end of the run, where the measure counts most: then all positions are asked about.
    """
    if positions is None:
        return look_at(yardstick, _matches(session))
    value = _answers(yardstick, session, positions, last=last)
    return Look(value, {tag_of(yardstick): value})


def look_at(yardstick: Yardstick, results: Results) -> Look:
    """What results of matches say. ConfigError if there are none."""
    points = [result.points for tag, result in results.items() if tag.startswith("strength/")]
    if not points:
        raise ConfigError("no opponent is left to compare by; raise evaluation.time_share")
    value = fmean(points)
    return Look(value, scalars_of(results) | {tag_of(yardstick): value})


def _matches(session: Session) -> Results:
    """The agent's matches against the configuration's opponents, or its games alone."""
    run = session.run
    games = run.config.evaluation.games
    matches = evaluation_matches(run.game, run.config, session.opponents, games=games)
    weights = run.executor.share(run.learner.weights())
    under_way = {
        tag: run.executor.submit(match, weights, count=run.control.check)
        for tag, match in matches.items()
        if tag.startswith("strength/")
    }
    return {tag: match.result() for tag, match in under_way.items()}


@dataclass(frozen=True)
class AnswerPositions:
    """Asks the agent with the weights that are shared about solved positions, in search as in its matches."""

    title: str
    seed: int

    def run(
        self, worker: Worker, count: Counter, weights: InferenceModule, positions: SolvedPositions
    ) -> PositionResult:
        [agent] = match_players("strength", None, worker, weights)
        return RunPositionTest(self.title, self.seed).run(worker, count, agent, positions)


def _answers(yardstick: Yardstick, session: Session, positions: SolvedPositions, *, last: bool) -> float:
    run, total = session.run, len(positions.plies)
    every = 1 if last else -(-total // FEW)
    weights = run.executor.share(run.learner.weights())
    parts = [rows for part in range(PARTS) if len(rows := torch.arange(total)[::every][part::PARTS])]
    under_way: list[Future[PositionResult]] = []
    for part, rows in enumerate(parts):
        task = AnswerPositions(f"part {part} of the solved positions", run.config.seed)
        shared: Any = run.executor.share(_rows(positions, rows))
        under_way.append(run.executor.submit(task, weights, shared, count=run.control.check))
    results = [answers.result() for answers in under_way]
    asked = sum(map(len, parts))
    if yardstick.name == "mistakes":
        return sum(result.mistakes["all"].mistakes for result in results) / asked
    losses = (result.value.loss * len(rows) for result, rows in zip(results, parts, strict=True) if result.value)
    return sum(losses) / asked


def _rows(positions: SolvedPositions, rows: torch.Tensor) -> SolvedPositions:
    moves = tuple(positions.moves[row] for row in rows.tolist())
    return SolvedPositions(take(positions.states, rows), positions.scores[rows], moves, positions.plies[rows])
