"""Train the networks of a config and write down what they know at every evaluation."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize

from coursekit import results
from coursekit.experiments.grokking import config as configs
from coursekit.experiments.grokking.analysis import RUN_KEYS, circle_points, pca
from coursekit.experiments.grokking.config import GrokkingConfig, Setting
from coursekit.experiments.grokking.data import Vocabulary, mirror_equations, operation_table, split_equations
from coursekit.model import Transformer, TransformerConfig
from coursekit.stack import Stack, StackRun, compiling_pays
from coursekit.stats import proportion_stderr
from coursekit.train import Row, available_cores, evaluation_steps, train_groups, warmup

EXPERIMENT = "grokking"
STACK_AT_MOST = 64  # networks a GPU trains as one


@dataclass
class NetworkRecord:
    """One trained network: what it was, and its weights at every evaluation.

    Attributes
    ----------
    setting : Setting
    config : GrokkingConfig
    steps : list of int
    weights : list of dict
        Arrays by name, as `coursekit.model.Transformer` names them; one dict for every entry of `steps`.
    """

    setting: Setting
    config: GrokkingConfig
    steps: list[int] = field(default_factory=list)
    weights: list[dict[str, NDArray[np.float32]]] = field(default_factory=list)

    @property
    def vocabulary(self) -> Vocabulary:
        """Which number each token has."""
        return Vocabulary(self.config.vocabulary, self.setting.operation, self.config.modulus)

    def embedding(self, at: int = -1) -> NDArray[np.float32]:
        """Input vectors of the operands' symbols, [p, d_model], at evaluation number `at`."""
        return self.weights[at]["embedding"][self.vocabulary.symbols]

    def unembedding(self, at: int = -1) -> NDArray[np.float32]:
        """Rows of the output matrix for the symbols, [p, d_model]: what the paper's Figure 3 shows."""
        return self.weights[at]["unembedding"][self.vocabulary.symbols]

    def network(self, at: int = -1) -> Transformer:
        """The network itself, to run."""
        network = Transformer(network_shape(self.config, self.setting))
        network.load_state_dict({name: torch.from_numpy(w) for name, w in self.weights[at].items()})
        return network

    def logits(self, at: int = -1) -> NDArray[np.float32]:
        """Scores of every symbol as the answer of every equation of the table, [n_equations, p]."""
        vocabulary = self.vocabulary
        tokens = torch.from_numpy(
            vocabulary.encode(*operation_table(self.setting.operation, self.config.modulus))
        )
        with torch.no_grad():
            scores = self.network(at)(tokens[:, : -vocabulary.n_answer])[:, -1, vocabulary.symbols]
        return scores.numpy()

    def split(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Numbers of the equations trained on and held out."""
        return _split(self.config, self.setting)


def run(
    config: GrokkingConfig,
    *,
    folder: str | Path | None = None,
    resume: bool = False,
    preset: str = "custom",
    progress: bool = True,
    keep_weights: bool = False,
    device: str | None = None,
    n_workers: int | None = None,
    checkpoint_seconds: float = 30.0,
    compile: bool | None = None,
) -> results.Run:
    """Train every network of `config`.

    Parameters
    ----------
    config : GrokkingConfig
    folder : path, optional
        Where to keep header, rows and checkpoints. Default: nowhere.
    resume : bool
        Go on from the checkpoints in `folder`.
    preset : str
        Goes into the header.
    progress : bool
        Show a bar with the time left.
    keep_weights : bool
        Keep every network's weights at every evaluation in `Run.networks`; not with `resume`.
    device : str, optional
        Default: "cuda" where there is one, else "cpu".
    n_workers : int, optional
        Networks trained at a time on a CPU. Default: one a core.
    checkpoint_seconds : float
        Least time between two checkpoints of a network.
    compile : bool, optional
        Compile the training step. Default: on a CPU, where the run is long enough that it pays.

    Returns
    -------
    results.Run
        Rows with the metrics train_accuracy, val_accuracy, train_loss, val_loss (nats per answer token) at each
        evaluated step, and at each network's last step steps_to_99_train and steps_to_99_val (inf: not within the
        budget).

    Raises
    ------
    ValueError
        If `folder` holds a run already and `resume` is not asked for, or holds one of another config or grouping;
        if `keep_weights` and `resume` are both asked for.
    FloatingPointError
        If every network's loss became NaN; the rows up to there are in `folder`.

    Notes
    -----
    A network whose loss is no longer a number is taken out with a warning; the others go on.
    """
    if keep_weights and resume:
        raise ValueError(
            "keep_weights works for a run from its start only, since checkpoints hold the last weights alone; "
            "leave out resume and take a new folder"
        )
    settings = list(config.settings)
    for setting in settings:
        network_shape(config, setting)  # a shape that makes no sense is refused before anything is written
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    workers = (n_workers or available_cores()) if device == "cpu" else 1
    if compile is None:
        shape, each = network_shape(config, settings[0]), config.max_steps * len(settings) // workers
        compile = device == "cpu" and compiling_pays(shape, config.batch_size, each)
    groups = _group(config, settings, device)
    kept: dict[Setting, NetworkRecord] = (
        {s: NetworkRecord(s, config) for s in settings} if keep_weights else {}
    )

    def prepare(number: int, rows: list[Row]) -> tuple[Stack, Callable[[], list[Row]]]:
        members = groups[number]
        stack = Stack(
            network_shape(config, members[0]),
            [_stack_run(config, setting) for setting in members],
            n_answer=_vocabulary(config, members[0]).n_answer,
            device=device,
            compile=compile,
        )
        return stack, lambda: _record(config, members, stack, rows, kept)

    made = train_groups(
        results.new_header(EXPERIMENT, preset, config, config.seeds[0] if len(config.seeds) == 1 else None),
        [[_keys(config, setting) for setting in group] for group in groups],
        prepare,
        record_at=evaluation_steps(config.max_steps, every=config.eval_every, growth=config.eval_growth),
        schedule=warmup(10),
        folder=folder,
        resume=resume,
        checkpoint_seconds=checkpoint_seconds,
        label=f"{EXPERIMENT}: {len(settings)} networks",
        progress=progress,
        n_workers=workers,
    )
    _tell_diverged(made.rows, len(settings))
    return results.Run(made.header, made.rows, list(kept.values()))


def network_shape(config: GrokkingConfig, setting: Setting) -> TransformerConfig:
    """The transformer that learns one setting's table."""
    vocabulary = _vocabulary(config, setting)
    return TransformerConfig.grok(
        vocab_size=vocabulary.size,
        context_length=6 if config.vocabulary == "openai" else 4,
        n_layers=config.n_layers,
        d_model=config.d_model,
        n_heads=config.n_heads,
        d_ff=config.d_ff,
        norm=config.norm,
        norm_position=config.norm_position,
        dropout=setting.variant.dropout,
    )


def sharpness(
    record: NetworkRecord, at: int = -1, *, epsilon: float = 1e-3, max_iterations: int = 10
) -> float:
    """Keskar et al.'s φ = 100 · (max f(x + y) − f(x)) / (1 + f(x)) over the box |y_i| ≤ ε (|x_i| + 1).

    Parameters
    ----------
    record : NetworkRecord
    at : int
        Number of the evaluation whose weights x are looked at.
    epsilon : float
        ε.
    max_iterations : int
        Of L-BFGS-B, which climbs from y = 0.

    Returns
    -------
    float
        Percent; f is the mean cross-entropy of the answers of all training equations.

    References
    ----------
    Keskar et al. 2017, section 2.2.2 and equation 4 (A the identity, ten iterations); Power et al. 2022, A.5.
    """
    config, setting = record.config, record.setting
    tokens, train_numbers, _ = _equations(config, setting)
    n_answer = _vocabulary(config, setting).n_answer
    data = torch.from_numpy(tokens[train_numbers])
    network = record.network(at)
    parameters = list(network.parameters())
    start = torch.nn.utils.parameters_to_vector(parameters).detach().double().numpy()

    def negative_loss(x: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        torch.nn.utils.vector_to_parameters(torch.from_numpy(x).float(), parameters)
        network.zero_grad()
        logits = network(data[:, :-1])[:, -n_answer:]
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), data[:, -n_answer:].flatten())
        loss.backward()
        gradient = torch.cat([p.grad.flatten() for p in parameters if p.grad is not None])
        return -loss.item(), -gradient.double().numpy()

    radius = epsilon * (np.abs(start) + 1)
    bounds = np.stack([start - radius, start + radius], axis=1)
    here = -negative_loss(start)[0]
    best = minimize(
        negative_loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": max_iterations}
    )
    return 100 * (-float(best.fun) - here) / (1 + here)


def measure(name: str, folder: str | Path, *, n_workers: int | None = None) -> results.Run:
    """Make a run of `config.measured` again and keep it in `measured/`.

    Parameters
    ----------
    name : str
    folder : path
        Where the run works; an interrupted one goes on from there, but for `addition_97`, `s5` and `sharpness`, which
        need the weights of all their steps: for these take a new folder.
    n_workers : int, optional

    Notes
    -----
    `sharpness` gets a row of φ for each network's last step. `addition_97` and `s5` get the final rows of the output
    matrix for the symbols, turned into their first 20 principal components; `addition_97` also their place in
    the plane of the strongest frequency, `circle`, at every third evaluated step.
    """
    keep = name in ("addition_97", "s5", "sharpness")
    made = run(
        configs.measured(name),
        folder=folder,
        resume=not keep,
        preset="measured",
        n_workers=n_workers,
        keep_weights=keep,
    )
    new: list[Row] = []
    for record in made.networks:
        keys = _keys(record.config, record.setting)
        if name == "sharpness":
            new.append(results.row(keys, record.steps[-1], "sharpness", sharpness(record)))
            continue
        for metric, value in results.matrix_rows("unembedding", pca(record.unembedding(), 20)):
            new.append(results.row(keys, record.steps[-1], metric, value))
        if name == "addition_97":
            new += _stored_circle(record, keys)
    rows = pd.concat([made.rows, pd.DataFrame(new)]) if new else made.rows
    results.write_measured(EXPERIMENT, name, made.header, rows)
    return results.Run(made.header, rows)


def _stored_circle(record: NetworkRecord, keys: Row) -> list[Row]:
    frames = sorted({*range(0, len(record.steps), 3), len(record.steps) - 1})
    points = circle_points({record.steps[at]: record.unembedding(at) for at in frames})
    return [
        results.row(keys, step, metric, value)
        for step, matrix in points.items()
        for metric, value in results.matrix_rows("circle", matrix)
    ]


def _vocabulary(config: GrokkingConfig, setting: Setting) -> Vocabulary:
    return Vocabulary(config.vocabulary, setting.operation, config.modulus)


def _split(config: GrokkingConfig, setting: Setting) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    pairs, _ = operation_table(setting.operation, config.modulus)
    seed = setting.seed if config.split_seed is None else config.split_seed
    mirrors = mirror_equations(pairs) if config.keep_mirrors_together else None
    return split_equations(len(pairs), setting.train_fraction, seed, mirrors=mirrors)


def _equations(
    config: GrokkingConfig, setting: Setting
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """All equations as tokens, outliers included, and the numbers of those trained on and held out."""
    pairs, answers = operation_table(setting.operation, config.modulus)
    train_numbers, val_numbers = _split(config, setting)
    if config.n_outliers:
        chosen = np.random.default_rng(setting.seed).choice(
            train_numbers, 2 * config.n_outliers, replace=False
        )
        answers = answers.copy()
        answers[chosen[: config.n_outliers]] = answers[chosen[config.n_outliers :]]
    return _vocabulary(config, setting).encode(pairs, answers), train_numbers, val_numbers


def _stack_run(config: GrokkingConfig, setting: Setting) -> StackRun:
    tokens, train_numbers, val_numbers = _equations(config, setting)
    variant = setting.variant
    return StackRun(
        torch.from_numpy(tokens),
        torch.from_numpy(train_numbers),
        torch.from_numpy(val_numbers),
        seed=setting.seed,
        batch_size=_batch_size(config, setting, len(train_numbers)),
        learning_rate=variant.learning_rate,
        weight_decay=variant.weight_decay,
        decay_towards=variant.decay_towards,
        gradient_noise=variant.gradient_noise,
        weight_noise=variant.weight_noise,
    )


def _batch_size(config: GrokkingConfig, setting: Setting, n_train: int) -> int:
    """A.1.2: 512 or half of the training set, whichever is smaller; all of it in the full-batch variants."""
    return n_train if setting.variant.full_batch else min(config.batch_size, math.ceil(n_train / 2))


def _group(config: GrokkingConfig, settings: Sequence[Setting], device: str) -> list[list[Setting]]:
    """Networks that train as one: each alone on a CPU; on a GPU those of one shape and batch size, up to 64."""
    if device == "cpu":
        return [[setting] for setting in settings]
    alike: dict[object, list[Setting]] = {}
    for setting in settings:
        n_train = len(_split(config, setting)[0])
        alike.setdefault((network_shape(config, setting), _batch_size(config, setting, n_train)), []).append(
            setting
        )
    return [
        group[i : i + STACK_AT_MOST] for group in alike.values() for i in range(0, len(group), STACK_AT_MOST)
    ]


def _record(
    config: GrokkingConfig,
    members: Sequence[Setting],
    stack: Stack,
    before: Sequence[Row],
    kept: dict[Setting, NetworkRecord],
) -> list[Row]:
    """Evaluate the running networks, take out those that are done, and return the new rows."""
    new: list[Row] = []
    finished = []
    train_loss, train_accuracy = (t.tolist() for t in stack.evaluate("train"))
    val_loss, val_accuracy = (t.tolist() for t in stack.evaluate("val"))
    for i, r in enumerate(stack.running):
        setting, n_train, n_val = members[r], len(stack.runs[r].train), len(stack.runs[r].val)
        keys, step = _keys(config, setting), stack.step
        now: list[Row] = []
        for metric, value, n in (
            ("train_accuracy", train_accuracy[i], n_train),
            ("val_accuracy", val_accuracy[i], n_val),
        ):
            successes = round(value * n)
            now.append(results.row(keys, step, metric, successes / n, proportion_stderr(successes, n), n))
        now.append(results.row(keys, step, "train_loss", train_loss[i], n=n_train))
        now.append(results.row(keys, step, "val_loss", val_loss[i], n=n_val))
        broken = not math.isfinite(train_loss[i])
        if setting in kept:
            kept[setting].steps.append(step)
            kept[setting].weights.append({name: w.numpy() for name, w in stack.weights(r).items()})
        good = config.stop_at_val_accuracy is not None and val_accuracy[i] >= config.stop_at_val_accuracy
        if broken or good or step >= config.max_steps:
            finished.append(r)
            mine = [row for row in [*before, *now] if all(row[name] == value for name, value in keys.items())]
            for split in ("train", "val"):
                reached = _steps_to_99(mine, f"{split}_accuracy")
                now.append(results.row(keys, step, f"steps_to_99_{split}", reached))
        new += now
    stack.retire(finished)
    return new


def _keys(config: GrokkingConfig, setting: Setting) -> Row:
    return {
        "seed": setting.seed,
        "operation": setting.operation,
        "modulus": config.modulus,
        "train_fraction": setting.train_fraction,
        "variant": setting.variant.name,
    }


def _steps_to_99(rows: Sequence[Row], metric: str) -> float:
    """First evaluated step at which the metric is at least 0.99; inf if none is."""
    return min(
        (float(r["step"]) for r in rows if r["metric"] == metric and r["value"] >= 0.99), default=math.inf
    )


def _tell_diverged(rows: pd.DataFrame, n_networks: int) -> None:
    """Warn of networks whose loss stopped being a number; raise if that is all of them."""
    losses = rows[(rows["metric"] == "train_loss") & ~np.isfinite(rows["value"].astype(float))]
    broken = losses.groupby(RUN_KEYS, sort=False)["step"].min().reset_index()
    if broken.empty:
        return
    shown = [
        f"{r.operation} at {r.train_fraction:g}, {r.variant}, seed {r.seed} (by step {r.step})"
        for r in broken.head(3).itertuples()
    ]
    more = f" and {len(broken) - 3} more" if len(broken) > 3 else ""
    text = f"the loss stopped being a finite number for {'; '.join(shown)}{more}"
    if len(broken) == n_networks:
        raise FloatingPointError(
            f"{text}: lower the learning rate or the noise; the rows up to there are kept"
        )
    warnings.warn(f"{text}; they were taken out and the others went on", stacklevel=3)
