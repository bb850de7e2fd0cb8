//! A user's program at a bucket, with credentials from a file. Knows S3; never the arbiter.

use object_store::ClientOptions;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use std::path::Path;

/// A client of `bucket` at `url`, as `profile` in the file of credentials.
pub fn client(url: &str, credentials: &Path, bucket: &str, profile: &str) -> AmazonS3 {
    let value = |key| credential(credentials, profile, key);
    let mut builder = AmazonS3Builder::new()
        .with_endpoint(url)
        .with_bucket_name(bucket)
        .with_region("eu-west-1")
        .with_client_options(ClientOptions::new().with_allow_http(true))
        .with_access_key_id(value("aws_access_key_id").expect("an id"))
        .with_secret_access_key(value("aws_secret_access_key").expect("a secret"));
    if let Some(token) = value("aws_session_token") {
        builder = builder.with_token(token);
    }
    builder.build().expect("a client")
}

/// A value in the file of credentials.
pub fn credential(credentials: &Path, profile: &str, key: &str) -> Option<String> {
    let text = std::fs::read_to_string(credentials).expect("readable");
    let section = text.split(&format!("[{profile}]")).nth(1)?.split('[').next()?.to_owned();
    let mut pairs = section.lines().filter_map(|line| line.split_once(" = "));
    pairs.find(|(name, _)| *name == key).map(|(_, value)| value.to_owned())
}
