"""Token sequences: random epochs, padding, and what many sequences share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


class Epochs:
    """Numbers of the examples of each batch: every epoch a new random order, its last batch as short as it falls.

    Parameters
    ----------
    n_examples, batch_size : int
    seed : int
        Decides every order; the same on every device.

    Examples
    --------
    >>> epochs = Epochs(5, 2, seed=0)
    >>> [len(epochs.next()) for _ in range(4)]
    [2, 2, 1, 2]
    """

    def __init__(self, n_examples: int, batch_size: int, seed: int):
        self.n_examples, self.batch_size = n_examples, batch_size
        self._generator = torch.Generator().manual_seed(seed)
        self._new_epoch()

    def next(self) -> Int[Tensor, " batch"]:
        """The next batch."""
        if self._cursor >= self.n_examples:
            self._new_epoch()
        batch = self._order[self._cursor : self._cursor + self.batch_size]
        self._cursor += self.batch_size
        return batch

    def state(self) -> dict[str, Tensor]:
        """Tensors from which `restore` goes on with the same batches."""
        return {
            "order": self._order,
            "cursor": torch.tensor(self._cursor),
            "generator": self._generator.get_state(),
        }

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on from `state`."""
        self._order, self._cursor = state["order"], int(state["cursor"])
        self._generator.set_state(state["generator"])

    def _new_epoch(self) -> None:
        self._order, self._cursor = torch.randperm(self.n_examples, generator=self._generator), 0


def pad(parts: Sequence[Tensor]) -> tuple[Tensor, Float[Tensor, "parts length"]]:
    """Stack tensors of unequal size, zeros where one has no entry, with a mask over the first axis.

    Returns
    -------
    stacked : Tensor
        One leading axis more than the parts.
    real : Float[Tensor, "parts length"]
        1 for an entry of the part, 0 for padding.

    Examples
    --------
    >>> stacked, real = pad([torch.tensor([1, 2, 3]), torch.tensor([4])])
    >>> stacked.tolist(), real.tolist()
    ([[1, 2, 3], [4, 0, 0]], [[1.0, 1.0, 1.0], [1.0, 0.0, 0.0]])
    """
    shape = [max(part.shape[d] for part in parts) for d in range(parts[0].dim())]
    stacked, real = parts[0].new_zeros(len(parts), *shape), torch.zeros(len(parts), shape[0])
    for i, part in enumerate(parts):
        corner = stacked[i][tuple(slice(n) for n in part.shape)]
        corner.copy_(part)
        real[i, : len(part)] = 1
    return stacked, real


@dataclass(frozen=True, eq=False)
class SharedPrefixes:
    """The distinct beginnings of a task's sequences, and the distinct tokens at each position after them.

    Attributes
    ----------
    prefixes : Int[Tensor, "n_prefixes n_shared"]
        Every distinct beginning of `n_shared` tokens, once.
    prefix_of : Int[Tensor, "n"]
        Which of them a sequence begins with.
    suffix_tokens : Int[Tensor, "distinct positions"]
        A column for each later position with the distinct tokens that stand there, padded with token 0.
    suffix_of : Int[Tensor, "n positions"]
        Where a sequence's tokens stand in `suffix_tokens` read row by row.
    """

    prefixes: Int[Tensor, "n_prefixes n_shared"]
    prefix_of: Int[Tensor, " n"]
    suffix_tokens: Int[Tensor, "distinct positions"]
    suffix_of: Int[Tensor, "n positions"]


def share_prefixes(inputs: Int[Tensor, "n seq"], *, at_most: int, longest: int) -> SharedPrefixes:
    """Find the longest beginning that has few enough distinct values to be worth computing once each.

    Parameters
    ----------
    inputs : Int[Tensor, "n seq"]
    at_most : int
        Distinct beginnings that are still worth it: the rows of a batch.
    longest : int
        Longest beginning to share, below `seq`; 0 shares nothing.

    Examples
    --------
    >>> shared = share_prefixes(torch.tensor([[1, 9, 1], [1, 9, 2], [2, 9, 1], [2, 9, 2]]), at_most=2, longest=2)
    >>> shared.prefixes.tolist(), shared.suffix_tokens.tolist()
    ([[1, 9], [2, 9]], [[1], [2]])
    """
    n_shared = 0
    for length in range(1, longest + 1):
        if len(inputs[:, :length].unique(dim=0)) <= at_most:
            n_shared = length
    prefixes, prefix_of = inputs[:1, :0], torch.zeros(len(inputs), dtype=torch.long)  # all begin with nothing
    if n_shared:
        prefixes, prefix_of = inputs[:, :n_shared].unique(dim=0, return_inverse=True)
    columns = [inputs[:, at].unique(return_inverse=True) for at in range(n_shared, inputs.shape[1])]
    most = max(len(tokens) for tokens, _ in columns)
    return SharedPrefixes(
        prefixes,
        prefix_of,
        torch.stack([F.pad(tokens, (0, most - len(tokens))) for tokens, _ in columns], 1),
        torch.stack([index * len(columns) + column for column, (_, index) in enumerate(columns)], 1),
    )
