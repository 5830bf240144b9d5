"""Made-up reports, to look at: a full one, an empty one, one full of what people really type, and one of a day."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from ticket_system.reports.contents import (
    NAMED_TICKETS,
    Age,
    BacklogWeek,
    Billing,
    Daily,
    DueTicket,
    Kept,
    LateTicket,
    Load,
    Took,
    Totals,
    Use,
    Weekly,
)
from ticket_system.reports.readers import Reader

NAMES: Final = ("full", "empty", "hostile", "daily")

_DAY = timedelta(days=1)
_HOUR = 3600.0
_ENDS_AT = datetime(2026, 11, 22, 23, tzinfo=UTC)
_AS_OF = datetime(2026, 11, 23, 8, tzinfo=UTC)
_WEEK: Final[dict[str, Any]] = {
    "zone": "Europe/Berlin",
    "starts_on": date(2026, 11, 16),
    "ends_on": date(2026, 11, 22),
    "starts_at": _ENDS_AT - 7 * _DAY,
    "ends_at": _ENDS_AT,
    "as_of": _AS_OF,
}
_HOSTILE = (
    "<script>alert('x')</script> & \"quoted\" <b>bold</b>",
    "\u202egnihtemos\u202c שלום עולם, الطابعة لا تعمل",
    "Printer 🖨️ on fire 🔥 👩🏽‍💻",
    "Line one\r\nBcc: everybody@example.org\r\n\r\nand a body",
    "W" * 200,
    "{{ 7 * 7 }} {% raw %} ${jndi:ldap://x} %s",
)


def sample(name: str) -> tuple[Weekly | Daily, Reader]:
    """Return a made-up report and its reader; KeyError for a name that is none of `NAMES`."""
    made: dict[str, Callable[[], tuple[Weekly | Daily, Reader]]]
    made = {"full": _full, "empty": _empty, "hostile": _hostile, "daily": _daily}
    return made[name]()


def _reader(**more: object) -> Reader:
    given: dict[str, object] = {"id": 0, "address": "ada@example.org", "name": "Ada", "zone": "Europe/Berlin"}
    return Reader(**given | {"sees_agents": True, "sees_billing": True} | more)  # type: ignore[arg-type]


def _full() -> tuple[Weekly, Reader]:
    titles = (
        "Checkout is down for all customers in Portugal",
        "Export of the yearly figures fails with error 500",
        "Nobody can log in from the office in Lyon",
        "Invoices show last year's address",
        "The search finds nothing after the update",
    )
    kept = [
        Kept(target=target, priority=priority, met=met, breached=breached, waived=waived, cancelled=cancelled)
        for target, priority, met, breached, waived, cancelled in (
            ("first_response", 1, 3, 0, 0, 0),
            ("first_response", 2, 21, 1, 0, 0),
            ("first_response", 3, 54, 2, 0, 1),
            ("resolution", 1, 2, 1, 1, 0),
            ("resolution", 2, 17, 4, 0, 0),
            ("resolution", 3, 41, 3, 0, 2),
            ("resolution", 4, 12, 0, 0, 0),
        )
    ]
    curve = ((96, 38), (88, 41), (102, 52), (91, 47), (85, 40), (110, 58), (99, 49), (108, 53))
    content = Weekly(
        organisation="Initech",
        customer="initech",
        **_WEEK,
        totals=Totals(opened=108, solved=104, reopened=5, met=150, breached=11, backlog=53),
        before=Totals(opened=99, solved=108, reopened=2, met=141, breached=14, backlog=49),
        kept=tuple(kept),
        without_promise=2,
        worst=tuple(_late(number, title) for number, title in enumerate(titles)),
        late=11,
        at_risk=tuple(_due(number, title) for number, title in enumerate(reversed(titles))),
        due_soon=8,
        weeks=_weeks(curve),
        took=(
            Took(target="first_response", count=81, wall_p50=2520, wall_p90=9_900, working_p50=2100, working_p90=7500),
            Took(
                target="resolution", count=77, wall_p50=93_600, wall_p90=370_800, working_p50=33_000,
                working_p90=121_800,
            ),
        ),
        ages=_ages(14, 21, 13, 5),
        loads=(
            Load(agent="grace@example.org", open=14, solved=31, breached=3),
            Load(agent="linus@example.org", open=11, solved=28, breached=2),
            Load(agent="ada@example.org", open=9, solved=24, breached=4),
            Load(agent=None, open=19, solved=0, breached=2),
        ),
        agents=4,
        billing=Billing(
            customer="initech",
            plan="gold",
            status="active",
            problem=None,
            use=(
                Use(
                    kind="ticket_opened", starts_at=_ENDS_AT - 22 * _DAY, ends_at=_ENDS_AT + 8 * _DAY, used=331,
                    reported=329, projected=451, amount=20, currency="eur",
                ),
                Use(
                    kind="critical_ticket", starts_at=_ENDS_AT - 22 * _DAY, ends_at=_ENDS_AT + 8 * _DAY, used=9,
                    reported=9, projected=12, amount=1500, currency="eur",
                ),
            ),
        ),
    )  # fmt: skip
    return content, _reader()


def _empty() -> tuple[Weekly, Reader]:
    content = Weekly(
        organisation="Initech",
        **_WEEK,
        totals=Totals(),
        weeks=_weeks(((0, 0),) * 8),
        ages=_ages(0, 0, 0, 0),
    )
    return content, _reader()


def _hostile() -> tuple[Weekly, Reader]:
    full, _ = _full()
    assert full.billing is not None  # noqa: S101 - made just now
    agents = [*_HOSTILE, *(f"agent {number} <{number}@example.org>" for number in range(494))]
    content = full.model_copy(
        update={
            "organisation": _HOSTILE[0],
            "customer": _HOSTILE[1],
            "group": _HOSTILE[3],
            "totals": Totals(opened=1_234_567, solved=999_999, reopened=12_345, met=9_999, breached=1, backlog=234_568),
            "before": Totals(opened=1, solved=0, reopened=0, met=1, breached=0, backlog=1),
            "worst": tuple(_late(number, title, title) for number, title in enumerate(_HOSTILE)),
            "at_risk": tuple(_due(number, title, title) for number, title in enumerate(reversed(_HOSTILE))),
            "late": 1_234_567,
            "weeks": _weeks(((1_234_567, 234_568), *((7, 1_999_999),) * 7)),
            "loads": tuple(Load(agent=name, open=500 - n, solved=n, breached=n % 7) for n, name in enumerate(agents)),
            "agents": 500,
            "billing": full.billing.model_copy(
                update={"customer": _HOSTILE[0], "plan": _HOSTILE[2], "problem": _HOSTILE[3], "stuck": 3}
            ),
        }
    )
    return content, _reader(name=_HOSTILE[1], locale="de_DE", zone="Asia/Kathmandu")


def _daily() -> tuple[Daily, Reader]:
    full, _ = _full()
    yesterday: dict[str, Any] = {**_WEEK, "starts_on": date(2026, 11, 22), "starts_at": _ENDS_AT - _DAY}
    content = Daily(organisation="Initech", **yesterday, worst=full.worst[:3], at_risk=full.at_risk)
    return content, _reader(sees_agents=False, sees_billing=False)


def _late(number: int, title: str, assignee: str | None = None) -> LateTicket:
    return LateTicket(
        ticket_id=f"ticket/{number}?&",
        title=title,
        priority=1 + number % 4,
        target="resolution" if number % 2 else "first_response",
        assignee=assignee or (None if number == NAMED_TICKETS // 2 else "grace@example.org"),
        breached_at=_ENDS_AT - number * _DAY,
        over_seconds=(31.4 - 6 * number) * _HOUR if number < NAMED_TICKETS else 40,
        is_running=number % 2 == 0,
    )


def _due(number: int, title: str, assignee: str | None = None) -> DueTicket:
    return DueTicket(
        ticket_id=f"ticket/{number}",
        title=title,
        priority=1 + number % 4,
        target="resolution",
        assignee=assignee or ("linus@example.org" if number % 2 else None),
        due_at=_AS_OF + number * 5 * timedelta(hours=1) + timedelta(minutes=35),
        left_seconds=(number * 2.5 + 0.6) * _HOUR,
    )


def _weeks(curve: tuple[tuple[int, int], ...]) -> tuple[BacklogWeek, ...]:
    last = len(curve) - 1
    return tuple(
        BacklogWeek(
            ends_at=_ENDS_AT - (last - number) * 7 * _DAY,
            ends_on=date(2026, 11, 22) - (last - number) * 7 * _DAY,
            opened=opened,
            backlog=backlog,
        )
        for number, (opened, backlog) in enumerate(curve)
    )


def _ages(*tickets: int) -> tuple[Age, ...]:
    bounds = ((0, 2), (3, 7), (8, 30), (31, None))
    return tuple(
        Age(from_days=first, to_days=last, tickets=number)
        for (first, last), number in zip(bounds, tickets, strict=True)
    )
