//! End to end: the real program, real manifests, real kills, inside cgroups of the tests' own.
//!
//! Needs root and a writable memory cgroup; tests of foreign images also need busybox, umoci and skopeo.
//! What cannot run is reported as ignored with the reason, and fails when `REQUIRE_KERNEL=1` is set, as
//! `cargo xtask test` sets it.

mod bad_input;
mod endings;
mod environment;
mod examples;
mod house;
mod images;
mod kills;
mod manifests;
mod output;
mod readers;
mod trust;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};

/// A test: its name, what it needs, and what it does.
pub(crate) struct Test {
    name: String,
    needs: &'static [&'static str],
    run: Box<dyn FnOnce() -> Result<(), Failed> + Send>,
}

/// A test of the program alone.
pub(crate) fn test(
    name: impl Into<String>,
    run: impl FnOnce() -> Result<(), Failed> + Send + 'static,
) -> Test {
    Test { name: name.into(), needs: &[], run: Box::new(run) }
}

/// A test that needs other programs.
pub(crate) fn test_with(
    name: impl Into<String>,
    needs: &'static [&'static str],
    run: impl FnOnce() -> Result<(), Failed> + Send + 'static,
) -> Test {
    Test { name: name.into(), needs, run: Box::new(run) }
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
        images::tests(),
        endings::tests(),
        environment::tests(),
        output::tests(),
        readers::tests(),
        trust::tests(),
    ] {
        tests.extend(each);
    }
    let trials = tests.into_iter().map(trial).collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn trial(test: Test) -> Trial {
    let missing = house::what_is_missing(test.needs);
    let required = std::env::var_os("REQUIRE_KERNEL").is_some();
    match missing {
        Some(missing) if required => {
            Trial::test(test.name, move || Err(Failed::from(format!("this machine lacks {missing}"))))
        }
        Some(missing) => {
            Trial::test(format!("{} (needs {missing})", test.name), || Ok(())).with_ignored_flag(true)
        }
        None => Trial::test(test.name, test.run),
    }
}
