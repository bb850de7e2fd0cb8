//! The demo, as a user runs it: the last line of its output is its report.

use super::Case;
use super::stage::{binary, check, wrong};
use serde_json::Value;
use std::io;
use std::process::{Command, Stdio};

/// The cases of this file.
pub const CASES: &[Case] = &[Case::alone(
    "demo",
    "the demo leaves after its report, which has every figure, no loss of I1 and DNS moved",
    demo,
)];

fn demo() -> io::Result<()> {
    let mut command = Command::new(binary()?);
    command.args(["demo", "--once", "--json"]).stdin(Stdio::null()).stderr(Stdio::null());
    let output = command.output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    check(output.status.success(), || format!("{}: {text}", output.status))?;
    let last = text.lines().last().unwrap_or_default();
    let report: Value =
        serde_json::from_str(last).map_err(|error| wrong(format!("{error}: {last}")))?;
    let holds = |what: &str, holds: bool| check(holds, || format!("{what}: {last}"));
    holds("active", report["active"] == "us-east")?;
    holds("epoch", report["epoch"] == 2)?;
    holds("evidence", report["evidence"]["db-eu"] == "lease-expired")?;
    holds("outage_ms", report["outage_ms"].as_u64().is_some_and(|outage| outage > 0))?;
    let phases = &report["phases_ms"];
    let step = |step: &arbiter_core::Step| phases[step.name].is_u64();
    holds("phases_ms", phases["detect"].is_u64() && arbiter_core::STEPS.iter().all(step))?;
    holds("lost_acknowledged", report["lost_acknowledged"].is_u64())?;
    holds("overlapping_acknowledged", report["overlapping_acknowledged"] == 0)?;
    let dns = report["dns"].as_str().unwrap_or_default();
    holds("dns", dns.starts_with("us-east at 2."))
}
