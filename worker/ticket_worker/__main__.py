"""The `ticket-worker` command.

Exit status: 0 all is well, 1 something is wrong (it says what), 2 the command or a setting makes no sense.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer

from ticket_worker.errors import FleetError, SettingsError
from ticket_worker.health import STALE_SECONDS, folder_set, live

# A probe runs every few seconds: whatever is heavy is loaded by the verb that needs it.
if TYPE_CHECKING:
    from ticket_worker.settings import Settings

USAGE = 2
METRICS_PORT = 9108
app = typer.Typer(
    name="ticket-worker",
    help="Run the processes that watch tickets: workers, the ticker, or a whole fleet on this machine.",
    epilog="Settings come from TICKETS_… variables, from files named by TICKETS_…_FILE, and from .env. "
    "Exit status: 0 all is well, 1 something is wrong, 2 the command or a setting makes no sense.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

DataDir = Annotated[
    Path | None, typer.Option("--data-dir", metavar="DIR", help="Where the embedded fleet keeps its data.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Concurrency = Annotated[int | None, typer.Option(min=1, max=64, help="Processes per queue.")]


@app.callback(invoke_without_command=True)
def ticket_worker(
    version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False,
) -> None:
    """Run the processes that watch tickets."""
    if version:
        from importlib import metadata

        typer.echo(f"ticket-worker {metadata.version('blackroad-ticket-system')}")
        raise typer.Exit


@app.command()
def worker(
    queues: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,…",
            help="Work on these queues only: clock, desk, intake, money, reports. Default: one process for each.",
        ),
    ] = None,
    concurrency: Concurrency = None,
) -> None:
    """Work off the queues, until SIGTERM or Ctrl-C."""
    with _settings() as settings:
        from ticket_tasks import names

        if queues is None:
            from ticket_worker.fleet import run_workers

            raise typer.Exit(run_workers(settings, concurrency))
        wanted, known = [name.strip() for name in queues.split(",")], [queue.name for queue in names.QUEUES]
        if strange := [name for name in wanted if name not in known]:
            _fail(f"there is no queue {strange[0]!r}; there are {', '.join(known)}", USAGE)
        from ticket_worker.processes import run_worker

        raise typer.Exit(run_worker(settings, wanted, concurrency))


@app.command()
def beat() -> None:
    """Send the ticks, until SIGTERM or Ctrl-C. Run two: on PostgreSQL one ticks, and the other takes over."""
    with _settings() as settings:
        from ticket_worker.processes import run_beat

        raise typer.Exit(run_beat(settings))


@app.command()
def webhook(
    host: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Listen on this address. Default: TICKETS_WEBHOOK_HOST.")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65_535, help="Listen on this port, 0: any. Default: TICKETS_WEBHOOK_PORT."),
    ] = None,
) -> None:
    """Take in what comes over HTTP, until SIGTERM or Ctrl-C; /healthz says whether it can.

    Stripe's events (/stripe, /stripe/thin): needs the extra `billing`, and the secret of at least one endpoint,
    TICKETS_STRIPE_WEBHOOK_SECRETS for snapshot events, TICKETS_STRIPE_THIN_SECRETS for thin ones. Readers who leave
    their reports (/unsubscribe): needs the extra `digest`, TICKETS_LINK_SECRETS and TICKETS_PUBLIC_URL. Speaks plain
    HTTP: something in front of it speaks TLS.
    """
    with _settings(webhook_host=host, webhook_port=port) as settings:
        from ticket_worker.web.serve import run_web

        raise typer.Exit(run_web(settings))


@app.command()
def up(
    data_dir: DataDir = None,
    database_url: Annotated[str | None, typer.Option(metavar="URL", help="Use this database.")] = None,
    redis_url: Annotated[str | None, typer.Option(metavar="URL", help="Use this broker.")] = None,
    concurrency: Concurrency = None,
) -> None:
    """Run a whole fleet on this machine: broker, ticker, workers; nothing else needs to be installed.

    Broker and SQLite file live under one folder (./data) unless their URLs are given, and outlast a restart.
    """
    with _settings(data_dir=data_dir, database_url=database_url, redis_url=redis_url) as settings:
        from ticket_worker.fleet import run_fleet

        raise typer.Exit(run_fleet(settings, concurrency))


@app.command()
def scan(
    data_dir: DataDir = None,
    loop: Annotated[bool, typer.Option("--loop", help="Go on, once per scan interval, until asked to stop.")] = False,
    as_json: AsJson = False,
) -> None:
    """Find breaches, raise alarms and deliver the notices, in this process: no broker, no workers."""
    with _settings(data_dir=data_dir) as settings:
        from ticket_worker import rounds
        from ticket_worker.database import prepare_database
        from ticket_worker.lifecycle import build_toolbox

        prepare_database(settings, patience_seconds=settings.start_patience_seconds if loop else 0)
        toolbox = build_toolbox(settings)
        with toolbox.database:
            if loop:
                rounds.rounds(toolbox, settings.scan_interval_seconds)
                return
            outcome = rounds.one_round(toolbox)
        if as_json:
            typer.echo(json.dumps(outcome.as_dict()))
        else:
            typer.echo(
                f"{outcome.scan.breaches} breaches found, {outcome.scan.alarms} alarms raised, "
                f"{outcome.deliver.sent} notices sent"
                + (
                    f", {outcome.deliver.found - outcome.deliver.sent} not"
                    if outcome.deliver.found > outcome.deliver.sent
                    else ""
                )
            )


@app.command()
def check(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Look whether everything is fit for work, and say what to do about what is not; changes nothing."""
    with _settings(data_dir=data_dir) as settings:
        from ticket_system.commands.doctor import report
        from ticket_worker import checks

        is_well = report(checks.run_checks(settings), as_json=as_json)
    if not is_well:
        raise typer.Exit(1)


@app.command()
def health(
    what: Annotated[
        Literal["live", "ready"],
        typer.Argument(
            help="live: every process of this host came round lately. ready: and database and broker answer, too."
        ),
    ],
    within: Annotated[
        float, typer.Option(metavar="SECONDS", min=1, help="So long a process may be silent.")
    ] = STALE_SECONDS,
    as_json: AsJson = False,
) -> None:
    """Tell whether this host's workers and beat are alive, or ready: status 0, or 1 and why not. For probes."""
    verdict = live(folder_set(), within_seconds=within)
    if what == "ready" and verdict.is_well:
        with _settings() as settings:
            from ticket_worker.readiness import ready

            verdict = ready(settings)
    if as_json:
        typer.echo(json.dumps({"is_well": verdict.is_well, "reasons": verdict.reasons}))
    elif verdict.is_well:
        typer.echo(what)
    else:
        for reason in verdict.reasons:
            _say(reason)
    raise typer.Exit(0 if verdict.is_well else 1)


@app.command()
def metrics(
    host: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Listen on this address. Default: TICKETS_METRICS_HOST.")
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Listen on this port, 0: any.")] = METRICS_PORT,
    once: Annotated[bool, typer.Option("--once", help="Print them and leave.")] = False,
) -> None:
    """Serve what database and broker say of the fleet, for Prometheus, until SIGTERM or Ctrl-C.

    One of them is enough for a fleet. What each process counts of its own work it serves itself, from
    TICKETS_METRICS_PORT on.
    """
    with _settings() as settings:
        from ticket_worker import exporter

        if once:
            typer.echo(exporter.print_once(settings), nl=False)
        else:
            raise typer.Exit(exporter.serve_fleet(settings, host or settings.metrics_host, port))


@app.command()
def demo(
    log_file: Annotated[
        Path | None,
        typer.Option("--log", metavar="FILE", exists=True, dir_okay=False, help="Replay a ServiceNow log first."),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(metavar="DIR", file_okay=False, help="Write the report of the run there. Default: a new folder."),
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the fleet's folder behind, its log included.")] = False,
) -> None:
    """Watch a whole fleet at work for half a minute: deadlines pass, breaches are found, escalated, told.

    Needs nothing but the extra `embedded`, touches nothing but temporary folders.
    """
    with _settings():
        from rich.console import Console

        from ticket_worker.demo.play import play

        raise typer.Exit(play(Console(), log_file=log_file, keep=keep, report=report))


@contextmanager
def _settings(**given: Any) -> Iterator[Settings]:
    """Read the settings and set up the log; anything that goes wrong on purpose becomes one line and an exit status."""
    import structlog

    from ticket_system.errors import TicketSystemError
    from ticket_worker.logging import configure_logging
    from ticket_worker.settings import exposed_files, read_settings, spelling_hints

    log = structlog.stdlib.get_logger(__name__)
    try:
        settings = read_settings(**{name: value for name, value in given.items() if value is not None})
        configure_logging(settings.log_level, settings.log_format, hidden=settings.secrets)
        for hint in spelling_hints():
            log.warning("setting.unknown", hint=hint)
        for hint in exposed_files():
            log.warning("setting.exposed", hint=hint)
        yield settings
    except SettingsError as error:
        for problem in (*error.problems, *spelling_hints()):
            _say(problem)
        raise typer.Exit(USAGE) from None
    except (TicketSystemError, FleetError) as error:
        _fail(str(error), 1)


def _say(message: str) -> None:
    typer.echo(f"ticket-worker: {message}", err=True)


def _fail(message: str, status: int) -> NoReturn:
    _say(message)
    raise typer.Exit(status)


def main() -> None:
    """Run the command."""
    if os.getpid() == 1:
        # The first process of a container is not ended by a signal that it has no handler for: a stop while it still
        # starts would be lost, and it killed after its grace.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    app()


if __name__ == "__main__":
    main()
