"""The replay buffer: samples of the last games, bounded, compact, saved as plain arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from alphazero.config import ReplayConfig
from alphazero.game import Game, State, Tensors, field_names, map_states, named_fields, state_from, take

Arrays = dict[str, np.ndarray]
"""Tensors as plain arrays by name, for a checkpoint or another process."""


class Samples(NamedTuple):
    """M samples to learn from.

    state:      fields [M, ...].
    end:        the same, the position in which the game ended, in whatever way.
    policy:     [M, A] float32, improved by the search; in a Box game [M, K], of the sampled actions.
    value:      [M] float32 in [-1, 1], the target, for the player to move: outcome and root values mixed.
    outcome:    [M] float32, the discounted return of the game, for the player to move.
    drawn:      [M] float32, 1 where the outcome is 0, else 0; where samples were merged, their mean.
    root_value: [M] float32, the search's, for the player to move.
    plies_left: [M] int32, moves from here to the end of the game, or to a proof, resignation or `max_moves`.
    iteration:  [M] int32, in which the game ended.
    weight:     [M] float32, in the loss.
    sampled:    [M, K, D] float32, the actions that the policy is about in a Box game; [M, 0, 0] in a discrete one.
    played_out: [M] float32, 0 where the game was ended before its end, by resignation or by a proof, else 1.
    """

    state: State
    end: State
    policy: Tensor
    value: Tensor
    outcome: Tensor
    drawn: Tensor
    root_value: Tensor
    plies_left: Tensor
    iteration: Tensor
    weight: Tensor
    sampled: Tensor
    played_out: Tensor

    @property
    def size(self) -> int:
        return self.value.shape[0]

    def at(self, index: Tensor | slice) -> Samples:
        return take(self, index)


def no_actions(*shape: int) -> Tensor:
    """The sampled actions of a discrete game, [..., 0, 0]."""
    return torch.zeros(*shape, 0, 0)


def to_arrays(tensors: Tensors) -> Arrays:
    """The fields of a NamedTuple by name, as plain arrays for a checkpoint."""
    return {name: field.cpu().numpy() for name, field in named_fields(tensors).items()}


def state_of(game: Game, arrays: Mapping[str, np.ndarray], prefix: str) -> State:
    """The state whose fields are among the arrays under this prefix. KeyError if another game made it."""
    kind = game.state_type
    return state_from(kind, (torch.from_numpy(arrays[f"{prefix}.{name}"]) for name in field_names(kind)))


def merged(samples: Samples, game: Game, how: str) -> Samples:
    """The samples, or one for each position as `ReplayConfig.merge` says.

    Merging averages the targets and weights of a position's samples; the weight times what the configuration says,
    which is scaled to a mean of 1, becomes the position's.
    """
    if how == "none":
        return samples
    if not game.has_key:
        raise ValueError(f'{game.name} has no `key`, so positions cannot be merged; set replay.merge = "none"')
    _, place = torch.unique(game.key(samples.state), return_inverse=True)
    groups = int(place.max()) + 1
    count = torch.zeros(groups).index_add_(0, place, torch.ones(len(place)))

    def mean(field: Tensor) -> Tensor:
        total = torch.zeros(groups, *field.shape[1:]).index_add_(0, place, field.float())
        return (total / count.view(-1, *[1] * (field.dim() - 1))).to(field.dtype)

    # States cannot be averaged, but any of the group will do: they are the same. Of ends the newest of a game that was
    # played out counts, if there is one.
    rank = torch.arange(len(place)) + len(place) * (samples.played_out > 0)
    one = torch.zeros(groups, dtype=torch.int64).scatter_reduce_(0, place, rank, "amax") % len(place)
    weight = {"linear": count, "log": 1 + count.log2(), "constant": torch.ones(groups)}[how]
    merged = Samples(take(samples.state, one), take(samples.end, one), *(mean(f) for f in samples[2:]))
    return merged._replace(weight=merged.weight * weight / weight.mean(), played_out=samples.played_out[one])


def distinct_positions(samples: Samples, game: Game) -> int | None:
    """How many different positions the samples hold; None where the game has no `key`."""
    return len(np.unique(game.key(samples.state).numpy())) if game.has_key else None


class Replay:
    """The newest samples, at most as many as `window` allows.

    The window grows with what has been played (`ReplayConfig`), so that the first, weakest games
    go soon and later ones stay long. Memory is taken as it is needed.
    """

    def __init__(self, game: Game, config: ReplayConfig) -> None:
        self.game, self.config = game, config
        self.seen = 0  # samples ever added
        self.samples: Samples | None = None
        # The room that `samples` is a part of, and where it ends there; behind it is space for more.
        self._room: Samples | None = None
        self._end = 0

    def __len__(self) -> int:
        return 0 if self.samples is None else self.samples.size

    @property
    def window(self) -> int:
        return min(self.config.window, int(self.config.start + self.config.growth * self.seen))

    def extend(self, new: Samples) -> None:
        """Adds samples, and drops the oldest beyond the window.

        Samples that were read before stay as they were, so learning may go on from them meanwhile.
        """
        self.seen += new.size
        size = min(len(self) + new.size, self.window)
        new = new.at(slice(max(0, new.size - size), None))
        old = None if self.samples is None else self.samples.at(slice(len(self) + new.size - size, None))
        if self._room is None or self._end + new.size > self._room.size:
            # A new room, half as large again: so a sample is moved about twice in its time here, not at each call.
            room = size + size // 2
            self._room, self._end = map_states(lambda field: field.new_empty(room, *field.shape[1:]), new), 0
            if old is not None:
                self._write(old)
        self._write(new)
        self.samples = self._room.at(slice(self._end - size, self._end))

    def _write(self, samples: Samples) -> None:
        """Appends them to the room."""
        assert self._room is not None
        place = slice(self._end, self._end + samples.size)
        map_states(lambda room, field: room[place].copy_(field), self._room, samples)
        self._end += samples.size

    def training_set(self) -> Samples:
        """The samples that the learner draws from; see `merged`."""
        if self.samples is None:
            raise ValueError("the replay buffer is empty; play before learning")
        return merged(self.samples, self.game, self.config.merge)

    def distinct(self) -> int | None:
        """How many different positions the samples hold, if the game can tell."""
        return None if self.samples is None else distinct_positions(self.samples, self.game)

    def arrays(self) -> Arrays:
        """Everything as plain arrays, for `checkpoint`."""
        return ({} if self.samples is None else to_arrays(self.samples)) | {"seen": np.array(self.seen)}

    def load(self, arrays: Arrays) -> None:
        """Takes up what `arrays` returned. KeyError if another game made it."""
        self.seen = int(arrays["seen"])
        if "policy" not in arrays:
            return
        self._room = None
        # Runs of the version before call plies turns and know no ends; the oldest know no sampled actions.
        older = {"plies_left": arrays["turns_left"]} if "turns_left" in arrays else {}
        count = len(arrays["policy"])
        older |= {"sampled": no_actions(count).numpy(), "played_out": np.ones(count, np.float32)}
        arrays = older | arrays
        states = state_of(self.game, arrays, "state")
        ends = state_of(self.game, arrays, "end") if any(name.startswith("end.") for name in arrays) else states
        fields = (torch.from_numpy(arrays[name]) for name in Samples._fields[2:])
        self.samples = Samples(states, ends, *fields)
