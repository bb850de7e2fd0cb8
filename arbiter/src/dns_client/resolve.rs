//! What a public name leads to, asked of given servers. Knows records; never a group's policy.

use super::{Answer, CONNECT_LIMIT, DnsError, ask, question};
use arbiter_core::Token;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::time::timeout;

/// Aliases followed before a name counts as a loop.
const ALIASES_MAX: usize = 8;

/// The records of one name at one server.
#[derive(Clone, Debug, Default)]
pub struct Looked {
    /// Records of the name and type asked for; none when there are none.
    pub records: Vec<Record>,
    /// Where the name is an alias: its target.
    pub alias: Option<Name>,
    /// The server answers for the zone itself, not from a cache.
    pub authoritative: bool,
}

/// Look `name` up at `server` (`host:port`), without recursion.
///
/// # Errors
/// `Unreachable` when it does not answer in time, `Garbled` when it answers with an error such as
/// SERVFAIL or REFUSED. A name that does not exist is no error.
pub async fn look_up(server: &str, name: &Name, kind: RecordType) -> Result<Looked, DnsError> {
    let Answer { message, .. } = ask(server, question(name.clone(), kind)).await?;
    match message.response_code {
        ResponseCode::NoError | ResponseCode::NXDomain => {}
        code => {
            let why = format!("DNS server {server} answers {code} for {name}");
            return Err(DnsError::Garbled(why));
        }
    }
    let mut looked = Looked { authoritative: message.authoritative, ..Looked::default() };
    for record in &message.answers {
        if record.name != *name {
            continue;
        }
        match &record.data {
            RData::CNAME(target) if kind != RecordType::CNAME => {
                looked.alias = Some(target.0.clone());
            }
            _ if record.record_type() == kind => looked.records.push(record.clone()),
            _ => {}
        }
    }
    Ok(looked)
}

/// The servers that answer for a zone, and which of them answered last: that one is asked first,
/// so that one that is gone is waited for once and not at every question.
#[derive(Debug, Default)]
pub struct Servers {
    listed: Vec<String>,
    last: AtomicUsize,
}

impl Servers {
    /// These, each `host:port`, in this order until one has answered.
    pub fn new(listed: Vec<String>) -> Self {
        Self { listed, last: AtomicUsize::new(0) }
    }

    /// As given.
    pub fn listed(&self) -> &[String] {
        &self.listed
    }

    /// What the first that answers for `name` says.
    async fn first(&self, name: &Name, kind: RecordType) -> Result<Looked, DnsError> {
        let mut why = DnsError::Unreachable(format!("no DNS server to ask for {name}"));
        let last = self.last.load(Ordering::Relaxed);
        let others = (0..self.listed.len()).filter(|place| *place != last);
        for place in std::iter::once(last).chain(others) {
            let Some(server) = self.listed.get(place) else { continue };
            match look_up(server, name, kind).await {
                Ok(looked) if looked.authoritative => {
                    self.last.store(place, Ordering::Relaxed);
                    return Ok(looked);
                }
                Ok(_) => {
                    why = DnsError::Garbled(format!(
                        "DNS server {server} is no authority for {name}"
                    ));
                }
                Err(error) => why = error,
            }
        }
        Err(why)
    }
}

/// Where a name leads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Led {
    /// The aliases on the way, in the order met; empty when the name has records of its own.
    pub aliases: Vec<Name>,
    /// Sorted, without doubles; empty when the name leads nowhere.
    pub addresses: Vec<IpAddr>,
}

impl Led {
    /// Whether `name` is one of the aliases.
    pub fn passes(&self, name: &str) -> bool {
        parse(name).is_ok_and(|name| self.aliases.contains(&name))
    }
}

/// Where `name` leads: each name on the way is asked of `servers`. An alias to a name that they do
/// not answer for is asked of this host's resolver.
///
/// # Errors
/// The last server's, when none answers for the name itself; the resolver's, for an alias.
pub async fn follow(name: &str, servers: &Servers) -> Result<Led, DnsError> {
    let mut name = parse(name)?;
    let mut led = Led::default();
    while led.aliases.len() <= ALIASES_MAX {
        let mut alias = None;
        for kind in [RecordType::A, RecordType::AAAA] {
            let looked = match servers.first(&name, kind).await {
                Ok(looked) => looked,
                Err(DnsError::Garbled(_)) if !led.aliases.is_empty() => {
                    led.addresses = elsewhere(&name).await?;
                    return Ok(led);
                }
                Err(error) => return Err(error),
            };
            alias = alias.or(looked.alias);
            led.addresses.extend(looked.records.iter().filter_map(|record| match &record.data {
                RData::A(address) => Some(IpAddr::V4(address.0)),
                RData::AAAA(address) => Some(IpAddr::V6(address.0)),
                _ => None,
            }));
        }
        match alias {
            Some(target) if led.addresses.is_empty() => {
                led.aliases.push(target.clone());
                name = target;
            }
            _ => {
                led.addresses.sort();
                led.addresses.dedup();
                return Ok(led);
            }
        }
    }
    Err(DnsError::Garbled(format!("{name}: more than {ALIASES_MAX} aliases")))
}

/// Addresses of a name that the servers of the zone do not answer for.
async fn elsewhere(name: &Name) -> Result<Vec<IpAddr>, DnsError> {
    let fault = |why: String| {
        let which = format!("{name}, which its zone's servers do not answer for");
        DnsError::Unreachable(format!("this host's resolver does not know {which}: {why}"))
    };
    // Without the dot at its end it is what a program on this host asks for, its hosts file too.
    let asked = name.to_ascii();
    let asked = asked.trim_end_matches('.');
    match timeout(CONNECT_LIMIT, tokio::net::lookup_host((asked, 0))).await {
        Ok(Ok(found)) => {
            let found: BTreeSet<IpAddr> = found.map(|address| address.ip()).collect();
            Ok(found.into_iter().collect())
        }
        Ok(Err(error)) => Err(fault(error.to_string())),
        Err(_) => Err(fault(format!("no answer within {CONNECT_LIMIT:?}"))),
    }
}

/// The token that stands at `token_name`; none when there is none, or it is no token.
///
/// # Errors
/// The last server's, when none answers for the name.
pub async fn token_at(token_name: &str, servers: &Servers) -> Result<Option<Token>, DnsError> {
    let looked = servers.first(&parse(token_name)?, RecordType::TXT).await?;
    let [record] = looked.records.as_slice() else { return Ok(None) };
    let RData::TXT(text) = &record.data else { return Ok(None) };
    let [bytes] = &*text.txt_data else { return Ok(None) };
    Ok(std::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok()))
}

fn parse(name: &str) -> Result<Name, DnsError> {
    let mut parsed = Name::from_ascii(name)
        .map_err(|error| DnsError::Garbled(format!("{name:?} is no domain name: {error}")))?;
    parsed.set_fqdn(true);
    Ok(parsed)
}
