-- What people watch and call: views, functions over any row type, overloads by name.

CREATE VIEW ai.checkpoints AS
SELECT c.id,
       c.name,
       c.target,
       CASE WHEN NOT h.detached THEN h.relation END AS relation,
       CASE WHEN c.expires_at <= clock_timestamp() THEN 'expired' ELSE 'live' END AS state,
       c.created_at,
       c.expires_at,
       coalesce(c.rows, v.estimate) AS rows,
       k.rows AS kept_rows,
       k.bytes AS kept_bytes,
       c.source,
       c.set_id,
       c.kind,
       c.created_by,
       c.verified_at
  FROM ai._checkpoint c
  JOIN ai._checkpoint_pin p ON p.checkpoint = c.id AND p.role = 'table'
  JOIN ai._checkpoint_history h ON h.id = p.history
  JOIN ai._checkpoint_version v ON v.history = p.history AND v.number = p.number
  LEFT JOIN LATERAL ai._checkpoint_kept(p.history, p.number) k ON true
 WHERE c.deleted_at IS NULL;

-- Bodies are parsed here and now, so that nobody's search_path counts in them; what a target or a
-- new relation is called is looked up with the caller's.

CREATE FUNCTION ai.list_checkpoints(target text DEFAULT NULL, name text DEFAULT NULL) RETURNS SETOF ai.checkpoints
    LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT c.* FROM ai.checkpoints c
     WHERE ($1 IS NULL OR c.target = $1
            OR c.relation = ai._checkpoint_relation($1, pg_catalog.to_regclass($1)::oid)::regclass)
       AND ($2 IS NULL OR coalesce(c.name, '') = $2)
     ORDER BY c.created_at, c.id;
END;

CREATE FUNCTION ai.create_checkpoint(
    target   text,
    name     text DEFAULT NULL,
    lifetime interval DEFAULT NULL,
    source   text DEFAULT NULL
) RETURNS uuid
    LANGUAGE sql VOLATILE
    RETURN ai._create_checkpoint(target, pg_catalog.to_regclass(target)::oid, name, lifetime, source);

CREATE FUNCTION ai.create_checkpoint(
    vectorizer int4,
    name       text DEFAULT NULL,
    lifetime   interval DEFAULT NULL,
    source     text DEFAULT NULL
) RETURNS uuid
    LANGUAGE sql VOLATILE
    RETURN ai._create_checkpoint(ai._checkpoint_target(vectorizer), NULL, name, lifetime, source);

CREATE FUNCTION ai.list_checkpoints(vectorizer int4, name text DEFAULT NULL) RETURNS SETOF ai.checkpoints
    LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT c.* FROM ai.list_checkpoints(ai._checkpoint_target($1), $2) c;
END;

CREATE FUNCTION ai.read_checkpoint(checkpoint uuid, row_type anyelement) RETURNS SETOF anyelement
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY EXECUTE ai._checkpoint_query(checkpoint, pg_catalog.pg_typeof(row_type)::pg_catalog.oid);
END
$$;

CREATE FUNCTION ai.read_checkpoint(checkpoint text, row_type anyelement) RETURNS SETOF anyelement
    LANGUAGE sql STABLE PARALLEL UNSAFE
AS $$ SELECT * FROM ai.read_checkpoint(ai._checkpoint_id(checkpoint, true), row_type) $$;

CREATE FUNCTION ai.refresh_checkpoint(checkpoint text, lifetime interval) RETURNS timestamptz
    LANGUAGE sql VOLATILE
    RETURN ai.refresh_checkpoint(ai._checkpoint_id(checkpoint, true), lifetime);

CREATE FUNCTION ai.delete_checkpoint(checkpoint text) RETURNS bool
    LANGUAGE sql VOLATILE
    RETURN coalesce(ai.delete_checkpoint(ai._checkpoint_id(checkpoint, false)), false);

CREATE FUNCTION ai.checkout_checkpoint(checkpoint uuid, view_name text) RETURNS text
    LANGUAGE sql VOLATILE
    RETURN ai._checkout_checkpoint(checkpoint, view_name, pg_catalog.current_schema()::text);

CREATE FUNCTION ai.checkout_checkpoint(checkpoint text, view_name text) RETURNS text
    LANGUAGE sql VOLATILE
    RETURN ai.checkout_checkpoint(ai._checkpoint_id(checkpoint, true), view_name);

CREATE FUNCTION ai.create_checkpoint_set(
    targets  text[],
    name     text DEFAULT NULL,
    lifetime interval DEFAULT NULL
) RETURNS TABLE (target text, checkpoint uuid)
    LANGUAGE sql VOLATILE
BEGIN ATOMIC
    SELECT m.target, m.checkpoint
      FROM ai._create_checkpoint_set($1, ARRAY(SELECT pg_catalog.to_regclass(t.name)::oid
                                                 FROM unnest($1) WITH ORDINALITY AS t(name, place) ORDER BY t.place),
                                     $2, $3) m;
END;

CREATE FUNCTION ai.restore_checkpoint(checkpoint text, resurrect bool DEFAULT false) RETURNS jsonb
    LANGUAGE sql VOLATILE
    RETURN ai.restore_checkpoint(ai._checkpoint_id(checkpoint, true), resurrect);

CREATE FUNCTION ai.clone_checkpoint(checkpoint uuid, new_table text) RETURNS text
    LANGUAGE sql VOLATILE
    RETURN ai._clone_checkpoint(checkpoint, new_table, pg_catalog.current_schema()::text);

CREATE FUNCTION ai.clone_checkpoint(checkpoint text, new_table text) RETURNS text
    LANGUAGE sql VOLATILE
    RETURN ai.clone_checkpoint(ai._checkpoint_id(checkpoint, true), new_table);

CREATE FUNCTION ai.verify_checkpoint(checkpoint text) RETURNS jsonb
    LANGUAGE sql VOLATILE
    RETURN ai.verify_checkpoint(ai._checkpoint_id(checkpoint, true));

CREATE FUNCTION ai.diff_checkpoints(a uuid, b uuid DEFAULT NULL) RETURNS TABLE (key jsonb, change text)
    LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT d.key, d.change FROM ai._diff_checkpoints($1, $2) d;
END;

CREATE FUNCTION ai.diff_checkpoints(a text, b text DEFAULT 'now') RETURNS TABLE (key jsonb, change text)
    LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT d.key, d.change
      FROM ai._diff_checkpoints(ai._checkpoint_id($1, true),
                                CASE WHEN $2 <> 'now' THEN ai._checkpoint_id($2, true) END) d;
END;

CREATE FUNCTION ai.detach_checkpoints(target text) RETURNS int8
    LANGUAGE sql VOLATILE
    RETURN ai._detach_checkpoints(target, pg_catalog.to_regclass(target)::oid);

CREATE FUNCTION ai.detach_checkpoints(vectorizer int4) RETURNS int8
    LANGUAGE sql VOLATILE
    RETURN ai._detach_checkpoints(ai._checkpoint_target(vectorizer), NULL);

CREATE FUNCTION ai.checkpoint_pending(checkpoint text) RETURNS TABLE (key jsonb)
    LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT p.key FROM ai.checkpoint_pending(ai._checkpoint_id($1, true)) p;
END;

CREATE FUNCTION ai.set_checkpoint_policy(
    target        text,
    every         interval DEFAULT NULL,
    every_changes int8 DEFAULT NULL,
    keep_last     int4 DEFAULT NULL,
    keep_for      interval DEFAULT NULL
) RETURNS void
    LANGUAGE sql VOLATILE
BEGIN ATOMIC
    SELECT ai._set_checkpoint_policy($1, pg_catalog.to_regclass($1)::oid, $2, $3, $4, $5);
END;

CREATE FUNCTION ai.set_checkpoint_policy(
    vectorizer    int4,
    every         interval DEFAULT NULL,
    every_changes int8 DEFAULT NULL,
    keep_last     int4 DEFAULT NULL,
    keep_for      interval DEFAULT NULL
) RETURNS void
    LANGUAGE sql VOLATILE
BEGIN ATOMIC
    SELECT ai._set_checkpoint_policy(ai._checkpoint_target($1), NULL, $2, $3, $4, $5);
END;

CREATE VIEW ai.checkpoint_policies AS
SELECT p.target, p.relation, p.every, p.every_changes, p.keep_last, p.keep_for, p.set_by,
       p.last_at, p.retry_at, p.last_error
  FROM ai._checkpoint_policy p;

GRANT SELECT ON ai.checkpoints, ai.checkpoint_policies TO PUBLIC;

COMMENT ON VIEW ai.checkpoints IS 'Named versions of tables, with what is kept for them';
COMMENT ON VIEW ai.checkpoint_policies IS 'When tables get checkpoints by themselves';
COMMENT ON FUNCTION ai.create_checkpoint(text, text, interval, text) IS 'Pins the present version of a vectorizer or table; returns the id';
COMMENT ON FUNCTION ai.create_checkpoint(int4, text, interval, text) IS 'Pins the present version of a vectorizer; returns the id';
COMMENT ON FUNCTION ai.list_checkpoints(int4, text) IS 'The checkpoints of a vectorizer';
COMMENT ON FUNCTION ai.detach_checkpoints(int4) IS 'Gives checkpoints copies of live rows, so that the tables of a vectorizer may be changed or dropped';
COMMENT ON FUNCTION ai.set_checkpoint_policy(int4, interval, int8, int4, interval) IS 'When a vectorizer gets checkpoints by itself, and how many are kept';
COMMENT ON FUNCTION ai._checkpoint_attached(int4) IS 'Whether versions are read from live rows too';
COMMENT ON FUNCTION ai._checkpoint_target(int4) IS 'What the checkpoints of a vectorizer are of';
COMMENT ON FUNCTION ai._checkpoint_rewritten() IS 'Event trigger: refuses rewrites that versions would not survive';
COMMENT ON FUNCTION ai.create_checkpoint_set(text[], text, interval) IS 'Pins several vectorizers or tables at one moment';
COMMENT ON FUNCTION ai.refresh_checkpoint(uuid, interval) IS 'Sets when a checkpoint expires, counted from now; NULL for never';
COMMENT ON FUNCTION ai.refresh_checkpoint(text, interval) IS 'Sets when a checkpoint expires, counted from now; NULL for never';
COMMENT ON FUNCTION ai.list_checkpoints(text, text) IS 'The checkpoints of a target, or of that name';
COMMENT ON FUNCTION ai.delete_checkpoint(uuid) IS 'Ends a checkpoint; false when there was none';
COMMENT ON FUNCTION ai.delete_checkpoint(text) IS 'Ends a checkpoint; false when there was none';
COMMENT ON FUNCTION ai.read_checkpoint(uuid, anyelement) IS 'The rows of a version, in the columns of a row type';
COMMENT ON FUNCTION ai.read_checkpoint(text, anyelement) IS 'The rows of a version, in the columns of a row type';
COMMENT ON FUNCTION ai.checkout_checkpoint(uuid, text) IS 'Makes a view of a version';
COMMENT ON FUNCTION ai.checkout_checkpoint(text, text) IS 'Makes a view of a version';
COMMENT ON FUNCTION ai.diff_checkpoints(uuid, uuid) IS 'Keys added, changed and removed from one version to another, or to now';
COMMENT ON FUNCTION ai.diff_checkpoints(text, text) IS 'Keys added, changed and removed from one version to another, or to now';
COMMENT ON FUNCTION ai.restore_checkpoint(uuid, bool) IS 'Makes a version the present again, after a checkpoint of what was there';
COMMENT ON FUNCTION ai.restore_checkpoint(text, bool) IS 'Makes a version the present again, after a checkpoint of what was there';
COMMENT ON FUNCTION ai.clone_checkpoint(uuid, text) IS 'Makes an independent table of a version';
COMMENT ON FUNCTION ai.clone_checkpoint(text, text) IS 'Makes an independent table of a version';
COMMENT ON FUNCTION ai.verify_checkpoint(uuid) IS 'Reads a whole version and compares its checksum with that of the first time';
COMMENT ON FUNCTION ai.verify_checkpoint(text) IS 'Reads a whole version and compares its checksum with that of the first time';
COMMENT ON FUNCTION ai.checkpoint_pending(uuid) IS 'Keys that were pending at the time of a vectorizer''s checkpoint';
COMMENT ON FUNCTION ai.checkpoint_pending(text) IS 'Keys that were pending at the time of a vectorizer''s checkpoint';
COMMENT ON FUNCTION ai.detach_checkpoints(text) IS 'Gives checkpoints copies of live rows, so that the table may be changed or dropped';
COMMENT ON FUNCTION ai.set_checkpoint_policy(text, interval, int8, int4, interval) IS 'When a target gets checkpoints by itself, and how many are kept';
COMMENT ON FUNCTION ai.gc_checkpoints(bool, interval) IS 'Frees what deleted and expired checkpoints alone needed';
COMMENT ON FUNCTION ai._create_checkpoint(text, oid, text, interval, text) IS 'Behind ai.create_checkpoint';
COMMENT ON FUNCTION ai._create_checkpoint_set(text[], oid[], text, interval) IS 'Behind ai.create_checkpoint_set';
COMMENT ON FUNCTION ai._checkout_checkpoint(uuid, text, text) IS 'Behind ai.checkout_checkpoint';
COMMENT ON FUNCTION ai._clone_checkpoint(uuid, text, text) IS 'Behind ai.clone_checkpoint';
COMMENT ON FUNCTION ai._diff_checkpoints(uuid, uuid) IS 'Behind ai.diff_checkpoints';
COMMENT ON FUNCTION ai._detach_checkpoints(text, oid) IS 'Behind ai.detach_checkpoints';
COMMENT ON FUNCTION ai._set_checkpoint_policy(text, oid, interval, int8, int4, interval) IS 'Behind ai.set_checkpoint_policy';
COMMENT ON FUNCTION ai._checkpoint_id(text, bool) IS 'The checkpoint of a name or an id';
COMMENT ON FUNCTION ai._checkpoint_query(uuid, oid) IS 'Behind ai.read_checkpoint';
COMMENT ON FUNCTION ai._checkpoint_readable(uuid) IS 'Guards views of versions';
COMMENT ON FUNCTION ai._checkpoint_relation(text, oid) IS 'The table of a target';
COMMENT ON FUNCTION ai._checkpoint_kept(int4, int8) IS 'Behind ai.checkpoints';
COMMENT ON FUNCTION ai._checkpoint_lock() IS 'Trigger: orders writers and checkpoints';
COMMENT ON FUNCTION ai._checkpoint_live(int4, int4) IS 'Condition of a trigger: whether a checkpoint may need old rows';
COMMENT ON FUNCTION ai._checkpoint_row() IS 'Trigger: keeps the old row of a version';
COMMENT ON FUNCTION ai._checkpoint_truncate() IS 'Trigger: keeps the rows of a version before they go';
COMMENT ON FUNCTION ai._checkpoint_altered() IS 'Event trigger: follows or refuses changes of tables with checkpoints';
COMMENT ON FUNCTION ai._checkpoint_dropped() IS 'Event trigger: refuses to drop what checkpoints read';
COMMENT ON TABLE ai._checkpoint_history IS 'Tables with a history, and how its columns stand for theirs';
COMMENT ON TABLE ai._checkpoint_version IS 'Versions that checkpoints hold';
COMMENT ON TABLE ai._checkpoint_horizon IS 'From which transaction on row versions are younger than a version';
COMMENT ON TABLE ai._checkpoint IS 'Checkpoints, deleted ones until they are collected';
COMMENT ON TABLE ai._checkpoint_pin IS 'Which versions a checkpoint holds';
COMMENT ON TABLE ai._checkpoint_policy IS 'Policies';
