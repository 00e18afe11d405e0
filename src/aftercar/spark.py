"""A session of Apache Spark, and its failures in our words. Needs the extra `spark`, and Java 17 or newer."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Generator, Mapping
from concurrent.futures import Future
from typing import TYPE_CHECKING

from aftercar.errors import AftercarError, InputError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

LOOK_EVERY_S = 0.5  # for tasks that are done
DEFAULTS = {
    "spark.app.name": "aftercar",
    "spark.ui.showConsoleProgress": "false",
    "spark.executorEnv.POLARS_MAX_THREADS": "1",  # a task has one core
}


def refuse_problems(work: Future[list[str]], stopped: str) -> None:
    """Raise what the tasks found.

    Args:
        work: gives what the user must mend, a line each.
        stopped: what Spark's giving up means for what was done.
    Raises:
        AftercarError: Spark gave up, or does not find aftercar.
        InputError: a task found something to mend.
    """
    from pyspark.errors import PySparkException

    try:
        problems = work.result()
    except PySparkException as error:
        if "No module named" in str(error):
            raise AftercarError(
                "Spark's workers do not find aftercar. Install it for the Python that they run, or name that Python in PYSPARK_PYTHON."
            ) from error
        raise AftercarError(f"Spark gave up; its log says why. {stopped}") from error
    if problems:
        raise InputError(min(problems))


@contextlib.contextmanager
def session(master: str | None, settings: Mapping[str, str]) -> Generator[SparkSession]:
    """A session that ends with the block; one that runs already is used as it is, and goes on.

    Args:
        master: `local[2]`, `spark://host:7077`, `yarn` ...; without it what `spark-submit` or the environment says, else `local[*]`.
        settings: Spark's own, such as `spark.executor.memory`.
    Raises:
        AftercarError: PySpark or Java is not there.
    """
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
