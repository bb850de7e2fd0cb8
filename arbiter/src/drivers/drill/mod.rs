//! What agents do in a drill: the user's own checks, and rehearsals of kinds that have one.
//!
//! Knows one command of an operator and its time limit. Never knows what it checks, and never shows
//! what it prints: it may hold secrets.

use super::{Command, Declaration, Done, Driver, DriverError, Holder, KINDS, Opening};
use arbiter_core::{
    Control, DRILL_CHECK, DRILL_KIND, DRILL_SAID, Fact, Goal, GroupId, Instance, InstanceId, Layer,
    REHEARSAL, RegionId, Terms, Token,
};
use async_trait::async_trait;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Time limit where the settings name none.
const LIMIT: Duration = Duration::from_secs(120);
/// How long the end of one that is killed may take.
const KILLED_WITHIN: Duration = Duration::from_secs(10);

/// The driver of a part of a drill; none: `instance` is none.
pub(super) fn open(
    group: &GroupId,
    id: &InstanceId,
    instance: &Instance,
    holder: &Arc<dyn Holder>,
) -> Option<Result<Box<dyn Driver>, DriverError>> {
    let opening = Opening { group, id, instance, holder: holder.clone() };
    if instance.kind == DRILL_CHECK {
        return Some(Check::open(&opening));
    }
    let name = instance.kind.strip_prefix(REHEARSAL)?;
    let rehearse = KINDS.iter().find(|kind| kind.config.name == name)?.rehearse;
    Some(match rehearse {
        Some(rehearse) => rehearse(&opening),
        None => Ok(Box::new(Nothing)),
    })
}

/// What every part of a drill declares.
pub(super) fn declaration() -> Declaration {
    Declaration { control: Control::Api, evidence: Vec::new(), layer: Layer::Data }
}

/// What a part said last, for its Fact.
#[derive(Default)]
pub(super) struct Said(Mutex<String>);

impl Said {
    /// A Fact with it.
    pub(super) fn fact(&self) -> Fact {
        let text = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut fact = Fact::default();
        if !text.is_empty() {
            fact.detail.insert(DRILL_SAID.to_owned(), text);
        }
        fact
    }

    /// The part is done, and says `text`.
    pub(super) fn done(&self, text: String) -> Done {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = text;
        Done { facts: self.fact(), ..Done::default() }
    }
}

/// The user's checks.
pub(super) struct Checks {
    group: GroupId,
    /// The kind of what they look at.
    kind: String,
    /// What they are run for: `check` or `rehearsal`.
    part: &'static str,
    region: RegionId,
    user: Option<String>,
    words: Vec<String>,
    limit: Duration,
}

impl Checks {
    /// As the settings of a part say; without a command there is nothing to run.
    ///
    /// # Errors
    /// `Refused` where the limit is no number.
    pub(super) fn read(opening: &Opening<'_>) -> Result<Self, DriverError> {
        let settings = &opening.instance.settings;
        let given = |key: &str| settings.get(&format!("{DRILL_SAID}.{key}"));
        let limit = match given("limit_ms").map(|text| text.parse()) {
            None => LIMIT,
            Some(Ok(millis)) => Duration::from_millis(millis),
            Some(Err(_)) => {
                let text = format!("{}: the limit of the checks is no number", opening.id);
                return Err(DriverError::Refused(text));
            }
        };
        let command = given("command").map(String::as_str).unwrap_or_default();
        Ok(Self {
            group: opening.group.clone(),
            kind: given(DRILL_KIND).cloned().unwrap_or_default(),
            part: if opening.instance.kind == DRILL_CHECK { "check" } else { "rehearsal" },
            region: opening.instance.region.clone(),
            user: settings.get("user").cloned(),
            words: command.split_whitespace().map(str::to_owned).collect(),
            limit,
        })
    }

    /// How long they may take, and a little to be killed in.
    pub(super) fn limit(&self) -> Duration {
        self.limit + KILLED_WITHIN
    }

    /// Run them against what serves at `address`, and say how they went.
    ///
    /// # Errors
    /// `Refused` where they failed, or took too long.
    pub(super) async fn run(
        &self,
        holder: &dyn Holder,
        token: Token,
        address: &str,
    ) -> Result<String, DriverError> {
        let Some((program, args)) = self.words.split_first() else {
            return Ok("no checks are set".to_owned());
        };
        let env = [
            ("ARBITER_GROUP", self.group.0.clone()),
            ("ARBITER_REGION", self.region.0.clone()),
            ("ARBITER_EPOCH", token.epoch.to_string()),
            ("ARBITER_PART", self.part.to_owned()),
            ("ARBITER_KIND", self.kind.clone()),
            ("ARBITER_ADDRESS", address.to_owned()),
        ];
        let command = Command {
            program: PathBuf::from(program),
            args: args.to_vec(),
            env: env.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
            user: self.user.clone(),
            limit: self.limit,
            log: None,
        };
        let refused = |why: String| DriverError::Refused(format!("the checks of {program} {why}"));
        match holder.run(&command).await {
            Ok(output) if output.code == Some(0) => Ok("checks passed".to_owned()),
            Ok(output) => Err(refused(match output.code {
                Some(code) => format!("failed with exit code {code}"),
                None => "were killed".to_owned(),
            })),
            Err(error) => Err(refused(format!("did not end: {error}"))),
        }
    }
}

/// The user's checks against the region that a drill made active.
struct Check {
    checks: Checks,
    holder: Arc<dyn Holder>,
    address: String,
    said: Said,
}

impl Check {
    fn open(opening: &Opening<'_>) -> Result<Box<dyn Driver>, DriverError> {
        Ok(Box::new(Self {
            checks: Checks::read(opening)?,
            holder: opening.holder.clone(),
            address: opening.instance.address.clone(),
            said: Said::default(),
        }))
    }
}

#[async_trait]
impl Driver for Check {
    fn declares(&self) -> Declaration {
        declaration()
    }

    async fn observe(&self) -> Result<Fact, DriverError> {
        Ok(self.said.fact())
    }

    async fn ensure(&self, goal: Goal, token: Token, _: &Terms) -> Result<Done, DriverError> {
        if goal != Goal::Active {
            return Ok(Done::default());
        }
        let text = self.checks.run(&*self.holder, token, &self.address).await?;
        Ok(self.said.done(text))
    }

    fn limit(&self, _: Goal) -> Duration {
        self.checks.limit()
    }

    async fn verify(&self, _: Token) -> Result<Fact, DriverError> {
        Ok(self.said.fact())
    }
}

/// A kind that has no rehearsal.
struct Nothing;

#[async_trait]
impl Driver for Nothing {
    fn declares(&self) -> Declaration {
        declaration()
    }

    async fn observe(&self) -> Result<Fact, DriverError> {
        Ok(Fact::default())
    }

    async fn ensure(&self, _: Goal, _: Token, _: &Terms) -> Result<Done, DriverError> {
        Ok(Done::default())
    }

    async fn verify(&self, _: Token) -> Result<Fact, DriverError> {
        Ok(Fact::default())
    }
}
