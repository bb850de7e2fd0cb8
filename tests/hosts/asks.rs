//! What cases ask of the platform's arbiters, and wait for.

use super::stage::{LIMIT, LOOK_PAUSE, Stage, check, until, wrong};
use arbiter::clock;
use arbiter::lab::cluster::GROUP;
use arbiter::lab::demo::column;
use arbiter_proto::v1;
use std::io;
use std::time::Duration;

/// How long a region that returned is watched.
const WATCH: Duration = Duration::from_secs(2);

impl Stage {
    /// The group's status, as a quorum sees it where there is one.
    ///
    /// # Errors
    /// If no arbiter answers.
    pub async fn group(&self) -> io::Result<v1::GroupStatus> {
        self.lab.operator.group(GROUP).await.ok_or_else(|| wrong("no arbiter answers"))
    }

    /// Wait until `region` is active at `epoch`, no plan is open, and the follower writes there.
    ///
    /// # Errors
    /// With the last status when `limit` passed first.
    pub async fn serves(&self, region: &str, epoch: u64, limit: Duration) -> io::Result<()> {
        let there =
            |g: &v1::GroupStatus| g.active == region && g.epoch == epoch && g.plan.is_none();
        let what = format!("{region} active at epoch {epoch}, no plan open");
        self.lab.operator.wait_group(GROUP, &what, limit, there).await?;
        self.follows(region).await
    }

    /// Wait until the follower is acknowledged by the server of `region`, for a write sent from now
    /// on: an acknowledgement on its way says nothing of now.
    ///
    /// # Errors
    /// When that takes too long.
    pub async fn follows(&self, region: &str) -> io::Result<()> {
        let (from, server) = (clock::now(), self.server(region));
        until(&format!("the follower writes in {region}"), LIMIT, || async {
            self.follower.last().is_some_and(|ack| ack.sent > from && ack.server == server)
        })
        .await
    }

    /// What is written now in `region` arrives at each of `hosts`.
    ///
    /// # Errors
    /// When that takes too long.
    pub async fn arrives_at(&self, region: &str, hosts: &[&str]) -> io::Result<()> {
        let from = clock::now();
        self.follows(region).await?;
        let id = self.acks().iter().rfind(|ack| ack.sent > from).map_or(0, |ack| ack.id);
        let there = format!("SELECT count(*) FROM writes WHERE id = {id}");
        for host in hosts {
            let server = self.lab.address(host);
            until(&format!("a new write is at {host}"), LIMIT, async || {
                column(server, &there).await.is_ok_and(|count| count == [1])
            })
            .await?;
        }
        Ok(())
    }

    /// Nothing moves for `time`: no plan opens, and the follower goes on at `region`, without a gap
    /// above `gap`.
    ///
    /// # Errors
    /// With what moved, or the gap.
    pub async fn nothing_moves(
        &self,
        region: &str,
        time: Duration,
        gap: Duration,
    ) -> io::Result<()> {
        let (from, epoch, plans) = (clock::now(), self.group().await?.epoch, self.plans().await);
        tokio::time::sleep(time).await;
        let group = self.group().await?;
        check(group.active == region && group.epoch == epoch && group.plan.is_none(), || {
            format!("{} at epoch {}, plan {:?}", group.active, group.epoch, group.plan)
        })?;
        let after = self.plans().await;
        check(after == plans, || format!("plans {after:?} after {plans:?}"))?;
        self.no_gap(region, from, gap)
    }

    /// Ids of every plan that is kept, newest first.
    pub async fn plans(&self) -> Vec<u64> {
        let request = v1::ListPlansRequest { group: GROUP.into(), limit: 0 };
        self.lab.operator.plans(request).await.into_iter().map(|plan| plan.id).collect()
    }

    /// The region that lost is connected again and its orders of the present epoch stand; none of
    /// its servers is a primary, then and a while later.
    ///
    /// # Errors
    /// When it does not return, or with what accepts writes there.
    pub async fn returned_as_no_primary(&self, region: &str) -> io::Result<()> {
        let returned = |g: &v1::GroupStatus| {
            let mut agents =
                g.regions.iter().filter(|r| r.region == region).flat_map(|r| &r.agents);
            let stands = |i: &v1::InstanceStatus| {
                i.kind != "postgres"
                    || matches!(i.goal.as_str(), "standby" | "fenced")
                        && i.token.starts_with(&format!("{}.", g.epoch))
            };
            agents.clone().count() > 0
                && agents.all(|a| a.connected && a.instances.iter().all(stands))
        };
        let healed = clock::now();
        let what = format!("{region} is back under its orders");
        self.lab.operator.wait_group(GROUP, &what, LIMIT, returned).await?;
        self.no_primary(region).await?;
        tokio::time::sleep(WATCH).await;
        self.no_primary(region).await?;
        let again = self.first_ack(region, healed);
        check(again.is_none(), || format!("{region} acknowledged again after it was healed"))
    }

    /// No process of PostgreSQL in `region`, or one that is in recovery.
    async fn no_primary(&self, region: &str) -> io::Result<()> {
        let host = if region == "eu-west" { "eu-db" } else { "us-db" };
        let started = clock::now();
        while !self.postgres_processes(host)?.is_empty() {
            match column(self.server(region), "SELECT pg_is_in_recovery()::int::int8").await {
                Ok(replica) => return check(replica == [1], || format!("{host} is a primary")),
                // It starts, or has just ended.
                Err(error) if clock::now().since(started) > LIMIT => return Err(error),
                Err(_) => tokio::time::sleep(LOOK_PAUSE).await,
            }
        }
        Ok(())
    }

    /// Name of the leading arbiter.
    ///
    /// # Errors
    /// If there is none in time.
    pub async fn leader(&self) -> io::Result<String> {
        let led = |s: &v1::Status| !s.stale && !s.leader.is_empty();
        Ok(self.lab.operator.wait("a leader", LIMIT, led).await?.leader)
    }

    /// Wait until the leader stands outside `region`.
    ///
    /// # Errors
    /// If it does not in time.
    pub async fn leader_outside(&self, region: &str) -> io::Result<String> {
        let outside = |s: &v1::Status| {
            !s.stale && s.voters.iter().any(|v| v.name == s.leader && v.region != region)
        };
        Ok(self.lab.operator.wait("a leader elsewhere", LIMIT, outside).await?.leader)
    }

    /// The newest plan that is kept.
    ///
    /// # Errors
    /// If there is none.
    pub async fn newest_plan(&self) -> io::Result<v1::Plan> {
        let request = v1::ListPlansRequest { group: GROUP.into(), limit: 1 };
        let plans = self.lab.operator.plans(request).await;
        plans.into_iter().next().ok_or_else(|| wrong("no plan is kept"))
    }

    /// Wait until a switchover or a failover to `target` would open.
    ///
    /// # Errors
    /// With what is against it when that takes too long.
    pub async fn ready_to_move(&self, target: &str) -> io::Result<()> {
        self.lab.ready_to_move(GROUP, target).await?;
        let within = |g: &v1::GroupStatus| g.lag_mark == "within";
        self.lab.operator.wait_group(GROUP, "loss within the RPO", LIMIT, within).await.map(drop)
    }

    /// Ask for a plan; wait until none is open and `target` is active at the next epoch.
    ///
    /// # Errors
    /// The refusal, or the last status.
    pub async fn moved_by(&self, kind: &str, target: &str) -> io::Result<()> {
        let epoch = self.lab.epoch(GROUP).await?;
        let opened = self.lab.open_plan(GROUP, kind, target).await;
        opened.map_err(|status| wrong(format!("{kind} to {target}: {status}")))?;
        self.serves(target, epoch + 1, LIMIT).await
    }
}
