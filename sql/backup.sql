-- Backups of vector tables: who made what, what is to be made, what people see. The files
-- themselves say what a backup holds; these tables say what only the database knows.

-- One row for each backup that was made in this database. `truncated` commits together with the
-- TRUNCATE that it speaks of.
CREATE TABLE ai._backup (
    id         uuid PRIMARY KEY,
    name       text NOT NULL,
    made_by    name NOT NULL,
    made_at    timestamptz NOT NULL DEFAULT now(),
    truncated  bool NOT NULL,
    by_policy  bool NOT NULL
);

-- The standing order of this database: at most one row.
CREATE TABLE ai._backup_policy (
    one         bool PRIMARY KEY DEFAULT true CHECK (one),
    every       interval NOT NULL CHECK (every > interval '0'),
    keep_last   int4 CHECK (keep_last > 0),
    keep_for    interval CHECK (keep_for > interval '0'),
    made_by     name NOT NULL,
    search_path text NOT NULL,
    next_at     timestamptz NOT NULL,
    last_at     timestamptz,
    last_backup text,
    last_error  text
);

CREATE VIEW ai.backup_policy AS
SELECT every, keep_last, keep_for, made_by, next_at, last_at, last_backup, last_error
  FROM ai._backup_policy;

SELECT pg_catalog.pg_extension_config_dump('ai._backup', '');
SELECT pg_catalog.pg_extension_config_dump('ai._backup_policy', '');

CREATE FUNCTION ai.list_backups(
    OUT backup text, OUT task_id text, OUT made_at timestamptz, OUT database text, OUT tables text[], OUT row_count int8,
    OUT bytes int8, OUT format text, OUT compression text, OUT complete bool, OUT truncated bool, OUT by_policy bool,
    OUT made_by text
) RETURNS SETOF record
    LANGUAGE sql VOLATILE PARALLEL RESTRICTED
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT l.backup, l.task_id, (l.manifest->>'started_at')::timestamptz, l.manifest #>> '{server,database}',
           (SELECT array_agg(format('%I.%I', t->>'schema', t->>'name')) FROM jsonb_array_elements(l.manifest->'tables') t),
           (SELECT sum((t->>'rows')::int8)::int8 FROM jsonb_array_elements(l.manifest->'tables') t),
           l.bytes, l.manifest->>'format', l.manifest->>'compression', l.complete, l.truncated, l.by_policy, l.made_by
      FROM ai._list_backups() l
     ORDER BY 3, l.manifest->>'id', 1
$$;

-- Who makes or loads a backup holds an advisory lock in autovector's number space (kind 9).
CREATE VIEW ai.backup_progress AS
SELECT l.pid,
       a.query_start AS started_at,
       CASE WHEN p.command IS NULL THEN 'reading back or waiting' WHEN p.command = 'COPY TO' THEN 'copying' ELSE 'loading' END AS phase,
       p.relid::regclass AS "table",
       p.tuples_processed AS rows_done,
       nullif(c.reltuples, -1)::int8 AS rows_estimated,
       p.bytes_processed AS bytes_done,
       CASE WHEN p.command = 'COPY TO' AND c.reltuples > 0
            THEN round(least(100, 100 * p.tuples_processed / c.reltuples)::numeric, 1) END AS percent
  FROM (SELECT DISTINCT pid FROM pg_catalog.pg_locks
         WHERE locktype = 'advisory' AND objsubid = 167 AND classid = 9
           AND database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = current_database())) l
  LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
  LEFT JOIN pg_catalog.pg_stat_progress_copy p ON p.pid = l.pid
  LEFT JOIN pg_catalog.pg_class c ON c.oid = p.relid;

GRANT SELECT ON ai.backup_progress TO PUBLIC;

-- Backups fill a disk of the server and read what is on it: a superuser says who may.
REVOKE EXECUTE ON FUNCTION ai.backup_vector_tables, ai.restore_vector_tables, ai.verify_backup, ai.list_backups,
    ai._list_backups, ai.delete_backup, ai.set_backup_policy FROM PUBLIC;

COMMENT ON TABLE ai._backup IS 'Who made which backup in this database, and whether its tables were emptied after it';
COMMENT ON VIEW ai.backup_progress IS 'What each process that makes or loads a backup is doing';
COMMENT ON FUNCTION ai.backup_vector_tables IS 'Writes vector tables into files below autovector.backup_directory, durably; can empty them afterwards';
COMMENT ON FUNCTION ai.restore_vector_tables IS 'Loads a backup into its tables, verified first, all of it or nothing';
COMMENT ON FUNCTION ai.verify_backup IS 'Reads a whole backup and names every fault';
COMMENT ON FUNCTION ai.list_backups IS 'The backups that the caller may see, oldest first';
COMMENT ON FUNCTION ai.delete_backup IS 'Deletes a backup';
COMMENT ON FUNCTION ai._list_backups() IS 'Behind ai.list_backups';
COMMENT ON FUNCTION ai.set_backup_policy IS 'Has backups made at regular hours and old ones deleted; NULL ends it';
COMMENT ON TABLE ai._backup_policy IS 'The standing order for backups';
COMMENT ON VIEW ai.backup_policy IS 'The standing order for backups, and how it went last';
