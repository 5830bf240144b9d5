"""What is older than it is kept is forgotten, in batches; what is still needed never is, on every database."""

import threading
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from tests.support.contents import everything, rows_of
from tests.support.factories import a_ticket
from tests.support.promises import Desk, at
from ticket_system import retention
from ticket_system.audit import audit_clocks
from ticket_system.errors import HistoryPruned, NotBreached, RetentionError
from ticket_system.monitor import scan_breaches
from ticket_system.retention import Keep, preview, prune
from ticket_system.storage import fleet_tables, report_tables, tables
from ticket_system.storage import retention as shelves
from ticket_system.storage.database import Database
from ticket_system.storage.outbox import STATES
from ticket_system.system import TicketSystem

NOW = datetime(2026, 6, 1, 9, 0, tzinfo=UTC)
DAY = timedelta(days=1)
OLD, YOUNG = NOW - 91 * DAY, NOW - 89 * DAY


def put(database: Database, table: sa.Table, *rows: dict[str, Any]) -> None:
    with database.write() as connection:
        connection.execute(sa.insert(table), list(rows))


def left(database: Database, table: sa.Table, column: str) -> list[Any]:
    return [row[column] for row in rows_of(database, table)]


def message(key: str, state: str, created_at: datetime, **more: Any) -> dict[str, Any]:
    row = {"key": key, "kind": "escalated", "ticket_id": "t", "state": state, "attempts": 1, "created_at": created_at}
    return row | {"destination": "mail", "bundle_id": None} | more


def a_run(number: int, due_at: datetime, **more: Any) -> dict[str, Any]:
    row = {
        "id": number, "organisation": "house", "kind": "weekly", "sent_on": due_at.date(), "zone": "UTC", "hour": 9,
        "due_at": due_at, "state": "ready", "attempts": 1, "content": "{}", "picture": b"png",
    }  # fmt: skip
    return row | more


def a_letter(run_id: int, state: str) -> dict[str, Any]:
    return {
        "run_id": run_id, "key": f"{state}@example.org", "address": f"{state}@example.org", "state": state,
        "due_at": OLD, "attempts": 1,
    }  # fmt: skip


def a_tick(job: str, slot: datetime, state: str = "done") -> dict[str, Any]:
    return {
        "job": job, "slot": slot, "state": state, "taken_by": "w", "taken_at": slot, "lease_until": slot, "attempts": 1,
    }  # fmt: skip


def test_messages_that_wait_are_on_their_way_or_stuck_stay_however_old(database: Database) -> None:
    put(database, tables.outbox, *(message(f"{state} old", state, OLD) for state in STATES))
    put(database, tables.outbox, *(message(f"{state} young", state, YOUNG) for state in STATES))
    assert preview(database, now=NOW) == {"messages": 3}
    assert prune(database, now=NOW).gone == {"messages": 3}
    gone = {"sent old", "dropped old", "bundled old"}
    kept = {f"{state} {age}" for state in STATES for age in ("old", "young")} - gone
    assert set(left(database, tables.outbox, "key")) == kept


def test_what_goes_out_in_a_bundle_stays_until_the_bundle_went_out(database: Database) -> None:
    put(database, tables.outbox, message("bundle", "uncertain", OLD, id=7, kind="bundle"))
    put(database, tables.outbox, message("one", "bundled", OLD, bundle_id=7))
    assert prune(database, now=NOW).found == 0
    with database.write() as connection:
        connection.execute(sa.update(tables.outbox).where(tables.outbox.c.id == 7).values(state="sent"))
    assert prune(database, now=NOW).gone == {"messages": 2}


def test_what_stood_in_a_report_goes_before_the_report_and_neither_before_its_letters(database: Database) -> None:
    runs = report_tables.report_runs
    states = ("pending", "claimed", "in_data", "failed", "uncertain", "sent", "skipped")
    days = [NOW - (900 + number) * DAY for number in range(len(states))]
    put(database, runs, *(a_run(number, day) for number, day in enumerate(days, 1)))
    put(database, report_tables.report_deliveries, *(a_letter(number, one) for number, one in enumerate(states, 1)))
    put(database, runs, a_run(20, OLD), a_run(21, YOUNG), a_run(22, OLD, kind="daily", sent_on=date(2020, 1, 1)))
    assert prune(database, now=NOW).gone == {"contents": 4, "reports": 2}
    rows = {row["id"]: row for row in rows_of(database, runs)}
    assert set(rows) == {1, 2, 3, 4, 5, 20, 21, 22}, "letters that wait, or that a person has to look at"
    assert {number for number, row in rows.items() if row["content"]} == {1, 2, 3, 4, 5, 21}
    assert rows[20]["picture"] is None
    assert rows[20]["state"] == "ready"
    assert len(rows_of(database, report_tables.report_deliveries)) == 5


def test_the_newest_report_of_each_kind_stays(database: Database) -> None:
    """From it on the next ones are planned."""
    old = [a_run(number, NOW - (800 + number) * DAY) for number in range(1, 4)]
    put(database, report_tables.report_runs, *old, *(row | {"id": row["id"] + 10, "kind": "daily"} for row in old))
    put(database, report_tables.report_runs, a_run(20, NOW - 900 * DAY, state="planned"))
    prune(database, now=NOW)
    assert left(database, report_tables.report_runs, "id") == [1, 11, 20]


def test_wishes_parked_messages_ticks_and_audits_go_in_their_own_time(database: Database) -> None:
    def wish(key: str, days: float) -> dict[str, Any]:
        return {"key": key, "kind": "k", "outcome": "done", "taken_at": NOW - days * DAY}

    def parcel(name: str, state: str, days: float | None) -> dict[str, Any]:
        settled = None if days is None else NOW - days * DAY
        row = {"fingerprint": name, "name": name, "body": "{}", "reason": "r", "times": 1, "parked_at": OLD}
        return row | {"state": state, "settled_at": settled}

    put(database, fleet_tables.wishes, wish("old", 31), wish("young", 29))
    put(
        database, fleet_tables.parked, parcel("waits", "waiting", None), parcel("replayed", "replayed", 91),
        parcel("dropped", "dropped", 91), parcel("young", "dropped", 89),
    )  # fmt: skip
    ticks = [a_tick("scan", NOW - days * DAY) for days in (5, 4, 2)]
    last = a_tick("rare", NOW - 40 * DAY)
    failed = [a_tick("scan", NOW - days * DAY, state) for days in (31, 29) for state in ("failed",)]
    killed = a_tick("audit", NOW - 50 * DAY, "running")
    put(database, fleet_tables.job_runs, *ticks, last, *failed, killed)
    audits = [
        {"id": number, "finished_at": NOW - days * DAY, "event_id": 1, "ticket_id": "", "checked": 1, "differences": 0}
        for number, days in enumerate((40, 35, 20), 1)
    ]
    put(database, tables.audit_runs, *audits)
    expected = {"ticks": 2, "failed ticks": 2, "audits": 2, "wishes": 1, "parked": 2}
    assert preview(database, now=NOW) == expected
    assert prune(database, now=NOW).gone == expected
    assert left(database, fleet_tables.wishes, "key") == ["young"]
    assert left(database, fleet_tables.parked, "name") == ["waits", "young"]
    found = [(row["job"], (NOW - row["slot"]).days) for row in rows_of(database, fleet_tables.job_runs)]
    assert sorted(found) == [("rare", 40), ("scan", 2), ("scan", 29)], "the last of each stays"
    assert left(database, tables.audit_runs, "id") == [3]


def test_nought_days_are_for_ever(database: Database) -> None:
    put(database, tables.outbox, message("one", "sent", OLD))
    assert prune(database, Keep(messages=0), now=NOW + 36_000 * DAY).found == 0


@pytest.mark.parametrize("what", tuple(retention.SHORTEST))
def test_what_is_still_needed_cannot_be_forgotten_by_a_setting(what: str) -> None:
    shortest = retention.SHORTEST[what]
    assert getattr(Keep(**{what: shortest}), what) == shortest
    for days in (shortest - 1, -1, 36_501):
        with pytest.raises(RetentionError, match=f"{what} are kept for 0"):
            Keep(**{what: days})


# --- histories -----------------------------------------------------------------------------------------------------

EVENTS = Keep(events=100)
LATER = NOW + 200 * DAY


def happened(database: Database, moment: datetime) -> None:
    """Have everything be written down long ago, as it was said to have happened."""
    with database.write() as connection:
        connection.execute(sa.update(tables.events).values(recorded_at=moment))


def a_late_one_is_closed(desk: Desk, ticket_id: str = "t") -> None:
    desk.opens(ticket_id, priority=1, sla_hours=4)
    assert desk.scans(5).breaches == 1
    for hours, status in ((6, "in_progress"), (7, "resolved"), (8, "closed")):
        desk.does("set_status", ticket_id, status, hours=hours)


def test_the_history_of_a_closed_ticket_goes_and_its_verdict_stays(desk: Desk) -> None:
    a_late_one_is_closed(desk)
    happened(desk.system.database, at(9))
    before, clocks = desk.ticket(), desk.clocks()
    database = desk.system.database
    assert prune(database, EVENTS, now=at(8) + 99 * DAY).gone.get("histories") is None
    assert prune(database, EVENTS, now=at(9) + 101 * DAY).gone["histories"] == 1
    assert desk.system.get_history("t") == []
    assert (desk.ticket(), desk.clocks()) == (before, clocks)
    report = audit_clocks(database, everything=True)
    assert (report.checked, report.found) == (0, 0), "there is nothing to compare it with"
    with pytest.raises(HistoryPruned, match=r"the history of ticket t was pruned on 2026-"):
        desk.system.explain("t")


def test_a_breach_whose_event_is_gone_is_not_raised_again(desk: Desk) -> None:
    """Its clock is stopped for good: no scan looks at it, and no change starts another on a ticket that is closed."""
    a_late_one_is_closed(desk)
    database = desk.system.database
    happened(database, at(9))
    letters = desk.letters()
    prune(database, EVENTS, now=LATER)
    verbs: list[tuple[str, tuple[Any, ...]]] = [
        ("set_priority", (4,)), ("set_priority", (1,)), ("escalate", ("why",)), ("settle", ()), ("repromise", ()),
        ("acknowledge", ()), ("rearm", ()), ("finish", ()),
    ]  # fmt: skip
    for verb, words in verbs:
        desk.does(verb, "t", *words, hours=24 * 300)
    desk.says("bob", hours=24 * 301)
    desk.does("reclassify", "t", customer="acme", plan="gold", group="g", hours=24 * 302)
    assert scan_breaches(database, now=at(24 * 400)).found == 0
    assert (desk.letters(), desk.history("breached", "started")) == (letters, [])
    assert audit_clocks(database, everything=True).found == 0
    assert rows_of(database, tables.alarms) == []


@pytest.mark.parametrize("status", ("open", "in_progress", "review", "on_hold", "resolved"))
def test_the_history_of_a_ticket_that_may_come_back_stays(desk: Desk, status: str) -> None:
    desk.opens(status=status if status != "resolved" else "in_progress", updated_at=at(0))
    if status == "resolved":
        desk.does("set_status", "t", "resolved", hours=1)
    happened(desk.system.database, at(1))
    assert prune(desk.system.database, EVENTS, now=LATER).gone.get("histories") is None


def test_a_ticket_about_which_something_was_said_since_is_not_old(desk: Desk) -> None:
    a_late_one_is_closed(desk)
    happened(desk.system.database, at(9))
    assert desk.system.waive_breach("t", "Their own mains failed.", author="lead")
    waived = datetime.now(UTC)
    assert prune(desk.system.database, EVENTS, now=waived + 99 * DAY).gone.get("histories") is None
    assert prune(desk.system.database, EVENTS, now=waived + 101 * DAY).gone["histories"] == 1
    with pytest.raises(NotBreached):
        desk.system.waive_breach("t", "Another one.", target="first_response", author="lead")


def test_an_audit_goes_on_where_it_was_though_the_event_it_reached_is_gone(desk: Desk) -> None:
    a_late_one_is_closed(desk)
    database = desk.system.database
    happened(database, at(9))
    audit_clocks(database)
    prune(database, EVENTS, now=LATER)
    desk.opens("next", created_at=at(100))
    report = audit_clocks(database)
    assert (report.checked, report.found) == (2, 0), "once because it changed, once on the walk"


# --- several at once, and killed -----------------------------------------------------------------------------------


def test_several_may_prune_at_once(database_url: str) -> None:
    if database_url == ":memory:":
        pytest.skip("several processes share no memory")
    with Database(database_url) as database:
        database.upgrade()
        put(database, tables.outbox, *(message(str(number), "sent", OLD) for number in range(3000)))
        put(database, tables.outbox, message("waits", "pending", OLD))
        system = TicketSystem(database)
        system.create_tickets(
            [a_ticket(id=str(number), status="closed", created_at=OLD, updated_at=OLD) for number in range(300)]
        )
        happened(database, OLD)
        found: list[retention.Pruned] = []

        def run() -> None:
            with Database(database_url) as mine:
                found.append(prune(mine, EVENTS, batch_size=100, now=LATER))

        threads = [threading.Thread(target=run) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        rest = prune(database, EVENTS, now=LATER)
        assert sum(one.gone.get("messages", 0) for one in (*found, rest)) == 3000
        assert sum(one.gone.get("histories", 0) for one in (*found, rest)) == 300
        assert left(database, tables.outbox, "key") == ["waits"]


def test_one_that_is_killed_has_forgotten_whole_batches(database: Database) -> None:
    put(database, tables.outbox, *(message(str(number), "sent", OLD) for number in range(50)))

    def die(done: int) -> None:
        if done >= 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prune(database, batch_size=10, now=NOW, progress=die)
    assert len(rows_of(database, tables.outbox)) == 30
    assert prune(database, batch_size=10, now=NOW).gone == {"messages": 30}


def test_a_run_stops_when_its_time_is_up_and_the_next_goes_on(database: Database) -> None:
    put(database, tables.outbox, *(message(str(number), "sent", OLD) for number in range(50)))
    first = prune(database, batch_size=10, budget_seconds=0, now=NOW)
    assert (first.found, first.drained) == (0, False)
    assert prune(database, batch_size=10, now=NOW).drained


def test_a_count_changes_nothing(desk: Desk) -> None:
    a_late_one_is_closed(desk)
    happened(desk.system.database, at(9))
    before = everything(desk.system.database)
    assert preview(desk.system.database, EVENTS, now=LATER) == {"histories": 1}
    assert everything(desk.system.database) == before


# --- what an idle run reads ----------------------------------------------------------------------------------------

INDEXES = {
    "messages": "outbox_done",
    "contents": "report_runs_frozen",
    "reports": "report_runs_due",
    "events of Stripe": "stripe_events_done",
    "wishes": "wishes_taken",
    "parked": "parked_settled",
    "ticks": "job_runs_done",
    "failed ticks": "job_runs_open",
    "audits": "audit_runs_pk",
    "histories": "tickets_over",
    "usage": "usage_batches_sealed",
    "usage never billed": "usage_facts_never_sealed",
}


@pytest.mark.parametrize("kind", tuple(shelves.SHELVES))
def test_what_is_not_old_is_not_read(database: Database, kind: str) -> None:
    """The oldest come first, from an index that holds nothing else: the first that is too young ends the search."""
    shelf = shelves.SHELVES[kind]
    chosen = sa.select(*shelf.table.primary_key.columns).where(*shelf.may_go).order_by(shelf.order).limit(10)
    query = chosen.params(before=NOW).compile(database.engine, compile_kwargs={"literal_binds": True})
    words = "EXPLAIN QUERY PLAN" if database.dialect == "sqlite" else "EXPLAIN (COSTS OFF)"
    with database.read() as connection:
        if database.dialect == "postgresql":
            # Empty tables are read whole, unless somebody says that it is dear.
            for way in ("seqscan", "sort", "bitmapscan", "hashjoin", "mergejoin"):
                connection.execute(sa.text(f"SET LOCAL enable_{way} = off"))
        # An OFFSET alone is not SQLite's; the LIMIT that goes with it is no literal.
        rest = tuple(query.params[name] for name in query.positiontup or ()) or None
        plan = "\n".join(str(row[-1]) for row in connection.exec_driver_sql(f"{words} {query}", rest))
    rowid = kind == "audits" and database.dialect == "sqlite"
    assert ("USING INTEGER PRIMARY KEY" if rowid else INDEXES[kind]) in plan, plan
    assert "TEMP B-TREE" not in plan, plan
    assert "Sort" not in plan, plan


def test_whoever_prunes_needs_to_read_and_write_rows_and_nothing_else(postgres_url: str) -> None:
    with Database(postgres_url) as database:
        desk, role = Desk(TicketSystem(database)), f"rows_of_{database.url.database}"
        a_late_one_is_closed(desk)
        happened(database, at(9))
        put(database, tables.outbox, message("one", "sent", OLD))
        with database.write() as connection:
            connection.execute(sa.text(f"CREATE ROLE {role} LOGIN"))
            rights = "SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public"
            connection.execute(sa.text(f"GRANT {rights} TO {role}"))
        try:
            with Database(database.url.set(username=role).render_as_string(hide_password=False)) as mine:
                keep = Keep(events=100, usage=400)
                assert prune(mine, keep, now=LATER).gone == {"messages": 1, "histories": 1}
        finally:
            with database.write() as connection:
                connection.execute(sa.text(f"DROP OWNED BY {role}; DROP ROLE {role}"))
