"""How fast the rules of a game are: the time of its own methods, and what to do when one of them is slow."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from statistics import median

import torch
from torch import Tensor

from alphazero.game.interface import Game
from alphazero.game.states import S, take

LONG_ENOUGH = 2e-3  # seconds of calls that each method is timed for
MOST_CALLS = 200  # of those
SLOW = 30e-6  # seconds a state: about what a small network takes for one on a CPU
SIMULATION = 10  # times longer may be a step of a Box game, which simulates


def rules_seconds(game: Game[S], states: S) -> dict[str, float]:
    """CPU seconds a state that each of `step`, `legal`, `to_play`, `observe` and `key` takes for this batch.

    `key` only where there is one; the moves are random. Only the calling thread counts, and torch uses one thread
    meanwhile, as in self-play; of states on a GPU, what counts is the launching. Takes some hundredths of a second,
    unless a single call for the batch takes longer.
    """
    with one_thread():
        actions = game.actions.random(game.legal(states), torch.Generator().manual_seed(0))
        queries = ("legal", "to_play", "observe", *(["key"] if game.has_key else []))
        seconds = {"step": _seconds(game, "step", states, actions)}
        seconds |= {name: _seconds(game, name, states) for name in queries}
    return {name: taken / len(actions) for name, taken in seconds.items()}


def slow_rules(game: Game[S], seconds: Mapping[str, float]) -> str:
    """Names the slowest method, with the remedy, if it slows a run down; "" otherwise.

    seconds: from `rules_seconds`, for about 128 states; for a few, the cost of the call itself would prevail.
    """
    name = max(seconds, key=lambda method: seconds[method])
    if seconds[name] < (SLOW if game.discrete else SIMULATION * SLOW):
        return ""
    taken = f"{name} takes {1e6 * seconds[name]:.0f} µs a position"
    if game.defined_by is not type(game):
        return f"{taken}, since positions are played one by one; docs/plain_python.md says when that matters"
    return f"{taken}: write it in whole-batch tensor operations, or compile it as games/connect_four.py does"


@contextmanager
def one_thread() -> Iterator[None]:
    """Has torch use one thread: with several, each small operation waits for all of them, up to fifty times as long."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _seconds(game: Game[S], name: str, states: S, *actions: Tensor) -> float:
    """The median CPU time of calls, each of which is as the first."""
    method: Callable[..., object] = getattr(game, name)
    method(take(states, slice(1)), *(action[:1] for action in actions))  # the first call may compile
    taken: list[float] = []
    while sum(taken) < LONG_ENOUGH and len(taken) < MOST_CALLS:
        game.forget(states)
        started = time.thread_time()
        method(states, *actions)
        taken.append(time.thread_time() - started)
    return median(taken)
