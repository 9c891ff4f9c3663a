//! Rules beyond counting: any state that an aggregate over the responses says.

use autovector_cluster_tests::Sql;

use crate::stage::{Stage, schema};

/// Majority over an answer: a third state where annotators disagree.
const MAJORITY: &str = "status_expression => $$
    case
      when count(*) filter (where status = 'submitted') < 2 then 'pending'
      when (count(*) filter (where status = 'submitted')) <
           2 * (count(*) filter (where status = 'submitted' and answers->>'label' = 'yes')) then 'completed'
      when bool_and(answers->>'label' = 'yes') is null then 'unclear' -- no answer at all
      else 'disputed'
    end$$";

fn states(stage: &mut Stage) -> Vec<String> {
    stage.db.all("select id || ' ' || status from records order by id", &[])
}

/// Fear: other states than two are impossible, or not kept in step by every change.
#[test]
fn any_state_follows_the_responses() {
    let mut stage = Stage::tracked(3, MAJORITY);
    stage.db.batch(
        r#"insert into responses (record_id, user_id, status, answers) values
             (1, 1, 'submitted', '{"label": "yes"}'), (1, 2, 'submitted', '{"label": "yes"}'),
             (2, 1, 'submitted', '{"label": "yes"}'), (2, 2, 'submitted', '{"label": "no"}'),
             (3, 1, 'submitted', null), (3, 2, 'submitted', null)"#,
    );
    assert_eq!(states(&mut stage), ["1 completed", "2 disputed", "3 unclear"]);
    stage.db.batch(r#"update responses set answers = '{"label": "no"}' where record_id = 1 and user_id = 2"#);
    assert_eq!(states(&mut stage), ["1 disputed", "2 disputed", "3 unclear"]);
    stage.db.batch(r#"insert into responses (record_id, user_id, status, answers) values (1, 3, 'submitted', '{"label": "yes"}')"#);
    stage.db.batch("update responses set record_id = 3 where record_id = 2 and user_id = 2 and false; delete from responses where record_id = 3 and user_id = 1");
    assert_eq!(states(&mut stage), ["1 completed", "2 disputed", "3 pending"]);
    let progress: String = stage.db.one("select p::text from ai.record_progress('records') p", &[]);
    assert_eq!(progress, r#"(3,1,2,33.3,"{""pending"": 1, ""disputed"": 1, ""completed"": 1}")"#);
    assert_eq!(stage.db.one::<i64>("select ai.recompute_record_status('records')", &[]), 0);
    stage.db.batch("truncate responses");
    assert_eq!(states(&mut stage), ["1 pending", "2 pending", "3 pending"]);
    stage.cluster.assert_healthy();
}

/// Fear: a record without responses has another state than the expression says, a renamed column
/// breaks the expression, or its functions are looked for in the writer's search_path.
#[test]
fn expressions_keep_their_meaning() {
    let mut stage = Stage::bare();
    stage.db.batch(&schema(2));
    stage.db.batch(
        "create schema tools;
         create function tools.verdict(bigint) returns text language sql as $$ select case $1 when 0 then 'untouched' else 'seen' end $$;
         set search_path = tools, public",
    );
    stage.track("status_expression => 'verdict(count(responses.user_id))'");
    stage.db.batch("reset search_path");
    assert_eq!(states(&mut stage), ["1 untouched", "2 untouched"]);
    stage.db.batch("insert into records (id) values (3); alter table responses rename column user_id to who; alter table responses rename to opinions");
    assert_eq!(states(&mut stage), ["1 untouched", "2 untouched", "3 untouched"]);
    stage.db.batch("create schema evil; create function evil.verdict(bigint) returns text language sql as $$ select 'evil' $$;
        set search_path = evil, public;
        insert into opinions (record_id, who, status) values (2, 1, 'draft'); reset search_path");
    assert_eq!(states(&mut stage), ["1 untouched", "2 seen", "3 untouched"]);
    assert_eq!(stage.db.one::<i64>("select ai.recompute_record_status('records')", &[]), 0);
    stage.cluster.assert_healthy();
}

/// Fear: an expression that cannot be computed for one record leaves a wrong status silently.
#[test]
fn an_expression_that_fails_refuses_the_statement() {
    let mut stage = Stage::tracked(
        3,
        "status_expression => $$case when 1 / (3 - count(*)) > 0 then 'completed' else 'pending' end$$",
    );
    stage.cluster.expect_in_log("division by zero");
    stage.respond(1, &[1], "submitted");
    stage.respond(2, &[1], "submitted");
    assert_eq!(stage.status(1), "completed");
    let error = stage.db.error_of(
        "insert into responses (record_id, user_id, status) values (1, 3, 'submitted'), (2, 3, 'submitted')",
    );
    assert_eq!(error.code().code(), "22012");
    assert_eq!(stage.db.one::<i64>("select count(*) from responses", &[]), 2);
    assert_eq!(stage.db.one::<i64>("select ai.recompute_record_status('records')", &[]), 0);
    stage.cluster.assert_healthy();
}
