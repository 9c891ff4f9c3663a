//! Every `autovector.*` setting. Nothing that reads a file or opens a socket can be set by an
//! ordinary user: those settings come from the configuration file or ALTER SYSTEM alone.
//! The rest of the program takes a `Settings` snapshot, because threads may not read settings.

use std::{ffi::CString, path::PathBuf, time::Duration};

use pgrx::{GucContext, GucFlags, GucRegistry, GucSetting};

static MAX_WORKERS: GucSetting<i32> = GucSetting::<i32>::new(4);
static NAPTIME: GucSetting<i32> = GucSetting::<i32>::new(10_000);
static IDLE_TIMEOUT: GucSetting<i32> = GucSetting::<i32>::new(60_000);
static LEASE_DURATION: GucSetting<i32> = GucSetting::<i32>::new(120_000);
static REQUEST_TIMEOUT: GucSetting<i32> = GucSetting::<i32>::new(60_000);
static CONNECT_TIMEOUT: GucSetting<i32> = GucSetting::<i32>::new(5_000);
static LOCAL_THREADS: GucSetting<i32> = GucSetting::<i32>::new(0);
static THROTTLE_ACTIVE_SESSIONS: GucSetting<i32> = GucSetting::<i32>::new(0);
static THROTTLE_REPLICATION_LAG: GucSetting<i32> = GucSetting::<i32>::new(0);
static EMBEDDING_CACHE_ROWS: GucSetting<i32> = GucSetting::<i32>::new(1_000_000);
static LOCAL_MODEL_DIRECTORY: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);
static SECRETS_DIRECTORY: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);
static ALLOWED_ENDPOINTS: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);

static BACKUP_DIRECTORY: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);
static DOCUMENT_DIRECTORY: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);
static DOCUMENT_ENDPOINTS: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);
static DOCUMENT_MAX_SIZE: GucSetting<i32> = GucSetting::<i32>::new(64 * 1024);
static DOCUMENT_MEMORY: GucSetting<i32> = GucSetting::<i32>::new(512);
static DOCUMENT_TIMEOUT: GucSetting<i32> = GucSetting::<i32>::new(60_000);
static S3_ENDPOINT: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);
static S3_REGION: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);

/// A copy of all settings at one moment.
#[derive(Debug, Clone)]
pub struct Settings {
    pub max_workers: usize,
    pub naptime: Duration,
    pub idle_timeout: Duration,
    pub lease_duration: Duration,
    pub request_timeout: Duration,
    pub connect_timeout: Duration,
    pub local_threads: usize,
    /// Workers give way while so many sessions, or more, are active.
    pub throttle_active_sessions: Option<i64>,
    /// Workers give way while a standby is further behind.
    pub throttle_replication_lag: Option<Duration>,
    /// Vectors that the shared cache of a database may hold.
    pub embedding_cache_rows: i64,
    pub local_model_directory: Option<PathBuf>,
    pub secrets_directory: Option<PathBuf>,
    pub backup_directory: Option<PathBuf>,
    /// None is AWS.
    pub s3_endpoint: Option<String>,
    pub s3_region: String,
    /// Empty: the built-in list (the known providers and loopback).
    pub allowed_endpoints: Vec<String>,
    pub document_directory: Option<PathBuf>,
    /// Empty: documents are fetched from nowhere.
    pub document_endpoints: Vec<String>,
    /// In bytes.
    pub document_max_size: u64,
    pub document_memory: u64,
    pub document_timeout: Duration,
}

impl Settings {
    pub fn now() -> Self {
        let millis = |setting: &GucSetting<i32>| Duration::from_millis(setting.get().max(0) as u64);
        Settings {
            max_workers: MAX_WORKERS.get().max(1) as usize,
            naptime: millis(&NAPTIME),
            idle_timeout: millis(&IDLE_TIMEOUT),
            lease_duration: millis(&LEASE_DURATION),
            request_timeout: millis(&REQUEST_TIMEOUT),
            connect_timeout: millis(&CONNECT_TIMEOUT),
            local_threads: local_threads(),
            throttle_active_sessions: Some(THROTTLE_ACTIVE_SESSIONS.get().into()).filter(|n| *n > 0),
            throttle_replication_lag: Some(millis(&THROTTLE_REPLICATION_LAG)).filter(|lag| !lag.is_zero()),
            embedding_cache_rows: EMBEDDING_CACHE_ROWS.get().max(0).into(),
            local_model_directory: text(&LOCAL_MODEL_DIRECTORY).map(PathBuf::from),
            secrets_directory: text(&SECRETS_DIRECTORY).map(PathBuf::from),
            backup_directory: text(&BACKUP_DIRECTORY).map(PathBuf::from),
            s3_endpoint: text(&S3_ENDPOINT),
            s3_region: text(&S3_REGION).unwrap_or_else(|| "us-east-1".to_owned()),
            allowed_endpoints: list(&ALLOWED_ENDPOINTS),
            document_directory: text(&DOCUMENT_DIRECTORY).map(PathBuf::from),
            document_endpoints: list(&DOCUMENT_ENDPOINTS),
            document_max_size: DOCUMENT_MAX_SIZE.get().max(1) as u64 * 1024,
            document_memory: DOCUMENT_MEMORY.get().max(1) as u64 * 1024 * 1024,
            document_timeout: millis(&DOCUMENT_TIMEOUT),
        }
    }
}

impl Settings {
    /// Whether workers have to look at the load of the server.
    pub fn throttles(&self) -> bool {
        self.throttle_active_sessions.is_some() || self.throttle_replication_lag.is_some()
    }
}

/// 0 means half of the machine's processors: the server needs the others.
fn local_threads() -> usize {
    match LOCAL_THREADS.get() {
        0 => (std::thread::available_parallelism().map_or(1, usize::from) / 2).max(1),
        n => n as usize,
    }
}

fn text(setting: &GucSetting<Option<CString>>) -> Option<String> {
    setting.get().and_then(|value| value.into_string().ok()).filter(|value| !value.is_empty())
}

fn list(setting: &GucSetting<Option<CString>>) -> Vec<String> {
    let items = text(setting).unwrap_or_default();
    items.split(',').map(|item| item.trim().to_owned()).filter(|item| !item.is_empty()).collect()
}

/// Registers the settings; called once from `_PG_init`.
pub fn init() {
    let int = |name, short, long, setting, min, max, flags| {
        GucRegistry::define_int_guc(name, short, long, setting, min, max, GucContext::Sighup, flags)
    };
    int(
        c"autovector.max_workers",
        c"Sets the most worker processes at one time in the whole cluster.",
        c"They come out of max_worker_processes.",
        &MAX_WORKERS,
        1,
        64,
        GucFlags::empty(),
    );
    int(
        c"autovector.naptime",
        c"Sets the time between two looks for work that no commit announced.",
        c"Commits wake the workers at once; this is the safety net.",
        &NAPTIME,
        100,
        3_600_000,
        GucFlags::UNIT_MS,
    );
    int(
        c"autovector.idle_timeout",
        c"Sets how long a worker without work stays before it gives its process, model and sockets back.",
        c"",
        &IDLE_TIMEOUT,
        0,
        86_400_000,
        GucFlags::UNIT_MS,
    );
    int(
        c"autovector.lease_duration",
        c"Sets how long a batch belongs to a worker that gives no sign of life.",
        c"Living workers renew their leases; a worker that is gone loses them at once.",
        &LEASE_DURATION,
        1_000,
        3_600_000,
        GucFlags::UNIT_MS,
    );
    int(
        c"autovector.request_timeout",
        c"Sets the most time that one request to a provider may take in all.",
        c"",
        &REQUEST_TIMEOUT,
        100,
        3_600_000,
        GucFlags::UNIT_MS,
    );
    int(
        c"autovector.connect_timeout",
        c"Sets the most time that connecting to a provider may take.",
        c"",
        &CONNECT_TIMEOUT,
        50,
        600_000,
        GucFlags::UNIT_MS,
    );
    int(
        c"autovector.local_threads",
        c"Sets the threads that a worker may use for a local model.",
        c"0 means half of the machine's processors.",
        &LOCAL_THREADS,
        0,
        1024,
        GucFlags::empty(),
    );
    int(
        c"autovector.throttle_active_sessions",
        c"Sets the number of active sessions at which workers give way.",
        c"0 means that sessions are not looked at.",
        &THROTTLE_ACTIVE_SESSIONS,
        0,
        1_000_000,
        GucFlags::empty(),
    );
    int(
        c"autovector.throttle_replication_lag",
        c"Sets how far a standby may be behind before workers give way.",
        c"0 means that standbys are not looked at.",
        &THROTTLE_REPLICATION_LAG,
        0,
        86_400_000,
        GucFlags::UNIT_MS,
    );
    int(
        c"autovector.embedding_cache_rows",
        c"Sets the vectors that the embedding cache of a database may hold.",
        c"Those that were not used for the longest time go first.",
        &EMBEDDING_CACHE_ROWS,
        0,
        i32::MAX,
        GucFlags::empty(),
    );
    int(
        c"autovector.document_max_size",
        c"Sets the most bytes that a document may have.",
        c"A larger one is a failed row, and is not read.",
        &DOCUMENT_MAX_SIZE,
        1,
        1024 * 1024,
        GucFlags::UNIT_KB,
    );
    int(
        c"autovector.document_memory",
        c"Sets the most memory that reading a document may take, besides the document itself.",
        c"So many documents are read at one time as autovector.local_threads says.",
        &DOCUMENT_MEMORY,
        16,
        1024 * 1024,
        GucFlags::UNIT_MB,
    );
    int(
        c"autovector.document_timeout",
        c"Sets the most processor time that reading a document may take.",
        c"By the clock it may take twice as long.",
        &DOCUMENT_TIMEOUT,
        100,
        3_600_000,
        GucFlags::UNIT_MS,
    );
    let string = |name, short, long, setting| {
        GucRegistry::define_string_guc(
            name,
            short,
            long,
            setting,
            GucContext::Sighup,
            GucFlags::SUPERUSER_ONLY,
        )
    };
    string(
        c"autovector.local_model_directory",
        c"Sets the directory whose subdirectories are the local models.",
        c"SQL names a model by its subdirectory, never by a path.",
        &LOCAL_MODEL_DIRECTORY,
    );
    string(
        c"autovector.secrets_directory",
        c"Sets the directory whose files are API keys, one file a key.",
        c"Keys are looked up here first, then in the server's environment.",
        &SECRETS_DIRECTORY,
    );
    string(
        c"autovector.allowed_endpoints",
        c"Sets the endpoints that providers may be called at, as a comma-separated list of scheme://host[:port].",
        c"When empty: the known providers and this machine.",
        &ALLOWED_ENDPOINTS,
    );
    string(
        c"autovector.document_directory",
        c"Sets the directory below which ai.loading_uri may read files.",
        c"When empty no file is read. Symbolic links below it are not followed.",
        &DOCUMENT_DIRECTORY,
    );
    string(
        c"autovector.document_endpoints",
        c"Sets the endpoints that ai.loading_uri may fetch documents from, as a comma-separated list of scheme://host[:port] and s3://bucket.",
        c"When empty nothing is fetched.",
        &DOCUMENT_ENDPOINTS,
    );
    string(
        c"autovector.backup_directory",
        c"Sets the directory below which backups of vector tables are written and read.",
        c"A directory of the server, which must be able to write to it, or s3://bucket/prefix. When empty there are no backups.",
        &BACKUP_DIRECTORY,
    );
    string(
        c"autovector.s3_endpoint",
        c"Sets the scheme://host[:port] of the object store that s3:// addresses mean.",
        c"When empty: AWS, in autovector.s3_region.",
        &S3_ENDPOINT,
    );
    string(
        c"autovector.s3_region",
        c"Sets the region that requests to the object store are signed for.",
        c"When empty: us-east-1.",
        &S3_REGION,
    );
}
