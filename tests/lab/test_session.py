"""start: the right preset for the right reason, and one clear sentence for a wrong name."""

import sys
from types import SimpleNamespace

import pytest

from coursekit import lab
from coursekit.lab import session as sessions


def fake_torch(gpu: str | None):
    cuda = SimpleNamespace(is_available=lambda: gpu is not None, get_device_name=lambda index: gpu)
    return SimpleNamespace(cuda=cuda)


@pytest.mark.parametrize(("gpu", "preset"), [(None, "laptop"), ("Tesla T4", "colab")])
def test_the_hardware_chooses(monkeypatch, capsys, gpu, preset):
    monkeypatch.setitem(sys.modules, "torch", fake_torch(gpu))
    session = lab.start("grokking")
    assert session.preset == preset
    assert (gpu or "no GPU") in capsys.readouterr().out


def test_without_torch_there_is_no_gpu(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert sessions._gpu() is None


def test_environment_beats_hardware_and_argument_beats_environment(monkeypatch, capsys):
    monkeypatch.setenv("COURSEKIT_PRESET", "smoke")
    assert lab.start("grokking").preset == "smoke"
    assert "COURSEKIT_PRESET" in capsys.readouterr().out
    assert lab.start("grokking", preset="laptop").preset == "laptop"


@pytest.mark.parametrize("preset", sessions.PRESETS)
def test_every_preset_starts_with_its_own_config_and_says_what_it_costs(preset, capsys):
    from coursekit.experiments.grokking import config

    assert lab.start("grokking", preset=preset).config == getattr(config, preset)()
    said = capsys.readouterr().out
    assert f"preset {preset} " in said
    cost = sessions.LABS["grokking"].costs.get(preset)
    parts = (
        [f"{cost.minutes:g} min", f"{cost.memory_gb:g} GB", "downloads"] if cost else ["reproduction card"]
    )
    assert all(part in said for part in parts)
    assert ("It only shows that everything runs" in said) is (preset == "smoke")


def test_unknown_names_get_one_sentence(monkeypatch):
    with pytest.raises(ValueError, match=r"^there is no lab 'groking'; did you mean grokking\?$"):
        lab.start("groking")
    sentence = r"^there is no preset 'labtop' \(asked for by preset=\); did you mean laptop\?$"
    with pytest.raises(ValueError, match=sentence):
        lab.start("grokking", preset="labtop")
    monkeypatch.setenv("COURSEKIT_PRESET", "huge")
    with pytest.raises(
        ValueError, match=r"'huge' \(asked for by COURSEKIT_PRESET\); expected one of: smoke,"
    ):
        lab.start("grokking")
