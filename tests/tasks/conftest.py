import pytest

from tests.support.mailers import KeepingMailer
from ticket_system import TicketSystem
from ticket_tasks.toolbox import Toolbox


@pytest.fixture
def mailer() -> KeepingMailer:
    return KeepingMailer()


@pytest.fixture
def toolbox(system: TicketSystem, mailer: KeepingMailer) -> Toolbox:
    """What a job is handed, over a database of each kind in turn."""
    return Toolbox(system=system, mailer=mailer, mail_to="desk@example.com")
