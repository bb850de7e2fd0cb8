//! A bearer token by OAuth client credentials, with a secret or with a federated token. Knows files
//! with secrets and the token endpoint; shows nothing of either.

use super::http::{body, cause, escaped, is_url, plain, retry_after};
use super::{Azure, Rest};
use crate::clock;
use crate::drivers::dns::settings::Reader;
use crate::drivers::{DriverError, bucket};
use arbiter_core::Instant;
use reqwest::header::HeaderValue;
use serde::Deserialize;
use std::time::Duration;
use tokio::sync::Mutex;

/// Who gives tokens in the public cloud.
const AUTHORITY: &str = "https://login.microsoftonline.com";
/// The kind of assertion that a federated token is (RFC 7523).
const ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// Greatest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// A token is asked for anew this long before it ends.
const BEFORE_END: Duration = Duration::from_secs(120);
/// How it is spoken of.
const WHO: &str = "the token endpoint";

/// What proves who asks: the file that it stands in.
enum Proof {
    Secret(String),
    Federated(String),
}

/// Who asks Azure. It has no `Debug`: nothing shows it.
pub struct Login {
    authority: String,
    tenant: String,
    client: String,
    scope: String,
    proof: Proof,
    /// A setting that says nothing, as another stands beside it.
    pub unused: Option<&'static str>,
    kept: Mutex<Option<(HeaderValue, Instant)>>,
}

#[derive(Deserialize)]
struct Given {
    access_token: String,
    expires_in: u64,
}

/// What the endpoint says instead. Its description begins with the number of the error.
#[derive(Deserialize)]
struct Refusal {
    error: String,
    #[serde(default)]
    error_description: String,
}

impl Login {
    /// Take the settings out of `reader`; tokens are for the service at `management`.
    ///
    /// # Errors
    /// `Refused`, naming the setting and the remedy.
    pub fn read(reader: &mut Reader<'_>, management: &str) -> Result<Self, DriverError> {
        let tenant = reader.required("tenant_id", bucket::place::TENANT.example)?;
        let client = reader.required("client_id", bucket::place::CLIENT.example)?;
        let authority = reader.optional("authority_host").unwrap_or(AUTHORITY);
        if !is_url(authority) {
            return Err(reader.fault("authority_host: give an http:// or https:// URL"));
        }
        let secret = reader.optional("client_secret_file");
        let federated = reader.optional("federated_token_file");
        let (proof, unused) = match (federated, secret) {
            (Some(file), None) => (Proof::Federated(file.to_owned()), None),
            (Some(file), Some(_)) => {
                (Proof::Federated(file.to_owned()), Some("client_secret_file"))
            }
            (None, Some(file)) => (Proof::Secret(file.to_owned()), None),
            (None, None) => {
                return Err(reader.fault(
                    "client_secret_file is missing, and so is federated_token_file: give one",
                ));
            }
        };
        let (Proof::Secret(file) | Proof::Federated(file)) = &proof;
        if !file.starts_with('/') {
            return Err(
                reader.fault("client_secret_file and federated_token_file: give an absolute path")
            );
        }
        Ok(Self {
            authority: authority.trim_end_matches('/').to_owned(),
            tenant: tenant.to_owned(),
            client: client.to_owned(),
            scope: format!("{management}/.default"),
            proof,
            unused,
            kept: Mutex::new(None),
        })
    }

    /// The Authorization of a request: the last token while it lasts.
    ///
    /// # Errors
    /// `Refused` where a file or what it holds is wrong, else `Retry`.
    pub async fn authorization(
        &self,
        http: &reqwest::Client,
        rest: &Rest,
    ) -> Result<HeaderValue, DriverError> {
        let mut kept = self.kept.lock().await;
        if let Some((token, until)) = kept.as_ref()
            && clock::now() < *until
        {
            return Ok(token.clone());
        }
        let given = self.ask(http, rest).await?;
        let token = HeaderValue::try_from(format!("Bearer {}", given.access_token));
        let mut token = token.map_err(|_| retry("gives a token that no header can hold"))?;
        token.set_sensitive(true);
        let lasts = Duration::from_secs(given.expires_in).saturating_sub(BEFORE_END);
        *kept = Some((token.clone(), clock::now() + lasts));
        Ok(token)
    }

    /// Ask for a new one next time: this one was refused.
    pub async fn forget(&self) {
        *self.kept.lock().await = None;
    }

    async fn ask(&self, http: &reqwest::Client, rest: &Rest) -> Result<Given, DriverError> {
        rest.over(Azure::Tokens)?;
        let url = format!("{}/{}/oauth2/v2.0/token", self.authority, escaped(&self.tenant));
        let request = http.post(url).body(self.form()?);
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let answer = request.send().await.map_err(|error| retry(&cause(&error)))?;
        let (status, wait) = (answer.status().as_u16(), retry_after(&answer));
        let body = body(answer, ANSWER_BYTES_MAX).await.map_err(|why| retry(&why))?;
        if status == 200 {
            let given = serde_json::from_slice(&body);
            return given.map_err(|_| retry("answers with what is no token"));
        }
        let said = serde_json::from_slice::<Refusal>(&body).ok();
        let code = said.map_or_else(String::new, |said| said.code());
        let text = format!("answers {status} {code}").trim_end().to_owned();
        if status == 429 || status >= 500 {
            return Err(rest.begin(Azure::Tokens, &text, wait));
        }
        let secret = match &self.proof {
            Proof::Secret(_) => "client_secret_file",
            Proof::Federated(_) => "federated_token_file",
        };
        Err(DriverError::Refused(format!(
            "{WHO} {text}: correct tenant_id, client_id, authority_host or what {secret} holds"
        )))
    }

    /// The files are read at each use: both kinds are replaced while the agent runs.
    fn form(&self) -> Result<String, DriverError> {
        let read = |setting, path: &str| {
            let secret = bucket::secret(setting, path);
            secret.map_err(|fault| DriverError::Refused(fault.to_string()))
        };
        let mut form = vec![
            ("grant_type", "client_credentials".to_owned()),
            ("client_id", self.client.clone()),
            ("scope", self.scope.clone()),
        ];
        match &self.proof {
            Proof::Secret(path) => form.push(("client_secret", read("client_secret_file", path)?)),
            Proof::Federated(path) => {
                form.push(("client_assertion_type", ASSERTION.to_owned()));
                form.push(("client_assertion", read("federated_token_file", path)?));
            }
        }
        let form = form.iter().map(|(key, value)| format!("{key}={}", escaped(value)));
        Ok(form.collect::<Vec<_>>().join("&"))
    }
}

fn retry(why: &str) -> DriverError {
    DriverError::Retry(format!("{WHO} {why}"))
}

impl Refusal {
    /// Its code, and the number of the error; not the rest, which quotes what was asked.
    fn code(&self) -> String {
        let number = self.error_description.split(':').next().unwrap_or_default();
        let number = if number.starts_with("AADSTS") { plain(number) } else { String::new() };
        format!("{} {number}", plain(&self.error)).trim_end().to_owned()
    }
}
