//! What a group's public name leads to, from where this arbiter stands: the vantage of the plan's
//! last row. Knows the name, its authority and the address; never a plan.

use crate::clock;
use crate::dns_client::{self, Led, Servers};
use arbiter_core::{GroupId, GroupSpec, Instance, Layer, RegionId, ServiceSeen, Token};
use std::net::IpAddr;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Limit of one look. What is older than 5 s counts for nothing, and a look may have begun late.
pub const LOOK_LIMIT: Duration = Duration::from_millis(4_000);
/// Limit of reaching the address.
const REACH_LIMIT: Duration = Duration::from_millis(1_000);

/// The instance that holds the public name, where the group has one.
fn traffic(spec: &GroupSpec) -> Option<&Instance> {
    spec.instances.values().find(|instance| instance.layer == Layer::Traffic)
}

/// The servers to ask about the public name of a group; none where the kind does not say.
pub fn servers(spec: &GroupSpec) -> Vec<String> {
    let Some(instance) = traffic(spec) else { return Vec::new() };
    let listed = ["server", "name_servers"].iter().find_map(|key| instance.settings.get(*key));
    let listed = listed.map(String::as_str).unwrap_or_default();
    listed.split(',').map(|s| s.trim().to_owned()).filter(|s| !s.is_empty()).collect()
}

/// Look at the public name of `group`; none where it has no name that can be asked for. It ends
/// within [`LOOK_LIMIT`].
pub async fn look(group: &GroupId, spec: &GroupSpec, servers: &Servers) -> Option<ServiceSeen> {
    let instance = traffic(spec)?;
    // Names of one resource are switched in one change: the first tells of all.
    let name = instance.settings.get("name")?.split(',').next()?.trim();
    if servers.listed().is_empty() {
        return None;
    }
    let looked = timeout(LOOK_LIMIT, walk(group, spec, instance, name, servers)).await;
    let late = |_| seen(None, None, false, format!("{name}: not followed within {LOOK_LIMIT:?}"));
    Some(looked.unwrap_or_else(late))
}

async fn walk(
    group: &GroupId,
    spec: &GroupSpec,
    instance: &Instance,
    name: &str,
    servers: &Servers,
) -> ServiceSeen {
    let led = match dns_client::follow(name, servers).await {
        Ok(led) => led,
        Err(error) => return seen(None, None, false, format!("{name}: {error}")),
    };
    let token = token(group, instance, servers).await;
    let Some(address) = led.addresses.first().copied() else {
        return seen(None, token, false, format!("{name} leads nowhere"));
    };
    let region = region_of(instance, &led, address, servers).await;
    let Some(port) = region.as_ref().and_then(|region| port_of(spec, region)) else {
        return seen(region, token, false, format!("{name} leads to {address}"));
    };
    let reached = timeout(REACH_LIMIT, TcpStream::connect((address, port))).await;
    let reached = matches!(reached, Ok(Ok(_)));
    let how = if reached { "answers" } else { "does not answer" };
    seen(region, token, reached, format!("{name} leads to {address}, which {how}"))
}

fn seen(
    region: Option<RegionId>,
    token: Option<Token>,
    reached: bool,
    detail: String,
) -> ServiceSeen {
    ServiceSeen { at: clock::now(), region, token, reached, detail }
}

async fn token(group: &GroupId, instance: &Instance, servers: &Servers) -> Option<Token> {
    let zone = instance.settings.get("zone")?;
    let standard = || dns_client::token_name(group, zone);
    let name = instance.settings.get("token_name").cloned().unwrap_or_else(standard);
    dns_client::token_at(&name, servers).await.ok().flatten()
}

/// The region whose configured value is `address`, or an alias on the way there, or a name that
/// leads there.
async fn region_of(
    instance: &Instance,
    led: &Led,
    address: IpAddr,
    servers: &Servers,
) -> Option<RegionId> {
    for (key, values) in &instance.settings {
        let Some(region) = key.strip_prefix("value.") else { continue };
        for value in values.split(',').map(str::trim) {
            let leads_there = match value.parse::<IpAddr>() {
                Ok(own) => own == address,
                Err(_) if led.passes(value) => true,
                Err(_) => {
                    let own = dns_client::follow(value, servers).await;
                    own.is_ok_and(|own| own.addresses.contains(&address))
                }
            };
            if leads_there {
                return Some(RegionId::from(region));
            }
        }
    }
    None
}

/// The port that clients use in `region`: the first data instance's.
fn port_of(spec: &GroupSpec, region: &RegionId) -> Option<u16> {
    spec.instances
        .values()
        .filter(|instance| instance.layer == Layer::Data && instance.region == *region)
        .find_map(|instance| instance.address.rsplit_once(':')?.1.parse().ok())
}
