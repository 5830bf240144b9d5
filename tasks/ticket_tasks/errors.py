"""Everything that can go wrong around a job on purpose.

JobError
├── Transient                               the weather: try again later
├── Rejected                                it will never work like this: do not try again
├── Uncertain                               it may have worked: a person has to look
└── BrokerUnreachable (ConnectionError)     nothing was enqueued
"""

from __future__ import annotations


class JobError(Exception):
    """The root of every error this room raises on purpose."""


class Transient(JobError):
    """The outside world is not in the mood right now; the same call may succeed later."""


class Rejected(JobError):
    """The outside world refused; the same call would be refused again."""


class Uncertain(JobError):
    """The line broke after the message went out: it may or may not have arrived, and a repeat may double it."""


class BrokerUnreachable(JobError, ConnectionError):
    """The broker did not answer in time; nothing was enqueued, and the call may be repeated."""
