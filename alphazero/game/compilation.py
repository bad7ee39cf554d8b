"""Functions over arrays that numba compiles, for games and for the engine."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alphazero.game.interface import Transition
from alphazero.game.states import S

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


def arrays(*tensors: Tensor) -> list[NDArray[np.generic]]:
    """Tensors on the CPU as arrays, for a compiled function; each in one piece, so a copy where it is not."""
    return [tensor.contiguous().numpy() for tensor in tensors]


def step_compiled(kernel: Callable[..., None], state: S, action: Tensor) -> Transition[S]:
    """`Game.step` by a compiled function of the state's fields, the action, the successor's fields and the reward.

    It writes the last two. The state must have a field `done`.
    """
    make: Any = type(state)
    successor = make(*(torch.empty_like(field, memory_format=torch.contiguous_format) for field in state))
    reward = torch.empty(len(action))
    kernel(*arrays(*state, action, *successor, reward))
    return Transition(successor, reward, successor.done)
