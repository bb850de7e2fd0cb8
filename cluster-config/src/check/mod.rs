//! What keys say together. Knows the meaning of a cluster; never text or how it was read.

mod durability;
mod fences;
mod groups;
mod holding;
mod members;
mod people;
mod poolers;
mod tls;
mod traffic;

use crate::fault::{Book, suggest};
use crate::schema::{Arbiter, Cluster, RegionKind};

pub(crate) fn check(cluster: &Cluster, book: &mut Book<'_>) {
    if book.broken {
        // What is missing may only be unreadable: judging the rest would mislead.
        return;
    }
    members::check(cluster, book);
    tls::check(cluster, book);
    people::check(cluster, book);
    let mut data_dirs = groups::DataDirs::new();
    for (name, group) in &cluster.groups {
        let path = format!("groups.{name}");
        groups::check(cluster, &path, group, &mut data_dirs, book);
        traffic::check(cluster, &path, group, book);
        poolers::check(cluster, &path, group, book);
        durability::check(&path, group, book);
        fences::check(cluster, &path, group, book);
        holding::check(cluster, &path, group, book);
    }
}

/// A fault unless `region` is a known data region. `why` says what needs one.
fn data_region(cluster: &Cluster, key: &str, region: &str, why: &str, book: &mut Book<'_>) -> bool {
    if region.is_empty() {
        return false;
    }
    let data: Vec<&str> = data_regions(cluster);
    match cluster.regions.get(region) {
        Some(found) if found.kind == RegionKind::Data => true,
        Some(_) => {
            let what = format!("{region:?} is a witness: it votes and holds nothing; {why}");
            book.fault(key, what, format!("name a data region: {}", data.join(", ")));
            false
        }
        None => {
            book.fault(key, format!("no region {region:?}"), suggest(region, &data));
            false
        }
    }
}

fn data_regions(cluster: &Cluster) -> Vec<&str> {
    let data = cluster.regions.iter().filter(|(_, region)| region.kind == RegionKind::Data);
    data.map(|(name, _)| name.as_str()).collect()
}

/// The region of an agent; none where either is unknown, which is a fault of its own.
fn region_of<'a>(cluster: &'a Cluster, agent: &str) -> Option<&'a str> {
    cluster.agents.get(agent).map(|agent| agent.region.as_str())
}

/// What is wrong with a URL to GET or POST, and the remedy; everybody may read it, so it holds no
/// user and no password.
///
/// # Errors
/// Without the URL itself, which may hold a secret.
pub fn http_url(text: &str) -> Result<(), (&'static str, &'static str)> {
    if !text.starts_with("http://") && !text.starts_with("https://") {
        let what = "is no URL that begins with http:// or https://";
        return Err((what, "write such as \"http://10.0.1.2:8080/healthz\""));
    }
    if names_a_user(text) {
        let what = "holds a user or a password, and everybody may read it";
        return Err((what, "write the URL without them; where its kind takes a file, name that"));
    }
    Ok(())
}

/// Whether a URL has something before an `@` in front of its path.
fn names_a_user(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().is_some_and(|place| place.contains('@'))
}

/// Host and port of `host:port`; `[v6]:port` too.
pub fn host_port(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let port: u16 = port.parse().ok().filter(|port| *port != 0)?;
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    match bracketed {
        Some(v6) => v6.parse::<std::net::Ipv6Addr>().ok().map(|_| (v6, port)),
        None => (!host.is_empty() && host.chars().all(good)).then_some((host, port)),
    }
}

/// A fault unless it is `host:port` that others can dial; its host where it is.
fn dialled<'a>(key: &str, text: &'a str, book: &mut Book<'_>) -> Option<&'a str> {
    let found = host_port(text);
    if text.is_empty() {
        return None;
    }
    let Some((host, _)) = found else {
        let what = format!("{text:?} is not host:port");
        book.fault(key, what, "write a name or address and a port, such as \"10.0.1.1:7400\"");
        return None;
    };
    let address = host.parse::<std::net::IpAddr>().ok();
    if address.is_some_and(|address| address.is_unspecified()) {
        let what = format!("{text:?} cannot be dialled from another host");
        book.fault(key, what, "write the address that others reach it by");
        return None;
    }
    Some(host)
}

/// Whether another host may reach it where agents, operators and its peers do. The operations port
/// answers questions only.
pub(crate) fn beyond_loopback(arbiter: &Arbiter) -> bool {
    let listen = arbiter.listen.as_deref().unwrap_or(&arbiter.address);
    let hosts = [listen, &arbiter.address].map(|text| host_port(text).map(|(host, _)| host));
    hosts.into_iter().flatten().any(|host| !is_loopback(host))
}

/// Whether a host names this machine only.
pub fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}
