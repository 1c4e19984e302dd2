"""What a network that learnt from the batch holds of each row, in its last hidden layer.

Spectral signatures (Tran, Li and Madry, NeurIPS 2018): within a class, how far a row lies along the direction of most
variance. Activation clustering (Chen et al., SafeAI 2019): within a class, activations in ten dimensions fall into two
clusters, and the smaller is poison if it is less than a third of the class. Both were made for images and backdoors.
"""

from __future__ import annotations

import warnings

import numpy as np
from benchmarks.detection.scene import Scene
from benchmarks.detection.tools.base import F64, Answer, matrix
from numpy.typing import NDArray

_SMALL, _LEAST = 0.35, 10


def scored(scene: Scene) -> Answer:
    """Both scores; clustering decides, the signature needs to be told the share of poison."""
    frame = scene.done.frame
    (x,) = matrix(frame)
    y = frame["label"].to_numpy(dtype=str)
    hidden = _activations(np.clip(x, -6, 6), y, scene.seed)
    spectral, clustered, flagged = np.zeros(len(y)), np.zeros(len(y)), np.zeros(len(y), dtype=bool)
    for label in np.unique(y):
        mine = np.flatnonzero(y == label)
        if len(mine) < _LEAST:
            continue
        spectral[mine] = spectral_signature(hidden[mine])
        clustered[mine], flagged[mine] = clustering(hidden[mine], scene.seed)
    return Answer(
        {"spectral signature": spectral, "activation clustering": clustered},
        {"activation clustering": flagged},
    )


def _activations(x: F64, y: NDArray[np.str_], seed: int) -> F64:
    """(rows, 32) activations of the last hidden layer."""
    from sklearn.neural_network import MLPClassifier

    model = MLPClassifier((64, 32), batch_size=64, learning_rate_init=2e-3, max_iter=30, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the number of epochs is fixed; it need not have converged
        model.fit(x, y)
    for weights, bias in zip(model.coefs_[:-1], model.intercepts_[:-1], strict=True):
        x = np.maximum(x @ weights + bias, 0.0)
    return x


def spectral_signature(hidden: F64) -> F64:
    """Squared projection of each row on the first right singular vector of the centred activations."""
    centred = hidden - hidden.mean(axis=0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    return np.asarray((centred @ directions[0]) ** 2)


def clustering(hidden: F64, seed: int) -> tuple[F64, NDArray[np.bool_]]:
    """Score and verdict: rows of the smaller of two clusters score by how small it is, the deeper in it the higher."""
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA

    reduced = PCA(min(10, *hidden.shape), random_state=seed).fit_transform(hidden)
    distances = KMeans(2, n_init=4, random_state=seed).fit(reduced).transform(reduced)
    cluster = distances.argmin(axis=1)
    smaller = int(np.bincount(cluster, minlength=2).argmin())
    share = float((cluster == smaller).mean())
    depth = distances[:, 1 - smaller] / np.maximum(distances.sum(axis=1), 1e-12)
    inside = cluster == smaller
    return np.where(inside, 1 - share + depth, depth), inside & (share < _SMALL)
