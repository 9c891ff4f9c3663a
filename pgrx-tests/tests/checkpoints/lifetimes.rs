//! Names, lifetimes, collection and ownership of checkpoints.

use std::time::Duration;

use autovector_cluster_tests::{Sql, wait::holds_for, wait_until};
use postgres::Client;

use crate::stage::{PATIENCE, create, rows, scene, version};

/// Fear: names are not what one expects: empty, doubled, of several tables.
#[test]
fn names_are_unique_among_live_checkpoints_of_a_table() {
    let mut scene = scene();
    let db = &mut scene.db;
    db.batch("create table u (id int primary key); select ai.create_checkpoint('public.u', 'one')");
    assert_eq!(db.error_of("select ai.create_checkpoint('public.t', 'one')").code().code(), "42710");
    let ambiguous = db.error_of("select ai.verify_checkpoint('one')");
    assert_eq!(ambiguous.code().code(), "22023");
    assert!(ambiguous.hint().is_some_and(|hint| hint.contains("public.u")), "{ambiguous:?}");
    db.batch("select ai.delete_checkpoint(id) from ai.list_checkpoints('public.u')");
    db.batch("select ai.create_checkpoint('public.t'); select ai.create_checkpoint('public.t')");
    let count = |db: &mut Client, call: &str| db.one::<i64>(&format!("select count(*) from {call}"), &[]);
    assert_eq!(count(db, "ai.list_checkpoints()"), 3);
    assert_eq!(count(db, "ai.list_checkpoints('public.t', '')"), 2, "those without a name");
    assert_eq!(count(db, "ai.list_checkpoints(name => 'one')"), 1);
    // An expired one gives its name up.
    db.batch("select ai.refresh_checkpoint('one', '1 microsecond'); select ai.create_checkpoint('public.t', 'one')");
    assert_eq!(count(db, "ai.list_checkpoints('t', 'one')"), 1);
    scene.finish();
}

/// Fear: a refresh moves the version, or an expired checkpoint comes to life again.
#[test]
fn lifetimes_are_kept_and_move_nothing_else() {
    let mut scene = scene();
    let db = &mut scene.db;
    let one = rows(db, "t");
    db.batch("update t set v = 'later'; select ai.refresh_checkpoint('one', '1 hour')");
    assert_eq!(version(db, "one"), one);
    assert!(db.one::<bool>(
        "select expires_at between now() + '59 min' and now() + '61 min' from ai.checkpoints",
        &[]
    ));
    let source: uuid::Uuid = db.one("select ai.create_checkpoint('public.t', 'copy', source => 'one')", &[]);
    assert_eq!(version(db, &source.to_string()), one);
    db.batch("select ai.refresh_checkpoint('one', null)");
    assert!(db.one::<bool>("select expires_at is null from ai.checkpoints where name = 'one'", &[]));
    db.batch("select ai.refresh_checkpoint('one', '1 microsecond')");
    for call in [
        "ai.refresh_checkpoint('one', '1 hour')",
        "ai.create_checkpoint('public.t', 'third', source => 'one')",
        "ai.restore_checkpoint('one')",
        "ai.clone_checkpoint('one', 'c')",
        "ai.verify_checkpoint('one')",
        "ai.checkout_checkpoint('one', 'c')",
        "ai.read_checkpoint('one', null::t)",
        "ai.diff_checkpoints('one')",
    ] {
        let error = db.error_of(&format!("select {call}"));
        assert_eq!(error.code().code(), "55000", "{call}: {error:?}");
        assert!(error.message().contains("expired"), "{call}: {error:?}");
    }
    // The version lives on in the one that was made of it.
    db.batch("select * from ai.gc_checkpoints()");
    assert_eq!(version(db, "copy"), one);
    scene.finish();
}

/// Moves everything that was written down by this span, as if the clock had been set back by it.
fn set_clock_back(db: &mut Client, span: &str) {
    db.batch(&format!(
        "update ai._checkpoint set created_at = created_at + '{span}'::interval, expires_at = expires_at + '{span}'::interval,
                deleted_at = deleted_at + '{span}'::interval, verified_at = verified_at + '{span}'::interval;
         update ai._checkpoint_version set created_at = created_at + '{span}'::interval;
         update ai._checkpoint_policy set last_at = last_at + '{span}'::interval, retry_at = retry_at + '{span}'::interval"
    ));
}

/// Fear: a clock that is set back frees what is live, brings back what was deleted, mixes up the order
/// of versions, or stops a policy; or what has expired for good is never freed.
#[test]
fn a_clock_that_is_set_back_harms_nothing() {
    let mut scene = scene();
    let db = &mut scene.db;
    let one = rows(db, "t");
    db.batch("select ai.refresh_checkpoint('one', '1 hour'); update t set v = 'two' where id <= 50");
    create(db, "two");
    let two = rows(db, "t");
    db.batch("update t set v = 'three' where id <= 20");
    create(db, "gone");
    db.batch("select ai.delete_checkpoint('gone'); update t set v = 'four' where id <= 10");
    set_clock_back(db, "1 day");
    db.batch("select * from ai.gc_checkpoints()");
    assert_eq!((version(db, "one"), version(db, "two")), (one.clone(), two.clone()));
    assert!(!db.one::<bool>("select ai.delete_checkpoint('gone')", &[]), "deleted is deleted");
    // Made at an hour before that of the others, and newer all the same.
    create(db, "gone");
    let three = rows(db, "t");
    db.batch("update t set v = 'five'; select ai.restore_checkpoint('one')");
    assert_eq!(rows(db, "t"), one);
    assert_eq!((version(db, "two"), version(db, "gone")), (two.clone(), three.clone()));
    assert!(db.one::<bool>(
        "select ai.refresh_checkpoint('two', '1 hour') between now() and now() + '1 hour 1 minute'",
        &[]
    ));
    // The clock is right again, and two days have passed.
    set_clock_back(db, "-3 days");
    assert_eq!(db.error_of("select ai.verify_checkpoint('one')").code().code(), "55000");
    db.batch("select * from ai.gc_checkpoints()");
    assert_eq!(version(db, "gone"), three);
    assert_eq!(
        db.one::<i64>("select count(*) from ai._checkpoint", &[]),
        2,
        "and the one before the restore"
    );
    // A policy whose last time lies in the future is due.
    scene.cluster.set("autovector.naptime", "100ms");
    scene.cluster.restart();
    scene.db = scene.cluster.connect("postgres");
    let db = &mut scene.db;
    db.batch("select ai.set_checkpoint_policy('t', every => '1 hour')");
    set_clock_back(db, "1 day");
    wait_until("the policy makes a checkpoint", PATIENCE, || {
        db.one::<i64>("select count(*) from ai._checkpoint where kind = 'policy'", &[]) == 1
    });
    assert!(db.one::<bool>("select last_at <= clock_timestamp() from ai._checkpoint_policy", &[]));
    scene.finish();
}

/// Fear: a collection frees too much, too little, or says something else than it does.
#[test]
fn a_collection_frees_what_nobody_needs_and_reports_it() {
    let mut scene = scene();
    let db = &mut scene.db;
    let one = rows(db, "t");
    db.batch("update t set v = 'a' where id <= 50");
    create(db, "two");
    let two = rows(db, "t");
    db.batch("update t set v = 'b' where id <= 60");
    create(db, "three");
    db.batch("update t set v = 'c' where id <= 10");
    let report = |db: &mut Client, call: &str| -> Vec<String> {
        db.all(
            &format!("select concat_ws(' ', target, checkpoints, rows) from ai.gc_checkpoints({call})"),
            &[],
        )
    };
    assert!(report(db, "").is_empty(), "nothing is over");
    db.batch("select ai.delete_checkpoint('three')");
    assert!(report(db, "min_age => '1 hour'").is_empty(), "not for so long");
    assert_eq!(report(db, "dry_run => true"), ["public.t 1 10"]);
    assert_eq!(report(db, "dry_run => true"), ["public.t 1 10"], "a dry run frees nothing");
    assert_eq!(report(db, ""), ["public.t 1 10"]);
    assert_eq!((version(db, "one"), version(db, "two")), (one.clone(), two));
    db.batch("select ai.delete_checkpoint('two')");
    assert_eq!(report(db, ""), ["public.t 1 50"], "50 rows of one are kept already, 10 more it needs");
    assert_eq!(version(db, "one"), one);
    assert_eq!(db.error_of("select * from ai.gc_checkpoints(min_age => '-1 day')").code().code(), "22023");
    // Somebody is using it.
    let mut user = scene.cluster.connect("postgres");
    user.batch("begin; select ai.verify_checkpoint('one')");
    db.batch("update ai._checkpoint set expires_at = clock_timestamp() where false");
    let mut collector = scene.cluster.connect("postgres");
    let thread = std::thread::spawn(move || {
        collector.batch("select ai.delete_checkpoint('one'); select * from ai.gc_checkpoints()")
    });
    holds_for("the deletion waits for who uses the checkpoint", Duration::from_millis(300), || {
        !thread.is_finished()
    });
    assert_eq!(version(&mut user, "one"), one);
    user.batch("commit");
    thread.join().expect("deleted");
    assert_eq!(db.one::<i64>("select count(*) from ai._checkpoint_history_1", &[]), 0);
    scene.finish();
}

/// Fear: who may not read a table reads its past.
#[test]
fn checkpoints_belong_to_the_owner_of_the_table() {
    let mut scene = scene();
    scene.db.batch(
        "create role owner login; create role other login; grant create, usage on schema public to owner, other;
         grant select on t to other",
    );
    let mut owner = scene.cluster.connect_as("postgres", "owner");
    owner.batch(
        "create table mine (id int primary key, v text); insert into mine values (1, 'secret');
         select ai.create_checkpoint('mine', 'm'); update mine set v = 'changed'; select ai.restore_checkpoint('m');
         select ai.verify_checkpoint('m'); select ai.clone_checkpoint('m', 'mine_copy'); select ai.diff_checkpoints('m');
         select ai.refresh_checkpoint('m', '1 day'); select ai.set_checkpoint_policy('mine', every => '1 day')",
    );
    assert_eq!(owner.one::<String>("select v from ai.read_checkpoint('m', null::mine)", &[]), "secret");
    let mut other = scene.cluster.connect_as("postgres", "other");
    for call in [
        "ai.read_checkpoint('m', null::t)",
        "ai.restore_checkpoint('m')",
        "ai.delete_checkpoint('m')",
        "ai.refresh_checkpoint('m', null)",
        "ai.clone_checkpoint('m', 'x')",
        "ai.verify_checkpoint('m')",
        "ai.checkout_checkpoint('m', 'x')",
        "ai.diff_checkpoints('m')",
        "ai.create_checkpoint('public.t')",
        "ai.create_checkpoint('public.mine')",
        "ai.detach_checkpoints('public.mine')",
        "ai.set_checkpoint_policy('public.mine', every => '1 day')",
        "ai.checkpoint_pending('m')",
    ] {
        let error = other.error_of(&format!("select {call}"));
        assert_eq!(error.code().code(), "42501", "{call}: {error:?}");
    }
    assert_eq!(other.error_of("select * from ai._checkpoint_history_2").code().code(), "42501");
    // Writers need no rights on the history.
    owner.batch("grant insert, update, delete, select, truncate on mine to other");
    other.batch("update mine set v = 'by other'; insert into mine values (2, 'x'); truncate mine");
    assert_eq!(owner.one::<String>("select v from ai.read_checkpoint('m', null::mine)", &[]), "secret");
    // A foreign trigger on a table of one's own feeds nobody's history.
    other.batch(
        "create table fake (id int primary key, v text); insert into fake values (7, 'fake');
         create trigger fake after update on fake for each row execute function ai._checkpoint_row('2', '2');
         update fake set v = 'x'",
    );
    assert_eq!(scene.count("select count(*) from ai._checkpoint_history_2 where a1 = 7"), 0);
    scene.db.batch("alter table mine owner to other");
    assert_eq!(other.one::<String>("select v from ai.read_checkpoint('m', null::mine)", &[]), "secret");
    scene.finish();
}
