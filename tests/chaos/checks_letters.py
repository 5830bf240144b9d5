"""What left by mail: notices of escalations, and reports; and which letters the mail server really took.

The name of a letter, before the @ of its Message-ID, is the SHA-256 of what caused it, its first forty digits. Whether
a letter went out is not asked of the database: it is what the mail server wrote down before it answered.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import datetime

from tests.chaos.checks_records import Letter, Row, Run, Tally, moment

_ALARMS = "SELECT key, note, recorded_at FROM events WHERE kind IN ('escalated', 'warned') AND key IS NOT NULL"
_NOTICES = "SELECT id, key, kind, state, attempts, error, destination, bundle_id FROM outbox"
_UNDER_WAY = ("pending", "leased", "sending")
_REPORTS = """
    SELECT report_runs.id, report_runs.organisation, report_runs.kind, report_runs.sent_on, report_runs.due_at,
           report_runs.state, report_runs.made_at, report_runs.error
    FROM report_runs
"""
_DELIVERIES = "SELECT id, run_id, key, address, state, answer FROM report_deliveries"


@dataclass
class Post:
    """The letters that were taken, and those of them that somebody accounts for."""

    letters: dict[str, list[Letter]]
    _known: set[str] = field(default_factory=set)

    def of(self, key: str) -> list[Letter]:
        """The letters that something caused."""
        name = hashlib.sha256(key.encode()).hexdigest()[:40]
        self._known.add(name)
        return self.letters.get(name, [])

    def strays(self) -> list[Letter]:
        """Letters that nothing in the database caused."""
        return [letter for name, mine in self.letters.items() if name not in self._known for letter in mine]


def check_post(run: Run) -> tuple[Tally, Tally]:
    """Count notices, then reports; a letter that neither accounts for is unexpected."""
    post = Post(run.letters)
    notices, reports = _check_notices(run, post), _check_reports(run, post)
    for letter in post.strays():
        tally = reports if letter.is_report else notices
        tally.wonder(f"letter {letter.name}", f"to {', '.join(letter.recipients)}: nothing in the database caused it")
    return notices, reports


def _check_notices(run: Run, post: Post) -> Tally:
    """Every escalation is told once: a row beside it, and one letter for the row, or for the bundle it went out in."""
    tally = Tally()
    alarms = {
        row["key"]: row["recorded_at"] for row in run.rows(_ALARMS) if "nobody to tell" not in (row["note"] or "")
    }
    rows = {row["id"]: row for row in run.rows(_NOTICES)}
    of_cause: dict[str, list[Row]] = defaultdict(list)
    for row in rows.values():
        if row["kind"] != "bundle":
            of_cause[row["key"].removesuffix(f"/{row['destination']}")].append(row)
    for key in alarms.keys() - of_cause.keys():
        tally.lose(key, "nothing was put into the outbox beside it")
    for cause, mine in of_cause.items():
        if cause not in alarms:
            tally.wonder(cause, "the outbox tells of an escalation that is not on record")
        _check_places(tally, cause, mine)
        if cause in alarms and alarms[cause] >= run.ends_at and all(row["state"] in _UNDER_WAY for row in mine):
            tally.waiting += 1
            for row in mine:
                _taken_once(tally, row["key"], post.of(row["key"]))
            continue
        for row in mine:
            _check_notice(tally, row, rows, post)
    tally.expected = len(alarms) - tally.waiting
    _check_bundles(tally, rows, post)
    return tally


def _check_places(tally: Tally, cause: str, rows: list[Row]) -> None:
    for destination, times in Counter(row["destination"] for row in rows).items():
        if times > 1:
            tally.double(cause, f"{times} rows for {destination}")


def _check_bundles(tally: Tally, rows: dict[int, Row], post: Post) -> None:
    filled = {row["bundle_id"] for row in rows.values() if row["state"] == "bundled"}
    for row in rows.values():
        if row["kind"] == "bundle":
            if (times := len(post.of(row["key"]))) > 1:
                tally.double(row["key"], f"the bundle went out in {times} letters")
            if row["id"] not in filled:
                tally.wonder(row["key"], "a bundle of nothing")


def _check_notice(tally: Tally, row: Row, rows: dict[int, Row], post: Post) -> None:
    name, own = row["key"], post.of(row["key"])
    if row["state"] == "bundled":
        if own:
            tally.double(name, "it went out in a bundle and in a letter of its own")
        bundle = rows.get(row["bundle_id"])
        if bundle is None:
            tally.lose(name, "its bundle is not there")
            return
        row, own = bundle, post.of(bundle["key"])
    tally.found += _fate(tally, name, row["state"], row["error"] or "", own)


def _fate(tally: Tally, name: str, state: str, why: str, letters: list[Letter]) -> bool:
    """Compare what is on record about a letter with what the mail server took; tells whether it went out."""
    _taken_once(tally, name, letters)
    match state:
        case "sent" if not letters:
            tally.lose(name, "on record as sent, and the mail server never took it")
        case "sent" if not any(letter.answered for letter in letters):
            tally.wonder(name, "on record as sent, and the mail server never said that it took it")
        case "sent":
            pass
        case "uncertain":
            tally.doubt(name, f"{why} (the mail server took {len(letters)})")
        case _:
            tally.wonder(name, f"{state} in the end ({why or 'no error'}); the mail server took {len(letters)}")
    return bool(letters)


def _taken_once(tally: Tally, name: str, letters: list[Letter]) -> None:
    if len(letters) > 1:
        tally.double(name, f"the mail server took it {len(letters)} times")


def _check_reports(run: Run, post: Post) -> Tally:
    """Every report that was due was made once; everybody who gets it was sent one letter."""
    tally, due = Tally(), {}
    for report in run.orders.get("reports", []):
        due[report["organisation"], report["kind"], moment(report["due_at"])] = report["recipients"]
    made: dict[tuple[str, str, datetime], list[Row]] = defaultdict(list)
    for row in run.rows(_REPORTS):
        made[row["organisation"], row["kind"], row["due_at"]].append(row)
    deliveries: dict[int, list[Row]] = defaultdict(list)
    for row in run.rows(_DELIVERIES):
        deliveries[row["run_id"]].append(row)
    for what in due.keys() | made.keys():
        name = "/".join(what[:2]) + f" of {what[2]}"
        if what not in due:
            tally.wonder(name, "it was not due")
            # Its letters are accounted for all the same: they are its fault, not their own.
            for delivery in (one for row in made[what] for one in deliveries[row["id"]]):
                post.of(_cause(row, delivery))
        elif what[2] >= run.ends_at and not made[what]:
            tally.waiting += 1
        else:
            tally.count(name, len(made[what]), lost="it was due and not made", doubled="it was made")
            for row in made[what]:
                _check_report(tally, name, row, due[what], deliveries[row["id"]], post)
    _check_days(tally, [row for rows in made.values() for row in rows])
    return tally


def _check_days(tally: Tally, rows: list[Row]) -> None:
    days = Counter((row["organisation"], row["kind"], row["sent_on"]) for row in rows)
    for (organisation, kind, day), times in days.items():
        if times > 1:
            tally.double(f"{organisation}/{kind} of {day}", f"{times} reports for one day")


def _check_report(tally: Tally, name: str, row: Row, recipients: list[str], deliveries: list[Row], post: Post) -> None:
    if row["state"] == "missed":
        tally.lose(name, f"missed: {row['error']}")
        return
    if row["state"] not in {"ready", "empty"}:
        tally.wonder(name, f"{row['state']} in the end ({row['error'] or 'no error'})")
        return
    if row["made_at"] is None or row["made_at"] < row["due_at"]:
        tally.wonder(name, f"it was made at {row['made_at']}, before it was due")
    of_reader: dict[str, list[Row]] = defaultdict(list)
    for delivery in deliveries:
        of_reader[delivery["address"].lower()].append(delivery)
    for address in {address.lower() for address in recipients} | of_reader.keys():
        mine, who = of_reader[address], f"{name} to {address}"
        if address not in {one.lower() for one in recipients}:
            tally.wonder(who, "they are not among its readers")
        tally.count(who, len(mine), lost="there is no delivery to them", doubled="there are deliveries to them")
        for delivery in mine:
            letters = post.of(_cause(row, delivery))
            if any(address not in {one.lower() for one in letter.recipients} for letter in letters):
                tally.wonder(who, f"their letter went to {', '.join(letters[0].recipients)}")
            if delivery["state"] == "skipped" and delivery["answer"] == "nothing to tell" and not letters:
                continue
            _fate(tally, who, delivery["state"], delivery["answer"] or "", letters)


def _cause(row: Row, delivery: Row) -> str:
    return f"report/{row['organisation']}/{row['kind']}/{row['sent_on']}/{delivery['key']}"
