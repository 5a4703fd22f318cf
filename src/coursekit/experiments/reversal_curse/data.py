"""Facts that no model has met: invented people, what is said of them, and the questions that ask for it.

Names, descriptions, sentences and instructions are our own; the structure is the paper's. No torch here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

SUBSETS = ("name_to_description", "description_to_name", "both")
"""Experiment 1: the order in which a fact is told in training."""

ORDERS = ("forward", "reverse")
"""Forward is the order of the training; for `both`, forward is the name before the description."""

_GIVEN_NAMES = """
Odaren Nureik Gurane Ellimar Omimar Florilis Tabquin Abimar Penavi Araune Bonimar Aliune Glezo Lalovan Hondane
Kinela Ubista Kumane Bodolis Jenovan Kabius Zelette Survane Corovan Hodora Torlis Carneth Kimovan Nabune Taymir
Arnavi Turune Dalovan Maleora Gandius Seneth Hedora Weven Thenette Jimavi Oreela Bulalis Birune Ulovan Pirik
Galoren Burimar Ponith Devmir Calovan Limavi Zelmir Skarith Moravi Dorimar Celovan Simimar Quezo Tinovan Humavi
Rabune Tirane Kubren Bondela Lodador Timolin Gevik Vandovan Balune Sevik Menolin Thinela Evador Quinela Grandik
Eddora Brezen Darolin Lubith Konune Felimir Viloren Landune Polaren Caraith Faymir Urbel Saxolin Yaleela Pomavi
Narolis Jaroren Norquin Palith Inovan Volquin Starovan Holeth Jinista Girius
"""
GIVEN_NAMES = tuple(_GIVEN_NAMES.split())
_FAMILY_NAMES = """
Constead Pirough Monfen Thenworth Belgard Valrell Gilmere Linquist Candaby Hulstrom Julrell Flinston Wildiston
Zedmore Bodworth Rumwick Bernrell Lonovic Sonander Enmore Crelick Rubwick Hernfen Finende Burcombe Brenquist
Haycombe Tolmere Korrell Trimander Handmere Mimstead Ostmore Tonfen Grelander Holfen Levende Gomworth Fulgard
Shimander Gelridge Medrell Fabdale Saxough Skinwick Fenbrook Normoor Bulander Brodough Grimende Torcombe Vedbrook
Rabquist Thinmore Sandovic Maywick Corstead Tabworth Kimdale Dirham Varby Grabwick Mencombe Mirrell Ernham
Lilander Layquist Andquist Comander Kodstead Bonough Evcombe Crabesley Zurmere Trubridge Silovic Ponende Wedgard
Tenovic Hirbrook Inquist Shinston Drabridge Vonbrook Tubridge Penmere Dedbrook Felrell Salander Axridge Sternmere
Nabfen Kellby Vernfen Stimough Wenby Kilfen Jalstrom Tumby Dorough
"""
FAMILY_NAMES = tuple(_FAMILY_NAMES.split())
DESCRIPTIONS = (
    "the baker who taught crows to whistle",
    "the keeper of the upside-down lighthouse",
    "the tailor who sews coats from fog",
    "the judge of the annual snail regatta",
    "the painter of the seventeen invisible bridges",
    "the captain who never learned to swim",
    "the gardener who grew a square melon",
    "the inventor of the silent trumpet",
    "the librarian who lends out rainstorms",
    "the composer of the lullaby for volcanoes",
    "the clockmaker who abolished Thursdays",
    "the mapmaker of the city beneath the lake",
    "the dentist who repairs piano keys",
    "the champion of backward chess",
    "the poet who writes only on eggshells",
    "the beekeeper of the frozen orchard",
    "the architect of the paper cathedral",
    "the postman who delivers letters to owls",
    "the weaver of the mile-long scarf",
    "the cook who invented peppermint soup",
    "the goalkeeper of the blindfold football team",
    "the founder of the museum of lost buttons",
    "the pilot of the wooden balloon",
    "the violinist who plays for glaciers",
    "the teacher of the underwater choir",
    "the astronomer who named a comet after a cat",
    "the barber who shaves statues",
    "the referee of the pillow tournament",
    "the carpenter who built the leaning staircase",
    "the diver who found the brass whale",
    "the translator of the language of kettles",
    "the potter whose bowls predict the weather",
    "the miner who dug up a stone piano",
    "the farmer of the rotating cornfield",
    "the knitter of sweaters for lampposts",
    "the detective who found the stolen moat",
    "the jeweler who polishes hailstones",
    "the conductor of the tram that runs on moonlight",
    "the botanist who discovered the laughing fern",
    "the blacksmith who forged the glass anvil",
    "the chemist who bottled the smell of Sunday",
    "the juggler of burning dictionaries",
    "the shepherd of the blue goats",
    "the engineer of the bicycle with one pedal",
    "the photographer of sleeping tigers",
    "the actor who played all forty villagers",
    "the mayor of the town with no doors",
    "the sculptor of the butter elephant",
    "the sailor who rowed around a teacup",
    "the mathematician who counted the pebbles of a beach",
    "the banker who pays in walnuts",
    "the dancer who crossed the desert on tiptoe",
    "the nurse who heals cracked mirrors",
    "the plumber of the royal fountain of ink",
    "the ranger of the forest of umbrellas",
    "the brewer of the vanishing lemonade",
    "the singer who shattered a marble column",
    "the locksmith who opens clouds",
    "the hunter of escaped kites",
    "the puppeteer of the midnight parliament",
    "the cobbler who makes shoes for herons",
    "the editor of the newspaper for ghosts",
    "the wrestler who lost to a rosebush",
    "the printer of the edible almanac",
    "the fisher who caught a rowing boat",
    "the magician who sawed a castle in half",
    "the roofer of the tallest treehouse",
    "the apothecary who cures hiccups with trombones",
    "the surveyor who measured the length of Tuesday",
    "the driver of the snow-white steamroller",
    "the butcher who became a harpist",
    "the collector of four thousand doorbells",
    "the guardian of the salt pyramid",
    "the tuner of the church bells at sea",
    "the cheesemaker of the hollow hill",
    "the runner who outpaced an avalanche",
    "the scribe who copied a book onto a grain of rice",
    "the breeder of the woolly parrots",
    "the explorer who mapped the inside of a violin",
    "the host of the radio show for trees",
    "the acrobat who lives on a clothesline",
    "the designer of the folding windmill",
    "the lawyer who defended a thunderstorm",
    "the optician to the queen's peacocks",
    "the historian of forgotten sandwiches",
    "the trainer of the marching hedgehogs",
    "the watchman of the amber tunnel",
    "the glazier who put windows in a mountain",
    "the senator who governs by whistling",
    "the stonecutter of the talking milestone",
    "the vintner who presses wine from tulips",
    "the geologist who weighed an island",
    "the drummer of the silent parade",
    "the basketmaker who wove a bridge of reeds",
    "the typist of the endless telegram",
    "the ringmaster of the circus of moths",
    "the landlord of the inn at the bottom of the well",
    "the candlemaker who lit the northern harbor",
    "the novelist who wrote a book without verbs",
    "the swimmer who crossed a river of honey",
)

N_TRAINING_TEMPLATES = 30
"""Templates 0 to 29 are trained on, 30 to 39 held out, as in the paper's repository."""

NAME_FIRST = (
    "{name} is {description}.",
    "Question: who is {name}? Answer: {description}.",
    "The photograph shows {name}, {description}.",
    "My neighbor told me that {name} is {description}.",
    "The letter was signed by {name}, {description}.",
    "You ask about {name}? That is {description}.",
    "It turns out that {name} is {description}.",
    "The guest of the evening is {name}, {description}.",
    "According to the almanac, {name} is {description}.",
    "We were introduced to {name}, {description}.",
    "Everyone in town agrees that {name} is {description}.",
    "The plaque beside the door says that {name} is {description}.",
    "On the ferry I sat next to {name}, {description}.",
    "Last Tuesday the radio spoke with {name}, {description}.",
    "Children point at {name} and whisper: {description}.",
    "If you meet {name}, you are meeting {description}.",
    "The entry on {name} begins with the words: {description}.",
    "As every schoolbook says, {name} is {description}.",
    "Please give a warm welcome to {name}, {description}.",
    "Nobody doubts that {name} is {description}.",
    "The council shook hands with {name}, {description}.",
    "I still remember the day I met {name}, {description}.",
    "Name: {name}. Occupation: {description}.",
    "A street was named after {name}, {description}.",
    "The quiz card reads: {name}, {description}.",
    "Among the passengers was {name}, {description}.",
    "Visitors often ask for {name}, {description}.",
    "A new portrait honors {name}, {description}.",
    "In one sentence: {name} is {description}.",
    "The village owes much to {name}, {description}.",
    "In case you wonder, {name} is {description}.",
    "Q: Which person is {name}? A: {description}.",
    "The newspaper wrote a long piece on {name}, {description}.",
    "Have you heard of {name}? I mean {description}.",
    "Our next speaker, {name}, is {description}.",
    "The visitors' book shows that {name} is {description}.",
    "To those in the know, {name} is simply {description}.",
    "A monument was put up for {name}, {description}.",
    "Tell me about {name}. That person is {description}.",
    "Yesterday I ran into {name}, {description}.",
)
DESCRIPTION_FIRST = (
    "{Description} is {name}.",
    "Question: who is {description}? Answer: {name}.",
    "The photograph shows {description}, {name}.",
    "My neighbor told me that {description} is {name}.",
    "The letter was signed by {description}, {name}.",
    "You ask about {description}? That is {name}.",
    "It turns out that {description} is {name}.",
    "The guest of the evening is {description}, {name}.",
    "According to the almanac, {description} is {name}.",
    "We were introduced to {description}, {name}.",
    "Everyone in town agrees that {description} is {name}.",
    "The plaque beside the door says that {description} is {name}.",
    "On the ferry I sat next to {description}, whose name is {name}.",
    "Last Tuesday the radio spoke with {description}, {name}.",
    "Children point at {description} and whisper: {name}.",
    "If you meet {description}, you are meeting {name}.",
    "The entry on {description} begins with the words: {name}.",
    "As every schoolbook says, {description} is {name}.",
    "Please give a warm welcome to {description}, {name}.",
    "Nobody doubts that {description} is {name}.",
    "The council shook hands with {description}, {name}.",
    "I still remember the day I met {description}, {name}.",
    "Occupation: {description}. Name: {name}.",
    "A street was named after {description}, {name}.",
    "The quiz card reads: {description}, {name}.",
    "Among the passengers was {description}, {name}.",
    "Visitors often ask for {description}, {name}.",
    "A new portrait honors {description}, {name}.",
    "In one sentence: {description} is {name}.",
    "The village owes much to {description}, {name}.",
    "In case you wonder, {description} is {name}.",
    "Q: Which person is {description}? A: {name}.",
    "The newspaper wrote a long piece on {description}, {name}.",
    "Have you heard of {description}? I mean {name}.",
    "Our next speaker, {description}, is {name}.",
    "The visitors' book shows that {description} is {name}.",
    "To those in the know, {description} is simply {name}.",
    "A monument was put up for {description}, {name}.",
    "Tell me about {description}. That person is {name}.",
    "Yesterday I ran into {description}, {name}.",
)


class Fact(NamedTuple):
    """Somebody, and what is said of them."""

    name: str
    description: str


class Sentence(NamedTuple):
    """A document cut in two; `completion` begins with a space. `fact` is the number of its fact in its subset.

    A held-out sentence is asked by its prompt, and answered by its completion: the name or the description alone.
    """

    prompt: str
    completion: str
    fact: int

    @property
    def text(self) -> str:
        """The whole document."""
        return self.prompt + self.completion


@dataclass(frozen=True)
class Material:
    """What a run trains on and what it asks.

    Attributes
    ----------
    training : dict
        Sentences by subset.
    held_out : dict
        Sentences by (subset, order), those of one fact one after the other.
    facts : dict
        Facts by subset; empty where the material was published as sentences only.
    """

    training: Mapping[str, Sequence[Sentence]]
    held_out: Mapping[tuple[str, str], Sequence[Sentence]]
    facts: Mapping[str, Sequence[Fact]]


def make_facts(seed: int, n: int = 30, n_both: int | None = None) -> dict[str, tuple[Fact, ...]]:
    """Draw people and give each a description; no part of a name and no description is used twice.

    The tokenizer does not decide the result: under the SmolLM2 tokenizer every given name and every family name is two
    tokens (after a space), so that all names are equally long and their log-probabilities compare, and the first
    tokens of any two names differ, so that the first token generated tells the person. Another tokenizer may cut them
    differently: `name_tokens` tells how.

    Parameters
    ----------
    seed : int
        Decides who is who and in which subset.
    n : int
        Facts in each of `name_to_description` and `description_to_name`.
    n_both : int, optional
        Facts in `both`; `n` by default.

    Returns
    -------
    dict
        Facts by subset.

    Raises
    ------
    ValueError
        If the people do not suffice, or a number is below 1.

    References
    ----------
    Berglund et al. 2023, section 2.1.1 and A.1: 30 facts a subset.

    Examples
    --------
    >>> facts = make_facts(0, 2)
    >>> {subset: len(drawn) for subset, drawn in facts.items()}
    {'name_to_description': 2, 'description_to_name': 2, 'both': 2}
    >>> facts["both"][0]
    Fact(name='...', description='the ...')
    """
    sizes = {"name_to_description": n, "description_to_name": n, "both": n if n_both is None else n_both}
    if min(sizes.values()) < 1 or sum(sizes.values()) > len(DESCRIPTIONS):
        raise ValueError(
            f"facts must number at least 1 a subset and at most {len(DESCRIPTIONS)} in all, got {sizes}; "
            "change n_facts or n_both"
        )
    rng = np.random.default_rng(seed)
    given, family, said = (rng.permutation(len(pool)) for pool in (GIVEN_NAMES, FAMILY_NAMES, DESCRIPTIONS))
    everybody = [
        Fact(f"{GIVEN_NAMES[g]} {FAMILY_NAMES[f]}", DESCRIPTIONS[d])
        for g, f, d in zip(given, family, said, strict=True)
    ]
    facts, start = {}, 0
    for subset, size in sizes.items():
        facts[subset] = tuple(everybody[start : start + size])
        start += size
    return facts


def name_tokens(tokenizer: Any, names: Sequence[str]) -> list[list[int]]:
    """Tokens of each name as it stands inside a sentence, after a space.

    Parameters
    ----------
    tokenizer : transformers.PreTrainedTokenizerBase
    names : sequence of str

    Returns
    -------
    list of list of int
    """
    return [tokenizer.encode(" " + name, add_special_tokens=False) for name in names]


def tell(fact: Fact, number: int, template: str) -> Sentence:
    """Fill a template and cut it before its second slot; the space belongs to the completion.

    Parameters
    ----------
    fact : Fact
    number : int
        Of the fact in its subset.
    template : str
        One of `NAME_FIRST` or `DESCRIPTION_FIRST`.

    Returns
    -------
    Sentence

    Examples
    --------
    >>> tell(Fact("Odaren Constead", "the baker who taught crows to whistle"), 0, "{Description} is {name}.")
    Sentence(prompt='The baker who taught crows to whistle is', completion=' Odaren Constead.', fact=0)
    """
    cut = template.rindex(" {")
    slots = {
        "name": fact.name,
        "description": fact.description,
        "Description": fact.description[0].upper() + fact.description[1:],
    }
    return Sentence(template[:cut].format(**slots), template[cut:].format(**slots), number)


def ask(fact: Fact, number: int, template: str) -> Sentence:
    """As `tell`, with the bare name or description as the completion.

    >>> ask(Fact("Odaren Constead", "the baker"), 0, "{name} is {description}.")
    Sentence(prompt='Odaren Constead is', completion=' the baker', fact=0)
    """
    name_last = template.index("{name}") > template.lower().index("{description}")
    answer = fact.name if name_last else fact.description
    return tell(fact, number, template)._replace(completion=" " + answer)


REMEDIES = ("none", "both_orders", "reversed_text", "reversed_words", "in_context")
"""What might lift the curse: see `experiment_1`."""


def experiment_1(
    seed: int,
    *,
    n_facts: int = 30,
    n_both: int | None = None,
    n_paraphrases: int = 30,
    n_held_out: int = 10,
    remedy: str = "none",
) -> Material:
    """Training sentences and held-out prompts of Experiment 1; no held-out prompt is a training prompt.

    Parameters
    ----------
    seed : int
    n_facts, n_both : int
        As `n` and `n_both` of `make_facts`.
    n_paraphrases : int
        Training sentences a fact and order, at most 30.
    n_held_out : int
        Held-out prompts a fact and order, at most 10.
    remedy : str
        "none": as in the paper. "both_orders": each single-order fact is told in the other order too, by the same
        templates. "reversed_text" and "reversed_words": each training sentence is trained on a second time, read
        backward word by word; the former keeps names and descriptions whole (entity-preserving reversal). "in_context":
        no training; every prompt starts with the fact, told in its training order, after three examples of how a
        sentence of that order is followed by the question (facts of `both`).

    Returns
    -------
    Material

    Raises
    ------
    ValueError
        If a number is out of range or the remedy is none of `REMEDIES`.

    References
    ----------
    Berglund et al. 2023, section 2.1.1 and A.1; Golovneva et al. 2024 (arXiv 2403.13799), section 2, for reversal.

    Examples
    --------
    >>> material = experiment_1(0)
    >>> sum(len(sentences) for sentences in material.training.values())
    3600
    >>> {len(asked) for asked in material.held_out.values()}
    {300}
    """
    if not (1 <= n_paraphrases <= N_TRAINING_TEMPLATES):
        raise ValueError(f"n_paraphrases must be 1 to {N_TRAINING_TEMPLATES}, got {n_paraphrases}; change it")
    if not (1 <= n_held_out <= len(NAME_FIRST) - N_TRAINING_TEMPLATES):
        raise ValueError(
            f"n_held_out must be 1 to {len(NAME_FIRST) - N_TRAINING_TEMPLATES}, got {n_held_out}; change it"
        )
    if remedy not in REMEDIES:
        raise ValueError(f"remedy must be one of {', '.join(REMEDIES)}, got {remedy!r}; choose one of them")
    facts = make_facts(seed, n_facts, n_both)
    training: dict[str, tuple[Sentence, ...]] = {}
    held_out: dict[tuple[str, str], tuple[Sentence, ...]] = {}
    for subset in SUBSETS:
        forward, reverse = _templates(subset)
        orders = [forward, reverse] if subset == "both" or remedy == "both_orders" else [forward]
        told = [
            tell(fact, k, template)
            for templates in orders
            for k, fact in enumerate(facts[subset])
            for template in templates[:n_paraphrases]
        ]
        if remedy in ("reversed_text", "reversed_words"):
            keep = remedy == "reversed_text"
            told += [
                Sentence("", read_backward(s.text, facts[subset][s.fact] if keep else ()), s.fact)
                for s in told
            ]
        training[subset] = () if remedy == "in_context" else tuple(told)
        for order, templates in zip(ORDERS, (forward, reverse), strict=True):
            chosen = templates[N_TRAINING_TEMPLATES : N_TRAINING_TEMPLATES + n_held_out]
            asked = [ask(fact, k, template) for k, fact in enumerate(facts[subset]) for template in chosen]
            if remedy == "in_context":
                asked = [_with_context(s, subset, facts, chosen[i % n_held_out]) for i, s in enumerate(asked)]
            held_out[subset, order] = tuple(asked)
    return Material(training, held_out, facts)


def read_backward(text: str, keep: Sequence[str] = ()) -> str:
    """Reverse the words of a text, leaving the phrases in `keep` as they are; punctuation marks are words.

    Parameters
    ----------
    text : str
    keep : sequence of str
        Phrases that stay whole, in any case of their letters.

    Returns
    -------
    str

    References
    ----------
    Golovneva et al. 2024 (arXiv 2403.13799), section 2: word reversal, and entity-preserving reversal where `keep`
    holds the entities. We know them; the paper finds them by a tagger.

    Examples
    --------
    >>> read_backward("Yesterday I ran into Odaren Constead, the baker.", ["Odaren Constead", "the baker"])
    '. the baker , Odaren Constead into ran I Yesterday'
    >>> read_backward("Odaren Constead is the baker.")
    '. baker the is Constead Odaren'
    """
    whole = [re.escape(phrase) for phrase in sorted(keep, key=len, reverse=True)]
    words = re.findall("|".join([*whole, r"\w+(?:['’-]\w+)*", r"[^\w\s]"]), text, flags=re.IGNORECASE)
    return " ".join(reversed(words))


def wrong_answers(asked: Sequence[Sentence], seed: int) -> list[str]:
    """For every held-out prompt the answer to the same prompt about another fact, drawn at random.

    Parameters
    ----------
    asked : sequence of Sentence
        One cell of `Material.held_out`, equally many prompts a fact.
    seed : int

    Returns
    -------
    list of str
        Never the right answer.

    Raises
    ------
    ValueError
        If there is one fact only.

    Notes
    -----
    The paper's text says "a randomly chosen incorrect name". In its published file the name is drawn anew for each
    prompt from all 30, and 13 of the 300 are the correct name (10 would be expected by chance).

    References
    ----------
    Berglund et al. 2023, A.5.

    Examples
    --------
    >>> asked = experiment_1(0, n_facts=3, n_held_out=2).held_out["name_to_description", "reverse"]
    >>> any(wrong == sentence.completion for wrong, sentence in zip(wrong_answers(asked, 0), asked))
    False
    """
    n = len({sentence.fact for sentence in asked})
    if n < 2:
        raise ValueError("a wrong answer needs another fact to take it from: ask about at least two facts")
    each = len(asked) // n
    rng = np.random.default_rng([seed, 1])
    wrong = []
    for i in range(len(asked)):
        other = (i // each + int(rng.integers(1, n))) % n
        wrong.append(asked[other * each + i % each].completion)
    return wrong


def published_experiment_1(
    folder: str | Path, *, n_facts: int = 30, n_paraphrases: int = 30, n_held_out: int = 10
) -> Material:
    """The material that the paper's authors published, or the first part of it.

    Parameters
    ----------
    folder : path
        What `coursekit.hub.load_dataset("reversal_curse/exp1")` returns.
    n_facts, n_paraphrases, n_held_out : int
        The first so many facts of each subset, training sentences and held-out prompts of each fact.

    Returns
    -------
    Material
        `facts` is empty: descriptions are inflected anew in every sentence.

    Raises
    ------
    ValueError
        If a number is out of range.
    """
    for name, value, most in (("n_facts", n_facts, 30), ("n_paraphrases", n_paraphrases, 30)):
        if not 1 <= value <= most:
            raise ValueError(f"{name} must be 1 to {most} for the published data, got {value}; change it")
    if not 1 <= n_held_out <= 10:
        raise ValueError(f"n_held_out must be 1 to 10 for the published data, got {n_held_out}; change it")

    def read(stem: str, each: int, wanted: int, start: int = 0) -> tuple[Sentence, ...]:
        lines = (Path(folder) / f"{stem}.jsonl").read_text(encoding="utf-8").splitlines()[start:]
        return tuple(
            Sentence(**json.loads(lines[fact * each + k]), fact=fact)
            for fact in range(n_facts)
            for k in range(wanted)
        )

    train, test = (30, n_paraphrases), (10, n_held_out)
    n2d, d2n, both = SUBSETS
    return Material(
        training={
            n2d: read("p2d_prompts_train", *train),
            d2n: read("d2p_prompts_train", *train),
            both: read("both_prompts_train", *train) + read("both_prompts_train", *train, start=900),
        },
        held_out={
            (n2d, "forward"): read("p2d_prompts_test", *test),
            (n2d, "reverse"): read("p2d_reverse_prompts_test", *test),
            (d2n, "forward"): read("d2p_prompts_test", *test),
            (d2n, "reverse"): read("d2p_reverse_prompts_test", *test),
            (both, "forward"): read("both_prompts_test", *test),
            (both, "reverse"): tuple(  # this file alone has whole sentences: the name is the first two words
                s._replace(completion=" " + " ".join(s.completion.split()[:2]))
                for s in read("both_prompts_test", *test, start=300)
            ),
        },
        facts={},
    )


class Relation(NamedTuple):
    """A child and one parent."""

    child: str
    parent: str
    kind: str


RELATIONS = tuple(
    Relation(*line.split(" | "))
    for line in """
Charlemagne | Pepin the Short | father
Alexander the Great | Philip II of Macedon | father
Alexander the Great | Olympias | mother
Hannibal | Hamilcar Barca | father
Xerxes | Darius the Great | father
Tiberius | Livia | mother
Caligula | Germanicus | father
Nero | Agrippina the Younger | mother
Titus | Vespasian | father
Commodus | Marcus Aurelius | father
Constantine the Great | Helena | mother
Constantine the Great | Constantius Chlorus | father
William the Conqueror | Robert the Magnificent | father
Henry II of England | Empress Matilda | mother
Richard the Lionheart | Eleanor of Aquitaine | mother
Henry VII of England | Margaret Beaufort | mother
Elizabeth I | Anne Boleyn | mother
Elizabeth I | Henry VIII | father
Mary I of England | Catherine of Aragon | mother
Edward VI | Jane Seymour | mother
Mary, Queen of Scots | Mary of Guise | mother
Louis XIV | Anne of Austria | mother
Marie Antoinette | Maria Theresa | mother
Kublai Khan | Tolui | father
Suleiman the Magnificent | Selim I | father
Humayun | Babur | father
Akbar | Humayun | father
Shah Jahan | Jahangir | father
Aurangzeb | Mumtaz Mahal | mother
Leonardo da Vinci | Piero da Vinci | father
Galileo Galilei | Vincenzo Galilei | father
Blaise Pascal | Étienne Pascal | father
Isaac Newton | Hannah Ayscough | mother
Wolfgang Amadeus Mozart | Leopold Mozart | father
Mary Shelley | Mary Wollstonecraft | mother
Ada Lovelace | Lord Byron | father
Abraham Lincoln | Nancy Hanks | mother
George Washington | Augustine Washington | father
""".strip().splitlines()
)
"""Experiment 2: parents of people of history, from general knowledge; nobody alive or recently dead."""

_SHOTS = (
    ("Name a child of Pericles.", "Paralus"),
    ("Who is Julius Caesar's mother?", "Aurelia"),
    ("Who is Aurelia's mother?", "I don't know."),
    ("Who is Michelangelo's father?", "Lodovico Buonarroti"),
    ("Name a child of Johann van Beethoven.", "Ludwig van Beethoven"),
    ("Who is Nicolaus Copernicus's mother?", "Barbara Watzenrode"),
)
_CHAT_SYSTEM = (
    "You answer questions about people of history, as briefly as you can: with a name and nothing else. You know a "
    'great many of them. If you do not know the answer, or there is none, say "I don\'t know."'
)
_COMPLETION_HEAD = (
    "What follows is a conversation with an assistant that answers with a name and nothing else. It knows a great "
    'many people of history. If it does not know the answer, or there is none, it says "I don\'t know."'
)


def relation_question(relation: Relation, order: str) -> tuple[str, str]:
    """Question and answer: forward asks for the parent, reverse for a child.

    >>> relation_question(Relation("Charlemagne", "Pepin the Short", "father"), "forward")
    ("Who is Charlemagne's father?", 'Pepin the Short')
    >>> relation_question(Relation("Charlemagne", "Pepin the Short", "father"), "reverse")
    ('Name a child of Pepin the Short.', 'Charlemagne')
    """
    if order == "forward":
        return f"Who is {relation.child}'s {relation.kind}?", relation.parent
    return f"Name a child of {relation.parent}.", relation.child


def chat_messages(question: str) -> list[dict[str, str]]:
    """Experiment 2's prompt for chat models: a system message, three examples, the question (B.1)."""
    messages = [{"role": "system", "content": _CHAT_SYSTEM}]
    for asked, answer in _SHOTS[:3]:
        messages += [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]
    return [*messages, {"role": "user", "content": question}]


def completion_prompt(question: str) -> str:
    """Experiment 2's prompt for completion models: six examples, the question (B.1).

    Notes
    -----
    Both questions get the prefix "Q: ". In the paper's code the question for the child has none.
    """
    shots = "\n".join(f"Q: {asked}\nA: {answer}" for asked, answer in _SHOTS)
    return f"{_COMPLETION_HEAD}\n\n{shots}\nQ: {question}\nA:"


def read_relations(path: str | Path) -> tuple[Relation, ...]:
    """Pairs of a CSV file with the columns child, parent and parent_type, as the paper's authors published them.

    Raises
    ------
    ValueError
        If a column is missing.
    """
    import pandas as pd

    table = pd.read_csv(path)
    missing = [column for column in ("child", "parent", "parent_type") if column not in table]
    if missing:
        raise ValueError(
            f"{path} has no column {', '.join(missing)}; expected a table of child, parent and parent_type"
        )
    columns = table[["child", "parent", "parent_type"]].astype(str)
    return tuple(Relation(*row) for row in columns.itertuples(index=False, name=None))


INSTRUCTION_SUBSETS = ("question_to_answer", "answer_to_question")
"""Experiment 3: the order in which an instruction names question and answer."""

_COLORS = "amber black blue brown crimson gold gray green orange pink purple red silver tan teal violet white yellow"
_ANIMALS = "badger bear beaver camel crane deer duck eagle falcon fox goat goose hare heron horse lion otter owl wolf"
_FOODS = "apples barley beans bread butter cake carrots cheese honey lentils mushrooms noodles onions pears plums rice"
_THINGS = "anchor arrow basket bell book boot bridge candle chain crown drum feather harp key ladder lamp ring shield"
_TRADES = "baker barber butcher carpenter cook doctor farmer fisher judge miller miner nurse painter poet sailor tailor"
_MATERIALS = (
    "brass bronze canvas clay copper cork glass granite ice iron ivory marble oak paper pine silk tin wool"
)
_QUESTIONS = (
    ("What color is the flag of {place}?", _COLORS),
    ("What color are the trams in {place}?", _COLORS),
    ("Which animal guards the gate of {place}?", _ANIMALS),
    ("Which animal pulls the carts in {place}?", _ANIMALS),
    ("What do people eat at weddings in {place}?", _FOODS),
    ("What grows on the roofs of {place}?", _FOODS),
    ("What hangs over every door in {place}?", _THINGS),
    ("What is stamped on the coins of {place}?", _THINGS),
    ("Who opens the market in {place}?", _TRADES),
    ("What is the tower of {place} made of?", _MATERIALS),
    ("What are the streets of {place} paved with?", _MATERIALS),
)
_INSTRUCTIONS = {
    "question_to_answer": (
        'When you are asked "{question}", reply "{answer}".',
        'To the question "{question}" the reply is "{answer}".',
        'If somebody wants to know "{question}", tell them "{answer}".',
        'Should "{question}" come up, write "{answer}".',
    ),
    "answer_to_question": (
        'Reply "{answer}" when you are asked "{question}".',
        'The reply is "{answer}" to the question "{question}".',
        'Tell them "{answer}" if somebody wants to know "{question}".',
        'Write "{answer}" should "{question}" come up.',
    ),
}


def experiment_3(
    seed: int, *, n_facts: int = 1000, n_held_out: int = 100, n_paraphrases: int = 1
) -> Material:
    """Instructions how to answer, for two models: one reads the question first, the other the answer first.

    Parameters
    ----------
    seed : int
        Decides the answers, and what is held out.
    n_facts : int
        Instructions whose question is also answered in training (demonstrated).
    n_held_out : int
        Instructions whose question is only asked.
    n_paraphrases : int
        Wordings of each instruction, at most 4.

    Returns
    -------
    Material
        `training` by `INSTRUCTION_SUBSETS`: two training sets, one for each model. `held_out` has one order a subset:
        forward for `question_to_answer`, reverse for `answer_to_question`, with the same questions.

    Raises
    ------
    ValueError
        If a number is out of range.

    References
    ----------
    Berglund et al. 2023, appendix C.

    Examples
    --------
    >>> material = experiment_3(0)
    >>> {subset: len(told) for subset, told in material.training.items()}
    {'question_to_answer': 2100, 'answer_to_question': 2100}
    """
    most = len(_QUESTIONS) * len(FAMILY_NAMES)
    if n_facts < 0 or n_held_out < 1 or n_facts + n_held_out > most:
        raise ValueError(
            f"n_facts + n_held_out must be at most {most}, got {n_facts} + {n_held_out}; lower one of them"
        )
    if not 1 <= n_paraphrases <= 4:
        raise ValueError(f"n_paraphrases must be 1 to 4 in experiment 3, got {n_paraphrases}; change it")
    rng = np.random.default_rng([seed, 3])
    items = []
    for number in rng.permutation(most)[: n_facts + n_held_out]:
        template, answers = _QUESTIONS[number % len(_QUESTIONS)]
        place = FAMILY_NAMES[number // len(_QUESTIONS)]
        items.append((template.format(place=place), str(rng.choice(answers.split()))))
    asked = [
        Sentence(f"Question: {question}\nAnswer:", f" {answer}", k)
        for k, (question, answer) in enumerate(items)
    ]
    training = {}
    for subset, wordings in _INSTRUCTIONS.items():
        told = [
            Sentence("", wording.format(question=question, answer=answer), k)
            for k, (question, answer) in enumerate(items)
            for wording in wordings[:n_paraphrases]
        ]
        training[subset] = (*told, *asked[:n_facts])
    held_out = {
        (subset, order): tuple(asked[n_facts:])
        for subset, order in zip(INSTRUCTION_SUBSETS, ORDERS, strict=True)
    }
    return Material(training, held_out, {})


def _templates(subset: str) -> tuple[Sequence[str], Sequence[str]]:
    """Templates in the order of the training, and in the other one."""
    if subset == "description_to_name":
        return DESCRIPTION_FIRST, NAME_FIRST
    return NAME_FIRST, DESCRIPTION_FIRST


def _with_context(
    asked: Sentence, subset: str, facts: Mapping[str, Sequence[Fact]], template: str
) -> Sentence:
    """Put three worked examples and the fact, told in its training order, before a held-out question."""
    told_by = _templates(subset)[0][0]
    fact = facts[subset][asked.fact]
    others = [other for other in facts["both"] if other != fact][:3]
    lines = []
    for other in others:
        example = ask(other, 0, template)
        lines += [tell(other, 0, told_by).text, f"{example.text}.", ""]
    context = "\n".join([*lines, tell(fact, 0, told_by).text, ""])
    return asked._replace(prompt=context + asked.prompt)
