-- The three nearest rows to :question.
select round(found.score::numeric, 3) as score, d.kind, d.name, left(d.body, 72) as body
from ai.search('demo_docs', :'question', 3)
    with ordinality as found (key, chunk_seq, chunk, score, place)
join demo_docs d on d.id = (found.key ->> 'id')::bigint
order by found.place;
