"""Whoever leaves by a link is on record as having left: the endpoint on the database it has in production."""

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.deliveries import serving
from ticket_system import recipients
from ticket_system.storage.database import Database
from ticket_worker.lifecycle import build_stationery
from ticket_worker.settings import read_settings
from ticket_worker.web.app import create_web_app

pytestmark = pytest.mark.usefixtures("own_logging")

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture(params=("sqlite-file", "postgresql"))
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The databases that another process can reach."""
    if request.param == "sqlite-file":
        return str(shutil.copy(request.getfixturevalue("sqlite_template"), tmp_path / "tickets.db"))
    url: str = request.getfixturevalue("postgres_url")
    return url


def is_subscribed(database: Database, recipient_id: int) -> bool | None:
    found = recipients.told(database, recipient_id, "weekly")
    return found and found.is_subscribed


def test_the_link_of_a_report_leaves_the_series(database_url: str, database: Database) -> None:
    settings = read_settings(
        database_url=database_url, link_secrets="x" * 32, public_url="https://desk.example.com", log_level="error"
    )
    recipients.set_organisation(database, "initech")
    grace = recipients.add(database, "initech", "grace@example.com", actor="ada")
    link = build_stationery(settings).unsubscribe_url
    assert link is not None
    path = link(grace.id, "weekly", datetime.now(UTC)).removeprefix("https://desk.example.com")
    with serving(create_web_app(settings), settings) as endpoint:
        assert b"gets the weekly report of initech" in endpoint.send(b"", {}, path=path, method="GET").body
        assert endpoint.send(b"List-Unsubscribe=One-Click", FORM, path=path).status == 200
        assert is_subscribed(database, grace.id) is False
        ((left, _),) = recipients.listed(database)
        assert left.changed_by == "one click"
        assert endpoint.send(b"again=1", FORM, path=path).status == 200
        assert is_subscribed(database, grace.id) is True
        recipients.remove(database, "initech", "grace@example.com")
        assert endpoint.send(b"List-Unsubscribe=One-Click", FORM, path=path).status == 410
        assert endpoint.send(b"", {}, path="/healthz", method="GET").status == 200
