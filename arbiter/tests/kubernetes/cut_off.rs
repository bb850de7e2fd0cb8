//! The agent inside a region that is cut off: an agent and a deadman on this host, an arbiter that
//! falls silent, and a cluster that still answers.

use super::cluster::{Cluster, NAMESPACE};
use super::support::fake::{FakeArbiter, GROUP, INSTANCE, instance};
use super::support::{ARBITER, remove_cgroups, root, timing};
use arbiter::agent::{AgentOptions, cgroup, deadman, run_with};
use arbiter::drivers;
use arbiter_core::{Control, Fencing, Goal, Instance, Layer, Token};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;
use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;
use tokio::sync::oneshot;

const PARENT: &str = "region-arbiter-test";

/// An agent on a thread of its own, and its deadman.
struct Agent {
    home: tempfile::TempDir,
    name: String,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Agent {
    fn start(cluster: &Cluster, arbiter: &FakeArbiter) -> Self {
        let home = tempfile::Builder::new().prefix("arbiter-").tempdir_in("/dev/shm").unwrap();
        let name = format!("kubernetes-{}", std::process::id());
        std::fs::write(home.path().join("boot_id"), "first boot").unwrap();
        let config = cluster.kubeconfig().display().to_string();
        let settings = [
            ("kubeconfig_file", config.as_str()),
            ("namespace", NAMESPACE),
            ("deployments", "web"),
            ("cronjobs", "report"),
            ("capacity", "ignored"),
        ];
        let settings = settings.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let instance = Instance {
            kind: "kubernetes".to_owned(),
            layer: Layer::Workload,
            fencing: Fencing::BestEffort,
            control: Control::Api,
            settings: settings.into(),
            ..instance()
        };
        let options = AgentOptions {
            name: name.as_str().into(),
            state_dir: home.path().join("state"),
            runtime_dir: home.path().join("run"),
            arbiters: vec![arbiter.address.to_string()],
            tls: None,
            leaves: None,
            instances: BTreeMap::from([((GROUP.into(), INSTANCE.into()), instance)]),
            timings: BTreeMap::from([(GROUP.into(), timing())]),
            cgroup_parent: PARENT.into(),
            program: ARBITER.into(),
            boot_id_file: home.path().join("boot_id"),
        };
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let mut runtime = tokio::runtime::Builder::new_multi_thread();
            let runtime = runtime.worker_threads(1).enable_all().build().unwrap();
            runtime.block_on(async {
                tokio::select! {
                    ended = run_with(options, &drivers::open) => ended.unwrap(),
                    _ = stopped => {}
                }
            });
            runtime.shutdown_background();
        });
        Self { home, name, stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let run = self.home.path().join("run");
        let path = deadman::socket_path(&run);
        let deadman = UnixStream::connect(path).ok();
        let deadman = deadman.and_then(|stream| getsockopt(&stream, PeerCredentials).ok());
        drop(self.stop.take());
        let _ = self.thread.take().map(JoinHandle::join);
        if let Some(deadman) = deadman {
            let _ = kill(Pid::from_raw(deadman.pid()), Signal::SIGKILL);
        }
        if let Ok(mount) = cgroup::find_or_mount(&run.join("cgroup2")) {
            remove_cgroups(&mount.join(PARENT), &cgroup::component(&self.name));
        }
    }
}

fn suspended(cluster: &Cluster) -> bool {
    cluster.get("batch/v1", "cronjobs", "report")["spec"]["suspend"] == true
}

async fn done(cluster: &Cluster, arbiter: &FakeArbiter, goal: Goal, token: Token) {
    cluster
        .until(|_| {
            let Some(report) = arbiter.heard() else { return false };
            let group = &report.groups[&GROUP.into()];
            let done = group.instances[&INSTANCE.into()].done.as_ref();
            group.arming.is_some() && done.is_some_and(|d| d.goal == goal && d.token == token)
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_cut_off_stops_its_services_unasked_and_only_those_that_serve() {
    if !root("an_agent_that_is_cut_off_stops_its_services_unasked_and_only_those_that_serve") {
        return;
    }
    let cluster = Cluster::with_web(3).await;
    cluster.cron_job("report");
    let arbiter = FakeArbiter::start();
    let _agent = Agent::start(&cluster, &arbiter);
    done(&cluster, &arbiter, Goal::Active, Token::new(1, 10)).await;
    cluster.until(|cluster| cluster.replicas("web") == 3 && !suspended(cluster)).await;

    arbiter.change(|script| script.answer = false);
    cluster.until(|cluster| cluster.replicas("web") == 0 && suspended(cluster)).await;
    cluster.until(|cluster| cluster.store(|s| s.list("v1", "pods", "").is_empty())).await;
    // The order to serve still stands in the agent's memory, and is obeyed no more.
    tokio::time::sleep(timing().lease * 2).await;
    assert_eq!((cluster.replicas("web"), suspended(&cluster)), (0, true));

    arbiter.change(|script| script.answer = true);
    cluster.until(|cluster| cluster.replicas("web") == 3 && !suspended(cluster)).await;

    let standby = Token::new(2, 20);
    arbiter.change(|script| (script.goal, script.token) = (Goal::Standby, standby));
    done(&cluster, &arbiter, Goal::Standby, standby).await;
    arbiter.change(|script| script.answer = false);
    tokio::time::sleep(timing().lease * 2).await;
    assert_eq!(cluster.replicas("web"), 1, "a standby that is cut off stays one");
}
