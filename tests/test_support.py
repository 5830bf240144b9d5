"""What the tests stand on holds: this machine only, a fresh database each, a mail server that obeys."""

import smtplib
import socket
from datetime import UTC, datetime
from email.message import EmailMessage

import pytest
import redis

from tests.support.smtp import HANG_UP, LOSE_REPLY, PostOffice, Reply
from ticket_system.storage import tables
from ticket_system.storage.database import Database


def test_no_other_machine_can_be_reached() -> None:
    with pytest.raises(Warning, match=r"192\.0\.2\.1"):
        socket.create_connection(("192.0.2.1", 80), timeout=1)


@pytest.mark.parametrize("turn", ("first", "second"))
def test_a_database_is_fresh_for_each_test(database: Database, turn: str) -> None:
    database.require_current_schema()
    now = datetime.now(UTC)
    event = {"ticket_id": "x", "at": now, "recorded_at": now, "kind": "commented", "actor": turn}
    with database.write() as connection:
        assert connection.execute(tables.events.select()).all() == []
        connection.execute(tables.events.insert(), event)


@pytest.mark.parametrize("turn", ("first", "second"))
def test_a_broker_is_empty_for_each_test(redis_url: str, turn: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        assert client.keys() == []
        client.set("turn", turn)


def send(office: PostOffice) -> None:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "desk@example.test", "ada@example.test", "Überfällig"
    message.set_content("Since Monday, on every page.")
    with smtplib.SMTP(office.host, office.port, timeout=5) as client:
        client.send_message(message)


def test_a_letter_is_kept(post_office: PostOffice) -> None:
    send(post_office)
    [letter] = post_office.delivered
    assert letter.sender == "desk@example.test"
    assert letter.recipients == ("ada@example.test",)
    assert letter.message["Subject"] == "Überfällig"


@pytest.mark.parametrize(
    ("reply", "error"),
    (
        ("451 Later", smtplib.SMTPDataError),
        ("554 Never", smtplib.SMTPDataError),
        (HANG_UP, smtplib.SMTPServerDisconnected),
    ),
)
def test_a_scripted_refusal_is_given_once(post_office: PostOffice, reply: Reply | str, error: type[Exception]) -> None:
    post_office.answer("DATA", reply)
    with pytest.raises(error):
        send(post_office)
    assert post_office.delivered == []
    send(post_office)
    assert len(post_office.delivered) == 1


def test_a_recipient_may_be_refused(post_office: PostOffice) -> None:
    post_office.answer("RCPT", "550 Nobody of that name")
    with pytest.raises(smtplib.SMTPRecipientsRefused):
        send(post_office)
    assert post_office.delivered == []


def test_a_reply_may_get_lost_after_the_letter_was_taken(post_office: PostOffice) -> None:
    post_office.answer("DATA", LOSE_REPLY)
    with pytest.raises(smtplib.SMTPServerDisconnected):
        send(post_office)
    assert len(post_office.delivered) == 1


def test_a_reply_may_be_slow(post_office: PostOffice) -> None:
    post_office.answer("MAIL", Reply(after_seconds=10))
    with smtplib.SMTP(post_office.host, post_office.port, timeout=0.2) as client:
        client.ehlo()
        with pytest.raises(smtplib.SMTPServerDisconnected, match="timed out"):
            client.mail("desk@example.test")
