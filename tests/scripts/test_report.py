"""scripts/report.py on a small run, and with bad input."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from alphazero.runs.checkpoint import checkpoints
from scripts.report import main
from tests.commands import Finished, call
from tests.training_runs import copy_of_whole

Report = Callable[..., Finished]


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Report:
    """Runs scripts/report.py within this process."""

    def run(*arguments: object) -> Finished:
        return call(main, *arguments, monkeypatch=monkeypatch, capsys=capsys)

    return run


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_of_whole(tmp_path_factory, "run")


def test_a_report_is_written_and_its_tables_are_printed_plain(trained: Path, report: Report) -> None:
    finished = report(trained)
    assert (finished.returncode, finished.stderr) == (0, "")
    assert {path.name for path in (trained / "report").glob("*.png")} == {
        "strength.png",
        "learning.png",
        "buffer.png",
        "game_000003_0.png",
    }
    assert f"The report: {trained / 'report' / 'report.md'}" in finished.stdout
    assert "\x1b" not in finished.stdout
    assert "…" not in finished.stdout
    rows = [line.split("|")[1].strip() for line in finished.stdout.splitlines() if line.startswith("|")]
    assert {"game", "iter.", "all samples", "latest, iteration 3"} <= set(rows)
    assert "1. " not in finished.stdout.split("A game of self-play")[1]


def test_text_alone_of_a_chosen_game_goes_elsewhere(trained: Path, report: Report, tmp_path: Path) -> None:
    finished = report(
        trained, "--text", "--game-iteration", 1, "--stream", 2, "--iteration", 2, "--out", tmp_path / "out"
    )
    assert finished.returncode == 0, finished.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["report.md"]
    assert "a game that ended in iteration 1, stream 2" in finished.stdout
    assert "1. x plays" in finished.stdout or "1. o plays" in finished.stdout
    assert "The averaged network after 2 iterations" in finished.stdout


def test_damage_is_an_error_after_everything_else(trained: Path, report: Report, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(trained, tmp_path / "run"))
    replay = checkpoints(folder)[-1] / "replay.npz"
    replay.write_bytes(replay.read_bytes()[:1000])
    shutil.rmtree(folder / "games")
    finished = report(folder, "--text")
    assert finished.returncode == 1
    assert finished.stderr.startswith("error: Buffer analysis: ")
    assert finished.stderr.count("\n") == 1
    assert "replay.npz was truncated" in finished.stderr
    assert "A game of self-play\nskipped: the run kept no games" in finished.stdout
    assert "Not in this report: " in (folder / "report" / "report.md").read_text()


def test_bad_input_gets_one_clear_error(trained: Path, tmp_path: Path, report: Report) -> None:
    (tmp_path / "file").write_text("")
    for arguments, complaint in (
        ((tmp_path,), "is not a run"),
        ((trained, "--iteration", 77), "has no checkpoint 77"),
        ((trained, "--game-iteration", 77), "has no game of iteration 77"),
        ((trained, "--stream", 3), "no game of stream 3"),
        ((trained, "--out", tmp_path / "file"), "cannot write"),
    ):
        finished = report(*arguments)
        assert finished.returncode == 1
        assert finished.stderr.startswith("error: ")
        assert complaint in finished.stderr
        assert finished.stderr.count("\n") == 1
        assert finished.stdout == ""


def test_the_iteration_of_a_game_is_read_under_its_old_name_too(trained: Path, report: Report) -> None:
    finished = report(trained, "--text", "--game", 77)
    assert finished.returncode == 1
    notice, error = finished.stderr.splitlines()
    assert "--game N is now --game-iteration N" in notice
    assert "has no game of iteration 77" in error
