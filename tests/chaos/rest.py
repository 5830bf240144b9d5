"""Waits until a fleet is at rest: nothing is due, nothing is under way, and whatever is stuck is shown to a person.

What a person would do meanwhile is done: usage that waits for another attempt is sent now, and messages that were
parked because what they are about was not there yet are tried again.
"""

import json
import math
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import psycopg
import redis

from tests.chaos.members import ROOT
from tests.chaos.stage import Stage

#: From the last time that less was left than ever before: a machine that has much else to do takes longer.
REST_SECONDS = 480.0
#: At rest for so long, so that whoever wants to do something twice has the time for it.
_STILL_SECONDS = 6.0
_HELP_EVERY_SECONDS = 20.0

#: What must be none, and its own SQL for it.
QUESTIONS = {
    "clocks due": "SELECT count(*) FROM clocks WHERE next_check_at <= now()",
    "notices to send": "SELECT count(*) FROM outbox WHERE state IN ('pending', 'leased', 'sending')",
    "usage to seal": """
        SELECT count(*) FROM usage_facts
        WHERE batch_id IS NULL AND forgiven_at IS NULL AND (route IS NULL OR route <> 'none')
          AND date_trunc('hour', occurred_at) <= now() - interval '70 minutes'
    """,
    "usage to send": "SELECT count(*) FROM usage_deliveries WHERE state IN ('sealed', 'sending')",
    "reports due": "SELECT count(*) FROM report_schedules WHERE next_at <= now()",
    "reports to make": "SELECT count(*) FROM report_runs WHERE state = 'planned'",
    "reports to send": """
        SELECT count(*) FROM report_deliveries
        WHERE state IN ('claimed', 'in_data') OR (state = 'pending' AND due_at <= now())
    """,
    "events of Stripe's": "SELECT count(*) FROM stripe_events WHERE state = 'new'",
    "customers to fetch": "SELECT count(*) FROM customers WHERE dirty_at IS NOT NULL",
    "messages parked": "SELECT count(*) FROM parked WHERE state IN ('waiting', 'due')",
}
_INTAKE, _HELD, _HELD_SINCE = "tickets:intake", "tickets:unacked", "tickets:unacked_index"


def unrest(stage: Stage, calm_at: float, *, load_ended: bool) -> dict[str, int]:
    """What is not at rest, and how much of it."""
    found: dict[str, int] = {} if load_ended else {"calls not confirmed": 1}
    dsn = stage.direct_url.replace("postgresql+psycopg:", "postgresql:")
    with psycopg.connect(dsn, autocommit=True) as connection:
        for what, question in QUESTIONS.items():
            [[number]] = connection.execute(question.encode()).fetchall()
            found[what] = number
    with redis.Redis.from_url(stage.broker.url, decode_responses=True) as client:
        found["wishes waiting"] = int(client.llen(_INTAKE))
        # Since before it was calm, by a clock that was right or slow. One that was minutes fast has its messages come
        # back minutes later, when whoever sent them has long been told that they were done.
        tags = client.zrangebyscore(_HELD_SINCE, "-inf", calm_at)
        held = client.hmget(_HELD, tags) if tags else []
        found["wishes held by the dead"] = sum(json.loads(one)[2] == "intake" for one in held if one)
    return {what: number for what, number in found.items() if number}


def wait_for_rest(
    stage: Stage,
    *,
    tell: Callable[[dict[str, int]], None],
    load_ended: Callable[[], bool],
    seconds: float = REST_SECONDS,
) -> tuple[dict[str, int], dict[str, int]]:
    """Return what is not at rest when the time is over, nothing if all is; and how often it was helped with what."""
    began, calm_at = time.monotonic(), time.time()
    least, better_at = math.inf, began
    helped: dict[str, int] = {"usage hurried": 0, "parked messages replayed": 0}
    still_since: float | None = None
    next_help = began + _HELP_EVERY_SECONDS
    while True:
        left, now = unrest(stage, calm_at, load_ended=load_ended()), time.monotonic()
        tell(left)
        still_since = None if left else still_since or now
        if still_since is not None and now - still_since >= _STILL_SECONDS:
            return {}, helped
        if sum(left.values()) < least:
            least, better_at = sum(left.values()), now
        if now - better_at > seconds:
            return left, helped
        if now >= next_help:
            next_help = now + _HELP_EVERY_SECONDS
            if "usage to send" in left:
                _tickets(stage, "usage", "report")
                helped["usage hurried"] += 1
            if "messages parked" in left:
                helped["parked messages replayed"] += _replay(stage)
        time.sleep(1)


def _replay(stage: Stage) -> int:
    numbers = [
        str(one["id"])
        for one in json.loads(_tickets(stage, "parked", "list", "--json", "--state", "waiting", "--limit", "1000"))
    ]
    if numbers:
        _tickets(stage, "parked", "replay", *numbers)
    return len(numbers)


def _tickets(stage: Stage, *words: str) -> Any:
    """Give a command as a person would; returns what it says."""
    command = [sys.executable, "-m", "ticket_system", *words, "--database", stage.direct_url]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=60).stdout
