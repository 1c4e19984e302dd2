"""The models that labels are compared with: what they look at, and what each member counts."""

from __future__ import annotations

import numpy as np
import pytest

from assay.screen.classifiers import Classifier, bins, told_by_trees


@pytest.mark.parametrize(("classes", "most"), [(2, 400), (10, 200), (40, 100)])
def test_trees_look_at_fewer_columns_the_more_classes_there_are(classes: int, most: int) -> None:
    """Boosting grows a tree per class; the columns kept are those that tell the label, and none is empty."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(300, 600)), np.arange(300) % classes
    x[:, [7, 555]] += 3.0 * np.eye(classes)[y][:, :2]
    x[:, 8] = np.nan
    seen = told_by_trees(x, y)
    assert len(seen) == most
    assert {7, 555} <= set(seen.tolist())
    assert 8 not in seen
    assert bins(seen, y) == (255 if classes == 2 else 63)


def test_few_columns_are_all_looked_at_and_finely() -> None:
    """As long as there is time for every column, none is left out and none is rounded."""
    x, y = np.random.default_rng(1).normal(size=(100, 30)), np.arange(100) % 3
    seen = told_by_trees(x, y)
    assert seen.tolist() == list(range(30))
    assert bins(seen, y) == 255


def test_probabilities_are_of_all_classes_though_some_have_no_row() -> None:
    """A class that no row shows gets next to nothing; each row sums to one."""
    rng = np.random.default_rng(2)
    x = rng.normal(size=(200, 3))
    y = np.where(x[:, 0] > 0, 2, 0)
    p = Classifier(x, x.astype(np.float32), y, 4, 0, large=False, streaming=False).predict(
        x, x.astype(np.float32)
    )
    assert p.shape == (200, 4)
    assert p.sum(axis=1) == pytest.approx(1.0)
    assert p[:, [1, 3]].max() < 1e-3
    assert np.mean(p.argmax(axis=1) == y) > 0.95
