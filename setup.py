"""What pyproject.toml cannot say: once installed, `scripts/` and `configs/` are within the package."""

from setuptools import find_packages, setup

INSTALLED_AS = {"alphazero.scripts": "scripts", "alphazero.configs": "configs"}

setup(packages=[*find_packages(include=["alphazero*", "games*"]), *INSTALLED_AS], package_dir=INSTALLED_AS)
