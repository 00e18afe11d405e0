"""Grade shards on Apache Spark: the same function over the same shards, each a task. Needs the extra `spark`, and Java 17 or newer.

Timeline and results lie where the driver and all workers reach them under one name: a filesystem that all mount at the same place, or an
object store. aftercar is installed on the workers.
"""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

from aftercar.errors import AftercarError, InputError
from aftercar.grade.folder import Engine, Job

if TYPE_CHECKING:
    from pyarrow import RecordBatch
    from pyspark.sql import SparkSession

LOOK_EVERY_S = 0.5  # for shards that are done
DEFAULTS = {
    "spark.app.name": "aftercar",
    "spark.ui.showConsoleProgress": "false",
    "spark.executorEnv.POLARS_MAX_THREADS": "1",  # a task has one core
}


def on_spark(master: str | None = None, settings: Mapping[str, str] | None = None) -> Engine:
    """Grade on Spark.

    Args:
        master: `local[2]`, `spark://host:7077`, `yarn` ...; without it what `spark-submit` or the environment says, else `local[*]`. A session that
            runs already is used as it is.
        settings: Spark's own, such as `spark.executor.memory`.
    Raises:
        AftercarError: PySpark or Java is not there, or Spark gave up.
    """

    def engine(job: Job, shards: Sequence[int]) -> Iterator[int]:
        with _session(master, settings or {}) as spark:
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
    _refuse_problems(work)
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


def _refuse_problems(work: Future[list[str]]) -> None:
    from pyspark.errors import PySparkException

    try:
        problems = work.result()
    except PySparkException as error:
        if "No module named" in str(error):
            raise AftercarError(
                "Spark's workers do not find aftercar. Install it for the Python that they run, or name that Python in PYSPARK_PYTHON."
            ) from error
        raise AftercarError(
            "Spark gave up; its log says why. What was finished is kept: the same command goes on from there."
        ) from error
    if problems:
        raise InputError(min(problems))


@contextlib.contextmanager
def _session(master: str | None, settings: Mapping[str, str]) -> Generator[SparkSession]:
    try:
        from pyspark.sql import SparkSession
    except ImportError as error:
        raise AftercarError("PySpark is not installed: pip install 'aftercar[spark]'.") from error
    warnings.filterwarnings("ignore", "PySpark does not yet fully support pandas", FutureWarning)  # which we do not use
    if running := SparkSession.getActiveSession():
        yield running
        return
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder = SparkSession.builder.master(master) if master else SparkSession.builder
    for name, value in {**DEFAULTS, **settings}.items():
        builder = builder.config(name, value)
    try:
        spark = builder.getOrCreate()
    except Exception as error:  # of Spark, of the bridge to Java, or of the system
        raise AftercarError(
            f"Spark did not start{f' with the master {master}' if master else ''}. Is the master right and reachable, and Java 17 or newer there? Spark's own messages say more."
        ) from error
    try:
        yield spark
    finally:
        spark.stop()
