import signal

import pytest


@pytest.fixture
def in_an_empty_folder(tmp_path, monkeypatch):
    """Commands that write where they are, and take SIGTERM for themselves, leave nothing behind."""
    monkeypatch.chdir(tmp_path)
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)
