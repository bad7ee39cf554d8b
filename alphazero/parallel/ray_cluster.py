"""A Ray cluster: joined at an address, or started on this machine for as long as it is needed."""

from __future__ import annotations

import importlib
import logging
import os
import secrets
import socket
import stat
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import ray

from alphazero.parallel.executor import ExecutorError
from alphazero.parallel.ray_remains import last_words, private_folder

LONGEST = 22  # characters of the path of a folder for temporary files
VITAL = {"gcs_server": "GCS", "raylet": "raylet"}  # the daemons without which nothing goes on, as Ray writes about them
# Seconds without the GCS after which Ray ends a process. It is on this machine: what does not answer at all has died.
RECONNECT = 10


class Needs(NamedTuple):
    """The resources that one process needs."""

    cpus: float
    gpus: float

    def __str__(self) -> str:
        cpus = f"{self.cpus:g} CPU" + "s" * (self.cpus != 1)
        return f"{cpus} and {self.gpus:g} GPU" + "s" * (self.gpus != 1) if self.gpus else cpus


@contextmanager
def cluster(
    address: str, *, cores: int, modules: tuple[str, ...] = (), log: Path | None = None, fix: str = "start it again"
) -> Iterator[None]:
    """A context with Ray.

    address: `auto` or HOST:PORT of a cluster that runs; empty: one of our own on this machine, with `cores`,
        that nobody else can reach and that ends with the context.
    modules: names of modules that other machines need beside the engine and the games.
    log:     the file for Ray's own messages, instead of the terminal.
    fix:     what a user can do when Ray has died, for messages.

    ExecutorError if the cluster cannot be joined or started, or if it dies. Where Ray then ends the process without a
    word, a process that looks on says the same.
    """
    # Off, Ray takes 127.0.0.1 for this machine's address and listens there only; on Linux it is on by default.
    constants: Any = importlib.import_module("ray._private.ray_constants")
    constants.ENABLE_RAY_CLUSTER = bool(address) and not address.startswith(("127.", "localhost", "[::1]"))
    handler = logging.FileHandler(log, delay=True) if log else logging.NullHandler()
    messages: dict[str, Any] = {"log_to_driver": False, "logging_format": "%(asctime)s  %(message)s"}
    words = f"error: this process was ended from outside, or by Ray because a part of the cluster has died; {fix}"
    with _redirect_messages(handler), ExitStack() as stack:
        hide_token()
        try:
            if address:
                _check_address(address)
                stack.enter_context(last_words(words))
                context = ray.init(address, runtime_env={"py_modules": code(modules)}, **messages)
            else:
                private = stack.enter_context(private_folder(_temporary()))
                stack.enter_context(last_words(words, private))
                stack.enter_context(_own_token())
                # Ray lets everybody write to the folder that it is given: so it gets one within.
                own: dict[str, Any] = {"include_dashboard": False, "_temp_dir": str(private / "ray")}
                own |= {"_system_config": {"gcs_rpc_server_reconnect_timeout_s": RECONNECT}}
                context = ray.init("local", num_cpus=cores, **own, **messages)
        except Exception as error:  # Ray raises any, also bare ones
            what = f"the Ray cluster at {address!r} cannot be joined" if address else "Ray cannot be started here"
            there = "is `ray start` running there, with the same token?"
            here = "is this machine too busy, or its memory or disk full? Try again later, or leave --workers away"
            raise ExecutorError(f"{what}; {there if address else here} ({_line(error)})") from error
        with context:
            try:
                yield
            except Exception as error:
                if dead := dead_daemons():
                    raise ExecutorError(f"{dead}; {fix}") from error
                if isinstance(error, ray.exceptions.RayError) and not isinstance(error, ray.exceptions.RayTaskError):
                    raise ExecutorError(f"Ray has failed; {fix} ({_line(error)})") from error
                raise


def _line(error: Exception) -> str:
    """The first line of the error, or its name."""
    return (str(error).strip() or repr(error)).splitlines()[0]


def dead_daemons() -> str:
    """Tells which of Ray's daemons have died that this process has started; empty if none has."""
    node = importlib.import_module("ray._private.worker")._global_node
    died = [VITAL[kind] for kind, _ in node.dead_processes() if kind in VITAL] if node else []
    return f"Ray's {' and '.join(died)} died" if died else ""


def check_daemons() -> None:
    """ExecutorError if one of Ray's daemons has died: what waits for Ray would wait for ever."""
    if dead := dead_daemons():
        raise ExecutorError(dead)


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


def _temporary() -> Path:
    """The system's folder for temporary files; /tmp if Ray's sockets, of a hundred characters, have no room there."""
    base = importlib.import_module("ray._common.utils").get_default_system_temp_dir()
    return Path("/tmp" if os.name == "posix" and len(base) > LONGEST else base)


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
