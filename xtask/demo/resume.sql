-- Resumed, the backlog is worked off.
select ai.resume_vectorizer('demo_docs');
select ai.wait_for_vectorizer('demo_docs', interval '120 seconds') as embedded \gset
\if :embedded
\else
\echo 'The backlog was not worked off within two minutes.'
select * from ai.doctor();
select 1 / 0 as not_embedded;
\endif
\x on
select * from ai.vectorizer_status where name = 'demo_docs';
