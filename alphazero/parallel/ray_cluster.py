"""A Ray cluster: joined at an address, or started on this machine for as long as it is needed."""

from __future__ import annotations

import importlib
import logging
import os
import secrets
import shutil
import socket
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import ray

from alphazero.parallel.executor import ExecutorError

LONGEST = 22  # characters of the path of a folder for temporary files
ENDING = 10.0  # seconds that the end of a cluster waits for its files to go


class Needs(NamedTuple):
    """The resources that one process needs."""

    cpus: float
    gpus: float

    def __str__(self) -> str:
        cpus = f"{self.cpus:g} CPU" + "s" * (self.cpus != 1)
        return f"{cpus} and {self.gpus:g} GPU" + "s" * (self.gpus != 1) if self.gpus else cpus


@contextmanager
def cluster(address: str, *, cores: int, modules: tuple[str, ...] = (), log: Path | None = None) -> Iterator[None]:
    """A context with Ray. ExecutorError if the cluster cannot be joined or started.

    address: `auto` or HOST:PORT of a cluster that runs; empty: one of our own on this machine, with `cores`,
        that nobody else can reach and that ends with the context.
    modules: names of modules that other machines need beside the engine and the games.
    log:     the file for Ray's own messages, instead of the terminal.
    """
    # Off, Ray takes 127.0.0.1 for this machine's address and listens there only; on Linux it is on by default.
    constants: Any = importlib.import_module("ray._private.ray_constants")
    constants.ENABLE_RAY_CLUSTER = bool(address) and not address.startswith(("127.", "localhost", "[::1]"))
    handler = logging.FileHandler(log, delay=True) if log else logging.NullHandler()
    messages: dict[str, Any] = {"log_to_driver": False, "logging_format": "%(asctime)s  %(message)s"}
    with _redirect_messages(handler), ExitStack() as stack:
        hide_token()
        try:
            if address:
                _check_address(address)
                context = ray.init(address, runtime_env={"py_modules": code(modules)}, **messages)
            else:
                private = stack.enter_context(_private_folder())
                stack.enter_context(_own_token())
                context = ray.init("local", num_cpus=cores, include_dashboard=False, _temp_dir=private, **messages)
        except (OSError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
            what = f"the Ray cluster at {address!r} cannot be joined" if address else "Ray cannot be started here"
            fix = "; is `ray start` running there, with the same token?" if address else ""
            raise ExecutorError(f"{what}{fix} ({str(error).strip() or repr(error)})") from error
        with context:
            yield


def _check_address(address: str) -> None:
    """OSError, within seconds, if nothing listens there: Ray itself would try for minutes."""
    services: Any = importlib.import_module("ray._private.services")
    host, _, port = str(services.canonicalize_bootstrap_address(address)).rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()


def code(modules: tuple[str, ...]) -> list[str]:
    """Folders and files of the packages and modules to copy to the other machines, whatever is installed there."""
    paths = []
    for name in dict.fromkeys(["alphazero", *(name.partition(".")[0] for name in modules)]):
        file = Path(str(importlib.import_module(name).__file__))
        paths.append(str(file.parent if file.name == "__init__.py" else file))
    return paths


def room(needs: Needs) -> int:
    """The number of such processes that fit on the cluster's machines while nobody else uses them."""
    asked = {name: need for name, need in (("CPU", needs.cpus), ("GPU", needs.gpus)) if need}
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return sum(int(min(has.get(name, 0.0) / need for name, need in asked.items()) + 1e-9) for has in machines)


def check_room(count: int, needs: Needs, what: str) -> None:
    """ExecutorError, at once, if the cluster has no room for `count` processes."""
    if room(needs) < count:
        raise ExecutorError(f"{count} {what} of {needs} each were asked for, and {have()}")


def have() -> str:
    """The cluster's resources, and how much of them is free, as text."""
    total, free = ray.cluster_resources(), ray.available_resources()

    def number(resources: dict[str, float]) -> str:
        return str(Needs(resources.get("CPU", 0), resources.get("GPU", 0)))

    machines = sum(node["Alive"] for node in ray.nodes())
    return f"the cluster has {number(total)} on {machines} machine{'s' * (machines != 1)}, of which {number(free)} free"


@contextmanager
def _private_folder() -> Iterator[str]:
    """A folder for the files of a cluster of our own, which only this user can enter, and which goes with the cluster.

    Ray lets everybody write to the folder that it is given: so it gets one within.
    """
    places: Any = importlib.import_module("ray._common.utils")
    base = places.get_default_system_temp_dir()
    if os.name == "posix" and len(base) > LONGEST:  # the paths of Ray's sockets have room for a hundred characters
        base = "/tmp"
    private = Path(tempfile.mkdtemp(prefix="az-", dir=base))  # 0700
    try:
        yield str(private / "ray")
    finally:
        deadline = time.monotonic() + ENDING
        while private.exists():  # Ray's daemons write to it until they have ended
            shutil.rmtree(private, ignore_errors=True)
            if time.monotonic() > deadline:
                break
            time.sleep(0.1)


@contextmanager
def _own_token() -> Iterator[None]:
    """A token for this cluster alone, in the environment that its processes inherit: Ray would write one to a file.

    Where the user has switched tokens off, nothing asks for it.
    """
    raylet: Any = importlib.import_module("ray._raylet")
    loader = raylet.AuthenticationTokenLoader.instance()
    try:
        with patch.dict(os.environ, {"RAY_AUTH_TOKEN": secrets.token_hex(32)}):
            loader.reset_cache()
            yield
    finally:
        loader.reset_cache()


def hide_token() -> None:
    """Makes the user's token, which Ray writes for everybody to read, readable for the user alone."""
    with suppress(OSError, RuntimeError):  # there is none, it is another's, or there is no home
        token = Path.home() / ".ray" / "auth_token"
        if stat.S_ISREG(mode := token.lstat().st_mode) and mode & 0o077:
            token.chmod(0o600)


@contextmanager
def _redirect_messages(handler: logging.Handler) -> Iterator[None]:
    """Sends Ray's messages to `handler`: on the terminal they would tear the progress display.

    A function that nothing can switch off prints the reports of Ray's daemons, so it is replaced.
    """
    logger, driver = logging.getLogger("ray"), importlib.import_module("ray._private.worker")

    def log(batch: dict[str, Any], **_: object) -> None:
        logger.warning("\n".join(batch["lines"]))

    messages = patch.multiple(logger, handlers=[handler], propagate=False)
    with closing(handler), messages, patch.object(driver, "print_to_stdstream", log, create=True):
        yield
