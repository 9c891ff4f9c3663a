//! Moving from pgai.

use pgrx::iter::TableIterator;
use pgrx::name;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::services::import;

#[pg_extern(volatile)]
#[search_path(pg_catalog, pg_temp)]
#[allow(clippy::type_complexity)]
pub fn import_pgai(
    schema_name: &str,
    dry_run: default!(bool, false),
) -> Result<
    TableIterator<'static, (name!(action, String), name!(object, String), name!(detail, String))>,
    ErrorReport,
> {
    let lines = import::import(schema_name, dry_run)?;
    Ok(TableIterator::new(lines.into_iter().map(|l| (l.action.to_owned(), l.object, l.detail))))
}
