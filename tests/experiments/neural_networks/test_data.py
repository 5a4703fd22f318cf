"""The digits: split, kept apart, and given random labels."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits as packaged

from coursekit import hub
from coursekit.experiments.neural_networks import data
from coursekit.experiments.neural_networks.data import load_digits


def test_every_packaged_image_is_on_one_side_of_the_split() -> None:
    digits, (images, labels) = load_digits(seed=3), packaged(return_X_y=True)
    mine = np.vstack([digits.train_images, digits.val_images]) * 16
    names = np.concatenate([digits.train_labels, digits.val_labels])
    assert sorted(map(tuple, np.column_stack([mine, names]))) == sorted(
        map(tuple, np.column_stack([images, labels]))
    )
    assert (len(digits.train_labels), len(digits.val_labels), digits.side) == (1437, 360, 8)
    assert not np.array_equal(load_digits(seed=4).val_labels, digits.val_labels)


def test_fewer_training_images_are_the_first_of_all() -> None:
    few, all_ = load_digits(n_train=100), load_digits()
    assert np.array_equal(few.train_images, all_.train_images[:100])
    assert np.array_equal(few.val_images, all_.val_images)


def test_random_labels_touch_the_training_labels_alone() -> None:
    real, random, some = (load_digits(random_labels=share) for share in (0.0, 1.0, 0.5))
    assert np.array_equal(random.val_labels, real.val_labels)
    assert np.array_equal(random.train_images, real.train_images)
    assert (random.train_labels == real.train_labels).mean() == pytest.approx(0.1, abs=0.03)
    assert (some.train_labels == real.train_labels).mean() == pytest.approx(0.55, abs=0.04)
    few = load_digits(random_labels=1.0, n_train=100)
    assert np.array_equal(few.train_labels, random.train_labels[:100])


def test_mnist_is_read_from_a_folder_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of MNIST's form, with the few images it needs; the real one was never downloaded here."""
    folder = tmp_path / "mnist"
    folder.mkdir()
    generator = np.random.default_rng(0)
    parts = {
        f"{kind}_{part}": generator.integers(
            256 if kind == "x" else 10, size=(n, 28, 28) if kind == "x" else n
        ).astype(np.uint8)
        for part, n in (("train", 6), ("test", 2))
        for kind in "xy"
    }
    np.savez_compressed(folder / "mnist.npz", **parts)  # type: ignore[arg-type]
    sha256 = hashlib.sha256((folder / "mnist.npz").read_bytes()).hexdigest()
    monkeypatch.setitem(hub.DATASETS, "mnist", {"http://127.0.0.1:9/": {"mnist.npz": sha256}})
    monkeypatch.setenv("COURSEKIT_DATA", str(tmp_path))
    data._mnist.cache_clear()
    digits = load_digits("mnist", n_train=5)
    data._mnist.cache_clear()
    assert (digits.train_images.shape, digits.val_images.shape, digits.side) == ((5, 784), (2, 784), 28)
    assert digits.train_images[4, 28 + 3] == parts["x_train"][4, 1, 3] / 255
    assert digits.val_labels.tolist() == parts["y_test"].tolist()
    assert digits.val_labels.dtype == np.int64


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="dataset must be one of digits, mnist, got 'letters'"):
        load_digits("letters")
    with pytest.raises(ValueError, match="random_labels must be a chance from 0 to 1"):
        load_digits(random_labels=2)
    with pytest.raises(ValueError, match="n_train must be from 1 to 1437 for digits, got 2000"):
        load_digits(n_train=2000)
