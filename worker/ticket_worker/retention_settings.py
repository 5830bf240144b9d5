"""What can be set about how long things are kept; a part of the settings."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator
from pydantic_settings import BaseSettings

from ticket_system.retention import SHORTEST, Keep

Days = Annotated[int, Field(ge=0, le=36_500)]


class RetentionSettings(BaseSettings):
    """The part of the settings that is about forgetting. In days; 0 is for ever."""

    keep_events_days: Days = Field(default=0, description="0 (for ever), or 100 days and more")
    keep_usage_days: Days = Field(default=0, description="0 (for ever), or 400 days and more")
    keep_messages_days: Days = Field(default=90, description="0 (for ever), or 7 days and more")
    keep_contents_days: Days = Field(default=90, description="0 (for ever), or 30 days and more")
    keep_reports_days: Days = Field(default=730, description="0 (for ever), or 60 days and more")
    keep_wishes_days: Days = Field(default=30, description="0 (for ever), or 15 days and more")
    keep_parked_days: Days = Field(default=90, description="0 (for ever), or 7 days and more")
    keep_runs_days: Days = Field(default=30, description="0 (for ever), or 7 days and more")

    @field_validator(*(f"keep_{name}_days" for name in SHORTEST))
    @classmethod
    def _is_long_enough(cls, value: int, info: ValidationInfo) -> int:
        name = (info.field_name or "").removeprefix("keep_").removesuffix("_days")
        if 0 < value < SHORTEST[name]:
            raise ValueError("what is needed would be forgotten")
        return value

    @property
    def keep(self) -> Keep:
        """How long each kind of thing is kept."""
        return Keep(**{name: getattr(self, f"keep_{name}_days") for name in SHORTEST})
