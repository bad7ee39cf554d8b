"""Where the scripts and the configurations are that come with the package: beside it in a checkout, else within it."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
CHECKOUT = PACKAGE.parent if (PACKAGE.parent / "pyproject.toml").is_file() else None

SCRIPTS = (CHECKOUT or PACKAGE) / "scripts"
CONFIGS = (CHECKOUT or PACKAGE) / "configs"
