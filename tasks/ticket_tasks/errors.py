"""Everything that can go wrong around a job on purpose.

JobError
├── Transient                               the weather: try again later
│   └── Unreachable                         the weather for everything that goes there: let it rest
├── TooEarly                                the message it builds on is not here yet: try again in a moment
├── Rejected                                it will never work like this: do not try again
├── Uncertain                               it may have worked: a person has to look
├── JournalError (OSError)                  nothing was written down, and nothing was sent
└── BrokerUnreachable (ConnectionError)     nothing was enqueued
"""

from __future__ import annotations


class JobError(Exception):
    """The root of every error this room raises on purpose."""


class Transient(JobError):
    """The outside world is not in the mood right now; the same call may succeed later, not before `wait_seconds`."""

    def __init__(self, message: str, *, wait_seconds: float = 0.0) -> None:
        super().__init__(message)
        self.wait_seconds = wait_seconds


class Unreachable(Transient):
    """The place itself is away: whatever else goes there would fail the same way, and is not tried for a while."""


class TooEarly(JobError):
    """What a message is about is not there, or not ready for it; another message may be on its way."""


class Rejected(JobError):
    """The outside world refused; the same call would be refused again."""


class Uncertain(JobError):
    """The line broke after the message went out: it may or may not have arrived, and a repeat may double it."""


class JournalError(JobError, OSError):
    """A client's journal cannot be read or written: what was asked for was not sent either."""


class BrokerUnreachable(JobError, ConnectionError):
    """The broker did not answer in time; nothing was enqueued, and the call may be repeated with the same `key`."""

    #: That of the wish which could not be enqueued; None where it was about something else.
    key: str | None = None
