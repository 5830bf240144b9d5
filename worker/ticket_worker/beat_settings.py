"""What can be set about beat; a part of the settings."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings


class BeatSettings(BaseSettings):
    """The part of the settings that is about who ticks."""

    beat: Literal["lock", "plain", "redbeat"] = Field(
        default="lock",
        description="lock (of several beats one ticks, by a lock in PostgreSQL), plain (each ticks) or redbeat",
    )
    beat_database_url: SecretStr | None = Field(
        default=None,
        description="postgresql://user:password@host/name, a direct way to the database where the usual one is pooled",
    )

    @field_validator("beat", mode="before")
    @classmethod
    def _any_case_of_beat(cls, value: object) -> object:
        return value.strip().lower() if isinstance(value, str) else value

    @field_validator("beat_database_url")
    @classmethod
    def _is_postgresql(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not value.get_secret_value().startswith(("postgresql://", "postgresql+psycopg://")):
            raise ValueError("this is not a PostgreSQL URL")
        return value
