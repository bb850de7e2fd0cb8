//! The stage of a case: a platform that serves, two writers, and the questions that cases ask.

use super::Case;
use arbiter::clock;
use arbiter::lab::cluster::{EU, GROUP, Lab, Options, US};
use arbiter::lab::demo::ids;
use arbiter::lab::writer::{Ack, Aim, Writer, verdict};
use arbiter::lab::{bind, postgres};
use arbiter_core::Instant;
use arbiter_proto::v1;
use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Writes acknowledged before a case begins.
const WARM_UP_WRITES: usize = 50;
/// How long anything that must happen may take, beyond the lease.
pub const LIMIT: Duration = Duration::from_secs(30);
/// Pause between two looks.
const LOOK_PAUSE: Duration = Duration::from_millis(10);
/// First id of the pinned writers, so that ids never meet.
const PINNED_FROM: u64 = 1_000_000_000;

/// Counts the stages of this process, for names.
static STAGES: AtomicU32 = AtomicU32::new(0);

/// The stage.
pub struct Stage {
    /// The platform.
    pub lab: Lab,
    /// The writer that follows DNS.
    pub follower: Writer,
    /// Writers that stay connected to one server, and that server.
    pub pinned: Vec<(Writer, IpAddr)>,
    /// Since when the case plays.
    pub began: Instant,
    /// What a benchmark measured, by name.
    pub figures: Figures,
}

/// Figures of one run, by name, such as `outage_ms`.
pub type Figures = BTreeMap<String, f64>;

/// The error of a check that does not hold.
pub fn wrong(text: impl Into<String>) -> io::Error {
    io::Error::other(text.into())
}

/// An error unless `holds`.
///
/// # Errors
/// With `text` when it does not hold.
pub fn check(holds: bool, text: impl FnOnce() -> String) -> io::Result<()> {
    if holds { Ok(()) } else { Err(wrong(text())) }
}

/// Wait until `holds` is true.
///
/// # Errors
/// When `limit` passed first.
pub async fn until<F: Future<Output = bool>>(
    what: &str,
    limit: Duration,
    holds: impl Fn() -> F,
) -> io::Result<()> {
    let started = clock::now();
    while clock::now().since(started) < limit {
        if holds().await {
            return Ok(());
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
    Err(wrong(format!("not within {limit:?}: {what}")))
}

/// Where the `arbiter` binary is: beside this one.
fn binary() -> io::Result<PathBuf> {
    let beside = std::env::current_exe()?.with_file_name("arbiter");
    check(beside.exists(), || format!("{} is missing: build it first", beside.display()))?;
    Ok(beside)
}

impl Stage {
    /// Play `case` on a platform of its own, and make the check that every case shares.
    ///
    /// # Errors
    /// What did not hold; then the platform's logs are kept, and named.
    pub fn play(case: &Case) -> io::Result<Figures> {
        let number = STAGES.fetch_add(1, Ordering::Relaxed);
        let name = format!("h{}{number}", std::process::id() % 1000);
        let dir = std::env::temp_dir().join(format!("region-arbiter-hosts-{name}"));
        let mut lab = Lab::create(Options {
            binary: binary()?,
            dir: dir.clone(),
            prefix: name,
            profile: case.profile.into(),
            group: case.group.into(),
            pairs: case.pairs.to_vec(),
            delay: (case.delay_ms > 0).then(|| Duration::from_millis(case.delay_ms)),
            keep: std::env::var_os("ARBITER_KEEP").is_some(),
        })?;
        lab.start_all()?;
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let (mut lab, outcome) = runtime.block_on(Self::played(case, lab));
        if outcome.is_err() {
            lab.options.keep = true;
            eprintln!("   logs: {}", dir.display());
        }
        outcome
    }

    async fn played(case: &Case, lab: Lab) -> (Lab, io::Result<Figures>) {
        let ready = async {
            lab.initialize().await?;
            if case.mode != "observe" {
                lab.arm(GROUP, case.mode).await?;
            }
            writers(&lab)
        };
        let (follower, pinned) = match ready.await {
            Ok(writers) => writers,
            Err(error) => return (lab, Err(error)),
        };
        let pinned = vec![(pinned, lab.address("eu-db"))];
        let figures = Figures::new();
        let mut stage = Self { lab, follower, pinned, began: clock::now(), figures };
        let outcome = stage.warm_up_and_play(case).await;
        (stage.lab, outcome.map(|()| stage.figures))
    }

    async fn warm_up_and_play(&mut self, case: &Case) -> io::Result<()> {
        if case.mode != "observe" {
            self.leader_outside("eu-west").await?;
            self.ready_to_move("us-east").await?;
        }
        until("the writers write", LIMIT, || async {
            self.follower.count() >= WARM_UP_WRITES && self.pinned[0].0.count() >= WARM_UP_WRITES
        })
        .await?;
        self.began = clock::now();
        (case.play)(self).await?;
        self.no_overlap()
    }

    /// Note a figure of a benchmark.
    pub fn figure(&mut self, name: &str, value: f64) {
        self.figures.insert(name.to_owned(), value);
    }

    /// Every acknowledgement of every writer.
    pub fn acks(&self) -> Vec<Ack> {
        let pinned = self.pinned.iter().flat_map(|(writer, _)| writer.acks());
        self.follower.acks().into_iter().chain(pinned).collect()
    }

    /// Address of the server of `region`.
    pub fn server(&self, region: &str) -> IpAddr {
        self.lab.address(if region == "eu-west" { "eu-db" } else { "us-db" })
    }

    /// The old primary acknowledged nothing after the first acknowledgement by the new. For cases
    /// that move once, from eu-west to us-east; the others look at each move themselves.
    ///
    /// # Errors
    /// With the number of acknowledgements.
    pub fn no_overlap(&self) -> io::Result<()> {
        if self.moves() > 1 {
            return self.no_overlap_of_many();
        }
        let (old, new) = (self.server("eu-west"), self.server("us-east"));
        let found = verdict(&self.follower.acks(), &self.acks(), old, new, Instant::default());
        check(found.overlapping == 0, || {
            format!("{} acknowledged by eu-west after us-east began", found.overlapping)
        })
    }

    /// How often the follower's server changed.
    pub fn moves(&self) -> usize {
        let acks = self.follower.acks();
        acks.windows(2).filter(|pair| pair[0].server != pair[1].server).count()
    }

    /// For each move that the follower saw: nobody was acknowledged by the server that it left
    /// between its first acknowledgement at the new one and its move away from there.
    fn no_overlap_of_many(&self) -> io::Result<()> {
        let (follower, all) = (self.follower.acks(), self.acks());
        let mut began: Vec<(Instant, IpAddr)> = Vec::new();
        for ack in &follower {
            if began.last().is_none_or(|(_, server)| *server != ack.server) {
                began.push((ack.at, ack.server));
            }
        }
        for (index, (from, server)) in began.iter().enumerate() {
            let last = follower.iter().rfind(|a| {
                a.server == *server && began.get(index + 1).is_none_or(|next| a.at < next.0)
            });
            let to = last.map_or(*from, |ack| ack.at);
            let foreign =
                all.iter().filter(|a| a.server != *server && a.at > *from && a.at <= to).count();
            check(foreign == 0, || {
                format!("{foreign} acknowledged elsewhere while {server} served")
            })?;
        }
        Ok(())
    }

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

    /// Wait until the follower is acknowledged by the server of `region`, from now on.
    ///
    /// # Errors
    /// When that takes too long.
    pub async fn follows(&self, region: &str) -> io::Result<()> {
        let (from, server) = (clock::now(), self.server(region));
        until(&format!("the follower writes in {region}"), LIMIT, || async {
            self.follower.last().is_some_and(|ack| ack.at > from && ack.server == server)
        })
        .await
    }

    /// Nothing moves for `time`: the follower goes on at `region`, without a gap above `gap`.
    ///
    /// # Errors
    /// With what moved, or the gap.
    pub async fn nothing_moves(
        &self,
        region: &str,
        time: Duration,
        gap: Duration,
    ) -> io::Result<()> {
        let (from, epoch) = (clock::now(), self.group().await?.epoch);
        tokio::time::sleep(time).await;
        let group = self.group().await?;
        check(group.active == region && group.epoch == epoch && group.plan.is_none(), || {
            format!("{} at epoch {}, plan {:?}", group.active, group.epoch, group.plan)
        })?;
        self.no_gap(region, from, gap)
    }

    /// The follower was acknowledged by `region` from `from` until now without a gap above `gap`.
    ///
    /// # Errors
    /// With the longest gap.
    pub fn no_gap(&self, region: &str, from: Instant, gap: Duration) -> io::Result<()> {
        let server = self.server(region);
        let mut last = from;
        let mut longest = Duration::ZERO;
        for ack in self.follower.acks().iter().filter(|a| a.at > from) {
            check(ack.server == server, || format!("acknowledged by {}", ack.server))?;
            longest = longest.max(ack.at.since(last));
            last = ack.at;
        }
        longest = longest.max(clock::now().since(last));
        check(longest <= gap, || format!("no write was acknowledged for {longest:?}"))
    }

    /// Acknowledged ids that the server of `region` does not have.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn lost(&self, region: &str) -> io::Result<Vec<i64>> {
        // First what was acknowledged: the writers go on while the table is read.
        let acks = self.acks();
        let present = ids(self.server(region)).await?;
        Ok(acks.iter().map(|a| a.id).filter(|id| !present.contains(id)).collect())
    }

    /// Processes of PostgreSQL on a host.
    pub fn postgres_processes(&self, host: &str) -> Vec<i32> {
        let named = |pid: &i32| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let zombie = stat.rsplit(')').next().is_some_and(|rest| rest.trim().starts_with('Z'));
            stat.contains("(postgres)") && !zombie
        };
        self.lab.net.processes(host).into_iter().filter(named).collect()
    }

    /// Processes on a host whose command line has `word`.
    pub fn processes_with(&self, host: &str, word: &str) -> Vec<i32> {
        let has = |pid: &i32| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).split('\0').any(|argument| argument == word)
        };
        self.lab.net.processes(host).into_iter().filter(has).collect()
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

    /// How long the newest plan's row took, in milliseconds, for people.
    pub async fn newest_plan(&self) -> Option<v1::Plan> {
        let request = v1::ListPlansRequest { group: GROUP.into(), limit: 1 };
        self.lab.operator.plans(request).await.into_iter().next()
    }

    /// The timers of the case's profile.
    pub fn timing(&self) -> arbiter_core::Timing {
        match self.lab.options.profile.as_str() {
            "wan" => arbiter_core::Profile::Wan.timing(),
            "metro" => arbiter_core::Profile::Metro.timing(),
            _ => arbiter_core::Profile::Regional.timing(),
        }
    }

    /// How long after its last answer a lease is dead.
    pub fn dead_after(&self) -> Duration {
        let timing = self.timing();
        timing.dead_after(timing.lease)
    }

    /// Start a pinned writer beside the server of `region`.
    ///
    /// # Errors
    /// If its thread cannot be started.
    pub fn pin(&mut self, region: &str) -> io::Result<()> {
        let number = self.pinned.len() as u64 + 1;
        let host = if region == "eu-west" { "eu-client" } else { "us-client" };
        let server = self.server(region);
        let writer = pinned(&self.lab, host, server, number)?;
        self.pinned.push((writer, server));
        Ok(())
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

fn writers(lab: &Lab) -> io::Result<(Writer, Writer)> {
    let aim = Aim::Name { name: bind::NAME.into(), server: lab.dns(), port: postgres::PORT };
    let follower = Writer::start("follower", lab.net.namespace_path("client"), aim, 1)?;
    Ok((follower, pinned(lab, "eu-client", lab.address("eu-db"), 1)?))
}

fn pinned(lab: &Lab, host: &str, server: IpAddr, number: u64) -> io::Result<Writer> {
    let aim = Aim::Pinned(SocketAddr::new(server, postgres::PORT));
    Writer::start(
        &format!("pinned-{number}"),
        lab.net.namespace_path(host),
        aim,
        number * PINNED_FROM,
    )
}

/// The region numbers of the lab by name.
pub fn number(region: &str) -> u8 {
    if region == "eu-west" { EU } else { US }
}

/// Write a file with another boot id, for a host that is to seem rebooted.
///
/// # Errors
/// If it cannot be written.
pub fn other_boot_id(dir: &Path) -> io::Result<PathBuf> {
    let path = dir.join("boot_id");
    std::fs::write(
        &path,
        format!("00000000-0000-4000-8000-{:012x}\n", clock::now().0 & 0xffff_ffff),
    )?;
    Ok(path)
}
