"""Self-play: a batch of games that never stops, and the samples that come out of it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from alphazero.config import SearchConfig, SelfPlayConfig
from alphazero.game import Game, State, batch_size, concatenate, map_states, random_actions, take, where
from alphazero.mcts.cuda_graph import GATE
from alphazero.mcts.evaluator import EvaluationError, Evaluator, TimedEvaluator
from alphazero.mcts.planning import planners
from alphazero.mcts.policy import policy_of
from alphazero.mcts.search import search
from alphazero.mcts.tree_search import SearchResult
from alphazero.network.cache import CachedEvaluator
from alphazero.replay import Arrays, Samples, no_actions, state_of, to_arrays

DECIDED = 0.9  # a value, for either player, from which on little is open
ROUNDING = 1e-6  # by which a value may be beyond 1 or -1
TINY = 1e-12  # of a probability
ROOM = 64  # moves of each game for which there is room at first


@dataclass
class SelfPlayStatistics:
    """Counts of one stream over one iteration; they add up over streams."""

    moves: int = 0
    samples: int = 0
    simulations: int = 0
    evaluations: int = 0
    cache_asked: int = 0
    cache_found: int = 0
    depth: int = 0  # sum over searches of the deepest edge
    games: int = 0
    game_moves: int = 0
    first_player_wins: int = 0
    draws: int = 0
    decided: int = 0  # moves of finished games whose root value was beyond DECIDED
    returns: float = 0.0  # of the player who moves first, discounted
    cut_off: int = 0  # games that were ended by max_moves
    proven: int = 0  # games that ended before their end, by the search's proof
    resigned: int = 0  # games in which a player resigned
    unresigned: int = 0  # games in which a player would have resigned, but was among those who must not
    wrong: int = 0  # of these, games that this player did not lose
    beyond: int = 0  # games in which the return of some move was not in [-1, 1]
    seconds: float = 0.0  # CPU time of the stream's thread
    inference_seconds: float = 0.0

    def __add__(self, other: SelfPlayStatistics) -> SelfPlayStatistics:
        return SelfPlayStatistics(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))


class Trajectories(NamedTuple):
    """The games under way in G slots, up to T moves each; a slot's first `length` moves count.

    states: fields [G, T, ...], before each move and behind the last; action [G, T] int64, the move; policy [G, T, A];
    root_value, reward, surprise [G, T], see `surprise`; mover [G, T] int8; sampled [G, T, K, D], in a Box game the
    actions that action and policy are about, in a discrete one [G, T, 0, 0]; length [G] int64.
    """

    states: State
    action: Tensor
    policy: Tensor
    root_value: Tensor
    reward: Tensor
    surprise: Tensor
    mover: Tensor
    sampled: Tensor
    length: Tensor

    @classmethod
    def from_arrays(cls, game: Game, arrays: Arrays) -> Trajectories:
        """The trajectories that `replay.to_arrays` was given. KeyError if another game made them."""
        # Runs from before there were games with continuous actions have none of these, and older ones no surprise.
        older = {"sampled": no_actions(*arrays["action"].shape).numpy(), "surprise": np.zeros_like(arrays["reward"])}
        arrays = older | arrays
        return cls(state_of(game, arrays, "states"), *(torch.from_numpy(arrays[name]) for name in cls._fields[1:]))


class Ended(NamedTuple):
    """Games that ended in some slots.

    early:   [G] bool, whether by resignation or by a proof.
    control: [G] bool, whether nobody resigned there, whatever the value.
    """

    games: Trajectories
    early: Tensor
    control: Tensor


class Played(NamedTuple):
    """The outcome of a segment: samples of the games that ended, counts, and one of these games.

    game: in one slot; None if no game ended. Its first moves may be of an earlier segment.
    """

    samples: Samples
    statistics: SelfPlayStatistics
    game: Trajectories | None


def stream_generator(*seed: int, device: str = "cpu") -> torch.Generator:
    """A generator of its own for each sequence of integers, such as (run's seed, stream, iteration)."""
    state = np.random.SeedSequence(seed).generate_state(1, np.uint64)[0]
    return torch.Generator(device).manual_seed(int(state >> np.uint64(1)))


def fresh_starts(game: Game, count: int, config: SelfPlayConfig, generator: torch.Generator) -> State:
    """`count` starts: a share of them after random moves, none of them finished."""
    state = game.initial(count, generator=generator)
    device = generator.device
    opened = torch.rand(count, generator=generator, device=device) < config.opening_share
    moves = torch.randint(1, max(2, config.opening_moves + 1), (count,), generator=generator, device=device)
    moves = torch.where(opened, moves.clamp(max=config.opening_moves), 0)
    for move in range(config.opening_moves):
        following, _, done = game.step(state, random_actions(game, state, generator))
        state = where((move < moves) & ~done, following, state)
    return state


class Starts:
    """Fresh starts for games one after the other.

    On a GPU, where many of them take as long as one, they are made for many moves at once.
    """

    def __init__(self, game: Game, config: SelfPlayConfig, generator: torch.Generator) -> None:
        self.game, self.config, self.generator = game, config, generator
        self.at_once = 0 if generator.device.type == "cpu" else config.parallel_games
        self.ready: State | None = None

    def take(self, count: int) -> State:
        if self.ready is None or batch_size(self.ready) < count:
            self.ready = fresh_starts(self.game, max(count, self.at_once), self.config, self.generator)
        first, self.ready = take(self.ready, slice(count)), take(self.ready, slice(count, None))
        return first


class SelfPlay:
    """One stream of self-play: a fixed number of slots, each always in the middle of a game.

    A game that ends gives its samples and its slot starts the next one at once. Games go on from
    one segment to the next, so no slot idles, and every game that starts is played to its end
    and kept, whatever its length up to `max_moves`: cutting off at a segment's end would prefer short games.

    `play` depends on the games under way, the evaluator and (seed, stream, segment) alone, not on
    time or on other streams.
    """

    def __init__(
        self,
        game: Game,
        search_config: SearchConfig,
        config: SelfPlayConfig,
        *,
        seed: int,
        stream: int,
        arrays: Arrays | None = None,
    ) -> None:
        """arrays: the games under way, as for `load`; None: all slots start new ones."""
        self.game, self.search_config, self.config = game, search_config, config
        self.seed = (seed, stream)
        # Slots in which players resign. Values may be beyond -1 by rounding.
        self.resign_below = config.resign_below if config.resign_below > -1 else -math.inf
        self.resigning = round(config.resign_share * config.parallel_games)
        self.segments = 0  # the number of the next call of `play`, where each follows the one before it
        self.cache: CachedEvaluator | None = None
        self._sure_room = 0  # moves for which there is room in any case; on a GPU, asking costs time
        if arrays is not None:
            self.load(arrays)
            return
        generator = stream_generator(*self.seed, 0, device=config.device)
        self.state = fresh_starts(game, config.parallel_games, config, generator)
        self.moves_played = torch.zeros(config.parallel_games, dtype=torch.int64, device=config.device)
        self.games_under_way = self._room(ROOM)

    def _room(self, moves: int) -> Trajectories:
        slots, device = self.config.parallel_games, self.config.device
        choices, sampled = policy_of(self.game).shapes(self.search_config)

        def zeros(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.zeros(slots, moves, *shape, dtype=dtype, device=device)

        return Trajectories(
            states=map_states(lambda f: zeros(*f.shape[1:], dtype=f.dtype), self.state),
            action=zeros(dtype=torch.int64),
            policy=zeros(choices),
            root_value=zeros(),
            reward=zeros(),
            surprise=zeros(),
            mover=zeros(dtype=torch.int8),
            sampled=zeros(*sampled),
            length=torch.zeros(slots, dtype=torch.int64, device=device),
        )

    def positions(self, count: int) -> State:
        """At most `count` positions of the games under way, evenly from all of them."""
        games = self.games_under_way
        moves = torch.arange(games.reward.shape[1], device=games.length.device)
        made = moves < games.length[:, None]
        found = map_states(lambda field, now: torch.cat((field[made], now)), games.states, self.state)
        index = torch.linspace(0, batch_size(found) - 1, min(count, batch_size(found)), device=made.device)
        return take(found, index.long())

    def play(
        self,
        evaluator: Evaluator,
        segment: int,
        *,
        simulations: int | None = None,
        progress: Callable[[int], None] = lambda moves: None,
    ) -> Played:
        """Makes `config.moves` moves in every slot.

        segment:     its number, from which the random numbers follow.
        simulations: a move; None: as many as the search's configuration says.
        """
        started = time.thread_time()
        generator = stream_generator(*self.seed, segment + 1, device=self.config.device)
        starts = Starts(self.game, self.config, generator)
        timed = TimedEvaluator(evaluator)
        cached = self._with_cache(timed)
        ask = planners(self.game, timed, self.search_config, cached=cached)
        search_config = replace(self.search_config, simulations=simulations or self.search_config.simulations)
        statistics = SelfPlayStatistics()
        statistics.moves = self.config.parallel_games * self.config.moves
        statistics.simulations = statistics.moves * search_config.simulations
        depth, cut_off, proven, resigned = (torch.zeros_like(self.moves_played) for _ in range(4))
        parts: list[Samples] = []
        ended: list[Ended] = []
        game = None
        for move in range(1, self.config.moves + 1):
            with GATE.using(self.config.device):
                result = search(ask.inner, self.game, self.state, search_config, generator, root_evaluator=ask.root)
                depth += result.depth
                # On a GPU nothing waits for the search before this: what follows it is asked for while it runs.
                done, cut, known, given_up = self._move(result, generator)
                cut_off += cut
                proven += known
                resigned += given_up
                finished = (done | cut | known | given_up).nonzero()[:, 0]
                if len(finished):
                    early = (known | given_up)[finished]
                    ended.append(Ended(take(self.games_under_way, finished), early, finished >= self.resigning))
                    self._restart(finished, starts.take(len(finished)))
                # Many games at a time, which take as long as one on a GPU; not too many for the memory.
                many = sum(len(games.early) for games in ended) >= self.config.parallel_games
                if ended and (many or move == self.config.moves):
                    game = first_game(ended[-1].games)
                    parts.append(self._harvest(ended, segment, statistics))
                    ended = []
            progress(self.config.parallel_games)
        statistics.depth, statistics.cut_off, statistics.proven, statistics.resigned = (
            int(n.sum()) for n in (depth, cut_off, proven, resigned)
        )
        # Of a network on a GPU, nobody has looked at what it answers.
        if not self.games_under_way.root_value.isfinite().all():
            raise EvaluationError("the network answers with values that are no numbers")
        if self.cache:
            statistics.cache_asked, statistics.cache_found = self.cache.asked, self.cache.found
        statistics.evaluations, statistics.inference_seconds = timed.evaluations, timed.seconds
        nobody = torch.zeros(0, dtype=torch.bool, device=self.config.device)
        none = Ended(take(self.games_under_way, slice(0)), nobody, nobody)
        samples = concatenate(parts or [self._harvest([none], segment, statistics)])
        samples = samples._replace(weight=weights(samples.weight, self.config.surprise_weight))
        statistics.samples = samples.size
        statistics.seconds = time.thread_time() - started
        self.segments = segment + 1
        return Played(samples, statistics, game)

    def _with_cache(self, evaluator: Evaluator) -> Evaluator:
        if self.config.cache == 0 or not self.game.has_key:
            return evaluator
        if self.cache is None:
            self.cache = CachedEvaluator(
                self.game, evaluator, capacity=self.config.cache, memory=self.config.cache_mb << 20
            )
        else:
            self.cache.renew(evaluator)
        return self.cache

    def _move(self, result: SearchResult, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Plays a move in every slot, and writes it down.

        Returns where the game ended, where it went on but has its `max_moves`, and where it would go on but its outcome
        is known, or the player who moved resigns: [G] bool each.
        """
        action = result.action
        if self.config.temperature_moves:
            # Divided by its greatest, since with a low temperature all powers would be 0.
            shares = (result.policy / result.policy.amax(-1, keepdim=True)) ** (1 / self.config.temperature)
            drawn = torch.multinomial(shares, 1, generator=generator)[:, 0]
            action = torch.where(self.moves_played < self.config.temperature_moves, drawn, action)
        transition = self.game.step(self.state, result.moves(action))
        self.moves_played = self.moves_played + 1
        cut, reward = ~transition.done & (self.moves_played >= self.config.max_moves), transition.reward
        known = ~transition.done & ~cut & result.proven & self.config.end_proven
        valued = cut | known if self.config.at_max_moves == "value" else known
        reward = torch.where(valued, result.value, reward)
        slots = torch.arange(self.config.parallel_games, device=self.config.device)
        hopeless = (result.value < self.resign_below) & (slots < self.resigning)
        resigned = hopeless & ~(transition.done | cut | known)
        reward = torch.where(resigned, -1.0, reward)
        games = self.games_under_way
        room = games.reward.shape[1]
        if self._sure_room == 0:
            longest = int(games.length.max())
            if longest + 1 >= room:  # the position behind the last move needs a place as well
                room *= 2
                games = self.games_under_way = map_states(partial(_with_room, room), games)
            self._sure_room = room - longest - 1
        self._sure_room -= 1
        row = slots, games.length
        for stored, now, following in zip(games.states, self.state, transition.state, strict=True):
            stored[row] = now
            stored[slots, games.length + 1] = following
        games.action[row] = action
        games.policy[row] = result.policy
        games.root_value[row] = result.value
        games.reward[row] = reward
        games.surprise[row] = surprise(result)
        games.mover[row] = self.game.to_play(self.state)
        if result.actions is not None:
            games.sampled[row] = result.actions
        games.length.add_(1)
        self.state = transition.state
        return transition.done, cut, known, resigned

    def _harvest(self, ended: Sequence[Ended], segment: int, statistics: SelfPlayStatistics) -> Samples:
        """The samples of finished games, on the CPU; as weight they have their surprise."""
        moves = 1 + max(torch.cat([part.games.length for part in ended]).tolist(), default=0)
        games, early, control = concatenate(
            [part._replace(games=map_states(partial(_with_room, moves), part.games)) for part in ended]
        )
        mover, length = games.mover, games.length
        left = length[:, None] - torch.arange(moves, device=length.device)
        outcome, value = targets(
            games.reward, mover, games.root_value, length, discount=self.game.discount, td_lambda=self.config.td_lambda
        )
        result = torch.where(mover[:, 0] == 0, outcome[:, 0], -outcome[:, 0])
        statistics.games += len(length)
        statistics.game_moves += int(length.sum())
        statistics.first_player_wins += int((result > 0).sum())
        statistics.draws += int((result == 0).sum())
        statistics.decided += int(((games.root_value.abs() > DECIDED) & (left > 0)).sum())
        statistics.returns += float(result.sum())

        made = (left > 0).nonzero(as_tuple=True)
        # Nobody resigns with the move that ends the game.
        hopeless = (games.root_value < self.resign_below) & (left > 1) & control[:, None]
        statistics.unresigned += int(hopeless.any(1).sum())
        first = hopeless.int().argmax(1, keepdim=True)
        statistics.wrong += int((hopeless.any(1) & (outcome.gather(1, first)[:, 0] >= 0)).sum())
        statistics.beyond += int(((outcome.abs() > 1 + ROUNDING) & (left > 0)).any(1).sum())
        samples = Samples(
            state=map_states(lambda f: f[made], games.states),
            end=map_states(lambda f: f[made[0], length[made[0]]], games.states),
            policy=games.policy[made],
            value=value[made],
            outcome=outcome[made],
            drawn=(outcome[made] == 0).float(),
            root_value=games.root_value[made],
            plies_left=left[made].int(),
            iteration=torch.full_like(made[0], segment, dtype=torch.int32),
            weight=games.surprise[made],
            sampled=games.sampled[made],
            played_out=1 - early[made[0]].float(),
        )
        return map_states(Tensor.cpu, samples)

    def _restart(self, slots: Tensor, starts: State) -> None:
        self.state = map_states(lambda now, new: now.index_copy(0, slots, new), self.state, starts)
        self.games_under_way.length[slots] = 0
        self.moves_played[slots] = 0

    def arrays(self) -> Arrays:
        """The games under way as plain arrays, for `checkpoint`."""
        now = {f"now.{name}": array for name, array in to_arrays(self.state).items()}
        counts = {"moves_played": self.moves_played.cpu().numpy(), "segments": np.array(self.segments)}
        return now | to_arrays(self.games_under_way) | counts

    def load(self, arrays: Arrays) -> None:
        """Takes up a copy of the games that `arrays` returned.

        KeyError or ValueError if they are not of this game and size.
        """
        # Copies: the arrays may lie in memory that is shared, or that cannot be written.
        arrays = {name: array.copy() for name, array in arrays.items()}
        state, games = state_of(self.game, arrays, "now"), Trajectories.from_arrays(self.game, arrays)
        if len(state[0]) != self.config.parallel_games:
            raise ValueError(f"{len(state[0])} games under way, not {self.config.parallel_games}")
        choices, _ = policy_of(self.game).shapes(self.search_config)
        if games.policy.shape[2] != choices:
            raise ValueError(f"{games.policy.shape[2]} sampled actions, not {choices}")
        moves_played = torch.from_numpy(arrays["moves_played"])
        # Older runs call segments turns; the oldest do not count them.
        self.segments = int(arrays.get("segments", arrays.get("turns", self.segments)))
        here = partial(Tensor.to, device=self.config.device)
        self.state, self.moves_played = map_states(here, state), here(moves_played)
        self.games_under_way = map_states(here, games)
        self._sure_room = 0

    def skip_to(self, segment: int) -> None:
        """Makes this the number of the next segment."""
        self.segments = segment


def first_game(games: Trajectories) -> Trajectories:
    """The first of these games, without the room beyond its moves, on the CPU."""
    moves = int(games.length[0])
    return map_states(lambda field: _with_room(moves, field[:1]).cpu().clone(), games)


def _with_room(moves: int, field: Tensor) -> Tensor:
    """The field with room for so many moves, no more and no less; lengths, which have none, as they are."""
    if field.dim() == 1:
        return field
    missing = moves - field.shape[1]
    if missing <= 0:
        return field[:, :moves]
    return torch.cat((field, field.new_zeros(len(field), missing, *field.shape[2:])), 1)


def surprise(result: SearchResult) -> Tensor:
    """[B], how far the search moved the policy from its prior: KL(pi' || prior), in nats. PUCT's prior has noise."""
    ratio = result.policy.clamp(min=TINY).log() - result.prior.clamp(min=TINY).log()
    return (result.policy * ratio).sum(-1).clamp(min=0)


def weights(surprise: Tensor, share: float) -> Tensor:
    """[M], of samples with these surprises [M]: `share` of all weight by surprise, the rest evenly; 1 on average."""
    if share == 0 or not surprise.any():
        return torch.ones_like(surprise)
    return 1 - share + share * surprise / surprise.mean()


def targets(
    reward: Tensor, mover: Tensor, root_value: Tensor, length: Tensor, *, discount: float, td_lambda: float
) -> tuple[Tensor, Tensor]:
    """Outcome and value target of every move [G, T], for the player who moved; junk beyond `length` [G].

    outcome_t = r_t + gamma_t outcome_t+1
    target_t = (1 - lambda) v_t + lambda (r_t + gamma_t target_t+1), v the search's root value,
    with gamma_t negative where another player moves next (TD(lambda), Sutton 1988). A target is in [-1, 1], as all
    values are: a reward on the way and an estimate of what follows may add up to more, and then it is at the bound.
    """
    outcome, target = torch.zeros_like(reward), torch.zeros_like(reward)
    following_outcome = torch.zeros_like(reward[:, 0])
    following_target = torch.zeros_like(following_outcome)
    following_mover = mover[:, 0]
    for t in range(reward.shape[1] - 1, -1, -1):
        gamma = torch.where(mover[:, t] == following_mover, discount, -discount)
        gamma = torch.where(t + 1 < length, gamma, 0.0)
        outcome[:, t] = following_outcome = reward[:, t] + gamma * following_outcome
        later = reward[:, t] + gamma * following_target
        mixed = (1 - td_lambda) * root_value[:, t] + td_lambda * later
        # Rounding is left as it is, so that it makes no difference to games that are rewarded at their ends alone.
        target[:, t] = following_target = torch.where(mixed.abs() > 1 + ROUNDING, mixed.sign(), mixed)
        following_mover = mover[:, t]
    return outcome, target
