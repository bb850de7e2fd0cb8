//! The operations port: health, metrics, and which region is active, for load balancers and health
//! checks. Translates between HTTP and [`Face`]; decides nothing.

use arbiter_proto::v1;
use async_trait::async_trait;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use std::sync::Arc;

/// What the port asks of the node.
#[async_trait]
pub trait Face: Send + Sync + 'static {
    /// This process works; else why not.
    async fn live(&self) -> Result<(), String>;
    /// A quorum is reached and State is applied; else why not.
    async fn ready(&self) -> Result<(), String>;
    /// The active region, confirmed by a quorum.
    async fn active(&self, group: &str) -> Result<v1::ActiveRegion, tonic::Status>;
    /// `region` is active for `group`, confirmed within L; else why not.
    async fn active_here(&self, group: &str, region: &str) -> Result<(), String>;
    /// Metrics in the OpenMetrics text format.
    fn metrics(&self) -> String;
}

type Shared = State<Arc<dyn Face>>;

/// The routes of the port.
pub fn router(face: Arc<dyn Face>) -> Router {
    Router::new()
        .route("/livez", get(live))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/v1/active/{group}", get(active))
        .route("/v1/groups/{group}/regions/{region}/active", get(active_here))
        .with_state(face)
}

/// 200, or 503 with the reason.
fn verdict(outcome: Result<(), String>) -> Response {
    match outcome {
        Ok(()) => (StatusCode::OK, "ok\n").into_response(),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}

async fn live(State(face): Shared) -> Response {
    verdict(face.live().await)
}

async fn ready(State(face): Shared) -> Response {
    verdict(face.ready().await)
}

async fn active_here(
    State(face): Shared,
    Path((group, region)): Path<(String, String)>,
) -> Response {
    verdict(face.active_here(&group, &region).await)
}

async fn metrics(State(face): Shared) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], face.metrics()).into_response()
}

/// The JSON of `/v1/active/{group}`.
#[derive(Serialize)]
struct Active<'a> {
    group: &'a str,
    region: &'a str,
    epoch: u64,
    phase: &'a str,
    leader: &'a str,
    log_index: u64,
}

#[derive(Serialize)]
struct Refused<'a> {
    error: &'a str,
}

async fn active(State(face): Shared, Path(group): Path<String>) -> Response {
    match face.active(&group).await {
        Ok(v1::ActiveRegion { group, region, epoch, phase, leader, log_index, .. }) => {
            let (group, region, phase, leader) = (&*group, &*region, &*phase, &*leader);
            Json(Active { group, region, epoch, phase, leader, log_index }).into_response()
        }
        Err(status) => {
            let code = match status.code() {
                tonic::Code::NotFound => StatusCode::NOT_FOUND,
                tonic::Code::InvalidArgument => StatusCode::BAD_REQUEST,
                _ => StatusCode::SERVICE_UNAVAILABLE,
            };
            (code, Json(Refused { error: status.message() })).into_response()
        }
    }
}
