r"""Decoding with a cache of keys and values, and how fast it is: prefill and decode apart, bytes moved a second.

A language model reads its prompt in one pass (*prefill*: all positions at once, limited by arithmetic) and then writes
one token a pass (*decode*). With a cache a decode pass computes one position only, but it still reads every weight:
the bytes of the weights divided by the memory's bandwidth are the least time that a pass can take, so that

.. math:: \text{tokens per second} \le \text{batch size} \cdot \frac{\text{bandwidth}}{\text{bytes of the weights}} .

The texts are those of `coursekit.evaluate.complete`, greedy; here every sequence gets exactly the tokens asked for.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Integer
from torch import Tensor, nn

from coursekit.evaluate import encode_prompt, end_tokens
from coursekit.reading import causal_model, check_lengths, evaluating


@dataclass(frozen=True, eq=False)
class Decoded:
    """Tokens that a model wrote, and the time of every pass.

    Attributes
    ----------
    tokens : Tensor [batch, n_new]
    seconds : tuple of float [n_new]
        Of each pass, which writes one token for every sequence; the first is the prefill.
    n_prompt : tuple of int [batch]
        Tokens of each prompt.
    """

    tokens: Integer[Tensor, "batch n_new"]
    seconds: tuple[float, ...]
    n_prompt: tuple[int, ...]

    @property
    def prefill_seconds(self) -> float:
        """Seconds until the first token of every sequence."""
        return self.seconds[0]

    @property
    def decode_seconds(self) -> float:
        """Seconds of all passes after the first."""
        return sum(self.seconds[1:])

    @property
    def prefill_tokens_per_second(self) -> float:
        """Tokens of the prompts read in a second."""
        return sum(self.n_prompt) / self.prefill_seconds

    @property
    def tokens_per_second(self) -> float:
        """Tokens written in a second by all sequences together, after the first of each; NaN if there is no other."""
        batch, n_new = self.tokens.shape
        return batch * (n_new - 1) / self.decode_seconds if n_new > 1 else float("nan")


def decode(
    model: nn.Module, tokenizer: Any, prompts: Sequence[str], n_new: int, *, use_cache: bool = True
) -> Decoded:
    r"""Continue prompts side by side, greedily, by exactly n_new tokens, and time every pass.

    Parameters
    ----------
    model, tokenizer
        As for `coursekit.evaluate.score_continuations`.
    prompts : sequence of str [batch]
        Shorter ones are padded on the left.
    n_new : int
        Tokens to write for each. The model's end-of-text token is never taken, as with transformers'
        ``min_new_tokens = max_new_tokens``: a measurement needs a known number of tokens.
    use_cache : bool
        Keep keys and values. Without, every pass computes all positions again, which gives the same tokens.

    Returns
    -------
    Decoded

    Raises
    ------
    ValueError
        If there are no prompts, n_new is not positive, or prompt and tokens exceed the context.

    Notes
    -----
    On a GPU every pass is waited for, which costs some microseconds each.

    Examples
    --------
    >>> decode(model, tokenizer, ["Count from 1 to 10: 1, 2,"], 8).tokens_per_second  # doctest: +SKIP
    23.4
    """
    from transformers import DynamicCache

    if not prompts or n_new < 1:
        raise ValueError(
            f"expected at least one prompt and n_new >= 1; got {len(prompts)} prompts and n_new={n_new}"
        )
    rows = [encode_prompt(tokenizer, prompt) for prompt in prompts]
    n_prompt = tuple(map(len, rows))
    causal = causal_model(model)
    device, width = causal.device, max(n_prompt)
    check_lengths(model, [width + n_new])
    ends = sorted(end_tokens(model, tokenizer))
    ids = torch.tensor([[0] * (width - len(row)) + row for row in rows], device=device)
    mask = (torch.arange(width) >= width - torch.tensor(n_prompt)[:, None]).long().to(device)
    cache = DynamicCache(config=causal.config) if use_cache else None
    seconds = []
    with evaluating(model):
        for step in range(n_new):
            _wait(device)
            start = time.perf_counter()
            fed = ids[:, -1:] if use_cache and step else ids
            logits = causal(
                input_ids=fed, attention_mask=mask, past_key_values=cache, use_cache=use_cache, logits_to_keep=1,
                position_ids=(mask.cumsum(-1) - 1).clamp(min=0)[:, -fed.shape[1] :],
            ).logits[:, -1]  # fmt: skip
            logits[:, ends] = -torch.inf
            ids = torch.cat([ids, logits.argmax(-1, keepdim=True)], dim=1)
            mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
            _wait(device)
            seconds.append(time.perf_counter() - start)
    return Decoded(ids[:, width:].cpu(), tuple(seconds), n_prompt)


def weight_bytes(model: nn.Module) -> int:
    """Count the bytes of weights that a decode pass reads: all but an embedding table of its own.

    Of the embeddings a pass reads one row a sequence, unless the same matrix is the output's as well.

    Parameters
    ----------
    model
        A causal language model of transformers.

    Returns
    -------
    int

    Examples
    --------
    >>> from coursekit.model import Transformer, TransformerConfig, to_transformers
    >>> shape = dict(vocab_size=256, context_length=64, n_layers=1, d_model=16, n_heads=2, d_ff=32)
    >>> tied, untied = (to_transformers(Transformer(TransformerConfig.llama(**shape, tied=t))) for t in (True, False))
    >>> weight_bytes(tied), weight_bytes(untied)
    (26816, 26816)
    """
    causal = causal_model(model)
    table = causal.get_input_embeddings().weight
    looked_up = table is not causal.get_output_embeddings().weight
    return sum(p.numel() * p.element_size() for p in model.parameters() if not (looked_up and p is table))


def bandwidth_utilization(decoded: Decoded, n_bytes: int, bytes_per_second: float) -> float:
    r"""Share of the memory's bandwidth that decoding used, :math:`\frac{\text{bytes of weights}}{t \cdot b}`.

    Parameters
    ----------
    decoded : Decoded
        Of two tokens or more; t is the mean time of its decode passes in seconds.
    n_bytes : int
        Of the weights, from `weight_bytes`; a pass reads them once, whatever the batch size.
    bytes_per_second : float
        Bandwidth b of the memory: from the maker's data sheet, or from `memory_bandwidth`.

    Returns
    -------
    float
        Near 1, decoding is as fast as the memory allows. Above 1, the weights fit into the processor's own cache, or b
        was measured while the memory was busy.

    Raises
    ------
    ValueError
        If there was no decode pass, or a number is not positive.

    Notes
    -----
    Keys, values and activations are moved too; for a small batch and a short text they are few.

    Examples
    --------
    A pass of 50 ms reads 500 MB: 10 of 40 GB/s.

    >>> bandwidth_utilization(Decoded(torch.zeros(1, 2, dtype=torch.long), (0.3, 0.05), (7,)), 500_000_000, 4e10)
    0.25
    """
    passes = len(decoded.seconds) - 1
    if passes < 1 or n_bytes <= 0 or bytes_per_second <= 0:
        raise ValueError(
            "expected two new tokens or more, and bytes and bandwidth above 0; "
            f"got {passes + 1} tokens, {n_bytes} and {bytes_per_second}: decode more tokens, or mend the numbers"
        )
    return n_bytes * passes / decoded.decode_seconds / bytes_per_second


def memory_bandwidth(device: torch.device | str = "cpu", *, n_bytes: int = 2**28, repeats: int = 5) -> float:
    """Measure bytes that a device moves a second: the fastest of several copies, which read and write every byte.

    Parameters
    ----------
    device : torch.device or str
    n_bytes : int
        Of the tensor that is copied; larger than the processor's caches, or those are measured.
    repeats : int
        Copies; before them is one that is not timed.

    Returns
    -------
    float

    Examples
    --------
    >>> memory_bandwidth(n_bytes=2**20, repeats=2) > 0
    True
    """
    source = torch.ones(n_bytes, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    best = float("inf")
    for number in range(repeats + 1):
        _wait(source.device)
        start = time.perf_counter()
        target.copy_(source)
        _wait(source.device)
        if number:
            best = min(best, time.perf_counter() - start)
    return 2 * n_bytes / best


def _wait(device: torch.device) -> None:
    """Until a GPU has done what it was told."""
    if device.type in ("cuda", "mps"):
        getattr(torch, device.type).synchronize()
