"""Scripts import no package that they do not use: each takes its time to load, which everyone would wait for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"

# Runs a script as `python SCRIPT ARGUMENTS` does, and then says on stderr what it has imported.
LISTING = """
import runpy, sys
sys.argv = sys.argv[1:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    print(*sys.modules, file=sys.stderr)
"""

# By what they serve.
FIGURES = {"matplotlib", "PIL"}
EXTRAS = {"ray", "pysindy", "sklearn", "gymnasium", "optuna", "wandb", "mlflow"}
TENSORBOARD = {"tensorboard", "torch.utils.tensorboard"}
SCIENCE = {"scipy.optimize", "scipy.integrate", "scipy.special", "scipy.sparse", "scipy.stats"}
EXPORT = {"onnxscript", "torch._dynamo", "torch.onnx._internal.exporter._core"}
NETWORKS = {"onnx", "onnxruntime"}
SEARCH = {"numba"}
MIRRORS = {"fsspec"}
COMMANDS = {"tyro"}
NEVER = FIGURES | EXTRAS | TENSORBOARD | EXPORT | MIRRORS
UNUSED = {
    # The trebuchet's solver has its coefficients from scipy.
    "aim.py": NEVER | COMMANDS,
    "benchmark.py": NEVER | SCIENCE | COMMANDS,
    "check.py": NEVER | SCIENCE | COMMANDS | NETWORKS | SEARCH,
    "discover.py": NEVER | COMMANDS | NETWORKS,
    "new.py": NEVER | SCIENCE | COMMANDS | NETWORKS | SEARCH,
    "play.py": NEVER | SCIENCE | COMMANDS,
    "report.py": NEVER | SCIENCE | COMMANDS | NETWORKS | SEARCH,
    "train.py": NEVER | SCIENCE,
    "tune.py": NEVER | SCIENCE,
}


def imported(script: str, *arguments: str, folder: Path) -> set[str]:
    command = [sys.executable, "-c", LISTING, str(SCRIPTS / script), *arguments]
    done = subprocess.run(command, cwd=folder, input="quit\n", capture_output=True, text=True, timeout=300, check=True)
    assert done.stdout
    return set(done.stderr.split())


@pytest.mark.parametrize("script", sorted(path.name for path in SCRIPTS.glob("*.py")))
def test_help_imports_nothing_that_its_command_does_not_use(script: str, tmp_path: Path) -> None:
    modules = imported(script, "--help", folder=tmp_path)
    assert "torch" in modules
    assert not modules & UNUSED[script]


def test_play_has_loaded_no_more_at_its_prompt(tmp_path: Path) -> None:
    modules = imported("play.py", folder=tmp_path)
    assert {"torch", "onnxruntime"} <= modules
    assert not modules & UNUSED["play.py"]
