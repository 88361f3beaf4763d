//! What programs read, and what restarts look like.

use std::process::{Command, Stdio};

use libtest_mimic::Failed;

use crate::house::{House, MEMLET, eater, finish};
use crate::{Test, test, test_with};

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test("output: JSON has the final Pods, kill records and verdicts", json),
        test("output: YAML is the same document", yaml),
        test("output: restarts go on as asked, with back-off", restarts),
        test("output: several files, a folder and standard input", sources),
        test("output: help, version, completions and manual pages", reference),
        test_with("output: kubectl takes the verdict's patch", &["kubectl"], patch),
    ]
}

fn json() -> Result<(), Failed> {
    let house = House::new()?;
    let ran = house.run(&eater("300 0", "48Mi").replace("Never", "Always"), &["-o", "json"])?;
    let document = ran.exits(137).json()?;
    let pod = &document["pods"][0];
    assert_eq!(pod["kind"], "Pod");
    assert_eq!(pod["status"]["qosClass"], "Burstable");
    assert_eq!(pod["spec"]["terminationGracePeriodSeconds"], 30);
    let status = &pod["status"]["containerStatuses"][0];
    assert_eq!(status["state"]["terminated"]["reason"], "OOMKilled", "{status:#}");
    assert_eq!(status["restartCount"], 0);
    let record = &document["killRecords"][0];
    let victim = &record["report"]["victims"][0];
    assert_eq!(victim["comm"], "memory-eater", "{record:#}");
    assert_eq!(record["oomScoreAdj"]["wanted"], record["oomScoreAdj"]["actual"]);
    assert_eq!(document["verdicts"][0]["outcome"]["kind"], "oomKilled");
    assert!(ran.stderr.contains("-- c started"), "the story goes to standard error: {}", ran.stderr);
    house.nothing_is_left()
}

fn yaml() -> Result<(), Failed> {
    let house = House::new()?;
    let ran = house.run(&eater("8 0", "48Mi"), &["-o", "yaml"])?;
    let document: serde_json::Value = serde_saphyr::from_str(&ran.exits(0).stdout)?;
    assert_eq!(document["pods"][0]["metadata"]["name"], "p");
    assert_eq!(document["verdicts"][0]["outcome"]["kind"], "completed");
    house.nothing_is_left()
}

/// The first restart comes at once, the second after ten seconds.
fn restarts() -> Result<(), Failed> {
    let house = House::new()?;
    let pod = eater("300 0", "48Mi").replace("Never", "Always");
    let began = std::time::Instant::now();
    let ran = house.run(&pod, &["--restarts", "2"])?;
    let took = began.elapsed().as_secs_f64();
    ran.exits(137)
        .says("c started again (restart 1)")
        .says("c started again (restart 2)")
        .says("CrashLoopBackOff: back-off 10s");
    assert_eq!(ran.stdout.matches("c ended: OOMKilled").count(), 3, "{}", ran.stdout);
    assert!((9.0..20.0).contains(&took), "two restarts took {took} s");
    house.nothing_is_left()
}

fn sources() -> Result<(), Failed> {
    let house = House::new()?;
    let folder = house.folder.path().join("pods");
    std::fs::create_dir(&folder)?;
    for name in ["a", "b"] {
        std::fs::write(
            folder.join(format!("{name}.yaml")),
            eater("8 0", "48Mi").replace("name: p", &format!("name: {name}")),
        )?;
    }
    let ran = finish(house.command(&[folder.to_str().expect("text")]).spawn()?)?;
    ran.exits(0).says("a/c: Completed").says("b/c: Completed").says("a/c |   1000");
    house.run_stdin(eater("8 0", "48Mi").as_bytes())?.exits(0).says("c: Completed");
    house.nothing_is_left()
}

fn reference() -> Result<(), Failed> {
    let house = House::new()?;
    let run = |arguments: &[&str]| {
        finish(Command::new(MEMLET).args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?)
    };
    run(&["--version"])?.exits(0).says("memlet 0.");
    run(&["run", "--help"])?.exits(0).says("Examples:").says("--node-memory");
    for shell in ["bash", "zsh", "fish"] {
        run(&["completions", shell])?.exits(0).says("memlet");
    }
    let pages = house.folder.path().join("man").display().to_string();
    run(&["man", &pages])?.exits(0);
    assert!(std::fs::read_to_string(format!("{pages}/memlet-run.1"))?.contains("memlet"));
    run(&["ru"])?.exits(2).complains("run");
    run(&["run"])?.exits(2).complains("FILE");
    Ok(())
}

/// The patch is what kubectl applies to the manifest, and the result is a Pod that lives within it.
fn patch() -> Result<(), Failed> {
    let house = House::new()?;
    let manifest = eater("100 0", "96Mi");
    let document = house.run(&manifest, &["-o", "json"])?.exits(137).json()?;
    let patch = &document["verdicts"][0]["remedy"]["patch"]["yaml"];
    let patch = house.write("patch.yaml", patch.as_str().ok_or("the verdict has no patch")?)?;
    let file = house.write("pod.yaml", &manifest)?;
    let patched = Command::new("kubectl")
        .args(["patch", "--local", "-o", "yaml", "-f"])
        .arg(file)
        .arg("--patch-file")
        .arg(patch)
        .output()?;
    let patched = String::from_utf8(patched.stdout)?;
    assert!(patched.contains("memory: 144Mi"), "{patched}");
    house.run(&patched, &[])?.exits(0).says("c: Completed");
    house.nothing_is_left()
}
