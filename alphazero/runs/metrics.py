"""metrics.csv: the scalars of a run, a row an iteration and a column a tag."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from alphazero.config import MOST
from alphazero.game.messages import printable
from alphazero.replay import Replay
from alphazero.runs.files import RunError, naming, read_file, write_file

if TYPE_CHECKING:
    from alphazero.selfplay import SelfPlayStatistics

LARGEST = 1 << 28  # bytes of the file
FLOAT32 = 3.4e38  # about the greatest float32, which is what figures and TensorBoard can show

History = Mapping[int, Mapping[str, float]]  # scalars by tag, by iteration


def read_history(path: Path) -> dict[int, dict[str, float]]:
    """The scalars in a metrics.csv; none if there is no file. RunError if it is something else."""
    try:
        text = read_file(path, LARGEST).decode()
        text = text[: text.rfind("\n") + 1]  # a crash may have cut the last line
        table = csv.reader(io.StringIO(text, newline=""), strict=True)
        tags = next(table, ["iteration"])
        if tags[0] != "iteration":
            raise ValueError(f"the first column is {printable(tags[0])} instead of 'iteration'")
        if len(set(tags)) < len(tags):
            raise ValueError("it has several columns of one name")
        cells = [dict(zip(tags, row, strict=True)) for row in table]
        return {_iteration(row.pop("iteration")): {tag: _scalar(s) for tag, s in row.items() if s} for row in cells}
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, IndexError, csv.Error) as error:
        fault = f"{path} does not hold a run's metrics ({error})"
        raise RunError(f"{fault}; move it away to go on without the past curves") from error


def _iteration(text: str) -> int:
    if not (text.isdecimal() and len(text) <= len(str(MOST)) and int(text) <= MOST):
        raise ValueError(f"{printable(text)} is no iteration")
    return int(text)


def _scalar(text: str) -> float:
    """ValueError for what is neither a number of float32 nor NaN or infinite, as they are written."""
    try:
        scalar = float(text)
    except ValueError:
        raise ValueError(f"{printable(text)} is no number") from None
    if math.isfinite(scalar) and abs(scalar) > FLOAT32:
        raise ValueError(f"{printable(text)} is too large for a measure")
    return scalar


def opponents_of(history: History) -> list[str]:
    """The opponents in the history, in the order of their first games."""
    tags = (tag for scalars in history.values() for tag in scalars)
    return list(dict.fromkeys(t.split("/")[1] for t in tags if t.startswith("strength/") and t.count("/") > 1))


class MetricsFile:
    """The scalars of a run as a CSV file: the iteration, then a column a tag, empty where there is none.

    Rows of `first_iteration` and later are dropped from an old file.
    """

    def __init__(self, path: Path, first_iteration: int) -> None:
        self.path = path
        old = {number: row for number, row in read_history(path).items() if number < first_iteration}
        self.tags = list(dict.fromkeys(tag for scalars in old.values() for tag in scalars))
        # By iteration, as long as the tags were then: dictionaries would take megabytes an hour in a run of short ones.
        self._rows = {iteration: [scalars.get(tag) for tag in self.tags] for iteration, scalars in old.items()}
        if path.exists():
            self._rewrite()

    @property
    def history(self) -> dict[int, dict[str, float]]:
        """By iteration, scalars by tag."""
        return {iteration: self._scalars(iteration) for iteration in self._rows}

    def thinned(self, most: int) -> dict[int, dict[str, float]]:
        """The history of about so many iterations, evenly spread to the last, and of all with matches."""
        step, last = -(-len(self._rows) // most) or 1, len(self._rows) - 1
        matches = [place for place, tag in enumerate(self.tags) if tag.startswith(("strength/", "network/"))]
        return {
            iteration: self._scalars(iteration)
            for number, (iteration, row) in enumerate(self._rows.items())
            if (last - number) % step == 0 or any(row[place] is not None for place in matches if place < len(row))
        }

    def _scalars(self, iteration: int) -> dict[str, float]:
        row = self._rows[iteration]
        return {tag: scalar for tag, scalar in zip(self.tags, row, strict=False) if scalar is not None}

    def record(self, iteration: int, scalars: Mapping[str, float]) -> None:
        """Adds a row, or to a row; new tags become columns."""
        appended = iteration not in self._rows and all(tag in self.tags for tag in scalars) and self.path.exists()
        self.tags += [tag for tag in scalars if tag not in self.tags]
        row = self._rows.setdefault(iteration, [])
        row += [None] * (len(self.tags) - len(row))
        for tag, scalar in scalars.items():
            row[self.tags.index(tag)] = float(scalar)
        if appended:
            with naming(self.path), self.path.open("a", encoding="utf-8", newline="") as file:
                csv.writer(file, lineterminator="\n").writerow(self._cells(iteration))
        else:
            self._rewrite()

    def _cells(self, iteration: int) -> list[int | float | str]:
        row = self._rows[iteration]
        cells = ["" if scalar is None else scalar for scalar in row]
        return [iteration, *cells, *[""] * (len(self.tags) - len(row))]

    def _rewrite(self) -> None:
        content = io.StringIO(newline="")
        table = csv.writer(content, lineterminator="\n")
        table.writerow(["iteration", *self.tags])
        table.writerows(map(self._cells, self._rows))
        with naming(self.path):
            write_file(self.path, content.getvalue().encode())


def buffer_scalars(replay: Replay, iteration: int) -> dict[str, float]:
    """The replay buffer's sizes and the mean age of its samples, by tag."""
    samples, distinct = replay.samples, replay.distinct()
    if samples is None:
        return {}
    scalars = {"buffer/samples": float(samples.size), "buffer/window": float(replay.window)}
    if samples.size:
        scalars["buffer/staleness"] = iteration - float(samples.iteration.double().mean())
    return scalars if distinct is None else scalars | {"buffer/distinct": float(distinct)}


def self_play_scalars(
    statistics: SelfPlayStatistics, learning_seconds: float, seconds: float, *, alone: bool
) -> dict[str, float]:
    """Scalars of self-play in an iteration that took `seconds`, by tag.

    Shares of time are of the CPU time of self-play and learning. alone: whether the game is for one.
    """
    moves, total = max(1, statistics.moves), max(1e-9, statistics.seconds + learning_seconds)
    scalars = {
        "self_play/positions_per_second": statistics.moves / seconds,
        "self_play/simulations_per_second": statistics.simulations / seconds,
        "self_play/tree_depth": statistics.depth / moves,
        "self_play/games": float(statistics.games),
        "time/inference": statistics.inference_seconds / total,
        "time/tree": (statistics.seconds - statistics.inference_seconds) / total,
        "time/learning": learning_seconds / total,
    }
    if statistics.cache_asked:
        scalars["self_play/cache_hits"] = statistics.cache_found / statistics.cache_asked
    if statistics.cut_off:
        scalars["self_play/cut_off"] = float(statistics.cut_off)
    if statistics.proven:
        scalars["self_play/proven"] = statistics.proven / max(1, statistics.games)
    if statistics.resigned:
        scalars["self_play/resigned"] = statistics.resigned / max(1, statistics.games)
    if statistics.unresigned:
        scalars["self_play/wrong_resignations"] = statistics.wrong / statistics.unresigned
    if statistics.games:
        of_two = {"first_player_wins": statistics.first_player_wins, "draws": statistics.draws}
        sums = {"game_length": statistics.game_moves, **({"return": statistics.returns} if alone else of_two)}
        scalars |= {f"self_play/{name}": total / statistics.games for name, total in sums.items()}
        if not alone:
            scalars["self_play/decided"] = statistics.decided / statistics.game_moves
    return scalars
