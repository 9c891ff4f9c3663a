//! "Why does nothing happen?": every way in which a vectorizer can stand still, with what to do.

use autovector_domain::failure::Failure;

use super::{documents, provider};
use crate::error::Result;
use crate::settings::Settings;
use crate::store::catalog::{self, Vectorizer};
use crate::store::session::{self, Installed};
use crate::store::transaction::as_extension_owner;
use crate::store::wake;
use crate::store::{diagnosis, rebuilds};

pub struct Finding {
    pub severity: &'static str,
    pub subject: String,
    pub finding: String,
    pub fix: String,
}

pub(super) fn finding(
    severity: &'static str,
    subject: &str,
    finding: impl Into<String>,
    fix: impl Into<String>,
) -> Finding {
    Finding { severity, subject: subject.to_owned(), finding: finding.into(), fix: fix.into() }
}

/// Looks at the server and at every vectorizer. Calls no provider.
pub fn examine() -> Result<Vec<Finding>> {
    as_extension_owner(|| {
        let mut findings = server()?;
        // What a vectorizer is like, this library can tell of its own version alone.
        let known = if session::is_ours()? { catalog::ids()? } else { Vec::new() };
        for id in known {
            findings.extend(vectorizer(id)?);
        }
        if findings.is_empty() {
            findings.push(finding(
                "ok",
                "autovector",
                "everything that can be seen from here is in order",
                "",
            ));
        }
        Ok(findings)
    })
}

fn server() -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    if diagnosis::in_recovery() {
        findings.push(finding(
            "info",
            "server",
            "this is a standby: workers run on the primary only",
            "Nothing: they start by themselves after promotion.",
        ));
        return Ok(findings);
    }
    if !wake::preloaded() {
        findings.push(finding(
            "error",
            "server",
            "autovector is not preloaded, so there are no workers",
            "Add shared_preload_libraries = 'autovector' to postgresql.conf and restart the server.",
        ));
        return Ok(findings);
    }
    if let Installed::Other(version) = session::installed()? {
        findings.push(finding(
            "error",
            "server",
            format!(
                "the extension is version {version}, the library {}: nothing is embedded",
                session::VERSION
            ),
            "ALTER EXTENSION autovector UPDATE; or restart the server, if the library is the older one.",
        ));
        return Ok(findings);
    }
    let database = diagnosis::current_database();
    if wake::is_short_of_places(database) {
        findings.push(finding(
            "error",
            "server",
            "no worker can be started: all places of max_worker_processes are taken",
            "Raise max_worker_processes in postgresql.conf and restart the server.",
        ));
    }
    if !wake::has_scheduler(database) {
        findings.push(finding(
            "error",
            "server",
            "no scheduler serves this database",
            "Look for free places: SHOW max_worker_processes; the server's log says what is missing.",
        ));
    }
    findings.extend(super::standstill::server_findings());
    if let Err(error) = catalog::pgvector() {
        findings.push(finding("error", "pgvector", error.message, error.hint.unwrap_or_default()));
    }
    Ok(findings)
}

fn vectorizer(id: i32) -> Result<Vec<Finding>> {
    let v = match catalog::vectorizer(id) {
        Ok(v) => v,
        Err(error) => {
            return Ok(vec![finding(
                "error",
                &id.to_string(),
                error.message,
                error.hint.unwrap_or_default(),
            )]);
        }
    };
    // A store that is kept from before a rebuild rests on purpose.
    if rebuilds::is_kept(id)? {
        return Ok(Vec::new());
    }
    let mut findings = state(&v)?;
    for trigger in diagnosis::disabled_triggers(&v)? {
        findings.push(finding(
            "error",
            &v.name,
            format!("trigger {trigger} on {} is missing or disabled: changes are not seen", v.source.ident),
            format!("ALTER TABLE {} ENABLE TRIGGER {trigger};", v.source.ident),
        ));
    }
    findings.extend(provider_findings(&v));
    findings.extend(document_findings(&v));
    let failed = diagnosis::failed_rows(&v)?;
    if failed > 0 {
        findings.push(finding(
            "warning",
            &v.name,
            format!("{failed} rows were refused"),
            format!("SELECT * FROM ai.vectorizer_records('{0}') WHERE state = 'failed'; then SELECT ai.retry_failed('{0}');", v.name),
        ));
    }
    Ok(findings)
}

fn state(v: &Vectorizer) -> Result<Vec<Finding>> {
    let Some(control) = diagnosis::control(v.id)? else { return Ok(Vec::new()) };
    let reason = control.reason.unwrap_or_else(|| "no reason given".to_owned());
    let resume = format!("SELECT ai.resume_vectorizer('{}');", v.name);
    Ok(match control.state.as_str() {
        "paused" => {
            vec![finding("info", &v.name, format!("paused by {}: {reason}", control.changed_by), resume)]
        }
        "halted" => {
            vec![finding(
                "error",
                &v.name,
                format!("halted: {reason}"),
                format!("Mend the cause, then {resume}"),
            )]
        }
        _ if control.backing_off => vec![finding(
            "warning",
            &v.name,
            format!(
                "backing off after {} failed requests: {}",
                control.consecutive_errors,
                control.last_error.unwrap_or_default()
            ),
            "It goes on by itself once the provider answers.",
        )],
        _ => super::standstill::findings(v)?,
    })
}

/// What keeps a vectorizer from its documents.
fn document_findings(v: &Vectorizer) -> Vec<Finding> {
    if !v.config.loading.is_uri() {
        return Vec::new();
    }
    let settings = Settings::now();
    match documents::check(&settings) {
        Ok(()) => Vec::new(),
        Err(problem) => vec![finding("error", &v.name, problem.message, problem.hint.unwrap_or_default())],
    }
}

/// What can be seen of the provider without calling it.
fn provider_findings(v: &Vectorizer) -> Vec<Finding> {
    let settings = Settings::now();
    match provider::check(&v.config.embedding, v.may_use_key, &settings) {
        Ok(()) => Vec::new(),
        Err(Failure::Config { message, hint }) => {
            vec![finding("error", &v.name, message, hint.unwrap_or_default())]
        }
        Err(failure) => vec![finding("warning", &v.name, failure.to_string(), "")],
    }
}
