//! `apply`: the only function that makes a new [`State`]. It reads State, the proposal and its log
//! id; never a clock, a view or the world, so that every replica ends in the same State.

mod advance;
mod approval;
mod arming;
mod audit;
mod cluster;
mod drill;
mod entry;
mod evidence;
mod group;
mod lease;
mod maintenance;
mod members;
mod mode;
mod open;
mod overrides;
mod plan_end;
mod record;
mod requests;
mod restore;
mod rows;
mod synchronous;
mod traffic;

#[cfg(test)]
mod tests;

pub(crate) use arming::{leases_to_outlive, unarmed_in};
pub(crate) use entry::{refusal, unknown_group};
pub(crate) use evidence::lease_alive;
pub(crate) use group::mode_word;
pub use maintenance::{MAINTENANCE_LEASE_MAX, MAINTENANCE_MAX};
pub use mode::{HOLD_MAX, HOLD_MIN};
pub(crate) use open::RENEWED;
pub use overrides::{
    NEVER_OVERRIDDEN, OVERRIDABLE, OVERRIDE_LASTS, Override, check_overrides, of_loss,
};
pub(crate) use restore::foreign_beside;
pub(crate) use synchronous::may_lose;

use crate::{
    Command, EVENTS_KEPT_MAX, Event, LogId, Proposal, Rejected, State,
    invariants::check_invariants, plant::supported,
};
use entry::{Entry, Outcome};

/// What became of one log entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// The State after it.
    pub state: State,
    /// What people are told.
    pub events: Vec<Event>,
    /// The log index at which it was done (for a request asked again: of the first time), or why
    /// it was refused.
    pub outcome: Result<u64, Rejected>,
}

/// What the state machine calls for every entry: [`apply`], and the outcome of a request is kept in
/// State, a refusal too, so that asking again gives the same answer.
pub fn settle(state: &State, proposal: &Proposal, at: LogId) -> Settled {
    if let Some(outcome) = requests::outcome(state, proposal) {
        return Settled { state: state.clone(), events: Vec::new(), outcome };
    }
    match apply(state, proposal, at) {
        Ok((state, events)) => Settled { state, events, outcome: Ok(at.index) },
        Err(refused) => {
            let mut next = requests::with_refusal(state, proposal, at, &refused);
            audit::refused(&mut next, state, proposal, at, &refused);
            Settled { state: next, events: Vec::new(), outcome: Err(refused) }
        }
    }
}

/// The next State, with what people are told. A request already done changes nothing.
///
/// # Errors
/// [`Rejected`]; State is as before. The same on every replica.
pub fn apply(
    state: &State,
    proposal: &Proposal,
    at: LogId,
) -> Result<(State, Vec<Event>), Rejected> {
    if let Some(outcome) = requests::outcome(state, proposal) {
        return outcome.map(|_| (state.clone(), Vec::new()));
    }
    let supported = supported();
    if state.version > supported {
        return Err(Rejected::Unsupported { asked: state.version, supported });
    }
    let mut entry = Entry::new(state, proposal, at);
    run(&mut entry)?;
    if let Err(breach) = check_invariants(state, &entry.next) {
        // In this crate's tests a breach is never what was meant.
        #[cfg(test)]
        panic!("{breach:?} by {proposal:?}");
        #[cfg(not(test))]
        return Err(breach.into());
    }
    requests::remember(&mut entry);
    audit::done(&mut entry.next, state, proposal, at);
    entry.next.events.extend(entry.events.iter().cloned());
    let surplus = entry.next.events.len().saturating_sub(EVENTS_KEPT_MAX);
    entry.next.events.drain(..surplus);
    Ok((entry.next, entry.events))
}

fn not_initialised() -> Outcome {
    let reason = "this cluster has no name and no policy yet";
    entry::refuse("not-initialized", reason, "arbiter members initialize --config FILE")
}

/// A voter of an older build could not read it.
fn too_early(entry: &Entry, needed: u32) -> Outcome {
    let reason = format!(
        "this needs state version {needed}, and version {} is in force until every arbiter \
         supports it",
        entry.next.version
    );
    entry::refuse("state-version", reason, "arbiter members list, which names who holds it down")
}

/// One line a command; what each does is in the file of its family.
fn run(entry: &mut Entry) -> Outcome {
    use Command::*;
    match &entry.proposal.command {
        Initialize { cluster_id, spec } => cluster::initialize(entry, cluster_id, spec),
        Restore(restore) => restore::restore(entry, restore),
        _ if entry.next.cluster_id.is_none() => not_initialised(),
        later if later.version() > entry.next.version => too_early(entry, later.version()),
        ReserveNode { .. } | SetVoters { .. } => members::run(entry),
        SettleGroup { .. } | AttestAgent { .. } => restore::run(entry),
        ApplyPolicy { spec } => cluster::apply_policy(entry, spec),
        RaiseVersion { version } => cluster::raise_version(entry, *version),
        ActivateFirst { group, region, primaries } => {
            group::activate_first(entry, group, region, primaries)
        }
        SetMode { group, mode, expected_epoch } => {
            group::set_mode(entry, group, *mode, *expected_epoch)
        }
        SetSynchronous { group, resource, primary, set } => {
            synchronous::set(entry, group, resource, primary, set)
        }
        MarkLag { group, lag } => group::mark_lag(entry, group, *lag),
        EndHoldDown { group, waited } => group::end_hold_down(entry, group, *waited),
        RecordJudgement { group, would_have } => group::record_judgement(entry, group, would_have),
        Bind { .. } | Arm { .. } | RecordArmed { .. } | RecordUnarmed { .. } => arming::run(entry),
        RaiseLease { .. } | LowerLease { .. } => lease::run(entry),
        OpenPlan(open) => open::open(entry, open),
        Supersede { plan, open, stands, took } => {
            open::supersede(entry, *plan, open, stands, *took)
        }
        EndStep { group, plan, step, outcome, took } => {
            rows::end_step(entry, group, *plan, *step, outcome, *took)
        }
        RetryStep { group, plan, step, note } => rows::retry(entry, group, *plan, *step, note),
        RecordEvidence { group, plan, evidence, end, took } => {
            evidence::record(entry, group, *plan, evidence, *end, *took)
        }
        Attest { group, plan, instance, token, waited } => {
            evidence::attest(entry, group, *plan, instance, *token, *waited)
        }
        HaltPlan { group, plan, halt } => plan_end::halt(entry, group, *plan, halt),
        ResumePlan { group, plan, expected_epoch, accept_loss } => {
            plan_end::resume(entry, group, *plan, *expected_epoch, *accept_loss)
        }
        AbortPlan { group, plan, expected_epoch, took } => {
            plan_end::abort(entry, group, *plan, *expected_epoch, *took)
        }
        RecordFenced { group, instance } => record::fenced(entry, group, instance),
        RecordStandby { group, instance } => record::standby(entry, group, instance),
        RecordServing { group, plan, instances } => record::serving(entry, group, *plan, instances),
        RecordLoss { group, plan, instance, loss } => {
            record::loss(entry, group, *plan, instance, loss)
        }
        RecordZone { .. } | RecordDrift { .. } | AdoptTraffic { .. } => traffic::run(entry),
        NoteCall { .. } => Ok(()),
        SetModeFor { .. } | RevertMode { .. } => mode::run(entry),
        Maintain { .. } | EndMaintenance { .. } => maintenance::run(entry),
        LapseOverrides { group, plan, waited } => overrides::lapse(entry, group, *plan, *waited),
        AskApproval { .. } | Approve { .. } | UseApproval { .. } | EndApproval { .. } => {
            approval::run(entry)
        }
        RunDrill { .. } | OpenDrillPlan { .. } | EndDrillPhase { .. } | AbortDrill { .. } => {
            drill::run(entry)
        }
    }
}
