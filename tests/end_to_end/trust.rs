//! What lies in the run folder is believed only where nobody else can have put it there, and what cannot be
//! removed is kept findable.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use libtest_mimic::Failed;

use crate::house::{House, eater};
use crate::{Test, test};

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test("trust: a run folder that others may write to is refused", open_to_others),
        test("trust: a run folder of another user is refused", foreign),
        test("trust: a symbolic link in the lock's place is not followed", linked_lock),
        test("trust: a dead place that cannot be removed stops no other", stuck_elsewhere),
        test("trust: a dead place that cannot be removed keeps its lock", stuck_here),
    ]
}

/// The house's run folder, made before any run.
fn run_folder(house: &House, mode: u32) -> Result<PathBuf, Failed> {
    let folder = house.folder.path().join("run");
    fs::create_dir(&folder)?;
    fs::set_permissions(&folder, fs::Permissions::from_mode(mode))?;
    Ok(folder)
}

/// The file name of the house's place.
fn name(house: &House) -> String {
    format!("root-{}", house.root.as_str().trim_start_matches('/').replace('-', "--"))
}

/// Something that a sweep would believe, were it ours: the cgroup that it names would be emptied and removed.
fn plant(place: &Path, victim: &str) -> Result<(), Failed> {
    fs::create_dir(place)?;
    fs::write(place.join("owner.json"), format!(r#"{{"cgroupRoot": {victim:?}, "madeRoot": true}}"#))?;
    fs::set_permissions(place, fs::Permissions::from_mode(0o777))?;
    Ok(())
}

fn open_to_others() -> Result<(), Failed> {
    use memlet_cgroup::{Cgroup, Hierarchy};

    let house = House::new()?;
    let run = run_folder(&house, 0o1777)?;
    let hierarchy = Hierarchy::detect()?;
    let victim = Cgroup::create(&hierarchy, &house.root.join("victim")?)?;
    plant(&run.join("evil"), &format!("{}/victim", house.root))?;
    fs::write(run.join("evil.lock"), "")?;
    house.run(&eater("1 0", "64Mi"), &[])?.exits(2).complains("(mode 1777)").complains("--run-folder");
    assert!(victim.is_alive(), "a planted place was believed");
    hierarchy.remove_everywhere(&house.root)?;
    fs::remove_dir_all(run)?;
    house.nothing_is_left()
}

fn foreign() -> Result<(), Failed> {
    let house = House::new()?;
    let run = run_folder(&house, 0o755)?;
    chown(&run, Some(65534), None)?;
    house.run(&eater("1 0", "64Mi"), &[])?.exits(2).complains("belongs to user 65534");
    house.nothing_is_left()
}

fn linked_lock() -> Result<(), Failed> {
    let house = House::new()?;
    let run = run_folder(&house, 0o700)?;
    let victim = house.write("victim", "precious")?;
    let lock = run.join(format!("{}.lock", name(&house)));
    symlink(&victim, &lock)?;
    house.run(&eater("1 0", "64Mi"), &[])?.exits(2).complains("a symbolic link was put there");
    assert_eq!(fs::read_to_string(victim)?, "precious");
    fs::remove_file(lock)?;
    house.nothing_is_left()
}

fn stuck_elsewhere() -> Result<(), Failed> {
    let house = House::new()?;
    let run = run_folder(&house, 0o700)?;
    let (place, lock) = (run.join("elsewhere"), run.join("elsewhere.lock"));
    plant(&place, "/memlet-test-nowhere")?;
    fs::write(&lock, "")?;
    house
        .run(&eater("1 0", "64Mi"), &[])?
        .exits(0)
        .says("c: Completed")
        .complains("warning: ")
        .complains("elsewhere");
    assert!(place.exists() && lock.exists(), "what is left must be found again");
    fs::remove_dir_all(place)?;
    fs::remove_file(lock)?;
    house.nothing_is_left()
}

fn stuck_here() -> Result<(), Failed> {
    let house = House::new()?;
    let run = run_folder(&house, 0o700)?;
    let (place, lock) = (run.join(name(&house)), run.join(format!("{}.lock", name(&house))));
    plant(&place, "/memlet-test-nowhere")?;
    house.run(&eater("1 0", "64Mi"), &[])?.exits(2).complains("(mode 777)");
    assert!(place.exists() && lock.exists(), "what is left must be found again");
    // With the obstacle gone, the next start sweeps it.
    fs::set_permissions(&place, fs::Permissions::from_mode(0o700))?;
    house.run(&eater("1 0", "64Mi"), &[])?.exits(0);
    house.nothing_is_left()
}
