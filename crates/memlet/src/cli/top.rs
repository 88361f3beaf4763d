//! `memlet top`: what was typed.

use std::time::Duration;

use clap::Args;

use super::{Format, PlaceArguments};

/// `memlet top`
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  memlet top                            # every node, Pod and container, the largest first
  memlet top -n default --watch         # again every 2 s, until Ctrl-C
  memlet top --oom-order                # who would be killed, and who evicted, one after another
  memlet top -o json | jq '.nodes[].pods[] | {name, left: .left.bytes}'

WORKING SET is what counts against limits and for evictions: all that is charged less page cache that was not used
lately (INACTIVE). RSS is memory of processes that no file backs; CACHE is page cache, tmpfs included, and ACTIVE the
part of it that was used lately, which the working set counts though the kernel can drop it. LEFT is what may still be
used before the first limit is reached, and OF whose limit that is: the container's, the Pod's, the node's for all its
Pods, or the machine itself.")]
pub(crate) struct TopArguments {
    /// Only the Pods of this namespace
    #[arg(short, long, value_name = "NAMESPACE")]
    pub(crate) namespace: Option<String>,

    /// Show it again and again, every so many seconds, until Ctrl-C
    #[arg(short, long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2", value_parser = seconds)]
    pub(crate) watch: Option<Duration>,

    /// Show the processes in the order in which the kernel would kill them now, beside the Pods in the order in which
    /// the node would evict them
    #[arg(long)]
    pub(crate) oom_order: bool,

    /// How to print it; with --watch, one document after another
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    pub(crate) output: Format,

    #[command(flatten)]
    pub(crate) place: PlaceArguments,
}

/// Faster, and looking would be what uses the machine.
const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_hours(24);

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 =
        text.parse().map_err(|_| "a number of seconds is wanted, such as 2 or 0.5".to_owned())?;
    let time = Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())?;
    if (SHORTEST..=LONGEST).contains(&time) {
        Ok(time)
    } else {
        Err("from 0.1 to 86400 seconds are possible".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::{Arguments, Command};
    use super::*;

    fn watch(arguments: &[&str]) -> Option<Duration> {
        match Arguments::try_parse_from([&["memlet", "top"], arguments].concat()).unwrap().command {
            Command::Top(arguments) => arguments.watch,
            _ => None,
        }
    }

    #[test]
    fn how_often() {
        assert_eq!(watch(&[]), None);
        assert_eq!(watch(&["--watch"]), Some(Duration::from_secs(2)));
        assert_eq!(watch(&["-w", "0.5"]), Some(Duration::from_millis(500)));
        assert_eq!(watch(&["--watch", "--oom-order"]), Some(Duration::from_secs(2)));
        for wrong in ["0", "-1", "x", "nan", "inf", "1e9"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
