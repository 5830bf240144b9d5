"""Each check passes on what lies under deploy/, and finds what is broken on purpose."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.deploy.check import CHECKS
from tests.deploy.programs import ROOT, Absent, Wrong

KUBERNETES = "deploy/kubernetes"
MONITORING = "deploy/monitoring"
BOARD = f"{MONITORING}/grafana/dashboards/tickets.json"

#: Check, file, what stands there, what is put in its place, and a word of what is said about it.
BROKEN = (
    ("Dockerfile", "deploy/Dockerfile", "WORKDIR /src", "WORKDIR src", "DL3000"),
    ("compose", "docker-compose.yml", "condition: service_healthy", "condition: service_fine", "condition"),
    ("compose", "docker-compose.yml", "secrets: [database_url]", "secrets: [database]", "undefined secret"),
    ("compose", "docker-compose.yml", "compose}/link_secrets", "compose}/links", "there is no"),
    ("kubernetes", f"{KUBERNETES}/base/beat.yaml", "  replicas: 2", '  replicas: "2"', "replicas"),
    ("kubernetes", f"{KUBERNETES}/base/beat.yaml", "readinessProbe:", "readynessProbe:", "readynessProbe"),
    ("kubernetes", f"{KUBERNETES}/base/kustomization.yaml", "  - beat.yaml", "  - beats.yaml", "beats.yaml"),
    ("kubernetes", f"{KUBERNETES}/base/pod.yaml", "readOnlyRootFilesystem: true", "privileged: false", "its root"),
    ("kubernetes", f"{KUBERNETES}/base/pod.yaml", "PeriodSeconds: 60", "PeriodSeconds: 35", "messages back"),
    ("kubernetes", f"{KUBERNETES}/keda/scaling.yaml", '"5000"', "5000", "is not of type 'string'"),
    ("kubernetes", f"{KUBERNETES}/keda/scaling.yaml", "minReplicaCount: 2", "minReplicaCount: 0", "minimum"),
    ("kubernetes", f"{KUBERNETES}/keda/scaling.yaml", "{name: tickets-worker-desk}", "{name: desk}", "not there"),
    ("systemd", "deploy/systemd/tickets-beat.service", "Restart=on-failure", "Restart=on-falure", "on-falure"),
    ("systemd", "deploy/systemd/tickets-beat.service", "RestartSec=2", "RestartSecs=2", "RestartSecs"),
    ("systemd", "deploy/systemd/tickets-.service.d/10-each.conf", "CapabilityBoundingSet=\n", "\n", "exposure"),
    ("alert rules", f"{MONITORING}/alerts.yml", "max(tickets_clocks_late_seconds) > 10", "max(tickets_clocks", "parse"),
    ("alert rules", f"{MONITORING}/alerts.yml", "_late_seconds) > 10", "_late_seconds) > 100", "BreachesFoundLate"),
    ("alert rules", f"{MONITORING}/alerts.yml", "parked_messages) > 0", "parked_messages) >= 0", "Parked"),
    ("prometheus", f"{MONITORING}/prometheus.yml", "scrape_interval: 15s", "scrape_interval: often", "often"),
    ("alert routes", f"{MONITORING}/alertmanager.yml", "receiver: pager", "receiver: pagers", "pagers"),
    ("alert routes", f"{MONITORING}/alertmanager.yml", 'severity="page"', 'severity="pages"', "receivers did not"),
    ("alert pages", f"{MONITORING}/alerts.yml", "tickets_broker_up", "tickets_broker_is_up", "tickets_broker_is_up"),
    ("alert pages", f"{MONITORING}/alerts.yml", 'state="uncertain"', 'status="uncertain"', "no label status"),
    ("alert pages", f"{MONITORING}/alerts.yml", "max by (queue)", "max by (queues)", "queues"),
    ("alert pages", f"{MONITORING}/alerts_test.yml", "- alertname: DatabaseDown", "- alertname: BrokerDown", "no test"),
    ("alert pages", "deploy/RUNBOOK.md", "### ScanStopped", "### ScanEnded", "no page"),
    ("board", BOARD, "max(tickets_open_tickets)", "max(tickets_open_tickets", "unclosed"),
    ("board", BOARD, "max(tickets_open_tickets)", "max(tickets_opened)", "tickets_opened"),
    ("board", BOARD, "sum by (task, outcome)", "sum by (job, result)", "result"),
    ("YAML", f"{KUBERNETES}/base/beat.yaml", "  replicas: 2", "  replicas: 2\n  replicas: 3", "duplication"),
    ("scripts", "deploy/image.sh", "set -eu", "if set -eu", "image.sh"),
)  # fmt: skip


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy that may be broken."""
    shutil.copytree(ROOT / "deploy", tmp_path / "deploy", ignore=shutil.ignore_patterns("locks"))
    shutil.copy(ROOT / "docker-compose.yml", tmp_path)
    return tmp_path


def made(check: Callable[[Path], str], tree: Path) -> str:
    try:
        return check(tree)
    except Absent as reason:
        pytest.skip(str(reason))


@pytest.mark.parametrize("name", CHECKS)
def test_a_check_has_nothing_to_say_about_what_is_here(name: str, tree: Path) -> None:
    assert made(CHECKS[name], tree)


@pytest.mark.parametrize(
    ("name", "file", "right", "wrong", "said"), BROKEN, ids=lambda value: value.split("\n")[0][:40]
)
def test_a_check_finds_what_is_broken(name: str, file: str, right: str, wrong: str, said: str, tree: Path) -> None:
    path = tree / file
    text = path.read_text()
    assert right in text, "there is nothing to break"
    path.write_text(text.replace(right, wrong, 1))
    with pytest.raises(Wrong, match=said):
        made(CHECKS[name], tree)


def test_every_check_is_broken_once() -> None:
    assert {name for name, *_ in BROKEN} == set(CHECKS)
