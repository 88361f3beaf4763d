//! A container's environment: literal values, configMaps and secrets, the downward API, and `$(VAR)` expansion. Pure.
//!
//! The rules are kubelet's `makeEnvironmentVariables` and `third_party/forked/golang/expansion`. Variables for
//! Services are not made: this node knows no Services. `KUBERNETES_SERVICE_HOST` and `…_PORT` are made where they
//! lead somewhere, see [`api_server`].

use std::collections::HashMap;

use k8s_openapi::api::core::v1::{ConfigMap, Container, EnvFromSource, EnvVarSource, Pod, Secret};

use crate::config::ApiAddress;
use crate::downward::{self, DownwardError, NodeFigures};
use crate::objects::{NoObject, Objects};

/// A value that cannot be had. Prints as the message of `CreateContainerConfigError`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EnvironmentError {
    #[error("env {variable}: {source}")]
    Downward { variable: String, source: DownwardError },
    #[error(transparent)]
    NoObject(#[from] NoObject),
    #[error("couldn't find key {key} in {kind} {namespace}/{name}")]
    NoKey { key: String, kind: &'static str, namespace: String, name: String },
    #[error("env {variable}: this source of a value is not supported")]
    UnknownSource { variable: String },
    #[error("env {variable}: {source}")]
    TooLong { variable: String, source: TooLong },
    #[error("the environment is longer than {} KiB in all, which no program can be given", MOST_IN_ALL >> 10)]
    TooMuch,
}

/// A text that no program can be given, after its variables were replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("longer than {} KiB with its variables replaced, which no program can be given", LONGEST >> 10)]
pub(crate) struct TooLong;

/// The kernel gives no longer word to a program (`MAX_ARG_STRLEN`), so that a few variables that name each other many
/// times cannot take the node's memory.
const LONGEST: usize = 128 << 10;
/// Nor more in all (`ARG_MAX` with the usual 8 MiB of stack).
const MOST_IN_ALL: usize = 2 << 20;

/// What values are made from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sources<'a> {
    pub(crate) pod: &'a Pod,
    pub(crate) container: &'a Container,
    pub(crate) objects: &'a Objects,
    pub(crate) node: NodeFigures<'a>,
    pub(crate) api_server: Option<&'a ApiAddress>,
}

/// Variables by name, each once, in the order of their first mention.
#[derive(Debug, Default)]
struct Variables {
    made: Vec<(String, String)>,
    known: HashMap<String, String>,
    /// Of all that was ever put.
    length: usize,
}

impl Variables {
    fn put(&mut self, name: &str, value: String) -> Result<(), EnvironmentError> {
        self.length += name.len() + value.len() + 2;
        if self.length > MOST_IN_ALL {
            return Err(EnvironmentError::TooMuch);
        }
        match self.made.iter_mut().find(|(made, _)| made == name) {
            Some(earlier) => earlier.1.clone_from(&value),
            None => self.made.push((name.to_owned(), value.clone())),
        }
        self.known.insert(name.to_owned(), value);
        Ok(())
    }
}

/// The variables: first of whole objects, which single ones replace, then those of the node that nothing replaced.
pub(crate) fn variables(sources: Sources<'_>) -> Result<Vec<(String, String)>, EnvironmentError> {
    let mut variables = Variables::default();
    for source in sources.container.env_from.iter().flatten() {
        let prefix = source.prefix.as_deref().unwrap_or_default();
        for (key, value) in all_of(source, sources.objects)? {
            variables.put(&format!("{prefix}{key}"), value)?;
        }
    }
    let of_node = api_server(sources);
    for variable in sources.container.env.iter().flatten() {
        let value = match &variable.value_from {
            None => {
                let expanded = expand(variable.value.as_deref().unwrap_or_default(), |name| {
                    let of_node =
                        || of_node.iter().find(|(made, _)| *made == name).map(|(_, value)| value.as_str());
                    variables.known.get(name).map(String::as_str).or_else(of_node)
                });
                let named = |source| EnvironmentError::TooLong { variable: variable.name.clone(), source };
                Some(expanded.map_err(named)?)
            }
            Some(source) => from_source(&variable.name, source, sources)?,
        };
        if let Some(value) = value {
            variables.put(&variable.name, value)?;
        }
    }
    for (name, value) in of_node {
        if !variables.known.contains_key(name) {
            variables.put(name, value)?;
        }
    }
    Ok(variables.made)
}

/// Where clients within Pods look for the API server. Only a Pod on the machine's network is told: there the address
/// answers, while other Pods have no network by which to reach it, and a client that finds no variable says so at once
/// instead of waiting for an answer.
fn api_server(sources: Sources<'_>) -> Vec<(&'static str, String)> {
    let on_host_network = sources.pod.spec.as_ref().and_then(|spec| spec.host_network) == Some(true);
    let Some(address) = sources.api_server.filter(|_| on_host_network) else { return Vec::new() };
    vec![
        ("KUBERNETES_SERVICE_HOST", address.host.clone()),
        ("KUBERNETES_SERVICE_PORT", address.port.to_string()),
        ("KUBERNETES_SERVICE_PORT_HTTPS", address.port.to_string()),
    ]
}

/// Every key of an object that a container takes whole; nothing where it is optional and not there.
fn all_of(source: &EnvFromSource, objects: &Objects) -> Result<Vec<(String, String)>, EnvironmentError> {
    if let Some(reference) = &source.config_map_ref {
        let found = optional(objects.config_map(&reference.name), reference.optional)?;
        let data = found.and_then(|found| found.data.as_ref()).into_iter().flatten();
        return Ok(data.map(|(key, value)| (key.clone(), value.clone())).collect());
    }
    if let Some(reference) = &source.secret_ref {
        let found = optional(objects.secret(&reference.name), reference.optional)?;
        let data = found.and_then(|found| found.data.as_ref()).into_iter().flatten();
        return Ok(data.map(|(key, value)| (key.clone(), text(&value.0))).collect());
    }
    Ok(Vec::new())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// `None` for an object that may be missing and is.
fn optional<T>(found: Result<&T, NoObject>, may_be_missing: Option<bool>) -> Result<Option<&T>, NoObject> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(no) if no.is_missing && may_be_missing == Some(true) => Ok(None),
        Err(no) => Err(no),
    }
}

/// `None` where the value may be missing and is: then the variable is not set at all.
fn from_source(
    variable: &str,
    source: &EnvVarSource,
    sources: Sources<'_>,
) -> Result<Option<String>, EnvironmentError> {
    let namespace = || sources.pod.metadata.namespace.clone().unwrap_or_default();
    let no_key = |kind, key: &str, name: &str| EnvironmentError::NoKey {
        key: key.to_owned(),
        kind,
        namespace: namespace(),
        name: name.to_owned(),
    };
    let told = |told: Result<String, DownwardError>| {
        told.map(Some).map_err(|source| EnvironmentError::Downward { variable: variable.to_owned(), source })
    };
    if let Some(field) = &source.field_ref {
        return told(downward::field(sources.pod, &field.field_path, sources.node));
    }
    if let Some(resource) = &source.resource_field_ref {
        return told(downward::resource(sources.pod, Some(sources.container), resource, sources.node));
    }
    if let Some(reference) = &source.config_map_key_ref {
        let value = |found: &ConfigMap| found.data.as_ref()?.get(&reference.key).cloned();
        let found =
            optional(sources.objects.config_map(&reference.name), reference.optional)?.and_then(value);
        return match found {
            None if reference.optional != Some(true) => {
                Err(no_key("ConfigMap", &reference.key, &reference.name))
            }
            found => Ok(found),
        };
    }
    if let Some(reference) = &source.secret_key_ref {
        let value = |found: &Secret| found.data.as_ref()?.get(&reference.key).map(|value| text(&value.0));
        let found = optional(sources.objects.secret(&reference.name), reference.optional)?.and_then(value);
        return match found {
            None if reference.optional != Some(true) => {
                Err(no_key("Secret", &reference.key, &reference.name))
            }
            found => Ok(found),
        };
    }
    // What else there is was refused at admission.
    Err(EnvironmentError::UnknownSource { variable: variable.to_owned() })
}

/// `$(NAME)` replaced where the name is known, left as it is where not; `$$` is one `$`, so `$$(NAME)` stays
/// `$(NAME)`.
pub(crate) fn expand<'a>(text: &str, known: impl Fn(&str) -> Option<&'a str>) -> Result<String, TooLong> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if let Some(after) = after.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = after.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
            match known(name) {
                Some(value) => out.push_str(value),
                None => out.push_str(&rest[at..=at + 2 + name.len()]),
            }
            rest = after;
        } else {
            out.push('$');
            rest = after;
        }
        // Before it has grown any further.
        if out.len() > LONGEST {
            return Err(TooLong);
        }
    }
    out.push_str(rest);
    if out.len() > LONGEST { Err(TooLong) } else { Ok(out) }
}

/// The same for all words of a command.
pub(crate) fn expand_all<'a>(
    words: Option<&Vec<String>>,
    known: impl Fn(&str) -> Option<&'a str>,
) -> Result<Vec<String>, TooLong> {
    let mut total = 0;
    let expanded = words.into_iter().flatten().map(|word| {
        let word = expand(word, &known)?;
        total += word.len() + 1;
        if total > MOST_IN_ALL { Err(TooLong) } else { Ok(word) }
    });
    expanded.collect()
}

#[cfg(test)]
#[allow(clippy::needless_pass_by_value, reason = "callers write json!(…)")]
mod tests {
    use super::*;
    use memlet_bytes::Bytes;
    use serde_json::{Value, json};

    const NODE: NodeFigures<'static> = NodeFigures {
        host_ip: Some("10.0.0.1"),
        allocatable_memory: Bytes::from_mib(924),
        allocatable_storage: Bytes::ZERO,
        allocatable_cpu: 2000,
    };

    fn made_of(spec: Value, container: Value) -> Result<String, EnvironmentError> {
        let mut pod = json!({"metadata": {"name": "web", "namespace": "shop"}, "spec": spec});
        pod["spec"]["containers"] = json!([container]);
        let pod: Pod = serde_json::from_value(pod).unwrap();
        let objects = Objects::default().with(&[
            json!({"kind": "ConfigMap", "metadata": {"name": "colours"}, "data": {"sky": "blue", "GRASS": "$(sky)"}}),
            json!({"kind": "Secret", "metadata": {"name": "door"}, "data": {"key": "c2VzYW1l"}}),
        ]);
        let api = ApiAddress { host: "127.0.0.1".into(), port: 6443 };
        let variables = variables(Sources {
            pod: &pod,
            container: &pod.spec.as_ref().unwrap().containers[0],
            objects: &objects,
            node: NODE,
            api_server: Some(&api),
        })?;
        Ok(variables.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" "))
    }

    fn made(env: Value) -> Result<String, EnvironmentError> {
        made_of(json!({}), json!({"name": "main", "env": env}))
    }

    #[test]
    fn expands_as_kubelet() {
        let known = |name: &str| match name {
            "A" => Some("1"),
            "B" => Some("$(A)"),
            _ => None,
        };
        for (text, expanded) in [
            ("$(A)", "1"),
            ("x$(A)y$(A)", "x1y1"),
            ("$(B)", "$(A)"),
            ("$(C)", "$(C)"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$1"),
            ("$A", "$A"),
            ("$(A", "$(A"),
            ("$", "$"),
            ("ü$(A)ü", "ü1ü"),
        ] {
            assert_eq!(expand(text, known).as_deref(), Ok(expanded), "{text}");
        }
    }

    #[test]
    fn later_variables_see_earlier_ones() {
        let env = json!([{"name": "A", "value": "1"}, {"name": "B", "value": "$(A)$(C)"}, {"name": "C", "value": "3"}]);
        assert_eq!(made(env).unwrap(), "A=1 B=1$(C) C=3");
        assert_eq!(made(json!([{"name": "A", "value": "1"}, {"name": "A", "value": "2"}])).unwrap(), "A=2");
    }

    /// Ten variables that each name the one before ten times would be 10 GB.
    #[test]
    fn what_grows_without_end_is_refused_before_it_has() {
        let mut env = vec![json!({"name": "E0", "value": "0123456789"})];
        env.extend((1..11).map(
            |number| json!({"name": format!("E{number}"), "value": format!("$(E{})", number - 1).repeat(10)}),
        ));
        insta::assert_snapshot!(made(json!(env)).unwrap_err(), @"env E5: longer than 128 KiB with its variables replaced, which no program can be given");
        let many = |count: usize| {
            let long = json!([{"name": "L", "value": "x".repeat(100_000)}]);
            let named = (0..count).map(|number| json!({"name": format!("N{number}"), "value": "$(L)"}));
            made(json!(long.as_array().unwrap().iter().cloned().chain(named).collect::<Vec<_>>()))
        };
        assert!(many(15).is_ok());
        insta::assert_snapshot!(many(25).unwrap_err(), @"the environment is longer than 2048 KiB in all, which no program can be given");
        let long = "x".repeat(100_000);
        let words = |count: usize| expand_all(Some(&vec!["$(L)".to_owned(); count]), |_| Some(&long));
        assert_eq!((words(20).is_ok(), words(21)), (true, Err(TooLong)));
    }

    #[test]
    fn single_keys() {
        let from = |kind: &str, name: &str, key: &str, optional: bool| {
            let reference = json!({"name": name, "key": key, "optional": optional});
            made(json!([{"name": "X", "valueFrom": {kind: reference}}]))
        };
        assert_eq!(from("configMapKeyRef", "colours", "sky", false).unwrap(), "X=blue");
        assert_eq!(from("secretKeyRef", "door", "key", false).unwrap(), "X=sesame");
        assert_eq!(from("configMapKeyRef", "colours", "sea", true).unwrap(), "");
        assert_eq!(from("secretKeyRef", "window", "key", true).unwrap(), "");
        for (kind, name, key, message) in [
            ("configMapKeyRef", "shapes", "sky", "configmap \"shapes\" not found"),
            ("configMapKeyRef", "colours", "sea", "couldn't find key sea in ConfigMap shop/colours"),
            ("secretKeyRef", "window", "key", "secret \"window\" not found"),
            ("secretKeyRef", "door", "bell", "couldn't find key bell in Secret shop/door"),
        ] {
            assert_eq!(from(kind, name, key, false).unwrap_err().to_string(), message);
        }
        let limit = json!([{"name": "X", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}}]);
        assert_eq!(made(limit).unwrap(), "X=924");
    }

    #[test]
    fn whole_objects_come_first_and_are_not_expanded() {
        let whole = |env: Value, from: Value| {
            made_of(json!({}), json!({"name": "main", "env": env, "envFrom": from}))
        };
        let from = json!([
            {"configMapRef": {"name": "colours"}},
            {"prefix": "THE_", "secretRef": {"name": "door"}},
            {"configMapRef": {"name": "none", "optional": true}},
        ]);
        let env = json!([{"name": "sky", "value": "grey"}, {"name": "SEA", "value": "$(GRASS) $(THE_key)"}]);
        assert_eq!(whole(env, from).unwrap(), "GRASS=$(sky) sky=grey THE_key=sesame SEA=$(sky) sesame");
        let missing = whole(json!([]), json!([{"secretRef": {"name": "window"}}])).unwrap_err();
        assert_eq!(missing.to_string(), "secret \"window\" not found");
    }

    #[test]
    fn the_api_server_is_named_where_it_can_be_reached() {
        let env = json!([
            {"name": "KUBERNETES_SERVICE_PORT", "value": "1"},
            {"name": "URL", "value": "https://$(KUBERNETES_SERVICE_HOST)"},
        ]);
        let container = json!({"name": "main", "env": env});
        assert_eq!(
            made_of(json!({"hostNetwork": true}), container.clone()).unwrap(),
            "KUBERNETES_SERVICE_PORT=1 URL=https://127.0.0.1 KUBERNETES_SERVICE_HOST=127.0.0.1 \
             KUBERNETES_SERVICE_PORT_HTTPS=6443"
        );
        assert!(!made_of(json!({}), container).unwrap().contains("KUBERNETES_SERVICE_HOST="));
    }
}
