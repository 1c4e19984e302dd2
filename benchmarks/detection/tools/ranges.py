"""Great Expectations with a suite learnt from the trusted rows: ranges, categories, no new gaps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from benchmarks.detection.attacks.base import features
from benchmarks.detection.scene import Scene
from benchmarks.detection.tools.base import Answer, extra


def scored(scene: Scene) -> Answer:
    """Broken expectations per row; a row with one is thrown out, and the batch held if the suite failed."""
    gx = extra("great_expectations")
    frame = scene.done.frame.reset_index(drop=True)
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False, "metric_calculations": False}
    definition = (
        context.data_sources.add_pandas("batch")
        .add_dataframe_asset("batch")
        .add_batch_definition_whole_dataframe("batch")
    )
    batch = definition.get_batch(batch_parameters={"dataframe": frame})
    suite = gx.ExpectationSuite(name="learnt", expectations=list(_learnt(gx.expectations, scene.trusted)))
    result = batch.validate(suite, result_format={"result_format": "COMPLETE"})
    broken = np.zeros(len(frame))
    for each in result.results:
        broken[[int(row) for row in each.result.get("unexpected_index_list") or []]] += 1
    return Answer({"range suite": broken}, {"range suite": broken > 0}, held=not result.success)


def _learnt(known: Any, sound: pd.DataFrame) -> list[Any]:
    made = []
    for name in [*features(sound), "label"]:
        values = sound[name]
        if pd.api.types.is_numeric_dtype(values):
            low, high = float(values.min()), float(values.max())
            made.append(known.ExpectColumnValuesToBeBetween(column=name, min_value=low, max_value=high))
        else:
            values_there = sorted(values.dropna().unique())
            made.append(known.ExpectColumnValuesToBeInSet(column=name, value_set=values_there))
        if not values.isna().any():
            made.append(known.ExpectColumnValuesToNotBeNull(column=name))
    return made
