//! The server as a tower service: bytes in, bytes out.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use http_body::Body;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tower::Service;

use crate::access::{Attributes, Identity, authorize};
use crate::error::ApiError;
use crate::nodes::Caller;
use crate::reply::ResponseBody;
use crate::server::ApiServer;

/// Upstream's bound on a request's body.
const LONGEST_BODY: usize = 3 << 20;
/// How long a body may take to arrive: upstream's `--request-timeout`.
const BODY_TIME: Duration = Duration::from_mins(1);

/// Answers the HTTP requests of one user. Made by [`ApiServer::service`] and [`ApiServer::service_as`]; never fails: a
/// refusal is an answer.
#[derive(Clone)]
pub struct ApiService {
    server: ApiServer,
    identity: Arc<Identity>,
}

impl ApiService {
    pub(crate) fn new(server: ApiServer, identity: Identity) -> Self {
        Self { server, identity: Arc::new(identity) }
    }
}

impl<B> Service<Request<B>> for ApiService
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let server = self.server.clone();
        // Who may not ask is told so before their body is read.
        let asked = Attributes::of(request.method(), request.uri());
        if let Err(refusal) = authorize(&self.identity, &asked) {
            return Box::pin(async move { Ok(refusal.into_response()) });
        }
        request.extensions_mut().insert(Arc::clone(&self.identity));
        let caller = Caller::of(&mut request);
        Box::pin(async move {
            let answer = match read(request).await {
                Ok(request) => server.answer_durably(request).await,
                Err(error) => Err(error),
            };
            Ok(match answer {
                Ok(reply) => reply.respond(caller).await,
                Err(refusal) => refusal.into_response(),
            })
        })
    }
}

async fn read<B>(request: Request<B>) -> Result<Request<bytes::Bytes>, ApiError>
where
    B: Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (parts, body) = request.into_parts();
    let collected = tokio::time::timeout(BODY_TIME, Limited::new(body, LONGEST_BODY).collect()).await;
    match collected.map_err(|_| ApiError::timeout())? {
        Ok(body) => Ok(Request::from_parts(parts, body.to_bytes())),
        Err(error) if error.is::<LengthLimitError>() => Err(ApiError::too_large()),
        Err(error) => Err(ApiError::bad_request(format!("the request's body cannot be read: {error}"))),
    }
}
