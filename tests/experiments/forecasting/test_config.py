"""Presets load, and configs that make no sense are refused."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

from coursekit.experiments.forecasting import config as configs
from coursekit.hub import PACKAGED
from coursekit.results import config_hash

PRESETS = {name: getattr(configs, name)() for name in ("smoke", "laptop", "colab", "paper")}


def test_every_preset_has_minutes_and_hardware() -> None:
    assert set(PRESETS) == set(configs.MINUTES) == set(configs.HARDWARE)
    assert len({config_hash(config) for config in PRESETS.values()}) == 4


def test_the_posts_measurement() -> None:
    config = configs.paper()
    assert len(config.lengths) == 19
    assert (config.lengths[0], config.lengths[-1]) == (100, 1900)
    assert len(config.models) == 7
    assert config.precisions == ("float16",)
    assert configs.colab().lengths == config.lengths


def test_measured_runs_are_the_presets_with_more_counts() -> None:
    assert configs.measured("laptop") == configs.laptop()
    assert configs.measured("counts").lengths == configs.POST_LENGTHS
    assert configs.MEASURED == ("laptop", "counts")
    with pytest.raises(ValueError, match="name must be one of laptop, counts, got 'count'"):
        configs.measured("count")


def test_without_a_network_the_packaged_model_is_timed() -> None:
    assert configs.smoke().models == configs.laptop().models == (PACKAGED,)


def test_presets_are_listed_without_loading_torch() -> None:
    code = (
        "import sys, coursekit.experiments.forecasting.config, coursekit.experiments.forecasting.figures; "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"models": ("m", "m")}, "models must differ"),
        ({"lengths": (10, 20)}, "lengths must be three or more of at least 2 tokens"),
        ({"lengths": (1, 10, 20)}, "lengths must be three or more of at least 2 tokens"),
        ({"batch_sizes": ()}, "batch_sizes must be 1 or more"),
        ({"batch_sizes": (0,)}, "batch_sizes must be 1 or more"),
        ({"precisions": ("int8",)}, "precisions must be among float32"),
        ({"precisions": ()}, "precisions must be among float32"),
        ({"n_new": 1}, "n_new must be 2 or more"),
        ({"n_prompt": 0}, "n_prompt must be 1 or more"),
        ({"n_samples": 99}, "n_samples must be 100 or more"),
        ({"seeds": (0, 1)}, "seeds must be one whole number"),
        ({"seeds": (True,)}, "seeds must be one whole number"),
    ],
)
def test_nonsense_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(configs.laptop(), **change)  # type: ignore[arg-type]
