//! `/metrics/resource`: the figures in Prometheus' text, by kubelet's names.

use super::Figures;
use super::usage::Usage;

/// A figure's name, its type, what it is, and where it is found.
struct Metric {
    name: &'static str,
    type_: &'static str,
    help: &'static str,
    of: fn(&Usage) -> Option<f64>,
}

const CPU: (&str, &str) = ("cpu_usage_seconds_total", "counter");

/// What is told of the node, of Pods and of containers alike.
const METRICS: [Metric; 3] = [
    Metric {
        name: CPU.0,
        type_: CPU.1,
        help: "Time of processors that was used, in seconds",
        of: |usage| Some(seconds(usage.cpu?.total_nanoseconds)),
    },
    Metric {
        name: "memory_working_set_bytes",
        type_: "gauge",
        help: "Memory in use that cannot be given back at once",
        of: |usage| usage.memory.working_set.map(float),
    },
    Metric {
        name: "swap_usage_bytes",
        type_: "gauge",
        help: "Memory that is swapped out",
        of: |usage| usage.memory.swap.map(float),
    },
];

/// The document.
pub(crate) fn exposition(figures: &Figures) -> String {
    let mut text = String::new();
    let of_pod = |namespace: &str, pod: &str| format!(r#"namespace="{namespace}",pod="{pod}""#);
    for metric in &METRICS {
        head(&mut text, &format!("container_{}", metric.name), metric.type_, metric.help);
        for pod in &figures.pods {
            for container in &pod.containers {
                let labels =
                    format!(r#"container="{}",{}"#, container.name, of_pod(&pod.namespace, &pod.name));
                sample(&mut text, "container", metric, &labels, &container.usage);
            }
        }
    }
    head(
        &mut text,
        "container_start_time_seconds",
        "gauge",
        "When the container started, in seconds since 1970",
    );
    for pod in &figures.pods {
        for container in &pod.containers {
            if let Some(started) = container.started {
                let labels =
                    format!(r#"container="{}",{}"#, container.name, of_pod(&pod.namespace, &pod.name));
                let seconds = started.duration_since(jiff::Timestamp::UNIX_EPOCH).as_secs_f64();
                text.push_str(&format!("container_start_time_seconds{{{labels}}} {seconds}\n"));
            }
        }
    }
    for metric in &METRICS {
        head(&mut text, &format!("node_{}", metric.name), metric.type_, metric.help);
        sample(&mut text, "node", metric, "", &figures.usage);
    }
    for metric in &METRICS {
        head(&mut text, &format!("pod_{}", metric.name), metric.type_, metric.help);
        for pod in &figures.pods {
            sample(&mut text, "pod", metric, &of_pod(&pod.namespace, &pod.name), &pod.usage);
        }
    }
    head(
        &mut text,
        "resource_scrape_error",
        "gauge",
        "1 if there was an error while getting the figures, 0 otherwise",
    );
    text.push_str("resource_scrape_error 0\n");
    text
}

fn head(text: &mut String, name: &str, type_: &str, help: &str) {
    text.push_str(&format!("# HELP {name} {help}\n# TYPE {name} {type_}\n"));
}

fn sample(text: &mut String, prefix: &str, metric: &Metric, labels: &str, usage: &Usage) {
    let Some(value) = (metric.of)(usage) else { return };
    let labels = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
    let milliseconds = usage.time.as_millisecond();
    text.push_str(&format!("{prefix}_{}{labels} {value} {milliseconds}\n", metric.name));
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus knows no other numbers")]
fn float(number: u64) -> f64 {
    number as f64
}

fn seconds(nanoseconds: u64) -> f64 {
    float(nanoseconds) / 1e9
}

#[cfg(test)]
mod tests {
    use super::super::cpu::Cpu;
    use super::super::usage::Memory;
    use super::super::{ContainerFigures, PodFigures, summary};
    use super::*;
    use serde_json::json;

    fn figures() -> Figures {
        let time = "2026-03-01T10:00:12Z".parse().unwrap();
        let usage = |working_set: u64| Usage {
            time,
            cpu: Some(Cpu {
                total_nanoseconds: 2_500_000_000,
                rate: Some(4_113_207),
                window_nanoseconds: 15_020_000_000,
            }),
            memory: Memory {
                working_set: Some(working_set),
                usage: Some(working_set + 1),
                ..Memory::default()
            },
        };
        let container =
            ContainerFigures { name: "main".to_owned(), started: Some(time), usage: usage(93_429_760) };
        let pod = PodFigures {
            name: "hog".to_owned(),
            namespace: "lab".to_owned(),
            uid: "u1".to_owned(),
            started: None,
            usage: Usage { cpu: None, ..usage(93_500_000) },
            containers: vec![container],
        };
        Figures { node: "n1".to_owned(), started: Some(time), usage: usage(1 << 30), pods: vec![pod] }
    }

    #[test]
    fn the_text_has_kubelets_names() {
        let text = exposition(&figures());
        for line in [
            "# TYPE container_cpu_usage_seconds_total counter",
            r#"container_cpu_usage_seconds_total{container="main",namespace="lab",pod="hog"} 2.5 1772359212000"#,
            r#"container_memory_working_set_bytes{container="main",namespace="lab",pod="hog"} 93429760 1772359212000"#,
            r#"container_start_time_seconds{container="main",namespace="lab",pod="hog"} 1772359212"#,
            "node_memory_working_set_bytes 1073741824 1772359212000",
            r#"pod_memory_working_set_bytes{namespace="lab",pod="hog"} 93500000 1772359212000"#,
            "resource_scrape_error 0",
        ] {
            assert!(text.lines().any(|written| written == line), "{line} is not in\n{text}");
        }
        // What is not known is not told.
        assert!(!text.contains("pod_cpu_usage_seconds_total{"), "{text}");
    }

    #[test]
    fn the_summary_has_kubelets_fields() {
        let summary = summary(&figures());
        assert_eq!(summary["node"]["nodeName"], "n1");
        assert_eq!(summary["node"]["memory"]["workingSetBytes"], 1 << 30);
        let pod = &summary["pods"][0];
        assert_eq!(pod["podRef"], json!({ "name": "hog", "namespace": "lab", "uid": "u1" }));
        assert_eq!(pod.get("cpu"), None);
        assert_eq!(
            pod["containers"][0],
            json!({
                "name": "main",
                "startTime": "2026-03-01T10:00:12Z",
                "cpu": {
                    "time": "2026-03-01T10:00:12Z", "usageCoreNanoSeconds": 2_500_000_000_u64,
                    "usageNanoCores": 4_113_207, "windowNanoSeconds": 15_020_000_000_u64,
                },
                "memory": {
                    "time": "2026-03-01T10:00:12Z", "usageBytes": 93_429_761, "workingSetBytes": 93_429_760,
                },
            })
        );
    }
}
