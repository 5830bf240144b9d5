from celery import Celery
from celery.beat import ScheduleEntry
from celery.schedules import schedule
from structlog.testing import capture_logs

from tests.support.trial import waiting
from tests.support.valkey import forget_everything
from ticket_tasks import names
from ticket_worker.app import celery_settings
from ticket_worker.backlog import UNREAD
from ticket_worker.settings import read_settings
from ticket_worker.ticker import Ticker


def test_ticks_that_nobody_takes_are_not_piled_up(redis_url: str) -> None:
    app = Celery(broker=redis_url, set_as_current=False)
    app.conf.update(celery_settings(read_settings(redis_url=redis_url)))
    ticker = Ticker(app, lazy=True)
    entry = ScheduleEntry(name="tick", task="tick", schedule=schedule(1), app=app, options={"queue": names.CLOCK})
    with capture_logs() as lines:
        for _ in range(UNREAD + 20):
            ticker.apply_entry(entry, producer=ticker.producer)
        assert waiting(redis_url, names.CLOCK) == UNREAD
        forget_everything(redis_url)
        ticker.apply_entry(entry, producer=ticker.producer)
    assert waiting(redis_url, names.CLOCK) == 1
    assert [line["event"] for line in lines] == ["ticks.withheld", "ticks.sent_again"]
    app.close()
