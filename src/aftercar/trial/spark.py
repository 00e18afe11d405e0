"""Simulate parts of trials on Apache Spark, each a task; a task gives back a few bytes a patient. Needs the extra `spark`, and Java 17 or newer.

aftercar with its extra `simulate` is installed on the workers, and a model of one's own lies where they find it under the same name.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

import polars as pl

from aftercar.errors import AftercarError
from aftercar.spark import LOOK_EVERY_S, refuse_problems, session
from aftercar.trial.pool import Engine, Job, Part

if TYPE_CHECKING:
    from pyarrow import RecordBatch
    from pyspark.sql import SparkSession

TAG = "aftercar-trial"


def on_spark(master: str | None = None, settings: Mapping[str, str] | None = None) -> Engine:
    """Simulate on Spark.

    Args:
        master, settings: as `spark.session` takes them.
    Raises:
        AftercarError: PySpark or Java is not there, or Spark gave up.
    """

    def engine(job: Job, parts: Sequence[Part]) -> Iterator[tuple[int, pl.DataFrame]]:
        with session(master, settings or {}) as spark:
            yield from _tasks(spark, job, list(parts))

    return engine


def _tasks(spark: SparkSession, job: Job, parts: list[Part]) -> Iterator[tuple[int, pl.DataFrame]]:
    """A task for each part, and what it gave."""

    def answered(batches: Iterable[RecordBatch]) -> Iterator[RecordBatch]:
        from pyarrow import RecordBatch

        for batch in batches:
            for n in batch.column(0).to_pylist():
                found, problem = _answer(job, parts[n])
                yield RecordBatch.from_pydict({"part": [n], "found": [found], "problem": [problem]})

    # `range` gives each number a partition of its own, and so a task.
    tasks = spark.range(0, len(parts), 1, len(parts)).mapInArrow(answered, "part long, found binary, problem string")
    rows: list[tuple[int, bytes]] = []

    def collected() -> list[str]:
        spark.addTag(TAG)
        got = tasks.collect()
        rows.extend((row.part, bytes(row.found)) for row in got if row.found is not None)
        return [row.problem for row in got if row.problem]

    with ThreadPoolExecutor(max_workers=1) as thread:  # so that an interrupt is heard while Spark works
        work = thread.submit(collected)
        try:
            while not wait([work], timeout=LOOK_EVERY_S).done:
                pass
        finally:
            if not work.done():
                spark.interruptTag(TAG)
    refuse_problems(work, "Nothing was written.")
    for n, found in rows:
        yield n, pl.read_ipc(io.BytesIO(found))


def _answer(job: Job, part: Part) -> tuple[bytes | None, str | None]:
    """A part as bytes, or what the user must mend: a task that fails would be tried again."""
    try:
        file = io.BytesIO()
        job.answers(part).write_ipc(file)
        return file.getvalue(), None
    except AftercarError as error:
        return None, str(error)
