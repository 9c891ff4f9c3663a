//! An object store on this machine: s3s-fs, a real server of the protocol that checks signatures
//! itself. Around it stands what it does not have (the list of unfinished uploads; puts under a
//! condition, one after the other) and faults that a test asks for.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
};

use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use s3s::{
    S3, S3ErrorCode, S3Request, S3Response, S3Result, auth::SimpleAuth, dto::*, s3_error,
    service::S3ServiceBuilder,
};
use s3s_fs::FileSystem;
use tempfile::TempDir;
use tokio::{net::TcpListener, runtime::Runtime};

pub const KEY_ID: &str = "AKIDTESTTESTTEST";
pub const SECRET_KEY: &str = "the-secret-key-of-the-bucket-0123456789";
/// The bucket that is there.
pub const NAME: &str = "vectors";

/// What becomes of requests of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mood {
    #[default]
    Willing,
    /// The next so many are refused as by a server that is overloaded.
    Fail(usize),
    /// They are refused as by one that does not allow them.
    Denied,
    /// They are never answered.
    Hang,
}

impl Mood {
    /// The mood of one request; those that are counted become fewer.
    fn taken(&mut self) -> Mood {
        let now = *self;
        if let Mood::Fail(more) = now {
            *self = if more > 1 { Mood::Fail(more - 1) } else { Mood::Willing };
        }
        now
    }

    async fn answer<T>(self, willing: impl Future<Output = S3Result<T>>) -> S3Result<T> {
        match self {
            Mood::Willing => willing.await,
            Mood::Fail(_) => Err(S3ErrorCode::SlowDown.into()),
            Mood::Denied => Err(s3_error!(AccessDenied, "not for {KEY_ID}")),
            Mood::Hang => std::future::pending().await,
        }
    }
}

#[derive(Default)]
struct State {
    parts: Mood,
    /// So many objects are still given, and then what.
    reads: (usize, Mood),
    /// Keys that listings do not show yet.
    unlisted: BTreeSet<String>,
    /// Unfinished uploads: id and key.
    uploads: BTreeMap<String, String>,
}

#[derive(Clone)]
struct Shop {
    files: Arc<FileSystem>,
    state: Arc<Mutex<State>>,
    arrived: Arc<AtomicUsize>,
    /// A condition and the write that it guards are one step.
    writing: Arc<tokio::sync::Mutex<()>>,
}

/// A server with one bucket, until dropped.
pub struct Bucket {
    // The server ends before its directory.
    _runtime: Runtime,
    address: SocketAddr,
    directory: TempDir,
    state: Arc<Mutex<State>>,
    arrived: Arc<AtomicUsize>,
}

fn locked(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().expect("no test panics with it")
}

impl Bucket {
    pub fn start() -> Bucket {
        let directory = tempfile::tempdir().expect("a directory");
        fs::create_dir(directory.path().join(NAME)).expect("a bucket");
        let shop = Shop {
            files: Arc::new(FileSystem::new(directory.path()).expect("a store")),
            state: Arc::default(),
            arrived: Arc::default(),
            writing: Arc::default(),
        };
        let (state, arrived) = (shop.state.clone(), shop.arrived.clone());
        let mut builder = S3ServiceBuilder::new(shop);
        builder.set_auth(SimpleAuth::from_single(KEY_ID, SECRET_KEY));
        let service = builder.build();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("threads");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
        let address = listener.local_addr().expect("an address");
        runtime.spawn(async move {
            let server = Builder::new(TokioExecutor::new());
            while let Ok((socket, _)) = listener.accept().await {
                let connection = server.serve_connection(TokioIo::new(socket), service.clone()).into_owned();
                // Clients that go away in the middle are what some tests want.
                tokio::spawn(async move { drop(connection.await) });
            }
        });
        Bucket { _runtime: runtime, address, directory, state, arrived }
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What becomes of parts that are uploaded from now on.
    pub fn parts(&self, mood: Mood) {
        locked(&self.state).parts = mood;
    }

    /// What becomes of reads of objects after the next `given`.
    pub fn reads_after(&self, given: usize, mood: Mood) {
        locked(&self.state).reads = (given, mood);
    }

    /// Puts an object that listings do not show yet: what another client has put since they were made.
    pub fn plant(&self, key: &str, text: &str) {
        let path = self.file(key);
        fs::create_dir_all(path.parent().expect("in the bucket")).expect("made");
        fs::write(path, text).expect("written");
        locked(&self.state).unlisted.insert(key.to_owned());
    }

    /// Parts that came in, whatever became of them.
    pub fn arrived(&self) -> usize {
        self.arrived.load(Ordering::SeqCst)
    }

    /// Keys of uploads that were begun and neither finished nor aborted.
    pub fn unfinished(&self) -> Vec<String> {
        locked(&self.state).uploads.values().cloned().collect()
    }

    /// The file behind an object: for looking at it and for spoiling it.
    pub fn file(&self, key: &str) -> PathBuf {
        self.directory.path().join(NAME).join(key)
    }

    /// Every key, sorted.
    pub fn keys(&self) -> Vec<String> {
        let top = self.directory.path().join(NAME);
        let (mut keys, mut folders) = (Vec::new(), vec![top.clone()]);
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).expect("a directory") {
                let path = entry.expect("listed").path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    keys.push(relative(&path, &top));
                }
            }
        }
        keys.sort();
        keys
    }
}

fn relative(path: &Path, top: &Path) -> String {
    path.strip_prefix(top).expect("below").to_string_lossy().into_owned()
}

#[async_trait::async_trait]
impl S3 for Shop {
    // These s3s-fs answers by itself.

    async fn head_bucket(
        &self,
        request: S3Request<HeadBucketInput>,
    ) -> S3Result<S3Response<HeadBucketOutput>> {
        self.files.head_bucket(request).await
    }

    async fn head_object(
        &self,
        request: S3Request<HeadObjectInput>,
    ) -> S3Result<S3Response<HeadObjectOutput>> {
        self.files.head_object(request).await
    }

    async fn get_object(&self, request: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let mood = {
            let reads = &mut locked(&self.state).reads;
            match reads.0.checked_sub(1) {
                Some(left) => {
                    reads.0 = left;
                    Mood::Willing
                }
                None => reads.1.taken(),
            }
        };
        mood.answer(self.files.get_object(request)).await
    }

    async fn delete_object(
        &self,
        request: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        self.files.delete_object(request).await
    }

    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let mut response = self.files.list_objects_v2(request).await?;
        let state = locked(&self.state);
        if let Some(objects) = &mut response.output.contents {
            objects.retain(|o| o.key.as_ref().is_none_or(|key| !state.unlisted.contains(key)));
        }
        Ok(response)
    }

    async fn put_object(&self, request: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let _alone = self.writing.lock().await;
        self.files.put_object(request).await
    }

    async fn create_multipart_upload(
        &self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        let key = request.input.key.clone();
        let response = self.files.create_multipart_upload(request).await?;
        if let Some(id) = &response.output.upload_id {
            locked(&self.state).uploads.insert(id.clone(), key);
        }
        Ok(response)
    }

    async fn upload_part(
        &self,
        request: S3Request<UploadPartInput>,
    ) -> S3Result<S3Response<UploadPartOutput>> {
        self.arrived.fetch_add(1, Ordering::SeqCst);
        let mood = locked(&self.state).parts.taken();
        mood.answer(self.files.upload_part(request)).await
    }

    async fn complete_multipart_upload(
        &self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let _alone = self.writing.lock().await;
        let id = request.input.upload_id.clone();
        let response = self.files.complete_multipart_upload(request).await?;
        locked(&self.state).uploads.remove(&id);
        Ok(response)
    }

    async fn abort_multipart_upload(
        &self,
        request: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        let id = request.input.upload_id.clone();
        let response = self.files.abort_multipart_upload(request).await?;
        locked(&self.state).uploads.remove(&id);
        Ok(response)
    }

    async fn list_multipart_uploads(
        &self,
        request: S3Request<ListMultipartUploadsInput>,
    ) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
        // Some servers list the uploads of one key alone; so does this one.
        let wanted = request.input.prefix.unwrap_or_default();
        let state = locked(&self.state);
        let found = state.uploads.iter().filter(|(_, key)| **key == wanted);
        let uploads = found.map(|(id, key)| MultipartUpload {
            key: Some(key.clone()),
            upload_id: Some(id.clone()),
            ..Default::default()
        });
        Ok(S3Response::new(ListMultipartUploadsOutput {
            bucket: Some(request.input.bucket),
            uploads: Some(uploads.collect()),
            ..Default::default()
        }))
    }
}
