"""Shows a training run in TensorBoard, in the terminal, and in files to read later.

    runs/<name>/
      events.out.*   for TensorBoard: scalars and figures, one step axis: the iteration; the configuration
      metrics.csv    the same scalars, a row an iteration
      log.txt        messages, with the time
      curves.png     strength, losses and buffer over the run

Every tag is optional; reports, charts and curves show those that are there. A file that cannot be written
raises an OSError that names it, in the calling thread and never in a background thread.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.text import Text

from alphazero.report.events import Compared, EventWriter
from alphazero.report.metrics_table import MEAN_POINTS
from alphazero.report.terminal import ALARM, LABEL_WIDTH, LEGEND, LITERAL, ProgressBars, iteration_report, pack
from alphazero.runs.files import CONFIG, CURVES, LOG, METRICS, naming, write_file
from alphazero.runs.metrics import MetricsFile, opponents_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

POINTS = 2_000  # of a curve in curves.png, more than it has pixels: a long run would take ever longer to draw


class Monitor:
    """Shows a run from its iteration `first_iteration` on; iterations count from 0 to `iterations` - 1.

    Records of `first_iteration` and later, left by a run that ended before it had saved, are dropped.
    All methods may be called from any thread, and from a signal handler.
    """

    def __init__(
        self,
        folder: Path,
        *,
        iterations: int,
        first_iteration: int,
        console: Console | None = None,
        units: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
        compared: Compared | None = None,
        track: Callable[[int, Mapping[str, float]], None] = lambda iteration, scalars: None,
    ) -> None:
        """units: of the game's own metrics (`Game.metric_units`). clock: seconds, by which the time left is told.

        compared: as for `EventWriter`. track: is told the scalars of iterations as well.
        """
        self.units, self.clock, self.compared, self._track = units, clock, compared, track
        self.iterations, self.first_iteration, self.console = iterations, first_iteration, console or Console(**LITERAL)
        self.folder, self.log, self.curves = folder, folder / LOG, folder / CURVES
        folder.mkdir(parents=True, exist_ok=True)
        self.metrics = MetricsFile(folder / METRICS, first_iteration)
        # Reentrant: a signal handler may print while the thread that it interrupts does.
        self._lock = threading.RLock()
        self._explained, self._configured = False, False
        self._end: float | None = None  # by the clock
        self._bars = ProgressBars(self.console, first_iteration, iterations, self.seconds_left)

    @property
    def history(self) -> dict[int, dict[str, float]]:
        """The scalars by iteration, including those from before a resume."""
        return self.metrics.history

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            undo.enter_context(_quiet_event_writer())
            self._events = EventWriter(self.folder, self.first_iteration, self.compared)
            self._bars.start()
            self._undo = undo.pop_all()
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        with self._undo:
            self._bars.stop()
            try:
                self._events.close()
                if self.history:
                    self._save_curves()
            except OSError:
                if error is None:  # otherwise it is the first error that counts
                    raise

    def say(self, text: str) -> None:
        """Shows the text above the progress bars and appends it to the log."""
        self._bars.say(Text(text))
        self._append_to_log(text)

    def plan(self, iterations: int, seconds: float | None) -> None:
        """From now on the run has so many iterations in all, and so many seconds left; None: nobody knows."""
        self.iterations, self._end = iterations, None if seconds is None else self.clock() + seconds
        self._bars.plan(iterations)

    def seconds_left(self) -> float | None:
        """The time to the end of the run, as it is planned."""
        return None if self._end is None else max(0.0, self._end - self.clock())

    def start(self, iteration: int, parts: Mapping[str, int]) -> None:
        """Begins an iteration's progress bars: a bar for each part, with its total."""
        self._bars.start_iteration(iteration, parts)

    def start_match(self, name: str, moves: int) -> None:
        """Adds a bar for a match, of about so many moves; it stays when iterations end, until the match does."""
        self._bars.start_match(name, moves)

    def end_match(self, name: str) -> None:
        """Removes the bar of a match."""
        self._bars.end_match(name)

    def advance(self, name: str, done: int) -> None:
        """Moves on the bar of a part, or of a match; one that is gone stays gone."""
        self._bars.advance_part(name, done)

    def record(self, iteration: int, scalars: Mapping[str, float]) -> None:
        """Writes the scalars by tag to TensorBoard and metrics.csv, and draws curves.png after matches."""
        opponents = opponents_of({iteration: scalars})
        points = [scalars[tag] for opponent in opponents if (tag := f"strength/{opponent}/points") in scalars]
        if points:
            scalars = {MEAN_POINTS: sum(points) / len(points), **scalars}
        with self._lock:
            if not self._configured and (configuration := self.folder / CONFIG).exists():
                self._events.configuration(configuration.read_text(encoding="utf-8"))  # with the plan, if there is one
            self._configured = True
            self.metrics.record(iteration, scalars)
            self._events.scalars(iteration, scalars, self.metrics.tags)
            self._track(iteration, scalars)
            if points:
                self._save_curves()

    def report(self, iteration: int, scalars: Mapping[str, float]) -> None:
        """Sums the iteration up in a few lines, in the terminal and the log; before the first, explains them."""
        with self._lock:
            explain, self._explained = not self._explained, True
        if explain:
            self.say(LEGEND)
        report = iteration_report(iteration, self.iterations, scalars, self.seconds_left())
        width = self.console.width if self.console.is_terminal else None
        for number, (label, items) in enumerate(report):
            head = f"  {label}".ljust(LABEL_WIDTH) if number else f"{label}  "
            for row, line in enumerate(pack(items, width and width - len(head))):
                text = Text(head if row == 0 else " " * len(head))
                text.stylize("bold red" if label == ALARM else "cyan" if number else "bold")
                self._bars.say(text.append(line, style="red" if label == ALARM else "not bold"))
        plain = [("  " if n else "") + f"{label}: {' · '.join(items)}" for n, (label, items) in enumerate(report)]
        self._append_to_log("\n".join(plain))

    def figure(self, iteration: int, tag: str, figure: Figure) -> None:
        """Shows the figure in TensorBoard."""
        with self._lock:
            self._events.figure(iteration, tag, figure)
        figure.clear()

    def _append_to_log(self, text: str) -> None:
        now = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
        lines = text.replace("\n", "\n" + " " * (len(now) + 2))
        with self._lock, naming(self.log), self.log.open("a", encoding="utf-8") as log:
            log.write(f"{now}  {lines}\n")

    def _save_curves(self) -> None:
        from alphazero.report.curves import curves_figure
        from alphazero.report.position_figures import png

        with self._lock, naming(self.curves):
            write_file(self.curves, png(curves_figure(self.metrics.thinned(POINTS), self.units)))


@contextmanager
def _quiet_event_writer() -> Iterator[None]:
    """Keeps the hook for exceptions of threads silent about OSErrors of the thread that writes TensorBoard's events.

    That thread hands its error to the next `flush`, which raises it with the folder's name; a traceback
    beside it would help nobody.
    """
    excepthook = threading.excepthook

    def hook(arguments: threading.ExceptHookArgs) -> None:
        of_writer = type(arguments.thread).__module__.startswith("tensorboard.")
        if not (of_writer and isinstance(arguments.exc_value, OSError)):
            excepthook(arguments)

    threading.excepthook = hook
    try:
        yield
    finally:
        threading.excepthook = excepthook
