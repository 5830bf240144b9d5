"""Deliveries: taken by lease, told what became of them by their holder alone, never sent twice by guess."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from tests.support.contents import everything, rows_of
from tests.support.factories import a_ticket
from ticket_system import TicketNotFound, TicketSystem, outbox
from ticket_system.outbox import MAX_ATTEMPTS, OutboxRow
from ticket_system.storage import tables
from ticket_system.storage.database import Database
from ticket_system.storage.outbox import add

START = datetime(2020, 2, 29, 22, 0, tzinfo=UTC)
LEASE = 60


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def put(database: Database, number: int = 1, *, seconds: float = 0) -> None:
    with database.write() as connection:
        for index in range(number):
            add(connection, cause=f"k{index}", kind="breach", ticket_id="t", now=at(seconds + index))


def claimed(database: Database, seconds: float = 0, *, limit: int = 20) -> list[OutboxRow]:
    return outbox.claim(database, limit=limit, lease_seconds=LEASE, now=at(seconds))


def one(database: Database, seconds: float = 0) -> OutboxRow:
    put(database)
    [row] = claimed(database, seconds)
    return row


def stored(database: Database) -> dict[str, Any]:
    [row] = rows_of(database, tables.outbox)
    return row


def test_a_claimed_message_is_leased_for_so_long(database: Database) -> None:
    row = one(database, 5)
    assert (row.key, row.kind, row.ticket_id, row.state, row.attempts) == ("k0/mail", "breach", "t", "leased", 1)
    assert (row.created_at, row.next_attempt_at, row.error, row.sent_at) == (START, at(5 + LEASE), None, None)
    assert row.lease
    assert stored(database) == {name: getattr(row, name) for name in stored(database)}
    assert claimed(database, 5) == claimed(database, 5 + LEASE - 1) == []


def test_nothing_is_claimed_before_its_time(database: Database) -> None:
    put(database, seconds=10)
    assert claimed(database, 9.999999) == []
    assert len(claimed(database, 10)) == 1


def test_the_oldest_are_claimed_first_and_no_more_than_asked_for(database: Database) -> None:
    put(database, 10)
    assert [row.key for row in claimed(database, 100, limit=3)] == ["k0/mail", "k1/mail", "k2/mail"]
    assert [row.key for row in claimed(database, 100, limit=4)] == ["k3/mail", "k4/mail", "k5/mail", "k6/mail"]
    assert [row.key for row in claimed(database, 100)] == ["k7/mail", "k8/mail", "k9/mail"]


def test_a_second_message_under_a_key_is_not_written(database: Database) -> None:
    """(25)"""
    row = one(database)
    put(database)
    assert len(rows_of(database, tables.outbox)) == 1
    assert stored(database)["lease"] == row.lease


def test_a_delivered_message_is_done(database: Database) -> None:
    row = one(database)
    assert outbox.begin_sending(database, row, lease_seconds=LEASE, now=at(1)) is True
    assert stored(database)["state"] == "sending"
    assert outbox.delivered(database, row, now=at(2)) is True
    assert (stored(database)["state"], stored(database)["sent_at"]) == ("sent", at(2))
    assert (stored(database)["next_attempt_at"], stored(database)["error"]) == (None, None)
    before = everything(database)
    assert claimed(database, 10**6) == []
    assert outbox.begin_sending(database, row) is False
    assert outbox.delivered(database, row, now=at(3)) is False
    assert outbox.park(database, row, "late news") is False
    assert outbox.retry(database, [row.id]) == outbox.drop(database, [row.id]) == 0
    assert everything(database) == before


def test_without_a_moment_the_clock_of_the_database_counts(database: Database) -> None:
    row = one(database)
    before = database.now()
    assert outbox.begin_sending(database, row, lease_seconds=LEASE)
    begun = stored(database)["next_attempt_at"] - timedelta(seconds=LEASE)
    assert outbox.delivered(database, row)
    assert before <= begun <= stored(database)["sent_at"] <= database.now()


def test_a_database_that_lives_by_another_clock_does_so_here(database_url: str, database: Database) -> None:
    put(database)
    with Database(database_url, clock=lambda: at(7)) as elsewhen:
        if elsewhen.in_memory:
            elsewhen.upgrade()
            put(elsewhen)
        [row] = outbox.claim(elsewhen)
        assert outbox.begin_sending(elsewhen, row, lease_seconds=LEASE)
        assert stored(elsewhen)["next_attempt_at"] == at(7 + LEASE)
        assert outbox.delivered(elsewhen, row)
        assert stored(elsewhen)["sent_at"] == at(7)


def test_a_lease_that_ran_out_is_taken_up_again_and_its_old_holder_may_say_nothing(database: Database) -> None:
    lost = one(database)
    [row] = claimed(database, LEASE)
    assert (row.id, row.attempts) == (lost.id, 2)
    assert row.lease != lost.lease
    before = everything(database)
    assert outbox.begin_sending(database, lost, now=at(LEASE + 1)) is False
    assert outbox.delivered(database, lost) is False
    assert outbox.park(database, lost, "x") is False
    assert outbox.uncertain(database, lost, "x") is False
    assert outbox.postpone(database, lost, "x", now=at(LEASE + 1)) is False
    too_often = replace(lost, attempts=MAX_ATTEMPTS)
    assert outbox.postpone(database, too_often, "x", now=at(LEASE + 1)) is False
    assert everything(database) == before
    assert outbox.begin_sending(database, row, now=at(LEASE + 1)) is True


def test_sending_is_begun_once(database: Database) -> None:
    row = one(database)
    assert outbox.begin_sending(database, row, now=at(1))
    assert not outbox.begin_sending(database, row, now=at(1))


def test_a_sender_that_vanished_leaves_a_message_that_nobody_repeats(database: Database) -> None:
    row = one(database)
    outbox.begin_sending(database, row, lease_seconds=LEASE, now=at(1))
    assert claimed(database, 1 + LEASE) == []
    assert stored(database)["state"] == "sending", "it may be at it still"
    assert claimed(database, 1 + LEASE + 0.000001) == []
    assert (stored(database)["state"], stored(database)["next_attempt_at"]) == ("uncertain", None)
    assert "may have arrived" in stored(database)["error"]
    assert claimed(database, 10**6) == []
    assert outbox.delivered(database, row) is False, "a person decides now"


def test_what_is_uncertain_is_set_aside(database: Database) -> None:
    row = one(database)
    outbox.begin_sending(database, row, now=at(1))
    assert outbox.uncertain(database, row, "no answer after DATA") is True
    assert (stored(database)["state"], stored(database)["error"]) == ("uncertain", "no answer after DATA")
    assert [row.id for row in outbox.rows(database)] == [row.id]
    assert claimed(database, 10**6) == []


def test_a_postponed_message_waits_and_is_tried_again(database: Database) -> None:
    row = one(database)
    outbox.begin_sending(database, row, now=at(1))
    again = outbox.postpone(database, row, "451 later", now=at(2))
    assert isinstance(again, datetime)
    assert timedelta(seconds=2.5) <= again - at(2) <= timedelta(seconds=5)
    assert (stored(database)["state"], stored(database)["error"]) == ("pending", "451 later")
    assert (stored(database)["next_attempt_at"], stored(database)["lease"]) == (again, None)
    assert outbox.claim(database, now=again - timedelta(microseconds=1)) == []
    [second] = outbox.claim(database, now=again)
    assert (second.attempts, second.error) == (2, "451 later")


def test_a_message_that_fails_too_often_is_parked(database: Database) -> None:
    put(database)
    now, tries = START, 0
    while rows := outbox.claim(database, now=now):
        [row] = rows
        tries += 1
        assert row.attempts == tries
        again = outbox.postpone(database, row, "451 later", now=now)
        now = again or now + timedelta(days=365)
    assert tries == MAX_ATTEMPTS
    assert stored(database)["state"] == "parked"
    assert stored(database)["error"] == f"given up after {MAX_ATTEMPTS} attempts: 451 later"
    assert now - timedelta(days=365) - START < timedelta(days=3)


def test_a_long_error_is_cut_and_a_strange_one_is_kept(database: Database) -> None:
    row = one(database)
    assert outbox.park(database, row, "ü" * 10_000)
    assert stored(database)["error"] == "ü" * 500


@pytest.mark.parametrize("error", ("nul \x00 inside", "surrogate \udcff inside"), ids=ascii)
def test_an_error_that_no_database_can_hold_is_told_all_the_same(database: Database, error: str) -> None:
    """A mail server may answer anything; its refusal must not be lost over a byte."""
    row = one(database)
    assert outbox.park(database, row, error)
    assert stored(database)["state"] == "parked"
    assert "inside" in stored(database)["error"]


def two_in(database: Database, state: str) -> tuple[dict[str, Any], dict[str, Any]]:
    with database.write() as connection:
        connection.execute(sa.delete(tables.outbox))
    put(database, 2)
    with database.write() as connection:
        connection.execute(sa.update(tables.outbox).values(state=state, lease="somebody's", attempts=18))
    first, second = rows_of(database, tables.outbox)
    return first, second


def test_only_stuck_messages_are_settled_by_hand(database: Database) -> None:
    for state in ("pending", "leased", "sending", "sent", "dropped"):
        first, second = two_in(database, state)
        before = everything(database)
        assert outbox.retry(database, [first["id"], second["id"]]) == 0
        assert outbox.drop(database, [first["id"], second["id"]]) == 0
        assert everything(database) == before


def test_a_stuck_message_is_sent_again_or_dropped_by_hand(database: Database) -> None:
    for state in ("parked", "uncertain"):
        first, second = two_in(database, state)
        assert outbox.retry(database, [first["id"]]) == outbox.drop(database, [second["id"], 999]) == 1
        retried, dropped = rows_of(database, tables.outbox)
        assert (retried["state"], retried["attempts"], retried["lease"]) == ("pending", 0, None)
        assert abs(retried["next_attempt_at"] - datetime.now(UTC)) < timedelta(minutes=1)
        assert (dropped["state"], dropped["lease"], dropped["next_attempt_at"]) == ("dropped", None, None)
        assert [row.id for row in outbox.claim(database)] == [first["id"]]
    assert outbox.retry(database, []) == 0


def test_messages_are_counted_and_shown_by_state(database: Database) -> None:
    put(database, 6)
    assert outbox.count(database) == {"pending": 6}
    first, second, third = claimed(database, 100, limit=3)
    outbox.park(database, first, "550 no")
    outbox.uncertain(database, second, "who knows")
    outbox.delivered(database, third)
    assert outbox.count(database) == {"pending": 3, "parked": 1, "uncertain": 1, "sent": 1}
    assert [(row.key, row.error) for row in outbox.rows(database)] == [("k0/mail", "550 no"), ("k1/mail", "who knows")]
    assert [row.key for row in outbox.rows(database, ("pending",), limit=2)] == ["k3/mail", "k4/mail"]
    assert outbox.rows(database, ("it's nothing",)) == []


def test_a_message_tells_its_ticket_as_it_stands_now(system: TicketSystem) -> None:
    system.create_ticket(a_ticket(id="t"))
    row = one(system.database)
    system.escalate("t")
    ticket = outbox.ticket_of(system.database, row)
    assert ticket == system.get_ticket("t")
    assert (ticket.priority, ticket.clock is not None) == (2, True)
    put(system.database, 2)
    with system.database.write() as connection:
        connection.execute(sa.update(tables.outbox).values(ticket_id="gone"))
    with pytest.raises(TicketNotFound, match="gone"):
        outbox.ticket_of(system.database, claimed(system.database, 100)[0])


@pytest.mark.parametrize("database_url", ("sqlite-file", "postgresql"), indirect=True)
@pytest.mark.parametrize("analysed", (False, True))
def test_claimers_never_share_a_message(database: Database, database_url: str, analysed: bool) -> None:
    put(database, 200)
    if analysed:
        with database.write() as connection:
            connection.execute(sa.text("ANALYZE"))
    ready = threading.Barrier(4)

    def work(_: int) -> list[int]:
        mine: list[int] = []
        with Database(database_url) as own:
            ready.wait()
            while rows := outbox.claim(own, limit=7, now=at(1000)):
                assert len(rows) <= 7
                assert len({row.lease for row in rows}) == 1
                mine += [row.id for row in rows]
        return mine

    with ThreadPoolExecutor(4) as pool:
        taken = [row_id for mine in pool.map(work, range(4)) for row_id in mine]
    assert len(taken) == len(set(taken))
    # One that another claimer held for an instant is passed by; the next claim has it.
    taken += [row.id for row in claimed(database, 1000, limit=200)]
    assert sorted(taken) == [row["id"] for row in rows_of(database, tables.outbox)]


@pytest.mark.parametrize("database_url", ("postgresql",), indirect=True)
def test_a_claim_does_not_wait_for_a_message_that_somebody_holds(database: Database) -> None:
    put(database, 3)
    with database.write() as person:
        person.execute(sa.select(tables.outbox).where(tables.outbox.c.key == "k1/mail").with_for_update())
        assert [row.key for row in claimed(database, 100)] == ["k0/mail", "k2/mail"]
    assert [row.key for row in claimed(database, 100)] == ["k1/mail"]
