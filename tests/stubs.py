"""Small games whose answers are known, to test the engine on."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from alphazero.game import Box, Discrete, Game, Transition


def _device(generator: torch.Generator | None) -> torch.device:
    return generator.device if generator is not None else torch.device("cpu")


class MineState(NamedTuple):
    """depth: [B] int64, 0 to 6; done: [B] bool."""

    depth: Tensor
    done: Tensor


class Mine(Game[MineState]):
    """For one, discounted: dig on at a cost, for the treasure at the bottom, or climb out with a little now.

    Action 0 climbs out, for 0.3; not from the deepest step. Action 1 digs a step deeper, for -0.05, and the
    last of the six steps is worth 1 instead.
    """

    name = "mine"
    num_players = 1
    actions = Discrete(2)
    observation_shape = (7,)
    discount = 0.9

    bottom = 6
    purse, cost = 0.3, 0.05

    def initial(self, batch: int, *, generator: torch.Generator | None = None) -> MineState:
        depth = torch.zeros(batch, dtype=torch.int64, device=_device(generator))
        return MineState(depth, depth.bool())

    def to_play(self, state: MineState) -> Tensor:
        return torch.zeros_like(state.depth, dtype=torch.int8)

    def legal(self, state: MineState) -> Tensor:
        return torch.stack((state.depth < self.bottom - 1, torch.ones_like(state.done)), 1)

    def step(self, state: MineState, action: Tensor) -> Transition[MineState]:
        depth = torch.where(state.done, state.depth, state.depth + action)
        found = depth == self.bottom
        reward = torch.where(action == 0, self.purse, torch.where(found, 1.0, -self.cost))
        done = state.done | (action == 0) | found
        return Transition(MineState(depth, done), torch.where(state.done, 0.0, reward), done)

    def observe(self, state: MineState) -> Tensor:
        return torch.nn.functional.one_hot(state.depth, self.bottom + 1).to(torch.float32)

    def key(self, state: MineState) -> Tensor:
        return 2 * state.depth + state.done

    def optimal_value(self, state: MineState) -> Tensor:
        """[B] float32. Digging on is best everywhere: discount^n - cost (1 - discount^n) / (1 - discount)
        with n more steps before the last; 0.39 at the start. At a finished state: 0.
        """
        remaining = self.discount ** (self.bottom - 1 - state.depth).to(torch.float32)
        value = remaining - self.cost * (1 - remaining) / (1 - self.discount)
        return torch.where(state.done, 0.0, value)


class DriftState(NamedTuple):
    """position: [B, 2] float32; steps: [B] int64, steps left, 0 at the end."""

    position: Tensor
    steps: Tensor


class Drift(Game[DriftState]):
    """For one, continuous: three pushes towards a buoy, from a random start.

    An action is how far to move in x and y. It costs EFFORT |action|^2, and after the last the reward is
    1 - SCALE |buoy - position|^2 besides.
    """

    name = "drift"
    num_players = 1
    actions = Box((-0.3, -0.2), (0.3, 0.2))
    observation_shape = (3,)

    steps = 3
    buoy = (0.5, -0.25)
    scale, effort = 0.45, 0.225

    def initial(self, batch: int, *, generator: torch.Generator | None = None) -> DriftState:
        device = _device(generator)
        position = (torch.rand((batch, 2), generator=generator, device=device) - 0.5) / 2
        return DriftState(position, torch.full((batch,), self.steps, device=device))

    def to_play(self, state: DriftState) -> Tensor:
        return torch.zeros_like(state.steps, dtype=torch.int8)

    def legal(self, state: DriftState) -> Tensor:
        return torch.zeros((len(state.steps), 0), dtype=torch.bool, device=state.steps.device)

    def step(self, state: DriftState, action: Tensor) -> Transition[DriftState]:
        finished = state.steps == 0
        position = torch.where(finished[:, None], state.position, state.position + action)
        successor = DriftState(position, (state.steps - 1).clamp(min=0))
        outcome = torch.where(successor.steps == 0, 1 - self.scale * self._distance(successor).square().sum(1), 0.0)
        reward = outcome - self.effort * action.square().sum(1)
        return Transition(successor, torch.where(finished, 0.0, reward), successor.steps == 0)

    def observe(self, state: DriftState) -> Tensor:
        return torch.cat((state.position, state.steps[:, None] / self.steps), 1)

    def _distance(self, state: DriftState) -> Tensor:
        return torch.tensor(self.buoy, device=state.position.device) - state.position

    def optimal_action(self, state: DriftState) -> Tensor:
        """[B, 2] float32, the same every step: distance / (effort / scale + steps left).

        It minimises n effort |a|^2 + scale |distance - n a|^2. Good from the start and along the best path;
        elsewhere the bounds can get in the way.
        """
        return self._distance(state) / (self.effort / self.scale + state.steps)[:, None]

    def optimal_value(self, state: DriftState) -> Tensor:
        """[B] float32, 1 less the minimum above, effort |distance|^2 / (effort / scale + steps left). Unfinished."""
        return 1 - self.effort * self._distance(state).square().sum(1) / (self.effort / self.scale + state.steps)


class WaitingState(NamedTuple):
    """turn: [B] int8, who moves; done: [B] bool."""

    turn: Tensor
    done: Tensor


class Waiting(Game[WaitingState]):
    """For two: action 0 waits, action 1 ends the game and loses. So games at random end soon, and good ones never."""

    name = "waiting"
    num_players = 2
    actions = Discrete(2)
    observation_shape = (1,)

    def initial(self, batch: int, *, generator: torch.Generator | None = None) -> WaitingState:
        turn = torch.zeros(batch, dtype=torch.int8, device=_device(generator))
        return WaitingState(turn, turn.bool())

    def to_play(self, state: WaitingState) -> Tensor:
        return state.turn

    def legal(self, state: WaitingState) -> Tensor:
        return torch.ones((len(state.turn), 2), dtype=torch.bool, device=state.turn.device)

    def step(self, state: WaitingState, action: Tensor) -> Transition[WaitingState]:
        ends = (action == 1) & ~state.done
        turn = torch.where(state.done, state.turn, 1 - state.turn)
        return Transition(WaitingState(turn, state.done | ends), torch.where(ends, -1.0, 0.0), state.done | ends)

    def observe(self, state: WaitingState) -> Tensor:
        return torch.ones((len(state.turn), 1), device=state.turn.device)

    def key(self, state: WaitingState) -> Tensor:
        return state.turn.long() + 2 * state.done.long()


class AgainState(NamedTuple):
    """pile: [B] int64, matches left, 0 at the end; turn: [B] int8, who moves."""

    pile: Tensor
    turn: Tensor


class Again(Game[AgainState]):
    """For two, who need not alternate: take 1, 2 or 3 of ten matches; a player who takes 3 moves again.

    The player who takes the last match wins, unless it goes with two others: a 3 that clears the pile loses. So the
    reward of the last move can be of either sign.
    """

    name = "again"
    num_players = 2
    actions = Discrete(3)
    observation_shape = (11,)

    matches = 10

    def initial(self, batch: int, *, generator: torch.Generator | None = None) -> AgainState:
        pile = torch.full((batch,), self.matches, device=_device(generator))
        return AgainState(pile, torch.zeros_like(pile, dtype=torch.int8))

    def to_play(self, state: AgainState) -> Tensor:
        return state.turn

    def legal(self, state: AgainState) -> Tensor:
        return torch.arange(1, 4, device=state.pile.device) <= state.pile[:, None]

    def step(self, state: AgainState, action: Tensor) -> Transition[AgainState]:
        running = state.pile > 0
        pile = (state.pile - action - 1).clamp(min=0)
        passes_on = running & (action != 2)
        cleared = torch.where(action == 2, -1.0, 1.0)
        reward = torch.where(running & (pile == 0), cleared, 0.0)
        return Transition(AgainState(pile, state.turn ^ passes_on.to(torch.int8)), reward, pile == 0)

    def observe(self, state: AgainState) -> Tensor:
        return torch.nn.functional.one_hot(state.pile, self.matches + 1).to(torch.float32)

    def key(self, state: AgainState) -> Tensor:
        return 2 * state.pile + state.turn

    def action_name(self, action: int) -> str:
        return str(action + 1)

    def optimal_value(self, state: AgainState) -> Tensor:
        """[B] float32, for the player to move: -1 at a multiple of 3 (0 at the end), else 1.

        From a multiple of 3, taking 3 leads to one with the same player to move, and at 3 itself it loses;
        1 or 2 leave the opponent with 1 or 2 over one. From those, taking just them wins.
        """
        lost = state.pile % 3 == 0
        return torch.where(state.pile == 0, 0.0, torch.where(lost, -1.0, 1.0))
