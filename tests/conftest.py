"""For all tests: one thread in torch, so that rounding does not depend on the machine; no deadlines in Hypothesis.

`make test` runs them in several processes: each file in one of them, and those over Ray (`pytestmark =
pytest.mark.cluster`) in two, whole runs and the rest, since more at once keep each other waiting. `-m "not cluster"`
leaves those out.
"""

from __future__ import annotations

import functools
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from tests.commands import command  # noqa: F401  (a fixture)
from tests.cpu_clock import cpu_clock  # noqa: F401  (a fixture)
from tests.training_runs import ROOT, Train, Whole, call_train, whole_run

torch.set_num_threads(1)
# Kernels compile and networks are exported within the first example of a test.
settings.register_profile("alphazero", deadline=None)
settings.load_profile("alphazero")
# Otherwise Ray's workers would wait for the tests that run beside theirs.
os.environ.update(RAY_worker_niceness="0")
# A process that a shell runs in the background ignores Ctrl-C, and so do its children: tests of it would wait in vain.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


RUNS, PARTS = "whole runs over Ray", "parts of runs over Ray"


@functools.cache
def together(file: str) -> str:
    """The name of the tests that one process takes together: a file, or many files that are marked `cluster`.

    The marks are read from the files' text: the process that hands out tests knows only their names.
    """
    if "\npytestmark = pytest.mark.cluster\n" not in (ROOT / file).read_text(encoding="utf-8"):
        return file
    return RUNS if Path(file).parent.name in ("scripts", "trainer") else PARTS


def file_of(nodeid: str) -> str:
    return nodeid.partition("::")[0]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the longest first, since at the end one process would run them while the others have nothing to do."""
    longest = (RUNS, PARTS, "tests/examples/test_plan_learned.py", "tests/scripts/test_discover.py")
    parts = {item: together(file_of(item.nodeid)) for item in items}
    items.sort(key=lambda item: longest.index(parts[item]) if parts[item] in longest else len(longest))


class ByFile(LoadScopeScheduling):
    """Hands out whole files. (xdist 3.8 loses its own marks of groups on pytest 9.2, without a word.)"""

    def _split_scope(self, nodeid: str) -> str:
        return together(file_of(nodeid))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByFile:
    return ByFile(config, log)


@pytest.fixture(scope="session", autouse=True)
def _own_state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The games that tests name are trusted by no one else, nor those that the user has named by tests.

    Exported networks are kept for all processes of these tests, and for none besides.
    """
    base = tmp_path_factory.getbasetemp()
    of_all = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        patch.setenv("XDG_CACHE_HOME", str(of_all / "cache"))
        yield


@pytest.fixture
def train(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Train:
    """scripts/train.py, called within this process."""
    return call_train(monkeypatch, capsys)


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """A run that all tests in one process share; those that change its folder take a copy."""
    return whole_run(tmp_path_factory.getbasetemp())
