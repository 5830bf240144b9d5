"""What other programs rely on: it may grow, and never change under their feet."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from ticket_system.tickets import STATUS_FLOW
from ticket_tasks import names, wire
from ticket_tasks.payloads import WISHES, SetStatus

#: As it was when version 1 was published: frozen. A new version gets a file of its own beside it.
PUBLISHED: dict[str, Any] = json.loads((Path(__file__).parent / "wire_v1.json").read_text("utf-8"))
KEY = {"key": "k-1", "ticket_id": "t-1"}
EXAMPLES: dict[str, dict[str, Any]] = {
    names.OPEN_TICKET: {"ticket_id": "t-1", "title": "Printer", "description": "Stars", "requester": "ada"},
    names.ADD_COMMENT: {**KEY, "author": "bob", "body": "On it.\nSoon."},
    names.ASSIGN_TICKET: {**KEY, "assignee": "bob"},
    names.SET_STATUS: {**KEY, "status": "resolved"},
    names.ESCALATE_TICKET: {**KEY},
    names.ACKNOWLEDGE_TICKET: {**KEY, "author": "bob", "until": "2026-11-30T12:00:00+00:00"},
    names.REPORT: {"key": "k-1", "days": 30},
}


def test_the_package_carries_what_the_models_say() -> None:
    """After a change: python -m ticket_tasks.wire --write."""
    carried = {path.name: json.loads(path.read_text("utf-8")) for path in wire.FOLDER.iterdir()}
    assert carried == wire.documents()


@pytest.mark.parametrize("name", WISHES)
def test_a_message_has_an_example_that_model_and_schema_accept(name: str) -> None:
    schema = wire.schema(WISHES[name])
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    wish = WISHES[name].model_validate(EXAMPLES[name])
    validator.validate(EXAMPLES[name])
    validator.validate(wish.model_dump(mode="json"))


@pytest.mark.parametrize("name", WISHES)
@pytest.mark.parametrize(
    "wrong",
    (
        {"version": 2},
        {"key": ""},
        {"key": "two\nlines"},
        {"key": 7},
        {"answer": "yes"},
        {"colour": "red"},
        {"author": ""},
        {"title": " "},
        {"description": "\0"},
        {"days": 0},
        {"status": "done"},
    ),
    ids=str,
)
def test_model_and_schema_refuse_the_same(name: str, wrong: dict[str, Any]) -> None:
    payload = EXAMPLES[name] | wrong
    valid = Draft202012Validator(wire.schema(WISHES[name])).is_valid(payload)
    try:
        WISHES[name].model_validate(payload)
    except ValueError:
        assert not valid
    else:
        assert valid


@pytest.mark.parametrize("name", WISHES)
def test_what_version_one_allowed_is_allowed_still(name: str) -> None:
    """Fields of the published shape are all there and no narrower, and no new one is required."""
    published, now = PUBLISHED[wire.file_name(name)], wire.schema(WISHES[name])
    assert set(now["required"]) <= set(published["required"])
    for field, shape in published["properties"].items():
        assert _rules(now["properties"][field]) == _rules(shape), field


def test_every_message_is_published() -> None:
    assert set(PUBLISHED) == {wire.file_name(name) for name in WISHES} | {"answer.v1.json"}


def test_every_status_can_be_asked_for() -> None:
    assert set(wire.schema(SetStatus)["properties"]["status"]["enum"]) == set(STATUS_FLOW)


def test_the_document_names_every_message_where_it_goes_and_its_schema() -> None:
    document = wire.asyncapi()
    messages = document["components"]["messages"]
    assert {message["name"] for message in messages.values()} == {*WISHES, "answer"}
    assert document["channels"]["intake"]["address"] == "tickets:intake"
    text = json.dumps(document)
    for reference in re.findall(r'"\$ref": "#/([^"]+)"', text):
        found: Any = document
        for part in reference.split("/"):
            found = found[part]
    for file in re.findall(r'"\$ref": "([a-z_]+\.v1\.json)"', text):
        assert (wire.FOLDER / file).exists()


def _rules(shape: Any) -> Any:
    """A shape without its words."""
    if isinstance(shape, dict):
        return {key: _rules(value) for key, value in shape.items() if key not in {"description", "title"}}
    return [_rules(one) for one in shape] if isinstance(shape, list) else shape
