"""A few virtual patients at once; longer simulations are jobs of the page."""

from __future__ import annotations

import threading

import polars as pl
from fastapi import HTTPException
from polars import col

from aftercar.grade.run import grade_timeline
from aftercar.web.access import Reader, TheWard
from aftercar.web.api.models import Rate, Simulated, SimulationIn
from aftercar.web.api.shared import router as made

router = made("simulate")

TOXICITIES = ("crs", "icans")
_BUSY = threading.Semaphore(2)  # at once, so that the ward is still served


@router.post("/simulations", summary="Simulate virtual patients")
def simulations(ward: TheWard, person: Reader, told: SimulationIn) -> Simulated:
    """Virtual patients of a product and disease, charted, treated by a policy and graded by the same graders. Simulated; nothing is kept."""
    try:
        from aftercar.simulate.run import BANNER, Scenario, simulate
    except ImportError:
        raise HTTPException(501, "The simulator needs the extra: pip install 'aftercar[simulate]'.") from None
    if not _BUSY.acquire(blocking=False):
        raise HTTPException(429, "Other simulations are running: try again in a minute.", {"Retry-After": "60"})
    try:
        course = simulate(Scenario(told.product, told.disease, told.policy, days=told.days), told.patients, told.seed, workers=1)
        graded = grade_timeline(course.timeline, TOXICITIES)
    finally:
        _BUSY.release()
    ward.note(person, "simulation.run", detail={"patients": told.patients})
    return Simulated(
        banner=BANNER, asked=told, patients=told.patients, events=course.timeline.height, rates=_rates(graded.worst, graded.episodes, told.patients)
    )  # fmt: skip


def _rates(worst: pl.DataFrame, episodes: pl.DataFrame, n: int) -> list[Rate]:
    """Of each toxicity, how many reached each grade, and when it began."""
    found: list[Rate] = []
    for toxicity in TOXICITIES:
        own = worst.filter(col("toxicity") == toxicity, col("status") != "not_applicable")
        onset = episodes.filter(col("toxicity") == toxicity, col("episode") == 1)["onset_day"].median()
        for grade in range(1, 6):
            reached = own.filter(col("grade") >= grade).height
            found.append(
                Rate(
                    toxicity=toxicity, scale=str(own["scale"][0]) if own.height else "", grade=grade, n=reached, of=n, rate=reached / n,
                    median_onset_day=onset if isinstance(onset, int | float) else None,
                )
            )  # fmt: skip
    return found
