-- Comments and grants. PUBLIC may execute what is harmless; each function checks for itself who
-- may do what to which vectorizer.

CREATE FUNCTION ai.embed(vectorizer int4, input text, input_type text DEFAULT NULL) RETURNS vector
    LANGUAGE sql STABLE PARALLEL RESTRICTED
AS $$ SELECT ai._embed(vectorizer, input, input_type)::vector $$;

CREATE FUNCTION ai.embed(vectorizer text, input text, input_type text DEFAULT NULL) RETURNS vector
    LANGUAGE sql STABLE PARALLEL RESTRICTED
AS $$ SELECT ai._embed(vectorizer, input, input_type)::vector $$;
