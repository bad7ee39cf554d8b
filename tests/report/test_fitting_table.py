"""Tables in narrow and wide terminals."""

from __future__ import annotations

import io
import math
from statistics import stdev

import pytest
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Column

from alphazero.arena.match import MatchResult, SoloResult, Tally
from alphazero.report.fitting_table import FittingTable
from alphazero.report.terminal import make_table, match_table, solo_table

LONG = "runs/connect_four-20260101-120000/checkpoints/000002"


def printed(table: object, width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None, legacy_windows=False)
    console.print(table)
    lines: list[str] = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    return [line.rstrip() for line in lines]


def figures(spare: tuple[int, ...] | None = None) -> FittingTable:
    """A column of words as wide as 20, and three of 6, 7 and 8: with the edges and 3 gaps at least 46."""
    columns = [Column(header, no_wrap=True, justify="right") for header in ("first", "second", "the\nthird")]
    table = FittingTable(
        Column("name", overflow="fold"), *columns, spare=spare, title="title", box=SIMPLE_HEAD, padding=0
    )
    table.add_row(LONG, "123456", "1234567", "12345678")
    return table


def test_with_room_for_all_a_table_is_whole() -> None:
    lines = printed(figures(), 78)
    assert lines[0] == "title"
    assert lines[-2].split() == [LONG, "123456", "1234567", "12345678"]


def test_nothing_in_a_table_is_markup() -> None:
    """Though the console would take it for that: here a tag, one that closes nothing, and an emoji."""
    names = ["[bold]one", "[/b]two", ":smile:"]
    table = make_table("[/b] of :x:", names, ["[a] 1"])
    table.add_row(*names, "[/] 7")
    lines = printed(table, 100)
    assert lines[0] == "[/b] of :x:"
    assert [line.split() for line in lines[2:5:2]] == [[*names, "[a]", "1"], [*names, "[/]", "7"]]


@pytest.mark.parametrize(
    ("width", "spare", "row", "left_out"),
    [
        (46, None, ["123456", "1234567", "12345678"], []),
        (45, None, ["123456", "1234567"], ["the third"]),
        (36, None, ["123456"], ["second, the third"]),
        (45, (1, 2), ["1234567", "12345678"], ["first"]),
        (37, (1, 2), ["12345678"], ["first, second"]),
    ],
)
def test_words_are_broken_and_then_columns_go_one_by_one(
    width: int, spare: tuple[int, ...] | None, row: list[str], left_out: list[str]
) -> None:
    lines = printed(figures(spare), width)
    assert max(map(len, lines)) <= width
    shown = next(line for line in lines if row[0] in line).split()[1:]
    assert shown == row
    assert "".join(line.split()[0] for line in lines if "/" in line) == LONG
    words = " ".join(lines)
    assert words.partition("In a wider window also: ")[2] == "".join(f"{names}." for names in left_out)


@pytest.mark.parametrize(("width", "fit"), [(120, 7), (80, 4), (60, 2), (44, 1)])
def test_a_match_is_told_without_a_figure_cut(width: int, fit: int) -> None:
    """Between edges and beside player and opponent, of 9 and at least 20 characters: 6 + 11 + 13 + 11 + 13 + 7 + 6."""
    result = MatchResult(
        first=Tally(1900, 50, 50), second=Tally(1500, 200, 300), pairs=(0, 0, 300, 700, 1000), distinct_games=3999,
        seconds_a_move=(0.0123, 0.4567),
    )  # fmt: skip
    lines = printed(match_table([("agent:600", LONG, result)], "connect_four"), width)
    assert max(map(len, lines)) <= width
    row = next(line for line in lines if "88.1%" in line).split()
    cells = ["88.1%", "87.1–89.1", "3400/250/350", "1900/50/50", "1500/200/300", "12/457", "3999"]
    assert row[2:] == cells[:fit]


@pytest.mark.parametrize(("width", "fit"), [(120, 10), (80, 7), (60, 4)])
def test_rewards_come_with_the_games_own_metrics_in_their_units(width: int, fit: int) -> None:
    rewards, metrics = (-0.5, -0.25, -0.125, 0.0), {"miss": (0.0, 0.5, 1.5, 31.5), "sling": (1.25,) * 4}
    result = SoloResult(rewards=rewards, distinct_games=3, metrics=metrics)
    lines = printed(solo_table([("agent:16", result)], "trebuchet", {"miss": "m"}), width)
    assert max(map(len, lines)) <= width
    # The 95th percentile lies 0.95 * 3 places from the least: 1.5 + 0.85 * (31.5 - 1.5) m.
    margin = 1.959964 * stdev(rewards) / math.sqrt(4)
    interval = f"{-0.21875 - margin:.4g} to {-0.21875 + margin:.4g}"
    cells = ["agent:16", "-0.2188", interval, "1.00 m", "27.00 m", "1.25", "1.25", "–", "-0.5 to 0", "4", "3"]
    row = next(line for line in lines if "agent" in line)
    assert row.split() == " ".join(cells[: 1 + fit]).split()
