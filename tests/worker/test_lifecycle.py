import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.postgres import create_database, drop_database
from ticket_system import SchemaOutdated, StorageUnavailable
from ticket_tasks.toolbox import Stationery
from ticket_worker.chat import ChatSender
from ticket_worker.database import prepare_database
from ticket_worker.destinations import ChatPlace
from ticket_worker.errors import SettingsError
from ticket_worker.lifecycle import Workshop, build_mailer, build_notifier, build_stationery
from ticket_worker.links import Links
from ticket_worker.mail import ConsoleMailer, DirectoryMailer, SmtpMailer
from ticket_worker.message import Sender
from ticket_worker.notify import ConsoleNotifier, NamedNotifier
from ticket_worker.settings import read_settings

NOWHERE = "redis://127.0.0.1:1/0"


def test_a_toolbox_is_made_once_and_again_after_it_was_cleared_away() -> None:
    settings = read_settings(database_url=":memory:", redis_url=NOWHERE)
    workshop = Workshop(settings)
    first = workshop.toolbox()
    assert workshop.toolbox() is first
    workshop.close()
    workshop.close()
    assert workshop.toolbox() is not first
    workshop.close()


def test_the_toolbox_follows_the_settings() -> None:
    workshop = Workshop(
        read_settings(database_url=":memory:", redis_url=NOWHERE, scan_batch_size=7, mail_to="a@example.com")
    )
    assert (workshop.toolbox().scan_batch_size, workshop.toolbox().mail_to) == (7, "a@example.com")
    workshop.close()


def test_the_settings_choose_the_mailer() -> None:
    assert build_mailer(read_settings()) == ConsoleMailer(Sender("tickets@localhost"))
    smtp = read_settings(mail="smtp", mail_to="a@example.com", smtp_user="robot", smtp_password="hush")
    mailer = build_mailer(smtp)
    assert isinstance(mailer, SmtpMailer)
    assert (mailer.user, mailer.password) == ("robot", "hush")
    assert build_mailer(read_settings(mail="directory", mail_to="a@example.com", mail_name="Desk")) == DirectoryMailer(
        Sender("tickets@localhost", "Desk"), Path("data/mail")
    )


SECRET = "s3cret" * 6


def test_the_stationery_follows_the_settings() -> None:
    assert build_stationery(read_settings()) == Stationery()
    settings = read_settings(
        link_secrets=SECRET,
        public_url="https://desk.example.com/",
        ticket_url="https://desk.example.com/tickets/{id}",
        postal_address="1 High Street",
        unsubscribe_mail="leave@example.com",
    )
    made = build_stationery(settings)
    assert (made.ticket_url, made.postal_address) == ("https://desk.example.com/tickets/{id}", "1 High Street")
    assert made.unsubscribe_address == "leave@example.com"
    assert made.unsubscribe_url is not None
    at = datetime(2026, 3, 2, tzinfo=UTC)
    url = made.unsubscribe_url(7, "weekly", at)
    assert url.startswith("https://desk.example.com/unsubscribe/")
    assert Links([SECRET], "").read(url.rpartition("/")[2], at) == (7, "weekly")
    assert SECRET not in repr(made)


def test_links_that_cannot_be_signed_are_an_error_that_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "itsdangerous", None)
    with pytest.raises(SettingsError, match=r"blackroad-ticket-system\[digest\]"):
        build_stationery(read_settings(link_secrets=SECRET, public_url="https://desk.example.com"))


def test_an_embedded_database_brings_itself_up_to_date(tmp_path: Path) -> None:
    settings = read_settings(database_url=str(tmp_path / "tickets.db"))
    prepare_database(settings)
    prepare_database(settings)


def test_a_server_with_an_older_schema_is_refused_with_what_to_do(postgres_server: str) -> None:
    url = create_database(postgres_server, "tickets_test_empty")
    with pytest.raises(SchemaOutdated, match="tickets db upgrade"):
        prepare_database(read_settings(database_url=url))
    drop_database(postgres_server, "tickets_test_empty")


def test_a_database_that_is_not_there_is_named() -> None:
    with pytest.raises(StorageUnavailable):
        prepare_database(read_settings(database_url="postgresql://u:hush@127.0.0.1:1/x"))


def test_the_settings_choose_the_notifier() -> None:
    assert build_notifier(read_settings()) == ConsoleNotifier()
    live = build_notifier(read_settings(destinations='ops = "json://x"', notify_timeout_seconds=3))
    assert isinstance(live, NamedNotifier)
    assert live.senders["ops"] == ChatSender(ChatPlace("ops", "json://x"), 3)
