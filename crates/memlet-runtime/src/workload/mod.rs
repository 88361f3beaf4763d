//! Built-in images: workloads that need neither registry nor root filesystem.
//!
//! They run as the container's main process, forked from the supervisor's sealed copy of this program, in an
//! otherwise empty root. An image name such as `memlet.dev/memory-eater`, with any tag, selects one.

mod memory_eater;
mod output;

/// The registry name under which built-in images are found.
pub const REGISTRY: &str = "memlet.dev";

/// A built-in workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// Takes memory in small blocks until a limit, then gives it back: the program of a well-known experiment
    /// on container memory limits, with further patterns as options.
    MemoryEater,
    /// Does nothing until it is told to end.
    Pause,
}

impl Workload {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::MemoryEater, Self::Pause];

    /// Its short name, which is also its process's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::MemoryEater => "memory-eater",
            Self::Pause => "pause",
        }
    }

    /// The workload with this short name.
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|workload| workload.name() == name)
    }

    /// The workload that an image name means: `memlet.dev/<name>` with any tag.
    pub fn from_image(image: &str) -> Option<Self> {
        let name = image.strip_prefix(REGISTRY)?.strip_prefix('/')?;
        Self::find(name.split(':').next().unwrap_or(name))
    }

    /// The image name without a tag.
    pub fn image(self) -> String {
        format!("{REGISTRY}/{}", self.name())
    }

    /// Runs it to its end and answers its exit code. `arguments[0]` is its name. Only for a process that has
    /// been made for it.
    pub(crate) fn run(self, arguments: &[String]) -> i32 {
        let name = std::ffi::CString::new(self.name()).unwrap_or_default();
        let _ = rustix::thread::set_name(&name);
        match self {
            Self::MemoryEater => memory_eater::run(arguments.get(1..).unwrap_or_default()),
            Self::Pause => pause(),
        }
    }
}

/// Waits for SIGTERM or SIGINT. As process 1 of a pid namespace it would not even notice them otherwise.
fn pause() -> i32 {
    let awaited = [libc::SIGTERM, libc::SIGINT];
    crate::shim::wait_for_signal(&awaited);
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn image_names_select_workloads() {
        for (image, workload) in [
            ("memlet.dev/memory-eater", Some(Workload::MemoryEater)),
            ("memlet.dev/memory-eater:0.1", Some(Workload::MemoryEater)),
            ("memlet.dev/pause:latest", Some(Workload::Pause)),
            ("memlet.dev/memory-eater-two", None),
            ("memlet.development/pause", None),
            ("pause", None),
        ] {
            assert_eq!(Workload::from_image(image), workload, "{image}");
        }
    }
}
