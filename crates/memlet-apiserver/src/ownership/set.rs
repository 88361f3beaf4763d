//! A set of fields, as a tree of path elements: upstream's `FieldsV1`.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::schema::Key;

/// A path element in its written form: `f:name`, `k:{"name":"main"}`, `v:"value"`.
pub(super) type Element = String;

/// The element of a struct's field or a map's key.
pub(super) fn field(name: &str) -> Element {
    format!("f:{name}")
}

/// The element of a set's value.
pub(super) fn value(value: &Value) -> Element {
    format!("v:{value}")
}

/// The element of an item in a list that is merged by keys.
pub(super) fn keyed(item: &Value, keys: &[Key]) -> Element {
    let mut text = String::with_capacity(32);
    text.push_str("k:{");
    // Every table states its keys in their order.
    for key in keys {
        let stated = item.get(key.name).filter(|value| !value.is_null());
        let stated = stated.map(ToString::to_string);
        let Some(value) = stated.or_else(|| key.default.map(|text| format!("{text:?}"))) else { continue };
        if text.len() > 3 {
            text.push(',');
        }
        text.push('"');
        text.push_str(key.name);
        text.push_str("\":");
        text.push_str(&value);
    }
    text.push('}');
    text
}

/// Fields, and what is below them. The root stands for the object itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FieldSet {
    /// Whether the field itself belongs to the set, not only some below it.
    pub(super) member: bool,
    pub(super) children: BTreeMap<Element, FieldSet>,
}

impl FieldSet {
    /// The set of one field.
    pub(super) fn leaf() -> Self {
        Self { member: true, children: BTreeMap::new() }
    }

    /// The set of these paths of struct fields.
    pub(super) fn of_paths(paths: &[&[&str]]) -> Self {
        let mut set = Self::default();
        for path in paths {
            let mut node = &mut set;
            for name in *path {
                node = node.children.entry(field(name)).or_default();
            }
            node.member = true;
        }
        set
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.member && self.children.is_empty()
    }

    /// Puts a set below an element, unless it is empty.
    pub(super) fn put(&mut self, element: Element, set: Self) {
        if !set.is_empty() {
            self.children.insert(element, set);
        }
    }

    pub(super) fn unite(&mut self, other: &Self) {
        self.member |= other.member;
        for (element, theirs) in &other.children {
            match self.children.get_mut(element) {
                Some(own) => own.unite(theirs),
                None => {
                    self.children.insert(element.clone(), theirs.clone());
                }
            }
        }
    }

    pub(super) fn subtract(&mut self, other: &Self) {
        self.member &= !other.member;
        self.prune_children(other, Self::subtract);
    }

    /// Without the other's fields and all that is below them.
    pub(super) fn subtract_deep(&mut self, other: &Self) {
        if other.member {
            *self = Self::default();
        } else {
            self.prune_children(other, Self::subtract_deep);
        }
    }

    fn prune_children(&mut self, other: &Self, prune: fn(&mut Self, &Self)) {
        if other.children.is_empty() {
            return;
        }
        self.children.retain(|element, own| {
            if let Some(theirs) = other.children.get(element) {
                prune(own, theirs);
            }
            !own.is_empty()
        });
    }

    pub(super) fn intersection(&self, other: &Self) -> Self {
        let mut both = Self { member: self.member && other.member, children: BTreeMap::new() };
        for (element, own) in &self.children {
            if let Some(theirs) = other.children.get(element) {
                both.put(element.clone(), own.intersection(theirs));
            }
        }
        both
    }

    /// An element as it stands in a path: `.name`, `[name="main"]`.
    pub(super) fn printed_element(element: &str) -> String {
        printed(element)
    }

    /// Every field of the set as upstream writes its path: `.spec.containers[name="main"].image`.
    pub(super) fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.collect(&mut String::new(), &mut paths);
        paths
    }

    fn collect(&self, path: &mut String, paths: &mut Vec<String>) {
        if self.member {
            paths.push(path.clone());
        }
        let length = path.len();
        for (element, below) in &self.children {
            path.push_str(&printed(element));
            below.collect(path, paths);
            path.truncate(length);
        }
    }

    /// Reads a `fieldsV1`; `None` where it is not one.
    pub(super) fn from_json(json: &Value) -> Option<Self> {
        let map = json.as_object()?;
        let mut set = Self::default();
        for (element, below) in map {
            if element == "." {
                set.member = true;
                continue;
            }
            if !matches!(element.as_bytes(), [b'f' | b'k' | b'v' | b'i', b':', ..]) {
                return None;
            }
            let mut below = Self::from_json(below)?;
            below.member |= below.children.is_empty();
            set.children.insert(element.clone(), below);
        }
        Some(set)
    }

    pub(super) fn to_json(&self) -> Value {
        let mut map = Map::new();
        if self.member && !self.children.is_empty() {
            map.insert(".".to_owned(), Value::Object(Map::new()));
        }
        map.extend(self.children.iter().map(|(element, below)| (element.clone(), below.to_json())));
        Value::Object(map)
    }
}

fn printed(element: &str) -> String {
    let Some((kind, text)) = element.split_once(':') else { return element.to_owned() };
    match kind {
        "f" => format!(".{text}"),
        "k" => {
            let keys: Map<String, Value> = serde_json::from_str(text).unwrap_or_default();
            let keys: Vec<String> = keys.iter().map(|(name, value)| format!("{name}={value}")).collect();
            format!("[{}]", keys.join(","))
        }
        "v" => format!("[={text}]"),
        _ => format!("[{text}]"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[expect(clippy::needless_pass_by_value, reason = "it is made for the call")]
    fn set(json: Value) -> FieldSet {
        FieldSet::from_json(&json).unwrap()
    }

    #[test]
    fn the_written_form_comes_back() {
        let written =
            json!({"f:spec": {"f:containers": {"k:{\"name\":\"a\"}": {".": {}, "f:image": {}}}, "f:x": {}}});
        assert_eq!(set(written.clone()).to_json(), written);
        assert_eq!(
            set(written).paths(),
            [r#".spec.containers[name="a"]"#, r#".spec.containers[name="a"].image"#, ".spec.x"]
        );
        for wrong in [json!({"x": {}}), json!([]), json!({"f:a": 1})] {
            assert_eq!(FieldSet::from_json(&wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_operations_of_sets() {
        let left = set(json!({"f:a": {".": {}, "f:b": {}}, "f:c": {}}));
        let right = set(json!({"f:a": {"f:b": {}, "f:d": {}}, "f:c": {}}));
        assert_eq!(left.intersection(&right).paths(), [".a.b", ".c"]);
        let mut less = left.clone();
        less.subtract(&right);
        assert_eq!(less.paths(), [".a"]);
        let mut deep = left.clone();
        deep.subtract_deep(&set(json!({"f:a": {}})));
        assert_eq!(deep.paths(), [".c"]);
        let mut all = left;
        all.unite(&right);
        assert_eq!(all.paths(), [".a", ".a.b", ".a.d", ".c"]);
    }

    #[test]
    fn keys_left_out_have_their_defaults() {
        let keys =
            [Key { name: "containerPort", default: None }, Key { name: "protocol", default: Some("TCP") }];
        let element = keyed(&json!({"containerPort": 80, "name": "web"}), &keys);
        assert_eq!(element, r#"k:{"containerPort":80,"protocol":"TCP"}"#);
        assert_eq!(printed(&element), r#"[containerPort=80,protocol="TCP"]"#);
    }
}
