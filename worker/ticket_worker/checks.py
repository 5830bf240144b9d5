"""Look whether everything a fleet needs is there, and what to do where it is not; changes nothing, sends nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator

from redis.exceptions import RedisError

from ticket_system import TicketSystem, checkup, recipients
from ticket_system.checkup import Finding
from ticket_system.errors import StorageError
from ticket_system.storage.database import Database
from ticket_tasks.errors import JobError
from ticket_tasks.reports import can_write
from ticket_worker.billing import connect
from ticket_worker.broker import broker_name, broker_problem, glance_at
from ticket_worker.destinations import Mask, secrets_of
from ticket_worker.errors import SettingsError
from ticket_worker.lifecycle import build_mailer
from ticket_worker.mail import DirectoryMailer, SmtpMailer
from ticket_worker.notify import sender_for
from ticket_worker.settings import Settings, exposed_files, read_settings, spelling_hints

#: Longer than any tick of the schedule that is shipped lets a fleet be silent.
_SILENT_SECONDS = 60.0
#: A message that waits longer finds no worker, or too few of them.
_LATE_SECONDS = 60.0


def fleet_findings(database: str = "") -> list[Finding]:
    """Return what was found of the fleet that the settings describe, or of one on another database."""
    try:
        settings = read_settings(**{"database_url": database} if database else {})
    except SettingsError as error:
        return [Finding("settings", is_ok=False, detail="; ".join(error.problems), advice="set what is expected")]
    return run_checks(settings)


def run_checks(settings: Settings) -> list[Finding]:
    """Return what was found, one line each; takes a few seconds at most."""
    return [
        finding for check in (_settings, _database, _broker, _mail, _places, _billing) for finding in check(settings)
    ]


def _settings(_settings: Settings) -> Iterator[Finding]:
    hints = [*spelling_hints(), *exposed_files()]
    advice = "correct them; what nobody reads has no effect" if hints else ""
    yield Finding("settings", not hints, "; ".join(hints) or "complete", advice)


def _database(settings: Settings) -> Iterator[Finding]:
    try:
        database = Database(settings.database, pool_size=1)
    except StorageError as error:
        yield Finding("database", is_ok=False, detail=str(error), advice="correct TICKETS_DATABASE_URL")
        return
    with database:
        where = database.url.render_as_string(hide_password=True)
        if database.path is not None and not database.path.exists():
            yield Finding("database", is_ok=True, detail=f"{where}, made at the first start")
            return
        silent_seconds = max(_SILENT_SECONDS, 3 * settings.scan_interval_seconds)
        for finding in checkup.findings(database, silent_seconds=silent_seconds):
            yield finding
            if finding.what == "reports" and not can_write() and recipients.all_organisations(database):
                advice = "pip install 'blackroad-ticket-system[charts]'"
                yield Finding("letters", is_ok=True, detail="this worker cannot write reports", advice=advice)


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
        advice = "look at TICKETS_STRIPE_API_KEY and TICKETS_STRIPE_MODE, and at the meters under [billing]"
        yield Finding("billing", is_ok=False, detail=str(error), advice=advice)
    else:
        yield Finding("billing", is_ok=True, detail=f"Stripe, {settings.stripe_mode} mode, meters {', '.join(found)}")


def _broker(settings: Settings) -> Iterator[Finding]:
    advice = "is the broker running, and is TICKETS_REDIS_URL right?"
    try:
        url = settings.broker
    except SettingsError as error:
        yield Finding("broker", is_ok=False, detail=str(error))
        return
    problem = broker_problem(url)
    yield Finding("broker", problem is None, problem or broker_name(url), advice if problem else "")
    if problem is None:
        yield _queues(url)


def _queues(url: str) -> Finding:
    try:
        found = glance_at(url, now=time.time())
    except (RedisError, OSError) as error:
        return Finding("queues", is_ok=False, detail=str(error), advice="another program uses the same keys there?")
    told = [f"{one.name} {one.messages:,}" for one in found.queues] + [f"in work {found.unacked:,}"]
    late = [one for one in found.queues if one.oldest_seconds > _LATE_SECONDS]
    told += [f"the oldest of {one.name} waits {one.oldest_seconds:,.0f} s" for one in late]
    advice = f"does a worker run for {', '.join(one.name for one in late)}, and are they enough?" if late else ""
    return Finding("queues", not late, ", ".join(told), advice)


def _mail(settings: Settings) -> Iterator[Finding]:
    mailer = build_mailer(settings)
    if not isinstance(mailer, SmtpMailer):
        where = f"to {mailer.folder}" if isinstance(mailer, DirectoryMailer) else "to the log"
        yield Finding("mail", is_ok=True, detail=f"{where} (TICKETS_MAIL={settings.mail})")
        return
    try:
        mailer.check()
    except JobError as error:
        advice = "nothing is lost meanwhile: letters wait. Are TICKETS_SMTP_HOST, port, user and password right?"
        yield Finding("mail", is_ok=False, detail=str(error), advice=advice)
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
            advice = "correct it in the file of TICKETS_DESTINATIONS"
            yield Finding(f"destination {name}", is_ok=False, detail=mask(str(error)), advice=advice)
        else:
            yield Finding(f"destination {name}", is_ok=True, detail=found)
