//! `/containerLogs/{namespace}/{pod}/{container}`: what a container wrote.

use futures::StreamExt as _;
use http::{HeaderValue, Response, header};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use jiff::{SignedDuration, Timestamp};
use k8s_cri::v1::ContainerState;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::pods::Found;
use super::query::Query;
use super::{Refusal, ServerBody};
use crate::container;
use crate::container_log::{self, LogOptions, Stream, Writer};
use crate::cri::Cri;
use crate::node::Node;

/// Pieces of text that wait for a client.
const QUEUE: usize = 4;

pub(super) async fn answer(
    node: &Node,
    namespace: &str,
    pod: &str,
    container: &str,
    query: &Query,
) -> Result<Response<ServerBody>, Refusal> {
    let options = options(query, Timestamp::now())?;
    let found = Found::look(node, namespace, pod, container).await?;
    let instance = found.instance(query.flag("previous"))?;
    let folder = container::log_directory(&node.config.pod_logs, &found.pod);
    let path = folder.join(memlet_policy::logs::container_log_name(container, instance.number));
    let (sink, text) = mpsc::channel(QUEUE);
    let writer = Instance { cri: node.cri.clone(), id: instance.id };
    tokio::spawn(container_log::give(path, options, writer, sink));
    let frames = ReceiverStream::new(text).map(|bytes| Ok(Frame::data(bytes)));
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    Ok(response)
}

/// The container whose log it is, as the runtime knows it.
struct Instance {
    cri: Cri,
    /// `None`: it ended before.
    id: Option<String>,
}

impl Writer for Instance {
    async fn goes_on(&self) -> bool {
        let Some(id) = &self.id else { return false };
        match self.cri.container_status(id).await {
            Ok(answer) => {
                answer.status.is_some_and(|status| status.state() != ContainerState::ContainerExited)
            }
            Err(error) if error.is_not_found() => false,
            Err(error) => {
                tracing::warn!("a log is followed, and the runtime does not say of its container: {error}");
                true
            }
        }
    }
}

fn options(query: &Query, now: Timestamp) -> Result<LogOptions, Refusal> {
    let ago: Option<u64> = query.number("sinceSeconds")?;
    let time = query.get("sinceTime").map(|text| {
        text.parse::<Timestamp>().map_err(|_| Refusal::bad_request(format!("sinceTime: {text:?} is no time")))
    });
    let ago = ago.map(|seconds| {
        let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
        now.checked_sub(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MIN)
    });
    Ok(LogOptions {
        follow: query.flag("follow"),
        timestamps: query.flag("timestamps"),
        tail_lines: query.number("tailLines")?,
        since: time.transpose()?.or(ago),
        limit_bytes: query.number("limitBytes")?,
        stream: match query.get("stream") {
            None | Some("All") => None,
            Some("Stdout") => Some(Stream::Stdout),
            Some("Stderr") => Some(Stream::Stderr),
            Some(other) => return Err(Refusal::bad_request(format!("stream: {other:?} is none"))),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read() {
        let now: Timestamp = "2026-11-28T00:01:00Z".parse().unwrap();
        let read = |text: &str| options(&Query::parse(Some(text)), now);
        let all =
            read("follow=true&timestamps=1&tailLines=3&sinceSeconds=60&limitBytes=9&stream=Stderr").unwrap();
        let expected = LogOptions {
            follow: true,
            timestamps: true,
            tail_lines: Some(3),
            since: Some("2026-11-28T00:00:00Z".parse().unwrap()),
            limit_bytes: Some(9),
            stream: Some(Stream::Stderr),
        };
        assert_eq!(all, expected);
        assert_eq!(read("follow=false&stream=All").unwrap(), LogOptions::default());
        let since = read("sinceTime=2026-11-28T01:00:00%2B01:00").unwrap().since;
        assert_eq!(since, expected.since);
        assert!(read("tailLines=x").is_err() && read("sinceTime=noon").is_err());
        assert!(read("sinceSeconds=9999999999999999").unwrap().since.is_some());
    }
}
