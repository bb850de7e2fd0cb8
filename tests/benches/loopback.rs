//! Three arbiters as processes on loopback, without agents: what a commit costs by itself. Knows
//! how to start and stop them; never what is measured.

use arbiter::lab::operator::Operator;
use arbiter_proto::v1;
use arbiter_tests::hosts::stage::{LIMIT, wrong};
use std::fmt::Write as _;
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The only group; it has resources, so that it may be, but no agent ever comes.
pub const GROUP: &str = "default";
const CLUSTER: &str = "loopback";
const NAMES: [&str; 3] = ["a1", "a2", "a3"];
const REGIONS: [&str; 3] = ["eu-west", "us-east", "witness"];
/// Between two attempts to begin, while the nodes come up.
const AGAIN_AFTER: Duration = Duration::from_millis(50);

/// The arbiters; killed, and their directory removed, when dropped.
pub struct Loopback {
    /// A client of the leader only.
    pub leader: Operator,
    /// Where the nodes write.
    pub dir: PathBuf,
    nodes: Vec<Child>,
}

impl Loopback {
    /// Started, begun, with a leader.
    ///
    /// # Errors
    /// If a node does not start, or no leader comes.
    pub async fn begin() -> io::Result<Self> {
        let name = format!("region-arbiter-loopback-{}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&dir)?;
        let ports = free_ports(2 * NAMES.len())?;
        let text = config(&ports);
        std::fs::write(dir.join("cluster.toml"), &text)?;
        let addresses: Vec<String> =
            ports[..NAMES.len()].iter().map(|port| format!("127.0.0.1:{port}")).collect();
        let all = Operator::new(&addresses)?;
        let mut trio = Self { leader: all.clone(), dir, nodes: Vec::new() };
        for name in NAMES {
            let node = trio.start(name)?;
            trio.nodes.push(node);
        }
        initialize(&all.only(0), &text).await?;
        let led = |status: &v1::Status| !status.stale && !status.leader.is_empty();
        let leader = all.wait("a leader", LIMIT, led).await?.leader;
        let index = NAMES.iter().position(|name| *name == leader);
        trio.leader = all.only(index.ok_or_else(|| wrong(format!("who is {leader}?")))?);
        Ok(trio)
    }

    fn start(&self, name: &str) -> io::Result<Child> {
        let binary = std::env::current_exe()?.with_file_name("arbiter");
        let log = std::fs::File::create(self.dir.join(format!("{name}.log")))?;
        Command::new(binary)
            .args(["node", "--name", name, "--config"])
            .arg(self.dir.join("cluster.toml"))
            .arg("--data-dir")
            .arg(self.dir.join(name))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
    }
}

impl Drop for Loopback {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            let _ = node.kill();
            let _ = node.wait();
        }
        remove(&self.dir);
    }
}

fn remove(dir: &Path) {
    if let Err(error) = std::fs::remove_dir_all(dir) {
        eprintln!("   {} is left: {error}", dir.display());
    }
}

/// Held together, so that they differ.
fn free_ports(count: usize) -> io::Result<Vec<u16>> {
    let held: Vec<TcpListener> =
        (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<io::Result<_>>()?;
    held.iter().map(|listener| Ok(listener.local_addr()?.port())).collect()
}

fn config(ports: &[u16]) -> String {
    let mut text = format!("[cluster]\nid = \"{CLUSTER}\"\nprofile = \"metro\"\n");
    for (at, (name, region)) in NAMES.iter().zip(REGIONS).enumerate() {
        let kind = if region == "witness" { "witness" } else { "data" };
        let _ = write!(
            text,
            "[regions.{region}]\nkind = \"{kind}\"\n\
             [arbiters.{name}]\nnode_id = {}\nregion = \"{region}\"\n\
             address = \"127.0.0.1:{}\"\nhttp = \"127.0.0.1:{}\"\n",
            at + 1,
            ports[at],
            ports[NAMES.len() + at]
        );
    }
    for (region, port) in [("eu-west", 1), ("us-east", 2)] {
        let _ = write!(
            text,
            "[agents.agent-{region}]\nregion = \"{region}\"\n\
             [groups.{GROUP}.resources.db.instances.db-{region}]\nagent = \"agent-{region}\"\n\
             address = \"127.0.0.1:{port}\"\ndata_dir = \"/nowhere/{region}\"\n"
        );
    }
    text + &format!(
        "[groups.{GROUP}]\ninitial_active = \"eu-west\"\n\
         [groups.{GROUP}.resources.db]\nkind = \"postgres\"\n"
    )
}

async fn initialize(first: &Operator, text: &str) -> io::Result<()> {
    let request = v1::InitializeRequest {
        asked: Operator::asked("the benchmark begins"),
        cluster_id: CLUSTER.into(),
        config_toml: text.into(),
    };
    let begin = async {
        loop {
            let call = async |mut client: v1::admin_client::AdminClient<_>, request| {
                client.initialize(request).await
            };
            match first.admin(request.clone(), call).await {
                Ok(_) => return Ok(()),
                Err(status) if status.code() == tonic::Code::Unavailable => {
                    tokio::time::sleep(AGAIN_AFTER).await;
                }
                Err(status) => return Err(wrong(status.to_string())),
            }
        }
    };
    tokio::time::timeout(LIMIT, begin).await.map_err(|_| wrong("the nodes do not come up"))?
}
