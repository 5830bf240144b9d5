from datetime import UTC, datetime, timedelta

import pytest
from itsdangerous import URLSafeSerializer

from ticket_worker.links import VALID, BadLink, ExpiredLink, Links

AT = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
OLD, NEW = "old secret " * 4, "new secret " * 4
LINKS = Links([NEW], "https://desk.example.com")


def token(links: Links = LINKS, recipient_id: int = 7, kind: str = "weekly", at: datetime = AT) -> str:
    return links.unsubscribe_url(recipient_id, kind, at).rpartition("/")[2]


def test_a_link_says_who_and_which() -> None:
    url = LINKS.unsubscribe_url(7, "weekly", AT)
    assert url == f"https://desk.example.com/unsubscribe/{token()}"
    assert LINKS.read(token(), AT) == (7, "weekly")
    assert len(url) < 150
    assert url.isascii()
    assert set(token()) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")


def test_the_same_report_has_the_same_link_in_every_process() -> None:
    assert token() == token(Links([NEW, OLD], "https://desk.example.com"))
    assert len({token(), token(recipient_id=8), token(kind="daily"), token(at=AT + timedelta(days=7))}) == 4


def test_a_link_is_good_for_180_days() -> None:
    assert LINKS.read(token(), AT + VALID) == (7, "weekly")
    with pytest.raises(ExpiredLink):
        LINKS.read(token(), AT + VALID + timedelta(seconds=1))


def test_no_character_of_a_link_can_be_changed() -> None:
    good = token()
    # Two bits of the last character mean nothing: what differs in them alone is the same signature.
    for place in range(len(good) - 1):
        other = "A" if good[place] != "A" else "B"
        with pytest.raises(BadLink):
            LINKS.read(good[:place] + other + good[place + 1 :], AT)


@pytest.mark.parametrize(
    "given", ("", ".", "x", "x.y", "ü.ü", token()[:-1], token() + "A", token() + "." + token(), "A" * 10**6)
)
def test_what_is_no_link_is_refused(given: str) -> None:
    with pytest.raises(BadLink):
        LINKS.read(given, AT)


def test_what_the_same_secret_signed_for_another_purpose_is_refused() -> None:
    other = URLSafeSerializer(NEW, salt="something else").dumps([7, "weekly", int(AT.timestamp())])
    assert isinstance(other, str)
    with pytest.raises(BadLink):
        LINKS.read(other, AT)


def test_the_first_secret_signs_and_all_verify() -> None:
    both = Links([NEW, OLD], "https://desk.example.com")
    assert both.read(token(Links([OLD], "")), AT) == (7, "weekly")
    assert LINKS.read(token(both), AT) == (7, "weekly")
    with pytest.raises(BadLink):
        Links([OLD], "").read(token(both), AT)


def test_no_secret_is_in_the_repr_or_in_an_error() -> None:
    assert repr(LINKS) == "Links('https://desk.example.com')"
    with pytest.raises(BadLink) as raised:
        LINKS.read(token()[:-3], AT)
    assert raised.value.__cause__ is None
    assert not {OLD, NEW, token()[:20]} & set(str(raised.value).split())
