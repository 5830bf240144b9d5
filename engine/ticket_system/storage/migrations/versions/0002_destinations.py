"""Where a message goes, and which destinations rest."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def where(condition: str) -> dict[str, Any]:
    """Say which rows a partial index holds."""
    return {"postgresql_where": sa.text(condition), "sqlite_where": sa.text(condition)}


def upgrade() -> None:
    """Add the column and the table; the queue is kept by destination."""
    op.add_column("outbox", sa.Column("destination", sa.Text(), server_default="mail", nullable=False))
    op.create_table(
        "rests",
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("failures", sa.SmallInteger(), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("error", sa.Text()),
        sa.PrimaryKeyConstraint("channel", name="rests_pk"),
    )
    op.drop_index("outbox_to_send", "outbox")
    op.create_index(
        "outbox_to_send", "outbox", ["destination", "next_attempt_at"], **where("state IN ('pending', 'leased')")
    )
    op.create_index("outbox_sending", "outbox", ["next_attempt_at"], **where("state = 'sending'"))
