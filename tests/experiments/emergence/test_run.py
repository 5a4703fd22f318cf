"""Whole runs: rows, golden losses, resume after a kill, scores against a plain forward pass, prompting."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from coursekit import hub, results
from coursekit.experiments.emergence import analysis, data
from coursekit.experiments.emergence import config as configs
from coursekit.experiments.emergence import run as module
from coursekit.experiments.emergence.config import EmergenceConfig, Ladder, PromptingConfig
from coursekit.experiments.emergence.data import make_problems
from coursekit.experiments.emergence.run import make_stack, network_shape, run, run_prompting, score_network
from coursekit.model import Transformer
from tests.processes import kill

TINY = EmergenceConfig(
    ladders=(
        Ladder("addition_1/scratchpad", (4, 8, 16), n_steps=8, n_train=60, n_val=20, batch_size=16),
        Ladder("multiplication_mod_11", (4, 8, 16), n_steps=8, n_layers=1, batch_size=16),
    )
)


def quiet(config: EmergenceConfig, **options: object) -> results.Run:
    """Run without a bar."""
    return run(config, progress=False, n_workers=2, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def smoke_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[results.Run, Path]:
    """The smoke preset, once for all tests, and where it is."""
    folder = tmp_path_factory.mktemp("smoke")
    return quiet(configs.smoke(), folder=folder, preset="smoke"), folder


def test_a_smoke_run_has_every_row(smoke_run: tuple[results.Run, Path]) -> None:
    made, folder = smoke_run
    rows = made.rows
    ladders = configs.smoke().ladders
    assert set(rows["task"]) == {ladder.task for ladder in ladders}
    for ladder in ladders:
        mine = rows[(rows["task"] == ladder.task) & (rows["n_params"] > 0)]
        its = ladder.problems(0)
        sizes = [network_shape(ladder, width, its).n_params for width in ladder.widths]
        assert sorted(set(mine["n_params"])) == sizes
        assert set(mine["metric"]) >= {*analysis.METRICS, "train_exact_match"}
        batch = min(ladder.batch_size, len(its.train))
        n_tokens = ladder.n_steps * batch * (its.tokens.shape[1] - 1)
        assert mine["flops"].max() == 6 * sizes[-1] * n_tokens
        assert mine.groupby(["n_params", "seed", "metric"]).size().unique().tolist() == [3]
    kept = results.read_run(folder)
    assert kept.header.complete
    assert kept.rows["value"].tolist() == rows["value"].tolist()
    chance = analysis.stored_baselines(rows)
    assert chance["addition_1"]["exact_match"].value == pytest.approx(1 / 20)
    assert set(chance) == {ladder.task for ladder in ladders}
    assert set(analysis.verdicts(rows, chance, tasks=["addition_1"])["task"]) == {"addition_1"}
    table = analysis.verdicts(rows, chance)
    assert set(zip(table["task"], table["metric"], strict=True)) == {
        (ladder.task, metric) for ladder in ladders for metric in analysis.METRICS
    }


def test_the_smoke_preset_learns_with_width(smoke_run: tuple[results.Run, Path]) -> None:
    curve = analysis.scale_curve(smoke_run[0].rows, "addition_1", "cross_entropy")
    assert curve["value"].iloc[-1] < 0.75 * curve["value"].iloc[0]


GOLDEN = {
    "addition_1": [2.491699, 2.482512, 2.456483, 2.432898, 2.398385],
    "multiplication_mod_11": [2.402077, 2.39996, 2.390874, 2.385246, 2.38088],
}


@pytest.mark.parametrize("task", GOLDEN)
def test_the_first_losses_of_smoke_stay_what_they_are(task: str) -> None:
    ladder = configs.smoke().only(task).ladders[0]
    stack = make_stack(ladder, 8, (0,), [ladder.problems(0)])
    losses = []
    for _ in range(20):
        loss = stack.losses()
        loss.sum().backward()
        stack.update()
        losses.append(loss.item())
    assert losses[::4] == pytest.approx(GOLDEN[task], rel=2e-4)


def plain_scores(network: Transformer, its: data.Problems, numbers: np.ndarray) -> dict[str, float]:
    """One problem and one token at a time."""
    exact, cross_entropy, brier = [], [], []
    for row in torch.from_numpy(its.tokens[numbers]):
        prompt = row[: -its.n_answer].tolist()
        for _ in range(its.n_answer):
            prompt.append(int(network(torch.tensor([prompt]))[0, -1].argmax()))
        exact.append(prompt[-its.n_final :] == row[-its.n_final :].tolist())
        before = prompt[: len(prompt) - its.n_final]
        for token in row[-its.n_final :].tolist():
            p = network(torch.tensor([before]))[0, -1].softmax(-1).double()
            cross_entropy.append(-float(p[token].log()))
            brier.append(float(((p - torch.eye(len(p))[token]) ** 2).sum()))
            before = [*before, token]
    return {
        "exact_match": np.mean(exact),
        "cross_entropy": np.mean(cross_entropy),
        "brier_score": np.mean(brier),
    }


@torch.no_grad()
@pytest.mark.parametrize("task", ["addition_2/scratchpad", "composition_4", "transliteration_3"])
def test_scores_are_those_of_one_token_at_a_time(task: str) -> None:
    its = make_problems(task, 0, n_train=50, n_val=12)
    network = Transformer(network_shape(Ladder(task, (16,), n_steps=1), 16, its))
    network.initialize([0])
    for p in network.parameters():
        p.mul_(8)  # answers that differ from problem to problem
    found = score_network(network, its, its.val)
    expected = plain_scores(network, its, its.val)
    for metric, value in expected.items():
        assert found[metric].mean() == pytest.approx(value, rel=1e-4), metric
    assert (found["exact_match"] == (found["token_accuracy"].mean(1) == 1)).all()
    assert ((found["edit_distance"] == 0) == (found["exact_match"] == 1)).all()
    assert (found["edit_distance"] <= (1 - found["token_accuracy"]).sum(1)).all()


@torch.no_grad()
def test_a_network_that_knows_the_answers_is_right_in_every_way() -> None:
    """The problems themselves as the logits."""
    its = make_problems("addition_2/scratchpad", 0, n_train=50, n_val=12)

    class Oracle(Transformer):
        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            rows = {tuple(row[:6]): row for row in its.tokens.tolist()}
            full = torch.tensor([rows[tuple(row[:6])] for row in tokens.tolist()])
            return 30.0 * torch.nn.functional.one_hot(full[:, 1 : tokens.shape[1] + 1], 12).float()

    shape = network_shape(Ladder("addition_2/scratchpad", (4,), n_steps=1), 4, its)
    found = score_network(Oracle(shape), its, its.val)
    assert {metric: float(values.mean()) for metric, values in found.items()} == pytest.approx(
        {"exact_match": 1, "edit_distance": 0, "token_accuracy": 1, "cross_entropy": 0, "brier_score": 0},
        abs=1e-9,
    )


def test_a_network_is_the_same_in_any_company() -> None:
    alone = quiet(replace(TINY, seeds=(1,)).only("multiplication_mod_11")).rows
    both = quiet(TINY.only("multiplication_mod_11")).rows
    one, other = (
        rows[rows["seed"] == 1].sort_values(["n_params", "flops", "metric"]) for rows in (alone, both)
    )
    np.testing.assert_allclose(one["value"].astype(float), other["value"].astype(float), rtol=1e-4, atol=1e-6)


def test_training_problems_are_scored_from_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of a composition are sorted, the single steps first."""
    ladder = Ladder("composition_6", (4,), n_steps=1, n_val=20, batch_size=16)
    its = ladder.problems(0)
    asked: list[np.ndarray] = []

    def score(network: Transformer, problems: data.Problems, numbers: np.ndarray) -> dict[str, np.ndarray]:
        asked.append(numbers)
        return score_network(network, problems, numbers)

    monkeypatch.setattr(module, "score_network", score)
    module._record(ladder, 4, (0,), [its], make_stack(ladder, 4, (0,), [its]))
    held_out, trained = asked
    assert held_out.tolist() == its.val.tolist()
    assert len(trained) == 20
    assert set(trained) <= set(its.train)
    assert np.ptp(trained) > 0.9 * np.ptp(its.train)


LONG = replace(TINY, ladders=(replace(TINY.ladders[1], widths=(4, 8), n_steps=160),))


def run_to_be_killed(folder: Path) -> None:
    run(LONG, folder=folder, progress=False, n_workers=1, checkpoint_seconds=0.0)


def test_a_killed_run_goes_on_with_the_same_numbers(tmp_path: Path) -> None:
    folder = tmp_path / "killed"
    kill(run_to_be_killed, folder, when=lambda: list(folder.glob("checkpoints/*/step-*.json")))
    assert not results.read_run(folder).header.complete
    resumed = quiet(LONG, folder=folder, resume=True)
    whole = quiet(LONG)
    assert resumed.header.complete
    keys = ["task", "n_params", "flops", "seed", "metric"]
    first, second = (
        made.rows.sort_values(keys)[["value"]].astype(float).to_numpy() for made in (resumed, whole)
    )
    assert np.array_equal(first, second)
    with pytest.raises(ValueError, match="holds a run already"):
        quiet(LONG, folder=folder)


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a folder with a two-layer Llama of random weights and the packaged tokenizer."""
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("tiny") / "model"
    tokenizer = hub.load_tokenizer()
    torch.manual_seed(0)
    shape = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=1024, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    LlamaForCausalLM(shape).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def test_prompting_has_every_row_and_leaves_out_what_is_done(tiny_model: str, tmp_path: Path) -> None:
    config = PromptingConfig(
        models=(tiny_model,), n_items=6, n_shots=2, questions=("addition_1", "word_problem")
    )
    made = run_prompting(config, folder=tmp_path, progress=False)
    rows = made.rows
    assert set(rows["task"]) == {
        f"{kind}/{way}"
        for kind in ("addition_1", "word_problem")
        for way in ("few_shot", "chain_of_thought", "p_true")
    }
    assert made.header.complete
    p_true = rows[rows["task"] == "addition_1/p_true"].set_index("metric")
    assert {"exact_match", "probability_true", "brier_score", "expected_calibration_error"} <= set(
        p_true.index
    )
    bins = p_true[p_true.index.str.startswith("calibration[")]
    assert bins["n"].sum() == 6
    mean = sum(p_true.loc[f"confidence[{b[12:-1]}]", "value"] * n for b, n in bins["n"].items()) / 6
    assert mean == pytest.approx(p_true.loc["probability_true", "value"])
    again = run_prompting(config, folder=tmp_path, resume=True, progress=False)
    assert again.rows["value"].tolist() == pytest.approx(rows["value"].tolist(), nan_ok=True)
    twins = replace(
        config, models=(tiny_model, tiny_model), questions=("addition_1",), strategies=("p_true",)
    )
    with pytest.raises(ValueError, match="two of the models have"):
        run_prompting(twins, progress=False)


def test_answers_of_a_pretrained_model_are_read_as_documented(
    monkeypatch: pytest.MonkeyPatch, tiny_model: str
) -> None:
    """A model that adds one to every second sum, writes the rest of the prompt's pattern, and reasons well."""

    def complete(model: object, tokenizer: object, prompts: list[str], **options: object) -> list[list[str]]:
        replies = []
        for number, asked in enumerate(prompts):
            last = asked.rsplit("Q: ", 1)[1]
            a, b = (int(word.strip("?")) for word in last.split() if word.strip("?").isdigit())
            if "The answer is" in asked:
                replies.append(
                    [
                        f" {a} plus {b} is {a + b}. The answer is {a + b}.\n\nQ: What is 1 plus 1?\nA: The answer is 9."
                    ]
                )
            else:
                replies.append([f" {a + b + number % 2}\n\nQ: What"])
        return replies

    monkeypatch.setattr(module.evaluate, "complete", complete)
    config = PromptingConfig(models=(tiny_model,), n_items=10, n_shots=2, questions=("addition_1",))
    rows = run_prompting(config, progress=False).rows.set_index(["task", "metric"])["value"]
    assert rows["addition_1/few_shot", "exact_match"] == 0.5
    assert rows["addition_1/chain_of_thought", "exact_match"] == 1
    assert rows["addition_1/chain_of_thought", "edit_distance"] == 0
    assert 0.5 <= rows["addition_1/few_shot", "edit_distance"] <= 1
    assert rows["addition_1/p_true", "exact_match"] == 0.5


def test_p_true_is_asked_after_true_and_after_false_as_often(
    monkeypatch: pytest.MonkeyPatch, tiny_model: str
) -> None:
    """A small model repeats the verdict that it read last."""
    asked: list[str] = []

    def p_true(model: object, tokenizer: object, prompts: list[str], **options: object) -> list[float]:
        asked.extend(prompts)
        return [0.5] * len(prompts)

    monkeypatch.setattr(module.evaluate, "p_true", p_true)
    run_prompting(
        PromptingConfig(models=(tiny_model,), n_items=6, questions=("addition_1",), strategies=("p_true",)),
        progress=False,
    )
    last = [prompt.split("\n\n")[-2][-3:] for prompt in asked]
    assert last == ["(B)", "(A)"] * 3
    assert all(prompt.count("is: (A)") == prompt.count("is: (B)") == 2 for prompt in asked)


def test_an_unknown_measured_run_is_refused() -> None:
    with pytest.raises(ValueError, match="name must be one of"):
        configs.measured("ladder_of_giants")
