//! How long a start and a verdict take on a machine whose times mean nothing, an emulated one: in how many times a fork and
//! exec of a small program there. `cargo xtask vm-test` prints what is told here; `cargo xtask bench` measures times.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use serde_json::json;

use crate::house::{House, MEMLET, eater, finish};
use crate::machine::Machine;
use crate::{Test, test};

pub(crate) fn tests() -> Vec<Test> {
    vec![test("figures: start, and kill to verdict, against fork and exec", measured).only_in(Machine::Guest)]
}

/// Enough for a median that one disturbance does not move.
const RUNS: usize = 3;

fn measured() -> Result<(), Failed> {
    let unit = median((0..20).map(|_| fork_and_exec()))?;
    tell("fork and exec", unit, unit);
    tell("from the command's start to the container's first line", median((0..RUNS).map(|_| start()))?, unit);
    tell("from the kernel's kill to the verdict", median((0..RUNS).map(|_| verdict()))?, unit);
    Ok(())
}

/// One line of JSON, among those of the harness.
#[allow(clippy::print_stdout, reason = "the ring reads it there")]
fn tell(what: &str, time: Duration, unit: Duration) {
    let ratio = time.as_secs_f64() / unit.as_secs_f64();
    println!("{}", json!({"type": "figure", "event": what, "micros": time.as_micros(), "ratio": ratio}));
}

fn median(times: impl Iterator<Item = Result<Duration, Failed>>) -> Result<Duration, Failed> {
    let mut times: Vec<Duration> = times.collect::<Result<_, _>>()?;
    times.sort_unstable();
    times.get(times.len() / 2).copied().ok_or_else(|| "nothing was measured".into())
}

fn fork_and_exec() -> Result<Duration, Failed> {
    let began = Instant::now();
    let status = Command::new("/usr/bin/true").stdin(Stdio::null()).status()?;
    assert!(status.success());
    Ok(began.elapsed())
}

/// When standard output had a line with `text`; waits for the end.
fn line_at(house: &House, manifest: &str, text: &str) -> Result<Instant, Failed> {
    let file = house.write("pod.yaml", manifest)?;
    let mut child = house.command(&[]).arg(file).spawn()?;
    let mut lines = BufReader::new(child.stdout.take().ok_or("no output")?).lines();
    let seen = lines.by_ref().find(|line| line.as_ref().is_ok_and(|line| line.contains(text)));
    let at = Instant::now();
    lines.for_each(drop);
    child.wait()?;
    seen.map(|_| at).ok_or_else(|| format!("it ended without saying {text:?}").into())
}

fn start() -> Result<Duration, Failed> {
    let house = House::new()?;
    let began = Instant::now();
    Ok(line_at(&house, &eater("1 0 --spike", "64Mi"), "MB")? - began)
}

fn verdict() -> Result<Duration, Failed> {
    let house = House::new()?;
    let seen = line_at(&house, &eater("300 0", "64Mi"), "OOMKilled (exit code")?;
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let now = Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec)?);
    let seen = now.checked_sub(seen.elapsed()).ok_or("the clock went back")?;
    let mut explain = Command::new(MEMLET);
    explain.args(["explain", "--kernel", "-o", "json"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let document = finish(explain.spawn()?)?.exits(0).json()?;
    let last = document["reports"].as_array().and_then(|reports| reports.last()).ok_or("no report")?;
    let killed = last["killedSinceBootMicros"].as_u64().ok_or("a kill without a time")?;
    seen.checked_sub(Duration::from_micros(killed)).ok_or_else(|| "the verdict came before the kill".into())
}
