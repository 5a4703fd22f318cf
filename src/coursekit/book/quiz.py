"""A question of a chapter's quiz: a Sphinx directive writes the form, ``quiz.js`` checks and remembers the answers.

In a chapter::

    :::{quiz}
    :answer: b

    A question, with $math$ and {term}`terms`.

    - first choice
    - second choice

    The explanation: everything after the list.
    :::

Questions are numbered on each page, and choices lettered. Without the script, and on paper, both can be read, and the
answer is folded below.
"""

from __future__ import annotations

import hashlib
from string import ascii_lowercase as LETTERS
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.writers.html5 import HTML5Translator


class Tag(nodes.General, nodes.Element):
    """An HTML element around its children: ``tag`` is its name, ``html`` its attributes."""


def visit_tag(translator: HTML5Translator, node: Tag) -> None:
    """Open the element."""
    translator.body.append(translator.starttag(node, node["tag"], "", **node["html"]))


def depart_tag(translator: HTML5Translator, node: Tag) -> None:
    """Close the element."""
    translator.body.append(f"</{node['tag']}>")


class Quiz(SphinxDirective):
    """The directive ``quiz``: a question, a list of choices, and the explanation of the right one."""

    has_content = True
    option_spec: ClassVar = {"answer": directives.unchanged}

    def run(self) -> list[nodes.Node]:
        """Return the question as a form.

        Returns
        -------
        list of docutils.nodes.Node
            A form with the question, its choices and the folded answer.

        Raises
        ------
        docutils.parsers.rst.DirectiveError
            If there is no question, no list of two choices or more, no explanation, or if the answer is none of the
            choices. Sphinx reports it with file and line.
        """
        content = nodes.Element()
        self.state.nested_parse(self.content, self.content_offset, content)
        parts = list(content.children)
        at = next((i for i, part in enumerate(parts) if isinstance(part, nodes.bullet_list)), None)
        if at is None:
            raise self.error("quiz: expected a list of choices (lines that begin with a hyphen), found none.")
        question, choices, explanation = parts[:at], parts[at].children, parts[at + 1 :]
        if not question or not isinstance(question[0], nodes.paragraph):
            raise self.error("quiz: expected a paragraph with the question before the list of choices.")
        if not 2 <= len(choices) <= len(LETTERS):
            raise self.error(f"quiz: expected 2 to {len(LETTERS)} choices, found {len(choices)}.")
        by_letter = dict(zip(LETTERS, choices, strict=False))
        for letter, choice in by_letter.items():
            if [type(part) for part in choice.children] != [nodes.paragraph]:
                raise self.error(f"quiz: expected one paragraph in choice ({letter}).")
        answer = self.options.get("answer") or "nothing"
        if answer not in by_letter:
            raise self.error(
                f"quiz: expected `:answer:` to be a letter from a to {max(by_letter)}, got {answer}."
            )
        if not explanation:
            raise self.error("quiz: expected an explanation after the list of choices, found none.")

        number = self.env.temp_data["quiz"] = self.env.temp_data.get("quiz", 0) + 1
        # what the browser remembers belongs to this wording: to reword a question is to ask anew
        wording = " ".join(" ".join([answer, *(part.astext() for part in parts[: at + 1])]).split())
        key = f"{self.env.docname}/{hashlib.sha256(wording.encode()).hexdigest()[:12]}"
        if not isinstance(explanation[0], nodes.paragraph):
            explanation.insert(0, nodes.paragraph())
        explanation[0].insert(0, [nodes.strong("", f"({answer})."), nodes.Text(" ")])
        form = _tag(
            "form",
            _tag(
                "fieldset",
                _tag(
                    "legend", _words(nodes.strong("", f"{number}."), nodes.Text(" "), *question[0].children)
                ),
                *question[1:],
                *(_choice(number, letter, choice[0]) for letter, choice in by_letter.items()),
            ),
            _tag("details", _tag("summary", nodes.Text(f"Answer to {number}")), *explanation),
            method="dialog",  # outside a dialog that is: go nowhere, also without the script
            autocomplete="off",
            **{"class": "ck-quiz", "data-key": key, "data-answer": answer},
        )
        self.set_source_info(form)
        return [form]


def _tag(name: str, /, *children: nodes.Node, **html: Any) -> Tag:
    return Tag("", *children, tag=name, html=html)


def _words(*children: nodes.Node) -> nodes.inline:
    """Return words and links together: docutils takes links only where it knows that text belongs."""
    return nodes.inline("", "", *children)


def _choice(number: int, letter: str, words: nodes.paragraph) -> Tag:
    """Return a radio button with its words."""
    button = f'<input type="radio" name="quiz-{number}" value="{letter}" required>'
    return _tag(
        "label",
        nodes.raw("", button, format="html"),
        _words(nodes.Text(f"({letter}) "), *words.children),
        **{"class": "ck-choice"},
    )


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive with Sphinx.

    Parameters
    ----------
    app : Sphinx
        The application.

    Returns
    -------
    dict
        The extension's metadata.
    """
    app.add_node(Tag, html=(visit_tag, depart_tag))
    app.add_directive("quiz", Quiz)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
