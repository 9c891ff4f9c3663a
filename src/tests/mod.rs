//! SQL functions in a real server, one transaction a test. Everything that needs a worker is
//! tested on whole clusters, in `pgrx-tests`.
