//! Whether the nodes of a cluster can take more pods: requests against what is left.
//!
//! Knows what the scheduler's filters look at first: readiness, cordons, taints, node selectors and
//! requests. It knows no affinity, spread, volume or priority: its word is an estimate.

use super::api::{Api, Fault};
use super::quantity::{millis, show};
use k8s_openapi::api::core::v1::{Container, Node, Pod, PodSpec, Taint, Toleration};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use std::collections::BTreeMap;

/// Resources in thousandths of their unit.
pub type Amounts = BTreeMap<String, i128>;

/// How many pods a node takes is a resource of this name.
const PODS: &str = "pods";

/// A node that takes pods, and what is left on it.
#[derive(Clone, Debug)]
pub struct Room {
    labels: BTreeMap<String, String>,
    taints: Vec<Taint>,
    free: Amounts,
}

/// Pods that are to come.
#[derive(Clone, Debug)]
pub struct Coming {
    /// Whose they are.
    pub whose: String,
    /// How many.
    pub count: i32,
    /// What each needs.
    pub pod: PodSpec,
}

/// What is left on each node that is ready and takes pods.
pub async fn rooms(api: &Api) -> Result<Vec<Room>, Fault> {
    let live = "&fieldSelector=status.phase%21%3DSucceeded%2Cstatus.phase%21%3DFailed";
    let (nodes, pods) =
        tokio::join!(api.list::<Node>("/api/v1/nodes", ""), api.list("/api/v1/pods", live));
    Ok(left(&nodes?, &pods?))
}

/// What `pods` leave of `nodes`.
pub(crate) fn left(nodes: &[Node], pods: &[Pod]) -> Vec<Room> {
    let mut rooms: BTreeMap<&str, Room> = BTreeMap::new();
    for node in nodes.iter().filter(|node| takes_pods(node)) {
        let status = node.status.clone().unwrap_or_default();
        let taints = node.spec.as_ref().and_then(|spec| spec.taints.clone());
        let room = Room {
            labels: node.metadata.labels.clone().unwrap_or_default(),
            taints: taints.unwrap_or_default(),
            free: amounts(status.allocatable.as_ref()),
        };
        rooms.insert(node.metadata.name.as_deref().unwrap_or_default(), room);
    }
    for spec in pods.iter().filter_map(|pod| pod.spec.as_ref().filter(|_| !ended(pod))) {
        let on = spec.node_name.as_deref().unwrap_or_default();
        if let Some(room) = rooms.get_mut(on) {
            subtract(&mut room.free, &requests(spec));
        }
    }
    rooms.into_values().collect()
}

fn ended(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

fn takes_pods(node: &Node) -> bool {
    let cordoned = node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true);
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    let mut conditions = conditions.into_iter().flatten();
    !cordoned && conditions.any(|c| c.type_ == "Ready" && c.status == "True")
}

/// For each whose pods do not all find room, a sentence with the numbers.
pub fn shortages(mut rooms: Vec<Room>, coming: &[Coming]) -> Vec<String> {
    let mut short = Vec::new();
    for pods in coming {
        let need = requests(&pods.pod);
        let usable = rooms.iter().filter(|room| room.suits(&pods.pod)).count();
        let free = total(rooms.iter().filter(|room| room.suits(&pods.pod)), &need);
        let mut placed = 0;
        for room in rooms.iter_mut().filter(|room| room.suits(&pods.pod)) {
            placed += room.take(&need, pods.count.saturating_sub(placed));
        }
        if placed < pods.count {
            short.push(format!(
                "{} needs room for {} more pods when active, {} each: {placed} fit on the {usable} \
                 nodes that are ready for it, where {} are free in all; add nodes, or set capacity \
                 = \"advisory\"",
                pods.whose,
                pods.count,
                list(&need),
                list(&free),
            ));
        }
    }
    short
}

impl Room {
    fn suits(&self, pod: &PodSpec) -> bool {
        let selector = pod.node_selector.iter().flatten();
        let mut refusing = self.taints.iter().filter(|taint| taint.effect != "PreferNoSchedule");
        selector.into_iter().all(|(key, value)| self.labels.get(key) == Some(value))
            && refusing.all(|taint| {
                pod.tolerations.iter().flatten().any(|toleration| tolerates(toleration, taint))
            })
    }

    /// Put in as many pods of this need as fit, `most` at most; how many those were. In one step,
    /// however many are asked for.
    fn take(&mut self, need: &Amounts, most: i32) -> i32 {
        // A node that does not say how much it has of something has none.
        let free = |name: &String| self.free.get(name).copied().unwrap_or(0).max(0);
        let each = need.iter().filter(|(_, much)| **much > 0);
        let fit = each.map(|(name, much)| free(name) / much).min().unwrap_or(0);
        let taken = i32::try_from(fit).unwrap_or(i32::MAX).min(most.max(0));
        for (name, much) in need {
            let left = self.free.entry(name.clone()).or_default();
            *left = left.saturating_sub(much.saturating_mul(taken.into()));
        }
        taken
    }
}

/// Kubernetes, "Taints and Tolerations".
fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let effect = toleration.effect.as_deref().filter(|effect| !effect.is_empty());
    let key = toleration.key.as_deref().filter(|key| !key.is_empty());
    let exists = toleration.operator.as_deref() == Some("Exists");
    effect.is_none_or(|effect| effect == taint.effect)
        && key.map_or(exists, |key| key == taint.key)
        && (exists
            || toleration.value.as_deref().unwrap_or("") == taint.value.as_deref().unwrap_or(""))
}

/// What the scheduler counts for a pod: the sum of its containers, or what the largest of its init
/// containers needs beside those that stay (`restartPolicy: Always`), and the overhead.
pub fn requests(pod: &PodSpec) -> Amounts {
    let mut staying = Amounts::new();
    let mut peak = Amounts::new();
    for init in pod.init_containers.iter().flatten() {
        let own = of_container(init);
        if init.restart_policy.as_deref() == Some("Always") {
            add(&mut staying, &own);
            greatest(&mut peak, &staying);
        } else {
            let mut with = staying.clone();
            add(&mut with, &own);
            greatest(&mut peak, &with);
        }
    }
    let mut sum = staying;
    for container in &pod.containers {
        add(&mut sum, &of_container(container));
    }
    greatest(&mut sum, &peak);
    let whole = pod.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    sum.extend(amounts(whole));
    add(&mut sum, &amounts(pod.overhead.as_ref()));
    sum.retain(|_, much| *much > 0);
    sum.insert(PODS.to_owned(), 1000);
    sum
}

fn of_container(container: &Container) -> Amounts {
    let resources = container.resources.as_ref();
    let mut own = amounts(resources.and_then(|resources| resources.limits.as_ref()));
    // A limit without a request is one, as the API server's defaulting has it.
    own.extend(amounts(resources.and_then(|resources| resources.requests.as_ref())));
    own
}

fn amounts(quantities: Option<&BTreeMap<String, Quantity>>) -> Amounts {
    let all = quantities.into_iter().flatten();
    all.filter_map(|(name, quantity)| Some((name.clone(), millis(&quantity.0)?))).collect()
}

fn add(to: &mut Amounts, more: &Amounts) {
    for (name, much) in more {
        let sum = to.entry(name.clone()).or_default();
        *sum = sum.saturating_add(*much);
    }
}

fn subtract(from: &mut Amounts, less: &Amounts) {
    for (name, much) in less {
        let left = from.entry(name.clone()).or_default();
        *left = left.saturating_sub(*much);
    }
}

fn greatest(of: &mut Amounts, other: &Amounts) {
    for (name, much) in other {
        let known = of.entry(name.clone()).or_default();
        *known = (*known).max(*much);
    }
}

/// What is free on `rooms` of what is needed.
fn total<'a>(rooms: impl Iterator<Item = &'a Room>, need: &Amounts) -> Amounts {
    let mut sum: Amounts = need.keys().map(|name| (name.clone(), 0)).collect();
    for room in rooms {
        for (name, free) in &mut sum {
            *free = free.saturating_add(room.free.get(name).copied().unwrap_or(0).max(0));
        }
    }
    sum
}

fn list(amounts: &Amounts) -> String {
    let named = amounts.iter().filter(|(name, _)| *name != PODS || amounts.len() == 1);
    let parts: Vec<String> =
        named.map(|(name, much)| format!("{name} {}", show(name, *much))).collect();
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn of<T: serde::de::DeserializeOwned>(value: Value) -> T {
        serde_json::from_value(value).expect("is one")
    }

    fn node(name: &str, ready: &str, more: Value) -> Node {
        of(json!({
            "metadata": { "name": name, "labels": { "disk": "ssd" } },
            "spec": more,
            "status": {
                "allocatable": { "cpu": "2", "memory": "4Gi", "pods": "3" },
                "conditions": [{ "type": "Ready", "status": ready }],
            },
        }))
    }

    fn pod(node: &str, phase: &str, cpu: &str) -> Pod {
        let requests = json!({ "requests": { "cpu": cpu, "memory": "1Gi" } });
        of(json!({
            "spec": { "nodeName": node, "containers": [{ "name": "c", "resources": requests }] },
            "status": { "phase": phase },
        }))
    }

    fn coming(count: i32, more: Value) -> Coming {
        let mut spec = pod("", "Pending", "500m").spec.unwrap();
        let more: PodSpec = of(more);
        (spec.node_selector, spec.tolerations) = (more.node_selector, more.tolerations);
        Coming { whose: "Deployment web".to_owned(), count, pod: spec }
    }

    fn plain(count: i32) -> Coming {
        coming(count, json!({ "containers": [] }))
    }

    #[test]
    fn pods_find_room_only_where_all_that_they_ask_for_is_left() {
        let nodes = [node("a", "True", json!({})), node("b", "True", json!({}))];
        let pods = [pod("a", "Running", "1800m"), pod("b", "Succeeded", "2")];
        let rooms = left(&nodes, &pods);
        assert_eq!(shortages(rooms.clone(), &[plain(3)]), Vec::<String>::new());
        let short = shortages(rooms.clone(), &[plain(4)]).remove(0);
        for part in
            ["4 more pods", "cpu 500m, memory 1Gi each", "3 fit on the 2 nodes", "cpu 2200m"]
        {
            assert!(short.contains(part), "{part}: {short}");
        }
        // What one takes the other has not.
        assert_eq!(shortages(rooms, &[plain(2), plain(2)]).len(), 1);
    }

    #[test]
    fn numbers_without_bounds_take_no_time_and_add_up() {
        let mut wide = node("a", "True", json!({}));
        let without =
            json!({ "cpu": "99999999999999999E", "memory": "99999999999999999E", "pods": "1E" });
        wide.status.as_mut().unwrap().allocatable = of(without);
        let most = plain(i32::MAX);
        assert_eq!(shortages(left(&[wide.clone(), wide], &[]), &[most.clone(), most]).len(), 0);
        let rooms = left(&[node("a", "True", json!({}))], &[]);
        assert!(shortages(rooms, &[plain(i32::MAX)])[0].contains(": 3 fit on the 1 nodes"));
    }

    #[test]
    fn a_node_that_takes_no_pods_has_no_room() {
        let taint =
            json!({ "taints": [{ "key": "dedicated", "value": "db", "effect": "NoSchedule" }] });
        let soft = json!({ "taints": [{ "key": "old", "effect": "PreferNoSchedule" }] });
        let fits = |node: Node, pods: Coming| shortages(left(&[node], &[]), &[pods]).is_empty();
        assert!(fits(node("a", "True", soft), plain(1)));
        assert!(!fits(node("a", "False", json!({})), plain(1)));
        assert!(!fits(node("a", "True", json!({ "unschedulable": true })), plain(1)));
        assert!(!fits(node("a", "True", taint.clone()), plain(1)));
        let tolerant =
            |toleration: Value| coming(1, json!({ "containers": [], "tolerations": [toleration] }));
        for (toleration, fit) in [
            (json!({ "key": "dedicated", "value": "db" }), true),
            (json!({ "key": "dedicated", "operator": "Exists" }), true),
            (json!({ "operator": "Exists" }), true),
            (json!({ "key": "dedicated", "value": "web" }), false),
            (json!({ "key": "dedicated", "value": "db", "effect": "NoExecute" }), false),
        ] {
            let pods = tolerant(toleration.clone());
            assert_eq!(fits(node("a", "True", taint.clone()), pods), fit, "{toleration}");
        }
        let selects =
            |disk: &str| coming(1, json!({ "containers": [], "nodeSelector": { "disk": disk } }));
        assert!(fits(node("a", "True", json!({})), selects("ssd")));
        assert!(!fits(node("a", "True", json!({})), selects("hdd")));
    }

    #[test]
    fn a_pod_needs_what_the_scheduler_counts() {
        let cpu = |cpu: &str| json!({ "requests": { "cpu": cpu } });
        let spec: PodSpec = of(json!({
            "initContainers": [
                { "name": "stays", "restartPolicy": "Always", "resources": cpu("100m") },
                { "name": "big", "resources": cpu("900m") },
            ],
            "containers": [
                { "name": "a", "resources": cpu("300m") },
                { "name": "b", "resources": { "limits": { "cpu": "200m", "memory": "1Mi" } } },
            ],
            "overhead": { "cpu": "50m" },
        }));
        let needs = requests(&spec);
        assert_eq!(needs["cpu"], 1000 + 50, "the largest init container beside the one that stays");
        assert_eq!(needs["memory"], 1024 * 1024 * 1000, "a limit counts where no request does");
        assert_eq!(needs[PODS], 1000);
    }
}
