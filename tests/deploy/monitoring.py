"""What the fleet is watched by: rules and their tests, routes, and the board."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import promql_parser
import yaml  # type: ignore[import-untyped]

from tests.deploy.programs import Wrong, run

FOLDER = Path("deploy/monitoring")
BOARD = FOLDER / "grafana/dashboards/tickets.json"
RUNBOOK = Path("deploy/RUNBOOK.md")
RECEIVERS = {"page": "pager", "ticket": "desk", "info": "nobody"}
#: Of Grafana's own; a duration, wherever they stand.
_VARIABLES = re.compile(r"\$__(rate_interval|interval|range)")
#: What Prometheus itself puts on a series.
_ITS_OWN = {"le", "job", "instance"}
_PARTS = {"histogram": ("_bucket", "_count", "_sum"), "gauge": ("",), "counter": ("",)}


def rules(tree: Path) -> str:
    """Whether promtool understands every rule, and every rule does what its test says."""
    run(["promtool", "check", "rules", FOLDER / "alerts.yml"], cwd=tree)
    run(["promtool", "test", "rules", FOLDER / "alerts_test.yml"], cwd=tree)
    return f"{len(alerts(tree))} alerts, silent where all is well, loud where it is not"


def prometheus(tree: Path) -> str:
    """Whether Prometheus would start with its file."""
    run(["promtool", "check", "config", FOLDER / "prometheus.yml"], cwd=tree)
    return "prometheus.yml"


def routes(tree: Path) -> str:
    """Whether Alertmanager would start with its file, and each severity reaches whom it should."""
    path = FOLDER / "alertmanager.yml"
    run(["amtool", "check-config", path], cwd=tree)
    severities = sorted({alert["labels"]["severity"] for alert in alerts(tree)})
    for severity in severities:
        expected = f"--verify.receivers={RECEIVERS[severity]}"
        run(["amtool", "config", "routes", "test", f"--config.file={path}", expected, f"severity={severity}"], cwd=tree)
    return ", ".join(f"{severity} to {RECEIVERS[severity]}" for severity in severities)


def alert_pages(tree: Path) -> str:
    """Whether every alert is made of metrics that exist, has a severity, a test and a page in the runbook."""
    known = metrics(tree)
    headings = set(re.findall(r"(?m)^### (\w+)$", (tree / RUNBOOK).read_text()))
    tested = [
        expected["alertname"]
        for test in yaml.safe_load((tree / FOLDER / "alerts_test.yml").read_text())["tests"]
        for expected in test["alert_rule_test"]
        if expected["exp_alerts"]
    ]
    faults: list[str] = []
    for alert in alerts(tree):
        name, notes = alert["alert"], alert.get("annotations", {})
        faults += [f"{name}: {fault}" for fault in expression_faults(alert["expr"], known)]
        faults += [f"{name}: no test shows it firing"] * (name not in tested)
        faults += [f"{name}: the runbook has no page of that name"] * (name not in headings)
        faults += [f"{name}: its severity is unknown"] * (alert.get("labels", {}).get("severity") not in RECEIVERS)
        faults += [f"{name}: no {note}" for note in ("summary", "description") if not notes.get(note)]
        faults += [f"{name}: it leads to another page"] * (notes.get("runbook_url") != f"{RUNBOOK}#{name.lower()}")
    faults += [f"the runbook has a page for {name}, which no rule raises" for name in sorted(_strays(headings, tree))]
    if faults:
        raise Wrong("\n".join(faults))
    return f"{len(alerts(tree))} alerts: metrics, tests and pages"


def board(tree: Path) -> str:
    """Whether every expression of the board can be read, and asks for what exists."""
    known, drawn = metrics(tree), json.loads((tree / BOARD).read_text())
    faults, expressions = [], 0
    panels = drawn["panels"]
    if len({panel["id"] for panel in panels}) != len(panels):
        faults.append("two panels have one id")
    for panel in panels:
        for target in panel.get("targets", ()):
            expressions += 1
            expression = _VARIABLES.sub("5m", target["expr"])
            faults += [f"{panel['title']}: {fault}" for fault in expression_faults(expression, known)]
            if target["datasource"]["uid"] != "${datasource}":
                faults.append(f"{panel['title']}: its source is fixed")
        if panel["type"] != "row" and not panel.get("targets"):
            faults.append(f"{panel['title']}: it asks nothing")
    if faults:
        raise Wrong("\n".join(faults))
    return f"{expressions} expressions in {len(panels)} panels and rows"


@dataclass(frozen=True, slots=True)
class Metric:
    """A name, what stands behind it, and its labels."""

    name: str
    kind: str
    labels: frozenset[str]


def metrics(tree: Path) -> dict[str, Metric]:
    """Return what the fleet serves, by every name under which it can be asked for."""
    lines = (tree / FOLDER / "metrics.txt").read_text().splitlines()
    found = [re.fullmatch(r"(\w+)\{([\w,]*)\} (\w+)", line) for line in lines if line and not line.startswith("#")]
    if None in found:
        raise Wrong("metrics.txt: a line is not `name{labels} type`")
    listed = [Metric(one[1], one[3], frozenset(one[2].split(",")) - {""}) for one in found if one]
    return {metric.name + part: metric for metric in listed for part in _PARTS[metric.kind]}


def alerts(tree: Path) -> list[dict[str, Any]]:
    """Return every alert."""
    groups = yaml.safe_load((tree / FOLDER / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def expression_faults(expression: str, known: dict[str, Metric]) -> Iterator[str]:
    """Yield what is wrong with an expression: it cannot be read, or asks for what nobody serves."""
    try:
        read = str(promql_parser.parse(expression))
    except ValueError as error:
        yield f"{expression}: {error}"
        return
    # Written out by the parser, a selector always has its braces.
    selectors = re.findall(r"([a-zA-Z_:][\w:]*)\{([^}]*)\}", read)
    if not selectors:
        yield f"{expression}: it asks for no metric"
    allowed = set(_ITS_OWN)
    for name, matchers in selectors:
        if name not in known:
            yield f"nobody serves {name}"
            continue
        own = known[name].labels | _ITS_OWN
        allowed |= own
        yield from (
            f"{name} has no label {label}"
            for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", matchers)
            if label not in own
        )
    for grouped in re.findall(r"\b(?:by|without|on|ignoring) \(([^)]*)\)", read):
        yield from (f"{label}: no label of it" for label in re.findall(r"\w+", grouped) if label not in allowed)


def _strays(headings: set[str], tree: Path) -> set[str]:
    """Return headings that look like alerts, two capitals in one word, and are none."""
    names = {alert["alert"] for alert in alerts(tree)}
    return {heading for heading in headings if re.fullmatch(r"([A-Z][a-z]+){2,}", heading)} - names
