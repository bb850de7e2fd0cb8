//! What a public name leads to, asked of given servers. Knows records; never a group's policy.

use super::{Answer, DnsError, ask, question};
use arbiter_core::Token;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use std::net::IpAddr;

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

/// Addresses that `name` leads to, aliases followed, each asked of the first of `servers` that
/// answers for it. Sorted, without doubles; empty when the name leads nowhere.
///
/// # Errors
/// The last server's, when none answers for the name.
pub async fn follow(name: &str, servers: &[String]) -> Result<Vec<IpAddr>, DnsError> {
    let mut name = parse(name)?;
    for _ in 0..ALIASES_MAX {
        let (mut addresses, mut alias) = (Vec::new(), None);
        for kind in [RecordType::A, RecordType::AAAA] {
            let looked = first(servers, &name, kind).await?;
            alias = alias.or(looked.alias);
            addresses.extend(looked.records.iter().filter_map(|record| match &record.data {
                RData::A(address) => Some(IpAddr::V4(address.0)),
                RData::AAAA(address) => Some(IpAddr::V6(address.0)),
                _ => None,
            }));
        }
        match alias {
            Some(target) if addresses.is_empty() => name = target,
            _ => {
                addresses.sort();
                addresses.dedup();
                return Ok(addresses);
            }
        }
    }
    Err(DnsError::Garbled(format!("{name}: more than {ALIASES_MAX} aliases")))
}

/// The token that stands at `token_name`; none when there is none, or it is no token.
///
/// # Errors
/// The last server's, when none answers for the name.
pub async fn token_at(token_name: &str, servers: &[String]) -> Result<Option<Token>, DnsError> {
    let looked = first(servers, &parse(token_name)?, RecordType::TXT).await?;
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

async fn first(servers: &[String], name: &Name, kind: RecordType) -> Result<Looked, DnsError> {
    let mut why = DnsError::Unreachable(format!("no DNS server to ask for {name}"));
    for server in servers {
        match look_up(server, name, kind).await {
            Ok(looked) if looked.authoritative => return Ok(looked),
            Ok(_) => {
                why = DnsError::Garbled(format!("DNS server {server} is no authority for {name}"));
            }
            Err(error) => why = error,
        }
    }
    Err(why)
}
