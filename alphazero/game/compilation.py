"""Functions over arrays that numba compiles, for games and for the engine."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from typing import Any

import numba

_log = logging.getLogger(__name__)


def njit(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """numba's decorator for a function that runs without the interpreter's lock, and is compiled once for all starts.

    Where no folder can be written that numba would keep it in, it is compiled at each start.
    """

    def compiled(function: Callable[..., Any]) -> Any:
        try:
            return numba.njit(nogil=True, cache=True, **options)(function)
        except RuntimeError:  # numba's word for that, at once and not at the first call
            notice()
            return numba.njit(nogil=True, **options)(function)

    return compiled


@cache
def notice() -> None:
    """Says so, once in a process."""
    _log.warning(
        "no folder to keep compiled functions in can be written, so that each start compiles them anew, which takes "
        "some seconds; name one in the environment as NUMBA_CACHE_DIR"
    )
