"""Scalars of an iteration, and consoles without a screen, which the tests of reports share."""

from __future__ import annotations

import io

from rich.console import Console

SCALARS = {
    "loss/total": 2.5,
    "loss/policy": 1.9,
    "loss/value": 0.6,
    "self_play/positions_per_second": 20_512.0,
    "self_play/draws": 0.04,
    "buffer/samples": 1_234_567.0,
    "time/iteration": 83.0,
}
STRENGTH = {
    "strength/minimax:5/points": 0.76,
    "strength/minimax:5/win": 0.7,
    "strength/minimax:5/draw": 0.12,
    "strength/minimax:5/loss": 0.18,
}


def plain(width: int = 80) -> Console:
    return Console(file=io.StringIO(), force_terminal=False, width=width)


def terminal(width: int = 80) -> Console:
    return Console(
        file=io.StringIO(), force_terminal=True, width=width, legacy_windows=False, _environ={"TERM": "xterm"}
    )


def output(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()
