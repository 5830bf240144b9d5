"""Whether what the database holds is well, and what to do where it is not. Looks, and changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

from ticket_system import audit, digests, mailings, outbox, recipients, settlements, state
from ticket_system.errors import StorageError, TicketSystemError
from ticket_system.rulebook import Rulebook
from ticket_system.sla.books import PolicyBook
from ticket_system.sla.days_off import DaysOff
from ticket_system.storage.database import Database
from ticket_system.storage.moments import moment

_NEWEST = 20
#: Deadlines are the database's business; but events carry the clock of whoever wrote them.
_SKEW_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: whether it is well, what was seen, and what to do about it."""

    what: str
    is_ok: bool
    detail: str
    #: Also where all is well enough to work, and a person should still look.
    advice: str = ""


def findings(database: Database, *, silent_seconds: float = 60.0) -> Iterator[Finding]:
    """Yield what was found, the first trouble with the database last; `silent_seconds`: how long no job may have ended.

    To be called on a database that is there: looking at a SQLite file makes it.
    """
    checks: tuple[Callable[[Database], Finding], ...] = (
        _answer,
        _revision,
        _clock,
        _rules,
        _notices,
        _usage,
        _reports,
        _parked,
        lambda one: _beat(one, silent_seconds),
        _audit,
    )
    for check, what in zip(checks, _WHAT, strict=True):
        try:
            yield check(database)
        except StorageError as error:
            yield Finding(what, is_ok=False, detail=str(error), advice=_ADVICE.get(what, ""))
            return
        except TicketSystemError as error:
            yield Finding(what, is_ok=False, detail=str(error), advice=_ADVICE.get(what, ""))


_WHAT = ("database", "schema", "clock", "rules", "outbox", "usage", "reports", "parked", "beat", "audit")
_ADVICE = {
    "database": "is the server running, and is TICKETS_DATABASE_URL right?",
    "schema": "run `tickets db upgrade`, or install the program that fits",
    "rules": "put rules in force that this program can read: `tickets policy apply FILE`",
}


def _answer(database: Database) -> Finding:
    database.ping()
    return Finding("database", is_ok=True, detail=database.url.render_as_string(hide_password=True))


def _revision(database: Database) -> Finding:
    database.require_current_schema()
    return Finding("schema", is_ok=True, detail=f"revision {database.schema_version()}")


def _clock(database: Database) -> Finding:
    skew = state.clock_skew(database)
    told = f"{abs(skew):.1f} s {'ahead of' if skew > 0 else 'behind'} the database's"
    if abs(skew) < _SKEW_SECONDS:
        return Finding("clock", is_ok=True, detail=f"this machine's clock is {told}")
    return Finding("clock", is_ok=False, detail=f"this machine's clock is {told}", advice="have both set by NTP")


def _rules(database: Database) -> Finding:
    with database.read() as connection:
        now = moment(connection)
        version, book = Rulebook().current(connection)
    told = "those built in" if version is None else f"version {version}, {len(book.policies):,} policies"
    if unknown := list(_without_holidays(book, now)):
        advice = "update the package `holidays`, or name the days in the calendar"
        return Finding("rules", is_ok=True, detail=f"{told}; no holidays known: {', '.join(unknown)}", advice=advice)
    return Finding("rules", is_ok=True, detail=told)


def _without_holidays(book: PolicyBook, now: datetime) -> Iterator[str]:
    """Name calendars with a country and without a public holiday this year or next: their deadlines would be wrong."""
    for name, calendar in sorted(book.calendars.items()):
        days = calendar.days_off
        if isinstance(days, DaysOff) and days.country is not None:
            yield from (f"{name} {year}" for year in (now.year, now.year + 1) if not days(year))


def _notices(database: Database) -> Finding:
    counts = {one.state: one for one in state.notices(database)}
    # Not a reason to call the fleet unfit: a person has to decide about these, and the rest goes on.
    stuck = [f"{counts[name].count:,} {name}" for name in outbox.STUCK if counts[name].count]
    told = [f"{counts['pending'].count:,} notices waiting", *stuck]
    away = outbox.resting(database)
    told += [f"{one.channel} does not answer: {one.error}" for one in away]
    advice = ["`tickets outbox list` names them"] if stuck else []
    advice += ["look after the places that do not answer; what waits for them goes out by itself then"] if away else []
    return Finding("outbox", is_ok=True, detail=", ".join(told), advice="; ".join(advice))


def _usage(database: Database) -> Finding:
    """Say what is not billed yet; like stuck notices, it wants a person, and the rest goes on."""
    found = settlements.outstanding(database)
    told = [f"{one.quantity:,} {one.what}" + (f" ({one.money})" if one.money else "") for one in found.rows]
    told += [f"{-one['quantity']:,} of {one['event_name']} missing or too many at Stripe" for one in found.surplus]
    told += [f"{found.dead_events:,} events given up: tickets billing sync"] if found.dead_events else []
    if not told:
        return Finding("usage", is_ok=True, detail="all of it is billed")
    return Finding("usage", is_ok=True, detail=", ".join(told), advice="`tickets usage list` names what is stuck")


def _reports(database: Database) -> Finding:
    """Say which reports wait for a person, and when the next one is due."""
    counts = mailings.outstanding(database)
    stuck = [f"{counts[name]:,} {name}" for name in mailings.STUCK if counts.get(name)]
    missed = sum(run.state == "missed" for run, _ in digests.runs(database, limit=_NEWEST))
    ahead = [one for _, some in recipients.all_organisations(database) for one in some]
    if not ahead:
        return Finding(
            "reports", is_ok=True, detail="nobody gets any", advice="`tickets organisations set` says who does"
        )
    first = min(ahead, key=lambda one: one.next_at)
    told = [*stuck, *([f"{missed:,} of the newest {_NEWEST} missed"] if missed else [])]
    told.append(f"the next is {first.organisation}'s, {first.next_at:%Y-%m-%d %H:%M} UTC")
    advice = ["`tickets digest list` names the letters"] if stuck else []
    advice += ["`tickets digest list --reports` names those missed"] if missed else []
    return Finding("reports", is_ok=True, detail=", ".join(told), advice="; ".join(advice))


def _parked(database: Database) -> Finding:
    parked = state.parked_messages(database)
    if not parked.count:
        return Finding("parked", is_ok=True, detail="every message was understood")
    told = f"{parked.count:,} messages that nobody understood, the oldest {parked.oldest_seconds / 3600:,.1f} h old"
    advice = "`tickets parked list` says why; then replay or drop them"
    return Finding("parked", is_ok=True, detail=told, advice=advice)


def _beat(database: Database, silent_seconds: float) -> Finding:
    done = state.jobs_done(database)
    if not done:
        return Finding("beat", is_ok=True, detail="no tick was done yet")
    with database.read() as connection:
        now = moment(connection)
    job, at = max(done.items(), key=lambda one: one[1])
    age = max((now - at).total_seconds(), 0.0)
    told = f"{job} ended {age:,.0f} s ago"
    if age <= silent_seconds:
        return Finding("beat", is_ok=True, detail=told)
    advice = "does a beat run, and a worker for its queue? `ticket-worker beat`, `ticket-worker worker`"
    return Finding("beat", is_ok=False, detail=f"nothing ticks: {told}", advice=advice)


def _audit(database: Database) -> Finding:
    """Say what the last audit came to; a clock that is not what its history makes of it wants a person."""
    last = audit.last_run(database)
    if last is None:
        return Finding("audit", is_ok=True, detail="none has finished yet")
    told = f"{last.checked:,} tickets, {last.differences:,} differences, {last.finished_at:%Y-%m-%d %H:%M} UTC"
    advice = "`tickets audit --all` explains both sides" if last.differences else ""
    return Finding("audit", is_ok=not last.differences, detail=told, advice=advice)
