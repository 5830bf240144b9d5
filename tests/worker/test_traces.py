import sys
from typing import Any

import pytest
from celery import Celery

from ticket_worker.errors import SettingsError
from ticket_worker.settings import read_settings
from ticket_worker.watching import watch


def test_without_the_extra_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ticket_worker.traces", None)
    settings = read_settings(trace_url="http://127.0.0.1:4318/v1/traces")
    with pytest.raises(SettingsError, match=r"blackroad-ticket-system\[trace\]"):
        watch(Celery(set_as_current=False), settings)


@pytest.mark.parametrize("url", ("collector:4318", "grpc://collector:4317", "https://user:hush@collector/v1/traces"))
def test_an_address_that_is_none_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(SettingsError) as refused:
        read_settings(trace_url=url)
    assert "TICKETS_TRACE_URL" in str(refused.value)
    assert "hush" not in str(refused.value)


def test_the_address_stands_in_no_log(monkeypatch: pytest.MonkeyPatch) -> None:
    url = "https://collector.example.com/v1/traces?token=hush"
    settings: Any = read_settings(trace_url=url)
    assert url in settings.secrets
    assert "hush" not in repr(settings)
