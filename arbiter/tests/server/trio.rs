//! Three arbiters on loopback, and agents that say what a test wants.

use super::secure::Secure;
use arbiter::clock;
use arbiter::node::{self, Node, NodeOptions};
use arbiter::wire;
use arbiter_core::{
    Arming, Condition, EvidenceKind, Fact, GroupReport, Incarnation, InstanceReport, Position,
    Report, Role, Upstream,
};
use arbiter_proto::v1 as pb;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

/// Longest wait for what must happen.
pub const SOON: Duration = Duration::from_secs(20);
pub const NAMES: [&str; 3] = ["a1", "a2", "a3"];

pub struct Trio {
    pub nodes: BTreeMap<&'static str, Node>,
    pub config: String,
    ports: Vec<u16>,
    dir: tempfile::TempDir,
    /// Who has certificates; none: plaintext.
    pub secure: Option<Secure>,
}

/// Ports that are free now, all different, and outside the range that connections are given.
fn free_ports(count: usize) -> Vec<u16> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    const FIRST: u32 = 18_000;
    const SPAN: u32 = 14_000;
    let mut ports = Vec::new();
    while ports.len() < count {
        let at = std::process::id().wrapping_mul(61) + NEXT.fetch_add(1, Ordering::Relaxed);
        let port = u16::try_from(FIRST + at % SPAN).expect("a port");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            ports.push(port);
        }
    }
    ports
}

fn config(ports: &[u16]) -> String {
    let mut text = String::from(
        "[cluster]\nid = \"trio\"\nprofile = \"metro\"\n\
         [regions.eu-west]\nkind = \"data\"\n[regions.us-east]\nkind = \"data\"\n\
         [regions.witness]\nkind = \"witness\"\n",
    );
    for (at, region) in ["eu-west", "us-east", "witness"].iter().enumerate() {
        let _ = write!(
            text,
            "[arbiters.{}]\nnode_id = {}\nregion = \"{region}\"\naddress = \"127.0.0.1:{}\"\n\
             http = \"127.0.0.1:{}\"\n",
            NAMES[at],
            at + 1,
            ports[at],
            ports[at + 3]
        );
    }
    for (side, region, port) in [("eu", "eu-west", 1), ("us", "us-east", 2)] {
        let _ = write!(
            text,
            "[agents.agent-{side}]\nregion = \"{region}\"\n\
             [groups.default.resources.db.instances.db-{side}]\nagent = \"agent-{side}\"\n\
             address = \"127.0.0.1:{port}\"\ndata_dir = \"/nowhere/{side}\"\n"
        );
    }
    text + "[groups.default]\ninitial_active = \"eu-west\"\nrpo = \"30s\"\n\
            allow_automatic = false\n\
            [groups.default.resources.db]\nkind = \"postgres\"\n"
}

impl Trio {
    /// Started, not initialized.
    pub async fn start() -> Self {
        Self::start_with("").await
    }

    /// Another cluster, started and not initialized.
    pub async fn start_as(id: &str) -> Self {
        Self::start_from(id, "").await
    }

    /// The same, with these lines at the end of the file.
    async fn start_with(more: &str) -> Self {
        Self::start_from("trio", more).await
    }

    async fn start_from(id: &str, more: &str) -> Self {
        let mut trio = Self::made(id, more);
        trio.start_all().await;
        trio
    }

    /// Not started, in plaintext.
    fn made(id: &str, more: &str) -> Self {
        let ports = free_ports(6);
        let named = format!("id = \"{id}\"");
        let config = config(&ports).replace("id = \"trio\"", &named) + more;
        let dir = tempfile::tempdir().expect("a directory");
        Self { nodes: BTreeMap::new(), config, ports, dir, secure: None }
    }

    /// Not started, with certificates of every arbiter and agent, and of one person of each role
    /// that is called like it.
    pub fn secured(validity: Duration, more: &str) -> Self {
        let mut trio = Self::made("trio", more);
        let secure = Secure::create(trio.dir.path(), validity);
        trio.config.insert_str(0, &secure.table(more));
        trio.secure = Some(secure);
        trio
    }

    pub async fn start_all(&mut self) {
        for name in NAMES {
            self.start_node(name).await;
        }
    }

    pub fn data_dir(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub async fn start_node(&mut self, name: &'static str) {
        let cluster = arbiter::policy_file::parse(&self.config, "trio.toml").expect("a good file");
        let data_dir = self.data_dir(name);
        let options = NodeOptions { cluster, name: name.to_owned(), data_dir };
        self.nodes.insert(name, node::start(options).await.expect("starts"));
    }

    pub async fn stop_node(&mut self, name: &str) {
        self.nodes.remove(name).expect("runs").stop().await;
    }

    /// Started and begun, with a leader that everybody knows.
    pub async fn begun() -> Self {
        Self::begun_with("").await
    }

    pub async fn begun_with(more: &str) -> Self {
        let trio = Self::start_with(more).await;
        trio.begin().await;
        trio
    }

    pub async fn begin(&self) {
        let trio = self;
        let request = pb::InitializeRequest {
            asked: asked("begin"),
            cluster_id: "trio".to_owned(),
            config_toml: trio.config.clone(),
        };
        trio.admin("a1").await.initialize(request).await.expect("begins");
        trio.led().await;
    }

    /// Until the leader has seen what every voter supports.
    pub async fn at_version_2(&self) {
        until("state version 2", async || {
            let mut client = self.query("a1").await;
            let answer = client.get_status(pb::GetStatusRequest::default()).await;
            answer.is_ok_and(|status| status.into_inner().state_version == 2)
        })
        .await;
    }

    /// Begun, and eu-west active by the word of two agents.
    pub async fn active() -> (Self, FakeAgent, FakeAgent) {
        Self::active_with("").await
    }

    pub async fn active_with(more: &str) -> (Self, FakeAgent, FakeAgent) {
        Self::begun_with(more).await.activate().await
    }

    pub async fn activate(self) -> (Self, FakeAgent, FakeAgent) {
        let trio = self;
        let eu = FakeAgent::dial(&trio, "a1", "eu").await;
        let us = FakeAgent::dial(&trio, "a2", "us").await;
        until("eu-west is active", async || {
            let answer = trio.active_region("a3", false).await;
            answer.is_ok_and(|answer| answer.region == "eu-west")
        })
        .await;
        (trio, eu, us)
    }

    /// Armed and in mode manual, with two agents that go on reporting.
    pub async fn manual_with(more: &str) -> (Self, Reporting, Reporting) {
        Self::begun_with(more).await.manual().await
    }

    pub async fn manual(self) -> (Self, Reporting, Reporting) {
        let (trio, eu, us) = self.activate().await;
        let (eu, us) = (Reporting::start(eu.armed()), Reporting::start(us.armed()));
        let arm = pb::GroupRequest { asked: asked("arm"), ..Default::default() };
        trio.admin("a1").await.arm(arm).await.expect("asked");
        until("mode manual is set", async || trio.set_mode("manual").await.is_ok()).await;
        (trio, eu, us)
    }

    pub async fn set_mode(&self, mode: &str) -> Result<pb::Outcome, Status> {
        static ASKED: AtomicU32 = AtomicU32::new(0);
        let id = format!("{mode}-{}", ASKED.fetch_add(1, Ordering::Relaxed));
        let mode = mode.to_owned();
        let request = pb::SetModeRequest { asked: asked(&id), mode, ..Default::default() };
        self.admin("a1").await.set_mode(request).await.map(tonic::Response::into_inner)
    }

    /// Every running arbiter answers a linearizable question.
    pub async fn led(&self) {
        for name in self.nodes.keys() {
            until("an arbiter answers", async || match self.active_region(name, false).await {
                Ok(_) => true,
                Err(status) => status.code() == tonic::Code::FailedPrecondition,
            })
            .await;
        }
    }

    pub fn leader(&self) -> String {
        let nodes = self.nodes.values();
        let mut known = nodes.filter_map(|node| {
            let leadership = node.raft.leader().borrow().clone();
            leadership.acting.then(|| leadership.leader.map(|leader| leader.0)).flatten()
        });
        known.next_back().unwrap_or_default()
    }

    /// Running arbiters that do not lead.
    pub fn followers(&self) -> Vec<&'static str> {
        let leader = self.leader();
        self.nodes.keys().copied().filter(|name| *name != leader).collect()
    }

    pub fn port(&self, name: &str) -> u16 {
        self.ports[NAMES.iter().position(|known| *known == name).expect("known")]
    }

    pub fn http(&self, name: &str, path: &str) -> String {
        let at = NAMES.iter().position(|known| *known == name).expect("known");
        format!("http://127.0.0.1:{}{path}", self.ports[at + 3])
    }

    pub async fn channel(&self, name: &str) -> Channel {
        self.channel_as(name, "admin").await
    }

    /// As `who`, where there are certificates.
    pub async fn channel_as(&self, name: &str, who: &str) -> Channel {
        if let Some(secure) = &self.secure {
            return secure.channel(self.port(name), who).await;
        }
        let address = format!("http://127.0.0.1:{}", self.port(name));
        Channel::from_shared(address).expect("an address").connect().await.expect("connects")
    }

    pub async fn query(&self, name: &str) -> pb::query_client::QueryClient<Channel> {
        pb::query_client::QueryClient::new(self.channel(name).await)
    }

    pub async fn admin(&self, name: &str) -> pb::admin_client::AdminClient<Channel> {
        pb::admin_client::AdminClient::new(self.channel(name).await)
    }

    pub async fn active_region(&self, name: &str, stale: bool) -> Result<pb::ActiveRegion, Status> {
        let request = pb::GetActiveRegionRequest { group: String::new(), stale };
        self.query(name).await.get_active_region(request).await.map(tonic::Response::into_inner)
    }
}

pub fn asked(request_id: &str) -> Option<pb::Asked> {
    let (reason, by) = ("test".to_owned(), "tester".to_owned());
    Some(pb::Asked { request_id: request_id.to_owned(), reason, by })
}

pub fn reason_of(status: &Status) -> String {
    let value = status.metadata().get("arbiter-reason");
    value.and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

/// Wait for what must come to be.
pub async fn until(what: &str, mut check: impl AsyncFnMut() -> bool) {
    let limit = clock::now() + SOON;
    while !check().await {
        assert!(clock::now() < limit, "not within {SOON:?}: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// An agent that says that all is well, and does nothing.
pub struct FakeAgent {
    pub reports: mpsc::Sender<pb::Report>,
    pub directives: Streaming<pb::Directive>,
    side: String,
    sequence: u64,
    life: u64,
    armed: bool,
    serves: Option<String>,
}

impl FakeAgent {
    pub async fn dial(trio: &Trio, arbiter: &str, side: &str) -> Self {
        Self::dial_as(trio, arbiter, side, 7).await
    }

    /// Dial, and report until the arbiter has it.
    pub async fn dial_as(trio: &Trio, arbiter: &str, side: &str, life: u64) -> Self {
        let channel = trio.channel_as(arbiter, &format!("agent-{side}")).await;
        Self::dial_over(channel, side, life).await
    }

    /// The same, whoever the connection is of.
    pub async fn dial_over(channel: Channel, side: &str, life: u64) -> Self {
        let (reports, receiver) = mpsc::channel(16);
        let mut client = pb::agent_client::AgentClient::new(channel);
        let session = client.session(ReceiverStream::new(receiver)).await.expect("a stream");
        let directives = session.into_inner();
        let side = side.to_owned();
        let mut agent =
            Self { reports, directives, side, sequence: 0, life, armed: false, serves: None };
        agent.report().await;
        agent
    }

    /// From now on it says that its deadman is armed and a deadline runs.
    pub fn armed(mut self) -> Self {
        self.armed = true;
        self
    }

    /// From now on it says that it serves this cluster.
    pub fn serve(&mut self, cluster: &str) {
        self.serves = Some(cluster.to_owned());
    }

    /// Report until it is told that it may change over.
    pub async fn invited(&mut self) -> pb::Directive {
        let limit = clock::now() + SOON;
        loop {
            assert!(clock::now() < limit, "{} is not invited", self.side);
            self.report().await;
            let wait = Duration::from_millis(500);
            while let Ok(message) = timeout(wait, self.directives.message()).await {
                let directive = message.expect("the stream stays").expect("the stream stays");
                if directive.succeeds.is_some() {
                    return directive;
                }
            }
        }
    }

    /// Send the next Report; its sequence.
    pub async fn report(&mut self) -> u64 {
        self.sequence += 1;
        let report = self.body();
        let _ = self.reports.send(wire::report_to_proto(&report)).await;
        self.sequence
    }

    pub fn body(&self) -> Report {
        let at = Position { timeline: 1, offset: 1000 };
        let primary = self.side == "eu";
        let fact = Fact {
            condition: Condition::Healthy,
            role: if primary { Role::Primary } else { Role::Replica },
            writable: primary,
            position: Some(at),
            replayed: Some(at),
            upstream: (!primary).then_some(Upstream {
                position: at,
                age: Duration::ZERO,
                streaming: true,
            }),
            data_id: "data".to_owned(),
            ..Fact::default()
        };
        let instance = InstanceReport { fact, ..InstanceReport::default() };
        let counts = Arming { expiry_counts_as: EvidenceKind::LeaseExpired };
        let group = GroupReport {
            arming: self.armed.then_some(counts),
            deadline_running: self.armed,
            obeyed: if self.armed { u64::MAX } else { 0 },
            instances: BTreeMap::from([(format!("db-{}", self.side).into(), instance)]),
            ..GroupReport::default()
        };
        Report {
            cluster_id: self.serves.as_deref().map(Into::into),
            agent: format!("agent-{}", self.side).into(),
            incarnation: Incarnation(self.life),
            boot_id: "boot".to_owned(),
            sequence: self.sequence,
            groups: BTreeMap::from([("default".into(), group)]),
            watchdog: None,
            gaps: Vec::new(),
        }
    }

    /// Report until one is answered: the Directive that answers it or a later one.
    pub async fn answered(&mut self) -> pb::Directive {
        let limit = clock::now() + SOON;
        loop {
            assert!(clock::now() < limit, "{} is not answered", self.side);
            let asked = self.report().await;
            let wait = Duration::from_millis(500);
            while let Ok(message) = timeout(wait, self.directives.message()).await {
                let directive = message.expect("the stream stays").expect("the stream stays");
                if directive.answers >= Some(asked) {
                    return directive;
                }
            }
        }
    }

    /// How the stream ends.
    pub async fn ends(&mut self) -> Status {
        loop {
            match timeout(SOON, self.directives.message()).await.expect("ends in time") {
                Ok(Some(_)) => {}
                Ok(None) => return Status::ok("ended"),
                Err(status) => return status,
            }
        }
    }
}

/// An agent that goes on reporting until it is dropped.
pub struct Reporting(JoinHandle<()>);

impl Reporting {
    pub fn start(mut agent: FakeAgent) -> Self {
        Self(tokio::spawn(async move {
            loop {
                agent.report().await;
                while let Ok(message) =
                    timeout(Duration::from_millis(100), agent.directives.message()).await
                {
                    if !matches!(message, Ok(Some(_))) {
                        return;
                    }
                }
            }
        }))
    }
}

impl Drop for Reporting {
    fn drop(&mut self) {
        self.0.abort();
    }
}
