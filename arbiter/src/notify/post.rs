//! One POST of JSON. Knows HTTP; never what is posted.

use reqwest::header::{AUTHORIZATION, HeaderValue};
use serde::Serialize;
use std::time::Duration;

/// Limit of one post.
pub(super) const POST_LIMIT: Duration = Duration::from_secs(5);

/// Post `body`; done when the status says so.
///
/// # Errors
/// Why not, without the URL: it may carry a secret.
pub(super) async fn post(
    url: &str,
    authorization: Option<HeaderValue>,
    body: &(impl Serialize + ?Sized),
) -> Result<(), String> {
    let client = reqwest::Client::builder().timeout(POST_LIMIT).no_proxy().build();
    let client = client.map_err(|error| error.without_url().to_string())?;
    let request = client.post(url).json(body);
    let request = match authorization {
        Some(value) => request.header(AUTHORIZATION, value),
        None => request,
    };
    let answer = request.send().await.map_err(|error| match error {
        error if error.is_connect() => "cannot connect".to_owned(),
        error if error.is_timeout() => format!("no answer within {POST_LIMIT:?}"),
        error => error.without_url().to_string(),
    })?;
    if answer.status().is_success() {
        return Ok(());
    }
    Err(format!("status {}", answer.status().as_u16()))
}

/// Scheme, host and port of a URL: what stands behind them may be a secret.
pub(super) fn place(url: &str) -> String {
    let parsed = reqwest::Url::parse(url).ok();
    parsed.map_or("no URL".to_owned(), |url| url.origin().ascii_serialization())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_holds_no_secret() {
        let hook = "https://me:hunter2@hooks.test/services/T0/hunter2?key=hunter2";
        assert_eq!(place(hook), "https://hooks.test");
        assert_eq!(place("http://127.0.0.1:9093/am"), "http://127.0.0.1:9093");
        assert_eq!(place("hunter2"), "no URL");
    }
}
