//! autovector: keeps embeddings in step with tables, inside PostgreSQL.
//!
//! This file is the table of contents. Direction: `api`, `worker` → `services` → `store` and
//! the crates `autovector-domain`, `autovector-providers`. Nothing points up.

use pgrx::prelude::*;

mod api;
mod error;
mod services;
mod settings;
mod store;
mod worker;

::pgrx::pg_module_magic!(name, version);

extension_sql_file!("../sql/bootstrap.sql", name = "bootstrap", bootstrap);
extension_sql_file!("../sql/triggers.sql", name = "triggers", requires = ["bootstrap"]);
extension_sql_file!(
    "../sql/create_vectorizer.sql",
    name = "create_vectorizer",
    requires = [
        "bootstrap",
        "pgai",
        api::vectorizers::_create_vectorizer,
        api::vectorizers::_capture_replicated,
        api::record_status::_keep_embedding_status
    ]
);
extension_sql_file!(
    "../sql/operate.sql",
    name = "operate",
    requires = [
        "bootstrap",
        api::operate::_scheduling_window,
        api::operate::_scheduling_windows,
        api::operate::_run_vectorizer,
        api::operate::_run_vectorizer_by_name
    ]
);
extension_sql_file!(
    "../sql/views.sql",
    name = "views",
    requires = [
        "bootstrap",
        "operate",
        api::status::_vectorizer_counts,
        api::search::_index_state,
        api::operate::_window,
        api::operate::_throttle
    ]
);
extension_sql_file!(
    "../sql/rebuild.sql",
    name = "rebuild",
    requires = ["bootstrap", api::rebuild::_rebuild_is_over, api::rebuild::_rebuild_is_over_by_name]
);
extension_sql_file!(
    "../sql/pgai.sql",
    name = "pgai",
    requires = [
        "bootstrap",
        "views",
        api::config_functions::indexing_hnsw,
        api::config_functions::indexing_diskann,
        api::search::_embed,
        api::search::_embed_by_name,
        api::pgai::_embed_by,
        api::pgai::disable_vectorizer_schedule,
        api::pgai::disable_vectorizer_schedule_by_name,
        api::pgai::enable_vectorizer_schedule,
        api::pgai::enable_vectorizer_schedule_by_name,
        api::pgai::vectorizer_queue_pending,
        api::pgai::vectorizer_queue_pending_by_name,
        api::pgai::execute_vectorizer,
        api::pgai::execute_vectorizer_by_name,
        api::grants::grant_vectorizer,
        api::grants::grant_vectorizer_by_name,
        api::grants::revoke_vectorizer,
        api::grants::revoke_vectorizer_by_name,
        api::import::import_pgai
    ]
);
extension_sql_file!(
    "../sql/model_calls.sql",
    name = "model_calls",
    requires = [
        "bootstrap",
        api::model_calls::_model_embed,
        api::model_calls::_text_of_tokens,
        api::chunk_functions::chunk_text,
        api::chunk_functions::chunk_text_recursively,
        api::chunk_functions::preview_chunks,
        api::chunk_functions::preview_chunks_by_name,
        api::chunk_functions::chunking_token_text_splitter,
        api::chunk_functions::chunking_markdown,
        api::chunk_functions::chunking_sentence
    ]
);
extension_sql_file!("../sql/metrics.sql", name = "metrics", requires = ["views"]);
extension_sql_file!(
    "../sql/record_status.sql",
    name = "record_status",
    requires = [
        "bootstrap",
        "triggers",
        api::record_status::_track_record_status,
        api::record_status::_untrack_record_status,
        api::record_status::_set_min_submitted,
        api::record_status::_recompute_record_status,
        api::record_status::_record_progress,
        api::record_status::_forget_record_status
    ]
);
extension_sql_file!(
    "../sql/backup.sql",
    name = "backup",
    requires = [
        "bootstrap",
        api::backup::backup_vector_tables,
        api::backup::restore_vector_tables,
        api::backup::verify_backup,
        api::backup::delete_backup,
        api::backup::set_backup_policy,
        api::backup::_list_backups
    ]
);
extension_sql_file!("../sql/checkpoints.sql", name = "checkpoints", requires = ["bootstrap"]);
extension_sql_file!(
    "../sql/checkpoint_functions.sql",
    name = "checkpoint_functions",
    requires = [
        "checkpoints",
        api::checkpoints::_create_checkpoint,
        api::checkpoints::_create_checkpoint_set,
        api::checkpoints::_checkout_checkpoint,
        api::checkpoints::_checkpoint_readable,
        api::checkpoints::refresh_checkpoint,
        api::checkpoints::delete_checkpoint,
        api::checkpoints::restore_checkpoint,
        api::checkpoints::verify_checkpoint,
        api::checkpoints::_clone_checkpoint,
        api::checkpoints::_diff_checkpoints,
        api::checkpoints::_detach_checkpoints,
        api::checkpoints::checkpoint_pending,
        api::checkpoints::_set_checkpoint_policy,
        api::checkpoints::_checkpoint_id,
        api::checkpoints::_checkpoint_query,
        api::checkpoints::_checkpoint_kept,
        api::checkpoints::_checkpoint_attached,
        api::checkpoints::_checkpoint_target,
        api::checkpoints::_checkpoint_relation
    ]
);
extension_sql_file!("../sql/finalize.sql", name = "finalize", finalize);

#[pg_guard]
pub extern "C-unwind" fn _PG_init() {
    // SAFETY: plain globals that the postmaster sets before it loads libraries.
    let (upgrading, preloading) =
        unsafe { (pg_sys::IsBinaryUpgrade, pg_sys::process_shared_preload_libraries_in_progress) };
    settings::init();
    reserve_prefix();
    if preloading && !upgrading {
        store::wake::init();
        store::utility::init();
        worker::init();
    }
}

/// A misspelt `autovector.x` is then an error instead of a setting that does nothing.
fn reserve_prefix() {
    // SAFETY: called from _PG_init with a constant, NUL-terminated prefix.
    unsafe {
        #[cfg(feature = "pg14")]
        pg_sys::EmitWarningsOnPlaceholders(c"autovector".as_ptr());
        #[cfg(not(feature = "pg14"))]
        pg_sys::MarkGUCPrefixReserved(c"autovector".as_ptr());
    }
}

#[cfg(test)]
pub mod pg_test {
    /// Called once by the test framework.
    pub fn setup(_options: Vec<&str>) {}

    /// Lines for the test server's postgresql.conf.
    pub fn postgresql_conf_options() -> Vec<&'static str> {
        vec!["shared_preload_libraries = 'autovector'"]
    }
}

#[cfg(any(test, feature = "pg_test"))]
mod pg_tests;
