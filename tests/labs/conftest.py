"""The cells of a notebook stay together; every other test goes to whichever worker is free."""

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling


class NotebookScheduling(LoadScopeScheduling):
    """What loadgroup would do if xdist 3.8 could tell its groups to pytest 9.2."""

    def _split_scope(self, nodeid: str) -> str:
        return nodeid.partition("::")[0] if ".ipynb::" in nodeid else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> NotebookScheduling:
    return NotebookScheduling(config, log)
