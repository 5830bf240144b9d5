"""What can be set about how a fleet is watched; a part of the settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings

from ticket_worker.addresses import is_url


class WatchSettings(BaseSettings):
    """The part of the settings that is about metrics, health and traces."""

    metrics_host: str = Field(default="127.0.0.1", description="an address to serve metrics on")
    metrics_port: Annotated[int, Field(ge=0, le=65_500)] = Field(
        default=0, description="the first port to serve metrics on, 1 to 65500; 0: nobody counts anything"
    )
    health_dir: Path | None = Field(
        default=None, description="a folder for signs of life; without it, health in TICKETS_DATA_DIR"
    )
    trace_url: SecretStr | None = Field(
        default=None, description="where spans are sent, OTLP over HTTP: http://collector:4318/v1/traces"
    )

    @field_validator("trace_url")
    @classmethod
    def _takes_spans(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not is_url(value.get_secret_value()):
            raise ValueError("this is not an http:// or https:// address")
        return value

    @property
    def watch_secrets(self) -> list[str]:
        """What of it must stand in no log: the address of a collector may carry a token."""
        return [self.trace_url.get_secret_value()] if self.trace_url else []
