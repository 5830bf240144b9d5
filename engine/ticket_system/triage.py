"""Words → priority: the most urgent priority that a text has a word for. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

from ticket_system.tickets import DEFAULT_SLA

#: Words that suggest a priority; a phrase counts as one word.
PRIORITY_KEYWORDS: dict[int, list[str]] = {
    1: ["down", "outage", "crash", "critical", "emergency", "production", "breach"],
    2: ["broken", "error", "fail", "urgent", "security", "data loss", "high"],
    3: ["slow", "degraded", "incorrect", "issue", "bug", "medium"],
    4: ["feature", "enhancement", "request", "question", "low"],
}

# English endings that leave a word the same word: crashes, failed, failing, failure, urgently, emergencies.
_ENDINGS = r"(?:e?s|e?d|ing|ures?|ly)?"


@lru_cache(maxsize=256)
def _pattern(words: tuple[str, ...]) -> re.Pattern[str]:
    """One pattern for a list of words: whole words only, so that "download" is not "down"."""
    stems = []
    for word in words:
        stem = r"\s+".join(re.escape(part) for part in word.lower().split())
        # emergency → emergencies: the y gives way to ies
        stems.append(stem[:-1] + "(?:y|ies)" if stem.endswith("y") else stem + _ENDINGS)
    return re.compile(r"(?<![^\W_])(?:" + "|".join(stems) + r")(?![^\W_])")


def auto_priority(
    text: str,
    *,
    words: Mapping[int, Sequence[str]] = PRIORITY_KEYWORDS,
    hours: Mapping[int, int] = DEFAULT_SLA,
) -> tuple[int, int]:
    """Return the most urgent priority with a matching word, and its SLA hours; 3 when none matches."""
    lowered = text.lower()
    for priority in sorted(words):
        if words[priority] and _pattern(tuple(words[priority])).search(lowered):
            return priority, hours[priority]
    return 3, hours[3]
