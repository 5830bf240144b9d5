"""What stands in a report that goes out by mail: counted once, frozen, stored as JSON, and never counted again. Pure.

Every figure says what it counts; `DEFINITIONS` says it to whoever reads the report. Lengths of time are seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Annotated, Final, Literal, TypeAlias

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter

WEEKLY: Final = "weekly"
DAILY: Final = "daily"
KINDS: Final = (WEEKLY, DAILY)

#: So many tickets are named one by one; of the others it is said how many there are.
NAMED_TICKETS = 5
#: So many agents, the busiest first.
NAMED_AGENTS = 20
#: So many weeks of backlog.
WEEKS = 8
#: A share of fewer verdicts than this says little, and is marked.
FEW = 5


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Totals(_Part):
    """What a week came to; next week's report compares itself with these."""

    #: Tickets created in the week.
    opened: int = 0
    #: Tickets whose last resolution lies in the week.
    solved: int = 0
    #: Moves from resolved back to open in the week.
    reopened: int = 0
    #: Promises kept: their clock stopped in time, in the week.
    met: int = 0
    #: Promises broken: their deadline passed in the week, found or not, answered since or not; not the waived ones.
    breached: int = 0
    #: Active tickets when the week ended.
    backlog: int = 0


class Kept(_Part):
    """How one target at one priority was kept, by the instant of the verdict (rule 24)."""

    target: str
    priority: int
    met: int = 0
    breached: int = 0
    #: Shown apart: breaches that do not count because somebody said so, and clocks that nobody wanted any more.
    waived: int = 0
    cancelled: int = 0

    @property
    def decided(self) -> int:
        """How many verdicts there were."""
        return self.met + self.breached

    @property
    def attainment(self) -> float | None:
        """Return met ÷ (met + breached); None where nothing was decided."""
        return self.met / self.decided if self.decided else None


class Took(_Part):
    """How long it took until a target was done, in the week: half of them at most p50, nine of ten at most p90."""

    target: str
    count: int
    #: By the clock on the wall.
    wall_p50: float | None = None
    wall_p90: float | None = None
    #: In open time of the ticket's calendar, without pauses.
    working_p50: float | None = None
    working_p90: float | None = None


class LateTicket(_Part):
    """A promise that was broken in the period."""

    ticket_id: str
    title: str
    priority: int
    target: str
    assignee: str | None
    breached_at: AwareDatetime
    #: Open time beyond the promise: until it was done, or until `as_of`.
    over_seconds: float
    #: It is not done yet.
    is_running: bool


class DueTicket(_Part):
    """A promise that will be broken soon unless somebody acts."""

    ticket_id: str
    title: str
    priority: int
    target: str
    assignee: str | None
    due_at: AwareDatetime
    #: Open time left at `as_of`.
    left_seconds: float


class BacklogWeek(_Part):
    """One week of the curve: what came in, and what was open at its end."""

    ends_at: AwareDatetime
    #: The last local day of it.
    ends_on: date
    opened: int
    backlog: int


class Age(_Part):
    """Active tickets at `as_of` by whole days since they were created; `to_days` is the last that counts, or None."""

    from_days: int
    to_days: int | None
    tickets: int


class Load(_Part):
    """What one agent has: active tickets at `as_of`, and solved and breached ones of the week."""

    agent: str | None
    open: int = 0
    solved: int = 0
    breached: int = 0


class Use(_Part):
    """What one kind of usage came to in the billing period that is running."""

    kind: str
    starts_at: AwareDatetime
    #: None: no period is known, and it is counted since the beginning of the month, in UTC.
    ends_at: AwareDatetime | None
    used: int
    #: What was accepted where it is billed.
    reported: int
    #: At this pace, at the end of the period; None where it has no end, or has hardly begun.
    projected: int | None = None
    #: What one costs, in the smallest unit of the currency; None: nobody said.
    amount: int | None = None
    currency: str | None = None


class Billing(_Part):
    """What the billing role sees of an organisation's customer."""

    customer: str
    plan: str | None
    #: Of the subscription, as it was last fetched: `active`, `past_due`, …
    status: str | None
    problem: str | None
    use: tuple[Use, ...] = ()
    #: Usage that is not billed and that a person has to look at.
    stuck: int = 0


class _Content(_Part):
    version: Literal[1] = 1
    organisation: str
    #: Whose tickets: of one customer, of one group, or all.
    customer: str | None = None
    group: str | None = None
    zone: str
    #: The first and the last local day, and the instants between which things happened: from the first up to, and
    #: not including, the second.
    starts_on: date
    ends_on: date
    starts_at: AwareDatetime
    ends_at: AwareDatetime
    #: The instant at which everything was counted that is open, late or due "now".
    as_of: AwareDatetime


class Weekly(_Content):
    """The report of a week."""

    kind: Literal["weekly"] = "weekly"
    totals: Totals
    #: Those of the week before, from the report that went out then; None where there is none.
    before: Totals | None = None
    kept: tuple[Kept, ...] = ()
    #: Tickets created in the week to which nothing is promised.
    without_promise: int = 0
    worst: tuple[LateTicket, ...] = ()
    #: How many broken promises there are in all; and how many fall due in the next 24 working hours.
    late: int = 0
    at_risk: tuple[DueTicket, ...] = ()
    due_soon: int = 0
    weeks: tuple[BacklogWeek, ...] = ()
    took: tuple[Took, ...] = ()
    ages: tuple[Age, ...] = ()
    loads: tuple[Load, ...] = ()
    #: How many agents there are in all.
    agents: int = 0
    billing: Billing | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing happened and nothing is open: a mail that would say only so."""
        totals = self.totals
        counted = (totals.opened, totals.solved, totals.reopened, totals.met, totals.breached, totals.backlog)
        return not any(counted) and not self.due_soon and not sum(age.tickets for age in self.ages)


class Daily(_Content):
    """What was broken in a day, and what falls due next; each agent is told of their own tickets."""

    kind: Literal["daily"] = "daily"
    worst: tuple[LateTicket, ...] = ()
    at_risk: tuple[DueTicket, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to tell anybody."""
        return not self.worst and not self.at_risk

    def of_agent(self, names: Sequence[str]) -> Daily:
        """Return what concerns one agent, by the names that tickets may call them."""
        mine = {name.casefold() for name in names}
        return self.model_copy(
            update={
                "worst": tuple(one for one in self.worst if (one.assignee or "").casefold() in mine),
                "at_risk": tuple(one for one in self.at_risk if (one.assignee or "").casefold() in mine),
            }
        )


Content: TypeAlias = Annotated[Weekly | Daily, Field(discriminator="kind")]
_ANY: TypeAdapter[Weekly | Daily] = TypeAdapter(Content)


def from_json(text: str) -> Weekly | Daily:
    """Read what was frozen."""
    return _ANY.validate_json(text)


def read_weekly(text: str) -> Weekly:
    """Read a week that was frozen."""
    return Weekly.model_validate_json(text)


#: What figures mean, for whoever reads them.
DEFINITIONS: Final = {
    "solved": "Solved are tickets whose last resolution lies in the week.",
    "kept": "Promises kept, of all that were decided: kept or broken by the moment of the verdict. Overdue and still "
    "open is broken. Time on hold and closing hours do not count. Waived and cancelled ones are shown apart.",
    "backlog": "Tickets that were open, in progress, in review or on hold when the week ended.",
    "took": "Of what was done in the week: half took at most the first figure, nine of ten at most the second. "
    "Working time leaves out closing hours and pauses.",
    "at_risk": "Deadlines within the next 24 working hours of the ticket's own calendar.",
    "over": "Working time beyond the promise, until it was done or until this report was made.",
    "ages": "Open tickets by whole days since they came in, when this report was made.",
    "loads": "Open when this report was made; solved and broken promises of the week.",
}


class Scope(_Part):
    """Whose tickets a report counts: of one customer, of one group, of both, or all."""

    customer: str | None = None
    group: str | None = None


class Period(_Part):
    """A stretch of local days: the first, the last, and the instants at which it begins and is over."""

    zone: str
    starts_on: date
    ends_on: date
    starts_at: datetime
    ends_at: datetime
