"""What is to happen to a fleet, and when: a pure function of a seed and a few options; a run can be repeated."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

WORKERS = ("worker-1", "worker-2", "worker-3")
BEATS = ("beat-1", "beat-2")
WIRES = ("database", "broker", "mail", "stripe")
WEBHOOK = "webhook"

#: Seconds from one disturbance to the next, on average.
PACE_SECONDS = 8.0
#: The fleet works undisturbed for so long first; and everything is mended so long before the load ends.
FIRST_SECONDS, LAST_SECONDS = 6.0, 2.0
#: A target is left alone for so long after it was mended.
BREATH_SECONDS = 4.0


@dataclass(frozen=True, slots=True)
class Options:
    """What a plan and a load are made of."""

    seed: int
    minutes: float = 10.0
    rate: float = 6.0
    without: frozenset[str] = frozenset()

    @property
    def seconds(self) -> float:
        """How long the load goes on."""
        return self.minutes * 60

    def command(self) -> str:
        """The command that repeats it."""
        words = [f"--minutes {self.minutes:g} --seed {self.seed} --rate {self.rate:g}"]
        return f'make chaos ARGS="{" ".join([*words, *(f"--without {kind}" for kind in sorted(self.without))])}"'


@dataclass(frozen=True, slots=True)
class Disturbance:
    """One thing that happens to one target, and is mended after a while."""

    second: float
    kind: str
    target: str
    for_seconds: float
    detail: dict[str, Any] = field(default_factory=dict)

    @property
    def ends(self) -> float:
        """When it is mended."""
        return self.second + self.for_seconds


@dataclass(frozen=True, slots=True)
class Kind:
    """How one kind is drawn by lot."""

    targets: tuple[str, ...]
    #: For how long, at least and at most.
    seconds: tuple[float, float]
    #: How often, compared with the others.
    weight: int
    detail: Callable[[Random], dict[str, Any]] = lambda _: {}


def _part(lot: Random) -> dict[str, Any]:
    """Which processes of a worker are killed: all of it, the one that leads, or one that works."""
    return {"part": lot.choice(("all", "all", "leader", "child"))}


def _offset(lot: Random) -> dict[str, Any]:
    return {"offset_seconds": lot.choice((-1, 1)) * lot.randint(60, 600)}


def _stripe(lot: Random) -> dict[str, Any]:
    return {"share": lot.choice((0.3, 0.6, 0.9)), "lot": lot.randrange(2**32)}


def _mail(lot: Random) -> dict[str, Any]:
    mood = lot.choice(("later", "hang up before", "hang up after", "slow"))
    return {"mood": mood, "share": lot.choice((0.3, 0.7)), "lot": lot.randrange(2**32)}


KINDS: Mapping[str, Kind] = {
    "kill_worker": Kind(WORKERS, (0, 5), 4, _part),
    "kill_beat": Kind(BEATS, (0, 5), 2),
    "kill_webhook": Kind((WEBHOOK,), (0, 5), 1),
    "kill_broker": Kind(("broker",), (1, 10), 2),
    "kill_database": Kind(("database",), (1, 10), 2),
    "kill_mail": Kind(("mail",), (1, 10), 1),
    "stop_worker": Kind(WORKERS, (2, 20), 2),
    "stop_beat": Kind(BEATS, (2, 20), 1),
    "cut_wire": Kind(WIRES, (0, 0), 4),
    "silent_wire": Kind(WIRES, (3, 15), 3),
    "wrong_clock": Kind(WORKERS, (15, 60), 2, _offset),
    "doubled_messages": Kind(("messages",), (5, 10), 3),
    "full_disk": Kind(("broker",), (2, 8), 2),
    "stripe_faults": Kind(("stripe",), (10, 40), 2, _stripe),
    "mail_faults": Kind(("mail",), (5, 20), 2, _mail),
}


def plan(options: Options) -> list[Disturbance]:
    """The disturbances of a run, in order; two never hold the same target at the same time."""
    lot = Random(f"plan {options.seed}")
    kinds = [kind for kind in KINDS if kind not in options.without]
    last = options.seconds - LAST_SECONDS
    number = round((last - FIRST_SECONDS) / PACE_SECONDS)
    if not kinds or number < 1:
        return []
    moments = iter([FIRST_SECONDS + (place + lot.random()) * PACE_SECONDS for place in range(number)])
    free: dict[str, float] = {}
    made: list[Disturbance] = []
    for kind, second in zip(_order(lot, kinds, number), moments, strict=True):
        how = KINDS[kind]
        # Whichever has been left alone for longest, of those that are equally free.
        targets = sorted(lot.sample(how.targets, len(how.targets)), key=lambda one: max(free.get(one, 0), second))
        begins = max(free.get(targets[0], 0), second)
        longest = min(how.seconds[1], last - begins)
        if longest < how.seconds[0]:
            continue
        lasts = lot.uniform(how.seconds[0], longest)
        new = Disturbance(round(begins, 1), kind, targets[0], round(lasts, 1), how.detail(lot))
        free[new.target] = new.ends + BREATH_SECONDS
        made.append(new)
    return sorted(made, key=lambda one: (one.second, one.kind))


def _order(lot: Random, kinds: list[str], number: int) -> Iterator[str]:
    """Every kind once before any comes again, as far as there is room; then by weight."""
    yield from lot.sample(kinds, min(number, len(kinds)))
    yield from lot.choices(kinds, [KINDS[kind].weight for kind in kinds], k=max(number - len(kinds), 0))
