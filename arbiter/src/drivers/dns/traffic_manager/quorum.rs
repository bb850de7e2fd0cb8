//! What arbiters say at `/v1/groups/GROUP/regions/REGION/active`: who is active, confirmed by a
//! quorum within the question. Knows that answer; never a profile.

use super::http::{body, cause, client, escaped, is_url, plain};
use crate::drivers::DriverError;
use crate::drivers::dns::settings::Reader;
use arbiter_core::{Epoch, GroupId, RegionId};
use futures::stream::{FuturesUnordered, StreamExt};
use serde::Deserialize;
use std::time::Duration;

/// Limit of one question: an arbiter itself waits for a quorum no longer than two seconds.
const ASK_LIMIT: Duration = Duration::from_secs(4);
/// Greatest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 16 * 1024;
/// Arbiters that may be listed.
const ARBITERS_MAX: usize = 8;

/// Operations ports of arbiters.
pub struct Arbiters {
    urls: Vec<String>,
    client: reqwest::Client,
}

/// What one of them says of a region.
enum Said {
    /// A quorum says that it is active, since this epoch.
    Active(Epoch),
    /// A quorum says that it is not.
    NotActive(Epoch),
    /// No quorum, no such region, no answer, or none of an arbiter; in words.
    Unknown(String),
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    region: String,
    #[serde(default)]
    epoch: u64,
    #[serde(default)]
    reason: String,
}

impl Arbiters {
    /// Read the setting `arbiters`.
    ///
    /// # Errors
    /// `Refused`, with the remedy; a URL is not shown, for it may hold a password.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, DriverError> {
        let list = reader.required("arbiters", "\"http://10.0.1.1:7401\"")?;
        let urls = list.split(',').map(|url| url.trim().trim_end_matches('/').to_owned());
        let urls: Vec<String> = urls.filter(|url| !url.is_empty()).collect();
        if urls.is_empty() || urls.len() > ARBITERS_MAX || !urls.iter().all(|url| is_url(url)) {
            return Err(reader.fault(format!(
                "arbiters: give the URLs of 1 to {ARBITERS_MAX} operations ports, such as \
                 \"http://10.0.1.1:7401\", with commas between and without users"
            )));
        }
        let client = client(ASK_LIMIT).map_err(|why| reader.fault(why))?;
        Ok(Self { urls, client })
    }

    /// One of them must say, from a quorum asked now, that `region` is active at `epoch`: what is
    /// about to be written has no condition of its own. // I7
    ///
    /// # Errors
    /// `Retry`, with what was said instead: the next order will say what is right.
    pub async fn confirm(
        &self,
        group: &GroupId,
        region: &RegionId,
        epoch: Epoch,
    ) -> Result<(), DriverError> {
        // All at once: one that was lost with its region holds up no failover.
        let mut asked: FuturesUnordered<_> =
            self.urls.iter().map(|url| self.ask(url, group, region)).collect();
        let mut unknown = Vec::new();
        while let Some(said) = asked.next().await {
            match said {
                Said::Active(at) if at == epoch => return Ok(()),
                Said::Active(at) | Said::NotActive(at) => {
                    return Err(DriverError::Retry(format!(
                        "nothing was written: a quorum is at epoch {at} now, and does not say \
                         that {region} is active at {epoch}"
                    )));
                }
                Said::Unknown(why) => unknown.push(why),
            }
        }
        unknown.sort();
        Err(DriverError::Retry(format!(
            "nothing was written, for no arbiter confirms that {region} is active: {}",
            unknown.join("; ")
        )))
    }

    async fn ask(&self, url: &str, group: &GroupId, region: &RegionId) -> Said {
        let unknown = |why: String| Said::Unknown(format!("{url} {why}"));
        let path = (escaped(group.as_str()), escaped(&region.0));
        let path = format!("{url}/v1/groups/{}/regions/{}/active", path.0, path.1);
        let answer = match self.client.get(path).send().await {
            Ok(answer) => answer,
            Err(error) => return unknown(cause(&error)),
        };
        let status = answer.status().as_u16();
        let body = match body(answer, ANSWER_BYTES_MAX).await {
            Ok(body) => body,
            Err(why) => return unknown(why),
        };
        let Ok(found) = serde_json::from_slice::<Answer>(&body) else {
            return unknown(format!("answers {status}, as no arbiter does"));
        };
        match status {
            200 if found.region == region.0 => Said::Active(Epoch(found.epoch)),
            503 if found.reason == "not-active" => Said::NotActive(Epoch(found.epoch)),
            _ => unknown(format!("answers {status} {}", plain(&found.reason)).trim_end().into()),
        }
    }
}
