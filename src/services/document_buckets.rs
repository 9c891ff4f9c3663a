//! Documents in object storage: in the buckets that a superuser lists, with the server's
//! credentials. Runs on threads, so it touches nothing of PostgreSQL.

use std::sync::{Mutex, PoisonError};

use autovector_domain::failure::Failure;
use autovector_object_store::{Error as Fault, Location, Store};

use super::documents::{ENDPOINTS, Unread, tidy};
use super::object_store;
use crate::error::Result;
use crate::settings::Settings;

/// The buckets that documents may be read from.
pub struct Buckets {
    buckets: Vec<Bucket>,
    settings: Settings,
}

struct Bucket {
    name: String,
    /// Opened for the first document, with the keys of then.
    store: Mutex<Option<Store>>,
}

/// Divides the places that documents may come from: endpoints of the web, and names of buckets.
/// Errors: `Failure::Config` for an entry `s3://…` that is no bucket.
pub fn divide(places: &[String]) -> std::result::Result<(Vec<String>, Vec<String>), Failure> {
    let (buckets, web): (Vec<_>, Vec<_>) =
        places.iter().cloned().partition(|place| place.starts_with("s3://"));
    let name = |place: String| match Location::split(place.trim_end_matches('/')) {
        Ok((bucket, "")) => Ok(bucket.to_owned()),
        _ => Err(Failure::Config {
            message: format!("{ENDPOINTS}: \"{place}\" is not the name of a bucket"),
            hint: Some("Write s3://bucket; all that is in the bucket may be read then.".to_owned()),
        }),
    };
    Ok((web, buckets.into_iter().map(name).collect::<std::result::Result<_, _>>()?))
}

impl Buckets {
    pub fn new(names: Vec<String>, settings: &Settings) -> Buckets {
        let bucket = |name| Bucket { name, store: Mutex::default() };
        Buckets { buckets: names.into_iter().map(bucket).collect(), settings: settings.clone() }
    }

    /// What keeps a bucket from being read, without asking for anything in it.
    pub fn check(&self) -> Result<()> {
        self.buckets.iter().try_for_each(|bucket| self.store(bucket, false).map(drop))
    }

    /// The object behind `s3://bucket/key`, of at most `cap` bytes; `too_large` says what it means to
    /// have more. The key is taken as it stands: such addresses are not percent-encoded.
    pub fn get(
        &self,
        uri: &str,
        cap: u64,
        too_large: impl Fn(u64) -> String,
    ) -> std::result::Result<Vec<u8>, Unread> {
        let (name, key) =
            Location::split(uri).map_err(|_| Unread::loading("this is no address s3://bucket/key"))?;
        let Some(bucket) = self.buckets.iter().find(|bucket| bucket.name == name) else {
            return Err(Unread::loading(format!(
                "the bucket {name} is not read (a superuser can list s3://{name} in {ENDPOINTS})"
            )));
        };
        if key.is_empty() {
            return Err(Unread::loading(format!("{name} is a bucket, not a document")));
        }
        let read = |fresh| {
            let store = self.store(bucket, fresh).map_err(|error| Unread::loading(error.message))?;
            Ok(read(&store, key, cap))
        };
        let found = match read(false)? {
            // The keys may be others by now.
            Err(Fault::Denied(_)) => read(true)?,
            found => found,
        };
        found.map_err(|fault| unread(fault, key))?.map_err(|size| Unread::loading(too_large(size)))
    }

    /// `fresh`: with the keys of now.
    fn store(&self, bucket: &Bucket, fresh: bool) -> Result<Store> {
        let mut opened = bucket.store.lock().unwrap_or_else(PoisonError::into_inner);
        match &*opened {
            Some(store) if !fresh => Ok(store.clone()),
            _ => {
                let store = object_store::open_unwatched(&bucket.name, &self.settings)?;
                Ok(opened.insert(store).clone())
            }
        }
    }
}

/// The bytes of an object, or its size where that is more than `cap`.
fn read(store: &Store, key: &str, cap: u64) -> std::result::Result<std::result::Result<Vec<u8>, u64>, Fault> {
    match store.head(key)?.size {
        size if size > cap => Ok(Err(size)),
        _ => store.get(key, cap).map(Ok),
    }
}

fn unread(fault: Fault, key: &str) -> Unread {
    match fault {
        Fault::Missing(_) => Unread::loading(format!("\"{}\" does not exist in the bucket", tidy(key))),
        Fault::Unreachable(message) => Unread::Later { message: tidy(&message) },
        other => Unread::loading(tidy(&other.to_string())),
    }
}
