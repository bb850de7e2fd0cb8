//! A cluster that runs: its API server over HTTP, and its controllers. Knows how to put things
//! there and to look at them; what is right a test knows.

use super::controller::{Held, tick};
use super::http::{Asked, Inside, Instead, Shared, Spoil, TOKEN, router};
use super::store::{Place, Store, merge};
use nix::sched::{CloneFlags, setns};
use serde_json::{Value, json};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// Namespace of everything.
pub const NAMESPACE: &str = "shop";
/// Time between two steps of the controllers.
const TICK: Duration = Duration::from_millis(2);
/// Longest wait for something to become so, in steps of [`TICK`].
const WAITS_MAX: u32 = 5000;

/// A running cluster, on a thread of its own. It ends when it is dropped.
pub struct Cluster {
    /// URL of its API server.
    pub url: String,
    inside: Shared,
    held: Arc<Mutex<Held>>,
    dir: TempDir,
    _running: oneshot::Sender<()>,
}

impl Cluster {
    /// Start with nothing in it, on loopback.
    pub async fn start() -> Self {
        Self::serving(None, SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port")
    }

    /// The same at an address of a network namespace.
    pub fn start_in(namespace: &Path, address: SocketAddr) -> io::Result<Self> {
        Self::serving(Some(namespace.to_owned()), address)
    }

    fn serving(namespace: Option<PathBuf>, address: SocketAddr) -> io::Result<Self> {
        let (inside, held) = (Shared::default(), Arc::<Mutex<Held>>::default());
        let (running, ended) = oneshot::channel();
        let (ready, listens) = mpsc::channel();
        let (store, holds) = (inside.clone(), held.clone());
        std::thread::Builder::new().name("kubernetes".into()).spawn(move || {
            let _ = ready.send(serve(namespace.as_deref(), address, &ready, store, holds, ended));
        })?;
        let hung_up = |_| io::Error::other("its thread has ended");
        let address = listens.recv().map_err(hung_up)??;
        let url = format!("http://{address}");
        Ok(Self { url, inside, held, dir: tempfile::tempdir()?, _running: running })
    }

    /// The same as [`Self::start`] with a Deployment `web` of so many replicas that all serve.
    pub async fn with_web(replicas: i32) -> Self {
        let cluster = Self::start().await;
        cluster.deployment("web", replicas).await;
        cluster
    }

    pub fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn store<T>(&self, with: impl FnOnce(&mut Store) -> T) -> T {
        with(&mut self.inside().store)
    }

    /// Directory for a test's files.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A kubeconfig with the token that is known.
    pub fn kubeconfig(&self) -> PathBuf {
        self.kubeconfig_with(TOKEN)
    }

    /// A kubeconfig with some token. Its second context leads nowhere.
    pub fn kubeconfig_with(&self, token: &str) -> PathBuf {
        let path = self.path("kubeconfig");
        let url = &self.url;
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: shop\nclusters:\n\
             - name: here\n  cluster: {{server: \"{url}\"}}\n\
             - name: gone\n  cluster: {{server: \"http://127.0.0.1:1\"}}\n\
             users:\n- name: agent\n  user: {{token: \"{token}\"}}\ncontexts:\n\
             - name: shop\n  context: {{cluster: here, user: agent, namespace: {NAMESPACE}}}\n\
             - name: other\n  context: {{cluster: gone, user: agent}}\n"
        );
        std::fs::write(&path, text).expect("writable");
        path
    }

    /// From now on the next `times` requests like that get something else.
    pub fn spoil(&self, verb: &'static str, path: &'static str, times: u32, instead: Instead) {
        self.inside().spoils.push(Spoil { verb, path, times, instead });
    }

    /// Answers are as they should be again.
    pub fn mend(&self) {
        self.inside().spoils.clear();
    }

    /// Requests so far that write.
    pub fn writes(&self) -> Vec<Asked> {
        let writes = |asked: &&Asked| asked.verb != "GET";
        self.inside().asked.iter().filter(writes).cloned().collect()
    }

    /// Put an object there.
    pub fn put(&self, group: &str, plural: &str, name: &str, object: Value) {
        let place = at(group, plural, name);
        self.store(|store| store.create(&place, object)).expect("is made");
    }

    /// Merge something into an object by hand; its status with `status`.
    pub fn change(&self, group: &str, plural: &str, name: &str, status: bool, patch: Value) {
        let place = at(group, plural, name);
        self.store(|store| {
            let mut object = store.get(&place).expect("is there");
            merge(&mut object, &patch);
            store.replace(&place, object, status).expect("is changed");
        });
    }

    /// An object as it is.
    pub fn get(&self, group: &str, plural: &str, name: &str) -> Value {
        self.store(|store| store.get(&at(group, plural, name))).expect("is there")
    }

    /// Take an object away.
    pub fn delete(&self, group: &str, plural: &str, name: &str) {
        self.store(|store| store.delete(&at(group, plural, name))).expect("is there");
    }

    /// `spec.replicas` of a Deployment.
    pub fn replicas(&self, name: &str) -> i64 {
        let object = self.get("apps/v1", "deployments", name);
        object["spec"]["replicas"].as_i64().expect("a number")
    }

    /// An annotation of an object.
    pub fn annotation(&self, group: &str, plural: &str, name: &str, key: &str) -> Option<String> {
        let object = self.get(group, plural, name);
        object["metadata"]["annotations"][key].as_str().map(str::to_owned)
    }

    /// A Deployment whose replicas all serve.
    pub async fn deployment(&self, name: &str, replicas: i32) {
        self.put("apps/v1", "deployments", name, workload(name, replicas));
        self.serves("deployments", name, replicas).await;
    }

    /// A StatefulSet whose replicas all serve.
    pub async fn stateful_set(&self, name: &str, replicas: i32) {
        let mut object = workload(name, replicas);
        object["spec"]["serviceName"] = name.into();
        self.put("apps/v1", "statefulsets", name, object);
        self.serves("statefulsets", name, replicas).await;
    }

    async fn serves(&self, plural: &str, name: &str, replicas: i32) {
        self.until(|cluster| {
            let status = &cluster.get("apps/v1", plural, name)["status"];
            status["availableReplicas"].as_i64() == Some(replicas.into())
        })
        .await;
    }

    /// A CronJob that runs on its schedule.
    pub fn cron_job(&self, name: &str) {
        let pod = json!({ "restartPolicy": "Never", "containers": [container()] });
        let job = json!({ "spec": { "template": { "spec": pod } } });
        let spec = json!({ "schedule": "0 3 * * *", "suspend": false, "jobTemplate": job });
        self.put("batch/v1", "cronjobs", name, json!({ "metadata": {}, "spec": spec }));
    }

    /// An HPA of the Deployment of its name.
    pub fn hpa(&self, name: &str, min: i32, max: i32) {
        let target = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "name": name });
        let spec = json!({ "minReplicas": min, "maxReplicas": max, "scaleTargetRef": target });
        let object = json!({ "metadata": {}, "spec": spec });
        self.put("autoscaling/v2", "horizontalpodautoscalers", name, object);
    }

    /// A ScaledObject of the Deployment of its name, with the HPA that KEDA makes of it.
    pub fn scaled_object(&self, name: &str, min: i32, max: i32) {
        let spec = json!({
            "minReplicaCount": min, "maxReplicaCount": max, "scaleTargetRef": { "name": name },
            "triggers": [{ "type": "cpu", "metricType": "Utilization", "metadata": {} }],
        });
        let object = json!({ "metadata": {}, "spec": spec });
        self.put("keda.sh/v1alpha1", "scaledobjects", name, object);
        let hpa = format!("keda-hpa-{name}");
        self.hpa(&hpa, min.max(1), max);
        let owner = json!({
            "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "name": name, "uid": "1",
        });
        let target = json!({ "scaleTargetRef": { "name": name } });
        let patch = json!({ "metadata": { "ownerReferences": [owner] }, "spec": target });
        self.change("autoscaling/v2", "horizontalpodautoscalers", &hpa, false, patch);
    }

    /// A node that is ready.
    pub fn node(&self, name: &str, cpu: &str, memory: &str) {
        let object = json!({
            "metadata": {},
            "spec": {},
            "status": {
                "allocatable": { "cpu": cpu, "memory": memory, "pods": "100" },
                "conditions": [{ "type": "Ready", "status": "True" }],
            },
        });
        self.put("v1", "nodes", name, object);
    }

    /// Wait until something is so.
    pub async fn until(&self, so: impl Fn(&Self) -> bool) {
        for _ in 0..WAITS_MAX {
            if so(self) {
                return;
            }
            tokio::time::sleep(TICK).await;
        }
        panic!("it never becomes so");
    }
}

/// Serve until `ended` is dropped; tells `ready` where. What it returns is why it could not.
fn serve(
    namespace: Option<&Path>,
    address: SocketAddr,
    ready: &mpsc::Sender<io::Result<SocketAddr>>,
    inside: Shared,
    held: Arc<Mutex<Held>>,
    ended: oneshot::Receiver<()>,
) -> io::Result<SocketAddr> {
    if let Some(path) = namespace {
        setns(std::fs::File::open(path)?, CloneFlags::CLONE_NEWNET)?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let _ = ready.send(Ok(address));
        let face = axum::serve(listener, router(inside.clone())).into_future();
        tokio::select! {
            served = face => served.map(|()| address),
            () = control(&inside, &held) => Ok(address),
            _ = ended => Ok(address),
        }
    })
}

/// Its controllers, for ever.
async fn control(inside: &Shared, held: &Mutex<Held>) {
    loop {
        {
            let held = held.lock().unwrap_or_else(PoisonError::into_inner);
            let mut inside = inside.lock().unwrap_or_else(PoisonError::into_inner);
            tick(&mut inside.store, &held);
        }
        tokio::time::sleep(TICK).await;
    }
}

/// Where an object stands; nodes have no namespace.
fn at(group: &str, plural: &str, name: &str) -> Place {
    let namespace = if plural == "nodes" { "" } else { NAMESPACE };
    Place {
        group: group.to_owned(),
        plural: plural.to_owned(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    }
}

fn container() -> Value {
    json!({
        "name": "main", "image": "registry.example/main:1",
        "resources": { "requests": { "cpu": "500m", "memory": "1Gi" } },
    })
}

/// A Deployment of so many replicas.
pub fn workload(name: &str, replicas: i32) -> Value {
    let labels = json!({ "app": name });
    json!({
        "metadata": { "labels": labels },
        "spec": {
            "replicas": replicas,
            "selector": { "matchLabels": labels },
            "template": {
                "metadata": { "labels": labels },
                "spec": { "containers": [container()] },
            },
        },
    })
}
