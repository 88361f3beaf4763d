//! Clients attached to containers.

use std::time::{Duration, Instant};

use k8s_cri::v1 as cri;
use libtest_mimic::Failed;

use crate::Test;
use crate::bench::{Bench, eventually};
use crate::client::Client;

pub(crate) const TESTS: &[(&str, Test)] = &[
    ("attach: what the container writes is heard, to its end", || Box::pin(output())),
    ("attach: input reaches the container, and ends once", || Box::pin(input())),
    ("attach: a terminal is shared, and leaving leaves it running", || Box::pin(terminal())),
    ("attach: a client that does not read holds nobody up", || Box::pin(slow())),
];

async fn attach(bench: &mut Bench, id: &str, stdin: bool, tty: bool) -> Result<Client, Failed> {
    let request = cri::AttachRequest { container_id: id.to_owned(), stdin, tty, stdout: true, stderr: !tty };
    let url = bench.client.attach(request).await?.into_inner().url;
    Client::connect(&url, "v5.channel.k8s.io").await
}

async fn output() -> Result<(), Failed> {
    let mut bench = Bench::new("output").await?;
    let script =
        "n=0; while [ $n -lt 30 ]; do n=$((n+1)); echo out $n; echo err $n >&2; sleep 0.1; done; exit 3";
    let id = bench.start(&["sh", "-c", script], |_| {}).await?;
    let mut clients =
        [attach(&mut bench, &id, false, false).await?, attach(&mut bench, &id, false, false).await?];
    for client in &mut clients {
        assert_eq!(client.end().await?, 0, "attaching went well, whatever became of the container");
        assert!(client.stdout.ends_with("out 29\nout 30\n"), "{}", client.stdout);
        assert!(client.stderr.ends_with("err 29\nerr 30\n"), "{}", client.stderr);
    }
    assert!(std::fs::read_to_string(bench.log())?.contains("stdout F out 30"));
    bench.finish().await
}

async fn input() -> Result<(), Failed> {
    let mut bench = Bench::new("stdin").await?;
    let id = bench
        .start(&["sh", "-c", "while read line; do echo got $line; done; echo no more"], |config| {
            config.stdin = true;
            config.stdin_once = true;
        })
        .await?;
    let mut client = attach(&mut bench, &id, true, false).await?;
    client.say(0, b"one\n").await?;
    client.until("got one\n").await?;
    client.say(0, b"two\n").await?;
    client.say(255, &[0]).await?;
    assert_eq!(client.end().await?, 0);
    assert_eq!(client.stdout, "got one\ngot two\nno more\n");
    // Without `stdinOnce` the input outlives its clients.
    let id = bench.start(&["cat"], |config| config.stdin = true).await?;
    let mut client = attach(&mut bench, &id, true, false).await?;
    client.say(0, b"one\n").await?;
    client.until("one\n").await?;
    drop(client);
    let mut client = attach(&mut bench, &id, true, false).await?;
    client.say(0, b"two\n").await?;
    client.until("two\n").await?;
    assert!(bench.is_running(&id).await?);
    bench.finish().await
}

async fn terminal() -> Result<(), Failed> {
    let mut bench = Bench::new("shared").await?;
    let id = bench
        .start(&["sh"], |config| {
            config.tty = true;
            config.stdin = true;
            config.stdin_once = true;
        })
        .await?;
    let mut first = attach(&mut bench, &id, true, true).await?;
    first.resize(77, 22).await?;
    first.say(0, b"stty size\n").await?;
    first.until("22 77\r\n").await?;
    let mut second = attach(&mut bench, &id, true, true).await?;
    second.say(0, b"echo shared\n").await?;
    first.until("shared\r\n").await?;
    drop((first, second));
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(bench.is_running(&id).await?);
    let mut again = attach(&mut bench, &id, true, true).await?;
    again.say(0, b"exit 4\n").await?;
    assert_eq!(again.end().await?, 0);
    eventually("it ends", async || Ok((!bench.is_running(&id).await?).then_some(()))).await?;
    assert_eq!(bench.status(&id).await?.0.exit_code, 4);
    bench.finish().await
}

async fn slow() -> Result<(), Failed> {
    let mut bench = Bench::new("slow").await?;
    // Some 70 MiB: more than all buffers on the way to a client hold.
    let id = bench
        .start(&["sh", "-c", "read go; seq 1000000 9999999; echo the end"], |config| config.stdin = true)
        .await?;
    let mut client = attach(&mut bench, &id, true, false).await?;
    client.say(0, b"go\n").await?;
    let began = Instant::now();
    loop {
        tokio::time::sleep(Duration::from_millis(50)).await;
        if !bench.is_running(&id).await? {
            break;
        }
        assert!(began.elapsed() < Duration::from_mins(2), "the container is held up by its client");
    }
    assert_eq!(bench.status(&id).await?.0.exit_code, 0);
    assert_eq!(client.end().await?, 0);
    assert!(client.stdout.contains("[memlet: "), "nothing was left out of {} bytes", client.stdout.len());
    bench.finish().await
}
