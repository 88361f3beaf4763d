//! End to end: the real program, real manifests, real kills, inside cgroups of the tests' own.
//!
//! Needs root and a writable memory cgroup; tests of foreign images also need busybox, umoci and skopeo.
//! What cannot run is reported as ignored with the reason, and fails when `REQUIRE_KERNEL=1` is set, as
//! `cargo xtask test` sets it.

mod bad_input;
mod endings;
mod environment;
mod examples;
mod explain;
mod figures;
mod house;
mod images;
mod isolation;
mod kills;
mod machine;
mod manifests;
mod memory_files;
mod node;
mod oom_kill_mode;
mod output;
mod readers;
mod systemd;
mod trust;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use memlet_cgroup::Version;

use crate::machine::Machine;

/// A test: its name, what it needs, and what it does.
pub(crate) struct Test {
    name: String,
    needs: &'static [&'static str],
    version: Option<Version>,
    machine: Option<Machine>,
    /// It needs neither root nor cgroups.
    anywhere: bool,
    run: Box<dyn FnOnce() -> Result<(), Failed> + Send>,
}

/// A test of the program alone.
pub(crate) fn test(
    name: impl Into<String>,
    run: impl FnOnce() -> Result<(), Failed> + Send + 'static,
) -> Test {
    Test { name: name.into(), needs: &[], version: None, machine: None, anywhere: false, run: Box::new(run) }
}

/// A test that needs other programs.
pub(crate) fn test_with(
    name: impl Into<String>,
    needs: &'static [&'static str],
    run: impl FnOnce() -> Result<(), Failed> + Send + 'static,
) -> Test {
    Test { name: name.into(), needs, version: None, machine: None, anywhere: false, run: Box::new(run) }
}

/// A test that any machine can do.
pub(crate) fn test_anywhere(
    name: impl Into<String>,
    run: impl FnOnce() -> Result<(), Failed> + Send + 'static,
) -> Test {
    Test { anywhere: true, ..test(name, run) }
}

impl Test {
    /// The test says something about machines with this cgroup version only.
    pub(crate) fn only_on(self, version: Version) -> Self {
        Self { version: Some(version), ..self }
    }

    /// The test says something about such machines only.
    pub(crate) fn only_in(self, machine: Machine) -> Self {
        Self { machine: Some(machine), anywhere: true, ..self }
    }
}

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Two at a time: each holds up to some hundred MiB, and timings are looked at.
    arguments.test_threads = arguments.test_threads.or(Some(2));
    let mut tests = Vec::new();
    for each in [
        examples::tests(),
        bad_input::tests(),
        kills::tests(),
        manifests::tests(),
        memory_files::tests(),
        oom_kill_mode::tests(),
        images::tests(),
        endings::tests(),
        environment::tests(),
        output::tests(),
        readers::tests(),
        figures::tests(),
        systemd::tests(),
        trust::tests(),
        isolation::tests(),
        explain::tests(),
        machine::tests(),
        node::tests(),
    ] {
        tests.extend(each);
    }
    let trials = tests.into_iter().map(trial).collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn trial(test: Test) -> Trial {
    // One kind of machine excludes another; the ring of virtual machines sees that each has been one.
    if let Some(otherwise) = test.machine.and_then(Machine::is_not) {
        return ignored(&test.name, otherwise);
    }
    let missing = if test.anywhere { None } else { house::what_is_missing(test.needs) };
    let required = std::env::var_os("REQUIRE_KERNEL").is_some();
    match missing {
        Some(missing) if required => {
            Trial::test(test.name, move || Err(Failed::from(format!("this machine lacks {missing}"))))
        }
        Some(missing) => ignored(&test.name, &format!("needs {missing}")),
        // No machine has both: this is never something to be required.
        None if test.version.is_some_and(|version| house::version() != Some(version)) => {
            ignored(&test.name, "says nothing about this machine's cgroup version")
        }
        None => Trial::test(test.name, test.run),
    }
}

fn ignored(name: &str, reason: &str) -> Trial {
    Trial::test(format!("{name} ({reason})"), || Ok(())).with_ignored_flag(true)
}
