"""Finetuning: the same numbers as the plain computation, however the documents are cut, stopped or spread."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AttentionInterface,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
    get_scheduler,
)

from coursekit import finetune as finetune_module
from coursekit import results
from coursekit.evaluate import complete, exact_match, score_continuations
from coursekit.finetune import (
    Document,
    FinetuneConfig,
    Finetuned,
    Tuning,
    finetune,
    pack,
    packed_attention,
    tokenize,
)

VOCAB = 40
SIZES = {"vocab_size": VOCAB, "bos_token_id": 0, "eos_token_id": 0}


def llama(**options: Any) -> LlamaForCausalLM:
    """Two layers, four heads that share two keys."""
    torch.manual_seed(0)
    shape = dict(hidden_size=16, intermediate_size=24, num_hidden_layers=2, max_position_embeddings=32)
    heads = dict(num_attention_heads=4, num_key_value_heads=2, initializer_range=0.2)
    return LlamaForCausalLM(LlamaConfig(**SIZES | shape | heads | options))


def gpt2(**options: Any) -> GPT2LMHeadModel:
    """Two layers, learned positions, no dropout unless asked for."""
    torch.manual_seed(0)
    dropout = dict(resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)
    shape = dict(n_embd=16, n_layer=2, n_head=4, n_positions=32, initializer_range=0.2)
    return GPT2LMHeadModel(GPT2Config(**SIZES | shape | dropout | options))


def mistral() -> MistralForCausalLM:
    """Attention over the last four tokens: documents cannot stand in one row."""
    torch.manual_seed(0)
    shape = dict(hidden_size=16, intermediate_size=24, num_hidden_layers=2, max_position_embeddings=32)
    heads = dict(num_attention_heads=4, num_key_value_heads=2, initializer_range=0.2, sliding_window=4)
    return MistralForCausalLM(MistralConfig(**SIZES | shape | heads))


MODELS = {"llama": llama, "gpt2": gpt2, "mistral": mistral}


def characters() -> PreTrainedTokenizerFast:
    """A token a letter, none for a line break."""
    vocab = {c: n for n, c in enumerate(["<end>", *"abcdefghijklmnopqrstuvwxyz ."])}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="."))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split("\n", "removed"), pre_tokenizers.Split("", "isolated")]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>")


def texts(n: int = 22) -> list[Document]:
    """Documents of 3 to 19 letters."""
    rng = random.Random(0)

    def word(most: int) -> str:
        return "".join(rng.choice("abcdefghij") for _ in range(rng.randint(1, most)))

    return [Document(f"{word(9)}", f" {word(9)}") for _ in range(n)]


def config(**options: Any) -> FinetuneConfig:
    """Few steps with everything switched on."""
    usual = dict(
        n_steps=6, batch_size=5, learning_rate=1e-2, warmup_steps=2, schedule="cosine", weight_decay=0.1
    )
    return FinetuneConfig(**{**usual, **options})


def tune(model: Any, recipe: FinetuneConfig, **options: Any) -> Finetuned:
    return finetune(model, characters(), texts(), recipe, progress=False, **options)


def weights(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters() if p.requires_grad])


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("loss_on", ["document", "completion"])
@pytest.mark.parametrize("tokens", [1, 13, 30, 2048])
@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.parametrize("kind", MODELS)
def test_loss_and_gradients_are_those_of_one_document_at_a_time(
    kind: str, method: Any, tokens: int, loss_on: Any, checkpointing: bool
) -> None:
    model, tokenizer = MODELS[kind]().double(), characters()
    recipe = config(
        method=method,
        micro_batch_tokens=tokens,
        loss_on=loss_on,
        gradient_checkpointing=checkpointing,
        batch_size=9,
    )
    tuning = Tuning(model, tokenize(tokenizer, texts(9), loss_on), recipe)
    learned = {name: p for name, p in tuning.model.named_parameters() if p.requires_grad}
    with torch.no_grad():
        for p in learned.values():  # B of an adapter begins at 0, where A has no gradient
            p.normal_(std=0.2, generator=torch.Generator().manual_seed(p.numel()))
    loss = tuning.losses()
    ours = {name: p.grad.clone() for name, p in learned.items() if p.grad is not None}
    assert ours.keys() == learned.keys()

    tuning.model.zero_grad()
    total, n_targets = torch.zeros(()).double(), 0
    for document in texts(9):  # the plain way: no packing, no micro-batches, all logits
        prompt = tokenizer(document.prompt)["input_ids"]
        whole = torch.tensor([*tokenizer(document.prompt + document.completion)["input_ids"], 0])
        first = len(prompt) if loss_on == "completion" else 1
        log_probs = tuning.model(input_ids=whole[None]).logits[0].log_softmax(-1)
        total = total - log_probs[torch.arange(first, len(whole)) - 1, whole[first:]].sum()
        n_targets += len(whole) - first
    (total / n_targets).backward()
    torch.testing.assert_close(loss, (total / n_targets).detach(), rtol=0, atol=1e-10)
    for name, p in learned.items():
        torch.testing.assert_close(ours[name], p.grad, rtol=0, atol=1e-10, msg=name)


def test_documents_of_a_row_do_not_see_one_another() -> None:
    model, examples = llama().double(), tokenize(characters(), texts(3))
    row = pack(examples)
    assert not (row.inputs == 0).any()  # neither padding nor the end of a text is fed in
    assert row.inputs.shape[1] == sum(len(e.tokens) - 1 for e in examples)
    embedded = model.get_input_embeddings()(row.inputs).detach().requires_grad_()
    AttentionInterface.register("packed_here", packed_attention)
    model.config._attn_implementation = "packed_here"
    hidden = model.model(inputs_embeds=embedded, position_ids=row.positions, documents=row).last_hidden_state[
        0
    ]
    second = slice(len(examples[0].tokens) - 1, len(examples[0].tokens) + len(examples[1].tokens) - 2)
    (reach,) = torch.autograd.grad(hidden[second].sum(), embedded)
    seen = reach[0].abs().sum(-1) > 0
    assert seen[second].all()
    assert int(seen.sum()) == second.stop - second.start


def test_completion_begins_with_the_first_token_that_holds_some_of_it() -> None:
    vocab = {"<end>": 0, "a": 1, "b": 2, "ab": 3, "c": 4}
    tokenizer = Tokenizer(models.BPE({**vocab}, [("a", "b")], unk_token="<end>"))
    whole = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>")
    (straddled,) = tokenize(whole, [Document("ca", "bc")], "completion")
    assert straddled.tokens.tolist() == [4, 3, 4, 0]
    assert straddled.first_target == 1
    (bare,) = tokenize(whole, [Document("cc", "")], "completion")
    assert bare.tokens[bare.first_target :].tolist() == [0]
    (everything,) = tokenize(whole, [Document("", "cc")], "completion")
    assert everything.first_target == 1  # nothing foretells the first token
    assert everything.n_targets == 2


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
def test_schedule_is_that_of_transformers(schedule: Any) -> None:
    recipe = config(schedule=schedule, n_steps=10, warmup_steps=3, learning_rate=0.5)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    name = "constant_with_warmup" if schedule == "constant" else schedule
    theirs = get_scheduler(name, optimizer, num_warmup_steps=3, num_training_steps=10)
    for step in range(10):
        assert recipe.learning_rate_at(step, 10) == pytest.approx(theirs.get_last_lr()[0], abs=1e-12)
        optimizer.step()
        theirs.step()


@pytest.mark.parametrize("method", ["lora", "full"])
def test_steps_are_those_of_a_plain_loop(method: Any) -> None:
    """Epochs, clipping, AdamW, schedule and weighting, against the textbook's loop in float64."""
    recipe = config(method=method, micro_batch_tokens=25, max_grad_norm=0.3, n_epochs=2, n_steps=None)
    done = tune(llama().double(), recipe)
    assert done.steps == 10  # 22 documents, 5 a step, the last 2 alone

    examples = tokenize(characters(), texts())
    tuning = Tuning(llama().double(), examples, recipe)  # for its first weights only
    model, epochs = tuning.model, finetune_module.Epochs(22, 5, finetune_module._stream(recipe.seed, 1))
    learned = [p for p in model.parameters() if p.requires_grad]
    matrices, vectors = [p for p in learned if p.ndim > 1], [p for p in learned if p.ndim == 1]
    optimizer = torch.optim.AdamW(
        [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}], weight_decay=0.1
    )
    for step in range(10):
        batch = [examples[int(number)].tokens for number in epochs.next()]
        sums = [
            F.cross_entropy(model(input_ids=t[None]).logits[0, :-1], t[1:], reduction="sum") for t in batch
        ]
        loss = torch.stack(sums).sum() / sum(len(t) - 1 for t in batch)
        assert done.losses[step] == pytest.approx(loss.item(), abs=1e-9)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learned, 0.3)
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate_at(step, 10)
        optimizer.step()
    torch.testing.assert_close(weights(done.model), weights(model), rtol=0, atol=1e-8)
    assert done.tokens == 2 * sum(len(example.tokens) for example in examples)


def test_global_random_state_neither_decides_nor_changes() -> None:
    def run(seed: int) -> tuple[list[float], torch.Tensor]:
        model = gpt2(resid_pdrop=0.2, attn_pdrop=0.2)
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        found = tune(model, config(method="lora"))
        assert torch.equal(torch.get_rng_state(), before)
        return found.losses, weights(found.model)

    first, again = run(1), run(2)
    assert first[0] == again[0]
    assert torch.equal(first[1], again[1])
    other = tune(gpt2(resid_pdrop=0.2, attn_pdrop=0.2), config(method="lora", seed=1))
    assert other.losses != first[0]


class Cramped:
    """A hook that lets only so many tokens into a model, as too small a memory does."""

    def __init__(self, n_tokens: int, error: BaseException) -> None:
        self.n_tokens, self.error, self.sizes = n_tokens, error, list[int]()

    def __call__(self, module: Any, args: Any, kwargs: Any) -> None:
        self.sizes.append(kwargs["input_ids"].numel())
        if self.sizes[-1] > self.n_tokens:
            raise self.error


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GB)"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: you tried"
        ),
        MemoryError(),
    ],
)
def test_out_of_memory_halves_the_micro_batch_and_changes_no_number(error: BaseException) -> None:
    roomy, model, cramped = tune(llama().double(), config()), llama().double(), Cramped(25, error)
    model.register_forward_pre_hook(cramped, with_kwargs=True)
    found = tune(model, config())
    assert found.losses == pytest.approx(roomy.losses, abs=1e-10)
    torch.testing.assert_close(weights(found.model), weights(roomy.model), rtol=0, atol=1e-9)
    assert sum(size > 25 for size in cramped.sizes) <= 2  # it remembers what fits
    assert found.tokens == roomy.tokens


def test_memory_that_runs_out_halfway_leaves_no_gradient_behind() -> None:
    recipe = config(micro_batch_tokens=30)
    roomy, model, calls = tune(llama().double(), recipe), llama().double(), list[int]()

    def once(module: Any, args: Any) -> None:
        calls.append(1)
        if len(calls) == 2:  # the first micro-batch of the step has left its gradients
            raise torch.OutOfMemoryError("CUDA out of memory.")

    model.lm_head.register_forward_pre_hook(once)
    found = tune(model, recipe)
    assert found.losses == pytest.approx(roomy.losses, abs=1e-10)
    torch.testing.assert_close(weights(found.model), weights(roomy.model), rtol=0, atol=1e-9)


def test_a_run_that_goes_on_remembers_what_fits(tmp_path: Path) -> None:
    def stop(model: Any, step: int) -> list[dict[str, Any]]:
        raise KeyboardInterrupt

    sizes = []
    for again in (False, True):
        model, cramped = llama(), Cramped(25, torch.OutOfMemoryError("CUDA out of memory."))
        model.register_forward_pre_hook(cramped, with_kwargs=True)
        with contextlib.suppress(KeyboardInterrupt):
            tune(
                model, config(), folder=tmp_path, resume=again, record=None if again else stop, record_at=(3,),
                checkpoint_seconds=0.0,
            )  # fmt: skip
        sizes.append(cramped.sizes)
    assert max(sizes[0]) > 25
    assert 0 < max(sizes[1]) <= 25


def test_one_document_too_large_for_the_memory() -> None:
    model = llama()
    model.register_forward_pre_hook(
        Cramped(5, torch.OutOfMemoryError("CUDA out of memory.")), with_kwargs=True
    )
    with pytest.raises(
        MemoryError, match=r"not enough memory for one document of \d+ tokens: try gradient_check"
    ):
        tune(model, config())


def test_another_runtime_error_is_not_taken_for_too_little_memory() -> None:
    model, cramped = llama(), Cramped(5, RuntimeError("broken"))
    model.register_forward_pre_hook(cramped, with_kwargs=True)
    with pytest.raises(RuntimeError, match="broken"):
        tune(model, config())
    assert len(cramped.sizes) == 1


def look(model: Any, step: int) -> list[dict[str, Any]]:
    """A row that the last bit of any weight changes; and the model must work as usual on a padded batch."""
    assert not model.training
    two = torch.tensor([[1, 2, 3], [0, 4, 5]])
    with torch.no_grad():
        padded = model(input_ids=two, attention_mask=torch.tensor([[1, 1, 1], [0, 1, 1]])).logits[1, -1]
        positions = torch.tensor([[0, 1]])
        alone = model(input_ids=two[1:, 1:], position_ids=positions).logits[0, -1]
        del alone
    return [{"step": step, "value": float(weights(model).double().sum()), "logit": float(padded.sum())}]


LOOK_AT = (0, 2, 3, 6)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_run_that_stops_goes_on_with_the_same_numbers(method: Any, tmp_path: Path) -> None:
    recipe = config(method=method)
    whole = tune(gpt2(resid_pdrop=0.1), recipe, record=look, record_at=LOOK_AT)
    assert [row["step"] for row in whole.rows] == [0, 2, 3, 6]

    def stop(model: Any, step: int) -> list[dict[str, Any]]:
        if step == 6:
            raise KeyboardInterrupt
        return look(model, step)

    kept: list[dict[str, Any]] = []
    with pytest.raises(KeyboardInterrupt):
        tune(
            gpt2(resid_pdrop=0.1), recipe, record=stop, record_at=LOOK_AT, rows=kept, folder=tmp_path,
            checkpoint_seconds=0.0,
        )  # fmt: skip
    assert kept == whole.rows[:3]
    with pytest.raises(ValueError, match="holds checkpoints already; resume from them"):
        tune(gpt2(), recipe, folder=tmp_path)
    with pytest.raises(
        ValueError, match=r"expected a checkpoint of finetune \w+, but .* choose another folder"
    ):
        tune(gpt2(), replace(recipe, seed=1), folder=tmp_path, resume=True)
    again = tune(gpt2(resid_pdrop=0.1), recipe, record=look, record_at=LOOK_AT, folder=tmp_path, resume=True)
    assert again.rows == whole.rows
    assert again.losses == whole.losses
    assert again.tokens == whole.tokens
    assert torch.equal(weights(again.model), weights(whole.model))
    finished = tune(gpt2(resid_pdrop=0.1), recipe, folder=tmp_path, resume=True)
    assert finished.losses == whole.losses
    assert torch.equal(weights(finished.model), weights(whole.model))


def test_a_run_goes_on_where_the_model_lies_in_another_folder(tmp_path: Path) -> None:
    model, moved = llama(), llama()
    model.config._name_or_path, moved.config._name_or_path = "/here/models/tiny", "/mnt/drive/models/tiny"
    first = tune(model, config(), folder=tmp_path)
    assert tune(moved, config(), folder=tmp_path, resume=True).losses == first.losses
    other = llama()
    other.config._name_or_path = "/here/models/small"
    with pytest.raises(ValueError, match="expected a checkpoint of finetune"):
        tune(other, config(), folder=tmp_path, resume=True)


def test_checkpoints_of_an_adapter_hold_no_frozen_weight(tmp_path: Path) -> None:
    tune(llama(), config(method="lora"), folder=tmp_path)
    names = load_file(tmp_path / "step-000000006.safetensors")
    kept = {name for name in names if not name.startswith("epochs.")}
    assert kept
    assert all("lora_" in name for name in kept)


KILLED = """
import sys, time
from pathlib import Path
from tests.test_finetune import LOOK_AT, config, gpt2, look, tune

def slow(model, step):
    rows = look(model, step)
    if step == 3:
        time.sleep(0 if "--through" in sys.argv else 600)
    return rows

tune(gpt2(resid_pdrop=0.1), config(method="lora"), record=slow, record_at=LOOK_AT, folder=sys.argv[1],
     checkpoint_seconds=0.0)
"""


def test_a_killed_run_goes_on_with_the_same_numbers(tmp_path: Path, root: Path) -> None:
    whole = tune(gpt2(resid_pdrop=0.1), config(method="lora"), record=look, record_at=LOOK_AT)
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": str(torch.get_num_threads())}
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], cwd=root, env=environment)
    end = time.monotonic() + 120
    while not (tmp_path / "step-000000002.json").exists():
        assert process.poll() is None, "ended before it could be killed"
        assert time.monotonic() < end, "no checkpoint within two minutes"
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    again = tune(
        gpt2(resid_pdrop=0.1),
        config(method="lora"),
        record=look,
        record_at=LOOK_AT,
        folder=tmp_path,
        resume=True,
    )
    assert again.rows == whole.rows
    assert again.losses == whole.losses
    assert torch.equal(weights(again.model), weights(whole.model))


def test_a_full_disk_loses_no_rows_and_no_earlier_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = []

    def full(fd: int) -> None:
        synced.append(fd)
        if len(synced) > 6:  # two files a checkpoint: the fourth does not fit
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(results.os, "fsync", full)
    rows: list[dict[str, Any]] = []
    with pytest.raises(OSError, match=r"No space left on device.*free some disk space"):
        tune(
            llama(),
            config(),
            record=look,
            record_at=LOOK_AT,
            rows=rows,
            folder=tmp_path,
            checkpoint_seconds=0.0,
        )
    monkeypatch.undo()
    assert [row["step"] for row in rows] == [0, 2, 3]
    found = tune(llama(), config(), record=look, record_at=LOOK_AT, folder=tmp_path, resume=True)
    assert found.rows == tune(llama(), config(), record=look, record_at=LOOK_AT).rows


def test_a_diverged_run_stops_and_keeps_its_rows(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = []

    def spoil(model: Any, step: int) -> list[dict[str, Any]]:
        if step == 3:
            for p in model.parameters():
                p.data.fill_(float("nan"))
            return []
        return look(model, step)

    with pytest.raises(
        FloatingPointError, match="the loss at step 3 is not a finite number; lower the learning"
    ):
        tune(llama(), config(), record=spoil, record_at=LOOK_AT, rows=rows, folder=tmp_path)
    assert [row["step"] for row in rows] == [0, 2]
    assert not list(tmp_path.iterdir())  # nothing spoilt was saved


def test_an_adapter_comes_off_and_the_model_is_as_it_was() -> None:
    model = llama()
    before, tokens = weights(model), torch.tensor([[1, 2, 3]])
    found = tune(model, config(method="lora", learning_rate=0.1))
    assert not torch.allclose(found.model(input_ids=tokens).logits, llama()(input_ids=tokens).logits)
    with pytest.raises(ValueError, match="carries an adapter already; take it off"):
        tune(model, config())
    bare = found.model.unload()  # type: ignore[operator]
    assert torch.equal(torch.cat([p.detach().flatten() for p in bare.parameters()]), before)
    assert bare.config._attn_implementation == llama().config._attn_implementation
    assert tune(bare, config(method="full")).losses == tune(llama(), config(method="full")).losses


@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_what_is_learned_is_float32(method: Any, dtype: torch.dtype) -> None:
    found = tune(llama().to(dtype), config(method=method))
    assert all(p.dtype == torch.float32 for p in found.model.parameters())


def test_low_precision_leaves_the_positions_exact() -> None:
    before = {name: buffer.clone() for name, buffer in llama().named_buffers()}
    model = llama()
    tune(model, config(method="lora", precision="bfloat16"))
    assert before
    for name, buffer in model.named_buffers():
        assert torch.equal(buffer, before[name]), name


@pytest.mark.parametrize("interrupted", [False, True])
def test_nothing_of_a_training_stays_on_the_model(interrupted: bool) -> None:
    def stop(model: Any, step: int) -> list[dict[str, Any]]:
        raise KeyboardInterrupt

    model, recipe = llama(), config(method="full", precision="bfloat16", gradient_checkpointing=True)
    with pytest.raises(KeyboardInterrupt) if interrupted else contextlib.nullcontext():
        tune(model, recipe, record=stop if interrupted else None, record_at=(6,))
    same = llama()
    same.load_state_dict(model.state_dict())
    assert not model.training
    assert not any(getattr(module, "gradient_checkpointing", False) for module in model.modules())
    assert all(p.grad is None for p in model.parameters())
    tokens = torch.tensor([[1, 2, 3]])
    assert torch.equal(model(input_ids=tokens).logits, same(input_ids=tokens).logits)


def test_bfloat16_keeps_float32_masters_and_follows_float32() -> None:
    exact = tune(llama(), config(method="full"))
    rough = tune(llama(), config(method="full", precision="bfloat16"))
    assert all(p.dtype == torch.float32 for p in rough.model.parameters())
    assert rough.losses != exact.losses
    assert rough.losses == pytest.approx(exact.losses, rel=0.02)
    adapter = tune(llama(), config(method="lora", precision="bfloat16"))
    kinds = {p.requires_grad: p.dtype for p in adapter.model.parameters()}
    assert kinds == {True: torch.float32, False: torch.bfloat16}
    assert adapter.losses == pytest.approx(tune(llama(), config(method="lora")).losses, rel=0.02)
    adapter.model(input_ids=torch.tensor([[1, 2]]))  # works outside of the training too


@pytest.mark.parametrize(
    ("capability", "expected"), [((7, 5), "float16"), ((8, 0), "bfloat16"), ((9, 0), "bfloat16")]
)
def test_automatic_precision_suits_the_card(
    capability: tuple[int, int], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert torch.cuda.is_available() or finetune_module._precision("auto") == "float32"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    assert finetune_module._precision("auto") == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_steps": None}, "give either n_steps or n_epochs, got n_steps=None and n_epochs=None"),
        ({"n_epochs": 1}, "give either n_steps or n_epochs, got n_steps=6 and n_epochs=1"),
        ({"method": "prefix"}, "method must be one of lora, full, got 'prefix'"),
        ({"schedule": "step"}, "schedule must be one of constant, linear, cosine, got 'step'"),
        ({"precision": "int8"}, "precision must be one of auto, float32, bfloat16, float16, got 'int8'"),
        ({"loss_on": "prompt"}, "loss_on must be one of document, completion, got 'prompt'"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0, got 0.0"),
        ({"learning_rate": float("nan")}, "learning_rate must be above 0, got nan"),
        ({"batch_size": 0}, "batch_size must be 1 or more, got 0"),
        ({"warmup_steps": -1}, "warmup_steps must be 0 or more, got -1"),
        ({"weight_decay": float("nan")}, "weight_decay must be 0 or more, got nan"),
    ],
)
def test_a_recipe_refuses_nonsense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config(**options)


@pytest.mark.parametrize(
    ("documents", "message"),
    [
        ([], "at least one document, got none"),
        ([Document("ab", "c"), Document("", "")], "document 1 is empty"),
        ([Document("ab", "c"), Document("\n", "")], "document 1 is empty, or has no token"),
        (
            [Document("ab", "c"), Document("a" * 20, "b" * 12)],
            "document 1 has 33 tokens with its end, more than the 32",
        ),
    ],
)
def test_documents_that_cannot_be_learned(documents: list[Document], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        finetune(llama(), characters(), documents, config(), progress=False)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU can")
def test_float16_needs_a_gpu() -> None:
    with pytest.raises(ValueError, match='precision "float16" needs a GPU, and there is none here'):
        tune(llama(), config(precision="float16"))


def test_progress_tells_loss_and_speed(capsys: pytest.CaptureFixture[str]) -> None:
    finetune(llama(), characters(), texts(), config(), label="trial")
    shown = capsys.readouterr().err
    assert "trial: 100%" in shown
    assert "6/6" in shown
    assert "tokens/s" in shown


def ask(model: Any, step: int) -> list[dict[str, Any]]:
    """A row of what the model says, which needs all of its weights."""
    pairs = [("ab", "c"), ("abd", "e"), ("fg", "hi")]
    log_probs = [one.log_prob for one in score_continuations(model, characters(), pairs)]
    (text,) = complete(model, characters(), ["ab"], max_new_tokens=4)[0]
    matches = exact_match(model, characters(), [("ab", text), ("ab", "zz")], max_new_tokens=4)
    return [{"step": step, "log_prob": sum(log_probs), "text": text, "matches": matches}]


PROCESSES = """
import json, os, sys
os.environ["ACCELERATE_USE_CPU"] = "true"
import accelerate.state as states
from accelerate import DistributedType, FullyShardedDataParallelPlugin
from pathlib import Path

plain = states.AcceleratorState.__init__

def lifted(self, *args, **kwargs):  # accelerate gives FSDP to GPUs only; torch has it on a CPU too
    plain(self, *args, **kwargs)
    if os.environ.get("ACCELERATE_USE_FSDP") == "true" and self.distributed_type == DistributedType.MULTI_CPU:
        self.distributed_type = DistributedType.FSDP
        self.fsdp_plugin = FullyShardedDataParallelPlugin()

states.AcceleratorState.__init__ = lifted
from tests.test_finetune import ask, config, llama, tune
import torch.distributed as dist

def stop(model, step):
    raise KeyboardInterrupt

found = {}
for method in ("lora", "full"):
    recipe, folder = config(method=method, micro_batch_tokens=20, n_steps=7), Path(sys.argv[1], method)
    try:
        tune(llama(), recipe, folder=folder, checkpoint_seconds=0.0, record=stop, record_at=(4,))
    except KeyboardInterrupt:
        dist.barrier()
    done = tune(llama(), recipe, folder=folder, resume=True, record=ask, record_at=(7,))
    found[method], found[f"{method} rows"] = done.losses, done.rows
    found["wrapped"] = type(done.model).__name__
    found["processes"] = dist.get_world_size()
if dist.get_rank() == 0:
    Path(sys.argv[1], "found.json").write_text(json.dumps(found))
dist.destroy_process_group()
"""


@pytest.mark.parametrize(("kind", "n_machines"), [("ddp", 2), ("fsdp", 1)])
def test_two_processes_have_the_losses_of_one(kind: str, n_machines: int, tmp_path: Path, root: Path) -> None:
    """The shipped accelerate configurations, with an effective batch of 5 and of 2 documents on two processes.

    Two machines are two launches that meet at a port, as on the site's page about more than one machine.
    """
    shipped = Path(finetune_module.__file__).parent / "accelerate" / f"{kind}.yaml"
    (tmp_path / "script.py").write_text(PROCESSES)
    environment = {
        **os.environ,
        "PYTHONPATH": str(root),
        "OMP_NUM_THREADS": "1",
        "ACCELERATE_USE_CPU": "true",
    }
    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(shipped)]
    port = "0"  # any free one
    if n_machines > 1:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        command += ["--num_machines", str(n_machines), "--main_process_ip", "127.0.0.1"]
    command += ["--main_process_port", port]
    launched = [
        subprocess.Popen(
            [*command, "--machine_rank", str(rank), str(tmp_path / "script.py"), str(tmp_path)],
            cwd=root,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(n_machines)
    ]
    for one in launched:
        _, err = one.communicate(timeout=300)
        assert one.returncode == 0, err[-3000:]
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["processes"] == 2
    assert found["wrapped"].startswith("FSDP") == (kind == "fsdp")
    for method in ("lora", "full"):
        recipe = config(method=method, micro_batch_tokens=20, n_steps=7)
        alone = tune(llama(), recipe, record=ask, record_at=(7,))
        assert found[method] == pytest.approx(alone.losses, rel=1e-5)
        (said,) = alone.rows
        assert said["text"].strip()
        assert found[f"{method} rows"] == [said | {"log_prob": pytest.approx(said["log_prob"], rel=1e-4)}]
