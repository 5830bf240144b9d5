"""Beat is no single point of failure: whichever beat, broker or database is killed or stopped, ticks go on, each once.

Prints how long no tick came, for each way to fail.
"""

import json
import os
import secrets
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from subprocess import Popen
from typing import Any

import psycopg
import pytest

from tests.support.beats import Mortal, Watcher, mortal_postgres, mortal_valkey
from tests.support.factories import a_ticket_due_in
from tests.support.processes import running
from tests.support.smtp import PostOffice
from ticket_system import TicketSystem, runs
from ticket_system.storage.database import Database
from ticket_tasks import names

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

TICKETS = 50
#: A loaded machine takes its time. What is usual is printed.
PATIENCE_SECONDS = 60.0
SLOWEST_FAILOVER_SECONDS = 15.0


class Fleet:
    """Processes with one environment, each with a log of its own."""

    def __init__(self, stack: ExitStack, folder: Path, environment: dict[str, str]) -> None:
        self._stack, self._folder = stack, folder
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("TICKETS_")},
            "TICKETS_DATA_DIR": str(folder),
            "TICKETS_LOG_FORMAT": "json",
            **environment,
        }
        self.logs: dict[int, Path] = {}

    def start(self, *words: str, **environment: str) -> Popen[bytes]:
        path = self._folder / f"{words[0]}-{len(self.logs)}.log"
        output = self._stack.enter_context(path.open("wb"))
        command = [sys.executable, "-m", "ticket_worker", *words]
        process = self._stack.enter_context(running(command, env=self.environment | environment, log=output))
        self.logs[process.pid] = path
        return process

    def events(self, process: Popen[bytes]) -> list[str]:
        """What a process said, by name."""
        return [line["event"] for line in self.lines(process)]

    def lines(self, process: Popen[bytes]) -> list[dict[str, Any]]:
        found = []
        for line in self.logs[process.pid].read_text("utf-8", "replace").splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:  # half a line, or not ours
                continue
        return found

    def leads(self, process: Popen[bytes]) -> bool:
        states = [event for event in self.events(process) if event in {"beat.leading", "beat.lost"}]
        return states[-1:] == ["beat.leading"]

    def two_beats(self, **environment: str) -> tuple[Popen[bytes], Popen[bytes]]:
        """The one that leads, and the one that stands by."""
        beats = [self.start("beat", **environment), self.start("beat", **environment)]
        until(lambda: any(self.leads(one) for one in beats))
        leader = next(one for one in beats if self.leads(one))
        standby = next(one for one in beats if one is not leader)
        until(lambda: "beat.standing_by" in self.events(standby))
        return leader, standby


@pytest.fixture
def fleets(tmp_path: Path) -> Iterator[Callable[..., Fleet]]:
    with ExitStack() as stack:
        made: list[Fleet] = []

        def make(database_url: str, redis_url: str, **environment: str) -> Fleet:
            urls = {"TICKETS_DATABASE_URL": database_url, "TICKETS_REDIS_URL": redis_url}
            made.append(Fleet(stack, tmp_path, urls | environment))
            return made[-1]

        yield make
    for fleet in made:
        for path in fleet.logs.values():
            print(path.name, path.read_text("utf-8", "replace")[-5_000:], sep="\n")


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    def say(line: str) -> None:
        with capsys.disabled():
            print(f"\n  {line}")

    return say


def until(reached: Callable[[], bool], *, seconds: float = PATIENCE_SECONDS) -> None:
    """Return when it is so; fail when it does not come to be."""
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline, "it did not come to be"
        time.sleep(0.05)


def connect(database_url: str) -> psycopg.Connection:
    with Database(database_url) as database:
        url = database.url.set(drivername="postgresql").render_as_string(hide_password=False)
    return psycopg.connect(url, autocommit=True)


def test_a_leader_that_is_killed_is_replaced_within_seconds(
    fleets: Callable[..., Fleet], postgres_url: str, redis_url: str, say: Callable[[str], None]
) -> None:
    fleet = fleets(postgres_url, redis_url)
    with Watcher(redis_url) as watcher:
        leader, standby = fleet.two_beats()
        gaps = []
        for how in (signal.SIGKILL, signal.SIGTERM):
            watcher.comes(3, since=time.monotonic())
            began = time.monotonic()
            leader.send_signal(how)
            until(lambda: fleet.leads(standby))  # noqa: B023 - looked at before it changes
            watcher.comes(3, since=time.monotonic())
            gaps.append(watcher.longest_gap(began))
            if how == signal.SIGKILL:
                leader, standby = standby, fleet.start("beat")
                until(lambda: "beat.standing_by" in fleet.events(standby))  # noqa: B023 - likewise
    say(f"no tick for {', '.join(f'{gap:.2f}' for gap in gaps)} s after SIGKILL, SIGTERM of the beat that led")
    assert max(gaps) < SLOWEST_FAILOVER_SECONDS
    sent = Counter(tick.slot for tick in watcher.ticks)
    assert sent.total() - len(sent) <= len(gaps), "whoever takes over may repeat the newest slot, and no other"
    assert all(tick.slot.microsecond == 0 for tick in watcher.ticks)


def test_two_beats_that_both_tick_double_nothing(
    fleets: Callable[..., Fleet],
    postgres_url: str,
    redis_url: str,
    post_office: PostOffice,
    say: Callable[[str], None],
) -> None:
    fleet = fleets(
        postgres_url,
        redis_url,
        TICKETS_BEAT="plain",
        TICKETS_LOG_LEVEL="debug",
        TICKETS_MAIL="smtp",
        TICKETS_MAIL_TO="desk@example.org",
        TICKETS_SMTP_HOST=post_office.host,
        TICKETS_SMTP_PORT=str(post_office.port),
    )
    workers = [fleet.start("worker", "--queues", "clock,desk", "--concurrency", "1") for _ in range(2)]
    beats = [fleet.start("beat") for _ in range(2)]
    with TicketSystem(postgres_url) as system:
        until(lambda: all(fleet.leads(beat) for beat in beats))
        until(lambda: len(runs.newest(system.database, names.SCAN_BREACHES, 3)) == 3)
        tickets = [a_ticket_due_in(1 + number * 0.05, priority=2) for number in range(TICKETS)]
        system.create_tickets(tickets)
        until(lambda: len(post_office.delivered) >= TICKETS)
        until(lambda: len(runs.newest(system.database, names.SCAN_BREACHES, 10)) == 10)
        for one in (*beats, *workers):
            one.terminate()
        for one in (*beats, *workers):
            one.wait(30)

        said = [line for worker in workers for line in fleet.lines(worker)]
        taken = Counter((line["task"], line["slot"]) for line in said if line["event"] == "tick.taken")
        passed = Counter((line["task"], line["slot"]) for line in said if line["event"] == "tick.passed")
        rows = {
            (run.job, run.slot.isoformat()): run
            for job in (names.SCAN_BREACHES, names.DELIVER_OUTBOX, names.AUDIT_CLOCKS)
            for run in runs.newest(system.database, job, 1000)
        }
        assert set(taken) == set(rows)
        assert set(taken.values()) == {1}, "a tick was done twice"
        assert {run.attempts for run in rows.values()} == {1}
        assert {run.state for run in rows.values()} == {"done"}
        assert passed.total() > 5, "both were to tick"
        say(f"two beats that both tick: {taken.total() + passed.total()} ticks came, {taken.total()} were done")

    with connect(postgres_url) as connection:
        for source in ("events WHERE kind = 'breached'", "events WHERE kind = 'escalated'", "outbox", "comments"):
            counted = connection.execute(
                f"SELECT count(*), count(DISTINCT ticket_id) FROM {source}".encode()
            ).fetchone()
            assert counted == (TICKETS, TICKETS), source
    sent = Counter(letter.message["Message-ID"] for letter in post_office.delivered)
    assert len(sent) == TICKETS
    assert max(sent.values()) == 1, "a letter went out twice"


def test_beats_outlive_their_broker(
    fleets: Callable[..., Fleet], postgres_url: str, tmp_path: Path, say: Callable[[str], None]
) -> None:
    redis_url = f"redis://:{secrets.token_hex(8)}@127.0.0.1:{free_port()}/0"
    fleet = fleets(postgres_url, redis_url)
    with mortal_valkey(redis_url, tmp_path) as valkey, Watcher(redis_url) as watcher:
        leader, standby = fleet.two_beats()
        watcher.comes(3, since=time.monotonic())
        say(outage("the broker", valkey, 8, watcher))
        beats = (leader, standby)
        assert [beat.poll() for beat in beats] == [None, None]
        until(lambda: sum(fleet.leads(beat) for beat in beats) == 1)
        assert fleet.events(leader).count("tick.lost") == 1, "once, not once a second"
        assert "beat.lost" not in fleet.events(standby)


def test_a_leader_that_alone_is_cut_off_from_the_broker_makes_room(
    fleets: Callable[..., Fleet], postgres_url: str, redis_url: str, tmp_path: Path, say: Callable[[str], None]
) -> None:
    # Two brokers stand for two ways to one.
    other_url = f"redis://:{secrets.token_hex(8)}@127.0.0.1:{free_port()}/0"
    fleet = fleets(postgres_url, redis_url)
    with mortal_valkey(other_url, tmp_path) as other, Watcher(redis_url) as watcher:
        leader = fleet.start("beat", TICKETS_REDIS_URL=other_url)
        until(lambda: fleet.leads(leader))
        standby = fleet.start("beat")
        until(lambda: "beat.standing_by" in fleet.events(standby))
        assert watcher.ticks == []
        began = time.monotonic()
        other.die()
        watcher.comes(3, since=began)
        say(f"{watcher.ticks[0].arrived - began:.2f} s after the leader alone lost its broker another beat ticked")
        assert fleet.leads(standby)
        until(lambda: "beat.lost" in fleet.events(leader))


def test_beats_outlive_their_database(fleets: Callable[..., Fleet], redis_url: str, say: Callable[[str], None]) -> None:
    with mortal_postgres() as (database_url, postgres), Watcher(redis_url) as watcher:
        fleet = fleets(database_url, redis_url)
        beats = fleet.two_beats()
        watcher.comes(3, since=time.monotonic())
        say(outage("the database", postgres, 5, watcher))
        assert [beat.poll() for beat in beats] == [None, None]
        until(lambda: sum(fleet.leads(beat) for beat in beats) == 1)
        assert all(fleet.events(beat).count("beat.lost") == 1 for beat in beats), "once, not once a second"
        for beat in beats:
            beat.terminate()
            assert beat.wait(30) == 0


def outage(what: str, server: Mortal, seconds: float, watcher: Watcher) -> str:
    """Kill a server, start it again after a while, wait for ticks, and say how long there were none."""
    began = time.monotonic()
    server.die()
    time.sleep(seconds)
    server.rise()
    back = time.monotonic()
    watcher.comes(5, since=back)
    first = next(tick.arrived for tick in watcher.ticks if tick.arrived > back)
    assert first - back < SLOWEST_FAILOVER_SECONDS
    return (
        f"{what} was away for {back - began:.1f} s: no tick for {watcher.longest_gap(began):.2f} s, "
        f"the first one {first - back:.2f} s after its return"
    )


def test_a_leader_that_hangs_is_put_out_and_stays_out(
    fleets: Callable[..., Fleet], postgres_url: str, redis_url: str, say: Callable[[str], None]
) -> None:
    fleet = fleets(postgres_url, redis_url)
    with Watcher(redis_url) as watcher:
        leader, standby = fleet.two_beats()
        watcher.comes(3, since=time.monotonic())
        began = time.monotonic()
        leader.send_signal(signal.SIGSTOP)
        try:
            until(lambda: fleet.leads(standby))
            watcher.comes(5, since=time.monotonic())
        finally:
            leader.send_signal(signal.SIGCONT)
        gap = watcher.longest_gap(began)
        say(f"no tick for {gap:.2f} s after SIGSTOP of the beat that led")
        assert gap < SLOWEST_FAILOVER_SECONDS
        woken = time.monotonic()
        until(lambda: not fleet.leads(leader))
        watcher.comes(5, since=woken)
        until(lambda: sum(fleet.leads(beat) for beat in (leader, standby)) == 1)
        assert "beat.evicted" in fleet.events(standby)
        # The newest slot, by whoever takes over; and what was about to be sent by whoever was stopped.
        changes = sum(fleet.events(beat).count("beat.leading") for beat in (leader, standby))
        assert len(watcher.ticks) - len({tick.slot for tick in watcher.ticks}) <= changes
        after = [tick.slot for tick in watcher.ticks if tick.arrived > woken + 1]
        assert all(later - earlier >= timedelta(seconds=1) for earlier, later in pairwise(after))


def test_of_two_redbeats_one_ticks_and_the_other_takes_over(
    fleets: Callable[..., Fleet], postgres_url: str, redis_url: str, say: Callable[[str], None]
) -> None:
    pytest.importorskip("redbeat")
    fleet = fleets(postgres_url, redis_url, TICKETS_BEAT="redbeat")
    with Watcher(redis_url) as watcher:
        leader = fleet.start("beat")
        watcher.comes(2, since=0)
        standby = fleet.start("beat")
        until(lambda: "beat.started" in fleet.events(standby))
        watcher.comes(3, since=time.monotonic())
        began = time.monotonic()
        leader.terminate()
        leader.wait(30)
        watcher.comes(3, since=time.monotonic() + 0.5)
        gap = watcher.longest_gap(began)
    say(f"no tick for {gap:.2f} s after SIGTERM of the redbeat that led")
    assert gap < SLOWEST_FAILOVER_SECONDS
    assert set(Counter(tick.slot for tick in watcher.ticks).values()) <= {1, 2}
    assert all(tick.slot.microsecond == 0 for tick in watcher.ticks)


def test_a_redbeat_that_is_not_installed_is_said_in_one_line(
    fleets: Callable[..., Fleet], postgres_url: str, redis_url: str, tmp_path: Path
) -> None:
    fleet = fleets(postgres_url, redis_url)
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util as util\n"
        "find = util.find_spec\n"
        "util.find_spec = lambda name, *rest: None if name == 'redbeat' else find(name, *rest)\n"
    )
    beat = fleet.start("beat", TICKETS_BEAT="redbeat", PYTHONPATH=str(tmp_path))
    assert beat.wait(30) == 2
    said = fleet.logs[beat.pid].read_text().strip()
    assert said.splitlines()[-1].startswith("ticket-worker: TICKETS_BEAT: redbeat needs an extra.")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port
