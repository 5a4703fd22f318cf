"""The training scrubber checks its data and says what is wrong with them."""

import json
from typing import Any

import numpy as np
import pytest

from coursekit import figures
from coursekit.book import scrubber
from coursekit.book.interactive import SCRUBBER_MIME, scrubber_html
from coursekit.book.mime import PLOTLY_MIME, WIDGET_MIME, PlotlyRenderer, ScrubberRenderer, WidgetRenderer


def data(**changes: Any) -> dict[str, Any]:
    """Return a run of three recorded steps with five points, with some entries changed."""
    good: dict[str, Any] = {
        "title": "a / b mod 5",
        "description": "A run.",
        "steps": np.array([0, 10, 100]),
        "train_accuracy": np.array([0.2, 0.995, 1.0]),
        "val_accuracy": [0.2, 0.3, 1.0],
        "train_loss": [1.6, 0.01, 0.001],
        "val_loss": [1.6, float("nan"), 0.01],
        "embeddings": np.arange(30.0).reshape(3, 5, 2),
    }
    return good | changes


def test_bundle_is_json_with_text_and_html_beside_it() -> None:
    bundle = scrubber(data())._repr_mimebundle_()
    assert set(bundle) == {SCRUBBER_MIME, "text/html", "text/plain"}
    sent = json.loads(json.dumps(bundle[SCRUBBER_MIME], allow_nan=False))
    assert sent["val_loss"] == [1.6, None, 0.01]
    assert sent["labels"] == ["0", "1", "2", "3", "4"]
    assert sent["start"] == 1  # the first step with 99 % training accuracy
    assert sent["embedding_steps"] == sent["steps"]


def test_frequency_joins_neighbors_on_its_circle() -> None:
    order = scrubber(data(frequency=2)).data["order"]
    assert order == [0, 3, 1, 4, 2]
    angles = [2 * a % 5 for a in order]
    assert angles == [0, 1, 2, 3, 4]


def test_text_cannot_end_the_script_element() -> None:
    html = scrubber_html(scrubber(data(title="</script><b>")).data)
    assert html.count("</script>") == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": [0, 10]}, "train_accuracy: expected 2 values, one for each step, got 3"),
        ({"steps": [0, 10, 10]}, "steps: expected at least two increasing"),
        ({"steps": [5]}, "steps: expected at least two"),
        ({"val_accuracy": [0, 50, 100]}, "val_accuracy: expected values from 0 to 1, got 50"),
        ({"train_loss": [1, -2, 0]}, "train_loss: expected values from 0 to inf, got -2"),
        ({"embeddings": np.zeros((2, 5, 2))}, "one frame for each of the 3 saved steps, got 2"),
        (
            {"embeddings": [[[0, 1]] * 5, [[0, 1]] * 4, [[0, 1]] * 5]},
            "frame 1 has 4 points and frame 0 has 5",
        ),
        ({"embeddings": np.full((3, 5, 2), np.nan)}, "frame 0: expected at least two points"),
        ({"embeddings": np.zeros((3, 5, 3))}, r"frame 0: expected at least two points \[x, y\]"),
        ({"labels": ["a"]}, "labels: expected 5"),
        ({"order": [0, 1, 2, 3, 3]}, "order: expected each of 0 to 4 once"),
        ({"frequency": 10}, "without a common divisor with 5 points, got 10"),
        ({"start": 11}, "start: expected one of the recorded steps, got 11"),
        ({"embedings": []}, "unknown entries: embedings"),
    ],
)
def test_wrong_data_get_one_clear_sentence(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        scrubber(data(**changes))


class Output:
    """An output as myst-nb passes it."""

    def __init__(self, mime_type: str, content: Any) -> None:
        self.mime_type = mime_type
        self.content = content


def test_renderers_take_their_own_type_only() -> None:
    outputs = {
        PlotlyRenderer: Output(PLOTLY_MIME, {"data": [], "layout": {"title": {"text": "</script>"}}}),
        ScrubberRenderer: Output(SCRUBBER_MIME, scrubber(data()).data),
        WidgetRenderer: Output(WIDGET_MIME, {"model_id": "1"}),
    }
    for renderer in outputs:
        for owner, output in outputs.items():
            nodes = renderer.handle_mime(None, output, False)
            assert (nodes is not None) == (owner is renderer)
    (node,) = PlotlyRenderer.handle_mime(None, outputs[PlotlyRenderer], False) or []
    assert node.astext().count("</script>") == 1
    as_text = Output(PLOTLY_MIME, json.dumps(outputs[PlotlyRenderer].content))
    assert PlotlyRenderer.handle_mime(None, as_text, False) is not None


def page_figure(figure: Any) -> dict[str, Any]:
    """Return a figure as the page gets it."""
    output = Output(PLOTLY_MIME, json.loads(figure.to_json()))
    (node,) = PlotlyRenderer.handle_mime(None, output, False) or []
    text = node.astext().split('<script type="application/json">')[1].split("</script>")[0]
    return dict(json.loads(text))


def moving_curve(describe: list[str] | None = None, **options: Any) -> Any:
    """Return a slider of two frames with one curve and one annotation that stays."""
    frames = []
    for top in (1, 2):
        fig = figures.figure("A curve", "step", "loss").add_annotation(text="stays", x=0, y=0)
        frames.append(fig.update_yaxes(range=[0, 2]))
        figures.add_curve(fig, [0, 1], [0, top])
    return figures.slider(frames, [10, 20], label="training step", describe=describe, **options)


def test_a_slider_reaches_the_page_without_plotlys_own_controls() -> None:
    sentences = ["The loss is 1.", "The loss is 2."]
    page = page_figure(moving_curve(sentences, start=1))
    assert {"sliders", "updatemenus"} & page["layout"].keys() == set()
    assert page["layout"]["meta"]["slider"] == {
        "label": "training step",
        "values": ["10", "20"],
        "describe": sentences,
        "start": 1,
        "height": 450,
    }
    assert page["layout"]["height"] == 450
    assert [note["text"] for note in page["layout"]["annotations"]] == ["stays"]
    assert [(frame["traces"], frame["layout"]) for frame in page["frames"]] == [([0], {}), ([0], {})]
    assert page["frames"][0]["data"] == [{"type": "scatter", "y": [0, 1]}]


def test_an_annotation_that_moves_reaches_the_page_with_its_frame() -> None:
    frames = []
    for top in (1, 2):
        fig = figures.figure("A curve").add_annotation(text=f"here {top}", x=1, y=top)
        frames.append(fig)
    for describe in (None, ["One.", "Two."]):
        page = page_figure(figures.slider(frames, [1, 2], label="top", describe=describe))
        moved = [
            frame["layout"].get("annotations", page["layout"]["annotations"]) for frame in page["frames"]
        ]
        assert [[note["text"] for note in notes] for notes in moved] == [["here 1"], ["here 2"]]


def test_a_figure_without_slider_reaches_the_page_as_it_is() -> None:
    fig = figures.figure("A curve", "step", "loss").update_layout(meta=["anything"], height=300)
    assert page_figure(fig)["layout"] == json.loads(fig.to_json())["layout"]
