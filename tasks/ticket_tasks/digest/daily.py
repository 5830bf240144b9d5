"""What stands in the report of a day, as one reader reads it."""

from __future__ import annotations

from dataclasses import dataclass

from ticket_system.reports.contents import DEFINITIONS, Daily
from ticket_system.reports.readers import Reader
from ticket_tasks.digest.parts import Footer, Line, due_lines, footer, late_lines
from ticket_tasks.digest.words import LONGEST_TITLE, plain, plural, words_of
from ticket_tasks.toolbox import Stationery

#: So many of each stand in one mail.
NAMED = 50


@dataclass(frozen=True, slots=True)
class DailyPage:
    """The whole report."""

    subject: str
    preheader: str
    organisation: str
    title: str
    period: str
    headline: str
    worst: tuple[Line, ...]
    worst_more: str
    at_risk: tuple[Line, ...]
    at_risk_more: str
    definitions: dict[str, str]
    footer: Footer


def daily_page(content: Daily, reader: Reader, paper: Stationery, unsubscribe_url: str | None) -> DailyPage:
    """Write a day for a reader."""
    words = words_of(reader)
    organisation, period = plain(content.organisation), words.period(content.starts_on, content.ends_on)
    broken, due = len(content.worst), len(content.at_risk)
    headline = (
        f"{words.number(broken)} {plural(broken, 'promise', 'promises')} broken, {words.number(due)} due soon"
        if broken or due
        else "nothing broken, nothing due soon"
    )
    titles = [one.title for one in content.worst] + [one.title for one in content.at_risk]
    return DailyPage(
        subject=f"{organisation}, {words.day(content.ends_on)}: {headline}",
        preheader=plain(titles[0], LONGEST_TITLE) if titles else "A quiet day.",
        organisation=organisation,
        title="Daily report",
        period=period,
        headline=headline,
        worst=late_lines(content.worst[:NAMED], words, paper),
        worst_more=f"and {words.number(broken - NAMED)} more" if broken > NAMED else "",
        at_risk=due_lines(content.at_risk[:NAMED], words, paper),
        at_risk_more=f"and {words.number(due - NAMED)} more" if due > NAMED else "",
        definitions=dict(DEFINITIONS),
        footer=footer(
            f"You get this because you are among the people of {organisation} who get its daily report.",
            f"Counted on {words.moment(content.as_of)}; times are those of {words.zone.key}.",
            reader,
            paper,
            unsubscribe_url,
        ),
    )
