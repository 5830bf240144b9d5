"""`tickets usage`, `tickets billing` and `tickets merge`, as a person and as a script use them."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from tests.support.billing import ACCEPTED, REFUSED, Till, a_subscription
from tests.support.promises import MONDAY, at
from ticket_system import inbox, reconciliation
from ticket_system.__main__ import main
from ticket_system.billing.deliveries import Answer, Said
from ticket_system.inbox import InboxEvent
from ticket_system.sla.plans import Plan
from ticket_system.storage import lanes

Run: TypeAlias = Callable[..., tuple[int, str, str]]
#: This moment, in hours after Monday nine: the command knows no other.
NOW = (datetime.now(UTC) - MONDAY).total_seconds() / 3600
LONG_AGO = NOW - 24 * 36
REASON = ("--reason", "agreed on the phone")


@pytest.fixture
def desk_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Till]:
    """A desk in a file, in the folder in which the command runs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TICKETS_AUTHOR", "boss")
    till = Till(str(tmp_path / "tickets.db"))
    yield till
    till.database.close()


@pytest.fixture
def linked(desk_file: Till) -> Till:
    """The same with a customer."""
    desk_file.links(hours=NOW - 100)
    return desk_file


@pytest.fixture
def run(desk_file: Till, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command; returns its status, output and errors."""
    assert desk_file.database.path is not None

    def run_it(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main([*words])
        return int(left.value.code or 0), *capsys.readouterr()

    return run_it


def delivered(till: Till, said: Said | None, *, hours: float = NOW - 5, ticket_id: str = "t", **changes: Any) -> int:
    """A ticket of that hour, sealed, and sent with that answer; the number of its newest delivery."""
    till.opens(ticket_id, hours=hours, **changes)
    till.seals(hours + 2.2)
    if said is not None:
        till.sends(hours + 2.2, said)
    return till.rows()[-1].delivery.id


def state(till: Till, number: int) -> str:
    return next(str(row.delivery.state) for row in till.rows() if row.delivery.id == number)


def test_where_nothing_is_billed_that_is_said(run: Run) -> None:
    assert run("usage", "list") == (0, "No usage waits for a person.\n", "")
    assert run("usage", "list", "--state", "accepted")[1] == "No usage is in such a state.\n"
    assert json.loads(run("usage", "list", "--json")[1]) == {
        "deliveries": [], "outstanding": [], "surplus": [], "dead_events": 0,
    }  # fmt: skip
    assert run("usage", "report", "--dry-run") == (0, "Nothing would be sent.\n", "")
    assert run("usage", "report")[1] == "0 deliveries are to be sent at the next tick.\n"
    assert run("billing", "show")[1] == "No customer is linked yet; `tickets billing link CUSTOMER cus_…` does it.\n"
    assert run("billing", "show", "--json")[1] == "[]\n"
    assert run("billing", "sync")[1] == "0 customers are fetched at the next tick.\n"


def test_what_is_stuck_is_listed_with_why_and_what_is_at_stake(linked: Till, run: Run) -> None:
    linked.promises(amounts={"ticket_opened": 40, "critical_ticket": 0})
    number = delivered(linked, REFUSED)
    delivered(linked, None, ticket_id="u")
    linked.opens("v", hours=NOW, customer="umbrella")
    status, out, _ = run("usage", "list", "--timezone", "UTC")
    lines = [line.split("\t") for line in out.splitlines()]
    assert status == 0
    assert lines[0][:6] == ["number", "state", "customer", "what", "quantity", "at stake"]
    assert lines[1][:6] == [str(number), "rejected", "acme", "ticket_opened", "1", "0.40 EUR"]
    assert lines[1][-1] == "resource_missing No such customer"
    assert lines[3] == ["Not billed yet:"]
    told = {line[0]: (line[1], line[2], line[4]) for line in lines[5:]}
    assert told["rejected"] == ("1", "0.40 EUR", "refused; mend the cause, then tickets usage retry")
    assert told["sealed"] == ("1", "0.40 EUR", "")
    assert told["unsealed ticket_opened of umbrella"][2] == "umbrella is not linked: tickets billing link"
    found = json.loads(run("usage", "list", "--json", "--customer", "acme")[1])
    assert [(one["id"], one["state"], one["mode"], one["money"]) for one in found["deliveries"]] == [
        (number, "rejected", "test", 40)
    ]
    assert json.loads(run("usage", "list", "--json", "--customer", "nobody")[1])["deliveries"] == []
    assert run("usage", "list", "--state", "lost")[0] == 2
    assert "there is no state 'lost'; there are sealed, sending" in run("usage", "list", "--state", "lost")[2]


def test_what_is_counted_too_much_and_events_that_were_given_up_are_said(linked: Till, run: Run) -> None:
    delivered(linked, ACCEPTED)
    with linked.database.write() as connection:
        lanes.compare(connection, linked.row().lane.id, None, surplus=7, deep_at=None)
    event = InboxEvent("evt_1", "snapshot", "t", livemode=False, body="{}")
    inbox.receive(linked.database, event, now=at(NOW - 1))
    [one] = inbox.waiting(linked.database, livemode=False, now=at(NOW))
    inbox.failed(linked.database, one._replace(attempts=inbox.MAX_ATTEMPTS), "why", now=at(NOW))
    out = run("usage", "list")[1]
    assert "7 more tickets_opened of cus_A are counted than were sent; a person has to look" in out
    assert "1 event was given up; `tickets billing sync` tries again." in out
    assert run("billing", "sync")[1] == "1 customer is fetched at the next tick, 1 event is tried again.\n"


def test_a_delivery_is_shown_with_its_tickets_and_a_ticket_with_its_deliveries(linked: Till, run: Run) -> None:
    number = delivered(linked, ACCEPTED, priority=2)
    shown = json.loads(run("usage", "show", str(number), "--json")[1])
    assert (shown["state"], [one["ticket_id"] for one in shown["tickets"]]) == ("accepted", ["t"])
    out = run("usage", "show", str(number))[1]
    assert f"identifier\t{shown['identifier']}" in out
    assert out.splitlines()[-1].startswith("t\tticket_opened\t")
    [counted] = json.loads(run("usage", "show", "t", "--json")[1])
    assert (counted["kind"], counted["state"], counted["delivery"]) == ("ticket_opened", "accepted", number)
    assert run("usage", "show", "t")[1].splitlines()[1].startswith("ticket_opened\tacme\t")
    linked.opens("n", customer=None)
    nothing = "This ticket was counted for nothing: it has no customer, or it was imported.\n"
    assert run("usage", "show", "n") == (0, nothing, "")
    for name in ("nobody", "999", "9" * 40, "²"):
        assert run("usage", "show", name) == (3, "", f"tickets: no ticket has the id '{name}'\n")


def test_what_was_refused_is_sent_again(linked: Till, run: Run) -> None:
    number = delivered(linked, REFUSED)
    assert run("usage", "retry", str(number)) == (0, "1 delivery is to be sent again.\n", "")
    assert [row.delivery.state for row in linked.rows()] == ["replaced", "sealed"]
    status, out, err = run("usage", "retry", str(number), "77", "--json")
    assert (status, json.loads(out)["changed"]) == (2, 0)
    assert f"delivery {number} is replaced: it needs nothing" in err
    assert "there is no delivery 77; `tickets usage list` shows those that wait" in err
    assert "it is on its way" in run("usage", "retry", str(number + 1))[2]
    assert run("usage", "retry")[0] == 2
    assert run("usage", "retry", "9" * 30)[0] == 2


def test_one_that_cannot_be_helped_stops_none_of_the_others(linked: Till, run: Run) -> None:
    number = delivered(linked, REFUSED)
    status, out, err = run("usage", "resolve", "77", str(number), *REASON)
    assert (status, out) == (2, "1 delivery is resolved.\n")
    assert "there is no delivery 77" in err
    assert state(linked, number) == "resolved"


def test_what_is_too_old_is_carried_at_the_price_of_now_and_once(linked: Till, run: Run) -> None:
    number = delivered(linked, None, hours=LONG_AGO, priority=2)
    linked.sends(NOW)
    assert state(linked, number) == "expired"
    assert "it can only be carried (`tickets usage carry`)" in run("usage", "retry", str(number))[2]
    assert "set it in [billing.amounts] of sla.toml" in run("usage", "carry", str(number))[2]
    linked.promises(amounts={"ticket_opened": 40, "critical_ticket": 0}, currency="usd")
    assert run("usage", "carry", str(number)) == (0, "1 delivery is carried to the next invoice.\n", "")
    assert run("usage", "carry", str(number))[0] == 2
    item = linked.rows()[-1]
    assert (item.lane.event_name, item.money, item.batch.currency, item.delivery.quantity) == (
        "invoice items", 40, "usd", 1,
    )  # fmt: skip
    assert [one.state for one in linked.sends(NOW + 1, REFUSED)] == ["rejected"]
    assert "is an invoice item already" in run("usage", "carry", str(item.delivery.id))[2]
    assert run("usage", "retry", str(item.delivery.id))[0] == 0


def test_what_was_counted_otherwise_is_only_resolved_and_with_a_reason(linked: Till, run: Run) -> None:
    number = delivered(linked, ACCEPTED)
    reconciliation.observe(linked.database, linked.row(), 2, now=at(NOW))
    assert "2 counted instead of 1" in run("usage", "list")[1]
    assert "sending it again would count it twice" in run("usage", "retry", str(number))[2]
    assert "then resolve it" in run("usage", "carry", str(number))[2]
    assert run("usage", "resolve", str(number))[0] == 2
    assert "reason must not be empty" in run("usage", "resolve", str(number), "--reason", " ")[2]
    assert run("usage", "resolve", str(number), *REASON)[0] == 0
    history = json.loads(run("billing", "show", "acme", "--json")[1])["history"]
    assert (history[0]["actor"], history[0]["kind"]) == ("boss", "resolved")
    assert history[0]["note"] == f"delivery {number}, 1 ticket_opened: agreed on the phone"


def test_a_ticket_is_waived(linked: Till, run: Run) -> None:
    linked.opens(priority=1)
    assert run("usage", "waive", "t", *REASON)[1] == "Forgiven: ticket_opened, critical_ticket.\n"
    assert run("usage", "waive", "t", *REASON) == (0, "There is nothing to forgive.\n", "")
    assert json.loads(run("usage", "waive", "t", *REASON, "--json")[1]) == {"forgiven": []}
    assert run("usage", "waive", "nobody", *REASON)[0] == 3
    assert run("usage", "waive", "t")[0] == 2
    [event] = [one for one in linked.system.get_history("t") if one.kind == "forgiven"]
    assert (event.actor, event.note) == ("boss", "agreed on the phone")


def test_a_dry_run_shows_what_is_then_sent(linked: Till, run: Run) -> None:
    linked.promises(
        Plan("gold", frozenset({"gold-monthly"}), hours=8, critical="invoice_item"),
        amounts={"ticket_opened": 40, "critical_ticket": 1500},
    )
    linked.fetches(a_subscription(), hours=NOW - 99)
    linked.opens(hours=NOW - 5, priority=1)
    lines = [line.split("\t") for line in run("usage", "report", "--dry-run")[1].splitlines()]
    assert lines[0] == ["identifier", "stripe customer", "event", "timestamp", "value", "idempotency key"]
    assert {tuple(line[i] for i in (1, 2, 4, 5)) for line in lines[1:]} == {
        ("cus_A", "tickets_opened", "1", "…:e0"), ("cus_A", "invoice items", "15.00 EUR", "…:e0"),
    }  # fmt: skip
    assert linked.rows() == []
    assert run("usage", "report", "--dry-run", "--live")[1] == "Nothing would be sent.\n"
    linked.seals(NOW)
    # An hour ahead, so that however long the test takes it is not due yet.
    assert {one.identifier for one in linked.sends(NOW + 1, Said(Answer.LOST))} == {line[0] for line in lines[1:]}
    assert len(json.loads(run("usage", "report", "--dry-run", "--json")[1])) == 2
    assert (
        run("usage", "report")[1] == "2 deliveries are to be sent at the next tick, 2 of them earlier than planned.\n"
    )


def test_a_customer_is_linked_and_corrected(desk_file: Till, run: Run) -> None:
    said = "acme is cus_A. Its plan is fetched at the next tick.\n"
    assert run("billing", "link", "acme", "cus_A") == (0, said, "")
    delivered(desk_file, REFUSED)
    status, out, _ = run("billing", "link", "acme", "cus_B", "--json")
    assert (status, json.loads(out)) == (0, {"customer": "acme", "stripe_customer": "cus_B", "sent_again": 1})
    assert "expected an id such as cus_" in run("billing", "link", "acme", "acme")[2]
    assert "cus_B is linked to another customer already" in run("billing", "link", "umbrella", "cus_B")[2]
    assert "settle it first" in run("billing", "link", "acme", "cus_B", "--live")[2]
    status, out, _ = run("billing", "link", "acme", "cus_C")
    assert (status, "; 1 refused or unsent deliveries go there now." in out) == (0, True)


def test_customers_are_shown_and_fetched(linked: Till, run: Run) -> None:
    rows = [line.split("\t") for line in run("billing", "show")[1].splitlines()]
    assert rows[1] == ["acme", "test", "cus_A", "none", "free", "metered", "not yet", ""]
    linked.fetches(a_subscription("price_new"), hours=NOW)
    told = json.loads(run("billing", "show", "acme", "--json")[1])
    assert (told["status"], told["problem"]) == (
        "active", "the price price_new (None) is in no plan; it keeps what it had",
    )  # fmt: skip
    assert "cus_A (test)" in run("billing", "show", "acme")[1]
    assert json.loads(run("billing", "sync", "acme", "--json")[1]) == {"customers": 1, "events": 0}
    for words in (("show", "nobody"), ("sync", "nobody")):
        status, _, err = run("billing", *words)
        assert (status, err) == (2, "tickets: nobody is not linked; `tickets billing link nobody cus_…` does it\n")


def test_a_ticket_is_merged(linked: Till, run: Run) -> None:
    linked.opens("t", hours=NOW - 0.1)
    linked.opens("u", hours=NOW - 0.1)
    linked.opens("v", hours=NOW - 0.1)
    assert run("merge", "t", "u") == (0, "t was merged into u.\n", "")
    assert json.loads(run("merge", "v", "u", "--json")[1])["status"] == "cancelled"
    assert [one.new for one in linked.system.get_history("t") if one.kind == "forgiven"] == ["ticket_opened"]
    assert run("merge", "t", "u")[0] == 4, "it is over already"
    assert run("merge", "u", "u")[0] == 2
    assert run("merge", "u", "nobody") == (3, "", "tickets: no ticket has the id 'nobody'\n")
    assert run("merge", "nobody", "u")[0] == 3
