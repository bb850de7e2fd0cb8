//! Questions to one Kubernetes API server, each with its limits.
//!
//! Knows HTTP, how long and how often to ask, and what an answer means to the caller. Never knows
//! an object or a goal, and logs no body.

use super::login::{self, Login, Session};
use super::settings::Access;
use crate::clock;
use crate::drivers::DriverError;
use arbiter_core::Instant;
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use kube::client::Body;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// Longest wait for one answer, connecting included. An observation has 5 s for all of its own.
pub const REQUEST_LIMIT: Duration = Duration::from_secs(3);
/// How often one question is asked in one call, where the server answers that it cannot now.
pub const TRIES_MAX: u32 = 3;
/// Wait before the second; doubled before the third.
const WAIT_FIRST: Duration = Duration::from_millis(100);
/// Longest wait within a call. A server that wants a longer one (`Retry-After`, RFC 9110 §10.2.3)
/// is left alone until then, and the call ends.
const WAIT_MAX: Duration = Duration::from_secs(1);
/// Longest time that a server is left alone, whatever it asks for.
pub const ALONE_MAX: Duration = Duration::from_secs(30);
/// Largest answer, in bytes; a page of 500 pods is a few MiB.
const ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Objects of one page of a list.
const PAGE: u32 = 500;
/// Most pages of one list.
const PAGES_MAX: u32 = 100;
/// Longest text of a server that is repeated, in characters.
const SAID_CHARS_MAX: usize = 300;

/// Who writes, in `managedFields` of what is written.
const FIELD_MANAGER: &str = "region-arbiter";

/// Why a question has no answer; named by what the caller does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The object, or its kind, is not there.
    Missing(String),
    /// It changed since it was read, or is there already: read it again.
    Conflict(String),
    /// The credentials may not do this; the text names verb and resource.
    Forbidden(String),
    /// Try again.
    Retry(String),
    /// No retry helps.
    Refused(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Missing(text)
            | Fault::Conflict(text)
            | Fault::Forbidden(text)
            | Fault::Retry(text)
            | Fault::Refused(text) => f.write_str(text),
        }
    }
}

impl From<Fault> for DriverError {
    fn from(fault: Fault) -> Self {
        let text = fault.to_string();
        match fault {
            Fault::Conflict(_) | Fault::Retry(_) => DriverError::Retry(text),
            Fault::Missing(_) | Fault::Forbidden(_) | Fault::Refused(_) => {
                DriverError::Refused(text)
            }
        }
    }
}

/// One API server, as one set of credentials sees it.
pub struct Api {
    login: Login,
    /// The server asked to be left alone until then.
    alone_until: Mutex<Option<Instant>>,
}

/// A question that failed, and when it may be asked again in the same call.
struct Failed {
    fault: Fault,
    again: Option<Duration>,
}

/// A page of a list; its items carry no kind.
#[derive(Deserialize)]
struct Page<T> {
    items: Vec<T>,
    #[serde(default)]
    metadata: PageMeta,
}

#[derive(Default, Deserialize)]
struct PageMeta {
    #[serde(rename = "continue")]
    next: Option<String>,
}

impl Api {
    /// Reached by `access`. Nothing is read or asked yet.
    pub fn new(access: Access) -> Self {
        Self { login: Login::new(access), alone_until: Mutex::new(None) }
    }

    /// The namespace in force, and the server's URL.
    pub async fn place(&self) -> Result<(String, String), Fault> {
        let session = self.login.session().await?;
        Ok((session.namespace, session.server))
    }

    /// An object.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Fault> {
        parse(path, &self.ask(&Method::GET, path, None).await?)
    }

    /// Everything that a list holds, page by page. `query`: selectors, percent-encoded.
    pub async fn list<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &str,
    ) -> Result<Vec<T>, Fault> {
        let (mut all, mut next) = (Vec::new(), None::<String>);
        for _ in 0..PAGES_MAX {
            let more = next.map(|token| format!("&continue={}", encode(&token)));
            let more = more.unwrap_or_default();
            let page = format!("{path}?limit={PAGE}{query}{more}");
            let page: Page<T> = parse(path, &self.ask(&Method::GET, &page, None).await?)?;
            all.extend(page.items);
            next = page.metadata.next.filter(|token| !token.is_empty());
            if next.is_none() {
                return Ok(all);
            }
        }
        Err(Fault::Refused(format!("{path} has more than {} objects", PAGE * PAGES_MAX)))
    }

    /// Change an object by a JSON merge patch (RFC 7386). With `metadata.resourceVersion` in it, it
    /// is `Conflict` where the object changed since that was read.
    pub async fn patch<T: DeserializeOwned>(&self, path: &str, patch: &Value) -> Result<T, Fault> {
        let to = format!("{path}?fieldManager={FIELD_MANAGER}");
        parse(path, &self.ask(&Method::PATCH, &to, Some(patch)).await?)
    }

    /// Make an object; `Conflict` where there is one of its name.
    pub async fn create<T: DeserializeOwned>(&self, path: &str, body: &Value) -> Result<T, Fault> {
        let to = format!("{path}?fieldManager={FIELD_MANAGER}");
        parse(path, &self.ask(&Method::POST, &to, Some(body)).await?)
    }

    /// Remove an object, or begin to; `Missing` where there is none.
    pub async fn delete(&self, path: &str) -> Result<(), Fault> {
        self.ask(&Method::DELETE, path, None).await.map(drop)
    }

    async fn ask(
        &self,
        method: &Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Vec<u8>, Fault> {
        self.may_ask()?;
        let (mut wait, mut tries) = (WAIT_FIRST, 1);
        loop {
            let failed = match self.once(method, path, body).await {
                Ok(answer) => return Ok(answer),
                Err(failed) => failed,
            };
            let asked = failed.again.unwrap_or_default();
            if asked > WAIT_MAX {
                self.leave_alone(asked);
            }
            if failed.again.is_none() || asked > WAIT_MAX || tries == TRIES_MAX {
                return Err(failed.fault);
            }
            sleep(asked.max(wait)).await;
            wait *= 2;
            tries += 1;
        }
    }

    fn may_ask(&self) -> Result<(), Fault> {
        let until = *self.alone_until.lock().unwrap_or_else(PoisonError::into_inner);
        match until.map(|until| until.since(clock::now())) {
            Some(left) if !left.is_zero() => Err(Fault::Retry(format!(
                "the Kubernetes API asks to be left alone for {:.0} s more",
                left.as_secs_f64()
            ))),
            _ => Ok(()),
        }
    }

    fn leave_alone(&self, asked: Duration) {
        let until = clock::now() + asked.min(ALONE_MAX);
        *self.alone_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(until);
    }

    async fn once(
        &self,
        method: &Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Vec<u8>, Failed> {
        let session = self.login.session().await.map_err(Failed::now)?;
        let content = if *method == Method::PATCH {
            "application/merge-patch+json"
        } else {
            "application/json"
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, content)
            .body(body.map_or_else(Body::empty, |body| Body::from(body.to_string().into_bytes())))
            .map_err(|_| Failed::now(Fault::Refused(format!("{path} is no path"))))?;
        let asked = timeout(REQUEST_LIMIT, send(&session, request));
        let (status, headers, answer) = match asked.await {
            Ok(answered) => answered?,
            // Not again in this call: a hole in the network stays one for longer than that.
            Err(_) => {
                return Err(Failed::now(Fault::Retry(format!(
                    "the Kubernetes API at {} gave no answer within {REQUEST_LIMIT:?}",
                    session.server
                ))));
            }
        };
        if status.is_success() {
            return Ok(answer);
        }
        if status == StatusCode::UNAUTHORIZED {
            self.login.forget().await;
        }
        Err(judge(method, path, status, &headers, &answer))
    }
}

type Answer = (StatusCode, HeaderMap, Vec<u8>);

async fn send(session: &Session, request: Request<Body>) -> Result<Answer, Failed> {
    let server = &session.server;
    let unreachable = |why: &str| Failed {
        fault: Fault::Retry(format!("the Kubernetes API at {server} {why}")),
        again: Some(Duration::ZERO),
    };
    let answer = session.client.send(request).await.map_err(|error| match &error {
        kube::Error::Auth(_) => Failed::now(login::refused(&error)),
        kube::Error::Service(_) | kube::Error::HyperError(_) => {
            unreachable(&format!("cannot be reached: {}", deepest(&error)))
        }
        _ => unreachable("cannot be reached"),
    })?;
    let (parts, body) = answer.into_parts();
    let read = axum::body::to_bytes(axum::body::Body::new(body), ANSWER_BYTES_MAX);
    let body = read.await.map_err(|_| unreachable("broke off its answer, or it is too long"))?;
    Ok((parts.status, parts.headers, body.to_vec()))
}

/// What a chain of errors ends with: the operating system's word, or that of TLS.
fn deepest(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    tidy(&last.to_string())
}

/// What a refusal means.
fn judge(
    method: &Method,
    path: &str,
    status: StatusCode,
    headers: &HeaderMap,
    answer: &[u8],
) -> Failed {
    let said = said(answer).map(|said| format!(": {said}")).unwrap_or_default();
    let path = path.split('?').next().unwrap_or_default();
    let what = format!("{method} {path} is answered with {}{said}", status.as_u16());
    let fault = match status {
        // Never what it said: some servers repeat the request.
        StatusCode::UNAUTHORIZED => Fault::Refused(
            "the Kubernetes API does not know the credentials (401): renew those of the \
             kubeconfig, or of the pod's service account"
                .to_owned(),
        ),
        StatusCode::FORBIDDEN => Fault::Forbidden(format!(
            "{what}; give the agent's user a Role with this verb and resource"
        )),
        StatusCode::NOT_FOUND => Fault::Missing(what),
        StatusCode::CONFLICT => Fault::Conflict(what),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => Fault::Retry(what),
        status if status.is_server_error() => Fault::Retry(what),
        _ => Fault::Refused(what),
    };
    let again = matches!(fault, Fault::Retry(_)).then(|| retry_after(headers));
    Failed { fault, again }
}

/// What `Retry-After` asks for, in seconds; a date or nothing is no wait of its own.
fn retry_after(headers: &HeaderMap) -> Duration {
    let value = headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
    Duration::from_secs(value.and_then(|value| value.trim().parse().ok()).unwrap_or(0))
}

/// The message of a `Status` object. What lies between may repeat the request: its credentials are
/// left out.
pub(crate) fn said(answer: &[u8]) -> Option<String> {
    let status: Value = serde_json::from_slice(answer).ok()?;
    let message = status.get("message")?.as_str().filter(|_| status["kind"] == "Status")?;
    let mut words = message.split_whitespace();
    let mut plain = Vec::new();
    while let Some(word) = words.next() {
        plain.push(word);
        let scheme = word.trim_matches(|c: char| !c.is_ascii_alphabetic());
        if ["bearer", "basic"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
            plain.extend(words.next().map(|_| "…"));
        }
    }
    Some(tidy(&plain.join(" "))).filter(|text| !text.is_empty())
}

/// On one line, and not too long.
pub fn tidy(text: &str) -> String {
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    plain.take(SAID_CHARS_MAX).collect()
}

pub(crate) fn parse<T: DeserializeOwned>(path: &str, answer: &[u8]) -> Result<T, Fault> {
    serde_json::from_slice(answer).map_err(|error| {
        // Where, not what: the error of an unknown value would quote it.
        Fault::Retry(format!(
            "the answer to {path} is not what a Kubernetes API gives (column {} of line {})",
            error.column(),
            error.line()
        ))
    })
}

impl Failed {
    fn now(fault: Fault) -> Self {
        Self { fault, again: None }
    }
}

/// Percent-encode everything but RFC 3986's unreserved characters.
pub fn encode(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
