"""The checker sees what is wrong and nothing else: a run that went well passes, each damage is counted as itself."""

import ast
import json
import secrets
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.chaos import checker
from tests.chaos.checks_letters import Post
from tests.chaos.damages import DAMAGES
from tests.support.healthy_run import healthy_run
from tests.support.postgres import create_database, drop_database

pytestmark = pytest.mark.timeout(120)

HERE = Path(__file__).parent
Places = tuple[Path, str]


@pytest.fixture(scope="module")
def healthy(postgres_server: str, postgres_template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Places]:
    """A run that went well: its folder, and the name of its database, which each test copies."""
    folder, name = tmp_path_factory.mktemp("healthy"), f"tickets_healthy_{secrets.token_hex(4)}"
    healthy_run(folder, create_database(postgres_server, name, template=postgres_template))
    yield folder, name
    drop_database(postgres_server, name)


@dataclass
class Wreck:
    """A copy of that run, to be damaged."""

    folder: Path
    url: str

    def does(self, *statements: str) -> None:
        """Damage the database. What the schema forbids is damaged by hand first."""
        with psycopg.connect(self.url.replace("postgresql+psycopg:", "postgresql:")) as connection:
            connection.execute("SET session_replication_role = replica")
            for statement in statements:
                assert connection.execute(statement.encode()).rowcount != 0, statement

    def edits(self, name: str, edit: Callable[[list[dict[str, Any]]], None]) -> None:
        """Damage a journal of lines."""
        path = self.folder / name
        lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        edit(lines)
        path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")

    def rewrites(self, name: str, edit: Callable[[dict[str, Any]], object]) -> None:
        """Damage a journal that is one document."""
        path = self.folder / name
        found = json.loads(path.read_text("utf-8"))
        edit(found)
        path.write_text(json.dumps(found), "utf-8")

    def check(self) -> dict[str, Any]:
        """Everything that is found."""
        return checker.check(self.folder, self.url)

    def wrong(self) -> set[tuple[str, str]]:
        """What is wrong, and how; not which."""
        found = self.check()
        wrong = {
            (name, kind)
            for name, subject in found["subjects"].items()
            for kind in ("lost", "doubled", "unexpected")
            if subject[kind]
        }
        assert found["passed"] is not bool(wrong)
        return wrong


@pytest.fixture
def wreck(healthy: Places, postgres_server: str, tmp_path: Path) -> Iterator[Wreck]:
    folder, template = healthy
    name = f"tickets_wreck_{secrets.token_hex(4)}"
    url = create_database(postgres_server, name, template=template)
    yield Wreck(Path(shutil.copytree(folder, tmp_path / "run")), url)
    drop_database(postgres_server, name)


def counts(found: dict[str, Any]) -> dict[str, tuple[int, int]]:
    return {name: (subject["expected"], subject["found"]) for name, subject in found["subjects"].items()}


# --- a run that went well --------------------------------------------------------------------------------------------


def test_a_run_that_went_well_passes_and_all_of_it_was_counted(wreck: Wreck) -> None:
    found = wreck.check()
    assert found["passed"], checker.table(found)
    assert counts(found) == {
        "tickets": (8, 8),
        "comments": (1, 1),
        "status changes": (4, 4),
        "breaches": (5, 5),
        "escalations": (5, 5),
        "raises": (5, 5),
        "notifications": (5, 5),
        "bills": (6, 6),
        "digests": (3, 3),
        "plans": (1, 1),
    }
    assert found["subjects"]["breaches"]["waiting"] == 2
    assert found["subjects"]["bills"]["waiting"] == 1, "it became critical in an hour that is not over"
    assert found["seconds_unseen"]["breaches"] == 5
    assert 0 <= found["seconds_unseen"]["p50"] <= found["seconds_unseen"]["max"] < 60


def test_the_command_ends_with_1_where_something_is_wrong_and_names_it(
    wreck: Wreck, capsys: pytest.CaptureFixture[str]
) -> None:
    assert checker.main([str(wreck.folder), wreck.url]) == 0
    assert "lay unseen" in capsys.readouterr().out
    assert checker.main([str(wreck.folder), wreck.url, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["passed"] is True
    wreck.does("DELETE FROM comments WHERE author = 'ada'")
    assert checker.main([str(wreck.folder), wreck.url]) == 1
    assert "lost: comments: late by ada: It does not stop." in capsys.readouterr().out


def test_a_run_in_which_nothing_happened_proves_nothing(postgres_url: str, tmp_path: Path) -> None:
    found = checker.check(tmp_path, postgres_url)
    assert not found["passed"]
    assert [one["id"] for one in found["subjects"]["tickets"]["unexpected"]] == ["the load"]


def test_a_call_of_which_nobody_knows_may_have_been_done_or_not(wreck: Wreck) -> None:
    """A call that failed, or whose caller was killed, is neither lost nor wrong."""

    def edit(lines: list[dict[str, Any]]) -> None:
        for line in lines:
            if line["ticket_id"] == "ahead" and line["phase"] == "returned":
                line["phase"] = "failed"
        asked = next(line for line in lines if line["ticket_id"] == "ahead")
        lines.append(asked | {"n": 99, "ticket_id": "never", "key": "never", "phase": "begun"})

    wreck.edits("calls.jsonl", edit)
    assert wreck.wrong() == set()
    assert counts(wreck.check())["tickets"] == (7, 7)


def test_a_line_that_was_torn_is_passed_by_and_what_follows_it_is_read(wreck: Wreck) -> None:
    path = wreck.folder / "letters.jsonl"
    first, rest = path.read_text("utf-8").split("\n", 1)
    path.write_text(first[:200] + first + "\n" + rest + first[:100], "utf-8")
    assert wreck.wrong() == set()


def test_what_falls_due_while_a_fleet_is_stopped_is_not_missed(wreck: Wreck) -> None:
    """The end is the last sign of life, less a few seconds; what was caused after it may still be under way."""
    wreck.does(
        "UPDATE job_runs SET finished_at ="
        " (SELECT min(recorded_at) + interval '9 seconds' FROM events WHERE kind = 'escalated')",
        "UPDATE outbox SET state = 'pending'",
        "UPDATE usage_deliveries SET state = 'sending'",
    )
    found = wreck.check()
    assert found["passed"], checker.table(found)
    assert found["subjects"]["notifications"]["waiting"] == 5
    assert found["subjects"]["bills"]["waiting"] == 7


# --- by the database --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DAMAGES)
def test_what_is_wrong_in_the_database_is_counted_as_that(wreck: Wreck, name: str) -> None:
    statements, wrong = DAMAGES[name]
    wreck.does(*filter(str.strip, statements.split(";\n")))
    assert wreck.wrong() == wrong, checker.table(wreck.check())


# --- by the journals of those outside ---------------------------------------------------------------------------------


def letter_of(lines: list[dict[str, Any]], *, report: bool) -> int:
    return next(place for place, line in enumerate(lines) if ("List-Id" in line["headers"]) is report)


@pytest.mark.parametrize(("report", "subject"), ((False, "notifications"), (True, "digests")))
def test_letters_are_counted_by_whoever_took_them(wreck: Wreck, report: bool, subject: str) -> None:
    def drop(lines: list[dict[str, Any]]) -> None:
        del lines[letter_of(lines, report=report)]

    def double(lines: list[dict[str, Any]]) -> None:
        lines.append(lines[letter_of(lines, report=report)])

    def stray(lines: list[dict[str, Any]]) -> None:
        lines.append(lines[letter_of(lines, report=report)] | {"message_id": "<else@example.org>"})

    def mute(lines: list[dict[str, Any]]) -> None:
        lines[letter_of(lines, report=report)]["answered"] = False

    before = (wreck.folder / "letters.jsonl").read_text("utf-8")
    for damage, how in ((drop, "lost"), (double, "doubled"), (stray, "unexpected"), (mute, "unexpected")):
        wreck.edits("letters.jsonl", damage)
        assert wreck.wrong() == {(subject, how)}, damage.__name__
        (wreck.folder / "letters.jsonl").write_text(before, "utf-8")


def test_a_letter_that_went_to_somebody_else_is_seen(wreck: Wreck) -> None:
    def astray(lines: list[dict[str, Any]]) -> None:
        lines[letter_of(lines, report=True)]["recipients"] = ["eve@example.org"]

    wreck.edits("letters.jsonl", astray)
    assert wreck.wrong() == {("digests", "unexpected")}


def test_what_nobody_can_know_is_neither_lost_nor_doubled_as_long_as_it_is_shown(wreck: Wreck) -> None:
    wreck.does(
        "UPDATE outbox SET state = 'uncertain'",
        "UPDATE report_deliveries SET state = 'uncertain'",
        "UPDATE usage_deliveries SET state = 'unknown'",
    )

    def forget(lines: list[dict[str, Any]]) -> None:
        del lines[letter_of(lines, report=True)]
        del lines[letter_of(lines, report=False)]

    wreck.edits("letters.jsonl", forget)
    assert wreck.wrong() == set()
    uncertain = {name: len(subject["uncertain"]) for name, subject in wreck.check()["subjects"].items()}
    assert (uncertain["notifications"], uncertain["digests"], uncertain["bills"]) == (5, 2, 5)
    wreck.rewrites("stripe.json", lambda found: found["events"].clear())
    assert wreck.wrong() == set(), "not counted, and shown as open"


def test_a_letter_that_is_uncertain_may_not_have_come_twice(wreck: Wreck) -> None:
    wreck.does("UPDATE outbox SET state = 'uncertain'")
    wreck.edits("letters.jsonl", lambda lines: lines.append(lines[letter_of(lines, report=False)]))
    assert wreck.wrong() == {("notifications", "doubled")}


def test_what_went_out_together_counts_for_each(wreck: Wreck) -> None:
    """A bundle is one letter for many notices; lost or doubled, it is so for each of them."""
    wreck.does(
        "INSERT INTO outbox (key, kind, ticket_id, state, attempts, created_at, destination)"
        " VALUES ('bundle/1/mail', 'bundle', '', 'sent', 1, now(), 'mail')",
        "UPDATE outbox SET state = 'bundled', bundle_id = (SELECT max(id) FROM outbox) WHERE kind <> 'bundle'",
    )
    name = checker_name("bundle/1/mail")

    def together(lines: list[dict[str, Any]]) -> None:
        mine = lines[letter_of(lines, report=False)] | {"message_id": f"<{name}@example.org>"}
        lines[:] = [line for line in lines if "List-Id" in line["headers"]] + [mine]

    wreck.edits("letters.jsonl", together)
    assert wreck.wrong() == set()
    assert counts(wreck.check())["notifications"] == (5, 5)
    wreck.edits("letters.jsonl", lambda lines: lines.append(lines[-1]))
    assert wreck.wrong() == {("notifications", "doubled")}
    wreck.edits("letters.jsonl", lambda lines: lines.__delitem__(slice(-2, None)))
    assert wreck.wrong() == {("notifications", "lost")}


def checker_name(key: str) -> str:
    post = Post({})
    post.of(key)
    [name] = post._known
    return name


@pytest.mark.parametrize(
    ("damage", "wrong"),
    (
        (lambda events: events.pop(), {"lost"}),
        (lambda events: events.append(events[0]), {"doubled"}),
        (lambda events: events[0].update(identifier="tickets:of-somebody-else"), {"lost", "unexpected"}),
        (lambda events: events[0].update(rejected="no_meter"), {"lost"}),
        (lambda events: events[0].update(is_cancelled=True), {"lost"}),
        (lambda events: events[0].update(value=events[0]["value"] + 1), {"doubled", "unexpected"}),
        (lambda events: events.append(events[0] | {"identifier": "x"}), {"doubled", "unexpected"}),
    ),
)
def test_what_is_billed_is_what_the_other_side_counted(
    wreck: Wreck, damage: Callable[[list[dict[str, Any]]], object], wrong: set[str]
) -> None:
    wreck.rewrites("stripe.json", lambda found: damage(found["events"]))
    assert wreck.wrong() == {("bills", kind) for kind in wrong}


def test_usage_that_was_sent_under_two_names_is_doubled(wreck: Wreck) -> None:
    wreck.does(
        "UPDATE usage_deliveries SET state = 'absent', generation = 1",
        "INSERT INTO usage_deliveries"
        " (batch_id, lane_id, generation, identifier, event_at, route, quantity, epoch, state, attempts)"
        " SELECT batch_id, lane_id, 2, identifier || 'x', event_at, route, quantity, epoch, 'accepted', 1"
        " FROM usage_deliveries",
    )
    wreck.rewrites(
        "stripe.json",
        lambda found: found["events"].extend(
            [event | {"identifier": event["identifier"] + "x"} for event in found["events"]]
        ),
    )
    assert ("bills", "doubled") in wreck.wrong()


def test_critical_tickets_that_are_invoice_items_are_counted_as_those(wreck: Wreck) -> None:
    batch = "SELECT id FROM usage_batches WHERE kind = 'critical_ticket'"
    wreck.does(
        "UPDATE usage_facts SET route = 'invoice_item' WHERE kind = 'critical_ticket' AND batch_id IS NOT NULL",
        "UPDATE usage_batches SET route = 'invoice_item', charges = 'critical_ticket/critical/1'"
        " WHERE kind = 'critical_ticket'",
        f"UPDATE usage_deliveries SET route = 'invoice_item' WHERE batch_id IN ({batch})",
    )
    with psycopg.connect(wreck.url.replace("postgresql+psycopg:", "postgresql:")) as connection:
        row = connection.execute(batch.encode()).fetchone()
    assert row is not None
    item = {"quantity": 1, "amount": 1500, "metadata": {"ticket_batch": row[0]}}

    def charge(found: dict[str, Any]) -> None:
        found["events"] = [event for event in found["events"] if event["event_name"] == "tickets_opened"]
        found["invoice_items"] = [item]

    wreck.rewrites("stripe.json", charge)
    assert wreck.wrong() == set()
    wreck.rewrites("stripe.json", lambda found: found["invoice_items"].append(item))
    assert wreck.wrong() == {("bills", "doubled")}
    wreck.rewrites("stripe.json", lambda found: found["invoice_items"].clear())
    assert wreck.wrong() == {("bills", "lost")}


def test_plans_are_the_other_sides(wreck: Wreck) -> None:
    customers = [{"name": "acme", "plan": "silver"}, {"name": "nobody", "plan": None}]
    wreck.rewrites("orders.json", lambda found: found.update(customers=customers))
    found = wreck.check()["subjects"]["plans"]
    assert sorted(one["id"] for one in found["lost"]) == ["acme", "nobody"]


# --- whom it trusts ---------------------------------------------------------------------------------------------------


def imported(path: Path, seen: dict[str, Path]) -> set[str]:
    """The packages that a module imports, and those that modules beside it import for it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            found.add(node.module or "")
    beside = {name for name in found if name.startswith("tests.chaos.")}
    for name in beside - seen.keys():
        seen[name] = HERE / f"{name.rpartition('.')[2]}.py"
        found |= imported(seen[name], seen)
    return found - beside


def test_the_checker_shares_no_code_with_what_it_judges() -> None:
    seen: dict[str, Path] = {}
    packages = {name.partition(".")[0] for name in imported(HERE / "checker.py", seen)}
    assert packages - sys.stdlib_module_names == {"psycopg"}
    assert {path.stem for path in seen.values()} == {path.stem for path in HERE.glob("checks_*.py")}
