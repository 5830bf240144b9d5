"""Letters as bytes: what a mail server gets, read with the plain eyes of a program."""

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from email import message_from_bytes
from email.header import decode_header, make_header
from email.message import EmailMessage, MIMEPart
from email.policy import default
from typing import Any

import pytest

from tests.support.smtp import PostOffice
from ticket_tasks.errors import Rejected, Transient
from ticket_tasks.toolbox import Letter, Mailing, Picture
from ticket_worker.mail import SmtpMailer
from ticket_worker.message import Sender, as_bytes, digest

SENDER = Sender("tickets@example.com", "Help Desk", "desk@example.com")
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20
URL = "https://desk.example.com/unsubscribe/" + "WzcsIndlZWtseSIsMTc3MjQ0MjAwMF0." + "a1" * 120
WEEKLY = Letter(
    key="weekly/initech/2026-03-01/7",
    to="grace@example.com",
    to_name="Grace Größer",
    subject="Initech: 97 % kept, 3 broken, in the week from 23 February to 1 March: größer als je zuvor, und länger",
    text="Grüße\n.\n.. dots\n" + "long " * 300 + "\nend\n",
    at=datetime(2026, 3, 2, 9, 0, tzinfo=UTC),
    html='<!doctype html><html lang="en"><p>Größe</p><img src="cid:curve" alt="Backlog: 12, 4 more"></html>\n',
    pictures=(Picture("curve", PNG),),
    mailing=Mailing("weekly.initech", "Weekly report of initech", URL, "leave@example.com"),
)
PLAIN = Letter("k", "grace@example.com", "Overdue", "text\n", WEEKLY.at)


def headers_of(content: bytes) -> dict[str, str]:
    """Headers by name as they stand there, folds and all; each is there once."""
    head = content.partition(b"\r\n\r\n")[0].decode("ascii")
    pairs = [line.split(": ", 1) if ": " in line else line.split(":", 1) for line in re.split(r"\r\n(?![ \t])", head)]
    names = [name.lower() for name, _ in pairs]
    assert len(names) == len(set(names)), names
    return {name: value for name, (_, value) in zip(names, pairs, strict=True)}


def parsed(content: bytes) -> EmailMessage:
    return message_from_bytes(content, _class=EmailMessage, policy=default)


def mailed(**changes: Any) -> Letter:
    return replace(WEEKLY, mailing=replace(WEEKLY.mailing or Mailing("", ""), **changes))


# --- what the server gets ----------------------------------------------------------------------------------------


def test_the_server_gets_the_same_bytes_every_time(post_office: PostOffice) -> None:
    mailer = SmtpMailer(SENDER, post_office.host, post_office.port)
    post_office.answer("DATA", "451 not now")
    for attempt in range(3):
        try:
            mailer.send(WEEKLY, before_data=lambda: None)
        except Transient:
            assert attempt == 0
    assert {one.content for one in post_office.delivered} == {as_bytes(WEEKLY, SENDER)}
    assert len(post_office.delivered) == 2


@pytest.mark.parametrize("letter", (WEEKLY, PLAIN), ids=("report", "notice"))
def test_nothing_on_the_way_has_a_reason_to_change_a_byte(letter: Letter) -> None:
    """What a signature (DKIM) covers stays as it was signed: seven bits, whole lines, none too long."""
    content = as_bytes(letter, SENDER)
    content.decode("ascii")
    assert content.endswith(b"\r\n")
    assert b"\0" not in content
    lines = content.split(b"\r\n")
    assert not any(b"\r" in line or b"\n" in line for line in lines)
    assert max(map(len, lines)) <= 998


# --- headers -----------------------------------------------------------------------------------------------------


def test_the_headers_of_a_report() -> None:
    headers = headers_of(as_bytes(WEEKLY, SENDER))
    mark = digest(WEEKLY)
    assert {name: headers[name] for name in headers if name not in {"subject", "content-type", "to"}} == {
        "from": "Help Desk <tickets@example.com>",
        "reply-to": "desk@example.com",
        "date": "Mon, 02 Mar 2026 09:00:00 +0000",
        "message-id": f"<{mark}@example.com>",
        "auto-submitted": "auto-generated",
        "x-auto-response-suppress": "All",
        "list-unsubscribe": f"<{URL}>, <mailto:leave@example.com?subject=unsubscribe%20weekly.initech>",
        "list-unsubscribe-post": "List-Unsubscribe=One-Click",
        "list-id": '"Weekly report of initech" <weekly.initech.example.com>',
        "feedback-id": "weekly.initech:tickets",
        "x-ticket-system-delivery": mark,
        "mime-version": "1.0",
    }
    assert str(make_header(decode_header(headers["subject"]))) == WEEKLY.subject
    assert str(make_header(decode_header(headers["to"]))) == "Grace Größer <grace@example.com>"


def test_a_notice_belongs_to_no_series() -> None:
    headers = headers_of(as_bytes(PLAIN, Sender("tickets@example.com")))
    assert not [name for name in headers if name.startswith(("list-", "feedback", "x-ticket", "reply-to"))]
    assert (headers["from"], headers["to"]) == ("tickets@example.com", "grace@example.com")


@pytest.mark.parametrize(
    ("changes", "unsubscribe", "is_one_click"),
    (
        ({"unsubscribe_address": None}, f"<{URL}>", True),
        ({"unsubscribe_url": None}, "<mailto:leave@example.com?subject=unsubscribe%20weekly.initech>", False),
        ({"unsubscribe_url": "http://127.0.0.1/u", "unsubscribe_address": None}, "<http://127.0.0.1/u>", False),
        ({"unsubscribe_url": None, "unsubscribe_address": None}, None, False),
    ),
)
def test_only_the_ways_out_that_there_are_stand_in_it(
    changes: dict[str, Any], unsubscribe: str | None, is_one_click: bool
) -> None:
    headers = headers_of(as_bytes(mailed(**changes), SENDER))
    assert headers.get("list-unsubscribe") == unsubscribe
    assert ("list-unsubscribe-post" in headers) is is_one_click


def test_what_programs_read_is_neither_encoded_nor_folded() -> None:
    far = Sender(f"tickets@{'sub.' * 40}example.com", "Größer " * 20)
    headers = headers_of(as_bytes(replace(WEEKLY, subject="ü" * 300), far))
    words = {"subject", "from", "to"}
    for name, value in headers.items():
        if name not in words:
            assert "=?" not in value, name
            assert "\r\n" not in value, name
    for name in words:
        # RFC 2047: no encoded word is longer than 75 characters, and no line that holds one longer than 76.
        assert all(len(word) <= 75 for word in re.findall(r"=\?\S+\?=", headers[name]))
        assert all(len(line) <= 76 for line in headers[name].split("\r\n") if "=?" in line and "@" not in line)


@pytest.mark.parametrize(
    ("list_name", "label"),
    (
        ("weekly.initech", r"weekly\.initech"),
        ("weekly.Größe & Söhne <a@b>", r"weekly\.gr\.e\.s\.hne\.a\.b\.[0-9a-f]{8}"),
        ("名前", r"[0-9a-f]{8}"),
        ("weekly." + "x" * 200, r"weekly\.x+\.[0-9a-f]{8}"),
    ),
)
def test_any_name_of_a_series_becomes_part_of_a_domain(list_name: str, label: str) -> None:
    headers = headers_of(as_bytes(mailed(list_name=list_name), SENDER))
    assert re.fullmatch(rf'"Weekly report of initech" <{label}\.example\.com>', headers["list-id"])


def test_series_whose_names_look_alike_stay_apart() -> None:
    ids = {headers_of(as_bytes(mailed(list_name=name), SENDER))["list-id"] for name in ("a b", "a-b", "A b", "a.b")}
    assert len(ids) == 4


@pytest.mark.parametrize(
    ("title", "shown"),
    (
        ('The "big" one\\', r'"The \"big\" one\\" '),
        ("Größe", ""),
        ("x" * 300, f'"{"x" * 200}" '),
        ("=?utf-8?q?x?=", '"= ?utf-8?q?x?=" '),
    ),
)
def test_the_title_of_a_series_is_quoted_or_left_out(title: str, shown: str) -> None:
    headers = headers_of(as_bytes(mailed(title=title), SENDER))
    assert headers["list-id"] == f"{shown}<weekly.initech.example.com>"


# --- the parts ---------------------------------------------------------------------------------------------------


def tree(message: MIMEPart) -> Any:
    return (
        [message.get_content_type(), *map(tree, message.iter_parts())]
        if message.is_multipart()
        else (message.get_content_type())
    )


def test_a_report_is_a_text_and_a_page_with_its_pictures() -> None:
    message = parsed(as_bytes(WEEKLY, SENDER))
    assert tree(message) == ["multipart/alternative", "text/plain", ["multipart/related", "text/html", "image/png"]]
    text, related = message.iter_parts()
    page, picture = related.iter_parts()
    assert text.get_content().replace("\r\n", "\n") == WEEKLY.text
    assert page.get_content().replace("\r\n", "\n") == WEEKLY.html
    assert related.get_param("type") == "text/html"
    (named,) = re.findall(r'src="cid:([^"]+)"', page.get_content())
    assert picture["Content-ID"] == f"<{named}>"
    assert picture.get_content_disposition() == "inline"
    assert picture.get_content() == PNG


@pytest.mark.parametrize(
    ("changes", "expected"),
    (
        ({"pictures": ()}, ["multipart/alternative", "text/plain", "text/html"]),
        ({"html": None}, "text/plain"),
        (
            {"pictures": (Picture("a", PNG), Picture("b", PNG))},
            ["multipart/alternative", "text/plain", ["multipart/related", "text/html", "image/png", "image/png"]],
        ),
    ),
)
def test_what_is_not_there_leaves_no_empty_part(changes: dict[str, Any], expected: Any) -> None:
    assert tree(parsed(as_bytes(replace(WEEKLY, **changes), SENDER))) == expected


def boundaries(content: bytes) -> list[str]:
    return re.findall(r'boundary="([^"]+)"', content.decode("ascii"))


def test_no_text_can_end_its_part() -> None:
    first, second = boundaries(as_bytes(WEEKLY, SENDER))
    assert first != second
    # Somebody who saw a report, and writes its marks into a ticket that the next one names.
    text = f"a\n--{first}\nb\n--{second}--\nc\n"
    letter = replace(WEEKLY, text=text, html=text)
    content = as_bytes(letter, SENDER)
    assert not {first, second} & set(boundaries(content))
    message = parsed(content)
    assert tree(message) == tree(parsed(as_bytes(WEEKLY, SENDER)))
    assert next(message.iter_parts()).get_content().replace("\r\n", "\n") == text


def test_a_mark_that_no_mail_can_carry_is_left_out_of_the_text() -> None:
    assert parsed(as_bytes(replace(PLAIN, text="a\0b\n"), SENDER)).get_content() == "ab\r\n"


# --- what is refused ---------------------------------------------------------------------------------------------


def hostile() -> Iterator[tuple[str, Letter]]:
    for name, mark in (("CR LF", "\r\n"), ("LF", "\n"), ("CR", "\r"), ("NUL", "\0")):
        evil = f"x{mark}Bcc: victim@example.org"
        yield f"subject {name}", replace(WEEKLY, subject=evil)
        yield f"name {name}", replace(WEEKLY, to_name=evil)
        yield f"address {name}", replace(WEEKLY, to=f"grace@example.com{mark}Bcc:victim@example.org")
        yield f"title {name}", mailed(title=evil)
        yield f"URL {name}", mailed(unsubscribe_url=URL + evil)
        yield f"way out {name}", mailed(unsubscribe_address=f"leave@example.com{mark}x")
        yield f"picture {name}", replace(WEEKLY, pictures=(Picture(f"a{mark}b", PNG),))
    yield "two addresses", replace(WEEKLY, to="grace@example.com,victim@example.org")
    yield "address in angles", replace(WEEKLY, to="<victim@example.org> grace@example.com")
    yield "quoted address", replace(WEEKLY, to='"a b"@example.com')
    yield "address without a host", replace(WEEKLY, to="grace")
    yield "address in other letters", replace(WEEKLY, to="grace@größe.example")
    yield "URL that ends early", mailed(unsubscribe_url="https://a.example/>,<mailto:victim@example.org")
    yield "URL of another kind", mailed(unsubscribe_url="javascript:alert(1)")
    yield "endless URL", mailed(unsubscribe_url="https://a.example/" + "x" * 1000)
    yield "half a character", replace(WEEKLY, subject="\ud800")
    yield "half a character in the text", replace(WEEKLY, text="\ud800")
    yield "nobody", replace(WEEKLY, to=None)


HOSTILE = dict(hostile())


@pytest.mark.parametrize("letter", HOSTILE.values(), ids=HOSTILE)
def test_what_would_be_another_message_never_reaches_the_server(post_office: PostOffice, letter: Letter) -> None:
    with pytest.raises(Rejected):
        SmtpMailer(SENDER, post_office.host, post_office.port).send(letter, before_data=pytest.fail)
    assert post_office.commands == []


@pytest.mark.parametrize(
    "words",
    (
        "=?utf-8?q?x=0D=0ABcc:_victim@example.org?=",
        "=?utf-8?b?eA0KQmNjOiB2aWN0aW1AZXhhbXBsZS5vcmc=?=",
        "a\x0bb\x0cc\x1cd\x85e\u2028f\u2029g",
        '"quoted" <victim@example.org>, other <other@example.org>',
        "\u202eright to left 👩‍💻 " + "名前" * 100,
        "x" * 2000,
        "",
    ),
)
def test_what_people_write_becomes_no_header_and_no_recipient(post_office: PostOffice, words: str) -> None:
    letter = replace(WEEKLY, subject=words, to_name=words)
    SmtpMailer(replace(SENDER, name=words), post_office.host, post_office.port).send(letter, before_data=lambda: None)
    (delivered,) = post_office.delivered
    assert set(headers_of(delivered.content)) == set(headers_of(as_bytes(WEEKLY, SENDER)))
    assert [one.addr_spec for one in delivered.message["To"].addresses] == ["grace@example.com"]
    assert [one.addr_spec for one in delivered.message["From"].addresses] == ["tickets@example.com"]
    assert delivered.recipients == ("grace@example.com",)
    assert max(map(len, delivered.content.split(b"\r\n"))) <= 998
