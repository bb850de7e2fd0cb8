//! Regions as network namespaces on one machine: a bridge per region and one between.
//!
//! Knows namespaces, links and cuts. Never knows what runs in them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Where `ip netns` keeps its handles.
const NETNS_DIR: &str = "/run/netns";

/// A host: one network namespace with one address in `10.77.0.0/16`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Name, unique in the lab.
    pub name: String,
    /// Number of its region, 1..=9, the third byte of its address.
    pub region: u8,
    /// Number in its region, 1..=250, the last byte of its address.
    pub number: u8,
}

impl Host {
    /// A host of region `region`.
    pub fn new(name: &str, region: u8, number: u8) -> Self {
        Self { name: name.into(), region, number }
    }

    /// Its address.
    pub fn address(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, self.region, self.number)
    }

    fn mac(&self) -> String {
        format!("02:00:0a:4d:{:02x}:{:02x}", self.region, self.number)
    }
}

/// Which packets of a host are dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Those it would receive.
    In,
    /// Those it sends.
    Out,
    /// Both.
    Both,
}

/// The network. Removed, with every process in it, when dropped.
#[derive(Debug)]
pub struct Net {
    prefix: String,
    hosts: BTreeMap<String, Host>,
}

fn run(program: &str, args: &[&str], input: Option<&str>) -> io::Result<String> {
    let mut command = Command::new(program);
    command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
    let mut child = command.spawn()?;
    if let (Some(text), Some(mut stdin)) = (input, child.stdin.take()) {
        io::Write::write_all(&mut stdin, text.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let error = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("{program} {}: {}", args.join(" "), error.trim())))
}

impl Net {
    /// Make a network of `hosts`. `prefix` keeps labs on one machine apart (at most 6 characters).
    ///
    /// # Errors
    /// If `ip` or `nft` is missing or refuses, for instance without root.
    pub fn create(prefix: &str, hosts: Vec<Host>) -> io::Result<Self> {
        let net = Self {
            prefix: prefix.into(),
            hosts: hosts.into_iter().map(|host| (host.name.clone(), host)).collect(),
        };
        net.make()?;
        Ok(net)
    }

    fn make(&self) -> io::Result<()> {
        let core = self.namespace("net");
        run("ip", &["netns", "add", &core], None)?;
        let mut regions: Vec<u8> = self.hosts.values().map(|host| host.region).collect();
        regions.sort_unstable();
        regions.dedup();
        let mut batch = String::from("link add between type bridge\nlink set between up\n");
        for region in &regions {
            let _ = write!(
                batch,
                "link add region{region} type bridge\nlink set region{region} up\n\
                 link add up{region} type veth peer name down{region}\n\
                 link set up{region} master between\nlink set down{region} master region{region}\n\
                 link set up{region} up\nlink set down{region} up\n"
            );
        }
        self.batch(&core, &batch)?;
        for (index, host) in self.hosts.values().enumerate() {
            self.plug(&core, index, host)?;
        }
        Ok(())
    }

    fn plug(&self, core: &str, index: usize, host: &Host) -> io::Result<()> {
        let namespace = self.namespace(&host.name);
        run("ip", &["netns", "add", &namespace], None)?;
        let port = format!("port{index}");
        let link = format!(
            "link add {port} type veth peer name eth0 address {} netns {namespace}\n\
             link set {port} master region{}\nlink set {port} up\n",
            host.mac(),
            host.region
        );
        self.batch(core, &link)?;
        let mut inside =
            format!("link set lo up\naddr add {}/16 dev eth0\nlink set eth0 up\n", host.address());
        // Permanent neighbours: a cut must look like silence, not like "no route to host".
        for peer in self.hosts.values().filter(|peer| peer.name != host.name) {
            let _ = writeln!(
                inside,
                "neigh add {} lladdr {} dev eth0 nud permanent",
                peer.address(),
                peer.mac()
            );
        }
        self.batch(&namespace, &inside)?;
        self.filter(&host.name, "")
    }

    fn batch(&self, namespace: &str, commands: &str) -> io::Result<()> {
        run("ip", &["-n", namespace, "-batch", "-"], Some(commands)).map(drop)
    }

    /// The namespace of a host.
    pub fn namespace(&self, host: &str) -> String {
        format!("{}-{host}", self.prefix)
    }

    /// Path of the namespace of a host.
    pub fn namespace_path(&self, host: &str) -> PathBuf {
        PathBuf::from(NETNS_DIR).join(self.namespace(host))
    }

    /// The host of that name.
    ///
    /// # Panics
    /// If the lab has no such host: a mistake in a case.
    pub fn host(&self, name: &str) -> &Host {
        self.hosts.get(name).unwrap_or_else(|| panic!("the lab has no host {name:?}"))
    }

    /// Every host.
    pub fn hosts(&self) -> impl Iterator<Item = &Host> {
        self.hosts.values()
    }

    /// Every host of a region.
    pub fn hosts_of(&self, region: u8) -> Vec<&Host> {
        self.hosts.values().filter(|host| host.region == region).collect()
    }

    /// Put the calling thread into the namespace of `host`.
    ///
    /// # Errors
    /// Without root, or when the namespace is gone.
    pub fn enter(&self, host: &str) -> io::Result<()> {
        let file: OwnedFd = std::fs::File::open(self.namespace_path(host))?.into();
        nix::sched::setns(file.as_fd(), nix::sched::CloneFlags::CLONE_NEWNET).map_err(Into::into)
    }

    /// Cut region `region` off: nothing passes between it and any other, without a reset.
    ///
    /// # Errors
    /// If `ip` refuses.
    pub fn cut_region(&self, region: u8) -> io::Result<()> {
        self.batch(&self.namespace("net"), &format!("link set up{region} down\n"))
    }

    /// Undo [`Net::cut_region`].
    ///
    /// # Errors
    /// If `ip` refuses.
    pub fn heal_region(&self, region: u8) -> io::Result<()> {
        self.batch(&self.namespace("net"), &format!("link set up{region} up\n"))
    }

    /// Cut one direction between region `region` and all others, seen from the region.
    ///
    /// # Errors
    /// If `nft` refuses.
    pub fn cut_region_one_way(&self, region: u8, way: Way) -> io::Result<()> {
        let inside = format!("10.77.{region}.0/24");
        let (input, output) = match way {
            Way::In => (format!("ip saddr != {inside} drop"), String::new()),
            Way::Out => (String::new(), format!("ip daddr != {inside} drop")),
            Way::Both => {
                (format!("ip saddr != {inside} drop"), format!("ip daddr != {inside} drop"))
            }
        };
        for host in self.hosts_of(region) {
            self.rules(&host.name, &input, &output)?;
        }
        Ok(())
    }

    /// Drop the packets between `host` and each of `peers`.
    ///
    /// # Errors
    /// If `nft` refuses.
    pub fn cut_links(&self, host: &str, peers: &[&str], way: Way) -> io::Result<()> {
        let list: Vec<String> = peers.iter().map(|p| self.host(p).address().to_string()).collect();
        let set = list.join(", ");
        let input = format!("ip saddr {{ {set} }} drop");
        let output = format!("ip daddr {{ {set} }} drop");
        match way {
            Way::In => self.rules(host, &input, ""),
            Way::Out => self.rules(host, "", &output),
            Way::Both => self.rules(host, &input, &output),
        }
    }

    /// Drop what `host` sends to TCP port `port` of any other, and nothing else.
    ///
    /// # Errors
    /// If `nft` refuses.
    pub fn cut_port(&self, host: &str, port: u16) -> io::Result<()> {
        self.rules(host, "", &format!("tcp dport {port} drop"))
    }

    /// Cut one host off from every other.
    ///
    /// # Errors
    /// If `nft` refuses.
    pub fn cut_host(&self, host: &str) -> io::Result<()> {
        self.rules(host, "iifname \"eth0\" drop", "oifname \"eth0\" drop")
    }

    /// Undo every cut made at `host`.
    ///
    /// # Errors
    /// If `nft` refuses.
    pub fn heal_host(&self, host: &str) -> io::Result<()> {
        self.filter(host, "")
    }

    /// Undo every cut of every host and region.
    ///
    /// # Errors
    /// If `ip` or `nft` refuses.
    pub fn heal(&self) -> io::Result<()> {
        for host in self.hosts.values() {
            self.heal_region(host.region)?;
            self.heal_host(&host.name)?;
        }
        Ok(())
    }

    fn rules(&self, host: &str, input: &str, output: &str) -> io::Result<()> {
        let chains = format!(
            "chain in {{ type filter hook input priority 0; {input}; }}\n\
             chain out {{ type filter hook output priority 0; {output}; }}\n"
        )
        .replace("; ; }", "; }");
        self.filter(host, &chains)
    }

    fn filter(&self, host: &str, chains: &str) -> io::Result<()> {
        let text =
            format!("table ip lab {{ }}\ndelete table ip lab\ntable ip lab {{\n{chains}}}\n");
        let namespace = self.namespace(host);
        run("ip", &["netns", "exec", &namespace, "nft", "-f", "-"], Some(&text)).map(drop)
    }

    /// Processes in the namespace of `host`.
    ///
    /// # Errors
    /// If `ip` refuses: then nobody may say that there are none.
    pub fn processes(&self, host: &str) -> io::Result<Vec<i32>> {
        let namespace = self.namespace(host);
        let listed = run("ip", &["netns", "pids", &namespace], None)?;
        listed
            .lines()
            .map(|line| {
                let pid = line.trim().parse();
                pid.map_err(|_| io::Error::other(format!("ip netns pids: {line:?}")))
            })
            .collect()
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        let own = std::process::id() as i32;
        for name in self.hosts.keys() {
            let left = self.processes(name).unwrap_or_default();
            for pid in left.into_iter().filter(|pid| *pid != own) {
                let _ = nix::sys::signal::kill(
                    nix::unistd::Pid::from_raw(pid),
                    nix::sys::signal::Signal::SIGKILL,
                );
            }
        }
        for name in self.hosts.keys().map(String::as_str).chain(["net"]) {
            let _ = run("ip", &["netns", "del", &self.namespace(name)], None);
        }
    }
}
