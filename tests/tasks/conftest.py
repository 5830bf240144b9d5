import pytest

from tests.support.mailers import KeepingMailer, KeepingNotifier
from ticket_system import TicketSystem
from ticket_tasks.toolbox import Toolbox


@pytest.fixture
def mailer() -> KeepingMailer:
    return KeepingMailer()


@pytest.fixture
def notifier() -> KeepingNotifier:
    return KeepingNotifier()


@pytest.fixture
def toolbox(system: TicketSystem, mailer: KeepingMailer, notifier: KeepingNotifier) -> Toolbox:
    """What a job is handed, over a database of each kind in turn."""
    return Toolbox(system=system, mailer=mailer, notifier=notifier, mail_to="desk@example.com")
