"""A table that fits the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement, measure_renderables
from rich.table import Column, Table
from rich.text import Text

WORD = 20  # columns of words are made narrower down to this, or to their longest word


class FittingTable(Table):
    """A table whose figures are never cut: where there is no room, columns are left out, and a line says which.

    Its columns go by importance, and the last is left out first, unless `spare` says otherwise: the places of the
    columns that may go, in the order in which they do. Columns that may not wrap are of figures; others are of words,
    which are broken before a column goes. Text is shown as it is: nothing in it is markup.
    """

    def __init__(self, *columns: Column, spare: Sequence[int] | None = None, **options: Any) -> None:
        """options: of `rich.table.Table`; the title stands above the table, as wide as the terminal."""
        super().__init__(*columns, **options)
        self._spare = range(len(columns) - 1, 1, -1) if spare is None else spare
        self._options = options | {"title": None}

    def add_row(self, *cells: RenderableType | None, **options: Any) -> None:
        super().add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in cells), **options)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        left_out: set[int] = set()
        for place in self._spare:
            if self._narrowest(self._without(left_out), console, options) <= options.max_width:
                break
            left_out.add(place)
        if self.title:
            yield Text(str(self.title), style="table.title")
        yield self._part(self._without(left_out))
        if left_out:
            headers = (str(self.columns[place].header).replace("-\n", "") for place in sorted(left_out))
            names = ", ".join(" ".join(header.split()) for header in headers)
            yield Text(f"In a wider window also: {names}.", style="dim")

    def _without(self, left_out: set[int]) -> list[Column]:
        return [column for place, column in enumerate(self.columns) if place not in left_out]

    def _part(self, columns: Sequence[Column]) -> Table:
        """A table of these columns alone."""
        part = Table(*map(copy, columns), **self._options)
        part.rows = self.rows
        return part

    def _narrowest(self, columns: Sequence[Column], console: Console, options: ConsoleOptions) -> int:
        """The least width of a table of these columns."""
        wide = options.update(width=10_000)

        def narrow(column: Column) -> Column:
            longest = measure_renderables(console, wide, [column.header, *column.cells]).minimum
            return replace(column, width=max(column.min_width or 0, min(longest, WORD)))

        part = self._part([column if column.no_wrap else narrow(column) for column in columns])
        return Measurement.get(console, wide, part).maximum
