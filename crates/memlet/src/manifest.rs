//! Reads manifests: files, folders, standard input; YAML or JSON, several documents each, Lists too.
//!
//! What a document means is the API server's to judge, who names unknown fields and wrong values; here only
//! what it never gets to see is refused: text that is not YAML, and kinds that `run` cannot run.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use memlet_bytes::Bytes;
use serde_json::Value;

/// Bytes of a manifest file: many times what an API server takes of one object.
const LARGEST: u64 = 8 << 20;

/// One object, and where it was read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Document {
    /// The file, `-` for standard input, with the document's number where there are several.
    pub(crate) source: String,
    /// The Pod as written.
    pub(crate) object: Value,
}

/// Reads all of `files`, in the order given; a folder's files by name.
pub(crate) fn read(files: &[PathBuf]) -> Result<Vec<Document>> {
    let mut documents = Vec::new();
    for file in files {
        if file.as_os_str() == "-" {
            documents.extend(parse("-", &read_text("standard input", std::io::stdin())?)?);
        } else if file.is_dir() {
            for file in manifests_in(file)? {
                documents.extend(read_file(&file)?);
            }
        } else {
            documents.extend(read_file(file)?);
        }
    }
    if documents.is_empty() {
        let names: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
        bail!("no Pod in {}", names.join(", "));
    }
    Ok(documents)
}

fn read_file(file: &Path) -> Result<Vec<Document>> {
    let name = file.display().to_string();
    let open = fs::File::open(file).with_context(|| format!("cannot read {name}"))?;
    parse(&name, &read_text(&name, open)?)
}

/// The whole of it, up to [`LARGEST`].
fn read_text(name: &str, source: impl Read) -> Result<String> {
    let mut text = Vec::new();
    source.take(LARGEST + 1).read_to_end(&mut text).with_context(|| format!("cannot read {name}"))?;
    if text.len() as u64 > LARGEST {
        bail!("{name} is larger than {}, which no manifest is", Bytes::new(LARGEST));
    }
    String::from_utf8(text).map_err(|_| anyhow!("{name} is not text"))
}

fn manifests_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let file = entry.with_context(|| format!("cannot list {}", folder.display()))?.path();
        let known =
            file.extension().is_some_and(|ending| ending == "yaml" || ending == "yml" || ending == "json");
        if known && file.is_file() {
            files.push(file);
        }
    }
    if files.is_empty() {
        bail!("{} holds no *.yaml, *.yml or *.json", folder.display());
    }
    files.sort();
    Ok(files)
}

/// The Pods in one text.
fn parse(source: &str, text: &str) -> Result<Vec<Document>> {
    let values: Vec<Value> = serde_saphyr::from_multiple(text)
        .map_err(|error| anyhow!("{source} is not valid YAML: {}", first_line(&error.to_string())))?;
    let several = values.len() > 1;
    let mut documents = Vec::new();
    for (number, value) in values.into_iter().enumerate() {
        let source = if several { format!("{source} (document {})", number + 1) } else { source.to_owned() };
        documents.extend(pods_in(&source, value)?);
    }
    Ok(documents)
}

/// What and where; the lines after it show the place in the text, which is more than an error line holds.
fn first_line(error: &str) -> &str {
    let line = error.lines().next().unwrap_or(error);
    let line = line.strip_prefix("error: ").unwrap_or(line);
    // What a caller of the parser could set is nothing that a reader of the message can.
    let line = line.split(", set ").next().unwrap_or(line);
    if line.contains("budget breached") { "it is too large or nested too deeply" } else { line }
}

fn pods_in(source: &str, value: Value) -> Result<Vec<Document>> {
    if value.is_null() {
        return Ok(Vec::new());
    }
    let Value::Object(mut object) = value else {
        bail!("{source} holds no Kubernetes object: it needs at least apiVersion, kind, metadata and spec");
    };
    let text = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    match (text("apiVersion").as_str(), text("kind").as_str()) {
        ("v1", "Pod") => Ok(vec![Document { source: source.to_owned(), object: Value::Object(object) }]),
        ("v1", "List") => {
            let Some(Value::Array(items)) = object.remove("items") else {
                bail!("{source}: a List needs items");
            };
            let each = items.into_iter().enumerate();
            each.map(|(index, item)| pods_in(&format!("{source} (item {index})"), item))
                .collect::<Result<Vec<_>>>()
                .map(|documents| documents.into_iter().flatten().collect())
        }
        (_, "") => bail!("{source} has no kind: `memlet run` takes Pods (apiVersion: v1, kind: Pod)"),
        (version, kind) => bail!(
            "{source} is a {kind} of {version:?}: `memlet run` takes Pods (apiVersion: v1, kind: Pod); \
             of a workload, give it the Pod in spec.template"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n";

    fn refused(text: &str) -> String {
        parse("f", text).unwrap_err().to_string()
    }

    #[test]
    fn several_documents_and_lists_are_read() {
        let text = format!("{POD}---\n# nothing\n---\n{POD}");
        let sources: Vec<_> = parse("f", &text).unwrap().into_iter().map(|it| it.source).collect();
        assert!(sources.len() == 2 && sources[0] == "f (document 1)", "{sources:?}");
        let list = r#"{"apiVersion":"v1","kind":"List","items":[{"apiVersion":"v1","kind":"Pod"}]}"#;
        assert_eq!(parse("f", list).unwrap()[0].source, "f (item 0)");
    }

    #[test]
    fn what_is_no_pod_is_refused_with_a_way_out() {
        insta::assert_snapshot!(refused("kind: Deployment\napiVersion: apps/v1\n"), @r#"f is a Deployment of "apps/v1": `memlet run` takes Pods (apiVersion: v1, kind: Pod); of a workload, give it the Pod in spec.template"#);
        insta::assert_snapshot!(refused("just words"), @"f holds no Kubernetes object: it needs at least apiVersion, kind, metadata and spec");
        insta::assert_snapshot!(refused("metadata: {}"), @"f has no kind: `memlet run` takes Pods (apiVersion: v1, kind: Pod)");
        assert!(refused("a: [1,").starts_with("f is not valid YAML: "));
        assert!(refused("kind: Pod\nkind: Pod\n").contains("duplicate"));
    }

    #[test]
    fn nothing_at_all_is_a_mistake() {
        let folder = tempfile::tempdir().unwrap();
        let error = read(&[folder.path().to_owned()]).unwrap_err().to_string();
        assert!(error.ends_with("holds no *.yaml, *.yml or *.json"), "{error}");
        let file = folder.path().join("empty.yaml");
        fs::write(&file, "# nothing\n").unwrap();
        assert!(read(&[file]).unwrap_err().to_string().starts_with("no Pod in "));
    }
}
