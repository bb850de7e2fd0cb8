//! A whole platform on one machine: three arbiters, two agents, a PostgreSQL pair and a DNS server,
//! each on a host of its own. Knows how to put it together; the cases say what happens to it.

use super::bind::{self, Bind};
use super::net::{Host, Net};
use super::operator::Operator;
use super::postgres::{self, Server};
use super::process::{Process, Spec};
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
pub(super) const UP_LIMIT: Duration = Duration::from_secs(60);

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
    /// The agent beside a standby of its own that eu-west has, if any.
    pub local_standby: Option<&'static str>,
    /// Whether the servers are started by hand, before any agent, and adopted later.
    pub by_hand: bool,
}

/// Whose certificate the lab's own client shows, where there are certificates.
pub const OPERATOR: &str = "lab";

/// The pair that every lab has.
pub const FIRST_PAIR: Pair = Pair {
    group: GROUP,
    resource: "db",
    port: postgres::PORT,
    agents: ["agent-eu", "agent-us"],
    active: "eu-west",
    local_standby: None,
    by_hand: false,
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
    /// Lines for `[groups.default]`; `{dir}` in them stands for `dir`.
    pub group: String,
    /// The PostgreSQL pairs; the first belongs to the group `default`.
    pub pairs: Vec<Pair>,
    /// More of the cluster's file; `{dir}` in it stands for `dir`, and `{HOST}` for the address of
    /// a host.
    pub more: String,
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
    /// The servers of each pair: in eu-west, in us-east, then the local standby.
    pub servers: Vec<Vec<Server>>,
    /// Servers that were started by hand.
    by_hand: Vec<Process>,
    /// A client of all arbiters.
    pub operator: Operator,
    _proxies: Vec<super::delay::Proxy>,
}

impl Options {
    /// Whether the cluster's file has certificates, which stand in `dir`/tls by then.
    pub fn is_secured(&self) -> bool {
        self.more.contains("[tls]")
    }
}

fn hosts() -> Vec<Host> {
    vec![
        Host::new("eu-arbiter", EU, 1),
        Host::new("eu-db", EU, 2),
        Host::new("eu-client", EU, 3),
        Host::new("eu-db2", EU, 4),
        Host::new("eu-services", EU, 5),
        Host::new("us-arbiter", US, 1),
        Host::new("us-db", US, 2),
        Host::new("us-client", US, 3),
        Host::new("us-db2", US, 4),
        Host::new("us-services", US, 5),
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
        let servers: Vec<Vec<Server>> =
            options.pairs.iter().map(|pair| servers(&options.dir, pair)).collect();
        for (pair, all) in options.pairs.iter().zip(&servers) {
            let primary = usize::from(pair.active != "eu-west");
            let mut standbys: Vec<&Server> = all.iter().collect();
            postgres::make(&net, &options.dir, standbys.remove(primary), &standbys)?;
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
        let addresses = endpoints(&net);
        let mut operator = Operator::new(&addresses)?;
        if options.is_secured() {
            operator = operator.showing(&options.dir.join("tls"), OPERATOR);
        }
        let lab = Self {
            operator,
            options,
            net,
            arbiters: BTreeMap::new(),
            agents: BTreeMap::new(),
            bind,
            servers,
            by_hand: Vec::new(),
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

    /// `host:port` of every arbiter's gRPC face.
    pub fn endpoints(&self) -> Vec<String> {
        endpoints(&self.net)
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

    /// Start an arbiter that the lab does not have by itself, or one of its own with another file
    /// and data directory, below the lab's.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start_other(
        &mut self,
        host: &str,
        name: &str,
        config: &Path,
        data: &str,
        join: bool,
    ) -> io::Result<()> {
        let (config, data) = (config.to_string_lossy().into_owned(), self.path(data));
        let mut args = vec!["node", "--config", &config, "--name", name, "--data-dir", &data];
        args.extend(join.then_some("--join"));
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

    /// Start every arbiter and agent, and before them what is started by hand.
    ///
    /// # Errors
    /// If one cannot be started.
    pub fn start_all(&mut self) -> io::Result<()> {
        for (pair, servers) in self.options.pairs.iter().zip(&self.servers) {
            for server in servers.iter().filter(|_| pair.by_hand) {
                self.by_hand.push(postgres::start_by_hand(&self.net, server)?);
            }
        }
        for (name, ..) in ARBITERS {
            self.start_arbiter(name)?;
        }
        for (name, ..) in self.agents_used() {
            self.start_agent(name, None)?;
        }
        Ok(())
    }

    /// Kill every process of a region at once, its resources included.
    ///
    /// # Errors
    /// If they cannot be listed.
    pub fn kill_region(&mut self, region: u8) -> io::Result<()> {
        let hosts: Vec<String> =
            self.net.hosts_of(region).iter().map(|host| host.name.clone()).collect();
        let own = std::process::id() as i32;
        for host in &hosts {
            for pid in self.net.processes(host)?.into_iter().filter(|pid| *pid != own) {
                let pid = nix::unistd::Pid::from_raw(pid);
                let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
            }
        }
        let here = |host: &str| hosts.iter().any(|name| name == host);
        self.arbiters.retain(|name, _| !ARBITERS.iter().any(|a| a.0 == name && here(a.1)));
        self.agents.retain(|name, _| !AGENTS.iter().any(|a| a.0 == name && here(a.1)));
        Ok(())
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

fn endpoints(net: &Net) -> Vec<String> {
    ARBITERS.iter().map(|(_, host, _, _)| format!("{}:{PORT}", address(net, host))).collect()
}

pub(super) fn proxy_port(index: usize) -> u16 {
    7410 + index as u16
}

impl Pair {
    /// The agents beside its servers: in eu-west, in us-east, then beside the local standby.
    pub(super) fn all_agents(&self) -> impl Iterator<Item = &'static str> {
        self.agents.into_iter().chain(self.local_standby)
    }
}

fn servers(dir: &Path, pair: &Pair) -> Vec<Server> {
    let server = |agent: &str| {
        let (_, host, _) = AGENTS.iter().find(|a| a.0 == agent).expect("a known agent");
        let base = dir.join(format!("pg-{}-{host}", pair.resource));
        let (data_dir, socket_dir) = (base.join("data"), base.join("socket"));
        Server { host: (*host).into(), data_dir, socket_dir, port: pair.port }
    };
    pair.all_agents().map(server).collect()
}
