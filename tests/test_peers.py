"""Where the neighbours cannot be had, a benchmark says so, and goes on without their figures."""

from pathlib import Path

import pytest

from tests.benchmarks.peers import environment
from tests.benchmarks.peers.helpdesk import helpdesk
from tests.benchmarks.results import Results


@pytest.mark.timeout(300)
def test_what_cannot_be_installed_is_absent_and_not_made_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(environment, "FOLDER", tmp_path / "peers")
    # No network, to pip.
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    results = Results()
    helpdesk(results, "postgresql://nobody/is/asked", stored=10, due=1)
    assert results.figures == {}
    told = [line for line in capsys.readouterr().err.splitlines() if "not measured" in line]
    assert len(told) == 1
    assert "No matching distribution found" in told[0]
    # What was left half made is made again next time.
    with pytest.raises(environment.PeersUnavailable):
        environment.python_of_peers()
