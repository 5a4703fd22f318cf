import itertools
import json

import numpy as np
import plotly.graph_objects as go
import plotly.io as pio
import pytest

from coursekit import figures

# Machado, Oliveira & Fernandes 2009, severity 1: colors without one kind of cone, in linear RGB.
COLOR_VISION = {
    "full": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "protanopia": [[0.1523, 1.0526, -0.2049], [0.1145, 0.7863, 0.0992], [-0.0039, -0.0481, 1.0520]],
    "deuteranopia": [[0.3673, 0.8606, -0.2280], [0.2801, 0.6725, 0.0474], [-0.0118, 0.0429, 0.9689]],
    "tritanopia": [[1.2555, -0.0767, -0.1788], [-0.0784, 0.9308, 0.1476], [0.0047, 0.6914, 0.3039]],
}


def linear(color):
    srgb = np.array(list(bytes.fromhex(color.removeprefix("#")))) / 255
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def contrast(one, other):
    light = sorted(float(linear(color) @ [0.2126, 0.7152, 0.0722]) for color in (one, other))
    return (light[1] + 0.05) / (light[0] + 0.05)


def lab(rgb):
    xyz = np.clip(rgb, 0, 1) @ np.array(
        [[0.4124, 0.2126, 0.0193], [0.3576, 0.7152, 0.1192], [0.1805, 0.0722, 0.9505]]
    )
    x, y, z = np.cbrt(xyz / [0.9505, 1, 1.089])
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("background", ["#ffffff", "#121212"])
@pytest.mark.parametrize("color", figures.COLORS.values(), ids=figures.COLORS)
def test_colors_stand_out_on_light_and_dark_pages(color, background):
    assert contrast(color, background) >= 3  # WCAG 2.1, 1.4.11


@pytest.mark.parametrize("matrix", COLOR_VISION.values(), ids=COLOR_VISION)
def test_training_and_validation_differ_in_any_color_vision(matrix):
    train, val = (lab(np.array(matrix) @ linear(figures.COLORS[name])) for name in ("train", "val"))
    assert np.linalg.norm(train - val) > 40  # 2.3 is just noticeable


def test_curves_of_one_figure_all_differ():
    styles = [tuple(figures.style(number).values()) for number in range(24)]
    assert all(one != other for one, other in itertools.combinations(styles, 2))


def test_figure_is_transparent_and_titled():
    fig = figures.figure("a title", "x (steps)", "y", log_y=True)
    layout = json.loads(fig.to_json())["layout"]
    assert layout["title"]["text"] == "a title"
    assert layout["xaxis"]["title"]["text"] == "x (steps)"
    assert layout["yaxis"]["type"] == "log"
    assert "type" not in layout["xaxis"]
    assert layout["template"]["layout"]["paper_bgcolor"] == "rgba(0, 0, 0, 0)"


def test_a_curve_has_a_band_of_its_own_color():
    fig = figures.figure("t")
    figures.add_curve(fig, [1, 2], [5.0, 6.0], [4.0, 5.0], [6.0, 8.0], name="a")
    figures.add_curve(fig, [1, 2], [1.0, 2.0], name="b")
    band, line, other = fig.data
    assert list(band.x) == [1, 2, 2, 1]
    assert list(band.y) == [6, 8, 5, 4]
    assert band.fillcolor == figures.transparent(line.line.color, 0.2)
    assert not band.showlegend
    assert line.showlegend
    assert line.line.color != other.line.color


def test_add_curve_takes_any_numbers_and_leaves_the_figure_json():
    fig = figures.figure("t")
    figures.add_curve(fig, range(3), np.array([1.0, np.nan, 3.0]), symbol="square")
    trace = json.loads(fig.to_json(engine="json"))["data"][0]
    assert trace["marker"]["symbol"] == "square"
    assert trace["showlegend"] is False
    assert isinstance(go.Figure(json.loads(fig.to_json())), go.Figure)


@pytest.mark.parametrize(
    ("band", "message"),
    [
        ({"low": [1, 2]}, "both low and high"),
        ({"low": [1, 2], "high": [1]}, r"one length; got \[2, 2, 2, 1\]"),
    ],
)
def test_bad_bands_are_named(band, message):
    with pytest.raises(ValueError, match=message):
        figures.add_curve(figures.figure("t"), [1, 2], [1, 2], **band)


def heat(z, **changes):
    fig = figures.figure("facts", "direction", "fact")
    fig.add_heatmap(x=["forward", "reverse"], y=["a", "b"], z=z, **{"zmin": 0, "zmax": 1, **changes})
    return fig


def curve(y, **layout):
    fig = figures.figure("loss", "step", "loss").update_yaxes(range=[0, 9])
    figures.add_curve(fig, [0, 1, 2], y, name="validation")
    return fig.update_layout(**layout)


def test_slider_repeats_only_what_changes():
    moving = figures.slider(
        [heat([[0.125, 0], [0, 0]]), heat([[1, 0.5], [0, np.nan]])], [0, 10000], label="step", start=1
    )
    sent = json.loads(moving.to_json(engine="json"))
    assert [set(frame["data"][0]) for frame in sent["frames"]] == [{"type", "z"}] * 2
    assert sent["frames"][0]["data"][0]["z"] == [[0.125, 0], [0, 0]]
    assert sent["frames"][1]["data"][0]["z"] == [[1, 0.5], [0, None]]
    assert not sent["frames"][0].get("layout")
    assert sent["data"][0]["z"] == sent["frames"][1]["data"][0]["z"]  # the frame shown first
    assert sent["layout"]["sliders"][0]["active"] == 1
    assert [step["label"] for step in sent["layout"]["sliders"][0]["steps"]] == ["0", "10,000"]
    assert [step["args"][0] for step in sent["layout"]["sliders"][0]["steps"]] == [
        [frame["name"]] for frame in sent["frames"]
    ]


def test_slider_holds_every_trace_that_does_not_move_once():
    frames = [curve([3, np.nan, 1]), curve([3, np.nan, 1])]
    for i, frame in enumerate(frames):
        frame.add_bar(x=[0, 1], y=[i, 2], marker={"color": "#7a7a7a"})
    moving = figures.slider(frames, ["a", "b"], label="x")
    assert [frame.traces for frame in moving.frames] == [(1,), (1,)]
    assert moving.frames[1].data[0].to_plotly_json() == {"type": "bar", "y": [1, 2]}
    assert moving.data[1].marker.color == "#7a7a7a"


def test_slider_wants_a_range_only_where_something_moves():
    free = [curve(y).update_xaxes(range=None) for y in ([1, 2, 3], [9, 5, 2])]
    assert figures.slider(free, [0, 1], label="x").layout.xaxis.range is None  # its values stay


def test_slider_moves_annotations_and_says_the_sentence_in_a_live_notebook():
    frames = [curve([1, 2, 3]), curve([1, 2, 4])]
    for i, frame in enumerate(frames):
        frame.add_annotation(text=f"here {i}", x=i, y=1)
    moving = figures.slider(frames, [0, 1], label="x", describe=["Three < four.", "It\n is four."])
    assert [[note.text for note in frame.layout.annotations] for frame in moving.frames] == [
        ["here 0", "Three &lt; four."],
        ["here 1", "It is four."],
    ]
    assert moving.layout.annotations[-1].text == "Three &lt; four."
    assert moving.layout.meta["slider"]["describe"] == ["Three < four.", "It is four."]


@pytest.mark.parametrize("renderer", ["colab", "notebook_connected"])
def test_slider_waits_for_the_reader_in_every_notebook(renderer, monkeypatch):
    monkeypatch.setattr(pio.renderers, "default", renderer)
    moving = figures.slider([heat([[0, 1], [2, 3]]), heat([[0, 7], [2, -1]])], [0, 1], label="x")
    page = moving._repr_mimebundle_()["text/html"]
    assert "Plotly.addFrames" in page
    assert "Plotly.animate" not in page


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: figures.slider([curve([1, 2, 3])], [0], label="x"), "at least two frames; got 1"),
        (lambda: two(values=[1]), "values must have one entry for each of the 2 frames; got 1"),
        (lambda: two(describe=["a"]), "describe must have one entry for each of the 2 frames; got 1"),
        (lambda: two(label=" "), "needs a label"),
        (lambda: two(start=2), "start must be the index of one of the 2 frames; got 2"),
        (lambda: two(heat([[1, 2], [3, 4]])), r"frame 0 has \['scatter'\] and frame 1 has \['heatmap'\]"),
        (lambda: two(curve([1, 2, 3]).add_scatter(y=[1])), "must have the same traces"),
        (
            lambda: two(curve([2, 2, 3], title_text="other")),
            "layout; title differs in frame 1",
        ),
        (lambda: two(curve([2, 2, 3], yaxis_range=[0, 1])), "layout; yaxis differs in frame 1"),
        (
            lambda: two(curve([2, 2, 3]).update_traces(text=["a"])),
            "text of trace 0 must be set in every frame",
        ),
        (lambda: two(curve([2, 2, 3]).add_annotation(text="a")), "as many annotations; frame 0 has 0"),
        (lambda: loose(yaxis_range=None), r"the values along yaxis .*set yaxis\.range in every frame"),
        (lambda: loose(yaxis_range=[0, None]), r"set yaxis\.range in every frame"),
        (lambda: pale(zmin=None), "the colors of trace 0 .*set zmin and zmax in every frame"),
        (lambda: pale(coloraxis="coloraxis"), "set zmin and zmax in every frame"),
    ],
)
def test_frames_that_do_not_fit_get_one_clear_sentence(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def two(second=None, *, values=(0, 1), label="x", **options):
    """Make a slider of the curve 1, 2, 3 and another figure."""
    return figures.slider([curve([1, 2, 3]), second or curve([2, 2, 3])], values, label=label, **options)


def loose(**layout):
    """Make a slider of two curves without a range."""
    return figures.slider([curve([1, 2, 3], **layout), curve([2, 2, 3], **layout)], [0, 1], label="x")


def pale(**changes):
    """Make a slider of two heatmaps without the limits of their colors."""
    return figures.slider(
        [heat([[0, 0], [0, 0]], **changes), heat([[1, 1], [0, 0]], **changes)], [0, 1], label="x"
    )


def test_frames_that_are_alike_make_a_slider_in_which_nothing_moves():
    moving = figures.slider([curve([1, 2, 3])] * 2, [0, 10], label="training step", describe=["a", "b"])
    assert [len(frame.data) for frame in moving.frames] == [0, 0]
    assert list(moving.data[0].y) == [1, 2, 3]
