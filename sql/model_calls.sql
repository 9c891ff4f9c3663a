-- pgai's functions that call a model, argument for argument. They run with the rights of the
-- caller: a key by name has to be granted, hosts are those of autovector.allowed_endpoints.

CREATE FUNCTION ai._openai_call(model text, api_key_name text, dimensions int4, openai_user text, extra_headers jsonb,
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

CREATE FUNCTION ai.openai_embed(model text, input_text text, api_key text DEFAULT NULL, api_key_name text DEFAULT NULL,
        dimensions int4 DEFAULT NULL, openai_user text DEFAULT NULL, extra_headers jsonb DEFAULT NULL,
        extra_query jsonb DEFAULT NULL, extra_body jsonb DEFAULT NULL, verbose bool DEFAULT false,
        client_config jsonb DEFAULT NULL) RETURNS vector
    LANGUAGE sql STABLE PARALLEL RESTRICTED
    RETURN (SELECT e.embedding::vector FROM ai._model_embed(
        ai._openai_call(model, api_key_name, dimensions, openai_user, extra_headers, extra_query, extra_body, client_config),
        ARRAY[input_text], api_key, NULL) AS e);

CREATE FUNCTION ai.openai_embed(model text, input_texts text[], api_key text DEFAULT NULL, api_key_name text DEFAULT NULL,
        dimensions int4 DEFAULT NULL, openai_user text DEFAULT NULL, extra_headers jsonb DEFAULT NULL,
        extra_query jsonb DEFAULT NULL, extra_body jsonb DEFAULT NULL, verbose bool DEFAULT false,
        client_config jsonb DEFAULT NULL) RETURNS TABLE (index int4, embedding vector)
    LANGUAGE sql STABLE PARALLEL RESTRICTED
BEGIN ATOMIC
    SELECT e.index, e.embedding::vector FROM ai._model_embed(
        ai._openai_call(model, api_key_name, dimensions, openai_user, extra_headers, extra_query, extra_body, client_config),
        input_texts, api_key, NULL) AS e;
END;

CREATE FUNCTION ai.openai_embed(model text, input_tokens int4[], api_key text DEFAULT NULL, api_key_name text DEFAULT NULL,
        dimensions int4 DEFAULT NULL, openai_user text DEFAULT NULL, extra_headers jsonb DEFAULT NULL,
        extra_query jsonb DEFAULT NULL, extra_body jsonb DEFAULT NULL, verbose bool DEFAULT false,
        client_config jsonb DEFAULT NULL) RETURNS vector
    LANGUAGE sql STABLE PARALLEL RESTRICTED
    RETURN (SELECT e.embedding::vector FROM ai._model_embed(
        ai._openai_call(model, api_key_name, dimensions, openai_user, extra_headers, extra_query, extra_body, client_config),
        ARRAY[ai._text_of_tokens(input_tokens)], api_key, NULL) AS e);

CREATE FUNCTION ai.ollama_embed(model text, input_text text, host text DEFAULT NULL, keep_alive text DEFAULT NULL,
        embedding_options jsonb DEFAULT NULL, verbose bool DEFAULT false) RETURNS vector
    LANGUAGE sql STABLE PARALLEL RESTRICTED
    RETURN (SELECT e.embedding::vector FROM ai._model_embed(
        jsonb_build_object('implementation', 'ollama', 'config_type', 'embedding', 'model', model, 'base_url', host,
                           'keep_alive', keep_alive, 'options', embedding_options),
        ARRAY[input_text], NULL, NULL) AS e);

CREATE FUNCTION ai.voyageai_embed(model text, input_text text, input_type text DEFAULT NULL, api_key text DEFAULT NULL,
        api_key_name text DEFAULT NULL, verbose bool DEFAULT false) RETURNS vector
    LANGUAGE sql STABLE PARALLEL RESTRICTED
    RETURN (SELECT e.embedding::vector FROM ai._model_embed(
        jsonb_build_object('implementation', 'voyageai', 'config_type', 'embedding', 'model', model,
                           'input_type', input_type, 'api_key_name', api_key_name),
        ARRAY[input_text], api_key, NULL) AS e);

CREATE FUNCTION ai.voyageai_embed(model text, input_texts text[], input_type text DEFAULT NULL, api_key text DEFAULT NULL,
        api_key_name text DEFAULT NULL, verbose bool DEFAULT false) RETURNS TABLE (index int4, embedding vector)
    LANGUAGE sql STABLE PARALLEL RESTRICTED
BEGIN ATOMIC
    SELECT e.index, e.embedding::vector FROM ai._model_embed(
        jsonb_build_object('implementation', 'voyageai', 'config_type', 'embedding', 'model', model,
                           'input_type', input_type, 'api_key_name', api_key_name),
        input_texts, api_key, NULL) AS e;
END;

CREATE FUNCTION ai.cohere_embed(model text, input_text text, api_key text DEFAULT NULL, api_key_name text DEFAULT NULL,
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
