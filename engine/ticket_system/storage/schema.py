"""Which schema a database has, and how it gets the one this program wants."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from ticket_system.errors import SchemaOutdated
from ticket_system.storage import billing_tables as _billing_tables  # noqa: F401 - its tables belong to the schema
from ticket_system.storage import fleet_tables as _fleet_tables  # noqa: F401 - likewise
from ticket_system.storage import report_tables as _report_tables  # noqa: F401 - likewise
from ticket_system.storage.tables import BUILT_IN_NOTICE, BUILT_IN_STEP, metadata, step_notices, steps

#: The newest revision of the migrations beside this file; a test compares.
HEAD = "0004"
#: Any number, the same for every program that upgrades: PostgreSQL lets one of them through at a time.
_UPGRADE_LOCK = 7_120_245_161

_MIGRATIONS = Path(__file__).parent / "migrations"


def version(connection: sa.Connection) -> str | None:
    """Return the revision a database is at; None when it holds no schema of ours."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar_one_or_none()


def require(found: str | None) -> None:
    """Raise SchemaOutdated, saying what to do, unless this is the revision the program wants."""
    if found == HEAD:
        return
    if found is None:
        raise SchemaOutdated("the database holds no tickets schema yet; run `tickets db upgrade`")
    if found > HEAD:
        raise SchemaOutdated(
            f"the database is at schema {found}, newer than this program's {HEAD}; update the program", is_newer=True
        )
    raise SchemaOutdated(f"the database is at schema {found}, this program wants {HEAD}; run `tickets db upgrade`")


def upgrade(engine: sa.Engine, *, in_memory: bool = False) -> None:
    """Run the migrations that are missing, all in one transaction, one program at a time."""
    if in_memory:
        # Nothing to keep, nobody to wait for: the same tables without loading the migration machinery.
        with engine.begin() as connection:
            metadata.create_all(connection)
            if connection.execute(sa.select(steps.c.id)).first() is None:
                connection.execute(sa.insert(steps), BUILT_IN_STEP)
                connection.execute(sa.insert(step_notices), BUILT_IN_NOTICE)
            connection.execute(
                sa.text("CREATE TABLE IF NOT EXISTS alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)")
            )
            connection.execute(
                sa.text("INSERT INTO alembic_version VALUES (:head) ON CONFLICT DO NOTHING"), {"head": HEAD}
            )
        return
    with engine.connect().execution_options(tickets_writes=True) as connection, connection.begin():
        if connection.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_UPGRADE_LOCK)))
        if version(connection) != HEAD:
            migrate(connection)


def migrate(connection: sa.Connection) -> None:
    """Run the migrations that are missing, inside a transaction that somebody else opened and locked."""
    # Only an upgrade needs Alembic; a program that finds its schema in place starts without it.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
