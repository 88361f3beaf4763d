//! The body of an answer on a socket: it knows when it has been sent, and ends early when the server stops.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::activity::Request;
use crate::reply::ResponseBody;

type Stopped = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A body that is being sent.
pub(super) struct SentBody {
    inner: ResponseBody,
    /// For a body without an end of its own: a watch, or a log that is followed.
    stopped: Option<Stopped>,
    _request: Arc<Request>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl SentBody {
    pub(super) fn new(
        inner: ResponseBody,
        request: Arc<Request>,
        permit: Option<OwnedSemaphorePermit>,
        stop: &watch::Receiver<bool>,
    ) -> Self {
        let endless = inner.size_hint().exact().is_none();
        let mut stop = stop.clone();
        let stopped = endless.then(|| -> Stopped {
            Box::pin(async move {
                // The sender is gone where the server is: that is a stop too.
                let _ = stop.wait_for(|stopping| *stopping).await;
            })
        });
        Self { inner, stopped, _request: request, _permit: permit }
    }
}

impl Body for SentBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(context) {
            return Poll::Ready(frame);
        }
        match &mut self.stopped {
            Some(stopped) => stopped.as_mut().poll(context).map(|()| None),
            None => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
