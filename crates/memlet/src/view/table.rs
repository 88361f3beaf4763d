//! The containers of a node as a table: what `crictl ps` shows, with the process and the memory beside. Pure.

use super::gather::{CgroupView, ContainerView, PodView};

/// The lines of the table, its head first; with the nodes' names where there is more than one.
pub(crate) fn text(pods: &[PodView], all: bool, with_nodes: bool) -> String {
    let head = [
        "CONTAINER ID",
        "NAMESPACE",
        "POD",
        "NAME",
        "PID",
        "STATE",
        "RESTARTS",
        "WORKING SET",
        "LIMIT",
        "NODE",
    ];
    let mut rows = vec![head.map(str::to_owned)];
    for pod in pods {
        if let Some(sandbox) = pod.sandbox.as_ref().filter(|_| all) {
            let pid = sandbox.processes.first().map(|process| process.pid);
            rows.push(row(pod, &sandbox.id, "(sandbox)", pid, "Running", 0, Some(&sandbox.cgroup)));
        }
        for container in pod.containers.iter().filter(|container| all || container.running) {
            let id = container.id.as_deref().unwrap_or("-");
            let restarts = container.restart_count;
            let (pid, cgroup) = (main_process(container), container.cgroup.as_ref());
            rows.push(row(pod, id, &container.name, pid, &container.state, restarts, cgroup));
        }
    }
    if !with_nodes {
        return aligned(&rows.iter().map(|row| &row[..row.len() - 1]).collect::<Vec<_>>());
    }
    aligned(&rows.iter().map(|row| &row[..]).collect::<Vec<_>>())
}

/// The process that is number one inside, or the first.
fn main_process(container: &ContainerView) -> Option<i32> {
    let inside = container.processes.iter().find(|process| process.inner_pid == Some(1));
    inside.or(container.processes.first()).map(|process| process.pid)
}

fn row(
    pod: &PodView,
    id: &str,
    name: &str,
    pid: Option<i32>,
    state: &str,
    restarts: i32,
    cgroup: Option<&CgroupView>,
) -> [String; 10] {
    let short: String = id.chars().take(13).collect();
    let missing = || "-".to_owned();
    [
        short,
        pod.namespace.clone(),
        pod.name.clone(),
        name.to_owned(),
        pid.map_or_else(missing, |pid| pid.to_string()),
        state.to_owned(),
        restarts.to_string(),
        cgroup.and_then(|cgroup| cgroup.working_set).map_or_else(missing, |amount| amount.to_string()),
        cgroup.map_or_else(missing, |cgroup| {
            cgroup.limit.map_or_else(|| "none".to_owned(), |limit| limit.to_string())
        }),
        pod.node.clone(),
    ]
}

/// Lines whose cells stand below each other; as many cells in each as in the first.
pub(crate) fn aligned(rows: &[&[String]]) -> String {
    let columns = rows.first().map_or(0, |row| row.len());
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..columns).map(width).collect();
    let line = |row: &&[String]| {
        let cells: Vec<_> = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}")).collect();
        format!("{}\n", cells.join("   ").trim_end())
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::super::sample::eater;
    use super::*;

    #[test]
    fn running_containers_alone() {
        insta::assert_snapshot!(text(&[eater()], false, false), @r"
        CONTAINER ID    NAMESPACE   POD                NAME   PID     STATE     RESTARTS   WORKING SET   LIMIT
        64ae20d221399   default     memory-eater-128   main   32308   Running   2          12Mi          128Mi
        ");
    }

    #[test]
    fn all_of_them() {
        insta::assert_snapshot!(text(&[eater()], true, false), @r"
        CONTAINER ID    NAMESPACE   POD                NAME        PID     STATE           RESTARTS   WORKING SET   LIMIT
        a398d3c012bb3   default     memory-eater-128   (sandbox)   32300   Running         0          12Mi          none
        64ae20d221399   default     memory-eater-128   main        32308   Running         2          12Mi          128Mi
        64ae20d221399   default     memory-eater-128   init        -       Completed (0)   2          -             -
        ");
    }

    #[test]
    fn of_more_nodes_than_one() {
        let table = text(&[eater()], false, true);
        assert!(
            table.lines().all(|line| line.ends_with("   NODE") || line.ends_with("   memlet")),
            "{table}"
        );
    }

    #[test]
    fn nothing_is_a_head() {
        assert_eq!(text(&[], true, true).lines().count(), 1);
    }
}
