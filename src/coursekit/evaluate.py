r"""Evaluation of language models: log-probability, exact match, multiple choice, P(True), samples, regression watch.

How the model is read, every distinct beginning of the texts once, is in `coursekit.reading`.
"""

from __future__ import annotations

import copy
import itertools
import logging
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from coursekit.reading import (
    Tokens,
    causal_model,
    check_lengths,
    chunk_tokens,
    decode,
    evaluating,
    read,
    refuse_not_numbers,
)
from coursekit.stats import benjamini_hochberg, mcnemar, proportion_stderr


@dataclass(frozen=True)
class Scored:
    """The log-probability of one continuation.

    Parameters
    ----------
    log_prob : float
        Sum over the continuation's tokens, in nats.
    n_tokens : int
        Tokens in the continuation.
    greedy : bool
        Every token is the most probable one at its place.
    """

    log_prob: float
    n_tokens: int
    greedy: bool


@dataclass(frozen=True)
class Question:
    """A question with its choices; `answer` is the index of the right one, or the indices of all that are right.

    A choice begins with its own space.
    """

    prompt: str
    choices: tuple[str, ...]
    answer: int | Sequence[int]

    @property
    def right(self) -> tuple[int, ...]:
        """Indices of the right choices."""
        return tuple(self.answer) if isinstance(self.answer, Sequence) else (self.answer,)


@dataclass(frozen=True)
class MultipleChoice:
    """Result of `multiple_choice`: share of questions answered rightly, its standard error, and each question's."""

    accuracy: float
    stderr: float
    correct: list[bool]
    log_probs: list[list[float]]


@dataclass(frozen=True)
class TruthfulMass:
    """Result of `truthful_mass`: mean share of probability on right choices, its standard error, each question's."""

    mean: float
    stderr: float
    shares: list[float]


def score_continuations(
    model: nn.Module,
    tokenizer: Any,
    pairs: Sequence[tuple[str, str]],
    *,
    batch_tokens: int | None = None,
    engine: str = "coursekit",
    progress: bool = False,
) -> list[Scored]:
    r"""Log-probability of each continuation given its prompt, :math:`\sum_t \log p(c_t \mid prompt, c_{<t})`.

    Parameters
    ----------
    model : transformers.PreTrainedModel or peft.PeftModel
        Any causal language model. It is evaluated in eval mode, and left in the mode and on the device it was.
    tokenizer : transformers.PreTrainedTokenizerBase
    pairs : sequence of (prompt, continuation)
        A continuation normally begins with a space. An empty prompt stands for the start of a text.
    batch_tokens : int, optional
        Tokens in a forward pass; changes the speed and the memory, not the result. 512 on a CPU, 4096 on a GPU.
    engine : {"coursekit", "lm_eval"}
        "lm_eval" has the optional package lm-evaluation-harness read the same texts: the same numbers, up to rounding,
        by a second implementation, more slowly.
    progress : bool
        Show a bar with the time left.

    Returns
    -------
    list of Scored
        In the order of the pairs, natural logarithms.

    Raises
    ------
    ValueError
        If there are no pairs, a continuation is empty, a text is longer than the model's context, or there is no such
        engine.
    FloatingPointError
        If a probability is not a number.
    ModuleNotFoundError
        If the engine is "lm_eval" and lm-evaluation-harness is not installed.

    Notes
    -----
    The boundary between prompt and continuation is that of lm-evaluation-harness 0.4.13: prompt + continuation are
    encoded together, the continuation is what follows as many tokens as the prompt alone has, and spaces that
    end the prompt belong to the continuation. An empty prompt becomes the tokenizer's BOS token (EOS if it has none).
    A text that is too long is an error here, where the harness drops its beginning.

    Examples
    --------
    >>> from coursekit import hub
    >>> model, tokenizer = hub.load_model(), hub.load_tokenizer()  # doctest: +SKIP
    >>> score_continuations(model, tokenizer, [("The capital of France is", " Paris")])  # doctest: +SKIP
    [Scored(log_prob=-0.258..., n_tokens=1, greedy=True)]
    """
    if not pairs:
        raise ValueError("nothing to score: pass at least one (prompt, continuation) pair")
    if batch_tokens is not None and batch_tokens < 1:
        raise ValueError(f"batch_tokens is at least 1; got {batch_tokens}")
    encoded = [encode_pair(tokenizer, prompt, continuation) for prompt, continuation in pairs]
    if engine == "lm_eval":
        return _read_by_harness(
            model, tokenizer, pairs, encoded, batch_tokens=batch_tokens, progress=progress
        )
    if engine != "coursekit":
        raise ValueError(f"engine is 'coursekit' or 'lm_eval'; got {engine!r}")
    found = read(model, encoded, batch_tokens=batch_tokens, progress=progress)
    return [
        Scored(math.fsum(log_probs), len(tokens), best == tokens)
        for (_, tokens), (log_probs, best) in zip(encoded, found, strict=True)
    ]


def multiple_choice(
    model: nn.Module,
    tokenizer: Any,
    questions: Sequence[Question],
    *,
    batch_tokens: int | None = None,
    engine: str = "coursekit",
    progress: bool = False,
) -> MultipleChoice:
    r"""Answer each question with its most probable choice, :math:`\arg\max_k \log p(choice_k \mid prompt)`.

    Parameters
    ----------
    model, tokenizer, batch_tokens, engine, progress
        As for `score_continuations`.
    questions : sequence of Question

    Returns
    -------
    MultipleChoice
        Accuracy and its standard error :math:`\sqrt{p (1 - p) / n}` over the n questions; the sums of
        log-probabilities in nats, not divided by length (`acc` of lm-evaluation-harness). A tie goes to the first.

    Raises
    ------
    ValueError
        If there are no questions, an answer is not among the choices, or as `score_continuations`.

    Examples
    --------
    >>> question = Question("2 + 2 =", (" 4", " 5"), answer=0)
    >>> multiple_choice(model, tokenizer, [question]).accuracy  # doctest: +SKIP
    1.0
    """
    if not questions:
        raise ValueError("nothing to answer: pass at least one question")
    for question in questions:
        if not question.right or not all(0 <= k < len(question.choices) for k in question.right):
            raise ValueError(
                f"answer is the index of one of {len(question.choices)} choices, counted from 0, or several; "
                f"got {question.answer} for {question.prompt[-60:]!r}"
            )
    pairs = [(question.prompt, choice) for question in questions for choice in question.choices]
    scores = score_continuations(
        model, tokenizer, pairs, batch_tokens=batch_tokens, engine=engine, progress=progress
    )
    each = iter(score.log_prob for score in scores)
    log_probs = [list(itertools.islice(each, len(question.choices))) for question in questions]
    correct = [
        values.index(max(values)) in question.right
        for values, question in zip(log_probs, questions, strict=True)
    ]
    n = len(correct)
    return MultipleChoice(sum(correct) / n, proportion_stderr(sum(correct), n), correct, log_probs)


def truthful_mass(
    model: nn.Module,
    tokenizer: Any,
    questions: Sequence[Question],
    *,
    batch_tokens: int | None = None,
    engine: str = "coursekit",
    progress: bool = False,
) -> TruthfulMass:
    r"""Share of the choices' probability that lies on the right ones, averaged over questions (TruthfulQA's MC2).

    .. math:: \frac1n \sum_i \frac{\sum_{k \in right_i} p_{ik}}{\sum_k p_{ik}}, \quad p_{ik} = p(choice_k \mid prompt_i)

    Parameters
    ----------
    model, tokenizer, batch_tokens, engine, progress
        As for `score_continuations`.
    questions : sequence of Question
        Several choices may be right: `answer` is then the tuple of their indices.

    Returns
    -------
    TruthfulMass
        The mean, between 0 and 1, its standard error :math:`s / \sqrt n` (NaN for one question), and every share.

    Raises
    ------
    ValueError
        If a question has no right or no wrong choice, or as `multiple_choice`.

    Notes
    -----
    This is no accuracy: no question counts as answered rightly or wrongly. Michaelov & Bergen 2023 describe it as one
    ("the model is considered to respond correctly if the total probability of correct responses is greater than that of
    incorrect responses"), but ran lm-evaluation-harness 0.3.0, whose `truthfulqa_mc2` is the mean above.

    References
    ----------
    Lin et al. 2022, TruthfulQA. Michaelov & Bergen 2023, section 2.

    Examples
    --------
    >>> question = Question("2 + 2 =", (" 4", " four", " 5"), answer=(0, 1))
    >>> truthful_mass(model, tokenizer, [question]).mean  # doctest: +SKIP
    0.646...
    """
    for question in questions:
        if not 0 < len(set(question.right)) < len(question.choices):
            raise ValueError(
                f"{question.prompt[-60:]!r} needs right and wrong choices; right are {question.answer}"
            )
    found = multiple_choice(
        model, tokenizer, questions, batch_tokens=batch_tokens, engine=engine, progress=progress
    )
    shares = [
        math.fsum(torch.tensor(values, dtype=torch.float64).softmax(0)[list(set(question.right))].tolist())
        for values, question in zip(found.log_probs, questions, strict=True)
    ]
    n = len(shares)
    stderr = statistics.stdev(shares) / math.sqrt(n) if n > 1 else math.nan
    return TruthfulMass(math.fsum(shares) / n, stderr, shares)


def p_true(
    model: nn.Module,
    tokenizer: Any,
    prompts: Sequence[str],
    *,
    choices: tuple[str, str] = (" True", " False"),
    batch_tokens: int | None = None,
    engine: str = "coursekit",
    progress: bool = False,
) -> list[float]:
    r"""How probable a model thinks an answer is, :math:`P(True) = p(true) / (p(true) + p(false))` after each prompt.

    Parameters
    ----------
    model, tokenizer, batch_tokens, engine, progress
        As for `score_continuations`.
    prompts : sequence of str
        Each shows a question and a proposed answer, and asks whether the answer is true. Small models need solved
        examples before it (`few_shot`).
    choices : pair of str
        What stands for true and for false at the end of the prompt; the paper's form is (" (A)", " (B)").

    Returns
    -------
    list of float
        Between 0 and 1, in the order of the prompts. `coursekit.stats.brier_score` and
        `expected_calibration_error` compare them with whether the answers were right.

    Raises
    ------
    ValueError
        As `score_continuations`.

    References
    ----------
    Kadavath et al. 2022, Language Models (Mostly) Know What They Know, section 4.

    Examples
    --------
    >>> prompt = "Question: 2 + 2?\nProposed answer: 4\nThe proposed answer is:"
    >>> p_true(model, tokenizer, [prompt])  # doctest: +SKIP
    [0.439...]
    """
    asked = [Question(prompt, choices, answer=0) for prompt in prompts]
    return truthful_mass(
        model, tokenizer, asked, batch_tokens=batch_tokens, engine=engine, progress=progress
    ).shares


def regression_watch(
    before: tuple[nn.Module, Any],
    after: tuple[nn.Module, Any],
    tasks: Mapping[str, Sequence[Question]],
    *,
    level: float = 0.05,
    batch_tokens: int | None = None,
    engine: str = "coursekit",
    progress: bool = False,
) -> pd.DataFrame:
    """Compare two checkpoints on a list of tasks, and tell which tasks got significantly worse.

    Parameters
    ----------
    before, after : (model, tokenizer)
        The two checkpoints, as for `score_continuations`.
    tasks : mapping of str to sequence of Question
        The questions of each task, answered by both checkpoints as in `multiple_choice`.
    level : float
        Expected share of false findings among the findings, over all tasks; the intervals cover 1 - level, each
        by itself.
    batch_tokens, engine, progress
        As for `score_continuations`.

    Returns
    -------
    pandas.DataFrame
        A row a task: task, n (questions), before and after (accuracy), difference with low and high, p (McNemar's
        exact test: the same questions twice), q (Benjamini-Hochberg over the tasks), and verdict: "worse" or "better"
        where q is at most the level, else "no evidence", which is no evidence of equality either.

    Raises
    ------
    ValueError
        If there are no tasks or no questions in one, the level is not between 0 and 1, or as `multiple_choice`.

    References
    ----------
    The paper's advice to whoever updates a model: Michaelov & Bergen 2023, section 4. The statistics:
    `coursekit.stats.mcnemar` and `coursekit.stats.benjamini_hochberg`.

    Examples
    --------
    >>> sums = [Question(f"{a} + {b} =", (f" {a + b}", f" {a + b + 1}"), 0) for a in range(9) for b in range(9)]
    >>> table = regression_watch((old, tokenizer), (new, tokenizer), {"sums": sums})  # doctest: +SKIP
    >>> table[table["verdict"] == "worse"]  # doctest: +SKIP
    """
    if not tasks or not all(tasks.values()):
        raise ValueError("nothing to watch: pass at least one task, and at least one question for each")
    if not 0 < level < 1:
        raise ValueError(f"level is a share between 0 and 1, such as 0.05; got {level}")
    before_right, after_right = (
        [
            multiple_choice(
                model, tokenizer, questions, batch_tokens=batch_tokens, engine=engine, progress=progress
            ).correct
            for questions in tasks.values()
        ]
        for model, tokenizer in (before, after)
    )
    table = pd.DataFrame(
        {"task": task, "n": len(old), "before": sum(old) / len(old), "after": sum(new) / len(new)}
        | mcnemar(old, new, level=1 - level)._asdict()
        for task, old, new in zip(tasks, before_right, after_right, strict=True)
    )
    table = table.rename(columns={"value": "difference"}).assign(q=benjamini_hochberg(table["p"]))
    found = (table["difference"] < 0).map({True: "worse", False: "better"})
    return table.assign(verdict=found.where(table["q"] <= level, "no evidence"))


def complete(
    model: nn.Module,
    tokenizer: Any,
    prompts: Sequence[str],
    *,
    max_new_tokens: int = 50,
    temperature: float = 0.0,
    seed: int = 0,
    n_samples: int = 1,
) -> list[list[str]]:
    r"""Continue each prompt, greedily or by sampling from :math:`p_i \propto \exp(logit_i / temperature)`.

    Parameters
    ----------
    model, tokenizer
        As for `score_continuations`.
    prompts : sequence of str
    max_new_tokens : int
        Tokens at most; a completion ends earlier at the model's end-of-text token.
    temperature : float
        0 takes the most probable token.
    seed : int
        Every sample's random numbers follow from the seed and its place, whatever is in its batch.
    n_samples : int
        Completions of each prompt; the prompt is computed once.

    Returns
    -------
    list of list of str
        n_samples completions for each prompt, without the prompt and without special tokens.

    Raises
    ------
    ValueError
        If there are no prompts, a number is out of range, prompt and completion could exceed the context, or the model
        keeps something else than keys and values (state-space and recurrent layers).

    Examples
    --------
    >>> complete(model, tokenizer, ["One, two, three,"], max_new_tokens=3)  # doctest: +SKIP
    [[' four, five']]
    """
    if not prompts:
        raise ValueError("nothing to complete: pass at least one prompt")
    if max_new_tokens < 1 or n_samples < 1 or not 0 <= temperature < math.inf:
        raise ValueError(
            "expected max_new_tokens >= 1, n_samples >= 1 and a finite temperature >= 0; "
            f"got {max_new_tokens}, {n_samples} and {temperature}"
        )
    rows = [encode_prompt(tokenizer, prompt) for prompt in prompts]
    # One uniform number a token, turned into a token by the inverse of the cumulative distribution.
    uniform = torch.rand(
        (len(rows) * n_samples, max_new_tokens),
        generator=torch.Generator().manual_seed(seed),
        dtype=torch.float64,
    )

    def choose(logits: Tensor, samples: Tokens, step: int) -> Tensor:
        if temperature == 0:
            return logits.argmax(-1)
        device = torch.device("cpu") if logits.device.type == "mps" else logits.device  # MPS lacks float64
        cumulative = (logits.to(device, torch.float64) / temperature).softmax(-1).cumsum(-1)
        u = uniform[samples, step].to(device)[:, None] * cumulative[:, -1:]
        tokens = torch.searchsorted(cumulative, u, right=True)[:, 0].clamp(max=logits.shape[-1] - 1)
        return tokens.to(logits.device)

    tokens = decode(
        model, rows, max_new_tokens, choose, ends=end_tokens(model, tokenizer), n_samples=n_samples
    )
    texts = [_text(tokenizer, one) for one in tokens]
    return [texts[at : at + n_samples] for at in range(0, len(texts), n_samples)]


def exact_match(
    model: nn.Module,
    tokenizer: Any,
    pairs: Sequence[tuple[str, str]],
    *,
    max_new_tokens: int = 50,
    progress: bool = False,
) -> list[bool]:
    """Whether the greedy completion begins with the target: `completion.strip().lower().startswith(target...)`.

    Parameters
    ----------
    model, tokenizer, progress
        As for `score_continuations`.
    pairs : sequence of (prompt, target)
    max_new_tokens : int
        Length of the completion that the rule looks at, in tokens.

    Returns
    -------
    list of bool
        In the order of the pairs; `coursekit.stats.proportion_stderr(sum(found), len(found))` is the standard error.

    Raises
    ------
    ValueError
        If there are no pairs, a target is empty, or as `complete`.

    Notes
    -----
    The answers are those of generating all tokens and then applying the rule, at a fraction of the cost. The target's
    own tokens are a guess of the completion, and one forward pass over prompt and guess tells the greedy token at
    every place. Where the guess holds to its end the target is matched; where it first fails the text is what was
    right of it and the greedy token, and mostly that can no longer begin with the target. Only what is still open
    (another case, another way to cut the words into tokens) is decoded token by token, until it is decided.

    References
    ----------
    Berglund et al. (2023), The Reversal Curse, section 2.1.2. Guess and check: Leviathan et al. (2023), Fast Inference
    from Transformers via Speculative Decoding, section 2.

    Examples
    --------
    >>> exact_match(model, tokenizer, [("One, two, three,", " FOUR")])  # doctest: +SKIP
    [True]
    """
    if not pairs:
        raise ValueError("nothing to match: pass at least one (prompt, target) pair")
    if empty := [prompt for prompt, target in pairs if not target.strip()]:
        raise ValueError(f"every completion begins with an empty target; give {empty[0][-60:]!r} a target")
    if max_new_tokens < 1:
        raise ValueError(f"max_new_tokens is at least 1; got {max_new_tokens}")
    rows = [encode_prompt(tokenizer, prompt) for prompt, _ in pairs]
    check_lengths(model, [len(row) + max_new_tokens for row in rows])
    guesses = [tokenizer.encode(target, add_special_tokens=False)[:max_new_tokens] for _, target in pairs]
    ends = end_tokens(model, tokenizer)
    found: list[bool | None] = []
    greedy = read(model, list(zip(rows, guesses, strict=True)), progress=progress)
    for (_, target), guess, (_, best) in zip(pairs, guesses, greedy, strict=True):
        right = next((at for at, token in enumerate(guess) if token != best[at]), len(guess))
        tokens = best[: right + 1]
        end = next((at for at, token in enumerate(tokens) if token in ends), max_new_tokens)
        found.append(
            _begins(tokenizer, tokens[:end], target, end < len(tokens) or len(tokens) == max_new_tokens)
        )
    still = [at for at, answer in enumerate(found) if answer is None]

    def decided(sample: int, tokens: Tokens) -> bool:
        return _begins(tokenizer, tokens, pairs[still[sample]][1], False) is not None

    decoded = decode(
        model,
        [rows[at] for at in still],
        max_new_tokens,
        lambda logits, *_: logits.argmax(-1),
        ends=ends,
        decided=decided,
    )
    for at, tokens in zip(still, decoded, strict=True):
        found[at] = _begins(tokenizer, tokens, pairs[at][1], True)
    return [bool(answer) for answer in found]


def few_shot(examples: Sequence[tuple[str, str]], question: str, *, form: str = "Q: {}\nA:") -> str:
    r"""Put solved examples before a question, each as `form`, a space and the answer, with an empty line between.

    Parameters
    ----------
    examples : sequence of (question, answer)
        An answer that first reasons and then ends in "The answer is ..." makes it a chain-of-thought prompt, whose
        completions `stated_answer` reads.
    question : str
    form : str
        How a question is asked, {} being the question. It ends without a space.

    Returns
    -------
    str
        The prompt, which ends where the answer begins.

    Raises
    ------
    ValueError
        If the form has no {}.

    References
    ----------
    Brown et al. 2020, section 2; Wei et al. 2022, Chain-of-Thought Prompting, section 2.

    Examples
    --------
    >>> few_shot([("2 + 2?", "4")], "3 + 4?")
    'Q: 2 + 2?\nA: 4\n\nQ: 3 + 4?\nA:'
    """
    if "{}" not in form:
        raise ValueError(f"form says with {{}} where the question stands; got {form!r}")
    return "".join(f"{form.format(asked)} {answer}\n\n" for asked, answer in examples) + form.format(question)


def stated_answer(completion: str, *, marker: str = "The answer is") -> str | None:
    r"""What a completion states as its answer: the rest of the line after the marker, without spaces and full stop.

    Parameters
    ----------
    completion : str
        Only what comes before the first empty line counts, where the next question would begin.
    marker : str

    Returns
    -------
    str or None
        None if the completion does not state an answer.

    References
    ----------
    Wei et al. 2022, Chain-of-Thought Prompting, appendix G (prompts).

    Examples
    --------
    >>> stated_answer(" 5 + 6 = 11. The answer is 11.\n\nQ: How many")
    '11'
    """
    _, found, rest = completion.split("\n\n")[0].partition(marker)
    return rest.split("\n")[0].strip().removesuffix(".") if found else None


def encode_pair(tokenizer: Any, prompt: str, continuation: str) -> tuple[Tokens, Tokens]:
    """Tokens of a prompt and of its continuation, cut as lm-evaluation-harness does (see `score_continuations`).

    Raises
    ------
    ValueError
        If the continuation has no token of its own.
    """
    words = prompt.rstrip()
    continuation = prompt[len(words) :] + continuation
    context = _encode(tokenizer, words) if words else []
    if context:
        tokens = _encode(tokenizer, words + continuation)[len(context) :]
    else:
        tokens = tokenizer.encode(continuation, add_special_tokens=False)
        context = [_start_token(tokenizer)]
        if tokens[:1] == context:
            tokens = tokens[1:]
    if not tokens:
        raise ValueError(f"the continuation {continuation!r} of {prompt[-60:]!r} has no token to score")
    return context, tokens


def _encode(tokenizer: Any, text: str) -> Tokens:
    """Tokens of a text, with the tokenizer's special tokens unless the text already spells them."""
    start = tokenizer.bos_token or tokenizer.eos_token
    spelled = start is not None and text.startswith(start)
    return tokenizer.encode(text, add_special_tokens=not spelled)


def encode_prompt(tokenizer: Any, prompt: str) -> Tokens:
    """Tokens of a prompt, with the tokenizer's special tokens; of an empty one the token that starts a text.

    Raises
    ------
    ValueError
        If the prompt is empty and the tokenizer has no such token.
    """
    return _encode(tokenizer, prompt) or [_start_token(tokenizer)]


def _has_start(tokenizer: Any) -> bool:
    return tokenizer.bos_token_id is not None or tokenizer.eos_token_id is not None


def _start_token(tokenizer: Any) -> int:
    start = tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
    if start is None:
        raise ValueError(
            "the tokenizer has no token for the start of a text, which an empty prompt needs: set bos_token"
        )
    return start


def end_tokens(model: nn.Module, tokenizer: Any) -> set[int]:
    """Tokens that end a completion, as `model.generate` has them."""
    end = causal_model(model).generation_config.eos_token_id
    end = tokenizer.eos_token_id if end is None else end
    return set(end) if isinstance(end, list) else {end} - {None}


def _text(tokenizer: Any, tokens: Tokens) -> str:
    return tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)


def _begins(tokenizer: Any, tokens: Tokens, target: str, ended: bool) -> bool | None:
    """Tell whether a completion begins with the target; None while it has not ended and further tokens decide."""
    text, target = _text(tokenizer, tokens), target.strip().lower()
    if ended:
        return text.strip().lower().startswith(target)
    if "Σ" in text:
        return None  # the one letter whose lower case depends on what follows
    start = text.rstrip("\ufffd").strip().lower()  # a last character may still lack some of its bytes
    if start.startswith(target):
        return True
    return None if target.startswith(start) else False


def _read_by_harness(
    model: nn.Module,
    tokenizer: Any,
    pairs: Sequence[tuple[str, str]],
    encoded: Sequence[tuple[Tokens, Tokens]],
    *,
    batch_tokens: int | None,
    progress: bool,
) -> list[Scored]:
    """Scores by lm-evaluation-harness, which cuts off what is too long and sets the padding: here neither shows."""
    try:
        from lm_eval.api.instance import Instance
        from lm_eval.models.huggingface import HFLM
    except ModuleNotFoundError as missing:
        raise ModuleNotFoundError(
            "engine='lm_eval' needs lm-evaluation-harness: install it with `pip install 'lm-eval>=0.4.13'`"
        ) from missing
    lengths = [len(context) + len(tokens) - 1 for context, tokens in encoded]
    check_lengths(model, lengths)
    causal = causal_model(model)
    batch_size = max(1, (batch_tokens or chunk_tokens(causal)) // max(lengths))
    log = logging.getLogger("lm_eval")
    level = log.level
    log.setLevel(logging.ERROR)  # it warns of models that are passed as they are
    try:
        with evaluating(model):
            # The harness wants a start token even where every prompt has tokens of its own, as `encode_pair` saw to.
            start = {} if _has_start(tokenizer) else {"prefix_token_id": 0}
            scorer = HFLM(
                pretrained=causal, tokenizer=copy.deepcopy(tokenizer), batch_size=batch_size, **start
            )
            requests = [Instance("loglikelihood", {}, pair, 0) for pair in pairs]
            found = scorer.loglikelihood(requests, disable_tqdm=not progress)
    finally:
        log.setLevel(level)
    refuse_not_numbers(torch.tensor([log_prob for log_prob, _ in found]))
    return [
        Scored(log_prob, len(tokens), bool(greedy))
        for (log_prob, greedy), (_, tokens) in zip(found, encoded, strict=True)
    ]
