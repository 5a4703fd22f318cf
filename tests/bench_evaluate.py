"""How fast `coursekit.evaluate` scores beside lm-evaluation-harness, on the same model, items and batch, in one run.

`make bench` calls `measure` and `report`. The contestants take turns, ratios are taken within a turn, the median over
turns is shown. Nothing is asserted here; how far the log-probabilities lie apart is reported beside the rates.
"""

from __future__ import annotations

import logging
import math
import platform
import random
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from coursekit import hub
from coursekit.evaluate import encode_pair, score_continuations

CHAPTERS = Path(__file__).resolve().parents[1] / "chapters"
BATCH = 8  # texts in a batch of the harness; ours may have as many tokens as its largest batch
Pairs = list[tuple[str, str]]


def few_shot(n_questions: int = 8, n_shots: int = 20) -> Pairs:
    """Multiple choice of four, all questions behind the same worked examples."""
    draw = random.Random(0)

    def sum_of() -> tuple[str, int]:
        a, b = draw.randrange(2, 50), draw.randrange(2, 50)
        return f"Question: What is {a} plus {b}?\nAnswer:", a + b

    shots = "".join(f"{question} {answer}\n\n" for question, answer in (sum_of() for _ in range(n_shots)))
    pairs = []
    for _ in range(n_questions):
        question, answer = sum_of()
        for choice in (answer, answer + 1, answer - 1, answer + 10):
            pairs.append((shots + question, f" {choice}"))
    return pairs


def short_questions(n_questions: int = 40) -> Pairs:
    """Multiple choice of four, questions of our own that begin in many ways."""
    draw = random.Random(1)
    places = [
        "kitchen",
        "harbor",
        "library",
        "garden",
        "station",
        "museum",
        "bakery",
        "attic",
        "stable",
        "office",
    ]
    people = ["Mara", "Oskar", "Lin", "Tobias", "Yusuf", "Greta", "Pavel", "Ines", "Hugo", "Salma"]
    things = [
        "a lantern",
        "the map",
        "some bread",
        "an old clock",
        "two letters",
        "a violin",
        "the ladder",
        "a kite",
    ]
    forms = [
        "{b} forgot {t} in the {p}. The next day {a} found it in the",
        "Yesterday {a} carried {t} from the {q} to the {p}. Now it is in the",
        '"Where is {t}?" asked {a}. {b} had seen it in the',
        "{t} belongs to {a}, who keeps it in the",
    ]
    pairs = []
    for _ in range(n_questions):
        a, b = draw.sample(people, 2)
        choices = draw.sample(places, 4)
        prompt = draw.choice(forms).format(a=a, b=b, t=draw.choice(things), p=choices[0], q=choices[1])
        pairs += [(prompt[0].upper() + prompt[1:], f" {choice}, as always.") for choice in choices]
    return pairs


def documents(n_documents: int = 24) -> Pairs:
    """Paragraphs of the course's own chapters, each scored from its first token."""
    text = "\n\n".join(path.read_text() for path in sorted(CHAPTERS.glob("*.md")))
    paragraphs = [part.replace("\n", " ") for part in text.split("\n\n") if len(part.split()) >= 60]
    return [("", paragraph) for paragraph in paragraphs[:n_documents]]


WORKLOADS: dict[str, Callable[[], Pairs]] = {
    "multiple choice, one long few-shot prefix": few_shot,
    "multiple choice, short questions": short_questions,
    "documents, log-likelihood of all tokens": documents,
}


def measure(*, n_turns: int = 3, batch: int = BATCH) -> dict[str, Any]:
    """Take turns with lm-evaluation-harness on each workload; seconds of each, and how far the results lie apart."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    model: Any = hub.load_model(device="cuda" if torch.cuda.is_available() else "cpu")
    tokenizer = hub.load_tokenizer()
    harness = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch)

    def theirs(pairs: Pairs) -> list[float]:
        requests = [Instance("loglikelihood", {}, pair, 0) for pair in pairs]
        return [found[0] for found in harness.loglikelihood(requests, disable_tqdm=True)]

    def ours(pairs: Pairs) -> list[float]:
        return [found.log_prob for found in score_continuations(model, tokenizer, pairs, batch_tokens=tokens)]

    found: dict[str, Any] = {
        "workloads": {}, "batch": batch, "threads": torch.get_num_threads(), "n_turns": n_turns,
        "device": torch.cuda.get_device_name() if model.device.type == "cuda" else platform.processor() or "a CPU",
        "dtype": str(model.dtype).removeprefix("torch."), "model": hub.PACKAGED, "harness": version("lm_eval"),
    }  # fmt: skip
    for name, make in WORKLOADS.items():
        pairs = make()
        encoded = [encode_pair(tokenizer, *pair) for pair in pairs]
        lengths, scored = [len(a) + len(b) for a, b in encoded], [len(b) for _, b in encoded]
        tokens = batch * max(lengths)
        seconds: dict[str, list[float]] = {"harness": [], "ours": []}
        for run in (theirs, ours):
            run(pairs[: 2 * batch])  # warm-up
        apart = math.inf
        for turn in range(n_turns):
            results = {}
            for who, run in (("harness", theirs), ("ours", ours))[:: 1 if turn % 2 == 0 else -1]:
                start = time.perf_counter()
                results[who] = run(pairs)
                seconds[who].append(time.perf_counter() - start)
            apart = max(
                abs(a - b) / n for a, b, n in zip(results["harness"], results["ours"], scored, strict=True)
            )
        found["workloads"][name] = {
            "seconds": seconds, "n_items": len(pairs), "n_tokens": sum(lengths), "apart": apart,
        }  # fmt: skip
        print(f"{name}: harness {seconds['harness']}, ours {seconds['ours']}", flush=True)
    return found


def report(found: dict[str, Any]) -> str:
    """The table, as Markdown."""
    lines = [
        f"`coursekit.evaluate.score_continuations` beside lm-evaluation-harness {found['harness']} on {found['model']}",
        f"({found['dtype']}) on {found['device']}, {found['threads']} threads, batches of {found['batch']} texts,",
        f"median of {found['n_turns']} turns. Tokens are those of all texts, prompts and continuations, whether a",
        "contestant computes each of them or shares them between texts. The last column is the largest difference",
        "between the two in a text's log-probability, in nats, divided by its scored tokens.",
        "",
        "| | texts | tokens | harness: texts/s | tokens/s | ours: texts/s | tokens/s | ratio | difference |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, one in found["workloads"].items():
        cells = []
        for who in ("harness", "ours"):
            seconds = statistics.median(one["seconds"][who])
            cells += [f"{one['n_items'] / seconds:.1f}", f"{one['n_tokens'] / seconds:.0f}"]
        pairs = zip(one["seconds"]["harness"], one["seconds"]["ours"], strict=True)
        ratio = statistics.median(a / b for a, b in pairs)
        size = f"{one['n_items']} | {one['n_tokens']}"
        lines.append(f"| {name} | {size} | {' | '.join(cells)} | {ratio:.2f} | {one['apart']:.0e} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(report(measure()))
