//! A whole platform on one machine: three arbiters, two agents, a PostgreSQL pair and a DNS server,
//! each on a host of its own. Knows how to put it together; the cases say what happens to it.

use super::bind::{self, Bind};
use super::net::{Host, Net};
use super::operator::Operator;
use super::postgres::{self, Server};
use super::process::{Process, Spec};
use crate::clock;
use arbiter_proto::v1;
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Numbers of the regions in the lab's addresses.
pub const EU: u8 = 1;
/// See [`EU`].
pub const US: u8 = 2;
/// See [`EU`].
pub const WITNESS: u8 = 3;
/// Where DNS, clients and operators are: outside all regions.
pub const OUTSIDE: u8 = 4;
/// The lab's only group unless a case adds more.
pub const GROUP: &str = "default";
/// gRPC port of every arbiter.
pub(super) const PORT: u16 = 7400;
/// HTTP port of every arbiter.
pub const HTTP_PORT: u16 = 7401;
/// How long the platform may take to come up.
const UP_LIMIT: Duration = Duration::from_secs(60);

/// The arbiters: name, host, region's name, region's number.
pub const ARBITERS: [(&str, &str, &str, u8); 3] = [
    ("arbiter-eu", "eu-arbiter", "eu-west", EU),
    ("arbiter-us", "us-arbiter", "us-east", US),
    ("arbiter-witness", "witness", "witness", WITNESS),
];
/// The agents that a lab may have: name, host, region's name.
pub const AGENTS: [(&str, &str, &str); 4] = [
    ("agent-eu", "eu-db", "eu-west"),
    ("agent-us", "us-db", "us-east"),
    ("agent-eu2", "eu-db2", "eu-west"),
    ("agent-us2", "us-db2", "us-east"),
];

/// A PostgreSQL pair: a resource of a group, with an instance in each region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// Its group.
    pub group: &'static str,
    /// Name of the resource, unique in the lab.
    pub resource: &'static str,
    /// Port of both servers.
    pub port: u16,
    /// The agents beside them: in eu-west, in us-east.
    pub agents: [&'static str; 2],
    /// The region whose server is primary at first.
    pub active: &'static str,
}

/// The pair that every lab has.
pub const FIRST_PAIR: Pair = Pair {
    group: GROUP,
    resource: "db",
    port: postgres::PORT,
    agents: ["agent-eu", "agent-us"],
    active: "eu-west",
};

/// What a lab is made of.
#[derive(Clone, Debug)]
pub struct Options {
    /// The `arbiter` binary.
    pub binary: PathBuf,
    /// Where everything is written. Made, and removed at the end unless `keep`.
    pub dir: PathBuf,
    /// Keeps labs on one machine apart, at most 6 characters.
    pub prefix: String,
    /// Timer profile.
    pub profile: String,
    /// Lines for `[groups.default]`.
    pub group: String,
    /// The PostgreSQL pairs; the first belongs to the group `default`.
    pub pairs: Vec<Pair>,
    /// Round trip added between arbiters, by delaying proxies.
    pub delay: Option<Duration>,
    /// Whether to leave `dir`.
    pub keep: bool,
}

/// The platform.
#[derive(Debug)]
pub struct Lab {
    /// What it was made of.
    pub options: Options,
    /// The network.
    pub net: Net,
    /// Running arbiters, by name.
    pub arbiters: BTreeMap<String, Process>,
    /// Running agents, by name.
    pub agents: BTreeMap<String, Process>,
    /// The DNS server.
    pub bind: Bind,
    /// The servers of each pair: in eu-west, in us-east.
    pub servers: Vec<[Server; 2]>,
    /// A client of all arbiters.
    pub operator: Operator,
    _proxies: Vec<super::delay::Proxy>,
}

fn hosts() -> Vec<Host> {
    vec![
        Host::new("eu-arbiter", EU, 1),
        Host::new("eu-db", EU, 2),
        Host::new("eu-client", EU, 3),
        Host::new("eu-db2", EU, 4),
        Host::new("us-arbiter", US, 1),
        Host::new("us-db", US, 2),
        Host::new("us-client", US, 3),
        Host::new("us-db2", US, 4),
        Host::new("witness", WITNESS, 1),
        Host::new("dns", OUTSIDE, 1),
        Host::new("client", OUTSIDE, 2),
    ]
}

impl Lab {
    /// Make the network and everything in it, up to a cluster that waits to be initialized. The
    /// calling thread, and so every thread that it starts later, moves to the host `client`; call
    /// it before a runtime is made.
    ///
    /// # Errors
    /// If a part is missing or does not start; the text says which.
    pub fn create(options: Options) -> io::Result<Self> {
        std::fs::create_dir_all(&options.dir)?;
        let net = Net::create(&options.prefix, hosts())?;
        net.enter("client")?;
        let servers: Vec<[Server; 2]> =
            options.pairs.iter().map(|pair| servers(&options.dir, pair)).collect();
        for (pair, [eu, us]) in options.pairs.iter().zip(&servers) {
            let (primary, standby) = if pair.active == "eu-west" { (eu, us) } else { (us, eu) };
            postgres::make_pair(&net, &options.dir, primary, standby)?;
        }
        let initial = net.host("eu-db").address();
        let bind = Bind::start(&net, "dns", &options.dir.join("bind"), initial)?;
        let proxies = match options.delay {
            None => Vec::new(),
            Some(delay) => ARBITERS
                .iter()
                .enumerate()
                .map(|(index, (_, host, _, _))| {
                    let listen = SocketAddr::new(address(&net, "client"), proxy_port(index));
                    let to = SocketAddr::new(address(&net, host), PORT);
                    super::delay::Proxy::start(listen, to, delay / 2)
                })
                .collect::<io::Result<_>>()?,
        };
        let addresses: Vec<String> = ARBITERS
            .iter()
            .map(|(_, host, _, _)| format!("{}:{PORT}", address(&net, host)))
            .collect();
        let lab = Self {
            operator: Operator::new(&addresses)?,
            options,
            net,
            arbiters: BTreeMap::new(),
            agents: BTreeMap::new(),
            bind,
            servers,
            _proxies: proxies,
        };
        lab.write_config(&lab.options.group.clone())?;
        Ok(lab)
    }

    /// Path of the cluster's file.
    pub fn config(&self) -> PathBuf {
        self.options.dir.join("cluster.toml")
    }

    /// Address of a host.
    pub fn address(&self, host: &str) -> IpAddr {
        address(&self.net, host)
    }

    /// Address of the DNS server.
    pub fn dns(&self) -> SocketAddr {
        SocketAddr::new(self.bind.address.into(), bind::PORT)
    }

    /// Start (again) an arbiter.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start_arbiter(&mut self, name: &str) -> io::Result<()> {
        let (_, host, _, _) = ARBITERS.iter().find(|a| a.0 == name).expect("a known arbiter");
        let data = self.path(&format!("data/{name}"));
        let args =
            ["node", "--config", &self.path("cluster.toml"), "--name", name, "--data-dir", &data];
        let process = self.start(host, name, &args, None)?;
        self.arbiters.insert(name.into(), process);
        Ok(())
    }

    /// Start (again) an agent; `boot_id`: a file bound over its kernel's boot id.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start_agent(&mut self, name: &str, boot_id: Option<PathBuf>) -> io::Result<()> {
        let (_, host, _) = AGENTS.iter().find(|a| a.0 == name).expect("a known agent");
        let (state, runtime) =
            (self.path(&format!("state/{name}")), self.path(&format!("run/{name}")));
        std::fs::create_dir_all(&runtime)?;
        let config = self.path("cluster.toml");
        let args = [
            "agent",
            "--config",
            &config,
            "--name",
            name,
            "--state-dir",
            &state,
            "--runtime-dir",
            &runtime,
            "--cgroup-parent",
            &self.cgroup_parent(),
        ];
        let process = self.start(host, name, &args, boot_id)?;
        self.agents.insert(name.into(), process);
        Ok(())
    }

    /// Folder of the cgroup v2 tree that the lab's agents use.
    fn cgroup_parent(&self) -> String {
        format!("region-arbiter-{}", self.options.prefix)
    }

    fn path(&self, below: &str) -> String {
        self.options.dir.join(below).to_string_lossy().into_owned()
    }

    fn start(
        &self,
        host: &str,
        name: &str,
        args: &[&str],
        boot_id: Option<PathBuf>,
    ) -> io::Result<Process> {
        let mut spec = Spec::new(&self.options.binary, args, self.path(&format!("{name}.log")));
        spec.boot_id = boot_id;
        Process::start(&self.net, host, &spec)
    }

    /// Start every arbiter and agent.
    ///
    /// # Errors
    /// If one cannot be started.
    pub fn start_all(&mut self) -> io::Result<()> {
        for (name, ..) in ARBITERS {
            self.start_arbiter(name)?;
        }
        for (name, ..) in self.agents_used() {
            self.start_agent(name, None)?;
        }
        Ok(())
    }

    /// Initialize the cluster and wait until the group is active in eu-west.
    ///
    /// # Errors
    /// If that takes more than a minute.
    pub async fn initialize(&self) -> io::Result<()> {
        let text = std::fs::read_to_string(self.config())?;
        let started = clock::now();
        loop {
            let request = v1::InitializeRequest {
                asked: Operator::asked("the lab begins"),
                cluster_id: self.options.prefix.clone(),
                config_toml: text.clone(),
            };
            let call = |mut client: v1::admin_client::AdminClient<_>| {
                let request = request.clone();
                async move { client.initialize(request).await }
            };
            match self.operator.admin(call).await {
                Ok(_) => break,
                Err(status) if clock::now().since(started) > UP_LIMIT => {
                    return Err(io::Error::other(format!("initialize: {status}")));
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
        for pair in &self.options.pairs {
            let active = |g: &v1::GroupStatus| g.active == pair.active && g.epoch == 1;
            let what = format!("{} active in {}", pair.group, pair.active);
            self.operator.wait_group(pair.group, &what, UP_LIMIT, active).await?;
        }
        Ok(())
    }

    /// Arm the group, wait until it is, and set `mode`.
    ///
    /// # Errors
    /// If that takes more than a minute or is refused.
    pub async fn arm(&self, group: &str, mode: &str) -> io::Result<()> {
        let epoch = self.epoch(group).await?;
        let call = |mut client: v1::admin_client::AdminClient<_>| async move {
            let (asked, group) = (Operator::asked("the lab arms"), group.into());
            client.arm(v1::GroupRequest { asked, group, expected_epoch: epoch }).await
        };
        self.operator.admin(call).await.map_err(|s| io::Error::other(format!("arm: {s}")))?;
        let armed = |g: &v1::GroupStatus| {
            let mut agents = g.regions.iter().flat_map(|r| &r.agents);
            agents.clone().count() >= 2 && agents.all(|a| a.arming == "armed")
        };
        self.operator.wait_group(group, "both regions armed", UP_LIMIT, armed).await?;
        self.set_mode(group, mode).await
    }

    /// Set the mode of the group.
    ///
    /// # Errors
    /// If it is refused.
    pub async fn set_mode(&self, group: &str, mode: &str) -> io::Result<()> {
        let expected_epoch = self.epoch(group).await?;
        let call = |mut client: v1::admin_client::AdminClient<_>| async move {
            let request = v1::SetModeRequest {
                asked: Operator::asked("the lab sets the mode"),
                group: group.into(),
                mode: mode.into(),
                expected_epoch,
            };
            client.set_mode(request).await
        };
        self.operator.admin(call).await.map_err(|s| io::Error::other(format!("mode: {s}")))?;
        let set = |g: &v1::GroupStatus| g.mode == mode && g.mode_in_effect;
        self.operator.wait_group(group, "mode in effect", UP_LIMIT, set).await.map(drop)
    }

    /// The group's epoch.
    ///
    /// # Errors
    /// If no arbiter answers.
    pub async fn epoch(&self, group: &str) -> io::Result<u64> {
        let group = self.operator.group(group).await;
        group.map(|g| g.epoch).ok_or_else(|| io::Error::other("no arbiter answers"))
    }

    /// Open a switchover or a failover to `target`; returns the plan's id.
    ///
    /// # Errors
    /// The refusal.
    pub async fn open_plan(
        &self,
        group: &str,
        kind: &str,
        target: &str,
    ) -> Result<u64, tonic::Status> {
        self.open_plan_accepting(group, kind, target, false).await
    }

    /// The same, accepting loss over the RPO or not.
    ///
    /// # Errors
    /// The refusal.
    pub async fn open_plan_accepting(
        &self,
        group: &str,
        kind: &str,
        target: &str,
        accept_loss: bool,
    ) -> Result<u64, tonic::Status> {
        let epoch =
            self.epoch(group).await.map_err(|e| tonic::Status::unavailable(e.to_string()))?;
        let call = |mut client: v1::admin_client::AdminClient<_>| async move {
            let request = v1::OpenPlanRequest {
                asked: Operator::asked("the lab asks"),
                group: group.into(),
                target: target.into(),
                expected_epoch: epoch,
                immediate: false,
                accept_loss,
                dry_run: false,
            };
            match kind {
                "switchover" => client.switchover(request).await,
                _ => client.failover(request).await,
            }
        };
        let answer = self.operator.admin(call).await?;
        answer.plan.map(|plan| plan.id).ok_or_else(|| tonic::Status::internal("no plan answered"))
    }

    /// Wait until a switchover of `group` to `target` would open (a dry run finds nothing against
    /// it).
    ///
    /// # Errors
    /// With what is against it when that takes more than a minute.
    pub async fn ready_to_move(&self, group: &str, target: &str) -> io::Result<()> {
        let started = clock::now();
        let mut last = String::new();
        while clock::now().since(started) < UP_LIMIT {
            match self.dry_run(group, target).await {
                Ok(found) if found.is_empty() => return Ok(()),
                Ok(found) => last = found,
                Err(status) => last = status.to_string(),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Err(io::Error::other(format!("a switchover to {target} is not possible: {last}")))
    }

    async fn dry_run(&self, group: &str, target: &str) -> Result<String, tonic::Status> {
        let epoch = self.epoch(group).await;
        let epoch = epoch.map_err(|error| tonic::Status::unavailable(error.to_string()))?;
        let call = |mut client: v1::admin_client::AdminClient<_>| async move {
            let request = v1::OpenPlanRequest {
                asked: Operator::asked("is it possible"),
                group: group.into(),
                target: target.into(),
                expected_epoch: epoch,
                immediate: false,
                accept_loss: false,
                dry_run: true,
            };
            client.switchover(request).await
        };
        let answer = self.operator.admin(call).await?;
        let against: Vec<String> = answer.refused_because.into_iter().map(|r| r.text).collect();
        Ok(against.join("; "))
    }

    /// Kill every process of a region at once, its resources included.
    pub fn kill_region(&mut self, region: u8) {
        let hosts: Vec<String> =
            self.net.hosts_of(region).iter().map(|host| host.name.clone()).collect();
        let pids: Vec<i32> = hosts.iter().flat_map(|host| self.net.processes(host)).collect();
        let own = std::process::id() as i32;
        for pid in pids.into_iter().filter(|pid| *pid != own) {
            let pid = nix::unistd::Pid::from_raw(pid);
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
        }
        let here = |host: &str| hosts.iter().any(|name| name == host);
        self.arbiters.retain(|name, _| !ARBITERS.iter().any(|a| a.0 == name && here(a.1)));
        self.agents.retain(|name, _| !AGENTS.iter().any(|a| a.0 == name && here(a.1)));
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.agents.clear();
        self.arbiters.clear();
        self.bind.stop();
        if !self.options.keep {
            // Best effort: what is left is below one temporary folder.
            let _ = std::fs::remove_dir_all(&self.options.dir);
        }
    }
}

fn address(net: &Net, host: &str) -> IpAddr {
    net.host(host).address().into()
}

pub(super) fn proxy_port(index: usize) -> u16 {
    7410 + index as u16
}

fn servers(dir: &Path, pair: &Pair) -> [Server; 2] {
    pair.agents.map(|agent| {
        let (_, host, region) = AGENTS.iter().find(|a| a.0 == agent).expect("a known agent");
        let base = dir.join(format!("pg-{}-{}", pair.resource, &region[..2]));
        let (data_dir, socket_dir) = (base.join("data"), base.join("socket"));
        Server { host: (*host).into(), data_dir, socket_dir, port: pair.port }
    })
}
