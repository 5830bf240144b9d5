import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from structlog.testing import capture_logs

from tests.support.processes import running
from ticket_worker import supervisor as module
from ticket_worker import tether
from ticket_worker.supervisor import Child, Supervisor

SLEEP = "import time; time.sleep(60)"
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
FAMILY = """
import os, sys, time
if pid := os.fork():
    open(sys.argv[1], "w").write(str(pid))
time.sleep(60)
"""
PARENT = """
import sys, time
from ticket_worker.supervisor import Child, Supervisor
supervisor = Supervisor()
supervisor.start(Child("deaf", [sys.executable, "-c", {deaf!r}]))
open(sys.argv[1], "w").write(str(supervisor.pids()["deaf"]))
time.sleep(60)
"""


def script(name: str, code: str, *arguments: str, is_last: bool = False) -> Child:
    return Child(name, [sys.executable, "-c", code, *arguments], is_last=is_last)


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    supervisor = Supervisor(grace_seconds=1)
    yield supervisor
    supervisor.stop()


def until(holds: Callable[[], bool], supervisor: Supervisor | None = None, *, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come to that"
        if supervisor is not None:
            supervisor.poll()
        time.sleep(0.02)


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_a_child_that_dies_is_started_again_and_that_is_told(supervisor: Supervisor) -> None:
    with capture_logs() as lines:
        supervisor.start(script("sleeper", SLEEP))
        first = supervisor.pids()["sleeper"]
        os.kill(first, signal.SIGKILL)
        until(lambda: supervisor.pids().get("sleeper", first) != first, supervisor)
    (died,) = [line for line in lines if line["event"] == "child.died"]
    assert (died["child"], died["status"], died["restart_in_seconds"]) == ("sleeper", "SIGKILL", 1.0)


def test_one_that_keeps_dying_waits_longer_each_time_and_not_for_ever(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("ticket_worker.supervisor.time.monotonic", lambda: now[0])
    waits: list[float] = []
    supervisor.start(script("broken", "raise SystemExit(1)"))
    (post,) = supervisor._posts
    for _ in range(7):
        assert post.process is not None
        post.process.wait()
        with capture_logs() as lines:
            supervisor.poll()
        waits += [line["restart_in_seconds"] for line in lines if line["event"] == "child.died"]
        now[0] = post.start_at
        supervisor.poll()
    assert waits == [1, 2, 4, 8, 16, 30, 30]
    assert post.process is not None
    post.process.wait()
    now[0] += 61
    with capture_logs() as lines:
        supervisor.poll()
    assert lines[0]["restart_in_seconds"] == 1, "a healthy minute makes good"


def test_one_that_was_called_wrongly_is_not_tried_again(supervisor: Supervisor) -> None:
    supervisor.start(script("sleeper", SLEEP), script("wrong", "raise SystemExit(2)"))
    assert supervisor.run() == 2
    assert supervisor.pids() == {}


def test_stopping_leaves_nobody_and_kills_who_does_not_listen(supervisor: Supervisor, tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as output:
        supervisor.output = output
        code = DEAF.replace("print('deaf', flush=True)", "print('deaf', file=__import__('sys').stderr, flush=True)")
        supervisor.start(script("sleeper", SLEEP), script("deaf", code))
        until(lambda: (tmp_path / "out").read_text().startswith("deaf"))
        pids = supervisor.pids().values()
        with capture_logs() as lines:
            supervisor.stop()
    assert all(is_gone(pid) for pid in pids)
    assert [line["child"] for line in lines if line["event"] == "child.killed"] == ["deaf"]


def test_who_is_needed_by_the_others_stops_last(supervisor: Supervisor) -> None:
    supervisor.start(script("broker", SLEEP, is_last=True), script("worker", SLEEP))
    with capture_logs() as lines:
        supervisor.stop()
    assert [line["child"] for line in lines if line["event"] == "child.stopped"] == ["worker", "broker"]


def test_what_a_dead_child_left_behind_goes_too(supervisor: Supervisor, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    supervisor.start(script("family", FAMILY, str(note)))
    until(lambda: note.exists() and note.read_text() != "")
    orphan = int(note.read_text())
    os.kill(supervisor.pids()["family"], signal.SIGKILL)
    until(lambda: is_gone(orphan), supervisor)


@pytest.mark.parametrize("number", (signal.SIGTERM, signal.SIGINT))
def test_a_signal_ends_the_run_in_order(supervisor: Supervisor, number: signal.Signals) -> None:
    supervisor.start(script("sleeper", SLEEP))
    (pid,) = supervisor.pids().values()
    turns = []

    def each_turn() -> None:
        turns.append(1)
        os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    assert supervisor.run(each_turn=each_turn) == 0
    assert turns == [1]
    assert is_gone(pid)
    assert signal.getsignal(number) is before


def test_nobody_outlives_a_supervisor_that_was_killed(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    with running([sys.executable, "-c", PARENT.format(deaf=DEAF), note], stop_signal=signal.SIGKILL):
        until(lambda: note.exists() and note.read_text() != "")
        child = int(note.read_text())
        assert not is_gone(child)
    until(lambda: is_gone(child))


def test_where_the_kernel_offers_nothing_a_watcher_passes_the_death_on(monkeypatch: pytest.MonkeyPatch) -> None:
    with running([sys.executable, "-c", SLEEP]) as target, running([sys.executable, "-c", ""]) as parent:
        parent.wait()
        # In earnest the watcher is a child of the target's.
        monkeypatch.setattr("ticket_worker.tether.os.getppid", lambda: target.pid)
        tether.watch(parent.pid, target.pid, signal.SIGKILL)
        assert target.wait(5) == -signal.SIGKILL


@pytest.mark.parametrize(("status", "text"), ((-9, "SIGKILL"), (1, "exit 1")))
def test_an_exit_status_has_a_name(status: int, text: str) -> None:
    assert module.describe_status(status) == text
