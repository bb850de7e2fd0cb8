//! The schema: every key with its documentation, type and default, in one place.
//! Knows what a key means; never how it is read or what keys must agree on.

use crate::cost::Cost;
use crate::drill::Drill;
use crate::kinds::{Kind, ProbeKind};
use crate::scalar::words;
use crate::section::section;
use crate::timing::Timing;
use crate::tls::Tls;
use std::collections::BTreeMap;
use std::time::Duration;

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

words! {
    /// Distance between regions; names a set of timers.
    Profile {
        /// Round trips up to 80 ms. A lost lease is dead after 8.58 s.
        Wan = "wan",
        /// Round trips up to 25 ms. A lost lease is dead after 4.85 s.
        Regional = "regional",
        /// Round trips up to 5 ms. A lost lease is dead after 2.73 s.
        Metro = "metro",
    }
}
words! {
    /// Kind of region.
    RegionKind {
        /// Has resources; may be active.
        Data = "data",
        /// Votes, holds nothing, never active.
        Witness = "witness",
    }
}
words! {
    /// Why a fence is believed, weakest first.
    EvidenceKind {
        /// An operator's word.
        Attested = "attested",
        /// An API's word.
        ProviderAsserted = "provider-asserted",
        /// The deadman was armed, and the lease is dead.
        LeaseExpired = "lease-expired",
        /// An external command cut it off.
        PowerOff = "power-off",
        /// Its agent looked.
        Confirmed = "confirmed",
    }
}
words! {
    /// What is done about a primary that died beside a live agent.
    OnPrimaryFailure {
        /// Its agent restarts it where it is, for ever.
        Restart = "restart",
        /// Restarted for `start_limit`, then it counts as lost.
        RestartThenFailover = "restart-then-failover",
        /// Lost at once.
        Failover = "failover",
    }
}
words! {
    /// What is done about traffic records that somebody else changed.
    OnDrift {
        /// It is said; the records stay.
        Alert = "alert",
        /// It is said, and the records are put back.
        Repair = "repair",
    }
}
words! {
    /// What is done once the preferred region could be active again.
    Failback {
        /// It is proposed in `arbiter status`; an operator does it.
        Propose = "propose",
        /// In mode `automatic` the leader does it, after the hold-down.
        Automatic = "automatic",
    }
}
words! {
    /// Whether acknowledged writes may be lost.
    Durability {
        /// Bounded by `rpo` before the decision, counted after it.
        Async = "async",
        /// None is.
        Strict = "strict",
    }
}
words! {
    /// What a strict primary does while it has no synchronous standby.
    StrictAlone {
        /// It acknowledges writes; no failover opens by itself until it has one again.
        Accept = "accept",
        /// It acknowledges none until then.
        Block = "block",
    }
}
words! {
    /// What a primary does whose renewals stay away.
    OnIsolation {
        /// It serves until its fence.
        Serve = "serve",
        /// After two missed renewals it acknowledges only what a standby elsewhere has.
        Stall = "stall",
    }
}
words! {
    /// What an armed region does that no quorum answers any more.
    OnQuorumLoss {
        /// It is fenced before its lease ends. Then its silence is evidence, and the other region
        /// can take over without a word from it.
        Fence = "fence",
        /// It serves on. Its silence proves nothing: a failover needs an external fence, or an
        /// operator's attestation.
        Hold = "hold",
    }
}
words! {
    /// Whether a plan waits for evidence of a resource.
    Fence {
        /// Nothing is promoted without it.
        Required = "required",
        /// Never holds a plan; named unfenced where there is none.
        BestEffort = "best-effort",
    }
}
words! {
    /// The kind of signal that a probe gives, beside the silence of agents.
    Signal {
        /// Whether something answers.
        Health = "health",
        /// Whether alerts of several services fire.
        Alerts = "alerts",
        /// What the provider says of itself: it corroborates and never decides.
        Provider = "provider",
    }
}

section! {
    /// The cluster as a whole.
    ClusterKeys {
        /// Name of the cluster. Every message carries it, so that two clusters never mix.
        id: String [required "\"demo\""],
        /// The timers: how far apart the regions are.
        profile: Profile [default Profile::Wan],
        /// Plaintext between hosts, without certificates and roles: anyone who reaches an arbiter
        /// may give orders. While it is set, `arbiter status` says INSECURE.
        insecure_plaintext: bool [default false],
        /// Whether every agent's host has `cgroup.kill` (Linux 5.14). Without it `fence` must be
        /// 6s or more.
        cgroup_kill: bool [default true],
        /// Whether what changes the arbiters themselves takes two persons: one asks, another runs
        /// `arbiter approve`.
        two_person: bool [default false],
        /// 99th percentile of the round trip between two arbiters.
        rtt: Option<Duration> [unset ("\"80ms\"", "as the profile says")],
        /// Raft heartbeat interval.
        heartbeat: Option<Duration> [unset ("\"300ms\"", "as the profile says")],
        /// Least Raft election timeout.
        election_min: Option<Duration> [unset ("\"1200ms\"", "as the profile says")],
        /// Greatest Raft election timeout.
        election_max: Option<Duration> [unset ("\"1800ms\"", "as the profile says")],
        /// r: how often agents report, and so renew their leases.
        renewal: Option<Duration> [unset ("\"1s\"", "as the profile says")],
        /// F: the longest that a local fence may take.
        fence: Option<Duration> [unset ("\"2s\"", "as the profile says")],
        /// L: length of a lease.
        lease: Option<Duration> [unset ("\"8s\"", "as the profile says")],
        /// m: added to every wait for a dead lease.
        margin: Option<Duration> [unset ("\"500ms\"", "as the profile says")],
    }
}

section! {
    /// Where events are posted, at least once each: halts, opened plans, modes not in effect, and
    /// more.
    WebhookKeys {
        /// URL that takes a POST of one JSON object an event.
        url: String [required "\"http://127.0.0.1:8080/events\""],
    }
}

section! {
    /// Alertmanagers that get the same events as alerts, at least once each. What lasts, such as a
    /// halted plan, fires for as long as it does; anything else for 5 minutes.
    Alertmanager {
        /// Its URL; of several that are one cluster every one, with commas between.
        url: String [required "\"http://10.0.3.9:9093\""],
        /// File with a token, sent as `Authorization: Bearer`.
        bearer_file: Option<String> [unset ("\"/etc/arbiter/am.token\"", "none is sent")],
        /// File with user:password, for basic authentication.
        basic_auth_file: Option<String> [unset ("\"/etc/arbiter/am.auth\"", "none is sent")],
    }
}

section! {
    /// Where every arbiter copies the audit log to, at least once each record. Who may change this
    /// file can change a copy, and not unseen: `arbiter audit verify`.
    Audit {
        /// File that a line of JSON a record is appended to. A path without a slash at its start
        /// is in the data directory. Renamed away, it is begun anew.
        file: Option<String> [unset ("\"audit.jsonl\"", "no file")],
        /// Where to send each record as a syslog message (RFC 5424): udp://host:port or unix:PATH.
        syslog: Option<String> [unset ("\"unix:/dev/log\"", "no syslog")],
    }
}

section! {
    /// A region. Two data regions and one witness, each a failure domain of its own.
    Region {
        /// What it is for.
        kind: RegionKind [required "\"data\""],
        /// What fails together with it. Two voters in one failure domain are refused.
        failure_domain: Option<String> [unset ("\"eu-west\"", "the region itself")],
    }
}

section! {
    /// An arbiter: one voter in each region.
    Arbiter {
        /// Raft node id, from 1. Never used again after its disk is lost.
        node_id: u64 [required "1"],
        /// The region it stands in.
        region: String [required "\"eu-west\""],
        /// host:port of its gRPC face, as other arbiters, agents and the command line reach it.
        address: String [required "\"10.0.1.1:7400\""],
        /// host:port that it listens on, where that is not what others reach it at.
        listen: Option<String> [unset ("\"0.0.0.0:7400\"", "as address")],
        /// host:port of its operations port: health, metrics, `/v1/active/{group}`.
        http: Option<String> [unset ("\"10.0.1.1:7401\"", "no operations port")],
        /// Where root asks without a certificate, as operator, on this arbiter's host.
        socket: Option<String>
            [unset ("\"/run/region-arbiter-node/arbiter.sock\"", "arbiter.sock in its data directory")],
    }
}

section! {
    /// An agent: the process beside resources on one host.
    Agent {
        /// The data region it stands in.
        region: String [required "\"eu-west\""],
    }
}

section! {
    /// A failover group: the resources that move together. Most clusters have one, `default`.
    Policy {
        /// The region named active when the group is first activated. Refused then, unless that
        /// region's agent reports the primary and no other does.
        initial_active: String [required "\"eu-west\""],
        /// The region that failback leads to.
        preferred: Option<String> [unset ("\"eu-west\"", "failback is never proposed")],
        /// What is done once the preferred region could be active again.
        failback: Failback [default Failback::Propose],
        /// The lease timers of this group.
        profile: Option<Profile> [unset ("\"wan\"", "as the cluster")],
        /// r: how often an agent reports, and so renews its lease.
        renewal: Option<Duration> [unset ("\"1s\"", "as its profile, or the cluster")],
        /// F: the longest that a local fence may take.
        fence: Option<Duration> [unset ("\"2s\"", "as its profile, or the cluster")],
        /// L: length of a lease. An armed region that hears of no quorum stops writing within it.
        lease: Option<Duration> [unset ("\"8s\"", "as its profile, or the cluster")],
        /// m: added to every wait for a dead lease.
        margin: Option<Duration> [unset ("\"500ms\"", "as its profile, or the cluster")],
        /// How long the signs of loss must hold.
        detect_after: Option<Duration> [unset ("\"4s\"", "half of the lease")],
        /// How many different kinds of signal must agree that a region is lost, 1 to 3: agent
        /// silence; health, which is every probe of the region that asks it (TCP and HTTP are one
        /// kind); alerts. Mode `automatic` needs as many of each data region. What a provider says
        /// is no such kind.
        signal_kinds_min: u64 [default 2u64],
        /// How long a primary may take to start or recover.
        start_limit: Duration [default secs(30)],
        /// How long a switchover may drain the source before it is aborted.
        drain_limit: Duration [default secs(10)],
        /// How long a failover first tries a clean stop of a source that answers; at most 1s.
        clean_stop_limit: Duration [default secs(1)],
        /// No failover opens by itself this soon after the last one.
        hold_down: Duration [default secs(15 * 60)],
        /// The weakest evidence that a failover opened by policy may use.
        evidence_min: EvidenceKind [default EvidenceKind::LeaseExpired],
        /// RPO: the greatest loss, in time, that a failover may bring.
        rpo: Duration [default secs(60)],
        /// RTO: how long a recovery may take. Drills and what they predict are held to it.
        rto: Option<Duration> [unset ("\"2m\"", "no objective")],
        /// Whether mode `automatic` may be set; refused otherwise. With it, rpo must be at least
        /// detect_after + 2·renewal: a younger position is not to be had when a region is lost.
        allow_automatic: bool [default true],
        /// What is done about a primary that died beside a live agent.
        on_primary_failure: OnPrimaryFailure [default OnPrimaryFailure::Restart],
        /// A halted failover whose source reports again, healthy, aborts and resumes it.
        abort_when_source_returns: bool [default true],
        /// A target lost after the point of no return is superseded without a command.
        supersede_by_itself: bool [default false],
        /// Probes alone decide that a region is lost, even against a live agent that reports its
        /// data healthy.
        clients_decide: bool [default false],
        /// What is done about traffic records that somebody else changed.
        on_drift: OnDrift [default OnDrift::Alert],
        /// Whether acknowledged writes may be lost.
        durability: Durability [default Durability::Async],
        /// What a strict primary does while it has no synchronous standby: after a failover, or
        /// once its standby was not seen to follow for detect_after.
        strict_alone: StrictAlone [default StrictAlone::Accept],
        /// What an async primary does whose renewals stay away. With stall, what it acknowledges
        /// and a failover loses is bounded by 2·renewal + 0.5s, not by the lease.
        on_isolation: OnIsolation [default OnIsolation::Serve],
        /// What an armed region does that no quorum answers any more. With hold, mode `automatic`
        /// needs an external_fence of each data region.
        on_quorum_loss: OnQuorumLoss [default OnQuorumLoss::Fence],
        /// Time limit of one attempt at a step after the point of no return.
        step_limit: Duration [default secs(30)],
        /// Attempts at such a step before the plan halts.
        step_attempts_max: u64 [default 5u64],
    }
}

section! {
    /// A resource of the group. Other keys are settings of its kind; given here they are for all
    /// of its instances.
    ResourceKeys {
        /// Kind of driver.
        kind: String [required "\"postgres\""],
        /// Whether a plan waits for evidence that its old primary is fenced.
        fence: Option<Fence> [unset ("\"required\"", "required for databases, else best-effort")],
    }
}

section! {
    /// One instance of the resource on one host. Other keys are settings of its kind, for this
    /// instance only.
    InstanceKeys {
        /// The agent beside it; it stands in the agent's region.
        agent: String [required "\"agent-eu\""],
        /// host:port where clients and other instances reach it. Databases need it.
        address: Option<String> [unset ("\"10.0.1.2:5432\"", "it has none")],
    }
}

section! {
    /// Something that every arbiter looks at from where it stands. Other keys are settings of its
    /// kind.
    ProbeKeys {
        /// The region whose health it tells of.
        region: String [required "\"eu-west\""],
        /// How it looks; the kinds are at the end.
        kind: String [required "\"tcp\""],
        /// host:port, or a URL, without a user or a password. A name that an arbiter cannot resolve
        /// tells it nothing of the region: give an address, or a name served elsewhere.
        target: String [required "\"10.0.1.2:5432\""],
        /// Time limit of one try.
        limit: Duration [default secs(1)],
    }
}

section! {
    /// How a region is cut off from outside, for `power-off` evidence. Both commands are run
    /// without a shell: the words of the line are the program and its arguments. They find PATH,
    /// HOME, LANG, ARBITER_GROUP, ARBITER_REGION and ARBITER_TOKEN in their environment, and are
    /// killed with what they started when they take too long.
    ExternalFence {
        /// Cuts the region off. Run again until fence_check is true.
        fence_command: String [required "\"/usr/local/bin/power off eu-west\""],
        /// Exits 0 when the region is off. Run every ten minutes too, to see that it can be and
        /// that it does not say so while the region serves.
        fence_check: String [required "\"/usr/local/bin/power status eu-west\""],
        /// Time limit of one run of either.
        limit: Duration [default secs(10)],
    }
}

/// One instance of a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// The agent beside it.
    pub agent: String,
    /// `host:port`, or empty where that has no meaning.
    pub address: String,
    /// Settings of its driver: those of the resource, with its own on top.
    pub settings: BTreeMap<String, String>,
}

/// A resource of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// Its kind, with what the kind implies.
    pub kind: &'static Kind,
    /// Whether a plan waits for evidence of it.
    pub fence: Fence,
    /// Its instances by name; a name is unique within the group.
    pub instances: BTreeMap<String, Instance>,
}

/// Something that every arbiter looks at from where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The region whose health it tells of.
    pub region: String,
    /// Its kind, with what the kind implies.
    pub kind: &'static ProbeKind,
    /// What it looks at.
    pub target: String,
    /// Time limit of one try.
    pub limit: Duration,
    /// Settings of its kind.
    pub settings: BTreeMap<String, String>,
}

/// A failover group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its keys as written, with defaults filled in.
    pub policy: Policy,
    /// The timers in force for it.
    pub timing: Timing,
    /// Its resources by name.
    pub resources: BTreeMap<String, Resource>,
    /// Its probes by name.
    pub probes: BTreeMap<String, Probe>,
    /// The region each of these cuts off.
    pub external_fence: BTreeMap<String, ExternalFence>,
    /// Its drills.
    pub drill: Drill,
}

impl Alertmanager {
    /// Each URL.
    pub fn urls(&self) -> impl Iterator<Item = &str> {
        self.url.split(',').map(str::trim).filter(|url| !url.is_empty())
    }
}

impl Group {
    /// How long the signs of loss must hold: as set, or half of the lease.
    pub fn detect_after(&self) -> Duration {
        self.policy.detect_after.unwrap_or(self.timing.lease / 2)
    }
}

/// A whole cluster, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Its name.
    pub id: String,
    /// The timers of the Raft group.
    pub timing: Timing,
    /// Plaintext between hosts is allowed.
    pub insecure_plaintext: bool,
    /// Where certificates are; none where everything is plaintext.
    pub tls: Option<Tls>,
    /// Every agent's host has `cgroup.kill`.
    pub cgroup_kill: bool,
    /// What changes the arbiters takes two persons.
    pub two_person: bool,
    /// Where events are posted.
    pub webhook: Option<String>,
    /// Where they fire as alerts.
    pub alertmanager: Option<Alertmanager>,
    /// Where the audit log is copied to.
    pub audit: Option<Audit>,
    /// What the standby costs.
    pub cost: Option<Cost>,
    /// Its regions by name.
    pub regions: BTreeMap<String, Region>,
    /// Its arbiters by name.
    pub arbiters: BTreeMap<String, Arbiter>,
    /// Its agents by name.
    pub agents: BTreeMap<String, Agent>,
    /// Its groups by name.
    pub groups: BTreeMap<String, Group>,
}
