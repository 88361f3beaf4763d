//! The books against what is stored.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::ApiServer;
use crate::request::{DeleteOptions, ResourceRequest};

const NAMESPACE: &str = "default";

/// Something that happens in a namespace.
#[derive(Clone, Debug)]
enum Step {
    Create(u8, u8),
    /// On a node, so that it does not go at once.
    CreateOnNode(u8, u8),
    Delete(u8),
    End(u8),
    /// The quota is about something else from now on.
    Bound(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let (pod, size) = (0..6_u8, 0..4_u8);
    prop_oneof![
        3 => (pod.clone(), size.clone()).prop_map(|(pod, size)| Step::Create(pod, size)),
        2 => (pod.clone(), size).prop_map(|(pod, size)| Step::CreateOnNode(pod, size)),
        2 => pod.clone().prop_map(Step::Delete),
        2 => pod.prop_map(Step::End),
        1 => (0..3_u8).prop_map(Step::Bound),
    ]
}

fn pod(name: u8, size: u8, node: Option<&str>) -> serde_json::Value {
    let resources = if size == 0 {
        json!({})
    } else {
        json!({"requests": {"memory": format!("{size}Mi"), "cpu": "100m"}})
    };
    let spec = json!({"nodeName": node, "containers": [{"name": "c", "image": "i", "resources": resources}]});
    json!({"metadata": {"name": format!("p{name}")}, "spec": spec})
}

/// Does a step. What is refused, because something is or is not there, is no matter.
fn take(core: &Core, step: &Step) -> Terms {
    let key = |name: &u8| Key::new(NAMESPACE, format!("p{name}"));
    let create = |pod: &serde_json::Value| {
        drop(core.create::<Pod>(&ResourceRequest::own::<Pod>(Some(NAMESPACE), pod)));
    };
    match step {
        Step::Create(name, size) => create(&pod(*name, *size, None)),
        Step::CreateOnNode(name, size) => create(&pod(*name, *size, Some("node"))),
        Step::Delete(name) => drop(core.delete_object::<Pod>(&key(name), &DeleteOptions::default())),
        Step::End(name) => drop(core.change::<Pod>(&key(name), false, |_, old| {
            let mut new = old.clone();
            new.status.get_or_insert_default().phase = Some("Succeeded".to_owned());
            Ok(new)
        })),
        Step::Bound(_) => {}
    }
    let spec = match step {
        Step::Bound(1) => json!({"hard": {"pods": "9", "memory": "1Gi"}, "scopes": ["NotBestEffort"]}),
        Step::Bound(2) => json!({"hard": {"count/pods": "9", "requests.cpu": "9"}}),
        _ => json!({"hard": {"pods": "9", "count/pods": "9", "requests.memory": "1Gi", "cpu": "9"}}),
    };
    let quota = json!({"metadata": {"name": "q"}, "spec": spec});
    Terms::of(&serde_json::from_value(quota).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Sums that were kept are those that one would make now.
    #[test]
    fn kept_books_say_what_new_ones_would(steps in prop::collection::vec(step(), 1..40)) {
        let server = ApiServer::in_memory();
        let core = server.core();
        let (mut kept, now) = (Books::default(), Timestamp::now());
        for step in &steps {
            let terms = take(core, step);
            let used = |books: &mut Books| {
                books.book(core, NAMESPACE).unwrap().used(core, NAMESPACE, "q", &terms, now)
            };
            prop_assert_eq!(used(&mut kept), used(&mut Books::default()), "after {:?}", step);
        }
    }
}

#[test]
fn books_are_begun_anew_where_changes_are_not_known() {
    let server = ApiServer::in_memory();
    let core = server.core();
    let terms = take(core, &Step::Create(0, 1));
    let mut books = Books::default();
    let pods = |books: &mut Books| {
        let used = books.book(core, NAMESPACE).unwrap().used(core, NAMESPACE, "q", &terms, Timestamp::now());
        used["pods"].value()
    };
    assert_eq!(pods(&mut books), 1);
    // More changes than the history keeps.
    for _ in 0..3000 {
        take(core, &Step::Create(1, 1));
        take(core, &Step::Delete(1));
    }
    take(core, &Step::Create(2, 1));
    assert_eq!(pods(&mut books), 2);
}
