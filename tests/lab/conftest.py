"""Every test has a progress file of its own and a machine without wishes."""

import pytest


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """Return the folder in which this test's progress is kept; it does not exist yet."""
    monkeypatch.setenv("COURSEKIT_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("COURSEKIT_PRESET", raising=False)
    return tmp_path / "home"
