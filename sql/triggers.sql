-- The trigger functions, and the comparison that the UPDATE trigger's condition uses. They are
-- harmless to whoever calls them: each checks that the table is the vectorizer's source.

CREATE FUNCTION ai._capture_row() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'autovector_capture_row';

CREATE FUNCTION ai._capture_truncate() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'autovector_capture_truncate';

CREATE FUNCTION ai._unchanged(old anyelement, new anyelement) RETURNS bool
    LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'autovector_unchanged';

-- A vectorizer without its source would only fail: it goes with it. The vectors stay in their
-- store. Runs as the extension's owner, because whoever drops a table of theirs has no rights on
-- the catalog; it does nothing but what follows from the drop.
CREATE FUNCTION ai._source_dropped() RETURNS event_trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    gone record;
    shown record;
BEGIN
    -- DROP EXTENSION takes the catalog along.
    IF to_regclass('ai.vectorizer') IS NULL THEN
        RETURN;
    END IF;
    FOR gone IN
        SELECT v.id, v.name, v.queue_schema, v.queue_table, v.queue_failed_table, r.state AS rebuild,
               (SELECT c.oid::regclass FROM pg_class c WHERE c.oid OPERATOR(pg_catalog.=) v.store::oid) AS store
          FROM ai.vectorizer v
          LEFT JOIN ai._rebuild r ON r.other OPERATOR(pg_catalog.=) v.id
         WHERE v.source::oid OPERATOR(pg_catalog.=) ANY (
                   SELECT d.objid FROM pg_event_trigger_dropped_objects() d
                    WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::regclass::oid
                      AND d.objsubid OPERATOR(pg_catalog.=) 0)
         ORDER BY v.id
    LOOP
        DELETE FROM ai.vectorizer WHERE id OPERATOR(pg_catalog.=) gone.id;
        -- The views of its queue; see src/store/queue_views.rs.
        FOR shown IN
            SELECT DISTINCT c.oid::regclass AS view
              FROM pg_depend d
              JOIN pg_rewrite w ON w.oid OPERATOR(pg_catalog.=) d.objid
              JOIN pg_class c ON c.oid OPERATOR(pg_catalog.=) w.ev_class AND c.relkind OPERATOR(pg_catalog.=) 'v'
              JOIN pg_description t ON t.objoid OPERATOR(pg_catalog.=) c.oid AND t.objsubid OPERATOR(pg_catalog.=) 0
               AND t.classoid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::regclass::oid
             WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_rewrite'::regclass::oid
               AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::regclass::oid
               AND d.refobjid OPERATOR(pg_catalog.=) ANY (ARRAY[
                       to_regclass(format('%I.%I', gone.queue_schema, gone.queue_table))::oid,
                       to_regclass(format('ai.%I', gone.queue_failed_table))::oid])
               AND t.description OPERATOR(pg_catalog.=) 'A queue of autovector; goes with its vectorizer'
        LOOP
            EXECUTE format('DROP VIEW %s', shown.view);
        END LOOP;
        EXECUTE format('DROP TABLE IF EXISTS %I.%I, ai.%I',
                       gone.queue_schema, gone.queue_table, gone.queue_failed_table);
        -- A store that was to come goes too; of a hidden vectorizer nobody knows.
        IF gone.rebuild IN ('filling', 'indexing', 'ready') AND gone.store IS NOT NULL THEN
            EXECUTE format('DROP TABLE %s', gone.store);
        END IF;
        IF gone.rebuild IS NULL THEN
            RAISE NOTICE 'vectorizer "%" was dropped with its source', gone.name;
        END IF;
    END LOOP;
END
$$;

CREATE EVENT TRIGGER autovector_source_dropped ON sql_drop
    EXECUTE FUNCTION ai._source_dropped();

CREATE FUNCTION ai._embedding_status_pending() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'autovector_embedding_status';
