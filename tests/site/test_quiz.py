"""The quiz in a real browser: mouse, keyboard, what is remembered, both themes; and every chapter of the built site."""

import re
import shutil
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.book.test_quiz import build_page

from .conftest import Site, serve
from .test_theme_a11y import AXE, serious

CHAPTERS = sorted(Path(__file__).resolve().parents[2].joinpath("chapters").glob("[0-9][0-9]_*.md"))
ANSWERS = "bac"
WHY = ("Because of one.", "Because of two.", "Because of three.")
BROKEN = {
    "forbidden": "Object.defineProperty(window, 'localStorage', {get() { throw new DOMException('no', 'Security'); }})",
    "absent": "Object.defineProperty(window, 'localStorage', {value: null})",
    "full": "Storage.prototype.setItem = () => { throw new DOMException('full', 'QuotaExceededError'); }",
}


def markdown(*questions: str) -> str:
    """Return a page with these three questions."""
    made = [
        f":::{{quiz}}\n:answer: {answer}\n\n{question}\n\n- one\n- two, with $x$\n- three\n\n{why}\n:::\n"
        for question, answer, why in zip(questions, ANSWERS, WHY, strict=True)
    ]
    return "# Quiz\n\n" + "\n".join(made)


def write_page(page: Path, work: Path, *questions: str) -> None:
    """Write a page with these three questions and nothing else."""
    html, warnings = build_page(work, markdown(*questions))
    assert warnings == ""
    section = re.search(r'<section [^>]*id="quiz".+?</section>', html, re.S)
    assert section
    page.write_text(
        '<!doctype html><html lang="en" data-theme="light"><head><meta charset="utf-8"><title>Quiz</title>'
        '<meta name="viewport" content="width=device-width"><link rel="icon" href="data:,">'
        '<link rel="stylesheet" href="style.css"><link rel="stylesheet" href="quiz.css">'
        "<style>html { --pst-color-background: #fff } [data-theme=dark] { --pst-color-background: #14181d }"
        " body { color: var(--pst-color-text-base); background: var(--pst-color-background) }"
        " fieldset { border: 0 }</style>"
        "<script>try { document.documentElement.dataset.theme = localStorage.theme ?? 'light' } catch {}</script>"
        '<script defer src="quiz.js"></script></head><body><main class="bd-main">'
        f'<article class="bd-article">{section[0]}</article></main></body></html>',
        encoding="utf-8",
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a page that has three questions."""
    folder = tmp_path_factory.mktemp("page")
    for name in ("quiz.js", "quiz.css", "style.css"):
        shutil.copy(str(files("coursekit.book").joinpath(name)), folder)
    write_page(
        folder / "index.html", tmp_path_factory.mktemp("sphinx"), "Is it *one*?", "Is it two?", "Is it three?"
    )
    return folder


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    """Serve the page: from a file, Chromium may lose what the page stored when it is loaded again."""
    with serve(folder) as address:
        yield address


def questions(page: Page) -> list[Locator]:
    return page.locator("form.ck-quiz").all()


def choose(question: Locator, letter: str) -> None:
    question.get_by_role("radio", name=re.compile(rf"^\({letter}\)")).check()
    question.get_by_role("button", name="Check").click()


def expect_tally(page: Page, words: str) -> None:
    expect(page.locator(".ck-tally")).to_have_text(words, use_inner_text=True)


def test_the_mouse_answers_and_the_answer_is_explained(site: Site) -> None:
    page = site.open("index.html")
    first, second, _ = questions(page)
    expect_tally(page, "You answered 0 of 3")
    expect(page.get_by_role("button", name="start over")).to_be_hidden()
    expect(first.get_by_role("group", name="1. Is it one?")).to_be_visible()
    expect(first.locator("details")).to_be_hidden()  # choose first

    choose(first, "a")
    expect(first.get_by_role("status")).to_have_text(
        "Not yet: it is not (a). Choose again, or open the answer."
    )
    expect(first.get_by_text(WHY[0])).to_be_hidden()
    first.get_by_text("Answer to 1").click()
    expect(first.get_by_text(WHY[0])).to_be_visible()
    choose(first, "b")
    expect(first.get_by_role("status")).to_have_text("Right.")
    expect(first.get_by_text(WHY[0])).to_be_visible()
    expect_tally(page, "You answered 1 of 3, 0 right at the first try · start over")

    second.get_by_text("(a) one").click()  # the words choose as well
    second.get_by_role("button", name="Check").click()
    expect(second.get_by_role("status")).to_have_text("Right, at the first try.")
    expect(second.get_by_text(WHY[1])).to_be_visible()
    expect_tally(page, "You answered 2 of 3, 1 right at the first try · start over")
    assert page.url.endswith("index.html")
    assert site.failures == []


def test_nothing_chosen_is_no_answer(site: Site) -> None:
    page = site.open("index.html")
    questions(page)[0].get_by_role("button", name="Check").click()
    expect(questions(page)[0].get_by_role("status")).to_have_text("")
    expect_tally(page, "You answered 0 of 3")


def test_the_keyboard_goes_through_choices_without_answering(site: Site) -> None:
    page = site.open("index.html")
    first, _, third = questions(page)
    keyboard = page.keyboard
    keyboard.press("Tab")
    expect(first.get_by_role("radio").first).to_be_focused()
    keyboard.press("ArrowDown")
    expect(first.get_by_role("radio", name="(b)")).to_be_checked()
    expect(first.get_by_role("status")).to_have_text("")
    keyboard.press("Enter")
    expect(first.get_by_role("status")).to_have_text("Right, at the first try.")
    keyboard.press("Tab")
    expect(first.get_by_role("button", name="Check")).to_be_focused()
    keyboard.press("Tab")
    keyboard.press("Enter")  # folds the answer
    expect(first.get_by_text(WHY[0])).to_be_hidden()
    third.get_by_role("radio").first.focus()
    keyboard.press("ArrowUp")  # around the corner
    keyboard.press("Tab")
    keyboard.press("Space")
    expect(third.get_by_role("status")).to_have_text("Right, at the first try.")
    for _ in range(2):  # the fold, then
        keyboard.press("Tab")
    expect(page.get_by_role("button", name="start over")).to_be_focused()
    keyboard.press("Enter")
    expect(first.get_by_role("radio").first).to_be_focused()
    expect_tally(page, "You answered 0 of 3")
    assert site.failures == []


def test_answers_are_remembered_and_forgotten_together(site: Site) -> None:
    page = site.open("index.html")
    page.evaluate("localStorage.setItem('of somebody else', 'kept')")
    choose(questions(page)[0], "b")
    choose(questions(page)[1], "c")
    choose(questions(page)[1], "a")
    choose(questions(page)[2], "a")
    words = "You answered 3 of 3, 1 right at the first try · start over"
    expect_tally(page, words)
    page.reload()
    first, second, third = questions(page)
    expect_tally(page, words)
    expect(first.get_by_role("status")).to_have_text("Right, at the first try.")
    expect(first.get_by_role("radio", name="(b)")).to_be_checked()
    expect(first.get_by_text(WHY[0])).to_be_visible()
    expect(second.get_by_role("status")).to_have_text("Right.")
    expect(third.get_by_role("status")).to_have_text(re.compile(r"^Not yet: it is not \(a\)"))
    expect(third.get_by_text(WHY[2])).to_be_hidden()

    page.get_by_role("button", name="start over").click()
    for question in (first, second, third):
        expect(question.get_by_role("status")).to_have_text("")
        expect(question.locator("input:checked")).to_have_count(0)
        expect(question.locator("details")).to_be_hidden()
    expect_tally(page, "You answered 0 of 3")
    left = page.evaluate("Object.keys(localStorage)")
    assert [key for key in left if key.startswith("coursekit-quiz/")] == []
    assert "of somebody else" in left
    assert site.failures == []


@pytest.mark.parametrize("how", BROKEN)
def test_without_a_storage_answers_last_as_long_as_the_page(browser: Browser, folder: Path, how: str) -> None:
    context = browser.new_context()
    page, failures = context.new_page(), list[str]()
    page.on("console", lambda message: failures.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: failures.append(str(error)))
    page.add_init_script(BROKEN[how])
    page.goto(f"{folder.as_uri()}/index.html")
    choose(questions(page)[0], "b")
    expect(questions(page)[0].get_by_role("status")).to_have_text("Right, at the first try.")
    page.get_by_role("button", name="start over").click()
    expect_tally(page, "You answered 0 of 3")
    assert failures == []
    context.close()


@pytest.mark.parametrize("garbage", ["", "z", "ab!", '{"first": "b"}', "null", "\U0001f600", "d"])
def test_garbage_in_the_storage_is_no_answer(site: Site, garbage: str) -> None:
    page = site.open("index.html")
    name = "coursekit-quiz/" + (questions(page)[0].get_attribute("data-key") or "")
    page.evaluate("([name, garbage]) => localStorage.setItem(name, garbage)", [name, garbage])
    page.reload()
    expect_tally(page, "You answered 0 of 3")
    choose(questions(page)[0], "b")
    expect_tally(page, "You answered 1 of 3, 1 right at the first try · start over")
    assert page.evaluate("name => localStorage.getItem(name)", name) == "b"
    assert site.failures == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_reports_nothing_serious(site: Site, theme: str) -> None:
    page = site.open("index.html", theme=theme)
    assert page.evaluate("document.documentElement.dataset.theme") == theme
    choose(questions(page)[0], "b")
    choose(questions(page)[1], "b")
    page.evaluate(AXE)
    assert list(serious(page.evaluate("axe.run(document, {resultTypes: ['violations']})"))) == []


def test_without_its_script_and_on_paper_the_answers_are_folded(browser: Browser, folder: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{folder.as_uri()}/index.html")
    first = questions(page)[0]
    expect(first.get_by_text("(c) three")).to_be_visible()
    expect(first.get_by_role("button")).to_have_count(0)
    expect(page.get_by_text(WHY[0])).to_be_hidden()
    first.get_by_role("radio").first.check()
    first.evaluate(
        "form => form.requestSubmit()"
    )  # leads nowhere: some browsers do it at Enter, without a button
    page.wait_for_timeout(200)
    assert page.url == f"{folder.as_uri()}/index.html"
    first.get_by_text("Answer to 1").click()
    expect(page.get_by_text("(b). Because of one.")).to_be_visible()
    context.close()

    page = browser.new_page()
    page.goto(f"{folder.as_uri()}/index.html")
    page.emulate_media(media="print")
    expect(questions(page)[0].get_by_text("Answer to 1")).to_be_visible()
    expect(questions(page)[0].get_by_text(WHY[0])).to_be_hidden()
    expect(questions(page)[0].locator(".ck-check")).to_be_hidden()
    expect(page.locator(".ck-tally")).to_be_hidden()
    page.close()


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_every_chapter_accepts_its_own_answers(site: Site, served: str, chapter: Path) -> None:
    site.address = served
    page = site.open(f"chapters/{chapter.stem}.html")
    forms = questions(page)
    assert len(forms) >= 5
    for question in forms:
        letters = question.locator("input").evaluate_all("all => all.map(x => x.value)")
        answer = question.get_attribute("data-answer") or ""
        wrong = next(letter for letter in letters if letter != answer)
        choose(question, wrong)
        expect(question.get_by_role("status")).to_have_text(re.compile(rf"^Not yet: it is not \({wrong}\)"))
        choose(question, answer)
        expect(question.get_by_role("status")).to_have_text("Right.")
        expect(question.locator("details")).to_have_text(
            re.compile(rf"^Answer to \d+\s*\({answer}\)\. \S.{{10}}", re.S)
        )
    expect_tally(page, f"You answered {len(forms)} of {len(forms)}, 0 right at the first try · start over")
    assert site.failures == []
