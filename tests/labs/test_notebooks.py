"""What each lab notebook keeps to as a file; that it runs is nbval's part (make labs)."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

from coursekit.book.repository import address

LABS = sorted((Path(__file__).resolve().parents[2] / "labs").glob("*.ipynb"))
MOST_LINES = 15


@pytest.fixture(params=LABS, ids=lambda lab: lab.stem)
def lab(request: pytest.FixtureRequest) -> Path:
    return request.param


@pytest.fixture
def cells(lab: Path) -> list[dict[str, Any]]:
    return json.loads(lab.read_text(encoding="utf-8"))["cells"]


def code(cells: list[dict[str, Any]]) -> list[str]:
    """Return the source of each code cell."""
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def test_there_are_labs() -> None:
    assert LABS


def test_cell_ids_are_stable_names(cells: list[dict[str, Any]]) -> None:
    ids = [cell.get("id", "") for cell in cells]
    assert len(set(ids)) == len(ids), "two cells share an id"
    random = [
        name
        for name in ids
        if not re.fullmatch(r"[a-z][a-z0-9_-]{1,63}", name) or re.fullmatch(r"[0-9a-f]{8}", name)
    ]
    assert random == [], "give each cell a readable id that stays: predict-division, check-inverse"


def test_outputs_are_stripped(cells: list[dict[str, Any]]) -> None:
    ran = [
        cell["id"]
        for cell in cells
        if cell["cell_type"] == "code" and (cell["outputs"] or cell["execution_count"])
    ]
    assert ran == [], "clear all outputs before saving"


def test_one_parameters_cell_near_the_top(cells: list[dict[str, Any]]) -> None:
    tagged = [i for i, cell in enumerate(cells) if "parameters" in cell["metadata"].get("tags", [])]
    assert len(tagged) == 1
    before = [cell for cell in cells[: tagged[0]] if cell["cell_type"] == "code"]
    assert len(before) <= 1, "only the install cell comes before the parameters"


def test_papermill_injects_after_the_parameters_cell(lab: Path) -> None:
    notebook = parameterize_notebook(load_notebook_node(str(lab)), {"preset": "smoke"})
    tags = [cell.metadata.get("tags", []) for cell in notebook.cells]
    at = next(i for i, names in enumerate(tags) if "parameters" in names)
    assert "injected-parameters" in tags[at + 1]
    assert "smoke" in notebook.cells[at + 1].source


def test_kernel_is_plain_python(lab: Path) -> None:
    metadata = json.loads(lab.read_text(encoding="utf-8"))["metadata"]
    assert metadata["kernelspec"]["name"] == "python3"


def test_cells_are_short(cells: list[dict[str, Any]]) -> None:
    long = [cell["id"] for cell in cells if cell["cell_type"] == "code" and len(cell["source"]) > MOST_LINES]
    assert long == [], f"a code cell has at most {MOST_LINES} lines"


def test_install_cell_works_in_colab_only_and_leaves_torch_alone(
    cells: list[dict[str, Any]], root: Path
) -> None:
    install = code(cells)[0]
    assert '"google.colab" in sys.modules' in install
    assert f"git+https://github.com/{address(root)}" in install
    assert "torch" not in install


def test_no_colab_badge_or_link_points_elsewhere(lab: Path, root: Path) -> None:
    linked = re.findall(
        r"colab\.research\.google\.com/github/([^/]+/[^/]+)/", lab.read_text(encoding="utf-8")
    )
    assert set(linked) <= {address(root)}
