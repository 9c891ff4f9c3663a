-- A database of version 0.1.0, as pg_dump writes it: table docs of 50 rows, of which 30 are embedded,
-- three changed and 20 inserted since, checkpoint "before" of the 30.
SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;
SET default_tablespace = '';
SET default_table_access_method = heap;
CREATE TABLE ai._checkpoint_history_1 (
    epoch bigint NOT NULL,
    present boolean NOT NULL,
    a1 uuid,
    a2 bigint,
    a3 integer,
    a4 text,
    a5 public.vector,
    a6 bytea,
    a7 timestamp with time zone
);
ALTER TABLE ONLY ai._checkpoint_history_1 ALTER COLUMN a5 SET STORAGE MAIN;
ALTER TABLE ai._checkpoint_history_1 OWNER TO postgres;
CREATE TABLE ai._checkpoint_history_2 (
    epoch bigint NOT NULL,
    present boolean NOT NULL,
    a1 bigint,
    a2 timestamp with time zone,
    a3 bigint
);
ALTER TABLE ai._checkpoint_history_2 OWNER TO postgres;
CREATE TABLE ai._checkpoint_history_3 (
    epoch bigint NOT NULL,
    present boolean NOT NULL,
    a1 bigint,
    a2 timestamp with time zone,
    a3 text,
    a4 text
);
ALTER TABLE ai._checkpoint_history_3 OWNER TO postgres;
CREATE TABLE ai._vectorizer_q_1 (
    id bigint NOT NULL,
    queued_at timestamp with time zone DEFAULT now() NOT NULL,
    gen bigint NOT NULL
)
WITH (autovacuum_vacuum_scale_factor='0.01', autovacuum_vacuum_cost_delay='0');
ALTER TABLE ai._vectorizer_q_1 OWNER TO postgres;
CREATE TABLE ai._vectorizer_q_failed_1 (
    id bigint NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    failure_step text DEFAULT ''::text NOT NULL,
    error text
);
ALTER TABLE ai._vectorizer_q_failed_1 OWNER TO postgres;
CREATE TABLE public.docs (
    id bigint NOT NULL,
    body text,
    note text
);
ALTER TABLE public.docs OWNER TO postgres;
CREATE TABLE public.docs_embedding_store (
    embedding_uuid uuid DEFAULT gen_random_uuid() NOT NULL,
    id bigint NOT NULL,
    chunk_seq integer NOT NULL,
    chunk text NOT NULL,
    embedding public.vector(8) NOT NULL,
    content_hash bytea,
    embedded_at timestamp with time zone DEFAULT now() NOT NULL
);
ALTER TABLE ONLY public.docs_embedding_store ALTER COLUMN embedding SET STORAGE MAIN;
ALTER TABLE public.docs_embedding_store OWNER TO postgres;
CREATE VIEW public.docs_embedding AS
 SELECT t.embedding_uuid,
    t.chunk_seq,
    t.chunk,
    (t.embedding)::public.vector AS embedding,
    t.id,
    s.body,
    s.note
   FROM (public.docs_embedding_store t
     LEFT JOIN public.docs s ON ((t.id = s.id)));
ALTER TABLE public.docs_embedding OWNER TO postgres;
COPY ai._backup (id, name, made_by, made_at, truncated, by_policy) FROM stdin;
\.
COPY ai._backup_policy (one, every, keep_last, keep_for, made_by, search_path, next_at, last_at, last_backup, last_error) FROM stdin;
\.
COPY ai._checkpoint (id, name, target, vectorizer, set_id, source, kind, config, created_at, created_by, expires_at, deleted_at, rows, checksum, verified_at) FROM stdin;
1cc62e3d-26a8-49ec-aedb-f7114377a55e	before	docs	1	\N	\N	manual	{"name": "docs", "config": {"loading": {"retries": 6, "column_name": "body", "config_type": "loading", "implementation": "column"}, "parsing": {"config_type": "parsing", "implementation": "auto"}, "version": "0.2.0", "chunking": {"config_type": "chunking", "implementation": "none"}, "indexing": {"config_type": "indexing", "implementation": "none"}, "embedding": {"model": "test-model", "base_url": "PROVIDER", "dimensions": 8, "config_type": "embedding", "api_key_name": "OPENAI_API_KEY", "implementation": "openai"}, "formatting": {"template": "$chunk", "config_type": "formatting", "implementation": "python_template"}, "processing": {"config_type": "processing", "implementation": "default"}, "scheduling": {"config_type": "scheduling", "implementation": "default"}, "destination": {"view_name": "docs_embedding", "config_type": "destination", "view_schema": "public", "target_table": "docs_embedding_store", "target_schema": "public", "implementation": "table"}}, "source": "public.docs", "scanned": true, "backfill": ["30"], "in_flight": []}	2026-11-21 22:28:03.408234+00	postgres	\N	\N	\N	\N	\N
\.
COPY ai._checkpoint_history (id, relation, anchor, table_schema, table_name, table_owner, columns, numbered_in, last, detached, over) FROM stdin;
1	public.docs_embedding_store	1	public	docs_embedding_store	postgres	[{"h": "a1", "eq": "OPERATOR(pg_catalog.=)", "key": 1, "name": "embedding_uuid", "type": "uuid", "attnum": 1, "declared": "uuid"}, {"h": "a2", "name": "id", "type": "bigint", "attnum": 2, "declared": "bigint"}, {"h": "a3", "name": "chunk_seq", "type": "integer", "attnum": 3, "declared": "integer"}, {"h": "a4", "name": "chunk", "type": "text", "attnum": 4, "declared": "text"}, {"h": "a5", "name": "embedding", "type": "public.vector", "attnum": 5, "declared": "public.vector(8)"}, {"h": "a6", "name": "content_hash", "type": "bytea", "attnum": 6, "declared": "bytea"}, {"h": "a7", "name": "embedded_at", "type": "timestamp with time zone", "attnum": 7, "declared": "timestamp with time zone"}]	17270	1	f	f
2	ai._vectorizer_q_1	1	ai	_vectorizer_q_1	postgres	[{"h": "a1", "eq": "OPERATOR(pg_catalog.=)", "key": 1, "name": "id", "type": "bigint", "attnum": 1, "declared": "bigint"}, {"h": "a2", "name": "queued_at", "type": "timestamp with time zone", "attnum": 2, "declared": "timestamp with time zone"}, {"h": "a3", "name": "gen", "type": "bigint", "attnum": 3, "declared": "bigint"}]	17281	1	f	f
3	ai._vectorizer_q_failed_1	1	ai	_vectorizer_q_failed_1	postgres	[{"h": "a1", "eq": "OPERATOR(pg_catalog.=)", "key": 1, "name": "id", "type": "bigint", "attnum": 1, "declared": "bigint"}, {"h": "a2", "name": "created_at", "type": "timestamp with time zone", "attnum": 2, "declared": "timestamp with time zone"}, {"h": "a3", "name": "failure_step", "type": "text", "attnum": 3, "declared": "text"}, {"h": "a4", "name": "error", "type": "text", "attnum": 4, "declared": "text"}]	17287	1	f	f
\.
COPY ai._checkpoint_history_1 (epoch, present, a1, a2, a3, a4, a5, a6, a7) FROM stdin;
\.
COPY ai._checkpoint_history_2 (epoch, present, a1, a2, a3) FROM stdin;
1	f	31	\N	\N
1	f	32	\N	\N
1	f	33	\N	\N
1	f	34	\N	\N
1	f	35	\N	\N
1	f	36	\N	\N
1	f	37	\N	\N
1	f	38	\N	\N
1	f	39	\N	\N
1	f	40	\N	\N
1	f	41	\N	\N
1	f	42	\N	\N
1	f	43	\N	\N
1	f	44	\N	\N
1	f	45	\N	\N
1	f	46	\N	\N
1	f	47	\N	\N
1	f	48	\N	\N
1	f	49	\N	\N
1	f	50	\N	\N
1	f	1	\N	\N
1	f	2	\N	\N
1	f	3	\N	\N
\.
COPY ai._checkpoint_history_3 (epoch, present, a1, a2, a3, a4) FROM stdin;
\.
COPY ai._checkpoint_version (history, number, created_at, columns, estimate) FROM stdin;
1	1	2026-11-21 22:28:03.129827+00	{a1,a2,a3,a4,a5,a6,a7}	\N
2	1	2026-11-21 22:28:03.22642+00	{a1,a2,a3}	\N
3	1	2026-11-21 22:28:03.399264+00	{a1,a2,a3,a4}	\N
\.
COPY ai._checkpoint_pin (checkpoint, role, history, number) FROM stdin;
1cc62e3d-26a8-49ec-aedb-f7114377a55e	table	1	1
1cc62e3d-26a8-49ec-aedb-f7114377a55e	queue	2	1
1cc62e3d-26a8-49ec-aedb-f7114377a55e	failed	3	1
\.
COPY ai._checkpoint_policy (relation, target, every, every_changes, keep_last, keep_for, set_by, last_at, last_changes, retry_at, last_error) FROM stdin;
\.
COPY ai.vectorizer (id, source_schema, source_table, source_pk, trigger_name, queue_schema, queue_table, config, disabled, queue_failed_table, name, source, store, created_at) FROM stdin;
1	public	docs	[{"pknum": 1, "attnum": 1, "attname": "id", "typname": "bigint"}]	_vectorizer_src_trg_1	ai	_vectorizer_q_1	{"loading": {"retries": 6, "column_name": "body", "config_type": "loading", "implementation": "column"}, "parsing": {"config_type": "parsing", "implementation": "auto"}, "version": "0.2.0", "chunking": {"config_type": "chunking", "implementation": "none"}, "indexing": {"config_type": "indexing", "implementation": "none"}, "embedding": {"model": "test-model", "base_url": "PROVIDER", "dimensions": 8, "config_type": "embedding", "api_key_name": "OPENAI_API_KEY", "implementation": "openai"}, "formatting": {"template": "$chunk", "config_type": "formatting", "implementation": "python_template"}, "processing": {"config_type": "processing", "implementation": "default"}, "scheduling": {"config_type": "scheduling", "implementation": "default"}, "destination": {"view_name": "docs_embedding", "config_type": "destination", "view_schema": "public", "target_table": "docs_embedding_store", "target_schema": "public", "implementation": "table"}}	t	_vectorizer_q_failed_1	docs	public.docs	public.docs_embedding_store	2026-11-21 22:28:02.892042+00
\.
COPY ai._embedding_status (vectorizer_id, source_oid, attnum, column_name) FROM stdin;
\.
COPY ai._lease (id, vectorizer_id, kind, keys, rows, token, worker_pid, worker_start, claimed_at, expires_at) FROM stdin;
\.
COPY ai._rebuild (vectorizer_id, other, state, auto_swap, started_by, started_at, fence, ready_xid, overlap, sampled, note, swapped_at, swap_ms) FROM stdin;
\.
COPY ai._record_status_rule (id, records, responses, columns, submitted_value, completed_value, pending_value, min_submitted, mode, status_expression, search_path, notify_channel, created_by, created_at) FROM stdin;
\.
COPY ai._record_status_error (rule_id, key, error, recorded) FROM stdin;
\.
COPY ai._secret_grant (secret, role) FROM stdin;
\.
COPY ai._text_search (vectorizer_id, configuration, indexed) FROM stdin;
\.
COPY ai._vectorizer_budget (vectorizer_id, tokens, per, period_end, used) FROM stdin;
\.
COPY ai._vectorizer_control (vectorizer_id, state, reason, changed_by, changed_at, consecutive_errors, retry_at, last_error, last_error_at, priority, paused_with_all, run_until, run_rows) FROM stdin;
1	running	\N	postgres	2026-11-21 22:28:03.422138+00	0	\N	\N	\N	100	f	\N	\N
\.
COPY ai._vectorizer_counters (vectorizer_id, rows_done, chunks_embedded, requests, tokens_used, calls_saved, rows_per_second, last_done_at, index_note) FROM stdin;
1	30	30	1	30	0	951.2993099655325	2026-11-21 22:28:03.052188+00	\N
\.
COPY ai._vectorizer_cursor (vectorizer_id, backfill, scanned, dirty) FROM stdin;
1	{30}	t	\N
\.
COPY ai._vectorizer_errors (id, message, details, recorded) FROM stdin;
\.
COPY ai._vectorizer_q_1 (id, queued_at, gen) FROM stdin;
31	2026-11-21 22:28:03.428069+00	1
32	2026-11-21 22:28:03.428069+00	1
33	2026-11-21 22:28:03.428069+00	1
34	2026-11-21 22:28:03.428069+00	1
35	2026-11-21 22:28:03.428069+00	1
36	2026-11-21 22:28:03.428069+00	1
37	2026-11-21 22:28:03.428069+00	1
38	2026-11-21 22:28:03.428069+00	1
39	2026-11-21 22:28:03.428069+00	1
40	2026-11-21 22:28:03.428069+00	1
41	2026-11-21 22:28:03.428069+00	1
42	2026-11-21 22:28:03.428069+00	1
43	2026-11-21 22:28:03.428069+00	1
44	2026-11-21 22:28:03.428069+00	1
45	2026-11-21 22:28:03.428069+00	1
46	2026-11-21 22:28:03.428069+00	1
47	2026-11-21 22:28:03.428069+00	1
48	2026-11-21 22:28:03.428069+00	1
49	2026-11-21 22:28:03.428069+00	1
50	2026-11-21 22:28:03.428069+00	1
1	2026-11-21 22:28:03.43514+00	2
2	2026-11-21 22:28:03.43514+00	2
3	2026-11-21 22:28:03.43514+00	2
\.
COPY ai._vectorizer_q_failed_1 (id, created_at, failure_step, error) FROM stdin;
\.
COPY public.docs (id, body, note) FROM stdin;
4	docs text 4	\N
5	docs text 5	\N
6	docs text 6	\N
7	docs text 7	\N
8	docs text 8	\N
9	docs text 9	\N
10	docs text 10	\N
11	docs text 11	\N
12	docs text 12	\N
13	docs text 13	\N
14	docs text 14	\N
15	docs text 15	\N
16	docs text 16	\N
17	docs text 17	\N
18	docs text 18	\N
19	docs text 19	\N
20	docs text 20	\N
21	docs text 21	\N
22	docs text 22	\N
23	docs text 23	\N
24	docs text 24	\N
25	docs text 25	\N
26	docs text 26	\N
27	docs text 27	\N
28	docs text 28	\N
29	docs text 29	\N
30	docs text 30	\N
31	docs text 31	\N
32	docs text 32	\N
33	docs text 33	\N
34	docs text 34	\N
35	docs text 35	\N
36	docs text 36	\N
37	docs text 37	\N
38	docs text 38	\N
39	docs text 39	\N
40	docs text 40	\N
41	docs text 41	\N
42	docs text 42	\N
43	docs text 43	\N
44	docs text 44	\N
45	docs text 45	\N
46	docs text 46	\N
47	docs text 47	\N
48	docs text 48	\N
49	docs text 49	\N
50	docs text 50	\N
1	changed 1	\N
2	changed 2	\N
3	changed 3	\N
\.
COPY public.docs_embedding_store (embedding_uuid, id, chunk_seq, chunk, embedding, content_hash, embedded_at) FROM stdin;
01a20039-4566-72f9-8e56-9ea57ba1943d	1	0	docs text 1	[0.1,0.1,0.1,0.1,0.1,0.1,0.1,0.1]	\\x3c3a445d2f86df583b982c3a8e3df70ab3c057d4cbd57d5bf7bca2180b881cf9	2026-11-21 22:28:03.045686+00
01a20039-4566-72f9-8e56-9ea6a507fd68	2	0	docs text 2	[0.1,0.1,0.1,0.1,0.1,0.1,0.1,0.1]	\\xfd8286b244dff60927d181537277b1ef05da75f30cec9e0d33e43b57af301da9	2026-11-21 22:28:03.045686+00
01a20039-4566-72f9-8e56-9ea710c74968	3	0	docs text 3	[0.1,0.1,0.1,0.1,0.1,0.1,0.1,0.1]	\\x45b6edf39a7e2ddeb6d35e579f5642b356a5bfe4aadf6b5f47157ebfae06dbce	2026-11-21 22:28:03.045686+00
01a20039-4566-72f9-8e56-9ea880bb4e8b	4	0	docs text 4	[0.1,0.1,0.1,0.1,0.1,0.1,0.1,0.1]	\\x6ab0808ad7e46f1471c8162c78c3c1fdb75acffde332e2fe45163748c177930e	2026-11-21 22:28:03.045686+00
01a20039-4566-72f9-8e56-9ea9086dca74	5	0	docs text 5	[0.1,0.1,0.1,0.1,0.1,0.1,0.1,0.1]	\\x0deafa22b70c0a111e77e954f62bb135201851f44e4974840f8c1ce90e32adaa	2026-11-21 22:28:03.045686+00
01a20039-4566-72f9-8e56-9eaac5fccebc	6	0	docs text 6	[0.1,0.1,0.1,0.1,0.1,0.1,0.1,0.1]	\\x3ab10cbf277af80b0afab645024f8e7e3aea74a826ed1d425cd68c1ced21bd49	2026-11-21 22:28:03.045686+00
01a20039-4566-72f9-8e56-9eab87fbf9f5	7	0	docs text 7	[0.1,0.1,0.1,0.1,0.1,0.1,0.1,0.1]	\\x8f3a866286ddb4063889e6a4f73a5fc1e3ac2bbf7f42c6035f7c19060e1e5f37	2026-11-21 22:28:03.045686+00
01a20039-4566-72f9-8e56-9eace03bdb71	8	0	docs text 8	[0.1,0.1,0.1,0.1,0.1,0.1,0.1,0.1]	\\xa5af9fd4ab9d1f6ac7b21ae1576f0a51f8dce895ae4ac0e9d14e31c039707800	2026-11-21 22:28:03.045686+00
01a20039-4566-72f9-8e56-9eadccac3a2c	9	0	docs text 9	[0.1,0.1,0.1,0.1,0.1,0.1,0.1,0.1]	\\x2195d19f38fecdf851f1666481b75b1336ee52a31e17cadf57c6b4ba43afa5d9	2026-11-21 22:28:03.045686+00
01a20039-4566-72f9-8e56-9eae66be68b3	10	0	docs text 10	[0.1,0.1,0.1,0.1,0.1,0.1,0.1,0.1]	\\x98c82868eaf25e258c2be23c9ce04dc9b92000ae833ed70b36aecf8466a4ee67	2026-11-21 22:28:03.045686+00
01a20039-4566-72f9-8e56-9eaffe81d148	11	0	docs text 11	[0.1,0.1,0.1,0.1,0.1,0.1,0.1,0.1]	\\x70ef1d3851ce17a1563159eef34f508360cc7e49bff18bd9a1bab21bf1c3fe6f	2026-11-21 22:28:03.045686+00
01a20039-4566-72f9-8e56-9eb00e6f2174	12	0	docs text 12	[0.1,0.1,0.1,0.1,0.1,0.1,0.1,0.1]	\\x3943719c8508a82670131584cbf0520fdcdda1eaf1c5cbddef78ce42523b0745	2026-11-21 22:28:03.045686+00
01a20039-4566-72f9-8e56-9eb14d5541db	13	0	docs text 13	[0.1,0.1,0.1,0.1,0.1,0.1,0.1,0.1]	\\xde09db155e64b6dfe366407d6c8aec70edd7aaf11129c4603455136162b8e635	2026-11-21 22:28:03.045686+00
01a20039-4566-72f9-8e56-9eb2cb9fc13a	14	0	docs text 14	[0.1,0.1,0.1,0.1,0.1,0.1,0.1,0.1]	\\x2d54e9344af8f3cb7f81a0c49f7424b0b821b8203eb1b4cba936a8ef59402d5a	2026-11-21 22:28:03.045686+00
01a20039-4566-72f9-8e56-9eb3606977a9	15	0	docs text 15	[0.1,0.1,0.1,0.1,0.1,0.1,0.1,0.1]	\\xa5845205965419fd2c7e83ef56bb13356763ca09c592c228e1674284e1fe9183	2026-11-21 22:28:03.045686+00
01a20039-4566-72f9-8e56-9eb46d1c09cb	16	0	docs text 16	[0.1,0.1,0.1,0.1,0.1,0.1,0.1,0.1]	\\x42bbd5e83ff73488a25f56f80879ff7766ab890807431052dbaf45fbae7d8e38	2026-11-21 22:28:03.045686+00
01a20039-4566-72f9-8e56-9eb50413db4a	17	0	docs text 17	[0.1,0.1,0.1,0.1,0.1,0.1,0.1,0.1]	\\xeef050f864a915b6c398ece87d50e4d7dd1ba6ae0e2bc770be5aa343dd25a737	2026-11-21 22:28:03.045686+00
01a20039-4566-72f9-8e56-9eb6f4906c9c	18	0	docs text 18	[0.1,0.1,0.1,0.1,0.1,0.1,0.1,0.1]	\\xa95db0c053a7ce0128119db44194f518bef48e82e6310246dcf0cbd3e0f84c61	2026-11-21 22:28:03.045686+00
01a20039-4566-72f9-8e56-9eb79cb93172	19	0	docs text 19	[0.1,0.1,0.1,0.1,0.1,0.1,0.1,0.1]	\\xcfad3cf23774f7bad4a5f44d49719e675cdb50e9cf5a5cb8dffd95e8f8d6736a	2026-11-21 22:28:03.045686+00
01a20039-4566-72f9-8e56-9eb8a4ba66a2	20	0	docs text 20	[0.1,0.1,0.1,0.1,0.1,0.1,0.1,0.1]	\\xa4942e700901f5a8e0274bbab04e36f617888feadd30d65f3c31b48ba42e903a	2026-11-21 22:28:03.045686+00
01a20039-4566-72f9-8e56-9eb9bcc1a057	21	0	docs text 21	[0.1,0.1,0.1,0.1,0.1,0.1,0.1,0.1]	\\xae798d939e70df410ac0856ed793bd8446310a0df50ce4575d32b711c7934cdb	2026-11-21 22:28:03.045686+00
01a20039-4566-72f9-8e56-9eba4eddff04	22	0	docs text 22	[0.1,0.1,0.1,0.1,0.1,0.1,0.1,0.1]	\\x6e93ede24f9bd6a05fedad6b5c7f80936f7e7b59a4bd3d3b69d7895644a3d995	2026-11-21 22:28:03.045686+00
01a20039-4566-72f9-8e56-9ebb85194372	23	0	docs text 23	[0.1,0.1,0.1,0.1,0.1,0.1,0.1,0.1]	\\x947860481aa7b570855d563b61ab03028c80ca55fbb4d5901748d218b6f47523	2026-11-21 22:28:03.045686+00
01a20039-4566-72f9-8e56-9ebc6908621d	24	0	docs text 24	[0.1,0.1,0.1,0.1,0.1,0.1,0.1,0.1]	\\x5c9c5373058c2b81f123ddf61f2681845a6fa031aa9d0d9f83332d1162ee348a	2026-11-21 22:28:03.045686+00
01a20039-4566-72f9-8e56-9ebd9fa77a27	25	0	docs text 25	[0.1,0.1,0.1,0.1,0.1,0.1,0.1,0.1]	\\x4a18c23c34b5b945ea755f7533d05f7ba68fe2a98f89e7a7ae4d3f4762447cf1	2026-11-21 22:28:03.045686+00
01a20039-4566-72f9-8e56-9ebeb9f885ef	26	0	docs text 26	[0.1,0.1,0.1,0.1,0.1,0.1,0.1,0.1]	\\x585453c15d50fd443e9b14613fafde883471d01bd1a02479b2626976db32ad3f	2026-11-21 22:28:03.045686+00
01a20039-4566-72f9-8e56-9ebfc9fbc762	27	0	docs text 27	[0.1,0.1,0.1,0.1,0.1,0.1,0.1,0.1]	\\xcf2189cdc03bd1df82a34f3ca61091b52fbe3b54aab38e8b926ce2bf2151c6b8	2026-11-21 22:28:03.045686+00
01a20039-4566-72f9-8e56-9ec09d2af3b0	28	0	docs text 28	[0.1,0.1,0.1,0.1,0.1,0.1,0.1,0.1]	\\x71f430213688c2f89db2a952e00e6c4f9872946bdc3ce4471a8f47af1d2ae4f1	2026-11-21 22:28:03.045686+00
01a20039-4566-72f9-8e56-9ec1bbbf5917	29	0	docs text 29	[0.1,0.1,0.1,0.1,0.1,0.1,0.1,0.1]	\\xab32a4688756459b7c8d27c6eadb14da066e39b8feff09ea328eff780ad581cd	2026-11-21 22:28:03.045686+00
01a20039-4566-72f9-8e56-9ec20bb2249b	30	0	docs text 30	[0.1,0.1,0.1,0.1,0.1,0.1,0.1,0.1]	\\xb1531ff15ae700c55b4e77f05e0c57e69bf2a6724dc9e72f53c183ff0d4d19fa	2026-11-21 22:28:03.045686+00
\.
SELECT pg_catalog.setval('ai._checkpoint_history_id_seq', 3, true);
SELECT pg_catalog.setval('ai._generation_seq', 2, true);
SELECT pg_catalog.setval('ai._lease_id_seq', 1, true);
SELECT pg_catalog.setval('ai._record_status_rule_id_seq', 1, false);
SELECT pg_catalog.setval('ai.vectorizer_id_seq', 1, true);
ALTER TABLE ONLY ai._vectorizer_q_1
    ADD CONSTRAINT _vectorizer_q_1_pkey PRIMARY KEY (id);
ALTER TABLE ONLY ai._vectorizer_q_failed_1
    ADD CONSTRAINT _vectorizer_q_failed_1_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.docs_embedding_store
    ADD CONSTRAINT docs_embedding_store_id_chunk_seq_key UNIQUE (id, chunk_seq);
ALTER TABLE ONLY public.docs_embedding_store
    ADD CONSTRAINT docs_embedding_store_pkey PRIMARY KEY (embedding_uuid);
ALTER TABLE ONLY public.docs
    ADD CONSTRAINT docs_pkey PRIMARY KEY (id);
CREATE UNIQUE INDEX _checkpoint_history_1_a1_epoch_idx ON ai._checkpoint_history_1 USING btree (a1, epoch);
CREATE UNIQUE INDEX _checkpoint_history_2_a1_epoch_idx ON ai._checkpoint_history_2 USING btree (a1, epoch);
CREATE UNIQUE INDEX _checkpoint_history_3_a1_epoch_idx ON ai._checkpoint_history_3 USING btree (a1, epoch);
CREATE TRIGGER _checkpoint_lock BEFORE INSERT OR DELETE OR UPDATE ON ai._vectorizer_q_1 FOR EACH STATEMENT EXECUTE FUNCTION ai._checkpoint_lock('2', '1');
ALTER TABLE ai._vectorizer_q_1 ENABLE ALWAYS TRIGGER _checkpoint_lock;
CREATE TRIGGER _checkpoint_lock BEFORE INSERT OR DELETE OR UPDATE ON ai._vectorizer_q_failed_1 FOR EACH STATEMENT EXECUTE FUNCTION ai._checkpoint_lock('3', '1');
ALTER TABLE ai._vectorizer_q_failed_1 ENABLE ALWAYS TRIGGER _checkpoint_lock;
CREATE TRIGGER _checkpoint_row AFTER INSERT OR DELETE OR UPDATE ON ai._vectorizer_q_1 FOR EACH ROW WHEN (ai._checkpoint_live(2, 1)) EXECUTE FUNCTION ai._checkpoint_row('2', '1');
ALTER TABLE ai._vectorizer_q_1 ENABLE ALWAYS TRIGGER _checkpoint_row;
CREATE TRIGGER _checkpoint_row AFTER INSERT OR DELETE OR UPDATE ON ai._vectorizer_q_failed_1 FOR EACH ROW WHEN (ai._checkpoint_live(3, 1)) EXECUTE FUNCTION ai._checkpoint_row('3', '1');
ALTER TABLE ai._vectorizer_q_failed_1 ENABLE ALWAYS TRIGGER _checkpoint_row;
CREATE TRIGGER _checkpoint_truncate BEFORE TRUNCATE ON ai._vectorizer_q_1 FOR EACH STATEMENT EXECUTE FUNCTION ai._checkpoint_truncate('2', '1');
ALTER TABLE ai._vectorizer_q_1 ENABLE ALWAYS TRIGGER _checkpoint_truncate;
CREATE TRIGGER _checkpoint_truncate BEFORE TRUNCATE ON ai._vectorizer_q_failed_1 FOR EACH STATEMENT EXECUTE FUNCTION ai._checkpoint_truncate('3', '1');
ALTER TABLE ai._vectorizer_q_failed_1 ENABLE ALWAYS TRIGGER _checkpoint_truncate;
CREATE TRIGGER _checkpoint_lock BEFORE INSERT OR DELETE OR UPDATE ON public.docs_embedding_store FOR EACH STATEMENT EXECUTE FUNCTION ai._checkpoint_lock('1', '1');
ALTER TABLE public.docs_embedding_store ENABLE ALWAYS TRIGGER _checkpoint_lock;
CREATE TRIGGER _checkpoint_row AFTER INSERT OR DELETE OR UPDATE ON public.docs_embedding_store FOR EACH ROW WHEN (ai._checkpoint_live(1, 1)) EXECUTE FUNCTION ai._checkpoint_row('1', '1');
ALTER TABLE public.docs_embedding_store ENABLE ALWAYS TRIGGER _checkpoint_row;
CREATE TRIGGER _checkpoint_truncate BEFORE TRUNCATE ON public.docs_embedding_store FOR EACH STATEMENT EXECUTE FUNCTION ai._checkpoint_truncate('1', '1');
ALTER TABLE public.docs_embedding_store ENABLE ALWAYS TRIGGER _checkpoint_truncate;
CREATE TRIGGER _vectorizer_src_trg_1 AFTER INSERT ON public.docs FOR EACH ROW EXECUTE FUNCTION ai._capture_row('1', '1');
CREATE TRIGGER _vectorizer_src_trg_1_delete AFTER DELETE ON public.docs FOR EACH ROW EXECUTE FUNCTION ai._capture_row('1', '1');
CREATE TRIGGER _vectorizer_src_trg_1_truncate AFTER TRUNCATE ON public.docs FOR EACH STATEMENT EXECUTE FUNCTION ai._capture_truncate('1', '1');
CREATE TRIGGER _vectorizer_src_trg_1_update AFTER UPDATE ON public.docs FOR EACH ROW WHEN ((NOT (ai._unchanged(old.id, new.id) AND ai._unchanged(old.body, new.body)))) EXECUTE FUNCTION ai._capture_row('1', '1');
