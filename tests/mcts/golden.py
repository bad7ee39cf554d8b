"""Reads golden.npz: small worlds, and mctx's results in them. make_golden.py writes and explains the file."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from alphazero.game import Discrete, Game, Transition
from alphazero.mcts.evaluator import Evaluation

GOLDEN = Path(__file__).with_name("golden.npz")


class World(NamedTuple):
    """A game written out as tables over S states and A actions. No path visits a state twice.

    name:         as in GoldenGroup's `parameters.world`.
    num_players:  1 or 2.
    next_state:   [S, A] int64; a finished state leads to itself.
    reward:       [S, A] float32, to the player who moves; 0 at a finished state.
    terminal:     [S] bool. State 0 is unfinished.
    to_play:      [S] int8. The mover alternates in some worlds and not in others.
    legal:        [S, A] bool.
    prior_logits: [S, A] float32, before masking.
    value:        [S] float32 in [-1, 1], for the player to move; meaningless where finished.
    """

    name: str
    num_players: int
    next_state: Tensor
    reward: Tensor
    terminal: Tensor
    to_play: Tensor
    legal: Tensor
    prior_logits: Tensor
    value: Tensor


class Parameters(NamedTuple):
    """The setting of one group's search, in mctx's terms.

    algorithm:  "gumbel" or "puct".
    max_depth:  edges from the root to the deepest leaf; None: as many as there are simulations.
    unvisited:  the q of an unvisited action in "puct": "mean", the node's mean value, or "minimum", the least
                of that and the visited q.
    rescale_values: "gumbel": completed q to [0, 1]; "puct": q to [0, 1] by the least and the greatest of
                the node's mean value and its visited q.

    The rest belongs to one algorithm: gumbel_scale (already applied to `GoldenGroup.gumbel`),
    max_num_considered_actions, maxvisit_init (c_visit) and value_scale (c_scale) to "gumbel", pb_c_init and
    pb_c_base to "puct".
    """

    algorithm: str
    world: str
    simulations: int
    discount: float
    max_depth: int | None
    rescale_values: bool
    gumbel_scale: float
    max_num_considered_actions: int
    maxvisit_init: float
    value_scale: float
    pb_c_init: float
    pb_c_base: float
    unvisited: str


class GoldenGroup(NamedTuple):
    """B trees searched under one setting. Visits and actions do not depend on rounding; the rest is float32.

    roots:  [B] int64, states of the world, unfinished.
    gumbel: [B, A] float32, the noise at the root, scaled; zeros in "puct".
    visits: [B, A] int32, of the root's actions.
    q:      [B, A] float32, for the root's player; 0 where unvisited.
    value:  [B] float32, the root's mean value after the search, its own evaluation included.
    policy: [B, A] float32, the improved policy; in "puct" the share of visits.
    action: [B] int64, the action chosen; in "puct" the first of the most visited.
    """

    name: str
    parameters: Parameters
    world: World
    roots: Tensor
    gumbel: Tensor
    visits: Tensor
    q: Tensor
    value: Tensor
    policy: Tensor
    action: Tensor


class TableState(NamedTuple):
    """index: [B] int64, which state of the world. done: [B] bool."""

    index: Tensor
    done: Tensor


class TableGame(Game):
    """A world as a game. `initial` starts at state 0, `states` anywhere."""

    name: ClassVar[str] = "table"
    num_players: ClassVar[int] = 2
    observation_shape = (1,)

    def __init__(self, world: World, *, discount: float = 1.0) -> None:
        self.world = world
        self.actions = Discrete(world.legal.shape[1])
        self.discount = discount

    def states(self, index: Tensor) -> TableState:
        """The states at `index` [B] int64 of the world."""
        return TableState(index, self.world.terminal[index])

    def initial(self, batch: int, *, generator: torch.Generator | None = None) -> TableState:
        del generator
        return self.states(torch.zeros(batch, dtype=torch.int64))

    def to_play(self, state: TableState) -> Tensor:
        return self.world.to_play[state.index]

    def legal(self, state: TableState) -> Tensor:
        return self.world.legal[state.index]

    def step(self, state: TableState, action: Tensor) -> Transition:
        successor = self.states(torch.where(state.done, state.index, self.world.next_state[state.index, action]))
        reward = torch.where(state.done, 0.0, self.world.reward[state.index, action])
        return Transition(successor, reward, successor.done)

    def observe(self, state: TableState) -> Tensor:
        return state.index[:, None].float()


class SoloTableGame(TableGame):
    """A world for one player as a game."""

    num_players: ClassVar[int] = 1


class TableEvaluator:
    """Evaluates states by the world's tables; 0 at finished ones. Counts them.

    evaluations: states evaluated so far.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.evaluations = 0

    def __call__(self, states: TableState, generator: torch.Generator | None = None) -> Evaluation:
        del generator
        self.evaluations += len(states.index)
        value = torch.where(states.done, 0.0, self.world.value[states.index])
        return Evaluation(self.world.prior_logits[states.index], value)


def table_game(group: GoldenGroup) -> TableGame:
    """The group's world under the group's discount."""
    game = SoloTableGame if group.world.num_players == 1 else TableGame
    return game(group.world, discount=group.parameters.discount)


@functools.cache
def golden_groups() -> tuple[GoldenGroup, ...]:
    """Every group of golden.npz, in the order of make_golden.py."""
    with np.load(GOLDEN, allow_pickle=False) as archive:
        arrays = dict(archive)

    def table(prefix: str, field: str) -> Tensor:
        array = arrays[f"{prefix}/{field}"]
        # Torch indexes with int64; the file keeps indices short.
        return torch.from_numpy(array.astype(np.int64) if field in {"next_state", "roots", "action"} else array)

    def names(kind: str) -> list[str]:
        return list(dict.fromkeys(name.split("/")[1] for name in arrays if name.startswith(f"{kind}/")))

    def world(name: str) -> World:
        prefix = f"world/{name}"
        tables = {field: table(prefix, field) for field in World._fields[2:]}
        return World(name, int(arrays[f"{prefix}/num_players"]), **tables)

    def group(name: str) -> GoldenGroup:
        prefix = f"group/{name}"
        parameters = Parameters(**json.loads(arrays[f"{prefix}/parameters"].tobytes()))
        results = {field: table(prefix, field) for field in GoldenGroup._fields[3:]}
        return GoldenGroup(name, parameters, worlds[parameters.world], **results)

    worlds = {name: world(name) for name in names("world")}
    return tuple(group(name) for name in names("group"))
