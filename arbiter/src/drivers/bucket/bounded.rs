//! A client whose answers have an end. Knows sizes; never what is asked.

use futures::StreamExt;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse,
    HttpResponseBody, HttpService, ReqwestConnector,
};
use std::io;

/// Greatest answer, in bytes: a Terraform state may have 64 MiB.
const ANSWER_BYTES_MAX: usize = 65 * 1024 * 1024;

/// Makes such clients.
#[derive(Debug, Default)]
pub struct Bounded(ReqwestConnector);

impl HttpConnector for Bounded {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(Client(self.0.connect(options)?)))
    }
}

#[derive(Debug)]
struct Client(HttpClient);

#[async_trait::async_trait]
impl HttpService for Client {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (parts, body) = self.0.execute(request).await?.into_parts();
        let (mut bytes, mut chunks) = (Vec::new(), body.bytes_stream());
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk?;
            if bytes.len() + chunk.len() > ANSWER_BYTES_MAX {
                let what = io::Error::other("the answer has no end");
                return Err(HttpError::new(HttpErrorKind::Unknown, what));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(HttpResponse::from_parts(parts, HttpResponseBody::from(bytes)))
    }
}
