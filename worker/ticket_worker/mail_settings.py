"""What can be set about mail, and about reports that go out by it; a part of the settings."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings

from ticket_worker.addresses import is_plain_address, is_private, is_url
from ticket_worker.billing_settings import secrets_in

_SMTPS: Final = 465
_SHORTEST_SECRET: Final = 32


class MailSettings(BaseSettings):
    """The part of the settings that is about letters, and about those who may leave a series of them."""

    mail: Literal["console", "directory", "smtp"] = Field(
        default="console", description="console (letters go to the log), directory (to files) or smtp"
    )
    mail_from: str = Field(default="tickets@localhost", description="the sender's address, name@domain")
    mail_name: Annotated[str, Field(max_length=100)] | None = Field(
        default=None, description="what the sender is called, one line of at most 100 characters"
    )
    mail_reply_to: str | None = Field(default=None, description="the address that gets answers, name@domain")
    mail_to: str | None = Field(
        default=None, description="the address for notices of tickets whose assignee is no address, name@domain"
    )
    mail_dir: Path | None = Field(
        default=None, description="a folder for TICKETS_MAIL=directory; without it, mail in TICKETS_DATA_DIR"
    )
    smtp_host: str = Field(default="localhost", description="a host name")
    smtp_port: Annotated[int, Field(ge=1, le=65_535)] = Field(default=25, description="a port, 1 to 65535")
    smtp_user: str | None = Field(default=None, description="a user name; needs TICKETS_SMTP_PASSWORD too")
    smtp_password: SecretStr | None = Field(default=None, description="the password of TICKETS_SMTP_USER")
    smtp_starttls: bool = Field(default=False, description="true or false; true refuses a server that cannot encrypt")
    smtp_tls: bool = Field(default=False, description="true or false; true: encrypted from the first byte")
    smtp_timeout_seconds: Annotated[float, Field(ge=1, le=15)] = Field(
        default=10.0, description="seconds to wait for any one answer of the mail server, 1 to 15"
    )

    link_secrets: SecretStr | None = Field(
        default=None,
        description="32 random characters or more; two while it is changed, the new one first: it signs, both verify",
    )
    public_url: str | None = Field(
        default=None,
        description="https://host, where `ticket-worker webhook` is reached from outside; http:// on this machine only",
    )
    unsubscribe_mail: str | None = Field(
        default=None, description="the address that takes wishes to leave a series, name@domain"
    )
    ticket_url: str | None = Field(
        default=None, description="https://desk.example.com/tickets/{id}, where a ticket is looked at"
    )
    postal_address: Annotated[str, Field(max_length=300)] | None = Field(
        default=None, description="the sender's postal address, one line of at most 300 characters"
    )

    @field_validator("mail", mode="before")
    @classmethod
    def _any_case_of_mail(cls, value: object) -> object:
        return value.strip().lower() if isinstance(value, str) else value

    @field_validator("mail_from", "mail_to", "mail_reply_to", "unsubscribe_mail")
    @classmethod
    def _is_address(cls, value: str | None) -> str | None:
        # Also keeps line breaks, and so a second header, out of every letter.
        if value is not None and not is_plain_address(value):
            raise ValueError("this is not a plain mail address")
        return value

    @field_validator("mail_name", "postal_address")
    @classmethod
    def _is_writing(cls, value: str | None) -> str | None:
        if value is not None and not value.isprintable():
            raise ValueError("this is not one line of text")
        return value

    @field_validator("public_url")
    @classmethod
    def _is_reached(cls, value: str | None) -> str | None:
        if value is None:
            return None
        if not is_url(value) or not is_private(value) or re.search(r"[?#]", value):
            raise ValueError("this is not a plain https:// address")
        return value.rstrip("/")

    @field_validator("ticket_url")
    @classmethod
    def _has_a_place_for_the_id(cls, value: str | None) -> str | None:
        if value is not None and (not is_url(value) or re.findall(r"\{.*?\}|[{}]", value) != ["{id}"]):
            raise ValueError("this is not an address with one {id} in it")
        return value

    @field_validator("link_secrets")
    @classmethod
    def _are_long(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and any(len(one) < _SHORTEST_SECRET for one in secrets_in(value)):
            raise ValueError(f"not every part of it has {_SHORTEST_SECRET} characters")
        return value

    @model_validator(mode="after")
    def _deliverable(self) -> Self:
        if self.mail != "console" and self.mail_to is None:
            raise ValueError(f"TICKETS_MAIL_TO: missing; with TICKETS_MAIL={self.mail} somebody must get every notice")
        if (self.smtp_user is None) != (self.smtp_password is None):
            raise ValueError("TICKETS_SMTP_USER and TICKETS_SMTP_PASSWORD: set both, or neither")
        if self.smtp_tls and self.smtp_starttls:
            raise ValueError("TICKETS_SMTP_TLS and TICKETS_SMTP_STARTTLS: set one of them; the server says which")
        if self.link_secrets is not None and self.public_url is None:
            raise ValueError("TICKETS_PUBLIC_URL: missing; TICKETS_LINK_SECRETS signs links that lead there")
        return self

    @property
    def mail_port(self) -> int:
        """Where the mail server listens: the port that is set, or the usual one."""
        return _SMTPS if self.smtp_tls and "smtp_port" not in self.model_fields_set else self.smtp_port

    @property
    def mail_secrets(self) -> list[str]:
        """What of it must stand in no log."""
        password = [self.smtp_password.get_secret_value()] if self.smtp_password else []
        return [*password, *secrets_in(self.link_secrets)]
