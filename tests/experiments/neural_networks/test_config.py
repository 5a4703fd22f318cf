"""Presets load, and configs that make no sense are refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from coursekit.experiments.neural_networks import config as configs
from coursekit.results import config_hash, list_measured, read_measured

PRESETS = {name: getattr(configs, name)() for name in ("smoke", "laptop", "colab", "paper")}


def test_every_preset_has_minutes_and_hardware() -> None:
    assert set(PRESETS) == set(configs.MINUTES) == set(configs.HARDWARE)
    assert len({config_hash(config) for config in PRESETS.values()}) == 4


def test_the_networks_of_the_videos() -> None:
    assert PRESETS["laptop"].sizes == PRESETS["smoke"].sizes == (64, 16, 16, 10)
    for name in ("colab", "paper"):
        assert PRESETS[name].sizes == (784, 16, 16, 10)
    for config in PRESETS.values():
        assert (config.activation, config.cost) == ("sigmoid", "quadratic")
    paper = PRESETS["paper"]
    assert (paper.batch_size, paper.n_epochs, paper.learning_rate) == (10, 30, 3.0 / 2)


@pytest.mark.parametrize("name", configs.MEASURED)
def test_every_measured_run_is_of_its_config_and_starts_from_packaged_digits(name: str) -> None:
    config, header = configs.measured(name), read_measured("neural_networks", name).header
    assert config.dataset == "digits"
    assert header.config_hash == config_hash(config)
    assert header.complete


def test_the_measured_files_are_those_of_the_configs() -> None:
    assert sorted(list_measured("neural_networks")) == sorted(configs.MEASURED)


def test_every_sweep_changes_one_thing() -> None:
    base = vars(replace(configs.laptop(), seeds=(0, 1, 2), eval_every=8))
    for name in configs.MEASURED:
        if name.startswith("sweep_"):
            config = vars(configs.measured(name))
            changed = {field for field in base if config[field] != base[field]}
            assert changed <= {"learning_rate" if "learning_rate" in name else "batch_size"}


def test_real_and_random_labels_differ_in_nothing_else() -> None:
    real, random = configs.memorizing(0.0), configs.memorizing()
    assert replace(real, random_labels=1.0) == random
    assert configs.measured("random_labels_100") == random
    assert configs.measured("random_labels_0") == real


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dataset": "cifar"}, "dataset must be one of digits, mnist"),
        ({"activation": "tanh"}, "activation must be one of sigmoid, relu"),
        ({"cost": "absolute"}, "cost must be one of quadratic, cross_entropy"),
        ({"hidden": (16, 0)}, "hidden must be numbers of units of 1 or more"),
        ({"batch_size": 0}, "batch_size must be 1 or more"),
        ({"n_epochs": 0}, "n_epochs must be 1 or more"),
        ({"eval_every": 0}, "eval_every must be 1 or more"),
        ({"n_train": 0}, "n_train must be 1 or more"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0"),
        ({"learning_rate": float("nan")}, "learning_rate must be above 0, got nan"),
        ({"random_labels": 1.5}, "random_labels must be a chance from 0 to 1"),
        ({"seeds": ()}, "seeds must be one or more"),
        ({"seeds": (1, 1)}, "seeds must be one or more and differ"),
        ({"seeds": (-1,)}, "seeds must be whole numbers"),
    ],
)
def test_nonsense_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(configs.laptop(), **change)  # type: ignore[arg-type]


def test_an_unknown_measured_run_is_refused() -> None:
    with pytest.raises(ValueError, match="name must be one of digits"):
        configs.measured("letters")
