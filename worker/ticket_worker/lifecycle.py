"""What a process of the fleet holds: one toolbox, made after the fork; and what each of its log lines carries."""

from __future__ import annotations

import re
import time
import uuid
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import structlog
from billiard.common import REMAP_SIGTERM
from celery import signals
from celery.app.task import Task

from ticket_system import TicketSystem
from ticket_system.errors import StorageError
from ticket_system.storage.database import Database
from ticket_tasks import names, tracing
from ticket_tasks.answers import Answers
from ticket_tasks.toolbox import Mailer, Notifier, Stationery, Toolbox
from ticket_worker import notify
from ticket_worker.billing import connect
from ticket_worker.database import prepare_database
from ticket_worker.errors import SettingsError
from ticket_worker.logging import configure_logging
from ticket_worker.mail import ConsoleMailer, DirectoryMailer, SmtpMailer
from ticket_worker.message import Sender
from ticket_worker.notify import ConsoleNotifier
from ticket_worker.settings import Settings
from ticket_worker.supervisor import USAGE

log = structlog.stdlib.get_logger(__name__)

#: What everything that follows from one message has in common in the log.
_CORRELATION = re.compile(r"[A-Za-z0-9._:-]{1,100}")


class Workshop:
    """Makes this process's toolbox when it is first needed, and clears it away at the end."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._toolbox: Toolbox | None = None
        self._answers: Answers | None = None

    def toolbox(self) -> Toolbox:
        """Return the toolbox; its connections belong to the process that asked first."""
        if self._toolbox is None:
            self._answers = Answers(self.settings.broker, client_name="ticket-worker")
            self._toolbox = replace(build_toolbox(self.settings), answers=self._answers)
        return self._toolbox

    def close(self) -> None:
        """Let go of every connection; the next call of `toolbox` makes new ones."""
        if self._toolbox is not None:
            self._toolbox.database.close()
            self._toolbox = None
        if self._answers is not None:
            self._answers.close()
            self._answers = None


def build_toolbox(settings: Settings) -> Toolbox:
    """Return what jobs work with, as the settings say.

    A process does one thing at a time and so keeps one connection to the database: what a server has to bear from
    workers is queues x concurrency, ten by default, and a few more for moments. `ticket-worker webhook` answers
    several at a time, and keeps up to five.
    """
    return Toolbox(
        system=TicketSystem(Database(settings.database, pool_size=1, statement_seconds=settings.statement_seconds)),
        mailer=build_mailer(settings),
        notifier=build_notifier(settings),
        meter=connect.meter(settings),
        shop=connect.shop(settings),
        mail_to=settings.mail_to,
        stationery=build_stationery(settings),
        scan_batch_size=settings.scan_batch_size,
        scan_budget_seconds=settings.scan_budget_seconds,
        deliver_batch_size=settings.deliver_batch_size,
        deliver_budget_seconds=settings.deliver_budget_seconds,
        keep=settings.keep,
    )


def build_mailer(settings: Settings) -> Mailer:
    """Return the mailer that the settings name."""
    sender = sender_of(settings)
    if settings.mail == "console":
        return ConsoleMailer(sender)
    if settings.mail == "directory":
        return DirectoryMailer(sender, settings.mail_dir or settings.data_dir / "mail")
    return SmtpMailer(
        sender=sender,
        host=settings.smtp_host,
        port=settings.mail_port,
        user=settings.smtp_user,
        password=settings.smtp_password.get_secret_value() if settings.smtp_password else None,
        tls=settings.smtp_tls,
        starttls=settings.smtp_starttls,
        timeout_seconds=settings.smtp_timeout_seconds,
    )


def sender_of(settings: Settings) -> Sender:
    """Return who letters are from."""
    return Sender(settings.mail_from, settings.mail_name, settings.mail_reply_to)


def build_stationery(settings: Settings) -> Stationery:
    """Return what every report carries, or raise SettingsError where an extra is missing."""
    stationery = Stationery(
        ticket_url=settings.ticket_url,
        postal_address=settings.postal_address,
        unsubscribe_address=settings.unsubscribe_mail,
    )
    if settings.link_secrets is None:
        return stationery
    if find_spec("itsdangerous") is None:
        raise SettingsError(
            "TICKETS_LINK_SECRETS: links need an extra. Expected: pip install 'blackroad-ticket-system[digest]'"
        )
    from ticket_worker.links import links_of  # noqa: PLC0415 - an extra

    return replace(stationery, unsubscribe_url=links_of(settings).unsubscribe_url)


def build_notifier(settings: Settings) -> Notifier:
    """Return the notifier that the settings name, or raise SettingsError."""
    if not settings.is_live:
        return ConsoleNotifier()
    return notify.connect(settings.places, timeout_seconds=settings.notify_timeout_seconds)


def connect_signals(workshop: Workshop) -> None:
    """Tie the toolbox and the log to the life of Celery's processes."""
    settings = workshop.settings

    def configure(**_: object) -> None:
        configure_logging(settings.log_level, settings.log_format, hidden=settings.secrets)

    def prepare(**_: object) -> None:
        try:
            build_notifier(settings)
            build_stationery(settings)
            connect.meter(settings)
            prepare_database(settings, patience_seconds=settings.start_patience_seconds)
        except (SettingsError, StorageError) as error:
            log.error("worker.refused", error=str(error))  # noqa: TRY400 - the sentence is the message
            # Celery swallows errors of its signal handlers, not an exit.
            raise SystemExit(USAGE if isinstance(error, SettingsError) else 1) from error
        if REMAP_SIGTERM != "SIGQUIT":
            log.warning(
                "worker.sigterm_unbounded",
                hint="set REMAP_SIGTERM=SIGQUIT, or start it by `ticket-worker worker`",
            )

    def open_toolbox(**_: object) -> None:
        try:
            workshop.toolbox()
        except StorageError as error:
            # The database went away just now; the first job that needs it asks again.
            log.warning("toolbox.postponed", error=str(error))

    def close_toolbox(**_: object) -> None:
        workshop.close()

    # Weak references would be gone when this function returns.
    signals.setup_logging.connect(configure, weak=False)
    signals.worker_init.connect(prepare, weak=False)
    signals.worker_process_init.connect(open_toolbox, weak=False)
    signals.worker_process_shutdown.connect(close_toolbox, weak=False)
    signals.before_task_publish.connect(label_message, weak=False)
    signals.task_prerun.connect(bind_task, weak=False)
    signals.task_postrun.connect(clear_task, weak=False)


def label_message(headers: dict[str, Any], **_: object) -> None:
    """Say on a message when it was sent, what it belongs to and whose trace goes on, unless it says so itself."""
    headers.setdefault(names.SENT_AT, time.time())
    if headers.get(names.CORRELATION) is None:
        headers[names.CORRELATION] = structlog.contextvars.get_contextvars().get("correlation") or _new_correlation()
    tracing.inject(headers)


def bind_task(task_id: str, task: Task[..., Any], **_: object) -> None:
    """Put a task's id, name, attempt and what it belongs to on every line that follows, and nothing of another."""
    structlog.contextvars.clear_contextvars()
    found = getattr(task.request, names.CORRELATION, None)
    # It comes from outside: nothing but what can be a name stands on our lines.
    known = isinstance(found, str) and _CORRELATION.fullmatch(found) is not None
    structlog.contextvars.bind_contextvars(
        task_id=task_id,
        task=task.name,
        attempt=task.request.retries + 1,
        correlation=found if known else _new_correlation(),
    )


def clear_task(**_: object) -> None:
    """Forget the task, so that nothing of it appears on lines of others."""
    structlog.contextvars.clear_contextvars()


def _new_correlation() -> str:
    return uuid.uuid4().hex
