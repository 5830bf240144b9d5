"""The image, and the fleet that Compose makes of it."""

from __future__ import annotations

from pathlib import Path

from tests.deploy.programs import Wrong, run

PROFILES = ("mail", "monitoring")


def dockerfile(tree: Path) -> str:
    """Whether hadolint has nothing to say."""
    said, _ = run(["hadolint", "deploy/Dockerfile"], cwd=tree)
    if said.strip():
        raise Wrong(said.strip())
    return "hadolint"


def compose(tree: Path) -> str:
    """Whether Compose understands every profile, and every file that it is to mount is there."""
    chosen = [word for profile in PROFILES for word in ("--profile", profile)]
    run(["docker-compose", *chosen, "config", "--quiet"], cwd=tree)
    rendered, _ = run(["docker-compose", *chosen, "config"], cwd=tree)
    places = [
        line.split(": ", 1)[1].strip()
        for line in rendered.splitlines()
        if line.strip().startswith(("source: /", "file: /"))
    ]
    if missing := sorted(place for place in set(places) if not Path(place).exists()):
        raise Wrong(f"there is no {', '.join(missing)}")
    return f"every profile, {len(set(places))} mounted files"
