"""Who gets reports: said once, checked, changed without losing what was said before."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.factories import a_ticket
from tests.support.readers import MONDAY, SUNDAY, an_organisation, made
from ticket_system import InvalidTicket, ReportError, TicketSystem, digests, mailings, recipients
from ticket_system.mailings import Skip
from ticket_system.storage.database import Database


def next_at(database: Database, kind: str = "weekly") -> datetime | None:
    [(_, ahead)] = recipients.all_organisations(database)
    return next((one.next_at for one in ahead if one.kind == kind), None)


def test_an_organisation_counts_all_tickets_and_reads_on_monday_at_nine_until_it_says_otherwise(
    database: Database,
) -> None:
    one = recipients.set_organisation(database, "acme", now=SUNDAY)
    assert (one.customer, one.group, one.zone, one.weekday, one.hour) == (None, None, "UTC", 0, 9)
    assert next_at(database) == datetime(2026, 11, 23, 9, tzinfo=UTC)
    changed = recipients.set_organisation(database, "acme", zone="Asia/Tokyo", customer="initech", now=SUNDAY)
    assert (changed.customer, changed.zone, changed.hour, changed.created_at) == ("initech", "Asia/Tokyo", 9, SUNDAY)
    assert next_at(database) == datetime(2026, 11, 23, 0, tzinfo=UTC)
    assert recipients.set_organisation(database, "acme", customer=None, now=SUNDAY).customer is None


@pytest.mark.parametrize(
    ("given", "said"),
    (
        ({"zone": "Mars/Olympus"}, "no time zone is called 'Mars/Olympus'"),
        ({"zone": "../../etc/passwd"}, "no time zone is called"),
        ({"zone": ""}, "no time zone is called"),
        ({"locale": "German"}, "'German' is no locale"),
        ({"locale": "de_DE\r\nX: y"}, "is no locale"),
        ({"weekday": 7}, "weekday must be from 0 to 6"),
        ({"hour": 24}, "hour must be from 0 to 23"),
        ({"hour": True}, "hour must be a whole number"),
        ({"customer": "a\nb"}, "customer must be one line"),
        ({"group": "x" * 1000}, "group must be at most"),
    ),
    ids=str,
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(
    database: Database, given: dict[str, Any], said: str
) -> None:
    before = recipients.set_organisation(database, "acme", now=SUNDAY)
    with pytest.raises((ReportError, InvalidTicket), match=said):
        recipients.set_organisation(database, "acme", now=SUNDAY, **given)
    assert recipients.organisation(database, "acme") == before


def test_a_person_is_added_changed_and_removed(database: Database) -> None:
    an_organisation(database)
    first = recipients.add(database, "acme", "Ada@Example.org", actor="bob", name="Ada", roles=["billing", "manager"])
    assert (first.key, first.roles, first.weekly, first.daily) == (
        "ada@example.org",
        ["manager", "billing"],
        True,
        False,
    )
    again = recipients.add(database, "acme", "ada@example.org", actor="bob", hour=0, zone="Asia/Tokyo", daily=True)
    assert (again.id, again.name, again.roles) == (first.id, "Ada", ["manager", "billing"])
    assert (again.hour, again.zone, again.daily) == (0, "Asia/Tokyo", True)
    cleared = recipients.add(database, "acme", "ada@example.org", actor="bob", hour=None, zone=None, name="")
    assert (cleared.hour, cleared.zone, cleared.name) == (None, None, "")
    recipients.remove(database, "acme", "ADA@example.org")
    assert recipients.listed(database) == []
    with pytest.raises(ReportError, match="gets no reports of acme"):
        recipients.remove(database, "acme", "ada@example.org")


@pytest.mark.parametrize(
    "address",
    (
        "ada",
        "ada@localhost",
        "",
        "a@b@example.org",
        "ada@example.org\r\nBcc: eve@example.org",
        "ada <ada@example.org>",
        "ädä@example.org",
        "ada\x00@example.org",
        "ada@example.org.",
        "a,b@example.org",
    ),
    ids=ascii,
)
def test_an_address_that_could_be_more_than_one_is_none(database: Database, address: str) -> None:
    an_organisation(database)
    with pytest.raises(ReportError, match="is not a plain mail address"):
        recipients.add(database, "acme", address, actor="bob")
    assert recipients.listed(database) == []


def test_a_role_that_nobody_knows_and_an_organisation_that_is_not_there_are_refused(database: Database) -> None:
    an_organisation(database)
    with pytest.raises(ReportError, match="there is no role 'boss'; there are manager, agent, billing"):
        recipients.add(database, "acme", "ada@example.org", actor="bob", roles=["boss"])
    with pytest.raises(ReportError, match="has a role"):
        recipients.add(database, "acme", "ada@example.org", actor="bob", roles=[])
    with pytest.raises(ReportError, match="there is no organisation 'acne'; `tickets organisations set`"):
        recipients.add(database, "acne", "ada@example.org", actor="bob")


def test_whoever_left_comes_back_only_when_somebody_says_so(database: Database) -> None:
    an_organisation(database, "ada@example.org")
    [(ada, _)] = recipients.listed(database)
    assert recipients.told(database, ada.id, "weekly") == ("acme", "ada@example.org", True)
    for _ in range(2):
        assert recipients.subscribe(database, ada.id, "weekly", wanted=False, actor="unsubscribe link", now=MONDAY)
    [(gone, _)] = recipients.listed(database)
    assert (gone.weekly, gone.changed_by, gone.changed_at) == (False, "unsubscribe link", MONDAY)
    assert recipients.told(database, ada.id, "weekly") == ("acme", "ada@example.org", False)
    assert recipients.add(database, "acme", "ada@example.org", actor="bob", name="Ada").weekly is False
    assert recipients.add(database, "acme", "ada@example.org", actor="bob", weekly=True).weekly is True


@pytest.mark.parametrize(("recipient_id", "kind"), ((999, "weekly"), (1, "roles"), (1, "changed_by"), (-1, "daily")))
def test_a_link_for_nobody_changes_nothing(database: Database, recipient_id: int, kind: str) -> None:
    an_organisation(database, "ada@example.org")
    before = recipients.listed(database)
    assert recipients.told(database, recipient_id, kind) is None
    assert recipients.subscribe(database, recipient_id, kind, wanted=False, actor="link") is False
    assert recipients.listed(database) == before


def test_the_first_reader_decides_when_a_report_is_made(database: Database) -> None:
    an_organisation(database, "ada@example.org")
    assert next_at(database) == MONDAY
    recipients.add(database, "acme", "akiko@example.org", actor="bob", zone="Asia/Tokyo", now=SUNDAY)
    assert next_at(database) == datetime(2026, 11, 23, 0, tzinfo=UTC), "nine in Tokyo; Berlin's week is over"
    recipients.add(database, "acme", "kiwi@example.org", actor="bob", zone="Pacific/Auckland", now=SUNDAY)
    assert next_at(database) == datetime(2026, 11, 22, 23, tzinfo=UTC), "not before the week is over in Berlin"
    recipients.remove(database, "acme", "kiwi@example.org", now=SUNDAY)
    recipients.remove(database, "acme", "akiko@example.org", now=SUNDAY)
    assert next_at(database) == MONDAY


def test_a_daily_report_is_due_as_long_as_somebody_wants_it(database: Database) -> None:
    an_organisation(database, "ada@example.org")
    assert next_at(database, "daily") is None
    later = SUNDAY + timedelta(hours=1)
    recipients.add(database, "acme", "ada@example.org", actor="bob", daily=True, now=later)
    assert next_at(database, "daily") == MONDAY
    [(ada, _)] = recipients.listed(database)
    recipients.subscribe(database, ada.id, "daily", wanted=False, actor="link", now=later)
    assert next_at(database, "daily") is None


def test_a_change_never_forgets_a_report_that_was_due(database: Database) -> None:
    an_organisation(database, "ada@example.org")
    late = MONDAY + timedelta(days=4)
    recipients.set_organisation(database, "acme", hour=10, now=late)
    assert digests.plan(database, now=late) == (0, 1), "all workers were away; it is shown as missed"
    assert next_at(database) == MONDAY + timedelta(days=7, hours=1)


def test_another_zone_on_the_day_itself_sends_nothing_twice(system: TicketSystem) -> None:
    an_organisation(system.database, "ada@example.org")
    made(system)
    for zone in ("America/Los_Angeles", "Asia/Tokyo", "Pacific/Kiritimati", "UTC"):
        recipients.set_organisation(system.database, "acme", zone=zone, now=MONDAY + timedelta(hours=1))
        for hours in range(72):
            assert digests.plan(system.database, now=MONDAY + timedelta(hours=hours)) == (0, 0)
    assert len(digests.runs(system.database)) == 1


def test_a_suppressed_address_is_released_by_hand(database: Database) -> None:
    an_organisation(database, "ada@example.org")
    with pytest.raises(ReportError, match="is not suppressed"):
        recipients.release(database, "ada@example.org")


def test_an_organisation_is_removed_and_what_was_made_for_it_stays(system: TicketSystem) -> None:
    database = system.database
    an_organisation(database)
    recipients.add(database, "acme", "ada@example.org", actor="bob", now=SUNDAY)
    system.create_ticket(a_ticket(created_at=SUNDAY))
    made(system)
    digests.plan(database, now=MONDAY + timedelta(days=7))
    recipients.remove_organisation(database, "acme", actor="bob")
    assert (recipients.all_organisations(database), recipients.listed(database)) == ([], [])
    told = [(run.state, run.error, letters) for run, letters in digests.runs(database)]
    assert told == [("missed", "the organisation was removed by bob", {}), ("ready", None, {"pending": 1})]
    assert digests.claim_run(database, now=MONDAY + timedelta(days=7)) is None
    assert digests.plan(database, now=MONDAY + timedelta(days=70)) == (0, 0)
    [letter] = mailings.claim(database, now=MONDAY)
    assert mailings.occasion(database, letter) == Skip("no longer among the people of acme")
    with pytest.raises(ReportError, match="there is no organisation 'acme'"):
        recipients.remove_organisation(database, "acme", actor="bob")


def test_a_report_that_is_being_made_when_its_organisation_goes_is_not_frozen(system: TicketSystem) -> None:
    database = system.database
    an_organisation(database)
    digests.plan(database, now=MONDAY)
    run = digests.claim_run(database, now=MONDAY)
    assert run is not None
    content = digests.make(database, system.rules, run, now=MONDAY)
    recipients.remove_organisation(database, "acme", actor="bob")
    assert digests.freeze(database, run, content, None, now=MONDAY) is None


def test_an_organisation_that_comes_back_is_told_of_no_day_twice(system: TicketSystem) -> None:
    database = system.database
    an_organisation(database)
    made(system)
    recipients.remove_organisation(database, "acme", actor="bob")
    an_organisation(database)
    digests.plan(database, now=MONDAY + timedelta(hours=1))
    assert len(digests.runs(database)) == 1
