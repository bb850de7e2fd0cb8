//! DNS UPDATE (RFC 2136) with TSIG, against the primary server of a zone.
//!
//! Knows how a conditioned change is said in one message, and what the server's answers mean.
//! Never knows which region should be named.

use super::cas::{Change, RrSet, Seen};
use super::settings::{Reader, RecordKind, Settings, Slot};
use super::text::{data, kind, name, records};
use super::{Authority, DriverError, Swapped, tsig};
use crate::dns_client::{Answer, Connection, DnsError, question};
use async_trait::async_trait;
use hickory_proto::op::{Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::tsig::TsigError;
use hickory_proto::rr::{DNSClass, Name, Record, RecordType, TSigner};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::Mutex;

/// Servers that may be listed.
const SERVERS_MAX: usize = 8;

/// What refuses the replay of a change that does not raise a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Guard {
    /// The zone's SOA record: its serial rises with every change.
    Soa,
    /// A TXT record of our own that counts such changes, where the server checks conditions
    /// against another SOA than it serves (BIND with inline signing).
    Txt,
}

/// Settings that only this kind knows.
pub struct Own {
    servers: Vec<String>,
    key_file: PathBuf,
    guard: Guard,
}

impl Own {
    /// Take them out of `reader`.
    ///
    /// # Errors
    /// `Refused`, naming the setting and the remedy.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, DriverError> {
        let list = reader.required("server", "\"10.0.3.1:53\"")?;
        let servers: Vec<String> = list
            .split(',')
            .map(str::trim)
            .filter(|server| !server.is_empty())
            .map(str::to_owned)
            .collect();
        let port = |server: &String| {
            let port = server.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
            matches!(port, Some(Ok(1..)))
        };
        if servers.is_empty() || servers.len() > SERVERS_MAX || !servers.iter().all(port) {
            return Err(reader.fault(format!(
                "server {list:?}: give 1 to {SERVERS_MAX} of host:port, with commas between"
            )));
        }
        let key_file =
            PathBuf::from(reader.required("tsig_key_file", "\"/etc/bind/arbiter.key\"")?);
        let guard = match reader.optional("guard").unwrap_or("soa") {
            "soa" => Guard::Soa,
            "txt" => Guard::Txt,
            other => return Err(reader.fault(format!("guard {other:?}: give soa or txt"))),
        };
        Ok(Self { servers, key_file, guard })
    }
}

/// The authority.
pub struct Rfc2136 {
    own: Own,
    zone: Name,
    token: Name,
    guard: Name,
    /// Left open between a read and its swap, and from one look to the next.
    connection: Mutex<Option<Connection>>,
    /// Servers that answered but took no update, so far: the next is asked first.
    passed: AtomicUsize,
}

impl Rfc2136 {
    /// An authority for the zone of `settings`.
    ///
    /// # Errors
    /// `Refused` when a name cannot be one.
    pub fn new(settings: &Settings, own: Own) -> Result<Self, DriverError> {
        let guard = settings.guard_name();
        let (zone, token) = (name(&settings.zone)?, name(&settings.token_name)?);
        Ok(Self {
            own,
            zone,
            token,
            guard: name(&guard)?,
            connection: Mutex::default(),
            passed: AtomicUsize::new(0),
        })
    }

    /// Ask everything over one connection: the one left open, else the first server that answers.
    async fn ask(&self, questions: &[Message], key: &TSigner) -> Result<Vec<Answer>, DriverError> {
        let kept = self.connection.lock().await.take();
        if let Some(mut connection) = kept
            && let Ok(answers) = connection.exchange(questions.to_vec(), Some(key)).await
        {
            *self.connection.lock().await = Some(connection);
            return Ok(answers);
        }
        let (mut faults, mut useless) = (Vec::new(), None);
        let (count, passed) = (self.own.servers.len(), self.passed.load(Ordering::Relaxed));
        for server in self.own.servers.iter().cycle().skip(passed % count.max(1)).take(count) {
            match one(server, questions, key).await {
                Ok((connection, answers)) if answers.iter().all(is_useful) => {
                    *self.connection.lock().await = Some(connection);
                    return Ok(answers);
                }
                // Another may do better: what this one says is kept for when none does.
                Ok((_, answers)) => useless = useless.or(Some(answers)),
                Err(error) => faults.push(error.to_string()),
            }
        }
        useless.ok_or_else(|| DriverError::Retry(faults.join("; ")))
    }

    fn questions(&self, settings: &Settings) -> Vec<(Name, RecordType)> {
        let mut asked = vec![(self.zone.clone(), RecordType::SOA)];
        asked.push((self.token.clone(), RecordType::TXT));
        if self.own.guard == Guard::Txt {
            asked.push((self.guard.clone(), RecordType::TXT));
        }
        for slot in settings.slots() {
            let Ok(name) = name(&slot.name) else { continue };
            asked.push((name.clone(), kind(slot.kind)));
            // A CNAME lives alone: what stands in its way must be seen.
            if slot.kind == RecordKind::Cname {
                asked.push((name.clone(), RecordType::A));
                asked.push((name, RecordType::AAAA));
            }
        }
        asked
    }

    fn update(&self, settings: &Settings, change: &Change) -> Result<Message, DriverError> {
        let mut message = Message::query();
        message.metadata.op_code = OpCode::Update;
        message.metadata.recursion_desired = false;
        let mut zone = Query::new();
        zone.set_name(self.zone.clone()).set_query_type(RecordType::SOA);
        message.add_query(zone);
        let mut update = Update { message };
        let from = &change.from;
        update.require(&self.token, RecordType::TXT, from.token.as_ref())?;
        for (slot, set) in &from.records {
            let name = name(&slot.name)?;
            match (slot.kind, set) {
                // RFC 2136 §3.4.2.2 drops an addition beside a CNAME in silence, and a CNAME
                // beside anything else: the token would move and the records would not.
                (RecordKind::Cname, None) => update.require_unused(&name),
                (RecordKind::Cname, set) => {
                    update.require(&name, RecordType::CNAME, set.as_ref())?
                }
                (other, set) => {
                    update.require(&name, kind(other), set.as_ref())?;
                    update.require(&name, RecordType::CNAME, None)?;
                }
            }
        }
        if change.guarded {
            let (name, kind) = match self.own.guard {
                Guard::Soa => (&self.zone, RecordType::SOA),
                Guard::Txt => (&self.guard, RecordType::TXT),
            };
            update.require(name, kind, from.guard.as_ref())?;
            if self.own.guard == Guard::Txt {
                let next = super::cas::next_guard(from.guard.as_ref(), settings.ttl);
                update.replace(&self.guard, RecordType::TXT, Some(&next))?;
            }
        }
        update.replace(&self.token, RecordType::TXT, Some(&change.token))?;
        for (slot, set) in &change.records {
            update.replace(&name(&slot.name)?, kind(slot.kind), set.as_ref())?;
        }
        Ok(update.message)
    }
}

async fn one(
    server: &str,
    questions: &[Message],
    key: &TSigner,
) -> Result<(Connection, Vec<Answer>), DnsError> {
    let mut connection = Connection::open(server).await?;
    let answers = connection.exchange(questions.to_vec(), Some(key)).await?;
    Ok((connection, answers))
}

#[async_trait]
impl Authority for Rfc2136 {
    async fn read(&self, settings: &Settings) -> Result<Seen, DriverError> {
        let key = tsig::read(&self.own.key_file).await?;
        let asked = self.questions(settings);
        let questions: Vec<Message> =
            asked.iter().map(|(name, kind)| question(name.clone(), *kind)).collect();
        let answers = self.ask(&questions, &key).await?;
        let mut seen = Seen::default();
        for ((name, kind), answer) in asked.iter().zip(&answers) {
            readable(answer, &self.zone)?;
            let set = records(answer, name, *kind);
            match kind {
                RecordType::SOA if set.is_none() => {
                    return Err(DriverError::Refused(format!(
                        "{name} is no zone of this server; check zone and server"
                    )));
                }
                RecordType::SOA if self.own.guard == Guard::Soa => seen.guard = set,
                RecordType::SOA => {}
                RecordType::TXT if *name == self.token => seen.token = set,
                RecordType::TXT => seen.guard = set,
                _ => traffic(settings, &mut seen, name, *kind, set, answer),
            }
        }
        Ok(seen)
    }

    async fn swap(&self, settings: &Settings, change: &Change) -> Result<Swapped, DriverError> {
        let key = tsig::read(&self.own.key_file).await?;
        let message = self.update(settings, change)?;
        // Only where it was read: another server may stand elsewhere in the zone's history.
        let Some(mut connection) = self.connection.lock().await.take() else {
            return Err(DriverError::Retry("the connection is in use; read again".to_owned()));
        };
        let answers = connection.exchange(vec![message], Some(&key)).await;
        let mut answers = answers.map_err(|error| DriverError::Retry(error.to_string()))?;
        let server = connection.server().to_owned();
        if self.own.servers.len() > 1 && !answers.iter().all(is_useful) {
            // A secondary can be read and takes no update; a primary is perhaps among the others.
            self.passed.fetch_add(1, Ordering::Relaxed);
            let text = format!("DNS server {server} takes no update of {}", settings.zone);
            return Err(DriverError::Retry(format!("{text}: the next one is asked")));
        }
        *self.connection.lock().await = Some(connection);
        match answers.pop() {
            Some(answer) => match outcome(&answer, &server, &settings.zone)? {
                Swapped::Conflict(said) if change.guarded && self.own.guard == Guard::Soa => Ok(
                    Swapped::Conflict(format!("{said} (signed inline? then set guard = \"txt\")")),
                ),
                other => Ok(other),
            },
            None => Err(DriverError::Retry(format!("DNS server {server}: no answer"))),
        }
    }
}

/// Put what was read of a traffic name where it belongs.
fn traffic(
    settings: &Settings,
    seen: &mut Seen,
    at: &Name,
    asked: RecordType,
    set: Option<RrSet>,
    answer: &Answer,
) {
    let mut slots = settings.slots().filter(|slot| name(&slot.name).is_ok_and(|name| name == *at));
    if let Some(slot) = slots.find(|slot| kind(slot.kind) == asked) {
        if let Some(alias) = records(answer, at, RecordType::CNAME).filter(|_| set.is_none()) {
            seen.in_the_way.push(in_the_way(&slot, RecordType::CNAME, &alias));
        }
        seen.records.insert(slot, set);
    } else if let Some(set) = set {
        let slot = Slot { name: at.to_ascii(), kind: RecordKind::Cname };
        seen.in_the_way.push(in_the_way(&slot, asked, &set));
    }
}

fn in_the_way(slot: &Slot, kind: RecordType, set: &RrSet) -> String {
    format!(
        "{} has a {kind} record, {set}, and a CNAME lives alone; delete it, or set record_type",
        slot.name
    )
}

/// Whether a server could do what it was asked: one whose copy of the zone expired, or a secondary
/// that is asked to update, cannot.
fn is_useful(answer: &Answer) -> bool {
    use ResponseCode::{NotAuth, NotImp, Refused, ServFail};
    !matches!(answer.message.response_code, ServFail | Refused | NotAuth | NotImp)
}

/// Whether an answer to a question can be believed.
fn readable(answer: &Answer, zone: &Name) -> Result<(), DriverError> {
    signature(answer)?;
    match answer.message.response_code {
        // That nothing is there would halt a plan: it takes a signed word.
        ResponseCode::NXDomain if !answer.verified => {
            Err(DriverError::Retry(format!("the DNS server answers NXDOMAIN for {zone}, unsigned")))
        }
        ResponseCode::NoError | ResponseCode::NXDomain if answer.message.authoritative => Ok(()),
        ResponseCode::NoError | ResponseCode::NXDomain => Err(DriverError::Refused(format!(
            "the DNS server is no authority for {zone}; set server to the zone's primary"
        ))),
        ResponseCode::Refused if answer.verified => Err(DriverError::Refused(format!(
            "the DNS server refuses questions about {zone}; check that it serves the zone, and its \
             allow-query"
        ))),
        code => Err(DriverError::Retry(format!("the DNS server answers {code} for {zone}"))),
    }
}

/// What the server says about our signature. It cannot sign that, so this much is taken unsigned.
fn signature(answer: &Answer) -> Result<(), DriverError> {
    let refused = |text: &str| Err(DriverError::Refused(text.to_owned()));
    match answer.tsig_error() {
        None => Ok(()),
        Some(TsigError::BadKey) => refused(
            "TSIG BADKEY: the DNS server knows no key of the name in tsig_key_file; add it there, \
             or correct the name",
        ),
        Some(TsigError::BadSig) => refused(
            "TSIG BADSIG: the DNS server has another secret for this key; copy its key to \
             tsig_key_file",
        ),
        Some(TsigError::BadTime) => Err(DriverError::Retry(
            "TSIG BADTIME: the clocks of this host and the DNS server differ by more than 300 s; \
             correct them"
                .to_owned(),
        )),
        Some(other) => Err(DriverError::Refused(format!(
            "TSIG error {}: the DNS server refuses the signature",
            u16::from(other)
        ))),
    }
}

/// What the server's answer to an update means.
fn outcome(answer: &Answer, server: &str, zone: &str) -> Result<Swapped, DriverError> {
    signature(answer)?;
    let code = answer.message.response_code;
    let conflict = || Ok(Swapped::Conflict(format!("a prerequisite fails with {code}")));
    match code {
        ResponseCode::NoError => Ok(Swapped::Yes),
        ResponseCode::YXDomain | ResponseCode::YXRRSet => conflict(),
        ResponseCode::NXRRSet | ResponseCode::NXDomain => conflict(),
        // A word that nobody signed halts no plan.
        _ if !answer.verified => Err(DriverError::Retry(format!(
            "DNS server {server} answers {code} to the update, unsigned"
        ))),
        ResponseCode::Refused => Err(DriverError::Refused(format!(
            "DNS server {server} refuses the update (REFUSED): let the key change the TXT and \
             traffic names in the update-policy of {zone}, and see that the zone is not frozen"
        ))),
        ResponseCode::NotAuth | ResponseCode::NotZone => Err(DriverError::Refused(format!(
            "DNS server {server} is no primary of {zone} ({code}); set server to its primary"
        ))),
        ResponseCode::FormErr | ResponseCode::NotImp => Err(DriverError::Refused(format!(
            "DNS server {server} does not do updates (RFC 2136): {code}"
        ))),
        _ => Err(DriverError::Retry(format!("DNS server {server} answers {code} to the update"))),
    }
}

/// One update message in the making.
struct Update {
    message: Message,
}

impl Update {
    /// RFC 2136 §2.4.2 and §2.4.3: the RRset is exactly this, or does not exist.
    fn require(
        &mut self,
        at: &Name,
        kind: RecordType,
        set: Option<&RrSet>,
    ) -> Result<(), DriverError> {
        let Some(set) = set else {
            self.message.add_answer(empty(at, kind, DNSClass::NONE));
            return Ok(());
        };
        for value in &set.values {
            let record = Record::from_rdata(at.clone(), 0, data(kind, value)?);
            self.message.add_answer(record);
        }
        Ok(())
    }

    /// RFC 2136 §2.4.5: nothing of any type stands at the name.
    fn require_unused(&mut self, at: &Name) {
        self.message.add_answer(empty(at, RecordType::ANY, DNSClass::NONE));
    }

    /// RFC 2136 §2.5.2 and §2.5.1: delete the RRset, then add these.
    fn replace(
        &mut self,
        at: &Name,
        kind: RecordType,
        set: Option<&RrSet>,
    ) -> Result<(), DriverError> {
        self.message.add_authority(empty(at, kind, DNSClass::ANY));
        if let Some(set) = set {
            for value in &set.values {
                let record = Record::from_rdata(at.clone(), set.ttl, data(kind, value)?);
                self.message.add_authority(record);
            }
        }
        Ok(())
    }
}

fn empty(at: &Name, kind: RecordType, class: DNSClass) -> Record {
    let mut record = Record::update0(at.clone(), 0, kind);
    record.dns_class = class;
    record
}
