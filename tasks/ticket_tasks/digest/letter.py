"""A report, written: subject, text and page from one set of facts."""

from __future__ import annotations

from datetime import datetime

from ticket_system.reports.contents import Daily, Weekly
from ticket_system.reports.readers import Reader
from ticket_tasks.digest import chart
from ticket_tasks.digest.daily import daily_page
from ticket_tasks.digest.page import page, text
from ticket_tasks.digest.weekly import weekly_page
from ticket_tasks.toolbox import Letter, Mailing, Picture, Stationery


def write(
    content: Weekly | Daily,
    reader: Reader,
    paper: Stationery,
    *,
    key: str,
    at: datetime,
    picture: bytes | None,
    unsubscribe_url: str | None,
) -> Letter:
    """Write a report to one reader. `key` and `at` are those of every attempt at it: a repeat has the same bytes."""
    view = (
        weekly_page(content, reader, paper, unsubscribe_url)
        if isinstance(content, Weekly)
        else daily_page(content, reader, paper, unsubscribe_url)
    )
    facts = {name: getattr(view, name) for name in view.__slots__} | {
        "picture": chart.NAME if picture is not None else None,
    }
    return Letter(
        key=key,
        to=reader.address,
        to_name=reader.name or None,
        subject=view.subject,
        text=text(f"{content.kind}.txt", **facts),
        html=page(f"{content.kind}.html", **facts),
        pictures=(Picture(chart.NAME, picture),) if picture is not None and isinstance(content, Weekly) else (),
        at=at,
        mailing=Mailing(
            list_name=f"{content.kind}.{content.organisation}",
            title=f"{view.title} of {view.organisation}",
            unsubscribe_url=unsubscribe_url,
            unsubscribe_address=paper.unsubscribe_address,
        ),
    )
