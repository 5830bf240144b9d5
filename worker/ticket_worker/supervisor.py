"""Keep child processes running: start them, start them again when they die, stop them all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import structlog

log = structlog.stdlib.get_logger(__name__)

#: A child that ends with this status was called wrongly, and would be again.
USAGE = 2

_TETHER = Path(__file__).with_name("tether.py")
_LONGEST_WAIT_SECONDS = 30.0
_HEALTHY_SECONDS = 60.0
_LOOK_EVERY_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Child:
    """A process to keep running."""

    name: str
    command: Sequence[str]
    #: Everything it finds in its environment; None: what the supervisor finds in its own.
    environ: Mapping[str, str] | None = field(default=None, repr=False)
    #: Stopped after the others, which need it until they are gone.
    is_last: bool = False
    #: What it gets when the supervisor itself is killed.
    death_signal: signal.Signals = signal.SIGKILL


@dataclass(slots=True)
class _Post:
    """One child's place: who stands there now, and how often it had to be filled again."""

    child: Child
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    start_at: float = 0.0
    failures: int = 0


class Supervisor:
    """Runs children until it is told to stop; call it from one thread, which must live as long as they do."""

    def __init__(
        self, *, grace_seconds: float = 30.0, output: IO[bytes] | None = None, folder: Path | None = None
    ) -> None:
        self.grace_seconds = grace_seconds
        self.folder = folder
        self.output = output
        #: Set when going on makes no sense; becomes the exit status.
        self.status: int | None = None
        self._posts: list[_Post] = []
        self._is_stopping = False

    def start(self, *children: Child) -> None:
        """Start children, each in a session of its own: a Ctrl-C reaches the supervisor, which stops them in order."""
        for child in children:
            post = _Post(child)
            self._posts.append(post)
            self._fill(post)

    def pids(self) -> dict[str, int]:
        """Return who runs now, by name."""
        return {post.child.name: post.process.pid for post in self._posts if post.process is not None}

    def poll(self) -> None:
        """See who died, and start again whose turn it is; to be called several times a second."""
        now = time.monotonic()
        for post in self._posts:
            if post.process is None:
                if now >= post.start_at:
                    self._fill(post)
            elif (status := post.process.poll()) is not None:
                self._lost(post, status, now)

    def run(self, *, each_turn: Callable[[], None] | None = None) -> int:
        """Keep the children running until SIGTERM, Ctrl-C or a child that cannot be helped; return the exit status."""
        previous = {name: signal.signal(name, self._asked_to_stop) for name in (signal.SIGTERM, signal.SIGINT)}
        try:
            while not self._is_stopping and self.status is None:
                self.poll()
                if each_turn is not None:
                    each_turn()
                time.sleep(_LOOK_EVERY_SECONDS)
        finally:
            self.stop()
            for name, handler in previous.items():
                signal.signal(name, handler)
        return self.status or 0

    def stop(self) -> None:
        """Stop everybody: first who needs the others, then the rest; kill who does not listen. Nobody is left."""
        self._is_stopping = True
        for is_last in (False, True):
            posts = [post for post in self._posts if post.child.is_last is is_last and post.process is not None]
            for post in posts:
                _signal(post, signal.SIGTERM)
            deadline = time.monotonic() + self.grace_seconds
            for post in posts:
                self._await_end(post, deadline)
        self._posts.clear()

    def _asked_to_stop(self, number: int, _frame: object) -> None:
        log.info("fleet.stopping", signal=signal.Signals(number).name)
        self._is_stopping = True

    def _fill(self, post: _Post) -> None:
        child = post.child
        tether = [sys.executable, "-I", "-S", str(_TETHER), str(os.getpid()), str(int(child.death_signal))]
        post.process = subprocess.Popen(  # noqa: S603 - our own command lines
            [*tether, *child.command],
            env=child.environ,
            stdin=subprocess.DEVNULL,
            # Children speak on stderr; what else Celery prints is not for a log.
            stdout=subprocess.DEVNULL,
            stderr=self.output,
            cwd=self.folder,
            start_new_session=True,
        )
        post.started_at = time.monotonic()
        log.info("child.started", child=child.name, pid=post.process.pid)

    def _lost(self, post: _Post, status: int, now: float) -> None:
        pid = post.process.pid if post.process else 0
        # A process that is gone may have left children of its own.
        _kill_group(pid)
        post.process = None
        if status == USAGE:
            log.error("child.misconfigured", child=post.child.name, pid=pid, hint="its own message stands above")
            self.status = USAGE
            return
        if now - post.started_at >= _HEALTHY_SECONDS:
            post.failures = 0
        wait = min(2.0**post.failures, _LONGEST_WAIT_SECONDS)
        post.failures += 1
        post.start_at = now + wait
        log.warning(
            "child.died",
            child=post.child.name,
            pid=pid,
            status=describe_status(status),
            restart_in_seconds=wait,
        )

    def _await_end(self, post: _Post, deadline: float) -> None:
        if post.process is None:
            return
        try:
            post.process.wait(max(deadline - time.monotonic(), 0.0))
        except subprocess.TimeoutExpired:
            log.warning("child.killed", child=post.child.name, pid=post.process.pid, grace_seconds=self.grace_seconds)
        _kill_group(post.process.pid)
        post.process.wait()
        log.info("child.stopped", child=post.child.name, pid=post.process.pid)
        post.process = None


def describe_status(status: int) -> str:
    """Return an exit status as a person says it: `SIGKILL`, `exit 1`."""
    return signal.Signals(-status).name if status < 0 else f"exit {status}"


def _signal(post: _Post, number: signal.Signals) -> None:
    if post.process is not None:
        with suppress(ProcessLookupError):
            post.process.send_signal(number)


def _kill_group(pid: int) -> None:
    """Kill what is left of a child's session; the child led it."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
