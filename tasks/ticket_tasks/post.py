"""How messages leave this process: to the broker, or first into a journal that sends them until they are confirmed."""

from __future__ import annotations

import json
import logging
import threading
import time
from contextlib import suppress
from pathlib import Path

from celery import Celery
from kombu.exceptions import OperationalError
from kombu.pools import ProducerPool

from ticket_tasks import names, tracing
from ticket_tasks.answers import Answers
from ticket_tasks.errors import BrokerUnreachable
from ticket_tasks.journal import Journal

log = logging.getLogger(__name__)

#: Threads that send at the same moment; more of them take turns.
_CONNECTIONS = 10
#: How often a journal is looked at.
_LOOK_EVERY_SECONDS = 1.0


class Post:
    """Sends messages; safe to share between threads."""

    def __init__(self, broker_url: str, *, timeout_seconds: float, journal: Path | str | None) -> None:
        self._app = Celery("ticket-client", broker=broker_url, set_as_current=False, autofinalize=False)
        self._app.conf.update(
            task_serializer="json",
            accept_content=["json"],
            task_queues=names.QUEUES,
            task_default_queue=names.INTAKE,
            task_create_missing_queues=False,
            task_ignore_result=True,
            broker_connection_timeout=timeout_seconds,
            broker_transport_options={
                "global_keyprefix": names.KEY_PREFIX,
                "socket_connect_timeout": timeout_seconds,
                "socket_timeout": timeout_seconds,
                "client_name": "ticket-client",
            },
            # One repeat, for a connection that went stale while it lay idle; whoever calls knows how long to insist.
            task_publish_retry_policy={"max_retries": 1, "interval_start": 0.1, "interval_max": 0.1},
        )

        # Celery's own pools are shared by everything in this process that talks to the same broker: closing them
        # would cut off the others.
        self._connections = self._app.connection_for_write().Pool(limit=_CONNECTIONS)
        self._producers = ProducerPool(self._connections, limit=_CONNECTIONS)
        self.answers = Answers(broker_url, timeout_seconds=timeout_seconds, client_name="ticket-client")
        self._closing = threading.Event()
        self.journal, self._courier = None, None
        if journal is not None:
            self.journal = Journal(None if journal == "memory" else Path(journal))
            self._courier = threading.Thread(
                target=self._carry_on, args=(self.journal,), name="ticket-client", daemon=True
            )
            self._courier.start()

    def hand_over(self, name: str, key: str, payload: dict[str, object]) -> None:
        """Send a wish. Raises BrokerUnreachable, unless there is a journal: then it is sent when the broker is back."""
        if self.journal is None:
            self._publish(name, key, payload)
            return
        self.journal.keep(key, name, json.dumps(payload))
        try:
            self._publish(name, key, payload)
        except BrokerUnreachable:
            self.journal.failed(key)

    def send(
        self,
        name: str,
        task_id: str,
        kwargs: dict[str, object],
        *,
        queue: str = names.INTAKE,
        expires: float | None = None,
        correlation: str | None = None,
    ) -> None:
        """Send a message as it is, once. Raises BrokerUnreachable."""
        headers: dict[str, object] = {names.SENT_AT: time.time()}
        if correlation is not None:
            headers[names.CORRELATION] = correlation
        tracing.inject(headers)
        try:
            with self._producers.acquire(block=True) as producer:
                self._app.send_task(
                    name,
                    kwargs=kwargs,
                    queue=queue,
                    task_id=task_id,
                    producer=producer,
                    headers=headers,
                    # Workers log what they were called with; what a requester wrote is nobody's business there.
                    argsrepr="()",
                    kwargsrepr="{…}",
                    expires=expires,
                )
        except OperationalError as error:
            raise BrokerUnreachable("the broker cannot be reached; nothing was enqueued") from error

    def flush(self, timeout_seconds: float) -> int:
        """Wait until everything in the journal is confirmed; returns how much of it is not."""
        ends = time.monotonic() + timeout_seconds
        while self.journal is not None and (left := self.journal.count()):
            if time.monotonic() >= ends:
                return left
            with suppress(BrokerUnreachable):
                self._settle_up(self.journal)
            time.sleep(0.05)
        return 0

    def close(self) -> None:
        """Give back the connections. What a file keeps is sent by whoever opens it next."""
        self._closing.set()
        if self._courier is not None:
            self._courier.join()
        if self.journal is not None:
            self.journal.close()
        self._producers.force_close_all()  # type: ignore[attr-defined] # missing in the stubs
        self._connections.force_close_all()
        self.answers.close()
        self._app.close()

    def _publish(self, name: str, key: str, payload: dict[str, object]) -> None:
        try:
            self.send(name, f"{name}:{key}", {"payload": payload}, correlation=key)
        except BrokerUnreachable as error:
            error.key = key
            raise

    def _carry_on(self, journal: Journal) -> None:
        """Forget what was confirmed and send again what was not, until the client is closed."""
        while not self._closing.wait(_LOOK_EVERY_SECONDS):
            try:
                self._settle_up(journal)
                self._repeat(journal)
            except BrokerUnreachable:
                continue
            except Exception:
                # Whatever it is, what is in the journal is still to be sent.
                log.exception("the journal could not be worked off; it is tried again")

    def _settle_up(self, journal: Journal) -> None:
        for some in journal.all():
            journal.confirmed(*(answer.key for answer in self.answers.told(one.key for one in some)))

    def _repeat(self, journal: Journal) -> None:
        since = self.answers.queued_since(names.INTAKE)
        for some in journal.all():
            for one in some:
                if self._closing.is_set():
                    return
                if one.is_to_be_sent(since):
                    self._publish(one.name, one.key, json.loads(one.payload))
                    journal.sent(one.key)
