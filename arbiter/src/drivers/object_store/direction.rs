//! Which way is replicated: from the active region's bucket to the other one. A fault here never
//! holds up a goal: what cannot be turned is said, and tried again.

use super::Inner;
use super::replication::Replication;
use crate::drivers::DriverError;
use crate::drivers::bucket::{Ask, Bucket, Fault, Provider};
use arbiter_core::Token;

/// What its requests need.
const NEEDS: &str = "s3:GetReplicationConfiguration, s3:PutReplicationConfiguration and \
                     iam:PassRole for replication_role";
/// Said where only people can turn it.
const BY_HAND: &str =
    "not seen: Azure's object replication is turned by its users, after each move";

impl Inner {
    /// This region is active: its bucket is the source.
    pub(super) async fn turn_towards_peer(&self, token: Token) {
        if !self.settings.replicated {
            return;
        }
        if self.settings.place.provider() == Provider::Azure {
            self.memory().direction = BY_HAND.to_owned();
            return;
        }
        let (said, fault) = match self.towards(token).await {
            Ok(said) => (said, String::new()),
            Err(error) => ("unknown".to_owned(), error.to_string()),
        };
        let mut memory = self.memory();
        (memory.direction, memory.direction_fault) = (said, fault);
    }

    /// This region is a standby: nothing is replicated out of its bucket by a rule of ours.
    pub(super) async fn turn_from_peer(&self) {
        if self.settings.direction.is_none() {
            return;
        }
        let (said, fault) = match self.away().await {
            Ok(()) => ("towards this region".to_owned(), String::new()),
            Err(error) => ("unknown".to_owned(), error.to_string()),
        };
        let mut memory = self.memory();
        (memory.direction, memory.direction_fault) = (said, fault);
    }

    async fn towards(&self, token: Token) -> Result<String, DriverError> {
        let bucket = self.open().await?;
        let found = self.replication(&bucket).await?;
        let Some(direction) = &self.settings.direction else {
            if found.runs() {
                return Ok("out of this region, by rules of your own".to_owned());
            }
            return Err(DriverError::Refused(format!(
                "{}: nothing replicates out of it: turn the direction of replication yourself, or \
                 set replication_role and peer_bucket",
                self.settings.place
            )));
        };
        let done = format!("towards {}", direction.to);
        let current = found.token().is_none_or(|ours| ours >= token);
        if found.reaches(&direction.to) && current {
            return Ok(done);
        }
        let wanted = found.towards(direction, token).map_err(DriverError::Refused)?;
        let asked = bucket.ask(Ask::put("replication", "application/xml", wanted)).await;
        asked.map_err(|fault| self.direction_error("turning its replication", &fault))?;
        if !self.replication(&bucket).await?.reaches(&direction.to) {
            return Err(DriverError::Retry(format!(
                "{}: its replication was turned, and is not read back so",
                self.settings.place
            )));
        }
        Ok(done)
    }

    async fn away(&self) -> Result<(), DriverError> {
        let bucket = self.open().await?;
        let found = self.replication(&bucket).await?;
        if !found.has_ours() {
            return Ok(());
        }
        let asked = match found.turned_off() {
            Some(wanted) => bucket.ask(Ask::put("replication", "application/xml", wanted)).await,
            None => bucket.ask(Ask::delete("replication")).await,
        };
        asked.map(drop).map_err(|fault| self.direction_error("turning its replication off", &fault))
    }

    async fn replication(&self, bucket: &Bucket) -> Result<Replication, DriverError> {
        let text = match bucket.ask(Ask::get("replication")).await {
            Ok(answer) => answer.body,
            Err(fault) if fault.code == "ReplicationConfigurationNotFoundError" => String::new(),
            Err(fault) => return Err(self.direction_error("reading its replication", &fault)),
        };
        Replication::parse(&text)
            .map_err(|why| DriverError::Retry(format!("{}: {why}", self.settings.place)))
    }

    fn direction_error(&self, what: &str, fault: &Fault) -> DriverError {
        self.bucket.note(fault);
        fault.error(&format!("{}: {what}", self.settings.place), NEEDS)
    }
}
