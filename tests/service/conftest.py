"""What tests of the service's parts share."""

import pytest

from coral_learn.runtime.fake_bus import FakeBus


@pytest.fixture
def bus(tmp_path, monkeypatch):
    """Where the fake device of this test is plugged in, for child processes as well."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return FakeBus()
