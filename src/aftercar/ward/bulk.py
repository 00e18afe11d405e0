"""Whole timelines into a ward."""

from __future__ import annotations

from collections.abc import Callable

from polars import col

from aftercar.timeline.store import Store
from aftercar.ward import audit, record
from aftercar.ward.database import Database


def register_all(database: Database, store: Store, *, progress: Callable[[int, int], None] | None = None) -> int:
    """Register every subject of a timeline with all its rows, each in one piece; how many. Who is registered already is left as they are.

    Raises:
        InputError: the timeline is damaged.
    """
    done, shards = 0, len(store.files)
    for n, shard in enumerate(store.shards(), start=1):
        for own in shard.collect().partition_by("subject_id", maintain_order=True):
            label = str(own["subject_id"][0])
            streams = own.filter(col("code") == "record_complete")["text_value"].unique().sort().to_list()
            with database.writing() as connection:
                if record.labelled(connection, label) is not None:
                    continue
                number = record.register(connection, label, made_up=store.simulated, complete=streams)
                record.add(connection, number, own, audit.SYSTEM)
                audit.note(connection, audit.SYSTEM, "patient.import", number, {"events": own.height})
            done += 1
        if progress:
            progress(n, shards)
    return done
