"""The example cohort as a ward of today: made-up patients, moved so that each is some days after the infusion now."""

from __future__ import annotations

from datetime import datetime, timedelta

import polars as pl
from polars import col

from aftercar.ward import record
from aftercar.ward.database import Database

BY = "example cohort"


def move_in(database: Database, timeline: pl.DataFrame, now: datetime) -> int:
    """Register every subject of a timeline, each with its rows up to now; how many.

    The first infusions come to lie 2 to 30 days back, one patient after the other, and what would lie ahead is left out.
    """
    infused = timeline.filter(col("code") == "cart_infusion").group_by("subject_id").agg(zero=col("time").min())
    with database.writing() as connection:
        for n, (subject, zero) in enumerate(infused.sort("subject_id").iter_rows()):
            back = timedelta(days=2 + n * 5 % 29, minutes=37 * n % 240)
            shift = (now - back).replace(second=0, microsecond=0) - zero
            own = timeline.filter(col("subject_id") == subject).with_columns(col("time", "end_time") + shift)
            own = own.filter(col("time") <= now)
            own = own.with_columns(end_time=pl.when(col("end_time") <= now).then("end_time"))
            streams = (
                timeline.filter((col("subject_id") == subject) & (col("code") == "record_complete"))["text_value"].unique().sort()
            )
            number = record.register(connection, f"EX-{subject}", made_up=True, complete=streams.to_list())
            record.add(connection, number, own, BY)
    return infused.height
