//! The files by which programs find names, as containerd makes them: `hostname` and `resolv.conf` of a sandbox, mounted
//! into each of its containers. `/etc/hosts` is the node agent's.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use k8s_cri::v1::{DnsConfig, PodSandboxConfig};

/// Of a sandbox that is not told where to ask: where the machine asks.
const OF_THE_MACHINE: &str = "/etc/resolv.conf";

/// Names in the sandbox's folder, and where containers see them.
const FILES: [(&str, &str); 2] = [("hostname", "/etc/hostname"), ("resolv.conf", "/etc/resolv.conf")];

/// Writes them into the sandbox's folder.
///
/// # Errors
/// One cannot be written.
pub(crate) fn write(folder: &Path, config: &PodSandboxConfig) -> io::Result<()> {
    let resolv_conf = match &config.dns_config {
        Some(dns) => resolv_conf(dns),
        None => fs::read_to_string(OF_THE_MACHINE).unwrap_or_default(),
    };
    fs::write(folder.join(FILES[0].0), format!("{}\n", config.hostname))?;
    fs::write(folder.join(FILES[1].0), resolv_conf)
}

/// Where they are, and where containers see them: those that there are, since a sandbox may be an older program's.
pub(crate) fn of_sandbox(folder: &Path) -> Vec<(PathBuf, &'static str)> {
    let there = FILES.iter().map(|(name, at)| (folder.join(name), *at));
    there.filter(|(path, _)| path.exists()).collect()
}

fn resolv_conf(dns: &DnsConfig) -> String {
    let mut text = String::new();
    let mut line = |name: &str, words: &[String]| {
        if !words.is_empty() {
            text.push_str(&format!("{name} {}\n", words.join(" ")));
        }
    };
    line("search", &dns.searches);
    for server in &dns.servers {
        line("nameserver", std::slice::from_ref(server));
    }
    line("options", &dns.options);
    text
}
