"""The notifiers, against a real web server: who is told, what an answer means, and that no secret is seen."""

import logging
import socket
import traceback
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError
from structlog.testing import capture_logs

from tests.support.contents import everything
from tests.support.factories import a_ticket_due_in
from tests.support.http import HANG_UP, Answer, WebServer, running_web_server
from tests.support.mailers import KeepingMailer
from ticket_system import TicketSystem, outbox
from ticket_system.storage.database import Database
from ticket_system.storage.outbox import add
from ticket_tasks.errors import JobError, Rejected, Transient, Unreachable
from ticket_tasks.outbox import deliver_outbox
from ticket_tasks.payloads import AlarmFacts, TicketAlarm
from ticket_tasks.toolbox import Letter, Toolbox
from ticket_worker import notify
from ticket_worker.chat import ChatSender
from ticket_worker.destinations import ChatPlace, WebhookPlace, read_places, secrets_of
from ticket_worker.errors import SettingsError
from ticket_worker.logging import configure_logging
from ticket_worker.notify import ConsoleNotifier, NamedNotifier, connect
from ticket_worker.webhooks import WebhookSender, described, seconds_to_wait

MOMENT = datetime(2026, 3, 2, 12, 1, 15, tzinfo=UTC)
FACTS = TicketAlarm(
    type="ticket.escalated",
    timestamp=MOMENT,
    data=AlarmFacts(
        kind="escalated",
        ticket_id="t-1",
        priority=1,
        status="open",
        assignee="grace",
        target="resolution",
        cycle=1,
        due_at=MOMENT - timedelta(seconds=75),
        breached_at=MOMENT - timedelta(seconds=75),
        detected_at=MOMENT,
        cause="deadline",
        number=1,
        repeat=0,
    ),
)
LETTER = Letter("t-1/resolution/1/escalated/1/0/crm", None, "[critical] Overdue: Tills", "Tills — down", MOMENT, FACTS)
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture
def web() -> Iterator[WebServer]:
    with running_web_server() as server:
        yield server


def hook(web: WebServer, path: str = "/hooks/7c1f", seconds: float = 0.5) -> WebhookSender:
    return WebhookSender(WebhookPlace("crm", web.url(path), SECRET), seconds)


def nothing() -> None:
    """Nobody has to be asked."""


# --- webhooks ----------------------------------------------------------------------------------------------------


def test_a_webhook_is_signed_as_its_receiver_checks_it(web: WebServer) -> None:
    hook(web).send(LETTER, before_data=nothing)
    [call] = web.calls
    assert (call.method, call.path, call.headers["content-type"]) == ("POST", "/hooks/7c1f", "application/json")
    told = Webhook(SECRET).verify(call.body, dict(call.headers))
    assert TicketAlarm.model_validate(told) == FACTS
    assert told["type"] == "ticket.escalated"
    assert told["data"]["breached_at"] == "2026-03-02T12:00:00Z"
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(call.body.replace(b"t-1", b"t-2"), dict(call.headers))
    with pytest.raises(WebhookVerificationError):
        Webhook("whsec_" + "A" * 32).verify(call.body, dict(call.headers))


def test_a_webhook_carries_nothing_that_a_customer_wrote(web: WebServer) -> None:
    hook(web).send(LETTER, before_data=nothing)
    assert b"Tills" not in web.calls[0].body


def test_a_repeat_has_the_same_id_and_another_notice_has_another(web: WebServer) -> None:
    for letter in (LETTER, LETTER, replace(LETTER, key="another")):
        hook(web).send(letter, before_data=nothing)
    first, second, other = (call.headers["webhook-id"] for call in web.calls)
    assert first == second != other
    assert first.startswith("msg_")


@pytest.mark.parametrize(
    ("status", "expected"),
    (
        (200, None), (202, None), (204, None), (299, None),
        (301, Rejected), (302, Rejected), (307, Rejected), (304, Rejected),
        (400, Rejected), (401, Rejected), (404, Rejected), (410, Rejected), (422, Rejected),
        (408, Unreachable), (409, Transient), (425, Unreachable), (429, Unreachable),
        (500, Unreachable), (502, Unreachable), (503, Unreachable), (504, Unreachable), (599, Unreachable),
    ),
)  # fmt: skip
def test_what_an_answer_means(web: WebServer, status: int, expected: type[JobError] | None) -> None:
    web.answer(Answer(status, {"location": web.url("/elsewhere")}))
    if expected is None:
        hook(web).send(LETTER, before_data=nothing)
    else:
        with pytest.raises(JobError, match=str(status)) as raised:
            hook(web).send(LETTER, before_data=nothing)
        assert type(raised.value) is expected
    assert len(web.calls) == 1, "no redirect is followed, nothing is repeated behind our back"


def test_a_receiver_says_how_long_to_wait(web: WebServer) -> None:
    web.answer(Answer(429, {"retry-after": "120"}), Answer(503, {"retry-after": "soon"}))
    waits = []
    for _ in range(2):
        with pytest.raises(Unreachable) as raised:
            hook(web).send(LETTER, before_data=nothing)
        waits.append(raised.value.wait_seconds)
    assert waits == [120, 0]


def test_a_wait_may_be_a_date_and_is_never_negative() -> None:
    assert 50 < seconds_to_wait(format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)) <= 60
    assert seconds_to_wait(format_datetime(datetime(2020, 1, 1, tzinfo=UTC), usegmt=True)) == 0
    for nonsense in (None, "", "-5", "1e9", "x" * 99):
        assert seconds_to_wait(nonsense) == 0


def test_a_status_that_nobody_knows_is_a_number() -> None:
    assert (described(410), described(599)) == ("410 Gone", "599")


@pytest.mark.parametrize("answer", (HANG_UP, Answer(after_seconds=1)))
def test_a_line_that_breaks_after_the_request_is_tried_again(web: WebServer, answer: Answer) -> None:
    """The receiver has it and will have it twice, under one id."""
    web.answer(answer)
    with pytest.raises(Unreachable, match="the call failed") as raised:
        hook(web, seconds=0.3).send(LETTER, before_data=nothing)
    assert raised.value.__cause__ is raised.value.__context__ is None, "urllib3 may quote the address"
    hook(web).send(LETTER, before_data=nothing)
    assert len({call.headers["webhook-id"] for call in web.calls}) == 1


def test_nobody_there_is_weather(web: WebServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    gone = WebhookSender(WebhookPlace("crm", f"http://127.0.0.1:{port}/7c1f", SECRET), 0.5)
    with pytest.raises(Unreachable):
        gone.send(LETTER, before_data=nothing)
    with pytest.raises(Unreachable, match="nobody answers"):
        gone.look()
    assert hook(web).look() == "webhook, somebody answers; not encrypted"


def test_a_server_without_tls_is_not_spoken_to_in_clear(web: WebServer) -> None:
    place = WebhookPlace("crm", web.url("/").replace("http:", "https:"), SECRET)
    with pytest.raises(Unreachable):
        WebhookSender(place, 0.5).send(LETTER, before_data=nothing)
    assert web.calls == []


def test_a_lost_lease_sends_nothing(web: WebServer) -> None:
    class Lost(Exception):
        pass

    def lost() -> None:
        raise Lost

    chat = ChatSender(ChatPlace("ops", f"json://127.0.0.1:{web.port}/x"))
    for send in (hook(web).send, chat.send):
        with pytest.raises(Lost):
            send(LETTER, before_data=lost)
    assert web.calls == []


def test_a_notice_without_facts_is_refused(web: WebServer) -> None:
    with pytest.raises(Rejected):
        hook(web).send(replace(LETTER, facts=None), before_data=nothing)


# --- chats -------------------------------------------------------------------------------------------------------


def chat(web: WebServer, address: str = "") -> ChatSender:
    return ChatSender(ChatPlace("ops", address or f"json://robot:Hu5hHu5h@127.0.0.1:{web.port}/T0KEN77x/ops"), 0.5)


def test_a_chat_gets_subject_and_text(web: WebServer) -> None:
    chat(web).send(LETTER, before_data=nothing)
    [call] = web.calls
    assert call.path == "/T0KEN77x/ops"
    assert b"Overdue: Tills" in call.body


@pytest.mark.parametrize("answer", (500, 404, 302, HANG_UP, Answer(after_seconds=1)))
def test_a_chat_that_says_no_or_nothing_is_tried_again(web: WebServer, answer: Answer | int) -> None:
    web.answer(answer)
    with pytest.raises(Unreachable, match="apprise could not deliver: ") as raised:
        chat(web).send(LETTER, before_data=nothing)
    shows_no_secret(str(raised.value), repr(raised.value), "".join(traceback.format_exception(raised.value)))
    assert len(web.calls) == 1


def test_an_address_that_apprise_does_not_know_waits_for_its_operator() -> None:
    strange = ChatSender(ChatPlace("ops", "pigeon://Hu5hHu5h/T0KEN77x"))
    for act in (lambda: strange.send(LETTER, before_data=nothing), strange.look):
        with pytest.raises(Unreachable, match="none that apprise knows") as raised:
            act()
        shows_no_secret(str(raised.value))


def test_a_chat_is_looked_at_without_a_call(web: WebServer) -> None:
    assert chat(web).look() == "apprise, JSON, not called"
    assert web.calls == []


# --- secrets -----------------------------------------------------------------------------------------------------


def shows_no_secret(*texts: str) -> None:
    for text in texts:
        for secret in ("Hu5hHu5h", "T0KEN77x", "7c1f-hook", SECRET, SECRET.removeprefix("whsec_")):
            assert secret not in text


@pytest.mark.usefixtures("own_logging")
@pytest.mark.parametrize("level", ("debug", "info"))
@pytest.mark.parametrize("answer", (204, 500, 404, HANG_UP))
def test_no_secret_reaches_log_error_or_database(
    web: WebServer, tmp_path: Path, capsys: pytest.CaptureFixture[str], level: str, answer: Answer | int
) -> None:
    places = read_places(
        f"""
        ops = "json://robot:Hu5hHu5h@127.0.0.1:{web.port}/T0KEN77x/?+X-Key=T0KEN77x-too"
        crm = {{ webhook = "{web.url("/7c1f-hook")}", secret = "{SECRET}" }}
        """
    )
    configure_logging(level, hidden=secrets_of(places))
    web.answer(answer, answer)
    with TicketSystem(tmp_path / "tickets.db") as system:
        put(system, "ops", "crm")
        notifier = connect(places, timeout_seconds=0.5)
        toolbox = Toolbox(system=system, mailer=KeepingMailer(), notifier=notifier)
        assert deliver_outbox(toolbox).found == len(web.calls) == 2
        stored = repr(everything(system.database))
    shows_no_secret(stored, capsys.readouterr().err, repr(toolbox), repr(places), repr(notifier.senders))


@pytest.mark.usefixtures("own_logging")
def test_what_others_log_of_an_address_is_masked(capsys: pytest.CaptureFixture[str]) -> None:
    url = "slack://Robot@T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#operations"
    configure_logging("debug", hidden=secrets_of({"ops": ChatPlace("ops", url)}))
    noise = logging.getLogger("some.library")
    noise.warning("cannot post to %s", url)
    noise.warning("POST https://hooks.slack.com/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ")
    noise.warning("failed", exc_info=ValueError("at A1BRTD4JD"))
    noise.warning("a channel is no secret: operations", extra={"more": 1})
    logging.getLogger("urllib3.connectionpool").debug("POST /services")
    out = capsys.readouterr().err
    for part in ("T1JJ3T3L2", "A1BRTD4JD", "TIiajkdnlazkcOXrIdevi7FQ", "POST /services "):
        assert part not in out
    assert "a channel is no secret: operations" in out
    assert "hooks.slack.com" in out


# --- by name -----------------------------------------------------------------------------------------------------


def put(system: TicketSystem, *destinations: str) -> None:
    """A breach, and a notice of it for each destination."""
    ticket = system.create_ticket(a_ticket_due_in(-5))
    breach(system.database, ticket.id, destinations)


def breach(database: Database, ticket_id: str, destinations: tuple[str, ...]) -> None:
    from ticket_system import monitor  # noqa: PLC0415 - only here

    monitor.scan_breaches(database)
    outbox.delivered(database, outbox.claim(database)[0])
    with database.write() as connection:
        for name in destinations:
            cause = f"{ticket_id}/resolution/1/escalated/1/0"
            add(connection, cause=cause, destination=name, kind="escalated", ticket_id=ticket_id, now=MOMENT)


def test_a_name_that_nobody_configured_is_refused(web: WebServer) -> None:
    with pytest.raises(Rejected, match="no place of the name 'pager'"):
        connect({}, timeout_seconds=1).send("pager", LETTER, before_data=nothing)
    named = NamedNotifier({"crm": hook(web)})
    named.send("crm", LETTER, before_data=nothing)
    assert len(web.calls) == 1


def test_the_console_writes_what_would_go_out() -> None:
    begun: list[bool] = []
    with capture_logs() as lines:
        ConsoleNotifier().send("ops", LETTER, before_data=lambda: begun.append(True))
    [line] = lines
    assert (line["destination"], line["subject"], line["facts"]["data"]["ticket_id"]) == ("ops", LETTER.subject, "t-1")
    assert begun == [True]


@pytest.mark.parametrize(
    ("place", "package"), ((ChatPlace("ops", "x://y"), "apprise"), (WebhookPlace("crm", "", ""), "standardwebhooks"))
)
def test_a_missing_package_is_named_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, place: ChatPlace | WebhookPlace, package: str
) -> None:
    monkeypatch.setattr(notify, "find_spec", lambda name: None if name == package else object())
    with pytest.raises(SettingsError, match=rf"{place.name} needs the package {package}.*\[notify\]"):
        connect({place.name: place}, timeout_seconds=1)


def test_apprise_is_loaded_by_the_first_chat_message_and_by_nothing_else() -> None:
    import subprocess  # noqa: PLC0415
    import sys  # noqa: PLC0415

    code = "import sys; from ticket_worker.notify import connect; from ticket_worker.destinations import ChatPlace\n"
    code += "connect({'ops': ChatPlace('ops', 'json://x')}, timeout_seconds=1); sys.exit('apprise' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
