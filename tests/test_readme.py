"""The README does what it says: its Python runs in order, in one namespace, in an empty folder."""

import re
from pathlib import Path
from types import CodeType

import pytest

README = Path(__file__).parent.parent / "README.md"
BLOCK = re.compile(r"^```python\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)


def python_blocks(document: Path) -> list[CodeType]:
    """The document's Python, compiled so that a traceback names the document's own lines."""
    text = document.read_text(encoding="utf-8")
    return [
        compile("\n" * text.count("\n", 0, block.start("code")) + block["code"], document, "exec")
        for block in BLOCK.finditer(text)
    ]


def test_every_block_runs_as_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = python_blocks(README)
    assert blocks, "the README shows no Python"
    namespace = {"__name__": "__main__"}
    for block in blocks:
        exec(block, namespace)
