//! The third ring of tests: Debian's stock kernels, booted by qemu without hardware support, with the test programs
//! inside.
//!
//! What differs between machines (kernel, memory, cgroups, swap) is a table ([`scenario`]); a guest boots from a small
//! first filesystem and a disk of programs ([`image`]), reports over a serial line ([`machine`]), and what it told is
//! read here ([`report`]).

mod image; // the first filesystem and the disks
mod kernel; // Debian's kernels
mod machine; // one guest, from power on to its end
mod programs; // what runs inside
mod report; // what guests told
mod scenario; // which guests there are

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Result, anyhow, bail, ensure};
use kernel::Suite;
use machine::Outcome;
use report::Guest;
use scenario::Scenario;

use crate::tools;

/// Which guests, and which tests in them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Choice {
    /// Those with this in their names.
    pub(crate) scenario: Option<String>,
    /// Those with a kernel of this suite.
    pub(crate) kernel: Option<String>,
    /// Tests with this in their names, instead of those of the scenario.
    pub(crate) filter: Option<String>,
}

/// As many as this machine has processors to emulate them.
const AT_A_TIME: usize = 2;

/// Prints which guests there are.
pub(crate) fn list() {
    for scenario in &scenario::ALL {
        println!(
            "{:17} {:9} {:5} MiB  {}",
            scenario.name,
            scenario.suite.name(),
            scenario.memory_mib,
            scenario.has
        );
    }
}

/// Boots the guests and reports; fails where any test did, or a guest did not end as expected.
pub(crate) fn run(choice: &Choice) -> Result<()> {
    let chosen: Vec<&Scenario> = scenario::ALL.iter().filter(|scenario| choice.takes(scenario)).collect();
    ensure!(!chosen.is_empty(), "no such guest; `cargo xtask vm-test --list` prints which there are");
    let began = Instant::now();
    let tools = tools::install_for_guests()?;
    let mut bases = BTreeMap::new();
    for suite in Suite::ALL.into_iter().filter(|suite| chosen.iter().any(|scenario| scenario.suite == *suite))
    {
        let kernel = kernel::fetch(suite)?;
        let base = image::first_filesystem(&kernel)?;
        bases.insert(suite, (kernel, base));
    }
    let programs = programs::Programs::compile()?;
    let disk = image::programs_disk(&programs, &tools.search_path())?;
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    let boot = |scenario: &Scenario| -> Result<Outcome> {
        let (kernel, base) = &bases[&scenario.suite];
        machine::boot(scenario, kernel, base, &disk, &programs, choice.filter.as_deref())
    };
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                while let Some(scenario) = chosen.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let result = boot(scenario).map(|outcome| {
                        let guest = Guest::read(scenario, &outcome);
                        println!("{}", guest.line(scenario, &outcome));
                        if !guest.is_good() {
                            println!("{}", report::details(&guest, &outcome));
                        }
                        guest
                    });
                    if let Ok(mut results) = results.lock() {
                        results.push(result);
                    }
                }
            });
        }
    });
    let results = results.into_inner().map_err(|_| anyhow!("a thread that booted guests panicked"))?;
    let guests = results.into_iter().collect::<Result<Vec<Guest>>>()?;
    println!("{} guests in {:.0} s", guests.len(), began.elapsed().as_secs_f64());
    if choice.takes_all() {
        tell_nowhere(&guests);
    }
    match guests.iter().filter(|guest| !guest.is_good()).count() {
        0 => Ok(()),
        bad => bail!("{bad} of {} guests failed; their logs are in target/vm/logs", guests.len()),
    }
}

/// Tests that this ring has and that passed on none of its machines: they are of other rings, or of none.
fn tell_nowhere(guests: &[Guest]) {
    let nowhere = report::nowhere(guests.iter());
    if !nowhere.is_empty() {
        println!("passed on no guest:");
        for name in nowhere {
            println!("  {name}");
        }
    }
}

impl Choice {
    fn takes(&self, scenario: &Scenario) -> bool {
        self.scenario.as_ref().is_none_or(|part| scenario.name.contains(part.as_str()))
            && self.kernel.as_ref().is_none_or(|suite| scenario.suite.name() == suite)
    }

    fn takes_all(&self) -> bool {
        self.scenario.is_none() && self.kernel.is_none() && self.filter.is_none()
    }
}
