"""The repository's address: one setting, and the command that changes it for a fork.

``repository.url`` in ``_config.yml`` is the setting: the site's Colab buttons come from it. Where a file has
to spell the address out (the README's links, the install cell of each lab), `adopt` rewrites it. The
standard library is enough, so that ``make adopt`` works before anything is installed.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

PLACES = ("_config.yml", "pyproject.toml", "*.md", "chapters/**/*.md", "labs/*.ipynb")
_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,37}[A-Za-z0-9])?/[A-Za-z0-9._-]{1,100}"
_SETTING = re.compile(rf"^(\s+url:\s*https://github\.com/)({_NAME})/?\s*$", re.MULTILINE)


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
    if not config.is_file():
        raise ValueError(f"{config} does not exist: run this in the folder that holds _config.yml.")
    setting = _SETTING.search(config.read_text(encoding="utf-8"))
    if setting is None:
        raise ValueError(
            f"{config} has no repository url: expected a line `url: https://github.com/OWNER/NAME`."
        )
    return setting.group(2)


def adopt(repository: str, root: Path) -> list[Path]:
    """Make another repository the one that every link and install cell points to.

    Parameters
    ----------
    repository : str
        ``OWNER/NAME``, or the whole address ``https://github.com/OWNER/NAME``.
    root : Path
        The folder that holds ``_config.yml``.

    Returns
    -------
    list of Path
        The files that were changed: none when the address was already this one.

    Raises
    ------
    ValueError
        If ``repository`` is not of that form, or ``_config.yml`` has no address to start from.

    Examples
    --------
    >>> adopt("just-a-name", Path("."))
    Traceback (most recent call last):
        ...
    ValueError: expected REPOSITORY=OWNER/NAME as on GitHub, for example ada/course; got 'just-a-name'.
    """
    name = re.sub(r"^(https://)?github\.com/|\.git$|/$", "", repository.strip())
    if not re.fullmatch(_NAME, name):
        raise ValueError(
            f"expected REPOSITORY=OWNER/NAME as on GitHub, for example ada/course; got {repository!r}."
        )
    old = address(root)
    # as in github.com/OWNER/NAME and in Colab's .../github/OWNER/NAME/blob/..., and not a longer name
    spelled = re.compile(
        rf"(?<=github[./])(com[/:])?{re.escape(old)}(?=\.git\b|\.\s|[^A-Za-z0-9._-]|$)", re.MULTILINE
    )
    changed = []
    for file in sorted({f for place in PLACES for f in root.glob(place)}):
        text = file.read_text(encoding="utf-8")
        renewed = spelled.sub(lambda match: (match.group(1) or "") + name, text)
        if renewed != text:
            file.write_text(renewed, encoding="utf-8")
            changed.append(file)
    return changed


def main(arguments: list[str]) -> int:
    """Run `adopt` for the checkout in the current folder and say what was changed.

    Parameters
    ----------
    arguments : list of str
        The repository, as one argument.

    Returns
    -------
    int
        The exit status: 0, or 2 after bad input.
    """
    try:
        changed = adopt(arguments[0] if arguments else "", Path.cwd())
    except ValueError as error:
        print(f"make adopt: {error}", file=sys.stderr)
        return 2
    for file in changed:
        print(f"changed {file.relative_to(Path.cwd())}")
    print(f"The repository is {address(Path.cwd())}" + ("." if changed else " already: nothing to change."))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
