//! The unit files in `deploy/systemd`, as systemd itself reads them.

use std::fs;
use std::path::Path;
use std::process::Command;

/// Units and what they are called once installed for an agent `agent-eu`.
const UNITS: [(&str, &str); 4] = [
    ("region-arbiter-node.service", "region-arbiter-node.service"),
    ("region-arbiter-deadman@.service", "region-arbiter-deadman@.service"),
    ("region-arbiter-agent@.service", "region-arbiter-agent@.service"),
    ("postgresql@.service.d/region-arbiter.conf", "db.service.d/region-arbiter.conf"),
];

/// What is verified: a server that is bound to the deadman, too.
const VERIFIED: [&str; 4] = [
    "region-arbiter-node.service",
    "region-arbiter-deadman@agent-eu.service",
    "region-arbiter-agent@agent-eu.service",
    "db.service",
];

/// What `systemd-analyze verify` says of the units in `dir`, word for word; none without systemd.
fn verify(dir: &Path) -> Option<(bool, String)> {
    let output = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .args(VERIFIED)
        .env("SYSTEMD_UNIT_PATH", format!("{}:/lib/systemd/system", dir.display()))
        .current_dir(dir)
        .output()
        .ok()?;
    Some((output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned()))
}

fn install(dir: &Path) {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/systemd");
    fs::create_dir_all(dir.join("db.service.d")).unwrap();
    fs::write(dir.join("db.service"), "[Service]\nExecStart=/bin/true\n").unwrap();
    for (unit, installed) in UNITS {
        let text = fs::read_to_string(from.join(unit)).unwrap();
        // The program is not installed here.
        let text = text.replace("/usr/bin/arbiter", "/bin/true").replace("AGENT", "agent-eu");
        fs::write(dir.join(installed), text).unwrap();
    }
}

#[test]
fn systemd_understands_every_line() {
    let dir = tempfile::tempdir().unwrap();
    install(dir.path());
    let Some((fine, said)) = verify(dir.path()) else {
        eprintln!("systemd_understands_every_line: left out, since it needs systemd-analyze");
        return;
    };
    assert!(fine && said.is_empty(), "systemd says:\n{said}");
    // It warns and goes on where it knows no such key, so this test must hear a warning.
    let unit = dir.path().join(VERIFIED[0]);
    let text = fs::read_to_string(&unit).unwrap();
    fs::write(&unit, text.replace("KillMode", "Killmode").replace("Restart=", "Restrat=")).unwrap();
    assert!(verify(dir.path()).is_some_and(|(_, said)| said.contains("Restrat")));
}

#[test]
fn what_a_deadman_holds_is_killed_with_it() {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/systemd");
    let read = |unit: &str| fs::read_to_string(from.join(unit)).unwrap();
    let has = |text: &str, line: &str| text.lines().any(|found| found == line);
    let deadman = read(UNITS[1].0);
    for line in ["KillMode=control-group", "KillSignal=SIGKILL", "Delegate=yes"] {
        assert!(has(&deadman, line), "the deadman needs {line}");
    }
    let server = read(UNITS[3].0);
    for line in [
        "BindsTo=region-arbiter-deadman@AGENT.service",
        "ExecStop=",
        "KillMode=control-group",
        "KillSignal=SIGKILL",
        "Restart=no",
    ] {
        assert!(has(&server, line), "a bound server needs {line}");
    }
    assert!(has(&read(UNITS[2].0), "KillMode=process"), "an agent's end must end nothing else");
}
