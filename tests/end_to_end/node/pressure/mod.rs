//! A node short of memory: who goes, who stays, and what is told of it. The kernel's own killer must have nothing to do,
//! unless a test says so.

mod choice; // who goes: never the wrong one
mod course; // how: with what grace, or not at all, and across a restart
mod machine; // a node that is the whole machine
mod told; // what kubectl and memlet tell of it

use std::fs;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use memlet_bytes::Bytes;
use memlet_cgroup::{Cgroup, Hierarchy};
use serde_json::{Value, json};

use super::{Node, SOON, is_running};
use crate::Test;
use crate::house::{House, patience};

pub(crate) fn tests() -> Vec<Test> {
    [told::tests(), choice::tests(), course::tests(), machine::tests()].into_iter().flatten().collect()
}

/// A Pod of one memory eater: `BestEffort`, and restarted always, unless it is said otherwise.
pub(crate) struct Eater(Value);

impl Eater {
    pub(crate) fn new(name: &str, arguments: &str) -> Self {
        let arguments: Vec<_> = arguments.split_whitespace().collect();
        Self(json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
            "spec": {"containers": [
                {"name": "main", "image": "memlet.dev/memory-eater", "args": arguments},
            ]},
        }))
    }

    /// A Pod that takes so many MiB at once, and keeps them.
    pub(crate) fn holding(name: &str, mebibytes: u64) -> Self {
        Self::new(name, &format!("{mebibytes} 0 --spike --hold"))
    }

    pub(crate) fn requesting(self, memory: &str) -> Self {
        self.container("resources", json!({"requests": {"memory": memory}}))
    }

    pub(crate) fn within(self, request: &str, limit: &str) -> Self {
        self.container("resources", json!({"requests": {"memory": request}, "limits": {"memory": limit}}))
    }

    pub(crate) fn guaranteed(self, memory: &str) -> Self {
        self.container("resources", json!({"limits": {"memory": memory, "cpu": "10m"}}))
    }

    /// It comes to a node under pressure too.
    pub(crate) fn tolerating(self) -> Self {
        self.spec(
            "tolerations",
            json!([{"key": "node.kubernetes.io/memory-pressure", "operator": "Exists", "effect": "NoSchedule"}]),
        )
    }

    pub(crate) fn spec(mut self, field: &str, value: Value) -> Self {
        self.0["spec"][field] = value;
        self
    }

    pub(crate) fn container(mut self, field: &str, value: Value) -> Self {
        self.0["spec"]["containers"][0][field] = value;
        self
    }

    pub(crate) fn manifest(&self) -> String {
        self.0.to_string()
    }
}

impl Node {
    /// Creates Pods and waits until they run.
    pub(crate) fn run_all(&self, pods: &[Eater]) -> Result<(), Failed> {
        for pod in pods {
            self.create(&pod.manifest())?;
        }
        for pod in pods {
            let name = pod.0["metadata"]["name"].as_str().expect("it has a name");
            self.wait_for(&format!("pod/{name}"), is_running)?;
        }
        Ok(())
    }

    /// Waits until a Pod has been evicted, and all of that is recorded.
    pub(crate) fn evicted(&self, name: &str) -> Result<Value, Failed> {
        let pod = self.failed(name)?;
        self.eviction_of(name)?;
        Ok(pod)
    }

    /// Waits until a Pod says that it was evicted.
    pub(crate) fn failed(&self, name: &str) -> Result<Value, Failed> {
        let pod = self.wait_for(&format!("pod/{name}"), |pod| pod["status"]["phase"] == "Failed")?;
        assert_eq!(pod["status"]["reason"], "Evicted", "{pod:#}");
        Ok(pod)
    }

    /// Waits until the node says that it is under pressure, or that it is not.
    pub(crate) fn pressure_is(&self, node: &str, status: &str) -> Result<Value, Failed> {
        let is = |node: &Value| pressure(node).is_some_and(|condition| condition["status"] == status);
        let node = self.wait_for(&format!("node/{node}"), is)?;
        Ok(pressure(&node).expect("it was seen").clone())
    }

    /// The records of this node's evictions that came to their ends, oldest first.
    pub(crate) fn evictions(&self) -> Result<Vec<Value>, Failed> {
        let mut evictions = self.records("eviction")?;
        evictions.retain(|eviction| !eviction["course"]["ended"].is_null());
        Ok(evictions)
    }

    /// Waits until an eviction is recorded, which is when the Pod has ended.
    pub(crate) fn eviction_of(&self, name: &str) -> Result<Value, Failed> {
        let deadline = Instant::now() + patience(SOON);
        loop {
            let all = self.evictions()?;
            if let Some(found) = all.iter().find(|eviction| eviction["pod"]["name"] == name) {
                return Ok(found.clone());
            }
            if Instant::now() > deadline {
                return Err(format!("no eviction of {name} in {all:#?}").into());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The records of one kind.
    pub(crate) fn records(&self, kind: &str) -> Result<Vec<Value>, Failed> {
        let mut files: Vec<_> = fs::read_dir(self.house.folder.path().join("data/node/kills"))?
            .flatten()
            .map(|file| file.path())
            .filter(|path| path.extension().is_some_and(|ending| ending == "jsonl"))
            .collect();
        files.sort();
        let mut found = Vec::new();
        for file in files {
            for line in fs::read_to_string(file)?.lines() {
                let record: Value = serde_json::from_str(line)?;
                found.extend(record.get(kind).cloned());
            }
        }
        Ok(found)
    }

    /// Events about an object, as `(reason, message)`.
    pub(crate) fn events(&self, kind: &str, name: &str) -> Result<Vec<(String, String)>, Failed> {
        let selector = format!("involvedObject.kind={kind},involvedObject.name={name}");
        let ran = self.kubectl(&["get", "events", "-A", "-o", "json", "--field-selector", &selector])?;
        let events = ran.exits(0).json()?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let items = events["items"].as_array().cloned().unwrap_or_default();
        Ok(items.iter().map(|event| (text(&event["reason"]), text(&event["message"]))).collect())
    }

    /// Waits for an Event, and answers its message.
    pub(crate) fn event(&self, kind: &str, name: &str, reason: &str) -> Result<String, Failed> {
        let deadline = Instant::now() + patience(SOON);
        loop {
            let events = self.events(kind, name)?;
            if let Some((_, message)) = events.iter().find(|(of, _)| of == reason) {
                return Ok(message.clone());
            }
            if Instant::now() > deadline {
                return Err(format!("no Event {reason} of {kind} {name}: {events:#?}").into());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// What all Pods here use.
    pub(crate) fn usage(&self) -> Result<Bytes, Failed> {
        Ok(Cgroup::open(&Hierarchy::detect()?, &self.house.group())?.usage()?)
    }

    /// Waits until all Pods together use this much.
    pub(crate) fn usage_reaches(&self, mebibytes: u64) -> Result<(), Failed> {
        let deadline = Instant::now() + patience(SOON);
        while self.usage()? < Bytes::from_mib(mebibytes) {
            if Instant::now() > deadline {
                return Err(format!("only {} are used, not {mebibytes}Mi", self.usage()?).into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Fails if the kernel's killer was at work below this node's cgroup.
    #[track_caller]
    pub(crate) fn kernel_killed_nobody(&self) {
        let kills = kernel_kills(&self.house).expect("the kernel's log can be read");
        assert!(kills.is_empty(), "the kernel killed: {kills:#?}");
        assert_eq!(self.records("kill").expect("records can be read"), Vec::<Value>::new());
    }
}

/// What the node's condition says.
pub(crate) fn pressure(node: &Value) -> Option<&Value> {
    let conditions = node["status"]["conditions"].as_array()?;
    conditions.iter().find(|condition| condition["type"] == "MemoryPressure")
}

/// A time in a record.
pub(crate) fn time(value: &Value) -> Option<Duration> {
    let (seconds, nanoseconds) = (value.get("secs")?.as_u64()?, value.get("nanos")?.as_u64()?);
    Some(Duration::from_secs(seconds) + Duration::from_nanos(nanoseconds))
}

/// The names of the Pods that records are about.
pub(crate) fn names(evictions: &[Value]) -> Vec<&str> {
    evictions.iter().filter_map(|eviction| eviction["pod"]["name"].as_str()).collect()
}

/// The kernel's own word on kills below a house's cgroup.
pub(crate) fn kernel_kills(house: &House) -> Result<Vec<String>, Failed> {
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let mut log = fs::OpenOptions::new().read(true).custom_flags(nonblocking).open("/dev/kmsg")?;
    let mut kills = Vec::new();
    let below = format!("{}/", house.group());
    let mut line = vec![0; 8192];
    loop {
        match log.read(&mut line) {
            Ok(length) => {
                let line = String::from_utf8_lossy(&line[..length]).into_owned();
                // The root's number may be the beginning of another's.
                if line.contains("oom-kill:") && line.contains(&below) {
                    kills.push(line);
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(kills),
            // What was overwritten meanwhile is left out.
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::PIPE.raw_os_error()) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
