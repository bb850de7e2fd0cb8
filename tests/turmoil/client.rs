//! A simulated client: asks through the real gRPC faces, again and again where it heard nothing,
//! and writes down what it asked and heard. Knows the API; never who leads.

use super::net::{self, CALL_LIMIT};
use super::node::ARBITERS;
use super::oracle::Oracle;
use super::rng::Rng;
use super::run::Plant;
use arbiter_proto::v1 as pb;
use arbiter_proto::v1::admin_client::AdminClient;
use arbiter_proto::v1::query_client::QueryClient;
use arbiter_tests::history::group::Action;
use std::future::Future;
use std::time::Duration;
use tokio::time::{sleep, timeout};
use tonic::transport::Channel;
use tonic::{Code, Response, Status};

/// Pause of a client between two calls, in milliseconds.
const PAUSE_MS: (u64, u64) = (30, 400);
/// Pause before it asks again.
const AGAIN_MS: (u64, u64) = (20, 200);
/// Of a thousand answers to changes, how many are lost.
const ANSWERS_LOST: u64 = 200;
/// Why, as every change says.
const REASON: &str = "simulated";

/// The client.
pub struct Client {
    /// Its name.
    pub name: String,
    /// What it knows of the whole.
    pub oracle: Oracle,
    /// Chance.
    pub rng: Rng,
    /// A bug that is planted.
    pub plant: Option<Plant>,
    channels: Vec<Channel>,
    asked: u64,
    /// The switchover that it opened last: its number and the plan's id.
    opened: Option<(u64, u64)>,
}

/// What became of a change.
enum Ended<T> {
    Done(T),
    /// It was refused, and nothing that was asked before can still be done.
    Refused,
    /// It may be done at any time.
    Unknown,
}

impl Client {
    /// It has asked nothing yet.
    pub fn new(name: String, oracle: Oracle, rng: Rng, plant: Option<Plant>) -> Self {
        Self { name, oracle, rng, plant, channels: Vec::new(), asked: 0, opened: None }
    }

    /// Asks until nothing more is to be asked, and everything is answered.
    pub async fn live(mut self) {
        self.channels = ARBITERS.iter().map(|arbiter| net::client(arbiter)).collect();
        self.oracle.begun().await;
        while !self.oracle.quiet() {
            sleep(self.pause(PAUSE_MS)).await;
            match self.rng.range(0, 99) {
                0..45 => self.read_region().await,
                45..65 => self.read_status().await,
                65..85 => self.set_mode().await,
                85..96 => self.switch_over().await,
                _ => self.abort().await,
            }
        }
    }

    fn pause(&mut self, (low, high): (u64, u64)) -> Duration {
        Duration::from_millis(self.rng.range(low, high))
    }

    fn any(&mut self) -> (usize, Channel) {
        let at = self.rng.index(self.channels.len());
        (at, self.channels[at].clone())
    }

    fn asked(&mut self, number: u64, again: u64) -> Option<pb::Asked> {
        let mut request_id = format!("{}-{number}", self.name);
        if self.plant == Some(Plant::AskedTwiceDoneTwice) && again > 0 {
            request_id += &format!("-{again}");
        }
        Some(pb::Asked { request_id, reason: REASON.to_owned(), by: self.name.clone() })
    }

    /// Where a read goes; with a bug planted, to whoever believes that it leads.
    fn reader(&mut self) -> (usize, Channel) {
        let believer = self.oracle.believes_to_lead(&mut self.rng);
        match (self.plant, believer) {
            (Some(Plant::StaleRead), Some(at)) => (at, self.channels[at].clone()),
            _ => self.any(),
        }
    }

    async fn read_region(&mut self) {
        let (invoked, index) = (self.oracle.history.begins(), self.oracle.acknowledged());
        let (at, channel) = self.reader();
        let stale = self.plant == Some(Plant::StaleRead);
        let ask = pb::GetActiveRegionRequest { group: String::new(), stale };
        let answer = within(QueryClient::new(channel).get_active_region(ask)).await;
        if let Ok(pb::ActiveRegion { region, epoch, phase, log_index, .. }) = answer {
            self.oracle.read_at(&self.name, at, index, log_index);
            let action = Action::Region { region, epoch, open: phase != "steady" };
            self.ended(invoked, action);
        }
    }

    async fn read_status(&mut self) {
        let invoked = self.oracle.history.begins();
        let (_, channel) = self.reader();
        let ask = pb::GetStatusRequest { group: String::new() };
        let Ok(status) = within(QueryClient::new(channel).get_status(ask)).await else { return };
        let plant = self.plant == Some(Plant::StaleRead);
        let Some(group) = status.groups.into_iter().next().filter(|_| plant || !status.stale)
        else {
            return;
        };
        let pb::GroupStatus { mode, active: region, epoch, plan, .. } = group;
        self.ended(invoked, Action::Status { mode, region, epoch, open: plan.is_some() });
    }

    fn ended(&self, invoked: u64, action: Action) {
        self.oracle.note(&format!("{} {action:?}", self.name));
        self.oracle.history.ends(&self.name, invoked, action);
    }

    async fn set_mode(&mut self) {
        let mode = ["observe", "manual", "manual"][self.rng.index(3)].to_owned();
        let invoked = self.oracle.history.begins();
        let ask = mode.clone();
        let ended = self
            .change(|asked, channel| {
                let request = pb::SetModeRequest {
                    asked,
                    group: String::new(),
                    mode: ask.clone(),
                    expected_epoch: 0,
                    for_ms: 0,
                };
                async move { AdminClient::new(channel).set_mode(request).await }
            })
            .await;
        match ended {
            Ended::Done((request, outcome)) => {
                self.oracle.wrote(&request, outcome.log_index);
                self.ended(invoked, Action::SetMode(mode));
            }
            Ended::Refused => {}
            Ended::Unknown => {
                self.oracle.history.may_happen(&self.name, invoked, Action::SetMode(mode));
            }
        }
    }

    async fn switch_over(&mut self) {
        let invoked = self.oracle.history.begins();
        let ended = self
            .change(|asked, channel| {
                let request = pb::OpenPlanRequest { asked, ..pb::OpenPlanRequest::default() };
                async move { AdminClient::new(channel).switchover(request).await }
            })
            .await;
        match ended {
            Ended::Done((request, answer)) => {
                let plan = answer.plan.map(|plan| plan.id);
                if let Some(id) = plan {
                    self.oracle.wrote(&request, id);
                    self.opened = Some((invoked, id));
                }
                self.oracle.note(&format!("{} opened {plan:?}", self.name));
                self.oracle.history.opens(&self.name, invoked, invoked, true);
            }
            Ended::Refused => {}
            Ended::Unknown => self.oracle.history.opens(&self.name, invoked, invoked, false),
        }
    }

    async fn abort(&mut self) {
        let Some((number, plan)) = self.opened.take() else { return };
        let invoked = self.oracle.history.begins();
        let ended = self
            .change(|asked, channel| {
                let request = pb::PlanRequest { asked, plan, ..pb::PlanRequest::default() };
                async move { AdminClient::new(channel).abort_plan(request).await }
            })
            .await;
        match ended {
            Ended::Done((request, outcome)) => {
                self.oracle.wrote(&request, outcome.log_index);
                self.ended(invoked, Action::Abort(number));
            }
            Ended::Refused => {}
            Ended::Unknown => {
                self.oracle.history.may_happen(&self.name, invoked, Action::Abort(number));
            }
        }
    }

    /// Asks one arbiter after the other until it hears what became of it.
    async fn change<T, F>(
        &mut self,
        call: impl Fn(Option<pb::Asked>, Channel) -> F,
    ) -> Ended<(String, T)>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        self.asked += 1;
        let (number, mut again) = (self.asked, 0);
        loop {
            let (_, channel) = self.any();
            let asked = self.asked(number, again);
            let request = asked.as_ref().map_or(String::new(), |asked| asked.request_id.clone());
            let answer = within(call(asked, channel)).await;
            // An answer is lost on its way: then it is asked again, and must not be done again.
            let lost = again == 0 && self.rng.chance(ANSWERS_LOST);
            match answer {
                Ok(_) if lost => again += 1,
                Ok(answer) => return Ended::Done((request, answer)),
                Err(status) if unknown(&status) => again += 1,
                // What was asked before may be on its way still, and this refusal is not of it.
                Err(_) if again > 0 => return Ended::Unknown,
                Err(_) => return Ended::Refused,
            }
            sleep(self.pause(AGAIN_MS)).await;
        }
    }
}

/// An answer, within the time that a client waits.
async fn within<T>(call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, Status> {
    match timeout(CALL_LIMIT, call).await {
        Ok(answer) => answer.map(Response::into_inner),
        Err(_) => Err(Status::deadline_exceeded("no answer")),
    }
}

/// Whether it may have been done all the same.
fn unknown(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable
            | Code::DeadlineExceeded
            | Code::Cancelled
            | Code::Unknown
            | Code::Internal
            | Code::Aborted
    )
}

/// Begins the cluster, and waits until its group is active.
pub async fn begin(oracle: Oracle, mut rng: Rng) {
    loop {
        sleep(Duration::from_millis(300)).await;
        let channel = net::client(ARBITERS[rng.index(ARBITERS.len())]);
        let asked = pb::Asked { request_id: "begin".into(), ..pb::Asked::default() };
        let request = pb::InitializeRequest {
            asked: Some(asked),
            cluster_id: super::node::CLUSTER.to_owned(),
            config_toml: super::node::file(),
        };
        if let Err(status) = within(AdminClient::new(channel.clone()).initialize(request)).await {
            oracle.note(&format!("initialize: {}", status.message()));
        }
        let ask = pb::GetActiveRegionRequest::default();
        let active = within(QueryClient::new(channel).get_active_region(ask)).await;
        if active.is_ok_and(|active| active.epoch == 1) {
            return oracle.begin();
        }
    }
}

/// Leadership moves to an arbiter, if that is possible now.
pub async fn transfer(rng: &mut Rng) {
    let channel = net::client(ARBITERS[rng.index(ARBITERS.len())]);
    let asked = pb::Asked { request_id: format!("t{}", rng.draw()), ..pb::Asked::default() };
    let to = ARBITERS[rng.index(ARBITERS.len())].to_owned();
    let request = pb::TransferLeadershipRequest { asked: Some(asked), to };
    // Whether it was possible is nobody's matter here.
    let _ = within(AdminClient::new(channel).transfer_leadership(request)).await;
}
