//! One look at everything that an instance names, and what it says.
//!
//! Knows what is read, and judges it by the goal that the objects themselves carry. Never writes,
//! and never says healthy of what it could not read.

use super::api::{Api, Fault};
use super::capacity::{Coming, Room, shortages};
use super::gitops::keeper;
use super::objects::{self, Cron, Object, Owner, OwnerSort, Owners, Workload, goal, token};
use super::settings::{Capacity, Named, Settings};
use super::wants::{active, exceeds, lacks, wants};
use arbiter_core::{Condition, Fact, Goal, Token};
use futures::{StreamExt, stream};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::Selector;

/// Objects that are read at the same time.
const READS_AT_ONCE: usize = 4;
/// Pods that are named where some are left.
const PODS_NAMED_MAX: usize = 3;

/// What was read.
pub struct Look {
    /// URL of the API server.
    pub server: String,
    /// Namespace of all of it.
    pub namespace: String,
    objects: Vec<(Named, Result<Object, Fault>)>,
    /// Who scales what.
    pub owners: Owners,
}

/// What is left on the nodes, or why nobody knows.
pub type Rooms = Result<Vec<Room>, Fault>;

impl Look {
    /// Read all of it.
    ///
    /// # Errors
    /// When the API cannot be asked at all. What it refuses of single objects is in the look.
    pub async fn take(api: &Api, settings: &Settings) -> Result<Self, Fault> {
        let (namespace, server) = api.place().await?;
        let owners = Owners::read(api, &namespace).await;
        let whole = |fault: &&Fault| matches!(fault, Fault::Retry(_) | Fault::Refused(_));
        if let Some(fault) = owners.faults().find(whole) {
            return Err(fault.clone());
        }
        let reads = settings.named.iter().map(|named| {
            let namespace = &namespace;
            async move { (named.clone(), objects::read(api, namespace, named).await) }
        });
        let reads: Vec<_> = reads.collect();
        let objects: Vec<_> = stream::iter(reads).buffered(READS_AT_ONCE).collect().await;
        let failed = objects.iter().filter_map(|(_, object)| object.as_ref().err());
        if let Some(fault) = failed.into_iter().find(whole) {
            return Err(fault.clone());
        }
        Ok(Self { server, namespace, objects, owners })
    }

    fn read(&self) -> impl Iterator<Item = (&Named, &Object)> {
        self.objects.iter().filter_map(|(named, object)| Some((named, object.as_ref().ok()?)))
    }

    fn workloads(&self) -> impl Iterator<Item = (&Named, &Workload)> {
        self.read().filter_map(|(named, object)| match object {
            Object::Workload(workload) => Some((named, &**workload)),
            Object::Cron(_) => None,
        })
    }

    fn owner(&self, named: &Named) -> Option<&Owner> {
        self.owners.of(named).ok().flatten()
    }

    /// The highest token that an object or an owner carries, and its goal.
    pub fn order(&self) -> Option<(Token, Option<Goal>)> {
        let owners = self.workloads().filter_map(|(named, _)| self.owner(named));
        let metas = self.read().map(|(_, object)| object.meta()).chain(owners.map(|o| &o.meta));
        metas.filter_map(|meta| Some((token(meta)?, goal(meta)))).max_by_key(|(token, _)| *token)
    }

    /// Every object was there to be read.
    pub fn is_whole(&self) -> bool {
        self.objects.iter().all(|(_, object)| object.is_ok())
    }

    /// Every object carries this order.
    pub fn carries(&self, wanted: Token, to: Goal) -> bool {
        let is = |meta: &ObjectMeta| token(meta) == Some(wanted) && goal(meta) == Some(to);
        self.objects.iter().all(|(_, object)| object.as_ref().is_ok_and(|o| is(o.meta())))
    }

    /// What does not serve yet, a sentence each.
    pub fn not_serving(&self, settings: &Settings) -> Vec<String> {
        let mut found = Vec::new();
        for (named, workload) in self.workloads() {
            let wanted = active(settings, named, workload, self.owner(named)).unwrap_or(1);
            if workload.available < wanted || !workload.settled {
                let why = workload.stalled.as_deref().map(|why| format!(" ({why})"));
                let (have, why) = (workload.available, why.unwrap_or_default());
                found.push(format!("{named}: {have} of {wanted} replicas available{why}"));
            }
        }
        found
    }

    /// What still runs of it, a sentence each. Pods that are ending run.
    ///
    /// # Errors
    /// When the pods cannot be read: nobody knows then.
    pub async fn left(&self, api: &Api) -> Result<Vec<String>, Fault> {
        let mut found = Vec::new();
        for (named, workload) in self.workloads() {
            let pods = self.pods(api, named, workload).await?;
            if workload.asked > 0 || workload.running > 0 || !workload.settled || !pods.is_empty() {
                let names =
                    pods.iter().take(PODS_NAMED_MAX).cloned().collect::<Vec<_>>().join(", ");
                let names = if names.is_empty() { String::new() } else { format!(" ({names})") };
                let many = pods.len().max(usize::try_from(workload.running).unwrap_or(0));
                found.push(format!("{named}: {many} pods are left{names}"));
            }
        }
        for (named, object) in self.read() {
            if let Object::Cron(cron) = object
                && !(cron.suspended && cron.running.is_empty())
            {
                let jobs = cron.running.join(", ");
                let remedy = "wait for it, or delete it: kubectl delete job";
                found.push(format!("{named}: a job of it runs ({jobs}): {remedy}"));
            }
        }
        Ok(found)
    }

    async fn pods(
        &self,
        api: &Api,
        named: &Named,
        workload: &Workload,
    ) -> Result<Vec<String>, Fault> {
        let selector = Selector::try_from(workload.selector.clone())
            .map_err(|_| Fault::Refused(format!("{named} has a selector that selects nothing")))?;
        let query = format!("&labelSelector={}", super::api::encode(&selector.to_string()));
        let path = format!("/api/v1/namespaces/{}/pods", self.namespace);
        let pods: Vec<Pod> = api.list(&path, &query).await?;
        let runs = |pod: &Pod| {
            let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
            !matches!(phase, Some("Succeeded" | "Failed"))
        };
        Ok(pods.into_iter().filter(runs).filter_map(|pod| pod.metadata.name).collect())
    }

    /// What it says, as a Fact.
    pub fn fact(&self, settings: &Settings, rooms: Option<&Rooms>) -> Fact {
        let order = self.order();
        let goal = order.and_then(|(_, goal)| goal);
        let mut said = Said { goal, fact: Fact::default(), worst: None, replicas: (0, 0) };
        // No object's name has a space in it.
        let detail = &mut said.fact.detail;
        detail.insert("api server".to_owned(), self.server.clone());
        if let Some((token, _)) = order {
            detail.insert("last token".to_owned(), token.to_string());
        }
        for (named, object) in &self.objects {
            match object {
                Err(fault) => said.unreadable(named, fault),
                Ok(object) => {
                    said.kept(settings, named, object.meta(), field(object));
                    match object {
                        Object::Cron(cron) => said.cron(named, cron),
                        Object::Workload(workload) => {
                            self.workload(&mut said, settings, named, workload)
                        }
                    }
                }
            }
        }
        said.fact.faults.extend(self.owners.hidden().map(ToString::to_string));
        said.fact.faults.extend(settings.strays().map(|name| {
            format!("replicas.{name} is set, and {name} is in neither deployments nor statefulsets")
        }));
        if goal != Some(Goal::Active) {
            self.capacity(&mut said, settings, rooms);
        }
        let (available, wanted) = said.replicas;
        said.fact.detail.insert("all replicas".to_owned(), format!("{available}/{wanted}"));
        said.fact.condition = said.worst.unwrap_or(Condition::Stopped);
        said.fact
    }

    fn workload(&self, said: &mut Said, settings: &Settings, named: &Named, workload: &Workload) {
        let owner = match self.owners.of(named) {
            Ok(owner) => owner,
            Err(fault) => return said.unreadable(named, &fault),
        };
        said.replicas.0 += workload.available;
        said.replicas.1 += workload.asked;
        let mut shows = format!("{} wanted, {} available", workload.asked, workload.available);
        if let Some(owner) = owner {
            shows = format!("{shows}, at least {} by {}", owner.min, owner.called());
            let field = match owner.sort {
                OwnerSort::Hpa => "spec.minReplicas",
                OwnerSort::ScaledObject => "spec.minReplicaCount",
            };
            said.kept_as(settings, &owner.called(), &owner.meta, field);
        }
        said.fact.detail.insert(named.name.clone(), shows);
        if let Err(why) = active(settings, named, workload, owner) {
            said.stalls(why);
        }
        let at = said.goal.and_then(|goal| {
            let wants = wants(settings, goal, named, workload, owner).ok()?;
            Some((
                goal,
                lacks(wants, goal, workload, owner),
                exceeds(settings, goal, workload, owner),
            ))
        });
        let least = at.and_then(|(goal, ..)| match goal {
            Goal::Active => active(settings, named, workload, owner).ok(),
            Goal::Standby => Some(settings.standby_replicas),
            Goal::Drained | Goal::Fenced => Some(0),
        });
        let undone = at.is_some_and(|(_, lacks, _)| lacks);
        // Without an order, and while active, whatever serves takes requests.
        said.fact.writable |= match at {
            Some((Goal::Active, ..)) | None => workload.available > 0,
            Some((_, _, exceeds)) => exceeds,
        };
        said.condition(match least.unwrap_or(workload.asked) {
            _ if undone || workload.stalled.is_some() => Condition::Dead,
            least if workload.available < least => Condition::Starting,
            0 if workload.available == 0 && workload.running == 0 => Condition::Stopped,
            _ => Condition::Healthy,
        });
    }

    /// Whether what serves when active would find room.
    fn capacity(&self, said: &mut Said, settings: &Settings, rooms: Option<&Rooms>) {
        if settings.capacity == Capacity::Ignored {
            return;
        }
        let rooms = match rooms {
            None => return,
            Some(Ok(rooms)) => rooms.clone(),
            Some(Err(fault)) => {
                said.fact.faults.push(format!("nobody knows whether the nodes have room: {fault}"));
                return;
            }
        };
        let mut coming = Vec::new();
        for (named, workload) in self.workloads() {
            let wanted = active(settings, named, workload, self.owner(named)).unwrap_or(0);
            let count = wanted - workload.running;
            if count > 0 {
                let pod = workload.pod.clone();
                coming.push(Coming { whose: named.to_string(), count, pod });
            }
        }
        for short in shortages(rooms, &coming) {
            if settings.capacity == Capacity::Required {
                said.stalls(short);
            } else {
                said.fact.faults.push(short);
            }
        }
    }
}

/// The field of an object that is changed here.
fn field(object: &Object) -> &'static str {
    match object {
        Object::Workload(_) => "spec.replicas",
        Object::Cron(_) => "spec.suspend",
    }
}

/// A Fact in the making.
struct Said {
    goal: Option<Goal>,
    fact: Fact,
    worst: Option<Condition>,
    /// Available and wanted, of all workloads together.
    replicas: (i32, i32),
}

impl Said {
    /// What would stall a switchover to here half-way. A region that serves is not led to.
    fn stalls(&mut self, why: String) {
        if self.goal != Some(Goal::Active) {
            self.fact.obstacles.push(why.clone());
        }
        self.fact.faults.push(why);
    }

    fn unreadable(&mut self, named: &Named, fault: &Fault) {
        let missing = matches!(fault, Fault::Missing(_));
        self.condition(if missing { Condition::Dead } else { Condition::Unknown });
        let key = named.name.clone();
        self.fact.detail.insert(key, if missing { "missing" } else { "unknown" }.to_owned());
        self.stalls(if missing {
            format!("{named} is not there: create it, or take it out of the settings ({fault})")
        } else {
            format!("{named} cannot be read: {fault}")
        });
    }

    fn kept(&mut self, settings: &Settings, named: &Named, meta: &ObjectMeta, field: &str) {
        self.kept_as(settings, &named.to_string(), meta, field);
    }

    fn kept_as(&mut self, settings: &Settings, what: &str, meta: &ObjectMeta, field: &str) {
        if let Some(keeper) = keeper(meta).filter(|_| settings.gitops_is_fault) {
            self.fact.faults.push(keeper.fault(what, field));
        }
    }

    fn cron(&mut self, named: &Named, cron: &Cron) {
        let shows = if cron.suspended { "suspended" } else { "runs on its schedule" };
        self.fact.detail.insert(named.name.clone(), shows.to_owned());
        match self.goal {
            Some(Goal::Active) if cron.suspended => self.condition(Condition::Dead),
            Some(Goal::Active) => self.condition(Condition::Healthy),
            Some(_) => self.fact.writable |= !cron.suspended,
            None => {}
        }
    }

    /// The worst of all is what is said of the whole.
    fn condition(&mut self, of_one: Condition) {
        let rank = |condition: Condition| match condition {
            Condition::Stopped => 0,
            Condition::Healthy => 1,
            Condition::Starting | Condition::Recovering => 2,
            Condition::Dead => 3,
            Condition::Unknown => 4,
        };
        let worst = self.worst.unwrap_or(of_one);
        self.worst = Some(if rank(of_one) > rank(worst) { of_one } else { worst });
    }
}
