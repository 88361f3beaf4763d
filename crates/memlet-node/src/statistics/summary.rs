//! `/stats/summary`: the figures as JSON (kubelet's `stats/v1alpha1`). What is not known is left out.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::usage::Usage;
use super::{ContainerFigures, Figures, PodFigures};

/// The document.
pub(crate) fn summary(figures: &Figures) -> Value {
    let mut node = of_usage(&figures.usage);
    node.insert("nodeName".to_owned(), figures.node.clone().into());
    insert_time(&mut node, "startTime", figures.started);
    let pods: Vec<Value> = figures.pods.iter().map(of_pod).collect();
    json!({ "node": node, "pods": pods })
}

fn of_pod(pod: &PodFigures) -> Value {
    let mut value = of_usage(&pod.usage);
    let reference = json!({ "name": pod.name, "namespace": pod.namespace, "uid": pod.uid });
    value.insert("podRef".to_owned(), reference);
    insert_time(&mut value, "startTime", pod.started);
    let containers: Vec<Value> = pod.containers.iter().map(of_container).collect();
    value.insert("containers".to_owned(), containers.into());
    value.into()
}

fn of_container(container: &ContainerFigures) -> Value {
    let mut value = of_usage(&container.usage);
    value.insert("name".to_owned(), container.name.clone().into());
    insert_time(&mut value, "startTime", container.started);
    value.into()
}

fn of_usage(usage: &Usage) -> Map<String, Value> {
    let time = usage.time.to_string();
    let mut all = Map::new();
    if let Some(cpu) = usage.cpu {
        let mut told = json!({ "time": time, "usageCoreNanoSeconds": cpu.total_nanoseconds });
        if let Some(rate) = cpu.rate {
            told["usageNanoCores"] = rate.into();
            // Kubelet does not tell it; the metrics API does.
            told["windowNanoSeconds"] = cpu.window_nanoseconds.into();
        }
        all.insert("cpu".to_owned(), told);
    }
    let figures = &usage.memory;
    let mut memory = json!({ "time": time });
    for (name, figure) in [
        ("availableBytes", figures.available),
        ("usageBytes", figures.usage),
        ("workingSetBytes", figures.working_set),
        ("rssBytes", figures.rss),
        ("pageFaults", figures.page_faults),
        ("majorPageFaults", figures.major_page_faults),
    ] {
        if let Some(figure) = figure {
            memory[name] = figure.into();
        }
    }
    all.insert("memory".to_owned(), memory);
    if let Some(swap) = figures.swap {
        all.insert("swap".to_owned(), json!({ "time": time, "swapUsageBytes": swap }));
    }
    all
}

fn insert_time(map: &mut Map<String, Value>, name: &str, time: Option<Timestamp>) {
    let whole = time.and_then(|time| Timestamp::from_second(time.as_second()).ok());
    if let Some(time) = whole {
        map.insert(name.to_owned(), time.to_string().into());
    }
}
