"""What random games show, for a person to judge: rules that keep every promise can still be the wrong ones."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import NamedTuple, cast

import torch
from torch import Tensor

from alphazero.game.batched import BatchedGame, History
from alphazero.game.interface import Box, Game
from alphazero.game.pace import rules_seconds, slow_rules
from alphazero.game.probe import Ply, Positions, Probe
from alphazero.game.states import take

WIDTH = 80
LABEL = 14
BATCH = 128  # positions of which the speed is measured
DECIDED = 20  # games that must be decided before their outcomes are suspicious


class Summary(NamedTuple):
    """What was seen, as text: `print(summary)`.

    warnings: what is likely to be a mistake, though no promise is broken.
    lines:    a label and what it says.
    """

    title: str
    warnings: list[str]
    lines: list[tuple[str, str]]

    def __str__(self) -> str:
        """At most 80 columns wide, unless a word is."""
        indent = " " * (LABEL + 2)
        text = [textwrap.fill(self.title, WIDTH), ""]
        text += [textwrap.fill(f"! {warning}", WIDTH, subsequent_indent="  ") for warning in self.warnings]
        text += [""] * bool(self.warnings)
        for label, value in self.lines:
            text.append(textwrap.fill(value, WIDTH, initial_indent=f"  {label:<{LABEL}}", subsequent_indent=indent))
        return "\n".join(text)


def summarise(probe: Probe, moves: Ply, seen: Positions) -> Summary:
    """The summary of random games that broke no promise.

    moves: all of them, from unfinished states alone.
    seen:  positions of the games.
    """
    game, count = probe.game, int(moves.before.game.max()) + 1
    player, now = probe.query("to_play", moves.before), take(seen, ~seen.done)
    legal = probe.query("legal", moves.before).sum(1)
    some = torch.randint(len(now.done), (BATCH,), generator=torch.Generator().manual_seed(0)).to(now.done.device)
    seconds = rules_seconds(game, take(now.state, some))
    idle = _idle_symmetries(probe, now)
    lengths = torch.bincount(moves.before.game)
    lines = [
        *_outcomes(probe, moves, player, count),
        ("length", f"{_spread(lengths)} moves"),
        ("legal moves", _legal(game, legal)),
        ("observation", _observation(probe, moves, player)),
        ("speed", f"{_rate(seconds['step'])} steps, {_rate(seconds['observe'])} observations, "
                  f"{_rate(seconds['legal'])} legal masks a second, in batches of {BATCH}"),
        ("symmetries", _symmetries(len(game.symmetries()), len(idle))),
        ("key", _key(probe, now)),
        ("solver", "yes" if game.has_solver else "none: no player `perfect`, and no exact scores in the terminal"),
        ("heuristic", _heuristic(probe, now)),
    ]  # fmt: skip
    warnings = [*_warnings(probe, moves, player, legal), *filter(None, [slow_rules(game, seconds)])]
    if idle:
        warnings.append(f"symmetries: nothing changes under symmetry {', '.join(idle)}")
    return Summary(f"{game.name} keeps every promise that {count} random games can show.", warnings, lines)


def _outcomes(probe: Probe, moves: Ply, player: Tensor, count: int) -> Iterator[tuple[str, str]]:
    for_first = torch.where(player == 0, moves.reward, -moves.reward)
    totals = torch.zeros(count, device=player.device).index_add(0, moves.before.game, for_first)
    if probe.game.num_players == 1:
        yield "rewards", f"{_spread(totals)} a game; {_spread(moves.reward)} a move"
        return
    again = _share((probe.query("to_play", moves.after) == player)[~moves.after.done])
    yield "players", f"player 0 makes {_share(player == 0)} of the moves; after {again} the same moves on"
    yield "wins", f"player 0 {_share(totals > 0)}, player 1 {_share(totals < 0)}, draws {_share(totals == 0)}"
    last = moves.reward[moves.after.done]
    yield "last move", f"wins {_share(last > 0)} of the games, loses {_share(last < 0)}"
    yield "rewards", f"{_range(moves.reward)} a move; {_spread(totals)} a game for player 0"


def _legal(game: Game, legal: Tensor) -> str:
    if isinstance(game.actions, Box):
        bounds = ", ".join(f"{low:g} to {high:g}" for low, high in zip(*game.actions, strict=True))
        return f"continuous, {bounds}"
    return f"{_spread(legal)} of {game.actions.n}"


def _observation(probe: Probe, moves: Ply, player: Tensor) -> str:
    """Its shape and range, the parts that never change, and how much stays where it is as the turn changes."""
    shape = probe.game.observation_shape
    before, after = (probe.query("observe", positions).flatten(1) for positions in (moves.before, moves.after))
    planes = before.view(len(before), shape[0], -1)
    word = "plane" if len(shape) > 1 else "number"
    constant = (1 + (planes == planes[:1, :, :1]).all(2).all(0).nonzero()[:, 0]).tolist()
    said = f"{' x '.join(map(str, shape))}, {_range(before)}; "
    if constant:
        shown = [*map(str, constant[:8]), *["..."] * (len(constant) > 8)]
        said += f"{word} {', '.join(shown)} never changes"
    else:
        said += f"every {word} changes"
    if probe.game.num_players == 2:
        turns = ~moves.after.done & (probe.query("to_play", moves.after) != player)
        set_ = before[turns] != 0
        said += f"; {_share((after[turns] == before[turns])[set_])} stays as the turn passes"
    return said


def _idle_symmetries(probe: Probe, now: Positions) -> list[str]:
    """The numbers of those that change neither positions nor actions."""
    seen = probe.query("observe", now)
    return [
        str(number)
        for number, symmetry in enumerate(probe.game.symmetries())
        if list(symmetry.actions) == sorted(symmetry.actions) and torch.equal(symmetry.observation(seen), seen)
    ]


def _symmetries(count: int, idle: int) -> str:
    return f"{count}; {count - idle} seen to change positions" if count else "none: every sample teaches once"


def _key(probe: Probe, now: Positions) -> str:
    if not probe.game.has_key:
        return "none: nothing is cached or merged, and distinct positions are not counted"
    return f"yes; {len(probe.query('key', now).unique()):,} distinct ones in {len(now.done):,} positions"


def _heuristic(probe: Probe, now: Positions) -> str:
    if not probe.game.has_heuristic:
        return "none: minimax sees only the ends of games within its depth"
    return f"yes; {_spread(probe.query('heuristic', now))}"


def _comes_back(probe: Probe, moves: Ply) -> bool:
    """Whether a game had one position twice."""
    before = moves.before
    seen = torch.stack((before.game, probe.query("key", before)), 1)
    return len(seen.unique(dim=0)) < len(seen)


def _warnings(probe: Probe, moves: Ply, player: Tensor, legal: Tensor) -> Iterator[str]:
    game = probe.game
    if not bool(moves.reward.any()):
        yield "step: every reward was 0, so there is nothing to learn"
    elif game.num_players == 2:
        decided = moves.reward != 0
        winner = torch.where(moves.reward > 0, player, 1 - player)[decided]
        own = (player[decided] == winner).unique()  # whether at moves of the winner, of the loser, or of either
        if len(winner) >= DECIDED and len(winner.unique()) == 1 and len(own) == 2:
            yield (
                f"step: player {int(winner[0])} wins at moves of its own and at moves of the other; "
                "is the reward that of the player who moved?"
            )
    if game.has_key and _comes_back(probe, moves):
        yield (
            "step: a position came back within a game, so games need not end: self_play.max_moves (`max_moves` of a "
            "match) ends them, which the network cannot foresee, or the state has a limit of its own"
        )
    if isinstance(game, BatchedGame) and game.num_players == 2:
        count = int(game.cut_off(cast(History, moves.after.state)).sum())
        if count:
            yield (
                f"max_moves: {_percent(count / (1 + int(moves.before.game.max())))} of the games were ended by it, "
                f"after {game.rules.max_moves} moves; they count as draws"
            )
    if game.discrete and int(legal.max()) == 1:
        yield "legal: nowhere was there more than one move"


# Numbers as text


def _rate(seconds: float) -> str:
    """How many a second, in two figures."""
    rate = float(f"{1 / max(seconds, 1e-9):.1e}")
    return f"{rate / 1e6:.2g} million" if rate >= 1e6 else f"{rate:,.0f}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _share(holds: Tensor) -> str:
    return _percent(float(holds.float().mean())) if len(holds) else "nothing"


def _spread(numbers: Tensor) -> str:
    return f"{float(numbers.float().mean()):.3g} on average, {_range(numbers)}"


def _range(numbers: Tensor) -> str:
    low, high = (float(bound) for bound in numbers.aminmax())
    return f"{low:.3g} to {high:.3g}" if low < high else f"always {low:.3g}"
