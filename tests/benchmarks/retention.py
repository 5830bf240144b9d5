"""What forgetting costs: how fast, what it does to a scan beside it, and what it reads when nothing is old.

PostgreSQL only; `python -m tests.benchmarks.retention [NUMBER]`, a hundred thousand of each kind unless told otherwise.
"""

from __future__ import annotations

import statistics
import sys
import threading
import time
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from tests.benchmarks.stock import add_due, live, settle_down
from tests.support.postgres import create_database, running_postgres
from ticket_system.monitor import scan_breaches
from ticket_system.retention import Keep, prune
from ticket_system.storage.database import Database
from ticket_system.storage.retention import SHELVES, _chosen

DAY = timedelta(days=1)
KEEP = Keep(events=100, usage=400)
#: Deadlines per scan that is measured.
DUE = 200

_OLD = """
INSERT INTO outbox (key, kind, ticket_id, state, attempts, created_at, destination)
SELECT 'old/' || n, 'escalated', 'life-' || n, 'sent', 1, :old, 'mail' FROM generate_series(1, :number) AS g(n);
INSERT INTO outbox (key, kind, ticket_id, state, attempts, created_at, destination)
SELECT 'young/' || n, 'escalated', 'life-' || n, 'sent', 1, :young, 'mail' FROM generate_series(1, :number) AS g(n);
INSERT INTO job_runs (job, slot, state, taken_by, taken_at, lease_until, attempts)
SELECT 'tickets.scan_breaches', CAST(:old AS timestamptz) + n * interval '1 second', 'done', 'w', :old, :old, 1
FROM generate_series(1, :number) AS g(n);
INSERT INTO job_runs (job, slot, state, taken_by, taken_at, lease_until, attempts)
SELECT 'tickets.scan_breaches', CAST(:young AS timestamptz) + n * interval '1 second', 'done', 'w', :young, :young, 1
FROM generate_series(1, :number) AS g(n);
INSERT INTO customers (name, livemode, stripe_customer) SELECT 'c' || n, false, 'cus_' || n FROM generate_series(0, 99) AS g(n);
INSERT INTO usage_lanes (livemode, stripe_customer, event_name)
SELECT false, 'cus_' || n, 'tickets_opened' FROM generate_series(0, 99) AS g(n);
INSERT INTO usage_batches (id, customer, kind, route, event_name, window_start, window_end, seq, quantity, amount, currency,
    sealed_at)
SELECT 'b' || n, 'c' || n % 100, 'ticket_opened', 'metered', 'tickets_opened', :old - n * interval '1 minute',
    :old - n * interval '1 minute', 0, 4, 40, 'eur', :old - n * interval '1 minute' FROM generate_series(1, :number / 4) AS g(n);
INSERT INTO usage_deliveries (batch_id, lane_id, generation, identifier, event_at, route, quantity, state)
SELECT 'b' || n, n % 100 + (SELECT min(id) FROM usage_lanes), 1, 'i' || n, :old - n * interval '1 minute', 'metered', 4, 'verified'
FROM generate_series(1, :number / 4) AS g(n);
INSERT INTO usage_facts (key, kind, ticket_id, customer, occurred_at, recorded_at, quantity, route, batch_id)
SELECT 'f' || n, 'ticket_opened', 'life-' || n, 'c' || (n / 4) % 100, :old, :old, 1, 'metered', 'b' || 1 + (n - 1) / 4
FROM generate_series(1, :number / 4 * 4) AS g(n)
"""


def fill(database: Database, number: int, now: datetime) -> None:
    """Store so many of each kind that are old, and as many that are not."""
    live(database, number, now - 500 * DAY)
    with database.write() as connection:
        connection.execute(sa.text("UPDATE tickets SET status = 'closed' WHERE id LIKE 'life-%'"))
        for statement in _OLD.split(";"):
            given = {"number": number, "old": now - 500 * DAY, "young": now - DAY}
            words = statement
            for name in given:
                words = words.replace(f":{name} -", f"CAST(:{name} AS timestamptz) -")
            used = {name: value for name, value in given.items() if f":{name}" in words}
            connection.execute(sa.text(words), used)
    # As many again that are young, and stay.
    with database.write() as connection:
        connection.execute(
            sa.text(
                """INSERT INTO tickets (id, title, description, requester, priority, status, sla_hours, created_at,
                    updated_at, tags)
                SELECT 'young-' || n, '', '', 'ada', 3, 'closed', 72, :young, :young, '[]'
                FROM generate_series(1, :number) AS g(n)"""
            ),
            {"number": number, "young": now - DAY},
        )
    settle_down(database)


def scans(database: Database, name: str, rounds: int, done: threading.Event | None = None) -> list[float]:
    """Scan again and again, each time for some that are due; returns how long each took."""
    took = []
    for turn in range(rounds):
        if done is not None and done.is_set():
            break
        add_due(database, f"{name}-{turn}", DUE, datetime.now(UTC))
        began = time.perf_counter()
        scan_breaches(database)
        took.append(time.perf_counter() - began)
    return took


def reads(database: Database, now: datetime) -> dict[str, tuple[float, int]]:
    """What each kind reads to find that nothing, or nothing more, is old: milliseconds, and pages."""
    found = {}
    for name, shelf in SHELVES.items():
        query = _chosen(shelf).limit(1000).compile(dialect=database.engine.dialect)
        with database.read() as connection:
            plan = connection.exec_driver_sql(
                "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + str(query),
                {**query.params, "before": now - 400 * DAY},
            ).scalar_one()[0]
        top = plan["Plan"]
        found[name] = plan["Execution Time"], top["Shared Hit Blocks"] + top["Shared Read Blocks"]
    return found


def main() -> None:
    """Measure, and print."""
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with running_postgres() as url, Database(create_database(url, "retention"), pool_size=5) as database:
        database.upgrade()
        now = datetime.now(UTC)
        fill(database, number, now)
        alone = scans(database, "alone", 20)
        done, beside = threading.Event(), list[float]()

        def look() -> None:
            with Database(database.url.render_as_string(hide_password=False)) as mine:
                beside.extend(scans(mine, "beside", 10_000, done))

        thread = threading.Thread(target=look)
        for name, keep in (
            ("messages, ticks", Keep()),
            ("histories", Keep(events=100)),
            ("usage", KEEP),
        ):
            pruned = prune(database, keep, budget_seconds=None)
            rate = pruned.found / pruned.seconds
            print(f"{name}: {pruned.gone}, {pruned.seconds:.1f} s, {rate:,.0f} a second")
        with database.write() as connection:
            given = {"number": number, "old": now - 500 * DAY}
            connection.execute(sa.text(_OLD.split(";", maxsplit=1)[0]), given)
        thread.start()
        prune(database, budget_seconds=None)
        done.set()
        thread.join()
        for name, took in (("alone", alone), ("beside a prune", beside)):
            told = f"median {statistics.median(took) * 1000:.1f} ms, longest {max(took) * 1000:.1f} ms"
            print(f"a scan of {DUE} that are due, {name}: {told} ({len(took)} scans)")
        again = prune(database, KEEP, budget_seconds=None)
        print(f"when nothing is old: {again.gone}, {again.seconds * 1000:.0f} ms for all kinds")
        settle_down(database)
        for name, (milliseconds, pages) in reads(database, now).items():
            print(f"  {name}: {milliseconds:.2f} ms, {pages} pages")


if __name__ == "__main__":
    main()
