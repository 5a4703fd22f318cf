"""What a notebook needs: start a lab, predict, check an exercise, keep the progress.

A lab imports this one name and calls five verbs::

    from coursekit import lab

    session = lab.start("grokking")                               session.py: the preset for this machine
    delay = lab.predict("grokking.delay", "At which step ...?")   predictions.py: asked before a run,
    delay.reveal(3100)                                            and shown beside its result
    lab.check("grokking.division_table", division_table)          checks.py: names the misconception
    lab.progress()                                                journal.py: one small file at home

The exercises themselves, one file a week, are in ``exercises/``. What a cohort found hard, from the files that its
students hand in, is in ``cohort.py``; when the group meets, in ``timetable.py``.
"""

from coursekit.lab.checks import check
from coursekit.lab.journal import export_progress, progress
from coursekit.lab.predictions import Prediction, predict
from coursekit.lab.session import Session, start

__all__ = ["Prediction", "Session", "check", "export_progress", "predict", "progress", "start"]
