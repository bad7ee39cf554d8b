"""TensorBoard's events of a run: scalars with their meanings, charts, figures, and the configuration.

The configuration is there as text and as hyper-parameters, by which TensorBoard's page HPARAMS compares runs. torch
and TensorBoard are slow to load, so a writer loads them when it is made.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from alphazero.report.metrics_table import MEAN_POINTS, chart_layout, meaning_of
from alphazero.runs.files import events_folder, naming

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Compared(NamedTuple):
    """What TensorBoard's page HPARAMS compares runs by: these settings, as `section.field`, and the scalar `tag`."""

    settings: tuple[str, ...]
    tag: str


class EventWriter:
    """Writes a run's events; events of `first_iteration` and later that are there already are hidden.

    An OSError names the folder: the thread that writes hands its error to the next call.
    """

    def __init__(self, run: Path, first_iteration: int, compared: Compared | None = None) -> None:
        """compared: None: all settings, by the points."""
        from torch.utils.tensorboard import SummaryWriter

        self.folder, self.first_iteration, self.compared = events_folder(run), first_iteration, compared
        self._explained: set[str] = set()
        self._charted: list[str] = []
        with naming(self.folder):
            self._writer: Any = SummaryWriter(self.folder, purge_step=first_iteration)

    def configuration(self, toml: str) -> None:
        """Shows a configuration: as it is, and its fields as hyper-parameters, with the points as the result."""
        from torch.utils.tensorboard.summary import hparams

        fields = hyper_parameters(toml)
        opponents = str(fields.get("evaluation.opponents", "")).split()
        metrics = dict.fromkeys([MEAN_POINTS, *(f"strength/{opponent}/points" for opponent in opponents)], 0.0)
        if self.compared:
            fields = {name: fields[name] for name in self.compared.settings}
            metrics = {self.compared.tag: 0.0}
        with naming(self.folder):
            self._writer.add_text("configuration", f"```toml\n{toml}\n```", self.first_iteration)
            for summary in hparams(fields, metrics):
                self._writer.file_writer.add_summary(summary, self.first_iteration)
            self._writer.flush()

    def scalars(self, iteration: int, scalars: Mapping[str, float], tags: Sequence[str]) -> None:
        """Shows an iteration's scalars, in charts that are made for all tags of the run."""
        from tensorboard.plugins.scalar.summary_v2 import scalar_pb

        with naming(self.folder):
            for tag, scalar in scalars.items():  # a tag's first event explains it
                meaning = None if tag in self._explained else meaning_of(tag)
                self._writer.file_writer.add_summary(scalar_pb(tag, scalar, meaning), iteration)
            self._explained.update(scalars)
            if tags != self._charted:  # TensorBoard shows the layout that came last
                self._writer.add_custom_scalars(chart_layout(tags))
                self._charted = [*tags]
            self._writer.flush()

    def figure(self, iteration: int, tag: str, figure: Figure) -> None:
        """Shows a figure."""
        from alphazero.report.position_figures import pixels

        with naming(self.folder):
            self._writer.add_image(tag, pixels(figure), iteration, dataformats="HWC")
            self._writer.flush()

    def close(self) -> None:
        with naming(self.folder):
            self._writer.close()


def hyper_parameters(toml: str) -> dict[str, float | str]:
    """The fields of a configuration by `section.field`; lists as words."""
    return dict(_fields(tomllib.loads(toml)))


def _fields(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float | str]]:
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _fields(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", " ".join(map(str, value)) if isinstance(value, list) else value
