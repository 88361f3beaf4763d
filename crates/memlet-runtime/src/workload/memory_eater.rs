//! The memory eater: takes memory with malloc(3), block by block, and says how far it is.
//!
//! `memory-eater [LIMIT_MB] [SECONDS] [OPTION]…`
//!
//! Without options it obtains blocks of 8192 bytes, each linked from a small node and touched, until they sum
//! up to more than `LIMIT_MB` (300); a line `%6d  %5.1f MB` goes out per 1000 blocks, followed by a sleep of
//! SECONDS (1, fractions allowed). Then it frees them in the same steps. A NULL from malloc is said and ends
//! it with code 1: so a limit that makes malloc fail can be told from a limit that kills.

mod huge_pages; // the fastest way to take memory

use std::fs::File;
use std::io::{self, Write};
use std::ptr;
use std::thread;
use std::time::{Duration, Instant};

use self::huge_pages::HugePages;
use super::output::Output;
use crate::shim;

/// The size of a block, in bytes.
const BLOCK: usize = 8192;
/// Blocks between two lines.
const STEP: usize = 1000;
const MIB: f64 = 1024.0 * 1024.0;

const USAGE: &str = "usage: memory-eater [LIMIT_MB] [SECONDS] [OPTION]...
  LIMIT_MB          how much to take, in MiB (300)
  SECONDS           sleep after each 1000 blocks of 8 KiB (1; fractions allowed)
  --no-flush        keep lines in a block buffer, as C's stdio does on a pipe
  --rate MIB_PER_S  take memory at this rate instead of in steps
  --first MIB       take so much at once, before the pace begins
  --burst-at MIB    from this amount on, take it without a pause
  --huge-pages      take memory in pieces of 2 MiB: the fastest there is
  --spike           take all at once, without a pause or a line in between
  --leak            never give memory back: go on from LIMIT_MB for ever
  --hold            keep what was taken until a signal ends it
  --page-cache      fill the page cache instead: write a file of LIMIT_MB in the current folder
  --read-again      read that file twice more, so that the kernel takes its pages for ones in use
  --ignore-term     do not end on SIGTERM
  --exit CODE       end with this code instead of 0
  --children N      N child processes take the memory, one after another; the main process lives on";

/// What the arguments ask for.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
struct Options {
    limit_mib: f64,
    pause: Duration,
    flush: bool,
    rate: Option<f64>,
    first_mib: f64,
    burst_at: f64,
    huge_pages: bool,
    spike: bool,
    leak: bool,
    hold: bool,
    page_cache: bool,
    read_again: bool,
    ignore_term: bool,
    exit: i32,
    children: u32,
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut options = Self {
            limit_mib: 300.0,
            pause: Duration::from_secs(1),
            flush: true,
            rate: None,
            first_mib: 0.0,
            burst_at: f64::INFINITY,
            huge_pages: false,
            spike: false,
            leak: false,
            hold: false,
            page_cache: false,
            read_again: false,
            ignore_term: false,
            exit: 0,
            children: 0,
        };
        let mut positions = 0;
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{argument} wants a value"));
            match argument.as_str() {
                "--no-flush" => options.flush = false,
                "--rate" => options.rate = Some(positive(argument, value()?)?),
                "--first" => options.first_mib = positive(argument, value()?)?,
                "--burst-at" => options.burst_at = positive(argument, value()?)?,
                "--huge-pages" => options.huge_pages = true,
                "--spike" => options.spike = true,
                "--leak" => options.leak = true,
                "--hold" => options.hold = true,
                "--page-cache" => options.page_cache = true,
                "--read-again" => options.read_again = true,
                "--ignore-term" => options.ignore_term = true,
                "--exit" => {
                    let code = value()?;
                    let code: u8 = code.parse().map_err(|_| format!("--exit: {code:?} is no exit code"))?;
                    options.exit = code.into();
                }
                "--children" => {
                    let count = value()?;
                    options.children =
                        count.parse().map_err(|_| format!("--children: {count:?} is no count"))?;
                }
                option if option.starts_with('-') => return Err(format!("unknown option {option}")),
                number => {
                    positions += 1;
                    match positions {
                        1 => options.limit_mib = positive("LIMIT_MB", number)?,
                        2 => options.pause = seconds(number)?,
                        _ => return Err(format!("{number:?} is one argument too many")),
                    }
                }
            }
        }
        Ok(options)
    }
}

fn positive(name: &str, text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() && number > 0.0 => Ok(number),
        _ => Err(format!("{name}: {text:?} is not a positive number")),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let refused = || format!("SECONDS: {text:?} is not a number of seconds");
    Duration::try_from_secs_f64(text.parse().map_err(|_| refused())?).map_err(|_| refused())
}

/// Runs to the end and answers the exit code.
pub(super) fn run(arguments: &[String]) -> i32 {
    let options = match Options::parse(arguments) {
        Ok(options) => options,
        Err(reason) => {
            Output::complain(&format!("memory-eater: {reason}\n{USAGE}"));
            return 2;
        }
    };
    if !options.ignore_term {
        // As process 1 of its namespace it would not be ended by SIGTERM otherwise.
        shim::end_on_termination();
    }
    let mut output = Output::new(options.flush);
    let ended = if options.page_cache {
        fill_page_cache(&options, &mut output)
    } else if options.children > 0 {
        feed_children(&options, &mut output)
    } else if options.huge_pages {
        eat_huge_pages(&options, &mut output)
    } else {
        eat(&options, &mut output)
    };
    let code = match ended {
        Ok(()) => options.exit,
        Err(reason) => {
            output.line(&reason);
            1
        }
    };
    output.flush();
    code
}

/// A block and the way to the next, as the C program links them.
struct Node {
    data: *mut u8,
    next: *mut Node,
}

/// Blocks obtained with malloc(3), in the order they came.
struct Chain {
    first: *mut Node,
    last: *mut Node,
    blocks: usize,
}

impl Chain {
    const fn new() -> Self {
        Self { first: ptr::null_mut(), last: ptr::null_mut(), blocks: 0 }
    }

    /// Obtains one more block and touches it. The name of the pointer that malloc left NULL otherwise.
    fn grow(&mut self) -> Result<(), &'static str> {
        // SAFETY: the sizes are not zero; both results are checked before use; `last` is a node of this chain.
        unsafe {
            let node = libc::malloc(size_of::<Node>()).cast::<Node>();
            if node.is_null() {
                return Err("ptr_next");
            }
            let data = libc::malloc(BLOCK).cast::<u8>();
            if data.is_null() {
                libc::free(node.cast());
                return Err("ptr_data");
            }
            // Written through a volatile pointer, page by page is not enough: the C program fills its blocks.
            ptr::write_bytes(data, 0x55, BLOCK);
            ptr::read_volatile(data);
            node.write(Node { data, next: ptr::null_mut() });
            if self.last.is_null() {
                self.first = node;
            } else {
                (*self.last).next = node;
            }
            self.last = node;
        }
        self.blocks += 1;
        Ok(())
    }

    /// Frees the oldest block.
    fn shrink(&mut self) {
        if self.first.is_null() {
            return;
        }
        // SAFETY: `first` is a node that `grow` made and nobody has freed; its data likewise.
        unsafe {
            let Node { data, next } = self.first.read();
            libc::free(data.cast());
            libc::free(self.first.cast());
            self.first = next;
        }
        if self.first.is_null() {
            self.last = ptr::null_mut();
        }
        self.blocks -= 1;
    }

    #[allow(clippy::cast_precision_loss, reason = "printed with one decimal")]
    fn mib(&self) -> f64 {
        (self.blocks * BLOCK) as f64 / MIB
    }
}

/// Takes memory to the limit, then gives it back.
fn eat(options: &Options, output: &mut Output) -> Result<(), String> {
    let mut chain = Chain::new();
    let mut pace = Pace::new(options);
    while options.leak || chain.mib() <= options.limit_mib {
        chain.grow().map_err(|pointer| format!("Malloc Error at {pointer}"))?;
        if chain.blocks.is_multiple_of(STEP) && !options.spike {
            output.line(&progress(chain.blocks, chain.mib()));
        }
        pace.wait(chain.blocks, chain.mib());
    }
    if options.spike {
        output.line(&progress(chain.blocks, chain.mib()));
    }
    if options.hold {
        output.flush();
        loop {
            thread::park();
        }
    }
    let mut freed = 0;
    while chain.blocks > 0 {
        chain.shrink();
        freed += 1;
        if freed % STEP == 0 && !options.spike {
            output.line(&progress(freed, chain.mib()));
            thread::sleep(if options.rate.is_some() { Duration::ZERO } else { options.pause });
        }
    }
    Ok(())
}

/// The same in large pieces, which are given back at once.
fn eat_huge_pages(options: &Options, output: &mut Output) -> Result<(), String> {
    /// Pieces between two lines.
    const LINE: usize = 16;
    #[allow(clippy::cast_precision_loss, reason = "printed with one decimal")]
    let mib = |bytes: usize| bytes as f64 / MIB;
    let mut pages = HugePages::default();
    let mut pace = Pace::new(options);
    while options.leak || mib(pages.size()) <= options.limit_mib {
        if !pages.grow() {
            return Err("Malloc Error at mmap".to_owned());
        }
        let blocks = pages.size() / BLOCK;
        if pages.pieces().is_multiple_of(LINE) && !options.spike {
            output.line(&progress(blocks, mib(pages.size())));
        }
        pace.wait(blocks, mib(pages.size()));
    }
    if options.hold {
        output.flush();
        loop {
            thread::park();
        }
    }
    Ok(())
}

fn progress(blocks: usize, mib: f64) -> String {
    format!("{blocks:6}  {mib:5.1} MB")
}

/// When to sleep: after each step, by a rate, or never.
struct Pace {
    began: Instant,
    rate: Option<f64>,
    first_mib: f64,
    burst_at: f64,
    pause: Duration,
    spike: bool,
}

impl Pace {
    fn new(options: &Options) -> Self {
        let Options { rate, first_mib, burst_at, pause, spike, .. } = *options;
        Self { began: Instant::now(), rate, first_mib, burst_at, pause, spike }
    }

    /// Waits until more may be taken than so many blocks, which are so many MiB.
    fn wait(&mut self, blocks: usize, mib: f64) {
        /// Blocks between two looks at the clock: 1 MiB.
        const LOOK: usize = 128;
        if mib <= self.first_mib {
            self.began = Instant::now();
            return;
        }
        match self.rate {
            _ if mib >= self.burst_at => {}
            Some(rate) if blocks.is_multiple_of(LOOK) => {
                let due = Duration::from_secs_f64((mib - self.first_mib) / rate);
                thread::sleep(due.saturating_sub(self.began.elapsed()));
            }
            None if blocks.is_multiple_of(STEP) && !self.spike => thread::sleep(self.pause),
            _ => {}
        }
    }
}

/// Writes a file, which the kernel keeps in memory as page cache and drops when it needs the memory.
fn fill_page_cache(options: &Options, output: &mut Output) -> Result<(), String> {
    const NAME: &str = "memory-eater.cache";
    let block = [0x55_u8; BLOCK];
    let mut file = File::create(NAME).map_err(|error| format!("cannot create {NAME}: {error}"))?;
    let mut written = 0_usize;
    let mib = |blocks: usize| f64::from(u32::try_from(blocks * BLOCK / 1024).unwrap_or(u32::MAX)) / 1024.0;
    while mib(written) <= options.limit_mib {
        file.write_all(&block).map_err(|error| format!("cannot write {NAME}: {error}"))?;
        written += 1;
        if written.is_multiple_of(STEP) && !options.spike {
            output.line(&progress(written, mib(written)));
            thread::sleep(options.pause);
        }
    }
    if options.read_again {
        read_again(&file, NAME).map_err(|error| format!("cannot read {NAME}: {error}"))?;
        output.line(&format!("read {:.1} MB again", mib(written)));
    }
    if options.hold {
        output.flush();
        loop {
            thread::park();
        }
    }
    std::fs::remove_file(NAME).map_err(|error| format!("cannot remove {NAME}: {error}"))
}

/// What was read a second time counts as in use. What is not on disk yet could not be dropped at once.
fn read_again(file: &File, name: &str) -> io::Result<()> {
    file.sync_data()?;
    for _ in 0..2 {
        io::copy(&mut File::open(name)?, &mut io::sink())?;
    }
    Ok(())
}

/// Lets children take the memory, and says how each ended. The main process takes none.
fn feed_children(options: &Options, output: &mut Output) -> Result<(), String> {
    for number in 1..=options.children {
        output.flush();
        let ended = shim::in_child(|| {
            let mut output = Output::new(options.flush);
            let ended = eat(options, &mut output);
            output.flush();
            i32::from(ended.is_err())
        });
        match ended {
            Ok(how) => output.line(&format!("child {number} {how}")),
            Err(error) => return Err(format!("cannot fork child {number}: {error}")),
        }
    }
    if options.hold {
        output.flush();
        loop {
            thread::park();
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &str) -> Result<Options, String> {
        Options::parse(&arguments.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn arguments_are_read_as_the_usage_says() {
        let plain = parse("").unwrap();
        assert_eq!((plain.limit_mib, plain.pause, plain.flush), (300.0, Duration::from_secs(1), true));
        let full = parse("64 0.5 --no-flush --rate 10 --children 2 --hold --burst-at 20").unwrap();
        assert_eq!((full.burst_at, plain.burst_at), (20.0, f64::INFINITY));
        assert_eq!((full.limit_mib, full.pause), (64.0, Duration::from_millis(500)));
        assert_eq!((full.flush, full.rate, full.children, full.hold), (false, Some(10.0), 2, true));
        for (arguments, reason) in [
            ("zero", "LIMIT_MB: \"zero\" is not a positive number"),
            ("-5", "unknown option -5"),
            ("1 -1", "unknown option -1"),
            ("1 nan", "SECONDS: \"nan\" is not a number of seconds"),
            ("1 1 1", "\"1\" is one argument too many"),
            ("--rate", "--rate wants a value"),
            ("--rate inf", "--rate: \"inf\" is not a positive number"),
            ("--children many", "--children: \"many\" is no count"),
        ] {
            assert_eq!(parse(arguments), Err(reason.to_owned()), "{arguments}");
        }
    }

    #[test]
    fn lines_look_like_the_experiment() {
        assert_eq!(progress(1000, 7.8125), "  1000    7.8 MB");
        assert_eq!(progress(38000, 297.4), " 38000  297.4 MB");
    }

    #[test]
    fn a_chain_gives_back_what_it_took() {
        let mut chain = Chain::new();
        for _ in 0..256 {
            chain.grow().unwrap();
        }
        assert!((chain.mib() - 2.0).abs() < f64::EPSILON);
        for _ in 0..256 {
            chain.shrink();
        }
        assert!(chain.first.is_null() && chain.last.is_null());
        assert_eq!(chain.blocks, 0);
        chain.shrink();
        assert_eq!(chain.blocks, 0, "nothing more to free");
    }
}
