-- A new row, found as soon as its embedding is there. Times are taken by the
-- server's clock, so that starting psql does not count.
delete from demo_docs where kind = 'note';

select clock_timestamp() as started \gset
insert into demo_docs (kind, name, body)
values ('note', 'espresso machine',
        'The coffee maker on the third floor is broken; the one in the kitchen still works.');
select clock_timestamp() as committed \gset
select ai.wait_for_vectorizer('demo_docs', interval '60 seconds') as embedded \gset
select clock_timestamp() as ready \gset

\if :embedded
\else
\echo 'The new row was not embedded within a minute.'
select * from ai.doctor();
-- Ends psql with an error.
select 1 / 0 as not_embedded;
\endif

select round(extract(epoch from :'committed'::timestamptz - :'started') * 1000, 1) as "insert, ms",
       round(extract(epoch from :'ready'::timestamptz - :'committed') * 1000, 1) as "until searchable, ms";
