//! What went wrong with one request, in words that hold no secret. Knows statuses and error codes;
//! never what was asked.
//!
//! What a server says beside its code is left out: S3 and Azure quote the signed request, with
//! session token and signature, where they refuse it.

use crate::drivers::DriverError;
use object_store::client::{HttpError, HttpErrorKind};
use std::error::Error;
use std::time::Duration;

/// Characters of a cause that are passed on.
const CAUSE_CHARS_MAX: usize = 160;
/// Characters of an error code.
const CODE_CHARS_MAX: usize = 64;
/// Our own code: no credentials were found.
pub const NO_CREDENTIALS: &str = "NoCredentials";

/// Our own code: who gives tokens for Azure gave none.
const TOKEN_REFUSED: &str = "TokenRefused";

/// Codes of S3 and Azure Blob that speak of who asks.
const CREDENTIALS: &[&str] = &[
    "AuthenticationFailed",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidAuthenticationInfo",
    "InvalidToken",
    "NoAuthenticationInformation",
    NO_CREDENTIALS,
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
    TOKEN_REFUSED,
];
/// Codes of S3 and Azure Blob that speak of a place that is not there.
const NO_PLACE: &[&str] = &["ContainerNotFound", "NoSuchBucket", "ResourceNotFound"];
/// Codes of S3 and Azure Blob that speak of an object that is not there.
const NO_OBJECT: &[&str] = &["BlobNotFound", "NoSuchKey"];

/// A request that did not do what it should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// HTTP status; none where there was no answer, or none that could be understood.
    pub status: Option<u16>,
    /// The server's error code; empty where it gave none.
    pub code: String,
    /// What else is known, without secrets.
    said: String,
    /// Nobody answered, or the answer broke off.
    silent: bool,
}

impl Fault {
    /// A server's refusal: its status, and the code in its body.
    pub fn answered(status: u16, body: &str) -> Self {
        Self { status: Some(status), code: code(body), said: String::new(), silent: false }
    }

    /// No answer within `limit`.
    pub fn silent(limit: Duration) -> Self {
        Self { silent: true, ..Self::without_status(&format!("no answer within {limit:?}")) }
    }

    /// An answer that is not understood.
    pub fn garbage(what: &str) -> Self {
        Self::without_status(what)
    }

    /// No credentials, or none that can be read; `what` names the setting.
    pub fn no_credentials(what: &str) -> Self {
        Self { code: NO_CREDENTIALS.to_owned(), ..Self::without_status(what) }
    }

    fn without_status(said: &str) -> Self {
        let said = said.chars().take(CAUSE_CHARS_MAX).collect();
        Self { status: None, code: String::new(), said, silent: false }
    }

    /// What the store's client says. Its text quotes the whole answer: only the status and the code
    /// in it are taken, and where there was no answer, the last cause.
    pub fn of_store(error: &object_store::Error) -> Self {
        if let Some(fault) = ours(error) {
            return fault.clone();
        }
        let text = error.to_string();
        let status = match error {
            object_store::Error::NotFound { .. } => Some(404),
            object_store::Error::NotModified { .. } => Some(304),
            object_store::Error::PermissionDenied { .. } => Some(403),
            object_store::Error::Unauthenticated { .. } => Some(401),
            object_store::Error::Precondition { .. } => Some(412),
            object_store::Error::AlreadyExists { .. } => Some(409),
            _ => status(&text),
        };
        let for_token = text.contains("performing token request");
        match status {
            Some(status @ 400..500) if for_token => {
                Self { code: TOKEN_REFUSED.to_owned(), ..Self::answered(status, "") }
            }
            Some(status) => Self::answered(status, &text),
            None if text.contains("redirect without LOCATION") => Self::answered(301, ""),
            None => match (transport(error), error) {
                (Some(cause), _) => Self::of_cause(cause),
                (None, object_store::Error::InvalidPath { .. }) => {
                    Self::garbage("a key with an empty part, such as a//b, cannot be listed")
                }
                (None, _) => Self::garbage("the answer is not understood"),
            },
        }
    }

    /// A failure without an answer: its last cause, such as `Connection refused`.
    pub fn of_cause(error: &(dyn Error + 'static)) -> Self {
        let mut last = error;
        while let Some(next) = last.source() {
            last = next;
        }
        Self { silent: true, ..Self::without_status(&last.to_string()) }
    }

    /// There is a place, and no such object in it.
    pub fn is_missing_object(&self) -> bool {
        self.status == Some(404) && !NO_PLACE.contains(&self.code.as_str())
    }

    /// Nobody answered, or the answer broke off: what is asked next is not answered either.
    pub fn is_silent(&self) -> bool {
        self.silent
    }

    /// It speaks of who asks.
    pub fn is_of_credentials(&self) -> bool {
        CREDENTIALS.contains(&self.code.as_str()) || self.status == Some(401)
    }

    /// The asker is known, and may not.
    pub fn is_denied(&self) -> bool {
        self.status == Some(403) && !self.is_of_credentials()
    }

    /// What the caller does next. `what` was asked; `needs` are the permissions for it.
    pub fn error(&self, what: &str, needs: &str) -> DriverError {
        let text = format!("{what}: {self}");
        let refused = |remedy: &str| DriverError::Refused(format!("{text}: {remedy}"));
        if self.code == NO_CREDENTIALS {
            return DriverError::Refused(text);
        }
        match (self.status, self.code.as_str()) {
            (_, "ExpiredToken" | "TokenRefreshRequired") => DriverError::Retry(text),
            (_, "RequestTimeTooSkewed") => refused("set this host's clock"),
            (Some(301 | 307), _) | (_, "PermanentRedirect" | "AuthorizationHeaderMalformed") => {
                refused("it is in another region: correct aws_region or endpoint_url")
            }
            _ if self.is_of_credentials() => refused("the credentials are wrong: correct them"),
            (_, code) if NO_PLACE.contains(&code) => {
                refused("create it, or correct the setting that names it")
            }
            (_, "AuthorizationFailure") => refused(&format!(
                "the account's network rules keep this host out, or the credentials are wrong; \
                 they need {needs}"
            )),
            (Some(403), _) => refused(&format!("the credentials need {needs}")),
            (Some(400 | 404 | 405 | 411 | 501), code) if !NO_OBJECT.contains(&code) => {
                refused("the server does not take it; see its log")
            }
            _ => DriverError::Retry(text),
        }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let status = self.status.map(|status| status.to_string());
        let code = Some(self.code.as_str()).filter(|code| *code != NO_CREDENTIALS);
        let parts = [status.as_deref(), code, Some(self.said.as_str())];
        let parts: Vec<&str> =
            parts.into_iter().flatten().filter(|part| !part.is_empty()).collect();
        f.write_str(&parts.join(" "))
    }
}

impl Error for Fault {}

impl From<object_store::Error> for Fault {
    fn from(error: object_store::Error) -> Self {
        Self::of_store(&error)
    }
}

/// A fault of ours that passed through the store's client.
fn ours(error: &object_store::Error) -> Option<&Fault> {
    match error {
        object_store::Error::Generic { source, .. } => source.downcast_ref(),
        _ => None,
    }
}

/// The part that speaks of a connection; none where it is the answer that is wrong: such an error
/// quotes it.
fn transport(error: &object_store::Error) -> Option<&(dyn Error + 'static)> {
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(http) = error.downcast_ref::<HttpError>() {
            return (http.kind() != HttpErrorKind::Decode).then_some(error);
        }
        next = error.source();
    }
    None
}

/// The status in the words of the store's client: `… status code: 503 Service Unavailable: …`.
fn status(text: &str) -> Option<u16> {
    let after = text.split("status code: ").nth(1)?;
    after.get(..3)?.parse().ok()
}

/// The error code in an XML body: the only part of it that is shown.
fn code(body: &str) -> String {
    let code = body.split("<Code>").nth(1).and_then(|rest| rest.split("</Code>").next());
    let word = |code: &&str| {
        code.len() <= CODE_CHARS_MAX && code.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    code.filter(word).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUOTING: &str = "<?xml version=\"1.0\"?><Error><Code>SignatureDoesNotMatch</Code>\
        <Message>see hunter2</Message><StringToSign>hunter2</StringToSign></Error>";

    #[test]
    fn only_the_code_of_an_answer_is_shown() {
        let fault = Fault::answered(403, QUOTING);
        assert_eq!(fault.to_string(), "403 SignatureDoesNotMatch");
        let DriverError::Refused(text) = fault.error("bucket b", "s3:GetObject") else {
            panic!("retried")
        };
        assert!(text.contains("credentials") && !text.contains("hunter2"), "{text}");
        let odd = Fault::answered(500, "<Code>hunter2 <b>; rm</Code>");
        assert_eq!(odd.to_string(), "500");
    }

    #[test]
    fn what_heals_by_itself_is_tried_again() {
        for status in [408, 429, 500, 503] {
            let error = Fault::answered(status, "<Code>SlowDown</Code>").error("b", "");
            assert!(matches!(error, DriverError::Retry(_)), "{status}");
        }
        assert!(matches!(Fault::silent(Duration::ZERO).error("b", ""), DriverError::Retry(_)));
        let expired = Fault::answered(400, "<Code>ExpiredToken</Code>");
        assert!(expired.is_of_credentials());
        assert!(matches!(expired.error("b", ""), DriverError::Retry(_)));
    }

    #[test]
    fn a_missing_place_is_no_missing_object() {
        assert!(Fault::answered(404, "<Code>NoSuchKey</Code>").is_missing_object());
        assert!(Fault::answered(404, "").is_missing_object());
        let gone = Fault::answered(404, "<Code>NoSuchBucket</Code>");
        assert!(!gone.is_missing_object());
        assert!(matches!(gone.error("b", ""), DriverError::Refused(_)));
    }
}
