"""The jobs, as plain functions, and what another service needs to enqueue them."""

from ticket_tasks.async_client import AsyncTicketClient
from ticket_tasks.client import TicketClient
from ticket_tasks.errors import BrokerUnreachable, JobError, JournalError
from ticket_tasks.payloads import Answer

__all__ = ["Answer", "AsyncTicketClient", "BrokerUnreachable", "JobError", "JournalError", "TicketClient"]
