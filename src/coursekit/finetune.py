"""Finetuning of pretrained language models: the whole network, or a low-rank adapter (LoRA), on any hardware.

`finetune` reads in the order of the algorithm: batch, loss and gradients, update, record, save. Three things make it
fast on short documents without changing a single number: documents stand one after another in one row, so that no
padding is computed (attention alone sees them side by side, and never across a boundary); a document's last token,
after which nothing is predicted, is not fed in; and logits are computed only where there is a target.

accelerate places the model (one CPU, one GPU, several by DDP or FSDP) and picks the arithmetic; peft makes the adapter.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from tqdm import tqdm

from coursekit import results
from coursekit.data import Epochs
from coursekit.train import Checkpoints, Row

CHOICES = {
    "method": ("lora", "full"),
    "loss_on": ("document", "completion"),
    "schedule": ("constant", "linear", "cosine"),
    "precision": ("auto", "float32", "bfloat16", "float16"),
}

_ATTENTION = "coursekit_packed"  # the name under which transformers finds `packed_attention`


@dataclass(frozen=True)
class Document:
    """A text to learn; where the prompt ends matters only to a loss on the completion."""

    prompt: str
    completion: str


@dataclass(frozen=True)
class FinetuneConfig:
    """A finetuning recipe.

    Attributes
    ----------
    method : {"lora", "full"}
        "lora" learns W + (alpha / r) B A with W frozen, A (r × inputs) and B (outputs × r), in every linear layer but
        the output; "full" changes every weight.
    learning_rate : float
        Of AdamW, at its largest.
    batch_size : int
        Documents an optimizer step.
    n_steps, n_epochs : int, optional
        Optimizer steps, or passes over the documents: give one of the two.
    lora_rank, lora_alpha : int
        r and alpha.
    loss_on : {"document", "completion"}
        Which tokens are targets. "document" is all but the first.
    warmup_steps : int
        Update s before this one has s / warmup_steps of the learning rate.
    schedule : {"constant", "linear", "cosine"}
        After the warm-up: stay, or fall to 0 at the last step.
    weight_decay : float
        Of AdamW, on matrices (not on biases and norms).
    max_grad_norm : float
        Longer gradients are scaled down to this length; infinity leaves them.
    micro_batch_tokens : int
        Tokens computed at a time on a device. Decides memory and speed, not the result.
    gradient_checkpointing : bool
        Compute each layer a second time in the backward pass instead of keeping its activations.
    precision : {"auto", "float32", "bfloat16", "float16"}
        Of the matrix products; weights that are learned are float32 always. "auto": bfloat16 on a GPU with the units
        for it (compute capability 8 or more), float16 with loss scaling on an older one (T4), float32 on a CPU.
    seed : int
        Decides the order of the documents, the adapter's first weights and dropout.
    """

    method: str = "lora"
    learning_rate: float = 1e-3
    batch_size: int = 8
    n_steps: int | None = None
    n_epochs: int | None = None
    lora_rank: int = 16
    lora_alpha: int = 32
    loss_on: str = "document"
    warmup_steps: int = 0
    schedule: str = "constant"
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    micro_batch_tokens: int = 2048
    gradient_checkpointing: bool = False
    precision: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, allowed in CHOICES.items():
            if (value := getattr(self, name)) not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")
        for name in ("learning_rate", "max_grad_norm"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")
        for name in ("batch_size", "lora_rank", "lora_alpha", "micro_batch_tokens", "n_steps", "n_epochs"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ValueError(f"{name} must be 1 or more, got {value}")
        for name in ("warmup_steps", "weight_decay"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be 0 or more, got {getattr(self, name)}")
        if (self.n_steps is None) == (self.n_epochs is None):
            raise ValueError(
                f"give either n_steps or n_epochs, got n_steps={self.n_steps} and n_epochs={self.n_epochs}"
            )

    def steps(self, n_documents: int) -> int:
        """Optimizer steps in all.

        Examples
        --------
        >>> FinetuneConfig(batch_size=8, n_epochs=3).steps(20)
        9
        """
        if self.n_steps is not None:
            return self.n_steps
        return (self.n_epochs or 0) * math.ceil(n_documents / self.batch_size)

    def learning_rate_at(self, step: int, n_steps: int) -> float:
        """Learning rate of update number `step` (0, 1, …) of `n_steps`; the rule is that of transformers' schedules.

        Examples
        --------
        >>> config = FinetuneConfig(learning_rate=1.0, warmup_steps=2, schedule="linear", n_steps=10)
        >>> [config.learning_rate_at(step, 10) for step in (0, 1, 2, 6)]
        [0.0, 0.5, 1.0, 0.5]
        """
        if step < self.warmup_steps:
            return self.learning_rate * step / self.warmup_steps
        done = (step - self.warmup_steps) / max(1, n_steps - self.warmup_steps)
        falls = {"constant": 1.0, "linear": 1 - done, "cosine": (1 + math.cos(math.pi * done)) / 2}
        return self.learning_rate * falls[self.schedule]


@dataclass(frozen=True, eq=False)
class Finetuned:
    """What `finetune` returns.

    Attributes
    ----------
    model : nn.Module
        Trained, in eval mode. After "lora" a `peft.PeftModel`: its `merge_and_unload()` folds the adapter into the
        weights, its `unload()` gives the model back as it was.
    rows : list of Row
        All that `record` returned, those before a resume first.
    steps : int
        Optimizer steps done.
    tokens : int
        Tokens of all documents trained on, repeats counted.
    losses : list of float
        Each step's loss before its update, in nats per target token.
    """

    model: nn.Module
    rows: list[Row]
    steps: int
    tokens: int
    losses: list[float]


@dataclass(frozen=True, eq=False)
class Example:
    """A tokenized document; its targets are `tokens[first_target:]`."""

    tokens: Int[Tensor, " length"]
    first_target: int

    @property
    def n_targets(self) -> int:
        """Tokens that the loss counts."""
        return len(self.tokens) - self.first_target


def tokenize(tokenizer: Any, documents: Sequence[Document], loss_on: str = "document") -> list[Example]:
    """Tokenize each document as one text, and append the end-of-text token.

    The end is a target like any other: without it a model never learns where a completion stops, and a greedy answer
    would run on. Prompt and completion are tokenized together because a tokenizer may not cut between them as we do:
    a token that holds characters of the completion counts as one of the completion's.

    Parameters
    ----------
    tokenizer : transformers.PreTrainedTokenizerFast
    documents : sequence of Document
    loss_on : {"document", "completion"}

    Returns
    -------
    list of Example

    Raises
    ------
    ValueError
        If there are no documents, one is empty, or the tokenizer knows no end-of-text token.
    """
    if not documents:
        raise ValueError("finetuning needs at least one document, got none")
    end = tokenizer.eos_token_id
    if end is None:
        raise ValueError("the tokenizer has no end-of-text token; set tokenizer.eos_token")
    texts = [document.prompt + document.completion for document in documents]
    encoded = tokenizer(texts, return_offsets_mapping=True, return_attention_mask=False)
    examples = []
    for number, document in enumerate(documents):
        tokens, spans = encoded["input_ids"][number], encoded["offset_mapping"][number]
        if not texts[number] or not tokens:
            raise ValueError(f"document {number} is empty, or has no token; leave it out")
        if tokens[-1] != end:
            tokens = [*tokens, end]
        first = 1
        if loss_on == "completion":
            n_prompt = len(document.prompt)
            first = next((at for at, (_, stop) in enumerate(spans) if stop > n_prompt), len(tokens) - 1)
        examples.append(Example(torch.tensor(tokens), max(1, first)))
    return examples


@dataclass(frozen=True, eq=False)
class Packed:
    """Documents one after another in one row, each without its last token.

    Attributes
    ----------
    inputs, positions : Int[Tensor, "1 tokens"]
        Positions begin again at 0 with every document.
    predict_at : Int[Tensor, " targets"]
        Places in the row from which a target is predicted.
    targets : Int[Tensor, " targets"]
    side_by_side : Int[Tensor, "documents longest"]
        Places in the row, a line for each document; a short one's last place is repeated.
    in_a_row : Int[Tensor, " tokens"]
        Where each place of the row stands in `side_by_side`, read line by line.
    """

    inputs: Int[Tensor, "1 tokens"]
    positions: Int[Tensor, "1 tokens"]
    predict_at: Int[Tensor, " targets"]
    targets: Int[Tensor, " targets"]
    side_by_side: Int[Tensor, "documents longest"]
    in_a_row: Int[Tensor, " tokens"]


def pack(examples: Sequence[Example], device: torch.device | str = "cpu") -> Packed:
    """Put documents one after another in one row.

    Examples
    --------
    >>> packed = pack([Example(torch.tensor([5, 6, 7]), 1), Example(torch.tensor([8, 9]), 1)])
    >>> packed.inputs.tolist(), packed.positions.tolist(), packed.targets.tolist()
    ([[5, 6, 8]], [[0, 1, 0]], [6, 7, 9])
    >>> packed.side_by_side.tolist(), packed.in_a_row.tolist()
    ([[0, 1], [2, 2]], [0, 1, 2])
    """
    lengths = [len(example.tokens) - 1 for example in examples]
    starts = np.cumsum([0, *lengths[:-1]]).tolist()
    longest = max(lengths)
    places = torch.arange(longest)
    spans = list(zip(examples, starts, lengths, strict=True))
    parts = (
        torch.cat([example.tokens[:-1] for example in examples])[None],
        torch.cat([places[:n] for n in lengths])[None],
        torch.cat([torch.arange(s + example.first_target - 1, s + n) for example, s, n in spans]),
        torch.cat([example.tokens[example.first_target :] for example in examples]),
        torch.stack([s + places.clamp(max=n - 1) for _, s, n in spans]),
        torch.cat([k * longest + places[:n] for k, n in enumerate(lengths)]),
    )
    return Packed(*(part.to(device) for part in parts))


def packed_attention(
    module: nn.Module,
    query: Float[Tensor, "1 heads tokens d_head"],
    key: Float[Tensor, "1 kv_heads tokens d_head"],
    value: Float[Tensor, "1 kv_heads tokens d_head"],
    attention_mask: None,
    *,
    documents: Packed,
    dropout: float = 0.0,
    scaling: float | None = None,
    **_: Any,
) -> tuple[Float[Tensor, "1 tokens heads d_head"], None]:
    """Causal attention within each document of a packed row, as transformers' attention interface calls it.

    The documents are laid side by side for this operation alone. What fills up a short one stands behind its tokens, so
    causal attention never sees it: no mask is needed, and the fast kernels apply.
    """
    n_docs, longest = documents.side_by_side.shape
    q, k, v = (
        t[0].index_select(1, documents.side_by_side.flatten()).unflatten(1, (n_docs, longest)).transpose(0, 1)
        for t in (query, key, value)
    )
    groups = q.shape[1] // k.shape[1]
    if groups > 1:
        k, v = (t.repeat_interleave(groups, 1) for t in (k, v))
    mixed = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, scale=scaling, is_causal=True)
    return mixed.transpose(1, 2).flatten(0, 1)[documents.in_a_row][None], None


class Tuning:
    """A model in training: what the loop of `finetune` asks for, and what a checkpoint keeps.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        Changed in place.
    examples : sequence of Example
    config : FinetuneConfig
    """

    _FACTS = ("step", "running", "tokens", "history", "micro_batch_tokens")  # kept in checkpoints as they are

    def __init__(self, model: Any, examples: Sequence[Example], config: FinetuneConfig):
        from accelerate import Accelerator
        from accelerate.state import AcceleratorState
        from transformers import AttentionInterface

        AcceleratorState._reset_state()  # accelerate allows one precision a process; a notebook may try several
        precision = _precision(config.precision)
        self.accelerator = Accelerator(mixed_precision=_ACCELERATE_NAMES[precision])
        self.config, self.examples = config, examples
        self.step, self.running = 0, [0]
        self.tokens, self.history = 0, list[float]()
        self.micro_batch_tokens = config.micro_batch_tokens
        self._epochs = Epochs(len(examples), config.batch_size, _stream(config.seed, 1))
        self.packs = _can_pack(model)
        AttentionInterface.register(_ATTENTION, packed_attention)
        self.model = _trainable(model, config, precision)
        if config.gradient_checkpointing:
            _checkpointing(model, "enable")({"use_reentrant": False})
        learned = [p for p in self.model.parameters() if p.requires_grad]
        matrices, vectors = [p for p in learned if p.ndim >= 2], [p for p in learned if p.ndim < 2]
        groups = [{"params": matrices, "weight_decay": config.weight_decay}]
        groups += [{"params": vectors, "weight_decay": 0.0}] if vectors else []
        optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)
        self._wrapped, self.optimizer = self.accelerator.prepare(self.model, optimizer)
        self._plain = model
        self._plain_attention = model.config._attn_implementation

    def __enter__(self) -> Tuning:
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the model as the training found it but for its weights: whole arithmetic, nothing computed twice."""
        self.accelerator.unwrap_model(self._wrapped, keep_fp32_wrapper=False)
        if self.config.gradient_checkpointing:
            _checkpointing(self._plain, "disable")()
        self.optimizer.zero_grad()
        self.model.eval()

    def losses(self) -> Float[Tensor, ""]:
        """Loss of the next effective batch, mean over its target tokens; its gradients are left in the weights.

        When memory runs out, half as many tokens are computed at a time from then on, for this batch first of all.
        """
        batch = [self.examples[number] for number in self._epochs.next().tolist()]
        batch.sort(key=lambda example: len(example.tokens), reverse=True)
        self.tokens += sum(len(example.tokens) for example in batch)
        while True:
            try:
                return self._gradients(batch)
            except (RuntimeError, MemoryError) as error:
                if not _out_of_memory(error) or self.accelerator.num_processes > 1:
                    raise
            self._halve(batch)  # out here, since the error's traceback keeps the pass's tensors

    def update(self, learning_rate: float) -> None:
        """Clip the gradients and do one AdamW step; with float16 a step whose gradients overflowed is left out."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        length = self.accelerator.clip_grad_norm_(self._wrapped.parameters(), self.config.max_grad_norm)
        if self.accelerator.scaler is None and not math.isfinite(float(length)):
            raise FloatingPointError(_diverged("the gradient", self.step, self.config))
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1

    def state(self) -> tuple[dict[str, Tensor], dict[str, object]]:
        """What is learned (for LoRA the adapter alone) and the optimizer's moments; every process must ask."""
        from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict

        options = StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=True)
        found: Any = get_state_dict(self._wrapped, self.optimizer, options=options)
        weights, moments = found  # whole in the main process, empty in the others
        learned = {name for name, p in self.model.named_parameters() if p.requires_grad}  # a tied weight once
        tensors: dict[str, Tensor] = {f"model.{name}": t for name, t in weights.items() if name in learned}
        for name, of_weight in moments.get("state", {}).items():
            tensors |= {f"optimizer.{name}.{kind}": t for kind, t in of_weight.items()}
        tensors |= {f"epochs.{name}": t for name, t in self._epochs.state().items()}
        scaler = self.accelerator.scaler
        facts = {name: getattr(self, name) for name in self._FACTS}
        return tensors, {**facts, "scaler": None if scaler is None else scaler.state_dict()}

    def restore(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        """Go on from `state`."""
        from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict, set_state_dict

        def part(prefix: str) -> dict[str, Any]:
            # Sorted: processes exchange tensors by turns, and safetensors gives them in any order.
            return {n.removeprefix(prefix): t for n, t in sorted(tensors.items()) if n.startswith(prefix)}

        options = StateDictOptions(full_state_dict=True, ignore_frozen_params=True, strict=False)
        optimizer: dict[str, Any] = get_state_dict(self._wrapped, self.optimizer, options=options)[1]
        optimizer["state"] = {}
        for path, t in part("optimizer.").items():
            name, _, kind = path.rpartition(".")
            optimizer["state"].setdefault(name, {})[kind] = t
        set_state_dict(
            self._wrapped,
            self.optimizer,
            model_state_dict=part("model."),
            optim_state_dict=optimizer,
            options=options,
        )
        self._epochs.restore(part("epochs."))
        for name in self._FACTS:
            setattr(self, name, facts[name])
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(facts["scaler"])

    def save(self, checkpoints: Checkpoints, rows: Sequence[Row]) -> None:
        """Save in the main process; the others take part in collecting what is spread over them."""
        if self.accelerator.is_main_process:
            checkpoints.save(self, rows)
        else:
            self.state()

    def agree(self, wish: bool) -> bool:
        """What the main process wishes."""
        if self.accelerator.num_processes == 1:
            return wish
        mine = torch.tensor(float(wish and self.accelerator.is_main_process), device=self.accelerator.device)
        return bool(self.accelerator.reduce(mine, "sum").item())

    def _gradients(self, batch: Sequence[Example]) -> Tensor:
        """Forward and backward pass, one micro-batch at a time, shared among the processes."""
        n, mine = self.accelerator.num_processes, self.accelerator.process_index
        shares = [_split(batch[k::n], self.micro_batch_tokens, same_length=not self.packs) for k in range(n)]
        # Every process passes through the model equally often, as FSDP needs: idle turns get the weight 0.
        turns = [(micro, 1.0) for micro in shares[mine]]
        turns += [(batch[-1:], 0.0)] * (max(map(len, shares)) - len(turns))
        n_targets = sum(example.n_targets for example in batch)
        parts, device = list[Tensor](), self.accelerator.device
        self.optimizer.zero_grad()
        self.model.train()
        with self._packed(), _dropout_seed(_stream(self.config.seed, 3, self.step, mine), device):
            for turn, (micro, weight) in enumerate(turns, 1):
                with contextlib.nullcontext() if turn == len(turns) else self._unsynchronized():
                    part = self._sum_of_losses(micro) * (weight / n_targets)
                    self.accelerator.backward(part * n)  # DDP and FSDP take the mean over processes
                parts.append(part.detach())
        return self.accelerator.reduce(torch.stack(parts).sum(), "sum")

    def _sum_of_losses(self, micro: Sequence[Example]) -> Tensor:
        if self.packs:
            row = pack(micro, self.accelerator.device)
            logits = self._wrapped(
                input_ids=row.inputs,
                position_ids=row.positions,
                logits_to_keep=row.predict_at,
                use_cache=False,
                documents=row,
            ).logits[0]
            return F.cross_entropy(logits, row.targets, reduction="sum")
        inputs = torch.stack([example.tokens for example in micro]).to(self.accelerator.device)
        logits = self._wrapped(input_ids=inputs[:, :-1], use_cache=False).logits
        counts = torch.stack([torch.arange(1, len(e.tokens)) >= e.first_target for e in micro]).to(
            inputs.device
        )
        return F.cross_entropy(logits[counts], inputs[:, 1:][counts], reduction="sum")

    @contextlib.contextmanager
    def _packed(self) -> Iterator[None]:
        """Let the model attend within documents; outside of training it is as it was."""
        if self.packs:
            self._plain.config._attn_implementation = _ATTENTION
        try:
            yield
        finally:
            self._plain.config._attn_implementation = self._plain_attention

    def _unsynchronized(self) -> contextlib.AbstractContextManager[None]:
        """DDP exchanges gradients once a step; FSDP each time, since it has no room for whole ones."""
        from accelerate import DistributedType

        if self.accelerator.distributed_type == DistributedType.FSDP:
            return contextlib.nullcontext()
        return self.accelerator.no_sync(self._wrapped)

    def _halve(self, batch: Sequence[Example]) -> None:
        micros = _split(batch, self.micro_batch_tokens, same_length=not self.packs)
        if max(map(len, micros)) == 1:
            raise MemoryError(
                f"not enough memory for one document of {len(batch[0].tokens)} tokens: try "
                'gradient_checkpointing=True, method="lora", a smaller model or shorter documents'
            )
        self.micro_batch_tokens = max(1, max(_n_inputs(micro) for micro in micros) // 2)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def finetune(
    model: Any,
    tokenizer: Any,
    documents: Sequence[Document],
    config: FinetuneConfig,
    *,
    folder: str | Path | None = None,
    resume: bool = False,
    record: Callable[[nn.Module, int], Sequence[Row]] | None = None,
    record_at: Sequence[int] = (),
    rows: list[Row] | None = None,
    progress: bool = True,
    label: str = "finetune",
    checkpoint_seconds: float = 60.0,
) -> Finetuned:
    """Train a pretrained model on documents.

    The loss of a step is the mean of −ln p over all target tokens of its `batch_size` documents, however they are cut
    into micro-batches and shared among processes. Documents come in a new random order every epoch.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        Any causal language model. It is changed in place, also by "lora" (see `Finetuned.model`).
    tokenizer : transformers.PreTrainedTokenizerFast
    documents : sequence of Document
    config : FinetuneConfig
    folder : path, optional
        Where to keep checkpoints, for instance on a mounted Drive. Default: nowhere.
    resume : bool
        Go on from the last checkpoint in `folder`, with the same numbers as a run that never stopped.
    record : callable, optional
        Called as ``record(model, step)`` with the model in eval mode; returns new rows.
    record_at : sequence of int
        Optimizer steps to call it at; 0 is before the first update.
    rows : list of Row, optional
        Grows as the training goes, so that whatever ends it, they are there.
    progress : bool
        Show a bar with the time left.
    label : str
        Stands before the bar.
    checkpoint_seconds : float
        Least time between two checkpoints.

    Returns
    -------
    Finetuned

    Raises
    ------
    ValueError
        If there are no documents, one is longer than the model's context, the model carries an adapter already, or
        `folder` holds checkpoints and `resume` is not asked for.
    FloatingPointError
        If the loss or the gradient is no longer a finite number.
    MemoryError
        If one document does not fit.
    OSError
        If a checkpoint cannot be written; earlier ones stay as they are.
    """
    rows = [] if rows is None else rows
    examples = tokenize(tokenizer, documents, config.loss_on)
    _refuse_long(examples, model)
    identity = f"{label} {_identity(model, examples, config)}"
    saved, checkpoints = None, None
    if folder is not None:
        checkpoints = Checkpoints(Path(folder), identity)
        saved = checkpoints.load()
        if saved is not None and not resume:
            raise ValueError(
                f"{folder} holds checkpoints already; resume from them, or choose another folder"
            )
    tuning = Tuning(model, examples, config)
    if saved is not None:
        tuning.restore(saved[0], saved[1]["learner"])  # type: ignore[arg-type]
        rows[:] = saved[1]["rows"]  # type: ignore[call-overload]
    n_steps, due, last_save, began = (
        config.steps(len(examples)),
        set(record_at),
        time.monotonic(),
        tuning.tokens,
    )

    def look() -> None:
        if record is not None and tuning.step in due:
            rows.extend(record(tuning.model.eval(), tuning.step))

    silent = not (progress and tuning.accelerator.is_main_process)
    with tuning, tqdm(total=n_steps, initial=tuning.step, desc=label, unit=" steps", disable=silent) as bar:
        if saved is None:
            look()
        while tuning.step < n_steps:
            loss = tuning.losses().item()
            if not math.isfinite(loss):
                raise FloatingPointError(_diverged("the loss", tuning.step, config))
            tuning.update(config.learning_rate_at(tuning.step, n_steps))
            tuning.history.append(loss)
            bar.update()
            seconds = bar.format_dict["elapsed"] or math.inf
            bar.set_postfix_str(
                f"loss {loss:.3f}, {(tuning.tokens - began) / seconds:.0f} tokens/s", refresh=False
            )
            look()
            if checkpoints is not None:
                finished = tuning.step == n_steps
                if tuning.agree(finished or time.monotonic() - last_save >= checkpoint_seconds):
                    tuning.save(checkpoints, rows)
                    last_save = time.monotonic()
    return Finetuned(tuning.model, rows, tuning.step, tuning.tokens, tuning.history)


_ACCELERATE_NAMES = {"float32": "no", "bfloat16": "bf16", "float16": "fp16"}


def _precision(asked: str) -> str:
    """What "auto" means here."""
    if asked == "auto":
        if not torch.cuda.is_available():
            return "float32"
        return "bfloat16" if torch.cuda.get_device_capability()[0] >= 8 else "float16"
    if asked == "float16" and not torch.cuda.is_available():
        raise ValueError(
            'precision "float16" needs a GPU, and there is none here; choose "auto" or "float32"'
        )
    return asked


def _trainable(model: Any, config: FinetuneConfig, precision: str) -> nn.Module:
    """Mark what is learned, in float32, and keep what is frozen in the precision of the arithmetic."""
    from peft import LoraConfig, TaskType, get_peft_model
    from peft.tuners.tuners_utils import BaseTunerLayer
    from transformers.pytorch_utils import Conv1D

    if any(isinstance(module, BaseTunerLayer) for module in model.modules()):
        raise ValueError(
            "this model carries an adapter already; take it off (model.unload()), fold it in "
            "(model.merge_and_unload()) or load the model again"
        )
    dtype = getattr(torch, "float32" if config.method == "full" else precision)
    for p in model.parameters():  # not the buffers: the angles of rotary positions need all their digits
        if {p.dtype, dtype} & {torch.float16, torch.bfloat16}:
            p.data = p.data.to(dtype)
    if config.method == "full":
        return model.requires_grad_(True)
    adapter = LoraConfig(
        r=config.lora_rank,
        lora_alpha=config.lora_alpha,
        target_modules="all-linear",
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in model.modules()),
        task_type=TaskType.CAUSAL_LM,
    )
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        # peft 0.21 asks transformers 5.23 by a name that is going out of use
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        torch.manual_seed(_stream(config.seed, 2))
        return get_peft_model(model, adapter)


def _checkpointing(model: Any, switch: str) -> Callable[..., None]:
    """The method that enables or disables it; older transformers know the second name only."""
    names = (f"activation_checkpointing_{switch}", f"gradient_checkpointing_{switch}")
    return next(getattr(model, name) for name in names if hasattr(model, name))


def _can_pack(model: Any) -> bool:
    """Whether every layer's attention is the plain causal one that `packed_attention` computes."""
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    special = ("sliding_window", "attn_logit_softcapping", "attention_chunk_size")
    plain = kinds == {"full_attention"} and not any(getattr(config, name, None) for name in special)
    return plain and getattr(model, "_supports_attention_backend", False)


def _split(batch: Sequence[Example], n_tokens: int, *, same_length: bool) -> list[list[Example]]:
    """Cut a batch, longest documents first, into micro-batches of at most so many tokens, or of one document."""
    micros: list[list[Example]] = []
    for example in batch:
        fits = micros and _n_inputs(micros[-1]) + _n_inputs([example]) <= n_tokens
        if fits and not (same_length and len(micros[-1][0].tokens) != len(example.tokens)):
            micros[-1].append(example)
        else:
            micros.append([example])
    return micros


def _n_inputs(examples: Sequence[Example]) -> int:
    return sum(len(example.tokens) - 1 for example in examples)


def _out_of_memory(error: BaseException) -> bool:
    said = any(words in str(error) for words in ("out of memory", "can't allocate memory"))
    return said or isinstance(error, torch.OutOfMemoryError | MemoryError)


@contextlib.contextmanager
def _dropout_seed(seed: int, device: torch.device) -> Iterator[None]:
    """Draw dropout from a seed of the step's own, and leave the global generators as they were."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def _refuse_long(examples: Sequence[Example], model: Any) -> None:
    context = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    number, longest = max(enumerate(len(example.tokens) for example in examples), key=lambda pair: pair[1])
    if context is not None and longest > context:
        raise ValueError(
            f"document {number} has {longest} tokens with its end, more than the {context} of the model's context; "
            "cut it into shorter ones"
        )


def _identity(model: Any, examples: Sequence[Example], config: FinetuneConfig) -> str:
    """Name a training by its recipe, its model and its documents."""
    digest = hashlib.sha256()
    for example in examples:
        digest.update(example.tokens.numpy().tobytes() + bytes([example.first_target % 256]))
    name = Path(getattr(model.config, "_name_or_path", "")).name  # it may lie elsewhere on another machine
    size = sum(p.numel() for p in model.parameters())
    return results.config_hash(
        {"config": config, "model": name, "size": size, "documents": digest.hexdigest()}
    )


def _diverged(what: str, step: int, config: FinetuneConfig) -> str:
    return (
        f"{what} at step {step} is not a finite number; lower the learning rate ({config.learning_rate}) or warm it up "
        "for longer"
    )


def _stream(seed: int, *purpose: int) -> int:
    """A seed of its own for each purpose."""
    return int(np.random.SeedSequence([seed, *purpose]).generate_state(1)[0])
