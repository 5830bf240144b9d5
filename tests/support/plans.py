"""How a database goes about a question: which tables it reads as a whole, and which indexes answer it."""

from collections.abc import Callable, Collection, Mapping

from sqlalchemy import event

from ticket_system import TicketSystem
from ticket_system.storage import tables

#: A row for each destination that is away, a handful for each level of each version of the rules, one in all.
FEW_ROWS = ("rests", "steps", "step_notices", "installations", "rules")
#: Indexes that hold only what is active, late, or to be done: reading one from end to end costs what is asked for.
SMALL = (
    "tickets_queue",
    "tickets_open_of_assignee",
    "clocks_to_check",
    "clocks_overdue",
    "outbox_to_send",
    "outbox_sending",
    "outbox_stuck",
    "alarms_raised",
    "usage_facts_unsealed",
    "usage_to_send",
    "usage_to_look_for",
    "usage_stuck",
    "usage_lanes_to_compare",
    "usage_lanes_surplus",
    "customers_dirty",
    "stripe_events_new",
    "stripe_events_dead",
)


def plans_of(system: TicketSystem, ask: Callable[[TicketSystem], object]) -> str:
    """How the database goes about each statement of a question."""
    database, asked = system.database, []

    def note(_connection: object, _cursor: object, statement: str, parameters: object, *_: object) -> None:
        if statement.lstrip().startswith(("SELECT", "WITH", "UPDATE", "INSERT", "DELETE")):
            asked.append((statement, parameters))

    event.listen(database.engine, "before_cursor_execute", note)
    ask(system)
    event.remove(database.engine, "before_cursor_execute", note)
    explain = "EXPLAIN QUERY PLAN " if database.dialect == "sqlite" else "EXPLAIN "
    with database.write() as connection:
        lines = [
            str(row[-1])
            for statement, parameters in asked
            if "CREATE" not in statement and ('temp".claimed' not in statement or "INSERT INTO" in statement)
            for row in connection.exec_driver_sql(explain + statement, parameters)  # type: ignore[arg-type]
        ]
    assert lines
    return "\n".join(lines)


def read_as_a_whole(
    system: TicketSystem,
    questions: Mapping[str, tuple[Callable[[TicketSystem], object], set[str]]],
    besides: Collection[str] = (),
) -> str:
    """Which questions read a whole table, or not by the indexes that must answer them; nothing, if all is well."""
    names = [table.name for table in tables.metadata.sorted_tables if table.name not in {*FEW_ROWS, *besides}]
    whole = "Seq Scan on {} " if system.database.dialect == "postgresql" else "SCAN {}"
    found = []
    for question, (ask, indexes) in questions.items():
        plan = plans_of(system, ask)
        # SQLite says SCAN of a whole index too.
        read = [line for line in plan.splitlines() if any(whole.format(name) in f"{line} " for name in names)]
        read = [line for line in read if not any(f"INDEX {index}" in line for index in SMALL)]
        missing = {index for index in indexes if index not in plan}
        if read or missing:
            found.append(f"{question}: {read} {missing}\n{plan}")
    return "\n\n".join(found)
