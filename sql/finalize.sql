-- Functions that return pgvector's type, grants and comments. PUBLIC may execute what is
-- harmless; each function checks for itself who may do what to which vectorizer.

CREATE FUNCTION ai.embed(vectorizer int4, input text, input_type text DEFAULT NULL) RETURNS vector
    LANGUAGE sql STABLE PARALLEL RESTRICTED
    RETURN ai._embed(vectorizer, input, input_type)::vector;

CREATE FUNCTION ai.embed(vectorizer text, input text, input_type text DEFAULT NULL) RETURNS vector
    LANGUAGE sql STABLE PARALLEL RESTRICTED
    RETURN ai._embed(vectorizer, input, input_type)::vector;

CREATE FUNCTION ai.estimate(vectorizer int4)
    RETURNS TABLE (rows int8, chunks int8, tokens int8, requests int8, price_usd numeric, duration interval,
                   sampled_rows int8, note text)
    LANGUAGE sql STABLE PARALLEL RESTRICTED ROWS 1
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT e.rows, e.chunks, e.tokens, e.requests, round(e.price::numeric, 4), make_interval(secs => round(e.seconds::numeric)::float8),
           e.sampled_rows, e.note
      FROM ai._estimate(vectorizer) e
$$;

CREATE FUNCTION ai.estimate(vectorizer text)
    RETURNS TABLE (rows int8, chunks int8, tokens int8, requests int8, price_usd numeric, duration interval,
                   sampled_rows int8, note text)
    LANGUAGE sql STABLE PARALLEL RESTRICTED ROWS 1
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT * FROM ai.estimate(ai._vectorizer_id(vectorizer))
$$;

-- For who may delete from the cache: superusers, and the owner of the extension.
CREATE FUNCTION ai.clear_embedding_cache() RETURNS int8
    LANGUAGE sql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
    WITH gone AS (DELETE FROM ai._embedding_cache RETURNING 1),
         size AS (UPDATE ai._embedding_cache_size SET rows = 0)
    SELECT count(*) FROM gone
$$;
REVOKE EXECUTE ON FUNCTION ai.clear_embedding_cache() FROM PUBLIC;

COMMENT ON FUNCTION ai.estimate(int4) IS 'What is pending: rows, chunks, tokens, requests, price and time, from a sample';
COMMENT ON FUNCTION ai.estimate(text) IS 'What is pending: rows, chunks, tokens, requests, price and time, from a sample';
COMMENT ON FUNCTION ai._estimate(int4) IS 'Behind ai.estimate';
COMMENT ON FUNCTION ai._vectorizer_id(text) IS 'The id of a vectorizer, by its name';
COMMENT ON FUNCTION ai.clear_embedding_cache() IS 'Empties the embedding cache of this database; returns how many vectors went';
COMMENT ON TABLE ai._embedding_cache IS 'Vectors that vectorizers of one owner share, by hash';
COMMENT ON TABLE ai._embedding_cache_size IS 'About how many vectors the embedding cache has';

-- One row each: the planner must not think of a thousand.
ALTER FUNCTION ai._vectorizer_counts(int4) ROWS 1;

GRANT USAGE ON SCHEMA ai TO PUBLIC;
GRANT USAGE ON SEQUENCE ai._generation_seq TO PUBLIC;
GRANT SELECT ON ai.metrics, ai.secret_permissions, ai.vectorizer, ai.vectorizer_status, ai.vectorizer_progress TO PUBLIC;

COMMENT ON TABLE ai.vectorizer IS 'The vectorizers of this database; made by ai.create_vectorizer, never by hand';
COMMENT ON VIEW ai.vectorizer_status IS 'State, exact counts and counters of each vectorizer';
COMMENT ON VIEW ai.vectorizer_progress IS 'One line a vectorizer, for \watch';
COMMENT ON VIEW ai.vectorizer_errors IS 'The last errors of each vectorizer, and notes on texts that were cut';
COMMENT ON TABLE ai._vectorizer_control IS 'Asked-for state, back-off and last error of each vectorizer';
COMMENT ON TABLE ai._vectorizer_cursor IS 'How far backfill and dirty-set scans have come';
COMMENT ON TABLE ai._vectorizer_counters IS 'What each vectorizer has done so far';
COMMENT ON TABLE ai._lease IS 'Batches in flight';
COMMENT ON TABLE ai._vectorizer_errors IS 'Error log, the newest 1,000 of each vectorizer; notes on texts that were cut, too';
COMMENT ON SEQUENCE ai._generation_seq IS 'Generations of captured changes';

COMMENT ON FUNCTION ai.create_vectorizer IS 'Keeps the embeddings of a table in step with its rows; returns the id';
COMMENT ON FUNCTION ai.drop_vectorizer(int4, bool) IS 'Drops a vectorizer; with drop_all its store and view too';
COMMENT ON FUNCTION ai.drop_vectorizer(text, bool) IS 'Drops a vectorizer; with drop_all its store and view too';
COMMENT ON FUNCTION ai.pause_vectorizer(int4, text, bool, interval) IS 'Stops claiming; returns paused once nothing is in flight';
COMMENT ON FUNCTION ai.pause_vectorizer(text, text, bool, interval) IS 'Stops claiming; returns paused once nothing is in flight';
COMMENT ON FUNCTION ai.resume_vectorizer(int4) IS 'Goes on from where it stood';
COMMENT ON FUNCTION ai.resume_vectorizer(text) IS 'Goes on from where it stood';
COMMENT ON FUNCTION ai.wait_for_vectorizer(int4, interval) IS 'Waits until what was committed before is embedded; false on timeout';
COMMENT ON FUNCTION ai.wait_for_vectorizer(text, interval) IS 'Waits until what was committed before is embedded; false on timeout';
COMMENT ON FUNCTION ai.retry_failed(int4, text) IS 'Tries failed rows again; returns how many';
COMMENT ON FUNCTION ai.retry_failed(text, text) IS 'Tries failed rows again; returns how many';
COMMENT ON FUNCTION ai.vectorizer_records(int4) IS 'The state of each source row: pending, processing, embedded, failed';
COMMENT ON FUNCTION ai.vectorizer_records(text) IS 'The state of each source row: pending, processing, embedded, failed';
COMMENT ON FUNCTION ai.search(int4, text, int4, text, jsonb, text) IS 'The k best chunks for a query, by meaning, by words or by both, best first';
COMMENT ON FUNCTION ai.search(text, text, int4, text, jsonb, text) IS 'The k best chunks for a query, by meaning, by words or by both, best first';
COMMENT ON FUNCTION ai.search_status(int4) IS 'How far the answers of ai.search are behind the source, and the state of their indexes';
COMMENT ON FUNCTION ai.search_status(text) IS 'How far the answers of ai.search are behind the source, and the state of their indexes';
COMMENT ON FUNCTION ai.set_text_search(int4, text, bool) IS 'Under which text-search configuration words are searched, and whether they get an index';
COMMENT ON FUNCTION ai.set_text_search(text, text, bool) IS 'Under which text-search configuration words are searched, and whether they get an index';
COMMENT ON FUNCTION ai._index_state(int4) IS 'Behind ai.vectorizer_status';
COMMENT ON TABLE ai._text_search IS 'How the words of each vectorizer''s chunks are searched';
COMMENT ON FUNCTION ai.embed(int4, text, text) IS 'The vector of a text by the vectorizer''s own provider';
COMMENT ON FUNCTION ai.embed(text, text, text) IS 'The vector of a text by the vectorizer''s own provider';
COMMENT ON TABLE ai._rebuild IS 'Rebuilds that run, and stores kept from before the last one';
COMMENT ON FUNCTION ai.alter_vectorizer(int4, jsonb, jsonb, jsonb, jsonb, jsonb, jsonb, jsonb, int4, bool) IS 'Changes a vectorizer: settings at once, model, chunking, template and loading by a rebuild';
COMMENT ON FUNCTION ai.alter_vectorizer(text, jsonb, jsonb, jsonb, jsonb, jsonb, jsonb, jsonb, int4, bool) IS 'Changes a vectorizer: settings at once, model, chunking, template and loading by a rebuild';
COMMENT ON FUNCTION ai.finish_rebuild(int4, bool, interval) IS 'Lets the new store of a rebuild take over';
COMMENT ON FUNCTION ai.finish_rebuild(text, bool, interval) IS 'Lets the new store of a rebuild take over';
COMMENT ON FUNCTION ai.cancel_rebuild(int4) IS 'Gives a rebuild up; the old store goes on serving';
COMMENT ON FUNCTION ai.cancel_rebuild(text) IS 'Gives a rebuild up; the old store goes on serving';
COMMENT ON FUNCTION ai.rollback_rebuild(int4, interval) IS 'Goes back to the store from before the last rebuild, or forward again';
COMMENT ON FUNCTION ai.rollback_rebuild(text, interval) IS 'Goes back to the store from before the last rebuild, or forward again';
COMMENT ON FUNCTION ai.drop_previous_store(int4) IS 'Drops the store from before the last rebuild; there is no way back then';
COMMENT ON FUNCTION ai.drop_previous_store(text) IS 'Drops the store from before the last rebuild; there is no way back then';
COMMENT ON PROCEDURE ai.wait_for_rebuild(int4, interval) IS 'Waits until a rebuild has swapped, or is ready to be swapped by hand';
COMMENT ON PROCEDURE ai.wait_for_rebuild(text, interval) IS 'Waits until a rebuild has swapped, or is ready to be swapped by hand';
COMMENT ON FUNCTION ai._rebuild_is_over(int4) IS 'Behind ai.wait_for_rebuild';
COMMENT ON FUNCTION ai._rebuild_is_over(text) IS 'Behind ai.wait_for_rebuild';
COMMENT ON TABLE ai._secret_grant IS 'Who may have which API key used; see ai.grant_secret';
COMMENT ON VIEW ai.metrics IS 'Figures for a monitoring system, names and labels in the style of Prometheus';
COMMENT ON VIEW ai.secret_permissions IS 'Which API keys the current role, or a role it is a member of, may have used';
COMMENT ON FUNCTION ai.grant_secret(text, text) IS 'Lets vectorizers of a role''s tables use an API key, by the name of the key';
COMMENT ON FUNCTION ai.revoke_secret(text, text) IS 'Takes the use of an API key back; false when it was not granted';
COMMENT ON FUNCTION ai._source_dropped() IS 'Event trigger: drops the vectorizers of dropped tables';
COMMENT ON FUNCTION ai.doctor() IS 'Why does nothing happen? Findings, each with what to do';
COMMENT ON FUNCTION ai.loading_column(text, int4) IS 'The column whose text is embedded';
COMMENT ON FUNCTION ai.parsing_auto() IS 'Text is taken as it is';
COMMENT ON FUNCTION ai.loading_uri(text, int4, text) IS 'The column that says where the document is: a file, http(s)';
COMMENT ON FUNCTION ai.parsing_none() IS 'Text is taken as it is; a document is text';
COMMENT ON FUNCTION ai.parsing_pymupdf() IS 'As ai.parsing_auto, for columns of documents';
COMMENT ON FUNCTION ai.parsing_docling() IS 'As ai.parsing_auto, for columns of documents';
COMMENT ON FUNCTION ai.chunking_none() IS 'One chunk a row';
COMMENT ON FUNCTION ai.chunking_character_text_splitter(int4, int4, text, bool) IS 'Splits at one separator, sizes in characters';
COMMENT ON FUNCTION ai.chunking_recursive_character_text_splitter(int4, int4, text[], bool) IS 'Splits at the coarsest separator that fits, sizes in characters';
COMMENT ON FUNCTION ai.formatting_python_template(text) IS 'Builds the embedded text from $chunk and columns of the row';
COMMENT ON FUNCTION ai.embedding_local(text, int4) IS 'A model that runs inside the worker';
COMMENT ON FUNCTION ai.embedding_openai(text, int4, text, text, text, text) IS 'OpenAI''s API, or any server that speaks it';
COMMENT ON FUNCTION ai.embedding_ollama(text, int4, text, jsonb, text, text) IS 'An Ollama server';
COMMENT ON FUNCTION ai.embedding_voyageai IS 'Voyage AI';
COMMENT ON FUNCTION ai.embedding_cohere IS 'Cohere';
COMMENT ON FUNCTION ai.embedding_mistral IS 'Mistral';
COMMENT ON FUNCTION ai.embedding_gemini IS 'Google''s Gemini API';
COMMENT ON FUNCTION ai.embedding_azure_openai IS 'A deployment of Azure OpenAI';
COMMENT ON FUNCTION ai.embedding_tei IS 'A server of Hugging Face''s text-embeddings-inference';
COMMENT ON FUNCTION ai.embedding_litellm IS 'One of the other providers, by the prefix of the model';
COMMENT ON FUNCTION ai.embedding_http IS 'Any API that takes JSON and answers JSON';
COMMENT ON FUNCTION ai.processing_default(int4, int4, int4, int4, bool) IS 'Rows per batch, batches in flight, requests and tokens a minute, and whether vectors are shared';
COMMENT ON FUNCTION ai.indexing_none() IS 'No vector index';
COMMENT ON FUNCTION ai.indexing_default() IS 'No vector index unless a default is set';
COMMENT ON FUNCTION ai.indexing_hnsw(int4, text, int4, int4, bool) IS 'An HNSW index, built concurrently once there are min_rows';
COMMENT ON FUNCTION ai.indexing_ivfflat(int4, text, int4, bool) IS 'An IVFFlat index, built concurrently once there are min_rows';
COMMENT ON FUNCTION ai.indexing_diskann(int4, text, int4, int4, float8, int4, int4, bool) IS 'An index of pgvectorscale, where that is installed';
COMMENT ON FUNCTION ai.scheduling_none() IS 'Runs whenever there is work';
COMMENT ON FUNCTION ai.scheduling_default() IS 'Runs whenever there is work';
COMMENT ON FUNCTION ai.destination_table(text, text, text, text, text) IS 'A store of its own, and a view that joins it with the source';
COMMENT ON FUNCTION ai.destination_column(text) IS 'A vector column of the source itself';
COMMENT ON FUNCTION ai._create_vectorizer(oid, text, jsonb, text, text, text[], bool, bool, int4, bool) IS 'Behind ai.create_vectorizer';
COMMENT ON FUNCTION ai._capture_replicated(int4) IS 'Behind ai.create_vectorizer';
COMMENT ON FUNCTION ai._vectorizer_counts(int4) IS 'Behind ai.vectorizer_status';
COMMENT ON FUNCTION ai._embed(int4, text, text) IS 'Behind ai.embed';
COMMENT ON FUNCTION ai._embed(text, text, text) IS 'Behind ai.embed';
COMMENT ON FUNCTION ai._capture_row() IS 'Trigger: notes the key of a changed row';
COMMENT ON FUNCTION ai._capture_truncate() IS 'Trigger: empties queue and store with their source';
COMMENT ON FUNCTION ai._unchanged(anyelement, anyelement) IS 'True when two values are stored alike';

COMMENT ON FUNCTION ai.scheduling_window IS 'Works from start to stop only, on the days given, in a time zone';
COMMENT ON FUNCTION ai.scheduling_windows IS 'Works in any of several windows';
COMMENT ON FUNCTION ai._scheduling_window(float8, float8, text[], text) IS 'Behind ai.scheduling_window';
COMMENT ON FUNCTION ai._scheduling_windows(jsonb[]) IS 'Behind ai.scheduling_windows';
COMMENT ON FUNCTION ai._period_end IS 'Behind ai.set_budget';
COMMENT ON FUNCTION ai._window(jsonb, timestamptz) IS 'Behind ai.vectorizer_status: what the windows say of a moment';
COMMENT ON FUNCTION ai._throttle() IS 'Behind ai.vectorizer_status: why workers give way now';
COMMENT ON FUNCTION ai.pause_all_vectorizers IS 'Pauses every vectorizer that runs; one row each';
COMMENT ON FUNCTION ai.resume_all_vectorizers IS 'Resumes what ai.pause_all_vectorizers paused; one row each';
COMMENT ON FUNCTION ai.set_priority(int4, int4) IS 'Lower numbers work first; equal ones share';
COMMENT ON FUNCTION ai.set_priority(text, int4) IS 'Lower numbers work first; equal ones share';
COMMENT ON FUNCTION ai.set_scheduling(int4, jsonb, jsonb) IS 'Gives a vectorizer other windows, and another index where one is given';
COMMENT ON FUNCTION ai.set_scheduling(text, jsonb, jsonb) IS 'Gives a vectorizer other windows, and another index where one is given';
COMMENT ON FUNCTION ai.set_budget(int4, int8, interval, timestamptz) IS 'Rests once so many tokens are used in a period; NULL tokens: no budget';
COMMENT ON FUNCTION ai.set_budget(text, int8, interval, timestamptz) IS 'Rests once so many tokens are used in a period; NULL tokens: no budget';
COMMENT ON FUNCTION ai.run_vectorizer(int4, interval, int8) IS 'Works now, outside the windows: for a time, for so many rows, or until all is done';
COMMENT ON FUNCTION ai.run_vectorizer(text, interval, int8) IS 'Works now, outside the windows: for a time, for so many rows, or until all is done';
COMMENT ON FUNCTION ai._run_vectorizer(int4, interval, int8) IS 'Behind ai.run_vectorizer';
COMMENT ON FUNCTION ai._run_vectorizer(text, interval, int8) IS 'Behind ai.run_vectorizer';
COMMENT ON VIEW ai.vectorizer_activity IS 'What was done in each minute of the last day';
COMMENT ON TABLE ai._vectorizer_activity IS 'Ring of the last 1,440 minutes of each vectorizer';
COMMENT ON TABLE ai._vectorizer_budget IS 'Tokens that a vectorizer may use in a period';

-- One row each: the planner must not think of a thousand.
ALTER FUNCTION ai._window(jsonb, timestamptz) ROWS 1;

GRANT SELECT ON ai.vectorizer_activity TO PUBLIC;

-- pg_restore loads tables in any order when it uses several jobs, and the tables of an extension
-- have their foreign keys by then: a child that came first would be refused, and its vectorizer
-- would be restored without it. So foreign keys here only cascade and forbid deletes; the code
-- that inserts has the parent in hand itself, under the locks of src/store/locks.rs.
DO $$
DECLARE
    found record;
BEGIN
    FOR found IN
        SELECT t.tgrelid::pg_catalog.regclass AS relation, t.tgname
          FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_constraint c ON c.oid OPERATOR(pg_catalog.=) t.tgconstraint
         WHERE c.connamespace OPERATOR(pg_catalog.=) 'ai'::pg_catalog.regnamespace
           AND t.tgfoid OPERATOR(pg_catalog.=) ANY (ARRAY['pg_catalog."RI_FKey_check_ins"'::pg_catalog.regproc::oid,
                                                          'pg_catalog."RI_FKey_check_upd"'::pg_catalog.regproc::oid])
    LOOP
        EXECUTE pg_catalog.format('ALTER TABLE %s DISABLE TRIGGER %I', found.relation, found.tgname);
    END LOOP;
END
$$;
