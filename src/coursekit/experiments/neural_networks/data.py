"""Handwritten digits: small ones that come with scikit-learn, and MNIST, which is downloaded once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits as packaged_digits

from coursekit.hub import load_dataset

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.int64]

DATASETS: dict[str, int] = {"digits": 8, "mnist": 28}
"""The data sets, and how many pixels wide and high an image is."""

N_VAL = 360  # a fifth of the small digits
N_DIGITS = 1797


@dataclass(frozen=True, eq=False)
class Digits:
    """Images to learn from and images that are held out.

    Attributes
    ----------
    train_images, val_images : float array [n, side²]
        One image a row, its pixels row by row, from 0 (paper) to 1 (ink).
    train_labels, val_labels : int array [n]
        0 to 9.
    side : int
        Pixels along a side.
    """

    train_images: Floats
    train_labels: Ints
    val_images: Floats
    val_labels: Ints
    side: int


def load_digits(
    dataset: str = "digits", *, seed: int = 0, n_train: int | None = None, random_labels: float = 0.0
) -> Digits:
    """Load a data set, split it, and put random labels on some training images if asked to.

    Parameters
    ----------
    dataset : {"digits", "mnist"}
        "digits": 1797 images of 8 × 8 pixels, with scikit-learn; 360 of them, drawn by the seed, are held out. "mnist":
        60,000 of 28 × 28 and 10,000 held out; 11 MB to download, see `coursekit.hub.load_dataset`.
    seed : int
        Of the split, and of the random labels.
    n_train : int, optional
        Train on so many images only. Default: on all.
    random_labels : float
        The chance that a training image gets a label drawn uniformly from 0 to 9, which may be the right one. Held-out
        images keep theirs.

    Returns
    -------
    Digits

    Raises
    ------
    ValueError
        If the name is unknown, or a number is outside its range.
    coursekit.hub.HubError
        If MNIST is neither here nor to be had.

    Notes
    -----
    The people who wrote the small digits are on both sides of the split. MNIST's split keeps writers apart.

    References
    ----------
    Alpaydin and Kaynak 1998, *Optical Recognition of Handwritten Digits*, UCI; LeCun, Bottou, Bengio and Haffner 1998,
    *Gradient-based learning applied to document recognition*. Random labels: Zhang et al. 2016, section 2.

    Examples
    --------
    >>> digits = load_digits()
    >>> digits.train_images.shape, digits.val_images.shape, float(digits.train_images.max())
    ((1437, 64), (360, 64), 1.0)
    >>> shuffled = load_digits(random_labels=1.0)
    >>> bool(0.05 < (shuffled.train_labels == digits.train_labels).mean() < 0.15)
    True
    """
    if dataset not in DATASETS:
        raise ValueError(f"dataset must be one of {', '.join(DATASETS)}, got {dataset!r}; choose one of them")
    if not 0 <= random_labels <= 1:
        raise ValueError(f"random_labels must be a chance from 0 to 1, got {random_labels}; 0 is no label")
    digits = _packaged(seed) if dataset == "digits" else _mnist()
    n_all = len(digits.train_labels)
    if n_train is not None:
        if not 1 <= n_train <= n_all:
            raise ValueError(
                f"n_train must be from 1 to {n_all} for {dataset}, got {n_train}; None takes all"
            )
        digits = replace(
            digits, train_images=digits.train_images[:n_train], train_labels=digits.train_labels[:n_train]
        )
    if random_labels:
        generator = np.random.default_rng([seed, 1])
        chosen = generator.random(n_all) < random_labels
        drawn = generator.integers(10, size=n_all)
        n = len(digits.train_labels)
        digits = replace(digits, train_labels=np.where(chosen[:n], drawn[:n], digits.train_labels))
    return digits


def _packaged(seed: int) -> Digits:
    images, labels = packaged_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(N_DIGITS)
    val, train = order[:N_VAL], order[N_VAL:]
    images = images / 16  # an image is a bitmap of 32 × 32, and a pixel counts the ink in 4 × 4 of it
    return Digits(images[train], labels[train], images[val], labels[val], side=DATASETS["digits"])


@lru_cache(maxsize=1)
def _mnist() -> Digits:
    with np.load(load_dataset("mnist") / "mnist.npz", allow_pickle=False) as file:
        images, labels = ([file[f"{kind}_{part}"] for part in ("train", "test")] for kind in ("x", "y"))
    train, val = (part.reshape(len(part), -1) / 255 for part in images)
    return Digits(train, labels[0].astype(np.int64), val, labels[1].astype(np.int64), side=DATASETS["mnist"])
