"""The replay buffer: samples of the last games, bounded, compact, saved as plain arrays."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from alphazero.config import ReplayConfig
from alphazero.game import Game, State, concatenate, field_names, map_states, named_fields, state_from, take


class Samples(NamedTuple):
    """M samples to learn from.

    state:      fields [M, ...].
    policy:     [M, A] float32, improved by the search; in a Box game [M, K], of the sampled actions.
    value:      [M] float32 in [-1, 1], the target, for the player to move: outcome and root values mixed.
    outcome:    [M] float32, the discounted return of the game, for the player to move.
    drawn:      [M] float32, 1 where that is 0, else 0; where samples were merged, the share of them.
    root_value: [M] float32, the search's, for the player to move.
    turns_left: [M] int32, moves from here to the end of the game.
    iteration:  [M] int32, in which the game ended.
    weight:     [M] float32, in the loss.
    sampled:    [M, K, D] float32, the actions that the policy is about in a Box game; [M, 0, 0] in a discrete one.
    """

    state: State
    policy: Tensor
    value: Tensor
    outcome: Tensor
    drawn: Tensor
    root_value: Tensor
    turns_left: Tensor
    iteration: Tensor
    weight: Tensor
    sampled: Tensor

    @property
    def size(self) -> int:
        return self.value.shape[0]

    def at(self, index: Tensor | slice) -> Samples:
        return Samples(take(self.state, index), *(field[index] for field in self[1:]))

    def cpu(self) -> Samples:
        return Samples(map_states(Tensor.cpu, self.state), *(field.cpu() for field in self[1:]))


def no_actions(*shape: int) -> Tensor:
    """The sampled actions of a discrete game, [..., 0, 0]."""
    return torch.zeros(*shape, 0, 0)


def join(parts: list[Samples]) -> Samples:
    """One `Samples` out of several."""
    return Samples(
        concatenate([p.state for p in parts]), *(torch.cat(f) for f in zip(*(p[1:] for p in parts), strict=True))
    )


def fields_of(samples: Samples) -> tuple[Tensor, ...]:
    """Those of the state, and the others."""
    return (*samples.state, *samples[1:])


def empty_like(samples: Samples, size: int) -> Samples:
    """Room for `size` samples."""

    def room(field: Tensor) -> Tensor:
        return field.new_empty(size, *field.shape[1:])

    return Samples(map_states(room, samples.state), *(room(field) for field in samples[1:]))


class Replay:
    """The newest samples, at most as many as `window` allows.

    The window grows with what has been played (`ReplayConfig`), so that the first, weakest games
    go soon and later ones stay long. Memory is taken as it is needed.
    """

    def __init__(self, game: Game, config: ReplayConfig) -> None:
        self.game, self.config = game, config
        self.seen = 0  # samples ever added
        self.samples: Samples | None = None
        # What `samples` is a part of, and where it ends there: behind it is space for more.
        self._room: Samples | None = None
        self._end = 0

    def __len__(self) -> int:
        return 0 if self.samples is None else self.samples.size

    @property
    def window(self) -> int:
        return min(self.config.window, int(self.config.start + self.config.growth * self.seen))

    def extend(self, new: Samples) -> None:
        """Adds samples, and drops the oldest beyond the window.

        What was read from `samples` before stays as it was, so learning may go on from it meanwhile.
        """
        self.seen += new.size
        size = min(len(self) + new.size, self.window)
        new = new.at(slice(max(0, new.size - size), None))
        old = None if self.samples is None else self.samples.at(slice(len(self) + new.size - size, None))
        if self._room is None or self._end + new.size > self._room.size:
            # A new room, half as large again: so a sample is moved twice or so in its time here, not at each call.
            self._room, self._end = empty_like(new, size + size // 2), 0
            if old is not None:
                self._write(old)
        self._write(new)
        self.samples = self._room.at(slice(self._end - size, self._end))

    def _write(self, samples: Samples) -> None:
        """Behind what is in the room."""
        assert self._room is not None
        place = slice(self._end, self._end + samples.size)
        for room, field in zip(fields_of(self._room), fields_of(samples), strict=True):
            room[place] = field
        self._end += samples.size

    def training_set(self) -> Samples:
        """What the learner draws from: the samples, or with `merge` one for each position.

        Merging averages the targets of a position's samples, and gives it the weight that the
        configuration says, scaled to a mean of 1.
        """
        if self.samples is None:
            raise ValueError("the replay buffer is empty; play before learning")
        if self.config.merge == "none":
            return self.samples
        if not self.game.has_key:
            raise ValueError(f'{self.game.name} has no `key`, so positions cannot be merged; set replay.merge = "none"')
        _, place = torch.unique(self.game.key(self.samples.state), return_inverse=True)
        groups = int(place.max()) + 1
        count = torch.zeros(groups).index_add_(0, place, torch.ones(len(place)))

        def mean(field: Tensor) -> Tensor:
            total = torch.zeros(groups, *field.shape[1:]).index_add_(0, place, field.float())
            return (total / count.view(-1, *[1] * (field.dim() - 1))).to(field.dtype)

        # Of states, which cannot be averaged, any of the group will do: they are the same.
        one = torch.zeros(groups, dtype=torch.int64).scatter_(0, place, torch.arange(len(place)))
        weight = {"linear": count, "log": 1 + count.log2(), "constant": torch.ones(groups)}[self.config.merge]
        return Samples(take(self.samples.state, one), *(mean(f) for f in self.samples[1:]))._replace(
            weight=weight / weight.mean()
        )

    def distinct(self) -> int | None:
        """How many different positions the samples hold; None where the game has no `key`."""
        if self.samples is None or not self.game.has_key:
            return None
        return len(np.unique(self.game.key(self.samples.state).numpy()))

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything as plain arrays, for `checkpoint`."""
        if self.samples is None:
            return {"seen": np.array(self.seen)}
        arrays = {f"state.{name}": field.numpy() for name, field in named_fields(self.samples.state).items()}
        arrays |= {name: field.numpy() for name, field in self.samples._asdict().items() if name != "state"}
        return arrays | {"seen": np.array(self.seen)}

    def load(self, arrays: dict[str, np.ndarray]) -> None:
        """Takes back what `arrays` gave. KeyError if another game made it."""
        self.seen = int(arrays["seen"])
        if "policy" not in arrays:
            return
        self._room = None
        kind = self.game.state_type
        state = state_from(kind, (torch.from_numpy(arrays[f"state.{name}"]) for name in field_names(kind)))
        # Runs from before there were games with continuous actions have none.
        arrays = {"sampled": no_actions(len(arrays["policy"])).numpy()} | arrays
        self.samples = Samples(state, *(torch.from_numpy(arrays[name]) for name in Samples._fields[1:]))
