"""What a training run shows: TensorBoard, the terminal, and files to read later.

    runs/<name>/
      tensorboard/   scalars and pictures, one step axis: the iteration
      metrics.csv    the same scalars, a row an iteration
      log.txt        what was said, with the time
      curves.png     strength, losses and buffer over the run

Every tag is optional; reports, charts and curves show what is there. A file that cannot be written
raises an OSError that names it, in the thread that called and never in one behind the scenes.
"""

from __future__ import annotations

import csv
import io
import math
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.table import Column
from rich.text import Text
from torch.utils.tensorboard import SummaryWriter

from alphazero.pictures import curves_figure, opponents_of, pixels, png

# A report: lines of a label and what is said under it.
Report = list[tuple[str, list[str]]]
LABEL_WIDTH = 15
ALARM = "not finite"


class Monitor:
    """Shows a run from its iteration `first_iteration` on; iterations count from 0 to `iterations` - 1.

    What the folder tells of `first_iteration` and later, left by a run that ended before it had saved,
    is dropped. `history` holds the scalars by iteration, those of the run before a resume included.
    All methods may be called from any thread, and from a signal handler.
    """

    def __init__(
        self, run_folder: Path, *, iterations: int, first_iteration: int, console: Console | None = None
    ) -> None:
        self.folder, self.iterations, self.first_iteration = run_folder, iterations, first_iteration
        self.console = console or Console()
        self.log, self.curves, self.events = (run_folder / n for n in ("log.txt", "curves.png", "tensorboard"))
        run_folder.mkdir(parents=True, exist_ok=True)
        self.metrics = MetricsFile(run_folder / "metrics.csv", first_iteration)
        self.history = self.metrics.rows
        # Reentrant: a signal handler may speak while the thread that it interrupts does.
        self._lock = threading.RLock()
        self._charted: list[str] | None = None
        # Control characters belong on terminals only.
        draws = self.console.is_terminal and not self.console.is_dumb_terminal
        self._bars = ProgressBars(self.console) if draws else None

    def __enter__(self) -> Self:
        self._excepthook = threading.excepthook
        threading.excepthook = _without_event_writer(self._excepthook)
        try:
            with _naming(self.events):
                self._writer = SummaryWriter(self.events, purge_step=self.first_iteration)
            if self._bars:
                self._bars.start_run(self.first_iteration, self.iterations)
        except BaseException:
            threading.excepthook = self._excepthook
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars:
            self._bars.stop()
        try:
            with _naming(self.events):
                self._writer.close()
            if self.history:
                self._save_curves()
        except OSError:
            if error is None:  # otherwise it is the first error that counts
                raise
        finally:
            threading.excepthook = self._excepthook

    def say(self, text: str) -> None:
        """Shows the text above the progress bars and appends it to the log."""
        self._print(Text(text))
        self._append_to_log(text)

    def start(self, iteration: int, parts: Mapping[str, int]) -> None:
        """Begins the progress of an iteration: its parts, each with how much there is to do."""
        if self._bars:
            self._bars.start_iteration(iteration, parts)

    def advance(self, part: str, done: int) -> None:
        """So much more of a part is done."""
        if self._bars:
            self._bars.advance_part(part, done)

    def record(self, iteration: int, scalars: Mapping[str, float]) -> None:
        """Writes the scalars by tag to TensorBoard, metrics.csv and, if some tell of strength, curves.png."""
        with self._lock:
            self.metrics.record(iteration, scalars)
            with _naming(self.events):
                for tag, scalar in scalars.items():
                    self._writer.add_scalar(tag, float(scalar), iteration)
                opponents = opponents_of(self.history)
                if opponents != self._charted:  # TensorBoard shows the layout that came last
                    self._writer.add_custom_scalars(chart_layout(opponents))
                    self._charted = opponents
                self._writer.flush()
            if any(tag.startswith("strength/") for tag in scalars):
                self._save_curves()

    def report(self, iteration: int, scalars: Mapping[str, float]) -> None:
        """Says in a few lines, in the terminal and the log, what the iteration brought."""
        report = make_report(iteration, self.iterations, scalars)
        width = self.console.width if self.console.is_terminal else None
        for number, (label, items) in enumerate(report):
            indent = "" if number == 0 else "  "
            for row, line in enumerate(pack(items, width and width - LABEL_WIDTH)):
                text = Text(indent + (label if row == 0 else "").ljust(LABEL_WIDTH - len(indent)))
                text.stylize("bold red" if label == ALARM else "bold" if number == 0 else "cyan")
                self._print(text.append(line, style="red" if label == ALARM else "not bold"))
        plain = [("  " if n else "") + f"{label}: {' · '.join(items)}" for n, (label, items) in enumerate(report)]
        self._append_to_log("\n".join(plain))

    def picture(self, iteration: int, tag: str, figure: Figure) -> None:
        """Shows the figure in TensorBoard."""
        with self._lock, _naming(self.events):
            self._writer.add_image(tag, pixels(figure), iteration, dataformats="HWC")
            self._writer.flush()
        figure.clear()

    def _print(self, text: Text) -> None:
        # Unless on a terminal lines stay whole, however long.
        self.console.print(text, soft_wrap=not self.console.is_terminal)

    def _append_to_log(self, text: str) -> None:
        time = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
        lines = text.replace("\n", "\n" + " " * (len(time) + 2))
        with self._lock, _naming(self.log), self.log.open("a", encoding="utf-8") as log:
            log.write(f"{time}  {lines}\n")

    def _save_curves(self) -> None:
        with self._lock:
            _replace(self.curves, png(curves_figure(self.history)))


# ------------------------------------------------------------------------------------ reports


def make_report(iteration: int, iterations: int, scalars: Mapping[str, float]) -> Report:
    """The lines of an iteration's report, from the scalars that are there."""

    def items(*formats: tuple[str, str, Callable[[float], str]]) -> list[str]:
        return [text.format(show(scalars[tag])) for tag, text, show in formats if tag in scalars]

    head = items(
        ("time/iteration", "{}", _duration),
        ("time/core_seconds", "CPU {} so far", _duration),
        ("time/inference", "inference {}", _percent),
        ("time/tree", "tree {}", _percent),
        ("time/learning", "learning {}", _percent),
    )
    report: Report = [(f"iteration {iteration}", [f"{iteration + 1} of {iterations}", *head])]
    sections = {
        "self-play": items(
            ("self_play/positions_per_second", "{} positions/s", _number),
            ("self_play/game_length", "{} moves a game", _number),
            ("self_play/first_player_wins", "first wins {}", _percent),
            ("self_play/draws", "draws {}", _percent),
            ("self_play/cache_hits", "cached {}", _percent),
        ),
        "learning": items(
            ("loss/total", "loss {}", _number),
            ("loss/policy", "policy {}", _number),
            ("loss/value", "value {}", _number),
            ("loss/target_entropy", "target's entropy {}", _number),
            ("buffer/samples", "{} samples", _number),
            ("buffer/distinct", "{} distinct", _number),
        ),
        "strength": [_against(opponent, scalars) for opponent in opponents_of({iteration: scalars})],
        ALARM: [f"{tag} {scalar}" for tag, scalar in scalars.items() if not math.isfinite(scalar)],
    }
    return report + [(label, said) for label, said in sections.items() if said]


def pack(items: Sequence[str], width: int | None) -> list[str]:
    """The items in lines of at most `width` characters, as far as each item fits; None: in one line."""
    lines = [items[0]]
    for item in items[1:]:
        longer = f"{lines[-1]} · {item}"
        if width is None or len(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(item)
    return lines


def _against(opponent: str, scalars: Mapping[str, float]) -> str:
    def of(measure: str) -> float:
        return scalars.get(f"strength/{opponent}/{measure}", math.nan)

    if f"strength/{opponent}/win" not in scalars:  # a game for one: points are what it earned
        return f"{opponent} {_number(of('points'))}"
    won, drawn, lost = (f"{100 * of(outcome):.0f}" for outcome in ("win", "draw", "loss"))
    return f"{opponent} {_percent(of('points'))} (won {won}, drawn {drawn}, lost {lost} %)"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _number(number: float) -> str:
    """Three or four figures, with k or M for thousands and millions."""
    if not math.isfinite(number) or abs(number) < 999.5:
        return f"{number:.3g}"
    if abs(number) < 1e4:
        return f"{number:,.0f}"
    return f"{number / 1e3:.3g} k" if abs(number) < 999_500 else f"{number / 1e6:.3g} M"


def _duration(seconds: float) -> str:
    if not math.isfinite(seconds) or seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def chart_layout(opponents: Sequence[str]) -> dict[str, dict[str, list[Any]]]:
    """TensorBoard's "custom scalars": charts that hold several tags, which are regular expressions."""

    def chart(*tags: str) -> list[Any]:
        return ["Multiline", [f"{tag}$" for tag in tags]]

    def games(opponent: str, *measures: str) -> list[Any]:
        return chart(*(f"strength/{re.escape(opponent)}/{measure}" for measure in measures))

    seats = ("win_first", "draw_first", "loss_first", "win_second", "draw_second", "loss_second")
    strength = {"points against each opponent": chart("strength/[^/]+/points")}
    strength |= {f"games against {opponent}": games(opponent, "win", "draw", "loss") for opponent in opponents}
    strength |= {f"games against {opponent}, by seat": games(opponent, *seats) for opponent in opponents}
    return {
        "strength": strength,
        "losses": {
            "policy: loss and entropies": chart("loss/policy", "loss/policy_entropy", "loss/target_entropy"),
            "loss": chart("loss/total", "loss/policy", "loss/value"),
            "loss by stage of the game": chart("loss_by_stage/.*"),
            "learning rate": chart("loss/learning_rate"),
            "gradient norm": chart("loss/gradient_norm"),
        },
        "self-play": {
            "results": chart("self_play/first_player_wins", "self_play/draws"),
            "length of games and depth of trees": chart("self_play/game_length", "self_play/tree_depth"),
            "speed: positions": chart("self_play/positions_per_second"),
            "speed: simulations": chart("self_play/simulations_per_second"),
            "share of evaluations from the cache": chart("self_play/cache_hits"),
            "games and distinct openings": chart("self_play/games", "self_play/distinct_openings"),
        },
        "buffer": {
            "samples": chart("buffer/samples", "buffer/distinct", "buffer/window"),
            "mean age in iterations": chart("buffer/staleness"),
        },
        "time": {
            "shares of CPU time": chart("time/inference", "time/tree", "time/learning"),
            "seconds an iteration": chart("time/iteration"),
            "resident memory, MB": chart("memory/resident_mb"),
        },
    }


# -------------------------------------------------------------------------------------- files


class MetricsFile:
    """The scalars of a run as a CSV file: the iteration, then a column a tag, empty where there is none.

    rows: by iteration, scalars by tag. Rows of `first_iteration` and later are dropped from an old file.
    """

    def __init__(self, path: Path, first_iteration: int) -> None:
        self.path = path
        old = self._read()
        self.rows = {iteration: scalars for iteration, scalars in old.items() if iteration < first_iteration}
        self.tags = list(dict.fromkeys(tag for scalars in self.rows.values() for tag in scalars))
        if path.exists():
            self._rewrite()

    def record(self, iteration: int, scalars: Mapping[str, float]) -> None:
        """Adds a row; new tags become columns, and what is known of the iteration already is kept."""
        appended = iteration not in self.rows and all(tag in self.tags for tag in scalars) and self.path.exists()
        self.rows.setdefault(iteration, {}).update({tag: float(scalar) for tag, scalar in scalars.items()})
        self.tags += [tag for tag in scalars if tag not in self.tags]
        if not appended:
            self._rewrite()
            return
        with _naming(self.path), self.path.open("a", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerow(self._row(iteration))

    def _row(self, iteration: int) -> list[int | float | str]:
        return [iteration, *(self.rows[iteration].get(tag, "") for tag in self.tags)]

    def _rewrite(self) -> None:
        content = io.StringIO(newline="")
        table = csv.writer(content, lineterminator="\n")
        table.writerow(["iteration", *self.tags])
        table.writerows(map(self._row, self.rows))
        _replace(self.path, content.getvalue().encode())

    def _read(self) -> dict[int, dict[str, float]]:
        try:
            text = self.path.read_text(encoding="utf-8")
            text = text[: text.rfind("\n") + 1]  # a crash may have cut the last line
            table = csv.reader(io.StringIO(text, newline=""), strict=True)
            tags = next(table, ["iteration"])
            if tags[0] != "iteration":
                raise ValueError(f"the first column is {tags[0]!r} instead of 'iteration'")
            cells = [dict(zip(tags, row, strict=True)) for row in table]
            return {int(row.pop("iteration")): {tag: float(s) for tag, s in row.items() if s} for row in cells}
        except FileNotFoundError:
            return {}
        except (ValueError, IndexError, csv.Error) as error:
            raise ValueError(
                f"{self.path} does not hold a run's metrics ({error}); move it away to go on without the past curves"
            ) from error


def _replace(path: Path, content: bytes) -> None:
    """Writes the file whole or not at all."""
    temporary = path.with_name(path.name + ".tmp")
    with _naming(path):
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Makes every OSError name the path; those of writing (a full disk) say no file by themselves."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def _without_event_writer(
    excepthook: Callable[[threading.ExceptHookArgs], Any],
) -> Callable[[threading.ExceptHookArgs], Any]:
    """The hook for exceptions of threads, deaf to OSErrors of the thread that writes TensorBoard's events.

    That thread hands its error to the next `flush`, where it is raised with the folder's name; the
    traceback that it would print besides helps nobody.
    """

    def hook(arguments: threading.ExceptHookArgs) -> None:
        of_writer = type(arguments.thread).__module__.startswith("tensorboard.")
        if not (of_writer and isinstance(arguments.exc_value, OSError)):
            excepthook(arguments)

    return hook


# ----------------------------------------------------------------------------------- progress


class ProgressBars(Progress):
    """Bars at the foot of the terminal: the parts of the iteration under way, and the run."""

    def __init__(self, console: Console) -> None:
        right = Column(justify="right", no_wrap=True)
        super().__init__(
            TextColumn("{task.description}", style="cyan"), BarColumn(bar_width=None),
            _Done(table_column=right), _Rate(table_column=right), _TimeLeft(table_column=right),
            console=console, expand=True, transient=True, refresh_per_second=4,
        )  # fmt: skip
        self._parts: dict[str, TaskID] = {}
        self._iteration = 0

    def start_run(self, first_iteration: int, iterations: int) -> None:
        """Shows the bars, the run's with what is done of it already."""
        self._run = self.add_task("run", total=iterations, completed=first_iteration, begun_at=first_iteration)
        self.start()

    def start_iteration(self, iteration: int, parts: Mapping[str, int]) -> None:
        """Replaces the bars of the last iteration's parts, above the run's."""
        with self._lock:
            for part in self._parts.values():
                self.remove_task(part)
            self._iteration = iteration
            self._parts = {name: self.add_task(name, total=max(1, total)) for name, total in parts.items()}
            self.update(self._run, completed=iteration)

    def advance_part(self, part: str, done: int) -> None:
        """Moves the part's bar on, and the run's by the mean of the parts."""
        with self._lock:
            self.advance(self._parts[part], done)
            shares = [self._tasks[task].percentage / 100 for task in self._parts.values()]
            self.update(self._run, completed=self._iteration + sum(shares) / len(shares))

    def get_renderables(self) -> Iterator[Any]:
        """The run's bar last, though it was there first."""
        yield self.make_tasks_table(sorted(self.tasks, key=lambda task: "begun_at" in task.fields))


class _Done(ProgressColumn):
    """What is done, and of how much."""

    def render(self, task: Task) -> Text:
        done, total = (_number(math.floor(amount or 0)) for amount in (task.completed, task.total))
        return Text(f"{done} of {total}")


class _Rate(ProgressColumn):
    """How fast a part goes; nothing for the run."""

    def render(self, task: Task) -> Text:
        speed = None if "begun_at" in task.fields else task.speed
        return Text(f"{_number(speed)}/s" if speed else "")


class _TimeLeft(ProgressColumn):
    """Time left; the run's is from its mean pace since this start, its parts differ too much for a recent one."""

    def render(self, task: Task) -> Text:
        speed = task.speed
        if "begun_at" in task.fields and task.elapsed:
            speed = (task.completed - task.fields["begun_at"]) / task.elapsed
        if not speed or task.remaining is None or task.finished:
            return Text("")
        return Text(f"{timedelta(seconds=math.ceil(task.remaining / speed))} left")
