"""Whole runs: rows, resume after a kill, all remedies and experiments, and the curse itself by a real model."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from coursekit import evaluate, hub, results
from coursekit.experiments.reversal_curse import analysis, data
from coursekit.experiments.reversal_curse import config as configs
from coursekit.experiments.reversal_curse import run as module
from coursekit.experiments.reversal_curse.config import ReversalCurseConfig
from coursekit.experiments.reversal_curse.run import run
from tests.processes import kill

GOLDEN_LOSSES = [6.62526, 5.57724, 4.46033]
GOLDEN_LOG_PROB = -50.33121
CELL_METRICS = {"exact_match", "log_prob_correct", "log_prob_random", "t_test_p", "ks_test_p"}


@pytest.fixture
def tiny(tiny_model: str) -> ReversalCurseConfig:
    return replace(
        configs.smoke(), model=tiny_model, n_facts=3, n_both=2, n_paraphrases=2, n_held_out=2, n_steps=4, eval_every=2,
        learning_rate=1e-2, schedule="constant",
    )  # fmt: skip


def quiet(config: ReversalCurseConfig, **options: object) -> results.Run:
    """Run without bars."""
    return run(config, progress=False, **options)  # type: ignore[arg-type]


def same_rows(one: pd.DataFrame, other: pd.DataFrame) -> None:
    order = [*results.KEYS["reversal_curse"], "metric"]
    a, b = (rows.sort_values(order).reset_index(drop=True) for rows in (one, other))
    assert a[order].astype(str).equals(b[order].astype(str))
    np.testing.assert_allclose(a["value"], b["value"], rtol=1e-4, atol=1e-6)


def test_a_run_has_every_row(tiny: ReversalCurseConfig, tmp_path: Path) -> None:
    made = quiet(replace(tiny, seeds=(0, 5)), folder=tmp_path, preset="smoke")
    rows = made.rows
    means = rows[~rows["metric"].str.startswith("fact_")]
    assert set(means["metric"]) == CELL_METRICS | {"train_loss"}
    cells = means[means["metric"] != "train_loss"]
    assert set(zip(cells["subset"], cells["order"], strict=True)) == {
        (s, o) for s in data.SUBSETS for o in data.ORDERS
    }
    assert sorted(set(cells[cells["metric"] == "exact_match"]["step"])) == [0, 2, 4]
    assert sorted(set(cells[cells["metric"] == "t_test_p"]["step"])) == [0, 4]
    assert (cells.groupby(["seed", "subset", "order", "step", "metric"]).size() == 1).all()
    assert set(cells[cells["subset"] == "both"]["n"]) == {2}
    assert set(cells[cells["subset"] != "both"]["n"]) == {3}
    losses = means[means["metric"] == "train_loss"]
    assert losses.groupby("seed")["step"].apply(list).to_dict() == {0: [1, 2, 3, 4], 5: [1, 2, 3, 4]}
    assert losses["value"].iloc[0] == pytest.approx(math.log(49152), rel=0.02)
    kept = results.read_run(tmp_path)
    assert kept.header.complete
    assert kept.header.config_hash == results.config_hash(replace(tiny, seeds=(0, 5)))
    same_rows(kept.rows, rows)


def test_means_and_tests_are_those_of_the_facts(tiny: ReversalCurseConfig) -> None:
    rows = quiet(tiny).rows
    for subset in data.SUBSETS:
        for order in data.ORDERS:
            cell = rows[(rows["subset"] == subset) & (rows["order"] == order) & (rows["step"] == 4)]
            value = cell.set_index("metric")["value"]
            table = analysis.table_3(rows, subset, order).loc[0]
            assert value["log_prob_correct"] == pytest.approx(table["mean_correct"])
            assert value["log_prob_random"] == pytest.approx(table["mean_random"])
            assert value["t_test_p"] == pytest.approx(table["t_p"])
            assert value["ks_test_p"] == pytest.approx(table["ks_p"])
            facts = analysis.by_fact(rows, "log_prob_correct", subset, order).loc[0]
            stderr = cell.set_index("metric").loc["log_prob_correct", "stderr"]
            assert stderr == pytest.approx(facts.std(ddof=1) / math.sqrt(len(facts)))


def test_the_numbers_are_those_of_the_evaluation(tiny: ReversalCurseConfig) -> None:
    made = quiet(tiny, keep_models=True)
    (trained,) = made.networks
    asked = trained.material.held_out["name_to_description", "reverse"]
    pairs = [(s.prompt, s.completion) for s in asked if s.fact == 1]
    scores = evaluate.score_continuations(trained.model, trained.tokenizer, pairs)
    mean = sum(score.log_prob for score in scores) / len(scores)
    table = analysis.by_fact(made.rows, "log_prob_correct", "name_to_description", "reverse")
    assert table.loc[0, 1] == pytest.approx(mean, rel=1e-4)
    answers = module.ask_cells(trained.model, trained.tokenizer, trained.material, seed=0, log_probs=True)
    wrong = data.wrong_answers(asked, 0)
    (score,) = evaluate.score_continuations(trained.model, trained.tokenizer, [(asked[3].prompt, wrong[3])])
    cell = answers["name_to_description", "reverse"]
    assert cell["log_prob_random"][1, 1] == pytest.approx(score.log_prob, rel=1e-4)
    assert trained.losses == made.rows[made.rows["metric"] == "train_loss"]["value"].tolist()


def test_seeds_have_their_own_facts_and_the_same_seed_the_same_numbers(tiny: ReversalCurseConfig) -> None:
    both = quiet(replace(tiny, seeds=(0, 1))).rows
    same_rows(quiet(replace(tiny, seeds=(1,))).rows, both[both["seed"] == 1])
    losses = both[both["metric"] == "train_loss"].pivot_table(index="step", columns="seed", values="value")
    assert (losses[0] != losses[1]).all()


def test_the_seed_reaches_the_finetuning(tiny: ReversalCurseConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []
    finetune = module.finetune

    def watched(*arguments: object, **options: object) -> object:
        seen.append(arguments[3])
        return finetune(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "finetune", watched)
    config = replace(tiny, seeds=(7, 3), n_steps=1)
    quiet(config)
    assert seen == [module.recipe(config, 7), module.recipe(config, 3)]


def test_a_run_goes_on_from_its_checkpoints_with_the_same_numbers(
    tiny: ReversalCurseConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(tiny, seeds=(0, 1))
    whole = quiet(config).rows
    before = module._fact_rows

    def interrupted(*arguments: object, **options: object) -> object:
        if arguments[3:5] == (1, 2):  # seed 1, step 2
            raise KeyboardInterrupt
        return before(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "_fact_rows", interrupted)
    with pytest.raises(KeyboardInterrupt):
        quiet(config, folder=tmp_path, checkpoint_seconds=0)
    part = results.read_run(tmp_path)
    assert not part.header.complete
    assert set(part.rows[part.rows["metric"] == "t_test_p"]["seed"]) == {0, 1}
    assert len(part.rows) < len(whole)
    monkeypatch.setattr(module, "_fact_rows", before)
    with pytest.raises(ValueError, match="holds a run already"):
        quiet(config, folder=tmp_path)
    with pytest.raises(ValueError, match="expected a run of config"):
        quiet(tiny, folder=tmp_path, resume=True)
    made = quiet(config, folder=tmp_path, resume=True)
    assert made.header.wall_seconds > part.header.wall_seconds
    same_rows(made.rows, whole)
    same_rows(quiet(config, folder=tmp_path, resume=True).rows, whole)  # nothing is left to do


def test_rows_that_an_interrupted_resume_did_not_reach_are_kept(tiny: ReversalCurseConfig) -> None:
    rows = quiet(replace(tiny, seeds=(0, 1))).rows
    first = rows[rows["seed"] == 0].to_dict("records")
    same_rows(module._collect({(0, "all"): first}, rows), rows)
    assert len(module._collect({(0, "all"): [], (1, "all"): first}, rows)) == len(first)


def run_to_be_killed(config: ReversalCurseConfig, folder: Path) -> None:
    quiet(config, folder=folder, checkpoint_seconds=0)


def test_a_killed_run_loses_at_most_one_checkpoint(tiny: ReversalCurseConfig, tmp_path: Path) -> None:
    config = replace(tiny, n_steps=24, eval_every=8)
    place = tmp_path / "checkpoints" / "all-0"
    kill(run_to_be_killed, config, tmp_path, when=lambda: len(list(place.glob("step-*.json"))) >= 2)
    reached = max(int(path.stem.removeprefix("step-")) for path in place.glob("step-*.json"))
    assert 0 < reached < 24
    made = quiet(config, folder=tmp_path, resume=True)
    same_rows(made.rows, quiet(config).rows)
    assert results.read_run(tmp_path).header.complete


@pytest.mark.parametrize("remedy", data.REMEDIES)
def test_every_remedy_runs(tiny: ReversalCurseConfig, remedy: str) -> None:
    config = replace(tiny, remedy=remedy, n_steps=None, n_epochs=1)
    rows = quiet(config).rows
    last = rows[rows["metric"] == "exact_match"]["step"].max()
    documents = {"none": 2 * 3 * 2 + 2 * 2 * 2, "both_orders": 4 * 3 * 2 + 2 * 2 * 2, "in_context": 0}
    n = documents.get(remedy, 2 * documents["none"])
    assert last == math.ceil(n / config.batch_size)
    assert set(rows["metric"]) >= CELL_METRICS


def test_full_finetuning_and_the_published_text_run(
    tiny: ReversalCurseConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    quiet(replace(tiny, method="full", n_steps=1, eval_every=1))
    rows = [{"prompt": f"p{k}", "completion": f" First{k % 30} Last{k} went home."} for k in range(1800)]
    text = "\n".join(pd.Series(rows).map(lambda row: str(row).replace("'", '"')))
    for name in ("p2d", "d2p", "both", "p2d_reverse", "d2p_reverse"):
        for part in ("train", "test"):
            (tmp_path / f"{name}_prompts_{part}.jsonl").write_text(text)
    monkeypatch.setattr(hub, "load_dataset", lambda name: {"reversal_curse/exp1": tmp_path}[name])
    made = quiet(replace(tiny, source="published", n_both=None, n_steps=1, eval_every=1), keep_models=True)
    told = made.networks[0].material.training["description_to_name"]
    assert [s.prompt for s in told] == ["p0", "p1", "p30", "p31", "p60", "p61"]


def test_experiment_2_draws_and_scores(tiny: ReversalCurseConfig) -> None:
    config = replace(configs.smoke(2), model=tiny.model, n_samples=2)
    relations = data.RELATIONS[:3]
    made = quiet(config, keep_models=True)
    rows = made.rows[~made.rows["metric"].str.startswith("fact_")].set_index(["subset", "order", "metric"])
    assert set(rows.index.get_level_values("subset")) == {"completion", "chat"}
    assert set(rows["n"]) == {3}
    trained = made.networks[0]
    question, answer = data.relation_question(relations[1], "reverse")
    (score,) = evaluate.score_continuations(
        trained.model, trained.tokenizer, [(data.completion_prompt(question), f" {answer}")]
    )
    scores = analysis.by_fact(made.rows, "log_prob_correct", "completion", "reverse").loc[0]
    assert scores[1] == pytest.approx(score.log_prob, rel=1e-4)
    assert rows.loc[("completion", "reverse", "probability"), "value"] == pytest.approx(np.exp(scores).mean())
    same_rows(quiet(config, relations=relations).rows, made.rows)


def test_experiment_2_counts_answers_that_begin_with_the_name(
    tiny: ReversalCurseConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [" Olympias.", " olympias, I think", " Philip"]
    monkeypatch.setattr(
        evaluate, "complete", lambda model, tokenizer, prompts, **_: [answers for _ in prompts]
    )
    config = replace(configs.smoke(2), model=tiny.model, n_samples=3)
    alexander = [data.Relation("Alexander the Great", "Olympias", "mother")]
    rows = quiet(config, relations=alexander).rows
    found = rows[rows["metric"] == "exact_match"].set_index(["subset", "order"])["value"]
    assert found["completion", "forward"] == pytest.approx(2 / 3)
    assert found["chat", "reverse"] == 0


def test_experiment_2_without_samples_scores_alone(tiny: ReversalCurseConfig) -> None:
    drawn, scored = (quiet(replace(configs.smoke(2), model=tiny.model, n_samples=n)).rows for n in (1, 0))
    kept = drawn[~drawn["metric"].str.endswith("exact_match")].reset_index(drop=True)
    same_rows(scored, kept)


def test_experiment_3_trains_two_models(tiny: ReversalCurseConfig, tmp_path: Path) -> None:
    config = replace(configs.smoke(3), model=tiny.model)
    made = quiet(config, folder=tmp_path, keep_models=True)
    rows = made.rows[made.rows["metric"] == "exact_match"]
    assert set(zip(rows["subset"], rows["order"], strict=True)) == {
        ("question_to_answer", "forward"), ("answer_to_question", "reverse"),
    }  # fmt: skip
    assert set(rows["n"]) == {config.n_held_out}
    assert [trained.subset for trained in made.networks] == list(data.INSTRUCTION_SUBSETS)
    same_rows(quiet(config, folder=tmp_path, resume=True).rows, made.rows)


def test_the_smoke_preset_by_the_real_model() -> None:
    """Golden: the first losses, and what the model thinks of the names before it has seen any."""
    made = quiet(configs.smoke(), preset="smoke")
    losses = made.rows[made.rows["metric"] == "train_loss"]["value"].tolist()
    assert losses == pytest.approx(GOLDEN_LOSSES, rel=1e-3)
    start = made.rows[(made.rows["step"] == 0) & (made.rows["metric"] == "log_prob_correct")]
    value = start.set_index(["subset", "order"])["value"]["name_to_description", "reverse"]
    assert value == pytest.approx(GOLDEN_LOG_PROB, rel=1e-3)
    assert made.header.config["model"] == hub.PACKAGED
