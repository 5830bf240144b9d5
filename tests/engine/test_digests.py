"""A report is planned once and frozen; each letter goes out at most once, and what became of it is on record."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import sqlalchemy as sa

from tests.support.factories import a_ticket
from tests.support.readers import MONDAY, SUNDAY, a_busy_week, an_organisation, claimed, made, newest
from ticket_system import ReportError, TicketSystem, digests, mailings, recipients
from ticket_system.mailings import Occasion, Skip
from ticket_system.reports.contents import Weekly
from ticket_system.reports.weeks import CATCH_UP
from ticket_system.storage.database import Database
from ticket_system.storage.report_tables import report_deliveries, report_runs

WEEK = timedelta(days=7)
HOUR = timedelta(hours=1)


@pytest.fixture
def busy(system: TicketSystem) -> TicketSystem:
    """A desk with something to tell, and one reader."""
    an_organisation(system.database, "ada@example.org")
    a_busy_week(system)
    return system


def state(database: Database) -> tuple[str, str | None]:
    with database.read() as connection:
        row = connection.execute(sa.select(report_deliveries.c.state, report_deliveries.c.answer)).one()
    return row.state, row.answer


# --- planned -------------------------------------------------------------------------------------------------------


def test_a_report_is_planned_once_by_however_many(busy: TicketSystem) -> None:
    assert digests.plan(busy.database, now=MONDAY - HOUR) == (0, 0)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: digests.plan(busy.database, now=MONDAY), range(8)))
    assert sum(one.planned for one in found) == 1
    assert digests.plan(busy.database, now=MONDAY + 6 * WEEK / 7) == (0, 0)
    assert digests.plan(busy.database, now=MONDAY + WEEK) == (1, 0)


def test_after_a_long_absence_what_is_too_late_is_missed_and_shown(busy: TicketSystem) -> None:
    assert digests.plan(busy.database, now=MONDAY + 3 * WEEK + HOUR) == (1, 3)
    found = [(run.sent_on.isoformat(), run.state, run.error) for run, _ in digests.runs(busy.database)]
    assert found[0] == ("2026-12-14", "planned", None)
    assert [one[1] for one in found[1:]] == ["missed"] * 3
    assert found[3] == ("2026-11-23", "missed", "not made within 36 hours after it was due")


def test_a_report_may_be_late_by_a_day_and_a_half_and_not_more(busy: TicketSystem) -> None:
    assert digests.plan(busy.database, now=MONDAY + CATCH_UP) == (1, 0)
    recipients.set_organisation(busy.database, "other", zone="Europe/Berlin", now=SUNDAY)
    assert digests.plan(busy.database, now=MONDAY + CATCH_UP + timedelta(seconds=1)) == (0, 1)


# --- made ----------------------------------------------------------------------------------------------------------


def test_only_the_holder_of_the_lease_freezes_a_report(busy: TicketSystem) -> None:
    digests.plan(busy.database, now=MONDAY)
    first = digests.claim_run(busy.database, lease_seconds=60, now=MONDAY)
    assert first is not None
    assert digests.claim_run(busy.database, now=MONDAY) is None
    second = digests.claim_run(busy.database, now=MONDAY + 2 * HOUR)
    assert second is not None, "whoever had it died"
    assert (second.id, second.attempts) == (first.id, 2)
    content = digests.make(busy.database, busy.rules, second, now=MONDAY)
    assert digests.freeze(busy.database, first, content, None) is None
    assert digests.freeze(busy.database, second, content, b"png") == 1
    assert digests.freeze(busy.database, second, content, None) is None, "once"
    assert digests.claim_run(busy.database, now=MONDAY + 100 * HOUR) is None


def test_what_a_report_says_does_not_change_after_it_was_made(busy: TicketSystem) -> None:
    made(busy)
    busy.create_ticket(a_ticket(created_at=MONDAY - 40 * HOUR, priority=1, sla_hours=4))
    found = mailings.occasion(busy.database, claimed(busy.database))
    assert isinstance(found, Occasion)
    assert isinstance(found.content, Weekly)
    assert found.content.totals.opened == 3
    assert found.picture == b"a picture"
    assert (found.content.starts_on.isoformat(), found.content.ends_on.isoformat()) == ("2026-11-16", "2026-11-22")
    assert found.content.as_of == MONDAY


def test_next_week_is_compared_with_what_was_said_this_week(busy: TicketSystem) -> None:
    made(busy)
    # Imported later, into a week that was told of already.
    busy.create_ticket(a_ticket(created_at=MONDAY - 40 * HOUR, priority=1, sla_hours=4))
    made(busy, now=MONDAY + WEEK)
    before = newest(busy.database).before
    assert before is not None
    assert before.opened == 3


def test_a_report_of_other_tickets_is_compared_with_nothing(busy: TicketSystem) -> None:
    made(busy)
    busy.create_ticket(a_ticket(created_at=MONDAY + HOUR, customer="initech"))
    recipients.set_organisation(busy.database, "acme", customer="initech", now=MONDAY)
    made(busy, now=MONDAY + WEEK)
    found = newest(busy.database)
    assert (found.customer, found.before) == ("initech", None)


def test_an_empty_week_is_made_and_sent_to_nobody_which_is_shown(system: TicketSystem) -> None:
    an_organisation(system.database, "ada@example.org", "bob@example.org")
    digests.plan(system.database, now=MONDAY)
    run = digests.claim_run(system.database, now=MONDAY)
    assert run is not None
    content = digests.make(system.database, system.rules, run, now=MONDAY)
    assert content.is_empty
    assert digests.freeze(system.database, run, content, None) == 0
    [(found, counts)] = digests.runs(system.database)
    assert (found.state, counts) == ("empty", {"skipped": 2})
    assert mailings.claim(system.database, now=MONDAY) == []


def test_a_report_that_cannot_be_made_is_tried_again_and_missed_in_the_end(busy: TicketSystem) -> None:
    digests.plan(busy.database, now=MONDAY)
    now, tries = MONDAY, 0
    while (run := digests.claim_run(busy.database, now=now)) is not None:
        tries += 1
        again = digests.fail(busy.database, run, "a mistake of ours", now=now)
        now = again or now
        assert digests.claim_run(busy.database, now=now - timedelta(seconds=1)) is None
    assert 20 < tries < 90
    [(found, _)] = digests.runs(busy.database)
    assert (found.state, found.error) == ("missed", "a mistake of ours")
    assert now - MONDAY <= CATCH_UP


def test_a_report_that_was_planned_and_never_made_in_time_is_missed(busy: TicketSystem) -> None:
    digests.plan(busy.database, now=MONDAY)
    late = MONDAY + CATCH_UP + HOUR
    run = digests.claim_run(busy.database, now=late)
    assert run is not None
    assert not digests.miss(busy.database, run, now=MONDAY + CATCH_UP)
    assert digests.miss(busy.database, run, now=late)
    [(found, _)] = digests.runs(busy.database)
    assert found.state == "missed"


def test_a_reader_elsewhere_gets_the_same_report_at_their_own_hour(busy: TicketSystem) -> None:
    recipients.add(busy.database, "acme", "zoe@example.org", actor="x", zone="America/Los_Angeles", now=SUNDAY)
    made(busy)
    [ada] = mailings.claim(busy.database, lease_seconds=24 * 3600, now=MONDAY + 9 * HOUR - timedelta(seconds=1))
    [zoe] = mailings.claim(busy.database, now=MONDAY + 9 * HOUR)
    assert (ada.key, ada.due_at) == ("ada@example.org", MONDAY)
    assert (zoe.key, zoe.due_at) == ("zoe@example.org", MONDAY + 9 * HOUR)


def test_by_day_an_agent_is_told_of_their_own_tickets_and_a_manager_of_all(system: TicketSystem) -> None:
    an_organisation(system.database)
    for name, role in (("ada", "manager"), ("grace", "agent"), ("bob", "agent"), ("eve", "billing")):
        recipients.add(
            system.database,
            "acme",
            f"{name}@example.org",
            actor="x",
            roles=[role],
            weekly=False,
            daily=True,
            now=SUNDAY,
        )
    for who in ("grace@example.org", "somebody@example.org"):
        late = a_ticket(created_at=SUNDAY, priority=1, sla_hours=4)
        system.create_ticket(late)
        system.assign_ticket(late.id, who)
    digests.plan(system.database, now=MONDAY)
    seen: dict[str, int] = {}
    while (run := digests.claim_run(system.database, now=MONDAY)) is not None:
        content = digests.make(system.database, system.rules, run, now=MONDAY)
        digests.freeze(system.database, run, content, None, now=MONDAY)
    for delivery in mailings.claim(system.database, now=MONDAY):
        found = mailings.occasion(system.database, delivery)
        assert isinstance(found, Occasion)
        assert not isinstance(found.content, Weekly)
        seen[delivery.key] = len(found.content.worst)
    assert seen == {"ada@example.org": 2, "grace@example.org": 1}
    counts = next(counts for run, counts in digests.runs(system.database) if run.kind == "daily")
    assert counts == {"claimed": 2, "skipped": 2}


# --- mailed --------------------------------------------------------------------------------------------------------


def test_a_letter_is_taken_once_begun_once_and_sent(busy: TicketSystem) -> None:
    made(busy)
    one = claimed(busy.database)
    assert mailings.claim(busy.database, now=MONDAY) == []
    assert mailings.begin(busy.database, one, lease_seconds=60, now=MONDAY)
    assert not mailings.begin(busy.database, one, lease_seconds=60, now=MONDAY), "not twice"
    assert mailings.sent(busy.database, one, "250 taken")
    assert state(busy.database) == ("sent", "250 taken")
    assert mailings.claim(busy.database, now=MONDAY + WEEK) == []


def test_a_claim_whose_holder_died_is_taken_up_and_its_old_holder_may_not_send(busy: TicketSystem) -> None:
    made(busy)
    first = claimed(busy.database)
    second = claimed(busy.database, now=MONDAY + HOUR)
    assert second.attempts == 2
    assert not mailings.begin(busy.database, first, lease_seconds=60, now=MONDAY + HOUR)
    assert mailings.begin(busy.database, second, lease_seconds=60, now=MONDAY + HOUR)
    for say in (mailings.sent, mailings.failed, mailings.uncertain, mailings.skip):
        assert not say(busy.database, first, "I was faster")
    for now in (MONDAY + HOUR, MONDAY + WEEK):
        assert mailings.postpone(busy.database, first, "I was faster", now=now) is False
    assert state(busy.database)[0] == "in_data"


def test_a_letter_whose_sender_died_while_handing_it_over_is_uncertain_and_never_sent_again(
    busy: TicketSystem,
) -> None:
    made(busy)
    one = claimed(busy.database)
    assert mailings.begin(busy.database, one, lease_seconds=60, now=MONDAY)
    assert mailings.claim(busy.database, now=MONDAY + timedelta(seconds=59)) == []
    assert state(busy.database)[0] == "in_data"
    assert mailings.claim(busy.database, now=MONDAY + HOUR) == []
    assert state(busy.database) == (
        "uncertain",
        "the sender vanished while the report was being handed over; it may have arrived",
    )
    [(stuck, organisation, kind)] = mailings.listed(busy.database)
    assert (stuck.key, organisation, kind) == ("ada@example.org", "acme", "weekly")
    assert mailings.outstanding(busy.database) == {"uncertain": 1}


def test_a_postponed_letter_waits_longer_every_time_until_it_is_too_late(busy: TicketSystem) -> None:
    made(busy)
    now, tries = MONDAY, 0
    while found := mailings.claim(busy.database, now=now):
        tries += 1
        again = mailings.postpone(busy.database, found[0], "451 later", now=now)
        assert again is not False
        assert again is None or again > now
        now = again or now + HOUR
    assert tries > 30
    assert state(busy.database) == ("failed", "not sent within 36 hours after it was due; 451 later")


def test_whoever_left_was_removed_or_is_suppressed_meanwhile_gets_nothing(busy: TicketSystem) -> None:
    made(busy)
    one = claimed(busy.database)
    [(ada, _)] = recipients.listed(busy.database)
    recipients.subscribe(busy.database, ada.id, "weekly", wanted=False, actor="link")
    assert mailings.occasion(busy.database, one) == Skip("wants no weekly report any more")
    recipients.subscribe(busy.database, ada.id, "weekly", wanted=True, actor="link")
    assert isinstance(mailings.occasion(busy.database, one), Occasion)
    assert mailings.failed(busy.database, one, "550 5.1.1 nobody", suppress=True)
    assert mailings.occasion(busy.database, one) == Skip("suppressed: 550 5.1.1 nobody")
    assert recipients.listed(busy.database)[0][1] == "550 5.1.1 nobody"
    recipients.release(busy.database, "Ada@example.org")
    recipients.remove(busy.database, "acme", "ada@example.org")
    assert mailings.occasion(busy.database, one) == Skip("no longer among the people of acme")


def test_a_role_that_was_taken_away_meanwhile_shows_nothing_of_it(busy: TicketSystem) -> None:
    made(busy)
    one = claimed(busy.database)
    before = mailings.occasion(busy.database, one)
    assert isinstance(before, Occasion)
    assert before.reader.sees_agents
    recipients.add(busy.database, "acme", "ada@example.org", actor="x", roles=["agent"])
    after = mailings.occasion(busy.database, one)
    assert isinstance(after, Occasion)
    assert not after.reader.sees_agents
    assert not after.reader.sees_billing


def test_what_was_not_begun_is_given_back(busy: TicketSystem) -> None:
    made(busy)
    one = claimed(busy.database)
    assert mailings.put_back(busy.database, [one]) == 1
    assert mailings.put_back(busy.database, [one]) == 0
    assert claimed(busy.database).attempts == 1


# --- decided by a person -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("arrived", "becomes"), ((True, "sent"), (False, "skipped")))
def test_a_person_says_what_became_of_a_letter(busy: TicketSystem, arrived: bool, becomes: str) -> None:
    made(busy)
    one = claimed(busy.database)
    mailings.begin(busy.database, one, lease_seconds=60, now=MONDAY)
    mailings.uncertain(busy.database, one, "the line broke")
    mailings.resolve(busy.database, one.id, arrived=arrived, actor="grace")
    found, answer = state(busy.database)
    assert found == becomes
    assert answer is not None
    assert "says grace; before: uncertain, the line broke" in answer
    with pytest.raises(ReportError, match=f"delivery {one.id} is {becomes}"):
        mailings.resolve(busy.database, one.id, arrived=arrived, actor="grace")


def test_a_person_has_a_letter_sent_again_even_if_it_is_old(busy: TicketSystem) -> None:
    made(busy)
    one = claimed(busy.database)
    mailings.failed(busy.database, one, "550 no")
    much_later = MONDAY + WEEK
    mailings.resend(busy.database, one.id, now=much_later)
    again = claimed(busy.database, now=much_later)
    assert again.attempts == 1
    assert mailings.postpone(busy.database, again, "451", now=much_later) is not None
    with pytest.raises(ReportError, match="is pending"):
        mailings.resend(busy.database, one.id)
    with pytest.raises(ReportError, match="there is no delivery 12345"):
        mailings.resend(busy.database, 12345)


def test_two_reports_of_a_day_or_two_letters_to_a_person_cannot_be_stored(busy: TicketSystem) -> None:
    run = made(busy)
    with busy.database.read() as connection:
        rows = connection.execute(sa.select(*report_runs.c)).mappings().one()
        letter = connection.execute(sa.select(*report_deliveries.c)).mappings().one()
    assert rows["id"] == run.id
    for table, row in ((report_runs, rows), (report_deliveries, letter)):
        with pytest.raises(sa.exc.IntegrityError), busy.database.write() as connection:
            connection.execute(sa.insert(table), {name: value for name, value in row.items() if name != "id"})
