"""The same answers by the usual loop: one subject at a time, one timestamp at a time, rules as plain Python.

Each subject's rows are cut into one table a concept once, and looked up by binary search: a loop as people write it who have
met slow loops before. Words, rules and limits are those of `pandas_vectorised`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.pandas_vectorised import COLUMNS, DEVICES, VASOPRESSORS, WAIVER

VALID = {
    "temperature": pd.Timedelta(hours=12), "sbp": pd.Timedelta(hours=12), "map": pd.Timedelta(hours=12),
    "o2_device": pd.Timedelta(hours=24), "o2_flow": pd.Timedelta(hours=24),
}  # fmt: skip
Time = pd.Timestamp | None
HOUR, DAY = pd.Timedelta(hours=1), pd.Timedelta(hours=24)
SECOND = pd.Timedelta(seconds=1)


def grade_folder(folder: Path, subjects: int | None = None) -> pd.DataFrame:
    """`subject_id, crs, episodes, icaht_early, icaht_late` of the first so many subjects."""
    files = sorted((folder / "data").glob("*.parquet"))
    answers: list[dict[str, int]] = []
    for path in files:
        events = pd.read_parquet(path, columns=COLUMNS)
        if subjects is not None:
            left = events["subject_id"].unique()[: subjects - len(answers)]
            events = events[events["subject_id"].isin(left)]
        for subject_id, rows in events.groupby("subject_id"):
            answers.append({"subject_id": int(subject_id), **grade_subject(rows)})
        if subjects is not None and len(answers) >= subjects:
            break
    return pd.DataFrame(answers)


def grade_subject(rows: pd.DataFrame) -> dict[str, int]:
    day0 = rows.loc[rows["code"] == "cart_infusion", "time"].min()
    death = rows.loc[rows["code"] == "death", "time"].min()
    charted = rows[rows["code"] != "record_complete"]
    end = charted[["time", "end_time"]].max().max()
    end = min(end, death) if pd.notna(death) else end
    crs, episodes = _crs(rows, day0, end)
    follow_up = rows.loc[rows["code"] == "last_follow_up", "time"].min()
    follow_up = death if pd.isna(follow_up) else follow_up
    counts = rows[rows["code"] == "anc"]
    early, late = _icaht(counts, day0, follow_up)
    return {"crs": crs, "episodes": episodes, "icaht_early": early, "icaht_late": late}


class Readings:
    """The readings of one concept: the worst a time, each standing until the next or until it expires."""

    def __init__(self, rows: pd.DataFrame, code: str, since: pd.Timestamp | None = None) -> None:
        rows = rows[rows["code"] == code]
        if since is not None:
            rows = rows[rows["time"] >= since]
        values = rows["text_value"].map(DEVICES) if code == "o2_device" else rows["numeric_value"]
        lowest = code in ("sbp", "map")
        values = values.astype(float).mask(rows["attributable_to"] == "other", np.inf if lowest else 0.0)
        by_time = values.groupby(rows["time"])
        series = by_time.min() if lowest else by_time.max()
        self.times = list(series.index)
        self.clock = series.index.to_numpy()
        self.values = series.tolist()
        self.valid = VALID[code]

    def at(self, time: pd.Timestamp) -> tuple[float | None, pd.Timestamp | None]:
        """The value that stands, and when it was charted."""
        n = self.clock.searchsorted(time.to_datetime64(), side="right") - 1
        if n < 0 or time >= self.times[n] + self.valid:
            return None, None
        return self.values[n], self.times[n]

    def turns(self) -> set[pd.Timestamp]:
        return {*self.times, *(t + self.valid for t in self.times)}


def _infusions(rows: pd.DataFrame, code: str) -> list[tuple[pd.Timestamp, pd.Timestamp]]:
    drips = rows[(rows["code"] == code) & (rows["attributable_to"] != "other") & (rows["numeric_value"] != 0)]
    merged: list[tuple[pd.Timestamp, pd.Timestamp]] = []
    for drip in drips.sort_values("time").itertuples():
        if merged and drip.time <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], drip.end_time))
        elif drip.end_time > drip.time:
            merged.append((drip.time, drip.end_time))
    return merged


def _oxygen(device: float | None, device_at: Time, flow: float | None, flow_at: Time) -> int:
    if device is None:
        return 0 if flow is None or flow <= 0 else 3 if flow > 6 else 2
    if device in (DEVICES["nasal_cannula"], DEVICES["hfnc"]):
        return 3 if flow is not None and flow > 6 and flow_at >= device_at - HOUR else 2
    return int(device)


def _crs(rows: pd.DataFrame, day0: pd.Timestamp, end: pd.Timestamp) -> tuple[int, int]:
    age = rows.loc[rows["code"] == "age", "numeric_value"].iloc[-1]
    cut = 70 if age < 1 else 70 + 2 * int(age) if age <= 10 else 90
    temperature = Readings(rows, "temperature", since=day0)
    sbp, mean, device, flow = (Readings(rows, c) for c in ("sbp", "map", "o2_device", "o2_flow"))
    drips = {code: _infusions(rows, code) for code in [*VASOPRESSORS, "vasopressin"]}
    agents = [(code, start, stop) for code in VASOPRESSORS for start, stop in drips[code]]
    together = [
        (max(s, s2), min(e, e2)) for c, s, e in agents for c2, s2, e2 in agents if c < c2 and min(e, e2) - max(s, s2) >= HOUR
    ]  # fmt: skip
    waivers = sorted(rows.loc[rows["code"].isin(WAIVER), "time"])

    turns = {day0, end, *waivers}
    for readings in (temperature, sbp, mean, device, flow):
        turns |= readings.turns()
    for spans in (*drips.values(), together):
        turns |= {t for span in spans for t in span}
    times = sorted(t for t in turns if day0 <= t <= end)

    worst = episodes = given = 0
    close = start = carry = drug = last_present = None
    for time, following in zip(times, [*times[1:], end], strict=True):
        while given < len(waivers) and waivers[given] <= time:
            drug = waivers[given]
            given += 1
        heat, measured_at = temperature.at(time)
        fever = heat is not None and heat >= 38.0 - 1e-6
        systolic, pressure = sbp.at(time)[0], mean.at(time)[0]
        low = (systolic is not None and systolic < cut) or (age >= 18 and pressure is not None and pressure < 65)
        pressor = any(s <= time < e for _, s, e in agents)
        vasopressin = any(s <= time < e for s, e in drips["vasopressin"])
        several = any(s <= time < e for s, e in together)
        oxygen = _oxygen(*device.at(time), *flow.at(time))
        axis = max(oxygen, 4 if several else 3 if pressor or vasopressin else 2 if low else 0)

        active = fever or axis > 0
        if active and (close is None or time >= close):
            start = None
        if fever:
            carry = measured_at + DAY + SECOND
            start = time if start is None else start
        if active:
            until = max(following + DAY, carry) if fever else following + DAY
            close = until if close is None else max(close, until)
        is_open = start is not None and close is not None and time < close
        carried = carry is not None and time < carry
        waived = is_open and drug is not None and drug >= start
        if is_open and (fever or carried or waived):
            worst = max(worst, axis, 1 if fever or (carried and not waived) else 0)
        if active and is_open:
            if last_present is None or time - last_present >= 2 * DAY:
                episodes += 1
            last_present = following
    return worst, episodes


def _icaht(counts: pd.DataFrame, day0: pd.Timestamp, follow_up: Time) -> tuple[int, int]:
    days = (counts["time"].dt.normalize() - day0.normalize()).dt.days
    daily = counts.groupby(days)["numeric_value"].min()
    last = 100 if pd.isna(follow_up) else (follow_up.normalize() - day0.normalize()).days
    return _early(daily, max(0, min(30, last))), _late(daily, min(100, last))


def _early(daily: pd.Series, last: int) -> int:
    known = daily[(daily.index >= 0) & (daily.index <= last)].to_dict()
    filled: dict[int, float] = {}
    for day in range(last + 1):
        before = max((d for d in known if d <= day), default=None)
        after = min((d for d in known if d >= day), default=None)
        gap = (last + 1 if after is None else after) - (-1 if before is None else before) - 1
        if day in known:
            filled[day] = known[day]
        elif gap > 7 or (before is None and after is None):
            continue
        elif before is None or after is None:
            filled[day] = known[after if before is None else before]
        else:
            filled[day] = known[before] + (known[after] - known[before]) * (day - before) / (after - before)
    d500, never = _longest([d for d, v in filled.items() if v <= 500], last)
    d100, _ = _longest([d for d, v in filled.items() if v <= 100], last)
    if never or d100 >= 14:
        return 4
    if d500 >= 14 or d100 >= 7:
        return 3
    return 2 if d500 >= 7 else 1 if d500 >= 1 else 0


def _longest(low: list[int], last: int) -> tuple[int, bool]:
    runs: list[list[int]] = []
    for day in low:
        if runs and day - runs[-1][1] <= 3:
            runs[-1][1] = day
        else:
            runs.append([day, day])
    runs = [[start, last if last - stop < 3 else stop] for start, stop in runs]
    longest = max((stop - start + 1 for start, stop in runs), default=0)
    return longest, any(stop - start + 1 > 30 or (start <= 3 and stop == last) for start, stop in runs)


def _late(daily: pd.Series, last: int) -> int:
    counts = sorted(daily[(daily.index >= 31) & (daily.index <= last)])
    if not counts or (len(counts) > 1 and counts[1] > 1500):
        return 0
    return sum(counts[0] <= cut for cut in (1500, 1000, 500, 100))
