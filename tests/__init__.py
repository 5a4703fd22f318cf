"""The tests, and the check of types and shapes that they switch on in the package."""

from beartype import BeartypeConf, beartype

typecheck = beartype(conf=BeartypeConf(is_pep484_tower=True))  # an int is a float, as in PEP 484
