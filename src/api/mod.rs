//! The SQL functions: each decodes its arguments, calls one service and returns. Comments and
//! grants of what is declared here stand in `sql/finalize.sql`.

pub mod backup;
pub mod checkpoints;
pub mod chunk_functions;
pub mod config_functions;
pub mod embedding_functions;
pub mod grants;
pub mod import;
pub mod model_calls;
pub mod operate;
pub mod pgai;
pub mod rebuild;
pub mod record_status;
pub mod run;
pub mod search;
pub mod secrets;
pub mod status;
pub mod vectorizers;
