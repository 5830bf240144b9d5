"""Delimited text, read row by row with the number of the line each row begins on."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from ticket_system.errors import ImportFailed
from ticket_system.imports.summary import Problem

_DELIMITERS = ",;\t"
#: Of a single cell. The engine says what is too long for a ticket; the reader should not stop before it.
_LONGEST_CELL = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its cells by column, in lower case."""

    line: int
    cells: dict[str, str]


class Table:
    """A file of delimited text whose encoding and header were found in order; ImportFailed, before any row, if not.

    UTF-8 with or without a byte order mark; commas, semicolons or tabs. Goes through a file of any size in constant
    memory.
    """

    def __init__(self, path: str | Path, *, known: Collection[str], required: Collection[str]) -> None:
        self.path = Path(path)
        try:
            self.size = self.path.stat().st_size
            first = self._check_encoding()
        except OSError as error:
            raise ImportFailed(f"{self.path} cannot be read: {error.strerror}") from error
        if not first.strip():
            raise ImportFailed(f"{self.path} is empty; its first line should name the columns")
        self._delimiter = max(_DELIMITERS, key=lambda mark: len(set(_header(first, mark)) & set(known)))
        self.columns = _header(first, self._delimiter)
        if missing := [name for name in required if name not in self.columns]:
            found = ", ".join(self.columns)
            raise ImportFailed(f"{self.path} has no column {', '.join(missing)}; its first line names: {found[:300]}")
        if twice := sorted({name for name in self.columns if name and self.columns.count(name) > 1}):
            raise ImportFailed(f"{self.path} names a column twice: {', '.join(twice)}")
        self.ignored = tuple(name for name in self.columns if name and name not in known)
        #: Bytes read so far.
        self.position = 0

    def __iter__(self) -> Iterator[Row | Problem]:
        """Go through the rows; one that cannot be read comes as a Problem."""
        csv.field_size_limit(_LONGEST_CELL)
        reader = csv.reader(self._lines(), delimiter=self._delimiter, strict=True)
        next(reader)
        while True:
            line = reader.line_num + 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield Problem(line, _plainly(error))
                continue
            if not cells:
                continue
            if len(cells) != len(self.columns):
                yield Problem(line, f"has {len(cells)} cells where the first line names {len(self.columns)} columns")
                continue
            yield Row(line, dict(zip(self.columns, cells, strict=True)))

    def _lines(self) -> Iterator[str]:
        self.position = 0
        with self.path.open("rb") as file:
            for number, raw in enumerate(file):
                self.position += len(raw)
                yield raw.decode("utf-8" if number else "utf-8-sig")

    def _check_encoding(self) -> str:
        """Read the whole file once: one that turns out to be in another encoding half-way is not imported by half."""
        first = ""
        with self.path.open("rb") as file:
            for number, raw in enumerate(file, 1):
                try:
                    text = raw.decode("utf-8" if number > 1 else "utf-8-sig")
                except UnicodeDecodeError as error:
                    byte = raw[error.start]
                    raise ImportFailed(
                        f"{self.path}, line {number}: the byte 0x{byte:02x} is not UTF-8; save the file as UTF-8"
                        " (in a spreadsheet: CSV UTF-8) and try again"
                    ) from error
                first = first or text
        return first


def _header(line: str, delimiter: str) -> list[str]:
    try:
        cells = next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error as error:
        raise ImportFailed(f"the first line cannot be read: {error}") from error
    return ["_".join(cell.lower().split()) for cell in cells]


def _plainly(error: csv.Error) -> str:
    if "end of data" in str(error):
        return "a quotation mark that opens in this row is never closed"
    return f"cannot be read: {error}"
