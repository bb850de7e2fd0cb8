//! Whether a TCP connection is accepted. Knows sockets only.

use super::{Kind, Look, Looking, Seen, resolve};
use cluster_config::{ProbeKind, Signal, Written, Wrong, host_port};
use tokio::net::TcpStream;

/// A connection is accepted.
pub const KIND: Kind = Kind {
    config: ProbeKind {
        name: "tcp",
        doc: "A connection is accepted.",
        signal: Signal::Health,
        target: "10.0.1.2:5432",
        settings: &[],
        check,
    },
    look: |look| Box::pin(seen(look)) as Looking<'_>,
    every: None,
};

fn check(written: &Written<'_>) -> Vec<Wrong> {
    if host_port(written.target).is_some() {
        return Vec::new();
    }
    let what = format!("{:?} is not host:port", written.target);
    vec![Wrong::new("target", what, "write such as \"10.0.1.2:5432\"")]
}

/// Connect to the target, `host:port`, and close again.
async fn seen(look: Look<'_>) -> Seen {
    let target = look.probe.target.as_str();
    let parts = target.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
    let Some((host, port)) = parts else {
        return Seen::unknown(format!("{target} is not host:port"));
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let addresses = match resolve(target, (host, port), look.resolved).await {
        Ok(addresses) => addresses,
        Err(seen) => return seen,
    };
    match TcpStream::connect(&addresses[..]).await {
        Ok(_) => Seen::up(format!("{target} accepts connections")),
        Err(error) => Seen::down(format!("{target}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{probe, seen_by};
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn a_port_is_up_while_somebody_listens() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let probe = probe("tcp", &listener.local_addr().unwrap().to_string());
        assert_eq!(seen_by(&probe).await.up, Some(true));
        drop(listener);
        assert_eq!(seen_by(&probe).await.up, Some(false));
    }

    #[tokio::test]
    async fn an_unknown_kind_is_unknown_and_never_up() {
        assert_eq!(seen_by(&probe("smoke", "127.0.0.1:1")).await.up, None);
    }
}
