//! Whether a URL answers. Knows HTTP only.

use super::{Seen, resolve};
use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, OnceLock, PoisonError};

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
        builder.redirect(reqwest::redirect::Policy::none()).no_proxy().build().ok()
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

/// GET `url`: up when the status is below 400.
pub(super) async fn look(target: &str, resolved: &AtomicBool) -> Seen {
    let Some(client) = client() else {
        return Seen::unknown("no HTTP client could be made: TLS is not available");
    };
    let parsed = Url::parse(target).ok();
    let place =
        parsed.as_ref().and_then(|url| Some((url.host_str()?, url.port_or_known_default()?)));
    let (Some(url), Some((host, port))) = (&parsed, place) else {
        return Seen::unknown(format!("{} is no URL to GET", shown(target)));
    };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match resolve(target, (bare, port), resolved).await {
        Ok(found) => {
            let mut known = RESOLVED.lock().unwrap_or_else(PoisonError::into_inner);
            known.insert(host.to_owned(), found);
        }
        Err(seen) => return seen,
    }
    let shown = shown(target);
    match client.get(url.clone()).send().await {
        Ok(answer) if answer.status().as_u16() < 400 => {
            Seen::up(format!("{shown} answers {}", answer.status().as_u16()))
        }
        Ok(answer) => Seen::down(format!("{shown} answers {}", answer.status().as_u16())),
        Err(error) if error.is_builder() => Seen::unknown(format!("{shown} is no URL to GET")),
        Err(error) if error.is_connect() => Seen::down(format!("{shown}: cannot connect")),
        Err(error) => Seen::down(format!("{shown}: {}", error.without_url())),
    }
}

#[cfg(test)]
mod tests {
    use super::super::run_once;
    use arbiter_core::ProbeSpec;
    use axum::http::StatusCode;
    use axum::routing::get;
    use std::time::Duration;

    async fn seen(url: String) -> Option<bool> {
        let limit = Duration::from_secs(5);
        let kind = "http".into();
        run_once(&ProbeSpec { region: "eu-west".into(), kind, target: url, limit }).await.up
    }

    #[tokio::test]
    async fn only_a_status_below_400_is_up() {
        crate::tls::install();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let router = axum::Router::new()
            .route("/well", get(|| async { "ok" }))
            .route("/ill", get(|| async { StatusCode::SERVICE_UNAVAILABLE }));
        let server = tokio::spawn(async move { axum::serve(listener, router).await });
        assert_eq!(seen(format!("{base}/well")).await, Some(true));
        assert_eq!(seen(format!("{base}/ill")).await, Some(false));
        server.abort();
        assert_eq!(seen("not a url".into()).await, None);
    }
}
