"""What a finished training says of its rows: how they were learnt, and what the network makes of them.

Poison that no table shows can show inside of a model that learnt it. Dirty-label backdoors (Gu et al., 2017) drive the
rows of the target class apart on the penultimate layer: into a cluster of their own (activation clustering: Chen et
al., 2018) or along one direction of high variance (spectral signatures: Tran, Li and Madry, 2018; whitened by clean
rows as in SPECTRE: Hayase et al., 2021). Wrong labels are learnt late, and forgotten again (Toneva et al., 2019; area
under the margin: Pleiss et al., 2020).

Both activation methods usually assume that poison exists and cut off a fixed share. Here trusted rows, which the model
never saw, say what is normal: clusters and directions are found on one half of the training rows and tested on the
other half against trusted rows, so that the tests are exact where both are alike.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from assay.screen.calibration import Calibrator, excess
from assay.screen.encoding import F64, I64
from assay.screen.errors import NotApplicable

F32 = NDArray[np.float32]

MIN_TRUSTED = 20
"""Trusted rows of a class below which its activations are compared with nothing."""
MIN_ROWS = 40
_CLUSTERS = (2, 4, 8, 16)
_COMPONENTS = 10
_FIT_ROWS = 5000
_LEVEL = 5e-3
_IMPURE = 0.2
_MIN_MEMBERS = 5
_SHRINK = 0.1
_LEARNT = float(np.log(2.0))


@dataclass(frozen=True)
class Rowset:
    """Rows with their place in the network.

    Attributes:
        activations: (n, width) outputs of the penultimate layer.
        y: (n,) class codes, negative where unknown.
        fold: (n,) 0 or 1, by the rows' content: copies stand on one side.
    """

    activations: F32
    y: I64
    fold: I64

    def take(self, mask: NDArray[np.bool_]) -> Rowset:
        """The rows where the mask is true."""
        return Rowset(self.activations[mask], self.y[mask], self.fold[mask])


@dataclass
class Cluster:
    """A group on the penultimate layer that trusted rows of the class hardly visit."""

    label: int
    rows: I64
    share: float
    trusted: int
    trusted_rows: int
    p_value: float


@dataclass
class Activations:
    """Spectral p-values and clusters, per class.

    Attributes:
        spectral: (n,) p-values, 1 where a class could not be compared.
        member: (n,) number of the cluster found out, -1 for none.
        clusters: Those found out.
        classes: How many classes were compared.
        compared: (n,) rows of these classes.
    """

    spectral: F64
    member: I64
    classes: int
    compared: NDArray[np.bool_]
    clusters: list[Cluster] = field(default_factory=list)


def examine_activations(rows: Rowset, trusted: Rowset, seed: int) -> Activations:
    """Compare each class's training rows with its trusted rows.

    Raises:
        NotApplicable: No class has enough rows of both kinds, or an activation is not finite.
    """
    if not (np.isfinite(rows.activations).all() and np.isfinite(trusted.activations).all()):
        raise NotApplicable("the network's activations are not all finite")
    n = len(rows.y)
    out = Activations(np.ones(n), np.full(n, -1, dtype=np.int64), 0, np.zeros(n, dtype=bool))
    labels = [
        int(c)
        for c in np.unique(rows.y)
        if c >= 0 and (rows.y == c).sum() >= MIN_ROWS and (trusted.y == c).sum() >= MIN_TRUSTED
    ]
    if not labels:
        raise NotApplicable(f"no class has {MIN_ROWS} training rows and {MIN_TRUSTED} trusted rows")
    out.classes = len(labels)
    for label in labels:
        mine = np.flatnonzero(rows.y == label)
        out.compared[mine] = True
        ours, theirs = rows.take(rows.y == label), trusted.take(trusted.y == label)
        out.spectral[mine] = _spectral(ours, theirs)
        tests = 2 * sum(_CLUSTERS) * len(labels)
        both = [each for fold in (0, 1) for each in _clusters(ours, theirs, fold, seed, tests)]
        for found in sorted(both, key=lambda each: (each.p_value, -len(each.rows))):
            fresh = mine[found.rows]
            if (out.member[fresh] >= 0).mean() > 0.5:
                continue
            fresh = fresh[out.member[fresh] < 0]
            out.member[fresh] = len(out.clusters)
            out.clusters.append(
                Cluster(label, fresh, found.share, found.trusted, found.trusted_rows, found.p_value)
            )
    return out


def _spectral(ours: Rowset, theirs: Rowset) -> F64:
    """Conformal p-values of the squared share of a row in the direction of highest variance, crosswise."""
    out = np.ones(len(ours.y))
    for fold in (0, 1):
        learn, test = ours.activations[ours.fold != fold], ours.activations[ours.fold == fold]
        sound, null = theirs.activations[theirs.fold != fold], theirs.activations[theirs.fold == fold]
        if min(len(learn), len(sound), len(null)) < MIN_TRUSTED // 2 or not len(test):
            continue
        centre, whiten = _whitening(sound.astype(np.float64))
        inside = (learn[:_FIT_ROWS].astype(np.float64) - centre) @ whiten
        direction = np.linalg.svd(inside, full_matrices=False)[2][0]

        def score(x: F32, to: F64 = whiten @ direction, start: F64 = centre) -> F64:
            return np.asarray(((x.astype(np.float64) - start) @ to) ** 2)

        out[ours.fold == fold] = Calibrator(score(null)).p_values(score(test))
    return out


def _whitening(sound: F64) -> tuple[F64, F64]:
    """Centre and (width, width) map after which sound rows have about unit variance in every direction."""
    centre = sound.mean(axis=0)
    covariance = np.atleast_2d(np.cov(sound, rowvar=False)) if len(sound) > 1 else np.eye(sound.shape[1])
    ridge = _SHRINK * max(float(np.trace(covariance)) / len(covariance), 1e-12)
    values, vectors = np.linalg.eigh(covariance + ridge * np.eye(len(covariance)))
    return centre, np.asarray(vectors / np.sqrt(np.maximum(values, 1e-12)))


def _clusters(ours: Rowset, theirs: Rowset, fold: int, seed: int, tests: int) -> list[Cluster]:
    """Clusters of one half of the rows in which the other half stands far more often than trusted rows."""
    from sklearn.cluster import KMeans

    learn = ours.activations[ours.fold != fold][:_FIT_ROWS].astype(np.float64)
    if len(learn) < MIN_ROWS // 2 or (ours.fold == fold).sum() < MIN_ROWS // 2:
        return []
    centre = learn.mean(axis=0)
    _, spread, axes = np.linalg.svd(learn - centre, full_matrices=False)
    kept = spread[:_COMPONENTS] > 1e-6 * max(float(spread[0]), 1e-12)
    axes = axes[:_COMPONENTS][kept].T * (np.sqrt(len(learn)) / spread[:_COMPONENTS][kept])
    if not axes.shape[1]:
        return []
    place, sound = (ours.activations - centre) @ axes, (theirs.activations - centre) @ axes
    tested = ours.fold == fold
    found = []
    for k in _CLUSTERS:
        if len(learn) < 4 * k:
            break
        model = KMeans(k, n_init=3, random_state=seed % 2**32).fit((learn - centre) @ axes)
        mine, other = model.predict(place), model.predict(sound)
        for number in range(k):
            inside, trusted = int((mine[tested] == number).sum()), int((other == number).sum())
            share = inside / int(tested.sum())
            if inside < _MIN_MEMBERS or (trusted + 0.5) / (len(sound) + 1) > _IMPURE * share:
                continue
            p_value = min(1.0, tests * excess(inside, int(tested.sum()), trusted, len(sound)))
            if p_value <= _LEVEL:
                rows = np.flatnonzero(mine == number)
                found.append(Cluster(-1, rows, share, trusted, len(sound), p_value))
    return found


@dataclass(frozen=True)
class Trajectories:
    """How rows were learnt.

    Attributes:
        p_value: (n,) share of the class's training rows whose mean loss is at least as high.
        area: (n,) mean loss over the epochs.
        forgotten: (n,) how often a row that was learnt was not any more in a later epoch.
        last: (n,) the last loss.
    """

    p_value: F64
    area: F64
    forgotten: I64
    last: F64


def follow_losses(losses: F32, y: I64) -> Trajectories:
    """Rank the rows of each class by their mean loss over the epochs.

    There is no clean row among the training rows that is known as one, so that these p-values compare training rows
    with each other: they rank, and decide nothing.

    Args:
        losses: (n, epochs), NaN where a row was in no batch of an epoch.
        y: (n,) class codes.

    Raises:
        NotApplicable: No row has two losses.
    """
    there = np.isfinite(losses)
    if losses.ndim != 2 or not (there.sum(axis=1) >= 2).any():
        raise NotApplicable("no row has the losses of two epochs")
    counts = np.maximum(there.sum(axis=1), 1)
    area = np.where(there.any(axis=1), np.where(there, losses, 0).sum(axis=1) / counts, np.nan)
    filled = losses.astype(np.float64)
    for epoch in range(1, losses.shape[1]):
        filled[:, epoch] = np.where(there[:, epoch], filled[:, epoch], filled[:, epoch - 1])
    with np.errstate(invalid="ignore"):
        forgotten = ((filled[:, :-1] < _LEARNT) & (filled[:, 1:] >= _LEARNT)).sum(axis=1)
    p_value = np.ones(len(y))
    for label in np.unique(y):
        mine = np.flatnonzero((y == label) & np.isfinite(area))
        ordered = np.sort(area[mine])
        above = len(mine) - np.searchsorted(ordered, area[mine], side="left")
        p_value[mine] = above / (len(mine) + 1)
    return Trajectories(p_value, area, forgotten.astype(np.int64), filled[:, -1])
