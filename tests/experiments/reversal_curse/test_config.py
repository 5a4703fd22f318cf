"""Presets load, and configs that make no sense are refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from coursekit import hub, results
from coursekit.experiments.reversal_curse import config as configs
from coursekit.experiments.reversal_curse import data, run
from coursekit.experiments.reversal_curse.config import ReversalCurseConfig
from coursekit.results import config_hash

PRESETS = {name: getattr(configs, name)() for name in ("smoke", "laptop", "colab", "paper")}


def test_every_preset_has_minutes_and_hardware() -> None:
    assert set(PRESETS) == set(configs.MINUTES) == set(configs.HARDWARE)
    assert len({config_hash(config) for config in PRESETS.values()}) == 4


def test_the_models_are_those_of_the_hub() -> None:
    assert (configs.PACKAGED, configs.COLAB_DEFAULT) == (hub.PACKAGED, hub.COLAB_DEFAULT)
    assert PRESETS["smoke"].model == PRESETS["laptop"].model == hub.PACKAGED
    assert PRESETS["colab"].model == hub.COLAB_DEFAULT


@pytest.mark.parametrize("name", ["colab", "paper"])
def test_the_papers_data_size(name: str) -> None:
    material = run.material(PRESETS[name], 0)
    assert sum(len(told) for told in material.training.values()) == 3600
    assert {len(asked) for asked in material.held_out.values()} == {300}


def test_the_papers_recipe() -> None:
    paper = PRESETS["paper"]
    assert (paper.method, paper.learning_rate, paper.batch_size, paper.n_epochs) == ("full", 2e-5, 16, 10)
    assert "llama-7b" in paper.model
    assert len(paper.seeds) == 3
    assert paper.loss_on == "document"


@pytest.mark.parametrize("preset", [configs.smoke, configs.laptop])
@pytest.mark.parametrize("study", [1, 2, 3])
def test_every_experiment_has_small_presets(preset: object, study: int) -> None:
    config = preset(study)  # type: ignore[operator]
    assert config.study == study
    assert config.model == hub.PACKAGED


def test_the_recipe_reaches_the_finetuning() -> None:
    config = replace(
        configs.laptop(), method="full", learning_rate=3e-5, batch_size=5, n_epochs=None, n_steps=7, lora_rank=4,
        loss_on="completion", schedule="cosine", warmup_steps=2, weight_decay=0.1, micro_batch_tokens=99,
        gradient_checkpointing=True, precision="float32",
    )  # fmt: skip
    made = run.recipe(config, 11)
    assert made.seed == 11
    assert made.lora_alpha == 8
    same = (
        "method learning_rate batch_size n_steps n_epochs lora_rank loss_on schedule warmup_steps weight_decay "
        "micro_batch_tokens gradient_checkpointing precision"
    )
    for name in same.split():
        assert getattr(made, name) == getattr(config, name)


@pytest.mark.parametrize("name", sorted(configs.MEASURED_MINUTES))
def test_every_measured_run_has_a_config(name: str) -> None:
    assert configs.measured(name).model == hub.PACKAGED
    assert configs.MEASURED_MINUTES[name] > 0


def test_what_is_kept_was_made_by_its_config() -> None:
    for name in results.list_measured("reversal_curse"):
        kept = results.read_measured("reversal_curse", name)
        assert kept.header.config_hash == config_hash(configs.measured(name))
        assert kept.header.complete


def test_an_unknown_measured_run_is_refused() -> None:
    with pytest.raises(ValueError, match="name must be one of experiment_1"):
        configs.measured("experiment_9")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"study": 4}, "study must be one of 1, 2, 3, got 4"),
        ({"source": "mine"}, "source must be one of own, published"),
        ({"remedy": "hope"}, "remedy must be one of none, both_orders"),
        ({"method": "qlora"}, "method must be one of lora, full"),
        ({"loss_on": "prompt"}, "loss_on must be one of document, completion"),
        ({"schedule": "steps"}, "schedule must be one of constant"),
        ({"precision": "int8"}, "precision must be one of auto"),
        ({"seeds": ()}, "seeds must hold at least one entry and no repeats"),
        ({"seeds": (1, 1)}, "no repeats"),
        ({"seeds": (True,)}, r"seeds must be whole numbers \(int\)"),
        ({"batch_size": 0}, "batch_size must be 1 or more, got 0"),
        ({"n_samples": -1}, "n_samples must be 0 or more"),
        ({"eval_every": 0}, "eval_every must be 1 or more"),
        ({"n_steps": 5}, "give n_steps or n_epochs"),
        ({"n_epochs": None}, "give n_steps or n_epochs"),
        ({"n_epochs": 0}, "n_epochs must be 1 or more"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0"),
        ({"weight_decay": -1.0}, "weight_decay must be 0 or more"),
        ({"n_facts": 1}, "n_facts and n_both must be 2 or more"),
        ({"n_both": 1}, "n_facts and n_both must be 2 or more"),
        ({"n_facts": 50}, "at most 100 in all"),
        ({"n_paraphrases": 31}, "n_paraphrases must be 1 to 30"),
        ({"n_held_out": 0}, "n_held_out must be 1 to 10"),
        ({"study": 3, "n_held_out": 0}, "n_facts \\+ n_held_out must be at most"),
        ({"study": 2, "n_facts": 0}, "n_facts must be 1 or more, got 0"),
        ({"study": 2, "remedy": "both_orders"}, "remedy and source belong to experiment 1"),
        ({"source": "published"}, "leave out remedy and n_both"),
    ],
)
def test_nonsense_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(configs.laptop(), **change)  # type: ignore[arg-type]


def test_every_remedy_makes_a_config() -> None:
    for remedy in data.REMEDIES:
        assert replace(configs.laptop(), remedy=remedy).remedy == remedy
    assert ReversalCurseConfig().n_facts == 30
