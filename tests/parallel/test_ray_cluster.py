"""A cluster of our own: its room, who can reach it, and where Ray's own messages go."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import ray

from alphazero.parallel.executor import ExecutorError
from alphazero.parallel.ray_cluster import Needs, check_room, cluster, hide_token, room
from alphazero.parallel.ray_executor import RayExecutor
from tests.parallel.executor_tasks import PATIENCE, CountTask, make_nothing, wait_until

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ray") / "ray.log"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module", autouse=True)
def _cluster(log: Path, home: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        with cluster("", cores=4, log=log):
            private = session_folder().parents[1]
            yield
    assert not private.exists()
    assert "RAY_AUTH_TOKEN" not in os.environ


def session_folder() -> Path:
    return Path(ray._private.worker._global_node.get_session_dir_path())


def test_room_is_counted_by_the_scarcest_resource() -> None:
    assert [room(Needs(cpus, 0)) for cpus in (0.25, 0.1, 1, 3, 5)] == [16, 40, 4, 1, 0]
    assert room(Needs(1, 0.5)) == 0
    check_room(4, Needs(1, 0), "workers")
    with pytest.raises(ExecutorError, match=r"^5 workers of 1 CPU each were asked for, and the cluster has 4 CPUs"):
        check_room(5, Needs(1, 0), "workers")


def test_nothing_listens_beyond_loopback_and_strangers_are_not_let_in() -> None:
    ours = {process.pid for process in psutil.Process().children(recursive=True)} | {os.getpid()}
    listening = {
        connection.laddr.ip.removeprefix("::ffff:")
        for connection in psutil.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN and connection.pid in ours
    }
    assert listening == {"127.0.0.1"}
    from ray._private.authentication.authentication_utils import is_token_auth_enabled

    assert is_token_auth_enabled()


def test_only_this_user_gets_at_its_files_and_its_token_is_in_none(home: Path) -> None:
    """Ray lets everybody write to its folders; so nobody else may enter the one around them."""
    private = session_folder().parents[1]
    assert private.stat().st_mode & 0o777 == 0o700
    assert private.stat().st_uid == os.getuid()
    assert (session_folder() / "sockets").is_dir()
    assert not list(home.rglob("*auth_token*"))
    token = os.environ["RAY_AUTH_TOKEN"].encode()
    assert [path for path in private.rglob("*") if path.is_file() and token in path.read_bytes()] == []


@pytest.mark.parametrize(("mode", "then"), [(0o644, 0o600), (0o660, 0o600), (0o600, 0o600), (0o400, 0o400)])
def test_a_token_that_ray_has_written_is_hidden(
    mode: int, then: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    hide_token()  # there is none
    (tmp_path / ".ray").mkdir()
    token = tmp_path / ".ray" / "auth_token"
    token.touch()
    token.chmod(mode)
    hide_token()
    assert token.stat().st_mode & 0o777 == then


def test_rays_own_messages_go_to_its_log(tmp_path: Path, log: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with RayExecutor(make_nothing, 1, Needs(1, 0)) as workers:
        workers.submit(CountTask(1, tmp_path / "book")).result(PATIENCE)
        os.kill(workers.pids()[0], signal.SIGKILL)
        workers.submit(CountTask(1, tmp_path / "book")).result(PATIENCE)
        wait_until(lambda: "died or was killed" in log.read_text())
    assert "".join(capfd.readouterr()) == ""
