"""The wire contract: task names, queues and the prefix of every key in the broker.

What stands here travels between programs of different versions. A name is never reused for something else; a message
that changes its shape in a way old workers cannot read gets a new name.
"""

from __future__ import annotations

from typing import Final

from kombu import Exchange, Queue

SCAN_BREACHES: Final = "tickets.scan_breaches"
DELIVER_OUTBOX: Final = "tickets.deliver_outbox"
AUDIT_CLOCKS: Final = "tickets.audit_clocks"
REPORT_USAGE: Final = "tickets.report_usage"
RECONCILE_USAGE: Final = "tickets.reconcile_usage"
SYNC_SUBSCRIPTIONS: Final = "tickets.sync_subscriptions"
MAKE_REPORTS: Final = "tickets.make_reports"
SEND_REPORTS: Final = "tickets.send_reports"
REPLAY_PARKED: Final = "tickets.replay_parked"

# What other services may ask for; `payloads` has the shape of each.
OPEN_TICKET: Final = "tickets.open_ticket"
ADD_COMMENT: Final = "tickets.add_comment"
ASSIGN_TICKET: Final = "tickets.assign_ticket"
SET_STATUS: Final = "tickets.set_status"
ESCALATE_TICKET: Final = "tickets.escalate_ticket"
ACKNOWLEDGE_TICKET: Final = "tickets.acknowledge_ticket"
REPORT: Final = "tickets.report"
#: A worker's own: what it could not understand goes where it is kept.
PARK_MESSAGE: Final = "tickets.park_message"
PRUNE: Final = "tickets.prune"

#: Work that must be on time and touches nothing but the database.
CLOCK: Final = "clock"
#: Work that talks to the world and may have to wait for it.
DESK: Final = "desk"
#: What other services ask for: however much of it waits, no notice waits behind it.
INTAKE: Final = "intake"
#: Work that talks to whoever bills: it may be slow, and keeps no notice waiting.
MONEY: Final = "money"
#: Work that counts over everything, or that nobody waits for by the second.
REPORTS: Final = "reports"

#: The header in which a tick carries the instant at which it was due, in ISO 8601 and UTC. A message without it is a
#: nudge: it runs in any case.
SLOT_HEADER: Final = "tickets_slot"

#: Two installations may share one Redis database as long as their prefixes differ.
KEY_PREFIX: Final = "tickets:"
#: Where the answer to a wish lies for a while: this, and the wish's key.
ANSWER_PREFIX: Final = f"{KEY_PREFIX}answer:"
#: Seconds until nobody is expected to look for an answer any more.
ANSWER_KEPT_SECONDS: Final = 600

#: Headers of a message: when it was sent, in seconds since 1970, and one id that its log lines carry.
SENT_AT: Final = "sent_at"
CORRELATION: Final = "correlation"

_EXCHANGE = Exchange("tickets", type="direct")
QUEUES: Final = tuple(Queue(name, _EXCHANGE, routing_key=name) for name in (CLOCK, DESK, INTAKE, MONEY, REPORTS))
