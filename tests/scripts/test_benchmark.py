"""scripts/benchmark.py on a run, a checkpoint and an exported agent, with every option, bad input and Ctrl-C."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from alphazero.arena.evaluation import PlayMatch
from alphazero.report.terminal import pace
from alphazero.runs.checkpoint import checkpoints
from alphazero.runs.trust import trust
from games.tic_tac_toe import TicTacToe
from scripts.benchmark import main
from tests.commands import Finished, call
from tests.small_benchmark import load_quickly, small_run
from tests.stubs import Mine
from tests.training_runs import SMALL, run

ROOT = Path(__file__).resolve().parents[2]


BenchmarkScript = Callable[..., Finished]


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> BenchmarkScript:
    """Runs scripts/benchmark.py within this process."""
    monkeypatch.setattr("alphazero.arena.plan.load_agent", load_quickly)

    def run(*arguments: object) -> Finished:
        return call(main, *arguments, monkeypatch=monkeypatch, capsys=capsys)

    return run


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy, so that files that one module's tests write do not reach the other's."""
    folder = tmp_path_factory.mktemp("scripts") / "run"
    shutil.copytree(small_run(tmp_path_factory.getbasetemp()), folder)
    return folder


def without_times(matches: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in match.items() if key != "seconds_a_move"} for match in matches]


def test_all_three_forms_of_an_agent_give_the_same_figures(
    trained: Path, tmp_path: Path, benchmark: BenchmarkScript
) -> None:
    records = []
    for agent in (trained, checkpoints(trained)[-1], trained / "agent.onnx"):
        finished = benchmark(
            agent, "--against", "random,minimax:2", "--games", 10, "--simulations", 4, "--json", tmp_path / "o"
        )
        assert finished.returncode == 0, finished.stderr
        assert "minimax:2" in finished.stdout
        records.append(json.loads((tmp_path / "o").read_text()))
    first, second, third = (without_times(record["matches"]) for record in records)
    assert first == second == third
    assert [(match["player"], match["opponent"]) for match in first] == [
        ("agent:4", "random"),
        ("network", "random"),
        ("agent:4", "minimax:2"),
        ("network", "minimax:2"),
    ]
    for match in records[0]["matches"]:
        assert match["wins"] + match["draws"] + match["losses"] == 10
        assert match["wins"] == match["first"]["wins"] + match["second"]["wins"]
        assert match["interval"][0] <= match["points"] <= match["interval"][1]
        assert min(match["seconds_a_move"].values()) > 0
    assert [record["iteration"] for record in records] == [4, None, None]
    assert all(record["complete"] for record in records)
    assert records[0]["curve"]
    assert records[1]["curve"] == records[2]["curve"] == []


def test_a_runs_folder_gets_its_curve(trained: Path, benchmark: BenchmarkScript) -> None:
    finished = benchmark(
        trained, "--against", "random", "--games", 8, "--simulations", 4, "--curve", 1, "--curve-simulations", 2
    )
    assert finished.returncode == 0, finished.stderr
    assert "agent:2 of iteration 2 against random: " in finished.stdout
    assert "points in % over the run" in finished.stdout
    record = json.loads((trained / "benchmark.json").read_text())
    assert {point["iteration"] for point in record["curve"]} == {2, 4}
    assert (trained / "benchmark.png").is_file()
    none = benchmark(trained, "--against", "random", "--games", 8, "--simulations", 4, "--curve", 0)
    assert "iteration 2" not in none.stdout
    assert json.loads((trained / "benchmark.json").read_text())["curve"] == []


def test_runs_play_each_other(trained: Path, tmp_path: Path, benchmark: BenchmarkScript) -> None:
    older = checkpoints(trained)[0]
    finished = benchmark(
        trained / "agent.onnx", "--against", f"{older}@3", "--games", 4, "--simulations", 2, "--json", tmp_path / "o"
    )
    assert finished.returncode == 0, finished.stderr
    matches = json.loads((tmp_path / "o").read_text())["matches"]
    assert [(match["player"], match["opponent"]) for match in matches] == [
        ("agent:2", f"{older}@3"),
        ("network", f"{older}@3"),
    ]


def test_a_round_robin_is_shown_with_ratings(trained: Path, tmp_path: Path, benchmark: BenchmarkScript) -> None:
    finished = benchmark(
        trained / "agent.onnx", "--tournament", "minimax:2, random", "--games", 12, "--simulations", 4,
        "--json", tmp_path / "o",
    )  # fmt: skip
    assert finished.returncode == 0, finished.stderr
    record = json.loads((tmp_path / "o").read_text())
    assert record["matches"] == []
    players = record["tournament"]["players"]
    assert {player["player"] for player in players} == {"agent:4", "minimax:2", "random"}
    assert sum(player["rating"] for player in players) == pytest.approx(0, abs=1e-6)
    assert all(player["low"] < player["rating"] < player["high"] for player in players)
    table = finished.stdout[finished.stdout.index("round robin") :]
    places = [line.split() for line in table.splitlines() if line.split()[:1] in (["1"], ["2"], ["3"])]
    assert [place[1] for place in places] == [player["player"] for player in players]


def test_positions_are_grouped_by_stage_and_difficulty(
    trained: Path, tmp_path: Path, benchmark: BenchmarkScript
) -> None:
    """x completes a row with 3 or blocks one, or does neither; the scores are by hand."""
    names = [TicTacToe().action_name(action) for action in range(9)]
    file = tmp_path / "positions.csv"
    moves = " ".join(names[action] for action in (0, 3, 1, 4))  # x on 0 and 1, o on 3 and 4: 2 wins, 5 saves a draw
    scores = ["", "", "1", "", "", "0", "-1", "-1", "-1"]
    file.write_text(f"moves,{','.join(f'score_{name}' for name in names)}\n{moves},{','.join(scores)}\n")
    finished = benchmark(
        trained / "agent.onnx", "--against", "minimax:1,random", "--games", 2, "--simulations", 16,
        "--positions", file, "--json", tmp_path / "o",
    )  # fmt: skip
    assert finished.returncode == 0, finished.stderr
    for column in ("beginning", "middle", "end", "easy", "medium", "hard"):
        assert column in finished.stdout
    positions = json.loads((tmp_path / "o").read_text())["positions"]
    assert [record["player"] for record in positions] == ["agent:16", "network", "minimax:1"]
    minimax = positions[2]
    assert (minimax["file"], minimax["positions"], minimax["mistakes"], minimax["error_rate"]) == (str(file), 1, 0, 0.0)
    assert minimax["groups"]["hard"]["positions"] == minimax["groups"]["beginning"]["positions"] == 1
    assert minimax["groups"]["end"] == {
        "positions": 0, "mistakes": 0, "error_rate": None, "interval": [0.0, 1.0],
    }  # fmt: skip
    assert minimax["groups"]["0-6"]["positions"] == 1
    assert (minimax["perfect_moves"], "value" in minimax) == (1.0, False)
    assert all(
        0 <= record["value"]["loss"] <= 4 and record["value"]["wrong_sign"] in (0, 1) for record in positions[:2]
    )
    for words in ("mistakes by ply", "0-6", "beside perfect play"):
        assert words in finished.stdout
    baseline = benchmark(trained / "agent.onnx", "--against", "", "--positions", file, "--simulations", 2)
    assert baseline.returncode == 0, baseline.stderr
    assert "minimax:5 on positions.csv: 0.00% mistakes" in baseline.stdout


def test_from_the_start_two_players_without_chance_repeat_themselves(
    trained: Path, tmp_path: Path, benchmark: BenchmarkScript
) -> None:
    found = {}
    for moves in (0, 2):
        finished = benchmark(
            trained / "agent.onnx", "--against", "network", "--games", 8, "--simulations", 2,
            "--opening-moves", moves, "--json", tmp_path / "o",
        )  # fmt: skip
        assert finished.returncode == 0, finished.stderr
        record = json.loads((tmp_path / "o").read_text())
        assert record["opening_moves"] == moves
        (found[moves],) = (match["distinct_games"] for match in record["matches"] if match["player"] == "network")
    assert found[0] == 1
    assert found[2] > 2


def test_a_game_for_one_is_played_alone(tmp_path: Path, benchmark: BenchmarkScript) -> None:
    config = replace(
        SMALL,
        game="tests.stubs:Mine",
        iterations=2,
        network=replace(SMALL.network, value_head="scalar"),
        self_play=replace(SMALL.self_play, opening_share=0.0),
        evaluation=replace(SMALL.evaluation, opponents=()),
    )
    run(config, tmp_path / "run", game=Mine())
    finished = benchmark(tmp_path / "run", "--games", 9, "--simulations", 8, "--curve", 1)
    assert finished.returncode == 0, finished.stderr
    assert "random alone: " in finished.stdout
    record = json.loads((tmp_path / "run" / "benchmark.json").read_text())
    assert [match["player"] for match in record["matches"]] == ["agent:8", "network", "random"]
    for match in record["matches"]:
        assert match["games"] == 9
        assert match["interval"][0] <= match["mean_reward"] <= match["interval"][1]
        assert match["seconds_a_move"]["player"] > 0
    assert {(point["iteration"], point["role"]) for point in record["curve"]} == {
        (1, "agent"), (1, "network"), (2, "agent"), (2, "network"),
    }  # fmt: skip
    refused = benchmark(tmp_path / "run", "--against", "random")
    assert (refused.returncode, "is a game for one" in refused.stderr) == (2, True)


def test_seconds_for_simulations(trained: Path, tmp_path: Path, benchmark: BenchmarkScript) -> None:
    finished = benchmark(
        trained / "agent.onnx", "--against", "random", "--games", 2, "--simulations", "0.01s", "--json", tmp_path / "o"
    )
    assert finished.returncode == 0, finished.stderr
    record = json.loads((tmp_path / "o").read_text())
    assert record["matches"][0]["player"] == "agent:0.01s"
    assert (record["simulations"], record["seconds"]) == (None, 0.01)


class Renamed(TicTacToe):
    name = "renamed"


def test_bad_input_gets_one_clear_error(trained: Path, tmp_path: Path, benchmark: BenchmarkScript) -> None:
    exported = trained / "agent.onnx"
    altered = tmp_path / "agent.onnx"
    altered.write_bytes(exported.read_bytes()[:-7])
    shutil.copy(trained / "agent.json", tmp_path)
    (tmp_path / "other").mkdir()
    other = tmp_path / "other" / "agent.onnx"
    shutil.copy(exported, other)
    card = json.loads((trained / "agent.json").read_text())
    renamed = "tests.scripts.test_benchmark:Renamed"
    other.with_suffix(".json").write_text(json.dumps(card | {"game": renamed, "name": "renamed"}))
    trust(other.parent, renamed)
    positions = ROOT / "games" / "data" / "connect_four" / "positions.csv"
    unusable = ("is not a run", "cannot be read", "was truncated or altered", "No such file")
    for arguments, complaint in (
        ((ROOT / "tests",), "is not a run"),
        ((tmp_path / "none.onnx",), "cannot be read"),
        ((altered,), "was truncated or altered"),
        ((exported, "--against", "minmax"), "no player is called 'minmax'"),
        ((exported, "--against", tmp_path / "none.onnx"), "cannot be read"),
        ((exported, "--against", other), "plays renamed, not tic_tac_toe"),
        ((exported, "--against", f"{exported}@0"), "'0' is no search budget"),
        ((exported, "--tournament", other), "plays renamed, not tic_tac_toe"),
        ((exported, "--tournament", "agent"), "another player beside the agent"),
        ((exported, "--games", 7), "games must be even"),
        ((exported, "--games", 0), "games must be even"),
        ((exported, "--simulations", 0), "simulations"),
        ((exported, "--curve", -1), "curve"),
        ((trained, "--curve-simulations", "many"), "'many' is no search budget"),
        ((exported, "--seed", -1), "seed"),
        ((exported, "--json", tmp_path / "none" / "o.json"), "its folder does not exist"),
        ((exported, "--positions", positions), "no positions of tic_tac_toe"),
        ((exported, "--positions", tmp_path / "none.csv"), "No such file"),
    ):
        finished = benchmark(*arguments)
        assert finished.returncode == (1 if complaint in unusable else 2), arguments
        assert complaint in finished.stderr
        assert finished.stderr.startswith("error: ")
        assert finished.stdout == ""
        assert "Traceback" not in finished.stderr
    assert benchmark(exported, "--games", "ten").returncode == 2
    assert "'many' is neither a number" in benchmark(exported, "--workers", "many").stderr
    assert benchmark("--help").returncode == 0


@pytest.mark.cluster
def test_more_workers_than_there_are_cores_are_refused_at_once(trained: Path, benchmark: BenchmarkScript) -> None:
    finished = benchmark(trained / "agent.onnx", "--workers", 1000)
    assert finished.returncode == 1
    assert finished.stderr.startswith("error: 1000 workers of 1 CPU each were asked for, and the cluster has ")


def test_a_folder_that_cannot_be_written_is_said_after_the_table(
    trained: Path, tmp_path: Path, benchmark: BenchmarkScript
) -> None:
    shutil.copytree(trained, tmp_path / "run", ignore=shutil.ignore_patterns("benchmark.*"))
    (tmp_path / "run" / "benchmark.json").mkdir()
    finished = benchmark(
        tmp_path / "run", "--against", "random", "--games", 2, "--simulations", 2, "--json", tmp_path / "o"
    )
    assert finished.returncode == 1
    assert "distinct" in finished.stdout.replace("dis-", "distinct")
    assert "cannot write" in finished.stderr
    assert json.loads((tmp_path / "o").read_text())["complete"] is True


# ----------------------------------------------------------------------------------------- Ctrl-C


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.cluster)])
def test_ctrl_c_keeps_finished_matches(trained: Path, tmp_path: Path, workers: int) -> None:
    command = [sys.executable, str(ROOT / "scripts" / "benchmark.py"), str(trained / "agent.onnx")]
    command += ["--against", "random,mcts:60000", "--games", "40", "--simulations", "8", "--json", str(tmp_path / "o")]
    command += ["--workers", str(workers)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, start_new_session=True
    )
    assert process.stdout
    assert process.stdout.readline().startswith(("agent:8 against random: ", "network against random: "))
    helpers = psutil.Process(process.pid).children(recursive=True)
    assert sum("ray::" in helper.name() for helper in helpers) >= workers
    os.killpg(process.pid, signal.SIGINT)  # a terminal tells all of a group
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Stopped: " in out
    assert "won/" in out
    assert "Traceback" not in err
    record = json.loads((tmp_path / "o").read_text())
    assert record["complete"] is False
    assert 1 <= len(record["matches"]) <= 2
    assert record["matches"][0]["opponent"] == "random"
    _, alive = psutil.wait_procs(helpers, timeout=10)
    assert alive == []


def test_a_second_ctrl_c_ends_at_once(
    trained: Path, tmp_path: Path, benchmark: BenchmarkScript, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(PlayMatch, "run", interrupted)
    once = benchmark(trained / "agent.onnx", "--against", "random", "--json", tmp_path / "o")
    assert once.returncode == 130
    assert json.loads((tmp_path / "o").read_text())["matches"] == []
    (tmp_path / "o").unlink()
    monkeypatch.setattr("scripts.benchmark.tables", interrupted)
    twice = benchmark(trained / "agent.onnx", "--against", "random", "--json", tmp_path / "o")
    assert (twice.returncode, twice.stderr) == (130, "Stopped.\n")
    assert not (tmp_path / "o").exists()


# ----------------------------------------------------------------------------------------- tables


def test_tables_fit_eighty_columns(
    trained: Path, tmp_path: Path, benchmark: BenchmarkScript, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    finished = benchmark(
        trained / "agent.onnx", "--against", "minimax:3", "--games", 200, "--simulations", 100, "--json", tmp_path / "o"
    )
    table = finished.stdout[finished.stdout.index("tic_tac_toe:") :]
    match = json.loads((tmp_path / "o").read_text())["matches"][0]
    row = next(line for line in table.splitlines() if line.split()[:1] == ["agent:100"])
    assert len(row) <= 80

    def slashed(tally: dict[str, int]) -> str:
        return f"{tally['wins']}/{tally['draws']}/{tally['losses']}"

    low, high = (f"{100 * bound:.1f}" for bound in match["interval"])
    assert row.split() == [
        "agent:100", "minimax:3", f"{match['points']:.1%}", f"{low}–{high}", slashed(match), slashed(match["first"]),
        slashed(match["second"]), "/".join(map(pace, match["seconds_a_move"].values())), f"{match['distinct_games']}",
    ]  # fmt: skip
