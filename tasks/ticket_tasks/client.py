"""Enqueue work from another service, without the engine and without a database."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from celery import Celery
from kombu.exceptions import OperationalError
from kombu.pools import ProducerPool

from ticket_tasks import names
from ticket_tasks.errors import BrokerUnreachable
from ticket_tasks.payloads import OpenTicket

#: Threads that send at the same moment; more of them take turns.
_CONNECTIONS = 10


class TicketClient:
    """Sends messages to the ticket workers; keep one per process, it is safe to share between threads."""

    def __init__(self, broker_url: str, *, timeout_seconds: float = 3.0) -> None:
        self._app = Celery("ticket-client", broker=broker_url, set_as_current=False, autofinalize=False)
        self._app.conf.update(
            task_serializer="json",
            accept_content=["json"],
            task_queues=names.QUEUES,
            task_default_queue=names.DESK,
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

    def open_ticket(  # noqa: PLR0913 - a ticket has this many fields, and all but three have a default
        self,
        title: str,
        description: str,
        requester: str,
        *,
        priority: int | None = None,
        sla_hours: int | None = None,
        assignee: str | None = None,
        tags: Iterable[str] = (),
        customer: str | None = None,
        plan: str | None = None,
        group: str | None = None,
        created_at: datetime | None = None,
        ticket_id: str | None = None,
    ) -> str:
        """Ask for a new ticket and return its id.

        Repeat a failed call with the same `ticket_id`: however often it arrives, one ticket is opened. Raises
        `ValueError` for a field that makes no sense and `BrokerUnreachable` when nothing could be enqueued.
        """
        wish = OpenTicket(
            ticket_id=ticket_id or str(uuid.uuid4()),
            title=title,
            description=description,
            requester=requester,
            priority=priority,
            sla_hours=sla_hours,
            assignee=assignee,
            tags=tuple(tags),
            customer=customer,
            plan=plan,
            group=group,
            # Now, not when the job runs: the promise to the requester starts here, however long the message waits.
            created_at=created_at or datetime.now(UTC),
        )
        self._send(names.OPEN_TICKET, names.DESK, wish.ticket_id, {"payload": wish.model_dump(mode="json")})
        return wish.ticket_id

    def tick(self, name: str, queue: str, *, expires_seconds: float) -> None:
        """Have a job of the schedule run now, unless nobody takes the tick in time. Raises `BrokerUnreachable`."""
        self._send(name, queue, "tick", {}, expires=expires_seconds)

    def close(self) -> None:
        """Give back the connections; the client cannot be used afterwards."""
        self._producers.force_close_all()  # type: ignore[attr-defined] # missing in the stubs
        self._connections.force_close_all()
        self._app.close()

    def _send(self, name: str, queue: str, about: str, kwargs: dict[str, object], expires: float | None = None) -> None:
        try:
            with self._producers.acquire(block=True) as producer:
                self._app.send_task(
                    name,
                    kwargs=kwargs,
                    queue=queue,
                    task_id=f"{name}:{about}:{uuid.uuid4().hex[:8]}",
                    producer=producer,
                    # Workers log what they were called with; what a requester wrote is nobody's business there.
                    argsrepr="()",
                    kwargsrepr="{…}",
                    expires=expires,
                )
        except OperationalError as error:
            raise BrokerUnreachable("the broker cannot be reached; nothing was enqueued") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
