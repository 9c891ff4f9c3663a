//! Where objects lie: service, region and bucket.

use rusty_s3::{Bucket, UrlStyle};
use url::Url;

use crate::{Error, Result};

/// A bucket of AWS, or of another service that speaks its protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// `https://host[:port]`; None is AWS in `region`.
    pub endpoint: Option<String>,
    pub region: String,
    pub bucket: String,
}

impl Location {
    /// Splits `s3://bucket/some/key` into bucket and key; the key may be empty.
    pub fn split(address: &str) -> Result<(&str, &str)> {
        let bad = || Error::Config {
            message: "the address of the object store cannot be read".to_owned(),
            hint: "Write it as s3://bucket or s3://bucket/prefix.".to_owned(),
        };
        let rest = address.strip_prefix("s3://").ok_or_else(bad)?;
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        if is_bucket(bucket) { Ok((bucket, key)) } else { Err(bad()) }
    }

    /// `scheme://host[:port]` of its requests: what a policy has to allow.
    pub fn origin(&self) -> Result<String> {
        Ok(self.open()?.base_url().origin().ascii_serialization())
    }

    pub(crate) fn open(&self) -> Result<Bucket> {
        let bad = |message: &str| {
            Error::Config {
            message: format!("the object store cannot be used: {message}"),
            hint: "Give an endpoint such as https://s3.example.com, a region such as eu-central-1 and the name of a bucket.".to_owned(),
        }
        };
        if !is_bucket(&self.bucket) {
            return Err(bad("this is no name of a bucket"));
        }
        let is_region = |text: &str| {
            !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        if !is_region(&self.region) {
            return Err(bad("this is no name of a region"));
        }
        // A dot in the name breaks the certificate of the host that it would be part of.
        let style = match &self.endpoint {
            None if !self.bucket.contains('.') => UrlStyle::VirtualHost,
            _ => UrlStyle::Path,
        };
        let endpoint = match &self.endpoint {
            None => format!("https://s3.{}.amazonaws.com", self.region),
            Some(endpoint) => endpoint.clone(),
        };
        let endpoint = Url::parse(&endpoint).map_err(|_| bad("its endpoint is not a valid URL"))?;
        if !endpoint.username().is_empty() || endpoint.password().is_some() {
            return Err(bad("a user name or a password must not stand in its endpoint"));
        }
        Bucket::new(endpoint, style, self.bucket.clone(), self.region.clone())
            .map_err(|error| bad(&error.to_string()))
    }
}

/// The names that every service takes.
fn is_bucket(name: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
    let outer = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let bytes = name.as_bytes();
    (3..=63).contains(&bytes.len())
        && bytes.iter().all(|b| inner(*b))
        && outer(bytes.first())
        && outer(bytes.last())
        && !name.contains("..")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn location(endpoint: Option<&str>, bucket: &str) -> Location {
        Location {
            endpoint: endpoint.map(str::to_owned),
            region: "eu-central-1".to_owned(),
            bucket: bucket.to_owned(),
        }
    }

    /// Fear: a name leads to another host or another bucket.
    #[test]
    fn addresses_are_split_and_odd_names_refused() {
        assert_eq!(Location::split("s3://my-bucket/a/b c").unwrap(), ("my-bucket", "a/b c"));
        assert_eq!(Location::split("s3://my-bucket").unwrap(), ("my-bucket", ""));
        for bad in
            ["s3://", "s3://B", "s3://ab", "s3://a..b/x", "s3://a@b/x", "/tmp", "s3://x:y/z", "S3://bucket"]
        {
            assert!(matches!(Location::split(bad), Err(Error::Config { .. })), "{bad}");
        }
    }

    /// Fear: requests go to a host that the policy was not asked about.
    #[test]
    fn the_origin_is_that_of_the_requests() {
        let origin = |endpoint, bucket| location(endpoint, bucket).origin().unwrap();
        assert_eq!(origin(None, "docs"), "https://docs.s3.eu-central-1.amazonaws.com");
        assert_eq!(origin(None, "docs.example"), "https://s3.eu-central-1.amazonaws.com");
        assert_eq!(origin(Some("http://localhost:9000"), "docs"), "http://localhost:9000");
        for bad in ["ftp://x", "http://u:p@x", "nonsense"] {
            assert!(location(Some(bad), "docs").origin().is_err(), "{bad}");
        }
    }
}
