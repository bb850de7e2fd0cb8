//! What a goal means for one workload: how many replicas, and who is to bring them.
//!
//! Pure. Knows numbers and who owns them; never an API. An owner is never fought: where an HPA or a
//! ScaledObject scales a workload, its least number is moved, and the workload itself only to or
//! from zero, where both let go of it.

use super::objects::{Owner, OwnerSort, Workload, goal, remembered};
use super::settings::{Named, Settings};
use arbiter_core::Goal;

/// What is to be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wants {
    /// Replicas of the workload itself; none: as they are.
    pub scale: Option<i32>,
    /// The least number of its owner.
    pub floor: Option<i32>,
    /// KEDA is to hold it at zero, or to let go of that.
    pub paused: bool,
}

/// What `goal` means for `named`.
///
/// # Errors
/// Why it cannot be reached, with the remedy.
pub fn wants(
    settings: &Settings,
    goal: Goal,
    named: &Named,
    workload: &Workload,
    owner: Option<&Owner>,
) -> Result<Wants, String> {
    let least = settings.standby_replicas;
    match (goal, owner) {
        (Goal::Active, None) => {
            let wanted = active(settings, named, workload, None)?;
            Ok(Wants { scale: Some(wanted.max(workload.asked)), ..Wants::default() })
        }
        (Goal::Active, Some(owner)) => {
            let wanted = active(settings, named, workload, Some(owner))?;
            // At zero an HPA rests until somebody else scales up (Kubernetes, "Horizontal Pod
            // Autoscaling": implicit maintenance-mode deactivation). KEDA wakes it by itself.
            let asleep = owner.sort == OwnerSort::Hpa && workload.asked == 0;
            let scale = asleep.then_some(wanted);
            Ok(Wants { scale, floor: Some(wanted.max(owner.min)), paused: false })
        }
        (Goal::Standby, None) => Ok(Wants { scale: Some(least), ..Wants::default() }),
        (Goal::Standby, Some(owner)) => Ok(match owner.sort {
            OwnerSort::ScaledObject => Wants { floor: Some(least), ..Wants::default() },
            OwnerSort::Hpa => {
                let moved = least == 0 || workload.asked == 0;
                let scale = moved.then_some(least);
                // Less than one is for clusters with the feature gate HPAScaleToZero only.
                Wants { scale, floor: Some(least.max(1)), paused: false }
            }
        }),
        (Goal::Drained | Goal::Fenced, None) => Ok(Wants { scale: Some(0), ..Wants::default() }),
        (Goal::Drained | Goal::Fenced, Some(owner)) => {
            let keda = owner.sort == OwnerSort::ScaledObject;
            let floor = if keda { least } else { least.max(1) };
            Ok(Wants { scale: Some(0), floor: Some(floor), paused: keda })
        }
    }
}

/// How many serve when active; the least, where there is an owner.
///
/// # Errors
/// Where nobody says so, or the owner does not allow it, with the remedy.
pub fn active(
    settings: &Settings,
    named: &Named,
    workload: &Workload,
    owner: Option<&Owner>,
) -> Result<i32, String> {
    let now = owner.map_or(workload.asked, |owner| owner.min);
    // As it runs, unless it was scaled down for us.
    let reduced = goal(&workload.meta).is_some_and(|goal| goal != Goal::Active);
    let wanted = settings
        .wanted(&named.name)
        .or_else(|| remembered(&workload.meta))
        .or(settings.active_replicas)
        .or(Some(now).filter(|now| *now > 0 && !reduced));
    let Some(wanted) = wanted else {
        return Err(format!(
            "nobody says how many replicas {named} has when active: set replicas.{} or \
             active_replicas",
            named.name
        ));
    };
    let Some(owner) = owner else { return Ok(wanted) };
    if let Some(key) = owner.paused_by_others() {
        return Err(format!(
            "{} is paused, so that nothing scales {named}: remove its annotation {key}",
            owner.called()
        ));
    }
    if wanted > owner.max {
        return Err(format!(
            "{} lets {named} have {} replicas, {wanted} are wanted: raise its greatest number",
            owner.called(),
            owner.max
        ));
    }
    Ok(wanted)
}

/// What is to be remembered of a workload that is scaled down: how many served. None: nothing new.
pub fn to_remember(to: Goal, workload: &Workload, owner: Option<&Owner>) -> Option<i32> {
    let serves = goal(&workload.meta) == Some(Goal::Active) && to != Goal::Active;
    let now = owner.map_or(workload.asked, |owner| owner.min);
    serves.then_some(now).filter(|now| *now > 0 && remembered(&workload.meta) != Some(*now))
}

/// More runs, or may run, than `goal` lets: somebody else scaled it up.
pub fn exceeds(
    settings: &Settings,
    goal: Goal,
    workload: &Workload,
    owner: Option<&Owner>,
) -> bool {
    let least = settings.standby_replicas;
    match (goal, owner) {
        (Goal::Active, _) => false,
        (Goal::Standby, None) => workload.asked > least,
        (Goal::Standby, Some(owner)) => match owner.sort {
            OwnerSort::ScaledObject => owner.min > least,
            OwnerSort::Hpa => owner.min > least.max(1) || (least == 0 && workload.asked > 0),
        },
        (Goal::Drained | Goal::Fenced, _) => workload.asked > 0 || workload.running > 0,
    }
}

/// Less is asked for than `goal` wants: somebody else scaled it down.
pub fn lacks(wants: Wants, goal: Goal, workload: &Workload, owner: Option<&Owner>) -> bool {
    let scale = wants.scale.is_some_and(|scale| workload.asked < scale);
    let floor = wants.floor.zip(owner).is_some_and(|(floor, owner)| owner.min < floor);
    matches!(goal, Goal::Active | Goal::Standby) && (scale || floor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drivers::kubernetes::objects::{GOAL, PAUSED_REPLICAS, REPLICAS};
    use crate::drivers::kubernetes::settings::{Access, Capacity, Sort};
    use std::time::Duration;

    fn settings(standby: i32) -> Settings {
        Settings {
            access: Access::default(),
            named: Vec::new(),
            replicas: [("api".to_owned(), 4)].into(),
            active_replicas: None,
            standby_replicas: standby,
            available_within: Duration::from_secs(1),
            capacity: Capacity::Required,
            gitops_is_fault: true,
        }
    }

    fn named(name: &str) -> Named {
        Named { sort: Sort::Deployment, name: name.to_owned() }
    }

    fn workload(asked: i32, annotations: &[(&str, &str)]) -> Workload {
        let annotations = annotations.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        let mut workload = Workload { asked, running: asked, ..Workload::default() };
        workload.meta.annotations = Some(annotations.collect());
        workload
    }

    fn owner(sort: OwnerSort, min: i32, max: i32) -> Owner {
        Owner::of(sort, "web", min, max)
    }

    fn of(goal: Goal, standby: i32, workload: &Workload, owner: Option<&Owner>) -> Wants {
        wants(&settings(standby), goal, &named("api"), workload, owner).expect("can be reached")
    }

    #[test]
    fn without_an_owner_the_workload_itself_is_scaled() {
        let scale = |goal, standby, asked| of(goal, standby, &workload(asked, &[]), None).scale;
        assert_eq!(scale(Goal::Active, 1, 1), Some(4));
        assert_eq!(scale(Goal::Active, 1, 9), Some(9), "it is never scaled down to serve");
        assert_eq!(scale(Goal::Standby, 1, 9), Some(1));
        assert_eq!(scale(Goal::Standby, 2, 0), Some(2));
        assert_eq!(scale(Goal::Standby, 0, 9), Some(0));
        assert_eq!(scale(Goal::Fenced, 1, 9), Some(0));
        assert_eq!(scale(Goal::Drained, 1, 9), Some(0));
    }

    #[test]
    fn an_owner_is_moved_and_never_fought() {
        let hpa = owner(OwnerSort::Hpa, 2, 10);
        let (runs, sleeps) = (workload(3, &[]), workload(0, &[]));
        let want = |scale, floor, paused| Wants { scale, floor: Some(floor), paused };
        assert_eq!(of(Goal::Active, 1, &runs, Some(&hpa)), want(None, 4, false));
        assert_eq!(of(Goal::Active, 1, &sleeps, Some(&hpa)), want(Some(4), 4, false));
        let high = owner(OwnerSort::Hpa, 7, 10);
        assert_eq!(of(Goal::Active, 1, &runs, Some(&high)), want(None, 7, false));
        assert_eq!(of(Goal::Standby, 1, &runs, Some(&hpa)), want(None, 1, false));
        assert_eq!(of(Goal::Standby, 1, &sleeps, Some(&hpa)), want(Some(1), 1, false));
        assert_eq!(of(Goal::Standby, 0, &runs, Some(&hpa)), want(Some(0), 1, false));
        assert_eq!(of(Goal::Fenced, 1, &runs, Some(&hpa)), want(Some(0), 1, false));
        let keda = owner(OwnerSort::ScaledObject, 2, 10);
        assert_eq!(of(Goal::Active, 1, &sleeps, Some(&keda)), want(None, 4, false));
        assert_eq!(of(Goal::Standby, 0, &runs, Some(&keda)), want(None, 0, false));
        assert_eq!(of(Goal::Fenced, 1, &runs, Some(&keda)), want(Some(0), 1, true));
    }

    #[test]
    fn the_number_comes_from_the_settings_the_annotation_or_what_runs() {
        let number = |name: &str, common, workload: &Workload| {
            let settings = Settings { active_replicas: common, ..settings(1) };
            active(&settings, &named(name), workload, None)
        };
        let remembers = workload(1, &[(REPLICAS, "6"), (GOAL, "standby")]);
        assert_eq!(number("api", Some(2), &remembers), Ok(4));
        assert_eq!(number("web", Some(2), &remembers), Ok(6));
        assert_eq!(number("web", Some(2), &workload(1, &[])), Ok(2));
        assert_eq!(number("web", None, &workload(5, &[])), Ok(5), "nobody has scaled it down");
        for reduced in [workload(1, &[(GOAL, "fenced")]), workload(0, &[])] {
            let why = number("web", None, &reduced).unwrap_err();
            assert!(why.contains("set replicas.web"), "{why}");
        }
    }

    #[test]
    fn an_owner_that_does_not_let_it_is_named() {
        let why = |owner: &Owner| {
            active(&settings(1), &named("api"), &workload(1, &[]), Some(owner)).unwrap_err()
        };
        let low = why(&owner(OwnerSort::Hpa, 1, 3));
        assert!(low.contains("HorizontalPodAutoscaler web lets Deployment api have 3"), "{low}");
        let mut paused = owner(OwnerSort::ScaledObject, 1, 9);
        let zero = [(PAUSED_REPLICAS.to_owned(), "0".to_owned())];
        paused.meta.annotations = Some(zero.clone().into());
        assert!(why(&paused).contains(PAUSED_REPLICAS), "an operator's, not ours");
        let ours = [(GOAL.to_owned(), "fenced".to_owned())].into_iter().chain(zero);
        paused.meta.annotations = Some(ours.collect());
        let lifted = active(&settings(1), &named("api"), &workload(0, &[]), Some(&paused));
        assert_eq!(lifted, Ok(4));
    }

    #[test]
    fn what_served_is_remembered_when_it_is_scaled_down() {
        let serves = workload(5, &[(GOAL, "active")]);
        assert_eq!(to_remember(Goal::Fenced, &serves, None), Some(5));
        let hpa = owner(OwnerSort::Hpa, 3, 10);
        assert_eq!(to_remember(Goal::Standby, &serves, Some(&hpa)), Some(3));
        assert_eq!(to_remember(Goal::Active, &serves, None), None);
        for other in [workload(5, &[(GOAL, "standby")]), workload(5, &[])] {
            assert_eq!(to_remember(Goal::Fenced, &other, None), None);
        }
        let known = workload(5, &[(GOAL, "active"), (REPLICAS, "5")]);
        assert_eq!(to_remember(Goal::Fenced, &known, None), None);
    }

    #[test]
    fn what_somebody_else_changed_shows() {
        let (one, three) = (workload(1, &[]), workload(3, &[]));
        let over = |goal, workload: &Workload, owner: Option<&Owner>| {
            exceeds(&settings(1), goal, workload, owner)
        };
        assert!(over(Goal::Fenced, &one, None) && over(Goal::Standby, &three, None));
        assert!(!over(Goal::Standby, &one, None) && !over(Goal::Active, &three, None));
        let hpa = owner(OwnerSort::Hpa, 1, 10);
        assert!(!over(Goal::Standby, &three, Some(&hpa)), "what it scales up to is its own affair");
        let ending = Workload { asked: 0, running: 1, ..workload(0, &[]) };
        assert!(over(Goal::Fenced, &ending, None));
        let under = |goal, workload: &Workload, owner: Option<&Owner>| {
            lacks(of(goal, 1, workload, owner), goal, workload, owner)
        };
        assert!(under(Goal::Active, &three, None) && !under(Goal::Active, &workload(4, &[]), None));
        assert!(under(Goal::Active, &three, Some(&hpa)) && !under(Goal::Fenced, &one, None));
    }
}
