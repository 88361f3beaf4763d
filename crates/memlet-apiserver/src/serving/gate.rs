//! Between a connection and the server: who asks, and whether it is too much.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use rustls::pki_types::{CertificateDer, UnixTime};
use tokio::sync::OwnedSemaphorePermit;
use tower::Service as _;

use super::Shared;
use super::activity::Activity;
use super::body::SentBody;
use super::tls::Judge;
use crate::access::{Identity, Presented, certificate, is_long_running};
use crate::error::ApiError;
use crate::reply::ResponseBody;

/// How long a judgement about a certificate holds.
const JUDGED_FOR: Duration = Duration::from_mins(1);
/// Upstream's words and header for it.
const TOO_MANY: &str = "Too many requests, please try again later.\n";
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");
const AUDIT_ID: &str = "audit-id";

/// What answers the requests of one connection.
pub(super) struct Gate {
    shared: Arc<Shared>,
    peer: Peer,
    activity: Activity,
}

impl Gate {
    pub(super) fn new(shared: Arc<Shared>, peer: Peer) -> Self {
        Self { shared, peer, activity: Activity::default() }
    }

    pub(super) fn activity(&self) -> &Activity {
        &self.activity
    }

    pub(super) async fn answer(&self, request: Request<Incoming>) -> Response<SentBody> {
        let begun = Arc::new(self.activity.begin());
        let (mut response, permit) = match self.admit(&request) {
            Ok((identity, permit)) => {
                let Ok(response) = self.shared.server.service_as(identity).call(request).await;
                (response, permit)
            }
            Err(refusal) => (refusal.into_response(), None),
        };
        if let Ok(id) = HeaderValue::from_str(&uuid::Uuid::new_v4().to_string()) {
            response.headers_mut().insert(AUDIT_ID, id);
        }
        response.map(|body| SentBody::new(body, begun, permit, &self.shared.stop))
    }

    fn admit(
        &self,
        request: &Request<Incoming>,
    ) -> Result<(Identity, Option<OwnedSemaphorePermit>), Refusal> {
        let presented = self.peer.presented();
        let path = request.uri().path();
        let identity = self.shared.server.authenticate(&presented, request.headers(), path);
        let limits = &self.shared.limits;
        let (user, rate) = match &identity {
            Ok(identity) if identity.is_administrator() => {
                (identity.user.as_str(), limits.administrator_rate)
            }
            Ok(identity) => (identity.user.as_str(), limits.user_rate),
            Err(_) => ("", limits.user_rate),
        };
        if !self.shared.rates.take(user, rate, Instant::now()) {
            return Err(Refusal::TooMany);
        }
        let identity = identity.map_err(Refusal::Api)?;
        if is_long_running(request.uri()) {
            return Ok((identity, None));
        }
        let permit = Arc::clone(&self.shared.requests).try_acquire_owned().map_err(|_| Refusal::TooMany)?;
        Ok((identity, Some(permit)))
    }
}

/// Why a request does not come through.
enum Refusal {
    Api(ApiError),
    TooMany,
}

impl Refusal {
    fn into_response(self) -> Response<ResponseBody> {
        match self {
            Self::Api(error) => error.into_response(),
            Self::TooMany => too_many(),
        }
    }
}

fn too_many() -> Response<ResponseBody> {
    let mut response = Response::new(Full::from(TOO_MANY).boxed_unsync());
    *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
    let headers = response.headers_mut();
    headers.insert(header::RETRY_AFTER, RETRY_AFTER);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// The other end of a connection, by the certificate that it showed.
pub(super) struct Peer {
    certificates: Vec<CertificateDer<'static>>,
    judge: Judge,
    judged: Mutex<Option<(Instant, Presented)>>,
}

impl Peer {
    pub(super) fn new(certificates: &[CertificateDer<'_>], judge: &Judge) -> Self {
        let certificates = certificates.iter().map(|certificate| certificate.clone().into_owned()).collect();
        Self { certificates, judge: Arc::clone(judge), judged: Mutex::new(None) }
    }

    /// Judged anew every minute: a certificate may run out while its connection lasts.
    fn presented(&self) -> Presented {
        let Some((own, others)) = self.certificates.split_first() else { return Presented::Nothing };
        let mut judged = self.judged.lock().unwrap_or_else(PoisonError::into_inner);
        match &*judged {
            Some((when, presented)) if when.elapsed() < JUDGED_FOR => presented.clone(),
            _ => {
                let valid = self.judge.verify_client_cert(own, others, UnixTime::now());
                let identity = valid.ok().and_then(|_| certificate::identity(own));
                let presented = identity.map_or(Presented::Stranger, Presented::Known);
                *judged = Some((Instant::now(), presented.clone()));
                presented
            }
        }
    }
}
