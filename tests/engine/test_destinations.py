"""Destinations do not wait for each other: turns, rests, and the way back."""

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from tests.support.contents import rows_of
from ticket_system import outbox
from ticket_system.outbox import OutboxRow
from ticket_system.storage import tables
from ticket_system.storage.database import Database
from ticket_system.storage.outbox import add

START = datetime(2020, 2, 29, 22, 0, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def put(database: Database, destination: str, number: int = 1, *, seconds: float = 0) -> None:
    with database.write() as connection:
        for index in range(number):
            add(
                connection,
                cause=f"k{index}",
                destination=destination,
                kind="breach",
                ticket_id="t",
                now=at(seconds + index / 1000),
            )


def claimed(database: Database, seconds: float, *, limit: int = 20) -> list[OutboxRow]:
    return outbox.claim(database, limit=limit, lease_seconds=60, now=at(seconds))


def keys(rows: list[OutboxRow]) -> list[str]:
    return [row.key for row in rows]


def test_one_cause_goes_to_many_destinations_once_each(database: Database) -> None:
    for destination in ("mail", "slack", "mail:ada@example.org", "slack", "mail"):
        put(database, destination)
    assert keys(claimed(database, 1)) == ["k0/mail", "k0/slack", "k0/mail:ada@example.org"]
    assert {row["destination"] for row in rows_of(database, tables.outbox)} == {"mail", "slack", "mail:ada@example.org"}


def test_each_destination_has_its_turn_before_any_has_a_second(database: Database) -> None:
    put(database, "slack", 50)
    put(database, "pager", 2, seconds=10)
    put(database, "mail", 2, seconds=20)
    assert keys(claimed(database, 30, limit=4)) == ["k0/slack", "k0/pager", "k0/mail", "k1/slack"]
    assert keys(claimed(database, 30, limit=4)) == ["k2/slack", "k1/pager", "k1/mail", "k3/slack"]


def test_a_single_destination_has_every_place(database: Database) -> None:
    put(database, "slack", 5)
    assert len(claimed(database, 1, limit=4)) == 4


def test_a_resting_destination_is_passed_over_and_not_touched(database: Database) -> None:
    put(database, "slack", 3)
    put(database, "mail", 2)
    before = rows_of(database, tables.outbox, tables.outbox.c.destination == "slack")
    again = outbox.rest(database, "slack", "connection refused", now=at(1))
    assert at(3.5) <= again <= at(6)
    assert keys(claimed(database, 2)) == ["k0/mail", "k1/mail"]
    assert rows_of(database, tables.outbox, tables.outbox.c.destination == "slack") == before
    assert outbox.claim(database, now=again - timedelta(microseconds=1)) == []
    assert keys(outbox.claim(database, now=again)) == ["k0/slack", "k1/slack", "k2/slack"]


def test_every_mail_destination_rests_with_its_server(database: Database) -> None:
    for destination in ("mail", "mail:ada@example.org", "mailgun", "a"):
        put(database, destination)
    outbox.rest(database, "mail:ada@example.org", "connection refused", now=at(1))
    assert keys(claimed(database, 2)) == ["k0/mailgun", "k0/a"]


def test_failures_in_a_row_rest_longer_up_to_minutes(database: Database) -> None:
    waits, now = [], START
    for _ in range(40):
        until = outbox.rest(database, "slack", "no", now=now)
        waits.append((until - now).total_seconds())
        now = until
    assert waits[0] <= 5
    assert 150 <= waits[-1] <= 300
    [one] = outbox.resting(database)
    assert (one.channel, one.error) == ("slack", "no")


def test_workers_that_find_it_away_at_once_have_met_one_failure(database: Database) -> None:
    """Each had begun before the first of them said so: eight of them would let it rest for minutes."""
    first = outbox.rest(database, "slack", "refused", now=at(1))
    for number in range(8):
        assert first <= outbox.rest(database, "slack", "refused", now=at(1.1 + number / 10)) <= at(7)
    assert [one.failures for one in outbox.resting(database)] == [1]
    assert outbox.rest(database, "slack", "refused", now=at(20)) <= at(30)
    assert [one.failures for one in outbox.resting(database)] == [2]


def test_one_that_was_slow_and_then_refuses_has_failed(database: Database) -> None:
    outbox.rest(database, "slack", None, seconds=7, now=at(0))
    outbox.rest(database, "slack", "refused", now=at(1))
    assert [one.failures for one in outbox.resting(database)] == [1]


def test_a_longer_rest_is_granted_within_reason(database: Database) -> None:
    assert outbox.rest(database, "slack", "429", seconds=600, now=at(0)) == at(600)
    assert outbox.rest(database, "pager", "429", seconds=10**9, now=at(0)) == at(4 * 3600)


def test_a_slow_one_rests_without_having_failed(database: Database) -> None:
    assert outbox.rest(database, "slack", None, seconds=7, now=at(0)) == at(7)
    assert outbox.resting(database) == []
    put(database, "slack")
    assert claimed(database, 6) == []
    assert len(claimed(database, 7)) == 1


def test_a_rest_is_never_made_shorter_by_another_worker(database: Database) -> None:
    put(database, "slack")
    outbox.rest(database, "slack", "429", seconds=600, now=at(0))
    outbox.rest(database, "slack", "refused", now=at(1))
    assert claimed(database, 599) == []


def test_an_answer_ends_the_rest(database: Database) -> None:
    put(database, "slack", 2)
    [first, _] = claimed(database, 1)
    for _ in range(9):
        outbox.rest(database, "slack", "refused", now=at(1))
    assert outbox.delivered(database, first, now=at(2))
    assert outbox.resting(database) == []
    assert outbox.rest(database, "slack", "refused", now=at(2)) <= at(7)


def test_an_answer_ends_the_rest_even_where_the_lease_was_lost(database: Database) -> None:
    """Whoever has the message now says what becomes of it; that somebody answers there is true all the same."""
    put(database, "slack")
    [lost] = claimed(database, 1)
    [row] = claimed(database, 100)
    outbox.rest(database, "slack", "refused", now=at(101))
    outbox.rest(database, "pager", "refused", now=at(101))
    assert not outbox.delivered(database, lost)
    assert [one.channel for one in outbox.resting(database)] == ["pager"]
    [stored] = rows_of(database, tables.outbox)
    assert (stored["state"], stored["lease"], stored["sent_at"]) == ("leased", row.lease, None)


def test_sending_by_hand_ends_the_rest(database: Database) -> None:
    put(database, "slack")
    [row] = claimed(database, 1)
    outbox.park(database, row, "no such channel")
    outbox.rest(database, "slack", "x", seconds=9999)
    assert outbox.drop(database, [999]) == 0
    assert len(outbox.resting(database)) == 1
    assert outbox.retry(database, [row.id]) == 1
    assert [one.id for one in outbox.claim(database)] == [row.id]


def test_what_was_not_begun_goes_back_to_its_place(database: Database) -> None:
    put(database, "slack", 4)
    mine = claimed(database, 1, limit=3)
    assert outbox.begin_sending(database, mine[0], now=at(1))
    assert outbox.release(database, mine) == 2, "what was begun is not given back"
    assert outbox.release(database, mine) == outbox.release(database, []) == 0
    again = claimed(database, 2)
    assert keys(again) == ["k1/slack", "k2/slack", "k3/slack"]
    assert [row.attempts for row in again] == [1, 1, 1]


def test_a_postponed_one_waits_as_long_as_it_was_asked_to(database: Database) -> None:
    put(database, "slack")
    [row] = claimed(database, 0)
    assert outbox.postpone(database, row, "429", wait_seconds=900, now=at(0)) == at(900)


@pytest.mark.parametrize("database_url", ("sqlite-file", "postgresql"), indirect=True)
def test_a_claim_reads_no_more_of_a_long_queue_than_it_takes(database: Database) -> None:
    """One destination has thousands waiting; the plan reaches the others without walking through them."""
    row = {"kind": "breach", "ticket_id": "t", "state": "pending", "attempts": 0, "created_at": START}
    with database.write() as connection:
        connection.execute(
            sa.insert(tables.outbox),
            [row | {"key": f"{index}", "destination": "slack", "next_attempt_at": START} for index in range(20_000)],
        )
        connection.execute(sa.text("ANALYZE"))
    put(database, "mail", 3, seconds=5)
    steps = 0

    def count() -> None:
        nonlocal steps
        steps += 1

    if database.dialect == "sqlite":
        # The same connection is taken out of the pool again.
        with database.write() as connection:
            driver = connection.connection.driver_connection
            assert driver is not None
            driver.set_progress_handler(count, 1000)
    assert [one.destination for one in claimed(database, 30, limit=4)] == ["slack", "mail", "slack", "mail"]
    assert steps < 10
