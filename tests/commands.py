"""Calls of a script's main function within this process, which saves a start of it each time."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import pytest


class Finished(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


def call(
    main: Callable[[], int], *arguments: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Finished:
    """The exit code and all output, as the command line would give them."""
    monkeypatch.setattr(sys, "argv", [f"{main.__module__.rpartition('.')[2]}.py", *map(str, arguments)])
    try:
        code = main()
    except SystemExit as refused:  # the command line's parser
        code = int(refused.code or 0)
    return Finished(code, *capsys.readouterr())


Command = Callable[..., Finished]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """`command(main, *arguments)`: the fixture that makes a `call` (see conftest)."""
    return partial(call, monkeypatch=monkeypatch, capsys=capsys)
