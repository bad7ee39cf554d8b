"""scripts/train.py: bad input, Ctrl-C, kills, full disks and help."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch

from alphazero.runs.checkpoint import checkpoints, read_config
from games.tic_tac_toe import TicTacToe
from tests.training_runs import SMALL, Train, Whole, assert_same, start, wait_for_checkpoints, write


class Keyless(TicTacToe):
    """A game without any optional method that the engine can do without."""

    has_key = False


def test_a_game_without_keys_and_opponents_trains_and_says_so(tmp_path: Path, train: Train) -> None:
    plain = replace(
        SMALL,
        game="tests.scripts.test_train:Keyless",
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


class Marked(TicTacToe):
    """A game whose name is markup, an emoji and mathematics to those who look for them."""

    name = r"[/b] :x: $\x$"


def test_names_are_shown_as_they_are(tmp_path: Path, train: Train) -> None:
    """In the terminal, the log and figures: a closing tag alone is an error to rich, and \\x one to matplotlib."""
    evaluation = replace(SMALL.evaluation, every=1)
    config = replace(SMALL, game="tests.scripts.test_train:Marked", iterations=2, evaluation=evaluation)
    folder = tmp_path / Marked.name / "exp [a]"
    finished = train("--run", folder, config=write(tmp_path, config))
    assert (finished.returncode, finished.stderr) == (0, "")
    for line in (f"Training {Marked.name} in {folder}", f"The agent: {folder / 'agent.onnx'}"):
        assert line in finished.stdout
    assert f"\n{Marked.name}\n" in finished.stdout  # the title of the table
    assert str(folder) in (folder / "log.txt").read_text()


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


def test_a_time_that_is_too_short_is_one_error_and_leaves_nothing(tmp_path: Path, train: Train) -> None:
    short = train("--run", tmp_path / "run", "--minutes", 1e-4, config=write(tmp_path, SMALL))
    assert short.returncode == 2
    assert "error: 0.0001 minutes are too short: here an iteration takes about" in short.stderr
    assert not (tmp_path / "run").exists()


def test_what_is_given_counts_and_minutes_count_more_than_iterations(tmp_path: Path, train: Train) -> None:
    timed = write(tmp_path, replace(SMALL, minutes=5.0, evaluation=replace(SMALL.evaluation, opponents=(), every=0)))
    one = train("--run", tmp_path / "one", "--iterations", 1, config=timed)
    assert one.returncode == 0, one.stderr
    assert "iterations = 1 counts, not minutes = 5" in one.stdout
    assert "Measuring" not in one.stdout
    assert "iteration 1 of 1" in one.stdout
    both = train("--run", tmp_path / "both", "--iterations", 1, "--minutes", 0.1, config=timed)
    assert both.returncode == 0, both.stderr
    assert "minutes = 0.1 counts, not iterations = 1" in both.stdout
    again = f"train.py {tmp_path / 'both' / 'config.toml'} --minutes 0"
    assert again in both.stdout
    last = checkpoints(tmp_path / "both")[-1]
    repeated = train("--run", tmp_path / "again", "--minutes", 0, config=tmp_path / "both" / "config.toml")
    assert repeated.returncode == 0, repeated.stderr
    weights = [
        safetensors.torch.load_file(folder / "checkpoints" / last.name / "model.safetensors")
        for folder in (tmp_path / "both", tmp_path / "again")
    ]
    assert_same(*weights)


def test_learning_that_gives_no_number_is_reported_and_loses_nothing(tmp_path: Path, train: Train) -> None:
    reckless = replace(
        SMALL, learner=replace(SMALL.learner, optimizer="sgd", learning_rate=1e9, max_grad_norm=1e9, warmup=0.0)
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
    second = train("--resume", tmp_path / "run")
    assert second.returncode == 1
    assert f"is held by process {process.pid} on {socket.gethostname()}, since " in second.stderr
    process.kill()
    process.communicate()
    done = int(checkpoints(tmp_path / "run")[-1].name)
    resumed = train("--resume", tmp_path / "run", "--iterations", done + 2)
    assert resumed.returncode == 0, resumed.stderr
    assert f"iterations: 100000 -> {done + 2}" in resumed.stdout
    assert int(checkpoints(tmp_path / "run")[-1].name) == done + 2
    rows = [line.partition(",")[0] for line in (tmp_path / "run" / "metrics.csv").read_text().splitlines()[1:]]
    assert rows == [str(number) for number in range(done + 2)]


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


OWN = ["configs/tic_tac_toe.toml", "--network.kind"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "name either a configuration"),
        (["no_such.toml"], "no_such.toml: cannot be read"),
        (["configs/tic_tac_toe.toml", "--search.simulation", "3"], "--search.simulations"),
        (["configs/tic_tac_toe.toml", "--search.simulations", "0"], "greater than or equal to 1"),
        (["configs/tic_tac_toe.toml", "--minutes", "-1"], "`minutes`: input should be greater than or equal to 0"),
        (["configs/tic_tac_toe.toml", "--iterations", "0"], "`iterations`: input should be greater than or equal to 1"),
        (["configs/tic_tac_toe.toml", "--minutes", "ten"], "--minutes"),
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
        (["configs/tic_tac_toe.toml", "--game", "tests.stubs:Mine", "--evaluation.opponents", "[]"], 'use "scalar"'),
        (["configs/tic_tac_toe.toml", "--evaluation.opponents", "minmax:3"], "no player is called 'minmax:3'"),
        (["configs/tic_tac_toe.toml", '--evaluation.opponents=["minmax:3"]'], "no player is called 'minmax:3'"),
        (["configs/tic_tac_toe.toml", "--self_play.device", "cuda:7"], "cuda:7"),
        ([*OWN, "conv"], "Must be residual, dense, or a class of your own as package.module:Class"),
        ([*OWN, "tests.own_nets:Plain"], "cannot import 'tests.own_nets'"),
        ([*OWN, "tests.own_networks:Plane"], "it offers Plain"),
        (
            [*OWN, "tests.own_networks:Listing"],
            "must return a tuple (logits, value) or a Prediction, not a list",
        ),
        ([*OWN, "tests.own_networks:Plain", "--network.options.widht", "8"], "no such option; did you mean `width`?"),
        (
            [*OWN, "tests.own_networks:Plain", "--network.options.width", "{}"],
            "`options`: option 'width' must be a word",
        ),
        ([*OWN, "tests.own_networks:Plain", "--self_play.engine", "int8"], "for the layers of the included networks"),
        (["configs/tic_tac_toe.toml", "--network.options.width", "8"], "options are for a class of your own"),
    ],
)
def test_bad_input_gets_one_clear_error(arguments: list[str], complaint: str, train: Train) -> None:
    finished = train(*arguments)
    unusable = ("is not a run", "tests exists already", "cannot write")
    assert finished.returncode == (1 if complaint in unusable else 2)
    assert complaint in " ".join((finished.stdout + finished.stderr).replace("│", " ").split())
    assert "Traceback" not in finished.stderr


def test_options_of_a_network_are_read_as_in_toml(tmp_path: Path, train: Train) -> None:
    options = ("--network.options.width", "6", "--network.options.slope=0.25", "--network.options.name", "deep one")
    kind = ("--network.kind", "tests.own_networks:Named", "--iterations", "1", "--evaluation.opponents", "[]")
    finished = train(*kind, *options, "--run", tmp_path / "run", config=write(tmp_path, SMALL))
    assert finished.returncode == 0, finished.stderr
    network = read_config(tmp_path / "run").network
    assert network.options == {"width": 6, "slope": 0.25, "name": "deep one"}
    again = train("--resume", tmp_path / "run", "--iterations", "2", "--network.options.name", "'7'")
    assert again.returncode == 0, again.stderr
    assert read_config(tmp_path / "run").network.options == {"width": 6, "slope": 0.25, "name": "7"}


def test_help_explains_every_section(train: Train) -> None:
    shown = train("--help")
    assert shown.returncode == 0
    for option in ("--search.simulations", "--learner.learning_rate", "--replay.window", "--evaluation.opponents"):
        assert option in shown.stdout
    assert "AlphaZero: 800" in shown.stdout


def test_a_full_disk_gives_one_clear_error_and_keeps_earlier_saves(tmp_path: Path, train: Train) -> None:
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
