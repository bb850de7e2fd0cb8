//! Chaos: processes are killed and stopped and links cut at random, as a seed says, while writers
//! write in both regions and readers ask which is active. Then all must become well by itself, but
//! for halted plans, which an operator resumes.
//!
//! # Layout
//! - `schedule`: what goes wrong when; `faults`: how it is done
//! - `readers`: who asks; `verdict`: whether writes and answers agree

mod faults;
mod readers;
mod schedule;
mod verdict;

use super::Case;
use super::stage::{Figures, Stage, check, wrong};
use crate::history::linear;
use crate::history::register::Register;
use arbiter::clock;
use arbiter::lab::cluster::GROUP;
use arbiter::lab::operator::Operator;
use arbiter_core::Instant;
use arbiter_proto::v1;
use arbiter_proto::v1::admin_client::AdminClient;
use faults::Stopped;
use readers::{ASK_LIMIT, Heard};
use schedule::{Event, Fault, schedule};
use std::io;
use std::sync::OnceLock;
use std::time::Duration;
use tonic::transport::Channel;

/// How long all may take to become well.
const HEAL_LIMIT: Duration = Duration::from_secs(180);
/// Pause between two looks.
const LOOK_PAUSE: Duration = Duration::from_millis(200);

/// How long, and which.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Decides the schedule.
    pub seed: u64,
    /// How long faults strike.
    pub time: Duration,
    /// Only the last line is for machines.
    pub json: bool,
}

static SETTINGS: OnceLock<Settings> = OnceLock::new();

/// The case of this file: short, with one seed.
pub const CASES: &[Case] = &[Case::new(
    "chaos",
    "30 s of random kills, stops and cuts: no two regions acknowledge, strict loses nothing",
    |stage| Box::pin(chaos(stage)),
)
.group("durability = \"strict\"\nhold_down = \"2s\"\n")
.own_proof()];

/// Run for as long as `settings` say.
///
/// # Errors
/// What did not hold; then the platform's logs are kept, and named.
pub fn run(settings: Settings) -> io::Result<Figures> {
    let _ = SETTINGS.set(settings);
    Stage::play(&CASES[0])
}

fn settings() -> Settings {
    let short = Settings { seed: 1, time: Duration::from_secs(30), json: false };
    SETTINGS.get().cloned().unwrap_or(short)
}

/// A line of the transcript.
fn say(began: Instant, text: &str) {
    eprintln!("   {:>7.1} {text}", clock::now().since(began).as_secs_f64());
}

async fn chaos(stage: &mut Stage) -> io::Result<()> {
    let settings = settings();
    let events = schedule(settings.seed, settings.time);
    eprintln!("   seed {}, {} events:", settings.seed, events.len());
    events.iter().for_each(|event| eprintln!("   {event}"));
    stage.pin("us-east")?;
    let heard = Heard::default();
    let readers = heard.start(&stage.lab.operator, settings.seed);
    let began = clock::now();
    strike_all(stage, &events, &heard, began).await?;
    say(began, "all is mended; now it must become well");
    let (healed, resumed) = becomes_well(stage, &heard, began).await?;
    heard.stop();
    readers.join_all().await;
    proof(stage, &heard).await?;
    let group = stage.group().await?;
    for (name, value) in [
        ("seed", settings.seed as f64),
        ("minutes", settings.time.as_secs_f64() / 60.0),
        ("events", events.len() as f64),
        ("epochs", group.epoch as f64 - 1.0),
        ("acknowledged", stage.acks().len() as f64),
        ("reads", heard.seen().len() as f64),
        ("healed_ms", healed.as_secs_f64() * 1000.0),
        ("resumed", resumed as f64),
        ("overlapping", 0.0),
        ("lost", 0.0),
    ] {
        stage.figure(name, value);
    }
    eprintln!("   {:?}", stage.figures);
    Ok(())
}

/// Begins and mends each event at its time.
async fn strike_all(
    stage: &mut Stage,
    events: &[Event],
    heard: &Heard,
    began: Instant,
) -> io::Result<()> {
    let mut turns: Vec<(Duration, usize, bool)> = Vec::new();
    for (at, event) in events.iter().enumerate() {
        turns.push((event.at, at, true));
        turns.push((event.at + event.lasts, at, false));
    }
    turns.sort();
    let mut stopped: Vec<Stopped> = vec![Stopped::new(); events.len()];
    for (due, at, begins) in turns {
        tokio::time::sleep(due.saturating_sub(clock::now().since(began))).await;
        let fault = events[at].fault;
        say(began, &format!("{} {fault:?}", if begins { "+" } else { "-" }));
        if begins {
            stopped[at] = faults::strike(stage, fault)?;
        } else {
            faults::mend(stage, fault, &stopped[at])?;
        }
        ask(stage, heard, fault, begins).await;
    }
    Ok(())
}

/// What an operator asks, beside the schedule.
async fn ask(stage: &Stage, heard: &Heard, fault: Fault, begins: bool) {
    match fault {
        Fault::Switchover if begins => {
            let request = v1::OpenPlanRequest {
                asked: Operator::asked("chaos"),
                group: GROUP.into(),
                ..v1::OpenPlanRequest::default()
            };
            let call =
                async |mut client: AdminClient<Channel>, request| client.switchover(request).await;
            // Whether it opens is not the matter.
            let _ = tokio::time::timeout(ASK_LIMIT, stage.lab.operator.admin(request, call)).await;
        }
        Fault::Manual => {
            let mode = if begins { "manual" } else { "automatic" };
            heard.set_mode(&stage.lab.operator, mode).await;
        }
        _ => {}
    }
}

/// The group is healthy, in automatic, with no plan open; how long that took, and how many plans an
/// operator had to resume.
async fn becomes_well(
    stage: &mut Stage,
    heard: &Heard,
    began: Instant,
) -> io::Result<(Duration, u64)> {
    faults::all_well(stage)?;
    let healing = clock::now();
    let (mut resumed, mut last) = (0, None);
    while clock::now().since(healing) < HEAL_LIMIT {
        tokio::time::sleep(LOOK_PAUSE).await;
        let Some(group) = stage.lab.operator.group(GROUP).await else { continue };
        if group.mode != "automatic" {
            heard.set_mode(&stage.lab.operator, "automatic").await;
        }
        if group.health == "halted"
            && let Some(plan) = &group.plan
        {
            say(began, &format!("plan {} is halted, and resumed: {}", plan.id, group.verdict));
            resumed += u64::from(resume(stage, plan.id).await);
        }
        let mut agents = group.regions.iter().flat_map(|region| &region.agents);
        let served = agents.all(|agent| agent.connected && agent.arming == "armed");
        if group.health == "healthy" && group.plan.is_none() && group.mode_in_effect && served {
            stage.follows(&group.active).await?;
            return Ok((clock::now().since(healing), resumed));
        }
        last = Some(group);
    }
    Err(wrong(format!("not well within {HEAL_LIMIT:?}: {last:#?}")))
}

async fn resume(stage: &Stage, plan: u64) -> bool {
    let request = v1::PlanRequest {
        asked: Operator::asked("chaos is over"),
        group: GROUP.into(),
        plan,
        ..v1::PlanRequest::default()
    };
    let call = async |mut client: AdminClient<Channel>, request| client.resume_plan(request).await;
    stage.lab.operator.admin(request, call).await.is_ok()
}

/// No two regions were acknowledged at once, nothing acknowledged is lost, and one register
/// explains every answer.
async fn proof(stage: &Stage, heard: &Heard) -> io::Result<()> {
    let group = stage.group().await?;
    // First what was acknowledged: the writers go on.
    let acks = stage.acks();
    let rises = group.epoch - 1;
    let (turns, beyond) = (verdict::turns(&acks), verdict::overlapping(&acks, rises));
    check(beyond == 0, || {
        format!(
            "{beyond} acknowledgements overlap: {turns} turns, and the epoch rose {rises} times"
        )
    })?;
    let reigns = verdict::reigns(&heard.seen(), "eu-west", "us-east");
    let outside = verdict::outside(&acks, &reigns, |region| stage.server(region));
    check(outside.is_empty(), || {
        format!("{} writes of a region that was not active: {:?}", outside.len(), outside.first())
    })?;
    stage.nothing_lost(&group.active).await?;
    let history = heard.history.with_rises(1);
    linear::check(Register::new("automatic", 1, "eu-west"), &history)
        .map_err(|broken| wrong(broken.to_string()))
}
