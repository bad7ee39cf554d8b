"""Whoever plays or trains is not reported on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ASK = """
import torch
from alphazero.runs.agents import load_agent
agent = load_agent("games/data/connect_four/agent.onnx")
agent.evaluator(agent.game.initial(1), torch.Generator())
"""


def test_onnx_runtime_makes_no_device_id_and_no_store_of_events(tmp_path: Path) -> None:
    """Told nothing, version 1.29 and later make both below the home, to send what they note to their maker."""
    # Neither these nor a place of its own for caches: what would keep it from doing so must not come from here.
    told = ("CI", "ORT_DISABLE_TELEMETRY", "ORT_RUNNING_UNIT_TESTS", "XDG_CACHE_HOME", "XDG_DATA_HOME")
    environment = {name: value for name, value in os.environ.items() if name not in told} | {"HOME": str(tmp_path)}
    root = Path(__file__).resolve().parents[2]
    subprocess.run([sys.executable, "-c", ASK], cwd=root, env=environment, check=True, timeout=300)
    assert not [path for path in tmp_path.rglob("*") if "onnxruntime" in str(path) or "Microsoft" in str(path)]
