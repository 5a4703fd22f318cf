"""Epochs, padding and shared beginnings."""

from __future__ import annotations

import torch

from coursekit.data import Epochs, pad, share_prefixes


def test_an_epoch_has_every_example_once_in_a_new_order() -> None:
    epochs = Epochs(10, 4, seed=3)
    first, second = (torch.cat([epochs.next() for _ in range(3)]) for _ in range(2))
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(10))
    assert first.tolist() != second.tolist()


def test_seeds_decide_the_order() -> None:
    assert torch.equal(Epochs(50, 50, 1).next(), Epochs(50, 50, 1).next())
    assert not torch.equal(Epochs(50, 50, 1).next(), Epochs(50, 50, 2).next())


def test_restored_epochs_go_on_with_the_same_batches() -> None:
    one, other = Epochs(10, 3, seed=0), Epochs(10, 3, seed=9)
    for _ in range(5):
        one.next()
    other.restore(one.state())
    for _ in range(10):
        assert torch.equal(one.next(), other.next())


def test_padding_is_marked() -> None:
    stacked, real = pad([torch.ones(2, 3), torch.ones(4, 1), torch.ones(1, 5)])
    assert stacked.shape == (3, 4, 5)
    assert stacked.sum() == 2 * 3 + 4 + 5
    assert real.tolist() == [[1, 1, 0, 0], [1, 1, 1, 1], [1, 0, 0, 0]]


def test_shared_beginnings_and_tokens_give_the_sequences_back() -> None:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randint(0, 3, (40, 5), generator=generator)
    for at_most in (0, 3, 9, 40):
        shared = share_prefixes(inputs, at_most=at_most, longest=4)
        n = shared.prefixes.shape[1]
        assert n == {0: 0, 3: 1, 9: 2, 40: 4}[at_most]
        rebuilt = torch.cat([shared.prefixes[shared.prefix_of], shared.suffixes], 1)
        assert torch.equal(shared.tokens[rebuilt], inputs)
        assert torch.equal(shared.positions[rebuilt], torch.arange(5).expand(40, 5))
        pairs = torch.stack([shared.tokens, shared.positions])
        assert len(pairs.unique(dim=1).T) == len(pairs.T)  # each once
        assert len(shared.prefixes) == len(inputs[:, :n].unique(dim=0)) if n else 1
