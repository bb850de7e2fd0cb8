//! External fences: `fence_command` cuts a region off from outside, `fence_check` says whether it
//! is cut off. Evidence: power-off.
//!
//! Knows two commands of an operator and their time limit. Never knows what they cut, and never
//! shows what they print: it may hold secrets. Only the check counts, whatever the command said.

use super::run::{Failed, Run, runs};
use crate::drivers::{Declaration, Done, Driver, DriverError};
use arbiter_core::{
    Condition, Control, EvidenceKind, Fact, Goal, GroupId, Instance, Layer, RegionId, Terms, Token,
};
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::sleep;

/// Time limit of one run of either command where the settings name none (`limit_ms`).
const RUN_LIMIT: Duration = Duration::from_secs(10);
/// Wait between two checks.
pub const CHECK_EVERY: Duration = Duration::from_millis(500);
/// Checks after one run of the command; then it is to run again.
pub const CHECKS_MAX: u32 = 60;

/// The external fence of one region, as the policy of one group names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalFence {
    group: GroupId,
    region: RegionId,
    command: String,
    check: String,
    limit: Duration,
}

impl ExternalFence {
    /// The fence that `settings` describe.
    ///
    /// # Errors
    /// `Refused` when one of the commands is missing, or the limit is no number.
    pub fn open(
        group: &GroupId,
        region: &RegionId,
        settings: &BTreeMap<String, String>,
    ) -> Result<Self, DriverError> {
        let refuse = |what: &str| {
            DriverError::Refused(format!("the external fence of {region} has no usable {what}"))
        };
        let setting = |key: &str| {
            let value = settings.get(key).filter(|value| !value.trim().is_empty());
            value.cloned().ok_or_else(|| refuse(key))
        };
        let limit = match settings.get("limit_ms") {
            Some(text) => Duration::from_millis(text.parse().map_err(|_| refuse("limit_ms"))?),
            None => RUN_LIMIT,
        };
        let (command, check) = (setting("fence_command")?, setting("fence_check")?);
        Ok(Self { group: group.clone(), region: region.clone(), command, check, limit })
    }

    /// Run `fence_command` once, for this fence goal.
    ///
    /// # Errors
    /// `Retry` when it cannot be started, fails or takes too long.
    pub async fn cut(&self, token: Token) -> Result<(), DriverError> {
        match self.run(&self.command, Some(token)).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(DriverError::Retry("fence_command failed".into())),
            Err(why) => Err(DriverError::Retry(format!("fence_command {why}"))),
        }
    }

    /// Whether `fence_check` says, by exit code 0, that the region is cut off. A check that cannot
    /// run says nothing.
    pub async fn is_cut(&self, token: Option<Token>) -> bool {
        self.run(&self.check, token).await == Ok(true)
    }

    /// Whether the command exits 0. No shell: the words of the line are program and arguments.
    async fn run(&self, line: &str, token: Option<Token>) -> Result<bool, Failed> {
        let mut env = vec![("ARBITER_GROUP", self.group.to_string())];
        env.push(("ARBITER_REGION", self.region.to_string()));
        env.extend(token.map(|token| ("ARBITER_TOKEN", token.to_string())));
        let run = Run { line, args: &[], env, user: None, reads: false, limit: self.limit };
        run.to_end().await.map(|ended| ended.code == Some(0))
    }
}

/// The driver of the external fence that an agent runs for another region.
///
/// # Errors
/// As [`ExternalFence::open`].
pub fn external_fence(
    group: &GroupId,
    instance: &Instance,
) -> Result<Box<dyn Driver>, DriverError> {
    Ok(Box::new(ExternalFence::open(group, &instance.region, &instance.settings)?))
}

#[async_trait]
impl Driver for ExternalFence {
    fn declares(&self) -> Declaration {
        let evidence = vec![EvidenceKind::PowerOff];
        Declaration { control: Control::Api, evidence, layer: Layer::Data }
    }

    /// Nothing is run: an executor looks every second, and the check may be another's paid API.
    async fn observe(&self) -> Result<Fact, DriverError> {
        Ok(Fact::default())
    }

    async fn ensure(&self, goal: Goal, token: Token, _: &Terms) -> Result<Done, DriverError> {
        if goal != Goal::Fenced {
            let why = format!("an external fence cuts off; it cannot make {goal}");
            return Err(DriverError::Refused(why));
        }
        let cut = self.cut(token).await;
        for _ in 0..CHECKS_MAX {
            if self.is_cut(Some(token)).await {
                let facts = Fact { condition: Condition::Stopped, ..Fact::default() };
                let evidence = Some(EvidenceKind::PowerOff);
                return Ok(Done { evidence, facts, ..Done::default() });
            }
            sleep(CHECK_EVERY).await;
        }
        cut?;
        Err(DriverError::Retry("fence_check does not say that the region is cut off".into()))
    }

    /// The check runs and says that the region is not cut off, and the command is there. That it
    /// would cut nobody can try.
    async fn rehearse_fence(&self) -> Result<bool, DriverError> {
        let program = self.command.split_whitespace().next().unwrap_or_default();
        if !runs(program) {
            return Err(DriverError::Retry(format!(
                "{program}, of fence_command, is no program that can be run here"
            )));
        }
        match self.run(&self.check, None).await {
            Ok(false) => Ok(true),
            Ok(true) => Err(DriverError::Retry(format!(
                "fence_check says that {} is cut off: unless it is, correct it, for it would prove \
                 a fence that is none",
                self.region
            ))),
            Err(why) => Err(DriverError::Retry(format!("fence_check {why}"))),
        }
    }

    async fn verify(&self, _: Token) -> Result<Fact, DriverError> {
        let cut = self.is_cut(None).await;
        let condition = if cut { Condition::Stopped } else { Condition::Unknown };
        Ok(Fact { condition, ..Fact::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fence(command: &str, check: &str) -> ExternalFence {
        let settings = [("fence_command", command), ("fence_check", check), ("limit_ms", "500")];
        let settings = settings.map(|(key, value)| (key.to_owned(), value.to_owned()));
        ExternalFence::open(&"g".into(), &"eu-west".into(), &settings.into()).unwrap()
    }

    #[tokio::test]
    async fn only_the_check_proves_power_off() {
        let dir = tempfile::tempdir().unwrap();
        let flag = dir.path().join("off").display().to_string();
        let cuts = fence(&format!("touch {flag}"), &format!("test -e {flag}"));
        let before = cuts.verify(Token::new(2, 9)).await.unwrap();
        assert_eq!(before.condition, Condition::Unknown);
        let done = cuts.ensure(Goal::Fenced, Token::new(2, 9), &Terms::default()).await.unwrap();
        assert_eq!(done.evidence, Some(EvidenceKind::PowerOff));
        // A command that says it failed, though the region is off: the check counts.
        let failed = fence("false", "true");
        let done = failed.ensure(Goal::Fenced, Token::new(2, 9), &Terms::default()).await.unwrap();
        assert_eq!(done.evidence, Some(EvidenceKind::PowerOff));
        assert!(!fence("true", "false").is_cut(None).await);
    }

    #[tokio::test]
    async fn a_command_that_hangs_or_is_missing_says_nothing() {
        let hangs = fence("sleep 60", "sleep 60");
        assert!(matches!(hangs.cut(Token::new(1, 1)).await, Err(DriverError::Retry(_))));
        assert!(!hangs.is_cut(None).await);
        assert!(!fence("true", "/nonexistent").is_cut(None).await);
        let nothing = ExternalFence::open(&"g".into(), &"eu-west".into(), &BTreeMap::new());
        assert!(matches!(nothing, Err(DriverError::Refused(_))));
    }

    #[tokio::test]
    async fn a_rehearsal_runs_the_check_alone() {
        let dir = tempfile::tempdir().unwrap();
        let flag = dir.path().join("off").display().to_string();
        let rehearsed = async |command: &str, check: &str| {
            fence(command, check).rehearse_fence().await.map_err(|error| error.to_string())
        };
        let (touch, test) = (format!("touch {flag}"), format!("test -e {flag}"));
        assert_eq!(rehearsed(&touch, &test).await, Ok(true));
        assert!(!dir.path().join("off").exists(), "nothing is cut off");
        for (command, check, said) in [
            ("/nonexistent now", test.as_str(), "/nonexistent, of fence_command"),
            (&touch, "/nonexistent", "fence_check could not be started"),
            (&touch, "sleep 60", "fence_check took longer"),
            (&touch, "true", "says that eu-west is cut off"),
        ] {
            let why = rehearsed(command, check).await.unwrap_err();
            assert!(why.contains(said), "{why}");
        }
    }

    #[tokio::test]
    async fn the_command_learns_for_what_it_cuts() {
        let fence = fence("env", "printenv ARBITER_TOKEN");
        assert!(fence.is_cut(Some(Token::new(2, 9))).await);
        assert!(!fence.is_cut(None).await);
        let refused = fence.ensure(Goal::Active, Token::new(2, 9), &Terms::default()).await;
        assert!(matches!(refused, Err(DriverError::Refused(_))));
    }
}
