//! Calls with any bytes as their messages. Knows methods by name; never what a message says.

use super::rig::Rig;
use crate::raw::Raw;
use futures::Stream;
use prost::bytes::Bytes;
use std::time::Duration;
use tokio::time::timeout;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Request, Status, Streaming};

/// Longest until a call is answered or refused: more than any limit of the product's own.
const CALL_LIMIT: Duration = Duration::from_secs(30);
/// Longest that a stream is read without an answer.
const SILENCE_MAX: Duration = Duration::from_millis(50);
/// Most answers that are read of one stream.
const ANSWERS_MAX: usize = 8;

/// `Service.Method` as a path.
fn path(method: &str) -> PathAndQuery {
    let path = format!("/arbiter.v1.{}", method.replace('.', "/"));
    PathAndQuery::from_maybe_shared(path).expect("a path")
}

/// Open the call. It is answered or refused in time.
///
/// # Errors
/// As it is refused.
pub async fn open(
    rig: &Rig,
    method: &str,
    messages: impl Stream<Item = Bytes> + Send + 'static,
) -> Result<Streaming<Bytes>, Status> {
    let opened = async {
        let mut client = Grpc::new(rig.channel.clone());
        let ready = client.ready().await;
        ready.unwrap_or_else(|error| panic!("{method}: no connection: {error}"));
        client.streaming(Request::new(messages), path(method), Raw).await
    };
    let opened = timeout(CALL_LIMIT, opened).await;
    Ok(opened.unwrap_or_else(|_| panic!("{method} is not answered"))?.into_inner())
}

/// What comes on a stream until it is silent, or ends.
///
/// # Errors
/// As it ends.
pub async fn read(answers: &mut Streaming<Bytes>) -> Result<Vec<Bytes>, Status> {
    let mut found = Vec::new();
    while found.len() < ANSWERS_MAX {
        match timeout(SILENCE_MAX, answers.message()).await {
            Ok(Ok(Some(answer))) => found.push(answer),
            Ok(Err(refused)) => return Err(refused),
            Ok(Ok(None)) | Err(_) => break,
        }
    }
    Ok(found)
}
