"""The jobs, as plain functions, and what another service needs to enqueue them."""

from ticket_tasks.client import TicketClient
from ticket_tasks.errors import BrokerUnreachable, JobError

__all__ = ["BrokerUnreachable", "JobError", "TicketClient"]
