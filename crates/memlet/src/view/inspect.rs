//! One Pod in depth, as text. Pure.

use memlet_bytes::Bytes;

use super::gather::{CgroupView, PodView, ProcessView};

/// A Pod, its sandbox, its containers: cgroups with their files, processes with their scores.
pub(crate) fn text(pod: &PodView) -> String {
    let mut text = format!(
        "Pod {}/{}\n  uid        {}\n  phase      {}\n  QoS class  {}\n",
        pod.namespace, pod.name, pod.uid, pod.phase, pod.qos_class
    );
    text.push_str(&cgroup_text(pod.cgroup.as_ref()));
    for container in &pod.containers {
        text.push_str(&format!(
            "\nContainer {}\n  id         {}\n  state      {}, {}\n",
            container.name,
            container.id.as_deref().unwrap_or("none yet"),
            container.state,
            restarts(container.restart_count)
        ));
        text.push_str(&cgroup_text(container.cgroup.as_ref()));
        text.push_str(&processes_text(&container.processes));
    }
    if let Some(sandbox) = &pod.sandbox {
        text.push_str(&format!("\nSandbox\n  id         {}\n", sandbox.id));
        text.push_str(&cgroup_text(Some(&sandbox.cgroup)));
        text.push_str(&processes_text(&sandbox.processes));
    }
    text
}

fn restarts(count: i32) -> String {
    match count {
        0 => "never restarted".to_owned(),
        1 => "restarted once".to_owned(),
        more => format!("restarted {more} times"),
    }
}

fn cgroup_text(cgroup: Option<&CgroupView>) -> String {
    let Some(cgroup) = cgroup else { return "  cgroup     none now\n".to_owned() };
    let mut text = format!("  cgroup     {}\n  folder     {}\n", cgroup.path, cgroup.folder.display());
    let width = cgroup.files.keys().map(|name| name.len()).max().unwrap_or(0);
    for (name, value) in &cgroup.files {
        for (number, line) in value.lines().enumerate() {
            let name = if number == 0 { name } else { "" };
            text.push_str(&format!("    {name:width$}  {line}{}\n", amount(name, line)));
        }
    }
    text
}

/// Beside a number of bytes, the same as people read it.
fn amount(file: &str, value: &str) -> String {
    /// What version 1 shows for no limit, rounded to pages.
    const UNLIMITED: u64 = 1 << 62;
    let counts = ["memory.failcnt", "memory.oom.group", "memory.oom_control", "memory.events", ""];
    match value.parse::<u64>() {
        Ok(bytes) if bytes >= UNLIMITED => " (no limit)".to_owned(),
        Ok(bytes) if !counts.contains(&file) && bytes >= 1024 => format!(" ({})", Bytes::new(bytes)),
        _ => String::new(),
    }
}

fn processes_text(processes: &[ProcessView]) -> String {
    if processes.is_empty() {
        return "  processes  none\n".to_owned();
    }
    let mut text = "  processes    PID  INSIDE  OOM SCORE  ADJ       RSS  NAME\n".to_owned();
    for process in processes {
        let number = |number: Option<i32>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
        text.push_str(&format!(
            "        {:>10}  {:>6}  {:>9}  {:>4}  {:>7}  {}\n",
            process.pid,
            number(process.inner_pid),
            number(process.oom_score),
            number(process.oom_score_adj),
            process.rss.map_or_else(|| "-".to_owned(), |rss| rss.to_string()),
            process.name
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod() {
        insta::assert_snapshot!(text(&super::super::sample::eater()), @r"
        Pod default/memory-eater-128
          uid        u
          phase      Running
          QoS class  Burstable
          cgroup     /kubepods/burstable/podu/64ae
          folder     /sys/fs/cgroup/memory/kubepods/burstable/podu/64ae
            memory.limit_in_bytes  9223372036854771712 (no limit)
            memory.oom_control     oom_kill_disable 0
                                   under_oom 0
                                   oom_kill 2
            memory.usage_in_bytes  12582912 (12Mi)

        Container main
          id         64ae20d221399e618bbf8c15f3b5
          state      Running, restarted 2 times
          cgroup     /kubepods/burstable/podu/64ae
          folder     /sys/fs/cgroup/memory/kubepods/burstable/podu/64ae
            memory.limit_in_bytes  134217728 (128Mi)
            memory.oom_control     oom_kill_disable 0
                                   under_oom 0
                                   oom_kill 2
            memory.usage_in_bytes  12582912 (12Mi)
          processes    PID  INSIDE  OOM SCORE  ADJ       RSS  NAME
                     32309       7       1330   995     10Mi  memory_eater
                     32308       1       1330   995     10Mi  memory_eater

        Container init
          id         64ae20d221399e618bbf8c15f3b5
          state      Completed (0), restarted 2 times
          cgroup     none now
          processes  none

        Sandbox
          id         a398d3c012bb37dd
          cgroup     /kubepods/burstable/podu/64ae
          folder     /sys/fs/cgroup/memory/kubepods/burstable/podu/64ae
            memory.limit_in_bytes  9223372036854771712 (no limit)
            memory.oom_control     oom_kill_disable 0
                                   under_oom 0
                                   oom_kill 2
            memory.usage_in_bytes  12582912 (12Mi)
          processes    PID  INSIDE  OOM SCORE  ADJ       RSS  NAME
                     32300       1       1330   995     10Mi  memory_eater
        ");
    }
}
