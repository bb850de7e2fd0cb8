//! The stage of a case: a platform that serves, two writers, and the questions that cases ask.

use super::Case;
use super::services::{RESOURCES, Services, Side};
use arbiter::clock;
use arbiter::lab::cluster::{EU, GROUP, Lab, Options, US};
use arbiter::lab::writer::{Aim, Writer};
use arbiter::lab::{bind, postgres};
use arbiter_core::Instant;
use std::collections::BTreeMap;
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
pub const LOOK_PAUSE: Duration = Duration::from_millis(10);
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
    /// What the regions have beside their databases, where the case asks for it.
    services: Option<Services>,
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
pub async fn until(what: &str, limit: Duration, holds: impl AsyncFn() -> bool) -> io::Result<()> {
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
///
/// # Errors
/// If it is not there.
pub fn binary() -> io::Result<PathBuf> {
    let beside = std::env::current_exe()?.with_file_name("arbiter");
    check(beside.exists(), || format!("{} is missing: build it first", beside.display()))?;
    Ok(beside)
}

/// The process in three letters: names of devices are short, and others may play at once.
fn short(mut process: u32) -> String {
    let mut letters = String::new();
    for _ in 0..3 {
        letters.extend(char::from_digit(process % 36, 36));
        process /= 36;
    }
    letters
}

impl Stage {
    /// Play `case` on a platform of its own, and make the check that every case shares.
    ///
    /// # Errors
    /// What did not hold; then the platform's logs are kept, and named.
    pub fn play(case: &Case) -> io::Result<Figures> {
        let number = STAGES.fetch_add(1, Ordering::Relaxed);
        let name = format!("h{}{number}", short(std::process::id()));
        let dir = std::env::temp_dir().join(format!("region-arbiter-hosts-{name}"));
        let mut lab = Lab::create(Options {
            binary: binary()?,
            dir: dir.clone(),
            prefix: name,
            profile: case.profile.into(),
            group: case.group.into(),
            pairs: case.pairs.to_vec(),
            more: case.more.to_owned() + if case.services { RESOURCES } else { "" },
            delay: (case.delay_ms > 0).then(|| Duration::from_millis(case.delay_ms)),
            keep: std::env::var_os("ARBITER_KEEP").is_some(),
        })?;
        (case.prepare)(&lab)?;
        let services = case.services.then(|| Services::start(&lab)).transpose()?;
        lab.start_all()?;
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let (mut lab, outcome) = runtime.block_on(Self::played(case, lab, services));
        if outcome.is_err() {
            lab.options.keep = true;
            eprintln!("   logs: {}", dir.display());
        }
        outcome
    }

    async fn played(
        case: &Case,
        lab: Lab,
        services: Option<Services>,
    ) -> (Lab, io::Result<Figures>) {
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
        let began = clock::now();
        let mut stage = Self { lab, follower, pinned, services, began, figures };
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
        // What shows later that none is left must show now that one is there.
        self.postmaster(if case.pairs[0].active == "eu-west" { "eu-db" } else { "us-db" })?;
        self.began = clock::now();
        (case.play)(self).await?;
        if case.own_proof {
            return Ok(());
        }
        self.no_overlap().await
    }

    /// Note a figure of a benchmark.
    pub fn figure(&mut self, name: &str, value: f64) {
        self.figures.insert(name.to_owned(), value);
    }

    /// What `region` has beside its databases.
    ///
    /// # Panics
    /// If the case asks for none: a mistake in it.
    pub fn services(&self, region: &str) -> &Side {
        self.services.as_ref().expect("the case is one with services").of(region)
    }

    /// Address of the server of `region`.
    pub fn server(&self, region: &str) -> IpAddr {
        self.lab.address(if region == "eu-west" { "eu-db" } else { "us-db" })
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
