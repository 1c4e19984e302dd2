"""Sources with wrong labels are named, and honest ones that deliver another mix are not."""

from __future__ import annotations

import numpy as np
import pytest

from assay.screen.noise import Labels, calibrated
from assay.screen.signals.sources import Sources


def drawn(
    rows: int, seed: int, mix: tuple[float, ...] = (0.5, 0.3, 0.2), noise: float = 0.02
) -> tuple[np.ndarray, np.ndarray]:
    """Class probabilities of a good model for rows of a source with that mix, and labels drawn from them.

    The model knows a mix of (0.5, 0.3, 0.2); a share of the labels follows no feature and is mostly the last class.
    """
    rng = np.random.default_rng(seed)
    classes = np.array([0.5, 0.3, 0.2])
    true = rng.choice(3, rows, p=np.array(mix))
    x = rng.normal(size=(rows, 3)) + 1.6 * np.eye(3)[true]
    logs = 1.6 * x + np.log(classes)
    probabilities = np.exp(logs - logs.max(axis=1, keepdims=True))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    hidden = rng.random(rows) < noise * mix[2] / classes[2]
    return probabilities, np.where(hidden, 2, true)


def named(sources: list[tuple[np.ndarray, np.ndarray]]) -> set[int]:
    """The sources that are found out, by number."""
    y = np.concatenate([labels for _, labels in sources])
    probabilities = calibrated(np.vstack([p for p, _ in sources]), y)
    code = np.repeat(np.arange(len(sources)), [len(labels) for _, labels in sources])
    own = {k: Labels(probabilities[code == k], y[code == k]) for k in range(len(sources))}
    return set(Sources._named(own, np.bincount(code)))


def flipped(y: np.ndarray, share: float, seed: int) -> np.ndarray:
    """That share of the labels, each replaced by another one."""
    rng = np.random.default_rng(seed)
    rows = rng.random(len(y)) < share
    return np.where(rows, (y + rng.integers(1, 3, len(y))) % 3, y)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("share", [0.15, 0.3])
def test_a_source_with_flipped_labels_is_named_and_no_other(share: float, seed: int) -> None:
    """Of five sources of 400 rows, the third flips."""
    sources = [drawn(400, 10 * seed + k) for k in range(5)]
    sources[2] = (sources[2][0], flipped(sources[2][1], share, seed))
    assert named(sources) == {2}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("before", [0, None])
def test_a_source_that_flips_into_one_class_is_named_and_no_other(before: int | None, seed: int) -> None:
    """Of five sources of 400 rows, the third gives 30 % of one class, or of all, the label of another."""
    sources = [drawn(400, 10 * seed + k) for k in range(5)]
    p, y = sources[2]
    rows = np.random.default_rng(seed).random(len(y)) < 0.3
    rows &= (y == before) if before is not None else True
    sources[2] = p, np.where(rows, 1, y)
    assert named(sources) == {2}


@pytest.mark.parametrize("seed", range(10))
def test_mixes_that_differ_in_every_source_accuse_nobody(seed: int) -> None:
    """Classes differ by factors of up to ten between the sources, and no label is wrong."""
    rng = np.random.default_rng(seed)
    sources = [drawn(400, 10 * seed + k, mix=tuple(rng.dirichlet([2.0, 2.0, 2.0]))) for k in range(5)]
    assert named(sources) == set()


@pytest.mark.parametrize("seed", range(6))
def test_another_mix_of_classes_accuses_nobody(seed: int) -> None:
    """One source delivers the rare class four times as often, and with it four times its labels without a reason."""
    sources = [drawn(400, 10 * seed + k, noise=0.04) for k in range(4)]
    sources.append(drawn(400, 10 * seed + 9, mix=(0.1, 0.1, 0.8), noise=0.04))
    assert named(sources) == set()


def test_flips_among_other_mixes_are_still_seen() -> None:
    """What a mix explains is taken off before, and a quarter of wrong labels is not explained by it."""
    sources = [drawn(400, k, mix=(0.2, 0.2, 0.6) if k % 2 else (0.6, 0.3, 0.1)) for k in range(5)]
    sources[3] = (sources[3][0], flipped(sources[3][1], 0.25, 1))
    assert named(sources) == {3}


def test_models_that_are_too_sure_accuse_nobody() -> None:
    """Probabilities at the third power: every source's labels surprise them alike."""
    sources = [drawn(400, k) for k in range(5)]
    sure = [(p**3 / (p**3).sum(axis=1, keepdims=True), y) for p, y in sources]
    assert named(sure) == set()
