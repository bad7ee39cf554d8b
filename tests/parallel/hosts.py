"""Machines of a cluster, all on this one: each has a network, processes and a Ray of its own, by Linux's namespaces."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import psutil

from tests.parallel.executor_tasks import wait_until
from tests.training_runs import ROOT

PORT = 6379
RAY = Path(sys.executable).with_name("ray")
# Loaded before the C library: an hour is added to what it says about the time of day.
CLOCK = """
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = syscall(SYS_clock_gettime, clock, now);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += 3600;
    return failed;
}
int gettimeofday(struct timeval *now, void *zone) {
    struct timespec exact;
    int failed = clock_gettime(CLOCK_REALTIME, &exact);
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return failed;
}
time_t time(time_t *now) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    if (now) *now = exact.tv_sec;
    return exact.tv_sec;
}
"""


def obstacle() -> str:
    """Why there can be no such machines here; empty if there can."""
    if missing := [name for name in ("ip", "unshare", "nsenter", "cc") if not shutil.which(name)]:
        return f"machines in namespaces need the command {missing[0]}"
    links = "ip link add name one type bridge && ip link add name two type veth peer name three"
    tried = ["unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "sh", "-c", links]
    done = subprocess.run(tried, capture_output=True, text=True, check=False)
    return f"no namespaces for machines here: {done.stderr.strip()}" if done.returncode or os.getuid() else ""


def late_clock(folder: Path) -> dict[str, str]:
    """The environment of a machine whose clock is an hour off."""
    (folder / "clock.c").write_text(CLOCK)
    call("cc", "-shared", "-fPIC", "-O1", "-o", str(folder / "clock.so"), str(folder / "clock.c"))
    return {"LD_PRELOAD": str(folder / "clock.so")}


def call(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


class Host(NamedTuple):
    """A machine.

    port:    its cable's other end, in the namespace `switch`.
    process: ends with the machine, and the machine with it.
    log:     of its Ray.
    token:   lets a driver join the cluster.
    """

    address: str
    switch: str
    port: str
    process: subprocess.Popen[bytes]
    log: Path
    token: dict[str, str]

    @property
    def processes(self) -> list[psutil.Process]:
        """All that run on the machine."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def has_joined(self) -> bool:
        return "Ray runtime started" in self.log.read_text()

    def command(self, *words: object) -> list[str]:
        """The command that runs this one on the machine."""
        (first,) = psutil.Process(self.process.pid).children()
        inside = ["nsenter", "--target", str(first.pid), "--net", "--mount", "--pid", "--"]
        return [*inside, "env", *(f"{name}={value}" for name, value in self.token.items()), *map(str, words)]

    def plug(self, state: str) -> None:
        """Pulls the cable (`down`), or puts it back (`up`)."""
        call("ip", "-n", self.switch, "link", "set", self.port, state)

    @contextmanager
    def slowed(self) -> Iterator[None]:
        """A context: all that runs on the machine stands still for three quarters of the time."""
        over = threading.Event()

        def signal_all(number: int) -> None:
            for process in self.processes:
                with suppress(psutil.Error):
                    process.send_signal(number)

        def slow() -> None:
            while not over.wait(0.1):
                signal_all(signal.SIGSTOP)
                time.sleep(0.3)
                signal_all(signal.SIGCONT)

        thread = threading.Thread(target=slow)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


@contextmanager
def hosts(*environments: dict[str, str], logs: Path) -> Iterator[list[Host]]:
    """A cluster: a machine with its head and no core for workers, and one with a core for each of the environments.

    Where Ray ends on one of these, it starts again. The first environment is the head's.
    """
    name, token = f"az{os.getpid()}", {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    with ExitStack() as stack:
        for namespace in (name, *(f"{name}-{number}" for number in range(len(environments)))):
            call("ip", "netns", "add", namespace)
            stack.callback(call, "ip", "netns", "delete", namespace)
            call("ip", "-n", namespace, "link", "set", "lo", "up")
        call("ip", "-n", name, "link", "add", "bridge", "type", "bridge")
        call("ip", "-n", name, "link", "set", "bridge", "up")
        found: list[Host] = []
        for number, environment in enumerate(environments):
            own, port, address = f"{name}-{number}", f"port{number}", f"10.213.0.{number + 1}"
            call("ip", "-n", own, "link", "add", "eth0", "type", "veth", "peer", "name", port, "netns", name)
            call("ip", "-n", name, "link", "set", port, "master", "bridge", "up")
            call("ip", "-n", own, "address", "add", f"{address}/24", "dev", "eth0")
            call("ip", "-n", own, "link", "set", "eth0", "up")
            call("ip", "-n", own, "route", "add", "default", "dev", "eth0")
            temporary = tempfile.mkdtemp(prefix=f"{own}-", dir="/tmp")  # the paths of Ray's sockets must be short
            stack.callback(shutil.rmtree, temporary, ignore_errors=True)
            role = (
                f"--address={found[0].address}:{PORT} --num-cpus=1" if found else f"--head --port={PORT} --num-cpus=0"
            )
            start = f"{RAY} start {role} --node-ip-address={address} --temp-dir={temporary}"
            start += " --object-store-memory=100000000 --disable-usage-stats --block"
            log = logs / f"{own}.log"
            output = stack.enter_context(log.open("wb"))
            apart = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
            process = subprocess.Popen(
                ["ip", "netns", "exec", own, *apart, "sh", "-c", f"while :; do {start}; sleep 1; done"],
                env=os.environ | token | environment,
                cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip
            stack.callback(process.wait)
            stack.callback(process.kill)
            found.append(Host(address, name, port, process, log, token))
            wait_until(found[0].has_joined)  # the others join it
        for host in found:
            wait_until(host.has_joined)
        yield found
