//! Notes in the error log that texts were longer than the model takes. A backfill may meet a million
//! of them, so there is one note a vectorizer and an hour, which counts.

use pgrx::JsonB;
use serde_json::{Value, json};

use super::key::Key;
use super::{control, sql};
use crate::error::Result;

/// The keys that a note names.
const MOST_KEYS: usize = 10;

/// Notes the rows that texts were cut of, and how many of each. `longest` is what a text is cut to,
/// in tokens.
pub fn note(id: i32, rows: &[(&Key, usize)], longest: Option<usize>) -> Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let found = sql::query_one(
        "SELECT ctid::text, details FROM ai._vectorizer_errors
          WHERE id = $1 AND recorded > clock_timestamp() - interval '1 hour' AND details ? 'texts_cut'
          ORDER BY recorded DESC LIMIT 1 FOR UPDATE",
        &[id.into()],
        |row| Ok((row.value::<String>(1)?, row.value::<JsonB>(2)?.0)),
    )?;
    let (place, before) = found.unzip();
    let before = before.unwrap_or(Value::Null);
    let texts = rows.iter().map(|(_, texts)| *texts as u64).sum::<u64>();
    let texts = before["texts_cut"].as_u64().unwrap_or(0) + texts;
    let mut keys = before["keys"].as_array().cloned().unwrap_or_default();
    keys.extend(rows.iter().map(|(key, _)| json!(key)).take(MOST_KEYS.saturating_sub(keys.len())));
    let message = match texts {
        1 => "1 text was longer than the model takes and was cut".to_owned(),
        many => format!("{many} texts were longer than the model takes and were cut"),
    };
    let details = json!({ "texts_cut": texts, "max_tokens": longest, "keys": keys });
    let Some(place) = place else { return control::append(id, &message, details) };
    sql::execute(
        "UPDATE ai._vectorizer_errors SET message = $2,
                details = $3 || jsonb_build_object('last', clock_timestamp())
          WHERE ctid = $1::text::tid",
        &[place.into(), message.into(), JsonB(details).into()],
    )?;
    Ok(())
}
