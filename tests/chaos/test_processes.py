"""What a run is made of does what it says: wrong clocks, a mail server that dies, wires that are cut, what rest is."""

import json
import os
import smtplib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.chaos.members import ROOT, Member
from tests.chaos.post import LETTERS, MOOD
from tests.chaos.rest import QUESTIONS
from tests.support.factories import a_ticket
from tests.support.fleet import wait_until
from tests.support.proxy import running_wire
from ticket_system import TicketSystem, monitor

#: In the place of `ticket-worker`: tells the time, in itself and in a child that is forked.
TELLS_THE_TIME = """
import json, os, sys, time
from datetime import datetime, timezone
from tests.chaos import skewed
import ticket_worker.__main__ as worker

def main():
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.write(writer, json.dumps([time.time(), datetime.now(timezone.utc).timestamp()]).encode())
        os._exit(0)
    os.wait()
    print(json.dumps([time.time(), datetime.now(timezone.utc).timestamp(), *json.loads(os.read(reader, 1000))]))

worker.main = main
skewed.main()
"""


@pytest.mark.parametrize("offset", (-600, 417))
def test_a_wrong_clock_is_wrong_in_a_process_and_in_what_it_forks(offset: int) -> None:
    found = subprocess.run(
        [sys.executable, "-c", TELLS_THE_TIME, str(offset)], cwd=ROOT, check=True, capture_output=True, text=True
    )
    now = time.time()
    clocks = json.loads(found.stdout)
    assert len(clocks) == 4
    assert all(abs(clock - now - offset) < 30 for clock in clocks)


@pytest.fixture
def post(tmp_path: Path) -> Iterator[tuple[Member, int]]:
    """A mail server of a run."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with (tmp_path / "log").open("ab") as log:
        member = Member("mail", ("-m", "tests.chaos.post", str(tmp_path), str(port)), os.environ, tmp_path, log)
        member.start()
        try:
            wait_until(lambda: listens(port))
            yield member, port
        finally:
            member.end()


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def mail(port: int, name: str) -> None:
    text = f"Subject: Late\r\nMessage-ID: <{name}@example.org>\r\n\r\nHello.\r\n"
    with smtplib.SMTP("127.0.0.1", port, timeout=10) as client:
        client.sendmail("a@example.org", ["b@example.org"], text)


def letters(folder: Path) -> list[dict[str, Any]]:
    path = folder / LETTERS
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []


def be(folder: Path, mood: str) -> None:
    (folder / MOOD).write_text(json.dumps({"mood": mood, "share": 1.0, "lot": 1}), "utf-8")


def test_what_the_mail_server_took_outlives_it(post: tuple[Member, int], tmp_path: Path) -> None:
    member, port = post
    mail(port, "first")
    member.kill()
    assert not listens(port)
    member.start()
    wait_until(lambda: listens(port))
    mail(port, "second")
    assert [(one["message_id"], one["answered"]) for one in letters(tmp_path)] == [
        ("<first@example.org>", True),
        ("<second@example.org>", True),
    ]
    assert letters(tmp_path)[0]["recipients"] == ["b@example.org"]
    assert letters(tmp_path)[0]["headers"]["Subject"] == "Late"


@pytest.mark.parametrize(
    ("mood", "error", "kept"),
    (
        ("later", smtplib.SMTPRecipientsRefused, []),
        ("hang up before", smtplib.SMTPServerDisconnected, []),
        ("hang up after", smtplib.SMTPServerDisconnected, [False]),
    ),
)
def test_the_mail_server_has_moods(
    post: tuple[Member, int], tmp_path: Path, mood: str, error: type[Exception], kept: list[bool]
) -> None:
    _, port = post
    be(tmp_path, mood)
    with pytest.raises(error):
        mail(port, "letter")
    assert [one["answered"] for one in letters(tmp_path)] == kept
    (tmp_path / MOOD).unlink()
    mail(port, "letter")
    assert [one["answered"] for one in letters(tmp_path)] == [*kept, True]


def test_a_wire_that_breaks_resets_its_connections_and_takes_new_ones(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, running_wire(server.getsockname()) as wire:
        near = socket.create_connection((wire.host, wire.port), timeout=10)
        far, _ = server.accept()
        far.settimeout(10)
        near.sendall(b"hello")
        assert far.recv(100) == b"hello"
        wire.break_off()
        for end in (near, far):
            with pytest.raises(ConnectionResetError):
                end.recv(100)
            end.close()
        with socket.create_connection((wire.host, wire.port), timeout=10) as again:
            again.sendall(b"again")
            far, _ = server.accept()
            with far:
                assert far.recv(100) == b"again"


@pytest.fixture
def family(tmp_path: Path) -> Iterator[Member]:
    """A process with a child."""
    with (tmp_path / "log").open("ab") as log:
        member = Member("worker-1", ("-m", "tests.chaos.test_processes"), os.environ, tmp_path, log)
        member.start()
        try:
            wait_until(lambda: len(pids(member)) == 2)
            yield member
        finally:
            member.end()


def pids(member: Member) -> list[psutil.Process]:
    assert member._process is not None
    leader = psutil.Process(member._process.pid)
    return [leader, *leader.children()]


def test_a_member_is_killed_with_all_it_started(family: Member) -> None:
    mine = pids(family)
    family.kill()
    wait_until(lambda: not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in mine))
    assert family.ended_by_itself() is None, "somebody did it"


def test_a_member_that_dies_by_itself_is_noticed(family: Member) -> None:
    leader, child = pids(family)
    leader.kill()
    wait_until(lambda: family.ended_by_itself() == -9)
    child.kill()


def test_a_child_of_a_member_is_killed_alone(family: Member) -> None:
    leader, child = pids(family)
    family.kill("child")
    wait_until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)
    assert leader.is_running()
    assert family.ended_by_itself() is None


def test_a_member_is_stopped_and_goes_on(family: Member) -> None:
    mine = pids(family)
    family.freeze()
    wait_until(lambda: all(one.status() == psutil.STATUS_STOPPED for one in mine))
    family.thaw()
    wait_until(lambda: all(one.status() == psutil.STATUS_SLEEPING for one in mine))


def test_a_fleet_is_at_rest_only_when_nothing_is_due(postgres_url: str) -> None:
    with TicketSystem(postgres_url) as system:
        assert unrest(system) == {}
        system.create_ticket(a_ticket(created_at=datetime.now(UTC) - timedelta(hours=3), sla_hours=1, priority=2))
        assert unrest(system) == {"clocks due": 1}
        monitor.scan_breaches(system.database)
        assert unrest(system) == {"notices to send": 1}


def unrest(system: TicketSystem) -> dict[str, int]:
    import sqlalchemy as sa  # noqa: PLC0415 - only here

    with system.database.read() as connection:
        found = {what: connection.execute(sa.text(question)).scalar_one() for what, question in QUESTIONS.items()}
    return {what: number for what, number in found.items() if number}


if __name__ == "__main__":
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(99)"])
    time.sleep(99)
