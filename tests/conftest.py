"""What every test shares: one thread a process, and a progress folder that is nobody's own."""

import os
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from coursekit.book.kernels import OwnPorts

# read by the package and by every kernel that a test starts, so it is set before either is imported
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["COURSEKIT_HOME"] = tempfile.mkdtemp(prefix="coursekit-test-home-")
OwnPorts.instance()

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def root() -> Path:
    """Return the repository's folder."""
    return ROOT


@pytest.fixture(scope="session")
def points(root: Path) -> pd.DataFrame:
    """Return the published points of Hoffmann et al. 2022, figure 4."""
    from coursekit.experiments.scaling_laws.data import load_published

    shared = root.parent / "shared" / "data"
    if not (shared / "chinchilla").is_dir():
        pytest.skip("needs the published points in ../shared/data beside the repository")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COURSEKIT_DATA", str(shared))
        return load_published()


@pytest.fixture(scope="session")
def runs(points: pd.DataFrame) -> tuple[pd.Series, ...]:
    """Return N, D and loss of the published points without the outliers."""
    kept = points[~points["outlier"]]
    return tuple(kept[name] for name in ("n_params", "n_tokens", "loss"))


@pytest.fixture(scope="session")
def search(runs: tuple[pd.Series, ...]) -> Any:
    """Return the fit to them."""
    from coursekit import parametric

    return parametric.fit_parametric_loss(*runs)
