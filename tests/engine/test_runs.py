"""A tick is taken once, whoever comes for it; on SQLite and on PostgreSQL."""

import threading
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from ticket_system import runs
from ticket_system.storage.database import Database

JOB = "tickets.scan_breaches"
SLOT = datetime(2026, 3, 1, 9, 0, 5, tzinfo=UTC)
LEASE = timedelta(seconds=75)
AGAIN = timedelta(seconds=10)


def claim(database: Database, by: str, *, job: str = JOB, slot: datetime = SLOT, now: datetime | None = None) -> bool:
    return runs.claim(database, job, slot, by=by, lease=LEASE, again_after=AGAIN, now=now)


def a_run(database: Database) -> runs.JobRun:
    [run] = runs.newest(database, JOB)
    return run


def test_the_first_who_comes_takes_a_tick_and_nobody_else(database: Database) -> None:
    assert claim(database, "a")
    assert not claim(database, "b")
    assert not claim(database, "a"), "a message that came twice is two runs"
    run = a_run(database)
    assert (run.slot, run.state, run.taken_by, run.attempts) == (SLOT, "running", "a", 1)
    assert run.lease_until - run.taken_at == LEASE


def test_what_became_of_a_tick_is_written_by_whoever_holds_it(database: Database) -> None:
    assert claim(database, "a")
    assert not runs.done(database, JOB, SLOT, by="b")
    assert runs.done(database, JOB, SLOT, by="a", found=True)
    run = a_run(database)
    assert (run.state, run.found, run.error) == ("done", True, None)
    assert run.finished_at is not None
    assert not runs.failed(database, JOB, SLOT, by="a", error="too late"), "it is over"


def test_neither_what_is_done_nor_what_failed_is_done_again(database: Database) -> None:
    assert claim(database, "a")
    assert runs.done(database, JOB, SLOT, by="a")
    assert not claim(database, "b")
    later = SLOT + timedelta(seconds=1)
    assert claim(database, "a", slot=later)
    assert runs.failed(database, JOB, later, by="a", error="ValueError")
    assert not claim(database, "b", slot=later)
    assert a_run(database).error == "ValueError"


def test_a_killed_run_is_taken_over_when_its_lease_is_over_and_its_holder_has_no_more_say(database: Database) -> None:
    assert claim(database, "a", now=SLOT)
    assert not claim(database, "b", now=SLOT + LEASE - timedelta(seconds=1))
    assert claim(database, "b", now=SLOT + LEASE)
    assert not claim(database, "c", now=SLOT + LEASE)
    assert not runs.done(database, JOB, SLOT, by="a")
    assert not runs.failed(database, JOB, SLOT, by="a", error="late")
    run = a_run(database)
    assert (run.taken_by, run.attempts, run.state) == ("b", 2, "running")
    assert runs.done(database, JOB, SLOT, by="b")


def test_a_slot_that_comes_again_after_a_clock_was_set_back_is_done_again(database: Database) -> None:
    assert claim(database, "a", now=SLOT)
    assert runs.done(database, JOB, SLOT, by="a", found=True, now=SLOT)
    assert not claim(database, "b", now=SLOT + AGAIN), "that is a message that took its time"
    assert claim(database, "b", now=SLOT + timedelta(hours=1))
    run = a_run(database)
    assert (run.state, run.attempts, run.finished_at, run.found) == ("running", 1, None, None)


def test_jobs_do_not_take_each_others_ticks(database: Database) -> None:
    assert claim(database, "a")
    assert claim(database, "a", job="tickets.deliver_outbox")


def test_the_databases_clock_decides_unless_told_otherwise(database: Database) -> None:
    assert claim(database, "a")
    assert abs(a_run(database).taken_at - database.now()) < timedelta(seconds=30)


@pytest.mark.parametrize("racers", (2, 8))
def test_of_many_who_come_at_once_one_takes_each_tick(database_url: str, racers: int) -> None:
    ticks = [SLOT + timedelta(seconds=number) for number in range(40)]
    with Database(database_url, pool_size=racers) as database:
        database.upgrade()
        start = threading.Barrier(racers)
        taken: list[tuple[datetime, int]] = []

        def race(own: int) -> None:
            start.wait()
            for slot in ticks:
                if claim(database, f"racer {own}", slot=slot):
                    taken.append((slot, own))
                    assert runs.done(database, JOB, slot, by=f"racer {own}")

        threads = [threading.Thread(target=race, args=(number,)) for number in range(racers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert Counter(slot for slot, _ in taken) == Counter(ticks)
        held = {run.slot: run.taken_by for run in runs.newest(database, JOB, 100)}
        assert held == {slot: f"racer {own}" for slot, own in taken}


def test_of_many_who_take_over_from_the_dead_one_does(database_url: str) -> None:
    with Database(database_url) as database:
        database.upgrade()
        assert claim(database, "dead", now=SLOT)
        start = threading.Barrier(4)
        taken: list[int] = []

        def race(own: int) -> None:
            start.wait()
            if claim(database, f"racer {own}", now=SLOT + 2 * LEASE):
                taken.append(own)

        threads = [threading.Thread(target=race, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(taken) == 1
        assert runs.newest(database, JOB)[0].attempts == 2


def ticks(database: Database, job: str, every: timedelta, number: int, until: datetime) -> None:
    """So many ticks that were done, the last one at `until`."""
    for back in range(number):
        slot = until - back * every
        assert claim(database, "a", job=job, slot=slot, now=slot)
        assert runs.done(database, job, slot, by="a", now=slot)


def test_the_overview_says_how_each_job_is_doing(database: Database) -> None:
    now = SLOT + timedelta(seconds=3)
    ticks(database, "tickets.scan", timedelta(seconds=1), 8, SLOT)
    ticks(database, "tickets.reports", timedelta(minutes=1), 3, SLOT - timedelta(minutes=4))
    failed = SLOT - timedelta(seconds=30)
    assert claim(database, "b", job="tickets.scan", slot=failed, now=failed)
    assert runs.failed(database, "tickets.scan", failed, by="b", error="ValueError", now=failed)
    killed = SLOT - timedelta(seconds=90)
    assert claim(database, "b", job="tickets.scan", slot=killed, now=killed)
    assert claim(database, "b", job="tickets.usage", slot=SLOT, now=SLOT)

    reports, scan, usage = runs.overview(database, now=now)
    assert (scan.job, scan.last_done, scan.age) == ("tickets.scan", SLOT, timedelta(seconds=3))
    assert (scan.interval, scan.is_overdue) == (timedelta(seconds=1), False)
    assert (scan.failed, scan.killed, scan.last_failed, scan.error) == (1, 1, failed, "ValueError")
    assert (reports.interval, reports.is_overdue) == (timedelta(minutes=1), True)
    assert (reports.failed, reports.killed, reports.error) == (0, 0, None)
    assert (usage.last_done, usage.age, usage.interval, usage.is_overdue) == (None, None, None, False)
    assert set(runs.last_done(database)) == {"tickets.scan", "tickets.reports"}


def test_a_job_is_overdue_after_three_intervals_and_ten_seconds(database: Database) -> None:
    ticks(database, JOB, timedelta(seconds=5), 3, SLOT)
    for seconds, is_overdue in ((25, False), (26, True)):
        [state] = runs.overview(database, now=SLOT + timedelta(seconds=seconds))
        assert state.is_overdue is is_overdue


def test_a_job_that_was_never_done_but_often_tried_is_overdue(database: Database) -> None:
    for number in range(3):
        assert claim(database, "a", slot=SLOT + timedelta(seconds=number), now=SLOT)
    [state] = runs.overview(database, now=SLOT + LEASE)
    assert (state.age, state.is_overdue, state.killed) == (None, True, 3)


def test_a_missed_tick_does_not_change_what_is_usual(database: Database) -> None:
    ticks(database, JOB, timedelta(seconds=5), 4, SLOT)
    ticks(database, JOB, timedelta(seconds=5), 4, SLOT - timedelta(minutes=30))
    [state] = runs.overview(database, now=SLOT)
    assert state.interval == timedelta(seconds=5)
    assert max(runs.gaps(database, JOB, SLOT - timedelta(hours=1))) == timedelta(minutes=29, seconds=45)


def test_a_database_without_ticks_has_nothing_to_say(database: Database) -> None:
    assert runs.overview(database) == []
    assert runs.last_done(database) == {}
    assert runs.newest(database, JOB) == []
    assert runs.gaps(database, JOB, SLOT) == []
