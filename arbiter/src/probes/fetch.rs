//! One GET of one URL, bounded in size. Knows HTTP; never what an answer means for a region.

use super::{Seen, resolve};
use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{AUTHORIZATION, HeaderValue};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, OnceLock, PoisonError};

/// What a server sees of who asks.
const USER_AGENT: &str = concat!("region-arbiter/", env!("CARGO_PKG_VERSION"));

/// One client for all probes: connections are not kept, since a kept one could outlive a cut.
static CLIENT: OnceLock<Option<reqwest::Client>> = OnceLock::new();
/// What each look resolved last, by host.
static RESOLVED: Mutex<BTreeMap<String, Vec<SocketAddr>>> = Mutex::new(BTreeMap::new());

/// A look has resolved the host before it asks, to tell a name that is not resolved from a host
/// that does not answer; the client is given what it found.
struct Known;

impl Resolve for Known {
    fn resolve(&self, name: Name) -> Resolving {
        let known = RESOLVED.lock().unwrap_or_else(PoisonError::into_inner);
        let found = known.get(name.as_str()).cloned().unwrap_or_default();
        Box::pin(std::future::ready(Ok(Box::new(found.into_iter()) as Addrs)))
    }
}

fn client() -> Option<&'static reqwest::Client> {
    let made = CLIENT.get_or_init(|| {
        let builder = reqwest::Client::builder().pool_max_idle_per_host(0).dns_resolver(Known);
        let builder = builder.redirect(reqwest::redirect::Policy::none()).no_proxy();
        builder.user_agent(USER_AGENT).build().ok()
    });
    made.as_ref()
}

/// `target` without a user and a password, to be shown to anybody.
pub(super) fn shown(target: &str) -> String {
    match target.split_once("://") {
        Some((scheme, rest)) => {
            let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
            let start = rest[..end].rfind('@').map_or(0, |at| at + 1);
            format!("{scheme}://{}", &rest[start..])
        }
        None => target.to_owned(),
    }
}

/// Why there is no answer.
pub(super) enum Failed {
    /// It could not be asked from here, which tells nothing of it.
    Unasked(Seen),
    /// It was asked, and does not answer; in words.
    Unanswered(String),
}

/// GET `target`; the answer, none of its body read.
pub(super) async fn get(
    target: &str,
    authorization: Option<HeaderValue>,
    resolved: &AtomicBool,
) -> Result<reqwest::Response, Failed> {
    let Some(client) = client() else {
        let why = "no HTTP client could be made: TLS is not available";
        return Err(Failed::Unasked(Seen::unknown(why)));
    };
    let shown = shown(target);
    let parsed = Url::parse(target).ok();
    let place =
        parsed.as_ref().and_then(|url| Some((url.host_str()?, url.port_or_known_default()?)));
    let (Some(url), Some((host, port))) = (&parsed, place) else {
        return Err(Failed::Unasked(Seen::unknown(format!("{shown} is no URL to GET"))));
    };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let found = resolve(target, (bare, port), resolved).await.map_err(Failed::Unasked)?;
    RESOLVED.lock().unwrap_or_else(PoisonError::into_inner).insert(host.to_owned(), found);
    let request = client.get(url.clone());
    let request = match authorization {
        Some(value) => request.header(AUTHORIZATION, value),
        None => request,
    };
    request.send().await.map_err(|error| match error {
        error if error.is_builder() => {
            Failed::Unasked(Seen::unknown(format!("{shown} is no URL to GET")))
        }
        error if error.is_connect() => Failed::Unanswered(format!("{shown}: cannot connect")),
        error => Failed::Unanswered(format!("{shown}: {}", error.without_url())),
    })
}

/// GET `target` and read its body, where only an answer of 200 is one. Whatever else comes, or
/// does not, is unknown: what cannot be read says nothing.
pub(super) async fn read(
    target: &str,
    authorization: Option<HeaderValue>,
    bytes_max: usize,
    resolved: &AtomicBool,
) -> Result<Vec<u8>, Seen> {
    let shown = shown(target);
    let mut answer = match get(target, authorization, resolved).await {
        Ok(answer) => answer,
        Err(Failed::Unasked(seen)) => return Err(seen),
        Err(Failed::Unanswered(why)) => return Err(Seen::unknown(why)),
    };
    let status = answer.status().as_u16();
    if status != 200 {
        return Err(Seen::unknown(format!("{shown} answers {status}")));
    }
    let mut body = Vec::new();
    loop {
        match answer.chunk().await {
            Ok(Some(bytes)) => body.extend_from_slice(&bytes),
            Ok(None) => return Ok(body),
            Err(error) => {
                return Err(Seen::unknown(format!("{shown}: {}", error.without_url())));
            }
        }
        if body.len() > bytes_max {
            let text = format!("{shown} answers with more than {bytes_max} bytes");
            return Err(Seen::unknown(text));
        }
    }
}
