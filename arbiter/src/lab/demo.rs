//! `arbiter demo`: the active region is lost while a writer writes. Knows the story and its report.

use super::cluster::{EU, FIRST_PAIR, GROUP, Lab, Options};
use super::writer::{Aim, Verdict, Writer, verdict};
use super::{bind, postgres};
use crate::clock;
use arbiter_core::Instant;
use arbiter_proto::v1;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Writes acknowledged before the region is taken away.
const WARM_UP_WRITES: usize = 200;
/// How long the failover may take.
const FAILOVER_LIMIT: Duration = Duration::from_secs(60);
/// Acknowledgements by the new primary before the report.
const AFTER_WRITES: usize = 100;

/// What the demo measured.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// The active region at the end.
    pub active: String,
    /// Its epoch.
    pub epoch: u64,
    /// Evidence by instance.
    pub evidence: BTreeMap<String, String>,
    /// From the last acknowledgement by the old primary to the first by the new.
    pub outage_ms: u64,
    /// How long each row of the plan took, and `detect`: from the cut to the plan's opening.
    pub phases_ms: BTreeMap<String, u64>,
    /// Acknowledged by the old primary, absent from the new.
    pub lost_acknowledged: usize,
    /// Acknowledged by the old primary after the first acknowledgement by the new.
    pub overlapping_acknowledged: usize,
    /// Region that DNS names, and the token beside it.
    pub dns: String,
}

/// How the demo is run.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Leave after the report.
    pub once: bool,
    /// Print the report as JSON on the last line.
    pub json: bool,
    /// Timer profile.
    pub profile: String,
}

/// Play the demo. Blocks; makes its own runtime after it entered the lab's network.
///
/// # Errors
/// If the platform does not come up, or the failover does not end; the text says what to look at.
pub fn run(settings: &Settings) -> io::Result<()> {
    if !nix::unistd::geteuid().is_root() {
        return Err(io::Error::other("the demo makes network namespaces: run it as root"));
    }
    let dir = std::env::temp_dir().join(format!("region-arbiter-demo-{}", std::process::id()));
    let options = Options {
        binary: std::env::current_exe()?,
        dir: dir.clone(),
        prefix: format!("d{}", std::process::id() % 10_000),
        profile: settings.profile.clone(),
        group: String::new(),
        pairs: vec![FIRST_PAIR],
        more: String::new(),
        delay: None,
        keep: false,
    };
    say(settings, "making three regions, a PostgreSQL pair and a DNS server");
    let mut lab = Lab::create(options)?;
    lab.start_all()?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let outcome = runtime.block_on(play(settings, &mut lab));
    if let Err(error) = &outcome {
        say(settings, &format!("the demo failed: {error}; logs are in {}", dir.display()));
        lab.options.keep = true;
    }
    outcome
}

/// A line of the story. With `--json` the story goes to standard error.
fn say(settings: &Settings, line: &str) {
    if settings.json {
        eprintln!("{line}");
    } else {
        println!("{line}");
    }
}

async fn play(settings: &Settings, lab: &mut Lab) -> io::Result<()> {
    lab.initialize().await?;
    say(settings, "active: eu-west at epoch 1, mode observe, unarmed (nothing can be stopped yet)");
    lab.arm(GROUP, "automatic").await?;
    lab.ready_to_move(GROUP, "us-east").await?;
    say(settings, "armed: both deadmen hold their PostgreSQL; mode automatic");
    let (follower, pinned) = writers(lab)?;
    wait_writes(&follower, WARM_UP_WRITES, "the writers write").await?;
    wait_writes(&pinned, WARM_UP_WRITES, "the pinned writer writes").await?;
    say(settings, &format!("writing: {} acknowledged; now eu-west is cut off", follower.count()));
    let cut = clock::now();
    lab.net.cut_region(EU)?;
    let (plan, detected) = watch(settings, lab, cut).await?;
    let report = measure(lab, &plan, detected, cut, &[&follower, &pinned]).await?;
    print(settings, &report);
    if !settings.once {
        stay(settings, lab).await?;
    }
    Ok(())
}

/// One writer that follows DNS, and one inside eu-west that stays connected to its primary.
fn writers(lab: &Lab) -> io::Result<(Writer, Writer)> {
    let aim = Aim::Name { name: bind::NAME.into(), server: lab.dns(), port: postgres::PORT };
    let follower = Writer::start("follower", lab.net.namespace_path("client"), aim, 1)?;
    let aim = Aim::Pinned(SocketAddr::new(lab.address("eu-db"), postgres::PORT));
    let pinned = Writer::start("pinned", lab.net.namespace_path("eu-client"), aim, 1_000_000_000)?;
    Ok((follower, pinned))
}

async fn wait_writes(writer: &Writer, count: usize, what: &str) -> io::Result<()> {
    let started = clock::now();
    while writer.count() < count {
        if clock::now().since(started) > FAILOVER_LIMIT {
            return Err(io::Error::other(format!("not within {FAILOVER_LIMIT:?}: {what}")));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

/// Follow the plan, one line a step, until it completed; returns it, and when it was first seen.
async fn watch(settings: &Settings, lab: &Lab, cut: Instant) -> io::Result<(v1::Plan, Instant)> {
    let mut shown = BTreeSet::new();
    let mut detected = None;
    loop {
        let elapsed = clock::now().since(cut);
        if elapsed > FAILOVER_LIMIT {
            return Err(io::Error::other("the failover did not end; see `arbiter status`"));
        }
        let plan = newest_plan(lab).await;
        if let Some(plan) = plan {
            let seen = *detected.get_or_insert_with(clock::now);
            for step in &plan.steps {
                let ended = !matches!(step.state.as_str(), "pending" | "running");
                if ended && shown.insert(step.name.clone()) {
                    let at = elapsed.as_secs_f64();
                    let line =
                        format!("{at:6.2} s  {:<18} {:<10} {}", step.name, step.state, step.note);
                    say(settings, line.trim_end());
                }
            }
            match plan.state.as_str() {
                "completed" => return Ok((plan, seen)),
                "halted" => {
                    let (why, next) = (&plan.halt_reason, &plan.halt_next);
                    return Err(io::Error::other(format!("the plan halted: {why}; {next}")));
                }
                _ => {}
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn newest_plan(lab: &Lab) -> Option<v1::Plan> {
    let request = v1::ListPlansRequest { group: GROUP.into(), limit: 1 };
    lab.operator.plans(request).await.into_iter().next()
}

/// Compare what was acknowledged with what the new primary has.
///
/// # Errors
/// If the new primary cannot be read.
pub async fn measure(
    lab: &Lab,
    plan: &v1::Plan,
    detected: Instant,
    cut: Instant,
    writers: &[&Writer],
) -> io::Result<Report> {
    let (old, new) = (lab.address("eu-db"), lab.address("us-db"));
    let by_new = |w: &&&Writer| w.acks().iter().filter(|a| a.server == new).count();
    let started = clock::now();
    while writers.iter().map(|w| by_new(&w)).sum::<usize>() < AFTER_WRITES {
        if clock::now().since(started) > FAILOVER_LIMIT {
            return Err(io::Error::other("no writes at the new primary"));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let acks: Vec<_> = writers.iter().flat_map(|w| w.acks()).collect();
    let follower = writers.first().map(|w| w.acks()).unwrap_or_default();
    let Verdict { outage, overlapping, .. } = verdict(&follower, &acks, old, new, cut);
    let outage = outage.ok_or_else(|| io::Error::other("the writer did not follow DNS"))?;
    let present = ids(new).await?;
    let lost = acks.iter().filter(|a| a.server == old && !present.contains(&a.id)).count();
    let group = lab.operator.group(GROUP).await.unwrap_or_default();
    let ms = |duration: Duration| duration.as_millis() as u64;
    let mut phases: BTreeMap<String, u64> =
        plan.steps.iter().map(|step| (step.name.clone(), step.took_ms)).collect();
    phases.insert("detect".into(), ms(detected.since(cut)));
    let traffic = group.traffic.unwrap_or_default();
    Ok(Report {
        active: group.active,
        epoch: group.epoch,
        evidence: plan.evidence.iter().map(|e| (e.instance.clone(), e.kind.clone())).collect(),
        outage_ms: ms(outage),
        phases_ms: phases,
        lost_acknowledged: lost,
        overlapping_acknowledged: overlapping,
        dns: format!("{} at {}", traffic.names, traffic.token),
    })
}

/// Every id in the table of the server at `address`.
///
/// # Errors
/// If it does not answer.
pub async fn ids(address: IpAddr) -> io::Result<BTreeSet<i64>> {
    Ok(column(address, "SELECT id FROM writes").await?.into_iter().collect())
}

/// Ids that the table of the server at `address` has more than once.
///
/// # Errors
/// If it does not answer.
pub async fn doubled(address: IpAddr) -> io::Result<Vec<i64>> {
    column(address, "SELECT id FROM writes GROUP BY id HAVING count(*) <> 1").await
}

/// The first column of what the server at `address` answers.
///
/// # Errors
/// If it does not.
pub async fn column(address: IpAddr, sql: &str) -> io::Result<Vec<i64>> {
    let config = format!(
        "host={address} port={} user=postgres dbname=postgres connect_timeout=5",
        postgres::PORT
    );
    let (client, connection) =
        tokio_postgres::connect(&config, tokio_postgres::NoTls).await.map_err(io::Error::other)?;
    let driver = tokio::spawn(connection);
    let rows = client.query(sql, &[]).await.map_err(io::Error::other);
    driver.abort();
    Ok(rows?.iter().map(|row| row.get(0)).collect())
}

fn print(settings: &Settings, report: &Report) {
    let evidence: Vec<String> =
        report.evidence.iter().map(|(instance, kind)| format!("{instance} {kind}")).collect();
    let lines = [
        String::new(),
        format!("active         {} at epoch {}", report.active, report.epoch),
        format!("write outage   {:.2} s", report.outage_ms as f64 / 1000.0),
        format!("evidence       {}", evidence.join(", ")),
        format!("lost           {} acknowledged writes", report.lost_acknowledged),
        format!(
            "overlap        {} acknowledged by the old primary after the first by the new",
            report.overlapping_acknowledged
        ),
        format!("DNS            {}", report.dns),
    ];
    for line in &lines {
        say(settings, line);
    }
    if settings.json {
        println!("{}", serde_json::to_string(report).expect("a report is plain data"));
    }
}

/// Say how to look around, and wait for Ctrl-C.
async fn stay(settings: &Settings, lab: &Lab) -> io::Result<()> {
    let namespace = lab.net.namespace("client");
    let program = std::env::current_exe()?;
    let (program, config) = (program.display(), lab.config());
    let ask = format!("ip netns exec {namespace} {program}");
    say(settings, "\nThe platform stays up. In another terminal:");
    say(settings, &format!("  export ARBITER_CONFIG={}", config.display()));
    say(settings, &format!("  {ask} status"));
    say(settings, &format!("  {ask} history"));
    say(settings, &format!("heal eu-west:  ip -n {} link set up{EU} up", lab.net.namespace("net")));
    say(settings, "Ctrl-C removes everything.");
    tokio::signal::ctrl_c().await
}
