"""Writes golden.npz: the results of DeepMind's mctx in small random worlds, as a reference for our search.

    python -m venv peers && peers/bin/pip install -c constraints.txt jax mctx
    peers/bin/python tests/mcts/make_golden.py

The file is checked in; this script runs again only when cases are added. It imports nothing of
alphazero, so that no mistake of ours can find its way into the reference.

A world is a game written out as tables over S states and A actions. The states lie in layers and
every move leads one layer on; the last layer is finished, and so are some states before it. Values
and rewards follow the engine's convention: a value is the expectation of the player to move, a reward goes
to the player who moved. For mctx this becomes a discount for each edge: 0 into a finished state,
else -discount where the mover changes and +discount where it does not.

Trees that depend on rounding are no use as a reference: a tree is kept only if the search comes to the
same visits and the same action after every number of the world has been moved by up to a
millionth of itself, several times over. Visits can then be compared exactly, whatever the order of additions.

"gumbel" groups are `mctx.gumbel_muzero_policy` as it is. "puct" groups are `mctx.search` under

    argmax_a  q(a) + sqrt(N) * (pb_c_init + log((N + pb_c_base + 1) / pb_c_base)) * P(a) / (1 + n(a))

with N the visits of the node, its own expansion included, so 1 + sum of n(b): Schrittwieser et al.
2020 (MuZero), Appendix B, as in `mctx.muzero_action_selection`, without mctx's random tie-break and
with illegal actions excluded at inner nodes too. q(a) of an unvisited action is the node's mean value
(unvisited = "mean") or the least of the node's mean value and its visited q (unvisited = "minimum", as in
`mctx.qtransform_by_parent_and_siblings`). With rescale_values, q is then (q - min) / max(max - min, 1e-8),
min and max over the node's mean value and the visited q.
"""

from __future__ import annotations

import functools
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import mctx
import numpy as np

GOLDEN = Path(__file__).with_name("golden.npz")
CANDIDATES = 24  # roots tried a group
KEPT = 10  # stable trees kept a group, at most
PERTURBATIONS = 4
ILLEGAL_LOGIT = -1e9


class World(NamedTuple):
    """A game as tables; golden.py, which reads them back, explains the fields."""

    next_state: np.ndarray
    reward: np.ndarray
    terminal: np.ndarray
    to_play: np.ndarray
    legal: np.ndarray
    prior_logits: np.ndarray
    value: np.ndarray


@dataclass(frozen=True, kw_only=True)
class WorldKind:
    """How a random world is drawn.

    turns: who moves; "alternating", "mixed" (any player at any state) or "solo".
    legal: the chance of an action to be legal; 1: all are, everywhere.
    step_rewards: whether moves that do not end the game are rewarded too.
    """

    actions: int
    turns: str = "alternating"
    legal: float = 0.7
    step_rewards: bool = False
    sharpness: float = 1.5  # standard deviation of the prior's logits
    layers: int = 10
    width: int = 20


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """One setting of the search. The names are mctx's; fields that the algorithm does not use are ignored."""

    algorithm: str
    world: str
    simulations: int
    discount: float = 1.0
    max_depth: int | None = None
    rescale_values: bool = False
    # gumbel
    gumbel_scale: float = 1.0
    max_num_considered_actions: int = 16
    maxvisit_init: float = 50.0
    value_scale: float = 0.5
    # puct
    pb_c_init: float = 1.25
    pb_c_base: float = 19652.0
    unvisited: str = "mean"


WORLDS = {
    "two_actions": WorldKind(actions=2, legal=1.0),
    "three_actions": WorldKind(actions=3, legal=0.8, sharpness=0.7),
    "four_actions": WorldKind(actions=4),
    "seven_actions": WorldKind(actions=7, legal=0.75),
    "nine_actions": WorldKind(actions=9, legal=0.6, sharpness=1.0),
    "all_legal": WorldKind(actions=5, legal=1.0),
    "all_legal_wide": WorldKind(actions=9, legal=1.0, sharpness=2.5),
    "rewarded_duel": WorldKind(actions=5, step_rewards=True),
    "consecutive": WorldKind(actions=6, turns="mixed"),
    "consecutive_rewarded": WorldKind(actions=4, turns="mixed", legal=1.0, step_rewards=True),
    "solo": WorldKind(actions=4, turns="solo", step_rewards=True),
    "solo_all_legal": WorldKind(actions=8, turns="solo", legal=1.0, step_rewards=True),
}

_gumbel = Parameters(algorithm="gumbel", world="seven_actions", simulations=32)
_puct = Parameters(algorithm="puct", world="seven_actions", simulations=32)

GROUPS = {
    # Simulations, scales and considered actions, over worlds with illegal actions.
    "gumbel_8": replace(_gumbel, simulations=8, max_num_considered_actions=4),
    "gumbel_16": replace(_gumbel, simulations=16, world="four_actions", value_scale=1.0),
    "gumbel_32": _gumbel,
    "gumbel_50": replace(_gumbel, simulations=50, world="nine_actions", value_scale=0.1),
    "gumbel_64": replace(_gumbel, simulations=64, world="three_actions", value_scale=1.0),
    "gumbel_two_actions": replace(_gumbel, world="two_actions", simulations=50),
    "gumbel_considers_1": replace(_gumbel, simulations=16, max_num_considered_actions=1),
    "gumbel_considers_2": replace(_gumbel, simulations=32, max_num_considered_actions=2, world="nine_actions"),
    "gumbel_considers_4": replace(_gumbel, simulations=50, max_num_considered_actions=4, value_scale=0.1),
    "gumbel_considers_all": replace(_gumbel, simulations=64, world="nine_actions"),
    "gumbel_fewer_simulations_than_actions": replace(_gumbel, simulations=5, world="all_legal_wide"),
    "gumbel_one_simulation": replace(_gumbel, simulations=1),
    "gumbel_noiseless": replace(_gumbel, gumbel_scale=0.0),
    "gumbel_noiseless_considers_4": replace(
        _gumbel, gumbel_scale=0.0, simulations=64, max_num_considered_actions=4, world="nine_actions", value_scale=1.0
    ),
    "gumbel_half_noise": replace(_gumbel, gumbel_scale=0.5, simulations=16, world="four_actions"),
    "gumbel_maxvisit_20": replace(_gumbel, maxvisit_init=20.0, value_scale=1.0, world="three_actions"),
    # Rescaled Q. mctx counts illegal actions into the range, so all are legal here.
    "gumbel_rescaled": replace(_gumbel, rescale_values=True, world="all_legal", value_scale=0.1),
    "gumbel_rescaled_64": replace(
        _gumbel, rescale_values=True, world="all_legal_wide", simulations=64, value_scale=0.1
    ),
    "gumbel_rescaled_noiseless": replace(
        _gumbel, rescale_values=True, world="all_legal", simulations=16, gumbel_scale=0.0, value_scale=0.5
    ),
    "gumbel_rescaled_solo": replace(
        _gumbel, rescale_values=True, world="solo_all_legal", simulations=50, discount=0.97, value_scale=0.1
    ),
    # Rewards on the way, discounts, one player, consecutive moves, limited depth.
    "gumbel_rewarded_duel": replace(_gumbel, world="rewarded_duel", simulations=50, discount=0.9),
    "gumbel_solo": replace(_gumbel, world="solo", discount=0.97, simulations=50),
    "gumbel_solo_wide": replace(_gumbel, world="solo_all_legal", discount=0.97, max_num_considered_actions=4),
    "gumbel_consecutive": replace(_gumbel, world="consecutive", simulations=50),
    "gumbel_consecutive_rewarded": replace(_gumbel, world="consecutive_rewarded", simulations=64, discount=0.95),
    "gumbel_depth_4": replace(_gumbel, world="two_actions", simulations=64, max_depth=4),
    "gumbel_depth_2": replace(_gumbel, world="consecutive", simulations=32, max_depth=2),
    "gumbel_depth_1": replace(_gumbel, world="all_legal", simulations=16, max_depth=1),
    # AlphaZero's own rule.
    "puct_8": replace(_puct, simulations=8, world="four_actions"),
    "puct_32": _puct,
    "puct_64": replace(_puct, simulations=64, world="nine_actions"),
    "puct_two_actions": replace(_puct, simulations=50, world="two_actions"),
    "puct_constants": replace(_puct, simulations=64, pb_c_init=2.5, pb_c_base=50.0),
    "puct_unvisited_minimum": replace(_puct, simulations=50, unvisited="minimum"),
    "puct_rescaled": replace(_puct, simulations=50, rescale_values=True),
    "puct_rescaled_nine": replace(_puct, simulations=64, rescale_values=True, world="nine_actions"),
    "puct_rescaled_unvisited_minimum": replace(_puct, simulations=64, rescale_values=True, unvisited="minimum"),
    "puct_rewarded_duel": replace(_puct, world="rewarded_duel", simulations=50, discount=0.9),
    "puct_solo": replace(_puct, world="solo", simulations=50, discount=0.97),
    "puct_rescaled_solo": replace(_puct, world="solo_all_legal", simulations=64, discount=0.97, rescale_values=True),
    "puct_consecutive": replace(_puct, world="consecutive", simulations=64),
    "puct_consecutive_rescaled": replace(
        _puct, world="consecutive_rewarded", simulations=64, discount=0.95, rescale_values=True
    ),
    "puct_depth_4": replace(_puct, world="two_actions", simulations=64, max_depth=4),
}


def draw_world(kind: WorldKind, rng: np.random.Generator) -> World:
    """A random world. State 0 is unfinished, in the first layer, and player 0 moves there."""
    num_states, shape = kind.layers * kind.width, (kind.layers * kind.width, kind.actions)
    layer = np.arange(num_states) // kind.width
    first_of_next = (np.minimum(layer + 1, kind.layers - 1) * kind.width)[:, None]
    next_state = (first_of_next + rng.integers(kind.width, size=shape)).astype(np.int16)

    terminal = (layer == kind.layers - 1) | (rng.random(num_states) < 0.15)
    terminal[: kind.width] = False
    next_state[terminal] = np.flatnonzero(terminal)[:, None]

    legal = rng.random(shape) < kind.legal
    # One action is always legal, not always the first.
    legal[np.arange(num_states), rng.integers(kind.actions, size=num_states)] = True

    to_play = {
        "alternating": layer % 2,
        "mixed": rng.integers(2, size=num_states),
        "solo": np.zeros(num_states, int),
    }[kind.turns]
    to_play[0] = 0

    # Exact wins, draws and losses where only the end is rewarded; otherwise small steps and any end.
    reward = np.where(terminal[next_state], rng.choice([-1.0, 0.0, 1.0], size=shape, p=[0.3, 0.2, 0.5]), 0.0)
    if kind.step_rewards:
        reward = np.where(terminal[next_state], rng.uniform(-1, 1, shape), rng.normal(0, 0.15, shape))
    reward[terminal] = 0.0

    return World(
        next_state=next_state,
        reward=reward.astype(np.float32),
        terminal=terminal,
        to_play=to_play.astype(np.int8),
        legal=legal,
        prior_logits=rng.normal(rng.normal(0, 2, (num_states, 1)), kind.sharpness, shape).astype(np.float32),
        value=rng.uniform(-1, 1, num_states).astype(np.float32),
    )


def perturb(world: World, rng: np.random.Generator) -> World:
    """The world with each of its numbers moved by up to a millionth of itself; a reward of 0 stays 0."""

    def moved(table: np.ndarray) -> np.ndarray:
        return (table * (1 + rng.uniform(-1e-6, 1e-6, table.shape))).astype(np.float32)

    return world._replace(reward=moved(world.reward), prior_logits=moved(world.prior_logits), value=moved(world.value))


def masked_logits(world: World, index: jax.Array) -> jax.Array:
    return jnp.where(world.legal[index], world.prior_logits[index], ILLEGAL_LOGIT)


def recurrent_fn(world: World, rng_key: jax.Array, action: jax.Array, index: jax.Array, *, discount: float) -> Any:
    """One move, as mctx wants it. Finished states lead to themselves with value and reward 0."""
    del rng_key
    successor = world.next_state[index, action].astype(jnp.int32)
    finished = world.terminal[successor]
    sign = jnp.where(world.to_play[successor] == world.to_play[index], 1.0, -1.0)
    return mctx.RecurrentFnOutput(
        reward=world.reward[index, action],
        discount=jnp.where(finished, 0.0, discount * sign),
        prior_logits=masked_logits(world, successor),
        value=jnp.where(finished, 0.0, world.value[successor]),
    ), successor


def puct_selection(
    rng_key: jax.Array, tree: mctx.Tree, node_index: jax.Array, depth: jax.Array, *, parameters: Parameters
) -> jax.Array:
    """The rule in this file's docstring, in mctx's terms; `tree` is one tree, not a batch."""
    del rng_key, depth
    visits = tree.children_visits[node_index]
    node_visits = tree.node_visits[node_index]
    logits = tree.children_prior_logits[node_index]
    node_value = tree.node_values[node_index]

    visited_q = jnp.where(visits > 0, tree.qvalues(node_index), node_value)
    low, high = visited_q.min(), visited_q.max()  # the node's value too: it fills in for the unvisited ...
    low, high = jnp.minimum(low, node_value), jnp.maximum(high, node_value)  # ... if there are any
    q = jnp.where(visits > 0, visited_q, low) if parameters.unvisited == "minimum" else visited_q
    if parameters.rescale_values:
        q = (q - low) / jnp.maximum(high - low, 1e-8)

    pb_c = parameters.pb_c_init + jnp.log((node_visits + parameters.pb_c_base + 1.0) / parameters.pb_c_base)
    score = q + jnp.sqrt(node_visits) * pb_c * jax.nn.softmax(logits) / (visits + 1)
    return jnp.argmax(jnp.where(logits > ILLEGAL_LOGIT / 2, score, -jnp.inf)).astype(jnp.int32)


def gumbel_search(
    world: World, roots: jax.Array, rng_key: jax.Array, *, parameters: Parameters
) -> tuple[mctx.Tree, jax.Array, jax.Array, jax.Array]:
    """(tree, gumbel [B, A], policy [B, A], action [B])."""
    output = mctx.gumbel_muzero_policy(
        world,
        rng_key,
        root_of(world, roots),
        functools.partial(recurrent_fn, discount=parameters.discount),
        parameters.simulations,
        invalid_actions=~world.legal[roots],
        max_depth=parameters.max_depth,
        qtransform=functools.partial(
            mctx.qtransform_completed_by_mix_value,
            value_scale=parameters.value_scale,
            maxvisit_init=parameters.maxvisit_init,
            rescale_values=parameters.rescale_values,
        ),
        max_num_considered_actions=parameters.max_num_considered_actions,
        gumbel_scale=parameters.gumbel_scale,
    )
    return output.search_tree, output.search_tree.extra_data.root_gumbel, output.action_weights, output.action


def puct_search(
    world: World, roots: jax.Array, rng_key: jax.Array, *, parameters: Parameters
) -> tuple[mctx.Tree, jax.Array, jax.Array, jax.Array]:
    """(tree, gumbel [B, A] of zeros, policy [B, A]: the share of visits, action [B]: the most visited)."""
    select = functools.partial(puct_selection, parameters=parameters)
    tree = mctx.search(
        world,
        rng_key,
        root=root_of(world, roots),
        recurrent_fn=functools.partial(recurrent_fn, discount=parameters.discount),
        root_action_selection_fn=functools.partial(select, depth=0),
        interior_action_selection_fn=select,
        num_simulations=parameters.simulations,
        max_depth=parameters.max_depth,
    )
    summary = tree.summary()
    return tree, jnp.zeros_like(summary.qvalues), summary.visit_probs, summary.visit_counts.argmax(-1)


def root_of(world: World, roots: jax.Array) -> mctx.RootFnOutput:
    return mctx.RootFnOutput(prior_logits=masked_logits(world, roots), value=world.value[roots], embedding=roots)


def run_group(parameters: Parameters, world: World, seed: int) -> dict[str, np.ndarray]:
    """The fields of one GoldenGroup: roots drawn, searched, and those that depend on rounding left out."""
    rng = np.random.default_rng(seed)
    roots = rng.choice(np.flatnonzero(~world.terminal), CANDIDATES, replace=False).astype(np.int32)
    algorithm = {"gumbel": gumbel_search, "puct": puct_search}[parameters.algorithm]
    search = jax.jit(functools.partial(algorithm, parameters=parameters))

    def searched(world: World) -> dict[str, np.ndarray]:
        tree, gumbel, policy, action = search(jax.tree.map(jnp.asarray, world), roots, jax.random.PRNGKey(seed))
        summary = tree.summary()
        return {
            "gumbel": np.asarray(gumbel, np.float32),
            "visits": np.asarray(summary.visit_counts, np.int32),
            "q": np.where(summary.visit_counts > 0, summary.qvalues, 0).astype(np.float32),
            "value": np.asarray(summary.value, np.float32),
            "policy": np.asarray(policy, np.float32),
            "action": np.asarray(action, np.int32),
            "node_visits": np.sort(np.asarray(tree.node_visits), axis=-1),  # for the choice of trees only
        }

    results = searched(world)
    stable = np.ones(CANDIDATES, bool)
    for _ in range(PERTURBATIONS):
        others = searched(perturb(world, rng))
        for field in ("visits", "action", "node_visits"):
            stable &= (others[field] == results[field]).reshape(CANDIDATES, -1).all(-1)
    del results["node_visits"]
    kept = np.flatnonzero(stable)[:KEPT]
    return {"roots": roots[kept], **{name: result[kept] for name, result in results.items()}}


def text_array(value: Any) -> np.ndarray:
    """JSON as bytes, because NumPy would pickle an object."""
    return np.frombuffer(json.dumps(value).encode(), np.uint8)


def main() -> None:
    worlds = {name: draw_world(kind, np.random.default_rng(seed)) for seed, (name, kind) in enumerate(WORLDS.items())}
    arrays: dict[str, np.ndarray] = {}
    for name, world in worlds.items():
        arrays |= {f"world/{name}/{field}": table for field, table in world._asdict().items()}
        arrays[f"world/{name}/num_players"] = np.array(1 if WORLDS[name].turns == "solo" else 2)
    trees = 0
    for seed, (name, parameters) in enumerate(GROUPS.items(), start=1000):
        group = run_group(parameters, worlds[parameters.world], seed)
        trees += len(group["roots"])
        print(f"{name}: {len(group['roots'])} trees", flush=True)
        arrays |= {f"group/{name}/{field}": result for field, result in group.items()}
        arrays[f"group/{name}/parameters"] = text_array(asdict(parameters))
    np.savez_compressed(GOLDEN, **arrays)
    print(f"{trees} trees in {len(GROUPS)} groups, {GOLDEN.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
