//! The operations port: health, metrics, and who is active, for load balancers and people.

use super::metrics::Metrics;
use super::{ASK_LIMIT, Face, group_name};
use arbiter_core::VANTAGE_FRESH_MAX;
use arbiter_proto::v1 as pb;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;
use tonic::{Request, Status};

/// Nothing here takes a body.
const BODY_BYTES_MAX: usize = 1024;
/// Since a quorum confirmed this arbiter's State, for `/readyz`.
const READY_AGE_MAX: Duration = VANTAGE_FRESH_MAX;

struct Ops {
    face: Arc<Face>,
    metrics: Metrics,
}

/// The routes.
pub fn router(face: Arc<Face>) -> Router {
    let ops = Arc::new(Ops { face, metrics: Metrics::default() });
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/v1/active/{group}", get(active))
        .route("/v1/groups/{group}/regions/{region}/active", get(region_active))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(ops)
}

async fn readyz(State(ops): State<Arc<Ops>>) -> Response {
    let age = ops.face.confirmed_age();
    if age <= READY_AGE_MAX {
        return (StatusCode::OK, "ok\n").into_response();
    }
    let text = "not ready: no quorum has confirmed what this arbiter knows\n";
    (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
}

async fn metrics(State(ops): State<Arc<Ops>>) -> Response {
    let text = ops.metrics.render(&ops.face);
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

/// Confirmed by a quorum within this call.
async fn confirmed(ops: &Ops, group: &str) -> Result<pb::ActiveRegion, Status> {
    let request =
        Request::new(pb::GetActiveRegionRequest { group: group_name(group), stale: false });
    match timeout(ASK_LIMIT, ops.face.active(&request)).await {
        Ok(answer) => answer,
        Err(_) => Err(super::refusal::no_quorum()),
    }
}

async fn active(State(ops): State<Arc<Ops>>, Path(group): Path<String>) -> Response {
    match confirmed(&ops, &group).await {
        Ok(answer) => (StatusCode::OK, Json(described(&answer))).into_response(),
        Err(status) => refused(&status),
    }
}

/// 200 only from a State that a quorum confirmed after the question came; else 503 and why.
async fn region_active(
    State(ops): State<Arc<Ops>>,
    Path((group, region)): Path<(String, String)>,
) -> Response {
    let answer = match confirmed(&ops, &group).await {
        Ok(answer) => answer,
        Err(status) => return refused(&status),
    };
    if !ops.face.state().spec.regions.keys().any(|known| known.0 == region) {
        let body = json!({ "reason": "unknown-region", "message": format!("no region {region}") });
        return (StatusCode::NOT_FOUND, Json(body)).into_response();
    }
    let mut body = described(&answer);
    if answer.region == region {
        return (StatusCode::OK, Json(body)).into_response();
    }
    body["reason"] = json!("not-active");
    body["message"] = match answer.region.as_str() {
        "" => json!("no region is active yet"),
        active => json!(format!("{active} is active")),
    };
    (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
}

fn described(answer: &pb::ActiveRegion) -> Value {
    json!({
        "group": answer.group,
        "region": answer.region,
        "epoch": answer.epoch,
        "phase": answer.phase,
        "leader": answer.leader,
        "log_index": answer.log_index,
        "stale": answer.stale,
    })
}

fn refused(status: &Status) -> Response {
    let code = match status.code() {
        tonic::Code::NotFound => StatusCode::NOT_FOUND,
        tonic::Code::InvalidArgument => StatusCode::BAD_REQUEST,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    let reason = status.metadata().get(super::refusal::REASON);
    let reason = reason.and_then(|value| value.to_str().ok()).unwrap_or("unavailable");
    (code, Json(json!({ "reason": reason, "message": status.message() }))).into_response()
}
