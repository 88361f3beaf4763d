//! Which of a multi-platform image's variants this machine runs.
//!
//! Names of systems and processors are Go's, as in OCI's `platform` and `docker image inspect`.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An operating system and a processor, as in `linux/arm64/v8`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// The operating system (GOOS); empty where the image does not say.
    pub os: String,
    /// The processor (GOARCH); empty where the image does not say.
    pub architecture: String,
    /// The processor's variant, as in arm's `v7`.
    pub variant: Option<String>,
}

impl Platform {
    /// The platform this program was built for, which is the one it can start programs of.
    pub fn of_this_machine() -> Self {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", None),
            "aarch64" => ("arm64", Some("v8")),
            "x86" => ("386", None),
            "arm" => ("arm", Some("v7")),
            "powerpc64" if cfg!(target_endian = "little") => ("ppc64le", None),
            "powerpc64" => ("ppc64", None),
            "loongarch64" => ("loong64", None),
            other => (other, None), // riscv64 and s390x are called the same
        };
        Self { os: "linux".into(), architecture: architecture.into(), variant: variant.map(Into::into) }
    }

    /// How well this machine (`self`) runs programs built for `image`: 0 is best, `None` is not at all.
    ///
    /// A processor runs its older variants too (containerd's platforms.Only); what an image does not say
    /// is not held against it.
    pub(super) fn suits(&self, image: &Self) -> Option<u32> {
        let same = |ours: &str, theirs: &str| theirs.is_empty() || ours == theirs;
        if !same(&self.os, &image.os) || !same(&self.architecture, &image.architecture) {
            return None;
        }
        let Some(theirs) = image.variant.as_deref().filter(|variant| !variant.is_empty()) else {
            return Some(0);
        };
        let base = match self.architecture.as_str() {
            "amd64" => 1,
            "arm64" => 8,
            _ => 0,
        };
        let number = |variant: &str| variant.strip_prefix('v').and_then(|n| n.parse::<u32>().ok());
        let ours = self.variant.as_deref().and_then(number).unwrap_or(base);
        let theirs = number(theirs)?;
        ours.checked_sub(theirs)
    }

    /// Docker's builder files attestations as manifests of the platform `unknown/unknown`; they hold no image.
    pub(super) fn is_attestation(&self) -> bool {
        self.os == "unknown" && self.architecture == "unknown"
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or_unknown = |text: &str| if text.is_empty() { "unknown".to_owned() } else { text.to_owned() };
        write!(f, "{}/{}", or_unknown(&self.os), or_unknown(&self.architecture))?;
        match self.variant.as_deref() {
            Some(variant) if !variant.is_empty() => write!(f, "/{variant}"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        let mut parts = text.split('/').map(str::to_owned);
        let mut part = || parts.next().unwrap_or_default();
        Platform { os: part(), architecture: part(), variant: Some(part()).filter(|v| !v.is_empty()) }
    }

    #[test]
    fn a_processor_runs_its_older_variants() {
        let table = [
            ("linux/amd64", "linux/amd64", Some(0)),
            ("linux/amd64", "linux/amd64/v1", Some(0)),
            ("linux/amd64", "linux/amd64/v3", None),
            ("linux/amd64", "linux/arm64", None),
            ("linux/amd64", "windows/amd64", None),
            ("linux/amd64", "/", Some(0)),
            ("linux/arm64/v8", "linux/arm64", Some(0)),
            ("linux/arm64/v8", "linux/arm64/v8", Some(0)),
            ("linux/arm64/v8", "linux/arm64/v9", None),
            ("linux/arm/v7", "linux/arm/v7", Some(0)),
            ("linux/arm/v7", "linux/arm/v6", Some(1)),
            ("linux/arm/v7", "linux/arm/v8", None),
            ("linux/arm/v7", "linux/arm/odd", None),
        ];
        for (machine, image, rank) in table {
            assert_eq!(platform(machine).suits(&platform(image)), rank, "{image} on {machine}");
        }
    }
}
