"""Grade shards on Apache Spark: the same function over the same shards, each a task. Needs the extra `spark`, and Java 17 or newer.

Timeline and results lie where the driver and all workers reach them under one name: a filesystem that all mount at the same place, or an
object store. aftercar is installed on the workers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

from aftercar.errors import AftercarError
from aftercar.grade.folder import Engine, Job
from aftercar.spark import LOOK_EVERY_S, refuse_problems, session

if TYPE_CHECKING:
    from pyarrow import RecordBatch
    from pyspark.sql import SparkSession


def on_spark(master: str | None = None, settings: Mapping[str, str] | None = None) -> Engine:
    """Grade on Spark.

    Args:
        master, settings: as `spark.session` takes them.
    Raises:
        AftercarError: PySpark or Java is not there, or Spark gave up.
    """

    def engine(job: Job, shards: Sequence[int]) -> Iterator[int]:
        with session(master, settings or {}) as spark:
            yield from _tasks(spark, job, shards)

    return engine


def _tasks(spark: SparkSession, job: Job, shards: Sequence[int]) -> Iterator[int]:
    """A task for each shard, and its number as soon as its tables are there."""
    numbers = list(shards)

    def graded(batches: Iterable[RecordBatch]) -> Iterator[RecordBatch]:
        from pyarrow import RecordBatch

        for batch in batches:
            found = [_problem(job, numbers[place]) for place in batch.column(0).to_pylist()]
            yield RecordBatch.from_pydict({"problem": [f for f in found if f]})

    # `range` gives each number a partition of its own, and so a task.
    tasks = spark.range(0, len(numbers), 1, len(numbers)).mapInArrow(graded, "problem string")
    tag = f"aftercar-{job.parts.parent.name}"

    def collected() -> list[str]:
        spark.addTag(tag)
        return [row.problem for row in tasks.collect()]

    waiting = set(numbers)
    with ThreadPoolExecutor(max_workers=1) as thread:
        work = thread.submit(collected)
        try:
            over = False
            while not over:
                over = bool(wait([work], timeout=LOOK_EVERY_S).done)
                done = sorted(n for n in waiting if job.done(n))
                waiting.difference_update(done)
                yield from done
        finally:
            if not work.done():
                spark.interruptTag(tag)
    refuse_problems(work, "What was finished is kept: the same command goes on from there.")
    if waiting:
        raise AftercarError(
            f"Spark graded {len(waiting)} shards whose tables are not at {job.parts}. Driver and workers must mount one filesystem at the same place."
        )


def _problem(job: Job, n: int) -> str | None:
    """What the user must mend before a shard can be graded. It comes back as a result: a task that fails would be tried again."""
    try:
        job.grade(n)
    except AftercarError as error:
        return str(error)
    return None
