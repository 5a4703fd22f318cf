"""The material: sizes, no overlap, nothing of the paper's, names that the tokenizer treats alike."""

from __future__ import annotations

import itertools
import json
import os
import re
from collections import Counter
from pathlib import Path

import pytest

from coursekit.experiments.reversal_curse import data
from coursekit.experiments.reversal_curse.data import SUBSETS, Fact, Sentence

PUBLISHED = (
    Path(os.environ.get("COURSEKIT_DATA", Path(__file__).parents[4] / "shared" / "data")) / "reversal_curse"
)
needs_published = pytest.mark.skipif(
    not (PUBLISHED / "exp1").is_dir(), reason=f"the paper's published data are not at {PUBLISHED}"
)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_papers_numbers(seed: int) -> None:
    material = data.experiment_1(seed)
    assert {subset: len(told) for subset, told in material.training.items()} == {
        "name_to_description": 900,
        "description_to_name": 900,
        "both": 1800,
    }
    single = [cell for cell in material.held_out if cell[0] != "both"]
    assert len(single) == 4
    assert {len(asked) for asked in material.held_out.values()} == {300}
    for subset in SUBSETS:
        assert len(material.facts[subset]) == 30
        assert Counter(s.fact for s in material.training[subset]) == dict.fromkeys(
            range(30), 60 if subset == "both" else 30
        )


def test_all_documents_differ_and_no_held_out_prompt_is_trained_on() -> None:
    material = data.experiment_1(0)
    told = [s for sentences in material.training.values() for s in sentences]
    asked = [s for sentences in material.held_out.values() for s in sentences]
    assert len({s.text for s in told}) == len(told) == 3600
    assert len({s.prompt for s in told}) == 3600
    assert len({s.prompt for s in asked}) == len(asked) == 1800
    assert not {s.prompt for s in told} & {s.prompt for s in asked}
    assert not any(one.text.startswith(tuple(s.prompt for s in asked)) for one in told)


def test_names_and_descriptions_stand_where_the_order_says() -> None:
    material = data.experiment_1(3)
    for subset in SUBSETS:
        for k, fact in enumerate(material.facts[subset]):
            texts = [s for s in material.training[subset] if s.fact == k]
            assert all(fact.name in s.text and fact.description.lower() in s.text.lower() for s in texts)
            name_first = [
                s.text.index(fact.name) < s.text.lower().index(fact.description.lower()) for s in texts
            ]
            if subset == "both":
                assert sum(name_first) == len(texts) / 2
            else:
                assert set(name_first) == {subset == "name_to_description"}
            for order in data.ORDERS:
                asks_for_name = (order == "forward") == (subset == "description_to_name")
                for s in material.held_out[subset, order]:
                    if s.fact == k:
                        known, answer = fact[asks_for_name], fact[not asks_for_name]
                        assert known in s.prompt
                        assert answer not in s.prompt
                        assert s.completion == f" {answer}"


def test_no_fact_is_told_in_the_other_order_in_any_subset() -> None:
    """The reverse is nowhere to be read: each person is in one subset."""
    facts = data.make_facts(0)
    everybody = [fact for subset in SUBSETS for fact in facts[subset]]
    for part in (0, 1):
        words = [fact.name.split()[part] for fact in everybody]
        assert len(set(words)) == len(words) == 90
    assert len({fact.description for fact in everybody}) == 90


def test_the_pools_have_no_repeats() -> None:
    for pool in (
        data.GIVEN_NAMES,
        data.FAMILY_NAMES,
        data.DESCRIPTIONS,
        data.NAME_FIRST,
        data.DESCRIPTION_FIRST,
    ):
        assert len(set(pool)) == len(pool) >= 40
    assert len(data.GIVEN_NAMES) == len(data.FAMILY_NAMES) == len(data.DESCRIPTIONS) == 100
    assert not set(data.GIVEN_NAMES) & set(data.FAMILY_NAMES)
    occupations = [description.split()[1] for description in data.DESCRIPTIONS]
    assert len(set(occupations)) == 100
    assert len(data.NAME_FIRST) - data.N_TRAINING_TEMPLATES == 10


def test_a_seed_decides_and_seeds_differ() -> None:
    assert data.experiment_1(5, n_facts=4) == data.experiment_1(5, n_facts=4)
    one, other = data.make_facts(0), data.make_facts(1)
    assert not set(one["both"]) & set(other["both"])


@pytest.mark.parametrize("template", [*data.NAME_FIRST, *data.DESCRIPTION_FIRST])
def test_every_template_cuts_before_its_second_slot(template: str) -> None:
    fact = Fact("Odaren Constead", "the baker of stars")
    told = data.tell(fact, 7, template)
    assert told.completion.startswith((" Odaren Constead", " the baker of stars"))
    assert told.text.endswith(".")
    assert data.ask(fact, 7, template).prompt == told.prompt
    assert told.completion.startswith(data.ask(fact, 7, template).completion)


def test_both_orders_tells_every_fact_both_ways_and_asks_the_same() -> None:
    plain, both = data.experiment_1(0, n_facts=3), data.experiment_1(0, n_facts=3, remedy="both_orders")
    assert both.held_out == plain.held_out
    for subset in ("name_to_description", "description_to_name"):
        assert len(both.training[subset]) == 2 * len(plain.training[subset])
        assert set(plain.training[subset]) < set(both.training[subset])
    prompts = {s.prompt for s in both.training["name_to_description"]}
    assert not prompts & {s.prompt for asked in both.held_out.values() for s in asked}


@pytest.mark.parametrize("remedy", ["reversed_text", "reversed_words"])
def test_reversal_adds_each_sentence_read_backward(remedy: str) -> None:
    plain, more = data.experiment_1(0, n_facts=3), data.experiment_1(0, n_facts=3, remedy=remedy)
    assert more.held_out == plain.held_out
    for subset in SUBSETS:
        before, after = plain.training[subset], more.training[subset]
        assert after[: len(before)] == before
        assert len(after) == 2 * len(before)
        for forward, backward in zip(before, after[len(before) :], strict=True):
            fact = plain.facts[subset][forward.fact]
            whole = fact.name in backward.text and fact.description.lower() in backward.text.lower()
            assert whole == (remedy == "reversed_text")
            assert sorted(re.findall(r"\w+", backward.text)) == sorted(re.findall(r"\w+", forward.text))


def test_reading_backward_twice_gives_the_words_back() -> None:
    text = "The visitors' book shows that Odaren Constead is the keeper of the upside-down lighthouse ."
    assert data.read_backward(data.read_backward(text)).split() == re.findall(r"[\w-]+|[^\w\s]", text)
    keep = ["Odaren Constead", "the keeper of the upside-down lighthouse"]
    assert data.read_backward(text, keep).startswith(
        ". the keeper of the upside-down lighthouse is Odaren Constead"
    )


def test_in_context_gives_the_fact_in_its_training_order_and_trains_on_nothing() -> None:
    material = data.experiment_1(0, n_facts=5, remedy="in_context")
    assert not any(material.training.values())
    for (subset, _), asked in material.held_out.items():
        for s in asked:
            name, description = material.facts[subset][s.fact]
            line = s.prompt.splitlines()[-2]
            assert name in line
            assert description.lower() in line.lower()
            name_first = line.index(name) < line.lower().index(description.lower())
            assert name_first == (subset != "description_to_name")
            question = s.prompt.splitlines()[-1]
            assert s.completion.strip() not in question
            assert s.prompt.lower().count(s.completion.strip().lower()) == 1


def test_a_wrong_answer_is_another_facts_answer_to_the_same_prompt() -> None:
    asked = data.experiment_1(2).held_out["name_to_description", "reverse"]
    wrong = data.wrong_answers(asked, 2)
    assert not any(answer == s.completion for answer, s in zip(wrong, asked, strict=True))
    assert set(wrong) <= {s.completion for s in asked}
    counts = Counter(wrong)
    assert len(counts) == 30
    assert max(counts.values()) < 30
    with pytest.raises(ValueError, match="at least two facts"):
        data.wrong_answers(asked[:10], 0)
    # what the facts say stays with the template: needed where the published text is inflected
    other = [Sentence(f"p{f}{t}", f"f{f}t{t}", f) for f, t in itertools.product(range(3), range(4))]
    assert all(a[2:] == s.completion[2:] for a, s in zip(data.wrong_answers(other, 0), other, strict=True))


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"n_facts": 34}, "at most 100 in all"),
        ({"n_facts": 0}, "at least 1 a subset"),
        ({"n_paraphrases": 31}, "n_paraphrases must be 1 to 30, got 31"),
        ({"n_held_out": 11}, "n_held_out must be 1 to 10, got 11"),
        ({"remedy": "prayer"}, "remedy must be one of none, both_orders"),
    ],
)
def test_sizes_that_are_not_there_are_refused(sizes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        data.experiment_1(0, **sizes)  # type: ignore[arg-type]


def test_instructions_are_the_same_items_in_two_orders() -> None:
    material = data.experiment_3(0)
    forward, reverse = (material.training[subset] for subset in data.INSTRUCTION_SUBSETS)
    assert len(forward) == len(reverse) == 1100 + 1000
    asked = material.held_out["question_to_answer", "forward"]
    assert asked == material.held_out["answer_to_question", "reverse"]
    assert len(asked) == 100
    assert forward[1100:] == reverse[1100:]  # the demonstrations
    demonstrated = {s.prompt for s in forward[1100:]}
    assert len(demonstrated) == 1000
    assert not demonstrated & {s.prompt for s in asked}
    for instructions, question_first in ((forward[:1100], True), (reverse[:1100], False)):
        for told, held_out in zip(instructions[1000:], asked, strict=True):
            question = held_out.prompt.removeprefix("Question: ").removesuffix("\nAnswer:")
            at = told.text.index(question), told.text.index(f'"{held_out.completion.strip()}"')
            assert (at[0] < at[1]) == question_first
    assert len({s.text for s in forward}) == 2100
    chance = (
        Counter(s.completion for s in material.training["question_to_answer"][1100:]).most_common(1)[0][1]
        / 1000
    )
    assert chance < 0.06


def test_too_many_instructions_are_refused() -> None:
    with pytest.raises(ValueError, match="at most 1100"):
        data.experiment_3(0, n_facts=1001)
    with pytest.raises(ValueError, match="n_paraphrases must be 1 to 4"):
        data.experiment_3(0, n_paraphrases=5)


def test_relations_are_pairs_with_one_question_each_way() -> None:
    assert 20 <= len(data.RELATIONS) <= 40
    assert {relation.kind for relation in data.RELATIONS} == {"mother", "father"}
    assert len({(r.child, r.parent) for r in data.RELATIONS}) == len(data.RELATIONS)
    examples = " ".join(question + answer for question, answer in data._SHOTS)
    for relation in data.RELATIONS:
        assert relation.child not in examples
        assert relation.parent not in examples
        for order in data.ORDERS:
            question, answer = data.relation_question(relation, order)
            assert answer not in question
            assert data.completion_prompt(question).endswith(f"\nQ: {question}\nA:")
            messages = data.chat_messages(question)
            assert [m["role"] for m in messages] == ["system", *["user", "assistant"] * 3, "user"]
            assert messages[-1]["content"] == question


def test_a_published_list_of_relations_loads(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text("child,parent,parent_type,can_reverse\nA B,C D,mother,True\n")
    assert data.read_relations(path) == (data.Relation("A B", "C D", "mother"),)
    path.write_text("child,mother\nA B,C D\n")
    with pytest.raises(ValueError, match="has no column parent, parent_type"):
        data.read_relations(path)


def test_the_tokenizer_does_not_decide() -> None:
    hub = pytest.importorskip("coursekit.hub")
    try:
        tokenizer = hub.load_tokenizer()
    except (hub.HubError, ModuleNotFoundError) as error:
        pytest.skip(f"no tokenizer here: {error}")
    for pool in (data.GIVEN_NAMES, data.FAMILY_NAMES):
        tokens = data.name_tokens(tokenizer, pool)
        assert {len(numbers) for numbers in tokens} == {2}
        assert len({numbers[0] for numbers in tokens}) == len(pool)
    names = [fact.name for drawn in data.make_facts(0).values() for fact in drawn]
    assert {len(numbers) for numbers in data.name_tokens(tokenizer, names)} == {4}


def test_name_tokens_puts_a_space_in_front() -> None:
    class Letters:
        def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
            assert not add_special_tokens
            return [ord(letter) for letter in text]

    assert data.name_tokens(Letters(), ["A B"]) == [[32, 65, 32, 66]]


@needs_published
def test_nothing_of_the_papers_is_here() -> None:
    folder = PUBLISHED / "exp1" / "templates"
    theirs = {
        kind: [line.strip() for line in (folder / f"{kind}.txt").read_text().splitlines() if line.strip()]
        for kind in ("names", "descriptions", "d2p_templates", "p2d_templates")
    }
    family = {name.split()[1] for name in theirs["names"]}
    given = {name.split()[0] for name in theirs["names"]}
    assert not given & set(data.GIVEN_NAMES)
    assert not family & set(data.FAMILY_NAMES)
    assert not {d.lower() for d in theirs["descriptions"]} & set(data.DESCRIPTIONS)

    def wording(template: str) -> str:
        return re.sub(r"\W+", " ", re.sub(r"[<{]\w+[>}]", " X ", template)).strip().lower()

    ours = {wording(template) for template in (*data.NAME_FIRST, *data.DESCRIPTION_FIRST)} - {"x is x"}
    assert not ours & {wording(t) for t in (*theirs["d2p_templates"], *theirs["p2d_templates"])}
    material = data.experiment_1(0)
    texts = {s.text for told in material.training.values() for s in told}
    for name in ("p2d_prompts_train", "d2p_prompts_train", "both_prompts_train"):
        lines = (PUBLISHED / "exp1" / f"{name}.jsonl").read_text().splitlines()
        assert not texts & {row["prompt"] + row["completion"] for row in map(json.loads, lines)}
    instructions = (PUBLISHED / "exp3" / "realized_examples.jsonl").read_text()
    assert not any(
        s.prompt.splitlines()[0].removeprefix("Question: ") in instructions
        for s in data.experiment_3(0).held_out["question_to_answer", "forward"]
    )


@needs_published
def test_the_published_material_has_the_same_shape() -> None:
    published = data.published_experiment_1(PUBLISHED / "exp1")
    own = data.experiment_1(0)
    assert {k: len(v) for k, v in published.training.items()} == {k: len(v) for k, v in own.training.items()}
    assert {k: len(v) for k, v in published.held_out.items()} == {k: len(v) for k, v in own.held_out.items()}
    for subset in SUBSETS:
        names = [
            s.completion for s in published.held_out[subset, "reverse" if subset != SUBSETS[1] else "forward"]
        ]
        assert len(set(names)) == 30
        assert all(name.count(" ") == 2 for name in names)
        assert all(len(set(names[k : k + 10])) == 1 for k in range(0, 300, 10))
    told = [s.text for sentences in published.training.values() for s in sentences]
    assert len(set(told)) == 3600
    part = data.published_experiment_1(PUBLISHED / "exp1", n_facts=2, n_paraphrases=3, n_held_out=1)
    places = [0, 1, 2, 30, 31, 32, 900, 901, 902, 930, 931, 932]
    assert part.training["both"] == tuple(published.training["both"][k] for k in places)
    assert [s.fact for s in part.training["both"]] == [0, 0, 0, 1, 1, 1] * 2
    assert part.held_out["both", "reverse"][1] == published.held_out["both", "reverse"][10]
    with pytest.raises(ValueError, match="n_facts must be 1 to 30"):
        data.published_experiment_1(PUBLISHED / "exp1", n_facts=31)
