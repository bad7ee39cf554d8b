"""A cache around an evaluator, so that the same weights need not evaluate a position twice."""

from __future__ import annotations

from typing import Generic

import numpy as np
import torch

from alphazero.game import Game, S, take
from alphazero.game.compilation import njit
from alphazero.mcts.evaluator import Evaluation, Evaluator
from alphazero.mcts.policy import policy_of

MEMORY = 64 << 20  # bytes of a cache at the most, unless it is told otherwise
POSITION = 21  # bytes of a position beside its logits: key, version, row, value, and a part of its bucket's clock
LEAST_ROOM = 1024  # positions whose logits there is room for at first


class CachedEvaluator(Generic[S]):
    """Remembers an evaluator's answers for discrete positions, by `game.key` and the weights' version.

    Bounded: `capacity` positions, or as many as go into `memory` bytes, in buckets of four; a full bucket forgets its
    oldest. Found positions cost no evaluation. `renew` brings a new evaluator, and forgets the answers of
    the one before. Lives on the CPU. One thread at a time.
    """

    WAYS = 4

    def __init__(self, game: Game[S], evaluator: Evaluator[S], *, capacity: int, memory: int = MEMORY) -> None:
        if not game.has_key:
            raise ValueError(f"{game.name} has no `key`, so its evaluations cannot be cached; set self_play.cache = 0")
        self.game, self.evaluator = game, evaluator
        width = policy_of(game).outputs
        buckets = max(1, min(capacity, memory // (POSITION + 4 * width)) // self.WAYS)
        self.version = 1
        self.keys = np.zeros((buckets, self.WAYS), np.int64)
        self.versions = np.zeros((buckets, self.WAYS), np.int32)
        self.clock = np.zeros(buckets, np.uint8)  # the way that the next entry overwrites
        self.rows = np.full((buckets, self.WAYS), -1, np.int32)  # of `logits`, which grow as they are used
        self.logits, self.used = np.empty((0, width), np.float32), 0
        self.values = np.zeros((buckets, self.WAYS), np.float32)
        self.asked, self.found = 0, 0

    def renew(self, evaluator: Evaluator[S]) -> None:
        self.evaluator, self.asked, self.found = evaluator, 0, 0
        self.version += 1
        self.clock.fill(0)  # from here on as if new, so that a resumed run evaluates in the same batches

    def __call__(self, states: S, generator: torch.Generator) -> Evaluation:
        keys = self.game.key(states).numpy()
        batch = len(keys)
        logits = np.empty((batch, self.logits.shape[1]), np.float32)
        values = np.empty(batch, np.float32)
        missing = np.empty(batch, np.int64)
        count = _look_up(
            keys, self.version, self.keys, self.versions, self.rows, self.logits, self.values, logits, values, missing
        )
        self.asked += batch
        self.found += batch - count
        if count:
            index = missing[:count]
            asked = states if count == batch else take(states, torch.from_numpy(index))
            new = self.evaluator(asked, generator)
            self._make_room(count)
            self.used = _insert(
                keys, index, new.logits.numpy(), new.value.numpy(), self.version,
                self.keys, self.versions, self.clock, self.rows, self.used, self.logits, self.values, logits, values,
            )  # fmt: skip
        return Evaluation(torch.from_numpy(logits), torch.from_numpy(values))

    def _make_room(self, count: int) -> None:
        """For the logits of so many more positions, in twice as much room as before, as far as there may be more."""
        room, needed = len(self.logits), min(self.used + count, self.keys.size)
        if needed > room:
            grown = np.empty((min(self.keys.size, max(needed, 2 * room, LEAST_ROOM)), self.logits.shape[1]), np.float32)
            grown[: self.used] = self.logits[: self.used]
            self.logits = grown


@njit()
def _bucket(key, buckets):
    """Fibonacci hashing (Knuth, The Art of Computer Programming 3, 6.4)."""
    mixed = np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)
    return np.int64((mixed ^ (mixed >> np.uint64(32))) % np.uint64(buckets))


@njit()
def _look_up(keys, version, table, versions, rows, table_logits, table_values, logits, values, missing):
    """Fills in the known answers, lists the other positions in `missing`, and returns their number."""
    count = 0
    for i in range(len(keys)):
        bucket = _bucket(keys[i], table.shape[0])
        known = False
        for way in range(table.shape[1]):
            if versions[bucket, way] == version and table[bucket, way] == keys[i]:
                for a in range(logits.shape[1]):
                    logits[i, a] = table_logits[rows[bucket, way], a]
                values[i] = table_values[bucket, way]
                known = True
                break
        if not known:
            missing[count] = i
            count += 1
    return count


@njit()
def _insert(
    keys, index, new_logits, new_values, version,
    table, versions, clock, rows, used, table_logits, table_values, logits, values,
):  # fmt: skip
    """Writes down new answers, and returns how many rows of logits are in use then."""
    for j in range(len(index)):
        i = index[j]
        bucket = _bucket(keys[i], table.shape[0])
        way = clock[bucket]
        clock[bucket] = (way + 1) % table.shape[1]
        table[bucket, way], versions[bucket, way] = keys[i], version
        if rows[bucket, way] < 0:
            rows[bucket, way] = used
            used += 1
        row = rows[bucket, way]
        table_values[bucket, way] = values[i] = new_values[j]
        for a in range(logits.shape[1]):
            table_logits[row, a] = logits[i, a] = new_logits[j, a]
    return used


CACHED_POSITIONS = 1 << 19


def with_cache(game: Game[S], evaluator: Evaluator[S]) -> Evaluator[S]:
    """The evaluator behind a cache, if the game has keys; it stays as it is if it has a cache already."""
    if isinstance(evaluator, CachedEvaluator) or not game.has_key:
        return evaluator
    return CachedEvaluator(game, evaluator, capacity=CACHED_POSITIONS)
