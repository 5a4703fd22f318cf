"""The binary operations of Power et al. 2022, A.1.1, as tables of token sequences.

The conventions are those of openai/grok: which equations there are, in which order, how permutations compose,
and how the table is split, so that its split can be reproduced equation by equation.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
PERMUTATIONS = np.array(list(itertools.permutations(range(5))))  # S5 in the order of openai/grok


@dataclass(frozen=True)
class Operation:
    """One binary operation x ∘ y.

    Attributes
    ----------
    formula : str
        For titles.
    openai_name : str
        The operator's token in openai/grok.
    compute : callable
        ``(x, y, modulus) -> answers``, on arrays of symbols; for S5, symbols are places in `PERMUTATIONS`.
    domain : {"residues", "nonzero_y", "s5"}
        Which pairs there are: all pairs of residues, those with y ≠ 0, or all pairs of permutations.
    needs_prime : bool
        Whether it divides.
    commutative : bool
        Whether x ∘ y = y ∘ x for all x and y.
    """

    formula: str
    openai_name: str
    compute: Callable[[Ints, Ints, int], Ints]
    domain: str = "residues"
    needs_prime: bool = False
    commutative: bool = False


def _inverse(y: Ints, p: int) -> Ints:
    """y⁻¹ mod a prime p, by Fermat: y^(p−2); 0 for 0."""
    return np.array([pow(int(v), p - 2, p) for v in range(p)])[y]


def _compose(first: Ints, then: Ints) -> Ints:
    """Do one permutation, then the other: c[i] = then[first[i]]."""
    return _place(np.take_along_axis(PERMUTATIONS[then], PERMUTATIONS[first], axis=1))


def _invert(x: Ints) -> Ints:
    return _place(np.argsort(PERMUTATIONS[x], axis=1))


def _place(permutations: Ints) -> Ints:
    """Where permutations stand in `PERMUTATIONS`, which is in lexicographic order."""
    weights = 5 ** np.arange(4, -1, -1)
    return np.searchsorted(PERMUTATIONS @ weights, permutations @ weights)


def cosets(generators: Ints, *, side: str = "left") -> Ints:
    """Number the cosets of the subgroup of S5 that some permutations generate (Power et al. 2022, Figure 3 left).

    Parameters
    ----------
    generators : int array [n, 5]
        Permutations; `PERMUTATIONS[i]` has number i.
    side : {"left", "right"}
        "left": x · h for all h of the subgroup, "right": h · x; the permutation written first is applied first.

    Returns
    -------
    int array [120]
        For every permutation x the number of its coset.

    Examples
    --------
    >>> numbers = cosets(np.array([[3, 4, 2, 0, 1], [0, 2, 1, 4, 3]]))  # (0 3)(1 4) and (1 2)(3 4), as in the paper
    >>> np.unique(numbers, return_counts=True)[1].tolist()  # twelve cosets of ten
    [10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10]
    """
    subgroup = {0}  # the identity stands first
    while (
        grown := {
            int(x)
            for g in _place(generators)
            for x in _compose(np.array([*subgroup]), np.full(len(subgroup), g))
        }
        - subgroup
    ):
        subgroup |= grown
    everything = np.arange(len(PERMUTATIONS))
    smallest = np.min([_compose(everything, np.full_like(everything, h)) for h in subgroup], axis=0)
    left = np.unique(smallest, return_inverse=True)[1]
    return left if side == "left" else left[_invert(everything)]  # (x · h)⁻¹ = h⁻¹ · x⁻¹


OPERATIONS: dict[str, Operation] = {
    "add": Operation("x + y", "+", lambda x, y, p: (x + y) % p, commutative=True),
    "sub": Operation("x − y", "-", lambda x, y, p: (x - y) % p),
    "div": Operation("x / y", "/", lambda x, y, p: x * _inverse(y, p) % p, "nonzero_y", needs_prime=True),
    "div_odd_else_sub": Operation(
        "x / y if y is odd, else x − y",
        "(x._value//y)if(y._value%2==1)else(x-y)_mod_97",
        lambda x, y, p: np.where(y % 2 == 1, x * _inverse(y, p), x - y) % p,
        needs_prime=True,
    ),
    "x2_y2": Operation("x² + y²", "x**2+y**2_mod_97", lambda x, y, p: (x**2 + y**2) % p, commutative=True),
    "x2_xy_y2": Operation(
        "x² + xy + y²", "x**2+y**2+x*y_mod_97", lambda x, y, p: (x**2 + x * y + y**2) % p, commutative=True
    ),
    "x2_xy_y2_x": Operation(
        "x² + xy + y² + x", "x**2+y**2+x*y+x_mod_97", lambda x, y, p: (x**2 + x * y + y**2 + x) % p
    ),
    "x3_xy": Operation("x³ + xy", "x**3+x*y_mod_97", lambda x, y, p: (x**3 + x * y) % p),
    "x3_xy2_y": Operation("x³ + xy² + y", "x**3+x*y**2+y_mod_97", lambda x, y, p: (x**3 + x * y**2 + y) % p),
    "s5": Operation("x · y in S5", "s5", lambda x, y, _: _compose(x, y), "s5"),
    "s5_conj": Operation(
        "x · y · x⁻¹ in S5", "s5conj", lambda x, y, _: _compose(_compose(x, y), _invert(x)), "s5"
    ),
    "s5_aba": Operation("x · y · x in S5", "s5aba", lambda x, y, _: _compose(_compose(x, y), x), "s5"),
}

# openai/grok's 20 operator tokens: the twelve of the paper and eight more.
OPENAI_OPERATORS = sorted(
    [kind.openai_name for kind in OPERATIONS.values()]
    + ["*", "**2+", "**3+", "+*", "+-", "copy", "reverse", "sort"]
)


def operation_table(operation: str, modulus: int = 97) -> tuple[Ints, Ints]:
    """List all equations x ∘ y = z of an operation.

    Parameters
    ----------
    operation : str
        A key of `OPERATIONS`.
    modulus : int
        p; the S5 operations ignore it.

    Returns
    -------
    pairs : int array [n, 2]
        x and y, as symbols 0 … p−1 (0 … 119 for S5).
    answers : int array [n]
        z.

    Raises
    ------
    ValueError
        If the operation is unknown, or the modulus does not suit it.

    Notes
    -----
    The order is openai/grok's: x and y in nested loops, but for division z and y, with x = y·z.

    References
    ----------
    Power et al. 2022, A.1.1.

    Examples
    --------
    >>> pairs, answers = operation_table("div", 97)
    >>> len(pairs), bool((pairs[:, 0] == answers * pairs[:, 1] % 97).all())
    (9312, True)
    """
    validate_operation(operation, modulus)
    kind = OPERATIONS[operation]
    n = n_symbols(operation, modulus)
    x, y = (grid.ravel() for grid in np.meshgrid(np.arange(n), np.arange(n), indexing="ij"))
    if kind.domain == "nonzero_y":
        z, y = x[y > 0], y[y > 0]
        x = y * z % modulus
    return np.stack([x, y], axis=1), kind.compute(x, y, modulus)


def n_symbols(operation: str, modulus: int) -> int:
    """How many different symbols an operation's operands and answers have: p, or 120 for S5."""
    return len(PERMUTATIONS) if OPERATIONS[operation].domain == "s5" else modulus


def validate_operation(operation: str, modulus: int) -> None:
    """Refuse an unknown operation, or a modulus that does not suit it, with a ValueError that says what would."""
    if operation not in OPERATIONS:
        raise ValueError(
            f"operation must be one of {', '.join(OPERATIONS)}, got {operation!r}; choose one of them"
        )
    if modulus < 3:
        raise ValueError(f"modulus must be a whole number from 3 on, got {modulus}; the paper uses 97")
    if OPERATIONS[operation].needs_prime and not is_prime(modulus):
        near = next(p for p in itertools.count(modulus) if is_prime(p))
        raise ValueError(
            f"{operation} divides, so modulus must be prime, got {modulus}; "
            f"take {near}, or an operation without division"
        )


def is_prime(n: int) -> bool:
    """Whether n has exactly two divisors.

    Examples
    --------
    >>> [n for n in range(20) if is_prime(n)]
    [2, 3, 5, 7, 11, 13, 17, 19]
    """
    return n > 1 and all(n % d for d in range(2, int(n**0.5) + 1))


def split_equations(
    n: int, train_fraction: float, seed: int, *, mirrors: Ints | None = None
) -> tuple[Ints, Ints]:
    """Shuffle the equations and train on the first round(n · train_fraction).

    Parameters
    ----------
    n : int
        Number of equations.
    train_fraction : float
        In (0, 1).
    seed : int
        0 gives openai/grok's split, which its authors use for every run.
    mirrors : int array [n], optional
        For each equation the number of its mirror image (y ∘ x for x ∘ y): the two then stay on one side. Where the
        cut would part a pair, one more equation is trained on, or one fewer if that leaves none to validate on.

    Returns
    -------
    train, val : int arrays
        Numbers of equations; together all of them, none twice.

    Raises
    ------
    ValueError
        If the fraction leaves nothing to train on or nothing to validate on, or all equations are one pair of mirrors.

    Examples
    --------
    >>> train, val = split_equations(9312, 0.5, seed=0)
    >>> len(train), len(val)
    (4656, 4656)
    >>> pairs, answers = operation_table("div", 97)
    >>> pairs[train[0]].tolist(), int(answers[train[0]])  # 77 / 47 = 78, the first in openai/grok
    ([77, 47], 78)
    """
    if not 0 < train_fraction < 1:
        raise ValueError(
            f"train_fraction must lie between 0 and 1, both left out, got {train_fraction}; "
            "0.5 trains on half of the table"
        )
    n_train = round(n * train_fraction)
    if not 0 < n_train < n:
        raise ValueError(
            f"train_fraction={train_fraction} of {n} equations leaves {n_train} to train on and "
            f"{n - n_train} to validate on; "
            "both need at least one"
        )
    order = np.arange(n)
    np.random.RandomState(seed).shuffle(order)
    if mirrors is not None:
        # Walk through the shuffled equations by pairs: both sides of a pair take the place of its first side.
        rank = np.empty(n, dtype=np.int64)
        rank[order] = np.arange(n)
        order = np.lexsort((rank, np.minimum(rank, rank[mirrors])))
        if mirrors[order[n_train - 1]] == order[n_train]:
            n_train += 1 if n_train + 1 < n else -1
        if n_train == 0:
            raise ValueError(
                f"a split that keeps mirrors together needs more than one pair of them, got {n} equations; "
                "give more, or leave mirrors out"
            )
    return order[:n_train], order[n_train:]


def mirror_equations(pairs: Ints) -> Ints:
    """For each equation x ∘ y the number of y ∘ x (its own where there is none).

    Examples
    --------
    >>> mirror_equations(np.array([[0, 1], [1, 0], [2, 2]])).tolist()
    [1, 0, 2]
    """
    number = {(int(x), int(y)): i for i, (x, y) in enumerate(pairs)}
    return np.array([number.get((int(y), int(x)), i) for i, (x, y) in enumerate(pairs)])


VOCABULARIES = ("compact", "openai")


@dataclass(frozen=True)
class Vocabulary:
    """Which number each token has.

    "compact" writes ``x ∘ y = z`` with the symbols first, then ∘ and =. "openai" writes openai/grok's
    ``<|eos|> x ∘ y = z <|eos|>`` with its 239 tokens: <|eos|>, =, 20 operators in sorted order, the numbers 0 to 96 and
    the 120 permutations of 01234.

    Raises
    ------
    ValueError
        If there is no vocabulary of that kind.
    """

    kind: str
    operation: str
    modulus: int

    def __post_init__(self) -> None:
        if self.kind not in VOCABULARIES:
            raise ValueError(
                f"kind must be {' or '.join(VOCABULARIES)}, got {self.kind!r}; choose one of them"
            )

    @property
    def size(self) -> int:
        """Number of tokens."""
        return 239 if self.kind == "openai" else n_symbols(self.operation, self.modulus) + 2

    @property
    def n_answer(self) -> int:
        """Tokens at the end of a sequence that the loss is about: the answer, and openai/grok's final <|eos|>."""
        return 2 if self.kind == "openai" else 1

    @property
    def symbols(self) -> slice:
        """Where the operands' rows lie in an embedding matrix."""
        first = self._first_symbol
        return slice(first, first + n_symbols(self.operation, self.modulus))

    @property
    def _first_symbol(self) -> int:
        if self.kind == "compact":
            return 0
        return 22 if OPERATIONS[self.operation].domain != "s5" else 22 + 97

    def encode(self, pairs: Ints, answers: Ints) -> Ints:
        """Write equations as rows of tokens, answers included."""
        x, y, z = (column + self._first_symbol for column in (pairs[:, 0], pairs[:, 1], answers))
        n = n_symbols(self.operation, self.modulus)
        if self.kind == "compact":
            return np.stack([x, np.full_like(x, n), y, np.full_like(x, n + 1), z], axis=1)
        operator_token = 2 + OPENAI_OPERATORS.index(OPERATIONS[self.operation].openai_name)
        end, equals, operator = (np.full_like(x, token) for token in (0, 1, operator_token))
        return np.stack([end, x, operator, y, equals, z, end], axis=1)
