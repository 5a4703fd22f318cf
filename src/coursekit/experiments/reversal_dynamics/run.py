"""Train the networks of a config, and write down how probable they find every kind of sentence."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from coursekit import results
from coursekit.experiments.reversal_dynamics import config as configs
from coursekit.experiments.reversal_dynamics.analysis import Embeddings, cosine_similarities, make_embeddings
from coursekit.experiments.reversal_dynamics.config import ReversalDynamicsConfig
from coursekit.experiments.reversal_dynamics.data import (
    DIRECTIONS,
    FORWARD_ARROW,
    Sentences,
    make_sentences,
    unseen_reverses,
)
from coursekit.model import Transformer, TransformerConfig
from coursekit.stack import Stack, StackRun
from coursekit.stats import proportion_stderr
from coursekit.train import Row, available_cores, evaluation_steps, train_groups

EXPERIMENT = "reversal_dynamics"
STACK_WEIGHTS = 400_000_000  # numbers that a GPU trains as one: with AdamW's some 20 bytes each
Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class NetworkRecord:
    """One trained network: what it was, its sentences, and its weights at the end.

    Attributes
    ----------
    seed : int
    config : ReversalDynamicsConfig
    sentences : Sentences
    weights : dict
        Arrays by name, as `coursekit.model.Transformer` names them; "theta" and "embedding" for the bilinear model.
    """

    seed: int
    config: ReversalDynamicsConfig
    sentences: Sentences
    weights: dict[str, NDArray[np.float32]]

    def embedding(self) -> NDArray[np.float32]:
        """Input vectors of all tokens, [n_tokens, d]."""
        return self.weights["embedding"]

    def network(self) -> Transformer:
        """The transformer itself, to run.

        Raises
        ------
        ValueError
            If it is a bilinear model.
        """
        if self.config.model == "bilinear":
            raise ValueError("the bilinear model is no transformer: take its weights['theta']")
        network = Transformer(network_shape(self.config))
        network.load_state_dict({name: torch.from_numpy(w) for name, w in self.weights.items()})
        return network

    def logits(self, numbers: NDArray[np.int64]) -> Floats:
        """Scores of all tokens as the first token of the answers of some sentences, [n, n_tokens]."""
        tokens = self.sentences.tokens[numbers]
        if self.config.model == "bilinear":
            source = self.weights["embedding"][self.sentences.pairs(numbers)[:, 0]]
            return source @ self.weights["theta"] @ self.weights.get("target", self.weights["embedding"]).T
        with torch.no_grad():
            prompts = torch.from_numpy(tokens[:, : -self.sentences.word_size])
            return self.network()(prompts)[:, -1].numpy()

    def logit_matrices(self) -> dict[str, Floats]:
        """The paper's four logit heat-maps, right answers on the diagonal.

        Returns
        -------
        dict
            "train forward" and "train backward": a row for each pair that was trained on both ways, a column for each
            of their answers. "held out: seen" and "held out: unseen": the same for the pairs trained on in one
            direction only, in that direction and in the other one.

        Raises
        ------
        ValueError
            If the task is not reversal with entities of one token.
        """
        sentences = self.sentences
        if sentences.task != "reversal" or sentences.word_size > 1:
            raise ValueError(
                f"logit matrices are for the task reversal with word_size 1, got {sentences.task} with "
                f"{sentences.word_size}; take `logits`"
            )
        seen, unseen = unseen_reverses(sentences)
        both = ~np.isin(sentences.fact, sentences.fact[unseen])
        parts = {
            f"train {way}": np.flatnonzero(both & (sentences.direction == way))
            for way in DIRECTIONS["reversal"]
        }
        parts |= {"held out: seen": seen, "held out: unseen": unseen}
        return {name: self.logits(part)[:, sentences.tokens[part, -1]] for name, part in parts.items()}


class Bilinear:
    """R bilinear models, one a seed, that learn by gradient descent; a `coursekit.train.Learner`.

    The gradient comes from autograd here; that it is the one of `analysis.bilinear_gradient` is a test.
    """

    def __init__(self, config: ReversalDynamicsConfig, seeds: Sequence[int], *, device: str = "cpu"):
        self.config, self.running, self.step = config, list(range(len(seeds))), 0
        self.sentences = [_sentences(config, seed) for seed in seeds]
        vectors = [_embeddings(config, seed, its) for seed, its in zip(seeds, self.sentences, strict=True)]
        self.source, self.target = (
            torch.from_numpy(np.stack([getattr(v, role) for v in vectors])).float().to(device)
            for role in ("source", "target")
        )
        d = self.source.shape[-1]
        start = [config.init_std * np.random.default_rng(seed).standard_normal((d, d)) for seed in seeds]
        theta = torch.from_numpy(np.stack(start)).float().to(device)
        self.theta = torch.nn.Parameter((theta + theta.mT) / 2 if config.symmetric else theta)
        self._pairs = torch.from_numpy(np.stack([s.pairs(s.train) for s in self.sentences])).to(device)
        self._one_hot = config.embedding == "one_hot"

    def log_probs(self, pairs: Int[Tensor, "runs n 2"]) -> Float[Tensor, "runs n vocab"]:
        """Log-probability of every token as the answer of some pairs."""
        runs = torch.arange(len(self.theta), device=pairs.device)[:, None]
        if self._one_hot:  # xᵀ Θ is a row of Θ
            return self.theta[runs, pairs[..., 0]].log_softmax(-1)
        return (self.source[runs, pairs[..., 0]] @ self.theta @ self.target.mT).log_softmax(-1)

    def losses(self) -> Float[Tensor, " runs"]:
        """Each model's loss, summed over its training pairs."""
        found = self.log_probs(self._pairs).gather(-1, self._pairs[..., 1:]).squeeze(-1)
        return -found.sum(-1)

    @torch.no_grad()
    def update(self, learning_rate_scale: float = 1.0) -> None:
        """One step of gradient descent."""
        gradient = self.theta.grad
        assert gradient is not None
        if self.config.symmetric:
            gradient = (gradient + gradient.mT) / 2
        self.theta.sub_(self.config.learning_rate * learning_rate_scale * gradient)
        self.theta.grad = None
        self.step += 1

    def state(self) -> tuple[dict[str, Tensor], dict[str, object]]:
        """All that a resumed training needs."""
        return {"theta": self.theta.detach()}, {"step": self.step, "running": self.running}

    def restore(self, tensors: dict[str, Tensor], facts: dict[str, object]) -> None:
        """Go on from `state`."""
        self.theta.data = tensors["theta"].to(self.theta.device)
        self.step, self.running = facts["step"], list(facts["running"])  # type: ignore[assignment, call-overload]


def run(
    config: ReversalDynamicsConfig,
    *,
    folder: str | Path | None = None,
    resume: bool = False,
    preset: str = "custom",
    progress: bool = True,
    keep_weights: bool = False,
    device: str | None = None,
    n_workers: int | None = None,
    checkpoint_seconds: float = 30.0,
) -> results.Run:
    """Train the networks of `config`, one a seed.

    Parameters
    ----------
    config : ReversalDynamicsConfig
    folder : path, optional
        Where to keep header, rows and checkpoints. Default: nowhere.
    resume : bool
        Go on from the checkpoints in `folder`.
    preset : str
        Goes into the header.
    progress : bool
        Show a bar with the time left.
    keep_weights : bool
        Keep every network's weights at the end in `Run.networks`, as a `NetworkRecord`; not with `resume`.
    device : str, optional
        Default: "cuda" where there is one, else "cpu".
    n_workers : int, optional
        Networks trained at a time on a CPU. Default: one a core.
    checkpoint_seconds : float
        Least time between two checkpoints of a network.

    Returns
    -------
    results.Run
        For each seed, split, direction and evaluated step the rows negative_log_prob (−log p of the first token of the
        answer, nats, mean over the sentences), accuracy (share of answers whose tokens are all on top, given those
        before) and, for answers of several tokens, word_negative_log_prob (−log p of the whole answer). Chains have one
        more direction, chain_of_thought, on the held-out triples: −log p of both steps together, and the share of
        triples in which the network, writing y after x and then z after its own y, arrives at z.

    Raises
    ------
    ValueError
        If `folder` holds a run already and `resume` is not asked for, or holds one of another config or grouping;
        if `keep_weights` and `resume` are both asked for.
    FloatingPointError
        If every network's loss became NaN; the rows up to there are in `folder`.

    Notes
    -----
    A network whose loss is no longer a number is taken out with a warning; the others go on. All numbers are taken with
    dropout off; the paper's training curves have it on.
    """
    if keep_weights and resume:
        raise ValueError(
            "keep_weights works for a run from its start only, since a finished network's checkpoint holds no weights; "
            "leave out resume and take a new folder"
        )
    if config.model != "bilinear":
        network_shape(config)  # a shape that makes no sense is refused before anything is written
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    groups = _group(config, device)
    each = _steps_an_epoch(config)
    record_at = [each * epoch for epoch in evaluation_steps(config.n_epochs, every=config.eval_every)]
    kept: dict[int, NetworkRecord] | None = {} if keep_weights else None

    def prepare(number: int, rows: list[Row]) -> tuple[Stack | Bilinear, Callable[[], list[Row]]]:
        learner = _learner(config, groups[number], device)
        return learner, lambda: _record(config, groups[number], learner, record_at[-1], kept)

    made = train_groups(
        results.new_header(EXPERIMENT, preset, config, config.seeds[0] if len(config.seeds) == 1 else None),
        [[{"seed": seed} for seed in group] for group in groups],
        prepare,
        record_at=record_at,
        folder=folder,
        resume=resume,
        checkpoint_seconds=checkpoint_seconds,
        label=f"{EXPERIMENT}: {config.model}, {config.task}, {len(config.seeds)} seeds",
        progress=progress,
        n_workers=(n_workers or available_cores()) if device == "cpu" else 1,
    )
    _tell_diverged(made.rows, len(config.seeds))
    return results.Run(made.header, made.rows, [kept[s] for s in config.seeds if kept and s in kept])


def network_shape(config: ReversalDynamicsConfig) -> TransformerConfig:
    """The transformer of a config: GPT-2's shape, as in the authors' code."""
    sentences = _sentences(config, config.seeds[0])
    return TransformerConfig.gpt2(
        vocab_size=sentences.n_tokens,
        context_length=sentences.tokens.shape[1] - 1,
        n_layers=config.blocks,
        d_model=config.d_model,
        n_heads=config.n_heads,
        d_ff=4 * config.d_model,
        positions=config.positions,
        tied=config.tied,
        dropout=config.dropout,
    )


def measure(name: str, folder: str | Path, *, n_workers: int | None = None) -> results.Run:
    """Make a run of `config.measured` again and keep it in `measured/`.

    Parameters
    ----------
    name : str
    folder : path
        Where the run works; an interrupted one goes on from there, but for `reversal`, which needs the weights: for it
        take a new folder.
    n_workers : int, optional

    Notes
    -----
    `reversal` gets, for its first seed, 24 rows and columns of two logit heat-maps, logit_seen and logit_unseen, and
    the cosines of the input vectors of the entities of 20 pairs, `cosine`.
    """
    keep = name == "reversal"
    made = run(
        configs.measured(name),
        folder=folder,
        resume=not keep,
        preset="measured",
        n_workers=n_workers,
        keep_weights=keep,
    )
    new: list[Row] = []
    if made.networks:
        record = made.networks[0]
        matrices = record.logit_matrices()
        pairs = record.sentences.pairs(record.sentences.select(direction="forward", split="train")[:20])
        stored = {
            "logit_seen": matrices["held out: seen"][:24, :24],
            "logit_unseen": matrices["held out: unseen"][:24, :24],
            "cosine": cosine_similarities(record.embedding()[pairs.T.ravel()]),
        }
        step = int(made.rows["step"].max())
        for metric, matrix in stored.items():
            split = "train" if metric == "cosine" else "val"
            keys = _keys(record.config, record.seed, split, "both")
            new += [
                results.row(keys, step, place, value) for place, value in results.matrix_rows(metric, matrix)
            ]
    rows = pd.concat([made.rows, pd.DataFrame(new)], ignore_index=True) if new else made.rows
    results.write_measured(EXPERIMENT, name, made.header, rows)
    return results.Run(made.header, rows)


def _sentences(config: ReversalDynamicsConfig, seed: int) -> Sentences:
    return make_sentences(config.task, seed, vocab_size=config.vocab_size, word_size=config.word_size)


def _steps_an_epoch(config: ReversalDynamicsConfig) -> int:
    """The same for all seeds: every seed has as many sentences."""
    if config.model == "bilinear":
        return 1
    return math.ceil(len(_sentences(config, config.seeds[0]).train) / config.batch_size)


def _embeddings(config: ReversalDynamicsConfig, seed: int, sentences: Sentences) -> Embeddings:
    """Vectors of all tokens for the bilinear model."""
    return make_embeddings(
        config.embedding,
        sentences.n_tokens,
        d=config.d_model if config.embedding == "gaussian" else None,
        overlap=config.overlap,
        pairs=sentences.pairs(sentences.select(direction="forward")),
        seed=seed,
    )


def _learner(config: ReversalDynamicsConfig, members: Sequence[int], device: str) -> Stack | Bilinear:
    if config.model == "bilinear":
        return Bilinear(config, members, device=device)
    sentences = [_sentences(config, seed) for seed in members]
    n_answer = sentences[0].word_size if config.loss_on == "last_word" else sentences[0].tokens.shape[1] - 1
    return Stack(
        network_shape(config),
        [
            StackRun(
                torch.from_numpy(its.tokens),
                torch.from_numpy(its.train),
                torch.from_numpy(its.val),
                seed=seed,
                batch_size=min(config.batch_size, len(its.train)),
                learning_rate=config.learning_rate,
                weight_decay=config.weight_decay,
            )
            for seed, its in zip(members, sentences, strict=True)
        ],
        n_answer=n_answer,
        betas=(0.9, 0.999),
        frozen=_frozen(config),
        device=device,
    )


def _frozen(config: ReversalDynamicsConfig) -> tuple[str, ...]:
    """Weights that keep their first values; only learned positions are weights."""
    if not config.frozen_embeddings:
        return ()
    return ("embedding", "position") if config.positions == "learned" else ("embedding",)


def _group(config: ReversalDynamicsConfig, device: str) -> list[list[int]]:
    """Seeds that train as one: each alone on a CPU; on a GPU as many as fit; bilinear models all together."""
    if config.model == "bilinear":
        return [list(config.seeds)]
    together = 1 if device == "cpu" else max(1, STACK_WEIGHTS // network_shape(config).n_params)
    return [list(config.seeds[i : i + together]) for i in range(0, len(config.seeds), together)]


def _record(
    config: ReversalDynamicsConfig,
    members: Sequence[int],
    learner: Stack | Bilinear,
    n_steps: int,
    kept: dict[int, NetworkRecord] | None,
) -> list[Row]:
    """Ask the running networks about all sentences, take out those that are done, and return the new rows."""
    new: list[Row] = []
    finished = []
    done = learner.step >= n_steps
    bilinear_scores = _score_bilinear(learner) if isinstance(learner, Bilinear) else None
    for i, r in enumerate(learner.running):
        seed = members[r]
        sentences = _sentences(config, seed)
        network = None
        if bilinear_scores is not None:
            log_probs, right = (scores[i] for scores in bilinear_scores)
        else:
            assert isinstance(learner, Stack)
            network = Transformer(learner.config)
            network.load_state_dict(learner.weights(r))
            network.to(learner.device)
            log_probs, right = _score(network, sentences.tokens, sentences.word_size)
        for split in ("train", "val"):
            for direction in DIRECTIONS[config.task]:
                chosen = sentences.select(split=split, direction=direction)
                if len(chosen):
                    keys = _keys(config, seed, split, direction)
                    new += _measurements(keys, learner.step, log_probs[chosen], right[chosen])
        if network is not None and config.task in ("chain", "related"):
            keys = _keys(config, seed, "val", "chain_of_thought")
            new += _chain_of_thought(keys, learner.step, sentences, network, log_probs)
        broken = not np.isfinite(log_probs[sentences.train]).all()
        if broken or done:
            finished.append(r)
            if kept is not None and not broken:
                kept[seed] = NetworkRecord(seed, config, sentences, _weights(learner, i, r))
    if isinstance(learner, Stack):
        learner.retire(finished)
    elif len(finished) == len(learner.running):  # bilinear models end together
        learner.running = []
    return new


def _weights(learner: Stack | Bilinear, i: int, r: int) -> dict[str, NDArray[np.float32]]:
    if isinstance(learner, Stack):
        return {name: w.numpy() for name, w in learner.weights(r).items()}
    tensors = {"theta": learner.theta[i], "embedding": learner.source[i], "target": learner.target[i]}
    return {name: t.detach().cpu().numpy().copy() for name, t in tensors.items()}


@torch.no_grad()
def _score(
    network: Transformer, tokens: NDArray[np.int64], word_size: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Log-probability of every token of the answers, [n, word_size], and whether all of an answer are on top, [n]."""
    device = network.embedding.device
    found, right = [], []
    for part in torch.from_numpy(tokens).split(1024):
        here = part.to(device)
        logits = network(here[:, :-1])[:, -word_size:]
        answer = here[:, -word_size:]
        found.append(logits.log_softmax(-1).gather(-1, answer.unsqueeze(-1)).squeeze(-1).cpu())
        right.append((logits.argmax(-1) == answer).all(-1).cpu())
    return torch.cat(found).double().numpy(), torch.cat(right).numpy()


@torch.no_grad()
def _score_bilinear(learner: Bilinear) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The same for every bilinear model, [runs, n, 1] and [runs, n]."""
    pairs = torch.from_numpy(np.stack([its.pairs() for its in learner.sentences])).to(learner.theta.device)
    log_probs = learner.log_probs(pairs)
    found = log_probs.gather(-1, pairs[..., 1:]).cpu().double().numpy()
    return found, (log_probs.argmax(-1) == pairs[..., 1]).cpu().numpy()


def _measurements(
    keys: Row, step: int, log_probs: NDArray[np.float64], right: NDArray[np.bool_]
) -> list[Row]:
    """The rows of one kind of sentences."""
    n = len(right)
    rows = [
        results.mean_row(keys, step, "negative_log_prob", -log_probs[:, 0]),
        results.row(keys, step, "accuracy", right.mean(), proportion_stderr(int(right.sum()), n), n),
    ]
    if log_probs.shape[1] > 1:
        rows.append(results.mean_row(keys, step, "word_negative_log_prob", -log_probs.sum(1)))
    return rows


def _chain_of_thought(
    keys: Row, step: int, sentences: Sentences, network: Transformer, log_probs: NDArray[np.float64]
) -> list[Row]:
    """Held-out triples with the intermediate step written out: x → y, then y → z."""
    size, held = sentences.word_size, sentences.fact[sentences.val]
    steps = []
    for way in ("first_step", "second_step"):
        numbers = sentences.select(split="train", direction=way)
        of_fact = {int(sentences.fact[number]): number for number in numbers}
        steps.append(np.array([of_fact[int(fact)] for fact in held]))
    both = log_probs[steps[0]].sum(1) + log_probs[steps[1]].sum(1)
    prompts = torch.from_numpy(sentences.tokens[steps[0]][:, :-size]).to(network.embedding.device)
    written = _write(network, prompts, size)
    arrow = torch.full_like(written[:, :1], FORWARD_ARROW)
    answer = _write(network, torch.cat([written, arrow], 1), size).cpu().numpy()
    right = (answer == sentences.tokens[steps[1]][:, -size:]).all(1)
    return _measurements(keys, step, both[:, None], right)


@torch.no_grad()
def _write(network: Transformer, prompts: Int[Tensor, "n seq"], n_tokens: int) -> Int[Tensor, "n n_tokens"]:
    """Write the most probable next tokens."""
    for _ in range(n_tokens):
        prompts = torch.cat([prompts, network(prompts)[:, -1].argmax(-1, keepdim=True)], 1)
    return prompts[:, -n_tokens:]


def _keys(config: ReversalDynamicsConfig, seed: int, split: str, direction: str) -> Row:
    return {"seed": seed, "model": config.model, "split": split, "direction": direction}


def _tell_diverged(rows: pd.DataFrame, n_networks: int) -> None:
    """Warn of networks whose loss stopped being a number; raise if that is all of them."""
    losses = rows[
        (rows["metric"] == "negative_log_prob")
        & (rows["split"] == "train")
        & ~np.isfinite(rows["value"].astype(float))
    ]
    broken = losses.groupby("seed", sort=False)["step"].min()
    if broken.empty:
        return
    shown = ", ".join(f"{seed} (by step {step})" for seed, step in list(broken.items())[:3])
    more = f" and {len(broken) - 3} more" if len(broken) > 3 else ""
    text = f"the loss stopped being a finite number for seed {shown}{more}"
    if len(broken) == n_networks:
        raise FloatingPointError(f"{text}: lower the learning rate; the rows up to there are kept")
    warnings.warn(f"{text}; they were taken out and the others went on", stacklevel=3)
