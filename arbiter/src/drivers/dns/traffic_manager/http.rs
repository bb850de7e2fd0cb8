//! Requests and answers as they cross the wire: a client with limits, bodies with an end, words
//! that may be shown. Knows HTTP; never Azure, an arbiter or a secret.

use std::error::Error;
use std::time::Duration;

/// Characters of somebody else's word that are passed on.
const WORD_CHARS_MAX: usize = 60;

/// A client whose every request ends within `limit`, and that follows nobody elsewhere.
///
/// # Errors
/// Why none can be made.
pub fn client(limit: Duration) -> Result<reqwest::Client, String> {
    crate::tls::install();
    let builder = reqwest::Client::builder().timeout(limit).no_proxy();
    let builder = builder.redirect(reqwest::redirect::Policy::none()).pool_max_idle_per_host(0);
    builder.build().map_err(|_| "no HTTP client could be made: TLS is not available".to_owned())
}

/// The body of an answer, of at most `bytes_max`.
///
/// # Errors
/// Why it is not whole, in words that follow who answers.
pub async fn body(mut answer: reqwest::Response, bytes_max: usize) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(bytes) = answer.chunk().await.map_err(|error| cause(&error))? {
        body.extend_from_slice(&bytes);
        if body.len() > bytes_max {
            return Err(format!("answers with more than {bytes_max} bytes"));
        }
    }
    Ok(body)
}

/// The last cause of a failure without an answer; never the URL, nor what was sent.
pub fn cause(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "does not answer in time".to_owned();
    }
    let mut last: &dyn Error = error;
    while let Some(next) = last.source() {
        last = next;
    }
    // An error of reqwest itself may name the URL.
    let own = last.downcast_ref::<reqwest::Error>().is_some();
    if own { "does not answer".to_owned() } else { format!("does not answer: {last}") }
}

/// Seconds that an answer asks to wait, where it says so in seconds.
pub fn retry_after(answer: &reqwest::Response) -> Option<Duration> {
    let value = answer.headers().get(reqwest::header::RETRY_AFTER)?;
    value.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

/// An `http://` or `https://` URL that holds no user.
pub fn is_url(text: &str) -> bool {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    rest.is_some_and(|rest| !rest.is_empty() && !rest.contains(['@', ' ', '?', '#']))
}

/// Text as one part of a path or one value of a form: all but unreserved characters escaped.
pub fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let bytes = text.bytes().map(|byte| match byte {
        byte if plain(byte) => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    });
    bytes.collect()
}

/// What may be shown of a word of somebody else's.
pub fn plain(word: &str) -> String {
    let kept = word.chars().filter(|c| c.is_ascii_alphanumeric() || "-_.".contains(*c));
    kept.take(WORD_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_holds_any_secret() {
        assert_eq!(escaped("a~b-C.d_9"), "a~b-C.d_9");
        assert_eq!(escaped("p&q=r+s t/ü"), "p%26q%3Dr%2Bs%20t%2F%C3%BC");
    }

    #[test]
    fn a_url_holds_no_user() {
        assert!(is_url("https://login.example.com") && is_url("http://10.0.1.1:7401"));
        for text in ["", "https://", "ftp://a", "https://u:p@h", "https://h?x=1", "https://h x"] {
            assert!(!is_url(text), "{text}");
        }
    }
}
