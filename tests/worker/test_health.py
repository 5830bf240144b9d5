import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from ticket_system import TicketSystem
from ticket_worker import health, heartbeats
from ticket_worker.__main__ import app
from ticket_worker.health import Heartbeat, Sign, Verdict, live, signs
from ticket_worker.heartbeats import Pulse

pytestmark = pytest.mark.usefixtures("own_logging")

#: No process has it: it is beyond what a kernel hands out.
NOBODY = 2**22 + 7


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "health"


def left_by(folder: Path, role: str, pid: int, age: float, *, host: str | None = None) -> Path:
    """The file of a process, last touched so many seconds ago."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{host or health._host()}.{pid}.{role}"
    path.touch()
    os.utime(path, (time.time() - age, time.time() - age))
    return path


def test_who_touches_its_file_lives_and_who_ends_takes_it_along(folder: Path) -> None:
    heartbeat = Heartbeat(folder, "worker-clock-desk")
    heartbeat.touch()
    heartbeat.touch()
    [sign] = signs(folder)
    assert (sign.role, sign.pid, sign.is_there) == ("worker-clock-desk", os.getpid(), True)
    assert sign.age_seconds < 30
    assert live(folder) == Verdict(is_well=True)
    heartbeat.remove()
    heartbeat.remove()
    assert signs(folder) == []


def test_where_nobody_gives_signs_of_life_nothing_lives(folder: Path) -> None:
    assert not live(folder).is_well
    assert "no process of this host" in live(folder).reasons[0]
    left_by(folder, "beat", NOBODY, 5, host="another")
    assert not live(folder).is_well


def test_one_that_is_silent_is_named_whoever_else_lives(folder: Path) -> None:
    left_by(folder, "beat", os.getpid(), 1)
    left_by(folder, "worker-clock", os.getppid(), 61)
    assert live(folder) == Verdict(False, (f"worker-clock (process {os.getppid()}) is silent for 61 s",))
    assert live(folder, within_seconds=90).is_well


def test_one_that_was_killed_counts_until_somebody_stands_in_its_place(folder: Path) -> None:
    left_by(folder, "beat", os.getpid(), 1)
    left_by(folder, "worker-clock", NOBODY, 5)
    assert live(folder).is_well, "it is being started anew"
    left_by(folder, "worker-clock", NOBODY, 70)
    assert live(folder).reasons == (f"worker-clock (process {NOBODY}, gone) is silent for 70 s",)
    left_by(folder, "worker-clock", os.getppid(), 1)
    assert live(folder).is_well


def test_one_that_was_killed_long_ago_is_forgotten(folder: Path) -> None:
    left_by(folder, "beat", os.getpid(), 1)
    left_by(folder, "worker-clock", NOBODY, 700)
    assert live(folder).is_well


def test_who_takes_a_place_buries_those_before_and_nobody_else(folder: Path) -> None:
    kept = [
        left_by(folder, "beat", NOBODY, 70),
        left_by(folder, "worker-clock", os.getppid(), 70),
        left_by(folder, "worker-clock", NOBODY, 70, host="another"),
        folder / "notes.txt",
    ]
    kept[-1].touch()
    gone = left_by(folder, "worker-clock", NOBODY, 70)
    Heartbeat(folder, "worker-clock").touch()
    assert not gone.exists()
    assert all(path.exists() for path in kept)
    assert Sign("worker-clock", os.getpid(), 0.0, True).role in {sign.role for sign in signs(folder)}


def until(reached: Callable[[], object], *, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline, "it did not come to be"
        time.sleep(0.01)


class Counted:
    """A file that only counts how often it is touched, and may refuse."""

    path = Path("nowhere")

    def __init__(self) -> None:
        self.touched, self.removed, self.refuses = 0, False, False

    def touch(self) -> None:
        self.touched += 1
        if self.refuses:
            raise OSError(28, "No space left on device")

    def remove(self) -> None:
        self.removed = True


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeats, "TOUCH_EVERY_SECONDS", 0.01)
    monkeypatch.setattr(heartbeats, "_PATIENCE_SECONDS", 0.1)


@pytest.mark.usefixtures("quick")
def test_a_pulse_goes_on_while_there_is_progress_or_none_is_to_be_expected() -> None:
    file = Counted()
    pulse = Pulse(file)  # type: ignore[arg-type]
    pulse.start()
    until(lambda: file.touched > 3)
    pulse.expect()
    until(lambda: time.monotonic() > pulse._expected_by + 0.1)
    stopped_at = file.touched
    assert not threading.Event().wait(0.1)
    assert file.touched == stopped_at, "no progress, no pulse"
    pulse.expect(60)
    until(lambda: file.touched > stopped_at)
    pulse.wait_for_others()
    until(lambda: file.touched > stopped_at + 3)
    pulse.end()
    assert file.removed
    assert not pulse.is_alive()


@pytest.mark.usefixtures("quick")
def test_a_folder_that_cannot_be_written_is_said_once_and_stops_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    file = Counted()
    file.refuses = True
    pulse = Pulse(file)  # type: ignore[arg-type]
    pulse.start()
    until(lambda: file.touched > 5)
    pulse.end()
    assert "".join(capsys.readouterr()).count("No space left on device") == 1


def test_a_beat_is_expected_when_its_scheduler_says_that_it_comes_round() -> None:
    told: list[float] = []
    pulse: Any = SimpleNamespace(expect=lambda seconds=0.0: told.append(seconds))
    scheduler = SimpleNamespace(tick=lambda: 120.0)
    heartbeats._listen_to_turns(scheduler, pulse)
    assert scheduler.tick() == 120.0
    assert told == [0.0, 120.0]


def test_a_probe_for_life_loads_nothing_that_is_heavy(tmp_path: Path) -> None:
    """It runs every few seconds, in every container."""
    code = (
        "import sys; from ticket_worker.__main__ import app\n"
        "try: app(['health', 'live'])\n"
        "except SystemExit as end: print(end.code)\n"
        "print(sorted({'celery', 'kombu', 'redis', 'sqlalchemy', 'structlog', 'prometheus_client'} & set(sys.modules)))"
    )
    left_by(tmp_path / "elsewhere", "beat", os.getpid(), 1)
    environment = {**os.environ, "TICKETS_HEALTH_DIR": str(tmp_path / "elsewhere")}
    said = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert said.stdout.split("\n")[:3] == ["live", "0", "[]"], said


def test_the_verb_says_what_is_silent_to_a_person_and_to_a_program(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("TICKETS_DATA_DIR=there\n")
    Path("there").mkdir()
    left_by(Path("there/health"), "beat", os.getpid(), 90)
    found = CliRunner().invoke(app, ["health", "live"])
    assert found.exit_code == 1
    assert "ticket-worker: beat (process" in found.stderr
    found = CliRunner().invoke(app, ["health", "live", "--within", "100", "--json"])
    assert (found.exit_code, json.loads(found.stdout)) == (0, {"is_well": True, "reasons": []})
    assert CliRunner().invoke(app, ["health", "dead"]).exit_code == 2


def test_ready_is_alive_with_a_database_that_fits_and_a_broker(
    tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    TicketSystem(tmp_path / "tickets.db").close()
    monkeypatch.setenv("TICKETS_DATABASE_URL", "tickets.db")
    monkeypatch.setenv("TICKETS_REDIS_URL", redis_url)
    assert "no process of this host" in ask().stdout
    Path("data").mkdir()
    left_by(Path("data/health"), "beat", os.getpid(), 1)
    assert ask().exit_code == 0
    monkeypatch.setenv("TICKETS_REDIS_URL", "redis://:hush@127.0.0.1:1/0")
    monkeypatch.setenv("TICKETS_DATABASE_URL", "postgresql://u:hush@127.0.0.1:1/x")
    found = ask()
    assert found.exit_code == 1
    assert "nothing listens there" in found.stdout
    assert len(json.loads(found.stdout)["reasons"]) == 2
    assert "hush" not in found.stdout + found.stderr


def ask() -> Result:
    return CliRunner().invoke(app, ["health", "ready", "--json"])
