//! What stands in front of every service: permission, then admission, then the runtime where the
//! call is answered. Knows headers and paths; judges nothing itself.

use super::admission::{Place, Pool, bounded};
use super::connection::Origin;
use super::permit::Denied;
use super::{Face, refusal};
use crate::tls::{Caller, with_caller};
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tonic::{Code, Status};
use tower::{Layer, Service};

/// Calls that change something: a refusal of one is recorded.
const CHANGES: &str = "/arbiter.v1.Admin/";

/// The layer in front of every service.
#[derive(Clone)]
pub struct Interceptor {
    /// Whose services they are.
    pub face: Arc<Face>,
    /// Where the calls of people are answered, if not where the connection is.
    pub people: Option<Handle>,
}

impl<S> Layer<S> for Interceptor {
    type Service = Intercepted<S>;

    fn layer(&self, inner: S) -> Intercepted<S> {
        Intercepted { interceptor: self.clone(), inner }
    }
}

/// A service that only calls reach which are permitted, and for which there is room.
#[derive(Clone)]
pub struct Intercepted<S> {
    interceptor: Interceptor,
    inner: S,
}

type Answered<E> = Result<Response<Body>, E>;
type Answering<E> = Pin<Box<dyn Future<Output = Answered<E>> + Send>>;

impl<S> Service<Request<Body>> for Intercepted<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answering<Infallible>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let path = request.uri().path().to_owned();
        let caller = match self.interceptor.permitted(&path, &request) {
            Ok(caller) => caller,
            Err(status) => return refused(status),
        };
        request.extensions_mut().insert(caller.clone());
        let Some(pool) = Pool::of(&path) else {
            return Box::pin(with_caller(caller, self.inner.call(request)));
        };
        let place = match self.interceptor.face.admission.admit(pool, &caller) {
            Ok(place) => place,
            Err(status) => return refused(status),
        };
        let request = request.map(|body| bounded(pool, body));
        let answering = with_caller(caller, self.inner.call(request));
        match self.interceptor.people.clone() {
            None => Box::pin(placed(place, answering)),
            Some(people) => Box::pin(placed(place, elsewhere(people, answering))),
        }
    }
}

impl Interceptor {
    fn permitted(&self, path: &str, request: &Request<Body>) -> Result<Caller, Status> {
        let origin = request.extensions().get::<Origin>();
        self.face.permit.judge(path, request.headers(), origin).map_err(|denied| {
            let Denied { caller, why } = *denied;
            self.face.permit.refused(caller.as_ref(), path, &why);
            if let (Some(caller), Some(call)) = (&caller, path.strip_prefix(CHANGES)) {
                self.face.refused(&caller.to_string(), call, why.reason);
            }
            why.status()
        })
    }
}

fn refused(status: Status) -> Answering<Infallible> {
    Box::pin(std::future::ready(Ok(status.into_http())))
}

async fn placed(
    place: Place,
    answering: impl Future<Output = Answered<Infallible>>,
) -> Answered<Infallible> {
    let answer = answering.await?;
    Ok(answer.map(|body| place.answer(body)))
}

/// Answer on another runtime: what people ask delays no renewal on this one.
async fn elsewhere(
    runtime: Handle,
    answering: impl Future<Output = Answered<Infallible>> + Send + 'static,
) -> Answered<Infallible> {
    // Dropped with whoever asked, it ends the task.
    let mut task = JoinSet::new();
    task.spawn_on(answering, &runtime);
    match task.join_next().await {
        Some(Ok(answered)) => answered,
        Some(Err(_)) | None => {
            let text = "this arbiter is stopping, or could not answer";
            let status =
                refusal::refusal(Code::Unavailable, "stopping", text, "ask another arbiter");
            Ok(status.into_http())
        }
    }
}
