-- pgai's signature, argument for argument; written by hand because its defaults are calls.
-- The defaults are given by NULL inside: "not said" and "said to be the default" are one.

CREATE FUNCTION ai.create_vectorizer(
    source           regclass,
    name             text DEFAULT NULL,
    destination      jsonb DEFAULT NULL,
    loading          jsonb DEFAULT NULL,
    parsing          jsonb DEFAULT NULL,
    embedding        jsonb DEFAULT NULL,
    chunking         jsonb DEFAULT NULL,
    indexing         jsonb DEFAULT NULL,
    formatting       jsonb DEFAULT NULL,
    scheduling       jsonb DEFAULT NULL,
    processing       jsonb DEFAULT NULL,
    queue_schema     name DEFAULT NULL,
    queue_table      name DEFAULT NULL,
    grant_to         name[] DEFAULT NULL,
    enqueue_existing bool DEFAULT true,
    if_not_exists    bool DEFAULT false,
    -- ours
    priority         int4 DEFAULT 100,
    status_column    name DEFAULT NULL,
    capture_replicated bool DEFAULT false,
    adopt_existing   bool DEFAULT false
) RETURNS int4
    LANGUAGE sql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN capture_replicated THEN ai._capture_replicated(k.id) ELSE k.id END
      FROM ai._create_vectorizer(
        source, name,
        jsonb_strip_nulls(jsonb_build_object(
            'destination', destination, 'loading', loading, 'parsing', parsing, 'embedding', embedding,
            'chunking', chunking, 'indexing', ai._chosen_indexing(indexing), 'formatting', formatting,
            'scheduling', ai._chosen_scheduling(scheduling), 'processing', processing)),
        queue_schema::text, queue_table::text, coalesce(grant_to, ai.grant_to())::text[], enqueue_existing, if_not_exists,
        priority, adopt_existing) AS c(id),
    LATERAL (SELECT CASE WHEN status_column IS NULL THEN c.id
                         ELSE ai._keep_embedding_status(c.id, status_column::text) END) AS k(id)
$$;
