//! The forms of names, labels and keys, and upstream's sentences about them (`util/validation`).

const LABEL_FORM: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const SUBDOMAIN_FORM: &str = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const QUALIFIED_FORM: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";

/// Longest label (RFC 1123) and longest label value, in bytes.
pub(crate) const LABEL_LENGTH: usize = 63;
/// Longest subdomain (RFC 1123), in bytes.
const SUBDOMAIN_LENGTH: usize = 253;

fn length(most: usize) -> String {
    format!("must be no more than {most} bytes")
}

/// Upstream's `RegexError`, whose examples are followed by a comma and a blank each.
fn form(message: &str, regex: &str, examples: &[&str]) -> String {
    let examples: Vec<String> = examples.iter().map(|example| format!("'{example}', ")).collect();
    format!("{message} (e.g. {}regex used for validation is '{regex}')", examples.join(" or "))
}

fn is_label(text: &str) -> bool {
    let alphanumeric = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    bytes.first().is_some_and(alphanumeric)
        && bytes.last().is_some_and(alphanumeric)
        && bytes.iter().all(|byte| alphanumeric(byte) || *byte == b'-')
}

fn is_subdomain(text: &str) -> bool {
    text.split('.').all(is_label)
}

/// A name made of one DNS label: containers, volumes, namespaces.
pub(crate) fn label(text: &str) -> Vec<String> {
    let mut messages = Vec::new();
    if text.len() > LABEL_LENGTH {
        messages.push(length(LABEL_LENGTH));
    }
    if !is_label(text) {
        messages.push(if is_subdomain(text) {
            "must not contain dots".to_owned()
        } else {
            form(
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must \
                 start and end with an alphanumeric character",
                LABEL_FORM,
                &["my-name", "123-abc"],
            )
        });
    }
    messages
}

/// A name made of dotted DNS labels: most objects.
pub(crate) fn subdomain(text: &str) -> Vec<String> {
    let mut messages = Vec::new();
    if text.len() > SUBDOMAIN_LENGTH {
        messages.push(length(SUBDOMAIN_LENGTH));
    }
    if !is_subdomain(text) {
        messages.push(form(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and \
             must start and end with an alphanumeric character",
            SUBDOMAIN_FORM,
            &["example.com"],
        ));
    }
    messages
}

fn is_qualified_part(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
}

/// A label key, annotation key or resource name: an optional DNS prefix and a name.
pub(crate) fn qualified(text: &str) -> Vec<String> {
    const WHAT: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
                        alphanumeric character";
    let mut messages = Vec::new();
    let parts: Vec<&str> = text.split('/').collect();
    let name = match parts[..] {
        [name] => name,
        [prefix, name] => {
            if prefix.is_empty() {
                messages.push("prefix part must be non-empty".to_owned());
            } else {
                messages
                    .extend(subdomain(prefix).into_iter().map(|message| format!("prefix part {message}")));
            }
            name
        }
        _ => {
            let sentence =
                form(&format!("a qualified name {WHAT}"), QUALIFIED_FORM, &["MyName", "my.name", "123-abc"]);
            messages.push(format!(
                "{sentence} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            ));
            return messages;
        }
    };
    if name.is_empty() {
        messages.push("name part must be non-empty".to_owned());
    } else if name.len() > LABEL_LENGTH {
        messages.push(format!("name part {}", length(LABEL_LENGTH)));
    }
    if !is_qualified_part(name) {
        let sentence = form(WHAT, QUALIFIED_FORM, &["MyName", "my.name", "123-abc"]);
        messages.push(format!("name part {sentence}"));
    }
    messages
}

/// The value of a label; may be empty.
pub(crate) fn label_value(text: &str) -> Vec<String> {
    let mut messages = Vec::new();
    if text.len() > LABEL_LENGTH {
        messages.push(length(LABEL_LENGTH));
    }
    if !text.is_empty() && !is_qualified_part(text) {
        messages.push(form(
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must \
             start and end with an alphanumeric character",
            "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?",
            &["MyValue", "my_value", "12345"],
        ));
    }
    messages
}

/// The name of an environment variable, by the relaxed rule (general since 1.34).
pub(crate) fn environment_variable(text: &str) -> Vec<String> {
    let mut messages = Vec::new();
    if text.is_empty() {
        messages.push("environment variable name must be non-empty".to_owned());
    }
    if !text.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b'=') {
        messages.push(
            "a valid environment variable name must consist only of printable ASCII characters other than '='"
                .to_owned(),
        );
    }
    messages
}

/// A key of a config map or secret.
pub(crate) fn config_key(text: &str) -> Vec<String> {
    let mut messages = Vec::new();
    if text.len() > SUBDOMAIN_LENGTH {
        messages.push(length(SUBDOMAIN_LENGTH));
    }
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
        messages.push(form(
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
            "[-._a-zA-Z0-9]+",
            &["key.name", "KEY_NAME", "key-name"],
        ));
    }
    match text {
        "." => messages.push("must not be '.'".to_owned()),
        ".." => messages.push("must not be '..'".to_owned()),
        _ if text.starts_with("..") => messages.push("must not start with '..'".to_owned()),
        _ => {}
    }
    messages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_subdomains() {
        for good in ["a", "my-name", "123-abc", &"a".repeat(63)] {
            assert_eq!(label(good), Vec::<String>::new(), "{good}");
        }
        assert_eq!(label("a.b"), ["must not contain dots"]);
        assert_eq!(
            label("Bad_Name"),
            [
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start \
              and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
              '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
            ]
        );
        assert_eq!(label(&"a".repeat(64)), ["must be no more than 63 bytes"]);
        for bad in ["", "-a", "a-", "a_b", "A", "a..b", ".a", "é"] {
            assert_eq!(subdomain(bad).len(), 1, "{bad}");
        }
    }

    #[test]
    fn qualified_names_and_values() {
        for good in ["app", "example.com/My_Name", "a.b-c_d"] {
            assert_eq!(qualified(good), Vec::<String>::new(), "{good}");
        }
        assert_eq!(qualified("/x"), ["prefix part must be non-empty"]);
        for bad in ["", "a/b/c", "-a", "Ex_ample/x"] {
            assert!(!qualified(bad).is_empty(), "{bad}");
        }
        assert!(label_value("").is_empty() && label_value("a b").len() == 1);
    }
}
