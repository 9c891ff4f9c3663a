//! Record status: the status column of annotated records follows their responses, whatever is
//! done to them. The schema is Argilla's: users, records, responses.

mod annotation;
mod concurrency;
mod deferred;
mod embedding;
mod events;
mod expressions;
mod histories;
mod refusals;
mod stage;
mod statements;
mod tables;
