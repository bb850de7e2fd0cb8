//! The settings of a `kubernetes` instance. Knows names, numbers and their ranges; never an object.

use crate::drivers::DriverError;
use arbiter_core::{Instance, InstanceId};
use cluster_config::{Setting, may};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Most objects that one instance may name.
const NAMES_MAX: usize = 100;
/// Most replicas that may be asked for.
const REPLICAS_MAX: i32 = 10_000;
/// Longest name of an object (RFC 1123 subdomain, as Kubernetes has it).
const NAME_BYTES_MAX: usize = 253;
/// Where the settings name no `available_within`.
const AVAILABLE_WITHIN: Duration = Duration::from_secs(120);
/// Longest time that a setting may name.
const DURATION_MAX: Duration = Duration::from_secs(366 * 24 * 3600);

/// How to reach an API server, which every kind on Kubernetes has.
pub const KUBECONFIG_FILE: Setting = may(
    "kubeconfig_file",
    "/etc/arbiter/kubeconfig",
    "Kubeconfig with the credentials; by default those of the pod that the agent runs in.",
);
/// See [`KUBECONFIG_FILE`].
pub const CONTEXT: Setting = may("context", "eu", "Context of it; by default its current one.");

/// Every setting of the kind.
pub const SETTINGS: &[Setting] = &[
    KUBECONFIG_FILE,
    CONTEXT,
    may("namespace", "shop", "Where everything named here stands; by default as the context says."),
    may("deployments", "web, api", "Deployments to scale, with commas between."),
    may("statefulsets", "queue", "StatefulSets to scale."),
    may("cronjobs", "report", "CronJobs, suspended wherever they are not active."),
    may(
        "replicas.*",
        "3",
        "For a Deployment or StatefulSet, how many serve when active; where an HPA or ScaledObject \
         owns it, the least. By default what its annotation arbiter.region/replicas says, which is \
         written when it is scaled down, else active_replicas.",
    ),
    may("active_replicas", "2", "The same for those that have no number of their own."),
    may("standby_replicas", "1", "How many of each run in the standby; 0 for none."),
    may("available_within", "120s", "Longest wait for the replicas; then the step is refused."),
    may(
        "capacity",
        "required",
        "Where the nodes cannot take what serves when active: required (no switchover there), \
         advisory (it is said; nodes are added on demand), or ignored.",
    ),
    may(
        "gitops",
        "fault",
        "An object that Argo CD or Flux keeps: fault (they would undo what is scaled here), or \
         ignored, once they leave these fields alone.",
    ),
];

/// What becomes of a lack of capacity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capacity {
    /// No switchover leads here.
    Required,
    /// It is said.
    Advisory,
    /// It is not looked at.
    Ignored,
}

/// What sort of object is scaled, or suspended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sort {
    /// `apps/v1` Deployment.
    Deployment,
    /// `apps/v1` StatefulSet.
    StatefulSet,
    /// `batch/v1` CronJob.
    CronJob,
}

impl Sort {
    /// Its word in `kind`.
    pub fn word(self) -> &'static str {
        match self {
            Sort::Deployment => "Deployment",
            Sort::StatefulSet => "StatefulSet",
            Sort::CronJob => "CronJob",
        }
    }
}

/// An object that the settings name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Named {
    /// What it is.
    pub sort: Sort,
    /// Its name.
    pub name: String,
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.sort.word(), self.name)
    }
}

/// How to reach an API server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// None: as a pod does.
    pub kubeconfig: Option<PathBuf>,
    /// None: the current one.
    pub context: Option<String>,
    /// None: that of the context, or of the pod.
    pub namespace: Option<String>,
}

/// All of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How to reach the API server.
    pub access: Access,
    /// What is scaled or suspended, in the order of [`Sort`].
    pub named: Vec<Named>,
    /// Replicas when active, by name.
    pub replicas: BTreeMap<String, i32>,
    /// The same for all others.
    pub active_replicas: Option<i32>,
    /// The minimum in the standby.
    pub standby_replicas: i32,
    /// Longest wait for what is scaled up.
    pub available_within: Duration,
    /// What a lack of capacity means.
    pub capacity: Capacity,
    /// A GitOps owner is a fault.
    pub gitops_is_fault: bool,
}

impl Settings {
    /// Read those of `instance`.
    ///
    /// # Errors
    /// `Refused`, naming the setting and the remedy.
    pub fn read(id: &InstanceId, instance: &Instance) -> Result<Self, DriverError> {
        let reader = Reader { id, settings: &instance.settings };
        let mut named = Vec::new();
        for (key, sort) in [
            ("deployments", Sort::Deployment),
            ("statefulsets", Sort::StatefulSet),
            ("cronjobs", Sort::CronJob),
        ] {
            let names = reader.names(key)?;
            named.extend(names.into_iter().map(|name| Named { sort, name }));
        }
        named.sort();
        named.dedup();
        if named.is_empty() || named.len() > NAMES_MAX {
            return Err(reader.fault(format!(
                "name 1 to {NAMES_MAX} objects in deployments, statefulsets and cronjobs"
            )));
        }
        let mut replicas = BTreeMap::new();
        for key in instance.settings.keys() {
            let Some(name) = key.strip_prefix("replicas.") else { continue };
            replicas.extend(reader.count(key, 1)?.map(|count| (name.to_owned(), count)));
        }
        Ok(Self {
            access: reader.access()?,
            replicas,
            active_replicas: reader.count("active_replicas", 1)?,
            standby_replicas: reader.count("standby_replicas", 0)?.unwrap_or(1),
            available_within: reader.duration("available_within")?.unwrap_or(AVAILABLE_WITHIN),
            capacity: match reader.one_of("capacity", &["required", "advisory", "ignored"])? {
                Some("advisory") => Capacity::Advisory,
                Some("ignored") => Capacity::Ignored,
                _ => Capacity::Required,
            },
            gitops_is_fault: reader.one_of("gitops", &["fault", "ignored"])? != Some("ignored"),
            named,
        })
    }

    /// How many of `name` the settings want when active; none: they do not say.
    pub fn wanted(&self, name: &str) -> Option<i32> {
        self.replicas.get(name).copied()
    }

    /// Names that have a number and are not scaled: each is misspelt somewhere. No agent stays
    /// down for that.
    pub fn strays(&self) -> impl Iterator<Item = &String> {
        let scaled = |name: &str| {
            let of = |named: &Named| named.sort != Sort::CronJob && named.name == name;
            self.named.iter().any(of)
        };
        self.replicas.keys().filter(move |name| !scaled(name))
    }
}

/// Reads the settings of one instance. Which keys there are is checked before (`drivers::open`).
pub struct Reader<'a> {
    /// Named in each fault.
    pub id: &'a InstanceId,
    /// What was written.
    pub settings: &'a BTreeMap<String, String>,
}

impl<'a> Reader<'a> {
    /// A fault of this instance's settings.
    pub fn fault(&self, text: impl fmt::Display) -> DriverError {
        DriverError::Refused(format!("instance {}: {text}", self.id))
    }

    /// The value of `key`; empty counts as missing.
    pub fn text(&self, key: &str) -> Option<&'a str> {
        self.settings.get(key).map(|value| value.trim()).filter(|value| !value.is_empty())
    }

    /// How to reach the API server.
    ///
    /// # Errors
    /// `Refused` for a namespace that cannot be one.
    pub fn access(&self) -> Result<Access, DriverError> {
        Ok(Access {
            kubeconfig: self.text("kubeconfig_file").map(PathBuf::from),
            context: self.text("context").map(str::to_owned),
            namespace: self
                .text("namespace")
                .map(|name| self.name("namespace", name))
                .transpose()?,
        })
    }

    /// Names with commas between.
    ///
    /// # Errors
    /// `Refused` for what cannot be the name of an object.
    pub fn names(&self, key: &str) -> Result<Vec<String>, DriverError> {
        let parts = self.text(key).unwrap_or_default().split(',').map(str::trim);
        parts.filter(|part| !part.is_empty()).map(|part| self.name(key, part)).collect()
    }

    /// `text`, if an object can have it as its name.
    ///
    /// # Errors
    /// `Refused` when not.
    pub fn name(&self, key: &str, text: &str) -> Result<String, DriverError> {
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let plain = text.bytes().all(|byte| inner(byte) || byte == b'-' || byte == b'.');
        let ends = [text.bytes().next(), text.bytes().last()];
        if !plain || text.len() > NAME_BYTES_MAX || !ends.iter().all(|e| e.is_some_and(inner)) {
            return Err(self.fault(format!("{key}: {text:?} is no name of a Kubernetes object")));
        }
        Ok(text.to_owned())
    }

    fn count(&self, key: &str, least: i32) -> Result<Option<i32>, DriverError> {
        let Some(text) = self.text(key) else { return Ok(None) };
        match text.parse() {
            Ok(count) if (least..=REPLICAS_MAX).contains(&count) => Ok(Some(count)),
            _ => Err(self.fault(format!("{key} {text:?}: give {least} to {REPLICAS_MAX}"))),
        }
    }

    /// A time such as `90s`, `5m` or `26h`.
    ///
    /// # Errors
    /// `Refused` for anything else, and for what is over a year.
    pub fn duration(&self, key: &str) -> Result<Option<Duration>, DriverError> {
        let Some(text) = self.text(key) else { return Ok(None) };
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let seconds = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            "d" => 24 * 3600,
            _ => 0u64,
        };
        let number: u64 = number.parse().unwrap_or(0);
        let duration = Duration::from_secs(number.saturating_mul(seconds));
        if duration.is_zero() || duration > DURATION_MAX {
            return Err(self.fault(format!("{key} {text:?}: write a time such as 90s, 5m or 26h")));
        }
        Ok(Some(duration))
    }

    /// One of a few words.
    ///
    /// # Errors
    /// `Refused` for another, naming them.
    pub fn one_of(&self, key: &str, words: &[&str]) -> Result<Option<&'a str>, DriverError> {
        match self.text(key) {
            Some(text) if !words.contains(&text) => {
                Err(self.fault(format!("{key} {text:?}: write one of {}", words.join(", "))))
            }
            other => Ok(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arbiter_core::{Control, Fencing, Layer};

    fn read(settings: &[(&str, &str)]) -> Result<Settings, String> {
        let settings = settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let instance = Instance {
            resource: "services".into(),
            region: "eu-west".into(),
            agent: "agent-eu".into(),
            kind: "kubernetes".to_owned(),
            layer: Layer::Workload,
            fencing: Fencing::BestEffort,
            control: Control::Api,
            evidence: Default::default(),
            waits: false,
            address: String::new(),
            settings,
        };
        Settings::read(&"services-eu".into(), &instance).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_left_out_has_a_default() {
        let settings = read(&[("deployments", "web, api , web"), ("replicas.api", "5")]).unwrap();
        let names: Vec<String> = settings.named.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["Deployment api", "Deployment web"]);
        assert_eq!((settings.wanted("api"), settings.wanted("web")), (Some(5), None));
        assert_eq!((settings.standby_replicas, settings.active_replicas), (1, None));
        assert_eq!(settings.strays().count(), 0);
        assert_eq!(settings.capacity, Capacity::Required);
        assert!(settings.gitops_is_fault);
        let none = read(&[("cronjobs", "report"), ("standby_replicas", "0")]).unwrap();
        assert_eq!(none.standby_replicas, 0);
        let stray = read(&[("cronjobs", "web"), ("replicas.web", "2")]).unwrap();
        assert_eq!(stray.strays().collect::<Vec<_>>(), ["web"]);
    }

    #[test]
    fn a_wrong_setting_is_named_with_its_remedy() {
        for (key, value, word) in [
            ("deployments", "Web", "no name"),
            ("deployments", "../secrets", "no name"),
            ("namespace", "a/b", "no name"),
            ("replicas.web", "0", "give 1 to"),
            ("standby_replicas", "-1", "give 0 to"),
            ("active_replicas", "many", "give 1 to"),
            ("available_within", "5", "such as 90s"),
            ("available_within", "0s", "such as 90s"),
            ("capacity", "some", "required, advisory, ignored"),
            ("gitops", "off", "fault, ignored"),
        ] {
            let mut all = vec![("statefulsets", "web"), (key, value)];
            all.sort_unstable();
            let said = read(&all).unwrap_err();
            assert!(said.contains("services-eu") && said.contains(key), "{said}");
            assert!(said.contains(word), "{said}");
        }
        assert!(read(&[]).unwrap_err().contains("deployments"));
    }
}
