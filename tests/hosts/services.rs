//! What a region has beside its databases: buckets that replicate to the other region's, and a
//! Kubernetes cluster, both on a host of their own inside the region; and a program that writes
//! objects there, whoever is active. Knows how they are made and looked at; never the arbiter.

use super::kubernetes::cluster::{Cluster, workload};
use super::kubernetes::http::Asked;
use super::s3_client;
use super::stage::{LIMIT, check, wrong};
use arbiter::clock;
use arbiter::lab::cluster::Lab;
use arbiter::lab::process::{Process, Spec};
use arbiter_core::{Instant, WallMillis};
use nix::sched::{CloneFlags, setns};
use object_store::aws::AmazonS3;
use object_store::path::Path as Key;
use object_store::{Error, ObjectStore, ObjectStoreExt};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Port of a region's buckets, and of its Kubernetes API.
const PORTS: (u16, u16) = (9000, 6443);
/// Sides of the lab, and the host of each.
const SIDES: [(&str, &str); 2] = [("eu", "eu-services"), ("us", "us-services")];
/// Replicas of the Deployment `web` where its region serves.
pub const ACTIVE: i64 = 3;
/// The same where it stands by.
pub const STANDBY: i64 = 1;
/// Pause between two objects of the program that writes.
const PACE: Duration = Duration::from_millis(50);
/// Limit of one of its writes.
const WRITE_LIMIT: Duration = Duration::from_secs(1);

/// Bucket and Deployment as resources of the group, for the cluster's file.
pub const RESOURCES: &str = r#"
[groups.default.resources.orders]
kind = "object-store"
provider = "s3"
aws_region = "eu-west-1"
profile = "agent"
canary_every = "1s"
replication_role = "arn:aws:iam::123456789012:role/replicate"
[groups.default.resources.orders.instances.orders-eu]
agent = "agent-eu"
bucket = "orders-eu"
peer_bucket = "orders-us"
endpoint_url = "http://{eu-services}:9000"
credentials_file = "{dir}/services-eu/credentials"
[groups.default.resources.orders.instances.orders-us]
agent = "agent-us"
bucket = "orders-us"
peer_bucket = "orders-eu"
endpoint_url = "http://{us-services}:9000"
credentials_file = "{dir}/services-us/credentials"

[groups.default.resources.web]
kind = "kubernetes"
namespace = "shop"
deployments = "web"
cronjobs = "report"
replicas.web = 3
standby_replicas = 1
[groups.default.resources.web.instances.web-eu]
agent = "agent-eu"
kubeconfig_file = "{dir}/services-eu/kubeconfig"
[groups.default.resources.web.instances.web-us]
agent = "agent-us"
kubeconfig_file = "{dir}/services-us/kubeconfig"
"#;

/// Both regions' services.
pub struct Services {
    sides: [Side; 2],
}

/// One region's services.
pub struct Side {
    /// Its Kubernetes cluster.
    pub cluster: Cluster,
    /// The program that writes to its bucket.
    pub app: App,
    buckets: SocketAddr,
    _process: Process,
}

impl Services {
    /// Start them, with as much in eu-west as serves.
    ///
    /// # Errors
    /// If one does not start; says what to install.
    pub fn start(lab: &Lab) -> io::Result<Self> {
        arbiter::tls::install();
        let python = moto()?.join("bin/python");
        // Both start at once: each imports all of moto.
        let processes = SIDES.map(|side| buckets(lab, &python, side));
        let [eu, us] = processes.map(|process| process.and_then(Started::ready));
        let side =
            |(name, host), process, replicas| Side::start(lab, name, host, process, replicas);
        let sides = [side(SIDES[0], eu?, ACTIVE)?, side(SIDES[1], us?, STANDBY)?];
        Ok(Self { sides })
    }

    /// Those of a region.
    pub fn of(&self, region: &str) -> &Side {
        &self.sides[usize::from(region != "eu-west")]
    }
}

/// Where moto is. It is put there while there is a way out.
fn moto() -> io::Result<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("setup/moto.sh");
    let made = Command::new("bash").arg(script).stderr(Stdio::inherit()).output()?;
    check(made.status.success(), || "first run tests/setup/moto.sh, which needs a network".into())?;
    Ok(PathBuf::from(String::from_utf8_lossy(&made.stdout).trim()))
}

/// A region's buckets, about to listen.
struct Started {
    process: Process,
    log: PathBuf,
}

fn buckets(lab: &Lab, python: &Path, (name, host): (&str, &str)) -> io::Result<Started> {
    let dir = lab.options.dir.join(format!("services-{name}"));
    std::fs::create_dir_all(&dir)?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("setup/strict_s3.py");
    let other = SIDES.iter().find(|side| side.0 != name).map_or(host, |side| side.1);
    let args = [
        script.display().to_string(),
        dir.display().to_string(),
        lab.address(host).to_string(),
        PORTS.0.to_string(),
        format!("http://{}:{}", lab.address(other), PORTS.0),
    ];
    let log = dir.join("log");
    let spec = Spec::new(python, &args.each_ref().map(String::as_str), &log);
    Ok(Started { process: Process::start(&lab.net, host, &spec)?, log })
}

impl Started {
    /// Wait until it says its URL.
    fn ready(mut self) -> io::Result<Process> {
        let started = clock::now();
        let said = || std::fs::read_to_string(&self.log).unwrap_or_default();
        while !said().starts_with("http://") {
            let waits = self.process.running() && clock::now().since(started) < LIMIT;
            check(waits, || format!("{} does not listen: {}", self.log.display(), said()))?;
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(self.process)
    }
}

impl Side {
    fn start(
        lab: &Lab,
        name: &str,
        host: &str,
        process: Process,
        replicas: i64,
    ) -> io::Result<Self> {
        let dir = lab.options.dir.join(format!("services-{name}"));
        let (namespace, address) = (lab.net.namespace_path(host), lab.address(host));
        let cluster = Cluster::start_in(&namespace, SocketAddr::new(address, PORTS.1))?;
        let web = workload("web", i32::try_from(replicas).map_err(io::Error::other)?);
        cluster.put("apps/v1", "deployments", "web", web);
        cluster.cron_job("report");
        cluster.node("node", "8", "16Gi");
        std::fs::copy(cluster.kubeconfig(), dir.join("kubeconfig"))?;
        let buckets = SocketAddr::new(address, PORTS.0);
        let (url, bucket) = (format!("http://{buckets}"), format!("orders-{name}"));
        let client = s3_client::client(&url, &dir.join("credentials"), &bucket, "app");
        let inside = lab.net.namespace_path(&format!("{name}-client"));
        let app = App::start(inside, client, format!("app-{name}"))?;
        Ok(Self { cluster, app, buckets, _process: process })
    }

    /// Replicas that are asked for of the Deployment `web`.
    pub fn replicas(&self) -> i64 {
        self.cluster.replicas("web")
    }

    /// Whether its CronJob is suspended.
    pub fn suspended(&self) -> bool {
        self.cluster.get("batch/v1", "cronjobs", "report")["spec"]["suspend"] == true
    }

    /// When the Deployment was last scaled to so many replicas.
    pub fn scaled_to(&self, replicas: i64) -> Option<WallMillis> {
        let writes = self.cluster.writes();
        let mut scales = writes.iter().filter(|asked| asked.path.ends_with("web/scale"));
        let to = |asked: &&Asked| asked.body["spec"]["replicas"] == replicas;
        scales.rfind(to).map(|asked| asked.at)
    }

    /// Every request to its buckets is refused with this status from now on; 0: none is.
    ///
    /// # Errors
    /// If they do not answer.
    pub async fn refuse(&self, status: u16) -> io::Result<()> {
        let asked = async {
            let mut stream = TcpStream::connect(self.buckets).await?;
            let request = format!("POST /-/refuse/{status} HTTP/1.0\r\nContent-Length: 0\r\n\r\n");
            stream.write_all(request.as_bytes()).await?;
            let mut said = String::new();
            stream.read_to_string(&mut said).await?;
            check(said.contains(" 200 "), || format!("/-/refuse: {said}"))
        };
        let answered = tokio::time::timeout(LIMIT, asked).await;
        answered.map_err(|_| wrong("the buckets take no command"))?
    }

    /// The objects in its bucket, as its users see them.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn keys(&self) -> io::Result<Vec<String>> {
        let listed = self.app.client.list_with_delimiter(None).await.map_err(io::Error::other)?;
        Ok(listed.objects.into_iter().map(|object| object.location.to_string()).collect())
    }
}

/// A program that writes an object every [`PACE`] to its own region's bucket, whoever is active.
pub struct App {
    client: AmazonS3,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    seen: Mutex<Seen>,
}

/// What became of its writes.
#[derive(Clone, Default)]
struct Seen {
    /// Keys that were acknowledged, and when each was sent.
    acknowledged: Vec<(String, Instant)>,
    /// When the last one that was denied was sent.
    denied: Option<Instant>,
}

impl App {
    /// Start it in the network namespace at `inside`; its keys begin with `name`.
    fn start(inside: PathBuf, client: AmazonS3, name: String) -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let app = Self { client: client.clone(), shared: Arc::clone(&shared) };
        std::thread::Builder::new().name(name.clone()).spawn(move || {
            if let Err(error) = write_in(&inside, &client, &name, &shared) {
                eprintln!("   {name} cannot run: {error}");
            }
        })?;
        Ok(app)
    }

    fn seen(&self) -> Seen {
        self.shared.seen.lock().expect("no program panics").clone()
    }

    /// Keys that were acknowledged, oldest first.
    pub fn keys(&self) -> Vec<String> {
        self.seen().acknowledged.into_iter().map(|(key, _)| key).collect()
    }

    /// Keys of those that were sent after `from`.
    pub fn keys_since(&self, from: Instant) -> Vec<String> {
        let seen = self.seen();
        let late = seen.acknowledged.into_iter().filter(|(_, sent)| *sent > from);
        late.map(|(key, _)| key).collect()
    }

    /// Whether one that was sent after `from` was denied.
    pub fn denied_since(&self, from: Instant) -> bool {
        self.seen().denied.is_some_and(|sent| sent > from)
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

fn write_in(inside: &Path, client: &AmazonS3, name: &str, shared: &Shared) -> io::Result<()> {
    setns(std::fs::File::open(inside)?, CloneFlags::CLONE_NEWNET)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut number = 0;
        while !shared.stop.load(Ordering::Relaxed) {
            number += 1;
            let (key, sent) = (format!("{name}-{number:06}"), clock::now());
            let put = async { client.put(&Key::from(key.as_str()), key.clone().into()).await };
            let done = tokio::time::timeout(WRITE_LIMIT, put).await;
            {
                let mut seen = shared.seen.lock().expect("no reader panics");
                match done {
                    Ok(Ok(_)) => seen.acknowledged.push((key, sent)),
                    Ok(Err(Error::PermissionDenied { .. })) => seen.denied = Some(sent),
                    // Whether it was written nobody knows.
                    Ok(Err(_)) | Err(_) => {}
                }
            }
            tokio::time::sleep(PACE).await;
        }
    });
    Ok(())
}
