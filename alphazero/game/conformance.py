"""The conformance kit: plays random games and holds a game to every promise of `alphazero.game`.

    check_game(MyGame())    # passes, or raises ConformanceError:
                            # step: finished states must not change (state 17 at ply 30, field `mine`)

Every check works on whole batches. Whether the rules are those of the game that was meant
cannot be seen from outside; that is left to the game's own tests.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from alphazero.game.interface import Box, Discrete, Game, Symmetry, Transition, num_actions
from alphazero.game.probe import (
    ConformanceError,
    Positions,
    Probe,
    call,
    require_tensor,
    require_type,
    same_rows,
)
from alphazero.game.states import S, concatenate, field_names, named_fields, take

__all__ = ["ConformanceError", "check_game"]

MOST_POSITIONS = 4096  # that are checked at most: enough to meet rare ones, few enough to be quick
MOST_SINGLES = 16  # batches of one that are checked; each costs a call
PLIES_PAST_THE_END = 4
GARBAGE = ("", "no such action", "-1", "99999999", "\N{SNOWMAN}")


def check_game(game: Game[S], *, games: int = 64, seed: int = 0, device: str = "cpu", max_moves: int = 10_000) -> None:
    """Raises ConformanceError, naming function, promise and state, if `game` breaks a promise.

    games:     how many random games are played, all in one batch.
    device:    where the states live.
    max_moves: a random game longer than this counts as one that never ends.
    """
    rules = cast(Game, game)  # the checks are the same for states of any type
    _check_attributes(rules)
    _check_names(rules)
    generator = torch.Generator(device).manual_seed(seed)
    start = _check_initial(rules, games, generator)
    probe = Probe(rules)
    record = _play(probe, start, generator, max_moves)
    seen = _sample(record, generator)
    actions = _random_actions(rules, probe.query("legal", seen), seen.done, generator)
    _check_ranges(probe, seen)
    _check_same_answer_twice(probe, seen, actions)
    _check_batch_independence(probe, seen, actions, generator)
    _check_moves_change_the_state(probe, seen, generator)
    _check_totals(probe, record)
    _check_symmetries(probe, record)
    _check_key(probe, seen, actions)
    _check_render(probe, seen)


class _Record(NamedTuple):
    """Random games, played together until the last has ended and a few plies more.

    positions: before each ply, and after the last one.
    actions, rewards: of each ply, [games, ...].
    """

    positions: list[Positions]
    actions: list[Tensor]
    rewards: list[Tensor]


# Random games


def _random_actions(game: Game, legal: Tensor, done: Tensor, generator: torch.Generator) -> Tensor:
    """Legal actions; any at finished states, where `step` must accept them. The bounds of a Box come up often."""
    if isinstance(game.actions, Discrete):
        return torch.multinomial((legal | done[:, None]).to(torch.float32), 1, generator=generator)[:, 0]
    low, high = game.actions.bounds(done.device)
    share = torch.rand((len(done), len(low)), generator=generator, device=done.device) * 1.25 - 0.125
    return low.lerp(high, share).clamp(low, high)


def _play(probe: Probe, start: Positions, generator: torch.Generator, max_moves: int) -> _Record:
    record, now, plies_left = _Record([start], [], []), start, max_moves
    while plies_left:
        legal = probe.query("legal", now)
        if probe.game.discrete:
            probe.require(legal.any(1) | now.done, "legal: an unfinished state must have a legal action", now)
        action = _random_actions(probe.game, legal, now.done, generator)
        successor, reward, done = probe.step(now, action)
        _check_finished(probe, now, Transition(successor, reward, done))
        now = Positions(successor, now.game, now.ply + 1, done)
        record.positions.append(now)
        record.actions.append(action)
        record.rewards.append(reward)
        plies_left = min(plies_left - 1, PLIES_PAST_THE_END) if bool(done.all()) else plies_left - 1
    probe.require(now.done, f"step: random games must end; this one runs on after {max_moves} moves", now)
    return record


def _sample(record: _Record, generator: torch.Generator) -> Positions:
    """Positions of all plies in one batch: all of them, or a random choice of many."""
    every = concatenate(record.positions)
    chosen = torch.randperm(len(every.done), generator=generator, device=generator.device)[:MOST_POSITIONS]
    return take(every, chosen.sort().values)


# The promises


def _check_attributes(game: Game) -> None:
    actions, shape = getattr(game, "actions", None), getattr(game, "observation_shape", None)
    sane_actions = isinstance(actions, Discrete) and actions.n >= 1
    if isinstance(actions, Box):
        bounds = (*actions.low, *actions.high)
        sane_actions = len(actions.low) == len(actions.high) > 0 and all(map(math.isfinite, bounds))
        sane_actions = sane_actions and all(low < high for low, high in zip(*actions, strict=True))
    sane_shape = isinstance(shape, tuple) and all(isinstance(size, int) and size > 0 for size in shape)
    for name, sane, expected in (
        ("name", isinstance(getattr(game, "name", None), str) and game.name, "a word"),
        ("num_players", getattr(game, "num_players", None) in {1, 2}, "1 or 2"),
        ("actions", sane_actions, "a Discrete of at least one action, or a Box of finite low < high"),
        ("observation_shape", sane_shape, "a tuple of positive integers"),
        ("discount", 0 < game.discount <= 1, "over 0 and at most 1"),
    ):
        if not sane:
            raise ConformanceError(f"{name}: must be {expected}, is {getattr(game, name, 'missing')!r}")


def _check_names(game: Game) -> None:
    if not game.discrete:
        return
    names = call("action_name", lambda: [game.action_name(action) for action in range(num_actions(game))])
    for action, name in enumerate(names):
        require_type(f"action_name: the name of action {action}", name, str)
        if (other := names.index(name)) != action:
            raise ConformanceError(f"action_name: must be distinct (actions {other} and {action} are {name!r})")
        if (read := _parse(game, name)) != action:
            raise ConformanceError(f"parse_action: must read {name!r} as action {action} (gave {read!r})")
    for text in set(GARBAGE).difference(names):
        if not isinstance(read := _parse(game, text), ValueError):
            raise ConformanceError(f"parse_action: must raise ValueError on {text!r} (gave {read!r})")


def _parse(game: Game, text: str) -> int | Exception:
    try:
        return game.parse_action(text)
    except Exception as error:
        return error


def _check_initial(game: Game, games: int, generator: torch.Generator) -> Positions:
    """Starts are states, with and without a generator, and one seed gives the same start twice."""
    _initial(game, 1, None)
    start, again = (
        _initial(game, games, torch.Generator(generator.device).manual_seed(generator.initial_seed())) for _ in range(2)
    )
    for name, a, b in zip(field_names(type(start.state)), start.state, again.state, strict=True):
        Probe(game).require(same_rows(a, b), "initial: one seed must give the same states twice", start, name)
    return start


def _initial(game: Game, batch: int, generator: torch.Generator | None) -> Positions:
    state: Any = call("initial", lambda: game.initial(batch, generator=generator))
    if not (isinstance(state, tuple) and hasattr(state, "_fields")):
        raise ConformanceError(f"initial: must return a NamedTuple of tensors, returned {type(state).__name__}")
    require_type("initial: its answer", state, game.state_type)
    index = torch.arange(batch, device=None if generator is None else generator.device)
    start = Positions(state, index, torch.zeros_like(index), torch.zeros_like(index, dtype=torch.bool))
    fields: dict[str, Any] = named_fields(state)
    for name, field in fields.items():
        inner, dtype = (field.shape[1:], field.dtype) if isinstance(field, Tensor) else ((), torch.bool)
        require_tensor(f"initial: field `{name}`", field, (batch, *inner), dtype, start)
    return start


def _check_finished(probe: Probe, before: Positions, after: Transition) -> None:
    running = ~before.done
    for name, a, b in zip(field_names(type(before.state)), before.state, after.state, strict=True):
        probe.require(running | same_rows(a, b), "step: finished states must not change", before, name)
    probe.require(running | (after.reward == 0), "step: a finished state must give reward 0", before)
    probe.require(running | after.done, "step: a finished state must stay done", before)


def _check_ranges(probe: Probe, seen: Positions) -> None:
    player, players = probe.query("to_play", seen), probe.game.num_players
    within = (player >= 0) & (player < players)
    probe.require(seen.done | within, f"to_play: must be one of {[*range(players)]}", seen)
    probe.require(probe.query("observe", seen).isfinite().flatten(1).all(1), "observe: must be finite", seen)
    probe.require(probe.query("heuristic", seen).abs() < 1, "heuristic: must lie within (-1, 1)", seen)


def _check_same_answer_twice(probe: Probe, seen: Positions, actions: Tensor) -> None:
    """Answers are not random, and none is a buffer that the next call overwrites."""
    answers = probe.answers(seen, actions)
    kept = {name: answer.clone() for name, answer in answers.items()}
    probe.require_same(probe.answers(seen, actions), kept, "must give the same answer twice", seen)
    backwards = torch.arange(len(actions) - 1, -1, -1, device=actions.device)
    probe.answers(take(seen, backwards), actions[backwards])
    probe.require_same(answers, kept, "an answer must not change when the game is asked again", seen)


def _check_batch_independence(probe: Probe, seen: Positions, actions: Tensor, generator: torch.Generator) -> None:
    promise = "must not depend on the other states of the batch"
    answers = probe.answers(seen, actions)
    order = torch.randperm(len(actions), generator=generator, device=generator.device)
    for index in (order, *order[:MOST_SINGLES, None]):
        positions = take(seen, index)
        expected = {name: answer[index] for name, answer in answers.items()}
        probe.require_same(probe.answers(positions, actions[index]), expected, promise, positions, rounding=True)


def _check_moves_change_the_state(probe: Probe, seen: Positions, generator: torch.Generator) -> None:
    """Tries every legal action of every unfinished position, or a random choice of many; one action of a Box."""
    running = take(seen, ~seen.done)
    legal = probe.query("legal", running)
    if probe.game.discrete:
        moves = legal.nonzero()
        moves = moves[torch.randperm(len(moves), generator=generator, device=moves.device)[:MOST_POSITIONS]]
        positions, actions = take(running, moves[:, 0]), moves[:, 1]
    else:
        positions, actions = running, _random_actions(probe.game, legal, running.done, generator)
    successor = probe.step(positions, actions).state
    same = torch.stack([same_rows(a, b) for a, b in zip(positions.state, successor, strict=True)]).all(0)
    probe.require(~same, "step: a legal action must change an unfinished state", positions)


def _check_totals(probe: Probe, record: _Record) -> None:
    """Player 0 wins what player 1 loses, and from no move on does either win more than 1, as values assume."""
    if probe.game.num_players == 1:
        return
    total = torch.zeros_like(record.rewards[0])
    promise = "step: from every position on, the rewards must add up to a total within [-1, 1]"
    for positions, reward in reversed(list(zip(record.positions, record.rewards, strict=False))):
        total = total + torch.where(probe.query("to_play", positions) == 0, reward, -reward)
        probe.require(total.abs() <= 1 + 1e-4, promise, positions)


def _check_symmetries(probe: Probe, record: _Record) -> None:
    for number, symmetry in enumerate(call("symmetries", probe.game.symmetries)):
        name = f"symmetries: symmetry {number}"
        if not probe.game.discrete:
            raise ConformanceError(f"{name} has continuous actions to permute, which cannot be")
        if sorted(symmetry.actions) != list(range(num_actions(probe.game))):
            raise ConformanceError(f"{name} must permute the actions (has {symmetry.actions})")
        _check_symmetry(probe, record, symmetry, name)


def _check_symmetry(probe: Probe, record: _Record, symmetry: Symmetry, name: str) -> None:
    """Plays each game again with mapped actions: at every ply the mapped game must be the game mapped.

    States cannot be mapped, so a game takes part where some start looks like its own start mapped.
    """
    start = record.positions[0]
    observation, mapped = probe.query("observe", start), _mapped_observation(probe, start, symmetry, name)
    alike = (mapped.flatten(1)[:, None] == observation.flatten(1)).all(-1)
    starts_vary = (observation != observation[0]).any()
    probe.require(alike.any(1) | starts_vary, f"{name} must map the start of the game to itself", start)
    matched = alike.any(1).nonzero()[:, 0]
    image = take(start, alike[matched].to(torch.int8).argmax(1))
    permutation = torch.tensor(symmetry.actions, device=matched.device)
    for ply, action in enumerate(record.actions):
        original = take(record.positions[ply], matched)
        _check_image(probe, original, image, symmetry, name)
        successor, reward, done = probe.step(image, permutation.argsort()[action[matched]])
        same_reward = same_rows(reward, record.rewards[ply][matched], rounding=True)
        probe.require(same_reward, f"{name} must keep rewards", original)
        same_done = done == record.positions[ply + 1].done[matched]
        probe.require(same_done, f"{name} must keep the end of the game", original)
        image = Positions(successor, image.game, image.ply + 1, done)


def _check_image(probe: Probe, original: Positions, image: Positions, symmetry: Symmetry, name: str) -> None:
    mapped = _mapped_observation(probe, original, symmetry, name)
    same = same_rows(probe.query("observe", image), mapped, rounding=True)
    probe.require(same, f"{name} must map observations as it maps actions", original)
    legal = probe.query("legal", original)[:, list(symmetry.actions)]
    same = original.done | same_rows(probe.query("legal", image), legal)
    probe.require(same, f"{name} must map legal actions to legal actions", original)
    same = original.done | (probe.query("to_play", image) == probe.query("to_play", original))
    probe.require(same, f"{name} must keep the player to move", original)


def _mapped_observation(probe: Probe, positions: Positions, symmetry: Symmetry, name: str) -> Tensor:
    observation = probe.query("observe", positions)
    kept = observation.clone()
    mapped = symmetry.observation(observation)
    probe.require(same_rows(observation, kept), f"{name} must not change its input in place", positions)
    return require_tensor(
        f"{name}: a mapped observation", mapped, tuple(observation.shape), observation.dtype, positions
    )


def _check_key(probe: Probe, seen: Positions, actions: Tensor) -> None:
    """States with the same key must look the same, and the same move must lead to the same."""
    if not probe.game.has_key:
        return
    _, group = probe.query("key", seen).unique(return_inverse=True)
    index = torch.arange(len(group), device=group.device)
    first = torch.zeros_like(index).scatter_reduce(0, group, index, "amin", include_self=False)[group]

    def require_agreement(aspect: str, answer: Tensor, *, of_finished: bool = True) -> None:
        same = same_rows(answer, answer[first], rounding=True) | (seen.done if not of_finished else False)
        probe.require(same, f"key: states with one key must agree in {aspect}", seen)

    require_agreement("whether they are finished", seen.done)
    require_agreement("to_play", probe.query("to_play", seen), of_finished=False)
    require_agreement("legal", probe.query("legal", seen), of_finished=False)
    require_agreement("observe", probe.query("observe", seen))
    successor, reward, done = probe.step(seen, actions[first])
    require_agreement("the reward of a move", reward)
    require_agreement("whether a move ends the game", done)
    require_agreement("what a move leads to", probe.query("observe", seen._replace(state=successor)))


def _check_render(probe: Probe, seen: Positions) -> None:
    for index in torch.linspace(0, len(seen.done) - 1, MOST_SINGLES).long().to(seen.done.device):
        picture = probe.ask("render", take(seen, index[None]))
        require_type("render: its answer", picture, str)
