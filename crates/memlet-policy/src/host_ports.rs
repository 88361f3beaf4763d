//! Ports that Pods take on the node itself, and when two of them cannot both have theirs.

use k8s_openapi::api::core::v1::PodSpec;

use crate::resources::{init_containers, is_sidecar};

const ANY_ADDRESS: &str = "0.0.0.0";

/// A port of the node.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostPort {
    /// The address of the node on which it is taken.
    pub address: String,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// Its number.
    pub port: u16,
}

impl HostPort {
    /// Whether only one of the two can be had.
    pub fn conflicts_with(&self, other: &Self) -> bool {
        self.port == other.port
            && self.protocol == other.protocol
            && (self.address == other.address
                || [&self.address, &other.address].iter().any(|it| *it == ANY_ADDRESS))
    }
}

/// The host ports of the containers and sidecars of a Pod.
pub fn host_ports(spec: &PodSpec) -> Vec<HostPort> {
    let sidecars = init_containers(spec).iter().filter(|container| is_sidecar(container));
    let ports = spec.containers.iter().chain(sidecars).flat_map(|container| container.ports.iter().flatten());
    let or = |text: &Option<String>, default: &str| match text.as_deref() {
        None | Some("") => default.to_owned(),
        Some(text) => text.to_owned(),
    };
    let taken = ports.filter_map(|port| {
        let number = port.host_port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0)?;
        Some(HostPort {
            address: or(&port.host_ip, ANY_ADDRESS),
            protocol: or(&port.protocol, "TCP"),
            port: number,
        })
    });
    taken.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn address_protocol_and_number_decide() {
        let port = |address: &str, protocol: &str, port: u16| HostPort {
            address: address.to_owned(),
            protocol: protocol.to_owned(),
            port,
        };
        let taken = port("10.0.0.1", "TCP", 80);
        for (other, conflict) in [
            (port("10.0.0.1", "TCP", 80), true),
            (port("10.0.0.2", "TCP", 80), false),
            (port("0.0.0.0", "TCP", 80), true),
            (port("10.0.0.1", "UDP", 80), false),
            (port("0.0.0.0", "TCP", 81), false),
        ] {
            assert_eq!(taken.conflicts_with(&other), conflict, "{other:?}");
            assert_eq!(other.conflicts_with(&taken), conflict, "{other:?}");
        }
    }

    #[test]
    fn containers_and_sidecars_take_ports() {
        let container =
            |name: &str, port: i32| json!({"name": name, "ports": [{"containerPort": 1, "hostPort": port}]});
        let mut sidecar = container("s", 82);
        sidecar["restartPolicy"] = json!("Always");
        let spec = json!({"containers": [container("a", 80), container("b", 0)], "initContainers": [container("i", 81), sidecar]});
        let ports = host_ports(&serde_json::from_value(spec).unwrap());
        assert_eq!(ports.iter().map(|port| port.port).collect::<Vec<_>>(), [80, 82]);
        assert_eq!((ports[0].address.as_str(), ports[0].protocol.as_str()), ("0.0.0.0", "TCP"));
    }
}
