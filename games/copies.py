"""Copies of environments that were not made for it: quick ones, which share what no step changes."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterable
from contextlib import suppress
from typing import Any


def copied(env: Any, shared: list[Any]) -> Any:
    """A copy, which has these parts in common with the original, and its random numbers.

    Attribute by attribute: what many environments offer as a copy of themselves (`EzPickle`) is a new one.
    """
    twin = object.__new__(type(env))
    common = (*shared, vars(env).get("_np_random"))
    vars(twin).update(copy.deepcopy(vars(env), {id(env): twin} | {id(part): part for part in common}))
    return twin


def constants(env: Any, steps: Iterable[object]) -> list[Any]:
    """The attributes of the environment that stay as they are while `steps`, an iterator, makes its steps."""
    before: dict[str, bytes] = {}
    changed: set[str] = set()
    for _ in steps:
        now = _contents(env)
        changed |= {name for name in now if before.setdefault(name, now[name]) != now[name]}
    return [getattr(env, name) for name in before.keys() - changed]


def _contents(env: Any) -> dict[str, bytes]:
    """The attributes of the environment as bytes, as far as that can be. They are compared, and never read again."""
    contents = {}
    for name, value in vars(env).items():
        with suppress(Exception):  # whatever a stranger's object raises
            contents[name] = pickle.dumps(value)
    return contents
