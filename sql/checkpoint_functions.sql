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

CREATE FUNCTION ai.read_checkpoint(checkpoint uuid, row_type anyelement) RETURNS SETOF anyelement
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
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

CREATE VIEW ai.checkpoint_policies AS
SELECT p.target, p.relation, p.every, p.every_changes, p.keep_last, p.keep_for, p.set_by,
       p.last_at, p.retry_at, p.last_error
  FROM ai._checkpoint_policy p;

GRANT SELECT ON ai.checkpoints, ai.checkpoint_policies TO PUBLIC;
