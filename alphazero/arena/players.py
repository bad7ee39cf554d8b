"""Players: random, minimax, perfect, a network alone, and tree search.

A player answers one question, for a whole batch of states at once: which action in each? Its
randomness comes from the seed it was built with, so that a match can be played again. Only a player
with a search budget in seconds also depends on the machine's pace.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Generic, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from alphazero.arena.minimax import minimax
from alphazero.config import MAX_MOVES, MOST_SIMULATIONS, SearchConfig
from alphazero.game import ILLEGAL, Game, S, State, batch_size, box_of, masked, num_actions, random_actions, take
from alphazero.game.messages import printable
from alphazero.mcts.evaluator import Evaluation, Evaluator, UniformEvaluator
from alphazero.mcts.gaussian import raw_deviation
from alphazero.mcts.planning import Planners, likeliest, planners
from alphazero.mcts.policy import policy_of
from alphazero.mcts.search import search_trees
from alphazero.mcts.timed import search_by_clock
from alphazero.mcts.tree import tree_bytes
from alphazero.mcts.tree_search import TreeSearch
from alphazero.network.cache import with_cache
from alphazero.network.inference import averaged

# The limits of a budget; and of a search by seconds, whose trees take some 2 kB of memory for each simulation.
MOST_SECONDS, MOST_BY_CLOCK = 3600, 1 << 20
TREES = 1 << 30  # bytes of the trees that a search by simulations holds at once
MOST_PLIES = 100  # that minimax looks ahead: as deep it is slow even where there are two actions
TEMPERATURES = (1e-6, 1e6)  # the least and the greatest: scores divided by it stay numbers
NOTHING_NEW = 1000  # simulations in a row without a new position, after which a search by seconds may be over


class Player(Protocol):
    """Anything that answers `actions`."""

    name: str

    def actions(self, states: State) -> Tensor:
        """An action for each of B states: [B] int64, or [B, D] float32 in a Box game.

        A legal one where the state is unfinished, any where it is finished.
        """


class Answers(NamedTuple):
    """Answers about B states. actions: see `Player`. value: [B] float32 in [-1, 1], for the player to move, or None."""

    actions: Tensor
    value: Tensor | None


@runtime_checkable
class ValuingPlayer(Player, Protocol):
    """A player that also values the states."""

    def answers(self, states: State) -> Answers:
        """Its actions, and the values by which it chose them."""


class SearchBudget(NamedTuple):
    """How long a player searches each state: a number of simulations, or where it is given a time in seconds."""

    simulations: int
    seconds: float | None = None

    def __str__(self) -> str:
        return f"{self.simulations}" if self.seconds is None else f"{self.seconds:g}s"


class RandomPlayer:
    """Every legal action with the same probability; in a Box game, uniform in the box."""

    def __init__(self, game: Game, seed: int) -> None:
        self.name = "random"
        self._game = game
        self._generator = torch.Generator().manual_seed(seed)

    def actions(self, states: State) -> Tensor:
        return random_actions(self._game, states, self._generator)


class ScorePlayer:
    """Draws among the actions with the highest score; with a temperature T > 0 among all, by softmax(score / T)."""

    def __init__(self, name: str, scores: Callable[[State], Tensor], seed: int, temperature: float = 0.0) -> None:
        """scores: [B, A] of B states, -inf where an action is illegal."""
        self.name = f"{name}@{temperature:g}" if temperature else name
        self._scores, self._temperature = scores, temperature
        self._generator = torch.Generator().manual_seed(seed)

    def actions(self, states: State) -> Tensor:
        scores = self._scores(states)
        best = scores.amax(1, keepdim=True)
        if self._temperature == 0:
            ticket = torch.rand(scores.shape, generator=self._generator).to(scores.device)
            return torch.where(scores == best, ticket, -1.0).argmax(1)
        shares = torch.where(best == -torch.inf, 0.0, scores / self._temperature).softmax(1)
        return torch.multinomial(shares.cpu(), 1, generator=self._generator)[:, 0].to(scores.device)


class MinimaxPlayer(ScorePlayer):
    """Looks `depth` plies ahead with `minimax`."""

    def __init__(self, game: Game, depth: int, seed: int, *, temperature: float = 0.0) -> None:
        if not 1 <= depth <= MOST_PLIES:
            raise ValueError(f"minimax looks 1 to {MOST_PLIES} plies ahead, not {printable(depth)}")
        num_actions(game)  # a game with continuous actions is refused here, not at the first move
        self._minimax = partial(minimax, game, depth=depth, best_only=temperature == 0)
        super().__init__(f"minimax:{depth}", self._minimax, seed, temperature)

    def watch(self, check: Callable[[int], object]) -> None:
        """Calls `check(0)` again and again while it looks ahead; it may raise to end that."""
        self._scores = partial(self._minimax, check=check)


class PerfectPlayer(ScorePlayer):
    """Draws among the actions that the game's own solver finds best: the soonest win or the latest loss."""

    def __init__(self, game: Game, seed: int) -> None:
        """ValueError if the game has no solver, or the package that it needs is not installed."""
        if not game.has_solver:
            raise ValueError(game.solver_help)
        super().__init__("perfect", game.solve, seed)


class NetworkPlayer(ScorePlayer):
    """The network's policy without search: its likeliest legal action, or with a temperature T > 0 drawn
    from softmax(logits / T). It is averaged over the game's symmetries, which a search does not need: there it gains
    less than the time it takes. ValueError for a temperature in a game with continuous actions."""

    def __init__(self, game: Game, evaluator: Evaluator, seed: int = 0, *, temperature: float = 0.0) -> None:
        if temperature and not game.discrete:
            raise ValueError(f"{game.name} has continuous actions, among which the network plays without temperature")
        super().__init__("network", self._legal_logits, seed, temperature)
        self._game, self._evaluator = game, averaged(game, evaluator)

    def actions(self, states: State) -> Tensor:
        return self.answers(states).actions

    def answers(self, states: State) -> Answers:
        evaluation = self._evaluator(states, self._generator)
        drawn = super().actions(states) if self._temperature else likeliest(self._game, states, evaluation)
        return Answers(drawn, evaluation.value)

    def _legal_logits(self, states: State) -> Tensor:
        logits = masked(self._evaluator(states, self._generator).logits, self._game.legal(states))
        return torch.where(logits == ILLEGAL, -torch.inf, logits)


class AgentPlayer:
    """Searches from every state and plays the search's choice; evaluations are cached where the game has keys.

    With `seconds` it ignores `config.simulations`, and takes that time for each state. It answers sooner where there is
    one legal action, where a search finds no new position any more, or after MOST_BY_CLOCK simulations.
    """

    def __init__(
        self, game: Game, evaluator: Evaluator, config: SearchConfig, seed: int, *, seconds: float | None = None
    ) -> None:
        self.budget = SearchBudget(config.simulations, seconds)
        self.name = f"agent:{self.budget}"
        self._game, self._config = game, config
        self._planners = planners(game, evaluator, config, cached=with_cache(game, evaluator))
        self._generator = torch.Generator().manual_seed(seed)

    def actions(self, states: State) -> Tensor:
        return self.answers(states).actions

    def answers(self, states: State) -> Answers:
        """The search's choices, and the roots' values."""
        found = [trees.result() for trees in self.searches(states)]
        actions = torch.cat([of_part.moves(of_part.action) for of_part in found])
        return Answers(actions, torch.cat([of_part.value for of_part in found]))

    def searches(self, states: State) -> Iterator[TreeSearch]:
        """The search trees of the states, as many at once as the memory allows."""
        batch, at_once = batch_size(states), batch_size(states)
        if self.budget.seconds is None:
            width, _ = policy_of(self._game).shapes(self._config)
            at_once = max(1, TREES // tree_bytes(states, self._config.simulations + 1, width))
        for start in range(0, batch, at_once):
            yield self.think(take(states, slice(start, start + at_once)))

    def think(self, states: State, *, since: TreeSearch | None = None) -> TreeSearch:
        """The search trees that the actions come from.

        since: those of its thoughts about an earlier position of this game, with which it goes on if they hold the
               position; its moves then depend on what came before.
        """
        root, inner = self._planners
        begun = None if since is None else since.below(states)
        if self.budget.seconds is None:
            return search_trees(
                inner, self._game, states, self._config, self._generator, root_evaluator=root, begun=begun
            )
        clock = Clock(self.budget.seconds * batch_size(states), inner)  # from now on: compiled rules may have to load
        if self._game.discrete and bool((self._game.legal(states).sum(1) <= 1).all()):
            clock.seconds = 0.0
        config = replace(self._config, simulations=MOST_BY_CLOCK)
        return search_by_clock(
            clock.evaluate, self._game, states, config, self._generator, clock.share, root_evaluator=root, begun=begun
        )

    def watch(self, check: Callable[[int], object]) -> None:
        """Makes it call `check(0)` before each evaluation; see `Stoppable`."""

        def evaluate(evaluator: Evaluator, states: State, generator: torch.Generator) -> Evaluation:
            check(0)
            return evaluator(states, generator)

        self._planners = Planners(*(partial(evaluate, evaluator) for evaluator in self._planners))


class Clock:
    """The clock of a search, and its evaluator; see `search_by_clock`.

    The search is over, too, once the evaluator has not been asked for NOTHING_NEW simulations in a row, nor for as many
    as it had been asked in before: then every line that the search takes ends with the game.

    seconds: what it may take from now on; with 0 it is as short as can be.
    """

    def __init__(self, seconds: float, evaluator: Evaluator) -> None:
        self.seconds, self._evaluator = seconds, evaluator
        self._started = time.monotonic()
        self._asked, self._unasked = 0, 0  # how often, and simulations since

    def evaluate(self, states: State, generator: torch.Generator) -> Evaluation:
        self._asked, self._unasked = self._asked + 1, -1
        return self._evaluator(states, generator)

    def share(self) -> float:
        """The share of the time that is over."""
        self._unasked += 1
        if self.seconds == 0 or self._unasked >= max(NOTHING_NEW, self._asked):
            return 1.0
        return (time.monotonic() - self._started) / self.seconds


class Stoppable:
    """A player that calls `check(0)` before each move, and again and again while it searches or looks ahead.

    `check` may raise to end the match: a move of many simulations takes minutes.
    """

    def __init__(self, player: Player, check: Callable[[int], object]) -> None:
        self.name, self._player, self._check = player.name, player, check
        if isinstance(player, AgentPlayer | MinimaxPlayer):
            player.watch(check)

    def actions(self, states: State) -> Tensor:
        return self.answers(states).actions

    def answers(self, states: State) -> Answers:
        """The player's; no values if it has none."""
        self._check(0)
        if isinstance(self._player, ValuingPlayer):
            return self._player.answers(states)
        return Answers(self._player.actions(states), None)


# Over uniform priors: in connect-four, 200 simulations took 44 % of the points from minimax of depth 3
# with a c_init of 2.0, and 14, 32 and 38 % with 0.7, 4 and 7.
ROLLOUT_SEARCH = SearchConfig(algorithm="puct", c_init=2.0, dirichlet_fraction=0.0)


class RolloutEvaluator(Generic[S]):
    """Uniform priors; the value is the mean return of games that are played on at random (as in plain MCTS).

    A game longer than `max_moves` from here counts with its rewards so far.
    """

    def __init__(self, game: Game[S], *, rollouts: int = 1, max_moves: int = MAX_MOVES) -> None:
        self.game, self.rollouts, self.uniform, self.max_moves = game, rollouts, UniformEvaluator(game), max_moves

    def __call__(self, states: S, generator: torch.Generator) -> Evaluation:
        evaluation = self.uniform(states, generator)
        batch, device = batch_size(states), states[0].device
        state = take(states, torch.arange(batch, device=device).repeat(self.rollouts))
        viewer = self.game.to_play(state)
        gain = torch.zeros(len(viewer), device=device)
        worth = torch.ones_like(gain)  # the discount so far
        for _ in range(self.max_moves):
            mover = self.game.to_play(state)
            state, reward, done = self.game.step(state, random_actions(self.game, state, generator))
            gain = gain + worth * torch.where(mover == viewer, reward, -reward)
            worth = worth * self.game.discount
            if done.all():
                break
        return evaluation._replace(value=gain.view(self.rollouts, batch).mean(0))


class RolloutPlayer(AgentPlayer):
    """Plain Monte-Carlo tree search: uniform priors, and a random game played out from every new node.

    It plays the most visited action.
    """

    def __init__(self, game: Game, budget: SearchBudget, seed: int, *, max_moves: int = MAX_MOVES) -> None:
        config = replace(ROLLOUT_SEARCH, simulations=budget.simulations)
        rollouts = RolloutEvaluator(game, max_moves=max_moves)
        super().__init__(game, rollouts, config, seed, seconds=budget.seconds)
        self._planners = Planners(rollouts, rollouts)  # no cache: it would freeze the first rollout of every position
        self.name = f"mcts:{budget}"


NAMES = (
    "random, minimax:DEPTH as minimax:5, mcts:SIMULATIONS or mcts:SECONDSs as mcts:1000 or mcts:2s, or perfect; "
    "behind minimax, @ and a temperature as minimax:5@0.2"
)


def parse_player(text: str, game: Game, *, seed: int, names: str = NAMES, max_moves: int = MAX_MOVES) -> Player:
    """The player with this name, see NAMES. ValueError for other names, and if this game does not allow the player.

    names: the names that the message about another one lists. max_moves: of a rollout.
    """
    match = re.fullmatch(r"(random|minimax|mcts|perfect)(?::([^@:]+))?(?:@([^@:]+))?", text)
    kind, setting, temperature = match.groups() if match else ("", None, None)
    try:
        if text == "random":
            return RandomPlayer(game, seed)
        if text == "perfect":
            return PerfectPlayer(game, seed)
        if kind == "minimax" and setting and re.fullmatch(r"\d{1,9}", setting) and int(setting):
            return MinimaxPlayer(game, int(setting), seed, temperature=parse_temperature(temperature))
        if kind == "mcts" and setting and temperature is None:
            return RolloutPlayer(game, parse_budget(setting), seed, max_moves=max_moves)
    except TypeError as error:  # a game with continuous actions
        raise ValueError(str(error)) from error
    raise ValueError(f"no player is called {printable(text)}; expected {names}")


def parse_budget(text: str) -> SearchBudget:
    """`600` simulations or `2s`, seconds a move. ValueError otherwise."""
    if re.fullmatch(r"\d{1,9}", text) and 1 <= int(text) <= MOST_SIMULATIONS:
        return SearchBudget(int(text))
    if re.fullmatch(r"(\d+\.?\d*|\.\d+)s", text) and 0 < float(text[:-1]) <= MOST_SECONDS:
        return SearchBudget(MOST_SIMULATIONS, float(text[:-1]))
    raise ValueError(
        f"{printable(text)} is no search budget; expected simulations a move as 600, at most {MOST_SIMULATIONS}, "
        f"or seconds as 2s or 0.5s, at most {MOST_SECONDS}"
    )


def parse_temperature(text: str | None) -> float:
    """A number within TEMPERATURES, or 0, as for None. ValueError otherwise."""
    low, high = TEMPERATURES
    if re.fullmatch(r"\d+\.?\d*|\.\d+", text or "0"):
        temperature = float(text or "0")
        if temperature == 0 or low <= temperature <= high:
            return temperature
    expected = f"a number from 0, as 0.5, and otherwise from {low:g} to {high:g}"
    raise ValueError(f"{printable(text)} is no temperature; expected {expected}")


WIDE = 0.5  # standard deviation of an untrained policy, of half the Box


class UntrainedEvaluator(Generic[S]):
    """The output of a network for a Box game before any training: actions about the middle, widely, and values of 0."""

    def __init__(self, game: Game[S]) -> None:
        self.size = len(box_of(game).low)

    def __call__(self, states: S, generator: torch.Generator) -> Evaluation:
        mean = torch.zeros(batch_size(states), self.size, device=states[0].device)
        return Evaluation(torch.cat([mean, torch.full_like(mean, raw_deviation(WIDE))], 1), mean[:, 0])


# Search that refines its samples by the model's gradient, with no network trained for the model.
PLANNING = SearchConfig(
    simulations=4, sampled_actions=4, considered_actions=4, uniform_share=0.75, refine_steps=12, refine_gain=0.1
)


def planning_player(model: Game, config: SearchConfig = PLANNING) -> AgentPlayer:
    """Plans in a model of a Box game by search alone."""
    return AgentPlayer(model, UntrainedEvaluator(model), config, seed=1)
