"""predict and reveal: with a form, without one, with an answer, with nonsense, with nothing."""

import math
import sys

import numpy as np
import pytest

from coursekit import lab
from coursekit.lab import journal, predictions

ipywidgets = pytest.importorskip("ipywidgets")

NUMBER = {"low": 0, "high": 10_000, "unit": "steps"}
PERCENT = {"low": 0, "high": 100, "unit": "%"}
CHOICE = {"kind": "choice", "choices": ["chance", "half", "all"]}
CURVE = {"kind": "curve", "choices": [0.3, 0.5], "low": 0, "high": 10_000, "unit": "steps"}


def revealed(capsys, actual, **how):
    prediction = lab.predict("toy.delay", "When?", **how)
    capsys.readouterr()
    assert prediction.reveal(actual) is None
    return capsys.readouterr().out.strip()


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        (NUMBER, "a number of steps from 0 to 10,000, or 'never'"),
        (NUMBER | {"unit": "frequencies"}, "a number of frequencies from 0 to 10,000"),
        (PERCENT, "a percentage from 0 to 100"),
        (CHOICE, "one of 'chance', 'half', 'all'"),
        (CURVE, "a list of 2 numbers from 0 to 10,000, one for each of 0.3, 0.5"),
    ],
)
def test_without_widgets_the_question_is_text_and_nothing_is_kept(capsys, home, how, expected):
    assert lab.predict("toy.delay", "When?", **how).answer is None
    assert capsys.readouterr().out == (
        f"Predict: When?\nTo answer, write answer=... in this cell ({expected}), and run it again.\n"
    )
    assert not home.exists()


@pytest.mark.parametrize(
    ("how", "answer", "kept"),
    [
        (NUMBER, 3000, 3000),
        (NUMBER, "3,000", 3000),
        (NUMBER, " Never ", math.inf),
        (CHOICE, "half", "half"),
        (CURVE, [5000, "never"], [5000, math.inf]),
        (CURVE, np.array([5000, 1000]), [5000, 1000]),
    ],
)
def test_an_answer_is_taken_and_kept(capsys, how, answer, kept):
    assert lab.predict("toy.delay", "When?", answer=answer, **how).answer == kept
    assert "Your prediction: " in capsys.readouterr().out
    again = predictions.Prediction("toy.delay", "When?", **how)
    again.enter(journal.recall("predictions", "toy.delay")["answer"])
    assert again.answer == kept


@pytest.mark.parametrize(
    ("how", "answer", "culprit"),
    [
        (NUMBER, "soon", "'soon'"),
        (NUMBER, -1, "-1"),
        (NUMBER, 20_000, "20000"),
        (NUMBER, float("nan"), "nan"),
        (NUMBER, [1], "[1]"),
        (NUMBER, math.inf, "inf"),
        (PERCENT, "never", "'never'"),
        (CHOICE, "some", "'some'"),
        (CHOICE, ["half"], "['half']"),
        (CURVE, [1], "[1]"),
        (CURVE, "12", "'12'"),
        (CURVE, 5, "5"),
        (CURVE, [1, "soon"], "'soon'"),
    ],
)
def test_nonsense_gets_one_sentence_and_counts_as_no_answer(capsys, home, how, answer, culprit):
    assert lab.predict("toy.delay", "When?", answer=answer, **how).answer is None
    assert capsys.readouterr().out.startswith(f"This is no answer to the question: {culprit} is not ")
    assert not home.exists()


@pytest.mark.parametrize(
    ("how", "actual", "said"),
    [
        (NUMBER, 3100, "The result: 3,100 steps."),
        (CHOICE, "all", "The result: all."),
        (
            CURVE,
            [3100, math.inf],
            "The result:\n  at 0.3          3,100 steps\n  at 0.5                never",
        ),
    ],
)
def test_with_nothing_entered_the_result_is_shown(capsys, how, actual, said):
    expected = f"No prediction was entered, so there is nothing to compare. {said}"
    assert revealed(capsys, actual, **how) == expected


@pytest.mark.parametrize(
    ("answer", "actual", "said"),
    [
        (1000, 3100, "You predicted 1,000 steps; the result is 3,100 steps: 3.1 times as much."),
        (3000, 3100, "You predicted 3,000 steps; the result is 3,100 steps: within 10 %."),
        ("never", math.inf, "You predicted never; the result is never: exactly."),
        ("never", 3100, "You predicted never; the result is 3,100 steps: not at all the same."),
        (10, math.nan, "You predicted 10 steps; the result is not seen in this run: nothing to compare."),
    ],
)
def test_a_number_is_compared(capsys, answer, actual, said):
    assert revealed(capsys, actual, answer=answer, **NUMBER) == said


def test_a_choice_is_compared(capsys):
    assert revealed(capsys, "half", answer="half", **CHOICE) == "You predicted: half, and so it is."
    assert revealed(capsys, "all", answer="half", **CHOICE) == "You predicted: half, but the result is: all."


def test_a_curve_is_drawn_beside_the_result(capsys):
    figure = lab.predict("toy.delay", "When?", answer=[5000, 1000], **CURVE).reveal([3100, 900])
    assert "at 0.3          5,000 steps     3,100 steps" in capsys.readouterr().out
    lines = {line.name: list(line.y) for line in figure.data if line.name}
    assert lines == {"your prediction": [5000, 1000], "the result": [3100, 900]}


@pytest.mark.parametrize(
    ("how", "answer", "actual", "close"),
    [
        (NUMBER, 3000, 4500, True),
        (NUMBER, 3000, 4600, False),
        (NUMBER, "never", math.inf, True),
        (NUMBER, "never", 4500, False),
        (NUMBER, 0, 0, True),
        (PERCENT, 40, 50, True),
        (PERCENT, 40, 51, False),
        ({}, -2, 2, False),
        ({}, -2, -3, True),
        (CHOICE, "half", "half", True),
        (CHOICE, "half", "all", False),
        (CURVE, [5000, 1000], [4000, 2000], True),
        (CURVE, [5000, 1000], [4000, 2001], False),
        (CURVE, [5000, "never"], [5000, math.inf], True),
    ],
)
def test_the_first_comparison_is_kept(how, answer, actual, close):
    lab.predict("toy.delay", "When?", answer=answer, confidence=80, **how).reveal(actual)
    kept = journal.recall("predictions", "toy.delay")["revealed"]
    assert (kept["close"], kept["confidence"]) == (close, 80)
    assert journal.progress_path().read_text().count("Infinity") == 0
    changed = {"answer": [9999, 9999] if how is CURVE else "chance" if how is CHOICE else 1}
    lab.predict("toy.delay", "When?", **changed, **how).reveal(actual)
    assert journal.recall("predictions", "toy.delay")["revealed"] == kept, "hindsight is no prediction"


@pytest.mark.parametrize(
    ("how", "answer", "actual"),
    [
        (NUMBER, None, 5),
        (NUMBER, 5, math.nan),
        (CURVE, [5, 5], [5, math.nan]),
    ],
)
def test_without_anything_to_compare_no_comparison_is_kept(how, answer, actual):
    lab.predict("toy.delay", "When?", answer=answer, **how).reveal(actual)
    assert "revealed" not in journal.recall("predictions", "toy.delay")


def test_a_confidence_is_a_percentage(capsys, home):
    lab.predict("toy.delay", "When?", answer=3000, confidence=120, **NUMBER)
    assert capsys.readouterr().out.startswith(
        "This is no answer to the question: 120 is not a confidence from 0"
    )
    assert not home.exists()


# The form -------------------------------------------------------------------------------------------------


@pytest.fixture
def form(monkeypatch):
    """Return a function that asks with a form and returns prediction, field, button and status."""
    shown = []
    monkeypatch.setattr(predictions, "_widgets", lambda: ipywidgets)
    monkeypatch.setattr("IPython.display.display", shown.append)

    def ask(**how):
        prediction = lab.predict("toy.delay", "When <b>?", **how)
        title, field, sure, row = shown.pop().children
        assert "When &lt;b&gt;?" in title.value
        ask.sure = sure
        return prediction, field, *row.children

    return ask


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("how", "fill", "kept", "status"),
    [
        (NUMBER, lambda field: setattr(field, "value", "3,000"), 3000, "3,000 steps"),
        (CHOICE, lambda field: setattr(field, "value", "half"), "half", "half"),
        (CURVE, lambda field: setattr(field.children[0], "value", 500), [500, 0], "500 steps, 0 steps"),
    ],
)
def test_a_form_counts_once_it_is_saved_and_begins_there_next_time(form, how, fill, kept, status):
    prediction, field, button, label = form(**how)
    fill(field)
    assert prediction.answer is None
    button.click()
    assert prediction.answer == kept
    assert label.value == f"✓ Saved: {status}. Now run the next cell."
    again, _, _, label = form(**how)
    assert again.answer == kept
    assert label.value == f"Saved: {status}"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_form_asks_how_sure_and_remembers(form):
    prediction, field, button, _ = form(**NUMBER)
    assert form.sure.value is None
    assert "within a factor of 1.5" in form.sure.description
    field.value, form.sure.value = "3000", 80
    button.click()
    assert prediction.confidence == 80
    form(**NUMBER)
    assert form.sure.value == 80


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_form_refuses_nonsense_and_keeps_what_was_saved(form):
    prediction, field, button, label = form(**NUMBER)
    for value, sentence in (
        ("", "✗ nothing was entered yet"),
        ("soon", "✗ &#x27;soon&#x27; is not a number"),
    ):
        field.value = value
        button.click()
        assert label.value.startswith(sentence)
        assert prediction.answer is None


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_saved_never_comes_back_in_a_form_of_sliders(form):
    lab.predict("toy.delay", "When?", answer=["never", 500], **CURVE)
    _, field, _, _ = form(**CURVE)
    assert [slider.value for slider in field.children] == [10_000, 500]


def test_an_answer_in_the_cell_replaces_the_form(form, capsys):
    lab.predict("toy.delay", "When?", answer=3000, **NUMBER)
    assert capsys.readouterr().out == "Predict: When?\nYour prediction: 3,000 steps\n"


def test_no_ipywidgets_no_form(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "google.colab", object())
    assert predictions._widgets() is ipywidgets
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    lab.predict("toy.delay", "When?", **NUMBER)
    assert capsys.readouterr().out.startswith("Predict: When?")


@pytest.mark.parametrize("somebody", [True, False])
def test_a_kernel_shows_a_form_only_where_somebody_can_type(somebody):
    """What JupyterLab and VS Code tell the kernel, and what nbval, papermill and the book's build tell it."""
    manager_module = pytest.importorskip("jupyter_client.manager")
    manager, client = manager_module.start_new_kernel(kernel_name="python3")
    seen = []
    try:
        client.execute_interactive(
            "from coursekit import lab; p = lab.predict('toy.delay', 'When?')",
            allow_stdin=somebody,
            timeout=60,
            output_hook=lambda message: seen.append(message["content"]),
        )
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    forms = [
        content for content in seen if "application/vnd.jupyter.widget-view+json" in content.get("data", {})
    ]
    text = "".join(content.get("text", "") for content in seen)
    assert (len(forms) == 1) is somebody
    assert ("Predict: When?" in text) is not somebody
