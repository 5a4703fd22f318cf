"""Every number that the reproduction card takes from a measured file, computed from that file once more."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

import numpy as np
import pandas as pd
import pytest

from coursekit.experiments.neural_networks import analysis
from coursekit.experiments.neural_networks import config as configs
from coursekit.experiments.neural_networks.data import load_digits
from coursekit.results import read_measured

CARD = " ".join(
    files("coursekit.experiments.neural_networks").joinpath("README.md").read_text(encoding="utf-8").split()
)


@cache
def ends(name: str, metric: str = "accuracy") -> pd.DataFrame:
    """Return where a measured run ends, by split."""
    return analysis.at_the_end(read_measured("neural_networks", name).rows, metric).set_index("split")


def said(pattern: str) -> list[float]:
    """Return the numbers that one sentence of the card gives."""
    (found,) = re.findall(pattern, CARD)
    return [float(number) for number in ([found] if isinstance(found, str) else found)]


def percent(*shares: float, digits: int = 0) -> list[float]:
    return [round(100 * float(share), digits) for share in shares]


NUMBER = r"([\d.]*\d)"


def test_how_many_digits_are_read_right() -> None:
    at = ends("digits").loc["val"]
    numbers = said(
        rf"With ten seeds \(`digits`\): {NUMBER} % \({NUMBER} to {NUMBER}; seeds {NUMBER} to {NUMBER}\)"
    )
    assert numbers == percent(at["mean"], at["low"], at["high"], at["lowest"], at["highest"], digits=1)
    at = ends("relu_cross_entropy").loc["val"]
    numbers = said(rf"ReLU with cross-entropy: {NUMBER} % \({NUMBER} to {NUMBER}\)")
    assert numbers == percent(at["mean"], at["low"], at["high"], digits=1)
    at = ends("random_labels_0").loc["val"]
    assert said(rf"64-512-10 \(`random_labels_0`\): {NUMBER} %") == percent(at["mean"], digits=1)
    rows = read_measured("neural_networks", "digits").rows
    five = analysis.at_the_end(rows[rows["seed"].isin(configs.laptop().seeds)]).set_index("split")
    at, train = five.loc["val"], five.loc["train"]
    numbers = said(
        rf"interval\): {NUMBER} % of held-out digits read right \({NUMBER} to {NUMBER}\), {NUMBER} %"
    )
    assert numbers == percent(at["mean"], at["low"], at["high"], train["mean"], digits=1)


def test_how_sure_it_is_of_digits_and_of_noise() -> None:
    for name, pattern in (
        ("digits", rf"is {NUMBER} on average for held-out digits and {NUMBER} for uniform noise"),
        ("relu_cross_entropy", rf"with a softmax is at {NUMBER} and {NUMBER}, and above 0.9 on half"),
    ):
        at = ends(name, "confidence")["mean"]
        assert said(pattern) == [round(at["val"], 2), round(at["noise"], 2)]
    noise = analysis.noise_images(1000)
    sigmoid, relu = (
        analysis.stored_network(read_measured("neural_networks", name))
        for name in ("digits", "relu_cross_entropy")
    )
    sure = (analysis.confidence(sigmoid, noise) > 0.9).mean()
    sevens = (analysis.answers(sigmoid, noise) == 7).mean()
    assert said(rf"{NUMBER} % of the noise is above 0.9, and {NUMBER} % of it is a 7") == percent(
        sure, sevens
    )
    assert (analysis.confidence(relu, noise) > 0.9).mean() == pytest.approx(0.5, abs=0.02)


def test_learning_rates_and_batch_sizes() -> None:
    rates = {rate: ends(f"sweep_learning_rate_{rate:g}") for rate in configs.LEARNING_RATES}
    listed = said(
        rf"held-out accuracy {NUMBER} % at 0.01, {NUMBER} % at 0.1, {NUMBER} % at 0.3, {NUMBER} % at 1 and at 3, "
        rf"{NUMBER} % at 10"
    )
    assert listed == percent(*(rates[rate].loc["val", "mean"] for rate in (0.01, 0.1, 0.3, 1, 10)))
    assert percent(rates[1].loc["val", "mean"]) == percent(rates[3].loc["val", "mean"])
    for rate in (30, 100):  # all outputs are 0, at a cost of 1.000
        name = f"sweep_learning_rate_{rate:g}"
        assert ends(name, "loss")["mean"].to_numpy() == pytest.approx(1, abs=5e-4)
        assert ends(name, "confidence")["mean"].max() < 1e-3
    sizes = {size: ends(f"sweep_batch_size_{size}").loc["val", "mean"] for size in configs.BATCH_SIZES}
    listed = said(
        rf"40 epochs: {NUMBER} % at 3 images a step, {NUMBER} % at 10 and 30, {NUMBER} % at 100, {NUMBER} % at 300, "
        rf"{NUMBER} % at all 1437"
    )
    assert listed == percent(*(sizes[size] for size in (3, 10, 100, 300, 1437)))
    assert percent(sizes[10]) == percent(sizes[30])
    for rate, size in ((1, 30), (0.3, 100), (0.1, 300)):
        assert sizes[size] == pytest.approx(rates[rate].loc["val", "mean"], abs=0.03)


def test_random_labels() -> None:
    shares = [ends(f"random_labels_{100 * share:.0f}") for share in configs.RANDOM_LABELS]
    wrong = [round(3 * 1437 * (1 - at.loc["train", "mean"])) for at in shares]
    assert wrong == [0, 0, 0, 0, 1, 1]  # "all but one of 3 · 1437", "still learns them all (but one, once)"
    held_out = percent(*(at.loc["val", "mean"] for at in shares))
    assert said(rf"held-out accuracy is {NUMBER}, {NUMBER}, {NUMBER} and {NUMBER} %\.") == held_out[1:5]
    assert said(rf"reads {NUMBER} % of held-out digits right, which is guessing") == held_out[5:]
    small = ends("small_random_labels").loc["train", "mean"]
    assert said(rf"of `laptop` has {NUMBER} % of its random labels right") == percent(small)
    assert said(r"ours has (\d+),(\d+) weights and biases") == [38, 410]
    assert analysis.new_network((64, 512, 10)).n_params == 38_410


def test_the_network_that_a_run_carries_is_that_of_its_rows() -> None:
    for name in ("digits", "relu_cross_entropy"):
        run = read_measured("neural_networks", name)
        rows = pd.DataFrame(analysis.evaluate(analysis.stored_network(run), load_digits(), seed=0, step=5760))
        stored = run.rows[(run.rows["seed"] == 0) & (run.rows["step"] == 5760)]
        stored = stored[~stored["metric"].str.startswith("layer")]
        np.testing.assert_allclose(rows["value"], stored["value"], atol=2e-3)
