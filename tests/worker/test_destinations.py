import pytest

from ticket_worker.destinations import ChatPlace, Mask, WebhookPlace, read_places, secrets_of

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def test_a_place_is_an_address_or_a_webhook_with_its_secret() -> None:
    text = f'ops = "slack://a/b/c"\n[crm]\nwebhook = "https://crm.example.org/hooks"\nsecret = "{SECRET}"\n'
    assert read_places(text) == {
        "ops": ChatPlace("ops", "slack://a/b/c"),
        "crm": WebhookPlace("crm", "https://crm.example.org/hooks", SECRET),
    }
    assert read_places("") == {}


@pytest.mark.parametrize(
    ("text", "says"),
    (
        ("ops = slack://Hu5hHu5h", "not TOML (at line 1, column 7)"),
        ('ops = "Hu5hHu5h"', "ops: neither"),
        ("ops = 5", "ops: neither"),
        ('ops = { webhook = "https://Hu5hHu5h" }', "ops: neither"),
        (f'ops = {{ webhook = "https://x", secret = "{SECRET}", also = "Hu5hHu5h" }}', "ops: neither"),
        (f'ops = {{ webhook = "ftp://Hu5hHu5h", secret = "{SECRET}" }}', "ops: `webhook`"),
        (f'ops = {{ webhook = "https://u:Hu5hHu5h@x", secret = "{SECRET}" }}', "ops: `webhook`"),
        (f'ops = {{ webhook = "https://x:Hu5hHu5h", secret = "{SECRET}" }}', "ops: `webhook`"),
        (f'ops = {{ webhook = "https://x/\\nHu5hHu5h", secret = "{SECRET}" }}', "ops: `webhook`"),
        ('ops = { webhook = "https://x", secret = "Hu5hHu5h" }', "ops: `secret`"),
        ('ops = { webhook = "https://x", secret = "whsec_Hu5hHu5h" }', "24 to 64 bytes"),
        ('ops = { webhook = "https://x", secret = "whsec_Hu5hHu5h!" }', "ops: `secret`"),
        ('mail = "slack://a"', "`mail` is taken"),
        ('"mail:a@b.c" = "slack://a"', "cannot be a name"),
        ('Ops = "slack://a"', "cannot be a name"),
        ('"" = "slack://a"', "cannot be a name"),
    ),
)
def test_an_error_names_the_place_and_what_was_expected_and_no_value(text: str, says: str) -> None:
    with pytest.raises(ValueError) as raised:  # noqa: PT011 - the words are compared below
        read_places(text)
    assert says in str(raised.value)
    assert "Hu5h" not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "hidden", "seen"),
    (
        ("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdn/#general", ("T1JJ3T3L2", "A1BRTD4JD", "TIiajkdn"), ("general",)),
        ("tgram://123456789:abcdefg_hijklmnop/12315544", ("123456789", "abcdefg_hijklmnop", "12315544"), ()),
        ("json://user:pw@desk.example.org:8080/x", ("user:pw@desk", "pw"), ("desk.example.org", "powder", "user")),
        ("json://u:p%40ssw0rd@127.0.0.1/x", ("p%40ssw0rd", "p@ssw0rd"), ("127.0.0.1",)),
        ("pagerduty://Integr4tionKey@ApiK3y99/?x=Qu3ryT0k", ("Integr4tionKey", "ApiK3y99", "Qu3ryT0k"), ()),
        ("sendgrid://SG.abc.def:from@example.com", ("SG.abc.def",), ("example.com",)),
        ("json://[::1]:99/Aa1Bb2Cc", ("Aa1Bb2Cc",), ("[::1]",)),
        ("https://hooks.example.org/services/B00X/x9Y8z7", ("x9Y8z7",), ("services", "hooks.example.org")),
    ),
)  # fmt: skip
def test_tokens_are_hidden_and_words_are_not(url: str, hidden: tuple[str, ...], seen: tuple[str, ...]) -> None:
    mask = Mask(secrets_of({"ops": ChatPlace("ops", url)}))
    for part in (url, *hidden):
        assert part not in mask(f"before {part} after")
    for part in seen:
        assert mask(f"before {part} after") == f"before {part} after"


def test_an_address_is_never_shown_by_itself() -> None:
    assert repr(ChatPlace("ops", "slack://hush")) == "ChatPlace(name='ops')"
    assert repr(WebhookPlace("crm", "https://hush", "hush")) == "WebhookPlace(name='crm')"
    assert Mask()("nothing to hide") == "nothing to hide"
