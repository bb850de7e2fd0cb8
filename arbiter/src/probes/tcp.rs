//! Whether a TCP connection is accepted. Knows sockets only.

use super::{Seen, resolve};
use std::sync::atomic::AtomicBool;
use tokio::net::TcpStream;

/// Connect to `target` (`host:port`) and close again.
pub(super) async fn look(target: &str, resolved: &AtomicBool) -> Seen {
    let parts = target.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
    let Some((host, port)) = parts else {
        return Seen::unknown(format!("{target} is not host:port"));
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let addresses = match resolve(target, (host, port), resolved).await {
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
    use super::super::run_once;
    use arbiter_core::ProbeSpec;
    use std::time::Duration;
    use tokio::net::TcpListener;

    fn spec(target: String) -> ProbeSpec {
        let limit = Duration::from_secs(5);
        ProbeSpec { region: "eu-west".into(), kind: "tcp".into(), target, limit }
    }

    #[tokio::test]
    async fn a_port_is_up_while_somebody_listens() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = listener.local_addr().unwrap().to_string();
        assert_eq!(run_once(&spec(target.clone())).await.up, Some(true));
        drop(listener);
        assert_eq!(run_once(&spec(target)).await.up, Some(false));
    }

    #[tokio::test]
    async fn an_unknown_kind_is_unknown_and_never_up() {
        let mut probe = spec("127.0.0.1:1".into());
        probe.kind = "smoke".into();
        assert_eq!(run_once(&probe).await.up, None);
    }
}
