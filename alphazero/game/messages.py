"""Words for messages: quotes of what a user or a file says, and errors of other packages in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

LONGEST = 40  # characters of a quote
LONGEST_REASON = 200  # and of another package's words


def printable(value: object) -> str:
    """Text in quotes, anything else as Python writes it; cut where it is long, with control characters escaped."""
    if isinstance(value, str):
        return repr(shortened(value))
    try:
        return shortened(repr(value))
    except (ValueError, RecursionError):  # an integer of thousands of digits; lists within lists
        return "a value too long to show"


def unquoted(text: str) -> str:
    """The same of text, without the quotes."""
    return printable(text)[1:-1]


def shortened(text: str, most: int = LONGEST) -> str:
    """The text, cut where it is long."""
    return text if len(text) <= most else text[:most] + "…"


@contextmanager
def foreign_errors(what: str) -> Iterator[None]:
    """Turns whatever a package raises about somebody's input into a ValueError: `what`, and the reason in one line.

    Such packages promise no kind of error; behind this boundary there is one. ValueErrors of ours are raised outside.
    """
    try:
        yield
    except Exception as error:
        words = " ".join(str(error).split())
        raise ValueError(f"{what} ({shortened(f'{type(error).__name__}: {words}', LONGEST_REASON)})") from error
