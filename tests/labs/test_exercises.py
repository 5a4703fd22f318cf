"""Every lab as a student meets it: unsolved, solved, and each folded solution against its check."""

import ast
import re
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

from coursekit import lab
from coursekit.lab.checks import judge
from coursekit.lab.exercises import all_exercises

LABS = {
    path.stem.partition("_")[2]: path
    for path in sorted((Path(__file__).resolve().parents[2] / "labs").glob("*.ipynb"))
}
EXERCISE = {exercise.name: exercise for exercise in all_exercises()}


def of(experiment):
    """Return the names of one lab's exercises, in their order."""
    return [name for name in EXERCISE if name.startswith(f"{experiment}.")]


@pytest.fixture(params=LABS)
def experiment(request):
    return request.param


@pytest.fixture(params=EXERCISE)
def name(request):
    return request.param


@pytest.fixture
def notebook(request):
    found = request.node.callspec.params
    experiment = found.get("experiment") or found["name"].partition(".")[0]
    return nbformat.read(LABS[experiment], as_version=4)


def stubs(notebook):
    """Return the cell that holds each exercise's stub and check."""
    checks = {
        cell.id: re.findall(r'^lab\.check\("(.+?)", (\w+)\)$', cell.source, re.MULTILINE)
        for cell in notebook.cells
        if cell.cell_type == "code"
    }
    return {
        found[0][0]: cell for cell in notebook.cells if (found := checks.get(cell.id)) and len(found) == 1
    }


def solutions(notebook):
    """Return each exercise's folded solution."""
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    folded = (
        r'<details id="solution-([\w.]+)"><summary>Solution</summary>\n\n```python\n(.*?)```\n\n</details>'
    )
    return dict(re.findall(folded, text, re.DOTALL))


def answer(source, name):
    """Run the source of an answer and return what it defines."""
    namespace = {"np": np}
    exec(source, namespace)
    return namespace[name.partition(".")[2]]


def names(source, *, stored):
    """Return the variables and functions that a cell makes, or those that it uses."""
    tree = ast.parse(re.sub(r"^\s*%.*$", "    pass", source, flags=re.MULTILINE))
    made = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)} if stored else set()
    context = ast.Store if stored else ast.Load
    top = [node for node in tree.body if not (stored and isinstance(node, ast.FunctionDef))]
    found = [n for node in top for n in ast.walk(node) if isinstance(n, ast.Name)]
    return made | {n.id for n in found if isinstance(n.ctx, context)}


def run(client, cells):
    """Run some cells of a notebook in its kernel; return the printed text of each."""
    for cell in cells:
        client.execute_cell(cell, client.nb.cells.index(cell))
    return {
        cell.id: "".join(output.text for output in cell.outputs if output.get("name") == "stdout")
        for cell in cells
    }


def test_it_runs_to_the_end_and_keeps_nothing_and_solved_passes_everything(
    notebook, experiment, tmp_path, monkeypatch
):
    monkeypatch.setenv("COURSEKIT_PRESET", "smoke")
    monkeypatch.setenv("COURSEKIT_HOME", str(tmp_path / "home"))
    client = NotebookClient(notebook, timeout=120, kernel_name="python3")
    tasks, total = stubs(notebook), len(of(experiment))
    with client.setup_kernel():
        printed = run(client, [cell for cell in notebook.cells if cell.cell_type == "code"])
        assert {name: printed[cell.id] for name, cell in tasks.items()} == {
            name: f"○ {name}: not attempted yet.\n" for name in tasks
        }
        assert f"0 of {total} exercises passed, 0 predictions made." in printed["progress"]
        assert not (tmp_path / "home").exists()

        for name, cell in tasks.items():  # no other cell depends on them
            cell.source = solutions(notebook)[name] + "\n" + cell.source.splitlines()[-1]
        progress = next(cell for cell in notebook.cells if cell.id == "progress")
        printed = run(client, [*tasks.values(), progress])
        for name, cell in tasks.items():
            assert printed[cell.id].startswith(f"✓ {name}: right")
        assert f"{total} of {total} exercises passed" in printed["progress"]


def test_every_exercise_is_in_the_notebook_once_and_in_its_order(notebook, experiment):
    assert list(stubs(notebook)) == of(experiment) == list(solutions(notebook))
    assert len(of(experiment)) >= 5


def test_heading_rating_and_hint(notebook, name):
    exercise = EXERCISE[name]
    cells = notebook.cells
    at = cells.index(stubs(notebook)[name])
    number = of(name.partition(".")[0]).index(name) + 1
    assert cells[at - 1].source.startswith(f"### Exercise {number}: ")
    assert f"\n\n{exercise.stars()} · {exercise.minutes} minutes\n\n" in cells[at - 1].source
    assert "<details><summary>Hint</summary>\n\n" in cells[at + 1].source


def test_the_stub_is_not_attempted(notebook, name, capsys):
    exec(stubs(notebook)[name].source, {"np": np, "lab": lab})
    assert capsys.readouterr().out == f"○ {name}: not attempted yet.\n"


def test_the_folded_solution_passes(notebook, name):
    solution = answer(solutions(notebook)[name], name)
    found = {judge(EXERCISE[name], solution, np.random.default_rng(seed))[0] for seed in range(20)}
    assert found == {"✓"}


def test_stub_and_solution_have_one_signature(notebook, name):
    def signature(source):
        return [line for line in source.splitlines() if line.startswith("def ")]

    assert signature(stubs(notebook)[name].source) == signature(solutions(notebook)[name])


def test_no_other_cell_uses_what_a_student_writes(notebook, experiment):
    cells = stubs(notebook)
    students = set().union(*(names(cell.source, stored=True) for cell in cells.values()))
    assert len(students) == len(of(experiment))
    others = [cell for cell in notebook.cells if cell.cell_type == "code" and cell not in cells.values()]
    used = set().union(*(names(cell.source, stored=False) for cell in others))
    assert students & used == set()
