"""Decoding equals plain generation, with the cache and without, and its times are those of its passes."""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from coursekit import generate
from coursekit.evaluate import complete
from coursekit.generate import Decoded, bandwidth_utilization, decode, memory_bandwidth, weight_bytes
from tests.test_evaluate import KINDS, make, tokenizer  # noqa: F401

PROMPTS = ["The keeper of the lighthouse at Vell is", "Zoë said", "Question: What is 12 plus 7? Answer:"]


@pytest.fixture(scope="module", params=KINDS)
def model(request: pytest.FixtureRequest) -> Any:
    """One of each architecture."""
    return make(request.param)


def test_tokens_are_those_of_transformers(model: Any, tokenizer: Any) -> None:  # noqa: F811
    got = decode(model, tokenizer, PROMPTS, 12)
    assert got.tokens.shape == (3, 12)
    for prompt, row, n in zip(PROMPTS, got.tokens, got.n_prompt, strict=True):
        ids = torch.tensor([tokenizer.encode(prompt)])
        expected = model.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, min_new_tokens=12, max_new_tokens=12
        )
        assert n == ids.shape[1]
        assert row.tolist() == expected[0, n:].tolist()


def test_without_a_cache_the_tokens_are_the_same(model: Any, tokenizer: Any) -> None:  # noqa: F811
    with_cache = decode(model, tokenizer, PROMPTS, 10)
    without = decode(model, tokenizer, PROMPTS, 10, use_cache=False)
    assert torch.equal(with_cache.tokens, without.tokens)


def test_texts_are_those_of_complete_where_no_end_comes(tokenizer: Any) -> None:  # noqa: F811
    model = make("llama")
    got = decode(model, tokenizer, PROMPTS, 12)
    completions = complete(model, tokenizer, PROMPTS, max_new_tokens=12)
    for row, [text] in zip(got.tokens, completions, strict=True):
        assert 0 not in row.tolist()
        assert tokenizer.decode(row).startswith(text)
        assert text


def test_the_end_of_the_text_is_never_taken(tokenizer: Any) -> None:  # noqa: F811
    model = make("gpt_neox")
    with torch.no_grad():
        model.get_output_embeddings().weight[7] *= 1000  # one of the two is nearly always the most probable
        model.get_output_embeddings().weight[9] = -model.get_output_embeddings().weight[7]
    model.generation_config.eos_token_id = [7, 9]
    got = decode(model, tokenizer, PROMPTS, 20)
    assert got.tokens.shape == (3, 20)
    assert not torch.isin(got.tokens, torch.tensor([7, 9])).any()


def test_a_pass_with_the_cache_sees_one_token_and_without_all(tokenizer: Any) -> None:  # noqa: F811
    model, widths = make("llama"), []
    hook = model.register_forward_pre_hook(
        lambda module, args, kwargs: widths.append(kwargs["input_ids"].shape[1]), with_kwargs=True
    )
    n = max(decode(model, tokenizer, PROMPTS, 4).n_prompt)
    decode(model, tokenizer, PROMPTS, 4, use_cache=False)
    hook.remove()
    assert widths == [n, 1, 1, 1, n, n + 1, n + 2, n + 3]


def test_the_first_time_is_the_prefill(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    ticks = itertools.chain.from_iterable((10 * i, 10 * i + s) for i, s in enumerate([2.0, 0.5, 0.25, 0.25]))
    monkeypatch.setattr(generate, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    got = decode(make("llama"), tokenizer, PROMPTS, 4)
    assert got.seconds == (2.0, 0.5, 0.25, 0.25)
    assert (got.prefill_seconds, got.decode_seconds) == (2.0, 1.0)
    assert got.tokens_per_second == 9  # three sequences, three tokens after the first
    assert got.prefill_tokens_per_second == sum(got.n_prompt) / 2


def test_one_token_has_no_decode_speed(tokenizer: Any) -> None:  # noqa: F811
    got = decode(make("llama"), tokenizer, PROMPTS[:1], 1)
    assert math.isnan(got.tokens_per_second)
    with pytest.raises(ValueError, match="expected two new tokens or more"):
        bandwidth_utilization(got, 10, 1e9)


def test_weights_that_are_looked_up_are_not_counted() -> None:
    whole = {p.data_ptr(): p.numel() * 4 for p in make("llama").parameters()}
    untied, tied = make("llama"), make("llama", tie_word_embeddings=True)
    assert weight_bytes(untied) == sum(whole.values()) - 330 * 32 * 4
    assert weight_bytes(tied) == weight_bytes(untied)
    assert weight_bytes(untied.half()) * 2 == weight_bytes(tied)


def test_utilization_does_not_depend_on_the_batch_but_on_the_passes() -> None:
    for batch in (1, 8):
        tokens = torch.zeros(batch, 5, dtype=torch.long)
        got = Decoded(tokens, (9.0, 0.1, 0.1, 0.1, 0.1), (3,) * batch)
        assert bandwidth_utilization(got, 2_000_000, 1e8) == pytest.approx(0.2)
        assert got.tokens_per_second == pytest.approx(10 * batch)


def test_bandwidth_counts_what_is_read_and_written(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = iter([0, 10.0, 10.5, 20.0, 20.25])
    monkeypatch.setattr(generate, "time", SimpleNamespace(perf_counter=lambda: next(calls)))
    assert memory_bandwidth(n_bytes=1000, repeats=2) == 2 * 1000 / 0.25


def test_the_models_mode_is_left_as_it_was(tokenizer: Any) -> None:  # noqa: F811
    model = make("gpt2").train()
    decode(model, tokenizer, PROMPTS[:1], 2)
    assert model.training


@pytest.mark.parametrize(
    ("prompts", "n_new", "message"),
    [
        ([], 3, "at least one prompt and n_new >= 1"),
        (PROMPTS, 0, "at least one prompt and n_new >= 1"),
        (PROMPTS, 190, "the model's context has 192"),
    ],
)
def test_nonsense_is_refused(tokenizer: Any, prompts: list[str], n_new: int, message: str) -> None:  # noqa: F811
    with pytest.raises(ValueError, match=message):
        decode(make("llama"), tokenizer, prompts, n_new)
