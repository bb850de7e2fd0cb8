//! `arbiter cost`: what a month of the standby costs.

use super::connect::{Arbiters, Where};
use super::exit::{Exit, Fail, on_terminal, say};
use super::render::{Look, cost as cost_text};
use super::status::json;
use crate::cost::{Observed, SIZE_BYTES, bill};
use crate::policy_file;
use arbiter_proto::v1 as pb;
use clap::Args;

/// Options of `arbiter cost`.
#[derive(Args, Debug)]
pub(super) struct CostArgs {
    #[command(flatten)]
    at: Where,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Prices and sizes come from the file; sizes that it leaves out from the arbiters, if they answer.
pub(super) async fn run(args: CostArgs) -> Result<Exit, Fail> {
    let Some(file) = &args.at.config else {
        let what = "prices stand in the cluster file, and --config and ARBITER_CONFIG are unset";
        return Err(Fail::error(what, "arbiter cost --config FILE"));
    };
    let cluster = policy_file::load(file)
        .map_err(|faults| Fail::error(faults.to_string(), "correct the cluster file"))?;
    let Some(cost) = &cluster.cost else {
        let why = format!("{} has no [cost]: no price is known", file.display());
        return Err(Fail::refused("no-prices", why, "arbiter config reference, which shows it"));
    };
    let status = Arbiters::find(&args.at)?.status("").await.ok();
    let observed = status.as_ref().map(observed).unwrap_or_default();
    let resources = cluster.groups.values().flat_map(|group| group.resources.values());
    let kinds = resources.map(|resource| resource.kind.name).collect();
    let bill = bill(cost, &kinds, &observed);
    let look = Look { colour: on_terminal() };
    say(&if args.json { json(&bill)? } else { cost_text::cost(&bill, look) });
    Ok(Exit::Yes)
}

/// What agents see in standby regions, by kind of resource.
fn observed(status: &pb::Status) -> Observed {
    let mut found = Observed::new();
    for group in &status.groups {
        let standby = group.regions.iter().filter(|region| region.region != group.active);
        let agents = standby.flat_map(|region| &region.agents);
        for instance in agents.flat_map(|agent| &agent.instances) {
            let size = instance.detail.get(SIZE_BYTES).and_then(|text| text.parse::<u64>().ok());
            if let Some(size) = size {
                let all = found.entry(instance.kind.clone()).or_default();
                *all = all.saturating_add(size);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(name: &str, size: &str) -> pb::RegionStatus {
        let detail = [(SIZE_BYTES.to_owned(), size.to_owned())].into();
        let kind = "postgres".to_owned();
        let instance = pb::InstanceStatus { kind, detail, ..Default::default() };
        let agent = pb::AgentStatus { instances: vec![instance], ..Default::default() };
        pb::RegionStatus { region: name.to_owned(), agents: vec![agent], ..Default::default() }
    }

    #[test]
    fn only_the_standby_is_counted() {
        let regions = vec![region("eu", "5"), region("us", "7"), region("us", "many")];
        let group = pb::GroupStatus { active: "eu".to_owned(), regions, ..Default::default() };
        let status = pb::Status { groups: vec![group.clone(), group], ..Default::default() };
        assert_eq!(observed(&status), Observed::from([("postgres".to_owned(), 14)]));
    }
}
