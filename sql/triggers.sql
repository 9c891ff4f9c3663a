-- The trigger functions, and the comparison that the UPDATE trigger's condition uses. They are
-- harmless to whoever calls them: each checks that the table is the vectorizer's source.

CREATE FUNCTION ai._capture_row() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'autovector_capture_row';

CREATE FUNCTION ai._capture_truncate() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'autovector_capture_truncate';

CREATE FUNCTION ai._unchanged(old anyelement, new anyelement) RETURNS bool
    LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'autovector_unchanged';

CREATE FUNCTION ai._embedding_status_pending() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'autovector_embedding_status';
