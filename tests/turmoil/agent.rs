//! A simulated agent: a puppet over the real stream. Knows streams and pauses; never what is said.

use super::net;
use super::node::{ARBITERS, CLUSTER};
use super::rng::Rng;
use arbiter_proto::v1::agent_client::AgentClient;
use arbiter_tests::puppet::Puppet;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{interval, sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;

/// How often it reports.
const REPORT_EVERY: Duration = Duration::from_millis(300);
/// How long it stays with an arbiter that says nothing.
const SILENCE_MAX: Duration = Duration::from_millis(1_500);
/// Reports on their way.
const QUEUE_MAX: usize = 16;

/// The agent.
pub struct FakeAgent {
    puppet: Puppet,
    rng: Rng,
}

impl FakeAgent {
    /// It has heard nothing yet; `active`: whether its region is active at first.
    pub fn new(name: &str, active: bool, rng: Rng) -> Self {
        let instance = format!("queue-{name}");
        Self { puppet: Puppet::new(CLUSTER, name, "default", &instance, active), rng }
    }

    /// Reports to one arbiter after the other, for ever.
    pub async fn live(mut self) {
        loop {
            let arbiter = ARBITERS[self.rng.index(ARBITERS.len())];
            self.session(arbiter).await;
            sleep(Duration::from_millis(self.rng.range(20, 200))).await;
        }
    }

    /// None: the stream ended.
    async fn session(&mut self, arbiter: &str) -> Option<()> {
        let (up, reports) = mpsc::channel(QUEUE_MAX);
        let mut client = AgentClient::new(net::client(arbiter));
        up.try_send(self.puppet.report()).ok()?;
        let opening = client.session(ReceiverStream::new(reports));
        let mut down = timeout(SILENCE_MAX, opening).await.ok()?.ok()?.into_inner();
        let mut due = interval(REPORT_EVERY);
        let mut silent = Duration::ZERO;
        loop {
            tokio::select! {
                biased;
                directive = down.message() => {
                    let news = self.puppet.heed(directive.ok()??)?;
                    silent = Duration::ZERO;
                    if news {
                        up.try_send(self.puppet.report()).ok()?;
                    }
                }
                _ = due.tick() => {
                    silent += REPORT_EVERY;
                    if silent > SILENCE_MAX {
                        return None;
                    }
                    up.try_send(self.puppet.report()).ok()?;
                }
            }
        }
    }
}
