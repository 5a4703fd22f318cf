"""Finetuning tokens per second, side by side with transformers' Trainer; `measure` and `report` are for `make bench`.

Both contestants train the same pretrained model on the same documents with the same number of documents a step and the
same optimizer (fused AdamW, gradients clipped to 1), in float32 on two threads. Trainer pads each batch to its longest
document. Only real tokens count. The contestants take turns, a ratio is taken within a turn, and the median is shown.
"""

from __future__ import annotations

import argparse
import copy
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from typing import Any

import torch
from transformers import Trainer, TrainerCallback, TrainingArguments

from coursekit import finetune as ft
from coursekit import hub

THREADS = 2
WARM_UP = 2  # steps before the clock starts
SETTINGS: dict[
    str, tuple[str, int, tuple[int, int]]
] = {  # method, documents a step, shortest and longest in tokens
    "LoRA, 15-35 tokens": ("lora", 16, (15, 35)),
    "full, 15-35 tokens": ("full", 16, (15, 35)),
    "LoRA, 64 tokens each": ("lora", 4, (64, 64)),
    "full, 64 tokens each": ("full", 4, (64, 64)),
}


def documents(tokenizer: Any, n: int, lengths: tuple[int, int], seed: int = 0) -> list[ft.Document]:
    """Random common words up to a random number of tokens, the end among them."""
    rng = random.Random(seed)
    words = [
        "the",
        "river",
        "stone",
        "garden",
        "old",
        "music",
        "under",
        "light",
        "many",
        "people",
        "walk",
        "home",
    ]
    found = []
    for _ in range(n):
        want, text = rng.randint(*lengths) - 1, "The"
        while len(tokenizer(text)["input_ids"]) < want:
            text += " " + rng.choice(words)
        found.append(ft.Document(text, ""))
    return found


def ours(
    base: Any, tokenizer: Any, texts: Sequence[ft.Document], method: Any, batch: int, n_steps: int
) -> float:
    """Tokens per second of `coursekit.finetune`."""
    at: dict[int, float] = {}

    def mark(model: Any, step: int) -> list[Any]:
        at[step] = time.perf_counter()
        return []

    recipe = ft.FinetuneConfig(
        method=method, learning_rate=1e-5, batch_size=batch, n_steps=n_steps, precision="float32"
    )
    marks = (WARM_UP, n_steps)
    done = ft.finetune(base, tokenizer, texts, recipe, record=mark, record_at=marks, progress=False)
    return done.tokens * (n_steps - WARM_UP) / n_steps / (at[n_steps] - at[WARM_UP])


def trainers(
    base: Any, tokenizer: Any, texts: Sequence[ft.Document], method: Any, batch: int, n_steps: int
) -> float:
    """Tokens per second of transformers' Trainer."""
    examples = ft.tokenize(tokenizer, texts)
    at: dict[int, float] = {}

    class Clock(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            at[state.global_step] = time.perf_counter()

    def collate(items: Sequence[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        tokens = [item["input_ids"] for item in items]
        real = [torch.ones_like(t) for t in tokens]

        def pad(parts: Sequence[torch.Tensor], value: int) -> torch.Tensor:
            return torch.nn.utils.rnn.pad_sequence(list(parts), batch_first=True, padding_value=value)

        return {"input_ids": pad(tokens, 0), "attention_mask": pad(real, 0), "labels": pad(tokens, -100)}

    recipe = ft.FinetuneConfig(method=method, learning_rate=1e-5, batch_size=batch, n_steps=n_steps)
    model = ft._trainable(base, recipe, "float32")
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder, per_device_train_batch_size=batch, max_steps=n_steps, learning_rate=1e-5, use_cpu=True,
            lr_scheduler_type="constant", optim="adamw_torch_fused", max_grad_norm=1.0, logging_strategy="no",
            save_strategy="no", report_to=[], disable_tqdm=True, seed=0, dataloader_pin_memory=False,
        )  # fmt: skip
        data = [{"input_ids": example.tokens} for example in examples]
        trainer = Trainer(model, arguments, train_dataset=data, data_collator=collate, callbacks=[Clock()])  # type: ignore[arg-type]
        trainer.train()
    mean = sum(len(example.tokens) for example in examples) / len(
        examples
    )  # every document comes equally often
    return mean * batch * (n_steps - WARM_UP) / (at[n_steps] - at[WARM_UP])


def measure(n_turns: int = 5, n_steps: int = 8) -> dict[str, Any]:
    """Let both take turns in every setting; rates in tokens per second."""
    threads = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    base, tokenizer = hub.load_model(), hub.load_tokenizer()
    rates: dict[str, dict[str, list[float]]] = {name: {"ours": [], "trainer": []} for name in SETTINGS}
    for turn in range(n_turns):
        for name, (method, batch, lengths) in SETTINGS.items():
            texts = documents(tokenizer, batch * n_steps, lengths, seed=turn)
            for who, contestant in (("ours", ours), ("trainer", trainers)):
                rates[name][who].append(
                    contestant(copy.deepcopy(base), tokenizer, texts, method, batch, n_steps)
                )
            print(f"turn {turn + 1} of {n_turns}, {name}: " + ", ".join(
                f"{who} {found[-1]:.0f}" for who, found in rates[name].items()) + " tokens/s", flush=True)  # fmt: skip
    torch.set_num_threads(threads)
    return {"model": hub.PACKAGED, "rates": rates, "n_turns": n_turns}


def report(found: dict[str, Any]) -> str:
    """A table in Markdown."""
    lines = [
        f"Finetuning {found['model']}, float32, {THREADS} threads: real tokens per second, median of "
        f"{found['n_turns']} turns; the ratio is taken within a turn. The same documents, documents a step, optimizer "
        "and clipping; Trainer pads a batch to its longest document.",
        "",
        "| | documents a step | coursekit.finetune | transformers' Trainer | ratio | lowest, highest |",
        "|---|---|---|---|---|---|",
    ]
    for name, both in found["rates"].items():
        ratios = [a / b for a, b in zip(both["ours"], both["trainer"], strict=True)]
        lines.append(
            f"| {name} | {SETTINGS[name][1]} | {statistics.median(both['ours']):.0f} | "
            f"{statistics.median(both['trainer']):.0f} | {statistics.median(ratios):.2f} | "
            f"{min(ratios):.2f}, {max(ratios):.2f} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--steps", type=int, default=8)
    options = parser.parse_args()
    print(report(measure(options.turns, options.steps)))
