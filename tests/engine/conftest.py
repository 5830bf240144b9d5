"""What several tests of the engine begin with."""

from collections.abc import Iterator

import pytest

from tests.support.billing import Till
from tests.support.promises import Desk
from ticket_system import TicketSystem
from ticket_system.audit import audit_clocks


@pytest.fixture
def desk(system: TicketSystem) -> Iterator[Desk]:
    """A desk; whatever happened at it, its clocks are in the end what its events alone make of them (rule 27)."""
    yield Desk(system)
    assert audit_clocks(system.database, everything=True).differences == []


@pytest.fixture
def till(database_url: str) -> Iterator[Till]:
    """A desk whose customers are billed, and one who is linked: acme."""
    till = Till(database_url)
    till.links()
    yield till
    till.database.close()
