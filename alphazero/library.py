"""The engine for notebooks and programs of one's own, in the few names that `import alphazero` offers.

    import alphazero

    agent = alphazero.load_agent("connect_four")  # one that comes with the package, a run's folder, or an agent.onnx
    agent.think("4453").move                      # after these moves; or of a board, or of many positions at once
    alphazero.match(agent, "minimax:5", games=20)
    agent = alphazero.train("tic_tac_toe", "runs/mine", callback=lambda iteration, metrics: print(iteration))
    alphazero.read_metrics("runs/mine")["loss/total"]

docs/library.md shows each at work.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, cast, overload

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor

from alphazero.arena.evaluation import PlayMatch, player_seeds
from alphazero.arena.match import OPENING_MOVES, MatchResult, SoloResult
from alphazero.arena.plan import plan
from alphazero.arena.players import AgentPlayer, Player, parse_budget
from alphazero.arena.registry import PlayerSpec, agent_spec, find_player, named_spec
from alphazero.config import MAX_MOVES, Config
from alphazero.game import ILLEGAL, Game, PythonGame, State, as_game, batch_size, concatenate, load_game
from alphazero.game.conformance import check_game
from alphazero.game.grid import read_board
from alphazero.game.loading import is_loaded_as
from alphazero.game.pace import one_thread
from alphazero.game.record import Record, format_moves
from alphazero.mcts.tree_search import TreeSearch
from alphazero.network.cache import with_cache
from alphazero.network.threads import on_all_cores
from alphazero.parallel.executor import ThreadExecutor, available_cores
from alphazero.report.benchmark import Steps
from alphazero.report.terminal import LITERAL
from alphazero.runs import agents
from alphazero.runs.checkpoint import read_config, run_folder
from alphazero.runs.configuration import configuration_file
from alphazero.runs.configuration import load_config as read_configuration
from alphazero.runs.files import AGENT, CONFIG, METRICS, RunError
from alphazero.runs.metrics import read_history
from alphazero.runs.shipped import agent_file
from alphazero.trainer.run import Stopped
from alphazero.trainer.session import Callback, no_callback, train_run

Position = str | Sequence[int] | NDArray[Any] | Tensor | Record | State
"""A position of a game, in one of these forms:

- the moves from the start, as people write them ("4453", "a1 b2") or as actions ([3, 3, 4, 2]), or a `Record` of them:
  "" and [] are the start;
- a board: lines of x, o and . as a terminal shows it, or an array [rows, columns] in which 1 stands for a mark of the
  first player, 2 for one of the second, and 0 for none; for games with `Game.from_board`;
- a state of the game with a batch of one, as its `initial` and `step` return it.
"""


class Thought(NamedTuple):
    """What an agent thinks of a position. All values are for the player to move, from -1 to 1.

    move:   what it would play, as people write it.
    action: the same as the game's `step` takes it: a number, or a tuple of them where actions are continuous.
    value:  what the player to move can expect, by the search.
    policy: by move, the share that the search gives it (its improved policy), 1 in all; illegal moves are left out.
            Where moves are about equal, `move` may be another than the likeliest.
    prior:  by move, the share that the network alone gives it.
    raw_value: the network's own value, without search.
    line:   how the game would go on, from `move` on.
    plies:  where the search has proven the value, how many moves it takes to the end; else None.
    """

    move: str
    action: int | tuple[float, ...]
    value: float
    policy: dict[str, float]
    prior: dict[str, float]
    raw_value: float
    line: str
    plies: int | None


class Agent(agents.Agent):
    """A trained agent: its `game`, its network as an `evaluator`, and the settings of its `search`."""

    @overload
    def think(
        self, position: Position = "", *, to_play: int | None = None, simulations: int = 600,
        seconds: float | None = None, seed: int = 0,
    ) -> Thought: ...  # fmt: skip
    @overload
    def think(
        self, position: list[Position], *, to_play: int | None = None, simulations: int = 600,
        seconds: float | None = None, seed: int = 0,
    ) -> list[Thought]: ...  # fmt: skip
    def think(
        self, position: Position | list[Position] = "", *, to_play: int | None = None, simulations: int = 600,
        seconds: float | None = None, seed: int = 0,
    ) -> Thought | list[Thought]:  # fmt: skip
        """What it thinks of a position, or of each of a list of them, which are searched together.

        to_play:     who moves, 0 or 1, where a board does not tell.
        simulations: of the search, for each position; or `seconds` of it instead.
        ValueError if there is no such position, or the game is over there.
        """
        several = isinstance(position, list) and not all(isinstance(one, int | np.integer) for one in position)
        positions = cast(list[Position], position) if several else [cast(Position, position)]
        states = [state_of(self.game, one, to_play) for one in positions]
        budget = parse_budget(str(simulations) if seconds is None else f"{seconds:f}s")
        config = replace(self.search, simulations=budget.simulations)
        player = AgentPlayer(self.game, self.evaluator, config, seed, seconds=budget.seconds)
        with one_thread():
            thoughts = [
                self._thought(trees, row)
                for trees in player.searches(concatenate(states))
                for row in range(trees.tree.batch)
            ]
        return thoughts if several else thoughts[0]

    def _thought(self, trees: TreeSearch, row: int) -> Thought:
        found = trees.result()
        chosen = int(found.action[row])
        action: int | tuple[float, ...]
        if found.actions is None:
            legal = (trees.tree.logits[row, 0] != ILLEGAL).nonzero()[:, 0].tolist()
            names = {a: self.game.action_name(a) for a in legal}
            action, line = chosen, format_moves(self.game, trees.main_line(row))
        else:
            names = {a: " ".join(f"{x:.6g}" for x in move.tolist()) for a, move in enumerate(found.actions[row])}
            action, line = tuple(found.actions[row, chosen].tolist()), names[chosen]
        return Thought(
            move=names[chosen],
            action=action,
            value=float(found.value[row]),
            policy={name: float(found.policy[row, a]) for a, name in names.items()},
            prior={name: float(found.prior[row, a]) for a, name in names.items()},
            raw_value=float(found.raw_value[row]),
            line=line,
            plies=int(found.plies[row]) if found.proven[row] else None,
        )


def load_agent(source: Path | str, *, game: str | None = None, network: str | None = None) -> Agent:
    """A trained agent: that of a run's or a checkpoint's folder, an agent.onnx, or by its name one that ships.

    game, network: their import paths, where neither this project nor an installed package registers them.
    RunError if there is none, or one of them must be named.
    """
    found = agents.load_agent(agent_file(source), game=game, network=network)
    evaluator = with_cache(found.game, on_all_cores(found.evaluator, available_cores()))
    return Agent(*found._replace(evaluator=evaluator))


def state_of(game: Game, position: Position, to_play: int | None = None) -> State:
    """The position, see `Position`, as a state of the game: a batch of one, unfinished.

    to_play: who moves, where a board does not tell. ValueError if there is none, or the game is over there.
    """
    if isinstance(position, str):
        board = read_board(position) if "\n" in position.strip() else None
        state = Record(game, position).state if board is None else _from_board(game, board[0], board[1], to_play)
    elif isinstance(position, np.ndarray | Tensor):
        state = _from_board(game, torch.as_tensor(position), None, to_play)
    elif isinstance(position, Record):
        state = position.state
    elif isinstance(position, game.state_type):
        state = position
        if batch_size(state) != 1:
            raise ValueError(f"a state must be a batch of one here, not of {batch_size(state)}; give them as a list")
    else:
        record = Record(game)
        for action in cast(Sequence[int], position):
            record.play(int(action))
        state = record.state
    if _is_over(game, state):
        raise ValueError(f"the game is over there, so there is nothing to think about:\n{game.render(state)}")
    return state


def _from_board(game: Game, board: Tensor, said: int | None, to_play: int | None) -> State:
    """`game.from_board` of a board of the right form. said: who moves, by the board's own text."""
    if not game.has_boards:
        raise ValueError(f"{game.name} takes no boards, since its class has no `from_board`; give the moves instead")
    if tuple(board.shape) != (expected := tuple(game.observation_shape[-2:])):
        raise ValueError(f"a board of {game.name} has shape {expected}, not {tuple(board.shape)}")
    if not bool(((board == 0) | (board == 1) | (board == 2)).all()):
        raise ValueError("a board holds 0 (empty), 1 (the first player's, x) and 2 (the second's, o), nothing else")
    if to_play not in (None, 0, 1):
        raise ValueError(f"to_play must be 0 or 1, not {to_play!r}")
    return game.from_board(board.to(torch.int8), said if to_play is None else to_play)


def _is_over(game: Game, state: State) -> bool:
    """Whether a step changes nothing but is done, as `step` promises of finished states."""
    action = game.actions.random(game.legal(state), torch.Generator().manual_seed(0))
    successor, _, done = game.step(state, action)
    return bool(done) and all(torch.equal(before, after) for before, after in zip(state, successor, strict=True))


def load_config(name: Path | str) -> Config:
    """The configuration in a TOML file, or by its name one that ships, such as connect_four. ConfigError if none is."""
    return read_configuration(configuration_file(str(name)))


def train(
    config: Config | Path | str,
    folder: Path | str,
    *,
    game: Game | PythonGame | None = None,
    resume: bool = False,
    callback: Callback = no_callback,
    quiet: bool = False,
) -> Agent:
    """Trains an agent in a new folder, and returns it. Ctrl-C stops it after the iteration under way, with all saved.

    config:   the configuration, its file, or the name of one that ships; see `load_config`.
    game:     the game, if it is not the configuration's: an object of a class of your own, for example.
    resume:   go on with the run that is in the folder, to the end that `config` sets.
    callback: called after each iteration, when it is saved: with the number of iterations so far, and the metrics of
              the last one by their tags in metrics.csv. It may raise StopIteration to end the training there.
    quiet:    show nothing.

    ConfigError if game and configuration do not fit, RunError if the folder cannot be used, ConformanceError if the
    game breaks a promise.
    """
    folder = Path(folder)
    if not resume and (folder / CONFIG).exists():
        raise RunError(f"{folder} holds a run already: resume=True goes on with it, or name another folder")
    config = config if isinstance(config, Config) else load_config(config)
    rules = load_game(config.game) if game is None else as_game(game)
    if game is not None and not is_loaded_as(config.game, rules):
        config = replace(config, game=_import_path(rules))
    check_game(rules, games=16)
    try:
        session, _ = train_run(
            rules,
            config,
            folder,
            saved=read_config(folder) if resume else None,
            console=Console(quiet=quiet, **LITERAL),
            callback=callback,
        )
    except Stopped:  # by Ctrl-C, before there was anything to save, or a second time
        raise KeyboardInterrupt from None
    config = session.run.config
    network = config.network.kind if config.network.own else None
    return load_agent(folder / AGENT, game=config.game, network=network)


def _import_path(game: Game) -> str:
    """`module:Class` of a game whose class is made without arguments. ValueError for another."""
    path = f"{game.defined_by.__module__}:{game.defined_by.__qualname__}"
    if not is_loaded_as(path, game):
        raise ValueError(
            f"files would call this game {path}, which is another one; set `game` of the configuration to its import "
            f"path with its arguments, such as {path}(side=8)"
        )
    return path


def match(
    player: Agent | Player | str,
    opponent: Agent | Player | str | None = None,
    *,
    game: Game | None = None,
    games: int = 200,
    simulations: int = 600,
    opening_moves: int = OPENING_MOVES,
    seed: int = 1,
) -> MatchResult | SoloResult:
    """Plays games between two players, half with the seats changed; in a game for one, the games of one player.

    player, opponent: an agent, any object with `actions(states)`, or a name as on the command line: "random",
                      "minimax:5", "mcts:1000", "perfect"; beside an agent also "network", its network alone.
    game:          the game, if neither is an agent.
    simulations:   of agents, a move.
    opening_moves: random moves, at most, before the players' own.

    The same seed gives the same result, apart from times. `result.points` is the share of the points.
    """
    sides = [player] if opponent is None else [player, opponent]
    agent = next((one for one in sides if isinstance(one, agents.Agent)), None)
    rules = agent.game if agent else game
    if rules is None:
        raise ValueError("neither player is an agent: name the game, as in match(..., game=ConnectFour())")
    budget = parse_budget(str(simulations))

    def spec(one: Agent | Player | str) -> PlayerSpec:
        if isinstance(one, agents.Agent):
            if one.game.name != rules.name:
                raise ValueError(f"one agent plays {one.game.name}, and the other {rules.name}")
            return agent_spec(None, one, budget)
        if isinstance(one, str):
            return find_player(one, agent, budget) if agent else named_spec(one, rules)
        return PlayerSpec(getattr(one, "name", type(one).__name__), lambda seed: one)

    longest = agent.max_moves if agent else MAX_MOVES
    played = PlayMatch("", rules, games, seed, player_seeds(seed), opening_moves, longest)
    with one_thread():
        return played.run(None, lambda done: None, *map(spec, sides))


def benchmark(
    source: Path | str,
    *,
    against: Sequence[str] | None = None,
    positions: Sequence[Path | str] = (),
    games: int = 200,
    simulations: int = 600,
    seed: int = 1,
    quiet: bool = False,
) -> dict[str, Any]:
    """The figures of an agent as `alphazero benchmark` measures them: matches, and mistakes on solved positions.

    source:    as for `load_agent`. against: names of players; by default some of each kind.
    positions: files of solved positions.
    Returns what the script writes as JSON: `matches`, `positions`, and the settings.
    """
    with Steps(Console(quiet=quiet, **LITERAL)) as watcher:
        planned = plan(
            agent_file(source), watcher, against=against, games=games, budget=parse_budget(str(simulations)), seed=seed,
            files=[Path(file) for file in positions],
        )  # fmt: skip
        planned.run_all(watcher, ThreadExecutor(None, available_cores()))
    return planned.record()


def read_metrics(run: Path | str) -> dict[str, NDArray[np.float64]]:
    """The curves of a run: by tag a value for each iteration, NaN where there is none; "iteration" has their numbers.

    `pandas.DataFrame(read_metrics(run))` makes a table of them. RunError if the folder is not a run's.
    """
    folder = run_folder(Path(run))
    read_config(folder)  # so that a folder that is no run is told
    history = read_history(folder / METRICS)
    tags = dict.fromkeys(tag for scalars in history.values() for tag in scalars)
    columns = {tag: np.array([scalars.get(tag, np.nan) for scalars in history.values()]) for tag in tags}
    return {"iteration": np.array([*history], dtype=np.float64), **columns}
