"""The Sphinx extension of the book: every script and style is local, nothing is asked of a network."""

import re
import shutil
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import plotly
from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform

ASSETS = Path(str(files("coursekit.book")))
STYLES = ("style.css", "scrubber.css", "digits.css", "forecast.css", "quiz.css")
SCRIPTS = ("plotly_figures.js", "scrubber.js", "digits.js", "forecast.js", "quiz.js", "page.js")
_LABEL = re.compile(r"^\(([^)\s]+)\)=$", re.MULTILINE)
_FONT_PRELOAD = re.compile(r'\s*<link rel="preload" as="font"[^>]*>')


def add_assets(app: Sphinx, config: Any) -> None:
    """Add our own small files to every page, one by one: a whole folder would also copy the Python files.

    Parameters
    ----------
    app : Sphinx
        The running application.
    config : sphinx.config.Config
        Its configuration, changed in place.
    """
    config.html_static_path += [str(ASSETS / name) for name in (*STYLES, *SCRIPTS)]


def trim_page(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    """Drop from a page what would be dead in it.

    sphinx-thebe's scripts report errors even when thebe is off. A Colab button opens notebooks only, so it
    would lead nowhere on a page written in Markdown.

    Parameters
    ----------
    app, pagename, templatename, doctree : object
        Given by Sphinx's ``html-page-context`` event.
    context : dict
        What the template gets, changed in place.
    """
    context["script_files"] = [script for script in context["script_files"] if not _is_thebe(script)]
    if doctree is not None and not str(app.env.doc2path(pagename)).endswith(".ipynb"):
        context["header_buttons"] = [
            button
            for button in context.get("header_buttons", [])
            if button.get("label") != "launch-buttons" and "colab" not in str(button.get("url", ""))
        ]


def _is_thebe(script: Any) -> bool:
    """Return whether a script of a page belongs to sphinx-thebe."""
    attributes = getattr(script, "attributes", {})
    return "thebe" in f"{getattr(script, 'filename', script)} {attributes.get('body', '')}"


class UnlinkOtherWeeks(SphinxPostTransform):
    """Turn links to weeks that this copy of the course leaves out (see `adopt`) into plain text."""

    default_priority = 8  # before myst_parser, at 9, reports them

    def run(self, **kwargs: Any) -> None:
        """Replace each such link by its words."""
        for node in list(self.document.findall(pending_xref)):
            if node.get("reftype") != "myst":
                continue
            target = node["reftarget"]
            if node.get("refdomain") == "doc":
                there, absent = (
                    target in self.env.all_docs,
                    {file.rpartition(".")[0] for file in self._other_weeks()},
                )
            else:
                there, absent = False, {label for labels in self._other_weeks().values() for label in labels}
            if not there and target.lstrip("#") in absent:
                node.replace_self(node.children or nodes.inline("", target))

    def _other_weeks(self) -> dict[str, list[str]]:
        """Return the files of weeks that are here but not part of the site, each with its labels."""
        if not hasattr(self.app, "coursekit_other_weeks"):
            root = Path(self.env.srcdir)
            files = [f for d in ("chapters", "labs") for f in root.joinpath(d).rglob("[0-9][0-9]_*.*")]
            self.app.coursekit_other_weeks = {  # type: ignore[attr-defined]
                name: _LABEL.findall(file.read_text(encoding="utf-8"))
                for file in files
                if (name := file.relative_to(root).as_posix()).rpartition(".")[0] not in self.env.all_docs
            }
        return self.app.coursekit_other_weeks  # type: ignore[attr-defined]


def copy_large_scripts(app: Sphinx, error: Exception | None) -> None:
    """Copy plotly.js and MathJax from their packages, after the scan that loads every static file everywhere.

    Parameters
    ----------
    app : Sphinx
        The application at the end of a build.
    error : Exception or None
        Why the build failed, if it did.
    """
    if error is not None or app.builder.format != "html":
        return
    mathjax = find_spec("sphinx-mathjax-offline")
    if mathjax is None or mathjax.origin is None:
        raise RuntimeError("sphinx-mathjax-offline is not installed: run make environment.")
    copies = {
        Path(str(plotly.__file__)).parent / "package_data" / "plotly.min.js": "plotly.min.js",
        Path(mathjax.origin).parent / "static" / "mathjax" / "tex-svg.js": "mathjax/tex-svg.js",
    }
    for source, name in copies.items():
        target = Path(app.outdir) / "_static" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


def tidy_pages(app: Sphinx, error: Exception | None) -> None:
    """Remove the theme's font preloads and give the redirecting first page its icon.

    A browser refuses to preload a font from a file, and the style sheet loads it anyway. Without an icon it
    asks for one at the top of the site.

    Parameters
    ----------
    app : Sphinx
        The application at the end of a build.
    error : Exception or None
        Why the build failed, if it did.
    """
    if error is not None or app.builder.format != "html":
        return
    for page in Path(app.outdir).rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        tidy = _FONT_PRELOAD.sub("", text)
        if 'http-equiv="Refresh"' in text and 'rel="icon"' not in text:
            tidy = '<link rel="icon" href="data:,">\n' + tidy
        if tidy != text:
            page.write_text(tidy, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension with Sphinx.

    Parameters
    ----------
    app : Sphinx
        The application.

    Returns
    -------
    dict
        The extension's metadata.
    """
    app.setup_extension("coursekit.book.quiz")
    app.connect("config-inited", add_assets)
    for style in STYLES:
        app.add_css_file(style, priority=900)
    for script in SCRIPTS:
        app.add_js_file(script, loading_method="defer")
    app.add_post_transform(UnlinkOtherWeeks)
    app.connect("html-page-context", trim_page, priority=900)
    app.connect("build-finished", copy_large_scripts)
    app.connect("build-finished", tidy_pages, priority=900)  # after the first page was written
    return {"parallel_read_safe": True, "parallel_write_safe": True}
