"""What one process of the fleet may take, in time and memory."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from pydantic_settings import BaseSettings


class ProcessSettings(BaseSettings):
    """The bounds of a process."""

    start_patience_seconds: Annotated[float, Field(ge=0, le=86_400)] = Field(
        default=300.0, description="seconds a starting process waits for the database and its schema, 0 to 86400"
    )
    statement_seconds: Annotated[float, Field(ge=1, le=600)] = Field(
        default=40.0, description="seconds one statement of a worker may take in PostgreSQL, 1 to 600"
    )
    child_memory_mb: Annotated[int, Field(ge=0, le=65_536)] = Field(
        default=512,
        description="megabytes after which a worker's process is replaced between two jobs, 0 (never) to 65536",
    )
