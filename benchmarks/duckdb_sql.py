"""The same answers in SQL: `duckdb_sql.sql`, run by DuckDB over one file after the other.

Words and limits are those of `pandas_vectorised`. Like there, a file at a time holds less than all at once, and takes no longer.
"""

from __future__ import annotations

from pathlib import Path

import duckdb

from benchmarks.pandas_vectorised import CANNULA, DEVICES, HFNC, VALID, VASOPRESSORS, WAIVER

SQL = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")
GIVEN = {"valid": VALID, "devices": DEVICES, "cannulas": [CANNULA, HFNC], "vasopressors": VASOPRESSORS, "waiver": WAIVER}


def grade_folder(folder: Path) -> duckdb.DuckDBPyRelation:
    """`subject_id, crs, crs_upper, episodes, icaht_early, icaht_late` of every subject, in as many threads as there are cores."""
    connection = duckdb.connect()
    first, *rest = sorted((folder / "data").glob("*.parquet"))
    connection.execute(f"CREATE TABLE answers AS {SQL}", GIVEN | {"path": str(first)})
    for path in rest:
        connection.execute(f"INSERT INTO answers {SQL}", GIVEN | {"path": str(path)})
    return connection.table("answers")
