"""What turns chapters and labs into a site: a Sphinx extension, page interactives, and the build itself.

- ``environment.py`` makes the virtual environment; ``build.py`` runs the labs and builds the site.
- ``extension.py`` is the Sphinx extension, with ``mime.py`` for figures in executed cells and ``style.css``.
- ``digits.py`` makes a field to draw a digit in; ``digits.js`` runs the network that reads it.
- ``forecast.py`` makes the forecast of week 8 with its sliders; ``forecast.js`` draws it.
- ``interactive.py`` makes a page interactive from data; ``scrubber.js`` and ``plotly_figures.js`` draw it.
- ``quiz.py`` makes a question of a chapter's quiz; ``quiz.js`` checks and remembers the answers.
- ``repository.py`` holds the course's address, title and weeks, and changes them for a fork.
- ``packet.py`` prints one week as a PDF.
- ``evidence.py`` and ``claims.py`` write the evidence page; ``freshness.py`` runs the labs and writes theirs.
"""

from coursekit.book.digits import digit_drawing
from coursekit.book.forecast import forecast_explorer
from coursekit.book.interactive import scrubber
from coursekit.book.repository import adopt

__all__ = ["adopt", "digit_drawing", "forecast_explorer", "scrubber"]
