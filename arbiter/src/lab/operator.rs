//! An operator's client of the lab's arbiters, over gRPC. Knows the API; never the inside.

use crate::clock;
use crate::tls::{self, Dialer, Files, Tls};
use arbiter_proto::v1;
use arbiter_proto::v1::admin_client::AdminClient;
use arbiter_proto::v1::query_client::QueryClient;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};

/// Limit of one call.
const CALL_LIMIT: Duration = Duration::from_secs(5);
/// Limit of connecting.
const CONNECT_LIMIT: Duration = Duration::from_millis(500);
/// Pause between two looks while waiting.
const LOOK_PAUSE: Duration = Duration::from_millis(20);

/// The client. Tries every endpoint, the last first: that is the witness, which cases lose least.
#[derive(Clone, Debug)]
pub struct Operator {
    endpoints: Vec<Arbiter>,
}

/// One arbiter, connected at its first call: a channel needs a runtime, the lab is made before.
#[derive(Clone, Debug)]
struct Arbiter {
    address: String,
    endpoint: Endpoint,
    /// Directory and name of what is shown; none: plaintext.
    shows: Option<(PathBuf, String)>,
    channel: OnceLock<Channel>,
}

impl Arbiter {
    fn new(address: &str) -> io::Result<Self> {
        let endpoint = Dialer::endpoint(address)
            .map_err(|error| io::Error::other(format!("{address}: {error}")))?;
        let endpoint = endpoint.connect_timeout(CONNECT_LIMIT).timeout(CALL_LIMIT);
        let address = address.to_owned();
        Ok(Self { address, endpoint, shows: None, channel: OnceLock::new() })
    }

    fn channel(&self) -> Channel {
        let tls = || {
            let (dir, name) = self.shows.as_ref()?;
            tls::install();
            // Without certificates the call fails, and says so.
            Tls::of_person(Files::within(dir, name), Duration::ZERO).ok()
        };
        let dial = || Dialer::new(tls()).lazy(&self.address, &self.endpoint, None);
        self.channel.get_or_init(dial).clone()
    }
}

impl Operator {
    /// A client of the arbiters at `addresses` (`host:port`).
    ///
    /// # Errors
    /// If an address cannot be one.
    pub fn new(addresses: &[String]) -> io::Result<Self> {
        let endpoints = addresses.iter().map(|address| Arbiter::new(address));
        Ok(Self { endpoints: endpoints.collect::<io::Result<_>>()? })
    }

    /// The same, which shows the certificate of `name` in `dir`, read at its first call.
    #[must_use]
    pub fn showing(mut self, dir: &Path, name: &str) -> Self {
        for arbiter in &mut self.endpoints {
            arbiter.shows = Some((dir.to_owned(), name.to_owned()));
            arbiter.channel = OnceLock::new();
        }
        self
    }

    /// A client of one endpoint only.
    pub fn only(&self, index: usize) -> Self {
        Self { endpoints: vec![self.endpoints[index].clone()] }
    }

    /// A client of every endpoint but one.
    pub fn without(&self, index: usize) -> Self {
        let others = self.endpoints.iter().enumerate().filter(|(at, _)| *at != index);
        Self { endpoints: others.map(|(_, arbiter)| arbiter.clone()).collect() }
    }

    /// The status as the first endpoint that answers freshly sees it; else any that answers.
    pub async fn status(&self) -> Option<v1::Status> {
        let mut stale = None;
        for arbiter in self.endpoints.iter().rev() {
            let request = v1::GetStatusRequest { group: String::new() };
            let mut client = QueryClient::new(arbiter.channel());
            let call = tokio::time::timeout(CONNECT_LIMIT * 4, client.get_status(request));
            let Ok(Ok(answer)) = call.await else { continue };
            let status = answer.into_inner();
            if !status.stale {
                return Some(status);
            }
            stale = Some(status);
        }
        stale
    }

    /// Which region of a group is active, as the first endpoint that answers has it confirmed.
    pub async fn active(&self, group: &str) -> Option<v1::ActiveRegion> {
        for arbiter in self.endpoints.iter().rev() {
            let request = v1::GetActiveRegionRequest { group: group.into(), stale: false };
            let mut client = QueryClient::new(arbiter.channel());
            let call = tokio::time::timeout(CONNECT_LIMIT * 4, client.get_active_region(request));
            if let Ok(Ok(answer)) = call.await {
                return Some(answer.into_inner());
            }
        }
        None
    }

    /// The status of one group.
    pub async fn group(&self, name: &str) -> Option<v1::GroupStatus> {
        self.status().await?.groups.into_iter().find(|group| group.group == name)
    }

    /// Plans, newest first; empty when nobody answers.
    pub async fn plans(&self, request: v1::ListPlansRequest) -> Vec<v1::Plan> {
        self.history(request).await.plans
    }

    /// Plans and events, newest first; empty when nobody answers.
    pub async fn history(&self, request: v1::ListPlansRequest) -> v1::ListPlansResponse {
        for arbiter in self.endpoints.iter().rev() {
            let mut client = QueryClient::new(arbiter.channel());
            let call = tokio::time::timeout(CONNECT_LIMIT * 2, client.list_plans(request.clone()));
            if let Ok(Ok(answer)) = call.await {
                return answer.into_inner();
            }
        }
        v1::ListPlansResponse::default()
    }

    /// A drill; none when nobody answers, or there is no such drill.
    pub async fn drill(&self, group: &str, id: u64) -> Option<v1::Drill> {
        let request = v1::ListDrillsRequest { group: group.into(), id, limit: 1 };
        for arbiter in self.endpoints.iter().rev() {
            let mut client = QueryClient::new(arbiter.channel());
            let call = tokio::time::timeout(CONNECT_LIMIT * 2, client.list_drills(request.clone()));
            if let Ok(Ok(answer)) = call.await {
                return answer.into_inner().drills.into_iter().next();
            }
        }
        None
    }

    /// Look again and again until `wanted` is true of a group's status.
    ///
    /// # Errors
    /// With the last status when `limit` passed first.
    pub async fn wait_group(
        &self,
        name: &str,
        what: &str,
        limit: Duration,
        wanted: impl Fn(&v1::GroupStatus) -> bool,
    ) -> io::Result<v1::GroupStatus> {
        let started = clock::now();
        let mut last = None;
        while clock::now().since(started) < limit {
            if let Some(group) = self.group(name).await {
                if wanted(&group) {
                    return Ok(group);
                }
                last = Some(group);
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
        Err(io::Error::other(format!("not within {limit:?}: {what}; last seen: {last:#?}")))
    }

    /// The same for the whole status.
    ///
    /// # Errors
    /// With the last status when `limit` passed first.
    pub async fn wait(
        &self,
        what: &str,
        limit: Duration,
        wanted: impl Fn(&v1::Status) -> bool,
    ) -> io::Result<v1::Status> {
        let started = clock::now();
        let mut last = None;
        while clock::now().since(started) < limit {
            if let Some(status) = self.status().await {
                if wanted(&status) {
                    return Ok(status);
                }
                last = Some(status);
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
        Err(io::Error::other(format!("not within {limit:?}: {what}; last seen: {last:#?}")))
    }

    /// An `Asked` with a fresh request id.
    pub fn asked(reason: &str) -> Option<v1::Asked> {
        let id = format!("lab-{}-{}", std::process::id(), clock::now().0);
        Some(v1::Asked { request_id: id, reason: reason.into(), by: "lab".into() })
    }

    /// Run one admin call at each endpoint until one answers: the same request each time, so that
    /// one which was done without an answer is not done again.
    ///
    /// # Errors
    /// The last status.
    pub async fn admin<R: Clone, T>(
        &self,
        request: R,
        call: impl AsyncFn(AdminClient<Channel>, R) -> Result<tonic::Response<T>, tonic::Status>,
    ) -> Result<T, tonic::Status> {
        let mut last = tonic::Status::unavailable("no endpoint");
        for arbiter in self.endpoints.iter().rev() {
            match call(AdminClient::new(arbiter.channel()), request.clone()).await {
                Ok(answer) => return Ok(answer.into_inner()),
                Err(status) => last = status,
            }
            if !matches!(last.code(), tonic::Code::Unavailable | tonic::Code::DeadlineExceeded) {
                break;
            }
        }
        Err(last)
    }
}

/// The machine-readable reason of a refusal.
pub fn reason(status: &tonic::Status) -> &str {
    let trailer = status.metadata().get("arbiter-reason");
    trailer.and_then(|value| value.to_str().ok()).unwrap_or_default()
}
