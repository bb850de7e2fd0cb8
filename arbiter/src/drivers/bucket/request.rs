//! Requests that the store's client has no word for: policies, replication, ACLs, headers of an
//! object. Signed with its signers and sent with its client.

use super::credentials::Signer;
use super::{Bucket, Fault, limited};
use futures::StreamExt;
use object_store::aws::AwsAuthorizer;
use object_store::azure::AzureAuthorizer;
use object_store::client::{HttpRequest, HttpRequestBody, HttpResponse};
use object_store::{HeaderMap, HeaderValue};
use reqwest::Method;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE};

/// Greatest answer that is read, in bytes; a bucket policy has at most 20 KiB.
const ANSWER_BYTES_MAX: usize = 256 * 1024;

/// What is asked.
pub struct Ask<'a> {
    /// GET, HEAD, PUT or DELETE.
    pub method: Method,
    /// An object; none: the place itself.
    pub key: Option<&'a str>,
    /// What stands behind the question mark.
    pub query: &'a str,
    /// Headers beside those that every request has.
    pub headers: Vec<(String, String)>,
    /// Its body, and the body's type.
    pub body: Option<(&'static str, String)>,
}

impl<'a> Ask<'a> {
    /// A question about the place itself.
    pub fn get(query: &'a str) -> Self {
        Self { method: Method::GET, key: None, query, headers: Vec::new(), body: None }
    }

    /// A question about an object: its headers.
    pub fn head(key: &'a str) -> Self {
        Self { method: Method::HEAD, key: Some(key), ..Self::get("") }
    }

    /// A change of the place itself.
    pub fn put(query: &'a str, kind: &'static str, body: String) -> Self {
        Self { method: Method::PUT, body: Some((kind, body)), ..Self::get(query) }
    }

    /// A removal from the place itself.
    pub fn delete(query: &'a str) -> Self {
        Self { method: Method::DELETE, ..Self::get(query) }
    }
}

/// A good answer.
pub struct Answer {
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: String,
}

impl Answer {
    /// A header as text; empty where it is missing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

impl Bucket {
    /// Ask once.
    ///
    /// # Errors
    /// A fault, with the status of an answer that is none of 200 to 299.
    pub async fn ask(&self, ask: Ask<'_>) -> Result<Answer, Fault> {
        limited(async {
            let mut request = self.request(ask)?;
            self.sign(&mut request).await?;
            let response = self.http.execute(request).await;
            let response = response.map_err(|error| Fault::of_cause(&error))?;
            answer(response).await
        })
        .await
    }

    fn request(&self, ask: Ask<'_>) -> Result<HttpRequest, Fault> {
        let mut url = self.place.url();
        if let Some(key) = ask.key {
            url = format!("{url}/{}", escaped(key));
        }
        if !ask.query.is_empty() {
            url = format!("{url}?{}", ask.query);
        }
        let (kind, body) = ask.body.unwrap_or_default();
        let length = body.len();
        let checksum = crc32c::crc32c(body.as_bytes()).to_be_bytes();
        let mut request = HttpRequest::new(HttpRequestBody::from(body));
        *request.method_mut() = ask.method.clone();
        *request.uri_mut() = url.parse().map_err(|_| Fault::garbage("the URL is none"))?;
        let headers = request.headers_mut();
        if ask.method == Method::PUT {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
            if matches!(self.signer, Signer::S3(..)) {
                // S3 takes no policy and no replication without a checksum.
                let sum = data_encoding::BASE64.encode(&checksum);
                headers.insert("x-amz-checksum-crc32c", value(&sum)?);
            }
        }
        for (name, text) in ask.headers {
            let name = reqwest::header::HeaderName::try_from(name);
            let name = name.map_err(|_| Fault::garbage("a header's name is none"))?;
            headers.insert(name, value(&text)?);
        }
        Ok(request)
    }

    async fn sign(&self, request: &mut HttpRequest) -> Result<(), Fault> {
        match &self.signer {
            Signer::S3(provider, region) => {
                let credential = provider.get_credential().await?;
                AwsAuthorizer::new(&credential, "s3", region).try_authorize(request, None)?;
            }
            Signer::Azure(provider, account) => {
                let provider = provider.as_ref().ok_or_else(|| Fault::no_credentials("none"))?;
                let credential = provider.get_credential().await?;
                AzureAuthorizer::new(&credential, account).try_authorize(request)?;
            }
        }
        Ok(())
    }
}

fn value(text: &str) -> Result<HeaderValue, Fault> {
    HeaderValue::from_str(text).map_err(|_| Fault::garbage("a header's value is none"))
}

/// A key as it stands in a URL, as both services sign it: all but unreserved characters and `/`.
fn escaped(key: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    let bytes = key.bytes().map(|byte| match byte {
        byte if plain(byte) => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    });
    bytes.collect()
}

async fn answer(response: HttpResponse) -> Result<Answer, Fault> {
    let (parts, body) = response.into_parts();
    let mut bytes = Vec::new();
    let mut chunks = body.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| Fault::of_cause(&error))?;
        if bytes.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(Fault::garbage("the answer has no end"));
        }
        bytes.extend_from_slice(&chunk);
    }
    let body = String::from_utf8_lossy(&bytes).into_owned();
    if parts.status.is_success() {
        return Ok(Answer { headers: parts.headers, body });
    }
    let mut fault = Fault::answered(parts.status.as_u16(), &body);
    // HEAD has no body: Azure gives the code in a header.
    if let Some(code) = parts.headers.get("x-ms-error-code").and_then(|code| code.to_str().ok())
        && fault.code.is_empty()
    {
        fault = Fault::answered(parts.status.as_u16(), &format!("<Code>{code}</Code>"));
    }
    Err(fault)
}
