import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy import event
from structlog.testing import capture_logs

from tests.support.factories import a_ticket_due_in
from tests.support.mailers import KeepingMailer, KeepingNotifier
from ticket_system import outbox
from ticket_system.sla.books import PolicyBook
from ticket_system.storage import tables
from ticket_system.storage.moments import moment
from ticket_system.storage.outbox import add
from ticket_tasks import outbox as jobs
from ticket_tasks.breaches import scan_breaches
from ticket_tasks.errors import Rejected, Transient, Uncertain, Unreachable
from ticket_tasks.outbox import deliver_outbox
from ticket_tasks.payloads import TicketAlarm
from ticket_tasks.toolbox import Toolbox


@pytest.fixture
def late(toolbox: Toolbox) -> Toolbox:
    """Three tickets are late, and a notice waits for each."""
    toolbox.system.create_tickets([a_ticket_due_in(-seconds) for seconds in (5, 4, 3)])
    scan_breaches(toolbox)
    return toolbox


def put(toolbox: Toolbox, destination: str, number: int) -> None:
    """More notices of the same breaches, for another place; they have waited since before the mail."""
    tickets = toolbox.system.get_breached_tickets()
    with toolbox.database.write() as connection:
        for index in range(number):
            ticket_id = tickets[index % len(tickets)]["ticket_id"]
            since = moment(connection) - timedelta(hours=1)
            cause = f"{ticket_id}/resolution/1/escalated/2/{index}"
            add(connection, cause=cause, destination=destination, kind="escalated", ticket_id=ticket_id, now=since)


def states(toolbox: Toolbox) -> dict[str, int]:
    return outbox.count(toolbox.database)


def test_every_notice_is_sent_once(late: Toolbox, mailer: KeepingMailer) -> None:
    assert deliver_outbox(late).sent == 3
    assert deliver_outbox(late).found == 0
    assert len({letter.key for letter in mailer.letters}) == len(mailer.letters) == 3
    assert states(late) == {"sent": 3}


def test_what_went_by_mail_is_told_apart(late: Toolbox, mailer: KeepingMailer) -> None:
    put(late, "ops", 2)
    mailer.before.append(Transient("connection refused"))
    delivery = deliver_outbox(late)
    assert (delivery.sent, delivery.postponed) == (4, 1)
    assert delivery.by_mail == {"sent": 2, "postponed": 1}


def test_small_claims_drain_all_the_same(late: Toolbox) -> None:
    assert deliver_outbox(replace(late, deliver_batch_size=1)).sent == 3


def test_nothing_is_claimed_when_the_time_is_up(late: Toolbox, mailer: KeepingMailer) -> None:
    assert deliver_outbox(replace(late, deliver_budget_seconds=0)).found == 0
    assert mailer.letters == []


def test_bad_weather_postpones_one_and_not_the_rest(late: Toolbox, mailer: KeepingMailer) -> None:
    mailer.before.append(Transient("connection refused"))
    with capture_logs() as lines:
        delivery = deliver_outbox(late)
    assert (delivery.sent, delivery.postponed) == (2, 1)
    assert states(late) == {"sent": 2, "pending": 1}
    (line,) = [line for line in lines if line["event"] == "notice.postponed"]
    assert line["error"] == "connection refused"


def test_a_refused_letter_is_parked(late: Toolbox, mailer: KeepingMailer) -> None:
    mailer.after.append(Rejected("550 no such user"))
    assert deliver_outbox(late).parked == 1
    (row,) = outbox.rows(late.database)
    assert (row.state, row.error) == ("parked", "550 no such user")


def test_a_letter_that_may_have_arrived_is_shown_and_not_repeated(late: Toolbox, mailer: KeepingMailer) -> None:
    mailer.after.append(Uncertain("the line broke"))
    assert deliver_outbox(late).uncertain == 1
    assert deliver_outbox(late).found == 0
    assert states(late) == {"sent": 2, "uncertain": 1}


@pytest.mark.parametrize(("when", "state"), (("before", "parked"), ("after", "uncertain")))
def test_a_bug_stops_one_letter_loudly_and_not_the_rest(
    late: Toolbox, mailer: KeepingMailer, when: str, state: str
) -> None:
    getattr(mailer, when).append(ZeroDivisionError("oops"))
    with capture_logs() as lines:
        deliver_outbox(late)
    assert states(late) == {"sent": 2, state: 1}
    assert "notice.failed" in [line["event"] for line in lines]


def test_who_lost_the_lease_does_not_send(
    late: Toolbox, mailer: KeepingMailer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "begin_sending", lambda *_, **__: False)
    assert deliver_outbox(late).lost == 3
    assert mailer.letters == []


def test_a_letter_that_somebody_else_has_by_now_is_lost_and_not_postponed(late: Toolbox, mailer: KeepingMailer) -> None:
    class Slow(KeepingMailer):
        def send(self, letter, *, before_data):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
            with late.database.write() as connection:
                connection.execute(sa.update(tables.outbox).values(lease="somebody else"))
            raise Transient("connection refused")

    with capture_logs() as lines:
        delivery = deliver_outbox(replace(late, mailer=Slow()))
    assert (delivery.lost, delivery.postponed) == (3, 0)
    assert {line["error"] for line in lines if line["event"] == "notice.lost"} == {"connection refused"}
    assert states(late) == {"leased": 3}


def test_the_intent_is_stored_before_anything_leaves(late: Toolbox) -> None:
    seen: list[dict[str, int]] = []

    class Peeking(KeepingMailer):
        def send(self, letter, *, before_data):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
            before_data()
            seen.append(states(late))

    deliver_outbox(replace(late, mailer=Peeking(), deliver_batch_size=1))
    assert [one["sending"] for one in seen] == [1, 1, 1]


@pytest.mark.parametrize("database_url", ("postgresql",), indirect=True)
def test_a_notice_asks_the_database_three_times(late: Toolbox) -> None:
    """What it says, that it goes out, that it went; each a transaction by itself, with nothing around it."""
    asked: list[str] = []

    class Watching(KeepingMailer):
        def send(self, letter, *, before_data):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
            asked.append("mail")
            return super().send(letter, before_data=before_data)

    @event.listens_for(late.database.engine, "before_cursor_execute")
    def count(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        asked.append(statement.split(maxsplit=1)[0])

    deliver_outbox(replace(late, mailer=Watching()))
    first = asked.index("mail") - 1
    assert asked[first : first + 12] == ["SELECT", "mail", "UPDATE", "WITH"] * 3


def test_a_notice_of_an_unknown_kind_is_parked(late: Toolbox, monkeypatch: pytest.MonkeyPatch) -> None:
    claim = outbox.claim
    monkeypatch.setattr(
        outbox, "claim", lambda *args, **more: [replace(row, kind="pigeon") for row in claim(*args, **more)]
    )
    assert deliver_outbox(late).parked == 3


# --- places do not wait for each other ---------------------------------------------------------------------------


def test_a_notice_goes_where_its_destination_says(
    late: Toolbox, mailer: KeepingMailer, notifier: KeepingNotifier
) -> None:
    put(late, "slack", 1)
    put(late, "mail:boss@example.org", 1)
    assert deliver_outbox(late).sent == 5
    assert sorted(letter.to or "" for letter in mailer.letters) == ["boss@example.org", *["desk@example.com"] * 3]
    [(name, letter)] = notifier.letters
    assert (name, letter.to) == ("slack", None)
    assert isinstance(letter.facts, TicketAlarm)
    assert letter.facts.data.target == "resolution"


def test_an_address_that_is_none_is_parked(late: Toolbox) -> None:
    put(late, "mail:boss@example.org, all@example.org", 1)
    assert deliver_outbox(late).parked == 1


def test_a_dead_place_is_tried_once_and_delays_nobody(
    late: Toolbox, mailer: KeepingMailer, notifier: KeepingNotifier
) -> None:
    put(late, "slack", 40)
    put(late, "pager", 3)
    notifier.away = {"slack"}
    with capture_logs() as lines:
        delivery = deliver_outbox(replace(late, deliver_batch_size=5))
    assert (delivery.sent, delivery.postponed) == (6, 1)
    assert notifier.tried.count("slack") == 1
    assert len(mailer.letters) == 3
    assert deliver_outbox(late).found == 0, "it rests"
    assert states(late) == {"sent": 6, "pending": 40}
    assert sum(row.attempts for row in outbox.rows(late.database, ("pending",))) == 1, (
        "what was not tried costs nothing"
    )
    [resting] = [line for line in lines if line["event"] == "destination.resting"]
    assert (resting["destination"], resting["error"]) == ("slack", "connection refused")


def test_a_place_that_answers_again_gets_everything(late: Toolbox, notifier: KeepingNotifier) -> None:
    put(late, "slack", 12)
    notifier.away = {"slack"}
    deliver_outbox(late)
    notifier.away = set()
    outbox.rest(late.database, "slack", None)
    with late.database.write() as connection:
        connection.execute(sa.update(tables.rests).values(until=moment(connection)))
    deliver_outbox(late)
    assert len(notifier.letters) == 11, "the one that was tried waits for its own next attempt"
    assert outbox.resting(late.database) == []


def test_a_dead_mail_server_rests_all_mail_and_nothing_else(
    late: Toolbox, mailer: KeepingMailer, notifier: KeepingNotifier
) -> None:
    put(late, "mail:boss@example.org", 4)
    put(late, "slack", 4)
    mailer.before.append(Unreachable("connect: nothing listens there"))
    delivery = deliver_outbox(late)
    assert (delivery.sent, delivery.postponed) == (4, 1)
    assert (len(mailer.letters), len(notifier.letters)) == (0, 4)


def test_a_slow_place_gives_way_to_the_others(
    late: Toolbox, mailer: KeepingMailer, notifier: KeepingNotifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "_SLOW_SECONDS", 0.4)
    put(late, "slack", 40)
    notifier.slow = {"slack": 0.6}
    deliver_outbox(replace(late, deliver_budget_seconds=1.5))
    assert len(mailer.letters) == 3
    assert len(notifier.letters) <= 3
    assert outbox.resting(late.database) == [], "slow is not broken"


def test_a_slow_place_that_is_alone_is_not_held_back(
    toolbox: Toolbox, notifier: KeepingNotifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "_SLOW_SECONDS", 0.0)
    toolbox.system.create_tickets([a_ticket_due_in(-5)])
    scan_breaches(toolbox)
    deliver_outbox(toolbox)
    put(toolbox, "slack", 5)
    deliver_outbox(toolbox)
    assert len(notifier.letters) == 5


def test_what_is_not_begun_in_time_is_given_back_at_once(late: Toolbox, notifier: KeepingNotifier) -> None:
    put(late, "slack", 5)
    notifier.slow = {"slack": 0.3}
    deliver_outbox(replace(late, deliver_budget_seconds=0.1))
    assert "leased" not in states(late)
    began = time.monotonic()
    notifier.slow = {}
    deliver_outbox(late)
    assert states(late) == {"sent": 8}
    assert time.monotonic() - began < 2


def test_a_place_may_ask_for_more_time(late: Toolbox, mailer: KeepingMailer) -> None:
    mailer.before.append(Transient("try in a quarter of an hour", wait_seconds=900))
    deliver_outbox(late)
    [row] = outbox.rows(late.database, ("pending",))
    with late.database.read() as connection:
        now = moment(connection)
    assert row.next_attempt_at is not None
    assert timedelta(seconds=890) < row.next_attempt_at - now <= timedelta(seconds=900)


# --- storms ------------------------------------------------------------------------------------------------------


def capped(toolbox: Toolbox, cap: int) -> Toolbox:
    toolbox.system.put_in_force(PolicyBook(storm_cap=cap))
    return toolbox


def test_more_alarms_to_one_recipient_than_the_rules_allow_are_one_message(
    late: Toolbox, mailer: KeepingMailer
) -> None:
    """Rule 23: by mail, by role or by address: what ends at one address counts together."""
    put(late, "mail:desk@example.com", 2)
    put(late, "mail:desk", 2)
    put(late, "mail:boss@example.com", 3)
    with capture_logs() as lines:
        assert deliver_outbox(capped(late, 6)).sent == 4
    assert sorted(letter.to or "" for letter in mailer.letters) == ["boss@example.com"] * 3 + ["desk@example.com"]
    [bundle] = [letter for letter in mailer.letters if letter.to == "desk@example.com"]
    assert bundle.subject == "7 alarms: 7 overdue, 0 due soon"
    assert states(late) == {"sent": 4, "bundled": 7}
    assert [line["alarms"] for line in lines if line["event"] == "alarms.bundled"] == [7]
    assert deliver_outbox(late).found == 0


def test_a_storm_reaches_a_desk_whose_address_has_no_dot(late: Toolbox, mailer: KeepingMailer) -> None:
    """What the operator calls the desk's address is one, even where a ticket's assignee would not be."""
    put(late, "mail:desk", 4)
    here = replace(capped(late, 5), mail_to="desk@localhost")
    assert deliver_outbox(here).sent == 1
    assert [letter.to for letter in mailer.letters] == ["desk@localhost"]
    assert states(late) == {"sent": 1, "bundled": 7}


def test_as_many_as_the_rules_allow_go_out_one_by_one(late: Toolbox, mailer: KeepingMailer) -> None:
    assert deliver_outbox(capped(late, 3)).sent == 3
    assert states(late) == {"sent": 3}


def test_chats_are_bundled_too_and_a_bundle_is_told_like_any_other(
    late: Toolbox, mailer: KeepingMailer, notifier: KeepingNotifier
) -> None:
    put(late, "slack", 12)
    put(late, "group:network", 12)
    notifier.away = {"slack"}
    delivery = deliver_outbox(capped(late, 5))
    assert (delivery.sent, delivery.postponed) == (4, 1)
    [(name, letter)] = notifier.letters
    assert name == "group:network"
    assert letter.facts is not None
    assert letter.facts.type == "tickets.alarms"
    assert states(late) == {"sent": 4, "pending": 1, "bundled": 24}


def test_what_was_tried_before_is_not_bundled(late: Toolbox, mailer: KeepingMailer) -> None:
    mailer.before.append(Transient("busy"))
    deliver_outbox(replace(late, deliver_batch_size=1))
    assert states(late) == {"sent": 2, "pending": 1}
    put(late, "mail", 1)
    deliver_outbox(capped(late, 1))
    assert states(late) == {"sent": 3, "pending": 1}


@pytest.mark.parametrize("database_url", ("sqlite-file", "postgresql"), indirect=True)
def test_a_storm_with_two_workers_is_told_once(late: Toolbox, mailer: KeepingMailer) -> None:
    """Whatever one worker holds the other leaves alone."""
    put(late, "mail:desk", 300)
    capped(late, 10)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(deliver_outbox, [late, late]))
    told = states(late)
    assert (
        told.pop("bundled") + told.pop("sent") - len([one for one in mailer.letters if "alarms" in one.subject]) == 303
    )
    assert told == {}
    assert len({letter.key for letter in mailer.letters}) == len(mailer.letters)
