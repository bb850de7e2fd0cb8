//! Whether a URL answers. Knows HTTP only.

use super::Seen;
use std::sync::OnceLock;

/// One client for all probes: connections are not kept, since a kept one could outlive a cut.
static CLIENT: OnceLock<Option<reqwest::Client>> = OnceLock::new();

fn client() -> Option<&'static reqwest::Client> {
    let made = CLIENT.get_or_init(|| {
        let builder = reqwest::Client::builder().pool_max_idle_per_host(0);
        builder.redirect(reqwest::redirect::Policy::none()).no_proxy().build().ok()
    });
    made.as_ref()
}

/// GET `url`: up when the status is below 400.
pub(super) async fn look(url: &str) -> Seen {
    let Some(client) = client() else {
        return Seen::unknown("no HTTP client could be made: TLS is not available");
    };
    match client.get(url).send().await {
        Ok(answer) if answer.status().as_u16() < 400 => {
            Seen::up(format!("{url} answers {}", answer.status().as_u16()))
        }
        Ok(answer) => Seen::down(format!("{url} answers {}", answer.status().as_u16())),
        Err(error) if error.is_builder() => Seen::unknown(format!("{url} is no URL to GET")),
        Err(error) if error.is_connect() => Seen::down(format!("{url}: cannot connect")),
        Err(error) => Seen::down(format!("{url}: {}", error.without_url())),
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
