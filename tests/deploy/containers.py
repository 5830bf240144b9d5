"""A whole fleet of containers from the image that deploy/image.sh made, on a real PostgreSQL and Valkey.

    sudo deploy/image.sh && sudo .venv/bin/python -m tests.deploy.containers

Each as Compose and Kubernetes run it: its own process only, nothing writable, no capabilities, secrets as files, the
rights of deploy/postgres. Exit status: 0 it worked, and ended well; 1 it did not, and says what.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from urllib.request import urlopen

import psycopg

from tests.deploy.programs import ROOT
from tests.support import postgres
from tests.support.valkey import running_valkey
from ticket_system import TicketSystem
from ticket_tasks import TicketClient

IMAGE = "localhost/blackroad-ticket-system:trial"
STORE = ROOT / "build/image"
PODMAN = [
    "podman", f"--root={STORE}/storage", f"--runroot={STORE}/run", "--storage-driver=overlay",
    f"--runtime={shutil.which('runc')}", "--cgroup-manager=cgroupfs",
]  # fmt: skip
CLOSED = [
    "--network=host", "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--no-healthcheck",
    "--ulimit=nofile=4096:4096", "--ulimit=nproc=4096:4096", "--tmpfs=/tmp", "--tmpfs=/var/lib/tickets:U",
]  # fmt: skip
#: Who runs, and where it serves metrics: a worker from its port on, one for each queue.
FLEET = {"worker": 9101, "beat": 9111, "beat-2": 9112, "webhook": 0, "metrics": 0}
PAGES = (8020, "healthz"), *((port, "metrics") for port in (9101, 9102, 9103, 9104, 9105, 9111, 9112, 9108))
PATIENCE_SECONDS = 180


def pod(*words: str, check: bool = True) -> str:
    """Run podman and return what it said."""
    done = subprocess.run([*PODMAN, *words], capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise RuntimeError(f"podman {words[0]}: {done.stderr.strip()[-500:]}")
    return done.stdout.strip()


def prepare(secrets: Path, broker: str) -> None:
    """Make the database and its roles, and write down the secrets."""
    server = "host=127.0.0.1 user=postgres"
    with psycopg.connect(f"{server} dbname=postgres", autocommit=True) as administrator:
        administrator.execute("CREATE DATABASE tickets")
    with psycopg.connect(f"{server} dbname=tickets", autocommit=True) as administrator:
        administrator.execute((ROOT / "deploy/postgres/roles.sql").read_bytes())
        administrator.execute("CREATE ROLE migrate LOGIN IN ROLE tickets_owner")
        administrator.execute("ALTER ROLE migrate SET role = 'tickets_owner'")
        administrator.execute("CREATE ROLE fleet LOGIN IN ROLE tickets_work")
    for name, value in {
        "owner_url": "postgresql://migrate@127.0.0.1/tickets",
        "database_url": "postgresql://fleet@127.0.0.1/tickets",
        "redis_url": broker,
        "link_secrets": "x" * 40,
    }.items():
        (secrets / name).write_text(f"{value}\n")
    secrets.chmod(0o755)


def start(name: str, port: int, mounted: str) -> None:
    """Start one container."""
    settings = [
        f"TICKETS_{one.upper()}_FILE=/run/secrets/{one}" for one in ("database_url", "redis_url", "link_secrets")
    ]
    settings += ["TICKETS_PUBLIC_URL=http://127.0.0.1:8020", f"TICKETS_METRICS_PORT={port}"]
    environment = [f"--env={setting}" for setting in settings]
    pod("run", "--detach", f"--name=trial-{name}", *CLOSED, *environment, mounted, IMAGE, name.partition("-")[0])


def watch(url: str, broker: str) -> None:
    """See that it works: requests become tickets, probes and pages answer, one beat leads."""
    with TicketClient(broker) as client, TicketSystem(url) as system:
        wanted = {client.open_ticket(f"Printer {number}", "", "ada") for number in range(5)}
        until("tickets are opened", lambda: {ticket.id for ticket in system.get_queue()} == wanted)
    for name in ("worker", "beat", "beat-2"):
        for what in ("live", "ready"):
            until(f"{name} is {what}", partial(says_so, name, what))
    served = [urlopen(f"http://127.0.0.1:{port}/{page}", timeout=10).read().decode() for port, page in PAGES]
    assert sum(text.count("tickets_beat_leader 1.0") for text in served) == 1, "not one beat leads, but none or two"
    say(f"{len(served)} pages answer, one beat leads")
    say(pod("exec", "trial-worker", "tickets", "doctor"))


def says_so(name: str, what: str) -> bool:
    """Whether the probe of a container succeeds; it says nothing then."""
    return pod("exec", f"trial-{name}", "ticket-worker", "health", what) == ""


def until(what: str, reached: Callable[[], bool]) -> None:
    """Return when it is so."""
    deadline, started = time.monotonic() + PATIENCE_SECONDS, time.monotonic()
    while True:
        try:
            if reached():
                break
        except RuntimeError:
            pass
        if time.monotonic() > deadline:
            raise RuntimeError(f"never: {what}")
        time.sleep(1)
    say(f"{what}, after {time.monotonic() - started:.0f} s")


def end() -> None:
    """Stop everybody, as Compose does, and look how they end."""
    for name in FLEET:
        pod("stop", "--time=60", f"trial-{name}")
        status = pod("inspect", "--format={{.State.ExitCode}}", f"trial-{name}")
        assert status == "0", f"{name} ended with {status}"
    say("each stopped when asked to, with status 0")


def say(text: str) -> None:
    print(text, flush=True)


def main() -> int:
    """Start it, watch it, end it; leave nothing."""
    # Containers share the network of the machine, not its sockets.
    postgres.SETTINGS["listen_addresses"] = "127.0.0.1"
    with postgres.running_postgres() as server, running_valkey() as broker, tempfile.TemporaryDirectory() as name:
        prepare(Path(name), broker)
        mounted = f"--volume={name}:/run/secrets:ro"
        owner = "--env=TICKETS_DATABASE_URL_FILE=/run/secrets/owner_url"
        say(pod("run", "--rm", *CLOSED, mounted, owner, "--entrypoint=tickets", IMAGE, "db", "upgrade"))
        try:
            for one, port in FLEET.items():
                start(one, port, mounted)
            watch(server.replace("/postgres?", "/tickets?"), broker)
            end()
        except (AssertionError, RuntimeError, OSError) as error:
            say(f"FAILED: {error}")
            return 1
        finally:
            for one in FLEET:
                pod("rm", "--force", "--time=0", "--ignore", f"trial-{one}", check=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
