"""The same answers in vectorised pandas, as a careful analyst would write them: no Python loop over subjects or times.

It answers less than aftercar does: both bounds of the CRS grade (what is unknown is absent, or present) where something was
charted or expired, their worst, the number of episodes, and the ICAHT grades. No evidence, no criteria, no flags, no options, and
only what the cohort holds (one infusion a subject, drugs recorded throughout, infusions with ends). The rules are those of
`docs/conventions.md`. Each shard is read and answered by itself, which is faster here than all at once and holds less.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

HOUR, DAY = 3600, 86_400
VALID = {"temperature": 12 * HOUR, "sbp": 12 * HOUR, "map": 12 * HOUR, "o2_device": 24 * HOUR, "o2_flow": 24 * HOUR}
VASOPRESSORS = ["norepinephrine", "epinephrine", "phenylephrine", "dopamine", "angiotensin_ii"]
WAIVER = ["acetaminophen", "tocilizumab", "dexamethasone"]
DEVICES = {"room_air": 0.0, "nasal_cannula": 2.0, "hfnc": 2.5, "non_rebreather": 3.0, "bipap": 4.0, "ventilator": 4.0}
CANNULA, HFNC = DEVICES["nasal_cannula"], DEVICES["hfnc"]
COLUMNS = ["subject_id", "time", "code", "numeric_value", "text_value", "end_time", "attributable_to"]
BEFORE = -(10**12)  # earlier than any time of a record
OVERLAP, FAR = 3600, 48 * HOUR


def grade_folder(folder: Path) -> pd.DataFrame:
    """`subject_id, crs, crs_upper, episodes, icaht_early, icaht_late` of every subject."""
    return pd.concat([grade_shard(path) for path in sorted((folder / "data").glob("*.parquet"))], ignore_index=True)


def grade_shard(path: Path) -> pd.DataFrame:
    # Words as categories: comparing them is then comparing small integers.
    words = ["code", "text_value", "attributable_to"]
    events = pq.read_table(path, columns=COLUMNS, read_dictionary=words).to_pandas()
    codes = events["code"]
    subjects = _subjects(events, codes)
    wanted = codes.isin([*VALID, *VASOPRESSORS, "vasopressin", *WAIVER, "anc"])
    events = events[wanted]
    day0 = events["subject_id"].map(subjects["day0"])
    events = events.assign(
        at=(events["time"] - day0).dt.total_seconds().astype("int64"),
        until=(events["end_time"] - day0).dt.total_seconds(),
        other=events["attributable_to"] == "other",
    )
    by_code = dict(list(events.groupby("code", observed=True)))
    nothing = events.iloc[:0]
    crs = _crs({code: by_code.get(code, nothing) for code in [*VALID, *VASOPRESSORS, "vasopressin", *WAIVER]}, subjects)
    icaht = _icaht(by_code.get("anc", nothing), subjects)
    return subjects[[]].join(crs).join(icaht).fillna(0).astype("int64").reset_index()


def _subjects(events: pd.DataFrame, codes: pd.Series) -> pd.DataFrame:
    """Day 0, end of the record, age, last follow-up and death, by subject."""

    def of(code: str, column: str) -> pd.Series:
        return events[codes == code].groupby("subject_id")[column].min()

    last = events[codes != "record_complete"].groupby("subject_id")[["time", "end_time"]].max().max(axis=1)
    subjects = pd.DataFrame({"day0": of("cart_infusion", "time"), "record_end": last, "age": of("age", "numeric_value")})
    subjects["death"] = of("death", "time")
    subjects["last_fu"] = of("last_follow_up", "time").reindex(subjects.index).fillna(subjects["death"])
    end = subjects[["record_end", "death"]].min(axis=1)
    subjects["last_at"] = (end - subjects["day0"]).dt.total_seconds().astype("int64")
    return subjects


# --- CRS ---


def _crs(tables: dict[str, pd.DataFrame], subjects: pd.DataFrame) -> pd.DataFrame:
    looks = {code: _readings(tables[code], code, valid) for code, valid in VALID.items()}
    looks["temperature"] = looks["temperature"][looks["temperature"]["at"] >= 0]
    runs = _running(pd.concat([tables[code] for code in VASOPRESSORS]))
    looks["pressors"] = _steps(runs)
    looks["vasopressin"] = _steps(_running(tables["vasopressin"]))
    looks["pair"] = _steps(_overlaps(runs))
    drugs = pd.concat([tables[code] for code in WAIVER])[["subject_id", "at"]].drop_duplicates()
    frame = _grid(looks, drugs, subjects)
    for name, table in looks.items():
        table = table.rename(columns={"value": name, "until": f"{name}_until"}).sort_values("at")
        if name in ("temperature", "o2_device", "o2_flow"):
            table[f"{name}_at"] = table["at"]
        frame = pd.merge_asof(frame, table, on="at", by="subject_id")
        frame[name] = frame[name].where(frame.pop(f"{name}_until") > frame["at"])
    drugs["drug_at"] = drugs["at"]
    frame = pd.merge_asof(frame, drugs.sort_values("at"), on="at", by="subject_id")
    frame = frame.sort_values(["subject_id", "at"], ignore_index=True)
    fever, axis, axis_upper = _axes(frame, subjects)
    unknown = frame["temperature"].isna()
    course = _machine(frame, fever, axis)
    # A fever that is only possible may have been there until something new is charted.
    upper = _machine(frame, fever | unknown, axis_upper, unknown)
    return _outcome(course.assign(grade_upper=upper["grade"]))


def _readings(events: pd.DataFrame, code: str, valid: int) -> pd.DataFrame:
    """`subject_id, at, value, until`, one a time: the worst; a value attributed to another cause reads as normal."""
    value = events["text_value"].astype(object).map(DEVICES) if code == "o2_device" else events["numeric_value"]
    lowest = code in ("sbp", "map")
    harmless = np.inf if lowest else 0.0
    value = value.astype("float64").where(~events["other"], harmless)
    table = pd.DataFrame({"subject_id": events["subject_id"], "at": events["at"], "value": value})
    if table.duplicated(["subject_id", "at"]).any():
        table = table.sort_values(["subject_id", "at", "value"], ascending=[True, True, not lowest])
        table = table.drop_duplicates(["subject_id", "at"], keep="last")
    return table.assign(until=table["at"] + valid)


def _running(events: pd.DataFrame) -> pd.DataFrame:
    """`subject_id, code, at, until`: touching or overlapping rows of one drug are one infusion."""
    rows = events[~events["other"] & (events["numeric_value"] != 0) & (events["until"] > events["at"])]
    rows = rows.assign(code=rows["code"].astype(object), until=rows["until"].astype("int64"))
    rows = rows.sort_values(["subject_id", "code", "at"])
    drug = rows.groupby(["subject_id", "code"], sort=False)
    reach = drug["until"].cummax().groupby([rows["subject_id"], rows["code"]], sort=False).shift(1)
    stretch = ((rows["at"] > reach) | reach.isna()).cumsum()
    found = rows.groupby(stretch).agg(
        subject_id=("subject_id", "first"), code=("code", "first"), at=("at", "min"), until=("until", "max")
    )
    return found.reset_index(drop=True)


def _overlaps(runs: pd.DataFrame) -> pd.DataFrame:
    """When two different drugs ran together for at least an hour."""
    pairs = runs.merge(runs, on="subject_id", suffixes=("", "_b"))
    pairs = pairs[pairs["code"] < pairs["code_b"]]
    both = pd.DataFrame(
        {
            "subject_id": pairs["subject_id"],
            "at": pairs[["at", "at_b"]].max(axis=1),
            "until": pairs[["until", "until_b"]].min(axis=1),
        }
    )
    return both[both["until"] - both["at"] >= OVERLAP]


def _steps(intervals: pd.DataFrame) -> pd.DataFrame:
    """How many intervals hold at a time: `subject_id, at, value, until`."""
    begins = intervals[["subject_id", "at"]].assign(value=1)
    ends = intervals[["subject_id", "until"]].set_axis(["subject_id", "at"], axis=1).assign(value=-1)
    turns = pd.concat([begins, ends]).groupby(["subject_id", "at"])["value"].sum()
    steps = turns.groupby("subject_id").cumsum().reset_index()
    steps["until"] = steps.groupby("subject_id")["at"].shift(-1)
    return steps[steps["value"] > 0].astype({"until": "int64"})


def _grid(looks: dict[str, pd.DataFrame], drugs: pd.DataFrame, subjects: pd.DataFrame) -> pd.DataFrame:
    """Every time at which something may change, sorted by time, as `merge_asof` wants it."""
    points = [
        drugs,
        pd.DataFrame({"subject_id": subjects.index, "at": 0}),
        pd.DataFrame({"subject_id": subjects.index, "at": subjects["last_at"].to_numpy()}),
    ]
    for table in looks.values():
        points.append(table[["subject_id", "at"]])
        following = table.groupby("subject_id")["at"].shift(-1)
        expired = table[following.isna() | (table["until"] < following)]
        points.append(pd.DataFrame({"subject_id": expired["subject_id"], "at": expired["until"]}))
    every = pd.concat(points, ignore_index=True).drop_duplicates()
    last = every["subject_id"].map(subjects["last_at"])
    return every[(every["at"] >= 0) & (every["at"] <= last)].sort_values("at", ignore_index=True)


def _axes(frame: pd.DataFrame, subjects: pd.DataFrame) -> tuple[pd.Series, np.ndarray, np.ndarray]:
    """Fever now, and the grade (0, 2, 3 or 4) that pressure, vasopressors and oxygen would give, at least and at most."""
    fever = frame["temperature"] >= 38.0 - 1e-6
    age = frame["subject_id"].map(subjects["age"])
    cut = np.select([age < 1, age <= 10], [70.0, 70.0 + 2 * np.floor(age)], 90.0)
    low = (frame["sbp"] < cut) | ((age >= 18) & (frame["map"] < 65))
    unmeasured = frame["sbp"].isna() & (frame["map"].isna() | (age < 18))
    device, flow = frame["o2_device"], frame["o2_flow"]
    charted = flow.where(frame["o2_flow_at"] >= frame["o2_device_at"] - HOUR)
    cannula = device.isin([CANNULA, HFNC])
    oxygen = np.select([cannula & (charted > 6), cannula, device.notna(), flow > 6, flow > 0], [3, 2, device.fillna(0), 3, 2], 0)
    oxygen_upper = np.select([device.isna(), cannula & charted.isna()], [4, 3], oxygen)
    drips = np.select([frame["pair"] > 0, (frame["pressors"] > 0) | (frame["vasopressin"] > 0)], [4, 3], 0)
    at_least = np.maximum.reduce([oxygen, drips, 2 * low])
    at_most = np.maximum.reduce([oxygen_upper, drips, 2 * (low | unmeasured)])
    return fever, at_least, at_most


def _machine(frame: pd.DataFrame, fever: pd.Series, axis: np.ndarray, supposed: pd.Series | None = None) -> pd.DataFrame:
    """Segments, the beginning of CRS in each, carry and waiver: rules 1 to 6. `supposed` marks fevers not measured."""
    subject, at = frame["subject_id"], frame["at"]
    ends = at.groupby(subject).shift(-1).fillna(at)
    measured = frame["temperature_at"] if supposed is None else frame["temperature_at"].mask(supposed, ends)
    carry = (measured + DAY + 1).where(fever, BEFORE).groupby(subject).cummax()
    active = fever | (axis > 0)
    close = np.maximum(ends + DAY, carry.where(fever, BEFORE)).where(active, BEFORE).groupby(subject).cummax()
    new = active & (close.groupby(subject).shift(1).fillna(BEFORE) <= at)
    segment = new.cumsum()
    start = at.where(fever & (at < close)).groupby(segment).transform("min")
    open_ = (at >= start) & (at < close)
    carried = at < carry
    waived = open_ & (frame["drug_at"] >= start)
    gate = open_ & (fever | carried | waived)
    mild = (fever | (carried & ~waived)).astype("int64")
    grade = np.where(gate, np.maximum(axis, mild), 0)
    return pd.DataFrame({"subject_id": subject, "at": at, "end": ends, "grade": grade, "present": active & open_})


def _outcome(course: pd.DataFrame) -> pd.DataFrame:
    """The worst grade, what it may have been at most, and the number of episodes."""
    present = course[course["present"]]
    gap = present["at"] - present.groupby("subject_id")["end"].shift(1)
    begins = gap.isna() | (gap >= FAR)
    worst = course.groupby("subject_id")[["grade", "grade_upper"]].max()
    episodes = begins.groupby(present["subject_id"]).sum()
    return pd.DataFrame({"crs": worst["grade"], "crs_upper": worst["grade_upper"], "episodes": episodes})


# --- ICAHT ---


def _icaht(counts: pd.DataFrame, subjects: pd.DataFrame) -> pd.DataFrame:
    midnight = subjects["day0"].dt.normalize()
    day = (counts["time"].dt.normalize() - counts["subject_id"].map(midnight)).dt.days
    daily = counts.groupby(["subject_id", day.rename("day")])["numeric_value"].min()
    last = (subjects["last_fu"].dt.normalize() - midnight).dt.days
    return pd.DataFrame({"icaht_early": _early(daily, last), "icaht_late": _late(daily, last)})


def _early(daily: pd.Series, last: pd.Series) -> pd.Series:
    """The longest run at or under 500 and 100 per microlitre from day 0 to 30, gaps of up to a week interpolated."""
    last = last.fillna(30).clip(0, 30).astype("int64")
    table = daily[daily.index.get_level_values("day").isin(range(31))].unstack("day").reindex(index=last.index, columns=range(31))
    value, end, days = table.to_numpy(), last.to_numpy()[:, None], np.arange(31)
    value = np.where(days <= end, value, np.nan)
    known = ~np.isnan(value)
    before = np.maximum.accumulate(np.where(known, days, -1), axis=1)
    after = np.minimum.accumulate(np.where(known, days, 99)[:, ::-1], axis=1)[:, ::-1]
    left, right = (np.take_along_axis(value, side.clip(0, 30), axis=1) for side in (before, after))
    with np.errstate(invalid="ignore"):
        between = left + (right - left) * (days - before) / np.where(known, 1, after - before)
    filled = np.select([known, before < 0, after == 99], [value, right, left], between)
    filled[(np.minimum(after, end + 1) - before - 1 > 7) & ~known | (days > end)] = np.nan
    d500, never = _longest(filled <= 500, last.to_numpy())
    d100, _ = _longest(filled <= 100, last.to_numpy())
    grade = np.select([never | (d100 >= 14), (d500 >= 14) | (d100 >= 7), d500 >= 7, d500 >= 1], [4, 3, 2, 1], 0)
    return pd.Series(grade, last.index)


def _longest(low: np.ndarray, last: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Days of the longest run (three days above end one), and whether a run says "never above 500"."""
    n = len(low)
    start, stop = np.full(n, -99), np.full(n, -99)
    longest, never = np.zeros(n, "int64"), np.zeros(n, bool)
    for day in range(32):  # one day of all subjects at a time
        here = low[:, day] if day < 31 else np.ones(n, bool)
        ended = here & (start >= 0) & ((day - stop > 3) | (day == 31))
        full = np.where(last - stop < 3, last, stop)
        days = np.where(ended, full - start + 1, 0)
        longest = np.maximum(longest, days)
        never |= ended & ((days > 30) | ((start <= 3) & (full == last)))
        start = np.where(here & ((start < 0) | ended), day, start)
        stop = np.where(here, day, stop)
    return longest, never


def _late(daily: pd.Series, last: pd.Series) -> pd.Series:
    """The lowest count of day 31 to 100, unless it is single among others above 1500."""
    counts = daily.rename("anc").reset_index()
    end = counts["subject_id"].map(last).fillna(100).clip(upper=100)
    counts = counts[(counts["day"] >= 31) & (counts["day"] <= end)].sort_values(["subject_id", "anc"])
    by = counts.groupby("subject_id")["anc"]
    nadir, second = by.nth(0), by.nth(1)
    nadir.index, second.index = counts.loc[nadir.index, "subject_id"], counts.loc[second.index, "subject_id"]
    second = second.reindex(nadir.index)
    grade = np.select([nadir <= 100, nadir <= 500, nadir <= 1000, nadir <= 1500], [4, 3, 2, 1], 0)
    return pd.Series(np.where(second.isna() | (second <= 1500), grade, 0), nadir.index)
