"""The generators of the detection benchmark do what their names say."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from benchmarks.detection.attacks import ATTACKS, BACKDOORS, CONTROLS, FIXED_RATE, Base, Poisoned, Unfit
from benchmarks.detection.attacks.base import KEPT, changed, features, nearest
from benchmarks.detection.effect import Encoding

ROWS, RATE = 1000, 0.05
IN_PLACE = sorted(set(ATTACKS) - set(CONTROLS) - {"flood", "flood_exact"})
COLUMNS = {
    "backdoor_single": 1,
    "backdoor_pair": 2,
    "backdoor_category": 2,
    "backdoor_distributed": 4,
    "backdoor_wide": 5,
}


def batch(classes: int = 3, seed: int = 0) -> Base:
    """Six numbers (one of them whole), three categories, with labels that the first number decides."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"id": rng.permutation(10 * ROWS)[:ROWS], "src": rng.choice(list("abcde"), ROWS)})
    for name in "uvwxy":
        frame[name] = rng.normal(size=ROWS).round(2)
    frame["n"] = rng.integers(0, 50, ROWS)
    for name, levels in (("town", 12), ("job", 6), ("kind", 4)):
        frame[name] = rng.choice([f"{name}{level}" for level in range(levels)], ROWS)
    frame["label"] = np.digitize(frame["u"], np.linspace(-1, 1, classes + 1)[1:-1]).astype(str)
    known = np.zeros(ROWS, dtype=bool)
    known[rng.permutation(ROWS)[: int(0.8 * ROWS)]] = True
    return Base(frame, known)


def mount(attack: str, rate: float = RATE, seed: int = 0) -> tuple[Base, Poisoned]:
    """The attack on that batch."""
    base = batch()
    return base, ATTACKS[attack](base, rate, np.random.default_rng(seed))


def moved(base: Base, done: Poisoned) -> list[str]:
    """Columns in which any row differs."""
    return [name for name in base.frame.columns if changed(base.frame[[name]], done.frame[[name]]).any()]


@pytest.mark.parametrize("attack", IN_PLACE)
def test_the_truth_is_the_rows_that_differ_from_the_clean_batch(attack: str) -> None:
    """No more and no fewer; keys and rows stay where they are."""
    base, done = mount(attack)
    assert len(done.frame) == ROWS
    assert (done.frame["id"] == base.frame["id"]).all()
    assert (changed(base.frame, done.frame) == done.truth).all()


@pytest.mark.parametrize("attack", sorted(set(ATTACKS) - set(CONTROLS)))
@pytest.mark.parametrize("rate", [0.01, 0.1])
def test_the_rate_is_the_share_of_poison_rows(attack: str, rate: float) -> None:
    """Within a tenth: a few rows may happen to be given the value that they have."""
    _, done = mount(attack, rate)
    wanted = rate / 5 if attack in FIXED_RATE else rate
    assert done.truth.mean() == pytest.approx(wanted, rel=0.12, abs=1.5 / ROWS)


@pytest.mark.parametrize("attack", sorted(ATTACKS))
def test_an_attack_leaves_the_clean_batch_alone_and_is_the_same_every_time(attack: str) -> None:
    """The generator's draws decide, and nothing else."""
    base = batch()
    first, second = (ATTACKS[attack](base, RATE, np.random.default_rng(7)) for _ in range(2))
    pd.testing.assert_frame_equal(base.frame, batch().frame)
    pd.testing.assert_frame_equal(first.frame, second.frame)
    assert (first.truth == second.truth).all()
    assert first.frame.index.equals(pd.RangeIndex(len(first.frame)))
    assert list(first.frame.dtypes) == list(base.frame.dtypes)


@pytest.mark.parametrize("attack", sorted(CONTROLS))
def test_a_control_has_no_poison_and_changes_no_feature_or_label(attack: str) -> None:
    """Only which source a row came from may differ."""
    base, done = mount(attack)
    assert not done.truth.any()
    assert set(moved(base, done)) <= {"src"}


def test_sources_of_the_uneven_control_differ_in_their_classes() -> None:
    """Shares of a class differ by a tenth or more between sources."""
    _, done = mount("clean_uneven")
    shares = pd.crosstab(done.frame["src"], done.frame["label"], normalize="index")
    assert (shares.max() - shares.min()).max() > 0.1


@pytest.mark.parametrize("attack", ["random_flip", "pair_flip", "boundary_flip", "one_source"])
def test_a_flip_changes_labels_only(attack: str) -> None:
    """And to labels that occur."""
    base, done = mount(attack)
    assert moved(base, done) == ["label"]
    assert set(done.frame["label"]) <= set(base.classes)


def test_a_pair_flip_leads_from_one_class_to_one_other() -> None:
    """One class loses rows and one gains them."""
    base, done = mount("pair_flip")
    assert base.frame.loc[done.truth, "label"].nunique() == 1
    assert done.frame.loc[done.truth, "label"].nunique() == 1


def test_a_boundary_flip_takes_rows_near_the_boundary_between_the_two_classes() -> None:
    """The first column decides the label, at -1/3 and 1/3: flipped rows lie nearer to these than others."""
    base, done = mount("boundary_flip")
    distance = np.minimum(np.abs(base.frame["u"] - 1 / 3), np.abs(base.frame["u"] + 1 / 3))
    assert distance[done.truth].median() < 0.2 * distance[~done.truth].median()


def test_one_source_is_compromised_in_three_tenths_of_its_rows() -> None:
    """All poison comes from the source that is named."""
    _, done = mount("one_source", FIXED_RATE["one_source"])
    assert set(done.frame.loc[done.truth, "src"]) == {done.source}
    assert done.truth[(done.frame["src"] == done.source).to_numpy()].mean() == pytest.approx(0.3, abs=0.01)


@pytest.mark.parametrize("attack", BACKDOORS)
def test_a_backdoor_touches_its_trigger_columns_and_labels_only(attack: str) -> None:
    """As many columns as its name says; poison bears the target's label."""
    base, done = mount(attack)
    columns = set(done.facts["values"])
    assert len(columns) == COLUMNS.get(attack, 3)
    assert columns <= set(features(base.frame))
    assert columns <= set(moved(base, done)) <= columns | {"label"}
    assert set(done.frame.loc[done.truth, "label"]) == {done.target}


@pytest.mark.parametrize("attack", BACKDOORS)
def test_a_stamp_puts_the_whole_trigger_on_any_row_and_leaves_the_label(attack: str) -> None:
    """The rows given stay as they were."""
    base, done = mount(attack)
    assert done.stamp is not None
    rows = base.frame.iloc[100:200]
    stamped = done.stamp(rows, np.random.default_rng(1))
    assert (stamped["label"].to_numpy() == rows["label"].to_numpy()).all()
    others = [name for name in features(base.frame) if name not in done.facts["values"]]
    pd.testing.assert_frame_equal(stamped[others], rows[others].reset_index(drop=True))
    for name, value in done.facts["values"].items():
        off = stamped[name] != value if isinstance(value, str) else (stamped[name] - value).abs() > 0.6
        if name != "n":
            assert not off.any()
    pd.testing.assert_frame_equal(rows, batch().frame.iloc[100:200])


@pytest.mark.parametrize("attack", [name for name in BACKDOORS if "jittered" not in name])
def test_an_exact_trigger_lies_within_the_columns_values_and_few_clean_rows_carry_it(attack: str) -> None:
    """No range check can find it."""
    base, done = mount(attack)
    values = done.facts["values"]
    assert all(value in set(base.frame[name]) for name, value in values.items())
    carries = np.logical_and.reduce([base.frame[name] == value for name, value in values.items()])
    assert carries.mean() <= 0.03


def test_a_jittered_trigger_strays_by_a_tenth_of_a_deviation_among_values_that_occur() -> None:
    """Rows do not share one value, and none has a value of its own."""
    base, done = mount("backdoor_jittered", 0.1)
    for name, value in done.facts["values"].items():
        got, spread = done.frame.loc[done.truth, name], base.frame[name].std()
        assert got.nunique() > 5
        assert set(got) <= set(base.frame[name])
        assert (got - value).std() == pytest.approx(0.1 * spread, rel=0.5)


def test_a_raw_jittered_trigger_falls_between_values_that_occur() -> None:
    """But for whole numbers, which stay whole; and no further off than a tenth of a deviation."""
    base, done = mount("backdoor_jittered_raw", 0.1)
    for name, value in done.facts["values"].items():
        got = done.frame.loc[done.truth, name]
        assert (got - value).abs().max() <= 0.1 * base.frame[name].std() + 0.51 * (name == "n")
        if name != "n":
            assert not set(got) <= set(base.frame[name])


def test_a_clean_label_backdoor_changes_no_label() -> None:
    """Its rows had the target's label already."""
    base, done = mount("backdoor_clean_label")
    assert "label" not in moved(base, done)
    assert set(base.frame.loc[done.truth, "label"]) == {done.target}


def test_a_distributed_backdoor_splits_its_trigger_over_sources() -> None:
    """No poison row carries more than half of it; the halves come from different sources."""
    base, done = mount("backdoor_distributed", 0.1)
    columns = list(done.facts["values"])
    poison, before = done.frame.loc[done.truth], base.frame.loc[done.truth]
    first = changed(before[columns[:2]], poison[columns[:2]])
    second = changed(before[columns[2:]], poison[columns[2:]])
    assert not (first & second).any()
    assert first.sum() > 30
    assert second.sum() > 30
    assert not set(poison.loc[first, "src"]) & set(poison.loc[second, "src"])


def test_slow_poison_comes_evenly_in_ten_deliveries() -> None:
    """Each brings a tenth of the rows and a tenth of the poison."""
    _, done = mount("slow_backdoor", 0.1)
    assert done.delivery is not None
    assert set(np.bincount(done.delivery)) == {ROWS // 10}
    share = np.bincount(done.delivery[done.truth], minlength=10)
    assert share.max() - share.min() <= 1


def test_garbage_lies_out_of_range_and_garbage_inside_does_not() -> None:
    """One to three numbers per row are replaced."""
    for attack, outside in (("garbage", True), ("garbage_inside", False)):
        base, done = mount(attack)
        names = [name for name in features(base.frame) if base.frame[name].dtype.kind in "if"]
        low, high = base.frame[names].min(), base.frame[names].max()
        out = ((done.frame[names] < low) | (done.frame[names] > high)).sum(axis=1)
        assert (out[done.truth] > 0).all() if outside else not out.any()
        touched = (done.frame.loc[done.truth, names] != base.frame.loc[done.truth, names]).sum(axis=1)
        assert set(touched) <= {0, 1, 2, 3}
        assert touched.max() == 3


@pytest.mark.parametrize("attack", ["shift", "shift_existing"])
def test_a_shift_moves_two_columns_by_half_a_deviation(attack: str) -> None:
    """Labels stay; moved to existing values, no value is new."""
    base, done = mount(attack)
    assert moved(base, done) == done.facts["columns"]
    for name in done.facts["columns"]:
        step = done.frame.loc[done.truth, name] - base.frame.loc[done.truth, name]
        assert step.abs().median() == pytest.approx(
            0.5 * base.frame[name].std(), abs=0.51 if name == "n" else 0.05
        )
        if attack == "shift_existing":
            assert set(done.frame[name]) <= set(base.frame[name])


@pytest.mark.parametrize("attack", ["flood", "flood_exact"])
def test_a_flood_adds_copies_of_one_row_with_a_wrong_label_under_new_keys(attack: str) -> None:
    """All other rows are there as they were."""
    base, done = mount(attack)
    rest = done.frame.loc[~done.truth].sort_values("id").reset_index(drop=True)
    pd.testing.assert_frame_equal(rest, base.frame.sort_values("id").reset_index(drop=True))
    assert done.frame["id"].is_unique
    copies = done.frame.loc[done.truth]
    assert copies["label"].nunique() == 1
    assert copies["src"].nunique() == 5
    scaled = copies[list("uvwxy")] / base.frame[list("uvwxy")].std()
    assert (scaled.max() - scaled.min()).max() < 0.1
    origin = base.frame.iloc[
        int(np.abs(base.frame[list("uvwxy")] - copies[list("uvwxy")].median()).sum(axis=1).argmin())
    ]
    assert origin["label"] != copies["label"].iloc[0]
    assert copies[features(copies)].duplicated(keep=False).all() == (attack == "flood_exact")


def test_a_collision_moves_rows_towards_one_row_of_another_class() -> None:
    """They keep their labels and lie nearer to each other than they did."""
    base, done = mount("collision")
    assert "label" not in moved(base, done)
    spread = [frame.loc[done.truth, list("uvwxy")].std().mean() for frame in (base.frame, done.frame)]
    assert spread[1] < 0.6 * spread[0]


def test_only_rows_that_the_snapshot_holds_are_rewritten() -> None:
    """With values that other rows have."""
    base, done = mount("rewrite", 0.1)
    assert base.known[done.truth].all()
    for name in features(base.frame):
        assert set(done.frame[name]) <= set(base.frame[name])


def test_an_attack_that_a_table_cannot_carry_says_so() -> None:
    """A category trigger needs categories."""
    base = batch()
    plain = Base(base.frame[[*KEPT, "u", "v", "w"]], base.known)
    with pytest.raises(Unfit, match="2 categories"):
        ATTACKS["backdoor_category"](plain, RATE, np.random.default_rng(0))


def test_a_wanted_value_moves_to_the_nearest_that_occurs() -> None:
    """Beyond the ends to the ends."""
    known = np.array([0.0, 1.0, 4.0])
    assert nearest(known, np.array([-5.0, 0.4, 0.6, 2.4, 2.6, 9.0])).tolist() == [
        0.0,
        0.0,
        1.0,
        1.0,
        4.0,
        4.0,
    ]


def test_models_see_gaps_and_new_categories_as_numbers() -> None:
    """No poison can keep a model from being trained."""
    base = batch()
    encode = Encoding(base.frame)
    strange = base.frame.head(3).assign(u=[np.nan, np.inf, 1e30], town=["new", None, "town1"])
    assert np.isfinite(encode(strange)).all()
    assert encode(strange).shape[1] == encode(base.frame).shape[1]
