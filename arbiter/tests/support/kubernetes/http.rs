//! The API server's face: paths, verbs, lists, refusals on demand. Knows HTTP and Kubernetes'
//! paths; what is kept it asks the store.

use super::store::{Place, Refusal, Store, json_patch, kind, merge};
use arbiter::clock;
use arbiter_core::WallMillis;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::Response;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The one token that is known.
pub const TOKEN: &str = "s3cret-of-the-agent";

/// What a request gets instead of its answer.
#[derive(Clone, Debug)]
pub enum Instead {
    /// This status, with `Retry-After` where there is one.
    Status(u16, Option<&'static str>),
    /// Success, and this body.
    Body(&'static str),
    /// No answer, ever.
    Nothing,
    /// What is stored changes just before: whoever read it is late.
    Overtaken,
    /// The same, by somebody with this token.
    Claimed(&'static str),
}

/// Requests that get something else.
#[derive(Clone, Debug)]
pub struct Spoil {
    /// Of this verb; empty: any.
    pub verb: &'static str,
    /// Whose path ends so, or has it in it; empty: any.
    pub path: &'static str,
    /// So many of them.
    pub times: u32,
    /// What they get.
    pub instead: Instead,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Asked {
    /// When, by this machine's wall clock.
    pub at: WallMillis,
    /// Its verb.
    pub verb: String,
    /// Its path.
    pub path: String,
    /// Its body.
    pub body: Value,
}

/// Everything behind the face.
#[derive(Default)]
pub struct Inside {
    /// The objects.
    pub store: Store,
    /// What is spoiled.
    pub spoils: Vec<Spoil>,
    /// What was asked.
    pub asked: Vec<Asked>,
    /// Objects of one page, at most; 0: as the client wishes.
    pub page: usize,
}

/// Shared by the face and the test.
pub type Shared = Arc<Mutex<Inside>>;

/// Serve it.
pub fn router(shared: Shared) -> Router {
    Router::new().fallback(serve).with_state(shared)
}

struct Request<'a> {
    verb: &'a str,
    query: BTreeMap<String, String>,
    patch: &'a str,
    body: Value,
}

async fn serve(
    State(shared): State<Shared>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let path = uri.path().to_owned();
    let known = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let spoiled = {
        let mut inside = shared.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, verb, path) = (clock::wall(), method.to_string(), path.clone());
        inside.asked.push(Asked { at, verb, path, body: body.clone() });
        inside.spoiled(method.as_str(), uri.path())
    };
    match spoiled {
        Some(Instead::Nothing) => std::future::pending::<()>().await,
        Some(Instead::Body(text)) => return answer(200, None, text.to_owned()),
        Some(Instead::Status(code, after)) => {
            // As a careless server would, it repeats what it was sent.
            let said = known.unwrap_or_default().to_owned();
            let status = refused(&Refusal { code, reason: "Injected", message: said });
            return answer(code, after, status.to_string());
        }
        Some(Instead::Overtaken | Instead::Claimed(_)) | None => {}
    }
    if known != Some(&format!("Bearer {TOKEN}")) {
        let message = "Unauthorized".to_owned();
        let status = refused(&Refusal { code: 401, reason: "Unauthorized", message });
        return answer(401, None, status.to_string());
    }
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let request = Request {
        verb: method.as_str(),
        query: query(uri.query().unwrap_or_default()),
        patch: kind.unwrap_or_default(),
        body,
    };
    let mut inside = shared.lock().unwrap_or_else(PoisonError::into_inner);
    match spoiled {
        Some(Instead::Overtaken) => inside.overtake(&path, None),
        Some(Instead::Claimed(token)) => inside.overtake(&path, Some(token)),
        _ => {}
    }
    match inside.answer(&path, &request) {
        Ok(value) => {
            let created = request.verb == "POST";
            answer(if created { 201 } else { 200 }, None, value.to_string())
        }
        Err(refusal) => answer(refusal.code, None, refused(&refusal).to_string()),
    }
}

fn answer(code: u16, after: Option<&str>, body: String) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(code).expect("a status");
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, "application/json".parse().expect("a value"));
    if let Some(after) = after {
        headers.insert(header::RETRY_AFTER, after.parse().expect("a value"));
    }
    response
}

fn refused(refusal: &Refusal) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure",
        "message": refusal.message, "reason": refusal.reason, "code": refusal.code,
    })
}

fn query(text: &str) -> BTreeMap<String, String> {
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(key, value)| (key.to_owned(), decode(value))).collect()
}

fn decode(text: &str) -> String {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let hex = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16));
        out.push(match byte {
            b'%' => match (hex(bytes.next()), hex(bytes.next())) {
                (Some(high), Some(low)) => u8::try_from(high * 16 + low).expect("a byte"),
                _ => b'%',
            },
            b'+' => b' ',
            other => other,
        });
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// `/apis/apps/v1/namespaces/shop/deployments/web/scale` in its parts.
struct Parts {
    place: Place,
    subresource: String,
}

fn parts(path: &str) -> Option<Parts> {
    let mut words = path.trim_matches('/').split('/');
    let group = match words.next()? {
        "api" => words.next()?.to_owned(),
        "apis" => format!("{}/{}", words.next()?, words.next()?),
        _ => return None,
    };
    let rest: Vec<&str> = words.collect();
    let (namespace, rest) = match rest.as_slice() {
        ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (*namespace, rest),
        other => ("", other),
    };
    let word = |at: usize| rest.get(at).map(|word| decode(word)).unwrap_or_default();
    let place = Place { group, plural: word(0), namespace: namespace.to_owned(), name: word(1) };
    Some(Parts { place, subresource: word(2) })
}

impl Inside {
    fn spoiled(&mut self, verb: &str, path: &str) -> Option<Instead> {
        let spoil = self.spoils.iter_mut().find(|spoil| {
            let this = spoil.verb.is_empty() || spoil.verb == verb;
            spoil.times > 0 && this && path.contains(spoil.path)
        })?;
        spoil.times -= 1;
        Some(spoil.instead.clone())
    }

    /// Somebody else writes to the object at `path`.
    fn overtake(&mut self, path: &str, token: Option<&str>) {
        let Some(Parts { place, .. }) = parts(path) else { return };
        let Ok(mut object) = self.store.get(&place) else { return };
        let label = object["metadata"]["resourceVersion"].clone();
        merge(&mut object, &json!({ "metadata": { "labels": { "overtaken-at": label } } }));
        if let Some(token) = token {
            let claim = json!({ "arbiter.region/token": token, "arbiter.region/goal": "fenced" });
            merge(&mut object, &json!({ "metadata": { "annotations": claim } }));
        }
        let _ = self.store.replace(&place, object, false);
    }

    fn answer(&mut self, path: &str, request: &Request<'_>) -> Result<Value, Refusal> {
        if let Some(value) = discovery(path) {
            return Ok(value);
        }
        if path.ends_with("/selfsubjectaccessreviews") {
            return Ok(self.reviewed(&request.body));
        }
        let missing = || Refusal {
            code: 404,
            reason: "NotFound",
            message: "the server could not find the requested resource".to_owned(),
        };
        let Parts { place, subresource } = parts(path).ok_or_else(missing)?;
        let kind = kind(&place.group, &place.plural).ok_or_else(missing)?;
        let value = match (request.verb, place.name.as_str(), subresource.as_str()) {
            ("GET", "", "") => return Ok(self.listed(&place, kind, &request.query)),
            ("POST", "", "") => {
                let name = request.body["metadata"]["name"].as_str().unwrap_or_default();
                let place = Place { name: name.to_owned(), ..place };
                self.store.create(&place, request.body.clone())
            }
            ("GET", _, "") => return self.store.get(&place),
            ("DELETE", _, "") => return self.store.delete(&place),
            ("GET", _, "scale") => return self.store.scale(&place),
            ("PUT", _, "scale") => self.store.rescale(&place, &request.body),
            ("PATCH", _, "scale") => {
                let scale = patched(self.store.scale(&place)?, request)?;
                self.store.rescale(&place, &scale)
            }
            ("GET", _, "status") => return self.store.get(&place),
            ("PUT", _, sub @ ("" | "status")) => {
                self.store.replace(&place, request.body.clone(), sub == "status")
            }
            ("PATCH", _, sub @ ("" | "status")) => {
                let next = patched(self.store.get(&place)?, request)?;
                self.store.replace(&place, next, sub == "status")
            }
            _ => Err(missing()),
        }?;
        self.store.written.push(value.clone());
        Ok(value)
    }

    /// Whether what it asks for would be answered with 403.
    fn reviewed(&mut self, body: &Value) -> Value {
        let asked = &body["spec"]["resourceAttributes"];
        let word = |key: &str| asked[key].as_str().unwrap_or_default();
        let path = ["resource", "name", "subresource"].map(word).join("/");
        let verb =
            if word("verb") == "list" { "GET".to_owned() } else { word("verb").to_uppercase() };
        let denied = self.spoils.iter().any(|spoil| {
            let verb = spoil.verb.is_empty() || spoil.verb == verb;
            let all = matches!(spoil.instead, Instead::Status(403, _)) && spoil.times > 0;
            all && verb && format!("/{path}").contains(spoil.path)
        });
        let mut answer = body.clone();
        answer["metadata"] = json!({});
        answer["status"] = json!({ "allowed": !denied });
        self.store.written.push(answer.clone());
        answer
    }

    fn listed(&self, place: &Place, kind: &str, query: &BTreeMap<String, String>) -> Value {
        let mut items = self.store.list(&place.group, &place.plural, &place.namespace);
        let asked = |key: &str| query.get(key).map_or("", String::as_str);
        items.retain(|item| {
            super::selector::labels(asked("labelSelector"), item)
                && super::selector::fields(asked("fieldSelector"), item)
        });
        // A page begins where the one before ended.
        let from: usize = asked("continue").parse().unwrap_or(0);
        let limit = asked("limit").parse().ok().filter(|limit| *limit > 0).unwrap_or(usize::MAX);
        let limit = if self.page > 0 { limit.min(self.page) } else { limit };
        let more = items.len() > from.saturating_add(limit);
        let next = if more { (from + limit).to_string() } else { String::new() };
        let items: Vec<Value> = items.into_iter().skip(from).take(limit).collect();
        json!({
            "apiVersion": place.group, "kind": format!("{kind}List"),
            "metadata": { "resourceVersion": "1", "continue": next }, "items": items,
        })
    }
}

fn patched(mut target: Value, request: &Request<'_>) -> Result<Value, Refusal> {
    match request.patch {
        "application/json-patch+json" => json_patch(&mut target, &request.body)?,
        // A strategic merge patch differs only in lists, which nobody patches here.
        "application/merge-patch+json" | "application/strategic-merge-patch+json" => {
            merge(&mut target, &request.body);
        }
        other => {
            let message = format!("the body of a PATCH cannot be of type {other:?}");
            return Err(Refusal { code: 415, reason: "UnsupportedMediaType", message });
        }
    }
    Ok(target)
}

/// What kubectl asks before anything else.
fn discovery(path: &str) -> Option<Value> {
    let groups = ["apps/v1", "batch/v1", "autoscaling/v2", "keda.sh/v1alpha1", "velero.io/v1"];
    Some(match path {
        "/version" => json!({ "major": "1", "minor": "33", "gitVersion": "v1.33.0" }),
        "/api" => json!({ "kind": "APIVersions", "versions": ["v1"] }),
        "/apis" => {
            let groups: Vec<Value> = groups
                .iter()
                .map(|group| {
                    let (name, version) = group.split_once('/').expect("a version");
                    let version = json!({ "groupVersion": group, "version": version });
                    json!({ "name": name, "versions": [version], "preferredVersion": version })
                })
                .collect();
            json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups })
        }
        "/api/v1" => resources("v1"),
        other => resources(groups.iter().find(|group| other == format!("/apis/{group}"))?),
    })
}

fn resources(group: &str) -> Value {
    let known = [
        ("apps/v1", "deployments", &["deploy"][..], true),
        ("apps/v1", "statefulsets", &["sts"], true),
        ("batch/v1", "cronjobs", &["cj"], false),
        ("autoscaling/v2", "horizontalpodautoscalers", &["hpa"], false),
        ("keda.sh/v1alpha1", "scaledobjects", &["so"], false),
        ("velero.io/v1", "backups", &[], false),
        ("velero.io/v1", "restores", &[], false),
        ("v1", "pods", &["po"], false),
        ("v1", "nodes", &["no"], false),
        ("v1", "configmaps", &["cm"], false),
        ("v1", "secrets", &[], false),
    ];
    let verbs = json!(["get", "list", "create", "update", "patch", "delete"]);
    let mut all = Vec::new();
    for (_, plural, short, scales) in known.into_iter().filter(|(of, ..)| *of == group) {
        let kind = kind(group, plural).expect("known");
        let namespaced = plural != "nodes";
        all.push(json!({
            "name": plural, "singularName": kind.to_lowercase(), "namespaced": namespaced,
            "kind": kind, "verbs": verbs, "shortNames": short,
        }));
        if scales {
            all.push(json!({
                "name": format!("{plural}/scale"), "singularName": "", "namespaced": true,
                "group": "autoscaling", "version": "v1", "kind": "Scale", "verbs": verbs,
            }));
        }
    }
    json!({
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group, "resources": all,
    })
}
