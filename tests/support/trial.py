"""A worker as `ticket-worker worker` starts it, with jobs besides that last as long as a test wants.

Run as `python -m tests.support.trial QUEUE,…`; what the jobs did stands in the file that TRIAL_DIARY names.
"""

import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import redis
from celery import Celery
from celery.app.task import Task

from ticket_tasks import names, registry
from ticket_worker import app as application
from ticket_worker import guard, processes
from ticket_worker.logging import configure_logging
from ticket_worker.settings import Settings, read_settings

LAST = "trial.last"
COME_AGAIN = "trial.come_again"
GROW = "trial.grow"


def main() -> int:
    settings = read_settings()
    configure_logging(settings.log_level, settings.log_format)
    limits: dict[str, list[int]] = json.loads(os.environ.get("TRIAL_LIMITS", "{}"))
    jobs = tuple(
        replace(job, soft_limit=limits[job.name][0], hard_limit=limits[job.name][1]) if job.name in limits else job
        for job in registry.JOBS
    )
    for module, name, value in (
        (registry, "JOBS", jobs),
        (processes, "create_app", create_app),
        (registry, "VISIBILITY_SECONDS", int(os.environ.get("TRIAL_VISIBILITY", registry.VISIBILITY_SECONDS))),
        (guard, "AFFECTED", set() if os.environ.get("TRIAL_UNGUARDED") else guard.AFFECTED),
    ):
        setattr(module, name, value)
    return processes.run_worker(settings, sys.argv[1].split(","), 2)


def create_app(settings: Settings) -> Celery:
    """The application, with the jobs of the trial."""
    app = application.create_app(settings)

    def last(seconds: float, mark: str) -> None:
        write("begun", mark)
        stop_at = time.monotonic() + seconds
        while time.monotonic() < stop_at:
            time.sleep(0.05)
        write("done", mark)

    def come_again(self: Task[..., Any], seconds: float, mark: str) -> None:
        if self.request.retries:
            write("done", mark)
            return
        write("begun", mark)
        raise self.retry(countdown=seconds)

    def grow(megabytes: int, mark: str) -> None:
        write(f"done {os.getpid()}", mark)
        bytearray(b"x") * (megabytes * 2**20)

    app.task(name=LAST, shared=False)(last)
    app.task(name=GROW, shared=False)(grow)
    app.task(name=COME_AGAIN, shared=False, bind=True)(come_again)
    return app


def write(what: str, mark: str) -> None:
    with Path(os.environ["TRIAL_DIARY"]).open("a", encoding="utf-8") as diary:
        diary.write(f"{what} {mark}\n")


def send(broker: str, task: str, queue: str = names.DESK, **carried: object) -> None:
    """Enqueue a job of the trial."""
    app = Celery(broker=broker, set_as_current=False)
    app.conf.update(
        task_queues=names.QUEUES,
        task_default_queue=names.DESK,
        broker_transport_options={"global_keyprefix": names.KEY_PREFIX},
    )
    app.send_task(task, kwargs=carried, queue=queue)
    app.close()


def waiting(broker: str, queue: str) -> int:
    """How many messages lie in a queue."""
    with redis.Redis.from_url(broker) as client:
        return int(client.llen(names.KEY_PREFIX + queue))


def held(broker: str) -> int:
    """How many messages are with a worker, or with one that died."""
    with redis.Redis.from_url(broker) as client:
        return int(client.hlen(f"{names.KEY_PREFIX}unacked"))


if __name__ == "__main__":
    sys.exit(main())
