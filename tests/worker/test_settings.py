import re
from pathlib import Path
from typing import Any

import pytest

from ticket_system.retention import SHORTEST, Keep
from ticket_worker.errors import SettingsError
from ticket_worker.settings import Settings, exposed_files, read_settings, spelling_hints, variable

ROOT = Path(__file__).parents[2]


def problems() -> list[str]:
    with pytest.raises(SettingsError) as raised:
        read_settings()
    return list(raised.value.problems)


def test_nothing_needs_to_be_set() -> None:
    settings = read_settings()
    assert settings.database == "data/tickets.db"
    assert (settings.scan_interval_seconds, settings.mail) == (1.0, "console")


def test_the_environment_beats_dotenv_and_empty_means_unset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("TICKETS_SMTP_PORT=2525\nTICKETS_LOG_LEVEL=debug\nOTHER=1\n")
    monkeypatch.setenv("TICKETS_SMTP_PORT", "587")
    monkeypatch.setenv("TICKETS_LOG_LEVEL", "")
    settings = read_settings()
    assert (settings.smtp_port, settings.log_level) == (587, "debug")


def test_any_setting_may_stand_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret").write_text("redis://:hush@broker/0\n")
    monkeypatch.setenv("TICKETS_REDIS_URL_FILE", str(tmp_path / "secret"))
    assert read_settings().broker == "redis://:hush@broker/0"


def test_a_file_may_be_named_in_dotenv(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("postgresql://u:hush@db/tickets")
    (tmp_path / ".env").write_text(f"TICKETS_DATABASE_URL_FILE={tmp_path / 'secret'}\n")
    assert read_settings().database == "postgresql://u:hush@db/tickets"


def test_a_setting_is_not_said_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret").write_text("x")
    monkeypatch.setenv("TICKETS_SMTP_USER", "x")
    monkeypatch.setenv("TICKETS_SMTP_USER_FILE", str(tmp_path / "secret"))
    (problem,) = problems()
    assert problem.startswith("TICKETS_SMTP_USER: set twice")


def test_a_file_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TICKETS_SMTP_PASSWORD_FILE", "/nowhere/password")
    (problem,) = problems()
    assert problem.startswith("TICKETS_SMTP_PASSWORD_FILE: /nowhere/password cannot be read (No such file")


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    (
        ("TICKETS_SCAN_INTERVAL_SECONDS", "often", "seconds between two scans"),
        ("TICKETS_SCAN_INTERVAL_SECONDS", "0", "above 0"),
        ("TICKETS_SCAN_BATCH_SIZE", "-1", "1 to 10000"),
        ("TICKETS_MAIL", "pigeon", "console (letters go to the log), directory (to files) or smtp"),
        ("TICKETS_SMTP_PORT", "99999", "1 to 65535"),
        ("TICKETS_LOG_LEVEL", "loud", "debug, info, warning or error"),
        ("TICKETS_MAIL_FROM", "nobody", "name@domain"),
        ("TICKETS_MAIL_TO", "a@example.com\nBcc: b@example.com", "name@domain"),
        ("TICKETS_REDIS_URL", "http://broker", "redis://"),
        ("TICKETS_SMTP_STARTTLS", "perhaps", "true or false"),
        ("TICKETS_MAIL_REPLY_TO", "Desk <desk@example.com>", "name@domain"),
        ("TICKETS_MAIL_NAME", "Desk\r\nBcc: b@example.com", "one line"),
        ("TICKETS_MAIL_NAME", "x" * 101, "100 characters"),
        ("TICKETS_UNSUBSCRIBE_MAIL", "a@example.com,b@example.com", "name@domain"),
        ("TICKETS_PUBLIC_URL", "http://desk.example.com", "https://host"),
        ("TICKETS_PUBLIC_URL", "https://desk.example.com/?a=b", "https://host"),
        ("TICKETS_PUBLIC_URL", "https://u:p@desk.example.com", "https://host"),
        ("TICKETS_PUBLIC_URL", "desk.example.com", "https://host"),
        ("TICKETS_LINK_SECRETS", "short", "32 random characters"),
        ("TICKETS_TICKET_URL", "https://desk.example.com/tickets", "tickets/{id}"),
        ("TICKETS_TICKET_URL", "https://desk.example.com/{id}/{name}", "tickets/{id}"),
        ("TICKETS_TICKET_URL", "javascript:{id}", "tickets/{id}"),
        ("TICKETS_POSTAL_ADDRESS", "x" * 301, "300 characters"),
        ("TICKETS_NOTIFY", "pigeon", "console or live"),
        ("TICKETS_BEAT", "twice", "lock (of several beats one ticks, by a lock in PostgreSQL)"),
        ("TICKETS_BEAT_DATABASE_URL", "tickets.db", "a direct way to the database"),
        ("TICKETS_DESTINATIONS", "ops = 5", "ops: neither an apprise URL"),
    ),
)
def test_an_error_is_one_line_with_the_name_and_what_is_expected(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, expected: str
) -> None:
    monkeypatch.setenv(name, value)
    (problem,) = problems()
    assert problem.startswith(f"{name}: ")
    assert expected in problem
    assert "\n" not in problem


def test_everything_that_is_wrong_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TICKETS_SMTP_PORT", "x")
    monkeypatch.setenv("TICKETS_CONCURRENCY", "0")
    assert len(problems()) == 2


def test_smtp_needs_somebody_to_write_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TICKETS_MAIL", "SMTP")
    assert problems()[0].startswith("TICKETS_MAIL_TO: missing")


@pytest.mark.parametrize(
    ("given", "expected"),
    (
        ({"mail": "directory"}, "TICKETS_MAIL_TO: missing"),
        ({"smtp_tls": True, "smtp_starttls": True}, "TICKETS_SMTP_TLS and TICKETS_SMTP_STARTTLS: set one"),
        ({"link_secrets": "x" * 32}, "TICKETS_PUBLIC_URL: missing"),
    ),
)
def test_settings_that_do_not_go_together_are_an_error(given: dict[str, Any], expected: str) -> None:
    with pytest.raises(SettingsError) as raised:
        read_settings(**given)
    assert raised.value.problems[0].startswith(expected)


def test_the_port_of_the_mail_server_is_the_usual_one_until_it_is_set() -> None:
    assert read_settings().mail_port == 25
    assert read_settings(smtp_tls=True).mail_port == 465
    assert read_settings(smtp_tls=True, smtp_port=25).mail_port == 25


def test_the_secrets_of_links_and_mail_reach_no_log_and_no_repr(monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = ["hush" * 8, "hush" * 9]
    monkeypatch.setenv("TICKETS_LINK_SECRETS", ", ".join(secrets))
    monkeypatch.setenv("TICKETS_PUBLIC_URL", "http://127.0.0.1:8020/desk/")
    monkeypatch.setenv("TICKETS_SMTP_USER", "robot")
    monkeypatch.setenv("TICKETS_SMTP_PASSWORD", "hushhush")
    settings = read_settings()
    assert settings.public_url == "http://127.0.0.1:8020/desk"
    assert {*secrets, "hushhush"} <= set(settings.secrets)
    assert "hush" not in repr(settings)
    monkeypatch.setenv("TICKETS_LINK_SECRETS", "hush")
    assert "hush" not in problems()[0]


def test_no_secret_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TICKETS_SMTP_USER", "robot")
    monkeypatch.setenv("TICKETS_SMTP_PASSWORD", "hush")
    monkeypatch.setenv("TICKETS_DATABASE_URL", "postgresql://u:hush@db/x")
    assert "hush" not in repr(read_settings())
    monkeypatch.setenv("TICKETS_REDIS_URL", "hush://:hush@broker")
    with pytest.raises(SettingsError) as raised:
        read_settings()
    assert "hush" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_a_password_without_a_user_is_half_a_login(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TICKETS_SMTP_PASSWORD", "hush")
    assert "set both, or neither" in problems()[0]


def test_without_a_broker_the_embedded_one_is_taken(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="ticket-worker up"):
        read_settings().broker  # noqa: B018
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "broker.url").write_text("redis://:hush@127.0.0.1:7000/0\n")
    assert read_settings().broker == "redis://:hush@127.0.0.1:7000/0"


def test_a_name_that_means_nothing_gets_the_nearest_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TICKETS_REDIS_ULR", "x")
    monkeypatch.setenv("TICKETS_XYZZY", "x")
    monkeypatch.setenv("TICKETS_TEST_DATABASE_URL", "x")
    assert spelling_hints() == [
        "TICKETS_REDIS_ULR is not a setting; did you mean TICKETS_REDIS_URL?",
        "TICKETS_XYZZY is not a setting",
    ]


def test_the_example_file_names_every_setting_and_its_default() -> None:
    shown = dict(re.findall(r"(?m)^# (TICKETS_\w+)=(.*)$", (ROOT / ".env.example").read_text()))
    defaults = {
        variable(name): "" if field.default is None else str(field.default)
        for name, field in Settings.model_fields.items()
    }
    assert set(shown) == set(defaults)
    for name, default in defaults.items():
        if default:
            assert shown[name].lower() in {default.lower(), default.lower().removesuffix(".0")}, name


def test_destinations_come_from_a_file_and_are_never_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "places.toml").write_text('ops = "slack://Hu5hHu5h"')
    monkeypatch.setenv("TICKETS_DESTINATIONS_FILE", str(tmp_path / "places.toml"))
    settings = read_settings()
    assert list(settings.places) == ["ops"]
    assert "Hu5h" not in repr(settings)
    (tmp_path / "places.toml").write_text('ops = "Hu5hHu5h"')
    (problem,) = problems()
    assert "Hu5h" not in problem


@pytest.mark.parametrize(
    ("given", "is_live"),
    (
        ({}, False),
        ({"destinations": 'ops = "x://y"'}, True),
        ({"mail": "smtp", "mail_to": "desk@example.com"}, True),
        ({"destinations": 'ops = "x://y"', "notify": "console"}, False),
        ({"notify": "live"}, True),
    ),
)
def test_notices_go_out_where_anything_goes_out(given: dict[str, str], is_live: bool) -> None:
    assert read_settings(**given).is_live is is_live


def test_a_file_of_secrets_that_others_may_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = tmp_path / "places.toml"
    places.write_text("")
    monkeypatch.setenv("TICKETS_DESTINATIONS_FILE", str(places))
    for mode, found in ((0o600, 0), (0o400, 0), (0o640, 1), (0o604, 1)):
        places.chmod(mode)
        assert len(exposed_files()) == found
    monkeypatch.setenv("TICKETS_DESTINATIONS_FILE", "/nowhere")
    assert exposed_files() == []


def test_nothing_can_be_kept_too_short_to_be_safe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TICKETS_KEEP_EVENTS_DAYS", "99")
    why = "got '99'; what is needed would be forgotten. Expected: 0 (for ever), or 100 days and more"
    assert problems() == [f"TICKETS_KEEP_EVENTS_DAYS: {why}"]
    monkeypatch.setenv("TICKETS_KEEP_EVENTS_DAYS", "100")
    assert read_settings().keep == Keep(events=100)


def test_an_expectation_names_the_shortest_time_that_is_safe() -> None:
    for name, days in SHORTEST.items():
        assert Settings.model_fields[f"keep_{name}_days"].description == f"0 (for ever), or {days} days and more"
        assert Settings.model_fields[f"keep_{name}_days"].default == getattr(Keep(), name)
