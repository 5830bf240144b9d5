"""A waiver takes a breach out of what is counted, and out of nothing else (rule 9). On every database."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.support.desk import due_in, known
from tests.support.promises import HOUR, Desk, a_policy, at, promise
from ticket_system import InvalidTicket, TicketSystem, waivers
from ticket_system.audit import audit_clocks
from ticket_system.errors import NotBreached
from ticket_system.sla.clocks import FIRST_RESPONSE, RESOLUTION, ClockState
from ticket_system.storage import tables


def rate(system: TicketSystem) -> float:
    found: float = system.generate_report(days=7)["sla_breach_rate_pct"]
    return found


def does(desk: Desk, act: Callable[..., bool], *, hours: float, **more: Any) -> bool:
    from ticket_system.changes import Changes  # noqa: PLC0415 - only here

    with desk.system.database.write() as connection:
        return act(Changes(connection, desk.system.rules), "t", "Their own mains failed.", now=at(hours), **more)


def test_a_waived_breach_counts_nowhere_and_a_revoked_waiver_counts_again(system: TicketSystem) -> None:
    """Rules 9, 24."""
    late = due_in(system, -60)
    kept = due_in(system, 600, status="in_progress")
    system.update_status(kept, "resolved")
    assert rate(system) == 50.0
    assert system.waive_breach(late, "Their own mains failed.", author="lead") is True
    assert rate(system) == 0.0
    assert system.waive_breach(late, "Their own mains failed.", author="lead") is True, "a second time changes nothing"
    clock = known(system, late).clock
    assert clock is not None
    assert (clock.state, clock.breached_at == clock.due_at) == (ClockState.BREACHED, True), "a mark, never a state"
    assert [one["ticket_id"] for one in system.get_breached_tickets()] == [late], "it is late all the same"
    assert system.revoke_waiver(late, "It was ours.", author="boss") is True
    assert rate(system) == 50.0
    told = [
        (event.kind, event.actor, event.note, event.new) for event in system.get_history(late) if event.actor != "ada"
    ]
    assert told[-2:] == [
        ("waived", "lead", "Their own mains failed.", "resolution"),
        ("waiver_revoked", "boss", "It was ours.", "resolution"),
    ]
    assert audit_clocks(system.database, everything=True).differences == []


@pytest.mark.parametrize("way", ("on_hold", "a lower priority", "resolved", "resolved and reopened"))
def test_nothing_but_a_waiver_undoes_a_breach(desk: Desk, way: str) -> None:
    """Rule 9."""
    desk.promises(a_policy(targets={RESOLUTION: promise({1: 1, 2: 2, 3: 3, 4: 40})}))
    desk.opens(status="in_progress", priority=3)
    desk.scans(3.5)
    if way == "a lower priority":
        desk.does("set_priority", "t", 4, hours=4)
    else:
        desk.does("set_status", "t", way.split(maxsplit=1)[0], hours=4)
    if way.endswith("reopened"):
        desk.does("set_status", "t", "open", hours=5)
    assert (desk.clock().state, desk.clock().breached_at) == (ClockState.BREACHED, at(3))
    assert does(desk, waivers.grant, hours=6)
    assert (desk.clock().state, desk.clock().breached_at, desk.clock().waived_at) == (ClockState.BREACHED, at(3), at(6))


def test_each_cycle_and_each_target_is_waived_by_itself(desk: Desk) -> None:
    """Rules 9, 14."""
    desk.promises(a_policy(reopen="restart", targets={FIRST_RESPONSE: promise(1), RESOLUTION: promise(1)}, chain=()))
    desk.opens(status="in_progress")
    desk.scans(2)
    desk.does("set_status", "t", "resolved", hours=2)
    desk.does("set_status", "t", "open", hours=3)
    desk.scans(5)
    assert does(desk, waivers.grant, hours=6, cycle=1)
    assert does(desk, waivers.grant, hours=6, target=FIRST_RESPONSE)
    assert {key for key, clock in desk.clocks().items() if clock.waived_at} == {(RESOLUTION, 1), (FIRST_RESPONSE, 1)}


def test_only_a_breach_is_waived(desk: Desk) -> None:
    desk.promises(a_policy())
    desk.opens()
    with pytest.raises(NotBreached, match="no breach of its resolution"):
        does(desk, waivers.grant, hours=1)
    with pytest.raises(NotBreached, match="no breach of its pigeon"):
        does(desk, waivers.grant, hours=1, target="pigeon")
    assert desk.system.waive_breach("nobody", "why") is False
    with pytest.raises(InvalidTicket, match="reason must not be empty"):
        desk.system.waive_breach("t", " ")


def test_what_is_late_and_not_found_yet_can_be_waived(desk: Desk) -> None:
    """Rule 7: it is found first."""
    desk.promises(a_policy())
    desk.opens()
    assert does(desk, waivers.grant, hours=27)
    assert (desk.clock().breached_at, desk.clock().waived_at) == (at(26), at(27))


def test_a_waiver_that_nobody_granted_is_found(system: TicketSystem) -> None:
    """Rule 27."""
    late = due_in(system, -60)
    system.waive_breach(late, "why")
    with system.database.write() as connection:
        connection.execute(tables.clocks.update().values(waived_at=datetime(2026, 1, 1, tzinfo=UTC)))
    assert [one.field for one in audit_clocks(system.database, everything=True).differences] == ["waived_at"]


def test_an_explanation_shows_who_waived_it_and_why(desk: Desk) -> None:
    """Rules 9, 26."""
    desk.promises(a_policy(targets={RESOLUTION: promise(1)}))
    desk.opens()
    desk.scans(2)
    does(desk, waivers.grant, hours=3, actor="lead")
    does(desk, waivers.revoke, hours=4, actor="boss")
    [told] = desk.system.explain("t")
    marks = {mark["what"]: mark for mark in told["marks"]}
    assert marks["waived"]["text"] == "by lead: Their own mains failed.; the breach does not count"
    assert (marks["waiver revoked"]["rules"], marks["waived"]["at"]) == ([9], at(3).isoformat())
    assert HOUR == 3600


def test_it_is_waived_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from ticket_system.__main__ import main  # noqa: PLC0415 - only here

    file = str(tmp_path / "tickets.db")
    with TicketSystem(file) as system:
        late = due_in(system, -60)
    told = []
    for words in (["--reason", "mains"], ["--reason", "ours", "--revoke", "--json"], ["--reason", "x", "--cycle", "7"]):
        with pytest.raises(SystemExit) as left:
            main(["waive", late, "--database", file, "--author", "lead", *words])
        told.append((int(left.value.code or 0), *capsys.readouterr()))
    assert told[0] == (0, f"{late}: the breach of its resolution is waived.\n", "")
    assert json.loads(told[1][1])["waived"] is False
    assert told[2][0] == 2
    assert "no breach of its resolution, cycle 7" in told[2][2]
