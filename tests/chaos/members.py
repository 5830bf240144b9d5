"""The processes of a fleet, each as a user would start it: killed, stopped, started again, with a wrong clock."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO

import psutil

from tests.support.processes import running

ROOT = Path(__file__).parents[2]
#: For a worker that was asked to stop: longer than its own patience with its jobs.
_GRACE_SECONDS = 12.0


class Member:
    """One process, and whatever it starts."""

    def __init__(
        self, name: str, words: tuple[str, ...], environ: Mapping[str, str], folder: Path, log: IO[bytes]
    ) -> None:
        self.name, self._words, self._log = name, words, log
        self._folder = folder / "members" / name
        self._folder.mkdir(parents=True, exist_ok=True)
        # Behind whatever is there: a run may be made with another copy of the rooms in front.
        path = [part for part in (environ.get("PYTHONPATH"), str(ROOT)) if part]
        self._environ = {**environ, "TICKETS_DATA_DIR": str(self._folder), "PYTHONPATH": os.pathsep.join(path)}
        self._life = ExitStack()
        self._process: subprocess.Popen[bytes] | None = None
        self._turn = threading.RLock()
        #: Whether somebody has to start it again when it is found dead.
        self.is_to_run = False

    def start(self, offset_seconds: float = 0.0) -> None:
        """Start it; its clock may be wrong by so many seconds."""
        how = ["tests.chaos.skewed", str(offset_seconds)] if offset_seconds else ["ticket_worker"]
        self._start(how if self._words[0] != "-m" else [])

    def _start(self, how: list[str]) -> None:
        words = ["-m", *how, *self._words] if how else [*self._words]
        with self._turn:
            self._life.close()
            self._process = self._life.enter_context(
                running(
                    [sys.executable, *words],
                    cwd=self._folder,
                    env=self._environ,
                    log=self._log,
                    grace_seconds=_GRACE_SECONDS,
                )
            )
            self.is_to_run = True

    def kill(self, part: str = "all") -> None:
        """Have it gone in the middle of whatever it does: all of it, its leader alone, or one of its children."""
        with self._turn:
            assert self._process is not None
            if part == "child":
                # Its own affair: it is to find another.
                with suppress(psutil.Error):
                    for child in psutil.Process(self._process.pid).children()[:1]:
                        child.kill()
                return
            self.is_to_run = False
            if part == "leader":
                self._process.kill()
            else:
                self._signal(signal.SIGKILL)
            self._process.wait()

    def freeze(self) -> None:
        """Stop all of it where it is."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on, as if no time had passed."""
        self._signal(signal.SIGCONT)

    def ask(self) -> None:
        """Ask it to stop, and do not wait for it."""
        with self._turn:
            self.is_to_run = False
            if self._process is not None and self._process.poll() is None:
                self.thaw()
                self._process.terminate()

    def end(self) -> None:
        """Ask it to stop, and wait; nothing of it is left."""
        with self._turn:
            self.is_to_run = False
            if self._process is not None and self._process.poll() is None:
                self.thaw()
                self._life.close()
                self._signal(signal.SIGKILL)

    def ended_by_itself(self) -> int | None:
        """The exit status of one that is to run, and does not."""
        with self._turn:
            if not self.is_to_run or self._process is None:
                return None
            return self._process.poll()

    def status(self) -> int | None:
        """Its exit status; None: it runs, or never did."""
        with self._turn:
            return None if self._process is None else self._process.poll()

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        with suppress(ProcessLookupError):
            # It leads a session, and so a group, of its own.
            os.killpg(self._process.pid, number)


def left_behind(folder: Path) -> list[psutil.Process]:
    """Processes that members of a run have left: what a killed one had started is to end by itself."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get("TICKETS_DATA_DIR", "").startswith(str(folder / "members")):
                found.append(process)
    return found
