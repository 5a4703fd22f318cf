"""What the counts and batches ask of a model, and what they report of its times."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from coursekit.experiments.forecasting import speed
from coursekit.generate import Decoded, weight_bytes
from coursekit.hub import byte_tokenizer
from tests.test_evaluate import make

TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


class Clock:
    """Stands for `decode`: notes what was asked, and takes 0.5 s to read and 0.1 s a pass."""

    def __init__(self) -> None:
        self.calls: list[tuple[list[str], int]] = []

    def __call__(self, model: Any, tokenizer: Any, prompts: list[str], n_new: int) -> Decoded:
        self.calls.append((prompts, n_new))
        n_prompt = tuple(len(tokenizer.encode(prompt)) for prompt in prompts)
        return Decoded(
            torch.zeros(len(prompts), n_new, dtype=torch.long), (0.5, *[0.1] * (n_new - 1)), n_prompt
        )


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(speed, "decode", clock)
    return clock


def test_a_chat_model_is_asked_in_its_own_form() -> None:
    tokenizer = byte_tokenizer()
    assert speed.count_prompt(tokenizer, 300) == "Count from 1 to 300: 1, 2, 3,"
    tokenizer.chat_template = TEMPLATE
    assert speed.count_prompt(tokenizer, 300) == "<user>Count from 1 to 300.<assistant>"


def test_every_count_is_cut_at_n_tokens_after_one_that_is_not_timed(clock: Clock) -> None:
    table = speed.time_counts(make("llama"), byte_tokenizer(), (10, 20, 30))
    assert [n for _, n in clock.calls] == [2, 10, 20, 30]
    assert [prompts for prompts, _ in clock.calls[1:]] == [
        [f"Count from 1 to {n}: 1, 2, 3,"] for n in (10, 20, 30)
    ]
    assert table["n"].tolist() == [10, 20, 30]
    assert table["seconds"].tolist() == pytest.approx([1.4, 2.4, 3.4])
    assert table["prefill_seconds"].tolist() == [0.5] * 3


def test_batches_repeat_one_prompt_of_the_length_asked_for(clock: Clock) -> None:
    model = make("llama")
    table = speed.time_batches(
        model, byte_tokenizer(), (1, 4), n_prompt=50, n_new=6, bandwidth=10 * weight_bytes(model)
    )
    assert [(len(prompts), len(set(prompts)), n) for prompts, n in clock.calls] == [
        (1, 1, 2),
        (1, 1, 6),
        (4, 1, 6),
    ]
    assert table["n_prompt"].tolist() == [50, 200]
    assert table["n_decoded"].tolist() == [5, 20]
    assert table["pass_seconds"].tolist() == pytest.approx([0.1, 0.1])
    assert table["tokens_per_second"].tolist() == pytest.approx([10, 40])
    assert table["prefill_tokens_per_second"].tolist() == pytest.approx([100, 400])
    assert table["bandwidth_utilization"].tolist() == pytest.approx([1, 1])


def test_a_real_model_is_timed() -> None:
    model = make("llama", vocab_size=257)
    counts = speed.time_counts(model, byte_tokenizer(), (3, 6))
    assert (counts["seconds"] > counts["prefill_seconds"]).all()
    assert (counts["prefill_seconds"] > 0).all()
    found = speed.time_batches(model, byte_tokenizer(), (1, 3), n_prompt=20, n_new=3, bandwidth=1e9)
    assert (found.drop(columns="batch_size") > 0).all(axis=None)


def test_what_exceeds_the_context_is_refused() -> None:
    with pytest.raises(ValueError, match="the model's context has 192"):
        speed.time_counts(make("llama", vocab_size=257), byte_tokenizer(), (10, 20, 190))
