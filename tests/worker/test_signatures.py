import pytest

from tests.support.deliveries import signed, snapshot
from ticket_worker.billing.signatures import BadSignature, verify

NOW = 1_770_000_000
BODY = snapshot()
FIRST, SECOND = "whsec_first", "whsec_second"


def header(secret: str = FIRST, *, at: int = NOW) -> str:
    return signed(BODY, secret, at=at)["Stripe-Signature"]


def look(header: str | None, *secrets: str, body: bytes = BODY.encode()) -> None:
    verify(body, header, secrets or (FIRST,), now=NOW)


@pytest.mark.parametrize("seconds", (-300, -299, 0, 299, 300))
def test_five_minutes_either_way_are_fine(seconds: int) -> None:
    look(header(at=NOW + seconds))


@pytest.mark.parametrize(("seconds", "words"), ((-301, "301 s old"), (301, "301 s ahead"), (86_400, "86400 s ahead")))
def test_older_or_later_is_refused(seconds: int, words: str) -> None:
    with pytest.raises(BadSignature, match=words):
        look(header(at=NOW + seconds))


def test_a_second_timestamp_makes_an_old_body_no_younger() -> None:
    with pytest.raises(BadSignature, match="4000 s old"):
        look(header(at=NOW - 4000) + f",t={NOW}")
    with pytest.raises(BadSignature, match="no secret"):
        look(f"t={NOW}," + header(at=NOW - 4000))


def test_any_of_the_secrets_and_any_of_the_signatures_will_do() -> None:
    look(header(FIRST), FIRST, SECOND)
    look(header(SECOND), FIRST, SECOND)
    both = f"{header(SECOND)},{header(FIRST).split(',')[1]}"
    look(both, FIRST)
    with pytest.raises(BadSignature, match="no secret"):
        look(header(FIRST), SECOND)


@pytest.mark.parametrize("secrets", ((), ("",), (" ",)))
def test_an_empty_secret_verifies_nothing(secrets: tuple[str, ...]) -> None:
    for key in ("", " "):
        with pytest.raises(BadSignature):
            verify(BODY.encode(), header(key), secrets, now=NOW)


@pytest.mark.parametrize(
    "strange",
    (None, "", "t=", "v1=abc", f"t={NOW}", "t=x,v1=abc", "t=1,v1", ",,,", "=", f"t={'9' * 5000},v1=a", f"t={NOW},v1=é",
     f"t={NOW},v0={'0' * 64}"),
)  # fmt: skip
def test_a_header_that_makes_no_sense_is_refused(strange: str | None) -> None:
    with pytest.raises(BadSignature):
        look(strange)


def test_a_body_that_is_no_text_or_another_one_is_refused() -> None:
    with pytest.raises(BadSignature, match="UTF-8"):
        look(header(), body=b"\xff\xfe")
    with pytest.raises(BadSignature, match="no secret"):
        look(header(), body=BODY.encode() + b" ")


def test_a_refusal_quotes_neither_body_nor_secret() -> None:
    with pytest.raises(BadSignature) as raised:
        look(header(SECOND))
    told = f"{raised.value!r} {raised.value.__cause__!r} {raised.value.__context__!r}"
    assert not any(word in told for word in (FIRST, SECOND, "unspeakable"))
