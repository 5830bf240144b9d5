"""Everything that can go wrong with the processes on purpose.

FleetError
├── SettingsError     the settings make no sense
└── EmbeddedError     the embedded fleet cannot run here
"""

from __future__ import annotations


class FleetError(Exception):
    """The root of every error this room raises on purpose; the message says what to do."""


class SettingsError(FleetError):
    """The settings make no sense; one line for each thing that is wrong."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class EmbeddedError(FleetError):
    """The embedded fleet cannot run here."""
