//! The frames of `v5.channel.k8s.io` and `v4.channel.k8s.io`: each message's first byte says what the rest is. Pure.

use memlet_diagnosis::evidence::Exit;
use serde::Deserialize;
use serde_json::{Value, json};

/// A subprotocol that is spoken here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// Knows how to close one channel.
    V5,
    V4,
}

impl Version {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::V5 => "v5.channel.k8s.io",
            Self::V4 => "v4.channel.k8s.io",
        }
    }

    /// The newest of those that a client offers (`Sec-WebSocket-Protocol`).
    pub(super) fn choose(offered: &str) -> Option<Self> {
        let offers = |version: &Self| offered.split(',').any(|name| name.trim() == version.name());
        [Self::V5, Self::V4].into_iter().find(offers)
    }
}

pub(super) const STDIN: u8 = 0;
pub(super) const STDOUT: u8 = 1;
pub(super) const STDERR: u8 = 2;
pub(super) const STATUS: u8 = 3;
pub(super) const RESIZE: u8 = 4;
pub(super) const CLOSE: u8 = 255;

/// What a client says in one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    Input(Vec<u8>),
    InputEnds,
    Size {
        columns: u16,
        rows: u16,
    },
    /// What means nothing here.
    Nothing,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Size {
    width: u16,
    height: u16,
}

impl Said {
    pub(super) fn parse(version: Version, message: &[u8]) -> Self {
        match message {
            // An empty message opens the channel, no more.
            [STDIN, input @ ..] if !input.is_empty() => Self::Input(input.to_vec()),
            [RESIZE, size @ ..] => match serde_json::from_slice(size) {
                Ok(Size { width, height }) => Self::Size { columns: width, rows: height },
                Err(_) => Self::Nothing,
            },
            [CLOSE, STDIN] if version == Version::V5 => Self::InputEnds,
            _ => Self::Nothing,
        }
    }
}

/// A message on a channel.
pub(super) fn message(channel: u8, bytes: &[u8]) -> Vec<u8> {
    [&[channel], bytes].concat()
}

/// The last word of a program's session: how it ended.
pub(super) fn exit_status(exit: Exit) -> Value {
    let code = exit.code();
    if code == 0 {
        return success();
    }
    json!({
        "metadata": {},
        "status": "Failure",
        "message": format!("command terminated with non-zero exit code: exit status {code}"),
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
    })
}

/// All went well.
pub(super) fn success() -> Value {
    json!({"metadata": {}, "status": "Success"})
}

/// There was no session.
pub(super) fn failure(reason: &str) -> Value {
    json!({
        "metadata": {},
        "status": "Failure",
        "message": format!("Internal error occurred: {reason}"),
        "reason": "InternalError",
        "details": {"causes": [{"message": reason}]},
        "code": 500,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_protocol_is_chosen() {
        for (offered, chosen) in [
            ("v5.channel.k8s.io,v4.channel.k8s.io,channel.k8s.io", Some(Version::V5)),
            ("channel.k8s.io, v4.channel.k8s.io", Some(Version::V4)),
            ("base64.channel.k8s.io", None),
        ] {
            assert_eq!(Version::choose(offered), chosen, "{offered}");
        }
    }

    #[test]
    fn messages_are_told_apart() {
        for (version, message, said) in [
            (Version::V5, &b"\x00hi"[..], Said::Input(b"hi".to_vec())),
            (Version::V5, b"\x00", Said::Nothing),
            (Version::V5, b"\xff\x00", Said::InputEnds),
            (Version::V4, b"\xff\x00", Said::Nothing),
            (Version::V5, b"\x04{\"Width\":80,\"Height\":24}", Said::Size { columns: 80, rows: 24 }),
            (Version::V5, b"\x04{\"Width\":-1}", Said::Nothing),
            (Version::V5, b"\x01x", Said::Nothing),
            (Version::V5, b"", Said::Nothing),
        ] {
            assert_eq!(Said::parse(version, message), said, "{message:?}");
        }
    }

    #[test]
    fn an_exit_code_is_told_as_kubelet_does() {
        insta::assert_snapshot!(
            exit_status(Exit::Code(3)),
            @r#"{"details":{"causes":[{"message":"3","reason":"ExitCode"}]},"message":"command terminated with non-zero exit code: exit status 3","metadata":{},"reason":"NonZeroExitCode","status":"Failure"}"#
        );
        assert_eq!(exit_status(Exit::Signal(9))["details"]["causes"][0]["message"], "137");
        assert_eq!(exit_status(Exit::Code(0)), success());
    }
}
