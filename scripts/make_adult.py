"""Turns the UCI Adult files into `include/data/adult/adult.parquet`.

Usage: python scripts/make_adult.py FOLDER [OUT]

FOLDER holds `adult.data` (the train rows) and `adult.test`, as UCI publishes them. The result is the same, byte for
byte, with the pyarrow version that requirements.txt pins.
"""

import csv
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

FIELDS = {
    "age": pa.int16(),
    "workclass": pa.string(),
    "fnlwgt": pa.int32(),
    "education": pa.string(),
    "education_num": pa.int16(),
    "marital_status": pa.string(),
    "occupation": pa.string(),
    "relationship": pa.string(),
    "race": pa.string(),
    "sex": pa.string(),
    "capital_gain": pa.int32(),
    "capital_loss": pa.int32(),
    "hours_per_week": pa.int16(),
    "native_country": pa.string(),
    "income": pa.string(),
}
EXPECTED = {"train": 32_561, "test": 16_281}


def rows(path: Path) -> list[list[str | None]]:
    """Reads one UCI file: no header, `?` for a missing value, and in the test file a comment line and trailing dots."""
    out: list[list[str | None]] = []
    with path.open(newline="", encoding="ascii") as file:
        for cells in csv.reader(file, skipinitialspace=True):
            if not cells or cells[0].startswith("|"):
                continue
            if len(cells) != len(FIELDS):
                raise SystemExit(f"{path}: expected {len(FIELDS)} fields, found {len(cells)} in {cells}")
            values = [cell.strip() for cell in cells]
            values[-1] = values[-1].rstrip(".")
            out.append([None if value == "?" else value for value in values])
    return out


def table(folder: Path) -> pa.Table:
    """Both files as one table, train rows first, in file order."""
    parts = {"train": rows(folder / "adult.data"), "test": rows(folder / "adult.test")}
    found = {split: len(part) for split, part in parts.items()}
    if found != EXPECTED:
        raise SystemExit(f"expected {EXPECTED} rows, found {found}")
    every = [*parts["train"], *parts["test"]]
    columns: dict[str, pa.Array] = {
        "person_id": pa.array(range(len(every)), pa.int64()),
        "split": pa.array([split for split, part in parts.items() for _ in part], pa.string()),
    }
    for index, (name, kind) in enumerate(FIELDS.items()):
        cells = [row[index] for row in every]
        if pa.types.is_integer(kind):
            columns[name] = pa.array([None if cell is None else int(cell) for cell in cells], kind)
        else:
            columns[name] = pa.array(cells, kind)
    if set(columns["income"].to_pylist()) != {"<=50K", ">50K"}:
        raise SystemExit("income has classes other than <=50K and >50K")
    return pa.table(columns)


def main(argv: list[str]) -> int:
    """Writes the Parquet file and prints what is in it."""
    if len(argv) not in (2, 3):
        print(__doc__, file=sys.stderr)
        return 2
    default = Path(__file__).resolve().parents[1] / "include" / "data" / "adult" / "adult.parquet"
    out = Path(argv[2]) if len(argv) == 3 else default
    result = table(Path(argv[1]))
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_suffix(".partial")
    pq.write_table(
        result,
        temporary,
        compression="zstd",
        compression_level=19,
        use_dictionary=[name for name in result.column_names if name != "person_id"],
        column_encoding={"person_id": "DELTA_BINARY_PACKED"},
    )
    temporary.replace(out)
    print(f"{out}: {result.num_rows} rows, {out.stat().st_size} bytes")
    for name in result.column_names:
        print(f"  {name:15} {result.schema.field(name).type!s:7} {result[name].null_count:5} null")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv))
