"""What makes a copy of the course one's own: its address, its title, and the weeks that it has.

``repository.url`` in ``_config.yml`` is the address: the site's Colab buttons come from it. Where a file has to spell
it out (the README's links and badges, the install cell of each lab), `adopt` rewrites it. ``_toc.yml`` says which weeks
there are; `adopt` also hides the others' rows in the two tables of weeks, inside a comment, and can bring them back.
The standard library is enough, so that ``make adopt`` works before anything is installed.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NoReturn

PLACES = ("_config.yml", "pyproject.toml", "*.md", "chapters/**/*.md", "labs/*.ipynb")
TABLES = ("README.md", "chapters/index.md")
_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,37}[A-Za-z0-9])?/[A-Za-z0-9._-]{1,100}"
_SETTING = re.compile(rf"^(\s+url:\s*https://github\.com/)({_NAME})/?\s*$", re.MULTILINE)
_TITLE = re.compile(r"^title: *(.+?) *$", re.MULTILINE)
_WEEK = re.compile(r"^ *- file: chapters/(\d\d)_(\w+)$", re.MULTILINE)
_ROWS = re.compile(r"^(?:\| *\d+ *\|.*\n)+", re.MULTILINE)
_HIDDEN = re.compile(r"\n<!-- weeks that this copy leaves out, see `make adopt`:\n((?:\|.*\n)*)-->\n")


def address(root: Path) -> str:
    """Return the repository that a checkout belongs to, as ``OWNER/NAME``.

    Parameters
    ----------
    root : Path
        The folder that holds ``_config.yml``.

    Returns
    -------
    str
        Owner and name, for example ``"your-organization/how-language-models-learn"``.

    Raises
    ------
    ValueError
        If ``_config.yml`` is missing or names no repository on GitHub.
    """
    config = root / "_config.yml"
    setting = _SETTING.search(_read(config))
    if setting is None:
        raise ValueError(
            f"{config} has no repository url: expected a line `url: https://github.com/OWNER/NAME`."
        )
    return setting.group(2)


def title(root: Path) -> str:
    """Return the title of the course, from ``_config.yml`` in a folder.

    Raises
    ------
    ValueError
        If ``_config.yml`` has none.
    """
    found = _TITLE.search(_read(root / "_config.yml"))
    if found is None:
        raise ValueError(f"{root / '_config.yml'} has no title: expected a line `title: ...`.")
    text = found.group(1)
    return str(json.loads(text)) if text.startswith('"') else text


def weeks(root: Path) -> dict[int, str]:
    """Return the weeks of a course by number, each with its stem, from ``_toc.yml`` in a folder.

    Raises
    ------
    ValueError
        If there is no ``_toc.yml``.
    """
    return {int(number): stem for number, stem in _WEEK.findall(_read(root / "_toc.yml"))}


def parse_weeks(text: str) -> list[int]:
    """Read a list of weeks.

    Raises
    ------
    ValueError
        If it is none.

    Examples
    --------
    >>> parse_weeks("5,2, 6")
    [2, 5, 6]
    """
    try:
        return sorted({int(word) for word in text.split(",")})
    except ValueError:
        raise ValueError(f"expected weeks such as 2,5,6; got {text!r}.") from None


def adopt(
    repository: str | None,
    root: Path,
    *,
    title: str | None = None,
    weeks: Collection[int] | None = None,
) -> list[Path]:
    """Make a copy of the course one's own.

    Parameters
    ----------
    repository : str or None
        ``OWNER/NAME``, or the whole address ``https://github.com/OWNER/NAME``: what every link, badge and install
        cell will point to. None keeps it.
    root : Path
        The folder that holds ``_config.yml``.
    title : str, optional
        One line of plain text: the title of the site, the README and the first page. The authors, and the names in
        the license, stay.
    weeks : collection of int, optional
        The weeks of this copy. Their order is that of the numbers. The files of the others stay, unused.

    Returns
    -------
    list of Path
        The files that were changed: none when everything was like this already.

    Raises
    ------
    ValueError
        If an argument is not of that form. Then nothing was changed.

    Examples
    --------
    >>> adopt("just-a-name", Path("."))
    Traceback (most recent call last):
        ...
    ValueError: expected REPOSITORY=OWNER/NAME as on GitHub, for example ada/course; got 'just-a-name'.
    """
    files = sorted({f for place in (*PLACES, "_toc.yml") for f in root.glob(place)})
    before = {file: file.read_text(encoding="utf-8") for file in files}
    after = dict(before)
    if repository is not None:
        _set_address(after, address(root), _checked_name(repository))
    if title is not None:
        _set_title(after, root, title)
    if weeks is not None:
        _set_weeks(after, root, weeks)
    changed = [file for file in files if after[file] != before[file]]
    # _config.yml last: it says what to replace, so that after an interruption the same command does the rest
    for file in sorted(changed, key=lambda file: file == root / "_config.yml"):
        _write(file, after[file])
    return changed


def _read(file: Path) -> str:
    if not file.is_file():
        raise ValueError(f"{file} does not exist: run this in the folder that holds {file.name}.")
    return file.read_text(encoding="utf-8")


def _write(file: Path, text: str) -> None:
    """Write a file whole or not at all."""
    new = file.with_name(f".{file.name}.new")
    try:
        new.write_text(text, encoding="utf-8")
        new.replace(file)
    finally:
        new.unlink(missing_ok=True)


def _checked_name(repository: str) -> str:
    name = re.sub(r"^(https://)?github\.com/|\.git$|/$", "", repository.strip())
    if not re.fullmatch(_NAME, name):
        raise ValueError(
            f"expected REPOSITORY=OWNER/NAME as on GitHub, for example ada/course; got {repository!r}."
        )
    return name


def _set_address(texts: dict[Path, str], old: str, new: str) -> None:
    """Replace the address as in github.com/OWNER/NAME, Colab's .../github/OWNER/NAME/blob/..., OWNER.github.io/NAME."""
    ends = r"(?=\.git\b|\.\s|[^A-Za-z0-9._-]|$)"
    spelled = re.compile(rf"(?<=github[./])(com[/:])?{re.escape(old)}{ends}", re.MULTILINE)
    hosted = re.compile(rf"(?<=//){re.escape(old.replace('/', '.github.io/'))}{ends}", re.MULTILINE)
    for file, text in texts.items():
        text = spelled.sub(lambda match: (match.group(1) or "") + new, text)
        texts[file] = hosted.sub(new.replace("/", ".github.io/"), text)


def _set_title(texts: dict[Path, str], root: Path, new: str) -> None:
    if not re.fullmatch(r"[^\s*_`<>\[\]{}$\\#|][^\n\r\t*_`<>\[\]{}$\\#|]*", new) or new != new.strip():
        raise ValueError(
            f"expected TITLE as one line without any of * _ ` < > [ ] {{ }} $ \\ # |; got {new!r}."
        )
    old = title(root)
    config = root / "_config.yml"
    texts[config] = _TITLE.sub(
        lambda _: f"title: {json.dumps(new, ensure_ascii=False)}", texts[config], count=1
    )
    for name in TABLES:
        if root / name in texts:
            text = texts[root / name]
            texts[root / name] = re.sub(
                rf"^# {re.escape(old)}$", lambda _: f"# {new}", text, count=1, flags=re.M
            )
    project = root / "pyproject.toml"
    if project in texts:
        was, will = (json.dumps(one, ensure_ascii=False)[1:-1] for one in (old, new))
        description = rf'(?m)^(description = "){re.escape(was)}(?=[:"])'
        texts[project] = re.sub(description, lambda match: match.group(1) + will, texts[project], count=1)


def _set_weeks(texts: dict[Path, str], root: Path, chosen: Collection[int]) -> None:
    known = {int(f.name[:2]): f.stem for f in sorted((root / "chapters").glob("[0-9][0-9]_*.md"))}
    if not chosen or not set(chosen) <= set(known):
        have = ",".join(map(str, known))
        raise ValueError(
            f"expected WEEKS among those that have a chapter, {have}; got {','.join(map(str, chosen))}."
        )
    stems = [known[week] for week in sorted(chosen)]
    toc, indent = root / "_toc.yml", "      "
    _read(toc)
    chapter = (
        rf"{indent}- file: chapters/\d\d_\w+\n(?:{indent}  sections:\n(?:{indent}    - file: labs/\w+\n)+)?"
    )
    plan = rf"{indent}- file: chapters/facilitator/\d\d_\w+\n"
    lab = "{i}  sections:\n{i}    - file: labs/{stem}\n"
    chapters = [
        f"{indent}- file: chapters/{stem}\n"
        + (lab.format(i=indent, stem=stem) if (root / "labs" / f"{stem}.ipynb").is_file() else "")
        for stem in stems
    ]
    plans = [
        f"{indent}- file: chapters/facilitator/{stem}\n"
        for stem in stems
        if (root / "chapters" / "facilitator" / f"{stem}.md").is_file()
    ]
    for old, new in ((chapter, chapters), (plan, plans)) if plans else ((chapter, chapters),):
        texts[toc], n = re.subn(rf"(?m)(?:^{old})+", "".join(new), texts[toc], count=1)
        if n == 0:
            raise ValueError(f"{toc} lists no weeks: expected lines such as `- file: chapters/05_grokking`.")
    for name in TABLES:
        if root / name in texts:
            texts[root / name] = _choose_rows(texts[root / name], chosen)


def _choose_rows(text: str, chosen: Collection[int]) -> str:
    r"""Keep the chosen rows of the table of weeks, and the others in a comment below it.

    >>> print(_choose_rows("| 1 | a |\n| 2 | b |\n", [2]))
    | 2 | b |
    <BLANKLINE>
    <!-- weeks that this copy leaves out, see `make adopt`:
    | 1 | a |
    -->
    <BLANKLINE>
    """
    hidden = "".join(_HIDDEN.findall(text))
    text = _HIDDEN.sub("", text)
    table = _ROWS.search(text)
    if table is None:
        return text
    rows = sorted((table.group() + hidden).splitlines(keepends=True), key=lambda row: int(row.split("|")[1]))
    kept = [row for row in rows if int(row.split("|")[1]) in chosen]
    left = [row for row in rows if row not in kept]
    comment = (
        f"\n<!-- weeks that this copy leaves out, see `make adopt`:\n{''.join(left)}-->\n" if left else ""
    )
    return text[: table.start()] + "".join(kept) + comment + text[table.end() :]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `adopt` to a parser."""
    parser.add_argument("--repository", metavar="OWNER/NAME", help="on GitHub")
    parser.add_argument("--title", metavar="TEXT", help="of the course")
    parser.add_argument("--weeks", metavar="2,5,6", help="that this copy has; the others can be brought back")


def run(arguments: argparse.Namespace) -> int:
    """Run `adopt` for the checkout in the current folder and say what was changed.

    Parameters
    ----------
    arguments : argparse.Namespace
        With ``repository``, ``title`` and ``weeks``, each None if it is to stay.

    Returns
    -------
    int
        The exit status, 0.

    Raises
    ------
    ValueError
        If an argument is wrong, or none is given.
    """
    root = Path.cwd()
    if arguments.repository is None and arguments.title is None and arguments.weeks is None:
        raise ValueError("expected at least one of REPOSITORY=OWNER/NAME, TITLE=..., WEEKS=2,5,6; got none.")
    chosen = None if arguments.weeks is None else parse_weeks(arguments.weeks)
    changed = adopt(arguments.repository, root, title=arguments.title, weeks=chosen)
    for file in changed:
        print(f"changed {file.relative_to(root)}")
    which = ", ".join(map(str, weeks(root)))
    print(f"The repository is {address(root)}, the title {title(root)!r}, the weeks {which}", end="")
    print("." if changed else " already: nothing to change.")
    if chosen is not None and changed:
        print(
            "Links to other weeks become plain text. Read README.md and chapters/index.md once: their text is yours."
        )
    return 0


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Say what is wrong in one sentence."""
        self.exit(2, f"make adopt: {message}\n")


def main(words: Sequence[str]) -> int:
    """Run `adopt` from ``make adopt``, before anything is installed.

    Parameters
    ----------
    words : sequence of str
        The options, as `add_arguments` names them.

    Returns
    -------
    int
        The exit status: 0, or 2 after bad input.
    """
    parser = _Parser(prog="make adopt", description="Make a copy of the course your own.", allow_abbrev=False)
    add_arguments(parser)
    try:
        return run(parser.parse_args(words))
    except ValueError as error:
        print(f"make adopt: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
