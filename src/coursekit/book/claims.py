"""The headline claims of all weeks: what the paper says, and a function that asks the measured runs about it.

Each function gets the runs that its claim names, in that order. What it returns as `asked` decides the verdict.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from coursekit.book.evidence import Claim, Found
from coursekit.experiments.emergence import analysis as emergence
from coursekit.experiments.forecasting import analysis as forecasting
from coursekit.experiments.forecasting.data import SERIES, SPEEDS
from coursekit.experiments.grokking import analysis as grokking
from coursekit.experiments.inverse_scaling import analysis as inverse_scaling
from coursekit.experiments.neural_networks import analysis as neural_networks
from coursekit.experiments.reversal_curse import analysis as reversal_curse
from coursekit.experiments.reversal_dynamics import analysis as reversal_dynamics
from coursekit.experiments.scaling_laws import analysis as scaling_laws
from coursekit.experiments.scaling_laws.data import HOFFMANN, TABLE_2
from coursekit.parametric import exponents
from coursekit.results import Run
from coursekit.stats import spearman

CLAIMS: list[Claim] = []
"""All of them, week by week."""


def claim(
    experiment: str, text: str, *, paper: str, how: str, disputed: str, files: tuple[str, ...] = ()
) -> Callable[[Callable[..., Found]], Callable[..., Found]]:
    """Make a claim of the function below it: see `coursekit.book.evidence.Claim`."""

    def add(find: Callable[..., Found]) -> Callable[..., Found]:
        CLAIMS.append(Claim(experiment, text, paper, how, disputed, files, find))
        return find

    return add


def not_run(experiment: str, text: str, *, paper: str, how: str, disputed: str) -> None:
    """Add a claim that was not put to the test here; `how` says what it would take."""
    claim(experiment, text, paper=paper, how=how, disputed=disputed)(lambda: Found("–"))


def percent(share: float, digits: int = 0) -> str:
    """Write a share.

    >>> percent(0.967, 1)
    '96.7 %'
    """
    return f"{100 * share:.{digits}f} %"


def signed(value: float, digits: int = 1) -> str:
    """Write a number with its sign.

    >>> signed(-0.84), signed(0.55, 2)
    ('−0.8', '+0.55')
    """
    return f"{value:+.{digits}f}".replace("-", "−")


def listed(values: "list[str] | pd.Series") -> str:
    """Write a list as a part of a sentence.

    >>> listed(["a", "b", "c"])
    'a, b and c'
    """
    *first, last = values
    return f"{', '.join(first)} and {last}" if first else last


# Week 1

RANDOM_LABELS = (0, 20, 40, 60, 80, 100)


def _digits(run: Run, metric: str = "accuracy") -> Any:
    """Where training ends, by split."""
    return neural_networks.at_the_end(run.rows, metric).set_index("split")


@claim(
    "neural_networks",
    "Two hidden columns of 16 units learn to read digits that they have not seen.",
    paper="about 96 % of held-out MNIST digits (3Blue1Brown, second video)",
    how="64-16-16-10 on scikit-learn's 8 × 8 digits, not MNIST; ten seeds, 95 % interval.",
    disputed="the same 13 people wrote the digits on both sides of our split, so that ours is the easier exam.",
    files=("digits",),
)
def _(digits: Run) -> Found:
    end = _digits(digits).loc["val"]
    return Found(
        f"{percent(end['mean'], 1)} ({percent(end['low'], 1)} to {percent(end['high'], 1)})",
        {"every seed reads at least 95 % of the held-out digits": end["lowest"] >= 0.95},
    )


not_run(
    "neural_networks",
    "The same on MNIST, with the videos' 784-16-16-10.",
    paper="about 96 % (second video)",
    how="The preset `colab` does it; it needs a download of 11 MB and some minutes.",
    disputed="MNIST's writers are not on both sides of its split.",
)


@claim(
    "neural_networks",
    "Shown noise, such a network answers with confidence.",
    paper="an example, no number (second video)",
    how="Mean strongest output on uniform noise, beside that on held-out digits; ten seeds.",
    disputed="“confident” has many measures; a sigmoid output is no probability.",
    files=("digits",),
)
def _(digits: Run) -> Found:
    end = _digits(digits, "confidence")["mean"]
    return Found(
        f"{end['noise']:.2f} on noise, {end['val']:.2f} on digits",
        {
            "above one half on noise": end["noise"] > 0.5,
            "as sure of noise as of digits, within 0.05": end["noise"] > end["val"] - 0.05,
        },
    )


@claim(
    "neural_networks",
    "The sigmoid is old-fashioned: ReLU is easier to train.",
    paper="said, without a number (first video)",
    how="The same network with ReLU, softmax and cross-entropy, ten seeds each; median step, 95 % intervals.",
    disputed="cost and learning rate are changed with it, and a network of two hidden columns has little that is "
    "hard to train.",
    files=("digits", "relu_cross_entropy"),
)
def _(digits: Run, relu: Run) -> Found:
    old, new = (_digits(run).loc["val"] for run in (digits, relu))
    there = "metric == 'accuracy' and split == 'val' and value >= 0.9"
    slow, fast = (run.rows.query(there).groupby("seed")["step"].min().median() for run in (digits, relu))
    return Found(
        f"90 % of held-out digits at step {fast:,.0f} with ReLU, {slow:,.0f} with sigmoid; at the end "
        f"{percent(new['mean'], 1)} ({percent(new['low'], 1)} to {percent(new['high'], 1)}) with ReLU, "
        f"{percent(old['mean'], 1)} ({percent(old['low'], 1)} to {percent(old['high'], 1)}) with sigmoid",
        {
            "ReLU is at 90 % in fewer steps": fast < slow,
            "it reads more held-out digits at the end, beyond both intervals": new["low"] > old["high"],
        },
    )


@claim(
    "neural_networks",
    "A network that generalizes can as well learn random labels by heart.",
    paper="no training error with random labels, tests as if by guessing: CIFAR-10 (Zhang et al. 2016, figure 1)",
    how="64-512-10 on 1437 digits, the same recipe with true and with random labels, three seeds.",
    disputed="it does not show that true labels are learned in the same way: simple patterns come first, noise later "
    "(Arpit et al. 2017).",
    files=("random_labels_0", "random_labels_100"),
)
def _(true: Run, random: Run) -> Found:
    real, noise = (_digits(run)["mean"] for run in (true, random))
    return Found(
        f"random labels: {percent(noise['train'], 2)} of the training set, {percent(noise['val'])} of held-out digits; "
        f"true labels: {percent(real['train'])} and {percent(real['val'])}",
        {
            "random labels fitted to 99.9 %": noise["train"] >= 0.999,
            "then held-out digits at chance, 10 %, within 3 points": abs(noise["val"] - 0.1) < 0.03,
            "true labels generalize with the same recipe": real["val"] > 0.95,
        },
    )


@claim(
    "neural_networks",
    "The more labels are random, the worse it generalizes, gradually; the training set is always fitted.",
    paper="test error grows steadily with the share (Zhang et al. 2016, figure 1c)",
    how="The same with 0, 20, 40, 60, 80 and 100 % of random labels, three seeds each.",
    disputed="the same as above.",
    files=tuple(f"random_labels_{share}" for share in RANDOM_LABELS),
)
def _(*runs: Run) -> Found:
    ends = [_digits(run)["mean"] for run in runs]
    val = [end["val"] for end in ends]
    return Found(
        f"held-out accuracy {', '.join(percent(value) for value in val)}",
        {
            "every share fitted to 99.9 %": min(end["train"] for end in ends) >= 0.999,
            "held-out accuracy falls from share to share": all(np.diff(val) < 0),
        },
    )


# Week 2


@claim(
    "scaling_laws",
    "For each budget there is a best size, and it grows as a power of the budget, N ∝ Cᵃ.",
    paper="a = 0.50, 0.49 and 0.46 by three approaches (Hoffmann et al. 2022, table 2)",
    how="60 runs of byte-level transformers with 4 to 246 thousand parameters; 95 % bootstrap intervals.",
    disputed="an exponent from models as small as ours says nothing about theirs. {cite:t}`kaplan2020scaling` found "
    "0.73; {cite:t}`porian2024resolving` explain the difference by the last layer's cost, warm-up and untuned "
    "settings.",
    files=("family",),
)
def _(family: Run) -> Found:
    rows = family.rows.set_index(["approach", "metric"])["value"]
    names = ("training_curves", "isoflop", "parametric")
    a = {name: [rows[name, f"exponent_n{end}"] for end in ("", "_low", "_high")] for name in names}
    minima = scaling_laws.shared_minima(scaling_laws.final_losses(family.rows)).dropna(subset="n_params")
    return Found(
        "a = " + listed([f"{middle:.2f} ({low:.2f} to {high:.2f})" for middle, low, high in a.values()]),
        {
            f"a best size inside the range at each of {len(minima)} budgets, growing": bool(
                (minima["n_params"].diff().dropna() > 0).all()
            ),
            **{
                f"approach {i}: {paper:.2f} is in our interval": low <= paper <= high
                for i, (paper, (_, low, high)) in enumerate(zip(TABLE_2["a"], a.values(), strict=False), 1)
            },
        },
    )


@claim(
    "scaling_laws",
    "A law fitted to small runs tells how a larger one will end.",
    paper="laws fitted to over 400 runs chose Chinchilla's size, and it beat Gopher (sections 3 and 4)",
    how="A run at three times the largest budget, predicted before it was trained, in two ways; 95 % intervals.",
    disputed="bootstrap intervals know only the scatter of the runs. OpenAI reports a hit with up to 10,000 times "
    "less compute {cite:p}`openai2023gpt4`.",
    files=("family",),
)
def _(family: Run) -> Found:
    said: Any = family.rows[family.rows["approach"] == "prediction"].set_index("metric")
    end = said.loc[["val_loss"]].sort_values("n_tokens")["value"].iloc[-1]
    ways = {"the parametric fit": "predicted_val_loss", "the lowest losses": "frontier_val_loss"}
    spans = {
        way: [said.loc[name + part, "value"] for part in ("", "_low", "_high")] for way, name in ways.items()
    }
    return Found(
        f"trained: {end:.2f} bits per byte; said by "
        + listed([f"{way}: {m:.2f} ({low:.2f} to {high:.2f})" for way, (m, low, high) in spans.items()]),
        {f"inside the interval of {way}": low <= end <= high for way, (_, low, high) in spans.items()},
    )


@claim(
    "scaling_laws",
    "Approach 3: five numbers that fit the loss best.",
    paper="A 406.4, B 410.7, E 1.69, α 0.34, β 0.28 (section 3.3, equation 10)",
    how="Its own objective from its 4500 starts on 240 points read off its figure 4 by "
    "{cite:t}`besiroglu2024chinchilla`; ± one standard error.",
    disputed="the paper's optimizer stopped early {cite:p}`besiroglu2024chinchilla`; parameter counts behind the "
    "points are ambiguous by up to 15 % {cite:p}`schaeffer2025evaluating`.",
    files=("published",),
)
def _(published: Run) -> Found:
    fit, rows = scaling_laws.fit_of(published.rows), published.rows
    error = rows[rows["approach"] == "huber"].set_index("metric")["stderr"]
    near = all(
        abs(ours - paper) <= 2 * error[field]
        for field, ours, paper in zip(fit._fields, fit, HOFFMANN, strict=True)
    )
    objective = rows[rows["metric"] == "objective"].set_index("approach")["value"]
    # The paper's values are where the stopped optimizer began; its first step tells the objective there.
    start = rows[(rows["metric"] == "objective_at_step") & (rows["approach"] == "stopped_sum")].iloc[0][
        "value"
    ]
    return Found(
        f"A {fit.A:.0f} ± {error['A']:.0f}, B {fit.B:.0f} ± {error['B']:.0f}, E {fit.E:.2f} ± {error['E']:.2f}, "
        f"α {fit.alpha:.3f} ± {error['alpha']:.3f}, β {fit.beta:.3f} ± {error['beta']:.3f}",
        {
            "all five of the paper's within two standard errors of ours": near,
            f"the paper's values reach the lowest objective within 1 % (they are "
            f"{percent(start / objective['huber'] - 1)} above it)": start <= 1.01 * objective["huber"],
        },
    )


@claim(
    "scaling_laws",
    "Approach 3 knows the exponent to a thousandth.",
    paper="10th to 90th percentile of a: 0.454 to 0.455 (table 2)",
    how="1000 resamples of the same points, each fit run until it stands still.",
    disputed="so narrow an interval would take hundreds of thousands of runs {cite:p}`besiroglu2024chinchilla`. That "
    "the early stop caused it is our inference.",
    files=("published",),
)
def _(published: Run) -> Found:
    draws = published.rows.query("approach == 'bootstrap' and metric == 'exponent_n'")["value"]
    low, high = draws.quantile([0.1, 0.9])
    return Found(
        f"{low:.3f} to {high:.3f}",
        {
            "as narrow, within a factor of ten": high - low < 0.01,
            f"its own fit, {exponents(HOFFMANN)[0]:.3f}, lies in ours": low <= exponents(HOFFMANN)[0] <= high,
        },
    )


@claim(
    "scaling_laws",
    "Approach 2: the lowest points of parabolas at equal compute.",
    paper="a = 0.49, 10th to 90th percentile 0.462 to 0.534 (table 2)",
    how="Parabolas through the same points; runs count as having a budget within 0.02, 0.03 or 0.05 decades.",
    disputed="parabolas misplace the minimum even without noise {cite:p}`czech2026problems`.",
    files=("published",),
)
def _(published: Run) -> Found:
    a = published.rows.query("approach == 'isoflop' and metric == 'exponent_n'")["value"]
    return Found(
        "a = " + listed([f"{value:.3f}" for value in a]),
        {
            "0.49 lies between ours": a.min() <= 0.49 <= a.max(),
            "ours lie in the paper's interval": bool(a.between(0.462, 0.534).all()),
        },
    )


not_run(
    "scaling_laws",
    "Chinchilla, four times smaller than Gopher and trained on more than four times the text, is better.",
    paper="67.6 against 60.0 % on MMLU, better on 51 of its 57 subjects (section 4.2)",
    how="It would take 5.9 · 10²³ FLOPs for one of the two.",
    disputed="one pair of models, which differ in optimizer, tokenizer and data mixture too.",
)


# Week 3


def _tests(run: Run, task: str) -> "pd.Series[str]":
    """Verdict of the jump test under each metric."""
    table = emergence.verdicts(run.rows, emergence.stored_baselines(run.rows), tasks=[task])
    return table.set_index("metric")["verdict"]


@claim(
    "emergence",
    "A metric that wants every token right makes a smooth improvement look like a jump.",
    paper="GPT-3's arithmetic: a jump in exact match, a slope in edit distance (Schaeffer et al. 2023, section 3)",
    how="Words in another script, nine sizes of networks, one set of outputs, five metrics; a test with error bars "
    "says “emergent” or “gradual”.",
    disputed="this task, a table without a rule, was chosen as the clearest case.",
    files=("transliteration",),
)
def _(run: Run) -> Found:
    verdicts = _tests(run, "transliteration_5")
    curve = emergence.expected_exact_match(run.rows)
    curve = curve[curve["task"] == "transliteration_5"].groupby("n_params")[["power", "observed"]].mean()
    gap = (curve["power"] - curve["observed"]).abs().max()
    smooth = int((verdicts.drop("exact_match") == "gradual").sum())
    return Found(
        f"exact match: {verdicts['exact_match']}; {smooth} of 4 other metrics: gradual; p⁵ gives exact match to within "
        f"{100 * gap:.0f} points",
        {
            "exact match jumps": verdicts["exact_match"] == "emergent",
            "none of the others does": smooth == 4,
            "the power explains it, within 5 points": gap < 0.05,
        },
    )


@claim(
    "emergence",
    "Emergent abilities come from the metric: with a smooth one, or one token to answer, there is no jump.",
    paper="more than 92 % of the jumps found by eye are scored by exact match or multiple choice (sections 4 and 5)",
    how="Three-digit sums, products modulo 47 (one token) and two permutations one after the other (one token), "
    "sizes from width 4 to 96, the same test.",
    disputed="{cite:t}`wei2023common`: classification, one token an answer, jumps too; smooth metrics may not be "
    "what one cares about. Our steps were chosen so that the jump in composition is seen.",
    files=("addition", "multiplication", "composition"),
)
def _(*runs: Run) -> Found:
    tasks = ("addition_3", "multiplication_mod_47", "composition_12")
    verdicts = {task: _tests(run, task) for task, run in zip(tasks, runs, strict=True)}
    jumps = {task: int((found == "emergent").sum()) for task, found in verdicts.items()}
    return Found(
        f"metrics that jump: sums {jumps['addition_3']} of 5 (exact match), products "
        f"{jumps['multiplication_mod_47']} of 5, permutations {jumps['composition_12']} of 5",
        {
            "sums: exact match alone jumps": list(
                verdicts["addition_3"].index[verdicts["addition_3"] == "emergent"]
            )
            == ["exact_match"],
            "products: no metric jumps": jumps["multiplication_mod_47"] == 0,
            "permutations: no metric jumps": jumps["composition_12"] == 0,
        },
    )


@claim(
    "emergence",
    "Addition of several digits emerges with scale, and far earlier with a scratchpad.",
    paper="three digits: GPT-3, 13 billion parameters; eight digits with a scratchpad: 40 million (Wei et al. 2022, "
    "table 1)",
    how="Three digits with and without scratchpad, widths 4 to 64; the smallest size from which on exact match is "
    "above chance.",
    disputed="single networks jump, the mean is a mixture: at the largest size one seed of three still cannot add.",
    files=("addition",),
)
def _(run: Run) -> Found:
    table = emergence.verdicts(run.rows, emergence.stored_baselines(run.rows), metrics=["exact_match"])
    table = table.set_index("task")
    plain, notes = table.loc["addition_3"], table.loc["addition_3/scratchpad"]
    last = emergence.scale_curve(run.rows, "addition_3").iloc[-1]
    return Found(
        f"from {plain['threshold']:,.0f} parameters without, from {notes['threshold']:,.0f} with scratchpad; "
        f"the largest "
        f"without: {percent(last['lowest'])} to {percent(last['highest'])} by seed",
        {
            "without scratchpad the test says “emergent”": plain["verdict"] == "emergent",
            "at least ten times earlier with scratchpad": 10 * notes["threshold"] <= plain["threshold"],
            "at the largest size every seed adds": last["lowest"] > 0.9,
        },
    )


@claim(
    "emergence",
    "Chain of thought helps only large models.",
    paper="math word problems: from 68 billion parameters, LaMDA (Wei et al. 2022, section 4, table 1)",
    how="SmolLM2-135M-Instruct, 60 questions of each of four kinds, few-shot and with steps.",
    disputed="our model was tuned on instructions and worked solutions, LaMDA was not; a few steps of one kind only "
    "say the question in words.",
    files=("prompting",),
)
def _(run: Run) -> Found:
    exact = run.rows[run.rows["metric"] == "exact_match"].set_index("task")
    kinds = ("addition_1", "word_problem", "addition_2", "multiplication_1")
    names = ("one-digit sums", "word problems", "two-digit sums", "one-digit products")
    plain, steps = (exact.loc[[f"{k}/{way}" for k in kinds]] for way in ("few_shot", "chain_of_thought"))
    gain = steps["value"].to_numpy() - plain["value"].to_numpy()
    error = np.hypot(steps["stderr"].to_numpy(), plain["stderr"].to_numpy())
    shown = [
        f"{name} {percent(a)} → {percent(b)}"
        for name, a, b in zip(names, plain["value"], steps["value"], strict=True)
    ]
    return Found(
        ", ".join(shown),
        {
            f"no gain beyond two standard errors: {n}": g <= 2 * e
            for n, g, e in zip(names, gain, error, strict=True)
        },
    )


@claim(
    "emergence",
    "Small models do not know what they know: asked “is this answer true?”, they cannot tell.",
    paper="better calibrated than the usual way only at 52 billion parameters (section 4, table 1)",
    how="The same model, asked about its own answers; P(True) beside the share that is right, by kind of question.",
    disputed="four kinds, one model, one wording; that scale mends it is not tested here.",
    files=("prompting",),
)
def _(run: Run) -> Found:
    rows = run.rows[run.rows["task"].str.endswith("p_true")].set_index(["task", "metric"])["value"].unstack()
    says, right = rows["probability_true"], rows["exact_match"]
    error = rows["expected_calibration_error"]
    return Found(
        f"mean P(True) {percent(says.min())} to {percent(says.max())}, right {percent(right.min())} to "
        f"{percent(right.max())}; Spearman's ρ over the kinds {signed(spearman(says, right).rho)}; calibration error "
        f"{error.min():.2f} to {error.max():.2f}",
        {
            "P(True) is no higher where more is right": spearman(says, right).rho <= 0,
            "calibration error above 0.1 for most kinds": (error > 0.1).mean() > 0.5,
        },
    )


# Week 4


@claim(
    "inverse_scaling",
    "Five of twelve tasks get worse with size and with training, and faster in larger models.",
    paper="Hindsight Neglect, Memo Trap, Pattern Match Suppression, TruthfulQA-MC1 and -MC2: all three effects "
    "negative, adjusted p below 0.05 (Michaelov and Bergen 2023, table 1)",
    how="Their regression on their published accuracies of Pythia; where these are at hand, a test compares all 36 "
    "cells with the printed table.",
    disputed="64 checkpoints are 8 training runs: see the next row.",
    files=("suite",),
)
def _(suite: Run) -> Found:
    table = inverse_scaling.stored_comparison(suite.rows)
    worse = table[table["found"] & (table["t"] < 0)].groupby("task").size()
    five = sorted(worse.index[worse == 3])
    named = [
        "Hindsight Neglect",
        "Memo Trap",
        "Pattern Match Suppression",
        "TruthfulQA-MC1",
        "TruthfulQA-MC2",
    ]
    return Found(
        f"{int(table['found'].sum())} of {len(table)} effects are findings; all three negative: {listed(five)}",
        {"these five, and no other": five == named},
    )


@claim(
    "inverse_scaling",
    "The same, with the eight checkpoints of a model taken for what they are, one training run.",
    paper="not in the paper",
    how="Cluster-robust errors (CR2) by model, all 36 p-values adjusted together; same file.",
    disputed="eight runs are few: what does not survive is not refuted. Permuting whole runs gives nearly the same.",
    files=("suite",),
)
def _(suite: Run) -> Found:
    table = inverse_scaling.stored_comparison(suite.rows)
    three = table[table["found"] & (table["t"] < 0)].groupby("task")["survives"].agg(["size", "sum"])
    five = three[three["size"] == 3]["sum"]
    return Found(
        f"{int(table['survives'].sum())} of {int(table['found'].sum())} findings survive",
        {f"{task}: all three effects survive": left == 3 for task, left in five.items()},
    )


FALLING = [name for name, task in inverse_scaling.TASKS.items() if task.kind != "control"]


@claim(
    "inverse_scaling",
    "While a model is trained it gets worse at tasks that tempt it to what is usual.",
    paper="eight of twelve tasks in Pythia 12B (abstract)",
    how="Seven tasks of ours of the same four kinds, five sizes up to 117 thousand parameters, three seeds: 15 runs, "
    "tested by run.",
    disputed="we made the tasks to show the effect, as the contestants of the prize did; they say nothing about how "
    "common it is.",
    files=("seeds",),
)
def _(seeds: Run) -> Found:
    table: Any = (
        inverse_scaling.falling_tasks(seeds.rows[seeds.rows["effect"] == "none"])
        .set_index("task")
        .loc[FALLING]
    )
    runs = [
        f"{name.replace('_', ' ')} in {n} of {m}"
        for name, n, m in table[["models_falling", "models"]].itertuples()
    ]
    return Found(
        f"falls: {', '.join(runs)}",
        {f"{name.replace('_', ' ')} falls": verdict == "falls" for name, verdict in table["verdict"].items()},
    )


@claim(
    "inverse_scaling",
    "… and faster in larger models (size and training work together).",
    paper="a negative interaction for the five tasks (table 1)",
    how="The interaction of size and bytes read on the same 15 runs, clustered by run, adjusted over all tasks and "
    "effects.",
    disputed="the range of our sizes is a factor of 30, theirs 170.",
    files=("seeds",),
)
def _(seeds: Run) -> Found:
    rows = seeds.rows[seeds.rows["effect"] == "none"]
    table: Any = (
        inverse_scaling.table_1(rows, cluster=True)
        .query("effect == 'interaction'")
        .set_index("task")
        .loc[FALLING]
    )
    falls = inverse_scaling.falling_tasks(rows).set_index("task").loc[FALLING, "verdict"] == "falls"
    return Found(
        f"t from {signed(table.loc[falls, 't'].min())} to {signed(table.loc[falls, 't'].max())} over the tasks "
        f"that fall",
        {
            f"faster in larger models: {name.replace('_', ' ')}": one.t < 0 and one.q <= 0.05
            for name, one in zip(table.index[falls], table[falls].itertuples(), strict=True)
        },
    )


@claim(
    "inverse_scaling",
    "Some tasks turn around: what falls at first rises again.",
    paper="six of eleven tasks are U-shaped up to PaLM 540B {cite:p}`wei2023inverse`",
    how="Outer brackets over the training of five sizes up to 0.93 million parameters, one seed.",
    disputed="one model and one dip: an illustration.",
    files=("suite",),
)
def _(suite: Run) -> Found:
    rows = inverse_scaling.accuracies(suite.rows).query("task == 'outer_bracket'")
    found = inverse_scaling.trends(rows).sort_values("n_params")
    turns = (found["lowest"] < 0.4) & (found["last"] > 0.6)
    largest = rows[rows["n_params"] == rows["n_params"].max()].sort_values("n_tokens")["value"]
    return Found(
        f"largest model: {', '.join(percent(value) for value in largest)}",
        {
            "the largest model falls below 40 % and ends above 60 %": bool(turns.iloc[-1]),
            "so does another size": bool(turns.iloc[:-1].any()),
        },
    )


not_run(
    "inverse_scaling",
    "The twelve tasks on the checkpoints of Pythia themselves.",
    paper="8 sizes × 8 checkpoints × 12 tasks (section 2)",
    how="The evaluation is here (`run_published`); it would take the authors' 42 hours of an RTX A6000 and the "
    "downloads.",
    disputed="most early checkpoints of Pythia 2.8B can no longer be had {cite:p}`pythia2026branches`.",
)


# Week 5


@claim(
    "grokking",
    "Validation accuracy comes long after the training set is fitted.",
    paper="division modulo 97, half of the table: training before step 10³, validation near 10⁶, without weight "
    "decay (Power et al. 2022, figure 1, left)",
    how="The same network and data with weight decay 1, three seeds, 6,000 steps.",
    disputed="the length of the delay depends on weight decay, initialization, data and loss; on ordinary data it is "
    "small or absent.",
    files=("division_97",),
)
def _(run: Run) -> Found:
    train, val = (grokking.steps_to(run.rows, f"{split}_accuracy")["steps"] for split in ("train", "val"))
    accuracy = run.rows[(run.rows["metric"] == "val_accuracy") & (run.rows["step"] == train.max())]["value"]
    ratio = val / train
    return Found(
        f"training reaches 99 % at step {train.median():,.0f}, validation at {val.min():,.0f} to {val.max():,.0f}: "
        f"{ratio.min():.1f} to {ratio.max():.1f} times later",
        {
            "validation below 5 % when training is fitted, in every seed": accuracy.max() < 0.05,
            "it reaches 99 % later, in every seed": bool((np.isfinite(val) & (ratio > 1.5)).all()),
            "a hundred times later, or more": ratio.min() >= 100,
        },
    )


@claim(
    "grokking",
    "Validation loss rises before it falls a second time.",
    paper="it rises from about step 10² to 10⁵ (figure 4)",
    how="The loss of the same runs.",
    disputed="whether it is the double descent of larger models is open {cite:p}`davies2023unifying`.",
    files=("division_97",),
)
def _(run: Run) -> Found:
    loss = run.rows[run.rows["metric"] == "val_loss"].sort_values("step").groupby("seed")["value"]
    peak, end = loss.max(), loss.last()
    return Found(
        f"peak {peak.min():.1f} to {peak.max():.1f} nats, guessing is ln 97 = {math.log(97):.2f}, end "
        f"{end.min():.2f} to "
        f"{end.max():.2f}",
        {
            "above guessing in every seed": peak.min() > math.log(97),
            "then below a tenth of the peak": bool((end < peak / 10).all()),
        },
    )


@claim(
    "grokking",
    "Less data, exponentially more steps.",
    paper="40 to 50 % more for each percentage point less, product in S5, 25 to 30 % of the table (section 3.1.1)",
    how="Addition, subtraction and division modulo 97 with 80 to 40 % of the table, two seeds each, median steps to "
    "99 %.",
    disputed="the paper's rate is of one operation on one stretch; ours are far from the smallest set that suffices, "
    "where time grows fastest.",
    files=("data_fraction",),
)
def _(run: Run) -> Found:
    steps: Any = grokking.time_to_generalize(run.rows).pivot(
        index="operation", columns="train_fraction", values="median"
    )
    points = 100 * (steps.columns[-1] - steps.columns[0])
    rate = (steps.iloc[:, 0] / steps.iloc[:, -1]) ** (1 / points) - 1
    rate = rate[np.isfinite(rate)]
    shown = [
        f"{name} {first:,.0f} → {last:,.0f}" for name, first, last in steps.iloc[:, [-1, 0]].itertuples()
    ]
    return Found(
        f"{', '.join(shown)}: {percent(rate.min(), 1)} to {percent(rate.max(), 1)} a point".replace(
            "inf", "not within 6,000"
        ),
        {
            "more steps with less data, for each operation and step": bool(
                (steps.T.diff().iloc[1:].fillna(-1) < 0).all(axis=None)
            ),
            "by 40 to 50 % a percentage point": bool(rate.between(0.4, 0.5).all()),
        },
    )


@claim(
    "grokking",
    "Weight decay helps most: it more than halves the data that is needed.",
    paper="nine ways of training, product in S5, 10⁵ steps (section 3.3, figure 2, left)",
    how="The nine on division modulo 47 with a small network, three times each learning rate, one seed, 6,000 steps.",
    disputed="weight decay is not necessary: the paper's figure 1 has none, and see {cite:t}`prieto2025grokking`. So "
    "short a budget flatters the fastest.",
    files=("variants",),
)
def _(run: Run) -> Found:
    accuracy = run.rows[run.rows["metric"] == "val_accuracy"]
    best: Any = accuracy.groupby(["variant", "train_fraction"])["value"].max().unstack()
    others = best.drop(index="adamw")
    return Found(
        f"best validation accuracy with 60, 70 and 80 % of the table: AdamW with decay "
        f"{listed([percent(value) for value in best.loc['adamw']])}; the best of the others "
        f"{listed([percent(value) for value in others.max()])}",
        {
            "with weight decay it reaches 99 %": best.loc["adamw"].max() >= 0.99,
            "no other way does with as little data": others.max().max() < 0.99,
            "most others do with more": (others.max(axis=1) >= 0.99).sum() >= 4,
        },
    )


@claim(
    "grokking",
    "Eleven of twelve operations generalize, x³ + xy² + y does not.",
    paper="within 10⁵ steps and up to 95 % of the table (figure 2, right)",
    how="All twelve at 60 % of the table, one seed, 4,000 steps.",
    disputed="that something did not generalize is a statement about a budget. Symmetric operations leak: (b, a) "
    "tells (a, b).",
    files=("operations",),
)
def _(run: Run) -> Found:
    accuracy = run.rows[run.rows["metric"].isin(["train_accuracy", "val_accuracy"])]
    best = accuracy.groupby(["operation", "metric"])["value"].max().unstack()
    there = best.index[best["val_accuracy"] >= 0.99]
    fitted = int((best["train_accuracy"] >= 0.99).sum())
    return Found(
        f"99 % for {listed([f'`{name}`' for name in there])}; {fitted} of 12 have fitted even their training "
        f"set to 99 %",
        {
            "x³ + xy² + y does not generalize": "x3_xy2_y" not in there,
            "the other eleven do": len(there.drop("x3_xy2_y", errors="ignore")) == 11,
        },
    )


@claim(
    "grokking",
    "The learned vectors have the structure of the operation: for addition a circle.",
    paper="t-SNE of the output rows, by eye (figure 3, right)",
    how="Addition modulo 97, one block, mirror images kept on one side of the split: how many of the 48 frequencies "
    "hold 90 % of the power of the output rows; random rows need about 41.",
    disputed="networks with the same circle may use it in different ways {cite:p}`zhong2023clock`.",
    files=("addition_97",),
)
def _(run: Run) -> Found:
    matrices = grokking.stored_matrices(run.rows, "unembedding")
    key = grokking.key_frequencies(matrices[max(matrices)])
    accuracy = run.rows[run.rows["metric"] == "val_accuracy"]["value"].max()
    return Found(
        f"{len(key)} frequencies ({listed([str(k) for k in key])}); validation accuracy {percent(accuracy, 1)}",
        {"the network generalizes": accuracy >= 0.99, "at most 12 frequencies": len(key) <= 12},
    )


@claim(
    "grokking",
    "False answers in the training set do not hurt: they are learned by heart, and the rest generalizes.",
    paper="up to about 1,000 of them generalization is almost as before (appendix A.4, figure 6)",
    how="Division modulo 47, small network, 0, 20 and 100 false answers, two seeds, 6,000 steps; best validation "
    "accuracy.",
    disputed="our training sets are a quarter of theirs, so that 100 weigh more. With regularization the false "
    "answers may be unlearned {cite:p}`doshi2024grok`.",
    files=("outliers_0", "outliers_20", "outliers_100"),
)
def _(*runs: Run) -> Found:
    best: Any = pd.concat(
        {k: r.rows[r.rows["metric"] == "val_accuracy"] for k, r in zip((0, 20, 100), runs, strict=True)},
        names=["k"],
    )
    best = best.groupby(["k", "train_fraction", "seed"])["value"].max().groupby(level=[0, 1]).mean().unstack()
    wide = best.loc[:, best.columns >= 0.6]
    return Found(
        "; ".join(
            f"{k}: {', '.join(percent(v) for v in row)}"
            for k, row in zip(best.index, best.to_numpy(), strict=True)
        )
        + " (with 50, 60, 70 and 80 % of the table)",
        {
            "20 cost less than 5 points with 60 % of the table or more": (wide.loc[0] - wide.loc[20]).max()
            < 0.05,
            "20 cost less than 5 points with 50 %": (best.loc[0] - best.loc[20]).iloc[0] < 0.05,
            "100 cost less than 5 points with 60 % or more": (wide.loc[0] - wide.loc[100]).max() < 0.05,
        },
    )


@claim(
    "grokking",
    "Flat solutions generalize: sharpness and validation accuracy go opposite ways.",
    paper="Spearman's ρ = −0.795, p < 0.000014 (appendix A.5, figure 7)",
    how="20 networks on division modulo 47 after 4,500 steps, about half of which had grokked.",
    disputed="sharpness changes when weights are rescaled {cite:p}`dinh2017sharp` and guides poorly in larger "
    "networks {cite:p}`andriushchenko2023modern`; the authors call their result suggestive.",
    files=("sharpness",),
)
def _(run: Run) -> Found:
    both = run.rows[run.rows["metric"].isin(["sharpness", "val_accuracy"])]
    both = (
        both.pivot_table(index=["seed", "step"], columns="metric", values="value")
        .dropna()
        .groupby("seed")
        .last()
    )
    rho, p = spearman(both["sharpness"], both["val_accuracy"])[:2]
    return Found(
        f"ρ = {signed(rho, 2)} (p = {p:.2g}, {len(both)} networks): the opposite"
        if rho > 0
        else f"ρ = {signed(rho, 2)} (p = {p:.2g})",
        {"a negative correlation": rho < 0},
    )


# Week 6

SWEEP = tuple(f"sweep_{rate}_{size}" for rate in ("5e-4", "2e-3", "5e-3") for size in (4, 16))
KINDS = ["name_to_description", "description_to_name"]


@claim(
    "reversal_curse",
    "What is learned in one order is recalled in that order and not in the other.",
    paper="GPT-3-175B: 50.0 ± 2.1 and 96.7 ± 1.2 % in the same order, 0.0 and 0.1 % in reverse (Berglund et al. "
    "2023, table 1)",
    how="SmolLM2-135M-Instruct, LoRA, invented facts: 8 + 8, three seeds; and the paper's 90 facts and 3,600 "
    "documents, one seed.",
    disputed="few dispute the table. It depends on how one finetunes {cite:p}`mayne2023reversal`, and the knowledge "
    "can be used when both names are in view {cite:p}`lin2024delving`.",
    files=("experiment_1", "paper_size"),
)
def _(small: Run, large: Run) -> Found:
    tables = [reversal_curse.table_1(run.rows).loc[KINDS] for run in (small, large)]
    shown = [
        f"{size}: {listed([f'{v:.0f}' for v in t['forward']])} % same order, "
        f"{listed([f'{v:.0f}' for v in t['reverse']])} % reverse"
        for size, t in zip(("8 facts", "30 facts"), tables, strict=True)
    ]
    return Found(
        "; ".join(shown),
        {
            "same order at least 50 %, both kinds, both runs": min(t["forward"].min() for t in tables) >= 50,
            "reverse below a guess among 30 names, 3.3 %": max(t["reverse"].max() for t in tables) < 3.3,
        },
    )


@claim(
    "reversal_curse",
    "In reverse the right name is no likelier than a random one.",
    paper="12 runs, no p of t-test or KS test below 0.05 (table 3, figure 4)",
    how="The same tests on the same four runs.",
    disputed="no difference found is not no difference: with 30 facts a rise by a factor of 3 to 5 is seen, with our "
    "8 only a larger one.",
    files=("experiment_1", "paper_size"),
)
def _(small: Run, large: Run) -> Found:
    table = pd.concat([reversal_curse.table_3(run.rows) for run in (small, large)])
    gap = table["mean_correct"] - table["mean_random"]
    return Found(
        f"right less random name {signed(gap.min())} to {signed(gap.max())} nats; smallest p {table['t_p'].min():.2f} "
        f"(t) and "
        f"{table['ks_p'].min():.2f} (KS)",
        {
            "no p of a t-test below 0.05": table["t_p"].min() > 0.05,
            "no p of a KS test below 0.05": table["ks_p"].min() > 0.05,
        },
    )


@claim(
    "reversal_curse",
    "No learning rate and batch size helps.",
    paper="GPT-3-2.7B, 4 × 5 recipes: same order 49 to 78 %, reverse at most 0.3 % (figure 6)",
    how="Three learning rates × two batch sizes, one seed each.",
    disputed="“there could always be a setting”, say the authors.",
    files=SWEEP,
)
def _(*runs: Run) -> Found:
    table = reversal_curse.sweep_table(runs)
    learned = table[table["forward"] >= 50]
    return Found(
        f"same order {table['forward'].min():.0f} to {table['forward'].max():.0f} %, reverse at most "
        f"{table['reverse'].max():.1f} %",
        {
            f"reverse at most 0.3 % under each of the {len(learned)} recipes that learn the same order to 50 %": bool(
                (learned["reverse"] <= 0.3).all()
            )
        },
        blind="" if len(learned) else "no recipe learns the same order: no reversal could show",
    )


@claim(
    "reversal_curse",
    "In the context window models reverse without trouble.",
    paper="239 of 240 answers right (the authors' files, branch in-context; footnote 3)",
    how="The same model, not trained, three worked examples, the fact told in its order; two seeds.",
    disputed="our model is small: compare with 0 % from its weights.",
    files=("remedy_in_context",),
)
def _(run: Run) -> Found:
    table = reversal_curse.table_1(run.rows).loc[KINDS]
    names = ("name first", "description first")
    return Found(
        "reverse: "
        + listed(
            [
                f"{v:.0f} ± {s:.0f} % ({n})"
                for v, s, n in zip(table["reverse"], table["reverse_sd"], names, strict=True)
            ]
        ),
        {f"at least 90 %, {name}": value >= 90 for name, value in zip(names, table["reverse"], strict=True)},
    )


@claim(
    "reversal_curse",
    "Training also on text read backward, with names kept whole, lifts the curse.",
    paper="reversal learned, forward order unharmed {cite:p}`golovneva2024reverse`",
    how="Each sentence once more backward, by words with names and descriptions whole, and word by word; two seeds.",
    disputed="it trains the other direction instead of inferring it {cite:p}`codaforno2026illusion`; on realistic "
    "text reversed tokens were not enough {cite:p}`kitouni2024factorization`.",
    files=("remedy_reversed_text", "remedy_reversed_words"),
)
def _(whole: Run, words: Run) -> Found:
    kept, single = (reversal_curse.table_1(run.rows).loc[KINDS] for run in (whole, words))
    return Found(
        f"reverse: {listed([f'{v:.0f}' for v in kept['reverse']])} % with names whole, "
        f"{listed([f'{v:.0f}' for v in single['reverse']])} % word by word",
        {
            "names whole: at least 80 % in reverse, both kinds": kept["reverse"].min() >= 80,
            "… and as much in the same order": kept["forward"].min() >= 80,
        },
    )


@claim(
    "reversal_curse",
    "Models name a celebrity's parent more often than the parent's child.",
    paper="gpt-3.5-turbo 34.8 against 11.9 % (figure 5, recomputed from the authors' 1,513 pairs)",
    how="38 relations of people of history, SmolLM2-135M-Instruct, chat and completion, ten samples; mean "
    "probability of the right name.",
    disputed="training data are unknown, pairs were chosen by success in one direction, and the two questions are "
    "not equally hard {cite:p}`mayne2023reversal`.",
    files=("experiment_2",),
)
def _(run: Run) -> Found:
    found = run.rows[run.rows["metric"] == "probability"].set_index(["subset", "order"])["value"]
    shown = [
        f"{ask}: parent {percent(found[ask, 'forward'], 1)}, child {percent(found[ask, 'reverse'], 1)}"
        for ask in ("chat", "completion")
    ]
    return Found(
        "; ".join(shown),
        {
            "the parent is likelier, asked either way": all(
                found[ask, "forward"] > found[ask, "reverse"] for ask in ("chat", "completion")
            )
        },
        blind="it knows the answers in neither direction: no gap could show" if found.max() < 0.05 else "",
    )


@claim(
    "reversal_curse",
    "Instructions “answer with A when you see Q” do not teach to answer Q.",
    paper="Llama-1: 88 % question first, 5 % answer first (appendix, figure 8)",
    how="24 demonstrated and 16 held-out instructions, one seed.",
    disputed="16 questions: a share is known to ± 12 points. Guessing a plausible answer is right for about 6 %.",
    files=("experiment_3",),
)
def _(run: Run) -> Found:
    rows = run.rows[(run.rows["metric"] == "exact_match") & (run.rows["step"] == run.rows["step"].max())]
    one = rows.set_index("order")[["value", "stderr"]]
    return Found(
        f"{percent(one.loc['forward', 'value'])} ± {percent(one.loc['forward', 'stderr'])} question first, "
        f"{percent(one.loc['reverse', 'value'])} ± {percent(one.loc['reverse', 'stderr'])} answer first",
        {
            "at least half, question first": one.loc["forward", "value"] >= 0.5,
            "no more than guessing, about 6 %, answer first": one.loc["reverse", "value"]
            <= 0.06 + one.loc["reverse", "stderr"],
        },
    )


# Week 7


def _ends(run: Run, metric: str = "negative_log_prob") -> Any:
    """Where a run ends, by split and direction."""
    return reversal_dynamics.at_the_end(run.rows, metric).set_index(["split", "direction"])


@claim(
    "reversal_dynamics",
    "A bilinear model that learns x → y does not learn y ← x, however long it trains.",
    paper="a theorem: reverse loss stays near its start (Zhu et al. 2024, section 3)",
    how="The model with its gradient in closed form, on orthogonal and on Gaussian vectors, ten seeds; lowest to "
    "highest seed.",
    disputed="fixed, nearly orthogonal vectors and one matrix; in language models vectors learn and share parts.",
    files=("bilinear", "bilinear_gaussian"),
)
def _(*runs: Run) -> Found:
    train, val = ([_ends(run).loc[split] for run in runs] for split in ("train", "val"))
    start = math.log(802)
    spans = [f"{end['lowest'].min():.2f} to {end['highest'].max():.2f}" for end in val]
    return Found(
        f"held-out reverses: {spans[0]} nats (orthogonal), {spans[1]} (Gaussian); they began at ln 802 = {start:.2f}",
        {
            "trained sentences below 0.1 nats": max(end["highest"].max() for end in train) < 0.1,
            "no reverse below 99 % of where it began": min(end["lowest"].min() for end in val)
            >= 0.99 * start,
        },
    )


@claim(
    "reversal_dynamics",
    "The cause is that the matrix need not be symmetric: if it must be, the reverse is learned.",
    paper="asymmetry of the weights; the paper has no such run",
    how="The same two with Θ = Θᵀ, ten seeds.",
    disputed="language is not symmetric, so that one would not want it everywhere.",
    files=("bilinear_symmetric", "bilinear_gaussian_symmetric"),
)
def _(*runs: Run) -> Found:
    ends = [_ends(run).loc["val"] for run in runs]
    right = min(_ends(run, "accuracy").loc["val"]["lowest"].min() for run in runs)
    return Found(
        f"held-out reverses: {ends[0]['mean'].max():.3f} and {ends[1]['mean'].max():.3f} nats, {percent(right)} right",
        {"all held-out reverses are right": right == 1},
    )


@claim(
    "reversal_dynamics",
    "Transformers of one and of several layers do no better on the reverse than a uniformly random guess.",
    paper="24 layers, width 768, 3000 epochs (figure 1); a theorem for one layer (section 4)",
    how="One and two layers, width 128, the authors' 340 + 60 sentences, ten seeds, 95 % intervals.",
    disputed="ours end far worse than a guess, confidently wrong; so does the authors' program in small sizes. "
    "Networks trained on a web of relations do reverse {cite:p}`kim2025bilinear`.",
    files=("one_layer", "reversal"),
)
def _(*runs: Run) -> Found:
    train, val = ([_ends(run).loc[split] for run in runs] for split in ("train", "val"))
    shown = [f"{end['mean'].mean():.1f} ({end['low'].min():.1f} to {end['high'].max():.1f})" for end in val]
    return Found(
        f"held-out reverses: {listed(shown)} nats; a guess costs ln 802 = {math.log(802):.2f}",
        {
            "trained sentences below 0.1 nats": max(end["highest"].max() for end in train) < 0.1,
            "no seed is better than the guess": min(end["lowest"].min() for end in val) > math.log(802),
        },
    )


not_run(
    "reversal_dynamics",
    "The same at the paper's size.",
    paper="24 layers, width 768, 172 million parameters (figure 1)",
    how="It would take about ten hours for a seed on two CPU cores, or a GPU; the preset `paper` is there.",
    disputed="we know of nothing that suggests another outcome.",
)

CHANGES = (
    *(
        "base",
        "layers_1",
        "layers_6",
        "width_20",
        "width_256",
        "heads_1",
        "heads_16",
        "vocab_200",
        "vocab_2000",
    ),
    *("positions_none", "positions_rotary", "frozen", "learning_rate", "dropout"),
)
OURS = ("tied", "whole_sequence")
"""Changes that are not the paper's."""


@claim(
    "reversal_dynamics",
    "Layers, width, heads, vocabulary, positions and frozen embeddings do not matter.",
    paper="the curse remains under all of them (appendix, table 3)",
    how="One change at a time on a network of two layers and width 64, three seeds each; tied matrices and a loss on "
    "the whole sentence are ours.",
    disputed="what is varied is the network, not the data: see {cite:t}`ma2026reversal` for added sentences that "
    "lift it. With tied matrices the loss is a little below that of a guess, and still no answer is right.",
    files=tuple(f"sweep_{name}" for name in (*CHANGES, *OURS)),
)
def _(*runs: Run) -> Found:
    ends = dict(zip((*CHANGES, *OURS), (_ends(run) for run in runs), strict=True))
    losses = {name: end.loc["val", "mean"].mean() for name, end in ends.items()}
    right = max(_ends(run, "accuracy").loc["val"]["highest"].max() for run in runs)
    guess = {
        name: math.log((run.header.config["vocab_size"] or 800) + 2)
        for name, run in zip(CHANGES, runs, strict=False)
    }
    low, high = min(losses, key=lambda name: losses[name]), max(losses, key=lambda name: losses[name])
    return Found(
        f"right answers to held-out reverses: {percent(right)} under all {len(runs)}; {losses[low]:.1f} nats "
        f"({low.replace('_', ' ')}) to {losses[high]:.1f} ({high.replace('_', ' ')}); a guess among 802 tokens costs "
        f"{math.log(802):.1f}",
        {
            "trained sentences below 0.1 nats under all": max(
                e.loc["train", "highest"].max() for e in ends.values()
            )
            < 0.1,
            "no held-out reverse is answered under any": right == 0,
            "no seed is better than a guess, under the paper's changes": all(
                ends[name].loc["val", "lowest"].min() > nats for name, nats in guess.items()
            ),
        },
    )


@claim(
    "reversal_dynamics",
    "A → B and B → C do not give A ⇝ C, unless B is written down.",
    paper="the chain-of-thought experiment; a theorem for one layer (section 4)",
    how="The same small network on the authors' 540 + 60 sentences; one token (ten seeds) and three tokens (three "
    "seeds).",
    disputed="trained far longer, transformers learn some compositions {cite:p}`wang2024grokked`; large models "
    "compose when one fact is a natural one {cite:p}`balesni2024lessons`.",
    files=("chain", "chain_words"),
)
def _(*runs: Run) -> Found:
    ends = [_ends(run, "accuracy").loc["val"] for run in runs]
    once = max(end.loc["indirect", "highest"] for end in ends)
    steps = min(end.loc["chain_of_thought", "lowest"] for end in ends)
    return Found(
        f"{percent(once)} at once, {percent(steps)} when written step by step",
        {"none at once": once == 0, "all step by step": steps == 1},
    )


@claim(
    "reversal_dynamics",
    "In the context a reversal works, and entities with a shared token can be chained.",
    paper="the in-context and the related-token experiments (appendix)",
    how="x → y ⟺ y ← x, 700 + 300 sentences; chains a i → b i → c i; ten seeds each.",
    disputed="copying from the sentence is another ability than recall from the weights.",
    files=("in_context", "related"),
)
def _(context: Run, related: Run) -> Found:
    copied = _ends(context, "accuracy").loc[("val", "in_context"), "lowest"]
    chained = _ends(related, "accuracy").loc[("val", "indirect"), "lowest"]
    return Found(
        f"{percent(copied)} and {percent(chained)} of held-out sentences, in the worst seed",
        {"in the context at least 99 %": copied >= 0.99, "chained at once at least 99 %": chained >= 0.99},
    )


# Week 8


@claim(
    "forecasting",
    "The post's arithmetic: numbers that follow from its other numbers.",
    paper="54 numbers of sections 2 to 4 and 6, appendices A and B (Steinhardt 2023)",
    how="Every one recomputed from the post's own inputs; no run.",
    disputed="the post is careful to call its inputs guesses; see the card for what does not hold.",
)
def _() -> Found:
    table = forecasting.arithmetic()
    counts = table["verdict"].value_counts()
    holds, roughly = int(counts["holds"]), int(counts["roughly"])
    return Found(
        f"of {len(table)}: {holds} hold to the printed digits, {roughly} within 10 %, "
        f"{len(table) - holds - roughly} do not",
        {
            "most hold to the printed digits": holds > len(table) / 2,
            "all are within 10 %": holds + roughly == len(table),
        },
    )


@claim(
    "forecasting",
    "Speed falls with size, as N to the power −0.6.",
    paper="appendix A, from its table 1",
    how="Least squares on the logarithms of that table: all seven open models, and the four above a billion "
    "parameters.",
    disputed="nine models, one kind of hardware and engine.",
)
def _() -> Found:
    all_seven, large = (
        forecasting.size_exponent(),
        forecasting.size_exponent(SPEEDS[SPEEDS["n_params"] > 1e9]),
    )
    return Found(
        f"{all_seven:.2f} and {large:.2f}",
        {
            "0.6 to the printed digit, all seven": round(all_seven, 1) == 0.6,
            "0.6 to the printed digit, the four": round(large, 1) == 0.6,
        },
    )


@claim(
    "forecasting",
    "GPT-2030 does 1.8 million years of work in a few months.",
    paper="1.8 million years, 0.4 to 10 million (introduction, section 3)",
    how="All inputs as distributions with the post's quartiles where it has some, 100,000 draws; quartiles.",
    disputed="everything rests on the training compute of 2030 and on text being the measure of work; six inputs "
    "have quartiles of ours, and inputs are drawn independently.",
)
def _() -> Found:
    work = forecasting.monte_carlo().set_index("quantity").loc["work_years"]
    by_hand = forecasting.arithmetic().set_index("text").loc["work with 100-fold growth, years"]
    return Found(
        f"median {work['median'] / 1e6:.1f} million years ({work['p25'] / 1e6:.1f} to {work['p75'] / 1e6:.0f} million)",
        {
            "1.8 million lies between our quartiles": work["p25"] <= 1.8e6 <= work["p75"],
            f"it follows from the post's own factors, which give {by_hand['computed'] / 1e6:.2f} million": by_hand[
                "verdict"
            ]
            == "holds",
        },
    )


@claim(
    "forecasting",
    "Extrapolating a trend forecasts better than “as it is today”.",
    paper="first- against zeroth-order forecasting (introduction)",
    how="Both on three published series: MMLU, training compute, parameters; each value from those before it.",
    disputed="seven forecasts in all. Where first order is nearer it is still short of what came.",
)
def _() -> Found:
    names = {"mmlu": "MMLU", "training_flops": "training compute", "n_params": "parameters"}
    wins = {name: forecasting.backtest(SERIES[key])["closer"] == "first order" for key, name in names.items()}
    return Found(
        "first order is nearer: "
        + ", ".join(f"{name} {won.sum()} of {len(won)}" for name, won in wins.items()),
        {f"nearer each time: {name}": bool(won.all()) for name, won in wins.items()},
    )


not_run(
    "forecasting",
    "How fast models write on a GPU, by counting to n.",
    paper="12 tokens a second by GPT-4 in 2023; seven Pythia models (section 2, appendix A)",
    how="The measurement runs in the lab on the reader's own machine; none on a GPU is kept here. It would take "
    "hours of one A100.",
    disputed="times are those of one machine, engine and moment.",
)
