//! Certificates, made by `arbiter pki` as an operator makes them, on real processes.

use super::Case;
use super::command_line::{ERROR, NO, YES, says};
use super::stage::{LIMIT, Stage, check};
use arbiter::clock;
use arbiter::lab::cluster::{EU, GROUP, Lab, OPERATOR};
use arbiter_proto::v1;
use std::io;
use std::process::Command;
use std::time::Duration;

/// Where everything is, and how long a process outlives its certificate.
pub const TLS: &str = r#"
[tls]
ca = "{dir}/tls/ca.pem"
certificate = "{dir}/tls/{name}.pem"
key = "{dir}/tls/{name}.key"
expiry_grace = "1h"
"#;
/// How long the certificates last that are to expire: longer than until they are read, 2 s.
const SHORT: &str = "4";
/// Longest pause of the follower where nothing may move: a reconnect, no more.
const GAP_MAX: Duration = Duration::from_millis(1500);

/// The cases of this file.
pub const CASES: &[Case] = &[Case::new(
    "tls",
    "with certificates everything fails over; they are replaced and expire without a gap in writes",
    |stage| Box::pin(certificates(stage)),
)
.with(TLS, in_place)];

fn dir(lab: &Lab) -> String {
    lab.options.dir.join("tls").to_string_lossy().into_owned()
}

/// `arbiter pki` with these words; what it printed.
pub fn pki(lab: &Lab, words: &[&str], of: &[impl AsRef<std::ffi::OsStr>]) -> io::Result<String> {
    let output = Command::new(&lab.options.binary).arg("pki").args(words).args(of).output()?;
    let error = String::from_utf8_lossy(&output.stderr);
    check(output.status.success(), || format!("arbiter pki {words:?}: {error}"))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn of(lab: &Lab) -> [String; 4] {
    let config = lab.config().to_string_lossy().into_owned();
    ["--config".to_owned(), config, "--dir".to_owned(), dir(lab)]
}

fn in_place(lab: &Lab) -> io::Result<()> {
    pki(lab, &["init"], &["--dir", &dir(lab)])?;
    let made = pki(lab, &["issue"], &of(lab))?;
    check(made.matches("made ").count() == 5, || format!("three arbiters, two agents: {made}"))?;
    let kept = pki(lab, &["issue"], &of(lab))?;
    check(kept.matches("kept ").count() == 5, || format!("what is there stays: {kept}"))?;
    pki(lab, &["issue", "--admin", OPERATOR, "--viewer", "app"], &of(lab))?;
    let again = pki(lab, &["issue", "--viewer", "app"], &of(lab));
    check(again.is_err(), || "a certificate is replaced without --force".into())
}

async fn certificates(stage: &mut Stage) -> io::Result<()> {
    by_role(stage)?;
    of_another_agent(stage)?;
    // Replaced and expired under load: the writers go on, and nobody is fenced.
    let from = clock::now();
    pki(&stage.lab, &["renew", "--seconds", SHORT], &of(&stage.lab))?;
    told(stage, "the certificate of agent agent-eu expired").await?;
    told(stage, "the certificate of arbiter arbiter-us expired").await?;
    stage.no_gap("eu-west", from, GAP_MAX)?;
    // A region is lost, and all that happens then happens with expired certificates.
    stage.lab.net.cut_region(EU)?;
    stage.serves("us-east", 2, stage.dead_after() + LIMIT).await?;
    stage.lab.net.heal()?;
    stage.returned_as_no_primary("eu-west").await?;
    pki(&stage.lab, &["renew"], &of(&stage.lab))?;
    let good = |g: &v1::GroupStatus| !g.readiness.iter().any(|why| why.contains("certificate"));
    stage.lab.operator.wait_group(GROUP, "every certificate is new", LIMIT, good).await?;
    Ok(())
}

async fn told(stage: &Stage, what: &str) -> io::Result<()> {
    let says = |g: &v1::GroupStatus| g.readiness.iter().any(|why| why.contains(what));
    stage.lab.operator.wait_group(GROUP, what, LIMIT, says).await.map(|_| ())
}

/// A viewer asks and changes nothing, root on an arbiter's host does both; a stranger does neither.
fn by_role(stage: &Stage) -> io::Result<()> {
    let viewer = format!("--certificate {}/app.pem", dir(&stage.lab));
    says(stage, &format!("status {viewer}"), YES, &["active eu-west"])?;
    let words = ["role-not-allowed", "the viewer app may not call SetMode", "NEXT:"];
    says(stage, &format!("mode observe {viewer}"), NO, &words)?;
    let socket = stage.lab.options.dir.join("data/arbiter-eu/arbiter.sock");
    let root = format!("--endpoints unix:{}", socket.display());
    says(stage, &format!("status {root}"), YES, &["active eu-west"])?;
    says(stage, &format!("mode automatic {root}"), YES, &["mode of default is automatic"])?;
    says(stage, "status", ERROR, &["no arbiter answered", "--certificate FILE"])?;
    says(stage, &format!("pki show {}/app.pem", dir(&stage.lab)), YES, &["the viewer app"])?;
    Ok(())
}

/// An agent does not begin with the certificate of another.
fn of_another_agent(stage: &Stage) -> io::Result<()> {
    let (tls, other) = (stage.lab.options.dir.join("tls"), stage.lab.options.dir.join("other"));
    std::fs::create_dir_all(&other)?;
    std::fs::copy(tls.join("ca.pem"), other.join("ca.pem"))?;
    for ending in ["pem", "key"] {
        let (from, to) = (format!("agent-us.{ending}"), format!("agent-eu.{ending}"));
        std::fs::copy(tls.join(from), other.join(to))?;
    }
    let (config, other) = (stage.lab.config(), other.display().to_string());
    let args = format!(
        "agent --config {} --name agent-eu --state-dir {other}/state --tls-dir {other}",
        config.display()
    );
    says(stage, &args, ERROR, &["is for arbiter://", "/agent/agent-us"])?;
    Ok(())
}
