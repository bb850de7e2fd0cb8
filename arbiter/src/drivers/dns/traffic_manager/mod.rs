//! Azure Traffic Manager by its management API: the profile is one slot, whose value is the
//! endpoint that is enabled, and the token stands in a tag.
//!
//! # Layout
//! - `profile.rs`: a profile as it is read and written. `login.rs`: who asks.
//! - `quorum.rs`: what arbiters say right before a write. `http.rs`: the wire.
//!
//! Knows that the contract of 2022-04-01 has no ETag and no If-Match: nothing refuses a late write
//! there, so each is confirmed by a quorum just before, and read back until it stays. Never knows
//! which region should be named.

mod http;
mod login;
pub(crate) mod profile;
mod quorum;

use super::cas::{Change, Seen};
use super::settings::{Reader, Settings};
use super::{Authority, DriverError, Swapped};
use crate::clock;
use arbiter_core::{Fact, Instant, NOTE, RegionId, Token};
use async_trait::async_trait;
use http::{body, cause, client, escaped, is_url, plain, retry_after};
use login::Login;
use quorum::Arbiters;
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::Value;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// Version of the contract that is spoken.
const API_VERSION: &str = "2022-04-01";
/// The service in the public cloud.
const MANAGEMENT: &str = "https://management.azure.com";
/// Limit of one request.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);
/// Limit of one read, a new token included: who looks waits no longer than five seconds.
const READ_LIMIT: Duration = Duration::from_secs(4);
/// Greatest answer that is read, in bytes: a profile has at most 200 endpoints.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// How often it is looked at between changes: Azure rations a subscription's requests.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// A write begins within this of the question whose answer allows it, or not at all.
const CONFIRMED_FOR: Duration = Duration::from_secs(5);
/// Pause before each reading back, and how many of them there are.
const READ_BACK_EVERY: Duration = Duration::from_millis(500);
/// See [`READ_BACK_EVERY`].
const READ_BACKS_MAX: u32 = 8;
/// How long Azure is left alone where it asks for it without saying how long, and at most.
const REST: Duration = Duration::from_secs(5);
/// See [`REST`].
const REST_MAX: Duration = Duration::from_secs(300);
/// What is said of every instance: nobody can mend it here.
const WEAKNESS: &str = "Azure takes a Traffic Manager profile without a condition (API 2022-04-01 \
                        has no If-Match): a write that is delayed on its way can undo a newer one; \
                        it is seen, and this kind is weaker than DNS UPDATE or Route 53 in that";

/// Settings that only this kind knows.
pub struct Own {
    management: String,
    path: String,
    profile: String,
    login: Login,
    arbiters: Arbiters,
}

impl Own {
    /// Take them out of `reader`.
    ///
    /// # Errors
    /// `Refused`, naming the setting and the remedy.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, DriverError> {
        let management = reader.optional("management_url").unwrap_or(MANAGEMENT);
        if !is_url(management) {
            return Err(reader.fault("management_url: give an http:// or https:// URL"));
        }
        let management = management.trim_end_matches('/').to_owned();
        let subscription = reader.required("subscription_id", "\"00000000-0000-...\"")?;
        let group = reader.required("resource_group", "\"shop\"")?;
        let profile = reader.required("profile", "\"shop\"")?;
        let path = format!(
            "/subscriptions/{}/resourceGroups/{}/providers/Microsoft.Network\
             /trafficmanagerprofiles/{}?api-version={API_VERSION}",
            escaped(subscription),
            escaped(group),
            escaped(profile)
        );
        let login = Login::read(reader, &management)?;
        let arbiters = Arbiters::read(reader)?;
        // For the arbiters, who ask them what clients see.
        let _ = reader.required("name_servers", "\"192.0.2.53:53\"")?;
        Ok(Self { management, path, profile: profile.to_owned(), login, arbiters })
    }
}

/// Whom a rest is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Azure {
    Management,
    Tokens,
}

impl Azure {
    fn who(self) -> &'static str {
        match self {
            Self::Management => "Azure",
            Self::Tokens => "the token endpoint",
        }
    }
}

/// How long each is to be left alone, as it asked.
#[derive(Default)]
struct Rest(Mutex<[Option<(Instant, String)>; 2]>);

impl Rest {
    fn lock(&self) -> MutexGuard<'_, [Option<(Instant, String)>; 2]> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it may be asked.
    ///
    /// # Errors
    /// `Retry` while it is to be left alone.
    fn over(&self, whom: Azure) -> Result<(), DriverError> {
        let now = clock::now();
        let resting = self.lock()[whom as usize].clone().filter(|(until, _)| now < *until);
        resting.map_or(Ok(()), |(until, said)| {
            let left = until.since(now).as_secs() + 1;
            let who = whom.who();
            Err(DriverError::Retry(format!("{who} {said}; it is asked again in {left} s")))
        })
    }

    /// It answered what time heals; where it asked for a pause, it gets one.
    fn begin(&self, whom: Azure, said: &str, wait: Option<Duration>) -> DriverError {
        let throttled = said.contains("429").then_some(REST);
        let pause = wait.or(throttled).map(|pause| pause.min(REST_MAX));
        let text = match pause {
            Some(pause) => format!("{said}, and asks to wait {} s", pause.as_secs()),
            None => said.to_owned(),
        };
        if let Some(pause) = pause {
            self.lock()[whom as usize] = Some((clock::now() + pause, text.clone()));
        }
        DriverError::Retry(format!("{} {text}", whom.who()))
    }
}

/// The authority.
pub struct TrafficManager {
    own: Own,
    http: reqwest::Client,
    rest: Rest,
    /// The profile as it was read last: what is written is the whole of it.
    last: Mutex<Option<Value>>,
    /// Until when a write may begin.
    confirmed: Mutex<Option<Instant>>,
    /// A write was sent, and was not read twice yet.
    unsettled: AtomicBool,
}

#[derive(Deserialize)]
struct CloudError {
    error: Code,
}

#[derive(Deserialize)]
struct Code {
    #[serde(default)]
    code: String,
}

impl TrafficManager {
    /// An authority for one profile. Credentials are looked for at its first use.
    ///
    /// # Errors
    /// `Refused` where no client can be made.
    pub fn new(own: Own) -> Result<Self, DriverError> {
        let http = client(REQUEST_LIMIT).map_err(DriverError::Refused)?;
        let (last, confirmed) = (Mutex::default(), Mutex::default());
        let unsettled = AtomicBool::new(false);
        Ok(Self { own, http, rest: Rest::default(), last, confirmed, unsettled })
    }

    /// Ask once; a token that is refused is replaced once, as it may have been taken back.
    async fn call(&self, method: Method, profile: Option<&Value>) -> Result<Vec<u8>, DriverError> {
        let url = format!("{}{}", self.own.management, self.own.path);
        let mut fresh = false;
        loop {
            self.rest.over(Azure::Management)?;
            let token = self.own.login.authorization(&self.http, &self.rest).await?;
            let mut request = self.http.request(method.clone(), &url);
            request = request.header(reqwest::header::AUTHORIZATION, token);
            if let Some(profile) = profile {
                self.still_confirmed()?;
                request = request.json(profile);
            }
            let answer = request.send().await.map_err(|error| self.silent(&cause(&error)))?;
            let (status, wait) = (answer.status(), retry_after(&answer));
            let body = body(answer, ANSWER_BYTES_MAX).await.map_err(|why| self.silent(&why))?;
            if matches!(status, StatusCode::OK | StatusCode::CREATED) {
                return Ok(body);
            }
            if status != StatusCode::UNAUTHORIZED || fresh {
                return Err(self.refusal(status.as_u16(), &body, wait));
            }
            self.own.login.forget().await;
            fresh = true;
        }
    }

    fn silent(&self, why: &str) -> DriverError {
        DriverError::Retry(format!("Azure {why}, asked for profile {}", self.own.profile))
    }

    /// What it answers beside its code is left out: it quotes who asked, and for what.
    fn refusal(&self, status: u16, body: &[u8], wait: Option<Duration>) -> DriverError {
        let profile = &self.own.profile;
        let said = serde_json::from_slice::<CloudError>(body);
        let code = said.map(|said| plain(&said.error.code)).unwrap_or_default();
        let text = format!("answers {status} {code}").trim_end().to_owned();
        let text = format!("{text} for profile {profile}");
        let remedy = match status {
            400 => "it does not take the profile as it stands; see its activity log",
            401 => "it does not know the credentials: see tenant_id and management_url",
            403 => {
                "the credentials need Microsoft.Network/trafficManagerProfiles/read and write: \
                 give them the role Traffic Manager Contributor"
            }
            404 => "create it, or correct subscription_id, resource_group and profile",
            _ => return self.rest.begin(Azure::Management, &text, wait),
        };
        DriverError::Refused(format!("Azure {text}: {remedy}"))
    }

    fn last(&self) -> MutexGuard<'_, Option<Value>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn confirmed(&self) -> MutexGuard<'_, Option<Instant>> {
        self.confirmed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An answer of a quorum allows a write for a moment only. // I7
    fn still_confirmed(&self) -> Result<(), DriverError> {
        if self.confirmed().is_some_and(|until| clock::now() < until) {
            return Ok(());
        }
        let text = format!("nothing was written: it took more than {CONFIRMED_FOR:?} to begin");
        Err(DriverError::Retry(text))
    }

    async fn look(&self, settings: &Settings) -> Result<(Seen, Value), DriverError> {
        let reading = timeout(READ_LIMIT, self.call(Method::GET, None)).await;
        let body = reading.unwrap_or_else(|_| Err(self.silent("does not answer in time")))?;
        let profile: Value = serde_json::from_slice(&body)
            .map_err(|_| self.silent("answers with what is no JSON"))?;
        let seen = profile::seen(settings, &profile).map_err(|why| self.silent(why))?;
        Ok((seen, profile))
    }

    /// Wait until the change is read back.
    async fn read_back(&self, settings: &Settings, change: &Change) -> Result<(), DriverError> {
        let mut last = None;
        for _ in 0..READ_BACKS_MAX {
            sleep(READ_BACK_EVERY).await;
            match self.look(settings).await {
                Ok((seen, _)) if shows(&seen, change) => return Ok(()),
                looked => last = looked.err(),
            }
        }
        let unseen = "Azure accepted the change, and does not show it yet; it is looked at again";
        Err(last.unwrap_or_else(|| DriverError::Retry(unseen.to_owned())))
    }
}

/// Whether what is read is what was written.
fn shows(seen: &Seen, change: &Change) -> bool {
    seen.token == Some(change.token.clone()) && seen.records == change.records
}

#[async_trait]
impl Authority for TrafficManager {
    async fn read(&self, settings: &Settings) -> Result<Seen, DriverError> {
        let (seen, profile) = self.look(settings).await?;
        *self.last() = Some(profile);
        Ok(seen)
    }

    async fn confirm(
        &self,
        settings: &Settings,
        region: &RegionId,
        token: Token,
    ) -> Result<(), DriverError> {
        let asked = clock::now();
        self.own.arbiters.confirm(&settings.group, region, token.epoch).await?;
        *self.confirmed() = Some(asked + CONFIRMED_FOR);
        Ok(())
    }

    async fn swap(&self, settings: &Settings, change: &Change) -> Result<Swapped, DriverError> {
        let last = self.last().clone().unwrap_or_default();
        // Another look may have come between, and have seen something else.
        if profile::seen(settings, &last).ok().as_ref() != Some(&change.from) {
            let text = "the profile changed while it was looked at";
            return Err(DriverError::Retry(text.to_owned()));
        }
        let next = profile::after(settings, &last, change);
        self.unsettled.store(true, Ordering::SeqCst);
        let written = self.call(Method::PUT, Some(&next)).await;
        *self.confirmed() = None;
        written?;
        self.read_back(settings, change).await?;
        Ok(Swapped::Yes)
    }

    /// What was written must be read a second time as it was: whoever is late shows by then.
    async fn settled(&self, settings: &Settings, seen: &Seen) -> Result<(), DriverError> {
        if !self.unsettled.load(Ordering::SeqCst) {
            return Ok(());
        }
        sleep(READ_BACK_EVERY).await;
        if self.read(settings).await? != *seen {
            let text = "the profile does not stay as it was written; it is looked at again";
            return Err(DriverError::Retry(text.to_owned()));
        }
        self.unsettled.store(false, Ordering::SeqCst);
        Ok(())
    }

    /// One whole profile an attempt: nothing there refuses a second one that comes too late.
    fn swaps_max(&self) -> u32 {
        1
    }

    fn look_age_max(&self) -> Duration {
        LOOK_EVERY
    }

    fn tell(&self, fact: &mut Fact) {
        fact.detail.remove("zone");
        fact.detail.insert("profile".to_owned(), self.own.profile.clone());
        fact.detail.insert(NOTE.to_owned(), WEAKNESS.to_owned());
        let unused = self.own.login.unused.iter();
        fact.faults.extend(
            unused.map(|name| format!("the setting {name} says nothing here: take it out")),
        );
    }
}
