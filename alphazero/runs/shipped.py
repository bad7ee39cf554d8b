"""Where scripts, configurations and agents are that come with the package.

Scripts and configurations lie beside it in a checkout, else within it; agents lie with the games, beside it.
"""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
CHECKOUT = PACKAGE.parent if (PACKAGE.parent / "pyproject.toml").is_file() else None

SCRIPTS = (CHECKOUT or PACKAGE) / "scripts"
CONFIGS = (CHECKOUT or PACKAGE) / "configs"
AGENT_HELP = "a run's folder, a checkpoint's folder, an agent.onnx, or the name of one that ships: connect_four"
AGENTS = {file.parent.name: file for file in sorted((PACKAGE.parent / "games" / "data").glob("*/agent.onnx"))}


def agent_file(source: Path | str) -> Path:
    """The path, or the agent of this name that comes with the package, if there is nothing at the path."""
    path = Path(source)
    return path if path.exists() else AGENTS.get(str(source), path)
