//! The kind `delegated`, on a manager of a few lines that starts a server of a few more.

use super::*;
use crate::clock;
use crate::drivers::processes;
use arbiter_core::agent::GATE_MISSING;
use arbiter_core::{Condition, EvidenceKind, Fact, Goal, Terms, Token};
use nix::sys::signal::Signal;
use std::process::{Child, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tempfile::TempDir;

/// Runs a server in the data directory, and again when it dies, while the start file lets it.
const MANAGER: &str = "
cd DIR/data
while true; do
  if test -e DIR/gate/queue-eu.start.conf; then sleep 1000; fi
  sleep 0.01
done
";

/// Says what the files say.
const SCRIPT: &str = r#"
case $1-$ARBITER_MANAGER in
  *-stopped) test ! -e "$ARBITER_START_FILE" && echo '{}' ;;
  ensure-running) test -e DIR/not-yet && exit 75
    echo "$2 $ARBITER_SIDE" >> DIR/asked
    test "$2" = drained && echo '{"state":"standby","position":"2:0/A0","clean":true}' && exit 0 ;;
esac
test $ARBITER_MANAGER = stopped && exit 0
if test -e "$ARBITER_ACTIVE_FILE" -o -e DIR/promoted; then s=active; else s=standby; fi
echo "{\"state\":\"$s\",\"position\":\"2:0/90\"}"
"#;

/// Starts what it is given, holds all of it, and lets nothing write while no lease runs.
struct Held {
    dir: PathBuf,
    armed: AtomicBool,
    lease: AtomicBool,
    started: Mutex<Vec<Child>>,
    adopted: Mutex<Vec<i32>>,
}

#[async_trait::async_trait]
impl Holder for Held {
    async fn run(&self, _: &drivers::Command) -> Result<drivers::Output, DriverError> {
        unreachable!("no tool is run")
    }

    async fn start(&self, program: &drivers::Command, writable: bool) -> Result<(), DriverError> {
        if writable && self.armed() && !self.lease.load(Ordering::SeqCst) {
            return Err(DriverError::Retry("no deadline is running".to_owned()));
        }
        self.started.lock().unwrap().push(by_hand(&program.program, &program.args));
        Ok(())
    }

    async fn adopt(&self, pids: Vec<i32>) -> Result<(), DriverError> {
        self.adopted.lock().unwrap().extend(pids);
        Ok(())
    }

    fn processes(&self) -> Result<Vec<i32>, DriverError> {
        let mut held: Vec<i32> =
            self.started.lock().unwrap().iter().map(|child| child.id() as i32).collect();
        held.extend(self.adopted.lock().unwrap().iter());
        let all = processes::all().unwrap();
        let below = all.iter().filter(|p| held.contains(&p.pid) || held.contains(&p.parent));
        let below: Vec<i32> = below.map(|process| process.pid).collect();
        Ok(below)
    }

    async fn kill(&self) -> Result<(), DriverError> {
        Ok(())
    }

    fn armed(&self) -> bool {
        self.armed.load(Ordering::SeqCst)
    }

    fn gate_dir(&self) -> PathBuf {
        self.dir.join("gate")
    }
}

fn by_hand(program: &Path, args: &[String]) -> Child {
    let mut command = std::process::Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

struct Rig {
    dir: TempDir,
    holder: Arc<Held>,
    driver: Box<dyn Driver>,
}

impl Rig {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let here = dir.path().display().to_string();
        for sub in ["data", "gate"] {
            std::fs::create_dir(at(sub)).unwrap();
        }
        std::fs::write(at("manager"), MANAGER.replace("DIR", &here)).unwrap();
        script(dir.path(), &SCRIPT.replace("DIR", &here));
        let files = ["start.conf", "active"].map(|last| format!("{here}/gate/queue-eu.{last}\n"));
        std::fs::write(at("config"), files.concat()).unwrap();
        let (manager, config) = (format!("/bin/sh {here}/manager"), format!("{here}/config"));
        let data = format!("{here}/data");
        let settings = [
            ("manager", manager.as_str()),
            ("manager_config", &config),
            ("data_dir", &data),
            ("server", "sleep"),
        ];
        let managed = instance(dir.path(), "delegated", &settings);
        let holder = Arc::new(Held {
            dir: dir.path().to_owned(),
            armed: AtomicBool::new(true),
            lease: AtomicBool::new(true),
            started: Mutex::default(),
            adopted: Mutex::default(),
        });
        let driver = open(&managed, holder.clone()).unwrap();
        Self { dir, holder, driver }
    }

    async fn ensure(&self, goal: Goal) -> Result<drivers::Done, DriverError> {
        self.driver.ensure(goal, Token::new(2, 9), &Terms::default()).await
    }

    async fn look(&self) -> Fact {
        self.driver.observe().await.unwrap()
    }

    fn gate(&self, last: &str) -> bool {
        self.dir.path().join("gate").join(format!("queue-eu.{last}")).exists()
    }

    /// Both files.
    fn gates(&self) -> (bool, bool) {
        (self.gate("start.conf"), self.gate("active"))
    }

    async fn pids(&self) -> Vec<i32> {
        self.driver.running().await.unwrap()
    }

    /// Wait until manager and server run.
    async fn up(&self) -> Vec<i32> {
        let began = clock::now();
        loop {
            let pids = self.pids().await;
            if pids.len() >= 2 {
                return pids;
            }
            assert!(clock::now().since(began) < Duration::from_secs(30), "it is not up: {pids:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn note(&self, name: &str) {
        std::fs::write(self.dir.path().join(name), "").unwrap();
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let here = self.dir.path().join("manager").display().to_string();
        let dir = processes::dir_id(&self.dir.path().join("data"));
        // The manager first.
        for mine in [true, false] {
            for process in processes::all().unwrap() {
                let cwd = PathBuf::from(format!("/proc/{}/cwd", process.pid));
                let holds = dir.is_some() && processes::dir_id(&cwd) == dir;
                if if mine { process.title.contains(&here) } else { holds } {
                    processes::send(&process, Signal::SIGKILL);
                }
            }
        }
        for child in self.holder.started.lock().unwrap().iter_mut() {
            let _ = child.wait();
        }
    }
}

#[tokio::test]
async fn a_fence_kills_the_manager_with_its_server_and_proves_it() {
    let rig = Rig::new();
    let done = rig.ensure(Goal::Active).await.unwrap();
    assert!(done.facts.writable);
    assert_eq!(rig.gates(), (true, true));
    let pids = rig.up().await;
    let done = rig.ensure(Goal::Fenced).await.unwrap();
    assert_eq!(done.evidence, Some(EvidenceKind::Confirmed));
    assert_eq!((done.facts.condition, done.facts.writable), (Condition::Stopped, false));
    assert!(pids.iter().all(|pid| !alive(*pid)), "{pids:?}");
    assert_eq!(rig.gates(), (false, false));
    assert_eq!(rig.look().await.condition, Condition::Stopped);
    // Twice is once.
    assert_eq!(rig.ensure(Goal::Fenced).await.unwrap().evidence, Some(EvidenceKind::Confirmed));
    // Whoever starts the manager now has no server.
    let config = rig.dir.path().join("manager").display().to_string();
    rig.holder.started.lock().unwrap().push(by_hand(Path::new("/bin/sh"), &[config]));
    let began = clock::now();
    while clock::now().since(began) < Duration::from_millis(200) {
        let found = rig.driver.running().await.unwrap();
        let title = |pid: &i32| std::fs::read_to_string(format!("/proc/{pid}/cmdline"));
        assert!(!found.iter().any(|pid| title(pid).is_ok_and(|title| title.contains("1000"))));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn alive(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

/// I4: the active file is what lets a manager promote, and a stand-by has none.
#[tokio::test]
async fn a_standby_may_run_and_may_not_be_promoted() {
    let rig = Rig::new();
    rig.holder.lease.store(false, Ordering::SeqCst);
    let done = rig.ensure(Goal::Standby).await.unwrap();
    assert!(!done.facts.writable);
    assert_eq!(rig.gates(), (true, false));
    rig.up().await;
    // Somebody promotes it all the same.
    rig.note("promoted");
    let why = text(rig.ensure(Goal::Standby).await.unwrap_err());
    assert!(why.contains("it was killed"), "{why}");
    assert!(rig.pids().await.is_empty());
    assert_eq!(rig.gates(), (false, false));
}

#[tokio::test]
async fn nothing_starts_as_active_without_a_lease_and_no_file_is_left() {
    let rig = Rig::new();
    rig.holder.lease.store(false, Ordering::SeqCst);
    let why = text(rig.ensure(Goal::Active).await.unwrap_err());
    assert!(why.contains("no deadline"), "{why}");
    assert_eq!(rig.gates(), (false, false));
    assert!(rig.pids().await.is_empty());
}

#[tokio::test]
async fn only_a_source_is_stopped_when_it_drains() {
    let rig = Rig::new();
    rig.ensure(Goal::Standby).await.unwrap();
    let target = rig.ensure(Goal::Drained).await.unwrap();
    assert_eq!((target.evidence, target.end.unwrap().offset), (None, 160));
    assert!(!rig.pids().await.is_empty());
    rig.ensure(Goal::Active).await.unwrap();
    let source = rig.ensure(Goal::Drained).await.unwrap();
    assert_eq!(source.evidence, Some(EvidenceKind::Confirmed));
    assert_eq!((source.end.unwrap().offset, source.clean), (160, true));
    assert!(rig.pids().await.is_empty());
    // Twice is once: its end is not forgotten because it does not run.
    assert_eq!(rig.ensure(Goal::Drained).await.unwrap(), source);
    let asked = std::fs::read_to_string(rig.dir.path().join("asked")).unwrap();
    assert_eq!(asked, "standby \ndrained target\nactive \ndrained source\n");
}

/// I11: what was killed as a standby has not ended anywhere; it has to receive what there is.
#[tokio::test]
async fn a_target_that_was_fenced_comes_back_to_drain() {
    let rig = Rig::new();
    rig.ensure(Goal::Standby).await.unwrap();
    rig.ensure(Goal::Fenced).await.unwrap();
    let target = rig.ensure(Goal::Drained).await.unwrap();
    assert_eq!((target.evidence, target.end.unwrap().offset), (None, 160));
    assert!(!rig.pids().await.is_empty());
    assert_eq!(rig.gates(), (true, false));
}

#[tokio::test]
async fn it_arms_only_where_the_manager_asks_for_both_files() {
    let rig = Rig::new();
    rig.driver.gate(true).await.unwrap();
    assert_eq!(rig.gates(), (false, false));
    rig.driver.gate(false).await.unwrap();
    assert_eq!(rig.gates(), (true, true), "unarmed, nobody is kept from anything");
    let config = rig.dir.path().join("config");
    let both = std::fs::read_to_string(&config).unwrap();
    let commented: String = both.lines().map(|line| format!("# {line}\n")).collect();
    for less in [commented.as_str(), both.lines().next().unwrap(), ""] {
        std::fs::write(&config, less).unwrap();
        let why = text(rig.driver.gate(true).await.unwrap_err());
        assert!(why.contains("custom_conf") && why.contains("queue-eu.active"), "{why}");
        assert!(rig.look().await.detail.contains_key(GATE_MISSING));
        rig.ensure(Goal::Active).await.unwrap_err();
    }
    std::fs::write(&config, both).unwrap();
    assert!(!rig.look().await.detail.contains_key(GATE_MISSING));
}

/// I4: what somebody starts beside the agent is held once it is seen.
#[tokio::test]
async fn a_manager_that_was_started_by_hand_is_taken_in() {
    let rig = Rig::new();
    let path = rig.dir.path().join("manager").display().to_string();
    let mut child = by_hand(Path::new("/bin/sh"), &[path]);
    rig.look().await;
    assert!(rig.holder.adopted.lock().unwrap().contains(&(child.id() as i32)));
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Its manager gone, a server goes on committing.
#[tokio::test]
async fn a_server_without_its_manager_is_dead_and_may_be_writable() {
    let rig = Rig::new();
    rig.ensure(Goal::Active).await.unwrap();
    rig.up().await;
    let mut child = rig.holder.started.lock().unwrap().pop().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let fact = rig.look().await;
    assert_eq!((fact.condition, fact.writable), (Condition::Dead, true));
    let done = rig.ensure(Goal::Fenced).await.unwrap();
    assert_eq!(done.evidence, Some(EvidenceKind::Confirmed));
}

/// Nothing is stopped, no file is touched, and the script is not asked: no fence asks it.
#[tokio::test]
async fn a_fence_is_rehearsed_on_what_runs() {
    let rig = Rig::new();
    let rehearsed = async || rig.driver.rehearse_fence().await.map_err(text);
    assert_eq!(rehearsed().await, Ok(false), "nothing runs");
    rig.ensure(Goal::Active).await.unwrap();
    let pids = rig.up().await;
    assert_eq!(rehearsed().await, Ok(true));
    assert!(pids.iter().all(|pid| alive(*pid)) && rig.gates() == (true, true));
    let left = std::fs::read_dir(rig.dir.path().join("gate")).unwrap().count();
    assert_eq!(left, 2, "it leaves nothing behind");
    // What is not held, a manager that asks for no file, and a file that cannot be taken away.
    let held = std::mem::take(&mut *rig.holder.started.lock().unwrap());
    assert!(rehearsed().await.unwrap_err().contains("is not held"));
    *rig.holder.started.lock().unwrap() = held;
    let config = rig.dir.path().join("config");
    let both = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, "").unwrap();
    assert!(rehearsed().await.unwrap_err().contains("custom_conf"));
    std::fs::write(&config, both).unwrap();
    let blocks = rig.dir.path().join("gate/queue-eu.start.rehearsal");
    std::fs::create_dir(&blocks).unwrap();
    assert!(rehearsed().await.unwrap_err().contains("start.conf"));
    std::fs::remove_dir(&blocks).unwrap();
    rig.holder.armed.store(false, Ordering::SeqCst);
    assert_eq!(rehearsed().await, Ok(false), "unarmed, there is nothing to be fenced");
}
