"""Networks of one's own, by their import path `package.module:Class`: found, and made with their options.

They are code, as games are: `alphazero.game.loading` tells what is never imported, `alphazero.runs.trust` what a file
may ask for. docs/your_own_network.md says what such a class must do.
"""

from __future__ import annotations

import copy
import difflib
import inspect
from collections.abc import Mapping
from typing import Any

from torch import nn
from torch.nn.parameter import UninitializedParameter

from alphazero.game.loading import imported_class, nothing_from_runs, parse_path, registered
from alphazero.game.messages import foreign_errors

GROUP = "alphazero.networks"  # of entry points, which register networks
_loaded: set[str] = set()  # import paths


def load_network_class(path: str) -> type[nn.Module]:
    """The class at an import path such as `examples.transformer:BoardTransformer`.

    This imports whatever module is named, unless it lies in the folder of a run or of an agent. ValueError otherwise.
    """
    with nothing_from_runs():
        network_class = imported_class(parse_path(path, "network"), (nn.Module,), "network")
    _loaded.add(path)
    return network_class


def registered_networks() -> set[str]:
    """The import paths of the networks that this project and installed packages register. Imports none of them.

    A package registers its networks as entry points of the group `alphazero.networks`.
    """
    return registered(GROUP)


def is_loaded(path: str) -> bool:
    """Whether this process has loaded the class of this import path before, and so may again. Imports nothing."""
    return path in _loaded


def make_module(
    path: str, options: Mapping[str, Any], observation_shape: tuple[int, ...], actions: int, outcomes: int
) -> nn.Module:
    """Class(observation_shape, actions, outcomes, **options). ValueError if it cannot be made, or not with these."""
    network_class = load_network_class(path)
    name = network_class.__name__
    _check_options(network_class, options)
    with nothing_from_runs(), foreign_errors(f'network.kind = "{path}": making a {name} failed'):
        module = network_class(tuple(observation_shape), actions, outcomes, **copy.deepcopy(dict(options)))
    if lazy := [name for name, one in module.named_parameters() if isinstance(one, UninitializedParameter)]:
        fix = "give its layer the size when it is made"
        raise ValueError(f'network.kind = "{path}": parameter {lazy[0]} has no size yet; {fix}')
    return module


def _check_options(network_class: type[nn.Module], options: Mapping[str, Any]) -> None:
    """ValueError if the class has no such option, or cannot be made without one that is missing."""
    name, of = network_class.__name__, inspect.Parameter
    parameters = list(inspect.signature(network_class).parameters.values())
    kinds = {parameter.kind for parameter in parameters}
    positional = [one for one in parameters if one.kind in (of.POSITIONAL_ONLY, of.POSITIONAL_OR_KEYWORD)]
    if len(positional) < 3 and of.VAR_POSITIONAL not in kinds:
        raise ValueError(f"{name} must be made as {name}(observation_shape, actions, outcomes, **options)")
    by_name = (of.POSITIONAL_OR_KEYWORD, of.KEYWORD_ONLY)
    known = {parameter.name: parameter for parameter in parameters[3:] if parameter.kind in by_name}
    for option in () if of.VAR_KEYWORD in kinds else options.keys() - known.keys():
        close = difflib.get_close_matches(option, known, n=1)
        fix = f"did you mean `{close[0]}`?" if close else f"it has {', '.join(known) or 'none'}"
        raise ValueError(f"`network.options.{option}`: {name} has no such option; {fix}")
    for option, parameter in known.items():
        if parameter.default is parameter.empty and option not in options:
            raise ValueError(f"`network.options.{option}` is missing: a {name} cannot be made without it")
