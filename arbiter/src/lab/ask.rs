//! What an operator asks of the lab's cluster, and waits for. Knows the API; never the processes.

use super::cluster::{Lab, UP_LIMIT};
use super::operator::Operator;
use crate::clock;
use arbiter_proto::v1;
use arbiter_proto::v1::admin_client::AdminClient;
use std::io;
use std::time::Duration;
use tonic::transport::Channel;

type Admin = AdminClient<Channel>;

impl Lab {
    /// Initialize the cluster and wait until the group is active in eu-west.
    ///
    /// # Errors
    /// If that takes more than a minute.
    pub async fn initialize(&self) -> io::Result<()> {
        let text = std::fs::read_to_string(self.config())?;
        let started = clock::now();
        let request = v1::InitializeRequest {
            asked: Operator::asked("the lab begins"),
            cluster_id: self.options.prefix.clone(),
            config_toml: text,
        };
        loop {
            let call = async |mut client: Admin, request| client.initialize(request).await;
            match self.operator.admin(request.clone(), call).await {
                Ok(_) => break,
                Err(status) if clock::now().since(started) > UP_LIMIT => {
                    return Err(io::Error::other(format!("initialize: {status}")));
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
        for pair in &self.options.pairs {
            let active = |g: &v1::GroupStatus| g.active == pair.active && g.epoch == 1;
            let what = format!("{} active in {}", pair.group, pair.active);
            self.operator.wait_group(pair.group, &what, UP_LIMIT, active).await?;
        }
        Ok(())
    }

    /// Arm the group, wait until it is, and set `mode`.
    ///
    /// # Errors
    /// If that takes more than a minute or is refused.
    pub async fn arm(&self, group: &str, mode: &str) -> io::Result<()> {
        let epoch = self.epoch(group).await?;
        let asked = Operator::asked("the lab arms");
        let request = v1::GroupRequest { asked, group: group.into(), expected_epoch: epoch };
        let call = async |mut client: Admin, request| client.arm(request).await;
        let armed = self.operator.admin(request, call).await;
        armed.map_err(|s| io::Error::other(format!("arm: {s}")))?;
        let armed = |g: &v1::GroupStatus| {
            let mut agents = g.regions.iter().flat_map(|r| &r.agents);
            agents.clone().count() >= 2 && agents.all(|a| a.arming == "armed")
        };
        self.operator.wait_group(group, "both regions armed", UP_LIMIT, armed).await?;
        self.set_mode(group, mode).await
    }

    /// Set the mode of the group.
    ///
    /// # Errors
    /// If it is refused.
    pub async fn set_mode(&self, group: &str, mode: &str) -> io::Result<()> {
        let expected_epoch = self.epoch(group).await?;
        let request = v1::SetModeRequest {
            asked: Operator::asked("the lab sets the mode"),
            group: group.into(),
            mode: mode.into(),
            expected_epoch,
            for_ms: 0,
        };
        let call = async |mut client: Admin, request| client.set_mode(request).await;
        let set = self.operator.admin(request, call).await;
        set.map_err(|s| io::Error::other(format!("mode: {s}")))?;
        let set = |g: &v1::GroupStatus| g.mode == mode && g.mode_in_effect;
        self.operator.wait_group(group, "mode in effect", UP_LIMIT, set).await.map(drop)
    }

    /// The group's epoch.
    ///
    /// # Errors
    /// If no arbiter answers.
    pub async fn epoch(&self, group: &str) -> io::Result<u64> {
        let group = self.operator.group(group).await;
        group.map(|g| g.epoch).ok_or_else(|| io::Error::other("no arbiter answers"))
    }

    /// Open a switchover or a failover to `target`; returns the plan's id.
    ///
    /// # Errors
    /// The refusal.
    pub async fn open_plan(
        &self,
        group: &str,
        kind: &str,
        target: &str,
    ) -> Result<u64, tonic::Status> {
        self.open_plan_accepting(group, kind, target, false).await
    }

    /// The same, accepting loss over the RPO or not.
    ///
    /// # Errors
    /// The refusal.
    pub async fn open_plan_accepting(
        &self,
        group: &str,
        kind: &str,
        target: &str,
        accept_loss: bool,
    ) -> Result<u64, tonic::Status> {
        let epoch =
            self.epoch(group).await.map_err(|e| tonic::Status::unavailable(e.to_string()))?;
        let request = v1::OpenPlanRequest {
            asked: Operator::asked("the lab asks"),
            group: group.into(),
            target: target.into(),
            expected_epoch: epoch,
            immediate: false,
            accept_loss,
            dry_run: false,
            overrides: Vec::new(),
        };
        self.ask_plan(kind, request).await
    }

    /// Ask for exactly this plan; returns its id.
    ///
    /// # Errors
    /// The refusal.
    pub async fn ask_plan(
        &self,
        kind: &str,
        request: v1::OpenPlanRequest,
    ) -> Result<u64, tonic::Status> {
        let call = async |mut client: Admin, request| match kind {
            "switchover" => client.switchover(request).await,
            _ => client.failover(request).await,
        };
        let answer = self.operator.admin(request, call).await?;
        answer.plan.map(|plan| plan.id).ok_or_else(|| tonic::Status::internal("no plan answered"))
    }

    /// Wait until a switchover of `group` to `target` would open (a dry run finds nothing against
    /// it).
    ///
    /// # Errors
    /// With what is against it when that takes more than a minute.
    pub async fn ready_to_move(&self, group: &str, target: &str) -> io::Result<()> {
        let started = clock::now();
        let mut last = String::new();
        while clock::now().since(started) < UP_LIMIT {
            match self.dry_run(group, target).await {
                Ok(found) if found.is_empty() => return Ok(()),
                Ok(found) => last = found,
                Err(status) => last = status.to_string(),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Err(io::Error::other(format!("a switchover to {target} is not possible: {last}")))
    }

    /// What is against a switchover of `group` to `target` now; empty: nothing.
    ///
    /// # Errors
    /// Where nobody says.
    pub async fn dry_run(&self, group: &str, target: &str) -> Result<String, tonic::Status> {
        let epoch = self.epoch(group).await;
        let epoch = epoch.map_err(|error| tonic::Status::unavailable(error.to_string()))?;
        let request = v1::OpenPlanRequest {
            asked: Operator::asked("is it possible"),
            group: group.into(),
            target: target.into(),
            expected_epoch: epoch,
            immediate: false,
            accept_loss: false,
            dry_run: true,
            overrides: Vec::new(),
        };
        let call = async |mut client: Admin, request| client.switchover(request).await;
        let answer = self.operator.admin(request, call).await?;
        let against: Vec<String> = answer.refused_because.into_iter().map(|r| r.text).collect();
        Ok(against.join("; "))
    }
}
