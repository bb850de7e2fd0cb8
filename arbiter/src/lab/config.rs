//! The lab's cluster file. Knows the keys of the file; never the processes that read it.

use super::bind;
use super::cluster::{AGENTS, ARBITERS, GROUP, HTTP_PORT, Lab, PORT, Pair, proxy_port};
use super::postgres::{self, Server};
use std::fmt::Write as _;
use std::io;

impl Lab {
    /// Write the cluster's file, with these lines in `[groups.default]`.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write_config(&self, group: &str) -> io::Result<()> {
        std::fs::write(self.config(), self.config_text(group))
    }

    fn config_text(&self, group: &str) -> String {
        let mut text = format!(
            "[cluster]\nid = \"{}\"\nprofile = \"{}\"\n",
            self.options.prefix, self.options.profile
        );
        text.push_str(if self.options.is_secured() {
            "\n"
        } else {
            "insecure_plaintext = true\n\n"
        });
        for (index, (name, host, region, _)) in ARBITERS.iter().enumerate() {
            let kind = if *region == "witness" { "witness" } else { "data" };
            let address = self.address(host);
            let reached = match self.options.delay {
                None => format!("{address}:{PORT}"),
                Some(_) => format!("{}:{}", self.address("client"), proxy_port(index)),
            };
            let _ = write!(
                text,
                "[regions.{region}]\nkind = \"{kind}\"\n\n[arbiters.{name}]\nnode_id = {}\n\
                 region = \"{region}\"\naddress = \"{reached}\"\nlisten = \"{address}:{PORT}\"\n\
                 http = \"{address}:{HTTP_PORT}\"\n\n",
                index + 1
            );
        }
        for (name, _, region) in self.agents_used() {
            let _ = write!(text, "[agents.{name}]\nregion = \"{region}\"\n\n");
        }
        let dir = self.options.dir.to_string_lossy();
        let mut groups: Vec<&Pair> = self.options.pairs.iter().collect();
        groups.dedup_by_key(|pair| pair.group);
        for pair in groups {
            let (name, active) = (pair.group, pair.active);
            let lines = if name == GROUP { group.replace("{dir}", &dir) } else { String::new() };
            let _ = write!(
                text,
                "[groups.{name}]\ninitial_active = \"{active}\"\npreferred = \"{active}\"\n{lines}\n"
            );
        }
        for (pair, servers) in self.options.pairs.iter().zip(&self.servers) {
            self.write_pair(&mut text, pair, servers);
        }
        self.write_traffic(&mut text);
        text.push_str(&self.placed(&self.options.more));
        text
    }

    /// `text` with the lab's own directory and addresses in it.
    pub fn placed(&self, text: &str) -> String {
        let mut text = text.replace("{dir}", &self.options.dir.to_string_lossy());
        for host in self.net.hosts() {
            text = text.replace(&format!("{{{}}}", host.name), &host.address().to_string());
        }
        text
    }

    /// The agents that stand beside a pair.
    pub fn agents_used(&self) -> Vec<(&'static str, &'static str, &'static str)> {
        let used = |name| {
            self.options.pairs.iter().any(|pair| pair.all_agents().any(|agent| agent == name))
        };
        AGENTS.into_iter().filter(|agent| used(agent.0)).collect()
    }

    fn write_pair(&self, text: &mut String, pair: &Pair, servers: &[Server]) {
        let (group, resource) = (pair.group, pair.resource);
        let start = if pair.by_hand { "" } else { "start = \"agent\"\n" };
        let _ = write!(
            text,
            "[groups.{group}.resources.{resource}]\nkind = \"postgres\"\nuser = \"postgres\"\n\
             admin_user = \"postgres\"\nreplication_user = \"{}\"\n\
             rewind_user = \"postgres\"\n{start}\n",
            postgres::REPLICATION_USER
        );
        let sides = [("eu", "eu-west"), ("us", "us-east"), ("eu-local", "eu-west")];
        for ((agent, (side, region)), server) in pair.all_agents().zip(sides).zip(servers) {
            let address = format!("{}:{}", self.address(&server.host), server.port);
            let _ = write!(
                text,
                "[groups.{group}.resources.{resource}.instances.{resource}-{side}]\n\
                 agent = \"{agent}\"\naddress = \"{address}\"\ndata_dir = \"{}\"\n\
                 socket_dir = \"{}\"\nslot = \"{}\"\n\n\
                 [groups.{group}.probes.{resource}-{side}]\nregion = \"{region}\"\n\
                 kind = \"tcp\"\ntarget = \"{address}\"\nlimit = \"500ms\"\n\n",
                server.data_dir.display(),
                server.socket_dir.display(),
                postgres::slot(server)
            );
        }
    }

    fn write_traffic(&self, text: &mut String) {
        let _ = write!(
            text,
            "[groups.{GROUP}.resources.dns]\nkind = \"rfc2136\"\nzone = \"{}\"\nname = \"{}\"\n\
             server = \"{}\"\ntsig_key_file = \"{}\"\nttl = \"5\"\nrecord_type = \"A\"\n\
             value.eu-west = \"{}\"\nvalue.us-east = \"{}\"\n\n",
            bind::ZONE,
            bind::NAME,
            self.dns(),
            self.bind.key_file.display(),
            self.address("eu-db"),
            self.address("us-db")
        );
        for (side, agent) in [("eu", "agent-eu"), ("us", "agent-us")] {
            let _ = write!(
                text,
                "[groups.{GROUP}.resources.dns.instances.dns-{side}]\nagent = \"{agent}\"\n\n"
            );
        }
    }
}
