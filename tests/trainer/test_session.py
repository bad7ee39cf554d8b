"""A training session: a stopped run goes on as if it had not been, games are kept, and the agent is measured."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from alphazero.arena.evaluation import EvaluationMatches
from alphazero.arena.match import play_match
from alphazero.arena.players import AgentPlayer, NetworkPlayer, RandomPlayer
from alphazero.config import ConfigError, NetworkConfig
from alphazero.game import Transition, masked
from alphazero.mcts.evaluator import Evaluator
from alphazero.report.fixed_positions import fixed_positions
from alphazero.runs import checkpoint
from alphazero.runs.agents import load_agent
from alphazero.runs.checkpoint import checkpoints, load_games
from alphazero.runs.files import RunError
from alphazero.selfplay import Played, SelfPlay
from alphazero.trainer.session import Session
from games.tic_tac_toe import TicTacToe, TicTacToeState
from tests.cpu_clock import CpuClock
from tests.stubs import Drift, Waiting
from tests.tensorboard_events import events
from tests.training_runs import CONTINUOUS, SMALL, Whole, assert_same, open_small, run, train_session


def test_a_run_that_was_stopped_ends_as_if_it_had_not_been(tmp_path: Path, whole: Whole) -> None:
    two = replace(SMALL, threads=2)
    _, none = run(two, tmp_path / "stopped", stop_after=1)
    assert none == {}
    assert [path.name for path in checkpoints(tmp_path / "stopped")] == ["000001", "000002"]
    resumed, same_results = run(two, tmp_path / "stopped", resume=True)
    assert_same(whole.tensors, resumed)
    assert whole.results == same_results


class Killed(Exception):
    """Stands for a death of the process."""


@pytest.mark.parametrize("at", [2, 4])
def test_a_run_that_ends_right_after_a_checkpoint_lacks_nothing_and_leaves_nothing_over(
    at: int, tmp_path: Path, whole: Whole, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the iteration that was saved last, every second of which exports the agent and shows its policies."""
    folder = tmp_path / "run"

    def die(folder: Path, *, every: int) -> None:
        if checkpoints(folder)[-1].name == f"{at:06d}":
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "prune_checkpoints", die)
        with pytest.raises(Killed):
            run(SMALL, folder)
    assert (folder / "agent.onnx").is_file()
    resumed, same_results = run(SMALL, folder, resume=True)
    assert_same(whole.tensors, resumed)
    assert whole.results == same_results
    mine, theirs = (
        {path.relative_to(top).as_posix() for path in top.rglob("*") if not path.name.startswith("events.")}
        for top in (folder, whole.folder)
    )
    assert mine == theirs
    with np.load(folder / "policies.npz") as policies, np.load(whole.folder / "policies.npz") as expected:
        assert list(policies) == ["1", "3"]
        for name in expected:
            np.testing.assert_array_equal(policies[name], expected[name])


def test_a_game_that_need_not_end_is_learned_from_measured_and_told_of(tmp_path: Path) -> None:
    play = replace(SMALL.self_play, moves=6, opening_share=0.0, max_moves=14)
    config = replace(SMALL, self_play=play, evaluation=replace(SMALL.evaluation, games=2))
    session, results = train_session(config, tmp_path / "run", game=Waiting())
    history = session.monitor.history
    assert [history[i]["self_play/games"] for i in range(4)] == [0, 0, 48, 0]
    assert history[2]["self_play/cut_off"] == 48
    assert all(math.isfinite(scalar) for row in history.values() for scalar in row.values())
    assert history[3]["buffer/staleness"] == 1
    log = (tmp_path / "run" / "log.txt").read_text()
    assert (
        log.count("No game ended in iteration 1, so there is nothing new to learn from. The longest has 6 moves") == 1
    )
    assert "iteration 2, so" not in log
    assert "No game ended in iteration 4" in log
    assert results["strength/random"].points > 0.5


def test_so_does_one_with_convolutions_in_onnx_runtime(tmp_path: Path) -> None:
    """Exporting to ONNX changes how torch computes while it lasts, so it must not overlap learning."""
    convolutions = replace(
        SMALL,
        network=replace(SMALL.network, kind="residual", blocks=1, width=8),
        self_play=replace(SMALL.self_play, engine="onnx"),
        learner=replace(SMALL.learner, precision="float32"),
        evaluation=replace(SMALL.evaluation, opponents=(), every=0),
    )
    whole, _ = run(convolutions, tmp_path / "whole")
    run(convolutions, tmp_path / "stopped", stop_after=1)
    resumed, _ = run(convolutions, tmp_path / "stopped", resume=True)
    assert_same(whole, resumed)


def test_with_continuous_actions_too_a_stopped_run_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    short = replace(CONTINUOUS, iterations=3, self_play=replace(CONTINUOUS.self_play, parallel_games=8))
    whole, results = run(short, tmp_path / "whole", game=Drift())
    run(short, tmp_path / "stopped", stop_after=1, game=Drift())
    resumed, same_results = run(short, tmp_path / "stopped", resume=True, game=Drift())
    assert_same(whole, resumed)
    assert results == same_results


OWN = replace(
    SMALL,
    network=NetworkConfig(kind="tests.own_networks:Varied", options={"width": 16}),
    evaluation=replace(SMALL.evaluation, opponents=(), every=2),
)


@pytest.mark.parametrize("engine", ["onnx", "torch"])
def test_with_a_network_of_ones_own_too_and_dropout_in_it(engine: str, tmp_path: Path) -> None:
    own = replace(OWN, self_play=replace(OWN.self_play, engine=engine))
    whole, _ = run(replace(own, threads=1), tmp_path / "whole")
    run(own, tmp_path / "stopped", stop_after=1)
    resumed, _ = run(own, tmp_path / "stopped", resume=True)
    assert_same(whole, resumed)
    states = TicTacToe().initial(2)
    exported, checkpoint = (
        load_agent(tmp_path / "whole" / path).evaluator(states, torch.Generator())
        for path in ("agent.onnx", "checkpoints/000004")
    )
    torch.testing.assert_close(exported.logits, checkpoint.logits)
    torch.testing.assert_close(exported.value, checkpoint.value)


def test_a_network_that_breaks_a_promise_is_refused_before_there_is_a_folder(tmp_path: Path) -> None:
    for kind, broken in (
        ("Scalar", "value must be"),
        ("Nowhere", "it offers Plain"),
        ("Branching", "cannot be exported"),
    ):
        config = replace(SMALL, network=NetworkConfig(kind=f"tests.own_networks:{kind}"))
        with pytest.raises(ConfigError, match=broken), open_small(config, tmp_path / "run"):
            pass
    assert not (tmp_path / "run").exists()


def test_a_run_does_not_go_on_with_another_network(tmp_path: Path) -> None:
    run(replace(OWN, iterations=1), tmp_path / "run")
    wider = open_small(replace(OWN, network=replace(OWN.network, options={"width": 24})), tmp_path / "run", resume=True)
    fault = r"does not fit this .* size mismatch for network\.module\.body\.weight .* \[16, 18\], not \[24, 18\]"
    with pytest.raises(RunError, match=fault), wider:
        pass
    assert len(checkpoints(tmp_path / "run")) == 1


def test_games_are_kept_under_the_streams_that_played_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = replace(
        SMALL,
        iterations=16,
        self_play=replace(SMALL.self_play, streams=3, parallel_games=1, moves=1),
        evaluation=replace(SMALL.evaluation, opponents=(), every=0),
    )
    ended: dict[int, set[int]] = {}
    play = SelfPlay.play

    def watched(stream: SelfPlay, evaluator: Evaluator, iteration: int, **settings: Any) -> Played:
        played = play(stream, evaluator, iteration, **settings)
        if played.statistics.games:
            ended.setdefault(iteration, set()).add(stream.seed[1])
        return played

    monkeypatch.setattr(SelfPlay, "play", watched)
    run(few, tmp_path / "run")
    kept = {int(path.stem): set(load_games(tmp_path / "run", int(path.stem), TicTacToe()))
            for path in (tmp_path / "run" / "games").iterdir()}  # fmt: skip
    assert kept == ended
    assert any(0 < len(streams) < 3 and 0 not in streams for streams in kept.values())


def test_the_network_alone_is_measured_beside_the_agent(whole: Whole) -> None:
    agent = load_agent(whole.folder / "agent.onnx")
    game, evaluation = agent.game, SMALL.evaluation
    for tag, player in (
        ("network/random", NetworkPlayer(game, agent.evaluator)),
        ("strength/random", AgentPlayer(game, agent.evaluator, replace(agent.search, simulations=8), SMALL.seed)),
    ):
        assert whole.results[tag] == play_match(
            game, player, RandomPlayer(game, SMALL.seed), games=2 * evaluation.games, seed=SMALL.seed,
            opening_plies=evaluation.opening_moves,
        )  # fmt: skip


def test_the_agent_s_policies_in_fixed_positions_are_shown_and_kept(whole: Whole) -> None:
    """After every second iteration, of four."""
    shown = events(whole.folder)
    for tag in ("policy/fixed_positions", "positions/1", "positions/2", "positions/3", "positions/4"):
        assert [image.step for image in shown.Images(tag)] == [1, 3]
    with np.load(whole.folder / "policies.npz", allow_pickle=False) as archive:
        kept = dict(archive)
    assert list(kept) == ["1", "3"]
    agent = load_agent(whole.folder / "agent.onnx")
    positions = fixed_positions(agent.game, SMALL)
    logits = agent.evaluator(positions, torch.Generator()).logits
    expected = masked(logits, agent.game.legal(positions)).softmax(1)
    np.testing.assert_allclose(kept["3"], expected, atol=1e-6)


class Slow(TicTacToe):
    """Tic-tac-toe whose step takes three milliseconds a position."""

    def __init__(self, clock: CpuClock) -> None:
        self.clock = clock

    def step(self, state: TicTacToeState, action: Tensor) -> Transition[TicTacToeState]:
        self.clock.now += 3e-3 * len(action)
        return super().step(state, action)


def test_the_time_of_slow_rules_is_told_from_the_tree_s(tmp_path: Path, cpu_clock: CpuClock) -> None:
    short = replace(SMALL, iterations=1, evaluation=replace(SMALL.evaluation, opponents=(), every=0))
    session, _ = train_session(short, tmp_path / "slow", game=Slow(cpu_clock))
    history = session.monitor.history[0]
    assert history["time/rules"] > 0.7
    assert history["time/tree"] < 0.2
    shares = sum(history[f"time/{part}"] for part in ("inference", "tree", "rules", "learning"))
    assert shares == pytest.approx(1)
    assert "step takes 3" in (tmp_path / "slow" / "log.txt").read_text()


def test_ctrl_c_while_the_agent_is_measured_ends_the_run_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The matches would take hours; all that was trained is saved."""
    original = EvaluationMatches.start

    def start(*arguments: Any, **options: Any) -> None:
        original(*arguments, **options)
        threading.Timer(0.5, os.kill, [os.getpid(), signal.SIGINT]).start()

    monkeypatch.setattr(EvaluationMatches, "start", start)
    monkeypatch.setattr(Session, "opponents", ["random"])
    endless = replace(SMALL.evaluation, every=0, games=200, simulations=5_000)
    started = time.monotonic()
    session, results = train_session(replace(SMALL, iterations=1, evaluation=endless), tmp_path / "run")
    assert results == {}
    assert time.monotonic() - started < 60
    assert session.run.progress.iteration == 1
    assert "Stopping: the agent is saved, but stays unmeasured" in (tmp_path / "run" / "log.txt").read_text()
    assert load_agent(tmp_path / "run").game.name == "tic_tac_toe"


def test_ctrl_c_before_the_first_checkpoint_leaves_no_folder_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        assert (tmp_path / "run" / "config.toml").is_file()
        raise KeyboardInterrupt

    monkeypatch.setattr("alphazero.trainer.session.NetworkEvaluators", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(SMALL, tmp_path / "run")
    assert list(tmp_path.iterdir()) == []
