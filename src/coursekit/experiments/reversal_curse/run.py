"""Finetune, ask in both orders, and write down what came back."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from coursekit import evaluate, hub, results
from coursekit.experiments.reversal_curse import config as configs
from coursekit.experiments.reversal_curse import data
from coursekit.experiments.reversal_curse.config import ReversalCurseConfig
from coursekit.experiments.reversal_curse.data import Material, Relation
from coursekit.finetune import Document, FinetuneConfig, finetune
from coursekit.stats import ks_exact, paired_t_test
from coursekit.train import Row, evaluation_steps

EXPERIMENT = "reversal_curse"


@dataclass
class Trained:
    """One trained model, to ask more questions of.

    Attributes
    ----------
    seed : int
    subset : str
        What it was trained on: "all" in experiment 1; a training set of experiment 3.
    model, tokenizer
        For `coursekit.evaluate`.
    material : Material
    losses : list of float
        Loss of every step before its update, nats a token.
    """

    seed: int
    subset: str
    model: Any
    tokenizer: Any
    material: Material
    losses: list[float] = field(default_factory=list)


def run(
    config: ReversalCurseConfig,
    *,
    folder: str | Path | None = None,
    resume: bool = False,
    preset: str = "custom",
    progress: bool = True,
    keep_models: bool = False,
    relations: Sequence[Relation] = data.RELATIONS,
    checkpoint_seconds: float = 60.0,
) -> results.Run:
    """Do what `config` says.

    Parameters
    ----------
    config : ReversalCurseConfig
    folder : path, optional
        Where to keep header, rows and checkpoints. Default: nowhere.
    resume : bool
        Go on from the checkpoints in `folder`.
    preset : str
        Goes into the header.
    progress : bool
        Show bars with the time left.
    keep_models : bool
        Return the models in `Run.networks`, a `Trained` each.
    relations : sequence of Relation
        Experiment 2: who to ask about, such as `data.read_relations` returns; the first `config.n_facts` are.
    checkpoint_seconds : float
        Least time between two checkpoints.

    Returns
    -------
    results.Run
        Experiment 1 has, for every cell (subset × order), exact_match at every evaluated step, and at the first and
        the last step log_prob_correct, log_prob_random (nats, summed over the answer's tokens, the mean over a fact's
        held-out prompts), t_test_p and ks_test_p (of these two, over facts). Value and stderr are over facts, n is the
        number of facts; ``fact_<k>_...`` rows hold each fact by itself, n being its prompts. train_loss is there for
        every step, with the subset "all".

        Experiment 2 has a subset for each form of prompt, "completion" and, where the tokenizer has a chat template,
        "chat", with log_prob_correct, probability (its exponential, Figure 5) and, unless n_samples is 0, exact_match
        (share of the samples that begin with the answer), by order (forward asks for the parent), over relations.

        Experiment 3 has a subset for each of its two training sets, with exact_match and log_prob_correct.

    Raises
    ------
    ValueError
        If `folder` holds a run already and `resume` is not asked for, or holds one of another config.
    FloatingPointError
        If the loss is no longer a number; the rows up to there are in `folder`.
    """
    header = results.new_header(
        EXPERIMENT, preset, config, config.seeds[0] if len(config.seeds) == 1 else None
    )
    main = os.environ.get("RANK", "0") == "0"  # of several processes one writes
    before = None
    if folder is not None and main:
        header = results.claim(folder, header, resume)
        before = results.read_run(folder).rows
    parts: dict[tuple[int, str], list[Row]] = {}
    kept: list[Trained] = []
    complete = False
    try:
        for trained in _runs(config, folder, resume, progress, relations, checkpoint_seconds, parts):
            if keep_models:
                kept.append(trained)
        complete = True
    finally:
        header = results.finish(header, complete=complete)
        rows = _collect(parts, before)
        if folder is not None and main and len(rows):
            results.write_run(folder, header, rows)
    return results.Run(header, rows, kept)


def material(config: ReversalCurseConfig, seed: int) -> Material:
    """What a run of `config` trains on and asks, for one seed (experiments 1 and 3)."""
    if config.study == 3:
        return data.experiment_3(
            seed, n_facts=config.n_facts, n_held_out=config.n_held_out, n_paraphrases=config.n_paraphrases
        )
    if config.source == "published":
        return data.published_experiment_1(
            hub.load_dataset("reversal_curse/exp1"),
            n_facts=config.n_facts,
            n_paraphrases=config.n_paraphrases,
            n_held_out=config.n_held_out,
        )
    return data.experiment_1(
        seed,
        n_facts=config.n_facts,
        n_both=config.n_both,
        n_paraphrases=config.n_paraphrases,
        n_held_out=config.n_held_out,
        remedy=config.remedy,
    )


def recipe(config: ReversalCurseConfig, seed: int) -> FinetuneConfig:
    """The finetuning part of a config."""
    same = (
        "method learning_rate batch_size n_steps n_epochs lora_rank loss_on schedule warmup_steps weight_decay "
        "micro_batch_tokens gradient_checkpointing precision"
    )
    return FinetuneConfig(
        seed=seed, lora_alpha=2 * config.lora_rank, **{name: getattr(config, name) for name in same.split()}
    )


def ask_cells(
    model: Any, tokenizer: Any, held_out: Material, *, seed: int, log_probs: bool
) -> dict[tuple[str, str], dict[str, np.ndarray]]:
    """Ask every held-out prompt of experiment 1.

    Parameters
    ----------
    model, tokenizer
        As `coursekit.evaluate` takes them.
    held_out : Material
    seed : int
        Draws the random names.
    log_probs : bool
        Score the right and a random wrong answer too.

    Returns
    -------
    dict
        By (subset, order): arrays [facts, prompts] of "exact_match" and, if asked for, "log_prob_correct" and
        "log_prob_random".
    """
    cells = held_out.held_out
    asked = [sentence for sentences in cells.values() for sentence in sentences]
    pairs = [(sentence.prompt, sentence.completion) for sentence in asked]
    found: dict[str, Sequence[float]] = {"exact_match": evaluate.exact_match(model, tokenizer, pairs)}
    if log_probs:
        wrong = [answer for sentences in cells.values() for answer in data.wrong_answers(sentences, seed)]
        other = [(sentence.prompt, answer) for sentence, answer in zip(asked, wrong, strict=True)]
        scores = [score.log_prob for score in evaluate.score_continuations(model, tokenizer, pairs + other)]
        found |= {"log_prob_correct": scores[: len(pairs)], "log_prob_random": scores[len(pairs) :]}
    answers: dict[tuple[str, str], dict[str, np.ndarray]] = {}
    start = 0
    for cell, sentences in cells.items():
        n_facts = len({sentence.fact for sentence in sentences})
        part = slice(start, start + len(sentences))
        answers[cell] = {
            metric: np.asarray(values[part], dtype=float).reshape(n_facts, -1)
            for metric, values in found.items()
        }
        start += len(sentences)
    return answers


def measure(name: str, folder: str | Path) -> results.Run:
    """Make a run of `config.measured` again and keep it in `measured/`.

    Parameters
    ----------
    name : str
    folder : path
        Where the run works; an interrupted one goes on from there.

    Returns
    -------
    results.Run
    """
    made = run(configs.measured(name), folder=folder, resume=True, preset="measured")
    results.write_measured(EXPERIMENT, name, made.header, made.rows)
    return made


def _runs(
    config: ReversalCurseConfig,
    folder: str | Path | None,
    resume: bool,
    progress: bool,
    relations: Sequence[Relation],
    checkpoint_seconds: float,
    parts: dict[tuple[int, str], list[Row]],
) -> Iterator[Trained]:
    """Every training, or every seed's questions, in turn; their rows grow in `parts`."""
    tokenizer = hub.load_tokenizer(config.model, revision=config.revision)
    for seed in config.seeds:
        if config.study == 2:
            model = hub.load_model(config.model, revision=config.revision)
            parts[seed, "all"] = _relation_rows(
                model, tokenizer, relations[: config.n_facts], config, seed, progress
            )
            yield Trained(seed, "all", model, tokenizer, Material({}, {}, {}))
            continue
        stuff = material(config, seed)
        if config.remedy == "in_context":
            model = hub.load_model(config.model, revision=config.revision)
            parts[seed, "all"] = _fact_rows(model, tokenizer, stuff, seed, 0, log_probs=True)
            yield Trained(seed, "all", model, tokenizer, stuff)
            continue
        together = [s for sentences in stuff.training.values() for s in sentences]
        sets = {"all": together} if config.study == 1 else stuff.training
        for subset, sentences in sets.items():
            rows = parts[seed, subset] = []
            model = hub.load_model(config.model, revision=config.revision)
            how = recipe(config, seed)
            last = how.steps(len(sentences))
            made = finetune(
                model,
                tokenizer,
                [Document(sentence.prompt, sentence.completion) for sentence in sentences],
                how,
                folder=None if folder is None else Path(folder) / "checkpoints" / f"{subset}-{seed}",
                resume=resume,
                record=_recorder(config, tokenizer, stuff, subset, seed, last),
                record_at=evaluation_steps(last, every=config.eval_every),
                rows=rows,
                progress=progress,
                label=f"{EXPERIMENT} {subset} seed {seed}",
                checkpoint_seconds=checkpoint_seconds,
            )
            loss_of = {"seed": seed, "study": config.study, "subset": subset, "order": "forward"}
            rows += [results.row(loss_of, k + 1, "train_loss", loss) for k, loss in enumerate(made.losses)]
            yield Trained(seed, subset, made.model, tokenizer, stuff, made.losses)


def _recorder(
    config: ReversalCurseConfig, tokenizer: Any, stuff: Material, subset: str, seed: int, last: int
) -> Callable[[Any, int], list[Row]]:
    def record(model: Any, step: int) -> list[Row]:
        if config.study == 3:
            return _instruction_rows(model, tokenizer, stuff, subset, seed, step)
        return _fact_rows(model, tokenizer, stuff, seed, step, log_probs=step in (0, last))

    return record


def _fact_rows(
    model: Any, tokenizer: Any, stuff: Material, seed: int, step: int, *, log_probs: bool
) -> list[Row]:
    rows: list[Row] = []
    answers = ask_cells(model, tokenizer, stuff, seed=seed, log_probs=log_probs)
    for (subset, order), found in answers.items():
        keys = {"seed": seed, "study": 1, "subset": subset, "order": order}
        by_fact = {metric: values.mean(1) for metric, values in found.items()}
        for metric, values in by_fact.items():
            n_prompts = found[metric].shape[1]
            rows.append(results.mean_row(keys, step, metric, values))
            rows += [
                results.row(keys, step, f"fact_{k}_{metric}", value, n=n_prompts)
                for k, value in enumerate(values)
            ]
        if log_probs:
            correct, random = by_fact["log_prob_correct"], by_fact["log_prob_random"]
            rows.append(results.row(keys, step, "t_test_p", paired_t_test(correct, random).p, n=len(correct)))
            rows.append(results.row(keys, step, "ks_test_p", ks_exact(correct, random).p, n=len(correct)))
    return rows


def _instruction_rows(
    model: Any, tokenizer: Any, stuff: Material, subset: str, seed: int, step: int
) -> list[Row]:
    rows: list[Row] = []
    for (asked_of, order), sentences in stuff.held_out.items():
        if asked_of != subset:
            continue
        keys = {"seed": seed, "study": 3, "subset": subset, "order": order}
        pairs = [(sentence.prompt, sentence.completion) for sentence in sentences]
        found = np.asarray(evaluate.exact_match(model, tokenizer, pairs), dtype=float)
        scores = [score.log_prob for score in evaluate.score_continuations(model, tokenizer, pairs)]
        rows.append(results.mean_row(keys, step, "exact_match", found))
        rows.append(results.mean_row(keys, step, "log_prob_correct", np.asarray(scores)))
    return rows


def _relation_rows(
    model: Any,
    tokenizer: Any,
    relations: Sequence[Relation],
    config: ReversalCurseConfig,
    seed: int,
    progress: bool,
) -> list[Row]:
    """Experiment 2: score the right answer, and draw answers if any are asked for."""
    rows: list[Row] = []
    for form in ("completion", "chat"):
        if form == "chat" and not tokenizer.chat_template:
            continue
        for order in data.ORDERS:
            asked = [data.relation_question(relation, order) for relation in relations]
            prompts = [_relation_prompt(tokenizer, form, question) for question, _ in asked]
            answers = [answer for _, answer in asked]
            space = "" if form == "chat" else " "
            pairs = [(prompt, space + answer) for prompt, answer in zip(prompts, answers, strict=True)]
            scores = evaluate.score_continuations(model, tokenizer, pairs, progress=progress)
            log_prob = np.asarray([score.log_prob for score in scores])
            found = {"log_prob_correct": log_prob, "probability": np.exp(log_prob)}
            if config.n_samples:
                drawn = evaluate.complete(
                    model,
                    tokenizer,
                    prompts,
                    max_new_tokens=12,
                    temperature=1.0,
                    seed=seed,
                    n_samples=config.n_samples,
                )
                hits = [
                    [text.strip().lower().startswith(answer.lower()) for text in texts]
                    for texts, answer in zip(drawn, answers, strict=True)
                ]
                found["exact_match"] = np.asarray(hits, dtype=float).mean(1)
            keys = {"seed": seed, "study": 2, "subset": form, "order": order}
            rows += [results.mean_row(keys, 0, metric, values) for metric, values in found.items()]
            for k in range(len(relations)):
                rows.append(results.row(keys, 0, f"fact_{k}_log_prob_correct", log_prob[k]))
                if config.n_samples:
                    share = found["exact_match"][k]
                    rows.append(results.row(keys, 0, f"fact_{k}_exact_match", share, n=config.n_samples))
    return rows


def _relation_prompt(tokenizer: Any, form: str, question: str) -> str:
    if form == "completion":
        return data.completion_prompt(question)
    messages = data.chat_messages(question)
    return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)


def _collect(parts: dict[tuple[int, str], list[Row]], before: pd.DataFrame | None) -> pd.DataFrame:
    """Rows of this session, and of an earlier one those of trainings that this one did not come to."""
    rows = pd.DataFrame([row for part in parts.values() for row in part])
    if before is None or before.empty:
        return rows
    reached = {seed for seed, subset in parts if subset == "all"}
    mine = [
        seed in reached or (seed, subset) in parts
        for seed, subset in zip(before["seed"], before["subset"], strict=True)
    ]
    rest = before[~np.asarray(mine)]
    return rows if rest.empty else rest if rows.empty else pd.concat([rows, rest], ignore_index=True)
