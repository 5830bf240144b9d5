"""What stands in the report of a week, as one reader reads it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ticket_system.reports.arithmetic import attainment, percent, points
from ticket_system.reports.contents import DEFINITIONS, FEW, NAMED_AGENTS, NAMED_TICKETS, Billing, Kept, Weekly
from ticket_system.reports.readers import Reader
from ticket_tasks.digest.parts import Bar, Footer, Line, Sense, Table, Tile, due_lines, footer, late_lines
from ticket_tasks.digest.words import Words, plain, plural, priority, target, words_of
from ticket_tasks.toolbox import Stationery

_NO_COMPARISON = "n/a"
_UP, _DOWN = "▲", "▼"
#: From ten times as many on, percents say nothing.
_TIMES = 900


@dataclass(frozen=True, slots=True)
class WeeklyPage:
    """The whole report; `picture_alt` says in words what the curve shows."""

    subject: str
    preheader: str
    organisation: str
    title: str
    period: str
    headline: str
    tiles: tuple[Tile, ...]
    kept: tuple[Bar, ...]
    kept_note: str
    worst: tuple[Line, ...]
    worst_more: str
    at_risk: tuple[Line, ...]
    at_risk_more: str
    backlog: Table
    picture_alt: str
    ages: tuple[Bar, ...]
    tables: tuple[Table, ...]
    definitions: dict[str, str]
    footer: Footer


def weekly_page(content: Weekly, reader: Reader, paper: Stationery, unsubscribe_url: str | None) -> WeeklyPage:
    """Write a week for a reader."""
    words = words_of(reader)
    organisation, period = plain(content.organisation), words.period(content.starts_on, content.ends_on)
    headline = _headline(content, words)
    tables = [_took(content, words)] if content.took else []
    tables += [_loads(content, words)] if reader.sees_agents and content.loads else []
    tables += [_billing(content.billing, words)] if reader.sees_billing and content.billing else []
    return WeeklyPage(
        subject=f"{organisation}, {period}: {headline}",
        preheader=_preheader(content, words),
        organisation=organisation,
        title="Weekly report",
        period=period,
        headline=headline,
        tiles=_tiles(content, words),
        kept=_kept(content.kept, words),
        kept_note=_kept_note(content, words),
        worst=late_lines(content.worst[:NAMED_TICKETS], words, paper),
        worst_more=_more(content.late - len(content.worst[:NAMED_TICKETS]), words),
        at_risk=due_lines(content.at_risk[:NAMED_TICKETS], words, paper),
        at_risk_more=_more(content.due_soon - len(content.at_risk[:NAMED_TICKETS]), words),
        backlog=_backlog(content, words),
        picture_alt=_curve_in_words(content, words),
        ages=_ages(content, words),
        tables=tuple(tables),
        definitions=dict(DEFINITIONS),
        footer=footer(
            f"You get this because you are among the people of {organisation} who get its weekly report.",
            f"Counted on {words.moment(content.as_of)}; times are those of {words.zone.key}. {_scope(content)}",
            reader,
            paper,
            unsubscribe_url,
        ),
    )


def _scope(content: Weekly) -> str:
    whose = [f"customer {plain(content.customer)}"] if content.customer else []
    whose += [f"group {plain(content.group)}"] if content.group else []
    return f"Only tickets of {' and '.join(whose)} are counted." if whose else "All tickets are counted."


def _headline(content: Weekly, words: Words) -> str:
    totals, decided = content.totals, content.totals.met + content.totals.breached
    if decided and not totals.breached:
        return f"all {words.number(decided)} promises kept" if decided > 1 else "the one promise was kept"
    if decided:
        return f"{words.percent(totals.met / decided)} of promises kept, {words.number(totals.breached)} broken"
    if totals.opened or totals.solved or totals.backlog:
        counts = (f"{words.number(totals.opened)} new", f"{words.number(totals.solved)} solved")
        return f"{', '.join(counts)}, {words.number(totals.backlog)} open"
    return "a quiet week"


def _preheader(content: Weekly, words: Words) -> str:
    totals = content.totals
    counts = (f"{words.number(totals.opened)} new", f"{words.number(totals.solved)} solved")
    due = f"{words.number(content.due_soon)} due soon" if content.due_soon else "nothing due soon"
    return ", ".join([*counts, f"{words.number(totals.backlog)} open", due])


def _tiles(content: Weekly, words: Words) -> tuple[Tile, ...]:
    totals, before = content.totals, content.before

    def tile(label: str, name: str, *, more: Sense, note: str = "") -> Tile:
        value = getattr(totals, name)
        change, sense = _change(value, getattr(before, name) if before else None, words, more)
        return Tile(label, words.number(value), change, sense, note)

    reopened = f"{words.number(totals.reopened)} reopened" if totals.reopened else ""
    return (
        tile("New", "opened", more="even"),
        tile("Solved", "solved", more="better", note=reopened),
        _kept_tile(content, words),
        tile("Open", "backlog", more="worse", note="when the week ended"),
    )


def _change(value: int, before: int | None, words: Words, more: Sense) -> tuple[str, Sense]:
    """Write how a count changed, in percent of the one before; `more` says what more of it would be."""
    if value == before:
        return "unchanged", "even"
    change = percent(value, before or 0)
    if change is None or not before:
        return _NO_COMPARISON, "even"
    size = words.percent(abs(change) / 100) if change < _TIMES else f"×{words.number(round(value / before))}"
    return _signed(size, is_more=change > 0, more=more)


def _kept_tile(content: Weekly, words: Words) -> Tile:
    totals, before = content.totals, content.before
    now = attainment(totals)
    if now is None:
        return Tile("Promises kept", "–", "nothing was decided", "even")
    change = points(now, attainment(before) if before else None)
    note = f"{words.number(totals.met)} of {words.number(totals.met + totals.breached)}"
    said: str = _NO_COMPARISON
    sense: Sense = "even"
    if change is not None:
        size = words.points(abs(change))
        unit = "point" if size == words.number(1) else "points"
        said, sense = _signed(f"{size} {unit}", is_more=change > 0, more="better")
        if size == words.number(0):
            said, sense = "unchanged", "even"
    return Tile("Promises kept", words.percent(now), said, sense, note)


def _signed(size: str, *, is_more: bool, more: Sense) -> tuple[str, Sense]:
    opposite: dict[Sense, Sense] = {"better": "worse", "worse": "better", "even": "even"}
    sense = more if is_more else opposite[more]
    arrow, sign = (_UP, "" if size.startswith("×") else "+") if is_more else (_DOWN, "−")
    return f"{arrow} {sign}{size}" + (f", {sense}" if sense != "even" else ""), sense


def _kept(found: Iterable[Kept], words: Words) -> tuple[Bar, ...]:
    return tuple(
        Bar(
            label=f"{target(one.target)}, {priority(one.priority)}",
            width=round(100 * (one.attainment or 0)),
            cells=(
                words.percent(one.attainment) if one.attainment is not None else _NO_COMPARISON,
                f"{words.number(one.met)} of {words.number(one.decided)}",
            ),
            note=", ".join(_apart(one, words)),
        )
        for one in found
        if one.decided or one.waived or one.cancelled
    )


def _apart(one: Kept, words: Words) -> list[str]:
    said = ["few: says little"] if 0 < one.decided < FEW else []
    said += [f"{words.number(one.waived)} waived"] if one.waived else []
    return said + ([f"{words.number(one.cancelled)} cancelled"] if one.cancelled else [])


def _kept_note(content: Weekly, words: Words) -> str:
    number = content.without_promise
    if not number:
        return ""
    return f"{words.number(number)} new {plural(number, 'ticket has', 'tickets have')} no promise."


def _more(number: int, words: Words) -> str:
    return f"and {words.number(number)} more" if number > 0 else ""


def _backlog(content: Weekly, words: Words) -> Table:
    rows = [(words.day(one.ends_on), words.number(one.opened), words.number(one.backlog)) for one in content.weeks]
    return Table("Backlog", ("Week until", "New", "Open at its end"), tuple(rows), DEFINITIONS["backlog"])


def _curve_in_words(content: Weekly, words: Words) -> str:
    if not content.weeks:
        return ""
    first, last = content.weeks[0], content.weeks[-1]
    highest = max(content.weeks, key=lambda one: one.backlog)
    return (
        f"Open tickets at the end of each of {len(content.weeks)} weeks: {words.number(first.backlog)} on "
        f"{words.day(first.ends_on)}, {words.number(last.backlog)} on {words.day(last.ends_on)}; the most were "
        f"{words.number(highest.backlog)} on {words.day(highest.ends_on)}. "
        f"In the last week {words.number(last.opened)} came in."
    )


def _took(content: Weekly, words: Words) -> Table:
    def spans(p50: float | None, p90: float | None, write: Callable[[float], str]) -> tuple[str, str]:
        return "–" if p50 is None else write(p50), "–" if p90 is None else write(p90)

    rows = []
    for one in content.took:
        name = f"{target(one.target)} ({words.number(one.count)})"
        rows.append((f"{name}, working time", *spans(one.working_p50, one.working_p90, words.working)))
        rows.append((f"{name}, by the clock on the wall", *spans(one.wall_p50, one.wall_p90, words.span)))
    return Table("How long it took", ("Target", "Half within", "9 of 10 within"), tuple(rows), DEFINITIONS["took"])


def _ages(content: Weekly, words: Words) -> tuple[Bar, ...]:
    everything = sum(one.tickets for one in content.ages)
    return tuple(
        Bar(
            label=f"over {one.from_days - 1} days" if one.to_days is None else f"{one.from_days}–{one.to_days} days",
            width=round(100 * one.tickets / everything),
            cells=(words.number(one.tickets),),
        )
        for one in content.ages
        if everything
    )


def _loads(content: Weekly, words: Words) -> Table:
    named = content.loads[:NAMED_AGENTS]
    rows = [
        (plain(one.agent or "Unassigned"), words.number(one.open), words.number(one.solved), words.number(one.breached))
        for one in named
    ]
    more = _more(max(content.agents, len(content.loads)) - len(named), words)
    return Table("By agent", ("Agent", "Open", "Solved", "Broken"), tuple(rows), DEFINITIONS["loads"], more)


def _billing(found: Billing, words: Words) -> Table:
    rows = []
    for one in found.use:
        cost = words.money(one.used * one.amount, one.currency) if one.amount and one.currency else "–"
        projected = words.number(one.projected) if one.projected is not None else "–"
        rows.append((
            target(one.kind), words.number(one.used), words.number(one.reported), projected, cost,
        ))  # fmt: skip
    ends = [one.ends_at for one in found.use[:1]]
    said = [f"Counted until {words.moment(end)}" if end else "Counted since the month began" for end in ends]
    said += [f"plan {plain(found.plan)}"] if found.plan else ["no plan"]
    said += [plain(found.status.replace("_", " "))] if found.status else []
    said += [plain(found.problem)] if found.problem else []
    said += [f"{words.number(found.stuck)} waiting for a person" if found.stuck else "nothing is stuck"]
    columns = ("Used", "So far", "Reported", "Projected", "Cost")
    return Table(f"What is billed to {plain(found.customer)}", columns, tuple(rows), "", ", ".join(said))
