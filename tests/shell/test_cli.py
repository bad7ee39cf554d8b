"""The command-line frame by itself, and its rule for exit codes in every script."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest

from alphazero.config import ConfigError
from alphazero.mcts.evaluator import EvaluationError
from alphazero.runs.files import RunError
from alphazero.shell import cli
from tests.commands import call

ROOT = Path(__file__).resolve().parents[2]


class UnexpectedError(Exception):
    pass


class ExpectedError(Exception):
    pass


def raising(error: BaseException) -> Callable[[], int]:
    def main() -> int:
        raise error

    return main


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("so"), 2),
        (ValueError("so"), 2),
        (RunError("so"), 1),
        (FileNotFoundError("so"), 1),
        (ExpectedError("so"), 1),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_error_is_one_line_and_has_its_exit_code(
    error: Exception, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(raising(error), wrong=(ValueError,), errors=(ExpectedError,)) == code
    assert capsys.readouterr() == ("", "error: so\n")


def test_other_exceptions_keep_their_traceback() -> None:
    with pytest.raises(UnexpectedError):
        cli.run(raising(UnexpectedError()))
    with pytest.raises(ValueError, match="so"):
        cli.run(raising(ValueError("so")))


def test_ctrl_c_is_130(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(raising(KeyboardInterrupt()), stopped="Stopped; nothing was saved.") == 130
    assert capsys.readouterr() == ("", "Stopped; nothing was saved.\n")


@pytest.mark.parametrize(("returned", "code"), [(None, 0), (0, 0), (1, 1), (130, 130)])
def test_the_scripts_return_value_is_the_exit_code(returned: int | None, code: int) -> None:
    assert cli.run(lambda: returned) == code


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_a_terminal_sees_that_torch_is_loading_and_nothing_is_left_of_it() -> None:
    import pty

    controller, terminal = pty.openpty()
    source = "from alphazero.shell import cli; print(cli.run(lambda: None))"
    done = subprocess.run(
        [sys.executable, "-c", source], cwd=ROOT, stdout=subprocess.PIPE, stderr=terminal, text=True, check=True
    )
    os.close(terminal)
    shown = os.read(controller, 1000).decode()
    os.close(controller)
    first, blanks, nothing = shown.split("\r")
    assert (first.rstrip(), blanks, nothing) == ("Loading torch ...", " " * len(first), "")
    assert done.stdout == "0\n"
    piped = subprocess.run([sys.executable, "-c", source], cwd=ROOT, capture_output=True, text=True, check=True)
    assert piped.stderr == ""


def test_closed_streams_are_empty_and_bytes_that_are_no_text_are_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    monkeypatch.setattr(sys, "stdout", None)
    for stdin in (None, io.TextIOWrapper(io.BytesIO(b"\xff4"), encoding="utf-8")):
        monkeypatch.setattr(sys, "stdin", stdin)
        assert cli.run(lambda: print(read.append(sys.stdin.read()))) == 0
    assert read == ["", "\ufffd4"]


def test_errors_quote_a_part_of_what_is_long(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(raising(RunError("x" * 100_000 + "\n" + "y" * 100_000))) == 1
    first, second = capsys.readouterr().err.splitlines()
    assert first == f"error: {'x' * cli.LONGEST}…"
    assert second == f"{'y' * cli.LONGEST}…"


def test_a_network_s_answer_that_is_none_is_an_error_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(raising(EvaluationError("the network answers NaN"))) == 1
    assert capsys.readouterr().err == "error: the network answers NaN\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("9" * 5000, "must be a whole number from 1 to 100, not 9999"),
        ("0", "must be a whole number from 1 to 100, not 0"),
        ("1e3", "must be a whole number from 1 to 100, not 1e3"),
    ],
)
def test_whole_numbers_have_limits(text: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    parser = cli.Parser()
    parser.add_argument("--games", type=cli.whole(1, 100))
    assert parser.parse_args(["--games", "100"]).games == 100
    with pytest.raises(SystemExit):
        parser.parse_args(["--games", text])
    told = capsys.readouterr().err
    assert said in told
    assert len(told) < 200


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "1e4", "much", ""])
def test_real_numbers_have_limits(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    parser = cli.Parser()
    parser.add_argument("--wind", type=cli.real(-10, 1000))
    assert parser.parse_args(["--wind=-1.5"]).wind == -1.5
    with pytest.raises(SystemExit):
        parser.parse_args([f"--wind={text}"])
    assert f"must be a number from -10 to 1000, not {text}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30m", 1800), ("2h", 7200), ("2h30m", 9000), ("1h1m1s", 3661)]
)
def test_times_have_units(text: str, seconds: float) -> None:
    assert cli.duration(text) == seconds


@pytest.mark.parametrize("text", ["", "120", "2 h", "30m2h", "1.5h", "-3m", "0s", "h", "999999h"])
def test_other_times_are_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    parser = cli.Parser()
    parser.add_argument("--budget", type=cli.duration)
    with pytest.raises(SystemExit):
        parser.parse_args([f"--budget={text}"])
    assert "--budget: must be " in capsys.readouterr().err


def test_options_say_what_is_wrong_in_their_own_words(capsys: pytest.CaptureFixture[str]) -> None:
    def even(text: str) -> int:
        if int(text) % 2:
            raise ValueError(f"{text} is odd")
        return int(text)

    parser = cli.Parser()
    parser.add_argument("--seed", type=cli.seed)
    parser.add_argument("--games", type=cli.option(even))
    assert vars(parser.parse_args(["--seed", "7", "--games", "4"])) == {"seed": 7, "games": 4}
    for arguments, message in (
        (["--games", "3"], "--games: 3 is odd"),
        (["--seed", "-1"], "--seed: must be a whole number from 0 to 2^62, not -1"),
        (["--seed", str(1 << 62)], f"--seed: must be a whole number from 0 to 2^62, not {1 << 62}"),
        (["--gmaes", "3"], "unrecognized arguments: --gmaes 3"),
    ):
        with pytest.raises(SystemExit) as refused:
            parser.parse_args(arguments)
        assert refused.value.code == 2
        assert capsys.readouterr() == ("", f"error: {message}\n")


AGENT = "games/data/connect_four/agent.onnx"


@pytest.mark.parametrize(
    ("script", "arguments", "code"),
    [
        ("scripts.train", ["configs/tic_tac_toe.toml", "--search.simulation", "3"], 2),
        ("scripts.train", ["configs/tic_tac_toe.toml", "--search.simulations", "0"], 2),
        ("scripts.train", ["configs/tic_tac_toe.toml", "--evaluation.opponents", "minmax:3"], 2),
        ("scripts.train", [], 2),
        ("scripts.train", ["--resume", "nowhere"], 1),
        ("scripts.tune", ["tic_tac_toe"], 2),
        ("scripts.tune", ["tic_tac_toe", "--over", "search.c_scal=1..2", "--budget", "1h"], 2),
        ("scripts.tune", ["--resume", "nowhere"], 1),
        ("scripts.play", ["--explode"], 2),
        ("scripts.play", [AGENT, "--first", "stockfish"], 2),
        ("scripts.play", [AGENT, "--budget", "much"], 2),
        ("scripts.play", ["nowhere"], 1),
        ("scripts.benchmark", [AGENT, "--games", "ten"], 2),
        ("scripts.benchmark", [AGENT, "--games", "7"], 2),
        ("scripts.benchmark", [AGENT, "--against", "minmax:3"], 2),
        ("scripts.benchmark", ["nowhere"], 1),
        ("scripts.report", [], 2),
        ("scripts.report", ["nowhere", "--iteration", "last"], 2),
        ("scripts.report", ["nowhere"], 1),
        ("scripts.aim", ["--wind", "much"], 2),
        ("scripts.aim", ["--angle", "95"], 2),
        ("scripts.aim", ["--agent", "nowhere"], 1),
        ("scripts.discover", ["drag", "--seed", "-1"], 2),
        ("scripts.discover", ["friction"], 2),
        ("benchmarks.aiming", ["shot", "--agent", "nowhere", "--count", "0"], 2),
        ("benchmarks.cluster", ["nothing"], 2),
        ("benchmarks.speed", ["nothing"], 2),
        ("benchmarks.surrogates", ["--samples", "1"], 2),
        ("benchmarks.trebuchet", ["nothing"], 2),
    ],
    ids=lambda value: "_".join(value) if isinstance(value, list) else str(value),
)
def test_one_rule_for_the_exit_codes_of_all_scripts(
    script: str, arguments: list[str], code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    finished = call(import_module(script).main, *arguments, monkeypatch=monkeypatch, capsys=capsys)
    assert finished.returncode == code
    assert finished.stderr


def test_a_reader_who_has_gone_is_no_error() -> None:
    code = "import sys; from alphazero.shell import cli; sys.exit(cli.run(lambda: print('x' * 1_000_000)))"
    command = f'"{sys.executable}" -c "{code}" | head -c 1; exit ${{PIPESTATUS[0]}}'
    finished = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=ROOT, check=False)
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "x", "")


@pytest.mark.parametrize("script", ["train.py", "play.py"])
def test_help_ends_without_a_word_when_nobody_reads_on(script: str) -> None:
    # In a buffer, what nobody reads is noticed at the very end.
    command = f'PYTHONUNBUFFERED= "{sys.executable}" scripts/{script} --help | head -n 0; exit ${{PIPESTATUS[0]}}'
    finished = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=ROOT, check=False)
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "", "")


def test_torch_gets_one_thread_whatever_loads_it_first() -> None:
    code = "import alphazero.shell.cli, os; print(os.environ['OMP_NUM_THREADS'])"
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    finished = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=environment, check=True
    )
    assert finished.stdout == "1\n"


def test_garbage_is_collected_but_not_among_what_torch_loaded() -> None:
    code = "import alphazero.shell.cli, gc; print(gc.isenabled(), len(gc.get_objects()) < gc.get_freeze_count() / 10)"
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert finished.stdout == "True True\n"


def ended_by(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("missing", ["ray.exceptions", "pysindy"])
def test_a_missing_optional_package_is_named_with_its_remedy(missing: str) -> None:
    code = f"from alphazero.shell import cli; raise ModuleNotFoundError('none', name='{missing}')"
    ended = ended_by(code)
    package = missing.partition(".")[0]
    assert ended.stderr.startswith(
        f"error: this needs {package}, which is not installed: {sys.executable} -m pip install"
    )
    assert len(ended.stderr.splitlines()) == ended.returncode == 1


def test_ctrl_c_while_a_script_loads_ends_in_one_line() -> None:
    """The interpreter ends itself by the signal, which shells show as 130."""
    code = "from alphazero.shell import loading; import os, signal; os.kill(os.getpid(), signal.SIGINT); import torch"
    ended = ended_by(code)
    assert (ended.stderr, ended.returncode) == ("Stopped.\n", -signal.SIGINT)


INTERRUPT = (
    "import os, signal, sys, time; from alphazero.shell import cli; interrupt = lambda: os.kill(os.getpid(), 2); "
)


def test_ctrl_c_is_the_scripts_own_affair_while_it_runs_and_ends_it_afterwards() -> None:
    ended = ended_by(INTERRUPT + "print(cli.run(interrupt, stopped='Nothing was saved.'), flush=True); interrupt()")
    assert (ended.stdout, ended.stderr) == ("130\n", "Nothing was saved.\nStopped.\n")
    assert ended.returncode == -signal.SIGINT


def test_ctrl_c_that_comes_up_where_nothing_can_be_raised_comes_again() -> None:
    """As in a callback of a compiler; of other exceptions the interpreter tells."""
    code = (
        "class Lost:\n    def __del__(self): {}\ndef main():\n    Lost()\n    time.sleep(1)\n    print('not stopped')\n"
    )
    ended = ended_by(INTERRUPT + "\n" + code.format("interrupt()") + "sys.exit(cli.run(main))")
    assert (ended.stdout, ended.stderr, ended.returncode) == ("", "Stopped.\n", 130)
    ended = ended_by(INTERRUPT + "\n" + code.format("1 / 0") + "sys.exit(cli.run(main))")
    assert ended.stdout == "not stopped\n"
    assert ended.stderr.startswith("Exception ignored")


def test_a_process_that_ignores_ctrl_c_goes_on_ignoring_it() -> None:
    code = "import signal; signal.signal(2, signal.SIG_IGN); " + INTERRUPT + "interrupt(); print(cli.run(interrupt))"
    ended = ended_by(code)
    assert (ended.stdout, ended.stderr, ended.returncode) == ("0\n", "", 0)


def test_windows_is_told_at_once_where_it_runs() -> None:
    ended = ended_by("import shutil, signal, sys; sys.platform = 'win32'; from alphazero.shell import loading")
    assert ended.stderr.startswith("error: Windows is not supported")
    assert (len(ended.stderr.splitlines()), ended.returncode) == (1, 1)


def test_any_other_exception_shows_its_traceback() -> None:
    code = "from alphazero.shell import loading; raise ModuleNotFoundError('none', name='nothing')"
    ended = ended_by(code)
    assert ended.stderr.startswith("Traceback")
