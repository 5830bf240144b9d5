"""Whose ticket it is, and the rules its clocks run under."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add customer, plan and group to tickets, and to clocks the policy and the version of the rules."""
    op.create_table(
        "rules",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("applied_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("applied_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="rules_pk"),
    )
    for name in ("customer", "plan", "group"):
        op.add_column("tickets", sa.Column(name, sa.Text()))
    op.add_column("clocks", sa.Column("policy", sa.Text(), server_default="default", nullable=False))
    with op.batch_alter_table("clocks") as clocks:
        clocks.add_column(sa.Column("rules", sa.Integer()))
        clocks.create_foreign_key("clocks_rules_fk", "rules", ["rules"], ["id"])
