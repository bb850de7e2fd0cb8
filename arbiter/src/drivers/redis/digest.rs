//! Digests of keys, and whether two servers have a key alike while the primary takes writes.
//!
//! Knows two conversations, one with a replica and one with its primary. A key differs where its
//! digest was the same on the primary before and after the replica was read, the replica had by
//! then all that the primary had at the first reading, and its digest is another one. A key that is
//! written meanwhile is asked again, and if it never rests, nothing is said of it.

use super::info::Point;
use super::talk::{COMMAND_LIMIT, Session, Unreachable};
use crate::clock;
use redis::Value;
use std::time::Duration;
use tokio::time::sleep;

/// What is in a key, as text of one spelling: whatever its encoding, the order in which a set is
/// held, and how a version writes numbers. Sums are sorted, and no texts: a locale orders those.
/// Empty: no such key. `?`: it is too large, about to expire, or of a type of some module.
const SCRIPT: &str = r"
local elements_max, bytes_max, passing_ms = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local function pack(parts)
  local out = {}
  for i, part in ipairs(parts) do out[i] = #part .. ':' .. part end
  return table.concat(out)
end
local function sorted(parts)
  local out = {}
  for i, part in ipairs(parts) do out[i] = redis.sha1hex(part) end
  table.sort(out)
  return table.concat(out)
end
local function scores(parts)
  for i = 2, #parts, 2 do parts[i] = string.format('%.17g', tonumber(parts[i])) end
  return pack(parts)
end
local function pairs_of(parts)
  local out = {}
  for i = 1, #parts, 2 do out[#out + 1] = pack({parts[i], parts[i + 1]}) end
  return sorted(out)
end
local function entries(parts)
  local out = {}
  for i, entry in ipairs(parts) do out[i] = entry[1] .. pack(entry[2]) end
  return pack(out)
end
local size = {list = 'LLEN', set = 'SCARD', hash = 'HLEN', zset = 'ZCARD', stream = 'XLEN'}
local read = {
  string = function(key) return redis.call('GET', key) end,
  list = function(key) return pack(redis.call('LRANGE', key, 0, -1)) end,
  set = function(key) return sorted(redis.call('SMEMBERS', key)) end,
  hash = function(key) return pairs_of(redis.call('HGETALL', key)) end,
  zset = function(key) return scores(redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')) end,
  stream = function(key) return entries(redis.call('XRANGE', key, '-', '+')) end,
}
local function digest(key)
  local kind = redis.call('TYPE', key).ok
  if kind == 'none' then return '' end
  local left = redis.call('PTTL', key)
  if not read[kind] or left >= 0 and left < passing_ms then return '?' end
  if size[kind] and redis.call(size[kind], key) > elements_max then return '?' end
  if redis.call('MEMORY', 'USAGE', key) > bytes_max then return '?' end
  local till = redis.call('PEXPIRETIME', key)
  return redis.sha1hex(kind .. ':' .. till .. ':' .. read[kind](key))
end
local found = {}
for i, key in ipairs(KEYS) do found[i] = digest(key) end
return found
";
/// Elements of a key that is compared, at most.
const ELEMENTS_MAX: u32 = 512;
/// Bytes of one, as the server counts its memory.
const BYTES_MAX: u32 = 1 << 20;
/// What expires within this may be gone on one side already: their clocks differ.
const PASSING_MS: u32 = 60_000;
/// Keys of one script: the server does nothing else meanwhile.
const BATCH_MAX: usize = 32;
/// Times that a key is looked at.
const ROUNDS: u32 = 3;
/// Between two of them.
const ROUND_PAUSE: Duration = Duration::from_secs(1);
/// How long the replica may take to have what its primary had.
const CATCH_UP_LIMIT: Duration = Duration::from_secs(5);
/// How often it is asked.
const CATCH_UP_EVERY: Duration = Duration::from_millis(50);
/// What a script answers of a key of which nothing can be said.
const NOT_COMPARED: &[u8] = b"?";

/// A key of one database.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub database: u32,
    pub name: Vec<u8>,
}

/// What came of comparing keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Verdicts {
    /// They are alike.
    pub alike: usize,
    /// Nothing can be said of them: they changed all the time, or are too large.
    pub unknown: usize,
    /// They differ.
    pub differ: Vec<Key>,
}

/// One look at a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    Gone,
    Alike,
    Differs,
    Changed,
    NotCompared,
}

/// Two servers: a replica, and the primary that it follows.
pub(super) struct Both {
    pub own: Session,
    pub source: Session,
}

impl Both {
    /// Compare `keys`, which are of one database.
    pub async fn compare(&self, keys: &[Key]) -> Result<Verdicts, Unreachable> {
        let mut found = Verdicts::default();
        let Some(first) = keys.first() else { return Ok(found) };
        for session in [&self.own, &self.source] {
            session.ask(&["SELECT", &first.database.to_string()]).await?;
        }
        let (mut left, mut open) = (keys.to_vec(), Vec::new());
        for round in 0..ROUNDS {
            if left.is_empty() {
                return Ok(found);
            }
            if round > 0 {
                sleep(ROUND_PAUSE).await;
            }
            open.clear();
            for batch in left.chunks(BATCH_MAX) {
                for (key, look) in batch.iter().zip(self.look(batch).await?) {
                    match look {
                        Look::Gone => {}
                        Look::Alike => found.alike += 1,
                        Look::NotCompared => found.unknown += 1,
                        Look::Differs | Look::Changed => open.push((key.clone(), look)),
                    }
                }
            }
            left = open.iter().map(|(key, _)| key.clone()).collect();
        }
        let differs = |(key, look): (Key, Look)| (look == Look::Differs).then_some(key);
        found.unknown += open.iter().filter(|(_, look)| *look == Look::Changed).count();
        found.differ = open.into_iter().filter_map(differs).collect();
        Ok(found)
    }

    async fn look(&self, keys: &[Key]) -> Result<Vec<Look>, Unreachable> {
        let before = digests(&self.source, keys).await?;
        self.caught_up().await?;
        let own = digests(&self.own, keys).await?;
        let unlike = own.iter().zip(&before).any(|(own, before)| own != before);
        let after = if unlike { digests(&self.source, keys).await? } else { before.clone() };
        let each = before.iter().zip(&own).zip(&after);
        Ok(each.map(|((before, own), after)| judged(before, own, after)).collect())
    }

    /// The replica has all that its primary has now.
    async fn caught_up(&self) -> Result<(), Unreachable> {
        let source = self.source.info().await?.point();
        let Some(end) = source else {
            return Err(Unreachable::Failed("the primary does not say where it is".to_owned()));
        };
        let began = clock::now();
        while clock::now().since(began) < CATCH_UP_LIMIT {
            let own = self.own.info().await?.point();
            let there = |own: &Point| own.history == end.history && own.offset >= end.offset;
            if own.as_ref().is_some_and(there) {
                return Ok(());
            }
            sleep(CATCH_UP_EVERY).await;
        }
        Err(Unreachable::Failed(format!("it is more than {CATCH_UP_LIMIT:?} behind its primary")))
    }
}

fn judged(before: &[u8], own: &[u8], after: &[u8]) -> Look {
    match () {
        () if [before, own, after].contains(&NOT_COMPARED) => Look::NotCompared,
        () if before.is_empty() && own.is_empty() => Look::Gone,
        () if before == own => Look::Alike,
        () if before == after => Look::Differs,
        () => Look::Changed,
    }
}

async fn digests(session: &Session, keys: &[Key]) -> Result<Vec<Vec<u8>>, Unreachable> {
    let count = keys.len().to_string();
    let limits = [ELEMENTS_MAX, BYTES_MAX, PASSING_MS].map(|limit| limit.to_string());
    let head = ["EVAL_RO", SCRIPT, &count].map(str::as_bytes);
    let names = keys.iter().map(|key| key.name.as_slice());
    let limits = limits.iter().map(|limit| limit.as_bytes());
    let words: Vec<&[u8]> = head.into_iter().chain(names).chain(limits).collect();
    let answer = session.ask_bytes(&words, COMMAND_LIMIT).await?;
    let found: Vec<Vec<u8>> = bytes_of(answer);
    if found.len() == keys.len() {
        return Ok(found);
    }
    Err(Unreachable::Failed("the digests are not understood".to_owned()))
}

/// The texts of an answer that is a list of them.
pub(super) fn bytes_of(answer: Value) -> Vec<Vec<u8>> {
    let Value::Array(items) = answer else { return Vec::new() };
    let texts = items.into_iter().filter_map(|item| match item {
        Value::BulkString(bytes) => Some(bytes),
        _ => None,
    });
    texts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_rested_on_the_primary_differs() {
        assert_eq!(judged(b"a", b"a", b"b"), Look::Alike, "it was written after");
        assert_eq!(judged(b"a", b"b", b"a"), Look::Differs);
        assert_eq!(judged(b"", b"b", b""), Look::Differs, "only the replica has it");
        assert_eq!(judged(b"a", b"", b"a"), Look::Differs, "only the primary has it");
        assert_eq!(judged(b"a", b"b", b"b"), Look::Changed);
        assert_eq!(judged(b"", b"", b"a"), Look::Gone);
        assert_eq!(judged(b"a", b"?", b"a"), Look::NotCompared);
    }
}
