-- Waiting for a rebuild. Procedures, because whoever waits must have no snapshot: the indexes of
-- the new store and the swap wait for old ones.

CREATE PROCEDURE ai.wait_for_rebuild(vectorizer int4, timeout interval DEFAULT '1 hour')
    LANGUAGE plpgsql
AS $$
DECLARE
    deadline timestamptz := pg_catalog.clock_timestamp() OPERATOR(pg_catalog.+) timeout;
BEGIN
    LOOP
        IF ai._rebuild_is_over(vectorizer) THEN
            RETURN;
        END IF;
        IF pg_catalog.clock_timestamp() OPERATOR(pg_catalog.>=) deadline THEN
            RAISE EXCEPTION 'the rebuild of vectorizer % is not through after %', vectorizer, timeout
                USING ERRCODE = 'query_canceled',
                      HINT = 'It goes on; see rebuild and rebuild_reason in ai.vectorizer_status.';
        END IF;
        COMMIT;
        PERFORM pg_catalog.pg_sleep(0.05);
        COMMIT;
    END LOOP;
END
$$;

CREATE PROCEDURE ai.wait_for_rebuild(vectorizer text, timeout interval DEFAULT '1 hour')
    LANGUAGE plpgsql
AS $$
DECLARE
    deadline timestamptz := pg_catalog.clock_timestamp() OPERATOR(pg_catalog.+) timeout;
BEGIN
    LOOP
        IF ai._rebuild_is_over(vectorizer) THEN
            RETURN;
        END IF;
        IF pg_catalog.clock_timestamp() OPERATOR(pg_catalog.>=) deadline THEN
            RAISE EXCEPTION 'the rebuild of vectorizer % is not through after %', vectorizer, timeout
                USING ERRCODE = 'query_canceled',
                      HINT = 'It goes on; see rebuild and rebuild_reason in ai.vectorizer_status.';
        END IF;
        COMMIT;
        PERFORM pg_catalog.pg_sleep(0.05);
        COMMIT;
    END LOOP;
END
$$;
