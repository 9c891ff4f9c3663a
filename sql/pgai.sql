-- What pgai's users call by name, beside what ours call too; and who else may use a vectorizer.

CREATE FUNCTION ai.grant_to(VARIADIC grantees name[]) RETURNS name[]
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(array_agg(DISTINCT role), '{}')
      FROM (SELECT unnest(grantees)
             UNION ALL
            SELECT btrim(listed)::name FROM string_to_table(current_setting('ai.grant_to_default', true), ',') AS listed
             WHERE btrim(listed) <> '') AS named(role)
     WHERE role IS NOT NULL
$$;

CREATE FUNCTION ai.grant_to() RETURNS name[]
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT ai.grant_to(VARIADIC '{}')
$$;

-- The workers start by themselves when a row changes: no job is made.
CREATE FUNCTION ai.scheduling_timescaledb(
    schedule_interval interval DEFAULT '5m',
    initial_start     timestamptz DEFAULT NULL,
    fixed_schedule    bool DEFAULT NULL,
    timezone          text DEFAULT NULL
) RETURNS jsonb
    LANGUAGE sql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    SET intervalstyle = 'postgres'
AS $$
    SELECT jsonb_strip_nulls(jsonb_build_object(
        'implementation', 'timescaledb', 'config_type', 'scheduling', 'schedule_interval', schedule_interval,
        'initial_start', initial_start, 'fixed_schedule', fixed_schedule, 'timezone', timezone))
$$;

-- A configuration that leaves the choice open, after the settings that decide it.
CREATE FUNCTION ai._chosen_indexing(indexing jsonb) RETURNS jsonb
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN indexing IS NOT NULL AND indexing ->> 'implementation' IS DISTINCT FROM 'default' THEN indexing
                ELSE CASE current_setting('ai.indexing_default', true)
                          WHEN 'indexing_hnsw' THEN ai.indexing_hnsw()
                          WHEN 'indexing_diskann' THEN ai.indexing_diskann()
                          ELSE indexing END END
$$;

CREATE FUNCTION ai._chosen_scheduling(scheduling jsonb) RETURNS jsonb
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN scheduling IS NOT NULL AND scheduling ->> 'implementation' IS DISTINCT FROM 'default' THEN scheduling
                WHEN current_setting('ai.scheduling_default', true) = 'scheduling_timescaledb'
                THEN ai.scheduling_timescaledb()
                ELSE scheduling END
$$;

CREATE FUNCTION ai.vectorizer_embed(embedding_config jsonb, input_text text, input_type text DEFAULT NULL) RETURNS vector
    LANGUAGE sql STABLE PARALLEL RESTRICTED
    RETURN ai._embed_by(embedding_config, input_text, input_type)::vector;

CREATE FUNCTION ai.vectorizer_embed(vectorizer_id int4, input_text text, input_type text DEFAULT NULL) RETURNS vector
    LANGUAGE sql STABLE PARALLEL RESTRICTED
    RETURN ai._embed(vectorizer_id, input_text, input_type)::vector;

CREATE FUNCTION ai.vectorizer_embed(name text, input_text text, input_type text DEFAULT NULL) RETURNS vector
    LANGUAGE sql STABLE PARALLEL RESTRICTED
    RETURN ai._embed(name, input_text, input_type)::vector;

-- The catalog is PUBLIC's anyway; what is handed on here is the caller's own vectorizers.
CREATE FUNCTION ai.grant_vectorizer_usage(to_user name, admin bool DEFAULT false) RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    managed record;
BEGIN
    IF to_user <> 'public' AND NOT EXISTS (SELECT FROM pg_roles WHERE rolname = to_user) THEN
        RAISE EXCEPTION 'role "%" does not exist', to_user
            USING ERRCODE = 'undefined_object', HINT = 'Name a role, or ''public'' for every role.';
    END IF;
    IF (SELECT pg_has_role(nspowner, 'USAGE') FROM pg_namespace WHERE nspname = 'ai') THEN
        EXECUTE format('GRANT USAGE ON SCHEMA ai TO %s', CASE to_user WHEN 'public' THEN 'PUBLIC' ELSE quote_ident(to_user) END);
    END IF;
    FOR managed IN
        SELECT v.id FROM ai.vectorizer v JOIN pg_class c ON c.oid = v.source
         WHERE pg_has_role(c.relowner, 'USAGE') AND NOT EXISTS (SELECT FROM ai._rebuild r WHERE r.other = v.id)
         ORDER BY v.id
    LOOP
        IF admin THEN
            PERFORM ai.grant_vectorizer(managed.id, to_user::text, 'admin');
        END IF;
    END LOOP;
END
$$;

CREATE VIEW ai.vectorizer_grants AS
SELECT v.id, v.name, g.role, g.level
  FROM ai._vectorizer_grant g
  JOIN ai.vectorizer v ON v.id = g.vectorizer_id
  JOIN pg_catalog.pg_class s ON s.oid = v.source
  JOIN pg_catalog.pg_class c ON c.oid = coalesce(v.store, v.source)
  LEFT JOIN pg_catalog.pg_roles r ON r.rolname = g.role
 WHERE EXISTS (SELECT FROM pg_catalog.aclexplode(c.relacl) a
                WHERE a.privilege_type = 'SELECT' AND a.grantee = CASE WHEN g.role = 'public' THEN 0 ELSE r.oid END)
   AND (g.role = 'public' OR pg_catalog.pg_has_role(r.oid, 'USAGE') OR pg_catalog.pg_has_role(s.relowner, 'USAGE'));

GRANT SELECT ON ai.vectorizer_grants, ai.vectorizer_errors TO PUBLIC;

COMMENT ON TABLE ai._vectorizer_grant IS 'Behind ai.vectorizer_grants';
COMMENT ON VIEW ai.vectorizer_grants IS 'Who may use, operate or administer which vectorizer besides its owner';
COMMENT ON FUNCTION ai.grant_to(name[]) IS 'Roles for ai.create_vectorizer, and those of ai.grant_to_default';
COMMENT ON FUNCTION ai.grant_to() IS 'The roles of ai.grant_to_default';
COMMENT ON FUNCTION ai.scheduling_timescaledb(interval, timestamptz, bool, text) IS 'pgai''s schedule: works whenever there is work, from initial_start on';
COMMENT ON FUNCTION ai._chosen_indexing(jsonb) IS 'Behind ai.create_vectorizer';
COMMENT ON FUNCTION ai._chosen_scheduling(jsonb) IS 'Behind ai.create_vectorizer';
COMMENT ON FUNCTION ai.vectorizer_embed(jsonb, text, text) IS 'The vector of a text by an embedding configuration';
COMMENT ON FUNCTION ai.vectorizer_embed(int4, text, text) IS 'The vector of a text by the vectorizer''s own provider';
COMMENT ON FUNCTION ai.vectorizer_embed(text, text, text) IS 'The vector of a text by the vectorizer''s own provider';
COMMENT ON FUNCTION ai._embed_by(jsonb, text, text) IS 'Behind ai.vectorizer_embed';
COMMENT ON FUNCTION ai.grant_vectorizer_usage(name, bool) IS 'Lets a role use this schema; with admin administer the caller''s vectorizers';
COMMENT ON FUNCTION ai.disable_vectorizer_schedule(int4) IS 'Pauses without waiting, under pgai''s name';
COMMENT ON FUNCTION ai.disable_vectorizer_schedule(text) IS 'Pauses without waiting, under pgai''s name';
COMMENT ON FUNCTION ai.enable_vectorizer_schedule(int4) IS 'Resumes, under pgai''s name';
COMMENT ON FUNCTION ai.enable_vectorizer_schedule(text) IS 'Resumes, under pgai''s name';
COMMENT ON FUNCTION ai.vectorizer_queue_pending(int4, bool) IS 'How many rows are pending; the largest bigint for more than 10,000, unless counted exactly';
COMMENT ON FUNCTION ai.vectorizer_queue_pending(text, bool) IS 'How many rows are pending; the largest bigint for more than 10,000, unless counted exactly';
COMMENT ON FUNCTION ai.execute_vectorizer(int4) IS 'Returns when what is pending is done';
COMMENT ON FUNCTION ai.execute_vectorizer(text) IS 'Returns when what is pending is done';
COMMENT ON FUNCTION ai.grant_vectorizer(int4, text, text) IS 'Lets a role use, operate or administer a vectorizer';
COMMENT ON FUNCTION ai.grant_vectorizer(text, text, text) IS 'Lets a role use, operate or administer a vectorizer';
COMMENT ON FUNCTION ai.revoke_vectorizer(int4, text) IS 'Takes back what ai.grant_vectorizer gave; false when that was nothing';
COMMENT ON FUNCTION ai.revoke_vectorizer(text, text) IS 'Takes back what ai.grant_vectorizer gave; false when that was nothing';
COMMENT ON FUNCTION ai.import_pgai(text, bool) IS 'Takes the vectorizers of a pgai catalog over, with their stores; says what it does, or would do';
