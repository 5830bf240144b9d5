"""Bugs of the kinds that lose or double something: each a few words of the source put in place of others.

For each the tests are named of which at least one must fail when it is planted; `test_planted` sees to that.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
ROOMS = ("engine", "tasks", "worker")


class Words(NamedTuple):
    """What stands in a file once, and what stands there instead."""

    path: str
    old: str
    new: str


@dataclass(frozen=True)
class Bug:
    """A mistake that somebody might make."""

    name: str
    what: str
    words: tuple[Words, ...]
    caught_by: tuple[str, ...]


_SWEEPS, _PARTS = "engine/ticket_system/storage/sweeps.py", "engine/ticket_system/storage/sweep_parts.py"
_OUTBOX, _LANES = "engine/ticket_system/storage/outbox.py", "engine/ticket_system/storage/lanes.py"
_WISHES, _MONITOR = "engine/ticket_system/wishes.py", "engine/ticket_system/monitor.py"
_RUNS = "engine/ticket_system/storage/job_runs.py"
_SCANNERS, _OUTBOX_TESTS = "tests/engine/test_scanners.py::test_", "tests/engine/test_outbox.py::test_"

_BATCH = "            batch = sweeps.sweep(connection, now, since, batch_size)\n"
_TELL_LATER = """\
        with database.write() as connection:
            connection.exec_driver_sql(\"\"\"
                INSERT INTO outbox (key, destination, kind, ticket_id, state, attempts, created_at, next_attempt_at)
                SELECT key || '/mail', 'mail', kind, ticket_id, 'pending', 0, at, at FROM events
                WHERE kind = 'escalated' AND key IS NOT NULL
                AND at = (SELECT max(at) FROM events WHERE kind = 'escalated')
                ON CONFLICT DO NOTHING
            \"\"\")
"""

BUGS = (
    Bug(
        "scan waits",
        "The scan's claim without SKIP LOCKED: whatever a person or another scan holds stops it.",
        (Words(_SWEEPS, "with_for_update(skip_locked=True, key_share=True, of", "with_for_update(key_share=True, of"),),
        (f"{_SCANNERS}a_scan_passes_by_what_somebody_else_holds_and_the_next_one_finds_it",),
    ),
    Bug(
        "scan takes no lock",
        "The scan's claim without any lock: it judges by what others are about to change.",
        (
            Words(
                _SWEEPS,
                "parts.claim(now, limit).with_for_update(skip_locked=True, key_share=True, of=[clocks, tickets])",
                "parts.claim(now, limit)",
            ),
        ),
        (f"{_SCANNERS}what_was_locked_and_then_saved_is_not_found",),
    ),
    Bug(
        "outbox waits",
        "The outbox's claim without SKIP LOCKED: one worker waits for another's letters.",
        (
            Words(
                _OUTBOX,
                'oldest.with_for_update(skip_locked=True).lateral("found")',
                'oldest.with_for_update().lateral("found")',
            ),
        ),
        (f"{_OUTBOX_TESTS}a_claim_does_not_wait_for_a_message_that_somebody_holds",),
    ),
    Bug(
        "outbox takes no lock",
        "The outbox's claim without any lock: two workers take the same letter.",
        (Words(_OUTBOX, 'oldest.with_for_update(skip_locked=True).lateral("found")', 'oldest.lateral("found")'),),
        (f"{_OUTBOX_TESTS}claimers_never_share_a_message",),
    ),
    Bug(
        "breach without its key",
        "A breach is written down without its unique key: what may happen once only may happen again.",
        (
            Words(
                _PARTS,
                "(due.c.ticket_id + slash + due.c.target + slash + _text(due.c.cycle)"
                ' + named("/breached/0/0")).label("key"),',
                'sa.cast(sa.null(), sa.Text).label("key"),',
            ),
        ),
        ("tests/engine/test_monitor.py::test_a_breach_tells_when_it_was_and_apart_from_it_when_it_was_found",),
    ),
    Bug(
        "schema without the unique key",
        "The index that keeps an event from being written twice is an ordinary one.",
        (
            Words(
                "engine/ticket_system/storage/migrations/versions/0001_tickets.py",
                'op.create_index("events_once", "events", ["key"], unique=True',
                'op.create_index("events_once", "events", ["key"], unique=False',
            ),
        ),
        ("tests/engine/test_events.py::test_what_may_happen_once_only_is_refused_the_second_time",),
    ),
    Bug(
        "notice after the commit",
        "What a scan tells outside is written in a second transaction: killed in between, nobody is ever called.",
        (
            Words(
                _SWEEPS, '        notice.cte("notified"),\n', '        *([] if limit else [notice.cte("notified")]),\n'
            ),
            Words(
                _MONITOR,
                _BATCH,
                _BATCH + _TELL_LATER,
            ),
        ),
        ("tests/engine/test_atomic.py::test_a_failure_at_any_statement_leaves_nothing_half_written[postgresql-scan]",),
    ),
    Bug(
        "notice before its intent",
        "A notice is handed over before it is on record that it will be: killed in between, it is sent again.",
        (
            Words(
                "tasks/ticket_tasks/outbox.py",
                "            toolbox.mailer.send(letter, before_data=before_data)\n",
                "            toolbox.mailer.send(letter, before_data=lambda: None)\n            before_data()\n",
            ),
        ),
        (
            "tests/tasks/test_outbox.py::test_the_intent_is_stored_before_anything_leaves",
            "tests/tasks/test_outbox.py::test_who_lost_the_lease_does_not_send",
        ),
    ),
    Bug(
        "letter before its intent",
        "The mailer announces a letter only when it has been taken.",
        (
            Words(
                "worker/ticket_worker/mail.py",
                '            before_data()\n            with _unsent("DATA"):\n',
                '            with _unsent("DATA"):\n',
            ),
            Words(
                "worker/ticket_worker/mail.py",
                '            _expect((_OK,), "the letter", answer)\n',
                '            _expect((_OK,), "the letter", answer)\n            before_data()\n',
            ),
        ),
        (
            "tests/worker/test_mail.py::test_the_intent_is_announced_after_the_envelope_and_before_the_letter",
            "tests/worker/test_mail.py::test_what_the_announcement_raises_stops_the_letter_and_comes_out",
        ),
    ),
    Bug(
        "report before its intent",
        "A report is handed over before it is on record that it will be.",
        (
            Words(
                "tasks/ticket_tasks/reports.py",
                "        return toolbox.mailer.send(write(toolbox, found, delivery.key), before_data=before_data)\n",
                "        said = toolbox.mailer.send(write(toolbox, found, delivery.key), before_data=lambda: None)\n"
                "        before_data()\n"
                "        return said\n",
            ),
        ),
        ("tests/tasks/test_reports.py::test_a_lease_that_was_lost_in_the_last_moment_sends_nothing",),
    ),
    Bug(
        "usage before its intent",
        "A batch is sent before it is on record that it will be: killed in between, nobody knows that it was sent.",
        (
            Words(
                "tasks/ticket_tasks/usage.py",
                "            begun = ledger.begin(toolbox.database, held, row)\n"
                "            if begun is None:\n"
                "                continue\n"
                "            said = meter.send(row, begun)\n",
                "            said = meter.send(row, row.delivery)\n"
                "            begun = ledger.begin(toolbox.database, held, row)\n"
                "            if begun is None:\n"
                "                continue\n",
            ),
        ),
        (
            "tests/tasks/test_usage.py::test_the_intent_is_on_record_before_anybody_is_told",
            "tests/tasks/test_usage.py::test_who_lost_the_lane_in_the_last_moment_tells_nobody",
        ),
    ),
    Bug(
        "key in a transaction of its own",
        "The key of a wish is committed before what it asks for: what fails then is never done.",
        (
            Words(
                _WISHES,
                "            return Granted(before.outcome if before else DONE, is_new=False)\n        if act(",
                "            return Granted(before.outcome if before else DONE, is_new=False)\n"
                "    with system.database.write() as connection:\n"
                "        if act(",
            ),
        ),
        ("tests/engine/test_wishes.py::test_what_fails_leaves_no_key_and_no_trace",),
    ),
    Bug(
        "anybody settles a letter",
        "Whoever lost the lease of a letter may say what became of it all the same.",
        (
            Words(
                _OUTBOX,
                "outbox.c.id == row_id, outbox.c.lease == holder, outbox.c.state.in_(held)",
                "outbox.c.id == row_id, outbox.c.state.in_(held)",
            ),
        ),
        (f"{_OUTBOX_TESTS}a_lease_that_ran_out_is_taken_up_again_and_its_old_holder_may_say_nothing",),
    ),
    Bug(
        "tick without its lease",
        "A tick is taken although somebody else has it: every copy of a message does the job.",
        (Words(_RUNS, "        where=sa.or_(killed, relived),\n", ""),),
        ("tests/engine/test_runs.py::test_the_first_who_comes_takes_a_tick_and_nobody_else",),
    ),
    Bug(
        "lane without its lease",
        "A lane is taken although somebody else has it: two calls at once for one customer and meter.",
        (
            Words(
                _LANES, ".where(usage_lanes.c.livemode == livemode, free)", ".where(usage_lanes.c.livemode == livemode)"
            ),
        ),
        ("tests/engine/test_ledger_sending.py::test_a_lane_is_taken_by_one",),
    ),
    Bug(
        "verdict of the scan",
        "A breach is on record for the moment at which it was found, not for its deadline.",
        (
            Words(
                _PARTS,
                '"breached_at": sa.case((found.is_not(None), clocks.c.due_at), else_=clocks.c.breached_at),',
                '"breached_at": sa.case((found.is_not(None), found), else_=clocks.c.breached_at),',
            ),
        ),
        ("tests/engine/test_monitor.py::test_a_breach_tells_when_it_was_and_apart_from_it_when_it_was_found",),
    ),
    Bug(
        "doubt is repeated",
        "A letter whose sender vanished while handing it over is sent again.",
        (
            Words(
                _OUTBOX,
                'values(state="uncertain", lease=None, next_attempt_at=None, error=_LOST)',
                'values(state="pending", lease=None, next_attempt_at=sa.bindparam("now", type_=Instant), error=_LOST)',
            ),
        ),
        (f"{_OUTBOX_TESTS}a_sender_that_vanished_leaves_a_message_that_nobody_repeats",),
    ),
)
