"""A mapping that nobody changes. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Frozen(Mapping[K, V], Generic[K, V]):
    """A read-only copy of a mapping, in order of its keys; it compares, hashes and pickles by what it holds."""

    __slots__ = ("_held",)

    def __init__(self, held: Mapping[K, V] | None = None) -> None:
        self._held: dict[K, V] = dict(sorted((held or {}).items(), key=lambda item: str(item[0])))

    def __getitem__(self, key: K) -> V:
        return self._held[key]

    def __iter__(self) -> Iterator[K]:
        return iter(self._held)

    def __len__(self) -> int:
        return len(self._held)

    def __hash__(self) -> int:
        return hash(tuple(self._held.items()))

    def __repr__(self) -> str:
        return repr(self._held)
