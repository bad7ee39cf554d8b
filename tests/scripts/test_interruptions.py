"""Ctrl-C at any moment of a script's first seconds: a line at most, no traceback, and the exit code that is promised.

INTERRUPTIONS=20 in the environment tries that many moments for each script, instead of a few.
"""

from __future__ import annotations

import ast
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
AGENT, RUN = "games/data/connect_four/agent.onnx", ROOT / "tests" / "data" / "earlier" / "2026-11-26" / "run"
COUNT, SECONDS = int(os.environ.get("INTERRUPTIONS", "3")), 3.0
SCRIPTS = {
    "train": ["configs/tic_tac_toe.toml", "--run", "{folder}/new", "--iterations", "1000"],
    "play": [AGENT],
    "report": ["{folder}/run"],
    "benchmark": [AGENT, "--against", "mcts:60000"],
}
# Says when Ctrl-C is in the script's hands, which it is not while the interpreter itself starts.
START = """
from alphazero.shell import loading
import runpy, sys
print("begins", flush=True)
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.parametrize("script", SCRIPTS)
def test_ctrl_c_at_any_moment_of_the_start_shows_no_traceback(script: str, tmp_path: Path) -> None:
    for number in range(COUNT):
        moment = (number + random.random()) * SECONDS / COUNT
        folder = tmp_path / str(number)
        shutil.copytree(RUN, folder / "run")
        arguments = [argument.format(folder=folder) for argument in SCRIPTS[script]]
        process = subprocess.Popen(
            [sys.executable, "-c", START, f"scripts/{script}.py", *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
        )  # fmt: skip
        with process:
            assert process.stdout
            assert process.stdout.readline() == "begins\n"
            time.sleep(moment)
            process.send_signal(signal.SIGINT)
            try:
                out, err = process.communicate(timeout=60)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        told = f"{script}, Ctrl-C after {moment:.3f} s: exit code {process.returncode}\n{out}\n{err}"
        assert "Traceback" not in out + err, told
        assert "Exception ignored" not in err, told
        # By the signal, which shells show as 130; or 0, where Ctrl-C came after the work or is the way to leave.
        done = {"train": "everything saved", "play": "to move", "report": "The report:"}.get(script)
        allowed = {-signal.SIGINT, 130} | ({0} if done and done in out else set())
        assert process.returncode in allowed, told
        assert err.count("\n") <= 1, told


@pytest.mark.parametrize("path", sorted((ROOT / "scripts").glob("*.py")), ids=lambda path: path.stem)
def test_nothing_is_loaded_before_ctrl_c_is_handled(path: Path) -> None:
    imports = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert [ast.unparse(node) for node in imports[:3]] == [
        "from __future__ import annotations",
        "import sys",
        "from pathlib import Path",
    ]
    assert ast.unparse(imports[3]).startswith("from alphazero.shell import cli")
