"""The house is built as it says: one direction, pinned public names, every task known to the worker."""

import ast
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest
from celery import Celery

import ticket_system
from ticket_system import errors
from ticket_tasks import names, registry

ROOT = Path(__file__).parent.parent


def test_imports_go_in_one_direction() -> None:
    # In a process of its own: it silences every logger there is.
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache", "--no-logo"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout


def test_the_engine_exports_what_its_contract_names_and_its_errors() -> None:
    own_errors = {
        name
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, errors.TicketSystemError)
    }
    assert set(ticket_system.__all__) == own_errors | {
        "DEFAULT_SLA",
        "PRIORITY_KEYWORDS",
        "PRIORITY_LABELS",
        "STATUS_FLOW",
        "Comment",
        "Priority",
        "Status",
        "Ticket",
        "TicketSystem",
    }
    assert all(hasattr(ticket_system, name) for name in ticket_system.__all__)


WIRE_NAMES = {value for value in vars(names).values() if isinstance(value, str) and value.startswith("tickets.")}


def test_every_task_name_is_registered_and_nothing_else() -> None:
    app = Celery(set_as_current=False)
    registry.register(app, pytest.fail)
    assert {name for name in app.tasks if not name.startswith("celery.")} == WIRE_NAMES


def test_the_schedule_ticks_nothing_that_has_no_name() -> None:
    assert {entry["task"] for entry in registry.schedule().values()} <= WIRE_NAMES


@pytest.mark.parametrize("package", ("ticket_system", "ticket_tasks", "ticket_worker"))
def test_annotations_ship(package: str) -> None:
    assert (files(package) / "py.typed").is_file()


RULES = range(1, 29)
_CITED = re.compile(r"(?:[Rr]ules? |\()(\d{1,2}(?:(?:, | and | to )\d{1,2})*)(?=[).:;, ]|$)")


def cited(text: str) -> Iterator[int]:
    """The rules that a docstring names: "Rule 7", "Rules 6, 8", "rules 5 to 8", "(1, 3)"."""
    for numbers in _CITED.findall(text):
        for one in re.split(r", | and ", numbers):
            first, _, last = one.partition(" to ")
            yield from range(int(first), int(last or first) + 1)


def test_a_docstring_names_rules_in_these_ways() -> None:
    assert list(cited("(1, 3): and more, rule 7. Rules 9, 12 and 13; rules 5 to 8")) == [1, 3, 7, 9, 12, 13, 5, 6, 7, 8]
    assert list(cited("Ruler 4, #12, PR (#3), 2026, 30 minutes")) == []


def test_every_rule_of_the_clock_is_named_by_a_test() -> None:
    """What a test proves is for its reader to judge; that each rule has one is not left to memory."""
    named = {
        rule
        for file in (ROOT / "tests").rglob("test_*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
        for rule in cited(ast.get_docstring(node) or "")
    }
    assert set(RULES) - named == set(), "a rule without a test that names it"
