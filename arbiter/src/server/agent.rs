//! The stream of an agent. Here, when this arbiter leads; else relayed to the one that does. When
//! leadership moves the agent keeps its stream: only the way behind it changes.

use super::pace::Pace;
use super::peers::is_forwarded;
use super::{Face, refusal};
use crate::leader::{ReportRefused, Route, StreamId};
use crate::tls::{Caller, Role, caller, with_caller};
use crate::wire;
use arbiter_core::{AgentId, Directive, Report};
use arbiter_proto::v1 as pb;
use futures::Stream;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status, Streaming};

/// Directives on their way to one agent; an agent that reads none of them loses its stream.
pub(super) const QUEUE_MAX: usize = 16;
/// Streams at one arbiter.
const STREAMS_MAX: usize = 4096;
/// Reports of one agent that are taken at once, and how often another one is after that: a burst of
/// news, and many times the quickest renewal.
const REPORTS_BURST: u32 = 32;
const REPORT_EVERY: Duration = Duration::from_millis(10);
/// A leader that steps down drops its sessions just before the route changes.
const ROUTE_SETTLE: Duration = Duration::from_millis(200);

/// The service.
pub struct Agent {
    face: Arc<Face>,
    streams: Arc<Semaphore>,
}

impl Agent {
    /// Of this face.
    pub fn new(face: Arc<Face>) -> Self {
        Self { face, streams: Arc::new(Semaphore::new(STREAMS_MAX)) }
    }
}

#[tonic::async_trait]
impl pb::agent_server::Agent for Agent {
    type SessionStream = Pin<Box<dyn Stream<Item = Result<pb::Directive, Status>> + Send>>;

    async fn session(
        &self,
        request: Request<Streaming<pb::Report>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let permit = self.streams.clone().try_acquire_owned().map_err(|_| {
            let text = format!("{STREAMS_MAX} agents are here already");
            refusal::refusal(Code::ResourceExhausted, "too-many", text, "dial another arbiter")
        })?;
        let forwarded = is_forwarded(&request);
        let (out, receiver) = mpsc::channel(QUEUE_MAX);
        let session = Session {
            route: self.face.leader.route(),
            face: self.face.clone(),
            inbound: Paced::new(request.into_inner()),
            out,
            forwarded,
            caller: caller().unwrap_or_else(Caller::plaintext),
            unanswered: None,
        };
        tokio::spawn(async move {
            with_caller(session.caller.clone(), session.run()).await;
            drop(permit);
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

/// One stream of an agent.
pub(super) struct Session {
    pub face: Arc<Face>,
    pub inbound: Paced,
    pub out: mpsc::Sender<Result<pb::Directive, Status>>,
    pub route: watch::Receiver<Route>,
    /// Another arbiter relays it to this one, and is told to look elsewhere if this one does not
    /// lead.
    pub forwarded: bool,
    /// Who dialled, here or at the arbiter that relays it.
    pub caller: Caller,
    /// The newest Report that has no answer: the next leader gets it at once. Late answers are
    /// safe: a deadline counts from before the Report was sent.
    pub unanswered: Option<pb::Report>,
}

/// Reports, no faster than an agent has reason to send them: one that sends without end waits, and
/// nobody else.
pub(super) struct Paced {
    reports: Streaming<pb::Report>,
    pace: Pace,
}

impl Paced {
    fn new(reports: Streaming<pb::Report>) -> Self {
        Self { reports, pace: Pace::new(REPORTS_BURST, REPORT_EVERY) }
    }

    /// The next; none at the end of the stream. Dropped before it is ready, it takes nothing.
    pub async fn message(&mut self) -> Result<Option<pb::Report>, Status> {
        self.pace.ready().await;
        let report = self.reports.message().await;
        self.pace.took_one();
        report
    }
}

/// What becomes of a stream.
pub(super) enum Then {
    /// Look at the route again.
    Again,
    /// It is over; the agent is told why, unless it is gone.
    End(Option<Status>),
}

impl Session {
    async fn run(mut self) {
        loop {
            let route = self.route.borrow_and_update().clone();
            let then = match route {
                Route::Here(_) => self.serve().await,
                _ if self.forwarded => Then::End(Some(refusal::not_leader())),
                Route::To { address, .. } => self.relay(&address).await,
                Route::Nowhere => self.hold(None).await,
            };
            if let Then::End(why) = then {
                if let Some(why) = why {
                    // A full queue: the agent does not read, and learns it from the stream's end.
                    let _ = self.out.try_send(Err(why));
                }
                return;
            }
        }
    }

    /// Keep the newest Report until the route changes, or for `limit`.
    pub(super) async fn hold(&mut self, limit: Option<Duration>) -> Then {
        let end = sleep(limit.unwrap_or(Duration::from_secs(3600)));
        tokio::pin!(end);
        loop {
            tokio::select! {
                changed = self.route.changed() => {
                    return if changed.is_ok() { Then::Again } else { Then::End(None) };
                }
                () = &mut end => return Then::Again,
                () = self.out.closed() => return Then::End(None),
                report = self.inbound.message() => match report {
                    Ok(Some(report)) => self.unanswered = Some(report),
                    Ok(None) | Err(_) => return Then::End(None),
                },
            }
        }
    }

    /// This arbiter leads: Reports go to its loop.
    async fn serve(&mut self) -> Then {
        let stream = StreamId::fresh();
        let (first, mut directives) = mpsc::channel::<Directive>(QUEUE_MAX);
        // Only the leader's loop holds the queue: it lets go of it when another stream of the same
        // agent takes over, and this stream ends.
        let outbox = first.downgrade();
        let mut first = Some(first);
        let mut agent: Option<AgentId> = None;
        let mut next = self.unanswered.take();
        let then = loop {
            if let Some(report) = next.take() {
                let Some(outbox) = first.take().or_else(|| outbox.upgrade()) else {
                    break self.taken_over().await;
                };
                self.unanswered = Some(report.clone());
                let report = match wire::report_from_proto(report) {
                    Ok(report) => report,
                    Err(error) => break Then::End(Some(garbled(&error))),
                };
                agent = Some(report.agent.clone());
                if let Some(then) = self.take_in(stream, &outbox, report) {
                    break then;
                }
            }
            tokio::select! {
                changed = self.route.changed() => {
                    break if changed.is_ok() { Then::Again } else { Then::End(None) };
                }
                () = self.out.closed() => break Then::End(None),
                report = self.inbound.message() => match report {
                    Ok(Some(report)) => next = Some(report),
                    Ok(None) | Err(_) => break Then::End(None),
                },
                directive = directives.recv(), if first.is_none() => match directive {
                    Some(directive) => {
                        if !self.hand_over(wire::directive_to_proto(&directive)) {
                            break Then::End(None);
                        }
                    }
                    None => break self.taken_over().await,
                },
            }
        };
        if let Some(agent) = agent {
            self.face.leader.closed(stream, &agent);
        }
        then
    }

    fn take_in(
        &self,
        stream: StreamId,
        outbox: &mpsc::Sender<Directive>,
        report: Report,
    ) -> Option<Then> {
        if let Some(why) = not_this_agent(&self.caller, &report.agent) {
            return Some(Then::End(Some(why)));
        }
        match self.face.leader.report(stream, outbox, report) {
            Ok(()) => None,
            Err(ReportRefused::NotLeader) => Some(Then::Again),
            Err(ReportRefused::Wrong { code, text, next }) => {
                Some(Then::End(Some(refusal::precondition(code, text, &next))))
            }
        }
    }

    /// The loop let go of this stream: another one took over, or it leads no more.
    async fn taken_over(&mut self) -> Then {
        if let Ok(changed) = timeout(ROUTE_SETTLE, self.route.changed()).await {
            return if changed.is_ok() { Then::Again } else { Then::End(None) };
        }
        let text = "another stream of this agent took over, or this one was not read";
        Then::End(Some(refusal::refusal(Code::Aborted, "taken-over", text, "dial again")))
    }

    /// To the agent; false when it does not read or is gone.
    pub(super) fn hand_over(&mut self, directive: pb::Directive) -> bool {
        let asked = self.unanswered.as_ref().map(|report| report.sequence);
        if directive.answers.is_some() && directive.answers >= asked {
            self.unanswered = None;
        }
        self.out.try_send(Ok(directive)).is_ok()
    }
}

/// An agent reports for itself alone: the one that its certificate names.
fn not_this_agent(caller: &Caller, agent: &AgentId) -> Option<Status> {
    let known = caller.named(Role::Agent)?;
    let text = format!("the certificate is of agent {known}, and the report of {agent}");
    let next = "give each agent its own certificate: arbiter pki show FILE";
    (known != agent.as_str())
        .then(|| refusal::refusal(Code::PermissionDenied, "not-this-agent", text, next))
}

fn garbled(error: &wire::WireError) -> Status {
    refusal::invalid("bad-report", error.to_string(), "update the agent or the arbiters")
}
