//! Record data as text and back, without loss, so that what was read can be required exactly.

use super::super::DriverError;
use super::cas::RrSet;
use super::settings::RecordKind;
use crate::dns_client::Answer;
use hickory_proto::rr::rdata::{A, AAAA, CNAME, SOA, TXT};
use hickory_proto::rr::{Name, RData, RecordType};
use std::collections::BTreeSet;

/// The record type on the wire.
pub fn kind(kind: RecordKind) -> RecordType {
    match kind {
        RecordKind::A => RecordType::A,
        RecordKind::Aaaa => RecordType::AAAA,
        RecordKind::Cname => RecordType::CNAME,
    }
}

/// A fully qualified name.
///
/// # Errors
/// `Refused` for what is no name.
pub fn name(text: &str) -> Result<Name, DriverError> {
    let mut name = Name::from_ascii(text)
        .map_err(|error| DriverError::Refused(format!("{text:?} is no domain name: {error}")))?;
    name.set_fqdn(true);
    Ok(name)
}

/// The RRset of `kind` at `name` in an answer; none when it has none.
pub fn records(answer: &Answer, name: &Name, kind: RecordType) -> Option<RrSet> {
    let matching = answer
        .message
        .answers
        .iter()
        .filter(|record| record.name == *name && record.record_type() == kind);
    let mut set: Option<RrSet> = None;
    for record in matching {
        let set = set.get_or_insert(RrSet { ttl: record.ttl, values: BTreeSet::new() });
        set.values.insert(write(&record.data));
    }
    set
}

pub(crate) fn write(data: &RData) -> String {
    match data {
        RData::A(address) => address.0.to_string(),
        RData::AAAA(address) => address.0.to_string(),
        RData::CNAME(target) => target.0.to_ascii(),
        RData::TXT(text) => {
            text.txt_data.iter().map(|part| quoted(part)).collect::<Vec<_>>().join(" ")
        }
        RData::SOA(soa) => format!(
            "{} {} {} {} {} {} {}",
            soa.mname.to_ascii(),
            soa.rname.to_ascii(),
            soa.serial,
            soa.refresh,
            soa.retry,
            soa.expire,
            soa.minimum
        ),
        other => other.to_string(),
    }
}

fn quoted(bytes: &[u8]) -> String {
    let mut text = String::from('"');
    for byte in bytes {
        match byte {
            b'"' | b'\\' | 0..=31 | 127.. => text.push_str(&format!("\\{byte:03}")),
            _ => text.push(char::from(*byte)),
        }
    }
    text.push('"');
    text
}

/// Record data of `kind` from its text.
///
/// # Errors
/// `Refused` for text that [`records`] does not write.
pub fn data(kind: RecordType, text: &str) -> Result<RData, DriverError> {
    let fault = || DriverError::Refused(format!("{text:?} is no data of a {kind} record"));
    Ok(match kind {
        RecordType::A => RData::A(A(text.parse().map_err(|_| fault())?)),
        RecordType::AAAA => RData::AAAA(AAAA(text.parse().map_err(|_| fault())?)),
        RecordType::CNAME => RData::CNAME(CNAME(name(text)?)),
        RecordType::TXT => {
            let parts = unquoted(text).ok_or_else(fault)?;
            RData::TXT(TXT::from_bytes(parts.iter().map(Vec::as_slice).collect()))
        }
        RecordType::SOA => RData::SOA(soa(text).ok_or_else(fault)?),
        _ => return Err(fault()),
    })
}

fn soa(text: &str) -> Option<SOA> {
    let parts: Vec<&str> = text.split(' ').collect();
    let [mname, rname, serial, refresh, retry, expire, minimum] = parts.as_slice() else {
        return None;
    };
    Some(SOA::new(
        name(mname).ok()?,
        name(rname).ok()?,
        serial.parse().ok()?,
        refresh.parse().ok()?,
        retry.parse().ok()?,
        expire.parse().ok()?,
        minimum.parse().ok()?,
    ))
}

fn unquoted(text: &str) -> Option<Vec<Vec<u8>>> {
    let (mut parts, mut rest) = (Vec::new(), text.as_bytes());
    while let [b'"', inner @ ..] = rest {
        let mut part = Vec::new();
        rest = inner;
        loop {
            match rest {
                [b'"', after @ ..] => {
                    rest = after.strip_prefix(b" ").unwrap_or(after);
                    break;
                }
                [b'\\', a, b, c, after @ ..] => {
                    let digits = [*a, *b, *c];
                    part.push(std::str::from_utf8(&digits).ok()?.parse().ok()?);
                    rest = after;
                }
                [byte, after @ ..] => {
                    part.push(*byte);
                    rest = after;
                }
                [] => return None,
            }
        }
        parts.push(part);
    }
    if rest.is_empty() && !parts.is_empty() { Some(parts) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back_is_the_same() {
        for (kind, text) in [
            (RecordType::A, "192.0.2.1"),
            (RecordType::AAAA, "2001:db8::1"),
            (RecordType::CNAME, "Other.example.test."),
            (RecordType::TXT, "\"7.19\""),
            (RecordType::TXT, "\"\" \"a b\" \"\\034\\092\\000\\255\""),
            (RecordType::SOA, "ns.example.test. a\\.b.example.test. 7 1 2 3 4"),
        ] {
            assert_eq!(write(&data(kind, text).expect(text)), text);
        }
    }
}
