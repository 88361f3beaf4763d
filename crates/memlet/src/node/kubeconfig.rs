//! Adds a node to somebody's kubeconfig.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, chown};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value, json};

/// The three lists of a kubeconfig, whose entries have names.
const LISTS: [&str; 3] = ["clusters", "users", "contexts"];

/// `node`'s clusters, users and contexts in `own`, in the place of those of the same names, and its context as the current
/// one. Everything else stays. Pure.
pub(crate) fn merged(own: Value, node: &Value) -> Value {
    let mut own = match own {
        Value::Object(own) => own,
        _ => Map::new(),
    };
    own.entry("apiVersion").or_insert_with(|| json!("v1"));
    own.entry("kind").or_insert_with(|| json!("Config"));
    for list in LISTS {
        let added = node[list].as_array().cloned().unwrap_or_default();
        let entries = own.entry(list).or_insert_with(|| json!([]));
        if !entries.is_array() {
            *entries = json!([]);
        }
        if let Value::Array(entries) = entries {
            entries.retain(|entry| !added.iter().any(|new| new["name"] == entry["name"]));
            entries.extend(added);
        }
    }
    own.insert("current-context".to_owned(), node["current-context"].clone());
    Value::Object(own)
}

/// Merges the node's kubeconfig into the user's own and answers where that is.
pub(crate) fn merge_into_own(node: &str) -> Result<PathBuf> {
    let path = own_path()?;
    let node: Value = serde_saphyr::from_str(node).context("the node's kubeconfig cannot be read")?;
    let own = match fs::read_to_string(&path) {
        Ok(text) if text.trim().is_empty() => Value::Null,
        Ok(text) => serde_saphyr::from_str(&text)
            .with_context(|| format!("{} is no kubeconfig; it was left as it is", path.display()))?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Value::Null,
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    ensure!(own.is_null() || own.is_object(), "{} is no kubeconfig; it was left as it is", path.display());
    let text = serde_saphyr::to_string(&merged(own, &node)).context("the kubeconfig makes no YAML")?;
    replace(&path, &text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// The first file of $KUBECONFIG, or ~/.kube/config, as kubectl has it.
fn own_path() -> Result<PathBuf> {
    let named = std::env::var_os("KUBECONFIG")
        .and_then(|list| std::env::split_paths(&list).find(|path| !path.as_os_str().is_empty()));
    if let Some(path) = named {
        return Ok(path);
    }
    let home = std::env::var_os("HOME")
        .context("HOME is not set, so there is no ~/.kube/config; name the file with KUBECONFIG")?;
    Ok(Path::new(&home).join(".kube/config"))
}

/// Writes beside and renames, so that nobody ever sees half a file; its owner stays who it was.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut draft = path.clone().into_os_string();
    draft.push(".memlet-draft");
    let draft = PathBuf::from(draft);
    let _ = fs::remove_file(&draft);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).and_then(|()| {
        if let Ok(old) = fs::metadata(path) {
            chown(&draft, Some(old.uid()), Some(old.gid()))?;
        }
        fs::rename(&draft, path)
    });
    written.inspect_err(|_| drop(fs::remove_file(&draft)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(server: &str) -> Value {
        json!({
            "clusters": [{"name": "memlet", "cluster": {"server": server}}],
            "users": [{"name": "memlet-admin", "user": {}}],
            "contexts": [{"name": "memlet", "context": {"cluster": "memlet", "user": "memlet-admin"}}],
            "current-context": "memlet",
        })
    }

    #[test]
    fn what_is_there_stays_and_what_is_the_nodes_is_replaced() {
        let own = json!({
            "apiVersion": "v1", "kind": "Config", "preferences": {"colors": true},
            "clusters": [{"name": "prod", "cluster": {"server": "https://prod", "proxy-url": "x"}},
                         {"name": "memlet", "cluster": {"server": "https://old"}}],
            "users": null,
            "current-context": "prod",
        });
        let both = merged(own, &node("https://new"));
        assert_eq!(both["preferences"]["colors"], true);
        assert_eq!(both["clusters"][0]["cluster"]["proxy-url"], "x");
        assert_eq!(both["clusters"][1]["cluster"]["server"], "https://new");
        assert_eq!(both["clusters"].as_array().map(Vec::len), Some(2));
        assert_eq!(both["users"][0]["name"], "memlet-admin");
        assert_eq!(both["current-context"], "memlet");
        assert_eq!(merged(both.clone(), &node("https://new")), both, "once more changes nothing");
    }

    #[test]
    fn where_there_is_none_it_is_made() {
        let made = merged(Value::Null, &node("https://new"));
        assert_eq!((&made["kind"], &made["apiVersion"]), (&json!("Config"), &json!("v1")));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/config");
        replace(&path, "x").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "x");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    }
}
