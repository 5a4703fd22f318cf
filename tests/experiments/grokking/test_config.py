"""Presets load, and configs that make no sense are refused."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from coursekit.experiments.grokking import config as configs
from coursekit.experiments.grokking.config import FIGURES, VARIANTS, GrokkingConfig, Variant
from coursekit.results import config_hash

PRESETS = {name: getattr(configs, name)() for name in ("smoke", "laptop", "colab", "paper")}


def test_every_preset_has_minutes_and_hardware() -> None:
    assert set(PRESETS) == set(configs.MINUTES) == set(configs.HARDWARE)


@pytest.mark.parametrize("figure", FIGURES)
def test_the_papers_grids_use_its_network_and_its_split(figure: str) -> None:
    config = configs.paper(figure)
    assert (config.n_layers, config.d_model, config.n_heads, config.d_ff) == (2, 128, 4, 512)
    assert config.split_seed == 0
    assert config.vocabulary == "openai"


def test_figure_1_left_has_no_weight_decay_and_the_others_one() -> None:
    decays = {
        figure: {variant.weight_decay for variant in configs.paper(figure).variants} for figure in FIGURES
    }
    assert decays == {"1_left": {0.0}, "1_center": {1.0}, "2_left": {0.0, 1.0}, "2_right": {1.0}, "6": {1.0}}
    assert len(configs.paper("2_left").variants) == 9
    assert len(configs.paper("1_center").seeds) == 7


def test_the_papers_budgets_and_fractions() -> None:
    grids = {figure: configs.paper(figure) for figure in FIGURES}
    steps = {"1_left": 1_000_000, "1_center": 500_000, "2_left": 100_000, "2_right": 100_000, "6": 100_000}
    assert {figure: config.max_steps for figure, config in grids.items()} == steps
    spans = {
        f: (c.train_fractions[0], c.train_fractions[-1], len(c.train_fractions)) for f, c in grids.items()
    }
    tenths = (0.05, 0.95, 19)
    assert spans == {
        "1_left": (0.5, 0.5, 1), "1_center": (0.25, 0.5, 26), "2_left": tenths, "2_right": tenths,
        "6": (0.15, 0.95, 17),
    }  # fmt: skip
    assert {figure: config.n_outliers for figure, config in grids.items() if config.n_outliers} == {"6": 1000}


def test_the_nine_variants_differ_in_what_the_paper_names() -> None:
    recipes = [replace(variant, name="") for variant in VARIANTS.values()]
    assert all(one != other for one, other in itertools.combinations(recipes, 2))
    default = Variant("")
    changes = [{k: v for k, v in vars(recipe).items() if v != getattr(default, k)} for recipe in recipes]
    assert changes == [  # section 3.3 and A.1.2
        {"full_batch": True}, {}, {"full_batch": True, "gradient_noise": 1.0}, {"dropout": 0.1},
        {"weight_decay": 1.0}, {"weight_decay": 1.0, "decay_towards": "init"},
        {"learning_rate": 3e-4}, {"learning_rate": 3e-3}, {"weight_noise": 0.01},
    ]  # fmt: skip


def test_settings_are_the_whole_grid() -> None:
    config = replace(configs.smoke(), operations=("add", "sub"), train_fractions=(0.3, 0.5), seeds=(4, 5, 6))
    assert len({(s.operation, s.train_fraction, s.variant.name, s.seed) for s in config.settings}) == 12


def test_the_hash_tells_configs_apart() -> None:
    hashes = {config_hash(config) for config in PRESETS.values()}
    assert len(hashes) == 4
    assert config_hash(configs.laptop()) == config_hash(configs.laptop())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"operations": ("plus",)}, "operation must be one of add"),
        ({"operations": ()}, "operations must hold at least one"),
        ({"modulus": 48}, "modulus must be prime, got 48; take 53"),
        (
            {"train_fractions": (0.5, 0.0)},
            r"train_fraction must lie between 0 and 1, both left out, got 0\.0",
        ),
        ({"train_fractions": (1.2,)}, r"got 1\.2"),
        ({"max_steps": 0}, "max_steps must be 1 or more, got 0"),
        ({"seeds": (-1,)}, "seeds must be whole numbers"),
        ({"seeds": (0, True)}, r"seeds must be whole numbers \(int\) from 0 to 2³² − 1, got True"),
        ({"seeds": (0, 1, 0)}, r"seeds must differ, .*, got \(0, 1, 0\); leave repeats out"),
        ({"operations": ("add", "add")}, "operations must differ"),
        ({"train_fractions": (0.5, 0.5)}, "train_fractions must differ"),
        ({"stop_at_val_accuracy": 0.0}, "stop_at_val_accuracy must be a share above 0 and at most 1"),
        ({"stop_at_val_accuracy": 99}, "at most 1, or None, got 99; None never stops early"),
        (
            {"d_model": 66},
            "d_model must be a multiple of n_heads, got d_model=66 and n_heads=4; take d_model=68",
        ),
        ({"n_layers": 0}, "n_layers must be 1 or more, got 0"),
        ({"n_heads": 0}, "n_heads must be 1 or more, got 0"),
        ({"d_model": 0}, "d_model must be 1 or more, got 0"),
        ({"d_ff": -1}, "d_ff must be 1 or more, got -1"),
        ({"variants": (VARIANTS["adam"], VARIANTS["adam"])}, "variants must differ in name"),
        ({"vocabulary": "bytes"}, "vocabulary must be compact or openai, got 'bytes'"),
        ({"vocabulary": "openai"}, "openai vocabulary has the numbers 0 to 96, got modulus 47"),
        ({"norm": "batch"}, "norm must be layer_norm or none"),
        ({"n_outliers": 10_000}, "n_outliers must be between 0 and half"),
        ({"eval_growth": 0.5}, "eval_growth must be 1 or more"),
    ],
)
def test_nonsense_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(configs.laptop(), **change)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ({"learning_rate": 0.0}, "learning_rate must be above 0"),
        ({"weight_decay": -1.0}, "weight_decay must be 0 or more"),
        ({"decay_towards": "mean"}, "decay_towards must be origin or init"),
        ({"dropout": 1.0}, r"dropout must be a chance in \[0, 1\), got 1\.0"),
        ({"dropout": -0.1}, "dropout must be a chance"),
    ],
)
def test_bad_variants_are_refused(recipe: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Variant("mine", **recipe)  # type: ignore[arg-type]


def test_an_unknown_figure_is_refused() -> None:
    with pytest.raises(ValueError, match="figure must be one of 1_left"):
        configs.paper("9")


def test_the_default_is_the_papers_setting() -> None:
    config = GrokkingConfig()
    assert (config.modulus, config.batch_size, config.max_steps) == (97, 512, 100_000)
