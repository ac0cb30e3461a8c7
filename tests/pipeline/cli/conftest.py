"""A loaded process for the tests that kill."""

import pytest
from warm import WarmProcess


@pytest.fixture(scope="session")
def warm(tmp_path_factory):
    process = WarmProcess(tmp_path_factory.mktemp("logs"))
    yield process
    process.close()


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The folder that the command runs in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
