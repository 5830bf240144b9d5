"""Leaving a series of reports, over real HTTP on the web server that production has."""

import html
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette

from tests.support.deliveries import Answer, Endpoint, serving, status_of
from ticket_system.errors import StorageUnavailable
from ticket_system.recipients import Told
from ticket_worker import endpoints
from ticket_worker.errors import SettingsError
from ticket_worker.links import Links
from ticket_worker.logging import configure_logging
from ticket_worker.settings import Settings, read_settings
from ticket_worker.web.app import create_web_app
from ticket_worker.web.serve import require
from ticket_worker.web.unsubscribe import MAX_BODY_BYTES, masked, unsubscribe_part

pytestmark = pytest.mark.usefixtures("own_logging")

SECRET = "a-secret-of-some-length" * 2
LINKS = Links([SECRET], "")
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
ONE_CLICK = b"List-Unsubscribe=One-Click"
GRACE = ("Initech & Söhne <b>", "grace@example.com")


@dataclass
class Register:
    """Subscribers in memory: who gets what, and every wish that arrived."""

    people: dict[int, tuple[str, str]] = field(default_factory=lambda: {7: GRACE})
    left: set[tuple[int, str]] = field(default_factory=set)
    wishes: list[tuple[int, str, bool, str]] = field(default_factory=list)
    is_away: bool = False

    def told(self, recipient_id: int, kind: str) -> Told | None:
        if self.is_away:
            raise StorageUnavailable("postgresql://robot@db/tickets does not answer")
        known = self.people.get(recipient_id)
        return Told(*known, is_subscribed=(recipient_id, kind) not in self.left) if known else None

    def subscribe(self, recipient_id: int, kind: str, wanted: bool, how: str) -> bool:
        if self.told(recipient_id, kind) is None:
            return False
        self.wishes.append((recipient_id, kind, wanted, how))
        (self.left.discard if wanted else self.left.add)((recipient_id, kind))
        return True


@pytest.fixture
def register() -> Register:
    return Register()


@pytest.fixture
def endpoint(register: Register) -> Iterator[Endpoint]:
    settings = settings_of()
    with serving(Starlette(routes=unsubscribe_part(settings, register).routes), settings) as endpoint:
        yield endpoint


def settings_of(**given: Any) -> Settings:
    return read_settings(**{"link_secrets": SECRET, "public_url": "https://desk.example.com", **given})


def path(recipient_id: int = 7, kind: str = "weekly", at: datetime | None = None) -> str:
    return LINKS.unsubscribe_url(recipient_id, kind, at or datetime.now(UTC))


def look(endpoint: Endpoint, where: str | None = None, method: str = "GET") -> Answer:
    return endpoint.send(b"", {}, path=where or path(), method=method)


def post(endpoint: Endpoint, body: bytes = ONE_CLICK, where: str | None = None, **headers: str) -> Answer:
    return endpoint.send(body, headers or FORM, path=where or path())


def words(answer: Answer) -> str:
    """What the page says, without its marks."""
    body = answer.body.decode()
    return html.unescape(re.sub(r"<[^>]*>", " ", body.partition("<body>")[2]))


def pressed(answer: Answer) -> bytes:
    """What the page's button sends."""
    ((name, value),) = re.findall(r'<input type="hidden" name="(\w+)" value="(\w+)">', answer.body.decode())
    return f"{name}={value}".encode()


# --- looking -----------------------------------------------------------------------------------------------------


def test_looking_says_whom_it_concerns_and_changes_nothing(endpoint: Endpoint, register: Register) -> None:
    answer = look(endpoint)
    assert look(endpoint).body == answer.body
    assert answer.status == 200
    assert "g…@example.com gets the weekly report of Initech & Söhne <b>." in words(answer)
    assert "grace@" not in answer.body.decode()
    assert "<b>" not in answer.body.decode()
    assert (register.wishes, register.left) == ([], set())


def test_head_is_what_get_is_without_the_page(endpoint: Endpoint, register: Register) -> None:
    answer = look(endpoint, method="HEAD")
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert register.wishes == []


@pytest.mark.parametrize("method", ("PUT", "DELETE", "PATCH", "OPTIONS"))
def test_nothing_else_can_be_done_with_it(endpoint: Endpoint, register: Register, method: str) -> None:
    assert endpoint.send(ONE_CLICK, FORM, path=path(), method=method).status == 405
    assert register.wishes == []


def test_the_page_can_be_read_by_everybody(endpoint: Endpoint) -> None:
    page = look(endpoint).body.decode()
    assert page.startswith('<!doctype html><html lang="en">')
    assert "color-scheme:light dark" in page
    assert '<meta name="viewport"' in page
    (title,), (heading,) = re.findall("<title>(.*?)</title>", page), re.findall("<h1>(.*?)</h1>", page)
    assert title == heading == "Weekly report of Initech &amp; Söhne &lt;b&gt;"
    assert page.count("<main>") == page.count("<button>") == 1
    assert not re.findall(r"<script|<img|src=|href=|http", page)


def test_no_answer_is_kept_framed_passed_on_or_found(endpoint: Endpoint) -> None:
    for answer in (look(endpoint), post(endpoint), look(endpoint, "/unsubscribe/x"), post(endpoint, b"x")):
        headers = answer.headers
        assert headers["cache-control"] == "no-store"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-content-type-options"] == "nosniff"
        assert "noindex" in headers["x-robots-tag"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "default-src 'none'" in headers["content-security-policy"]
        assert not {"set-cookie", "location", "server"} & set(headers)


# --- leaving, and coming back ------------------------------------------------------------------------------------


MULTIPART = b'--x\r\nContent-Disposition: form-data; name="List-Unsubscribe"\r\n\r\nOne-Click\r\n--x--\r\n'


@pytest.mark.parametrize(
    ("body", "kind"),
    (
        (ONE_CLICK, "application/x-www-form-urlencoded"),
        (ONE_CLICK, "Application/X-WWW-Form-URLEncoded; charset=UTF-8"),
        (MULTIPART, "multipart/form-data; boundary=x"),
        (MULTIPART.replace(b"--x", b"--x=y:z"), 'multipart/form-data; boundary="x=y:z"'),
    ),
    ids=("form", "form with charset", "multipart", "quoted boundary"),
)
def test_one_click_leaves(endpoint: Endpoint, register: Register, body: bytes, kind: str) -> None:
    answer = post(endpoint, body, **{"Content-Type": kind})
    assert answer.status == 200
    assert "g…@example.com no longer gets the weekly report of Initech" in words(answer)
    assert register.wishes == [(7, "weekly", False, "one click")]


def test_one_series_is_left_and_no_other(endpoint: Endpoint, register: Register) -> None:
    register.people[8] = ("Initech", "alan@example.com")
    post(endpoint, where=path(8, "daily"))
    assert register.left == {(8, "daily")}


def test_leaving_twice_is_answered_as_leaving_once(endpoint: Endpoint, register: Register) -> None:
    first, second = post(endpoint), post(endpoint)
    assert (first.status, first.body) == (second.status, second.body)
    assert register.left == {(7, "weekly")}


def test_the_buttons_lead_out_and_back(endpoint: Endpoint, register: Register) -> None:
    left = post(endpoint, pressed(look(endpoint)))
    assert register.left == {(7, "weekly")}
    assert "does not get" in words(look(endpoint))
    back = post(endpoint, pressed(left))
    assert "g…@example.com gets the weekly report of Initech & Söhne <b> again." in words(back)
    assert register.left == set()
    assert register.wishes == [(7, "weekly", False, "unsubscribe page"), (7, "weekly", True, "unsubscribe page")]
    assert pressed(look(endpoint)) == pressed(back)


def typed(kind: bytes) -> bytes:
    """The form, its field of this type."""
    return MULTIPART.replace(b"\r\n\r\n", b"\r\nContent-Type: " + kind + b"\r\n\r\n")


@pytest.mark.parametrize(
    ("body", "kind"),
    (
        (b"", "application/x-www-form-urlencoded"),
        (b"List-Unsubscribe=No", "application/x-www-form-urlencoded"),
        (b"List-Unsubscribe=One-Click&again=1", "application/x-www-form-urlencoded"),
        (b"&".join([ONE_CLICK] * 100), "application/x-www-form-urlencoded"),
        (b"\xff\xfe", "application/x-www-form-urlencoded"),
        (b'{"List-Unsubscribe": "One-Click"}', "application/json"),
        (ONE_CLICK, "text/plain"),
        (b"--x\r\n", "multipart/form-data; boundary=x"),
        (ONE_CLICK, "multipart/form-data"),
        (typed(b"text/plain; charset=none"), "multipart/form-data; boundary=x"),
        (typed(b"message/rfc822"), "multipart/form-data; boundary=x"),
        (b"--x\r\nContent-Type: multipart/form-data; boundary=x\r\n\r\n" * 60, "multipart/form-data; boundary=x"),
    ),
)
def test_what_asks_for_nothing_changes_nothing(endpoint: Endpoint, register: Register, body: bytes, kind: str) -> None:
    assert post(endpoint, body, **{"Content-Type": kind}).status == 400
    assert register.wishes == []


def test_a_body_that_is_no_form_is_not_read_to_its_end(
    endpoint: Endpoint, register: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert post(endpoint, ONE_CLICK + b"&x=" + b"x" * MAX_BODY_BYTES).status == 413
    head = f"POST {path()} HTTP/1.1\nHost: x\nContent-Type: {FORM['Content-Type']}"
    with endpoint.talk(head + "\nContent-Length: 1000000000") as connection:
        assert status_of(connection) == 413
    monkeypatch.setattr(endpoints, "READ_SECONDS", 0.3)
    with endpoint.talk(head + "\nContent-Length: 26") as connection:
        connection.sendall(ONE_CLICK[:10])
        assert status_of(connection) == 408
    assert register.wishes == []


# --- links that lead nowhere -------------------------------------------------------------------------------------


def test_a_link_that_was_not_signed_here_leads_nowhere(endpoint: Endpoint, register: Register) -> None:
    at, good = datetime.now(UTC), path()
    forged = Links(["another secret " * 3], "").unsubscribe_url(7, "weekly", at)
    payload, signature = path(8).rpartition("/")[2].rsplit(".", 1)
    mixed = f"/unsubscribe/{payload}.{good.rsplit('.', 1)[1]}"
    assert signature != good.rsplit(".", 1)[1]
    for where in (
        forged,
        mixed,
        good[:-5],
        good + "x",
        "/unsubscribe/x",
        "/unsubscribe/%00",
        "/unsubscribe/" + "x" * 9000,
    ):
        for answer in (look(endpoint, where), post(endpoint, where=where)):
            assert answer.status == 404
            assert "There is no such link" in words(answer)
    assert register.wishes == []


def test_a_link_that_is_too_old_is_gone(endpoint: Endpoint, register: Register) -> None:
    old = path(at=datetime.now(UTC) - timedelta(days=181))
    assert [look(endpoint, old).status, post(endpoint, where=old).status] == [410, 410]
    assert register.wishes == []
    assert look(endpoint, path(at=datetime.now(UTC) - timedelta(days=179))).status == 200


def test_somebody_who_is_not_there_any_more_gets_nothing(endpoint: Endpoint, register: Register) -> None:
    for answer in (look(endpoint, path(9)), post(endpoint, where=path(9))):
        assert answer.status == 410
        assert "You get no reports" in words(answer)
    assert register.wishes == []


def test_while_the_database_is_away_it_says_try_again(endpoint: Endpoint, register: Register) -> None:
    register.is_away = True
    for answer in (look(endpoint), post(endpoint)):
        assert (answer.status, answer.headers["retry-after"]) == (503, "60")
        assert "try again" in words(answer)
        assert "postgresql" not in answer.body.decode()
    register.is_away = False
    assert post(endpoint).status == 200
    assert register.left == {(7, "weekly")}


@pytest.mark.parametrize(
    ("address", "shown"),
    (("grace@example.com", "g…@example.com"), ("g@example.com", "g…@example.com"), ("@x", "…@x"), ("odd", "…@odd")),
)
def test_an_address_is_shown_to_its_owner_and_to_nobody_else(address: str, shown: str) -> None:
    assert masked(address) == shown


@pytest.mark.parametrize("level", ("info", "debug"))
def test_neither_links_nor_addresses_are_in_the_log(
    endpoint: Endpoint, register: Register, capsys: pytest.CaptureFixture[str], level: str
) -> None:
    configure_logging(level, "json", hidden=settings_of().secrets)
    post(endpoint)
    post(endpoint, b"again=1")
    post(endpoint, b"no wish")
    look(endpoint, path()[:-1])
    register.is_away = True
    post(endpoint)
    said = capsys.readouterr().err
    lines = [json.loads(line) for line in said.splitlines()]
    told = [line["event"] for line in lines if line["logger"] == "ticket_worker.web.unsubscribe"]
    assert told == ["wish.done", "wish.done", "wish.refused", "wish.not_done"]
    assert (lines[0]["recipient_id"], lines[0]["kind"], lines[0]["wanted"]) == (7, "weekly", False)
    for hidden in ("grace", "/unsubscribe", path().rpartition("/")[2][:12], "robot"):
        assert hidden not in said


# --- the process -------------------------------------------------------------------------------------------------


def test_without_secrets_there_is_no_such_path(sqlite_template: Path) -> None:
    settings = read_settings(database_url=str(sqlite_template), stripe_webhook_secrets="whsec_x")
    with serving(create_web_app(settings), settings) as endpoint:
        assert endpoint.send(ONE_CLICK, FORM, path=path()).status == 404


MADE = """
import sys
sys.modules.update(dict.fromkeys({missing!r}))
from ticket_worker.settings import read_settings
from ticket_worker.web import serve
settings = read_settings(**{given!r})
serve.require(settings)
from ticket_worker.web import listener
print(*dict.fromkeys(route.path for route in listener.create_web_app(settings).routes))
"""
STRIPE = {"stripe_webhook_secrets": "whsec_x"}
REPORTS = {"link_secrets": "x" * 32, "public_url": "https://desk.example.com"}


@pytest.mark.parametrize(
    ("given", "missing", "paths"),
    (
        (REPORTS, ["stripe", "limits"], "/unsubscribe/{token} /healthz"),
        (STRIPE, ["itsdangerous", "jinja2", "babel"], "/stripe /healthz"),
        (STRIPE | REPORTS, [], "/stripe /unsubscribe/{token} /healthz"),
    ),
    ids=("reports", "events", "both"),
)
def test_a_part_needs_no_package_of_another(given: dict[str, str], missing: list[str], paths: str) -> None:
    code = MADE.format(given=given, missing=missing)
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (found.stdout, found.stderr) == (f"{paths}\n", "")


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "itsdangerous", None)
    with pytest.raises(SettingsError, match=r"needs itsdangerous\. .*blackroad-ticket-system\[digest\]"):
        require(settings_of())
