"""Look whether everything a fleet needs is there, without changing anything."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ticket_system import TicketSystem, audit, digests, mailings, outbox, recipients, settlements
from ticket_system.errors import StorageError
from ticket_system.storage.database import Database
from ticket_tasks.errors import JobError
from ticket_tasks.reports import can_write
from ticket_worker.billing import connect
from ticket_worker.broker import broker_name, broker_problem
from ticket_worker.destinations import Mask, secrets_of
from ticket_worker.errors import SettingsError
from ticket_worker.lifecycle import build_mailer
from ticket_worker.mail import DirectoryMailer, SmtpMailer
from ticket_worker.notify import sender_for
from ticket_worker.settings import Settings, exposed_files, spelling_hints

_NEWEST = 20


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    what: str
    is_ok: bool
    detail: str


def run_checks(settings: Settings) -> list[Finding]:
    """Return what was found, one line each; takes a few seconds at most."""
    return [
        finding for check in (_settings, _database, _broker, _mail, _places, _billing) for finding in check(settings)
    ]


def _settings(_settings: Settings) -> Iterator[Finding]:
    hints = [*spelling_hints(), *exposed_files()]
    yield Finding("settings", not hints, "; ".join(hints) or "complete")


def _database(settings: Settings) -> Iterator[Finding]:
    try:
        database = Database(settings.database, pool_size=1)
    except StorageError as error:
        yield Finding("database", is_ok=False, detail=str(error))
        return
    with database:
        where = database.url.render_as_string(hide_password=True)
        if database.path is not None and not database.path.exists():
            yield Finding("database", is_ok=True, detail=f"{where}, made at the first start")
            return
        for what, look in (
            ("database", _answer),
            ("schema", _revision),
            ("outbox", _undelivered),
            ("usage", _unbilled),
            ("reports", _unsent),
        ):
            try:
                yield Finding(what, is_ok=True, detail=look(database))
            except StorageError as error:
                yield Finding(what, is_ok=False, detail=str(error))
                return
        yield _audited(database)


def _audited(database: Database) -> Finding:
    """Say what the last audit came to; a clock that is not what its history makes of it wants a person."""
    last = audit.last_run(database)
    if last is None:
        return Finding("audit", is_ok=True, detail="none has finished yet")
    found = f"{last.differences:,} differences" + ("; see `tickets audit --all`" if last.differences else "")
    detail = f"{last.checked:,} tickets, {found}, {last.finished_at:%Y-%m-%d %H:%M} UTC"
    return Finding("audit", is_ok=not last.differences, detail=detail)


def _answer(database: Database) -> str:
    database.ping()
    return database.url.render_as_string(hide_password=True)


def _revision(database: Database) -> str:
    database.require_current_schema()
    return f"revision {database.schema_version()}"


def _undelivered(database: Database) -> str:
    counts = outbox.count(database)
    # Not a reason to call the fleet unfit: a person has to decide about these, and the rest goes on.
    stuck = {state: counts[state] for state in ("parked", "uncertain") if counts.get(state)}
    waiting = f"{counts.get('pending', 0)} notices waiting"
    away = [f"{one.channel} does not answer: {one.error}" for one in outbox.resting(database)]
    return ", ".join([waiting, *(f"{count} {state}: see `tickets outbox`" for state, count in stuck.items()), *away])


def _unbilled(database: Database) -> str:
    """Say what is not billed yet; like stuck notices, it wants a person, and the rest goes on."""
    found = settlements.outstanding(database)
    told = [f"{one.quantity:,} {one.what}" + (f" ({one.money})" if one.money else "") for one in found.rows]
    told += [f"{-one['quantity']:,} of {one['event_name']} missing or too many at Stripe" for one in found.surplus]
    told += [f"{found.dead_events:,} events given up: tickets billing sync"] if found.dead_events else []
    return ", ".join(told) + "; see `tickets usage list`" if told else "all of it is billed"


def _unsent(database: Database) -> str:
    """Say which reports wait for a person, and when the next one is due."""
    counts = mailings.outstanding(database)
    stuck = [f"{counts[state]:,} {state}: see `tickets digest list`" for state in mailings.STUCK if counts.get(state)]
    missed = sum(run.state == "missed" for run, _ in digests.runs(database, limit=_NEWEST))
    stuck += [f"{missed:,} of the newest {_NEWEST} missed: see `tickets digest list --reports`"] if missed else []
    ahead = [one for _, some in recipients.all_organisations(database) for one in some]
    if not ahead:
        return "nobody gets any: tickets organisations set"
    if not can_write():
        stuck.append("this worker cannot write them: pip install 'blackroad-ticket-system[charts]'")
    first = min(ahead, key=lambda one: one.next_at)
    return ", ".join([*stuck, f"the next is {first.organisation}'s, {first.next_at:%Y-%m-%d %H:%M} UTC"])


def _billing(settings: Settings) -> Iterator[Finding]:
    """Look whether Stripe knows our key and our meters, and whether it is the mode that we mean."""
    if settings.billing != "stripe":
        told = {"off": "off (TICKETS_BILLING=off)", "console": "to the log (TICKETS_BILLING=console)"}
        yield Finding("billing", is_ok=True, detail=told[settings.billing])
        return
    try:
        connect.require()
        from ticket_worker.billing import stripe_ports  # noqa: PLC0415 - an extra

        with Database(settings.database, pool_size=1) as database:
            names = TicketSystem(database).in_force()[1].billing.meters.values()
        found = stripe_ports.meter(settings).known(names)
    except (JobError, SettingsError, StorageError) as error:
        yield Finding("billing", is_ok=False, detail=str(error))
    else:
        yield Finding("billing", is_ok=True, detail=f"Stripe, {settings.stripe_mode} mode, meters {', '.join(found)}")


def _broker(settings: Settings) -> Iterator[Finding]:
    try:
        url = settings.broker
    except SettingsError as error:
        yield Finding("broker", is_ok=False, detail=str(error))
        return
    problem = broker_problem(url)
    yield Finding("broker", problem is None, problem or broker_name(url))


def _mail(settings: Settings) -> Iterator[Finding]:
    mailer = build_mailer(settings)
    if not isinstance(mailer, SmtpMailer):
        where = f"to {mailer.folder}" if isinstance(mailer, DirectoryMailer) else "to the log"
        yield Finding("mail", is_ok=True, detail=f"{where} (TICKETS_MAIL={settings.mail})")
        return
    try:
        mailer.check()
    except JobError as error:
        yield Finding("mail", is_ok=False, detail=str(error))
    else:
        yield Finding("mail", is_ok=True, detail=f"{settings.smtp_host}:{settings.mail_port}")


def _places(settings: Settings) -> Iterator[Finding]:
    """Look at each destination without sending anything; say its name, never its address."""
    if settings.places and not settings.is_live:
        yield Finding("destinations", is_ok=True, detail="to the log (TICKETS_NOTIFY=console)")
    mask = Mask(secrets_of(settings.places))
    for name, place in settings.places.items():
        try:
            sender = sender_for(place, settings.notify_timeout_seconds)
            found = sender.look()
        except (JobError, SettingsError) as error:
            yield Finding(f"destination {name}", is_ok=False, detail=mask(str(error)))
        else:
            yield Finding(f"destination {name}", is_ok=True, detail=found)
