"""Reports on a training run: tables in the terminal, report.md and figures in a folder.

scripts/report.py RUN [--iteration N] [--game-iteration N] [--stream K] [--out DIR] [--text]
"""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:  # called by its path
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from alphazero.shell import cli

# isort: split
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Column
from rich.text import Text

from alphazero.report.fitting_table import FittingTable
from alphazero.runs.files import REPORT

if TYPE_CHECKING:
    from alphazero.report.run_report import Section, Table


def main() -> int:
    return cli.run(report, wrong=(ValueError,))


def report() -> int:
    parser = cli.Parser(description=__doc__)
    parser.add_argument("run", type=Path, help="a run's folder")
    parser.add_argument(
        "--iteration", type=cli.whole(0), help="checkpoint whose network is measured on the buffer (the last)"
    )
    parser.add_argument(
        "--game-iteration", type=cli.whole(0), help="iteration whose game is shown, also here (the last)"
    )
    parser.add_argument("--stream", type=cli.whole(0), help="stream of self-play that played the game (the first)")
    parser.add_argument("--out", type=Path, help="folder for the report (RUN/report)")
    parser.add_argument("--text", action="store_true", help="no figures")
    cli.add_code(parser)
    arguments = parser.parse_args()
    if (arguments.game or "").isdecimal():  # as it was called in the version before
        print("--game N is now --game-iteration N; the old name is read for one more version", file=sys.stderr)
        arguments.game_iteration, arguments.game = int(arguments.game), None

    from alphazero.report.run_report import report_sections, write_report  # only now: figures are slow to load

    sections = report_sections(
        arguments.run,
        iteration=arguments.iteration,
        game_iteration=arguments.game_iteration,
        stream=arguments.stream,
        named=arguments.game,
        network=arguments.network_kind,
    )
    out = arguments.out or arguments.run / REPORT
    index = write_report(arguments.run, sections, out, figures=not arguments.text)
    console = cli.console()
    for section in sections:
        show(section, console, with_text=arguments.game_iteration is not None)
    console.print(f"The report: {index}", soft_wrap=True, highlight=False)
    return int(any(section.damaged for section in sections))


def show(section: Section, console: Console, *, with_text: bool) -> None:
    """Shows the section without its figure; what is damaged goes to stderr."""
    if section.damaged:
        print(f"error: {section.title}: {section.missing}", file=sys.stderr)
        return
    console.print(Text(section.title, style="bold"))
    words = f"skipped: {section.missing}" if section.missing else section.words
    if words:
        console.print(Text(words), soft_wrap=not console.is_terminal)
    if section.table:
        console.print(rich_table(section.table, plain=not console.is_terminal), soft_wrap=not console.is_terminal)
    if section.text and with_text:
        console.print(Text(section.text), soft_wrap=True)
    console.print()


def rich_table(table: Table, *, plain: bool) -> FittingTable:
    """In a terminal names of figures stand in a line for each word."""
    columns = [Column(Text(name), overflow="fold", no_wrap=plain) for name in table.columns]
    if table.numbers:
        breaks = " " if plain else "\n"
        figures = [Text(breaks.join(name.split())) for name in table.columns[1:]]
        columns[1:] = [Column(name, justify="right", no_wrap=True) for name in figures]
    look: dict[str, Any] = (
        {"box": box.MARKDOWN} if plain else {"box": box.SIMPLE_HEAD, "padding": 0, "show_edge": False}
    )
    shown = FittingTable(*columns, **look)
    for row in table.rows:
        shown.add_row(*map(Text, row))
    return shown


if __name__ == "__main__":
    sys.exit(main())
