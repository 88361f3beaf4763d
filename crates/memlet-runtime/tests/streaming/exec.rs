//! Programs run in containers that run already.

use std::time::{Duration, Instant};

use k8s_cri::v1 as cri;
use libtest_mimic::Failed;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::Test;
use crate::bench::{Bench, eventually};
use crate::client::Client;

pub(crate) const TESTS: &[(&str, Test)] = &[
    ("exec: output, errors and exit codes come back", || Box::pin(to_its_end())),
    ("exec: what cannot be run is said, and its code is a shell's", || Box::pin(unusable())),
    ("exec: it is in the container in every respect", || Box::pin(inside())),
    ("exec: input ends, and so does what reads it", || Box::pin(input())),
    ("exec: a terminal has a size and its keys work", || Box::pin(terminal())),
    ("exec: a built-in image has no other program than its own", || Box::pin(built_in())),
    ("exec: a program that is OOM-killed is counted, and the container lives", || Box::pin(oom_killed())),
    ("exec: a program whose client is gone ends", || Box::pin(client_gone())),
    ("exec: a container that ends takes its programs along", || Box::pin(container_ends())),
    ("exec: a command has its time", || Box::pin(too_long())),
    ("exec: an address is good once, and not for SPDY", || Box::pin(addresses())),
    ("exec: many at once", || Box::pin(many())),
];

const HOLD: &[&str] = &["sleep", "1000"];

async fn address(
    bench: &mut Bench,
    id: &str,
    command: &[&str],
    stdin: bool,
    tty: bool,
) -> Result<String, Failed> {
    let request = cri::ExecRequest {
        container_id: id.to_owned(),
        cmd: command.iter().map(|word| (*word).to_owned()).collect(),
        tty,
        stdin,
        stdout: true,
        stderr: !tty,
    };
    Ok(bench.client.exec(request).await?.into_inner().url)
}

async fn to_its_end() -> Result<(), Failed> {
    let mut bench = Bench::new("end").await?;
    let id = bench.start(HOLD, |_| {}).await?;
    let ran = bench.run(&id, &["sh", "-c", "echo out; echo err >&2; exit 3"]).await?;
    assert_eq!(ran, (3, "out\n".to_owned(), "err\n".to_owned()));
    let (code, out, _) = bench.run(&id, &["sh", "-c", "seq 1 200000"]).await?;
    assert_eq!((code, out.lines().count()), (0, 200_000), "long output comes whole");
    assert_eq!(bench.run(&id, &["sh", "-c", "kill -9 $$"]).await?.0, 137);
    let url = address(&mut bench, &id, &["sh", "-c", "echo out; echo err >&2; exit 3"], false, false).await?;
    let mut client = Client::connect(&url, "v4.channel.k8s.io").await?;
    assert_eq!((client.end().await?, client.protocol.as_str()), (3, "v4.channel.k8s.io"));
    assert_eq!((client.stdout.as_str(), client.stderr.as_str()), ("out\n", "err\n"));
    // What it leaves running does not hold the client.
    let url = address(&mut bench, &id, &["sh", "-c", "sleep 500 & echo began"], false, false).await?;
    let mut client = Client::connect(&url, "v5.channel.k8s.io,v4.channel.k8s.io").await?;
    assert_eq!((client.end().await?, client.protocol.as_str()), (0, "v5.channel.k8s.io"));
    assert_eq!(client.stdout, "began\n");
    assert!(bench.is_running(&id).await?);
    bench.finish().await
}

async fn unusable() -> Result<(), Failed> {
    let mut bench = Bench::new("unusable").await?;
    let id = bench.start(HOLD, |_| {}).await?;
    for (command, code, text) in [
        ("nothing", 127, "exec: \"nothing\": executable file not found in $PATH\n"),
        ("/bin/nothing", 127, "exec: \"/bin/nothing\": stat /bin/nothing: no such file or directory\n"),
        ("/etc/passwd", 126, "exec: \"/etc/passwd\": permission denied\n"),
        ("/etc", 126, "exec: \"/etc\": is a directory\n"),
    ] {
        assert_eq!(bench.run(&id, &[command]).await?, (code, String::new(), text.to_owned()), "{command}");
    }
    let url = address(&mut bench, &id, &["nothing"], false, false).await?;
    let mut client = Client::connect(&url, "v5.channel.k8s.io").await?;
    assert_eq!(client.end().await?, 127);
    assert_eq!(client.stderr, "exec: \"nothing\": executable file not found in $PATH\n");
    let refused =
        bench.client.exec(cri::ExecRequest { container_id: "x".into(), ..Default::default() }).await;
    assert!(refused.is_err());
    bench.finish().await
}

/// The same lines of `/proc` in the container's main process and in what is run beside it.
async fn inside() -> Result<(), Failed> {
    let mut bench = Bench::new("inside").await?;
    let id = bench
        .start(HOLD, |config| {
            config.working_dir = "/tmp/deep".into();
            config.envs = vec![cri::KeyValue { key: "TOLD".into(), value: "yes".into() }];
            let linux = config.linux.as_mut().unwrap();
            linux.security_context = Some(cri::LinuxContainerSecurityContext {
                run_as_user: Some(cri::Int64Value { value: 1234 }),
                run_as_group: Some(cri::Int64Value { value: 77 }),
                supplemental_groups: vec![88],
                no_new_privs: true,
                namespace_options: Some(cri::NamespaceOption {
                    pid: cri::NamespaceMode::Container as i32,
                    ..Default::default()
                }),
                ..Default::default()
            });
        })
        .await?;
    let script = "cd /proc; for p in 1 self; do grep -E '^(Uid|Gid|Groups|Cap|NoNewPrivs|Seccomp)' $p/status; cat \
                  $p/cgroup $p/oom_score_adj; for n in mnt pid ipc uts net; do busybox readlink $p/ns/$n; done; echo; done";
    let (code, out, err) = bench.run(&id, &["sh", "-c", &script.replace("grep", "busybox grep")]).await?;
    assert_eq!((code, err.as_str()), (0, ""));
    let (of_main, own) = out.split_once("\n\n").ok_or("two parts")?;
    assert_eq!(own.trim_end(), of_main);
    assert!(own.contains("Uid:\t1234") && own.contains("NoNewPrivs:\t1") && own.contains(&id), "{own}");
    let (_, out, _) = bench.run(&id, &["sh", "-c", "echo $TOLD $PWD; cd; pwd; busybox hostname"]).await?;
    assert_eq!(out, "yes /tmp/deep\n/\ntest-pod\n");
    let pid = bench.status(&id).await?.1.pid.ok_or("no pid")?;
    let program = std::fs::read_link(format!("/proc/{pid}/exe"))?;
    assert_eq!(program, std::path::Path::new("/bin/busybox"));
    bench.finish().await
}

async fn input() -> Result<(), Failed> {
    let mut bench = Bench::new("input").await?;
    let id = bench.start(HOLD, |_| {}).await?;
    let url = address(&mut bench, &id, &["cat"], true, false).await?;
    let mut client = Client::connect(&url, "v5.channel.k8s.io").await?;
    client.say(0, b"first\n").await?;
    client.until("first\n").await?;
    let large = "x".repeat(100_000);
    client.say(0, large.as_bytes()).await?;
    client.say(255, &[0]).await?;
    assert_eq!(client.end().await?, 0);
    assert_eq!(client.stdout.len(), "first\n".len() + large.len());
    // Without input there is none.
    let url = address(&mut bench, &id, &["cat"], false, false).await?;
    assert_eq!(Client::connect(&url, "v5.channel.k8s.io").await?.end().await?, 0);
    bench.finish().await
}

async fn terminal() -> Result<(), Failed> {
    let mut bench = Bench::new("terminal").await?;
    let id = bench.start(HOLD, |_| {}).await?;
    let url = address(&mut bench, &id, &["sh"], true, true).await?;
    let mut client = Client::connect(&url, "v5.channel.k8s.io").await?;
    client.resize(91, 33).await?;
    client.say(0, b"stty size; tty; echo $TERM\n").await?;
    client.until("33 91\r\n/dev/pts/0\r\nxterm\r\n").await?;
    client.resize(120, 50).await?;
    client.say(0, b"stty size\n").await?;
    client.until("50 120\r\n").await?;
    client.say(0, b"sleep 300; echo code $((100 + $?))\n").await?;
    tokio::time::sleep(Duration::from_millis(300)).await;
    client.say(0, b"\x03").await?;
    client.say(0, b"echo after $?\n").await?;
    client.until("after 130\r\n").await?;
    client.say(0, b"exit 3\n").await?;
    assert_eq!(client.end().await?, 3);
    let url = address(&mut bench, &id, &["sh"], true, true).await?;
    let mut client = Client::connect(&url, "v5.channel.k8s.io").await?;
    client.until("# ").await?;
    client.say(0, b"\x04").await?;
    assert_eq!(client.end().await?, 0, "Ctrl-D ends a shell");
    let url = address(&mut bench, &id, &["nothing"], true, true).await?;
    let mut client = Client::connect(&url, "v5.channel.k8s.io").await?;
    assert_eq!(client.end().await?, 127);
    assert_eq!(client.stdout, "exec: \"nothing\": executable file not found in $PATH\r\n");
    bench.finish().await
}

async fn built_in() -> Result<(), Failed> {
    let mut bench = Bench::new("built-in").await?;
    let id = bench
        .start(&[], |config| {
            config.image = Some(cri::ImageSpec { image: "memlet.dev/pause".into(), ..Default::default() });
        })
        .await?;
    let (code, _, err) = bench.run(&id, &["sh"]).await?;
    assert_eq!((code, err.as_str()), (127, "exec: \"sh\": executable file not found in $PATH\n"));
    for program in ["/proc/self/exe", "/proc/1/exe"] {
        let (code, out, err) = bench.run(&id, &[program, "--list"]).await?;
        assert_eq!((code, out.as_str()), (126, ""), "{program} was run: {err}");
    }
    bench.finish().await
}

async fn oom_killed() -> Result<(), Failed> {
    let mut bench = Bench::new("oom").await?;
    let id = bench
        .start(&[], |config| {
            config.image =
                Some(cri::ImageSpec { image: "memlet.dev/memory-eater".into(), ..Default::default() });
            config.args = ["8", "0", "--hold"].map(str::to_owned).to_vec();
        })
        .await?;
    let (code, _, err) = bench.run(&id, &["memory-eater", "300", "0"]).await?;
    assert_eq!(code, 137, "{err}");
    assert!(bench.is_running(&id).await?);
    bench.client.stop_container(cri::StopContainerRequest { container_id: id.clone(), timeout: 5 }).await?;
    let (status, statement) = bench.status(&id).await?;
    assert_eq!((status.exit_code, status.reason.as_str()), (143, "Error"));
    assert_eq!(statement.end.ok_or("no end")?.container.ok_or("no reading")?.oom_kills, Some(1));
    bench.finish().await
}

async fn processes(bench: &mut Bench, id: &str) -> Result<String, Failed> {
    Ok(bench.run(id, &["ps"]).await?.1)
}

async fn client_gone() -> Result<(), Failed> {
    let mut bench = Bench::new("gone").await?;
    let id = bench.start(HOLD, |_| {}).await?;
    for tty in [false, true] {
        let url = address(&mut bench, &id, &["sleep", "777"], true, tty).await?;
        let client = Client::connect(&url, "v5.channel.k8s.io").await?;
        eventually("it runs", async || {
            Ok(processes(&mut bench, &id).await?.contains("sleep 777").then_some(()))
        })
        .await?;
        drop(client);
        eventually("it ends", async || {
            Ok((!processes(&mut bench, &id).await?.contains("sleep 777")).then_some(()))
        })
        .await?;
    }
    assert!(bench.is_running(&id).await?);
    bench.finish().await
}

async fn container_ends() -> Result<(), Failed> {
    let mut bench = Bench::new("ends").await?;
    let id = bench.start(HOLD, |_| {}).await?;
    let url = address(&mut bench, &id, &["sh", "-c", "echo began; sleep 777"], false, false).await?;
    let mut client = Client::connect(&url, "v5.channel.k8s.io").await?;
    client.until("began").await?;
    bench.client.stop_container(cri::StopContainerRequest { container_id: id.clone(), timeout: 0 }).await?;
    assert_eq!(client.end().await?, 137);
    let refused = address(&mut bench, &id, &["sh"], false, false).await;
    assert!(refused.is_err_and(|error| error.message().is_some_and(|text| text.contains("does not run"))));
    bench.finish().await
}

async fn too_long() -> Result<(), Failed> {
    let mut bench = Bench::new("long").await?;
    let id = bench.start(HOLD, |_| {}).await?;
    let cmd = ["sleep", "777"].map(str::to_owned).to_vec();
    let request = cri::ExecSyncRequest { container_id: id.clone(), cmd, timeout: 1 };
    let began = Instant::now();
    let refused = bench.client.exec_sync(request).await.err().ok_or("it must not end by itself")?;
    assert_eq!(refused.code(), tonic::Code::DeadlineExceeded);
    assert!(began.elapsed() < Duration::from_secs(10));
    eventually("it is killed", async || {
        Ok((!processes(&mut bench, &id).await?.contains("sleep 777")).then_some(()))
    })
    .await?;
    bench.finish().await
}

async fn ask(url: &str, headers: &str) -> Result<String, Failed> {
    let (address, path) = url.strip_prefix("http://").ok_or("no http")?.split_once('/').ok_or("no path")?;
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    let request = format!("POST /{path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = vec![0; 4096];
    let count = stream.read(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer[..count]).into_owned())
}

async fn addresses() -> Result<(), Failed> {
    let mut bench = Bench::new("addresses").await?;
    let id = bench.start(HOLD, |_| {}).await?;
    let url = address(&mut bench, &id, &["echo", "x"], false, false).await?;
    assert_eq!(Client::connect(&url, "v5.channel.k8s.io").await?.end().await?, 0);
    assert!(Client::connect(&url, "v5.channel.k8s.io").await.is_err(), "the address was good twice");
    let url = address(&mut bench, &id, &["echo", "x"], false, false).await?;
    let answer = ask(&url, "Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\n").await?;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(answer.contains("KUBECTL_REMOTE_COMMAND_WEBSOCKETS=true"), "{answer}");
    let url = address(&mut bench, &id, &["echo", "x"], false, false).await?;
    assert!(ask(&url, "").await?.starts_with("HTTP/1.1 400 "));
    bench.finish().await
}

async fn many() -> Result<(), Failed> {
    let mut bench = Bench::new("many").await?;
    let id = bench.start(HOLD, |_| {}).await?;
    let files = bench.files(&id);
    let mut clients = Vec::new();
    for number in 0..20 {
        let url = address(&mut bench, &id, &["sh", "-c", &format!("exit {number}")], false, number % 2 == 1)
            .await?;
        clients.push(Client::connect(&url, "v5.channel.k8s.io").await?);
    }
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.end().await?, i32::try_from(number)?);
    }
    assert_eq!(bench.files(&id), files, "something is left of them");
    bench.finish().await
}
