//! Azure Traffic Manager of our own, as its published contract says, and who gives tokens for it.
//!
//! The contract: github.com/Azure/azure-rest-api-specs, `specification/trafficmanager/
//! resource-manager/Microsoft.Network/stable/2022-04-01/trafficmanager.json` and its examples
//! `Profile-PUT-WithEndpoints` and `Profile-GET-WithEndpoints`. It knows two parameters of a
//! request: the path's and `api-version`; no ETag, no If-Match. What is sent and is not in it is
//! answered with 400, and remembered.

#![allow(dead_code, reason = "each test binary uses a part")]

mod contract;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, post};
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use tempfile::TempDir;

pub const SECRET: &str = "hunter2-secret&with=marks";
pub const FEDERATED: &str = "hunter2.federated.token";
const PATH: &str = "/subscriptions/sub-1/resourceGroups/shop rg/providers/Microsoft.Network\
                    /trafficmanagerprofiles/shop";
const ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// What is answered instead.
#[derive(Clone, Debug)]
pub enum Odd {
    /// A status with an error's code, and seconds to wait.
    Error(u16, &'static str, Option<u64>),
    /// 200, and this.
    Body(&'static str),
    /// Nothing, ever.
    Silence,
}

/// What arbiters say.
#[derive(Clone, Debug)]
pub enum Quorum {
    /// This region is active at this epoch.
    Says(&'static str, u64),
    /// 503 with this reason.
    Refuses(&'static str),
    /// Something that no arbiter says.
    Garbage,
}

/// Everything that the server knows.
pub struct Inner {
    /// The profile; none: there is none.
    pub profile: Option<Value>,
    /// What reads show before they show the profile, oldest first.
    pub shown: VecDeque<Value>,
    /// Profiles as they were sent.
    pub puts: Vec<Value>,
    /// What was asked, in its order: `token`, `get`, `put`, `active`.
    pub asked: Vec<&'static str>,
    /// What was sent that is not in the contract.
    pub wrong: Vec<String>,
    /// What the next writes are answered with, whether they are made then or not.
    pub puts_odd: VecDeque<(Odd, bool)>,
    /// What the management API answers instead, always.
    pub always: Option<Odd>,
    /// What the token endpoint answers instead, always.
    pub tokens_odd: Option<Odd>,
    /// What arbiters say.
    pub quorum: Quorum,
    /// For what tokens are given.
    pub scope: String,
    /// How long a token lasts.
    pub lasts: u64,
    /// The token that is good.
    pub token: String,
    /// How many were given.
    pub given: u32,
}

/// A running one.
pub struct Azure {
    /// Its URL: of the management API, the token endpoint and an arbiter alike.
    pub url: String,
    inner: Arc<Mutex<Inner>>,
    dir: TempDir,
}

/// A profile with an endpoint for each of two regions, of which the first is enabled.
pub fn profile() -> Value {
    let endpoint = |region: &str, status: &str, priority: u32| {
        json!({
            "id": format!("{PATH}/externalEndpoints/{region}"),
            "name": region,
            "type": "Microsoft.Network/trafficManagerProfiles/externalEndpoints",
            "properties": {
                "target": format!("app-{region}.example.test"),
                "endpointStatus": status,
                "endpointMonitorStatus": "Online",
                "endpointLocation": "North Europe",
                "priority": priority,
                "weight": 1,
                "customHeaders": [{ "name": "Host", "value": "app.example.test" }],
            }
        })
    };
    json!({
        "id": PATH,
        "name": "shop",
        "type": "Microsoft.Network/trafficManagerProfiles",
        "location": "global",
        "tags": { "owner": "shop team" },
        "properties": {
            "profileStatus": "Enabled",
            "trafficRoutingMethod": "Priority",
            "dnsConfig": { "relativeName": "shop", "fqdn": "shop.trafficmanager.test", "ttl": 60 },
            "monitorConfig": {
                "profileMonitorStatus": "Online",
                "protocol": "HTTPS",
                "port": 443,
                "path": "/health",
                "intervalInSeconds": 30,
                "timeoutInSeconds": 10,
                "toleratedNumberOfFailures": 3,
            },
            "endpoints": [endpoint("eu", "Enabled", 1), endpoint("us", "Disabled", 2)],
            "maxReturn": null,
        }
    })
}

impl Azure {
    /// Start it, with [`profile`]. Every arbiter says that `region` is active at epoch 1.
    pub async fn start(region: &'static str) -> Self {
        let inner = Inner {
            profile: Some(profile()),
            shown: VecDeque::new(),
            puts: Vec::new(),
            asked: Vec::new(),
            wrong: Vec::new(),
            puts_odd: VecDeque::new(),
            always: None,
            tokens_odd: None,
            quorum: Quorum::Says(region, 1),
            scope: String::new(),
            lasts: 3600,
            token: String::new(),
            given: 0,
        };
        let inner = Arc::new(Mutex::new(inner));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        inner.lock().expect("nobody panicked").scope = format!("{url}/.default");
        let router = Router::new()
            .route("/tenant-1/oauth2/v2.0/token", post(token))
            .route("/v1/groups/default/regions/{region}/active", any(active))
            .fallback(any(management))
            .with_state(inner.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("secret"), format!("{SECRET}\n")).expect("writable");
        std::fs::write(dir.path().join("federated"), FEDERATED).expect("writable");
        Self { url, inner, dir }
    }

    /// What it knows, to be read and changed.
    pub fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("nobody panicked")
    }

    /// Path of a file with credentials.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Settings of an instance that asks with a client secret.
    pub fn settings(&self) -> BTreeMap<String, String> {
        let secret = self.file("secret").display().to_string();
        let set = [
            ("name", "shop.trafficmanager.test"),
            ("subscription_id", "sub-1"),
            ("resource_group", "shop rg"),
            ("profile", "shop"),
            ("tenant_id", "tenant-1"),
            ("client_id", "client-1"),
            ("client_secret_file", &secret),
            ("authority_host", &self.url),
            ("management_url", &self.url),
            ("arbiters", &self.url),
            ("name_servers", "192.0.2.53:53"),
            ("ttl", "20"),
            ("value.eu", "app-eu.example.test"),
            ("value.us", "app-us.example.test."),
        ];
        set.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
    }

    /// Targets of the endpoints that are enabled, and the tag that holds the token.
    pub fn held(&self) -> (Vec<String>, Option<String>) {
        let inner = self.inner();
        let profile = inner.profile.as_ref().expect("there is one");
        let endpoints = profile["properties"]["endpoints"].as_array().expect("endpoints");
        let enabled = endpoints.iter().map(|endpoint| &endpoint["properties"]);
        let enabled = enabled.filter(|properties| properties["endpointStatus"] == "Enabled");
        let enabled = enabled.filter_map(|properties| properties["target"].as_str());
        let tag = profile["tags"]["arbiter-token-default"].as_str();
        (enabled.map(str::to_owned).collect(), tag.map(str::to_owned))
    }

    /// Change the profile by hand.
    pub fn by_hand(&self, change: impl FnOnce(&mut Value)) {
        change(self.inner().profile.as_mut().expect("there is one"));
    }

    /// Everything that was sent is in the contract.
    #[track_caller]
    pub fn kept_the_contract(&self) {
        assert_eq!(self.inner().wrong, Vec::<String>::new());
    }
}

type Shared = Arc<Mutex<Inner>>;

fn error(status: u16, code: &str, wait: Option<u64>) -> Response {
    let status = StatusCode::from_u16(status).expect("a status");
    // As Azure does, it quotes who asked.
    let message = format!("The client hunter2 with object id hunter2 asked: {code}");
    let body = json!({
        "error": { "code": code, "message": message },
    });
    let mut answer = (status, axum::Json(body)).into_response();
    if let Some(wait) = wait {
        answer.headers_mut().insert(header::RETRY_AFTER, wait.into());
    }
    answer
}

async fn oddly(odd: Odd) -> Response {
    match odd {
        Odd::Error(status, code, wait) => error(status, code, wait),
        Odd::Body(body) => body.into_response(),
        Odd::Silence => std::future::pending().await,
    }
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        match (first, after) {
            (b'+', _) => bytes.push(b' '),
            (b'%', [a, b, after @ ..]) => {
                let digits = [*a, *b];
                let hex = std::str::from_utf8(&digits).expect("hex");
                bytes.push(u8::from_str_radix(hex, 16).expect("hex"));
                rest = after;
            }
            _ => bytes.push(*first),
        }
    }
    String::from_utf8(bytes).expect("text")
}

/// `POST /{tenant}/oauth2/v2.0/token`: client credentials, by a secret or by an assertion.
async fn token(State(inner): State<Shared>, headers: HeaderMap, body: String) -> Response {
    let odd = {
        let mut inner = inner.lock().expect("nobody panicked");
        inner.asked.push("token");
        inner.tokens_odd.clone()
    };
    match odd {
        Some(Odd::Error(status, code, wait)) => {
            let body = json!({
                "error": code.split(' ').next(),
                "error_description": format!("{}: hunter2 quoted", code.rsplit(' ').next().unwrap()),
            });
            let status = StatusCode::from_u16(status).expect("a status");
            let mut answer = (status, axum::Json(body)).into_response();
            if let Some(wait) = wait {
                answer.headers_mut().insert(header::RETRY_AFTER, wait.into());
            }
            return answer;
        }
        Some(odd) => return oddly(odd).await,
        None => {}
    }
    let mut inner = inner.lock().expect("nobody panicked");
    let form = body.split('&').filter_map(|pair| pair.split_once('='));
    let mut form: BTreeMap<String, String> =
        form.map(|(key, value)| (decoded(key), decoded(value))).collect();
    let proof = match form.remove("client_secret") {
        Some(secret) => secret == SECRET,
        None => {
            form.remove("client_assertion_type").as_deref() == Some(ASSERTION)
                && form.remove("client_assertion").as_deref() == Some(FEDERATED)
        }
    };
    let wanted = [
        ("client_id".to_owned(), "client-1".to_owned()),
        ("grant_type".to_owned(), "client_credentials".to_owned()),
        ("scope".to_owned(), inner.scope.clone()),
    ];
    let form_type = headers.get(header::CONTENT_TYPE).map(|value| value.as_bytes());
    if !proof || form != wanted.into() || form_type != Some(b"application/x-www-form-urlencoded") {
        inner.wrong.push(format!("token request: {:?}", form.keys()));
        let body = json!({ "error": "invalid_client", "error_description": "AADSTS7000215: x" });
        return (StatusCode::UNAUTHORIZED, axum::Json(body)).into_response();
    }
    inner.given += 1;
    inner.token = format!("hunter2.token.{}", inner.given);
    let body = json!({
        "token_type": "Bearer",
        "expires_in": inner.lasts,
        "access_token": inner.token,
    });
    axum::Json(body).into_response()
}

/// As `/v1/groups/GROUP/regions/REGION/active` of an arbiter.
async fn active(State(inner): State<Shared>, Path(region): Path<String>) -> Response {
    let mut inner = inner.lock().expect("nobody panicked");
    inner.asked.push("active");
    let (status, body) = match inner.quorum {
        Quorum::Says(active, epoch) => {
            let body = json!({ "group": "default", "region": active, "epoch": epoch });
            if active == region { (200, body) } else { (503, with_reason(body, "not-active")) }
        }
        Quorum::Refuses(reason) => (503, with_reason(json!({}), reason)),
        Quorum::Garbage => return "<html>hello</html>".into_response(),
    };
    (StatusCode::from_u16(status).expect("a status"), axum::Json(body)).into_response()
}

fn with_reason(mut body: Value, reason: &str) -> Value {
    body["reason"] = json!(reason);
    body
}

async fn management(
    State(inner): State<Shared>,
    method: Method,
    uri: Uri,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let answered = {
        let mut inner = inner.lock().expect("nobody panicked");
        inner.asked.push(if method == Method::PUT { "put" } else { "get" });
        match inner.always.clone() {
            Some(odd) => Err(odd),
            None => inner.answer(&method, &uri, query.as_deref(), &headers, &body),
        }
    };
    match answered {
        Ok(answer) => answer,
        Err(odd) => oddly(odd).await,
    }
}

impl Inner {
    /// What the management API answers, or what it is told to answer instead.
    fn answer(
        &mut self,
        method: &Method,
        uri: &Uri,
        query: Option<&str>,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Result<Response, Odd> {
        if decoded(uri.path()) != PATH || query != Some("api-version=2022-04-01") {
            self.wrong.push(format!("{method} {uri}"));
            return Ok(error(400, "InvalidApiVersionParameter", None));
        }
        let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        if bearer != Some(&format!("Bearer {}", self.token)) || self.token.is_empty() {
            return Ok(error(401, "ExpiredAuthenticationToken", None));
        }
        let Some(before) = self.profile.clone() else {
            return Ok(error(404, "ResourceNotFound", None));
        };
        if method == Method::GET {
            let shown = self.shown.pop_front().unwrap_or(before);
            return Ok(axum::Json(shown).into_response());
        }
        let sent = serde_json::from_slice::<Value>(body).unwrap_or_default();
        let json = headers.get(header::CONTENT_TYPE).map(|value| value.as_bytes());
        let faults = contract::faults(&before, &sent);
        if method != Method::PUT || json != Some(b"application/json") || !faults.is_empty() {
            self.wrong.push(format!("{method} {uri}: {}", faults.join("; ")));
            return Ok(error(400, "BadRequest", None));
        }
        self.puts.push(sent.clone());
        let stored = contract::filled_in(sent);
        let odd = self.puts_odd.pop_front();
        if odd.as_ref().is_none_or(|(_, made)| *made) {
            self.profile = Some(stored.clone());
        }
        odd.map_or_else(|| Ok(axum::Json(stored).into_response()), |(odd, _)| Err(odd))
    }
}
