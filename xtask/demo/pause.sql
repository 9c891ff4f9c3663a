-- Paused, changes are remembered and not worked on.
select ai.pause_vectorizer('demo_docs', 'demo');
update demo_docs
set body = case when body like '%.' then rtrim(body, '.') else body || '.' end
where kind = 'operator';
select state, state_reason, rows_pending from ai.vectorizer_status where name = 'demo_docs';
