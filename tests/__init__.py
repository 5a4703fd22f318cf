"""The tests, and the check of types and shapes that the unit tests switch on in the package."""

from typing import Any


def typecheck(checked: Any) -> Any:
    """Check calls against annotations by beartype; an int is a float, as in PEP 484."""
    from beartype import BeartypeConf, beartype  # not there where only the labs are tested

    return beartype(conf=BeartypeConf(is_pep484_tower=True))(checked)
