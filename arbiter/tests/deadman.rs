//! The deadman's process on the real kernel: what it holds dies on time, and dies with it.

mod support;

use arbiter::agent::cgroup::Cgroup;
use arbiter::agent::link::Ask;
use arbiter::agent::{spawn, tree};
use arbiter::clock;
use arbiter_core::{GroupId, Instant};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;
use support::{ARBITER, PATIENCE, Rig, living, marked, perl, processes, root, timing, until};

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// I4: killed by deadline − K, and what joins later never runs.
#[test]
fn kills_before_the_deadline_and_a_late_fork_never_runs() {
    if !root("kills_before_the_deadline_and_a_late_fork_never_runs") {
        return;
    }
    let mut rig = Rig::new("kill");
    let busy = rig.start_busy("g");
    let place = rig.held("g").place.unwrap();
    let began = clock::now();
    rig.arm("g", ms(1000));
    let deadline = began + ms(1000);
    let kill_at = deadline - timing().deadman_head_start();
    until("all are dead", || living(&busy).is_empty().then_some(()));
    let dead = clock::now();
    assert!(kill_at <= dead, "killed {:?} too early", kill_at.since(dead));
    assert!(dead < deadline, "killed {:?} too late", dead.since(deadline));

    let told = rig.hear();
    assert_eq!(told.id, 0);
    assert!(told.groups[&GroupId::from("g")].hold.frozen);
    // A late fork: into the cgroup, since its namespace is gone.
    let marker = rig.runtime.path().join("late");
    let path = place.cgroup.clone().unwrap();
    let late = spawn::Place { cgroup: Some(path.clone()), ..spawn::Place::default() };
    let touch = format!("open my $f, '>', '{}'; sleep 1 while 1", marker.display());
    let start = std::thread::spawn(move || spawn::server(&perl(&touch), &late));
    until("it is in the cgroup", || (!processes(&path).is_empty()).then_some(()));
    std::thread::sleep(ms(50));
    assert!(!marker.exists(), "it ran in a frozen cgroup");
    assert!(spawn::server(&perl("1"), &place).is_err(), "the namespace outlived the kill");

    // A renewal that is no later than now lifts nothing; one in the future starts afresh.
    rig.arm("g", ms(10));
    assert!(rig.held("g").hold.frozen);
    rig.arm("g", ms(5000));
    assert!(!rig.held("g").hold.frozen);
    let _ = start.join();
    until("the late one was killed", || processes(&path_of(&mut rig)).is_empty().then_some(()));
    assert!(!marker.exists(), "it ran after the thaw");
    rig.start_busy("g");
}

fn path_of(rig: &mut Rig) -> PathBuf {
    rig.held("g").place.unwrap().cgroup.unwrap()
}

#[test]
fn what_it_owns_dies_with_it() {
    if !root("what_it_owns_dies_with_it") {
        return;
    }
    let mut rig = Rig::new("dies");
    let mut busy = rig.start_busy("g");
    busy.extend(rig.start_busy("h"));
    let began = clock::now();
    rig.child.kill().unwrap();
    until("all are dead", || living(&busy).is_empty().then_some(()));
    let took = clock::now().since(began);
    assert!(took < ms(200), "it took {took:?}");
}

#[test]
fn a_guard_kills_what_was_adopted() {
    if !root("a_guard_kills_what_was_adopted") {
        return;
    }
    let mut rig = Rig::new("guard");
    let cgroup = path_of(&mut rig);
    // Running before, outside any namespace of ours.
    let adopted = spawn::Place::default();
    let marker = rig.runtime.path().join("pid");
    let text = format!(
        "open my $f, '>', '{0}.t'; print $f $$; close $f; rename '{0}.t', '{0}'; 1 while 1",
        marker.display()
    );
    spawn::server(&perl(&text), &adopted).unwrap();
    let pid = until("it runs", || std::fs::read_to_string(&marker).ok()?.parse::<i32>().ok());
    Cgroup::at(&cgroup).admit(pid).unwrap();
    let mut guard = std::process::Command::new(ARBITER)
        .args(["guard", "--deadman", &rig.pid().to_string(), "--cgroup"])
        .arg(&cgroup)
        .arg("--lock")
        .arg(rig.runtime.path().join("guard.lock"))
        .spawn()
        .unwrap();
    until("the guard guards", || rig.runtime.path().join("guard.lock").exists().then_some(()));
    assert_eq!(living(&[pid]), [pid]);
    let began = clock::now();
    rig.child.kill().unwrap();
    until("it is dead", || living(&[pid]).is_empty().then_some(()));
    assert!(clock::now().since(began) < ms(200));
    assert!(guard.wait().unwrap().success());
}

#[test]
fn two_groups_have_two_deadlines() {
    if !root("two_groups_have_two_deadlines") {
        return;
    }
    let mut rig = Rig::new("two");
    let (first, second) = (rig.start_busy("g"), rig.start_busy("h"));
    rig.arm("h", ms(60_000));
    rig.arm("g", ms(400));
    until("the first is dead", || living(&first).is_empty().then_some(()));
    assert_eq!(living(&second), second);
    // Disarmed in time, nothing dies.
    let group = GroupId::from("h");
    rig.ask(vec![Ask::Disarm { group: group.clone() }]);
    let deadline = clock::now() + ms(300);
    rig.ask(vec![Ask::Renew { group, deadline, timing: timing() }]);
    until("it would have killed", || (rig.held("h").hold.would_have_killed == 1).then_some(()));
    assert_eq!(living(&second), second);
}

/// A kill that the kernel refuses is noted, tried again, and holds up nobody.
#[test]
fn a_kill_that_fails_is_tried_again_and_delays_no_other() {
    if !root("a_kill_that_fails_is_tried_again_and_delays_no_other") {
        return;
    }
    let mut rig = Rig::new("fails");
    let (first, second) = (rig.start_busy("g"), rig.start_busy("h"));
    // It looks like a cgroup, and cannot be killed.
    let broken = rig.runtime.path().join("broken");
    std::fs::create_dir_all(broken.join("cgroup.kill")).unwrap();
    for file in ["cgroup.procs", "broken/cgroup.procs", "broken/cgroup.freeze"] {
        std::fs::write(rig.runtime.path().join(file), "").unwrap();
    }
    rig.ask(vec![Ask::Include { group: "g".into(), cgroup: broken.clone() }]);
    let began = clock::now();
    rig.arm("g", ms(600));
    rig.arm("h", ms(600));
    until("all are dead", || {
        (living(&first).is_empty() && living(&second).is_empty()).then_some(())
    });
    let took = clock::now().since(began);
    assert!(took < ms(600), "it took {took:?}");
    let notes = rig.runtime.path().join("deadman.notes");
    let noted = |what: &str| std::fs::read_to_string(&notes).is_ok_and(|text| text.contains(what));
    until("it is noted", || noted("Kill(GroupId(\"g\")): Is a directory").then_some(()));
    assert!(noted("Kill(GroupId(\"h\")): done"));

    let kill = broken.join("cgroup.kill");
    std::fs::remove_dir(&kill).unwrap();
    std::fs::write(&kill, "").unwrap();
    until("it is tried again", || (std::fs::read(&kill).unwrap() == b"1").then_some(()));
}

#[test]
fn exec_in_place_keeps_deadline_children_and_process_id() {
    if !root("exec_in_place_keeps_deadline_children_and_process_id") {
        return;
    }
    let mut rig = Rig::new("exec");
    let busy = rig.start_busy("g");
    rig.arm("g", ms(2000));

    // A program that cannot be executed changes nothing.
    rig.send(vec![Ask::Upgrade { program: "/nonexistent".into() }]);
    assert!(rig.hear().error.is_some());

    // Nor does one that would not understand what it is handed.
    let other = rig.runtime.path().join("other");
    let say = |text: &str| {
        std::fs::write(&other, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&other, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    for text in ["echo 999", "exit 2", "sleep 60"] {
        say(text);
        rig.send(vec![Ask::Upgrade { program: other.clone() }]);
        assert!(rig.hear().error.is_some(), "{text}");
        rig.arm("g", ms(2000));
    }
    assert_eq!(living(&busy), busy);

    let began = clock::now();
    rig.arm("g", ms(2000));
    let before = rig.held("g");
    rig.send(vec![Ask::Upgrade { program: ARBITER.into() }]);
    rig.reconnect();
    let pid = rig.pid();
    let reply = rig.ask(vec![Ask::Status]);
    assert_eq!(reply.pid, pid);
    assert_eq!(reply.groups[&GroupId::from("g")], before);
    assert_eq!(living(&busy), busy);
    until("all are dead", || living(&busy).is_empty().then_some(()));
    let took = clock::now().since(began);
    assert!(ms(1700) < took && took < ms(2000), "the deadline moved: {took:?}");

    // The tie of the namespace to the process outlives the exec too.
    let deadline = clock::now() + PATIENCE;
    rig.ask(vec![Ask::Renew { group: "g".into(), deadline, timing: timing() }]);
    let busy = rig.start_busy("g");
    rig.send(vec![Ask::Upgrade { program: ARBITER.into() }]);
    rig.reconnect();
    rig.ask(vec![Ask::Status]);
    assert_eq!(living(&busy), busy);
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    let began = clock::now();
    until("all are dead", || living(&busy).is_empty().then_some(()));
    assert!(clock::now().since(began) < ms(200));
}

#[test]
fn garbage_delays_no_kill_and_ends_no_deadman() {
    if !root("garbage_delays_no_kill_and_ends_no_deadman") {
        return;
    }
    use std::io::Write;
    let mut rig = Rig::new("garbage");
    let busy = rig.start_busy("g");
    rig.arm("g", ms(600));
    let path = arbiter::agent::deadman::socket_path(rig.runtime.path());
    for _ in 0..32 {
        let mut stream = std::os::unix::net::UnixStream::connect(&path).unwrap();
        let _ = stream.write_all(&[0xff; 64]);
    }
    until("all are dead", || living(&busy).is_empty().then_some(()));
    rig.reconnect();
    assert!(rig.held("g").hold.frozen);
}

/// Neither cgroup v2 nor a PID namespace: what is left is the process tree.
const TREE: &str = "cgroup,namespace";
/// Forks without end, has a daemon, and one that is another process each moment. All carry a mark.
const FORKING: &str = "use POSIX; \
    if (!fork) { setsid; exit if fork; 1 while 1 } \
    if (!fork) { while (1) { exit if fork; select undef, undef, undef, 0.002 } } \
    $SIG{CHLD} = 'IGNORE'; while (1) { fork or exit; select undef, undef, undef, 0.001 }";

/// Start [`FORKING`] in the group's tree; the mark of its processes.
fn start_forking(rig: &mut Rig, group: &str) -> String {
    let place = rig.held(group).place.unwrap();
    assert!(place.cgroup.is_none() && place.init.is_none(), "{place:?}");
    let mark = format!("# {} {group} {:?}", rig.name, place.reaper.unwrap());
    let program = perl(&format!("{FORKING} {mark}"));
    rig.ask(vec![Ask::Start { group: group.into(), program }]);
    let reaper = place.reaper.unwrap();
    until("all three kinds run", || {
        let below = tree::below(reaper, &BTreeSet::new()).unwrap();
        (marked(&mark).len() >= 3 && below.len() >= 3).then_some(())
    });
    mark
}

/// Wait until none is left, also of those that are another process each moment; since when.
fn gone(what: &str, mark: &str) -> Instant {
    let (mut looks, mut since) = (0, clock::now());
    until(what, || {
        looks = if marked(mark).is_empty() { looks + 1 } else { 0 };
        if looks < 2 {
            since = clock::now();
        }
        (looks == 5).then_some(since)
    })
}

/// I4, where there is nothing but parents and children.
#[test]
fn a_process_tree_is_dead_by_its_deadline_and_stays_dead() {
    if !root("a_process_tree_is_dead_by_its_deadline_and_stays_dead") {
        return;
    }
    let mut rig = Rig::without("tree", TREE);
    let (mark, other) = (start_forking(&mut rig, "g"), start_forking(&mut rig, "h"));
    let began = clock::now();
    rig.arm("g", ms(1000));
    let deadline = began + ms(1000);
    assert!(!marked(&mark).is_empty());
    let dead = gone("all are dead", &mark);
    assert!(deadline - timing().deadman_head_start() <= dead, "killed too early");
    assert!(dead < deadline, "killed {:?} too late", dead.since(deadline));
    let reaper = rig.held("h").place.unwrap().reaper.unwrap();
    assert!(other.ends_with(&format!("{reaper:?}")) && !marked(&other).is_empty());

    // Killed, it starts nothing until a deadline in the future is given.
    let ask = Ask::Start { group: "g".into(), program: perl(&format!("1 while 1 {mark}")) };
    rig.held("g");
    let id = rig.send(vec![ask]);
    let refused = until("it answers", || Some(rig.hear()).filter(|reply| reply.id == id));
    assert!(refused.error.is_some());
    assert!(marked(&mark).is_empty());
    rig.arm("g", PATIENCE);
    start_forking(&mut rig, "g");
}

#[test]
fn a_process_tree_dies_with_its_deadman() {
    if !root("a_process_tree_dies_with_its_deadman") {
        return;
    }
    let mut rig = Rig::without("treedies", TREE);
    let mark = start_forking(&mut rig, "g");
    // In a new image too.
    rig.send(vec![Ask::Upgrade { program: ARBITER.into() }]);
    rig.reconnect();
    let place = rig.held("g").place.unwrap();
    assert!(mark.ends_with(&format!("{:?}", place.reaper.unwrap())), "another tree: {place:?}");
    assert!(!marked(&mark).is_empty());
    rig.child.kill().unwrap();
    let began = clock::now();
    let took = gone("all are dead", &mark).since(began);
    assert!(took < ms(500), "it took {took:?}");
}

/// Either of deadman and reaper is enough.
#[test]
fn what_a_reaper_cannot_kill_its_deadman_does() {
    if !root("what_a_reaper_cannot_kill_its_deadman_does") {
        return;
    }
    let mut rig = Rig::without("treereaper", TREE);
    let mark = start_forking(&mut rig, "g");
    let reaper = Pid::from_raw(rig.held("g").place.unwrap().reaper.unwrap().pid);
    kill(reaper, Signal::SIGKILL).unwrap();
    gone("the orphans are dead", &mark);

    rig.arm("g", ms(60_000));
    let place = rig.held("g").place.unwrap();
    let program = perl(&format!("fork; 1 while 1 {mark}"));
    rig.ask(vec![Ask::Start { group: "g".into(), program }]);
    until("two run", || (marked(&mark).len() == 2).then_some(()));
    let reaper = Pid::from_raw(place.reaper.unwrap().pid);
    kill(reaper, Signal::SIGSTOP).unwrap();
    rig.arm("g", ms(600));
    gone("all are dead, though the reaper is stopped", &mark);
    kill(reaper, Signal::SIGCONT).unwrap();
    until("it ends", || tree::Root::of(reaper.as_raw()).is_err().then_some(()));
}

/// Linux before 5.14: each process by itself, frozen so that none forks meanwhile.
#[test]
fn without_cgroup_kill_all_are_dead_by_the_deadline_and_a_late_fork_never_runs() {
    if !root("without_cgroup_kill_all_are_dead_by_the_deadline_and_a_late_fork_never_runs") {
        return;
    }
    let mut rig = Rig::without("nokill", "cgroup.kill,namespace");
    let place = rig.held("g").place.unwrap();
    assert!(place.init.is_none() && place.reaper.is_none(), "{place:?}");
    let path = place.cgroup.clone().unwrap();
    let mark = format!("# {}", rig.name);
    spawn::server(&perl(&format!("{FORKING} {mark}")), &place).unwrap();
    until("it forks", || (processes(&path).len() >= 3).then_some(()));
    let began = clock::now();
    rig.arm("g", ms(1000));
    let took = gone("all are dead", &mark).since(began);
    assert!(ms(1000) - timing().deadman_head_start() <= took && took < ms(1000), "{took:?}");

    let marker = rig.runtime.path().join("late");
    let touch = format!("open my $f, '>', '{}'; 1 while 1 {mark}", marker.display());
    let start = std::thread::spawn(move || spawn::server(&perl(&touch), &place));
    until("it came, and was killed", || (start.is_finished()).then_some(()));
    assert!(processes(&path).is_empty());
    assert!(!marker.exists(), "it ran in a frozen cgroup");
}
