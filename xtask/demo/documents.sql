-- What the demo searches: PostgreSQL's own words about its functions, operators
-- and settings, and (when packages.tsv is not empty) descriptions of programs.
-- Runs in the directory of packages.tsv.
create extension if not exists autovector cascade;

begin;
create table demo_docs (
    id bigint generated always as identity primary key,
    kind text not null,
    name text not null,
    body text not null
);

insert into demo_docs (kind, name, body)
select distinct 'function', p.proname::text, d.description
from pg_catalog.pg_proc p
join pg_catalog.pg_description d
    on d.objoid = p.oid and d.classoid = 'pg_catalog.pg_proc'::regclass
where d.description !~ '^(I/O|implementation of|planner support|internal)'
order by 2, 3;

insert into demo_docs (kind, name, body)
select distinct 'operator', o.oprname::text, d.description
from pg_catalog.pg_operator o
join pg_catalog.pg_description d
    on d.objoid = o.oid and d.classoid = 'pg_catalog.pg_operator'::regclass
where d.description !~ '^deprecated'
order by 2, 3;

insert into demo_docs (kind, name, body)
select 'setting', s.name, concat_ws(' ', s.short_desc, s.extra_desc)
from pg_catalog.pg_settings s
order by s.name;

create temporary table package (name text not null, body text not null) on commit drop;
\copy package from 'packages.tsv'
insert into demo_docs (kind, name, body) select 'program', name, body from package order by name;
commit;

analyze demo_docs;
