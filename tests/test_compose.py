"""The fleet that Compose makes: reachable from this machine only, pinned, closed, and known to be well."""

import re
from pathlib import Path
from typing import Any

import pytest

yaml = pytest.importorskip("yaml", reason="the compose file is YAML")
ROOT = Path(__file__).parent.parent
FILE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = FILE["services"]
OURS = [name for name, service in SERVICES.items() if "build" in service]


def test_there_is_what_the_tickets_need_around_them() -> None:
    assert {"postgres", "redis", "mailpit"} <= set(SERVICES)


def test_there_is_the_whole_fleet() -> None:
    assert set(OURS) == {"migrate", "worker", "beat", "webhook", "metrics"}
    assert SERVICES["worker"]["deploy"]["replicas"] == SERVICES["beat"]["deploy"]["replicas"] == 2


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_reached_from_this_machine_only(name: str) -> None:
    for port in SERVICES[name].get("ports", ()):
        assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port), port


@pytest.mark.parametrize("name", [name for name in SERVICES if name not in OURS])
def test_an_image_is_pinned_by_its_version(name: str) -> None:
    assert re.fullmatch(r"[\w./-]+:v?\d+\.\d+(\.\d+)?", SERVICES[name]["image"])


@pytest.mark.parametrize("name", [name for name in SERVICES if name not in {"migrate", "worker", "beat"}])
def test_a_service_says_whether_it_is_well(name: str) -> None:
    # Workers and beats say so by the image's own check.
    assert SERVICES[name]["healthcheck"]["test"][0] == "CMD"


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_no_rights_it_does_not_need(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "memory" in service["deploy"]["resources"]["limits"]
    assert not service.get("cap_add") or name in {"postgres", "redis"}


@pytest.mark.parametrize("name", SERVICES)
def test_a_secret_is_a_file(name: str) -> None:
    service = SERVICES[name]
    told = {key for key in service.get("environment", ()) if re.search("PASSWORD|SECRET|KEY|URL", key)}
    assert {key for key in told if not key.endswith("_FILE")} <= {"TICKETS_PUBLIC_URL"}
    assert set(service.get("secrets", ())) <= set(FILE["secrets"])


@pytest.mark.parametrize("name", [name for name in OURS if name != "migrate"])
def test_nobody_starts_before_the_schema_is_there(name: str) -> None:
    assert SERVICES[name]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}


def test_nobody_is_killed_before_its_messages_are_given_back() -> None:
    for name in OURS:
        stop = float(SERVICES["worker"]["environment"]["TICKETS_STOP_SECONDS"])
        assert int(SERVICES[name]["stop_grace_period"].removesuffix("s")) > stop + 10


def test_the_broker_forgets_nothing() -> None:
    command = SERVICES["redis"]["command"]
    assert command[command.index("--appendonly") + 1] == "yes"
    assert command[command.index("--maxmemory-policy") + 1] == "noeviction"
