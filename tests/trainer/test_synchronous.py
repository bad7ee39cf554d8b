"""Training: the result hangs on the seed alone, and survives being stopped and killed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from alphazero.arena.match import SoloResult, play_alone, play_match
from alphazero.arena.players import AgentPlayer, NetworkPlayer, RandomPlayer
from alphazero.config import load_config, make_config
from alphazero.learner import Learner
from alphazero.mcts.evaluator import Evaluator
from alphazero.report.run_report import report_sections
from alphazero.runs.agents import load_agent
from alphazero.runs.checkpoint import checkpoints, load_games, load_weights
from alphazero.selfplay import Played, SelfPlay
from games.tic_tac_toe import TicTacToe
from tests.stubs import Drift
from tests.training_runs import (
    ROOT,
    SMALL,
    Train,
    Whole,
    assert_same,
    run,
    start,
    wait_for_checkpoints,
    whole_run,
    write,
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    return whole_run(tmp_path_factory.getbasetemp())


def test_one_seed_gives_the_same_weights_on_any_number_of_threads(tmp_path: Path, whole: Whole) -> None:
    three, same_results = run(replace(SMALL, threads=3), tmp_path / "three")
    assert_same(whole.tensors, three)
    assert whole.results == same_results
    other, _ = run(replace(SMALL, seed=2, evaluation=replace(SMALL.evaluation, every=0)), tmp_path / "other")
    assert any((whole.tensors[name] != other[name]).any() for name in other)


def test_a_run_that_was_stopped_ends_as_if_it_had_not_been(tmp_path: Path, whole: Whole) -> None:
    two = replace(SMALL, threads=2)
    _, none = run(two, tmp_path / "stopped", stop_after=1)
    assert none == {}
    assert [path.name for path in checkpoints(tmp_path / "stopped")] == ["000001", "000002"]
    resumed, same_results = run(two, tmp_path / "stopped", resume=True)
    assert_same(whole.tensors, resumed)
    assert whole.results == same_results


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


class Keyless(TicTacToe):
    """A game that leaves out everything optional that the engine can do without."""

    has_key = False


def test_a_game_without_keys_and_opponents_trains_and_says_so(tmp_path: Path, train: Train) -> None:
    plain = replace(
        SMALL,
        game="tests.trainer.test_synchronous:Keyless",
        iterations=2,
        evaluation=replace(SMALL.evaluation, opponents=()),
    )
    finished = train("--run", tmp_path / "run", config=write(tmp_path, plain))
    assert finished.returncode == 0, finished.stderr
    assert "Stopped" not in finished.stdout
    assert (tmp_path / "run" / "agent.onnx").is_file()
    merging = train("--run", tmp_path / "other", "--replay.merge", "log", config=tmp_path / "config.toml")
    assert merging.returncode == 2
    assert 'set replay.merge = "none"' in merging.stderr


def test_a_run_cannot_be_resumed_to_fewer_iterations_or_from_damage(tmp_path: Path, train: Train, whole: Whole) -> None:
    shutil.copytree(whole.folder, tmp_path / "run")
    fewer = train("--resume", tmp_path / "run", "--iterations", 2)
    assert fewer.returncode == 2
    assert "has 4 iterations behind it" in fewer.stderr
    for path in checkpoints(tmp_path / "run"):
        (path / "replay.npz").unlink(missing_ok=True)
    damaged = train("--resume", tmp_path / "run")
    assert damaged.returncode == 1
    assert "has no whole checkpoint" in damaged.stderr
    assert "replay.npz is missing" in damaged.stderr


def test_learning_that_gives_no_number_is_reported_and_loses_nothing(tmp_path: Path, train: Train) -> None:
    reckless = replace(
        SMALL, learner=replace(SMALL.learner, optimizer="sgd", learning_rate=1e30, clip=1e30, warmup=0.0)
    )
    finished = train("--run", tmp_path / "run", config=write(tmp_path, reckless))
    assert finished.returncode == 1
    assert "the loss is" in finished.stderr
    assert "learner.learning_rate" in finished.stderr
    assert checkpoints(tmp_path / "run")


def test_killed_at_any_moment_a_run_goes_on_from_its_last_checkpoint(tmp_path: Path, train: Train) -> None:
    long = write(tmp_path, replace(SMALL, iterations=100_000))
    process = start(long, "--run", tmp_path / "run")
    wait_for_checkpoints(tmp_path / "run", 2)
    process.kill()
    process.communicate()
    done = int(checkpoints(tmp_path / "run")[-1].name)
    resumed = train("--resume", tmp_path / "run", "--iterations", done + 2)
    assert resumed.returncode == 0, resumed.stderr
    assert f"iterations: 100000 -> {done + 2}" in resumed.stdout
    assert int(checkpoints(tmp_path / "run")[-1].name) == done + 2


def test_ctrl_c_finishes_the_iteration_and_saves(tmp_path: Path) -> None:
    process = start(write(tmp_path, replace(SMALL, iterations=100_000)), "--run", tmp_path / "run")
    wait_for_checkpoints(tmp_path / "run", 1)
    before = len(list((tmp_path / "run" / "checkpoints").iterdir()))
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert before >= 1
    assert "everything saved" in out
    assert f"--resume {tmp_path / 'run'}" in " ".join(out.split())
    assert "Traceback" not in out + err


def test_tic_tac_toe_is_learned_to_perfection(tmp_path: Path) -> None:
    recipe = load_config(ROOT / "configs" / "tic_tac_toe.toml")
    # Matches on the way change nothing of what is learned; those at the end are played all the same.
    recipe = replace(recipe, evaluation=replace(recipe.evaluation, every=0))
    _, results = run(recipe, tmp_path / "run")
    perfect = results["strength/minimax:9"]
    assert perfect.total.games == 200
    assert perfect.total.losses == 0
    # Perfect play of both sides is a draw, so nobody wins either.
    assert perfect.total.draws + perfect.total.wins == 200
    learner = Learner(TicTacToe(), recipe.learner, recipe.network, seed=5)
    load_weights(checkpoints(tmp_path / "run")[-1], TicTacToe(), learner)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "name either a configuration"),
        (["no_such.toml"], "no_such.toml: cannot be read"),
        (["configs/tic_tac_toe.toml", "--search.simulation", "3"], "--search.simulations"),
        (["configs/tic_tac_toe.toml", "--search.simulations", "0"], "greater than or equal to 1"),
        (["configs/tic_tac_toe.toml", "--game", "games.chess:Chess"], "cannot import 'games.chess'"),
        (["configs/tic_tac_toe.toml", "--game", "games.tic_tac_toe:Tic"], "it offers TicTacToe"),
        (["configs/trebuchet.toml", "--replay.merge", "log"], 'set replay.merge = "none"'),
        (["configs/trebuchet.toml", "--game", "games.tic_tac_toe:TicTacToe"], "search.refine_steps"),
        (["--resume", "tests"], "is not a run"),
        (["--resume", "a", "--run", "b"], "leave --run away"),
        (["configs/tic_tac_toe.toml", "--run", "tests"], "tests exists already"),
        (["configs/tic_tac_toe.toml", "--run", "/proc/run"], "cannot write"),
        (["configs/tic_tac_toe.toml", "--game", "tests.stubs:Mine"], "set evaluation.opponents = []"),
        (["configs/tic_tac_toe.toml", "--game", "tests.stubs:Mine", "--evaluation.opponents"], 'use "scalar"'),
        (["configs/tic_tac_toe.toml", "--evaluation.opponents", "minmax:3"], "no player is called 'minmax:3'"),
        (["configs/tic_tac_toe.toml", "--self_play.device", "cuda:7"], "cuda:7"),
    ],
)
def test_bad_input_gets_one_clear_error(arguments: list[str], complaint: str, train: Train) -> None:
    finished = train(*arguments)
    assert finished.returncode != 0
    assert complaint in " ".join((finished.stdout + finished.stderr).replace("│", " ").split())
    assert "Traceback" not in finished.stderr


def test_help_explains_every_section(train: Train) -> None:
    shown = train("--help")
    assert shown.returncode == 0
    for option in ("--search.simulations", "--learner.learning_rate", "--replay.window", "--evaluation.opponents"):
        assert option in shown.stdout
    assert "AlphaZero: 800" in shown.stdout


def test_a_full_disk_gives_one_clear_error_and_keeps_what_was_saved(tmp_path: Path, train: Train) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], check=False).returncode:
        pytest.skip("only root can mount a small disk")
    try:
        finished = train("--run", disk / "run", config=write(tmp_path, replace(SMALL, iterations=1_000)))
        assert finished.returncode == 1
        assert "No space left on device" in finished.stderr
        assert "--resume" in finished.stderr
        assert "Traceback" not in finished.stderr
        whole = checkpoints(disk / "run")
        assert whole
        assert not list((disk / "run" / "checkpoints").glob(".*"))
    finally:
        subprocess.run(["umount", disk], check=True)


def test_games_are_kept_under_the_streams_that_played_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = replace(
        SMALL,
        iterations=16,
        self_play=replace(SMALL.self_play, streams=3, games=1, moves=1),
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


CONTINUOUS = make_config(
    {
        "game": "tests.stubs:Drift",
        "iterations": 12,
        "search": {"simulations": 16, "refine_steps": 4, "refine_gain": 0.02, "rollout_moves": 1, "sharpening": 2.0},
        "network": {"kind": "dense", "blocks": 2, "width": 32, "value_head": "scalar"},
        "self_play": {"streams": 2, "games": 32, "moves": 6, "opening_share": 0.0, "opening_moves": 0},
        "replay": {"start": 1000, "window": 1000},
        "learner": {"batch": 64, "replay_ratio": 16.0, "learning_rate": 3e-3},
        "evaluation": {"opponents": [], "every": 0, "games": 50, "simulations": 16},
    },
    source="test",
)


def test_continuous_actions_are_learned(tmp_path: Path) -> None:
    """Drift's best reward is known in closed form; what a random player earns is far below."""
    _, results = run(CONTINUOUS, tmp_path / "run", game=Drift())
    agent, network = results["strength/alone"], results["network/alone"]
    assert isinstance(agent, SoloResult)
    assert isinstance(network, SoloResult)
    starts = Drift().initial(100, generator=torch.Generator().manual_seed(CONTINUOUS.seed))
    best = Drift().optimal_value(starts).mean().item()
    random = play_alone(Drift(), RandomPlayer(Drift(), seed=1), games=100, seed=CONTINUOUS.seed).mean
    assert best - random > 0.2
    assert best - 0.05 < agent.mean <= best + 1e-4
    assert best - 0.03 < network.mean <= best + 1e-4
    assert not any(section.missing for section in report_sections(tmp_path / "run"))
    loaded = load_agent(tmp_path / "run" / "agent.onnx")
    again = play_alone(Drift(), NetworkPlayer(loaded.game, loaded.evaluator), games=100, seed=CONTINUOUS.seed)
    assert again.mean == pytest.approx(network.mean, abs=1e-6)


def test_with_continuous_actions_too_a_stopped_run_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    short = replace(CONTINUOUS, iterations=3, self_play=replace(CONTINUOUS.self_play, games=8))
    whole, results = run(short, tmp_path / "whole", game=Drift())
    run(short, tmp_path / "stopped", stop_after=1, game=Drift())
    resumed, same_results = run(short, tmp_path / "stopped", resume=True, game=Drift())
    assert_same(whole, resumed)
    assert results == same_results
