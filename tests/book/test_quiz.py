"""The quiz directive writes a form that can be read without its script, and names what is wrong with a question."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from sphinx.testing.util import SphinxTestApp
from sphinx.util.console import strip_colors

QUESTION = """:::{quiz}
:answer: b

What does a {term}`radius` of $r$ give?

$$ 2 \\pi r $$

- Nothing, says {term}`radius`.
- The *circumference*, $2 \\pi r$.
- Both.

It is $2 \\pi$ times as long; (a) is wrong.

- A list of the explanation
:::
"""
GLOSSARY = "\n:::{glossary}\nradius\n  Half of the diameter.\n:::\n"
Build = Callable[[str], tuple[str, str]]


def build_page(folder: Path, text: str) -> tuple[str, str]:
    """Build one page of Markdown with Sphinx and return its HTML and the warnings."""
    folder.joinpath("conf.py").write_text(
        'extensions = ["myst_parser", "coursekit.book.quiz"]\n'
        'myst_enable_extensions = ["colon_fence", "dollarmath"]\n'
        'html_theme = "basic"\nhtml_permalinks = False\n'
    )
    folder.joinpath("index.md").write_text(text)
    app = SphinxTestApp("html", srcdir=folder)
    try:
        app.build()
        return Path(app.outdir, "index.html").read_text(), strip_colors(app.warning.getvalue())
    finally:
        app.cleanup()


@pytest.fixture
def build(tmp_path: Path) -> Build:
    return lambda text: build_page(tmp_path, text)


def keys(html: str) -> list[str]:
    return re.findall(r'data-key="(.+?)"', html)


def test_a_question_becomes_a_form_with_lettered_choices_and_a_folded_answer(build: Build) -> None:
    html, warnings = build(
        "# Page\n\n" + QUESTION + "\n" + QUESTION.replace("What does", "And what does") + GLOSSARY
    )
    assert warnings == ""
    first, second = re.findall(r"<form [^>]*ck-quiz.+?</form>", html, re.S)
    assert 'data-answer="b"' in first
    assert re.search(
        r"<legend><span><strong>1\.</strong> What does a <a.+?radius.+?</a> of <span class=\"math", first
    )
    assert re.search(r"</legend>\s*<div class=\"math.+?</div>\s*<label", first, re.S)  # all of the question
    labels = re.findall(r"<label class=\"ck-choice\">(.+?)</label>", first, re.S)
    assert [re.sub("<.+?>", "", label)[:9] for label in labels] == ["(a) Nothi", "(b) The c", "(c) Both."]
    assert re.findall(r'<input type="radio" name="(.+?)" value="(.)" required>', second) == [
        ("quiz-2", letter) for letter in "abc"
    ]
    fold = re.search(
        r"<details><summary>Answer to 2</summary><p><strong>\(b\)\.</strong> It is (.+?)</details>",
        second,
        re.S,
    )
    assert fold
    assert "A list of the explanation" in fold[1]
    assert "<ul" not in second.partition("<details>")[0]


def test_what_the_browser_remembers_belongs_to_the_wording_of_one_question(build: Build) -> None:
    other = QUESTION.replace("What does", "And what does")
    page = "# Page\n\n" + QUESTION + "\n" + other + GLOSSARY
    one, two = keys(build(page)[0])
    assert one != two
    assert one.startswith("index/")
    assert keys(build(page.replace("(a) is wrong", "(a) is false"))[0]) == [one, two]
    assert keys(build(page.replace("- Both.", "- Both,\n  really."))[0])[0] != one
    rewrapped, changed = keys(build(page.replace("And what does a", "And\nwhat does the"))[0])
    assert rewrapped == one
    assert changed != two
    assert keys(build(page.replace("What does a", "What\ndoes a"))[0]) == [one, two]
    assert keys(build(page.replace("answer: b", "answer: a"))[0]) != [one, two]


def test_an_explanation_may_begin_with_something_else_than_words(build: Build) -> None:
    html, warnings = build(":::{quiz}\n:answer: a\n\nWhy?\n\n- So.\n- No.\n\n$$ x = 1 $$\n:::\n")
    assert '<summary>Answer to 1</summary><p><strong>(a).</strong> </p>\n<div class="math' in html
    assert "quiz" not in warnings


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (":answer: b\n", "", "expected `:answer:` to be a letter from a to c, got nothing."),
        (":answer: b", ":answer:", "expected `:answer:` to be a letter from a to c, got nothing."),
        (":answer: b", ":answer: d", "expected `:answer:` to be a letter from a to c, got d."),
        (":answer: b", ":answer: (b)", "expected `:answer:` to be a letter from a to c, got (b)."),
        ("- ", "", "expected a list of choices (lines that begin with a hyphen), found none."),
        ("- Both.\n", "- Both.\n\n  Or so.\n", "expected one paragraph in choice (c)."),
        (
            QUESTION[QUESTION.index("\nWhat") : QUESTION.index("- Nothing")],
            "\n",
            "expected a paragraph with the question",
        ),
        (
            QUESTION[QUESTION.index("- The") : QUESTION.index("\nIt is")],
            "",
            "expected 2 to 26 choices, found 1.",
        ),
        (
            QUESTION[QUESTION.index("It is") : -4],
            "",
            "expected an explanation after the list of choices, found none.",
        ),
    ],
    ids=[
        "no option",
        "empty",
        "beyond",
        "brackets",
        "no list",
        "two paragraphs",
        "no question",
        "one choice",
        "no why",
    ],
)
def test_a_mistake_is_a_warning_with_file_and_line(build: Build, old: str, new: str, message: str) -> None:
    assert old in QUESTION
    html, warnings = build("# Page\n\nText.\n\n" + QUESTION.replace(old, new) + GLOSSARY)
    (warning,) = warnings.strip().splitlines()
    assert re.search(rf"index\.md:5: .+quiz: {re.escape(message)}", warning)
    assert "ck-quiz" not in html
