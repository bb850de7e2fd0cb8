//! Whether a URL answers. Knows statuses only.

use super::fetch::{self, Failed};
use super::{Kind, Look, Looking, Seen};
use cluster_config::{ProbeKind, Signal, Written, Wrong, http_url};

/// A GET is answered with a status below 400.
pub const KIND: Kind = Kind {
    config: ProbeKind {
        name: "http",
        doc: "A GET is answered with a status below 400.",
        signal: Signal::Health,
        target: "http://10.0.1.2:8080/healthz",
        settings: &[],
        check,
    },
    look: |look| Box::pin(seen(look)) as Looking<'_>,
    every: None,
};

fn check(written: &Written<'_>) -> Vec<Wrong> {
    let faults = http_url(written.target).err();
    faults.map(|(what, remedy)| Wrong::new("target", what, remedy)).into_iter().collect()
}

/// GET the target: up when the status is below 400.
async fn seen(look: Look<'_>) -> Seen {
    let target = &look.probe.target;
    let shown = fetch::shown(target);
    match fetch::get(target, None, look.resolved).await {
        Ok(answer) if answer.status().as_u16() < 400 => {
            Seen::up(format!("{shown} answers {}", answer.status().as_u16()))
        }
        Ok(answer) => Seen::down(format!("{shown} answers {}", answer.status().as_u16())),
        Err(Failed::Unasked(seen)) => seen,
        Err(Failed::Unanswered(why)) => Seen::down(why),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{probe, seen_by};
    use axum::http::StatusCode;
    use axum::routing::get;

    async fn seen(url: String) -> Option<bool> {
        seen_by(&probe("http", &url)).await.up
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
