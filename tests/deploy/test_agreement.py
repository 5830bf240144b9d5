"""What stands in several places under deploy/ is the same in all of them, and the same as in the code."""

import re
import tomllib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import typer
import yaml  # type: ignore[import-untyped]
from pydantic import SecretStr

from tests.deploy.monitoring import RUNBOOK, Metric, metrics
from tests.deploy.programs import ROOT
from ticket_system.audit import audit_clocks
from ticket_system.storage.database import Database
from ticket_tasks import names, registry
from ticket_worker import metrics as counted
from ticket_worker.__main__ import app
from ticket_worker.errors import SettingsError
from ticket_worker.exporter import FleetMetrics
from ticket_worker.settings import FILE_SUFFIX, Settings, read_settings, variable

DEPLOY = ROOT / "deploy"
EXAMPLE = DEPLOY / "kubernetes/overlays/example"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
KNOWN = {variable(name) + suffix for name in Settings.model_fields for suffix in ("", FILE_SUFFIX)}


def texts() -> Iterator[tuple[Path, str]]:
    """Every file that starts a process of ours."""
    yield ROOT / "docker-compose.yml", (ROOT / "docker-compose.yml").read_text()
    for folder in ("kubernetes", "systemd"):
        for path in (DEPLOY / folder).rglob("*"):
            if path.is_file() and "secrets" not in path.parts:
                yield path, path.read_text()
    yield DEPLOY / "Dockerfile", (DEPLOY / "Dockerfile").read_text()


def test_the_version_is_the_projects() -> None:
    version = PROJECT["project"]["version"]
    base = yaml.safe_load((DEPLOY / "kubernetes/base/kustomization.yaml").read_text())
    assert [image["newTag"] for image in base["images"]] == [version]
    migration = yaml.safe_load((DEPLOY / "kubernetes/base/migrate.yaml").read_text())
    assert migration["metadata"]["name"] == f"tickets-migrate-{version.replace('.', '-')}"
    assert f"image: blackroad-ticket-system:{version}\n" in (ROOT / "docker-compose.yml").read_text()


def test_every_queue_has_its_workers() -> None:
    queues = {queue.name for queue in names.QUEUES}
    target = (DEPLOY / "systemd/tickets.target").read_text()
    assert set(re.findall(r"tickets-worker@(\w+)\.service", target)) == queues
    base = yaml.safe_load((DEPLOY / "kubernetes/base/kustomization.yaml").read_text())
    assert queues <= set(base["resources"])
    for queue in queues:
        told = yaml.safe_load((DEPLOY / f"kubernetes/base/{queue}/kustomization.yaml").read_text())
        assert f"value: {queue}}}" in told["patches"][0]["patch"]


def test_on_one_machine_no_two_share_a_port() -> None:
    told = [
        port
        for path in (DEPLOY / "systemd").rglob("*.[cs]*")
        if path.is_file()
        for port in re.findall(r"TICKETS_METRICS_PORT=(\d+)", path.read_text())
    ]
    assert sorted(told) == [str(9101 + number) for number in range(len(names.QUEUES) + 1)]


def test_a_workers_processes_fit_into_its_memory() -> None:
    # The first process of a worker, with everything imported.
    own = 96
    base = dict(line.split("=") for line in (DEPLOY / "kubernetes/base/tickets.env").read_text().splitlines())
    worker = next(yaml.safe_load_all((DEPLOY / "kubernetes/base/worker/worker.yaml").read_text()))
    (container,) = worker["spec"]["template"]["spec"]["containers"]
    each = int(base["TICKETS_CHILD_MEMORY_MB"]) * int(base["TICKETS_CONCURRENCY"])
    assert own + each <= int(container["resources"]["limits"]["memory"].removesuffix("Mi"))

    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["worker"]
    told = compose["environment"]
    each = int(told["TICKETS_CHILD_MEMORY_MB"]) * int(told["TICKETS_CONCURRENCY"])
    limit = int(compose["deploy"]["resources"]["limits"]["memory"].removesuffix("m"))
    assert len(names.QUEUES) * (own + each) <= limit


def test_nobody_is_killed_while_it_waits_for_its_database() -> None:
    for name in ("worker/worker.yaml", "beat.yaml"):
        first = next(yaml.safe_load_all((DEPLOY / "kubernetes/base" / name).read_text()))
        probe = first["spec"]["template"]["spec"]["containers"][0]["startupProbe"]
        assert (
            probe["periodSeconds"] * probe["failureThreshold"] > Settings.model_fields["start_patience_seconds"].default
        )


def test_every_setting_is_one() -> None:
    told = {name: path for path, text in texts() for name in re.findall(r"\bTICKETS_[A-Z_]+\b", text)}
    unknown = {name: path.name for name, path in told.items() if name not in KNOWN}
    assert unknown == {}


def test_every_command_is_one() -> None:
    verbs = set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    told = {verb for _, text in texts() for verb in re.findall(r"bin/ticket-worker (\w+)", text)}
    told |= {verb for _, text in texts() for verb in re.findall(r"(?:args|command): \[(?:ticket-worker, )?(\w+)", text)}
    assert told - {"tickets", "db", "redis", "CMD"} <= verbs


def test_the_scan_is_found_by_its_name() -> None:
    alerts = (DEPLOY / "monitoring/alerts.yml").read_text()
    (pattern,) = re.findall(r'timestamp_seconds\{job=~"([^"]+)"\}', alerts)
    assert [job.name for job in registry.JOBS if re.fullmatch(pattern, job.name)] == [names.SCAN_BREACHES]


def test_the_example_starts_nothing_before_it_was_filled_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for line in (EXAMPLE / "settings.env").read_text().splitlines():
        name, _, value = line.partition("=")
        monkeypatch.setenv(name, value.replace("/run/secrets/tickets", str(EXAMPLE / "secrets")))
    monkeypatch.setenv("TICKETS_DATABASE_URL_FILE", str(EXAMPLE / "secrets/database_url"))
    monkeypatch.setenv("TICKETS_REDIS_URL_FILE", str(EXAMPLE / "secrets/redis_url"))
    with pytest.raises(SettingsError) as refused:
        read_settings()
    # Each that can tell, tells.
    for name in ("REDIS_URL", "LINK_SECRETS", "STRIPE_WEBHOOK_SECRETS"):
        assert f"TICKETS_{name}:" in str(refused.value)
    for name in ("database_url", "owner_url", "reader_url"):
        # Not a word that would be taken for the name of a file.
        assert (EXAMPLE / f"secrets/{name}").read_text().startswith("postgresql://CHANGE-ME")


def test_compose_works_with_the_passwords_it_brings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("database_url", "redis_url", "link_secrets"):
        monkeypatch.setenv(f"TICKETS_{name.upper()}_FILE", str(DEPLOY / "compose" / name))
    monkeypatch.setenv("TICKETS_PUBLIC_URL", "http://127.0.0.1:8020")
    password = (DEPLOY / "compose/postgres_password").read_text().strip()
    assert f":{password}@postgres:" in read_settings().database
    assert f">{read_settings().broker.split(':')[2].split('@')[0]} " in (DEPLOY / "redis/users.acl").read_text()


def test_the_image_holds_what_each_process_needs() -> None:
    locked = set(re.findall(r"(?m)^([\w-]+)==", (DEPLOY / "locks/image.txt").read_text()))
    extras = PROJECT["project"]["optional-dependencies"]
    wanted = {
        re.split(r"[\[>=]", requirement)[0].lower().replace("_", "-")
        for extra in ("postgres", "tasks", "worker", "notify", "web", "billing", "digest", "charts", "trace", "redbeat")
        for requirement in extras[extra]
    }
    assert wanted - {"blackroad-ticket-system"} <= locked


def test_the_neighbours_we_are_measured_against_are_no_part_of_us() -> None:
    theirs = {re.split(r"[\[>=]", requirement)[0].lower() for requirement in PROJECT["dependency-groups"]["peers"]} - {
        "psycopg"
    }
    for lock in (DEPLOY / "locks").glob("*.txt"):
        locked = set(re.findall(r"(?m)^([\w-]+)==", lock.read_text()))
        assert theirs <= locked if lock.name == "peers.txt" else not theirs & locked


def test_every_link_of_the_runbook_leads_somewhere() -> None:
    text = (ROOT / RUNBOOK).read_text()
    headings = re.findall(r"(?m)^#+ (.+)$", text)
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= anchors


def test_the_code_serves_every_metric_that_is_listed_and_no_other(
    postgres_url: str, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = Settings(database_url=SecretStr(postgres_url), redis_url=SecretStr(redis_url))
    with Database(postgres_url) as database, closing(FleetMetrics(settings)) as fleet:
        # Nothing is said about an audit before there was one.
        audit_clocks(database, everything=True)
        served = [*fleet.collect(), *counted.registry.collect(), *counted.Beat().collect()]
    kinds = {family.name + "_total" * (family.type == "counter"): family.type for family in served}
    assert kinds == {metric.name: metric.kind for metric in metrics(ROOT).values()}
    for family in served:
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        assert labels <= metrics_by_name()[family.name + "_total" * (family.type == "counter")].labels


def metrics_by_name() -> dict[str, Metric]:
    return {metric.name: metric for metric in metrics(ROOT).values()}


def test_no_metric_stands_twice() -> None:
    names_of = [metric.name for metric in metrics(ROOT).values()]
    lines = [
        line for line in (DEPLOY / "monitoring/metrics.txt").read_text().splitlines() if line.startswith("tickets")
    ]
    assert len(lines) == len(set(names_of))
