"""Configurations: derived ones are checked, and none changes."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace

import pytest
from pydantic import ValidationError

from alphazero.config import SearchConfig


def test_a_derived_configuration_is_checked_again() -> None:
    with pytest.raises(ValidationError):
        replace(SearchConfig(), simulations=0)


def test_configurations_do_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        SearchConfig().simulations = 3  # type: ignore[misc]
