"""Functions are compiled where numba can keep none of them, and that is said."""

from __future__ import annotations

import pytest
from numba.core.caching import CompileResultCacheImpl

from alphazero.game import compilation


def add(first: int, second: int) -> int:
    return first + second


def test_where_nothing_can_be_written_functions_are_compiled_all_the_same(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As on a read-only disk without a home, where none of numba's places can be written."""
    compilation.notice.cache_clear()
    monkeypatch.setattr(CompileResultCacheImpl, "_locator_classes", [])
    compiled = [compilation.njit()(add), compilation.njit(error_model="numpy")(add)]
    assert [function(2, 3) for function in compiled] == [5, 5]
    (told,) = caplog.messages
    assert "NUMBA_CACHE_DIR" in told


def test_elsewhere_they_are_kept() -> None:
    assert compilation.njit()(add).stats.cache_path
