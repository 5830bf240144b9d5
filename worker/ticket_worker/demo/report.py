"""The report of the play itself: the week so far, as a manager would get it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from ticket_system import TicketSystem, figures
from ticket_system.reports import weeks
from ticket_system.reports.contents import WEEKLY, Period, Scope
from ticket_system.reports.readers import Reader
from ticket_tasks.digest import chart, letter
from ticket_worker.commands.digest import write_files
from ticket_worker.lifecycle import build_stationery
from ticket_worker.settings import Settings

_ZONE = "UTC"


def write_report(system: TicketSystem, settings: Settings, folder: Path) -> Path:
    """Write what became of the tickets as a page, a text, a picture and a mail; returns the page."""
    now = system.database.now()
    today = now.date()
    whole = weeks.period(WEEKLY, today + timedelta(days=1), _ZONE)
    # Up to this moment: the play is of today.
    so_far = Period(**whole.model_dump() | {"ends_at": now})
    ends = [*weeks.week_ends(today + timedelta(days=1), _ZONE)[:-1], (now, today)]
    content = figures.weekly(
        system.database,
        system.rules,
        organisation="demo",
        scope=Scope(),
        period=so_far,
        week_ends=ends,
        before=None,
        as_of=now,
    )
    reader = Reader(0, "you@example.org", sees_agents=True)
    written = letter.write(
        content,
        reader,
        build_stationery(settings),
        key="demo",
        at=now,
        picture=chart.draw(content),
        unsubscribe_url=None,
    )
    return write_files(written, settings, folder)[0]
