"""Settings, read once: from the environment, from files named by `TICKETS_…_FILE`, from `.env`; in this order."""

from __future__ import annotations

import difflib
import os
import stat
from pathlib import Path
from typing import Annotated, Any, Literal

from dotenv import dotenv_values
from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from typing_extensions import override

from ticket_worker.beat_settings import BeatSettings
from ticket_worker.billing_settings import BillingSettings, Seconds
from ticket_worker.destinations import Place, read_places, secrets_of
from ticket_worker.errors import SettingsError
from ticket_worker.mail_settings import MailSettings
from ticket_worker.process_settings import ProcessSettings
from ticket_worker.retention_settings import RetentionSettings
from ticket_worker.watch_settings import WatchSettings

PREFIX = "TICKETS_"
FILE_SUFFIX = "_FILE"
BROKER_URL_FILE = "broker.url"
_DOTENV = Path(".env")
#: For the test suite's own variables, which are none of ours.
_FOREIGN = f"{PREFIX}TEST_"

Budget = Annotated[float, Field(ge=0.1, le=30)]
Batch = Annotated[int, Field(ge=1, le=10_000)]


class Settings(BeatSettings, BillingSettings, MailSettings, ProcessSettings, RetentionSettings, WatchSettings):
    """Everything that can be set. A description says what is expected, and stands in errors."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_file=_DOTENV,
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        # A URL or password that cannot be read must not be printed on the way out.
        hide_input_in_errors=True,
    )

    database_url: SecretStr | None = Field(
        default=None, description="postgresql://user:password@host/name, or a path to a SQLite file"
    )
    redis_url: SecretStr | None = Field(default=None, description="redis://:password@host:6379/0, or rediss:// for TLS")
    data_dir: Path = Field(default=Path("data"), description="a folder for what the embedded fleet keeps")

    scan_interval_seconds: Seconds = Field(default=1.0, description="seconds between two scans, above 0")
    deliver_interval_seconds: Seconds = Field(
        default=5.0, description="seconds between two safety-net deliveries, above 0"
    )
    scan_batch_size: Batch = Field(default=1000, description="clocks per transaction, 1 to 10000")
    deliver_batch_size: Annotated[int, Field(ge=1, le=100)] = Field(
        default=10, description="letters per claim, 1 to 100"
    )
    scan_budget_seconds: Budget = Field(default=20.0, description="seconds one scan may go on draining, 0.1 to 30")
    deliver_budget_seconds: Budget = Field(
        default=10.0, description="seconds one delivery may go on draining, 0.1 to 30"
    )

    notify: Literal["auto", "console", "live"] = Field(
        default="auto", description="auto (live where destinations are set or mail is sent), console or live"
    )
    destinations: SecretStr | None = Field(
        default=None, description='TOML, best in a file: name = "apprise URL", or name = { webhook = URL, secret = … }'
    )
    notify_timeout_seconds: Annotated[float, Field(ge=1, le=15)] = Field(
        default=10.0, description="seconds to wait for any one answer of a chat or webhook, 1 to 15"
    )

    concurrency: Annotated[int, Field(ge=1, le=64)] = Field(default=2, description="processes per queue, 1 to 64")
    stop_seconds: Annotated[float, Field(ge=0, le=500)] = Field(
        default=20.0, description="seconds a running job may take to finish when asked to stop, 0 to 500"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="debug, info, warning or error"
    )
    log_format: Literal["auto", "console", "json"] = Field(
        default="auto", description="auto (colours on a terminal, JSON elsewhere), console or json"
    )

    @field_validator("log_level", "log_format", "notify", mode="before")
    @classmethod
    def _any_case(cls, value: object) -> object:
        return value.strip().lower() if isinstance(value, str) else value

    @field_validator("redis_url")
    @classmethod
    def _is_redis(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not value.get_secret_value().startswith(("redis://", "rediss://")):
            raise ValueError("this is not a Redis URL")
        return value

    @field_validator("destinations")
    @classmethod
    def _are_places(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            read_places(value.get_secret_value())
        return value

    @property
    def places(self) -> dict[str, Place]:
        """Where notices may go besides mail, by name."""
        return read_places(self.destinations.get_secret_value()) if self.destinations else {}

    @property
    def secrets(self) -> list[str]:
        """What must stand in no log."""
        return [*secrets_of(self.places), *self.billing_secrets, *self.mail_secrets, *self.watch_secrets]

    @property
    def is_live(self) -> bool:
        """Whether notices go to their places, and not to the log."""
        return self.notify == "live" or (self.notify == "auto" and (bool(self.destinations) or self.mail == "smtp"))

    @property
    def database(self) -> str:
        """The database's URL, or the path of the embedded file."""
        return self.database_url.get_secret_value() if self.database_url else str(self.data_dir / "tickets.db")

    @property
    def broker(self) -> str:
        """The broker's URL: the one that is set, or that of the embedded fleet that keeps its data in `data_dir`."""
        if self.redis_url:
            return self.redis_url.get_secret_value()
        try:
            return (self.data_dir / BROKER_URL_FILE).read_text("utf-8").strip()
        except OSError as error:
            raise SettingsError(
                "TICKETS_REDIS_URL: not set. Expected: redis://:password@host:6379/0; or start `ticket-worker up`"
            ) from error

    @classmethod
    @override
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let secrets stand in files, as containers hand them over."""
        return init_settings, env_settings, _NamedFiles(settings_cls), dotenv_settings


class _NamedFiles(PydanticBaseSettingsSource):
    """Reads each setting from the file that `TICKETS_<NAME>_FILE` names."""

    @override
    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        return self().get(field_name), field_name, False

    @override
    def __call__(self) -> dict[str, Any]:
        given = _dotenv() | os.environ
        paths = {name: given.get(variable(name) + FILE_SUFFIX) for name in self.settings_cls.model_fields}
        return {name: _content(name, path) for name, path in paths.items() if path}


def read_settings(**given: Any) -> Settings:
    """Return the settings, `given` ones first, or raise SettingsError with everything that is wrong with them."""
    try:
        return Settings(**given)
    except ValidationError as error:
        raise SettingsError(*(_problem(issue) for issue in error.errors(include_url=False))) from None


def spelling_hints() -> list[str]:
    """Return a line for every `TICKETS_…` variable that means nothing, with the name it was perhaps meant to be."""
    known = {variable(name) for name in Settings.model_fields}
    known |= {name + FILE_SUFFIX for name in known}
    given = sorted(name for name in _dotenv() | os.environ if name.startswith(PREFIX))
    strange = [name for name in given if name not in known and not name.startswith(_FOREIGN)]
    own = [name.removeprefix(PREFIX) for name in sorted(known)]
    nearest = {name: difflib.get_close_matches(name.removeprefix(PREFIX), own, 1) for name in strange}
    return [
        f"{name} is not a setting" + (f"; did you mean {PREFIX}{near[0]}?" if near else "")
        for name, near in nearest.items()
    ]


def exposed_files() -> list[str]:
    """Return a line for the file of destinations where others than its owner may read it: it is full of secrets."""
    where = variable("destinations") + FILE_SUFFIX
    path = (_dotenv() | os.environ).get(where)
    try:
        mode = stat.S_IMODE(Path(path).stat().st_mode) if path else 0
    except OSError:
        return []
    return [f"{where}: {path} has mode {mode:04o} and holds secrets; chmod 600 is better"] if mode & 0o077 else []


def variable(name: str) -> str:
    """Return the environment variable of a setting."""
    return PREFIX + name.upper()


def _dotenv() -> dict[str, str]:
    return {name: value for name, value in dotenv_values(_DOTENV).items() if value is not None}


def _content(name: str, path: str) -> str:
    where = variable(name)
    if os.environ.get(where) and os.environ.get(where + FILE_SUFFIX):
        raise SettingsError(f"{where}: set twice, {where}{FILE_SUFFIX} is set too. Expected: one of them")
    try:
        return Path(path).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text file"
        raise SettingsError(
            f"{where}{FILE_SUFFIX}: {path} cannot be read ({reason}). Expected: a file that holds one value"
        ) from None


def _problem(issue: ErrorDetails) -> str:
    message = issue["msg"].removeprefix("Value error, ")
    if not issue["loc"]:
        return message
    name = str(issue["loc"][0])
    field = Settings.model_fields[name]
    got = "" if "SecretStr" in str(field.annotation) else f"got {issue.get('input')!r}; "
    return f"{variable(name)}: {got}{message[0].lower()}{message[1:]}. Expected: {field.description}"
