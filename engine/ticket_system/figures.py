"""What stands in a weekly or a daily report, counted in one snapshot of the database.

Everything of a period is counted from its beginning up to, and not including, its end; what is open, late or due "now"
as of one instant. Numbers in brackets are rules.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from ticket_system.billing.usage import KINDS, Window
from ticket_system.reports import arithmetic
from ticket_system.reports.contents import (
    NAMED_AGENTS,
    NAMED_TICKETS,
    BacklogWeek,
    Billing,
    Daily,
    DueTicket,
    LateTicket,
    Period,
    Scope,
    Totals,
    Use,
    Weekly,
)
from ticket_system.rulebook import Rulebook
from ticket_system.sla.calendars import Calendar
from ticket_system.sla.clocks import TARGETS
from ticket_system.sla.terms import TermsOf
from ticket_system.storage import customers, report_figures, report_promises, report_usage
from ticket_system.storage.database import Database
from ticket_system.storage.moments import moment
from ticket_system.storage.report_parts import Stretch
from ticket_system.storage.report_promises import Broken, Kind

#: A daily report names so many tickets of each sort; each agent is told of their own.
DAILY_TICKETS = 500
#: So much working time lies before what "falls due soon".
SOON = timedelta(hours=24)


def weekly(
    database: Database,
    rules: Rulebook,
    *,
    organisation: str,
    scope: Scope,
    period: Period,
    week_ends: Sequence[tuple[datetime, date]],
    before: Totals | None,
    as_of: datetime | None = None,
) -> Weekly:
    """Count a week.

    `week_ends`: the weeks of the backlog's curve, oldest first, each by the instant at which it was over and its last
    local day; `before`: the totals that went out for the week before; `as_of`: None is now, by the database's clock.
    """
    ends = [end for end, _ in week_ends]
    first = [arithmetic.week_before(ends[0], period.zone)] if ends else []
    instants = sorted({*first, *ends, period.starts_at, period.ends_at})
    with database.snapshot() as connection:
        now = as_of or moment(connection)
        stretch = Stretch(period.starts_at, period.ends_at, now)
        standing = report_figures.standing(connection, scope, instants, now)
        happened = arithmetic.Happened(
            instants,
            report_figures.opened(connection, scope, instants),
            report_figures.crossings(connection, scope, instants),
            standing,
        )
        solved = report_figures.solved(connection, scope, stretch)
        counted = report_figures.counted(connection, scope, stretch)
        loads = arithmetic.loads(standing, solved, counted)
        kept = arithmetic.kept(counted, TARGETS)
        broken = sum(one.breached for one in kept)
        promises = _Promises(connection, rules.told(connection), scope, now)
        due_soon, at_risk = promises.at_risk(NAMED_TICKETS)
        return Weekly(
            **_head(organisation, scope, period, now),
            totals=Totals(
                opened=happened.opened(period.starts_at, period.ends_at),
                solved=sum(solved.values()),
                reopened=happened.reopened(period.starts_at, period.ends_at),
                met=sum(one.met for one in kept),
                breached=broken,
                backlog=happened.backlog(period.ends_at),
            ),
            before=before,
            kept=kept,
            without_promise=report_figures.without_promise(connection, scope, stretch),
            worst=promises.worst(stretch, NAMED_TICKETS) if broken else (),
            late=broken,
            at_risk=at_risk,
            due_soon=due_soon,
            weeks=tuple(
                BacklogWeek(ends_at=end, ends_on=day, opened=happened.opened(start, end), backlog=happened.backlog(end))
                for start, (end, day) in zip([*first, *ends], week_ends, strict=False)
            ),
            took=report_figures.took(connection, scope, stretch),
            ages=arithmetic.ages(standing),
            loads=loads[:NAMED_AGENTS],
            agents=len(loads),
            billing=_billing(connection, rules, scope.customer, now),
        )


def daily(
    database: Database,
    rules: Rulebook,
    *,
    organisation: str,
    scope: Scope,
    period: Period,
    as_of: datetime | None = None,
) -> Daily:
    """Return what was broken in a day, and what falls due next; `as_of`: None is now, by the database's clock."""
    with database.snapshot() as connection:
        now = as_of or moment(connection)
        promises = _Promises(connection, rules.told(connection), scope, now)
        return Daily(
            **_head(organisation, scope, period, now),
            worst=promises.worst(Stretch(period.starts_at, period.ends_at, now), DAILY_TICKETS),
            at_risk=promises.at_risk(DAILY_TICKETS)[1],
        )


class _Promises:
    """Promises named one by one, each measured by the calendar that it runs by."""

    def __init__(self, connection: sa.Connection, terms: TermsOf, scope: Scope, now: datetime) -> None:
        self._connection, self._terms, self._scope, self._now = connection, terms, scope, now

    def at_risk(self, limit: int) -> tuple[int, tuple[DueTicket, ...]]:
        """Count what falls due within the next working hours of its own calendar; and name the first."""
        kinds = report_promises.kinds_running(self._connection)
        bounds = {kind: self._calendar(kind).add(self._now, SOON) for kind in kinds}
        number, found = report_promises.due_soon(self._connection, self._scope, self._now, bounds, limit)
        return number, tuple(
            one.ticket.model_copy(update={"left_seconds": self._left(one.kind, self._now, one.ticket.due_at)})
            for one in found
        )

    def worst(self, stretch: Stretch, limit: int) -> tuple[LateTicket, ...]:
        """Name the promises broken within that are furthest beyond, in working time."""
        done = report_promises.worst_done(self._connection, self._scope, stretch, limit)
        ranked = sorted([*((self._over(one), one) for one in done), *self._running(stretch, limit)], key=_worst_first)
        titles = report_promises.titles(self._connection, {one.ticket_id for _, one in ranked[:limit]})
        return tuple(
            LateTicket(
                ticket_id=one.ticket_id,
                target=one.target,
                breached_at=one.since,
                over_seconds=over,
                is_running=one.worked is None,
                **titles[one.ticket_id]._asdict(),
            )
            for over, one in ranked[:limit]
        )

    def _running(self, stretch: Stretch, limit: int) -> list[tuple[float, Broken]]:
        """Return what is not done yet, at least the worst of it.

        By one calendar, what was due first is furthest beyond, unless it was done for a while and reopened. So more
        are read until those that were not read cannot be among the worst.
        """
        read = limit
        while True:
            read *= 4
            found = report_promises.first_running(self._connection, self._scope, stretch, read)
            ranked = sorted(((self._over(one), one) for one in found), key=_worst_first)
            least = ranked[limit - 1][0] if len(ranked) >= limit else 0.0
            number = Counter(one.kind for one in found)
            # Of the kinds of which there may be more, the last that was read: the others were due later.
            last = {one.kind: one.due_at for one in found if number[one.kind] == read}
            if all(self._left(kind, due_at, self._now) <= least for kind, due_at in last.items()):
                return ranked

    def _over(self, one: Broken) -> float:
        """Return the seconds of open time beyond what was promised: until it was done, or until now."""
        worked = one.worked
        if worked is None:
            worked = self._calendar(one.kind).between(one.started_at, self._now) - one.paused_for
        return max(worked.total_seconds() - one.target_seconds, 0.0)

    def _left(self, kind: Kind, since: datetime, until: datetime) -> float:
        return self._calendar(kind).between(since, until).total_seconds()

    def _calendar(self, kind: Kind) -> Calendar:
        rules, policy, target = kind
        return self._terms(target, policy, rules).calendar


def _worst_first(ranked: tuple[float, Broken]) -> tuple[float, datetime, str, str]:
    over, one = ranked
    return -over, one.since, one.ticket_id, one.target


def _head(organisation: str, scope: Scope, period: Period, now: datetime) -> dict[str, Any]:
    return {"organisation": organisation, "as_of": now} | scope.model_dump() | period.model_dump()


def _billing(connection: sa.Connection, rules: Rulebook, name: str | None, now: datetime) -> Billing | None:
    """Return what is billed of a customer who is linked."""
    account = customers.known(connection, [name] if name else []).get(name or "")
    if account is None:
        return None
    running = next(
        (one for one in customers.periods(connection, [account.name]).get(account.name, []) if one.holds(now)), None
    )
    month = now.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    counted = running or Window(month, now)
    found = report_usage.used(connection, account.name, counted)
    terms = rules.current(connection)[1].billing
    return Billing(
        customer=account.name,
        plan=account.plan,
        status=account.status,
        problem=account.problem,
        use=tuple(
            Use(
                kind=kind,
                starts_at=counted.start,
                ends_at=running.end if running else None,
                used=found.used[kind],
                reported=found.reported[kind],
                projected=arithmetic.projected(found.used[kind], counted.start, running.end if running else None, now),
                amount=terms.amounts.get(kind) or None,
                currency=terms.currency if terms.amounts.get(kind) else None,
            )
            for kind in KINDS
        ),
        stuck=report_usage.stuck(connection, account.name),
    )
