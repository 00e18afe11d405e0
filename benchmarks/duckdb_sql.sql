-- The answers of `pandas_vectorised.py` for one file of whole subjects, in seconds (`sec`) and calendar days since the infusion.
-- What stands at a time is the last row at or before it; null is what nobody charted, or what has expired.
WITH

valid AS (
    SELECT unnest(map_entries($valid::MAP(VARCHAR, BIGINT)), recursive := true)  -- key, value: for how many seconds a reading stands
),
devices AS (
    SELECT unnest(map_entries($devices::MAP(VARCHAR, DOUBLE)), recursive := true)  -- key, value: the grade of the support
),

events AS (
    SELECT subject_id, time, code, numeric_value, text_value, end_time, attributable_to IS NOT DISTINCT FROM 'other' AS other
    FROM read_parquet($path)
),

subjects AS (
    SELECT
        subject_id,
        min(time) FILTER (code = 'cart_infusion') AS day0,
        min(numeric_value) FILTER (code = 'age') AS age,
        min(time) FILTER (code = 'death') AS death,
        max(greatest(time, end_time)) FILTER (code <> 'record_complete') AS record_end,
        date_diff('second', day0, least(record_end, death)) AS last_at,
        date_diff('day', day0, coalesce(min(time) FILTER (code = 'last_follow_up'), death)) AS last_day
    FROM events
    GROUP BY subject_id
),

charted AS (
    SELECT
        subject_id, code, numeric_value, text_value, other,
        date_diff('second', day0, time) AS sec,
        date_diff('second', day0, end_time) AS until
    FROM events
    JOIN subjects USING (subject_id)
    WHERE code IN struct_keys($valid) OR code = 'vasopressin' OR code IN $vasopressors OR code IN $waiver
),

-- ---- CRS: what was read

-- One reading a time: the worst. One attributed to another cause reads as normal.
readings AS (
    SELECT
        subject_id, code AS name, sec,
        CASE WHEN code IN ('sbp', 'map') THEN min(if(other, 'infinity'::DOUBLE, numeric_value))
             ELSE max(if(other, 0, coalesce(devices.value, numeric_value))) END AS value,
        sec + any_value(valid.value) AS until
    FROM charted
    JOIN valid ON code = valid.key
    LEFT JOIN devices ON code = 'o2_device' AND text_value = devices.key
    WHERE code <> 'temperature' OR sec >= 0
    GROUP BY subject_id, code, sec
),

-- ---- CRS: what ran

infusions AS (
    SELECT
        subject_id, code, sec, until,
        -- A row that touches none of the rows before it begins another infusion.
        coalesce(sec > max(until) OVER (
            PARTITION BY subject_id, code ORDER BY sec ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), true) AS begins
    FROM charted
    WHERE (code = 'vasopressin' OR code IN $vasopressors)
        AND NOT other AND numeric_value IS DISTINCT FROM 0 AND until > sec
),
numbered AS (
    SELECT *, count(*) FILTER (begins) OVER (PARTITION BY subject_id, code ORDER BY sec) AS nth FROM infusions
),
runs AS (
    SELECT subject_id, code, min(sec) AS sec, max(until) AS until FROM numbered GROUP BY subject_id, code, nth
),
intervals AS (
    SELECT subject_id, if(code = 'vasopressin', code, 'pressors') AS name, sec, until FROM runs
    UNION ALL
    -- Two different drugs together for at least an hour.
    SELECT a.subject_id, 'pair', greatest(a.sec, b.sec), least(a.until, b.until)
    FROM runs a
    JOIN runs b ON a.subject_id = b.subject_id AND a.code < b.code
    WHERE a.code <> 'vasopressin' AND b.code <> 'vasopressin' AND least(a.until, b.until) - greatest(a.sec, b.sec) >= 3600
),
turns AS (
    SELECT subject_id, name, sec, sum(change) AS change
    FROM (SELECT subject_id, name, sec, 1 AS change FROM intervals
          UNION ALL
          SELECT subject_id, name, until, -1 FROM intervals)
    GROUP BY subject_id, name, sec
),
steps AS (
    SELECT subject_id, name, sec, sum(change) OVER (PARTITION BY subject_id, name ORDER BY sec) AS value FROM turns
),

-- ---- CRS: what was known at each time at which something may change

expiries AS (
    SELECT subject_id, until AS sec
    FROM readings
    QUALIFY coalesce(until < lead(sec) OVER (PARTITION BY subject_id, name ORDER BY sec), true)
),
-- A column a name, null where nothing of it was charted at that time.
charts AS (
    SELECT
        subject_id, sec,
        any_value(value) FILTER (name = 'temperature') AS temperature,
        any_value(value) FILTER (name = 'sbp') AS sbp,
        any_value(value) FILTER (name = 'map') AS map,
        any_value(value) FILTER (name = 'o2_device') AS device,
        any_value(value) FILTER (name = 'o2_flow') AS flow,
        any_value(value) FILTER (name = 'pressors') AS pressors,
        any_value(value) FILTER (name = 'vasopressin') AS vasopressin,
        any_value(value) FILTER (name = 'pair') AS pair,
        bool_or(name = 'drug') AS drug
    FROM (
        SELECT subject_id, name, sec, value FROM readings
        UNION ALL SELECT subject_id, name, sec, value FROM steps
        UNION ALL SELECT subject_id, 'drug', sec, NULL FROM charted WHERE code IN $waiver
        UNION ALL SELECT subject_id, 'expiry', sec, NULL FROM expiries
        UNION ALL SELECT subject_id, 'first', 0, NULL FROM subjects
        UNION ALL SELECT subject_id, 'last', last_at, NULL FROM subjects
    )
    GROUP BY subject_id, sec
),
standing AS (
    SELECT
        subject_id, sec,
        coalesce(lead(sec) OVER so_far, sec) AS next_sec,
        last_value(temperature IGNORE NULLS) OVER so_far AS temperature,
        last_value(if(temperature IS NULL, NULL, sec) IGNORE NULLS) OVER so_far AS temperature_at,
        last_value(sbp IGNORE NULLS) OVER so_far AS sbp,
        last_value(if(sbp IS NULL, NULL, sec) IGNORE NULLS) OVER so_far AS sbp_at,
        last_value(map IGNORE NULLS) OVER so_far AS map,
        last_value(if(map IS NULL, NULL, sec) IGNORE NULLS) OVER so_far AS map_at,
        last_value(device IGNORE NULLS) OVER so_far AS device,
        last_value(if(device IS NULL, NULL, sec) IGNORE NULLS) OVER so_far AS device_at,
        last_value(flow IGNORE NULLS) OVER so_far AS flow,
        last_value(if(flow IS NULL, NULL, sec) IGNORE NULLS) OVER so_far AS flow_at,
        last_value(pressors IGNORE NULLS) OVER so_far AS pressors,
        last_value(vasopressin IGNORE NULLS) OVER so_far AS vasopressin,
        last_value(pair IGNORE NULLS) OVER so_far AS pair,
        last_value(if(drug, sec, NULL) IGNORE NULLS) OVER so_far AS drug_at
    FROM charts
    WINDOW so_far AS (PARTITION BY subject_id ORDER BY sec)
),
states AS (
    SELECT
        subject_id, sec, age, drug_at, temperature_at, device_at, flow_at,
        least(next_sec, last_at) AS ends,
        if(sec < temperature_at + $valid.temperature, temperature, NULL) AS temperature,
        if(sec < sbp_at + $valid.sbp, sbp, NULL) AS sbp,
        if(sec < map_at + $valid.map, map, NULL) AS map,
        if(sec < device_at + $valid.o2_device, device, NULL) AS device,
        if(sec < flow_at + $valid.o2_flow, flow, NULL) AS flow,
        pressors > 0 AS pressors, vasopressin > 0 AS vasopressin, pair > 0 AS pair
    FROM standing
    JOIN subjects USING (subject_id)
    WHERE sec BETWEEN 0 AND last_at
),

-- ---- CRS: fever, and the grade that pressure, vasopressors and oxygen would give, at least and at most

findings AS (
    SELECT
        *,
        coalesce(temperature >= 38.0 - 1e-6, false) AS fever,
        temperature IS NULL AS fever_unknown,
        coalesce(sbp < CASE WHEN age < 1 THEN 70 WHEN age <= 10 THEN 70 + 2 * floor(age) ELSE 90 END, false)
            OR coalesce(age >= 18 AND map < 65, false) AS low,
        sbp IS NULL AND (map IS NULL OR age < 18) AS pressure_unknown,
        coalesce(device IN $cannulas, false) AS cannula,
        -- The flow of a cannula is charted with it: not more than an hour before.
        CASE WHEN flow_at >= device_at - 3600 THEN flow END AS own_flow,
        CASE WHEN pair THEN 4 WHEN pressors OR vasopressin THEN 3 ELSE 0 END AS drips
    FROM states
),
axes AS (
    SELECT
        *,
        CASE WHEN cannula THEN if(coalesce(own_flow > 6, false), 3, 2)
             WHEN device IS NOT NULL THEN device
             WHEN flow > 6 THEN 3
             WHEN flow > 0 THEN 2
             ELSE 0 END AS oxygen,
        CASE WHEN device IS NULL THEN 4 WHEN cannula AND own_flow IS NULL THEN 3 ELSE oxygen END AS oxygen_upper
    FROM findings
),
-- Both readings of what is unknown, one below the other: absent, or present.
bounds AS (
    SELECT
        subject_id, false AS upper, sec, ends, drug_at, fever, temperature_at AS fever_at,
        greatest(oxygen, drips, if(low, 2, 0))::INT AS axis
    FROM axes
    UNION ALL
    -- A fever that is only possible may have been there until something new is charted.
    SELECT
        subject_id, true, sec, ends, drug_at, fever OR fever_unknown, if(fever_unknown, ends, temperature_at),
        greatest(oxygen_upper, drips, if(low OR pressure_unknown, 2, 0))::INT
    FROM axes
),

-- ---- CRS: segments, the beginning in each, carry and waiver

active_times AS (
    SELECT
        *,
        fever OR axis > 0 AS active,
        max(fever_at + 86_401) FILTER (fever) OVER (PARTITION BY subject_id, upper ORDER BY sec) AS carry
    FROM bounds
),
closing AS (
    SELECT *, if(active, greatest(ends + 86_400, if(fever, carry, NULL)), NULL) AS closes FROM active_times
),
opening AS (
    SELECT
        *,
        max(closes) OVER so_far AS close,
        active AND coalesce(max(closes) OVER earlier <= sec, true) AS opens
    FROM closing
    WINDOW
        so_far AS (PARTITION BY subject_id, upper ORDER BY sec),
        earlier AS (PARTITION BY subject_id, upper ORDER BY sec ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
),
segments AS (
    SELECT *, count(*) FILTER (opens) OVER (PARTITION BY subject_id, upper ORDER BY sec) AS segment FROM opening
),
begun AS (
    SELECT *, min(sec) FILTER (fever AND sec < close) OVER (PARTITION BY subject_id, upper, segment) AS start FROM segments
),
course AS (
    SELECT
        *,
        coalesce(sec >= start AND sec < close, false) AS open,
        coalesce(sec < carry, false) AS carried,
        open AND coalesce(drug_at >= start, false) AS waived
    FROM begun
),
graded AS (
    SELECT
        subject_id, upper, sec, ends,
        active AND open AS present,
        CASE WHEN open AND (fever OR carried OR waived)
             THEN greatest(axis, if(fever OR (carried AND NOT waived), 1, 0))
             ELSE 0 END AS grade
    FROM course
),
crs AS (
    SELECT subject_id, max(grade) FILTER (NOT upper) AS crs, max(grade) FILTER (upper) AS crs_upper FROM graded GROUP BY subject_id
),
-- A gap of 48 hours parts two episodes.
episode_starts AS (
    SELECT subject_id
    FROM graded
    WHERE present AND NOT upper
    QUALIFY coalesce(sec - lag(ends) OVER (PARTITION BY subject_id ORDER BY sec) >= 48 * 3600, true)
),
episodes AS (
    SELECT subject_id, count(*) AS episodes FROM episode_starts GROUP BY subject_id
),

-- ---- ICAHT

counts AS (
    SELECT subject_id, date_diff('day', day0, time) AS day, min(numeric_value) AS anc
    FROM events
    JOIN subjects USING (subject_id)
    WHERE code = 'anc'
    GROUP BY subject_id, day0, date_diff('day', day0, time)
),

-- Early: days 0 to 30, or to last follow-up; gaps of up to a week are interpolated, the ends filled from the nearest count.
days AS (
    SELECT subject_id, least(greatest(coalesce(last_day, 30), 0), 30) AS last, unnest(range(last + 1)) AS day FROM subjects
),
neighbours AS (
    SELECT
        subject_id, day, last, anc,
        last_value(if(anc IS NULL, NULL, day) IGNORE NULLS) OVER before AS day_before,
        last_value(anc IGNORE NULLS) OVER before AS anc_before,
        first_value(if(anc IS NULL, NULL, day) IGNORE NULLS) OVER after AS day_after,
        first_value(anc IGNORE NULLS) OVER after AS anc_after
    FROM days
    LEFT JOIN counts USING (subject_id, day)
    WINDOW
        before AS (PARTITION BY subject_id ORDER BY day ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW),
        after AS (PARTITION BY subject_id ORDER BY day ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING)
),
filled AS (
    SELECT
        subject_id, day, last,
        CASE WHEN anc IS NOT NULL THEN anc
             WHEN coalesce(day_after, last + 1) - coalesce(day_before, -1) - 1 > 7 THEN NULL
             WHEN day_before IS NULL THEN anc_after
             WHEN day_after IS NULL THEN anc_before
             ELSE anc_before + (anc_after - anc_before) * (day - day_before) / (day_after - day_before) END AS anc
    FROM neighbours
),
low_days AS (
    SELECT
        subject_id, cut, day, last,
        -- Three days above the cut end a run.
        coalesce(day - lag(day) OVER (PARTITION BY subject_id, cut ORDER BY day) > 3, true) AS begins
    FROM filled
    JOIN (VALUES (500), (100)) AS cuts(cut) ON anc <= cut
),
low_runs AS (
    SELECT subject_id, cut, day, last, count(*) FILTER (begins) OVER (PARTITION BY subject_id, cut ORDER BY day) AS nth FROM low_days
),
spans AS (
    SELECT
        subject_id, cut, last,
        min(day) AS start,
        -- A break at the end that is too short to be a recovery belongs to the run.
        if(last - max(day) < 3, last, max(day)) AS stop
    FROM low_runs
    GROUP BY subject_id, cut, last, nth
),
early AS (
    SELECT
        subject_id,
        coalesce(max(stop - start + 1) FILTER (cut = 500), 0) AS d500,
        coalesce(max(stop - start + 1) FILTER (cut = 100), 0) AS d100,
        coalesce(bool_or(stop - start + 1 > 30 OR (start <= 3 AND stop = last)) FILTER (cut = 500), false) AS never,
        CASE WHEN never OR d100 >= 14 THEN 4
             WHEN d500 >= 14 OR d100 >= 7 THEN 3
             WHEN d500 >= 7 THEN 2
             WHEN d500 >= 1 THEN 1
             ELSE 0 END AS grade
    FROM spans
    GROUP BY subject_id
),

-- Late: the lowest count of day 31 to 100, unless the next-lowest says that it was transient.
late AS (
    SELECT
        subject_id,
        min(anc, 2) AS lows,
        CASE WHEN lows[2] > 1500 THEN 0
             WHEN lows[1] <= 100 THEN 4
             WHEN lows[1] <= 500 THEN 3
             WHEN lows[1] <= 1000 THEN 2
             WHEN lows[1] <= 1500 THEN 1
             ELSE 0 END AS grade
    FROM counts
    JOIN subjects USING (subject_id)
    WHERE day BETWEEN 31 AND least(100, last_day)
    GROUP BY subject_id
)

SELECT
    subject_id,
    coalesce(crs, 0) AS crs,
    coalesce(crs_upper, 0) AS crs_upper,
    coalesce(episodes, 0) AS episodes,
    coalesce(early.grade, 0) AS icaht_early,
    coalesce(late.grade, 0) AS icaht_late
FROM subjects
LEFT JOIN crs USING (subject_id)
LEFT JOIN episodes USING (subject_id)
LEFT JOIN early USING (subject_id)
LEFT JOIN late USING (subject_id)
ORDER BY subject_id
