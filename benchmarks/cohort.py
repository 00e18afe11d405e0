"""A made-up cohort for timing: whole-subject shards in the schema of `docs/tables.md`, the same for the same seed.

Each subject has a day before and 30 days after infusion of 4-hourly vital signs, daily laboratory values, drugs with times, and
weekly counts up to day 98. Fevers, pressures, oxygen and counts follow courses that cross every cell of the tables graded,
with missed rounds, missed readings, expired devices, duplicate readings, hand-overs and deaths. The numbers resemble no
published cohort and say nothing about CAR-T: they are there to be counted quickly.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

DAYS = 30
ROUND_MIN = 4 * 60
DAY_MIN = 24 * 60
SHARD_SUBJECTS = 500  # about half a million rows

VITALS = {"temperature": "Cel", "sbp": "mm[Hg]", "map": "mm[Hg]", "spo2": "%", "heart_rate": "/min"}
LABS = {
    "anc": "/uL", "platelets": "10*9/L", "crp": "mg/L", "ferritin": "ng/mL", "fibrinogen": "mg/dL", "ldh": "U/L", "ast": "U/L",
    "creatinine": "mg/dL",
}  # fmt: skip
CODES = pl.Enum([
    *VITALS, *LABS, "o2_device", "o2_flow", "norepinephrine", "phenylephrine", "vasopressin", "acetaminophen", "tocilizumab",
    "dexamethasone", "filgrastim", "record_complete", "age", "sex", "weight", "cart_infusion", "last_follow_up", "death",
])  # fmt: skip
DEVICES = ("room_air", "nasal_cannula", "hfnc", "non_rebreather", "bipap", "ventilator")


@dataclass(frozen=True)
class Course:
    """What drives a block of subjects; arrays of one value a subject, times in minutes since infusion."""

    age: np.ndarray
    onset: np.ndarray  # of CRS; nan: none
    length: np.ndarray
    severity: np.ndarray  # about 0 to 3
    relapse: np.ndarray  # a second fever; nan: none
    relapse_infection: np.ndarray  # whether a person attributed it to infection
    death: np.ndarray  # nan: alive


def write_cohort(
    folder: Path, subjects: int, *, every_min: int = ROUND_MIN, per_shard: int = SHARD_SUBJECTS, seed: int = 20_261_124
) -> int:
    """Write the timeline folder; returns its rows.

    Args:
        every_min: minutes from one round of vital signs to the next.
        per_shard: subjects of a file.
    """
    from loky import ProcessPoolExecutor

    (folder / "data").mkdir(parents=True, exist_ok=True)
    blocks = [np.arange(first, min(first + per_shard, subjects)) for first in range(0, subjects, per_shard)]
    pool = ProcessPoolExecutor(env={"POLARS_MAX_THREADS": "1"})
    each = [pool.submit(_write, folder, n, block, every_min, seed) for n, block in enumerate(blocks)]
    rows = sum(shard.result() for shard in each)
    pool.shutdown()
    info = {"read": rows, "accepted": rows, "rejected": 0, "timeline_rows": rows, "subjects": subjects, "simulated": True}
    info["banner"] = "A made-up cohort for timing"
    (folder / "import.json").write_text(json.dumps(info, indent=2) + "\n", encoding="utf-8")
    return rows


def _write(folder: Path, shard: int, block: np.ndarray, every_min: int, seed: int) -> int:
    frame = _shard(block, np.random.default_rng([seed, shard]), every_min)
    frame = frame.with_columns(event_id=pl.int_range(frame.height, dtype=pl.Int64) + (shard << 32))
    frame.write_parquet(folder / "data" / f"{shard:05d}.parquet", compression_level=1)
    return frame.height


def _shard(ids: np.ndarray, rng: np.random.Generator, every_min: int) -> pl.DataFrame:
    n = len(ids)
    course = _courses(n, rng)
    doses = _doses(course, rng)
    events = pl.concat([*_vitals(course, rng, every_min), *_labs(course, rng), doses, _once(course, rng)])
    # Infusion is at a whole minute between 9 and 16 h of some day; every other time is relative to it.
    start = np.datetime64("2024-01-01T09:00", "m") + rng.integers(0, 700, n) * DAY_MIN + rng.integers(0, 420, n)
    subject = pl.DataFrame(
        {"row": np.arange(n), "subject_id": ids + 1, "day0": start.astype("datetime64[us]"), "died": course.death}
    )
    events = events.join(subject, on="row").filter(pl.col("died").is_nan() | (pl.col("minute") <= pl.col("died")))
    end = pl.min_horizontal("end_minute", pl.when(~pl.col("died").is_nan()).then(pl.col("died").cast(pl.Int64)))
    end = pl.when(pl.col("code") == "record_complete").then("end_minute").otherwise(end)
    lab = pl.col("code").cast(pl.String).is_in(list(LABS))
    return (
        events.with_columns(end_minute=pl.when(pl.col("end_minute").is_not_null()).then(end))
        .sort("subject_id", "minute", "code", "numeric_value")
        .select(
            "subject_id",
            time=pl.col("day0") + pl.duration(minutes="minute"),
            code=pl.col("code").cast(pl.String),
            numeric_value="numeric_value",
            text_value="text_value",
            end_time=pl.col("day0") + pl.duration(minutes="end_minute"),
            unit=pl.col("code").replace_strict(
                VITALS | LABS | {"o2_flow": "L/min", "age": "a", "weight": "kg"}, default=None, return_dtype=pl.String
            ),
            source=pl.format(
                "{}.csv:{}", pl.when(lab).then(pl.lit("labs")).otherwise(pl.lit("flowsheet")), pl.int_range(pl.len())
            ),
            attributable_to="attributable_to",
            note=pl.lit(None, pl.String),
        )
    )


def _courses(n: int, rng: np.random.Generator) -> Course:
    onset = np.where(rng.random(n) < 0.8, np.clip(rng.lognormal(np.log(2.2), 0.7, n), 0.1, 16) * DAY_MIN, np.nan)
    severity = np.where(np.isnan(onset), 0.2 * rng.random(n), np.clip(rng.gamma(2.0, 0.6, n), 0.2, 3.5))
    length = (1.5 + 1.5 * severity + rng.gamma(2.0, 0.7, n)) * DAY_MIN
    relapse = np.where(rng.random(n) < 0.3, (rng.uniform(8, 27, n)) * DAY_MIN, np.nan)
    death = np.where(rng.random(n) < 0.04, np.round(rng.uniform(4, 95, n) * DAY_MIN), np.nan)
    age = np.where(rng.random(n) < 0.1, rng.uniform(1, 17, n), np.clip(rng.normal(61, 12, n), 18, 88))
    return Course(np.round(age, 1), onset, length, severity, relapse, rng.random(n) < 0.5, death)


def _frame(row: np.ndarray, minute: np.ndarray, code: str, value: np.ndarray | None = None, **more: object) -> pl.DataFrame:
    """Events of one code; `more` may hold `text`, `end` and `other` (attributed to another cause)."""
    n = len(row)
    text, end, other = more.get("text"), more.get("end"), more.get("other")
    return pl.DataFrame(
        {
            "row": row,
            "minute": np.round(minute).astype(np.int64),
            "code": pl.repeat(code, n, dtype=CODES, eager=True),
            "numeric_value": pl.Series(value, dtype=pl.Float64) if value is not None else pl.repeat(None, n, dtype=pl.Float64, eager=True),
            "text_value": pl.Series(text, dtype=pl.String) if text is not None else pl.repeat(None, n, dtype=pl.String, eager=True),
            "end_minute": pl.Series(np.round(end).astype(np.int64)) if end is not None else pl.repeat(None, n, dtype=pl.Int64, eager=True),
            "attributable_to": pl.select(pl.when(pl.Series(other)).then(pl.lit("other"))).to_series()
            if other is not None else pl.repeat(None, n, dtype=pl.String, eager=True),
        }
    )  # fmt: skip


def _bump(minute: np.ndarray, begin: np.ndarray, length: np.ndarray) -> np.ndarray:
    """0 to 1 and back: a rise over the first fifth, a slow fall; 0 where `begin` is nan."""
    x = (minute - begin[:, None]) / length[:, None]
    shape = np.where(x < 0.2, x / 0.2, (1 - x) / 0.8)
    return np.clip(np.nan_to_num(shape), 0, 1)


def _vitals(c: Course, rng: np.random.Generator, every_min: int) -> list[pl.DataFrame]:
    n = len(c.age)
    rounds = np.arange(-DAY_MIN, DAYS * DAY_MIN, every_min)
    minute = rounds[None, :] + rng.integers(0, 45, (n, len(rounds)))
    made = rng.random(minute.shape) > 0.06
    # Some subjects have half a day to two days without any round: what was charted before expires.
    gap = np.where(rng.random(n) < 0.25, rng.uniform(0, 28, n) * DAY_MIN, np.inf)
    made &= ~((minute > gap[:, None]) & (minute < gap[:, None] + rng.uniform(12, 48, n)[:, None] * 60))
    crs, later = _bump(minute, c.onset, c.length), _bump(minute, c.relapse, np.full(n, 2.0 * DAY_MIN))
    noise = rng.standard_normal
    swing = np.abs(np.sin(minute / (rng.uniform(500, 900, n)[:, None]) + rng.uniform(0, 6, n)[:, None]))
    fever = 36.7 + 0.25 * np.sin(minute / DAY_MIN * 2 * np.pi) + 0.2 * noise(minute.shape)
    fever += np.minimum(crs * 3, 1) * (0.6 + 0.35 * c.severity[:, None]) * (0.5 + swing) + 1.6 * later * swing
    ill = np.clip(crs * (c.severity[:, None] - 0.5), 0, None)
    child = (c.age < 18)[:, None]
    sbp = np.where(child, 100, 122) - 16 * ill + 8 * noise(minute.shape)
    values = {
        "temperature": np.round(np.clip(fever, 35, 41.5), 1),
        "sbp": np.round(sbp),
        "map": np.round(0.7 * sbp + 3 * noise(minute.shape)),
        "spo2": np.round(np.clip(97 - 3 * ill + noise(minute.shape), 70, 100)),
        "heart_rate": np.round(78 + 25 * crs + 8 * noise(minute.shape)),
    }
    infection = c.relapse_infection[:, None] & (later > 0)
    frames = []
    for code, value in values.items():
        row, at = np.nonzero(made & (rng.random(minute.shape) > 0.15))
        # The thermometer often comes a few minutes after the cuff.
        late = rng.integers(0, 12, len(row)) * (rng.random(len(row)) < 0.4) if code == "temperature" else 0
        time, measured = minute[row, at] + late, value[row, at]
        other = infection[row, at] if code == "temperature" else np.zeros(len(row), bool)
        frames.append(_frame(row, time, code, measured, other=other))
        if code == "temperature":  # a second site, at the same time
            again = rng.random(len(row)) < 0.01
            frames.append(_frame(row[again], time[again], code, np.round(measured[again] + 0.4, 1), other=other[again]))
    return frames + _oxygen(minute, made, ill, rng)


def _oxygen(minute: np.ndarray, made: np.ndarray, ill: np.ndarray, rng: np.random.Generator) -> list[pl.DataFrame]:
    """A device at every second round (and whenever it changes), and a flow with the cannulas."""
    need = np.digitize(ill * rng.uniform(0.5, 1.6, (len(ill), 1)), (0.35, 1.5, 2.0, 2.4, 2.8))
    charted = (
        made & ((np.arange(minute.shape[1]) % 2 == 0) | (np.diff(need, axis=1, prepend=0) != 0)) & (rng.random(made.shape) > 0.05)
    )
    row, at = np.nonzero(charted)
    device = np.array(DEVICES)[need[row, at]]
    flow = np.where(device == "hfnc", rng.integers(5, 50, len(row)), rng.integers(1, 8, len(row))).astype(float)
    cannula = np.isin(device, ("nasal_cannula", "hfnc")) & (rng.random(len(row)) > 0.1)
    return [
        _frame(row, minute[row, at], "o2_device", text=device),
        _frame(row[cannula], minute[row, at][cannula], "o2_flow", flow[cannula]),
    ]


def _labs(c: Course, rng: np.random.Generator) -> list[pl.DataFrame]:
    n = len(c.age)
    daily = np.arange(-1, DAYS + 1) * DAY_MIN
    weekly = np.arange(DAYS + 5, 99, 7) * DAY_MIN
    minute = np.concatenate([daily, weekly])[None, :] - 240 + rng.integers(0, 90, (n, len(daily) + len(weekly)))
    out = np.arange(minute.shape[1]) >= len(daily)
    crs = _bump(minute, c.onset, c.length)
    noise = rng.standard_normal
    # Counts: a fall after lymphodepletion, a recovery on some day, and for some a second fall.
    day = minute / DAY_MIN
    depth = rng.normal(5.0, 1.2, n)[:, None]
    back = np.clip(rng.gamma(3.0, 5.0, n), 1, 70)[:, None]
    log_anc = np.where(day < back, depth + (8 - depth) * np.exp(-np.clip(day + 1, 0, None) / 1.5), 7.6)
    second = rng.uniform(18, 80, n)[:, None]
    log_anc -= np.where((rng.random(n) < 0.4)[:, None] & (np.abs(day - second) < 5), 2.0, 0)
    values = {
        "anc": np.round(np.exp(log_anc + 0.35 * noise(minute.shape)), -1),
        "platelets": np.round(np.exp(rng.normal(4.2, 0.8, n)[:, None] + 0.15 * noise(minute.shape))),
        "crp": np.round(np.exp(2 + 3 * crs + 0.4 * noise(minute.shape)), 1),
        "ferritin": np.round(np.exp(6 + 2 * crs + 0.3 * noise(minute.shape))),
        "fibrinogen": np.round(np.clip(380 - 150 * crs + 40 * noise(minute.shape), 40, None)),
        "ldh": np.round(np.exp(5.4 + 0.5 * crs + 0.2 * noise(minute.shape))),
        "ast": np.round(np.exp(3.2 + crs + 0.3 * noise(minute.shape))),
        "creatinine": np.round(np.exp(-0.2 + 0.3 * crs + 0.15 * noise(minute.shape)), 2),
    }
    # Counts may be missing for days on end, so that gaps of more than a week occur.
    gap = np.where(rng.random(n) < 0.15, rng.uniform(3, 22, n), np.inf)[:, None]
    drawn = (rng.random(minute.shape) > 0.12) & ~((day > gap) & (day < gap + rng.uniform(4, 14, n)[:, None]))
    frames = []
    for code, value in values.items():
        row, at = np.nonzero(drawn & (~out | np.isin(code, ("anc", "platelets"))) & (rng.random(minute.shape) > 0.03))
        frames.append(_frame(row, minute[row, at], code, value[row, at]))
    return frames


def _doses(c: Course, rng: np.random.Generator) -> pl.DataFrame:
    """Antipyretics, tocilizumab and steroids in the course, G-CSF, and vasopressors with their ends."""
    n = len(c.age)
    every = np.arange(n)
    frames: list[pl.DataFrame] = []

    def series(who: np.ndarray, code: str, begin: np.ndarray, step_min: float, count: np.ndarray, dose: float) -> None:
        row = np.repeat(who, count)
        nth = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
        minute = np.repeat(begin, count) + nth * step_min + rng.integers(0, 60, len(row))
        frames.append(_frame(row, minute, code, np.full(len(row), dose)))

    hot = every[~np.isnan(c.onset)]
    some = hot[rng.random(len(hot)) < 0.7]
    series(some, "acetaminophen", c.onset[some] + rng.uniform(60, 3000, len(some)), 8 * 60, rng.integers(1, 10, len(some)), 650)
    bad = hot[c.severity[hot] > 1.1]
    series(bad, "tocilizumab", c.onset[bad] + rng.uniform(300, 2800, len(bad)), 12 * 60, rng.integers(1, 4, len(bad)), 560)
    worse = hot[c.severity[hot] > 1.5]
    series(
        worse, "dexamethasone", c.onset[worse] + rng.uniform(600, 4000, len(worse)), 6 * 60, rng.integers(2, 16, len(worse)), 10
    )
    before = every[rng.random(n) < 0.15]  # premedication, before any fever
    series(before, "dexamethasone", np.full(len(before), -120.0), 60, np.ones(len(before), int), 8)
    low = every[rng.random(n) < 0.4]
    series(low, "filgrastim", rng.uniform(5, 20, len(low)) * DAY_MIN, DAY_MIN, rng.integers(1, 8, len(low)), 300)
    return pl.concat([*frames, *_infusions(c, hot, rng)])


def _infusions(c: Course, hot: np.ndarray, rng: np.random.Generator) -> list[pl.DataFrame]:
    """A norepinephrine drip in steps of rate; for some a second drug: added, handed over, or vasopressin."""
    who = hot[c.severity[hot] > 1.6]
    steps = rng.integers(1, 6, len(who))
    row = np.repeat(who, steps)
    nth = np.arange(len(row)) - np.repeat(np.cumsum(steps) - steps, steps)
    begin = np.repeat(c.onset[who] + 0.2 * c.length[who] + rng.uniform(-300, 600, len(who)), steps)
    step = np.repeat(rng.integers(120, 600, len(who)), steps)
    start = np.round(begin) + nth * step
    other = np.repeat(rng.random(len(who)) < 0.03, steps)  # started for a procedure
    frames = [_frame(row, start, "norepinephrine", rng.integers(2, 30, len(row)).astype(float), end=start + step, other=other)]
    first = np.round(begin[nth == 0])
    last = first + steps * step[nth == 0]
    plan = rng.random(len(who))
    for code, chosen, start, stop in (
        ("phenylephrine", plan < 0.2, first + 45, last + 300),  # together
        ("phenylephrine", (plan >= 0.2) & (plan < 0.35), last - rng.integers(10, 110, len(who)), last + 400),  # handed over
        ("vasopressin", plan > 0.7, first + rng.integers(-200, 200, len(who)), last + rng.integers(-60, 500, len(who))),
    ):
        keep = chosen & (stop > start)
        frames.append(
            _frame(who[keep], start[keep], code, np.full(keep.sum(), 0.03 if code == "vasopressin" else 80.0), end=stop[keep])
        )
    return frames


def _once(c: Course, rng: np.random.Generator) -> pl.DataFrame:
    n = len(c.age)
    every, admitted = np.arange(n), np.full(n, -1.0 * DAY_MIN)
    dead = every[~np.isnan(c.death)]
    followed = every[np.isnan(c.death) & (rng.random(n) < 0.9)]
    left = np.where(rng.random(len(followed)) < 0.1, rng.uniform(12, 90, len(followed)), 100.0) * DAY_MIN
    child = c.age < 18
    return pl.concat([
        _frame(every, np.zeros(n), "cart_infusion", text=np.full(n, "axi-cel")),
        _frame(every, admitted, "record_complete", text=np.full(n, "drugs"), end=np.full(n, 101.0 * DAY_MIN)),
        _frame(every, admitted, "age", c.age),
        _frame(every, admitted, "sex", text=np.where(rng.random(n) < 0.45, "female", "male")),
        _frame(every, admitted, "weight", np.round(np.where(child, 8 + 3 * c.age, rng.normal(75, 13, n)))),
        _frame(dead, c.death[dead], "death", text=np.full(len(dead), "progression")),
        _frame(followed, left, "last_follow_up"),
    ])  # fmt: skip
