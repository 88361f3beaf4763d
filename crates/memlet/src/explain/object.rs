//! What is to be explained where it is no log: an object by kind and name, as kubectl writes them.

use std::path::Path;

use crate::cli::ExplainArguments;

/// The name of an object of this kind, by any of the kind's names: `pod/NAME`, or `pod NAME`, unless there is such a file.
pub(super) fn named<'a>(arguments: &'a ExplainArguments, kinds: &[&str]) -> Option<&'a str> {
    if arguments.files.iter().any(|file| Path::new(file).exists()) {
        return None;
    }
    let name = match &arguments.files[..] {
        [one] => one.to_str()?.split_once('/').filter(|(kind, _)| kinds.contains(kind))?.1,
        [kind, name] if kinds.contains(&kind.to_str()?) => name.to_str()?,
        _ => return None,
    };
    (!name.is_empty() && !name.contains('/')).then_some(name)
}
