//! ALTER EXTENSION UPDATE from every released version: the same objects as a fresh install, and
//! what was there goes on.
//!
//! `sql/released` has each release's install script as it was, the way from it is
//! `sql/autovector--FROM--TO.sql`.

use std::{fs, io::Read, path::PathBuf, time::Duration};

use autovector_cluster_tests::{Scene, Settings, Sql, paths, wait_until};
use flate2::read::GzDecoder;
use postgres::Client;

/// Every object of the extension with all that makes it what it is, one line each. Places of columns
/// count: catalogs are dumped and read by position.
const OBJECTS: &str = "
with member as (
    select d.classid, d.objid from pg_depend d join pg_extension e on e.oid = d.refobjid
     where e.extname = 'autovector' and d.refclassid = 'pg_extension'::regclass and d.deptype = 'e'),
of as (
    select m.classid, m.objid, pg_describe_object(m.classid, m.objid, 0) as name from member m)
select name || ': ' || coalesce(obj_description(objid, classid::regclass::name), 'no comment') from of
union all
select o.name || ' is ' || regexp_replace(pg_get_functiondef(p.oid), '\\s+', ' ', 'g')
       || ' for ' || coalesce(p.proacl::text, 'default') || ' rows ' || p.prorows || ' cost ' || p.procost
  from of o join pg_proc p on p.oid = o.objid and o.classid = 'pg_proc'::regclass
union all
select o.name || ' is ' || regexp_replace(coalesce(pg_get_viewdef(c.oid), c.relkind::text), '\\s+', ' ', 'g')
       || ' for ' || coalesce(c.relacl::text, 'default') || ' with ' || coalesce(c.reloptions::text, 'nothing')
  from of o join pg_class c on c.oid = o.objid and o.classid = 'pg_class'::regclass
union all
select o.name || '.' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod) || ' at '
       || row_number() over (partition by c.oid order by a.attnum) || ' null ' || (not a.attnotnull)
       || ' identity ' || a.attidentity::text || ' default ' || coalesce(pg_get_expr(d.adbin, d.adrelid), 'none')
       || ': ' || coalesce(col_description(c.oid, a.attnum), 'no comment')
  from of o join pg_class c on c.oid = o.objid and o.classid = 'pg_class'::regclass
  join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
  left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
 where c.relkind in ('r', 'v')
union all
select o.name || ' constraint ' || n.conname || ' ' || pg_get_constraintdef(n.oid)
  from of o join pg_constraint n on n.conrelid = o.objid and o.classid = 'pg_class'::regclass
union all
select o.name || ' index ' || pg_get_indexdef(i.indexrelid)
  from of o join pg_index i on i.indrelid = o.objid and o.classid = 'pg_class'::regclass
union all
select o.name || ' trigger ' || t.tgfoid::regproc || ' ' || t.tgenabled::text || ' ' || t.tgtype
  from of o join pg_trigger t on t.tgrelid = o.objid and o.classid = 'pg_class'::regclass
union all
select o.name || ' on ' || t.evtevent || ' ' || t.evtenabled::text || ' ' || coalesce(t.evttags::text, 'all') || ' calls ' || t.evtfoid::regprocedure
  from of o join pg_event_trigger t on t.oid = o.objid and o.classid = 'pg_event_trigger'::regclass
union all
select 'dumped: ' || c.oid::regclass || ' ' || k.condition
  from pg_extension e, unnest(e.extconfig, e.extcondition) as k(relation, condition) join pg_class c on c.oid = k.relation
 where e.extname = 'autovector'
 order by 1";

/// The install scripts of old releases in the server's directory of extensions, for as long as this lives.
struct Released(Vec<(String, PathBuf)>);

impl Released {
    fn put() -> Released {
        let directory = PathBuf::from(paths::ask_pg_config("--sharedir")).join("extension");
        let mut put = Vec::new();
        for entry in fs::read_dir(paths::workspace().join("sql/released")).expect("sql/released can be read")
        {
            let path = entry.expect("an entry").path();
            let file = path.file_stem().and_then(|name| name.to_str()).expect("a file name").to_owned();
            let version = file
                .strip_prefix("autovector--")
                .and_then(|rest| rest.strip_suffix(".sql"))
                .unwrap_or_else(|| panic!("{file} is no install script"));
            let mut script = String::new();
            let packed = fs::File::open(&path).expect("the script can be read");
            GzDecoder::new(packed).read_to_string(&mut script).expect("the script is packed text");
            let target = directory.join(&file);
            fs::write(&target, script).expect("the directory of extensions can be written");
            put.push((version.to_owned(), target));
        }
        assert!(!put.is_empty(), "nothing has been released");
        Released(put)
    }
}

impl Drop for Released {
    fn drop(&mut self) {
        for (_, path) in &self.0 {
            drop(fs::remove_file(path));
        }
    }
}

fn objects(db: &mut Client) -> Vec<String> {
    db.batch("set search_path = pg_catalog");
    let found = db.all(OBJECTS, &[]);
    db.batch("reset search_path");
    found
}

/// A database of that version with what it had in it: function calls of the old version do not work with
/// the new library, its data must.
fn database_of(scene: &mut Scene, version: &str) -> Client {
    let name = format!("old_{}", version.replace('.', "_"));
    let mut db = scene.cluster.create_database(&name);
    db.batch(&format!(
        "set client_min_messages = warning; create extension vector;
         create extension autovector version '{version}'"
    ));
    let dump = paths::workspace().join(format!("pgrx-tests/tests/upgrade/{version}.sql"));
    let dump = fs::read_to_string(&dump).unwrap_or_else(|error| panic!("{}: {error}", dump.display()));
    let file = scene.cluster.directory().join("dump.sql");
    fs::write(&file, dump.replace("PROVIDER", &scene.provider.openai_url())).expect("the dump is written");
    let file = file.display().to_string();
    scene.cluster.run_client("psql", &["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", &name, "-f", &file]);
    // As after the library was replaced.
    drop(db);
    scene.cluster.restart();
    scene.reconnect();
    scene.cluster.connect(&name)
}

/// Fear: after an update a function, a grant or a column is missing that every new installation has,
/// and nobody notices before it is needed; or the vectorizers of before stand still or pay again.
#[test]
fn an_update_equals_a_fresh_install_and_work_goes_on() {
    let released = Released::put();
    let mut scene = Scene::with(Settings::default().set("autovector.naptime", "1s"));
    let fresh = objects(&mut scene.db);
    assert!(fresh.len() > 500, "only {} lines were found", fresh.len());
    for (version, _) in &released.0 {
        let mut db = database_of(&mut scene, version);
        // The library is newer than the extension: nothing is touched, and both places say why.
        let says = format!("is version {version}, the library");
        wait_until("the log names both versions", Duration::from_secs(60), || {
            scene.cluster.log().contains(&says)
        });
        let found: Vec<String> = db.all("select finding from ai.doctor()", &[]);
        assert!(found.iter().any(|finding| finding.contains(&says)), "{found:?}");
        assert_eq!(scene.provider.call_count(), 0, "nothing is sent before the update");

        // What protects a source holds before the update too.
        db.batch(
            "begin; create table parted (id bigint) partition by range (id);
             create table part partition of parted for values from (0) to (9);
             update ai.vectorizer set source = 'parted'::regclass",
        );
        let refused = db.error_of("truncate part");
        assert!(refused.message().contains("cannot be truncated alone"), "{refused}");
        db.batch("rollback");

        // Users go on writing meanwhile, and what they write is captured.
        db.batch(
            "update docs set body = 'meanwhile' where id = 20; delete from docs where id = 49;
             insert into docs values (51, 'docs text 51', null)",
        );
        db.batch("alter extension autovector update");
        autovector_cluster_tests::scene::settle(&mut db, "docs");
        assert_eq!(db.one::<i64>("select count(*) from docs_embedding_store", &[]), 50);
        let sent: usize = scene.provider.calls().iter().map(|call| call.inputs.len()).sum();
        assert_eq!(sent, 24, "four changed rows and 20 new ones");
        let before: i64 =
            db.one("select count(*) from ai.read_checkpoint('before', null::docs_embedding_store)", &[]);
        assert_eq!(before, 30);
        // Made anew by the new version, and by the old triggers.
        db.batch("delete from docs where id = 50; update docs set body = 'once more' where id = 9");
        autovector_cluster_tests::scene::settle(&mut db, "docs");
        let chunks: i64 = db.one("select count(*) from docs_embedding_store where chunk = 'once more'", &[]);
        assert_eq!((chunks, db.one::<i64>("select count(*) from docs_embedding_store", &[])), (1, 49));
        let updated = objects(&mut db);
        let missing: Vec<&String> = fresh.iter().filter(|line| !updated.contains(line)).collect();
        let left: Vec<&String> = updated.iter().filter(|line| !fresh.contains(line)).collect();
        assert!(
            missing.is_empty() && left.is_empty(),
            "an update from {version} differs from a fresh install; missing:\n{missing:#?}\nleft over:\n{left:#?}"
        );
    }
    scene.finish();
}
