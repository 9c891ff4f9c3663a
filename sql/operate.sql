-- Windows, runs, budgets: functions whose arguments SQL puts into shape.

CREATE FUNCTION ai.scheduling_window(
    start    time,
    stop     time,
    days     text[] DEFAULT NULL,
    timezone text DEFAULT NULL
) RETURNS jsonb
    LANGUAGE sql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT ai._scheduling_window(extract(epoch FROM start)::float8, extract(epoch FROM stop)::float8, days,
                                 coalesce(timezone, current_setting('TimeZone')))
$$;

CREATE FUNCTION ai.scheduling_windows(VARIADIC windows jsonb[]) RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT ai._scheduling_windows(windows)
$$;

CREATE FUNCTION ai.run_vectorizer(vectorizer int4, "for" interval DEFAULT NULL, max_rows int8 DEFAULT NULL) RETURNS text
    LANGUAGE sql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT ai._run_vectorizer(vectorizer, "for", max_rows)
$$;

CREATE FUNCTION ai.run_vectorizer(vectorizer text, "for" interval DEFAULT NULL, max_rows int8 DEFAULT NULL) RETURNS text
    LANGUAGE sql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT ai._run_vectorizer(vectorizer, "for", max_rows)
$$;

-- The end of the period in which `at` lies, where periods of length `per` follow each other and one
-- of them begins, or ends, at `anchor`. Months differ in length, so it is counted from the anchor.
CREATE FUNCTION ai._period_end(anchor timestamptz, per interval, at timestamptz) RETURNS timestamptz
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    -- A lower bound: no month is longer than 31 days, no year than 366.
    n int8 := greatest(floor(extract(epoch FROM at - anchor) / extract(epoch FROM per) * 0.95) - 1, 0);
BEGIN
    -- A period that has begun before the anchor, as when it is given in the future.
    IF anchor > at THEN
        n := least(ceil(extract(epoch FROM anchor - at) / extract(epoch FROM per) * 1.05) + 1, 2000000000);
        WHILE n > 0 AND anchor - per * n <= at LOOP
            n := n - 1;
        END LOOP;
        RETURN anchor - per * n;
    END IF;
    WHILE anchor + per * n <= at LOOP
        n := n + 1;
    END LOOP;
    RETURN anchor + per * n;
END
$$;
