"""What every test shares: one thread a process, and a progress folder that is nobody's own."""

import os
import tempfile
from pathlib import Path

import pytest

# read by the package and by every kernel that a test starts, so it is set before either is imported
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["COURSEKIT_HOME"] = tempfile.mkdtemp(prefix="coursekit-test-home-")

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def root() -> Path:
    """Return the repository's folder."""
    return ROOT
