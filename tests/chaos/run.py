"""One run from beginning to end: a fleet is set up, disturbed, calmed and counted."""

import json
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

from tests.benchmarks.results import machine
from tests.chaos import checker
from tests.chaos.disturb import Disturber, wait_until
from tests.chaos.errands import People, deliver_events, errands
from tests.chaos.plan import Disturbance, Options, plan
from tests.chaos.rest import wait_for_rest
from tests.chaos.stage import Diary, Stage, a_stage
from ticket_system.storage.database import Database

#: Written into a run's folder first: a folder with anything else in it is not emptied.
MARK = "run.json"
_SUPERVISED_EVERY_SECONDS = 0.5
_RESTART_AFTER_SECONDS = 1.0
#: For the load to make its last calls, which the disturbances held up.
_LATE_CALLS_SECONDS = 300.0


class NotOurs(Exception):
    """A folder that is not to be emptied."""


@dataclass
class Outcome:
    """What a run came to."""

    counts: dict[str, Any] = field(default_factory=dict)
    #: What did not come to rest, and how much of it.
    unrest: dict[str, int] = field(default_factory=dict)
    #: Where the run itself went wrong, not the fleet.
    failures: list[str] = field(default_factory=list)
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def is_well(self) -> bool:
        """Whether nothing was lost or doubled, and all came to rest."""
        return bool(self.counts.get("passed")) and not self.unrest and not self.failures


@dataclass(frozen=True)
class Watch:
    """Who is told how the run goes."""

    #: A phase begins, and how many seconds it takes at most.
    phase: Callable[[str, float], None]
    happens: Callable[[Disturbance | str], None]
    rests: Callable[[dict[str, int]], None]


def prepare(folder: Path, options: Options) -> None:
    """Empty the folder of a run, and write down what run it is."""
    if folder.exists() and any(folder.iterdir()):
        if not (folder / MARK).exists():
            raise NotOurs(f"{folder} holds something else than a run; name another folder, or empty it")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    told = {**asdict(options), "without": sorted(options.without), "command": options.command()}
    (folder / MARK).write_text(json.dumps(told, indent=2), "utf-8")


def run(folder: Path, options: Options, watch: Watch) -> Outcome:
    """Do it all; returns what was counted."""
    outcome = Outcome()
    with a_stage(folder, options) as stage, Database(stage.direct_url) as database:
        watch.phase("starts", 60)
        people = People(database, stage.double, folder)
        people.prepare()
        stage.open()
        act = _Act(stage, options, people, watch, outcome)
        act.play()
        watch.phase("comes to rest", 480)
        load = stage.load
        outcome.unrest, helped = wait_for_rest(stage, tell=watch.rests, load_ended=lambda: load.status() == 0)
        act.end()
        watch.phase("stops", 30)
        left = stage.close()
        (folder / "stripe.json").write_text(json.dumps(stage.double.journal.json()), "utf-8")
        watch.phase("is counted", 60)
        try:
            outcome.counts = checker.check(folder, stage.direct_url.replace("postgresql+psycopg:", "postgresql:"))
        except Exception as error:  # noqa: BLE001 - what happened is written down all the same
            outcome.failures.append(f"nothing was counted: {type(error).__name__}: {error}")
    outcome.more = {
        "disturbances": dict(Counter(one.kind for one in act.done)),
        "messages_doubled": act.disturber.doubled,
        "webhooks_posted": len(stage.double.deliveries),
        "ended_by_themselves": act.fallen,
        "processes_left_behind": left,
        "helped": helped,
    }
    return outcome


def report(outcome: Outcome, options: Options, folder: Path) -> dict[str, Any]:
    """What is written to chaos.json."""
    names = ("blackroad-ticket-system", "celery", "kombu", "psycopg", "redis", "sqlalchemy", "stripe", "time-machine")
    lines = (folder / "done.jsonl").read_text("utf-8").splitlines() if (folder / "done.jsonl").exists() else []
    return {
        "at": datetime.now(UTC).isoformat(),
        "is_well": outcome.is_well,
        "options": {**asdict(options), "without": sorted(options.without)},
        "command": options.command(),
        "counts": outcome.counts,
        "not_at_rest": outcome.unrest,
        "failures": outcome.failures,
        **outcome.more,
        "done": [json.loads(line) for line in lines],
        "machine": machine(),
        "versions": {name: metadata.version(name) for name in names},
    }


class _Act:
    """The part of a run during which things happen."""

    def __init__(self, stage: Stage, options: Options, people: People, watch: Watch, outcome: Outcome) -> None:
        self._stage, self._options, self._people = stage, options, people
        self._watch, self._outcome = watch, outcome
        self._diary = Diary(stage.folder / "done.jsonl")
        self._calm, self._over, self._turn = threading.Event(), threading.Event(), threading.Lock()
        self.disturber = Disturber(stage)
        self.done: list[Disturbance] = []
        #: How often a process of the fleet ended without having been killed, by name and status.
        self.fallen: Counter[str] = Counter()
        self._began = time.monotonic()
        self._threads: list[threading.Thread] = []

    def play(self) -> None:
        """Let the load run, disturb, and return when all is mended."""
        self._began = time.monotonic()
        self._watch.phase("is disturbed", self._options.seconds)
        self._stage.load.start()
        double, over = self._stage.double, self._over
        lasting = [self._thread(self._supervise), self._thread(lambda: deliver_events(double, self._options, over))]
        passing = [self._thread(self._do_errands)]
        try:
            passing += [self._thread(partial(self._disturb, one)) for one in self._in_time(plan(self._options))]
            wait_until(self._options.seconds, self._began, self._calm)
            self._load_is_through()
        finally:
            self._calm.set()
            for thread in passing:
                thread.join()
        self._threads = lasting

    def end(self) -> None:
        """Leave the fleet to itself."""
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _in_time(self, ahead: Iterable[Disturbance]) -> Iterable[Disturbance]:
        for one in ahead:
            if not wait_until(one.second, self._began, self._calm):
                return
            yield one

    def _disturb(self, one: Disturbance) -> None:
        with self._turn:
            second = round(time.monotonic() - self._began, 1)
            told = {"kind": one.kind, "target": one.target, "for_seconds": one.for_seconds}
            self._diary.write(second=second, **told, **one.detail)
            self.done.append(one)
        self._watch.happens(one)
        self.disturber.happen(one, self._calm)

    def _do_errands(self) -> None:
        for one in errands(self._options):
            # Late ones are done as well: what was not done cannot be counted.
            wait_until(one.second, self._began, self._calm)
            self._people.run(one)

    def _supervise(self) -> None:
        """Start again what ended by itself, as whoever looks after a fleet does."""
        while not self._over.wait(_SUPERVISED_EVERY_SECONDS):
            for member in self._stage.members.values():
                if (status := member.ended_by_itself()) is not None:
                    with self._turn:
                        self.fallen[f"{member.name} with {status}"] += 1
                        second = round(time.monotonic() - self._began, 1)
                        told = {"kind": "ended_by_itself", "target": member.name, "for_seconds": _RESTART_AFTER_SECONDS}
                        self._diary.write(second=second, **told, status=status)
                    self._watch.happens(f"{member.name} ended by itself with {status}, and is started again")
                    time.sleep(_RESTART_AFTER_SECONDS)
                    if member.ended_by_itself() is not None:
                        member.start()

    def _load_is_through(self) -> None:
        deadline = time.monotonic() + _LATE_CALLS_SECONDS
        while "load.made" not in self._stage.log.read_text("utf-8", errors="replace"):
            if self._stage.load.status() is not None or time.monotonic() > deadline:
                self._outcome.failures.append("the load did not make its calls")
                return
            time.sleep(0.5)

    def _thread(self, work: Callable[[], None]) -> threading.Thread:
        def watched() -> None:
            try:
                work()
            except Exception as error:  # noqa: BLE001 - a run that went wrong is told of, and goes on to its end
                self._outcome.failures.append(f"{type(error).__name__}: {error}")

        thread = threading.Thread(target=watched, daemon=True)
        thread.start()
        return thread
