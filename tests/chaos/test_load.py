import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.errands import PLANS, People, errands
from tests.chaos.load import CUSTOMERS, Caller, calls
from tests.chaos.plan import Options
from ticket_system import digests, recipients
from ticket_system.storage.database import Database
from ticket_tasks.errors import BrokerUnreachable
from ticket_worker.demo.stripe_double import StripeDouble

OPTIONS = Options(9, minutes=5)


class Client:
    """Takes calls, and fails when it is told to."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, dict[str, Any]]] = []
        self.fails = False

    def __getattr__(self, verb: str) -> Any:
        def take(*words: str, **given: Any) -> str:
            if self.fails:
                raise BrokerUnreachable("away")
            self.taken.append((verb, {"words": words, **given}))
            return str(given["key"])

        return take


def test_a_load_is_in_order_and_within_its_time() -> None:
    made = list(calls(OPTIONS))
    assert made == sorted(made)
    assert len({call.n for call in made}) == len(made)
    opened = {call.ticket_id for call in made if call.call == "open"}
    assert len(opened) == 5 * 60 * 6
    assert all(0 <= call.second <= OPTIONS.seconds for call in made)


def test_a_load_has_a_bit_of_everything() -> None:
    made = list(calls(OPTIONS))
    kinds = Counter(call.call for call in made)
    assert min(kinds[kind] for kind in ("open", "comment", "status")) > 100
    again = Counter(call.key for call in made)
    assert 30 < sum(times > 1 for times in again.values()) < 400
    leads = [call.lead_seconds for call in made if call.lead_seconds is not None]
    assert 0.6 < sum(0 < lead < 20 for lead in leads) / len(leads) < 0.8
    assert sum(lead < 0 for lead in leads) > 100
    assert sum(lead > 1000 for lead in leads) > 100
    assert {call.given.get("priority") for call in made if call.call == "open"} == {1, 2, 3, 4}


def test_every_ticket_belongs_to_an_hour_that_is_over_and_sealed() -> None:
    """Else it is billed only after the run."""
    for call in calls(OPTIONS):
        if call.lead_seconds is not None:
            assert call.lead_seconds / 3600 - call.given["sla_hours"] < -2


def test_a_call_is_written_down_before_and_after() -> None:
    client, file = Client(), StringIO()
    caller = Caller(client, file)  # type: ignore[arg-type] # as much of it as is called
    made = list(calls(Options(2, minutes=1)))
    for call in made:
        client.fails = call.n % 10 == 0
        caller.make(call)
    lines = [json.loads(line) for line in file.getvalue().splitlines()]
    assert Counter(line["phase"] for line in lines)["begun"] == len(made)
    ends = {line["n"]: line for line in lines if line["phase"] != "begun"}
    assert {n: line["phase"] for n, line in ends.items()} == {
        call.n: "failed" if call.n % 10 == 0 else "returned" for call in made
    }
    assert all("away" in line["error"] for line in ends.values() if line["phase"] == "failed")
    assert len(client.taken) == sum(line["phase"] == "returned" for line in lines)


def test_a_repeated_call_is_the_same_call() -> None:
    client = Client()
    caller = Caller(client, StringIO())  # type: ignore[arg-type] # as above
    for call in calls(Options(2, minutes=1)):
        caller.make(call)
    by_key: dict[str, list[Any]] = {}
    for verb, given in client.taken:
        by_key.setdefault(given["key"], []).append((verb, given))
    assert any(len(mine) > 1 for mine in by_key.values())
    assert all(one == mine[0] for mine in by_key.values() for one in mine)


def test_people_order_reports_that_are_due_at_once_and_once(postgres_url: str, tmp_path: Path) -> None:
    """Whatever the hour is: one of each series, as it stands in orders.json."""
    options = Options(4, minutes=10)
    with Database(postgres_url) as database:
        people = People(database, StripeDouble(), tmp_path)
        people.prepare()
        for errand in errands(options):
            people.run(errand)
        while digests.plan(database).planned:
            pass
        planned = {
            (run.organisation, run.kind, run.sent_on.isoformat(), run.due_at)
            for run, _ in digests.runs(database, limit=500)
        }
        told = json.loads((tmp_path / "orders.json").read_text("utf-8"))
        wanted = {
            (one["organisation"], one["kind"], one["sent_on"], datetime.fromisoformat(one["due_at"]))
            for one in told["reports"]
        }
        assert planned == wanted
        assert len(wanted) >= 20
        now = datetime.now(UTC)
        assert all(now - timedelta(hours=3) < due < now for *_, due in wanted)
        readers = {(person.organisation, person.address) for person, _ in recipients.listed(database)}
        assert readers == {
            (one["name"], person["address"]) for one in told["organisations"] for person in one["recipients"]
        }
        assert {one["name"] for one in told["customers"]} == set(CUSTOMERS)
        assert {one["plan"] for one in told["customers"]} <= set(PLANS)


@pytest.mark.parametrize("minutes", (0.2, 0.5, 10))
def test_errands_are_in_order_and_of_both_kinds(minutes: float) -> None:
    made = errands(Options(4, minutes))
    assert made == sorted(made, key=lambda one: one.second)
    assert {one.what for one in made} == {"organisation", "plan"}
    assert all(0 <= one.second <= minutes * 60 for one in made)
