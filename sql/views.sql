-- What people watch. pgai's columns come first, under pgai's names.

CREATE VIEW ai.vectorizer_status AS
SELECT v.id,
       v.name,
       format('%I.%I', v.source_schema, v.source_table) AS source_table,
       CASE WHEN v.store IS NOT NULL
            THEN format('%I.%I', v.config #>> '{destination,target_schema}', v.config #>> '{destination,target_table}')
       END AS target_table,
       CASE WHEN v.store IS NOT NULL AND v.config #>> '{destination,view_name}' IS NOT NULL
            THEN format('%I.%I', v.config #>> '{destination,view_schema}', v.config #>> '{destination,view_name}')
       END AS view,
       coalesce(v.config #>> '{destination,embedding_column}', 'embedding') AS embedding_column,
       n.pending AS pending_items,
       v.disabled,
       CASE WHEN c.state = 'paused' AND f.vectorizer_id IS NOT NULL THEN 'pausing'
            WHEN c.state <> 'running' THEN c.state
            WHEN b.spent AND f.vectorizer_id IS NOT NULL THEN 'pausing'
            WHEN b.spent THEN 'paused'
            WHEN NOT w.open AND (c.run_until > clock_timestamp() AND c.run_rows IS DISTINCT FROM 0) IS NOT TRUE THEN 'waiting for window'
            WHEN c.retry_at > clock_timestamp() THEN 'backing off'
            WHEN t.reason IS NOT NULL AND n.pending > 0 THEN 'throttled'
            WHEN NOT s.scanned THEN 'backfilling'
            WHEN n.pending > 0 THEN 'running'
            ELSE 'idle' END AS state,
       coalesce(c.reason,
                CASE WHEN c.state <> 'running' THEN NULL
                     WHEN b.spent THEN format('the budget of %s tokens is used up until %s', b.tokens, date_trunc('second', b.period_end))
                     WHEN NOT w.open AND (c.run_until > clock_timestamp() AND c.run_rows IS DISTINCT FROM 0) IS NOT TRUE
                     THEN format('the next window opens at %s', w.next_window)
                     WHEN c.retry_at > clock_timestamp() THEN c.last_error
                     WHEN n.pending > 0 THEN t.reason END) AS state_reason,
       n.total AS rows_total,
       n.embedded AS rows_embedded,
       n.pending AS rows_pending,
       n.failed AS rows_failed,
       clock_timestamp() - n.oldest_pending AS oldest_pending_age,
       CASE WHEN k.last_done_at > clock_timestamp() - interval '1 minute' THEN k.rows_per_second ELSE 0 END AS rows_per_second,
       CASE WHEN n.pending > 0 AND k.rows_per_second > 0 AND c.state = 'running' AND b.spent IS NOT TRUE
                 AND k.last_done_at > clock_timestamp() - interval '1 minute'
            THEN make_interval(secs => n.pending / k.rows_per_second) END AS eta,
       c.last_error,
       c.last_error_at,
       k.chunks_embedded,
       k.requests,
       k.tokens_used,
       k.calls_saved,
       CASE WHEN c.state = 'paused' THEN c.changed_by END AS paused_by,
       CASE WHEN c.state = 'paused' THEN c.changed_at END AS paused_at,
       c.priority,
       w.next_window,
       CASE WHEN c.run_until > clock_timestamp() AND c.run_rows IS DISTINCT FROM 0 THEN c.run_until END AS run_until,
       CASE WHEN c.run_until > clock_timestamp() THEN c.run_rows END AS run_rows,
       t.reason IS NOT NULL AS throttled,
       b.tokens AS budget_tokens,
       CASE WHEN b.period_end > clock_timestamp() THEN b.used WHEN b.tokens IS NOT NULL THEN 0 END AS budget_used,
       b.resets_at AS budget_resets_at,
       ai._index_state(v.id) AS index_state,
       CASE WHEN h.state <> 'running' AND r.state <> 'swapped' THEN h.state ELSE r.state END AS rebuild,
       CASE WHEN r.state <> 'swapped' THEN coalesce(CASE WHEN h.state <> 'running' THEN h.reason END, r.note) END AS rebuild_reason,
       o.name AS rebuild_name,
       round(r.overlap::numeric, 3) AS rebuild_overlap
  FROM ai.vectorizer v
  JOIN ai._vectorizer_control c ON c.vectorizer_id = v.id
  JOIN ai._vectorizer_cursor s ON s.vectorizer_id = v.id
  JOIN ai._vectorizer_counters k ON k.vectorizer_id = v.id
  LEFT JOIN (SELECT u.*, u.period_end > clock_timestamp() AND u.used >= u.tokens AS spent,
                    ai._period_end(u.period_end, u.per, clock_timestamp()) AS resets_at
               FROM ai._vectorizer_budget u) b
         ON b.vectorizer_id = coalesce((SELECT m.vectorizer_id FROM ai._rebuild m WHERE m.other = v.id), v.id)
  LEFT JOIN ai._rebuild r ON r.vectorizer_id = v.id
  LEFT JOIN ai._vectorizer_control h ON h.vectorizer_id = r.other
  LEFT JOIN ai.vectorizer o ON o.id = r.other
  -- Joined, not asked for row by row: the planner would think it dear enough to compile.
  LEFT JOIN (SELECT DISTINCT l.vectorizer_id FROM ai._lease l) f ON f.vectorizer_id = v.id
 CROSS JOIN LATERAL ai._window(v.config -> 'scheduling', clock_timestamp()) w
 CROSS JOIN (SELECT ai._throttle() AS reason) t
 CROSS JOIN LATERAL ai._vectorizer_counts(v.id) n;

CREATE VIEW ai.vectorizer_progress AS
SELECT name,
       state,
       CASE WHEN rows_total IS NULL THEN NULL
            ELSE '[' || rpad(repeat('#', (20 * share)::int4), 20, '.') || ']' END AS progress,
       round((100 * share)::numeric, 1) AS percent,
       rows_embedded + rows_failed AS done,
       rows_total AS total,
       round(rows_per_second::numeric, 1) AS rows_per_second,
       date_trunc('second', eta) AS eta
  FROM (SELECT s.*,
               CASE WHEN s.rows_total > 0 THEN least(1.0, (s.rows_embedded + s.rows_failed)::float8 / s.rows_total)
                    ELSE 1.0 END AS share
          FROM ai.vectorizer_status s) p;

-- For those who may read the source: errors name its keys.
CREATE VIEW ai.vectorizer_errors AS
SELECT e.id, e.message, e.details, e.recorded, v.name
  FROM ai._vectorizer_errors e
  JOIN ai.vectorizer v ON v.id = e.id
 WHERE has_table_privilege(v.source, 'SELECT');

-- The keys that the current role may have used for its tables.
CREATE VIEW ai.secret_permissions AS
SELECT g.secret AS name, g.role
  FROM ai._secret_grant g
  LEFT JOIN pg_catalog.pg_roles r ON r.rolname = g.role
 WHERE g.role = 'public' OR pg_catalog.pg_has_role(r.oid, 'USAGE');

-- Who may read a source may know how many of its rows were embedded when.
CREATE VIEW ai.vectorizer_activity AS
SELECT v.id, v.name, a.minute, a.rows, a.chunks, a.requests, a.tokens
  FROM ai._vectorizer_activity a
  JOIN ai.vectorizer v ON v.id = a.vectorizer_id
 WHERE a.minute > clock_timestamp() - interval '1 day'
   AND has_table_privilege(v.source, 'SELECT');
