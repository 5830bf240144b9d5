"""Runs the migrations inside the transaction that `schema.upgrade` opened and locked."""

from __future__ import annotations

from alembic import context

from ticket_system.storage import billing_tables as _billing_tables  # noqa: F401 - its tables belong to the schema
from ticket_system.storage import report_tables as _report_tables  # noqa: F401 - likewise
from ticket_system.storage.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
