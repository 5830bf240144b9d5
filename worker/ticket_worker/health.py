"""Whether the processes of this host are alive, by files that each of them touches every few seconds.

A file says who, and its time says when: `host.4711.worker-clock`, in TICKETS_HEALTH_DIR or health in TICKETS_DATA_DIR.
A process that ends takes its file along. One that was killed leaves it behind: it counts as long as nobody has taken
its place, and is forgotten after ten minutes. Files of other hosts, which may share the folder, are theirs.

Asked every few seconds, so nothing heavy is imported here.
"""

from __future__ import annotations

import os
import re
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

#: Touched so often, and called dead after so long.
TOUCH_EVERY_SECONDS = 2.0
STALE_SECONDS = 60.0
_FORGOTTEN_SECONDS = 600.0

_FORM = re.compile(r"(?P<host>.+)\.(?P<pid>\d+)\.(?P<role>[a-z-]+)")


@dataclass(frozen=True, slots=True)
class Sign:
    """What one process gave as a sign of life, and how long ago."""

    role: str
    pid: int
    age_seconds: float
    #: Whether there is still a process of that number.
    is_there: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether all is well, and why not."""

    is_well: bool
    reasons: tuple[str, ...] = ()


class Heartbeat:
    """One process's file."""

    def __init__(self, folder: Path, role: str) -> None:
        self.path = folder / f"{_host()}.{os.getpid()}.{role}"
        self._role = role

    def touch(self) -> None:
        """Say that we are alive; raises OSError where nothing can be written."""
        try:
            os.utime(self.path)
        except FileNotFoundError:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._bury()
            self.path.touch(mode=0o600)

    def remove(self) -> None:
        """End, and be missed by nobody."""
        with suppress(OSError):
            self.path.unlink()

    def _bury(self) -> None:
        """Take away what those left behind whose place this is."""
        for path in self.path.parent.glob(f"{_host()}.*.{self._role}"):
            found = _FORM.fullmatch(path.name)
            if found and not _is_there(int(found["pid"])):
                with suppress(OSError):
                    path.unlink()


def folder_in(health_dir: Path | None, data_dir: Path) -> Path:
    """Return where the signs of life are."""
    return health_dir or data_dir / "health"


def folder_set() -> Path:
    """Return where the signs of life are, without reading all the settings: a probe is to be cheap."""
    from dotenv import dotenv_values  # noqa: PLC0415 - a probe alone needs it

    given = dotenv_values(".env") | os.environ
    own, data = given.get("TICKETS_HEALTH_DIR"), given.get("TICKETS_DATA_DIR")
    return folder_in(Path(own) if own else None, Path(data or "data"))


def signs(folder: Path) -> list[Sign]:
    """Return what the processes of this host gave as signs of life; nothing where there is no such folder."""
    found, now, host = [], time.time(), _host()
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return []
    for entry in entries:
        name = _FORM.fullmatch(entry.name)
        if name is None or name["host"] != host:
            continue
        with suppress(FileNotFoundError):
            age = max(now - entry.stat().st_mtime, 0.0)
            found.append(Sign(name["role"], int(name["pid"]), age, _is_there(int(name["pid"]))))
    return sorted(found, key=lambda sign: (sign.role, sign.pid))


def live(folder: Path, *, within_seconds: float = STALE_SECONDS) -> Verdict:
    """Tell whether every process that should give signs of life did so lately."""
    found = signs(folder)
    fresh = [sign for sign in found if sign.age_seconds <= within_seconds]
    manned = {sign.role for sign in fresh if sign.is_there}
    silent = [
        sign
        for sign in found
        if sign.age_seconds > within_seconds
        # Killed, and somebody else stands there now; or so long ago that nobody waits for it.
        and (sign.is_there or (sign.role not in manned and sign.age_seconds < _FORGOTTEN_SECONDS))
    ]
    if not fresh and not silent:
        return Verdict(is_well=False, reasons=(f"no process of this host gives signs of life in {folder}",))
    return Verdict(
        is_well=not silent,
        reasons=tuple(
            f"{one.role} (process {one.pid}{'' if one.is_there else ', gone'}) is silent for {one.age_seconds:.0f} s"
            for one in silent
        ),
    )


def _host() -> str:
    return socket.gethostname() or "localhost"


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
