-- Figures for a monitoring system: one row a figure, names and labels in Prometheus' style, so
-- that an SQL exporter passes them on as they are. Counters end in `_total`. What the caller may
-- not see (counts of a source that he may not read) is left out.

CREATE VIEW ai.metrics AS
WITH s AS MATERIALIZED (SELECT * FROM ai.vectorizer_status)
SELECT m.name, jsonb_build_object('vectorizer', s.name) || m.labels AS labels, m.value
  FROM s
 CROSS JOIN LATERAL (VALUES
        ('autovector_rows', '{"state": "embedded"}'::jsonb, s.rows_embedded::float8),
        ('autovector_rows', '{"state": "pending"}', s.rows_pending::float8),
        ('autovector_rows', '{"state": "failed"}', s.rows_failed::float8),
        ('autovector_oldest_pending_seconds', '{}',
         CASE WHEN s.rows_pending = 0 THEN 0 ELSE extract(epoch FROM s.oldest_pending_age)::float8 END),
        ('autovector_rows_per_second', '{}', s.rows_per_second),
        ('autovector_chunks_embedded_total', '{}', s.chunks_embedded::float8),
        ('autovector_requests_total', '{}', s.requests::float8),
        ('autovector_tokens_total', '{}', s.tokens_used::float8),
        ('autovector_calls_saved_total', '{}', s.calls_saved::float8),
        ('autovector_state', jsonb_build_object('state', s.state), 1)
       ) AS m(name, labels, value)
 WHERE m.value IS NOT NULL
UNION ALL
SELECT 'autovector_batches_in_flight', jsonb_build_object('vectorizer', v.name), count(l.id)::float8
  FROM ai.vectorizer v LEFT JOIN ai._lease l ON l.vectorizer_id = v.id
 GROUP BY v.name
UNION ALL
SELECT 'autovector_errors', jsonb_build_object('vectorizer', v.name), c.consecutive_errors::float8
  FROM ai.vectorizer v JOIN ai._vectorizer_control c ON c.vectorizer_id = v.id
UNION ALL
SELECT 'autovector_processes', jsonb_build_object('type', p.kind),
       (SELECT count(*) FROM pg_catalog.pg_stat_activity a WHERE a.backend_type = 'autovector ' || p.kind)::float8
  FROM (VALUES ('launcher'), ('scheduler'), ('worker'), ('indexer'), ('housekeeper'), ('status keeper'), ('backup')) AS p(kind);
