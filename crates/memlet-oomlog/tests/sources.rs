//! The same kill, as every source of logs writes it: each must give the same report.

use memlet_oomlog::{Finding, LogReader, RawRange, Report, ReportId};
use proptest::prelude::*;

const POD_LIMIT: &str = include_str!("fixtures/pod-limit.txt");
const NODE_LIMIT: &str = include_str!("fixtures/node-limit.txt");

/// Seconds since boot and the text of each line of a `dmesg`.
fn lines(dmesg: &str) -> Vec<(&str, &str)> {
    let line =
        |line: &'static str| line.strip_prefix('[')?.split_once("] ").map(|(time, text)| (time.trim(), text));
    // The fixtures live as long as the program.
    let dmesg: &'static str = if dmesg == POD_LIMIT { POD_LIMIT } else { NODE_LIMIT };
    dmesg.lines().filter_map(line).collect()
}

fn micros(seconds: &str) -> u64 {
    let number = |text: &str| text.parse::<u64>().expect("a number");
    let (whole, fraction) = seconds.split_once('.').expect("seconds with a fraction");
    number(whole) * 1_000_000 + number(fraction)
}

fn json(text: &str) -> String {
    serde_json::to_string(text).expect("a text")
}

/// As the kernel escapes a text in `/dev/kmsg`.
fn escaped(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'\\' | 0..0x20 | 0x7f.. => format!("\\x{byte:02x}"),
        _ => char::from(byte).to_string(),
    };
    text.bytes().map(escape).collect()
}

type Form = (&'static str, fn(&[(&str, &str)]) -> String);

fn each(lines: &[(&str, &str)], form: impl Fn(usize, &str, &str) -> String) -> String {
    lines.iter().enumerate().map(|(number, (time, text))| form(number, time, text) + "\n").collect()
}

const FORMS: [Form; 63] = [
    ("dmesg", |lines| each(lines, |_, time, text| format!("[{time:>12}] {text}"))),
    ("dmesg with callers", |lines| each(lines, |_, time, text| format!("[{time:>12}][ T4711] {text}"))),
    ("dmesg with callers apart", |lines| {
        each(lines, |_, time, text| format!("[{time:>12}] [   T4711] {text}"))
    }),
    ("dmesg -T", |lines| each(lines, |_, _, text| format!("[Fri Nov 22 10:01:02 2024] {text}"))),
    ("dmesg -T in French", |lines| each(lines, |_, _, text| format!("[ven. nov. 22 10:01:02 2024] {text}"))),
    ("dmesg -T in Chinese", |lines| each(lines, |_, _, text| format!("[五 11月 22 10:01:02 2024] {text}"))),
    ("dmesg -x", |lines| each(lines, |_, time, text| format!("kern  :info  : [{time:>12}] {text}"))),
    ("dmesg -r", |lines| each(lines, |_, time, text| format!("<6>[{time:>12}] {text}"))),
    ("dmesg -d", |lines| each(lines, |_, time, text| format!("[{time:>12} <    0.000004>] {text}"))),
    ("dmesg --reltime", |lines| each(lines, |_, _, text| format!("[  +0.000004] {text}"))),
    ("dmesg iso", |lines| each(lines, |_, _, text| format!("2024-11-22T10:01:02,064130+00:00 {text}"))),
    ("dmesg without times", |lines| each(lines, |_, _, text| text.to_owned())),
    ("dmesg in colours", |lines| {
        each(lines, |_, time, text| format!("\x1b[32m[{time:>12}] \x1b[0m\x1b[33m{text}\x1b[0m"))
    }),
    ("kmsg", |lines| {
        each(lines, |number, time, text| format!("6,{},{},-;{}", number + 7, micros(time), escaped(text)))
    }),
    ("kmsg with callers and keys", |lines| {
        each(lines, |number, time, text| {
            format!("6,{},{},-,caller=T7;{}\n SUBSYSTEM=x", number + 7, micros(time), escaped(text))
        })
    }),
    ("RFC 3164", |lines| {
        each(lines, |_, time, text| format!("Nov 22 10:01:02 n1 kernel: [{time:>12}] {text}"))
    }),
    ("RFC 3164 without the kernel's time", |lines| {
        each(lines, |_, _, text| format!("Nov  2 10:01:02 n1 kernel: {text}"))
    }),
    ("RFC 3164 without a host", |lines| {
        each(lines, |_, time, text| format!("Nov 22 10:01:02 kernel: [{time}] {text}"))
    }),
    ("BusyBox syslogd", |lines| {
        each(lines, |_, time, text| format!("Nov 22 10:01:02 n1 kern.info kernel: [{time}] {text}"))
    }),
    ("rsyslog's ISO", |lines| {
        each(lines, |_, time, text| format!("2024-11-22T10:01:02.064130+00:00 n1 kernel: [{time}] {text}"))
    }),
    ("RFC 5424", |lines| {
        each(lines, |_, time, text| {
            format!(
                "<6>1 2024-11-22T10:01:02.064130Z n1 kernel - - [timeQuality tzKnown=\"1\" x=\"a\\]]\"] \u{feff}[{time}] {text}"
            )
        })
    }),
    ("journalctl short-precise", |lines| {
        each(lines, |_, _, text| format!("Nov 22 10:01:02.064130 n1 kernel: {text}"))
    }),
    ("journalctl short-iso", |lines| {
        each(lines, |_, _, text| format!("2024-11-22T10:01:02+0000 n1 kernel: {text}"))
    }),
    ("journalctl short-full", |lines| {
        each(lines, |_, _, text| format!("Fri 2024-11-22 10:01:02 UTC n1 kernel: {text}"))
    }),
    ("journalctl short-unix", |lines| {
        each(lines, |_, _, text| format!("1732269662.064130 n1 kernel: {text}"))
    }),
    ("journalctl short-monotonic", |lines| {
        each(lines, |_, time, text| format!("[{time:>12}] n1 kernel: {text}"))
    }),
    ("journalctl -o json", |lines| {
        each(lines, |_, time, text| {
            format!(
                "{{\"MESSAGE\":{},\"_TRANSPORT\":\"kernel\",\"_HOSTNAME\":\"n1\",\"PRIORITY\":\"6\",\"_SOURCE_MONOTONIC_TIMESTAMP\":\"{}\",\"__REALTIME_TIMESTAMP\":\"1732269662064130\"}}",
                json(text),
                micros(time)
            )
        })
    }),
    ("journalctl -o json-pretty", |lines| {
        each(lines, |_, _, text| {
            format!(
                "{{\n\t\"_HOSTNAME\" : \"n1\",\n\t\"MESSAGE\" : {},\n\t\"_TRANSPORT\" : \"kernel\"\n}}",
                json(text)
            )
        })
    }),
    ("journalctl -o export", |lines| {
        each(lines, |number, time, text| {
            let message = if number % 3 == 0 {
                let length =
                    String::from_utf8((text.len() as u64).to_le_bytes().to_vec()).unwrap_or_default();
                if length.is_empty() { format!("MESSAGE={text}") } else { format!("MESSAGE\n{length}{text}") }
            } else {
                format!("MESSAGE={text}")
            };
            format!(
                "__CURSOR=s={number}\n__REALTIME_TIMESTAMP=1732269662064130\n_TRANSPORT=kernel\n_HOSTNAME=n1\n{message}\n_SOURCE_MONOTONIC_TIMESTAMP={}\n",
                micros(time)
            )
        })
    }),
    ("dmesg -J", |lines| {
        let objects: Vec<_> = lines
            .iter()
            .map(|(time, text)| {
                format!(
                    "{{\n         \"pri\": 6,\n         \"time\": {time},\n         \"msg\": {}\n      }}",
                    json(text)
                )
            })
            .collect();
        format!("{{\n   \"dmesg\": [\n      {}\n   ]\n}}\n", objects.join(","))
    }),
    ("container log, pieces", |lines| {
        each(lines, |_, time, text| {
            let line = format!("[{time:>12}] {text}");
            let (head, tail) = line.split_at(line.len() / 2);
            format!(
                "2024-11-22T10:01:02.064130123Z stdout P {head}\n2024-11-22T10:01:02.064130124Z stdout F {tail}"
            )
        })
    }),
    ("docker's json-file", |lines| {
        each(lines, |_, time, text| {
            format!(
                "{{\"log\":{},\"stream\":\"stdout\",\"time\":\"2024-11-22T10:01:02.064130Z\"}}",
                json(&format!("[{time:>12}] {text}\n"))
            )
        })
    }),
    ("docker's json-file, many lines a record", |lines| {
        let log = each(lines, |_, _, text| text.to_owned());
        format!("{{\"log\":{},\"stream\":\"stdout\",\"time\":\"2024-11-22T10:01:02.064130Z\"}}\n", json(&log))
    }),
    ("dmesg -J on one line", |lines| {
        let object =
            |(time, text): &(&str, &str)| format!("{{\"pri\":6,\"time\":{time},\"msg\":{}}}", json(text));
        let objects: Vec<_> = lines.iter().map(object).collect();
        format!("{{\"dmesg\":[{}]}}\n", objects.join(","))
    }),
    ("indented", |lines| each(lines, |_, _, text| format!("    {text}"))),
    ("indented by a tab", |lines| each(lines, |_, _, text| format!("\t{text}"))),
    ("indented dmesg", |lines| each(lines, |_, time, text| format!("      [{time:>12}] {text}"))),
    ("nl", |lines| each(lines, |number, _, text| format!("{:6}\t{text}", number + 1))),
    ("nl of dmesg", |lines| each(lines, |number, time, text| format!("{number:6}\t[{time:>12}] {text}"))),
    ("less -N", |lines| each(lines, |number, _, text| format!("{:7} {text}", number + 96))),
    ("grep -n of a syslog", |lines| {
        each(lines, |number, _, text| format!("{number}:Nov 22 10:01:02 n1 kernel: {text}"))
    }),
    ("grep -r of a syslog", |lines| {
        each(lines, |_, time, text| format!("/var/log/kern.log.1-Nov 22 10:01:02 n1 kernel: [{time}] {text}"))
    }),
    ("grep -n of dmesg -T", |lines| {
        each(lines, |number, _, text| format!("{number}:[Fri Nov 22 10:01:02 2024] {text}"))
    }),
    ("nl of dmesg -x -T", |lines| {
        each(lines, |number, _, text| format!("{number:6}\tkern  :err   : [Fri Nov 22 10:01:02 2024] {text}"))
    }),
    ("grep -H of lines without stamps", |lines| each(lines, |_, _, text| format!("kern.log:{text}"))),
    ("kubectl logs --prefix", |lines| {
        each(lines, |_, time, text| format!("[pod/shipper-x7k2q/shipper] [{time:>12}] {text}"))
    }),
    ("pdsh", |lines| each(lines, |_, time, text| format!("h1: [{time:>12}] {text}"))),
    ("docker compose logs", |lines| each(lines, |_, time, text| format!("shipper-1  | [{time:>12}] {text}"))),
    ("cells of a table", |lines| {
        each(lines, |_, _, text| {
            format!("\"2024-11-22 10:01:02\",\"h1\",\"[Fri Nov 22 10:01:02 2024] {text}\"")
        })
    }),
    ("cat -A", |lines| each(lines, |_, time, text| format!("[{time:>12}] {text}$"))),
    ("tabs for blanks", |lines| {
        let tabs = |text: &str| text.split("  ").map(str::trim_start).collect::<Vec<_>>().join("\t");
        each(lines, |_, time, text| {
            format!("[{}] {}", time.trim(), if text.starts_with('[') { tabs(text) } else { text.to_owned() })
        })
    }),
    ("Splunk's export", |lines| {
        each(lines, |_, time, text| {
            format!("{{\"preview\":false,\"result\":{{\"_raw\":{}}}}}", json(&format!("[{time:>12}] {text}")))
        })
    }),
    ("a search in Elasticsearch", |lines| {
        let hit = |(time, text): &(&str, &str)| {
            format!(
                "{{\"_index\":\"a\",\"_source\":{{\"message\":{}}}}}",
                json(&format!("[{time:>12}] {text}"))
            )
        };
        let hits: Vec<_> = lines.iter().map(hit).collect();
        format!("{{\"took\":3,\"hits\":{{\"total\":{{\"value\":3}},\"hits\":[{}]}}}}\n", hits.join(","))
    }),
    ("a search in Loki", |lines| {
        let pair = |(time, text): &(&str, &str)| {
            format!("[\"1732269662064130000\",{}]", json(&format!("[{time:>12}] {text}")))
        };
        let pairs: Vec<_> = lines.iter().map(pair).collect();
        format!(
            "{{\"data\":{{\"result\":[{{\"stream\":{{\"instance\":\"n1\"}},\"values\":[{}]}}]}}}}\n",
            pairs.join(",")
        )
    }),
    ("a console behind a prompt", |lines| {
        each(lines, |number, time, text| {
            let prompt = if number % 7 == 0 { "node-7 login: " } else { "" };
            format!("{prompt}[{time:>12}] {text}")
        })
    }),
    ("Jenkins", |lines| {
        each(lines, |_, time, text| format!("[2024-11-22T10:01:02.064Z] [{time:>12}] {text}"))
    }),
    ("minicom", |lines| each(lines, |_, time, text| format!("[10:01:02.123] [{time:>12}] {text}"))),
    ("a level before the stamp", |lines| {
        each(lines, |_, time, text| format!("kern.warn [{time:>12}] {text}"))
    }),
    ("a syslog with levels and no host", |lines| {
        each(lines, |number, _, text| {
            let level = if number % 2 == 0 { "warn" } else { "info" };
            format!("Nov 22 10:01:02 kern.{level} kernel: {text}")
        })
    }),
    ("a shipper's label", |lines| {
        each(lines, |_, _, text| format!("{{\"app\":\"kmsg-reader\",\"message\":{}}}", json(text)))
    }),
    ("the journal's objects in a container's log", |lines| {
        each(lines, |_, _, text| {
            format!(
                "2024-11-22T10:01:02.064130123Z stdout F {{\"_TRANSPORT\":\"kernel\",\"_HOSTNAME\":\"n1\",\"MESSAGE\":{}}}",
                json(text)
            )
        })
    }),
    ("the journal's objects in docker's", |lines| {
        each(lines, |_, _, text| {
            let object =
                format!("{{\"_TRANSPORT\":\"kernel\",\"_HOSTNAME\":\"n1\",\"MESSAGE\":{}}}\n", json(text));
            format!(
                "{{\"log\":{},\"stream\":\"stdout\",\"time\":\"2024-11-22T10:01:02.064130Z\"}}",
                json(&object)
            )
        })
    }),
    ("a mail's quotation", |lines| each(lines, |_, time, text| format!("> > [{time:>12}] {text}"))),
];

fn read(log: &[u8]) -> Vec<Report> {
    read_in_pieces(log, log.len().max(1))
}

fn read_in_pieces(log: &[u8], size: usize) -> Vec<Report> {
    let mut reader = LogReader::default();
    for piece in log.chunks(size) {
        reader.push(piece);
    }
    reader.finish();
    reports(&mut reader)
}

fn reports(reader: &mut LogReader) -> Vec<Report> {
    std::iter::from_fn(|| reader.next_finding())
        .map(|finding| match finding {
            Finding::Kernel(report) => *report,
            Finding::Userspace(kill) => panic!("{kill:?}"),
        })
        .collect()
}

/// A report without what its source says of itself.
fn sourceless(report: &Report) -> Report {
    Report {
        time: None,
        host: None,
        since_boot: None,
        killed_since_boot: None,
        raw: RawRange::default(),
        id: ReportId::default(),
        ..report.clone()
    }
}

#[test]
fn every_source_gives_the_same_report() {
    for dmesg in [POD_LIMIT, NODE_LIMIT] {
        let expected = &read(dmesg.as_bytes())[..];
        let [expected] = expected else { panic!("{expected:?}") };
        assert!(expected.complete);
        for (name, form) in FORMS {
            let log = form(&lines(dmesg));
            let found = read(log.as_bytes());
            assert_eq!(
                found.len(),
                1,
                "{name}: {:#?}",
                found.iter().map(|report| report.raw).collect::<Vec<_>>()
            );
            assert_eq!(sourceless(&found[0]), sourceless(expected), "{name}");
            let host = found[0].host.as_deref();
            assert!(host == Some("n1") || !log.contains("n1"), "{name}: host {host:?}");
            if log.contains("2024") || log.contains("1732269662") {
                assert!(
                    found[0].time.as_ref().unwrap().as_str().starts_with("2024-11-22T10:01:02"),
                    "{name}: {:?}",
                    found[0].time
                );
            }
            // However the bytes come, with carriage returns, and without the last newline.
            for size in [1, 7, 100, 4096] {
                assert_eq!(read_in_pieces(log.as_bytes(), size), found, "{name} in pieces of {size}");
            }
            let windows = log.replace('\n', "\r\n");
            if !name.contains("export") {
                assert_eq!(read(windows.as_bytes()), found, "{name} with carriage returns");
            }
            assert_eq!(read(log.trim_end_matches('\n').as_bytes()), found, "{name} without its last newline");
        }
    }
}

#[test]
fn a_stream_may_mix_all_sources() {
    let log: String = FORMS.iter().map(|(_, form)| form(&lines(POD_LIMIT)) + "\nOther text\n\n").collect();
    let found = read(log.as_bytes());
    assert_eq!(found.len(), FORMS.len());
    for (report, (name, _)) in found.iter().zip(FORMS) {
        assert!(report.complete && report.victims[0].pid == 861, "{name}: {report:#?}");
    }
}

#[test]
fn far_into_the_noise_nothing_is_missed() {
    let noise = "Nov 22 10:01:02 n1 kubelet[1042]: I1122 10:01:02 kuberuntime_manager.go:808] \"Started\" pod=\"default/web\"\n";
    for (name, form) in FORMS {
        let noise = if name.contains("export") { "__CURSOR=s=1\n_COMM=x\nMESSAGE=y\n\n" } else { noise };
        let log = [
            noise.repeat(500),
            form(&lines(POD_LIMIT)),
            noise.repeat(500),
            form(&lines(NODE_LIMIT)),
            noise.repeat(2000),
        ]
        .concat();
        for size in [log.len(), 1000] {
            let found = read_in_pieces(log.as_bytes(), size);
            assert_eq!(found.len(), 2, "{name}");
            assert!(found.iter().all(|report| report.complete), "{name} in pieces of {size}");
        }
    }
}

#[test]
fn two_hosts_in_one_log_are_kept_apart() {
    let of = |dmesg: &'static str, host: &str| -> Vec<String> {
        lines(dmesg)
            .iter()
            .map(|(time, text)| format!("Nov 22 10:01:02 {host} kernel: [{time:>12}] {text}"))
            .collect()
    };
    let (one, other) = (of(POD_LIMIT, "node-1"), of(NODE_LIMIT, "node-2"));
    let mut woven = Vec::new();
    for at in 0..one.len().max(other.len()) {
        woven.extend(one.get(at).cloned());
        woven.extend(other.get(at).cloned());
    }
    let found = read(woven.join("\n").as_bytes());
    let [first, second] = &found[..] else { panic!("{} reports", found.len()) };
    assert_eq!((first.host.as_deref(), second.host.as_deref()), (Some("node-1"), Some("node-2")));
    assert_eq!(sourceless(first), sourceless(&read(POD_LIMIT.as_bytes())[0]));
    assert_eq!(sourceless(second), sourceless(&read(NODE_LIMIT.as_bytes())[0]));
    assert_eq!((first.raw.start_line, second.raw.start_line), (1, 62), "its header is its 31st line");
}

#[test]
fn a_report_among_many_lines_of_other_hosts_is_whole() {
    let others =
        "Nov 22 10:01:02 node-2 kubelet[1042]: I1122 10:01:02 kuberuntime_manager.go:808] \"Started\"\n";
    let log: String = lines(POD_LIMIT)
        .iter()
        .map(|(time, text)| {
            format!("Nov 22 10:01:02 node-1 kernel: [{time:>12}] {text}\n{}", others.repeat(600))
        })
        .collect();
    let found = read(log.as_bytes());
    let [report] = &found[..] else { panic!("{} reports", found.len()) };
    assert_eq!(sourceless(report), sourceless(&read(POD_LIMIT.as_bytes())[0]));
}

#[test]
fn only_the_kernels_lines_count() {
    for line in [
        "Nov 22 10:01:02 n1 app[7]: Memory cgroup out of memory: Killed process 1 (x) total-vm:1kB, anon-rss:1kB, file-rss:0kB",
        "<14>Nov 22 10:01:02 n1 kernel: Memory cgroup out of memory: Killed process 1 (x) total-vm:1kB, anon-rss:1kB, file-rss:0kB",
        "<14>1 2024-11-22T10:01:02Z n1 app 7 - - Memory cgroup out of memory: Killed process 1 (x) total-vm:1kB, anon-rss:1kB, file-rss:0kB",
        "user  :info  : [   12.000000] Memory cgroup out of memory: Killed process 1 (x) total-vm:1kB, anon-rss:1kB, file-rss:0kB",
        "12,5,5,-;Memory cgroup out of memory: Killed process 1 (x) total-vm:1kB, anon-rss:1kB, file-rss:0kB",
        "{\"_TRANSPORT\":\"stdout\",\"MESSAGE\":\"Memory cgroup out of memory: Killed process 1 (x) total-vm:1kB, anon-rss:1kB, file-rss:0kB\"}",
        "java.lang.OutOfMemoryError: Java heap space",
        "Nov 22 10:01:02 n1 slurmstepd[7]: error: Detected 1 oom-kill event(s) in StepId=1.batch",
        "flux-shell[7]: Memory cgroup out of memory: killed 1 task",
    ] {
        assert_eq!(read(line.as_bytes()), [], "{line}");
    }
}

#[test]
fn daemons_that_kill_are_told_apart() {
    let mut reader = LogReader::default();
    reader.push(b"Nov 22 10:01:02 n1 systemd-oomd[612]: Killed /user.slice/a.scope due to memory pressure for /user.slice being 60% > 50%\n");
    reader.finish();
    let Some(Finding::Userspace(kill)) = reader.next_finding() else { panic!() };
    assert_eq!(
        (kill.cgroup.as_deref(), kill.host.as_deref(), kill.line),
        (Some("/user.slice/a.scope"), Some("n1"), 1)
    );
    assert_eq!(reader.next_finding(), None);
    let statistics = reader.statistics();
    assert_eq!((statistics.lines, statistics.forms), (1, vec!["syslog or journalctl"]));
}

#[test]
fn what_waits_is_handed_out_when_nothing_more_comes() {
    let mut reader = LogReader::default();
    reader.push(POD_LIMIT.as_bytes());
    assert_eq!(reader.next_finding(), None, "the kernel may add to it");
    reader.settle();
    assert!(matches!(reader.next_finding(), Some(Finding::Kernel(report)) if report.complete));
    reader.push(NODE_LIMIT.as_bytes());
    reader.push(&b"x y z\n".repeat(300_000));
    assert!(matches!(reader.next_finding(), Some(Finding::Kernel(report)) if report.complete), "long past");
}

#[test]
fn memory_is_bounded_whatever_comes() {
    let mut reader = LogReader::default();
    // A line without end, an object without end, entries without end.
    for piece in [
        "x",
        "{\n",
        "\"a\": [\n",
        "__CURSOR=1\nMESSAGE\n",
        "2024-11-22T10:01:02Z stdout P x\n",
        "[ 1.000000] Out of memory\n",
    ] {
        for _ in 0..40 {
            reader.push(piece.repeat(100_000 / piece.len()).as_bytes());
        }
    }
    assert!(format!("{reader:?}").len() < 32 << 20);
    reader.push(b"\n\n");
    reader.push(POD_LIMIT.as_bytes());
    reader.finish();
    let complete = reports(&mut reader).into_iter().filter(|report| report.complete).count();
    assert_eq!(complete, 1);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000), size in 1usize..300) {
        let mut reader = LogReader::default();
        bytes.chunks(size).for_each(|piece| reader.push(piece));
        reader.finish();
        while reader.next_finding().is_some() {}
    }

    /// Any cut of any form, pushed in any pieces: no panic, and no report made up.
    #[test]
    fn cut_and_damaged_logs(form in 0..FORMS.len(), from in any::<prop::sample::Index>(), to in any::<prop::sample::Index>(), size in 1usize..5000, flip in any::<(prop::sample::Index, u8)>()) {
        let mut log = FORMS[form].1(&lines(POD_LIMIT)).into_bytes();
        let at = flip.0.index(log.len());
        log[at] = flip.1;
        let (from, to) = (from.index(log.len()), to.index(log.len()));
        let found = read_in_pieces(&log[from.min(to)..from.max(to)], size);
        prop_assert!(found.len() <= 2, "{}", found.len());
        prop_assert!(found.iter().all(|report| report.victims.len() <= 1));
    }

    /// Reports of one log followed by another are the reports of both.
    #[test]
    fn one_log_after_another(first in 0..FORMS.len(), second in 0..FORMS.len()) {
        let logs = [FORMS[first].1(&lines(POD_LIMIT)), FORMS[second].1(&lines(NODE_LIMIT))];
        let together: Vec<_> = read(logs.concat().as_bytes()).iter().map(sourceless).collect();
        let apart: Vec<_> = logs.iter().flat_map(|log| read(log.as_bytes())).map(|report| sourceless(&report)).collect();
        prop_assert_eq!(together, apart);
    }
}
