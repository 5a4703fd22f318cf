"""What to train and what to ask: one recipe of one of the paper's three experiments, over seeds.

The four presets are the functions `smoke`, `laptop`, `colab` and `paper`; ``dataclasses.replace(config, ...)`` makes
changes, and a config that makes no sense is refused. A sweep is several runs, each with its own config and header.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from coursekit.experiments.reversal_curse.data import RELATIONS, REMEDIES, experiment_1, experiment_3

SOURCES = ("own", "published")
PACKAGED = "HuggingFaceTB/SmolLM2-135M-Instruct"
"""`coursekit.hub.PACKAGED`, named here too so that the presets can be listed without torch; a test compares them."""
COLAB_DEFAULT = "HuggingFaceTB/SmolLM2-360M"


@dataclass(frozen=True)
class ReversalCurseConfig:
    """One recipe of one experiment.

    Parameters
    ----------
    study : {1, 2, 3}
        1: facts about invented people. 2: parents and children of people of history, no training. 3: instructions.
    model, revision : str
        As `coursekit.hub.load_model` takes them.
    source : {"own", "published"}
        Material of Experiment 1: this course's, or the paper's authors' (``hub.load_dataset("reversal_curse/exp1")``).
    remedy : str
        Experiment 1 with something that might help, one of `coursekit.experiments.reversal_curse.data.REMEDIES`.
    n_facts : int
        Experiment 1: facts in each of the two single-order subsets. 2: relations asked about, the first of the list.
        3: demonstrated instructions.
    n_both : int, optional
        Experiment 1: facts in `both`; `n_facts` by default.
    n_paraphrases : int
        Training sentences a fact and order; in experiment 3 wordings of an instruction.
    n_held_out : int
        Experiment 1: held-out prompts a fact and order. 3: instructions that are asked and not demonstrated.
    n_samples : int
        Experiment 2: answers drawn to each question, at temperature 1; 0 draws none and only scores the right answer.
    seeds : tuple of int
        Each decides facts, documents' order, first weights of the adapter, and samples.
    method : {"lora", "full"}
    learning_rate : float
        Of AdamW.
    batch_size : int
        Documents an optimizer step.
    n_steps, n_epochs : int, optional
        Optimizer steps, or passes over the documents; one of the two.
    lora_rank : int
        The scale alpha is twice the rank.
    loss_on : {"document", "completion"}
    schedule : {"constant", "linear", "cosine"}
    warmup_steps : int
    weight_decay : float
    micro_batch_tokens : int
        Tokens on the device at a time; changes memory, not results.
    gradient_checkpointing : bool
    precision : {"auto", "float32", "bfloat16", "float16"}
    eval_every : int
        Optimizer steps between evaluations; step 0 and the last are always evaluated.

    Raises
    ------
    ValueError
        If a value is outside its range, or does not go with another.
    """

    study: int = 1
    model: str = PACKAGED
    revision: str | None = None
    source: str = "own"
    remedy: str = "none"
    n_facts: int = 30
    n_both: int | None = None
    n_paraphrases: int = 30
    n_held_out: int = 10
    n_samples: int = 10
    seeds: tuple[int, ...] = (0, 1, 2)
    method: str = "lora"
    learning_rate: float = 1e-3
    batch_size: int = 8
    n_steps: int | None = None
    n_epochs: int | None = 10
    lora_rank: int = 16
    loss_on: str = "document"
    schedule: str = "constant"
    warmup_steps: int = 0
    weight_decay: float = 0.0
    micro_batch_tokens: int = 2048
    gradient_checkpointing: bool = False
    precision: str = "auto"
    eval_every: int = 50

    def __post_init__(self) -> None:
        for name, allowed in (
            ("study", (1, 2, 3)),
            ("source", SOURCES),
            ("remedy", REMEDIES),
            ("method", ("lora", "full")),
            ("loss_on", ("document", "completion")),
            ("schedule", ("constant", "linear", "cosine")),
            ("precision", ("auto", "float32", "bfloat16", "float16")),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"{name} must be one of {', '.join(map(str, allowed))}, got {getattr(self, name)!r}; "
                    "choose one of them"
                )
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds must hold at least one entry and no repeats, got {self.seeds}")
        for seed in self.seeds:
            if type(seed) is not int or not 0 <= seed < 2**32:
                raise ValueError(
                    f"seeds must be whole numbers (int) from 0 to 2³² − 1, got {seed!r}; choose another"
                )
        for name in ("batch_size", "lora_rank", "micro_batch_tokens", "eval_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, got {getattr(self, name)}; raise it")
        if (self.n_steps is None) == (self.n_epochs is None):
            raise ValueError(
                f"give n_steps or n_epochs and set the other to None, got n_steps={self.n_steps} and "
                f"n_epochs={self.n_epochs}"
            )
        for name in ("n_steps", "n_epochs"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, got {getattr(self, name)}; raise it")
        if self.learning_rate <= 0:
            raise ValueError(
                f"learning_rate must be above 0, got {self.learning_rate}; LoRA takes about 0.001"
            )
        for name in ("warmup_steps", "weight_decay", "n_samples"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be 0 or more, got {getattr(self, name)}; 0 switches it off")
        if self.study != 1 and (self.remedy != "none" or self.source != "own"):
            raise ValueError(
                f"remedy and source belong to experiment 1, got study={self.study}, remedy={self.remedy!r} and "
                f"source={self.source!r}; leave them out"
            )
        if self.source == "published" and (self.remedy != "none" or self.n_both is not None):
            raise ValueError(
                "the published material comes as it is: leave out remedy and n_both, or take source='own'"
            )
        if self.study == 1:
            if min(self.n_facts, self.n_facts if self.n_both is None else self.n_both) < 2:
                raise ValueError(
                    f"n_facts and n_both must be 2 or more, got {self.n_facts} and {self.n_both}: the random name "
                    "of the comparison is that of another fact"
                )
            own = {name: getattr(self, name) for name in ("n_facts", "n_both", "n_paraphrases", "n_held_out")}
            experiment_1(0, **own, remedy=self.remedy)  # refuses sizes that it does not have
        if self.study == 2 and self.n_facts < 1:
            raise ValueError(f"n_facts must be 1 or more, got {self.n_facts}; raise it")
        if self.study == 3:
            experiment_3(
                0, n_facts=self.n_facts, n_held_out=self.n_held_out, n_paraphrases=self.n_paraphrases
            )


def smoke(study: int = 1) -> ReversalCurseConfig:
    """Seconds: everything runs on the real packaged model, nothing is learned."""
    if study == 2:
        return replace(laptop(2), n_facts=3, n_samples=1)
    if study == 3:
        return replace(
            laptop(3), n_facts=4, n_held_out=2, n_paraphrases=1, n_epochs=None, n_steps=2, eval_every=2
        )
    return replace(
        laptop(),
        n_facts=2,
        n_both=2,
        n_paraphrases=2,
        n_held_out=1,
        n_epochs=None,
        n_steps=3,
        eval_every=3,
    )


def laptop(study: int = 1) -> ReversalCurseConfig:
    """The curse seen for real in about a minute on 2 CPU cores: few facts, a low-rank adapter, a high learning rate.

    Parameters
    ----------
    study : {1, 2, 3}

    Returns
    -------
    ReversalCurseConfig
    """
    if study == 2:
        return ReversalCurseConfig(study=2, n_facts=len(RELATIONS), seeds=(0,))
    if study == 3:
        return ReversalCurseConfig(
            study=3,
            n_facts=24,
            n_held_out=16,
            n_paraphrases=4,
            seeds=(0,),
            learning_rate=2e-3,
            batch_size=8,
            n_epochs=8,
            schedule="linear",
            eval_every=46,
        )
    return ReversalCurseConfig(
        n_facts=8,
        n_both=4,
        n_paraphrases=6,
        n_held_out=2,
        seeds=(0,),
        learning_rate=2e-3,
        batch_size=8,
        n_epochs=3,
        schedule="linear",
        eval_every=18,
    )


def colab() -> ReversalCurseConfig:
    """Experiment 1 at the paper's data size, one seed, on a free GPU."""
    return ReversalCurseConfig(
        model=COLAB_DEFAULT,
        seeds=(0,),
        learning_rate=1e-3,
        batch_size=16,
        n_epochs=3,
        schedule="linear",
        warmup_steps=10,
        eval_every=225,
    )


def paper() -> ReversalCurseConfig:
    """Experiment 1 by Llama-1-7B, full finetuning (A.4), for several GPUs by FSDP.

    Notes
    -----
    The paper's Llama sweep has learning rates 1e-6, 2e-6, 1e-5, 2e-5 and batch sizes 1, 4, 16 (Figure 7) and does not
    print its epochs: ten, those of its GPT-3 sweep, are ours, and so is the choice of the largest of each.
    """
    return ReversalCurseConfig(
        model="huggyllama/llama-7b",
        method="full",
        learning_rate=2e-5,
        batch_size=16,
        n_epochs=10,
        gradient_checkpointing=True,
        precision="bfloat16",
        eval_every=450,
    )


SWEEP = {
    f"sweep_{rate:.0e}_{size}".replace("e-0", "e-"): (rate, size)
    for rate in (5e-4, 2e-3, 5e-3)
    for size in (4, 16)
}
"""Learning rate and batch size of each measured run of the sweep (Figure 6), by its name."""


def measured(name: str) -> ReversalCurseConfig:
    """The configs of the runs in `measured/`, for two CPU cores; names as its files have.

    Raises
    ------
    ValueError
        If the name is unknown.
    """
    facts = replace(laptop(), n_epochs=4)
    configs = {
        # Table 1, Table 3, Figure 4, and the matrix of facts that fills in.
        "experiment_1": replace(facts, seeds=(0, 1, 2), eval_every=8),
        # The paper's amount of data: 90 facts, 3,600 documents read once, 300 prompts a cell.
        "paper_size": replace(
            laptop(),
            n_facts=30,
            n_both=30,
            n_paraphrases=30,
            n_held_out=10,
            batch_size=16,
            n_epochs=1,
            eval_every=225,
        ),
        # What helps and what does not; `experiment_1` is what they are compared with.
        **{
            f"remedy_{remedy}": replace(facts, seeds=(0, 1), remedy=remedy, eval_every=36)
            for remedy in REMEDIES
            if remedy != "none"
        },
        # Figure 6: six recipes, the same number of documents.
        **{
            name: replace(facts, learning_rate=rate, batch_size=size, eval_every=200)
            for name, (rate, size) in SWEEP.items()
        },
        "experiment_2": laptop(2),
        "experiment_3": laptop(3),
    }
    if name not in configs:
        raise ValueError(f"name must be one of {', '.join(configs)}, got {name!r}; choose one of them")
    return configs[name]


MEASURED_MINUTES: dict[str, float] = {
    "experiment_1": 6,
    "paper_size": 15,
    "remedy_both_orders": 4,
    "remedy_reversed_text": 4,
    "remedy_reversed_words": 4,
    "remedy_in_context": 1,
    **dict.fromkeys(SWEEP, 1.5),
    "experiment_2": 4,
    "experiment_3": 6,
}
"""Expected minutes of each measured run on 2 CPU cores with nothing else to do."""

MINUTES: dict[str, float] = {"smoke": 0.2, "laptop": 1.2, "colab": 8, "paper": 180}
"""Expected minutes of one run of the preset on the hardware of `HARDWARE`."""

HARDWARE: dict[str, str] = {
    "smoke": "2 CPU cores",
    "laptop": "2 CPU cores",
    "colab": "a free T4 GPU",
    "paper": "8 data-center GPUs of 80 GB",
}
"""What each preset is meant for."""

NEEDS: tuple[str, ...] = ("accelerate", "gguf", "peft", "transformers")
"""Packages that pretrained models take, besides PyTorch."""
