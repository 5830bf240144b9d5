"""What YAML and the shell make of our files."""

from __future__ import annotations

from pathlib import Path

from tests.deploy.programs import Absent, run

_RULES = """
extends: default
rules:
  braces: {max-spaces-inside: 0}
  comments: {min-spaces-from-content: 1}
  comments-indentation: disable
  document-start: disable
  indentation: {spaces: 2, indent-sequences: consistent}
  line-length: {max: 160}
"""


def yaml_files(tree: Path) -> str:
    """Whether no key stands twice, and nothing reads otherwise than it looks."""
    paths = [Path("docker-compose.yml"), *sorted(path.relative_to(tree) for path in (tree / "deploy").rglob("*.y*ml"))]
    run(["yamllint", "--strict", "--format", "parsable", "--config-data", _RULES, *paths], cwd=tree)
    return f"{len(paths)} files"


def scripts(tree: Path) -> str:
    """Whether the shell can read every script; and what shellcheck says, where it is."""
    paths = sorted(path.relative_to(tree) for path in (tree / "deploy").rglob("*.sh"))
    for path in paths:
        run(["sh", "-n", path], cwd=tree)
    try:
        run(["shellcheck", *paths], cwd=tree)
    except Absent:
        return f"{len(paths)}, without shellcheck"
    return f"{len(paths)}"
