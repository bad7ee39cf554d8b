"""States, and functions over any NamedTuple of tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

import torch
from torch import Tensor
from typing_extensions import TypeVar

State = tuple[Tensor, ...]
"""A NamedTuple of tensors, each [B, ...]. Every game defines its own."""

S = TypeVar("S", bound=State, default=State)
"""The type of a game's states: `class ConnectFour(Game[ConnectFourState])`."""

Tensors = tuple["Tensor | Tensors", ...]
"""A NamedTuple of tensors, or of such NamedTuples: a state, samples, trajectories."""

T = TypeVar("T", bound=Tensors)


def named_fields(tensors: Tensors) -> dict[str, Tensor]:
    """The fields of a NamedTuple by name; those of a NamedTuple within it as `outer.inner`."""
    fields: dict[str, Tensor] = {}
    for name, field in zip(field_names(type(tensors)), tensors, strict=True):
        if isinstance(field, tuple):
            fields |= {f"{name}.{inner}": value for inner, value in named_fields(field).items()}
        else:
            fields[name] = field
    return fields


def field_names(kind: type[Tensors]) -> tuple[str, ...]:
    """The names of the fields of this type of NamedTuple."""
    names: tuple[str, ...] = cast(Any, kind)._fields
    return names


def state_from(kind: type[T], fields: Iterable[Tensor | Tensors]) -> T:
    """The state (or other NamedTuple) of this type with these fields."""
    make: Any = kind
    return make(*fields)  # type: ignore[no-any-return]


def map_states(function: Callable[..., Tensor], *states: T) -> T:
    """Applies `function` to each field of the states, as in `map_states(torch.cat, ...)`.

    They may also be NamedTuples that hold states beside their tensors, such as samples.
    """
    make: Any = type(states[0])
    mapped = [
        map_states(function, *fields) if isinstance(fields[0], tuple) else function(*fields)
        for fields in zip(*states, strict=True)
    ]
    return make(*mapped)  # type: ignore[no-any-return]


def take(state: T, index: Tensor | slice) -> T:
    """The states at `index`: [M] int64 positions, a [B] bool mask, or a slice."""
    return map_states(lambda field: field[index], state)


def where(mask: Tensor, chosen: T, other: T) -> T:
    """`chosen` where mask [B] holds, `other` elsewhere."""

    def pick(a: Tensor, b: Tensor) -> Tensor:
        return torch.where(mask.view(-1, *[1] * (a.dim() - 1)), a, b)

    return map_states(pick, chosen, other)


def concatenate(states: Sequence[T]) -> T:
    """One batch out of several."""
    return map_states(lambda *fields: torch.cat(fields), *states)


def batch_size(state: State) -> int:
    return state[0].shape[0]
