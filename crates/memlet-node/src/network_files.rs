//! `/etc/hosts` and `/etc/resolv.conf` of a Pod, as kubelet writes them (`pkg/kubelet/kubelet_pods.go`,
//! `pkg/kubelet/network/dns`). Pure: texts of the machine in, texts of the Pod out.
//!
//! There is no DNS server of a cluster here, so `ClusterFirst` means the machine's, as with a kubelet that was given none.

use k8s_cri::v1::DnsConfig;
use k8s_openapi::api::core::v1::{HostAlias, PodSpec};

/// Where a container looks for names of machines.
pub(crate) const HOSTS: &str = "/etc/hosts";
/// Where the machine has its own.
pub(crate) const RESOLV_CONF: &str = "/etc/resolv.conf";

/// The C library asks no more servers than these, and kubelet names no more.
const MOST_SERVERS: usize = 3;

/// What every Pod's file begins with.
const OF_EVERY_POD: &str = "\
# Kubernetes-managed hosts file.
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::0\tip6-localnet
fe00::0\tip6-mcastprefix
fe00::1\tip6-allnodes
fe00::2\tip6-allrouters
";

/// A Pod's `/etc/hosts`; `machine` is the node's own, which a Pod on the machine's network shares. A Pod without an
/// address finds itself at its loopback.
pub(crate) fn hosts(spec: &PodSpec, hostname: &str, machine: &str) -> String {
    let mut text = if spec.host_network == Some(true) {
        format!("# Kubernetes-managed hosts file (host network).\n{machine}")
    } else {
        format!("{OF_EVERY_POD}127.0.0.1\t{hostname}\n")
    };
    let aliases = spec.host_aliases.as_deref().unwrap_or_default();
    if !aliases.is_empty() {
        text.push_str("\n# Entries added by HostAliases.\n");
    }
    for HostAlias { ip, hostnames } in aliases {
        text.push_str(&format!("{ip}\t{}\n", hostnames.as_deref().unwrap_or_default().join("\t")));
    }
    text
}

/// What the runtime is to write into the Pod's `/etc/resolv.conf`; `machine` is the node's own.
pub(crate) fn dns(spec: &PodSpec, machine: &str) -> DnsConfig {
    let asks_nobody = spec.dns_policy.as_deref() == Some("None");
    let mut dns = if asks_nobody { DnsConfig::default() } else { parse(machine) };
    let Some(own) = &spec.dns_config else { return dns };
    let add = |to: &mut Vec<String>, more: &Option<Vec<String>>| {
        for word in more.iter().flatten() {
            if !to.contains(word) {
                to.push(word.clone());
            }
        }
    };
    add(&mut dns.servers, &own.nameservers);
    dns.servers.truncate(MOST_SERVERS);
    add(&mut dns.searches, &own.searches);
    for option in own.options.iter().flatten() {
        let name = option.name.clone().unwrap_or_default();
        dns.options.retain(|other| other.split(':').next() != Some(&name));
        let value = option.value.as_deref().map(|value| format!(":{value}")).unwrap_or_default();
        dns.options.push(format!("{name}{value}"));
    }
    dns
}

/// `resolv.conf(5)`: of `search` and `options` the last line counts.
fn parse(text: &str) -> DnsConfig {
    let mut dns = DnsConfig::default();
    for line in text.lines() {
        let mut words = line.split_whitespace().map(str::to_owned);
        match words.next().as_deref() {
            Some("nameserver") => dns.servers.extend(words.next()),
            Some("search") => dns.searches = words.collect(),
            Some("options") => dns.options = words.collect(),
            _ => {}
        }
    }
    dns.servers.truncate(MOST_SERVERS);
    dns
}

#[cfg(test)]
#[allow(clippy::needless_pass_by_value, reason = "callers write json!(…)")]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn spec(fields: Value) -> PodSpec {
        let mut spec = json!({"containers": []});
        spec.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        serde_json::from_value(spec).unwrap()
    }

    #[test]
    fn a_pod_knows_itself_and_its_aliases() {
        let aliases = json!([{"ip": "10.1.2.3", "hostnames": ["foo.remote", "bar.remote"]}]);
        insta::assert_snapshot!(hosts(&spec(json!({"hostAliases": aliases})), "web", "machine"), @r"
        # Kubernetes-managed hosts file.
        127.0.0.1	localhost
        ::1	localhost ip6-localhost ip6-loopback
        fe00::0	ip6-localnet
        fe00::0	ip6-mcastprefix
        fe00::1	ip6-allnodes
        fe00::2	ip6-allrouters
        127.0.0.1	web

        # Entries added by HostAliases.
        10.1.2.3	foo.remote	bar.remote
        ");
        let shared = hosts(&spec(json!({"hostNetwork": true})), "machine", "127.0.0.1 localhost\n");
        assert_eq!(shared, "# Kubernetes-managed hosts file (host network).\n127.0.0.1 localhost\n");
    }

    #[test]
    fn names_are_asked_where_the_pod_says() {
        const MACHINE: &str = "# by hand\nnameserver 10.0.0.1\nnameserver 10.0.0.2\nsearch old\nsearch lan example.com\n\
                               options ndots:2 rotate\n";
        let told = |fields: Value| {
            let DnsConfig { servers, searches, options } = dns(&spec(fields), MACHINE);
            [servers, searches, options].map(|words| words.join(" "))
        };
        let machine = ["10.0.0.1 10.0.0.2", "lan example.com", "ndots:2 rotate"].map(str::to_owned);
        assert_eq!(told(json!({})), machine);
        assert_eq!(told(json!({"dnsPolicy": "ClusterFirst"})), machine);
        let own = json!({
            "nameservers": ["10.0.0.2", "1.1.1.1", "8.8.8.8"], "searches": ["mine", "lan"],
            "options": [{"name": "ndots", "value": "5"}, {"name": "edns0"}],
        });
        assert_eq!(
            told(json!({"dnsConfig": own})),
            ["10.0.0.1 10.0.0.2 1.1.1.1", "lan example.com mine", "rotate ndots:5 edns0"]
        );
        assert_eq!(
            told(json!({"dnsPolicy": "None", "dnsConfig": own})),
            ["10.0.0.2 1.1.1.1 8.8.8.8", "mine lan", "ndots:5 edns0"]
        );
    }
}
