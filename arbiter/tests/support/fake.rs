//! A fake arbiter that answers as it is told, and a fake driver of a busy process.

use super::perl;
use arbiter::drivers::{Declaration, Done, Driver, DriverError, Holder};
use arbiter::wire::{directive_to_proto, report_from_proto};
use arbiter_core::{
    Condition, Control, Directive, EvidenceKind, Fact, Fencing, Goal, GroupDirective, GroupId,
    Instance, InstanceId, Layer, Order, Report, Role, Terms, Timing, Token,
};
use arbiter_proto::v1::agent_server::{Agent, AgentServer};
use arbiter_proto::v1::{self as pb};
use async_trait::async_trait;
use futures::{Stream, StreamExt};
use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tonic::{Request, Response, Status, Streaming};

pub const GROUP: &str = "g";
pub const INSTANCE: &str = "busy";

/// What the fake arbiter does, and what it heard.
#[derive(Clone)]
pub struct Script {
    pub answer: bool,
    pub arm: bool,
    pub goal: Goal,
    pub token: Token,
    pub terms: Terms,
    pub verify: bool,
    pub timing: Timing,
    pub lease: Duration,
    pub heard: Option<Report>,
}

#[derive(Clone)]
pub struct FakeArbiter {
    pub script: Arc<Mutex<Script>>,
    pub address: SocketAddr,
}

impl FakeArbiter {
    /// An arbiter on a port of its own, which orders `Active` and arms.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let script = Script {
            answer: true,
            arm: true,
            goal: Goal::Active,
            token: Token::new(1, 10),
            terms: Terms::default(),
            verify: false,
            timing: super::timing(),
            lease: super::timing().lease,
            heard: None,
        };
        let address = listener.local_addr().unwrap();
        let fake = Self { script: Arc::new(Mutex::new(script)), address };
        let service = AgentServer::new(fake.clone());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
                let server = tonic::transport::Server::builder().add_service(service);
                server.serve_with_incoming(incoming).await.unwrap();
            });
        });
        fake
    }

    pub fn change(&self, change: impl FnOnce(&mut Script)) {
        change(&mut self.script.lock().unwrap());
    }

    /// The last Report.
    pub fn heard(&self) -> Option<Report> {
        self.script.lock().unwrap().heard.clone()
    }

    fn answer(&self, report: pb::Report) -> Option<pb::Directive> {
        let report = report_from_proto(report).unwrap();
        let mut script = self.script.lock().unwrap();
        script.heard = Some(report.clone());
        let order = Order {
            group: GROUP.into(),
            instance: INSTANCE.into(),
            layer: Layer::Data,
            goal: script.goal,
            token: script.token,
            verify: script.verify,
            terms: script.terms.clone(),
            commits: None,
        };
        let group = GroupDirective {
            revision: script.token.revision.0,
            timing: script.timing,
            lease: Some(script.lease),
            arm: script.arm,
            serves_on: false,
            orders: vec![order],
        };
        let directive = Directive {
            cluster_id: "test".into(),
            term: 1,
            answers: Some(report.sequence),
            incarnation: report.incarnation,
            groups: BTreeMap::from([(GroupId::from(GROUP), group)]),
            succeeds: None,
            arbiters: Vec::new(),
        };
        script.answer.then(|| directive_to_proto(&directive))
    }
}

#[async_trait]
impl Agent for FakeArbiter {
    type SessionStream = Pin<Box<dyn Stream<Item = Result<pb::Directive, Status>> + Send>>;

    async fn session(
        &self,
        request: Request<Streaming<pb::Report>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let fake = self.clone();
        let answers = request.into_inner().filter_map(move |report| {
            let answer = report.ok().and_then(|report| fake.answer(report)).map(Ok);
            std::future::ready(answer)
        });
        Ok(Response::new(Box::pin(answers)))
    }
}

/// An instance of the busy resource.
pub fn instance() -> Instance {
    Instance {
        resource: "busy".into(),
        region: "eu-west".into(),
        agent: "agent".into(),
        kind: "busy".into(),
        layer: Layer::Data,
        fencing: Fencing::Required,
        control: Control::Owned,
        evidence: Default::default(),
        waits: false,
        address: String::new(),
        settings: BTreeMap::new(),
    }
}

/// Active: a busy process runs. Anything else: none does.
pub struct Busy {
    pub holder: Arc<dyn Holder>,
    /// A server that ran before, by its process id in this file.
    pub adopted: PathBuf,
}

impl Busy {
    fn fact(&self) -> Result<Fact, DriverError> {
        let runs = !self.holder.processes()?.is_empty() || !self.outside().is_empty();
        let condition = if runs { Condition::Healthy } else { Condition::Stopped };
        let role = if runs { Role::Primary } else { Role::Replica };
        Ok(Fact { condition, role, writable: runs, ..Fact::default() })
    }

    fn outside(&self) -> Vec<i32> {
        let pid = std::fs::read_to_string(&self.adopted).ok().and_then(|text| text.parse().ok());
        pid.into_iter().filter(|pid| arbiter::agent::cgroup::alive(*pid)).collect()
    }
}

#[async_trait]
impl Driver for Busy {
    fn declares(&self) -> Declaration {
        let evidence = vec![EvidenceKind::Confirmed];
        Declaration { control: Control::Owned, evidence, layer: Layer::Data }
    }

    async fn observe(&self) -> Result<Fact, DriverError> {
        // A pipe there is a disk that hangs.
        let _ = std::fs::read(self.adopted.with_file_name("look"));
        self.fact()
    }

    async fn ensure(&self, goal: Goal, _: Token, _: &Terms) -> Result<Done, DriverError> {
        if goal != Goal::Active {
            self.holder.kill().await?;
        } else if self.holder.processes()?.is_empty() {
            std::fs::write(self.holder.gate_dir().join("start"), "").unwrap();
            self.holder.start(&perl("fork; 1 while 1"), true).await?;
        }
        Ok(Done { evidence: Some(EvidenceKind::Confirmed), facts: self.fact()?, ..Done::default() })
    }

    async fn verify(&self, _: Token) -> Result<Fact, DriverError> {
        self.fact()
    }

    async fn gate(&self, armed: bool) -> Result<(), DriverError> {
        let gate = self.adopted.with_file_name("gated");
        let done = if armed { std::fs::write(gate, "") } else { std::fs::remove_file(gate) };
        done.map_err(|error| DriverError::Retry(error.to_string()))
    }

    async fn running(&self) -> Result<Vec<i32>, DriverError> {
        Ok(self.outside())
    }
}

/// Open it, whatever the instance says.
pub fn open(
    adopted: PathBuf,
) -> impl Fn(&GroupId, &InstanceId, &Instance, Arc<dyn Holder>) -> arbiter::agent::Opened {
    move |_, _, _, holder| Ok(Box::new(Busy { holder, adopted: adopted.clone() }))
}
