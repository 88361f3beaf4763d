use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::*;

fn names(addresses: &[&str]) -> ServerNames {
    ServerNames::new(["Box.example"], addresses.iter().map(|text| text.parse::<IpAddr>().unwrap()))
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn keys_are_made_once_and_closed_to_others() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("deep/keys");
    let first = Keys::load_or_make(&folder, &names(&[])).unwrap();
    let files = [AUTHORITY, SERVER, ADMIN, ACCOUNTS];
    assert_eq!(mode(&folder), 0o700);
    for name in files {
        assert_eq!(mode(&folder.join(name)), 0o600, "{name}");
    }
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), files.len(), "nothing else is left there");

    // What others were let into is closed again.
    std::fs::set_permissions(folder.join(ADMIN), std::fs::Permissions::from_mode(0o644)).unwrap();
    let second = Keys::load_or_make(&folder, &names(&[])).unwrap();
    assert_eq!(mode(&folder.join(ADMIN)), 0o600);
    assert_eq!(first.authority_pem(), second.authority_pem());
    assert_eq!(first.server().certificate(), second.server().certificate());
    assert_eq!(first.admin().certificate(), second.admin().certificate());
    assert_eq!(first.accounts_key(), second.accounts_key());
}

#[test]
fn other_names_renew_the_servers_certificate_alone() {
    let folder = tempfile::tempdir().unwrap();
    let first = Keys::load_or_make(folder.path(), &names(&[])).unwrap();
    let second = Keys::load_or_make(folder.path(), &names(&["192.0.2.7", "0.0.0.0"])).unwrap();
    assert_ne!(first.server().certificate(), second.server().certificate());
    assert_eq!(second.server().names(), names(&["192.0.2.7"]));
    assert_eq!(first.authority_pem(), second.authority_pem());
    assert_eq!(first.admin().certificate(), second.admin().certificate());
}

#[test]
fn what_nears_its_end_or_has_not_begun_is_renewed() {
    let now = SystemTime::now();
    let day = std::time::Duration::from_hours(24);
    let authority = Authority::make(now).unwrap();
    let client = authority.issue_client("someone", "some", now).unwrap();
    assert!(authority.vouches_for(&client, now));
    assert!(authority.vouches_for(&client, now + day * 330));
    assert!(!authority.vouches_for(&client, now + day * 340));
    assert!(authority.vouches_for(&client, now - day / 2), "the clock was set back");
    assert!(!authority.vouches_for(&client, now - day * 2));
    let other = Authority::make(now).unwrap();
    assert!(!other.vouches_for(&client, now), "another authority signed it");
}

#[test]
fn a_damaged_file_is_named_with_the_way_out() {
    let folder = tempfile::tempdir().unwrap();
    Keys::load_or_make(folder.path(), &names(&[])).unwrap();
    for name in [AUTHORITY, SERVER, ADMIN, ACCOUNTS] {
        let path = folder.path().join(name);
        let whole = std::fs::read_to_string(&path).unwrap();
        for damaged in ["", &whole[..whole.len() / 2], "\u{0}\u{0}", &whole.replace("MI", "MA")] {
            std::fs::write(&path, damaged).unwrap();
            let error = Keys::load_or_make(folder.path(), &names(&[])).unwrap_err().to_string();
            let named = format!("the key file {} is damaged", path.display());
            assert!(error.starts_with(&named) && error.contains("move it away"), "{error}");
        }
        std::fs::write(&path, whole).unwrap();
    }
    Keys::load_or_make(folder.path(), &names(&[])).unwrap();
}

#[test]
fn a_key_of_another_certificate_is_damage() {
    let folder = tempfile::tempdir().unwrap();
    let keys = Keys::load_or_make(folder.path(), &names(&[])).unwrap();
    let mixed = format!("{}{}", keys.admin().key_pem(), keys.server().certificate_pem());
    std::fs::write(folder.path().join(ADMIN), mixed).unwrap();
    let error = Keys::load_or_make(folder.path(), &names(&[])).unwrap_err().to_string();
    assert!(error.contains("its certificate is for another key"), "{error}");
}

#[test]
fn the_kubeconfig_holds_all_that_kubectl_needs() {
    let keys = Keys::in_memory(&names(&[])).unwrap();
    let text = to_yaml(&keys.kubeconfig("https://127.0.0.1:6443"));
    let read = kube::config::Kubeconfig::from_yaml(&text).unwrap();
    assert_eq!(read.current_context.as_deref(), Some("memlet"));
    insta::assert_snapshot!(without_data(&text), @"
    apiVersion: v1
    clusters:
    - cluster:
        certificate-authority-data: …
        server: https://127.0.0.1:6443
      name: memlet
    contexts:
    - context:
        cluster: memlet
        namespace: default
        user: memlet-admin
      name: memlet
    current-context: memlet
    kind: Config
    users:
    - name: memlet-admin
      user:
        client-certificate-data: …
        client-key-data: …
    ");
}

/// The text with its long values taken out.
fn without_data(text: &str) -> String {
    text.lines()
        .map(|line| match line.split_once("-data: ") {
            Some((name, _)) => format!("{name}-data: …\n"),
            None => format!("{line}\n"),
        })
        .collect()
}
