//! The kinds `command` and `command-workload`: a script changes what neither agent nor deadman
//! holds.
//!
//! Knows answers of a script and how much its word counts. Never knows what it changes.

use super::reply::{Reply, State};
use super::script::{self, Ask, Script};
use super::{cap, evidence_words};
use crate::drivers::{Declaration, Done, Driver, DriverError, Kind, Opening};
use arbiter_core::{Control, EvidenceKind, Fact, Goal, Layer, Terms, Token};
use async_trait::async_trait;
use cluster_config::{Setting, may};

/// The most that a script's word can count as.
const WORD_MAX: EvidenceKind = EvidenceKind::ProviderAsserted;

/// Data that a script moves. See [`crate::drivers::KINDS`].
pub const DATA: Kind = Kind {
    config: cluster_config::Kind {
        name: "command",
        layer: "data",
        control: "api",
        evidence: &[cluster_config::EvidenceKind::ProviderAsserted],
        fence: cluster_config::Fence::BestEffort,
        waits: false,
        address: false,
        settings: &[script::COMMAND, script::LIMIT_SETTING, script::USER, script::ENVIRONMENT, CAP],
    },
    open: |opening| Ok(Box::new(Commanded::open(opening, Layer::Data)?)),
    rehearse: None,
};

/// Services that a script starts and stops.
pub const WORKLOAD: Kind = Kind {
    config: cluster_config::Kind {
        name: "command-workload",
        layer: "workload",
        control: "api",
        evidence: &[],
        fence: cluster_config::Fence::BestEffort,
        waits: false,
        address: false,
        settings: &[script::COMMAND, script::LIMIT_SETTING, script::USER, script::ENVIRONMENT],
    },
    open: |opening| Ok(Box::new(Commanded::open(opening, Layer::Workload)?)),
    rehearse: None,
};

/// How much a script's word counts.
const CAP: Setting = may(
    "max_evidence",
    "provider-asserted",
    "The most that the script's word of a fence counts as: provider-asserted, which is the default, \
     or none. Nothing that a script says is ever more.",
);

/// The driver of one instance.
struct Commanded {
    script: Script,
    layer: Layer,
    max_evidence: Option<EvidenceKind>,
}

impl Commanded {
    fn open(opening: Opening<'_>, layer: Layer) -> Result<Self, DriverError> {
        let Opening { group, id, instance, .. } = opening;
        let max_evidence = match instance.settings.get("max_evidence").map(String::as_str) {
            _ if layer != Layer::Data => None,
            None | Some("provider-asserted") => Some(WORD_MAX),
            Some("none") => None,
            Some(other) => {
                return Err(DriverError::Refused(format!(
                    "instance {id}: max_evidence is {other:?}: write provider-asserted or none"
                )));
            }
        };
        Ok(Self { script: Script::open(group, id, instance)?, layer, max_evidence })
    }

    /// A goal that was said to be reached, and is seen not to be.
    fn contradiction(&self, goal: Goal, reply: &Reply) -> Option<DriverError> {
        let state = reply.state?;
        let fits = match goal {
            Goal::Active => state == State::Active,
            Goal::Standby => matches!(state, State::Standby | State::Stopped),
            Goal::Drained => matches!(state, State::Standby | State::Stopped),
            Goal::Fenced => state == State::Stopped,
        };
        let id = &self.script.id;
        let state = state.as_str();
        (!fits).then(|| {
            DriverError::Retry(format!(
                "instance {id}: the script says that {goal} is reached, and that the state is \
                 {state}: it must exit with 75 until it is"
            ))
        })
    }
}

#[async_trait]
impl Driver for Commanded {
    fn declares(&self) -> Declaration {
        let evidence = self.max_evidence.into_iter().collect();
        Declaration { control: Control::Api, evidence, layer: self.layer }
    }

    async fn observe(&self) -> Result<Fact, DriverError> {
        let reply = self.script.ask(Ask::Observe, &[]).await?;
        let mut fact = reply.fact(self.layer);
        if reply.state.is_none() {
            let why = "the script says no state: it must print one for observe";
            fact.detail.insert("error".to_owned(), why.to_owned());
        }
        Ok(fact)
    }

    async fn ensure(&self, goal: Goal, token: Token, terms: &Terms) -> Result<Done, DriverError> {
        let reply = self.script.ask(Ask::Ensure(goal, token, terms), &[]).await?;
        if let Some(error) = self.contradiction(goal, &reply) {
            return Err(error);
        }
        // What it does not say is what it was asked for, and did.
        let state = reply.state.unwrap_or(match goal {
            Goal::Active => State::Active,
            Goal::Standby => State::Standby,
            Goal::Drained | Goal::Fenced => State::Stopped,
        });
        let quiet = matches!(goal, Goal::Drained | Goal::Fenced);
        let claimed = reply.evidence.filter(|_| quiet);
        let evidence = cap(claimed, self.max_evidence);
        if claimed > evidence {
            let (claimed, counts) = (evidence_words(claimed), evidence_words(evidence));
            tracing::info!(instance = %self.script.id, claimed, counts, "a script's word is capped");
        }
        let end = reply.position.filter(|_| quiet);
        let facts = Reply { state: Some(state), ..reply.clone() }.fact(self.layer);
        Ok(Done { evidence, end, clean: quiet && reply.clean, facts })
    }

    async fn verify(&self, token: Token) -> Result<Fact, DriverError> {
        let reply = self.script.ask(Ask::Verify(token), &[]).await?;
        let state = reply.state.unwrap_or(State::Active);
        Ok(Reply { state: Some(state), ..reply }.fact(self.layer))
    }
}
