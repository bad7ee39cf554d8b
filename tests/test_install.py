"""What `pip install` gives: the wheel and the source distribution, in an environment and a folder of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path
from sysconfig import get_path

import pytest

from alphazero.game.loading import DISTRIBUTION

ROOT = Path(__file__).resolve().parents[1]
BUILD = "import sys; from setuptools import build_meta as b; print(getattr(b, 'build_' + sys.argv[1])(sys.argv[2]))"


def run(*words: object, cwd: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    """A command in another folder, in an environment in which nothing leads back to this checkout."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run([*map(str, words)], cwd=cwd, env=kept, capture_output=True, text=True, check=False)
    assert done.returncode == 0 or not check, done.stdout + done.stderr
    return done


def built(kind: str, source: Path, folder: Path) -> Path:
    return folder / run(sys.executable, "-c", BUILD, kind, folder, cwd=source).stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a copy of what the repository has: building writes beside its source."""
    folder = tmp_path_factory.mktemp("sdist")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, check=False,
    )  # fmt: skip
    if listed.returncode:
        pytest.skip("not a git repository")
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "source" / name).write_bytes((ROOT / name).read_bytes())
    return built("sdist", folder / "source", folder)


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the source distribution, as pip does where there is no wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    return built("wheel", folder / sdist.name.removesuffix(".tar.gz"), folder)


@pytest.fixture(scope="module")
def command(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The installed command. The other packages are those of this environment: to install torch would take minutes."""
    environment = tmp_path_factory.mktemp("environment") / "venv"
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    run(python, "-m", "pip", "install", "-q", "--no-deps", "--no-index", wheel, cwd=environment)
    site = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=environment).stdout.strip()
    (Path(site) / "others.pth").write_text(get_path("purelib"))  # .pth files there are not read, so nor is our own
    return environment / "bin" / "alphazero"


def test_the_wheel_holds_all_that_is_used_and_nothing_else(wheel: Path) -> None:
    assert wheel.name.startswith(DISTRIBUTION.replace("-", "_"))
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    tops = {name.partition("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == {"alphazero", "games"}
    expected = {str(path.relative_to(ROOT)) for top in tops for path in (ROOT / top).rglob("*.py")}
    expected |= {f"alphazero/{path.relative_to(ROOT)}" for path in ROOT.glob("scripts/*.py")}
    expected |= {f"alphazero/{path.relative_to(ROOT)}" for path in ROOT.glob("configs/**/*") if path.is_file()}
    expected |= {str(path.relative_to(ROOT)) for path in (ROOT / "games" / "data").rglob("*") if path.is_file()}
    expected |= {"alphazero/py.typed", "alphazero/mcts/kernels.cu"}
    assert {name for name in names if ".dist-info/" not in name and "__pycache__" not in name} == expected


def test_the_command_trains_plays_and_measures_in_any_folder(command: Path, tmp_path: Path) -> None:
    small = [
        "--iterations",
        "1",
        "--evaluation.games",
        "2",
        "--self_play.moves",
        "2",
        "--evaluation.opponents",
        "random",
    ]
    trained = run(command, "train", "tic_tac_toe", "--run", "mine", *small, cwd=tmp_path)
    assert "Play against it: alphazero play mine" in trained.stdout
    assert (tmp_path / "mine" / "agent.onnx").is_file()
    measured = run(
        command, "benchmark", "mine", "--against", "random", "--games", "2", "--simulations", "2", cwd=tmp_path
    )
    assert "random" in measured.stdout
    played = subprocess.run(
        [str(command), "play", "--budget", "8", "--plain"], cwd=tmp_path, input="4\nquit\n", capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    assert "1  2  3  4  5  6  7" in played.stdout  # connect-four, against the agent that ships


def test_a_new_game_is_begun_checked_tested_and_trained_in_any_folder(command: Path, tmp_path: Path) -> None:
    """By the commands that it names itself."""
    said = run(command, "new", "own_nim", cwd=tmp_path).stdout
    told = [line.split() for line in said.splitlines() if line.startswith("  ") and line[2] != " "]
    python = str(command.with_name("python"))
    starts = [["alphazero", "check"], [python, "-m"], ["alphazero", "train"], ["alphazero", "play"]]
    assert [words[:2] for words in told] == starts
    check, test, train, _ = ([command if words[0] == "alphazero" else words[0], *words[1:]] for words in told)
    assert "own_nim keeps every promise" in run(*check, "--games", "20", cwd=tmp_path).stdout
    assert "2 passed" in run(*test, "-p", "no:cacheprovider", cwd=tmp_path).stdout
    run(*train, "--iterations", "1", "--evaluation.games", "2", "--self_play.moves", "2", cwd=tmp_path)
    assert (tmp_path / "runs" / "own_nim" / "agent.onnx").is_file()


def test_nothing_beside_the_user_takes_the_place_of_a_package_and_a_run_s_folder_gives_nothing(
    command: Path, tmp_path: Path
) -> None:
    for folder in ("mine", "run"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "numpy.py").write_text("raise SystemExit('a stranger')")
        (tmp_path / folder / "game.py").write_text("from games.tic_tac_toe import TicTacToe as Mine\n")
    (tmp_path / "run" / "agent.json").touch()
    assert "keeps every promise" in run(command, "check", "game:Mine", "--games", "2", cwd=tmp_path / "mine").stdout
    refused = run(command, "check", "game:Mine", "--games", "2", cwd=tmp_path / "run", check=False)
    assert (refused.returncode, "cannot import 'game'" in refused.stderr) == (2, True), refused.stderr


def test_help_and_mistakes_speak_of_the_command(command: Path, tmp_path: Path) -> None:
    listed = run(command, "--help", cwd=tmp_path).stdout
    assert max(map(len, listed.splitlines())) <= 80
    assert run("sh", "-c", f"{command} --help | true", cwd=tmp_path).stderr == ""
    for path in ROOT.glob("scripts/*.py"):
        assert f"\n  {path.stem} " in listed
    for name in ("train", "play", "aim", "new"):
        told = run(command, name, "--help", cwd=tmp_path).stdout
        assert f"alphazero {name}" in told
        assert "scripts/" not in told
    for words, message in (
        (["trian"], "error: there is no command 'trian'; did you mean train? (alphazero --help lists them)"),
        (["train", "tic_tac"], "error: 'tic_tac' is neither a file nor one of the package's: breakthrough6, "),
        (["train", "mine.toml"], "error: mine.toml: cannot be read (No such file or directory)"),
    ):
        refused = run(command, *words, cwd=tmp_path, check=False)
        assert (refused.returncode, refused.stderr.startswith(message)) == (2, True), refused.stderr
