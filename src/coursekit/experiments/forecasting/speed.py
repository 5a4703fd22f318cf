"""The post's measurement of inference speed, and what batches and precisions change: times in, tables out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
from torch import nn
from tqdm import tqdm

from coursekit.experiments.forecasting.config import POST_LENGTHS
from coursekit.generate import bandwidth_utilization, decode, memory_bandwidth, weight_bytes


def count_prompt(tokenizer: Any, n: int) -> str:
    """Ask for a count from 1 to n: as a chat where the tokenizer has a template for it, else by its beginning.

    Parameters
    ----------
    tokenizer
        From `coursekit.hub.load_tokenizer`.
    n : int

    Examples
    --------
    >>> from coursekit.hub import byte_tokenizer
    >>> count_prompt(byte_tokenizer(), 100)
    'Count from 1 to 100: 1, 2, 3,'
    """
    if getattr(tokenizer, "chat_template", None):
        request = [{"role": "user", "content": f"Count from 1 to {n}."}]
        return tokenizer.apply_chat_template(request, tokenize=False, add_generation_prompt=True)
    return f"Count from 1 to {n}: 1, 2, 3,"


def time_counts(
    model: nn.Module, tokenizer: Any, lengths: Sequence[int] = POST_LENGTHS, *, progress: bool = False
) -> pd.DataFrame:
    """Let a model count from 1 to n and cut it off at n tokens, once for each n.

    Parameters
    ----------
    model, tokenizer
        As for `coursekit.generate.decode`.
    lengths : sequence of int
        The post's are 100, 200, …, 1900.
    progress : bool

    Returns
    -------
    DataFrame
        A row a count: `n` (tokens written), `seconds` until the last of them, and of these `prefill_seconds` until the
        first.

    Raises
    ------
    ValueError
        If a prompt and its n tokens exceed the model's context.

    Notes
    -----
    The post timed OpenAI's API and Pythia models. A first, short decoding is not timed: it loads code and memory. Every
    count gets exactly n tokens, whatever the model says; nothing here checks that it counts right.

    References
    ----------
    Steinhardt 2023, appendix A.
    """
    decode(model, tokenizer, [count_prompt(tokenizer, max(lengths))], 2)
    rows = []
    for n in tqdm(lengths, disable=not progress, unit="count"):
        made = decode(model, tokenizer, [count_prompt(tokenizer, n)], n)
        rows.append({"n": n, "seconds": sum(made.seconds), "prefill_seconds": made.prefill_seconds})
    return pd.DataFrame(rows)


def time_batches(
    model: nn.Module,
    tokenizer: Any,
    batch_sizes: Sequence[int] = (1, 2, 4, 8),
    *,
    n_prompt: int = 128,
    n_new: int = 16,
    bandwidth: float | None = None,
    progress: bool = False,
) -> pd.DataFrame:
    """Time prefill and decode of several sequences side by side.

    Parameters
    ----------
    model, tokenizer
        As for `coursekit.generate.decode`.
    batch_sizes : sequence of int
    n_prompt : int
        Tokens of the prompt, about: a list of numbers, the same for every sequence.
    n_new : int
        Tokens written by each sequence, two or more.
    bandwidth : float, optional
        Bytes per second of the memory. Default: measured, see `coursekit.generate.memory_bandwidth`.
    progress : bool

    Returns
    -------
    DataFrame
        A row a batch size: `batch_size`; `n_prompt` and `n_decoded` (tokens of all sequences, of the prompts and
        written after the first); `prefill_seconds`, `prefill_tokens_per_second`; `pass_seconds` of one decode pass,
        `tokens_per_second` of all sequences together; `bandwidth_utilization`.

    Raises
    ------
    ValueError
        If n_new is below 2, or prompt and new tokens exceed the context.
    """
    causal: Any = model
    rate = memory_bandwidth(causal.device) if bandwidth is None else bandwidth
    n_bytes = weight_bytes(model)
    words = [str(number) for number in range(1, n_prompt + 1)]
    ids = tokenizer.encode(", ".join(words), add_special_tokens=False)[:n_prompt]
    prompt = tokenizer.decode(ids)
    decode(model, tokenizer, [prompt], 2)
    rows = []
    for size in tqdm(batch_sizes, disable=not progress, unit="batch"):
        made = decode(model, tokenizer, [prompt] * size, n_new)
        rows.append(
            {
                "batch_size": size, "n_prompt": sum(made.n_prompt), "n_decoded": size * (n_new - 1),
                "prefill_seconds": made.prefill_seconds,
                "prefill_tokens_per_second": made.prefill_tokens_per_second,
                "pass_seconds": made.decode_seconds / (n_new - 1), "tokens_per_second": made.tokens_per_second,
                "bandwidth_utilization": bandwidth_utilization(made, n_bytes, rate),
            }
        )  # fmt: skip
    return pd.DataFrame(rows)
