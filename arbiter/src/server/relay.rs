//! Relaying an agent's stream to the leader: one broken link to the leader fences nobody. Knows
//! messages as they are; never what they say.

use super::agent::{QUEUE_MAX, Session, Then};
use super::peers::marked;
use super::refusal;
use arbiter_proto::v1 as pb;
use pb::agent_client::AgentClient;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

/// Opening the stream to the leader.
const OPEN_LIMIT: Duration = Duration::from_secs(2);
/// Wait before the leader is tried again, unless the route changes first.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// Refusals that the leader means for the agent itself.
const FOR_THE_AGENT: [&str; 6] = [
    "wrong-cluster",
    "unknown-agent",
    "identity-in-use",
    "not-initialized",
    "bad-report",
    "not-this-agent",
];

impl Session {
    /// Another arbiter leads: pass everything on, both ways.
    pub(super) async fn relay(&mut self, address: &str) -> Then {
        let (up, receiver) = mpsc::channel(QUEUE_MAX);
        if let Some(report) = &self.unanswered {
            // The queue is empty.
            let _ = up.try_send(report.clone());
        }
        let Ok(channel) = self.face.peers.channel(address) else {
            return self.hold(Some(RETRY_AFTER)).await;
        };
        // A leader that was lost opens nothing: whoever leads next is not waited for behind it.
        let opened = tokio::select! {
            changed = self.route.changed() => {
                return if changed.is_ok() { Then::Again } else { Then::End(None) };
            }
            opened = open(channel, receiver) => opened,
        };
        let Ok(mut down) = opened else {
            return self.hold(Some(RETRY_AFTER)).await;
        };
        loop {
            tokio::select! {
                changed = self.route.changed() => {
                    return if changed.is_ok() { Then::Again } else { Then::End(None) };
                }
                () = self.out.closed() => return Then::End(None),
                report = self.inbound.message() => match report {
                    Ok(Some(report)) => {
                        self.unanswered = Some(report.clone());
                        if up.try_send(report).is_err() {
                            return self.hold(Some(RETRY_AFTER)).await;
                        }
                    }
                    Ok(None) | Err(_) => return Then::End(None),
                },
                directive = down.message() => match directive {
                    Ok(Some(directive)) => {
                        if !self.hand_over(directive) {
                            return Then::End(None);
                        }
                    }
                    Err(status) if is_for_the_agent(&status) => return Then::End(Some(status)),
                    Ok(None) | Err(_) => return self.hold(Some(RETRY_AFTER)).await,
                },
            }
        }
    }
}

async fn open(
    channel: Channel,
    reports: mpsc::Receiver<pb::Report>,
) -> Result<Streaming<pb::Directive>, Status> {
    let mut client = AgentClient::new(channel);
    let opening = client.session(marked(ReceiverStream::new(reports)));
    match timeout(OPEN_LIMIT, opening).await {
        Ok(answer) => Ok(answer?.into_inner()),
        Err(_) => Err(Status::deadline_exceeded("the leader does not open the stream")),
    }
}

fn is_for_the_agent(status: &Status) -> bool {
    let reason = status.metadata().get(refusal::REASON).and_then(|value| value.to_str().ok());
    reason.is_some_and(|reason| FOR_THE_AGENT.contains(&reason))
}
