-- From 0.1.0 to 0.2.0. Functions whose arguments changed are made anew; what calls them by name or
-- position goes on working.

ALTER TABLE ai.vectorizer ADD COLUMN adopted text;

-- Queues belong to the owners of their sources and are no members of the extension.
DO $$
DECLARE
    queue text;
BEGIN
    FOR queue IN
        SELECT pg_catalog.format('%I.%I', v.queue_schema, v.queue_table) FROM ai.vectorizer v
         WHERE pg_catalog.to_regclass(pg_catalog.format('%I.%I', v.queue_schema, v.queue_table)) IS NOT NULL
    LOOP
        EXECUTE pg_catalog.format(
            'ALTER TABLE %s ADD COLUMN IF NOT EXISTS loading_retries pg_catalog.int4 NOT NULL DEFAULT 0,
                            ADD COLUMN IF NOT EXISTS loading_retry_after pg_catalog.timestamptz', queue);
    END LOOP;
END
$$;

DROP FUNCTION ai.create_vectorizer(regclass, text, jsonb, jsonb, jsonb, jsonb, jsonb, jsonb, jsonb, jsonb, jsonb, name, name, name[], bool, bool, int4, name, bool);
DROP FUNCTION ai._create_vectorizer(oid, TEXT, jsonb, TEXT, TEXT, TEXT[], bool, bool, INT);
DROP FUNCTION ai.embedding_openai(TEXT, INT, TEXT, TEXT, TEXT);
DROP FUNCTION ai.embedding_ollama(TEXT, INT, TEXT, jsonb, TEXT);
DROP FUNCTION ai.set_scheduling(INT, jsonb, jsonb);

-- Who may do what with a vectorizer besides the owner of its source. Roles by name, as above; a row
-- counts as long as the role has its grant on the store, which goes with a role that is dropped.
CREATE TABLE ai._vectorizer_grant (
    vectorizer_id      int4 NOT NULL REFERENCES ai.vectorizer ON DELETE CASCADE,
    role               name NOT NULL,
    level              text NOT NULL CHECK (level IN ('use', 'operate', 'admin')),
    PRIMARY KEY (vectorizer_id, role)
);

SELECT pg_catalog.pg_extension_config_dump('ai._vectorizer_grant', '');

CREATE OR REPLACE FUNCTION "_create_vectorizer"(
	"source" oid,
	"name" TEXT,
	"config" jsonb,
	"queue_schema" TEXT,
	"queue_table" TEXT,
	"grant_to" TEXT[],
	"enqueue_existing" bool,
	"if_not_exists" bool,
	"priority" INT,
	"adopt_existing" bool
) RETURNS INT
VOLATILE
SET search_path TO pg_catalog, pg_temp
LANGUAGE c
AS 'MODULE_PATHNAME', '_create_vectorizer_wrapper';

CREATE OR REPLACE FUNCTION "_embed_by"(
	"embedding_config" jsonb,
	"input_text" TEXT,
	"input_type" TEXT
) RETURNS real[]
STABLE PARALLEL RESTRICTED
SET search_path TO pg_catalog, pg_temp
LANGUAGE c
AS 'MODULE_PATHNAME', '_embed_by_wrapper';

CREATE OR REPLACE FUNCTION "_model_embed"(
	"config" jsonb,
	"inputs" TEXT[],
	"api_key" TEXT,
	"input_type" TEXT
) RETURNS TABLE (
	"index" INT,
	"embedding" real[]
)
STABLE PARALLEL RESTRICTED
SET search_path TO pg_catalog, pg_temp
LANGUAGE c
AS 'MODULE_PATHNAME', '_model_embed_wrapper';

CREATE OR REPLACE FUNCTION "_text_of_tokens"(
	"tokens" INT[]
) RETURNS TEXT
IMMUTABLE STRICT PARALLEL SAFE
SET search_path TO pg_catalog, pg_temp
LANGUAGE c
AS 'MODULE_PATHNAME', '_text_of_tokens_wrapper';

-- For those who may read the source: errors name its keys.
CREATE OR REPLACE VIEW ai.vectorizer_errors AS
SELECT e.id, e.message, e.details, e.recorded, v.name
  FROM ai._vectorizer_errors e
  JOIN ai.vectorizer v ON v.id = e.id
 WHERE has_table_privilege(v.source, 'SELECT');

CREATE OR REPLACE FUNCTION "chunk_text"(
	"input" TEXT,
	"chunk_size" INT DEFAULT NULL,
	"chunk_overlap" INT DEFAULT NULL,
	"separator" TEXT DEFAULT NULL,
	"is_separator_regex" bool DEFAULT false
) RETURNS TABLE (
	"seq" bigint,
	"chunk" TEXT
)
IMMUTABLE PARALLEL SAFE
LANGUAGE c
AS 'MODULE_PATHNAME', 'chunk_text_wrapper';

CREATE OR REPLACE FUNCTION "chunk_text_recursively"(
	"input" TEXT,
	"chunk_size" INT DEFAULT NULL,
	"chunk_overlap" INT DEFAULT NULL,
	"separators" TEXT[] DEFAULT NULL,
	"is_separator_regex" bool DEFAULT false
) RETURNS TABLE (
	"seq" bigint,
	"chunk" TEXT
)
IMMUTABLE PARALLEL SAFE
LANGUAGE c
AS 'MODULE_PATHNAME', 'chunk_text_recursively_wrapper';

CREATE OR REPLACE FUNCTION "chunking_markdown"(
	"chunk_size" INT DEFAULT 800,
	"chunk_overlap" INT DEFAULT 100
) RETURNS jsonb
IMMUTABLE PARALLEL SAFE
LANGUAGE c
AS 'MODULE_PATHNAME', 'chunking_markdown_wrapper';

CREATE OR REPLACE FUNCTION "chunking_sentence"(
	"chunk_size" INT DEFAULT 800,
	"chunk_overlap" INT DEFAULT 100
) RETURNS jsonb
IMMUTABLE PARALLEL SAFE
LANGUAGE c
AS 'MODULE_PATHNAME', 'chunking_sentence_wrapper';

CREATE OR REPLACE FUNCTION "chunking_token_text_splitter"(
	"chunk_size" INT DEFAULT 256,
	"chunk_overlap" INT DEFAULT 32,
	"encoding" TEXT DEFAULT 'cl100k_base'
) RETURNS jsonb
IMMUTABLE PARALLEL SAFE
LANGUAGE c
AS 'MODULE_PATHNAME', 'chunking_token_text_splitter_wrapper';

CREATE OR REPLACE FUNCTION "disable_vectorizer_schedule"(
	"vectorizer_id" INT
) RETURNS VOID
STRICT VOLATILE
SET search_path TO pg_catalog, pg_temp
LANGUAGE c
AS 'MODULE_PATHNAME', 'disable_vectorizer_schedule_wrapper';

CREATE OR REPLACE FUNCTION "disable_vectorizer_schedule"(
	"name" TEXT
) RETURNS VOID
STRICT VOLATILE
SET search_path TO pg_catalog, pg_temp
LANGUAGE c
AS 'MODULE_PATHNAME', 'disable_vectorizer_schedule_by_name_wrapper';

CREATE OR REPLACE FUNCTION "embedding_azure_openai"(
	"deployment" TEXT,
	"dimensions" INT,
	"base_url" TEXT,
	"api_version" TEXT DEFAULT '2024-10-21',
	"api_key_name" TEXT DEFAULT 'AZURE_OPENAI_API_KEY',
	"model" TEXT DEFAULT NULL,
	"chat_user" TEXT DEFAULT NULL,
	"oversize" TEXT DEFAULT NULL
) RETURNS jsonb
IMMUTABLE PARALLEL SAFE
LANGUAGE c
AS 'MODULE_PATHNAME', 'embedding_azure_openai_wrapper';

CREATE OR REPLACE FUNCTION "embedding_cohere"(
	"model" TEXT,
	"dimensions" INT,
	"api_key_name" TEXT DEFAULT 'COHERE_API_KEY',
	"input_type" TEXT DEFAULT NULL,
	"base_url" TEXT DEFAULT NULL,
	"oversize" TEXT DEFAULT NULL
) RETURNS jsonb
IMMUTABLE PARALLEL SAFE
LANGUAGE c
AS 'MODULE_PATHNAME', 'embedding_cohere_wrapper';

CREATE OR REPLACE FUNCTION "embedding_gemini"(
	"model" TEXT,
	"dimensions" INT,
	"api_key_name" TEXT DEFAULT 'GEMINI_API_KEY',
	"task_type" TEXT DEFAULT NULL,
	"base_url" TEXT DEFAULT NULL
) RETURNS jsonb
IMMUTABLE PARALLEL SAFE
LANGUAGE c
AS 'MODULE_PATHNAME', 'embedding_gemini_wrapper';

CREATE OR REPLACE FUNCTION "embedding_http"(
	"url" TEXT,
	"model" TEXT,
	"dimensions" INT,
	"request" jsonb,
	"response_path" TEXT,
	"api_key_name" TEXT DEFAULT NULL,
	"max_inputs" INT DEFAULT NULL,
	"max_tokens" INT DEFAULT NULL
) RETURNS jsonb
IMMUTABLE PARALLEL SAFE
LANGUAGE c
AS 'MODULE_PATHNAME', 'embedding_http_wrapper';

CREATE OR REPLACE FUNCTION "embedding_litellm"(
	"model" TEXT,
	"dimensions" INT,
	"api_key_name" TEXT DEFAULT NULL,
	"extra_options" jsonb DEFAULT NULL
) RETURNS jsonb
IMMUTABLE PARALLEL SAFE
LANGUAGE c
AS 'MODULE_PATHNAME', 'embedding_litellm_wrapper';

CREATE OR REPLACE FUNCTION "embedding_mistral"(
	"model" TEXT,
	"dimensions" INT,
	"api_key_name" TEXT DEFAULT 'MISTRAL_API_KEY',
	"base_url" TEXT DEFAULT NULL,
	"oversize" TEXT DEFAULT NULL
) RETURNS jsonb
IMMUTABLE PARALLEL SAFE
LANGUAGE c
AS 'MODULE_PATHNAME', 'embedding_mistral_wrapper';

CREATE OR REPLACE FUNCTION "embedding_ollama"(
	"model" TEXT,
	"dimensions" INT,
	"base_url" TEXT DEFAULT NULL,
	"options" jsonb DEFAULT NULL,
	"keep_alive" TEXT DEFAULT NULL,
	"oversize" TEXT DEFAULT NULL
) RETURNS jsonb
IMMUTABLE PARALLEL SAFE
LANGUAGE c
AS 'MODULE_PATHNAME', 'embedding_ollama_wrapper';

CREATE OR REPLACE FUNCTION "embedding_openai"(
	"model" TEXT,
	"dimensions" INT,
	"chat_user" TEXT DEFAULT NULL,
	"api_key_name" TEXT DEFAULT 'OPENAI_API_KEY',
	"base_url" TEXT DEFAULT NULL,
	"oversize" TEXT DEFAULT NULL
) RETURNS jsonb
IMMUTABLE PARALLEL SAFE
LANGUAGE c
AS 'MODULE_PATHNAME', 'embedding_openai_wrapper';

CREATE OR REPLACE FUNCTION "embedding_tei"(
	"model" TEXT,
	"dimensions" INT,
	"base_url" TEXT DEFAULT NULL,
	"api_key_name" TEXT DEFAULT NULL,
	"document_prompt" TEXT DEFAULT NULL,
	"query_prompt" TEXT DEFAULT NULL,
	"normalize" bool DEFAULT NULL,
	"max_inputs" INT DEFAULT NULL,
	"oversize" TEXT DEFAULT NULL
) RETURNS jsonb
IMMUTABLE PARALLEL SAFE
LANGUAGE c
AS 'MODULE_PATHNAME', 'embedding_tei_wrapper';

CREATE OR REPLACE FUNCTION "embedding_voyageai"(
	"model" TEXT,
	"dimensions" INT,
	"input_type" TEXT DEFAULT 'document',
	"api_key_name" TEXT DEFAULT 'VOYAGE_API_KEY',
	"base_url" TEXT DEFAULT NULL,
	"output_dimension" INT DEFAULT NULL,
	"output_dtype" TEXT DEFAULT NULL,
	"oversize" TEXT DEFAULT NULL
) RETURNS jsonb
IMMUTABLE PARALLEL SAFE
LANGUAGE c
AS 'MODULE_PATHNAME', 'embedding_voyageai_wrapper';

CREATE OR REPLACE FUNCTION "enable_vectorizer_schedule"(
	"vectorizer_id" INT
) RETURNS VOID
STRICT VOLATILE
SET search_path TO pg_catalog, pg_temp
LANGUAGE c
AS 'MODULE_PATHNAME', 'enable_vectorizer_schedule_wrapper';

CREATE OR REPLACE FUNCTION "enable_vectorizer_schedule"(
	"name" TEXT
) RETURNS VOID
STRICT VOLATILE
SET search_path TO pg_catalog, pg_temp
LANGUAGE c
AS 'MODULE_PATHNAME', 'enable_vectorizer_schedule_by_name_wrapper';

CREATE OR REPLACE FUNCTION "execute_vectorizer"(
	"vectorizer_id" INT
) RETURNS VOID
STRICT VOLATILE
SET search_path TO pg_catalog, pg_temp
LANGUAGE c
AS 'MODULE_PATHNAME', 'execute_vectorizer_wrapper';

CREATE OR REPLACE FUNCTION "execute_vectorizer"(
	"vectorizer_name" TEXT
) RETURNS VOID
STRICT VOLATILE
SET search_path TO pg_catalog, pg_temp
LANGUAGE c
AS 'MODULE_PATHNAME', 'execute_vectorizer_by_name_wrapper';

CREATE OR REPLACE FUNCTION "grant_vectorizer"(
	"vectorizer" INT,
	"role" TEXT,
	"level" TEXT DEFAULT 'use'
) RETURNS VOID
STRICT VOLATILE
SET search_path TO pg_catalog, pg_temp
LANGUAGE c
AS 'MODULE_PATHNAME', 'grant_vectorizer_wrapper';

CREATE OR REPLACE FUNCTION "grant_vectorizer"(
	"vectorizer" TEXT,
	"role" TEXT,
	"level" TEXT DEFAULT 'use'
) RETURNS VOID
STRICT VOLATILE
SET search_path TO pg_catalog, pg_temp
LANGUAGE c
AS 'MODULE_PATHNAME', 'grant_vectorizer_by_name_wrapper';

CREATE OR REPLACE FUNCTION "import_pgai"(
	"schema_name" TEXT,
	"dry_run" bool DEFAULT false
) RETURNS TABLE (
	"action" TEXT,
	"object" TEXT,
	"detail" TEXT
)
STRICT VOLATILE
SET search_path TO pg_catalog, pg_temp
LANGUAGE c
AS 'MODULE_PATHNAME', 'import_pgai_wrapper';

CREATE OR REPLACE FUNCTION "loading_uri"(
	"column_name" TEXT,
	"retries" INT DEFAULT 6,
	"aws_role_arn" TEXT DEFAULT NULL
) RETURNS jsonb
IMMUTABLE PARALLEL SAFE
LANGUAGE c
AS 'MODULE_PATHNAME', 'loading_uri_wrapper';

CREATE OR REPLACE FUNCTION "parsing_docling"() RETURNS jsonb
IMMUTABLE STRICT PARALLEL SAFE
LANGUAGE c
AS 'MODULE_PATHNAME', 'parsing_docling_wrapper';

CREATE OR REPLACE FUNCTION "parsing_pymupdf"() RETURNS jsonb
IMMUTABLE STRICT PARALLEL SAFE
LANGUAGE c
AS 'MODULE_PATHNAME', 'parsing_pymupdf_wrapper';

CREATE OR REPLACE FUNCTION "preview_chunks"(
	"vectorizer" INT,
	"limit_rows" INT DEFAULT 10
) RETURNS TABLE (
	"key" jsonb,
	"chunk_seq" INT,
	"chunk" TEXT,
	"tokens" INT
)
STABLE PARALLEL RESTRICTED
LANGUAGE c
AS 'MODULE_PATHNAME', 'preview_chunks_wrapper';

CREATE OR REPLACE FUNCTION "preview_chunks"(
	"vectorizer" TEXT,
	"limit_rows" INT DEFAULT 10
) RETURNS TABLE (
	"key" jsonb,
	"chunk_seq" INT,
	"chunk" TEXT,
	"tokens" INT
)
STABLE PARALLEL RESTRICTED
LANGUAGE c
AS 'MODULE_PATHNAME', 'preview_chunks_by_name_wrapper';

-- requires:
--   bootstrap
--   api::model_calls::_model_embed
--   api::model_calls::_text_of_tokens
--   api::chunk_functions::chunk_text
--   api::chunk_functions::chunk_text_recursively
--   api::chunk_functions::preview_chunks
--   api::chunk_functions::preview_chunks_by_name
--   api::chunk_functions::chunking_token_text_splitter
--   api::chunk_functions::chunking_markdown
--   api::chunk_functions::chunking_sentence
-- pgai's functions that call a model, argument for argument. They run with the rights of the
-- caller: a key by name has to be granted, hosts are those of autovector.allowed_endpoints.
CREATE OR REPLACE FUNCTION ai._openai_call(model text, api_key_name text, dimensions int4, openai_user text, extra_headers jsonb,
                                extra_query jsonb, extra_body jsonb, client_config jsonb) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    unknown text;
BEGIN
    SELECT k INTO unknown FROM jsonb_object_keys(coalesce(client_config, '{}')) AS k
     WHERE k NOT IN ('base_url', 'timeout', 'max_retries') LIMIT 1;
    IF unknown IS NOT NULL OR extra_headers IS NOT NULL OR extra_query IS NOT NULL OR extra_body IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'feature_not_supported',
            MESSAGE = CASE WHEN unknown IS NULL THEN 'extra_headers, extra_query and extra_body cannot be sent'
                           ELSE format('the option "%s" of client_config is not known', unknown) END,
            HINT = 'Use client_config => ''{"base_url": "https://host/v1"}'', or a vectorizer with ai.embedding_http().';
    END IF;
    RETURN jsonb_build_object('implementation', 'openai', 'config_type', 'embedding', 'model', model,
        'api_key_name', api_key_name, 'dimensions', dimensions, 'user', openai_user, 'base_url', client_config ->> 'base_url');
END
$$;

CREATE OR REPLACE FUNCTION ai.openai_embed(model text, input_text text, api_key text DEFAULT NULL, api_key_name text DEFAULT NULL,
        dimensions int4 DEFAULT NULL, openai_user text DEFAULT NULL, extra_headers jsonb DEFAULT NULL,
        extra_query jsonb DEFAULT NULL, extra_body jsonb DEFAULT NULL, verbose bool DEFAULT false,
        client_config jsonb DEFAULT NULL) RETURNS vector
    LANGUAGE sql STABLE PARALLEL RESTRICTED
    RETURN (SELECT e.embedding::vector FROM ai._model_embed(
        ai._openai_call(model, api_key_name, dimensions, openai_user, extra_headers, extra_query, extra_body, client_config),
        ARRAY[input_text], api_key, NULL) AS e);

CREATE OR REPLACE FUNCTION ai.openai_embed(model text, input_texts text[], api_key text DEFAULT NULL, api_key_name text DEFAULT NULL,
        dimensions int4 DEFAULT NULL, openai_user text DEFAULT NULL, extra_headers jsonb DEFAULT NULL,
        extra_query jsonb DEFAULT NULL, extra_body jsonb DEFAULT NULL, verbose bool DEFAULT false,
        client_config jsonb DEFAULT NULL) RETURNS TABLE (index int4, embedding vector)
    LANGUAGE sql STABLE PARALLEL RESTRICTED
BEGIN ATOMIC
    SELECT e.index, e.embedding::vector FROM ai._model_embed(
        ai._openai_call(model, api_key_name, dimensions, openai_user, extra_headers, extra_query, extra_body, client_config),
        input_texts, api_key, NULL) AS e;
END;

CREATE OR REPLACE FUNCTION ai.openai_embed(model text, input_tokens int4[], api_key text DEFAULT NULL, api_key_name text DEFAULT NULL,
        dimensions int4 DEFAULT NULL, openai_user text DEFAULT NULL, extra_headers jsonb DEFAULT NULL,
        extra_query jsonb DEFAULT NULL, extra_body jsonb DEFAULT NULL, verbose bool DEFAULT false,
        client_config jsonb DEFAULT NULL) RETURNS vector
    LANGUAGE sql STABLE PARALLEL RESTRICTED
    RETURN (SELECT e.embedding::vector FROM ai._model_embed(
        ai._openai_call(model, api_key_name, dimensions, openai_user, extra_headers, extra_query, extra_body, client_config),
        ARRAY[ai._text_of_tokens(input_tokens)], api_key, NULL) AS e);

CREATE OR REPLACE FUNCTION ai.ollama_embed(model text, input_text text, host text DEFAULT NULL, keep_alive text DEFAULT NULL,
        embedding_options jsonb DEFAULT NULL, verbose bool DEFAULT false) RETURNS vector
    LANGUAGE sql STABLE PARALLEL RESTRICTED
    RETURN (SELECT e.embedding::vector FROM ai._model_embed(
        jsonb_build_object('implementation', 'ollama', 'config_type', 'embedding', 'model', model, 'base_url', host,
                           'keep_alive', keep_alive, 'options', embedding_options),
        ARRAY[input_text], NULL, NULL) AS e);

CREATE OR REPLACE FUNCTION ai.voyageai_embed(model text, input_text text, input_type text DEFAULT NULL, api_key text DEFAULT NULL,
        api_key_name text DEFAULT NULL, verbose bool DEFAULT false) RETURNS vector
    LANGUAGE sql STABLE PARALLEL RESTRICTED
    RETURN (SELECT e.embedding::vector FROM ai._model_embed(
        jsonb_build_object('implementation', 'voyageai', 'config_type', 'embedding', 'model', model,
                           'input_type', input_type, 'api_key_name', api_key_name),
        ARRAY[input_text], api_key, NULL) AS e);

CREATE OR REPLACE FUNCTION ai.voyageai_embed(model text, input_texts text[], input_type text DEFAULT NULL, api_key text DEFAULT NULL,
        api_key_name text DEFAULT NULL, verbose bool DEFAULT false) RETURNS TABLE (index int4, embedding vector)
    LANGUAGE sql STABLE PARALLEL RESTRICTED
BEGIN ATOMIC
    SELECT e.index, e.embedding::vector FROM ai._model_embed(
        jsonb_build_object('implementation', 'voyageai', 'config_type', 'embedding', 'model', model,
                           'input_type', input_type, 'api_key_name', api_key_name),
        input_texts, api_key, NULL) AS e;
END;

CREATE OR REPLACE FUNCTION ai.cohere_embed(model text, input_text text, api_key text DEFAULT NULL, api_key_name text DEFAULT NULL,
        input_type text DEFAULT NULL, truncate_long_inputs text DEFAULT NULL, verbose bool DEFAULT false) RETURNS vector
    LANGUAGE sql STABLE PARALLEL RESTRICTED
    RETURN (SELECT e.embedding::vector FROM ai._model_embed(
        jsonb_build_object('implementation', 'cohere', 'config_type', 'embedding', 'model', model,
                           'input_type', input_type, 'api_key_name', api_key_name,
                           'oversize', CASE upper(truncate_long_inputs) WHEN 'NONE' THEN 'refuse' END),
        ARRAY[input_text], api_key, NULL) AS e);

COMMENT ON FUNCTION ai.openai_embed(model text, input_text text, text, text, int4, text, jsonb, jsonb, jsonb, bool, jsonb) IS 'The vector of a text, by OpenAI';

COMMENT ON FUNCTION ai.openai_embed(model text, input_texts text[], text, text, int4, text, jsonb, jsonb, jsonb, bool, jsonb) IS 'The vectors of texts, by OpenAI';

COMMENT ON FUNCTION ai.openai_embed(model text, input_tokens int4[], text, text, int4, text, jsonb, jsonb, jsonb, bool, jsonb) IS 'The vector of tokens, by OpenAI';

COMMENT ON FUNCTION ai.ollama_embed IS 'The vector of a text, by an Ollama server';

COMMENT ON FUNCTION ai.voyageai_embed(text, text, text, text, text, bool) IS 'The vector of a text, by Voyage AI';

COMMENT ON FUNCTION ai.voyageai_embed(text, text[], text, text, text, bool) IS 'The vectors of texts, by Voyage AI';

COMMENT ON FUNCTION ai.cohere_embed IS 'The vector of a text, by Cohere';

COMMENT ON FUNCTION ai._openai_call IS 'Behind ai.openai_embed';

COMMENT ON FUNCTION ai._model_embed IS 'Behind ai.openai_embed and the like';

COMMENT ON FUNCTION ai._text_of_tokens IS 'Behind ai.openai_embed with tokens';

COMMENT ON FUNCTION ai.chunk_text IS 'Cuts a text at one separator';

COMMENT ON FUNCTION ai.chunk_text_recursively IS 'Cuts a text at the coarsest separator that fits';

COMMENT ON FUNCTION ai.preview_chunks(int4, int4) IS 'The chunks that a vectorizer makes of the first rows of its source';

COMMENT ON FUNCTION ai.preview_chunks(text, int4) IS 'The chunks that a vectorizer makes of the first rows of its source';

COMMENT ON FUNCTION ai.chunking_token_text_splitter IS 'Splits every so many tokens';

COMMENT ON FUNCTION ai.chunking_markdown IS 'Splits Markdown at its headings, which each chunk begins with; sizes in characters';

COMMENT ON FUNCTION ai.chunking_sentence IS 'Packs whole sentences, sizes in characters';

CREATE OR REPLACE FUNCTION "revoke_vectorizer"(
	"vectorizer" INT,
	"role" TEXT
) RETURNS bool
STRICT VOLATILE
SET search_path TO pg_catalog, pg_temp
LANGUAGE c
AS 'MODULE_PATHNAME', 'revoke_vectorizer_wrapper';

CREATE OR REPLACE FUNCTION "revoke_vectorizer"(
	"vectorizer" TEXT,
	"role" TEXT
) RETURNS bool
STRICT VOLATILE
SET search_path TO pg_catalog, pg_temp
LANGUAGE c
AS 'MODULE_PATHNAME', 'revoke_vectorizer_by_name_wrapper';

CREATE OR REPLACE FUNCTION "set_scheduling"(
	"vectorizer_id" INT,
	"scheduling" jsonb DEFAULT NULL,
	"indexing" jsonb DEFAULT NULL
) RETURNS jsonb
VOLATILE
SET search_path TO pg_catalog, pg_temp
LANGUAGE c
AS 'MODULE_PATHNAME', 'set_scheduling_wrapper';

CREATE OR REPLACE FUNCTION "vectorizer_queue_pending"(
	"vectorizer_id" INT,
	"exact_count" bool DEFAULT false
) RETURNS bigint
STRICT STABLE PARALLEL RESTRICTED
SET search_path TO pg_catalog, pg_temp
LANGUAGE c
AS 'MODULE_PATHNAME', 'vectorizer_queue_pending_wrapper';

CREATE OR REPLACE FUNCTION "vectorizer_queue_pending"(
	"name" TEXT,
	"exact_count" bool DEFAULT false
) RETURNS bigint
STRICT STABLE PARALLEL RESTRICTED
SET search_path TO pg_catalog, pg_temp
LANGUAGE c
AS 'MODULE_PATHNAME', 'vectorizer_queue_pending_by_name_wrapper';

-- requires:
--   bootstrap
--   views
--   api::config_functions::indexing_hnsw
--   api::config_functions::indexing_diskann
--   api::search::_embed
--   api::search::_embed_by_name
--   api::pgai::_embed_by
--   api::pgai::disable_vectorizer_schedule
--   api::pgai::disable_vectorizer_schedule_by_name
--   api::pgai::enable_vectorizer_schedule
--   api::pgai::enable_vectorizer_schedule_by_name
--   api::pgai::vectorizer_queue_pending
--   api::pgai::vectorizer_queue_pending_by_name
--   api::pgai::execute_vectorizer
--   api::pgai::execute_vectorizer_by_name
--   api::grants::grant_vectorizer
--   api::grants::grant_vectorizer_by_name
--   api::grants::revoke_vectorizer
--   api::grants::revoke_vectorizer_by_name
--   api::import::import_pgai
-- What pgai's users call by name, beside what ours call too; and who else may use a vectorizer.
CREATE OR REPLACE FUNCTION ai.grant_to(VARIADIC grantees name[]) RETURNS name[]
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

CREATE OR REPLACE FUNCTION ai.grant_to() RETURNS name[]
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT ai.grant_to(VARIADIC '{}')
$$;

-- The workers start by themselves when a row changes: no job is made.
CREATE OR REPLACE FUNCTION ai.scheduling_timescaledb(
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
CREATE OR REPLACE FUNCTION ai._chosen_indexing(indexing jsonb) RETURNS jsonb
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN indexing IS NOT NULL AND indexing ->> 'implementation' IS DISTINCT FROM 'default' THEN indexing
                ELSE CASE current_setting('ai.indexing_default', true)
                          WHEN 'indexing_hnsw' THEN ai.indexing_hnsw()
                          WHEN 'indexing_diskann' THEN ai.indexing_diskann()
                          ELSE indexing END END
$$;

CREATE OR REPLACE FUNCTION ai._chosen_scheduling(scheduling jsonb) RETURNS jsonb
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN scheduling IS NOT NULL AND scheduling ->> 'implementation' IS DISTINCT FROM 'default' THEN scheduling
                WHEN current_setting('ai.scheduling_default', true) = 'scheduling_timescaledb'
                THEN ai.scheduling_timescaledb()
                ELSE scheduling END
$$;

CREATE OR REPLACE FUNCTION ai.vectorizer_embed(embedding_config jsonb, input_text text, input_type text DEFAULT NULL) RETURNS vector
    LANGUAGE sql STABLE PARALLEL RESTRICTED
    RETURN ai._embed_by(embedding_config, input_text, input_type)::vector;

CREATE OR REPLACE FUNCTION ai.vectorizer_embed(vectorizer_id int4, input_text text, input_type text DEFAULT NULL) RETURNS vector
    LANGUAGE sql STABLE PARALLEL RESTRICTED
    RETURN ai._embed(vectorizer_id, input_text, input_type)::vector;

CREATE OR REPLACE FUNCTION ai.vectorizer_embed(name text, input_text text, input_type text DEFAULT NULL) RETURNS vector
    LANGUAGE sql STABLE PARALLEL RESTRICTED
    RETURN ai._embed(name, input_text, input_type)::vector;

-- The catalog is PUBLIC's anyway; what is handed on here is the caller's own vectorizers.
CREATE OR REPLACE FUNCTION ai.grant_vectorizer_usage(to_user name, admin bool DEFAULT false) RETURNS void
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

CREATE OR REPLACE VIEW ai.vectorizer_grants AS
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

-- requires:
--   bootstrap
--   pgai
--   api::vectorizers::_create_vectorizer
--   api::vectorizers::_capture_replicated
--   api::record_status::_keep_embedding_status
-- pgai's signature, argument for argument; written by hand because its defaults are calls.
-- The defaults are given by NULL inside: "not said" and "said to be the default" are one.
CREATE OR REPLACE FUNCTION ai.create_vectorizer(
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

COMMENT ON FUNCTION ai.loading_uri(text, int4, text) IS 'The column that says where the document is: a file, http(s)';

COMMENT ON FUNCTION ai.parsing_none() IS 'Text is taken as it is; a document is text';

COMMENT ON FUNCTION ai.parsing_pymupdf() IS 'As ai.parsing_auto, for columns of documents';

COMMENT ON FUNCTION ai.parsing_docling() IS 'As ai.parsing_auto, for columns of documents';

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

COMMENT ON FUNCTION ai._create_vectorizer(oid, text, jsonb, text, text, text[], bool, bool, int4, bool) IS 'Behind ai.create_vectorizer';

COMMENT ON FUNCTION ai.create_vectorizer IS 'Keeps the embeddings of a table in step with its rows; returns the id';

COMMENT ON FUNCTION ai.set_scheduling(int4, jsonb, jsonb) IS 'Gives a vectorizer other windows, and another index where one is given';

-- A vectorizer without its source would only fail: it goes with it. The vectors stay in their
-- store. Runs as the extension's owner, because whoever drops a table of theirs has no rights on
-- the catalog; it does nothing but what follows from the drop.
CREATE OR REPLACE FUNCTION ai._source_dropped() RETURNS event_trigger
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

COMMENT ON VIEW ai.vectorizer_errors IS 'The last errors of each vectorizer, and notes on texts that were cut';

COMMENT ON TABLE ai._vectorizer_errors IS 'Error log, the newest 1,000 of each vectorizer; notes on texts that were cut, too';

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

DROP INDEX ai._lease_vectorizer_id_idx;
CREATE INDEX ON ai._lease (vectorizer_id, id);
