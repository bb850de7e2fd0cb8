//! Fakes of what an API alone changes: buckets, workloads and poolers. Each obeys the contract of
//! its real driver, and stands on in a region whose hosts are gone. Knows one instance; never who
//! asks.

use super::kinds::Kind;
use arbiter_core::agent::Failure;
use arbiter_core::{Condition, EvidenceKind, Fact, Goal, InstanceId, Terms, Token};

/// One of them.
#[derive(Clone, Debug)]
pub struct Outside {
    kind: Kind,
    /// It takes writes, serves, or lets clients through.
    pub open: bool,
    /// The newest goal that was reached, and its token: the service keeps the token, but a pooler.
    reached: Option<(Goal, Token)>,
    /// A pooler: whom it leads clients to.
    pub leads_to: Option<InstanceId>,
}

impl Outside {
    /// As it is before anybody orders anything.
    pub fn new(kind: Kind, open: bool, leads_to: Option<InstanceId>) -> Self {
        Self { kind, open, reached: None, leads_to }
    }

    /// Make `goal` so.
    pub fn act(&mut self, goal: Goal, token: Token, terms: &Terms) -> Result<(), Failure> {
        if self.kind == Kind::Pooler {
            return self.pool(goal, token, terms);
        }
        if let Some((_, seen)) = self.reached.filter(|(_, seen)| *seen > token) {
            return Err(Failure::Stale(seen));
        }
        self.open = goal == Goal::Active;
        self.reached = Some((goal, token));
        Ok(())
    }

    fn pool(&mut self, goal: Goal, token: Token, terms: &Terms) -> Result<(), Failure> {
        self.open = match goal {
            Goal::Active => true,
            Goal::Drained => false,
            Goal::Standby | Goal::Fenced => {
                return Err(Failure::Refused(format!("a pooler is never {goal}")));
            }
        };
        if self.open && terms.names.is_some() {
            self.leads_to = Some(terms.upstream.as_str().into());
        }
        self.reached = Some((goal, token));
        Ok(())
    }

    /// Whether `goal` is so.
    pub fn is(&self, goal: Goal) -> bool {
        self.open == (goal == Goal::Active)
    }

    /// What reaching `goal` proves.
    pub fn proves(&self, goal: Goal) -> Option<EvidenceKind> {
        let proven = match self.kind {
            Kind::Bucket => goal != Goal::Active,
            Kind::Workload => goal == Goal::Fenced,
            _ => false,
        };
        proven.then_some(EvidenceKind::ProviderAsserted)
    }

    /// What a driver sees.
    pub fn fact(&self) -> Fact {
        let goal = self.reached.map(|(goal, _)| goal);
        let stopped = match self.kind {
            Kind::Pooler => !self.open,
            _ => matches!(goal, Some(Goal::Fenced | Goal::Drained)) && !self.open,
        };
        let condition = if stopped { Condition::Stopped } else { Condition::Healthy };
        Fact { condition, writable: self.open, ..Fact::default() }
    }
}
