"""Presets load, and configs that make no sense are refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from coursekit.experiments.reversal_dynamics import config as configs
from coursekit.experiments.reversal_dynamics.run import network_shape
from coursekit.model import TransformerConfig
from coursekit.results import config_hash

PRESETS = {name: getattr(configs, name)() for name in ("smoke", "laptop", "colab", "paper")}


def test_every_preset_has_minutes_and_hardware() -> None:
    assert set(PRESETS) == set(configs.MINUTES) == set(configs.HARDWARE)
    assert len({config_hash(config) for config in PRESETS.values()}) == 4


def test_the_papers_defaults() -> None:
    config = configs.paper()
    shape = network_shape(config)
    assert (shape.n_layers, shape.n_heads, shape.d_model, shape.d_ff, shape.vocab_size) == (
        24,
        12,
        768,
        3072,
        802,
    )
    assert (shape.activation, shape.norm_position, shape.tied, shape.init) == (
        "gelu_tanh",
        "pre",
        False,
        "gpt2",
    )
    assert (config.learning_rate, config.weight_decay, config.dropout) == (0.01, 0.01, 0.1)
    assert (config.batch_size, config.n_epochs, len(config.seeds)) == (64, 3000, 10)


def test_the_papers_network_has_as_many_parameters_as_theirs() -> None:
    """GPT-2 with 1024 positions, of which the sentences use two."""
    theirs = TransformerConfig.gpt2(802, 1024, n_layers=24, d_model=768, n_heads=12, d_ff=3072, tied=False)
    assert theirs.n_params == 172_128_768
    assert network_shape(configs.paper()).n_params == theirs.n_params - 1022 * 768


@pytest.mark.parametrize("name", configs.MEASURED)
def test_every_measured_config_loads(name: str) -> None:
    config = configs.measured(name)
    if config.model != "bilinear":
        network_shape(replace(config, vocab_size=80))


def test_every_sweep_changes_one_thing() -> None:
    base = vars(configs.measured("sweep_base"))
    for name in configs.MEASURED:
        if name.startswith("sweep_") and name != "sweep_base":
            config = vars(configs.measured(name))
            changed = {field for field in base if config[field] != base[field]} - {"n_epochs", "eval_every"}
            assert len(changed) == 1, (name, changed)


def test_a_one_layer_transformer_has_one_block() -> None:
    assert network_shape(replace(configs.laptop(), model="one_layer")).n_layers == 1
    assert network_shape(configs.laptop()).n_layers == 2


def test_the_bilinear_recipe_keeps_seeds_and_vocabulary() -> None:
    config = configs.bilinear(replace(configs.smoke(), task="chain"))
    assert (config.model, config.task, config.seeds, config.vocab_size) == (
        "bilinear",
        "reversal",
        (0, 1),
        80,
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "rnn"}, "model must be one of bilinear"),
        ({"task": "sorting"}, "task must be one of reversal"),
        ({"positions": "absolute"}, "positions must be one of learned"),
        ({"loss_on": "everything"}, "loss_on must be one of last_word"),
        ({"embedding": "random"}, "embedding must be one of one_hot"),
        ({"vocab_size": 10}, "vocab_size must be 40 or more"),
        ({"task": "related", "word_size": 2}, "word_size is for the tasks reversal and chain"),
        ({"n_layers": 0}, "n_layers must be 1 or more"),
        ({"n_epochs": 0}, "n_epochs must be 1 or more"),
        (
            {"d_model": 66},
            "d_model must be a multiple of n_heads, got d_model=66 and n_heads=4; take d_model=68",
        ),
        ({"d_model": 20, "positions": "rotary"}, "rotary positions need an even d_model / n_heads, got 5"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0"),
        ({"weight_decay": -1.0}, "weight_decay must be 0 or more"),
        ({"init_std": -1.0}, "init_std must be 0 or more"),
        ({"dropout": 1.0}, r"dropout must be a chance in \[0, 1\)"),
        ({"overlap": 2.0, "embedding": "roles"}, "overlap must be an inner product from 0 to 1"),
        ({"overlap": 0.5}, "one_hot embeddings have no overlap to set"),
        ({"model": "bilinear", "task": "chain"}, "the bilinear model predicts one entity from one entity"),
        ({"model": "bilinear", "word_size": 2}, "take reversal with word_size 1"),
        ({"seeds": ()}, "seeds must be one or more"),
        ({"seeds": (1, 1)}, "seeds must be one or more and differ"),
        ({"seeds": (-1,)}, "seeds must be whole numbers"),
        ({"seeds": (True,)}, r"seeds must be whole numbers \(int\)"),
    ],
)
def test_nonsense_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(configs.laptop(), **change)  # type: ignore[arg-type]


def test_an_unknown_measured_run_is_refused() -> None:
    with pytest.raises(ValueError, match="name must be one of reversal"):
        configs.measured("sweep")
