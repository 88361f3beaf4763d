//! What each group may do, as data: upstream's default roles, as far as they concern what is served here.
//!
//! One table answers both whether a request is permitted and what a user may do at all (`kubectl auth can-i --list`).

use super::authentication::ACCOUNT_USER;
use super::identity::AUTHENTICATED;
use super::{Attributes, Identity};

const READ: &[&str] = &["get", "list", "watch"];
const CREATE: &[&str] = &["create"];
const ANY: &[&str] = &["*"];
const NODES: &str = "system:nodes";
const NODE_USER: &str = "system:node:";
const NODE_LEASES: &str = "kube-node-lease";

/// What a Pod may read of its own namespace: what runs there, how it was configured, and what happened to it. Secrets
/// are for those who mount them.
const NAMESPACE_VIEW: &[(&str, &[&str])] = &[
    (
        "",
        &[
            "pods",
            "pods/log",
            "pods/status",
            "configmaps",
            "events",
            "limitranges",
            "resourcequotas",
            "resourcequotas/status",
            "serviceaccounts",
            "services",
            "endpoints",
            "namespaces",
        ],
    ),
    ("events.k8s.io", &["events"]),
    ("metrics.k8s.io", &["pods"]),
];

/// What is served about the server itself: upstream's `system:discovery` and `system:public-info-viewer`.
const DISCOVERY: &[&str] = &[
    "/api",
    "/api/*",
    "/apis",
    "/apis/*",
    "/healthz",
    "/livez",
    "/openapi",
    "/openapi/*",
    "/readyz",
    "/version",
    "/version/",
];

/// Something that is permitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) verbs: &'static [&'static str],
    pub(crate) on: On,
}

/// What a rule is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum On {
    Resources {
        group: &'static str,
        /// With their subresources: `pods/log`.
        resources: &'static [&'static str],
        /// Any, where there is none.
        name: Option<String>,
        /// Any, and those of the cluster, where there is none.
        namespace: Option<String>,
    },
    /// A star at the end stands for any rest.
    Paths(&'static [&'static str]),
}

impl Rule {
    fn on(verbs: &'static [&'static str], group: &'static str, resources: &'static [&'static str]) -> Self {
        Self { verbs, on: On::Resources { group, resources, name: None, namespace: None } }
    }

    fn named(mut self, only: &str) -> Self {
        if let On::Resources { name, .. } = &mut self.on {
            *name = Some(only.to_owned());
        }
        self
    }

    fn within(mut self, only: &str) -> Self {
        if let On::Resources { namespace, .. } = &mut self.on {
            *namespace = Some(only.to_owned());
        }
        self
    }

    pub(crate) fn permits(&self, asked: &Attributes) -> bool {
        if !has(self.verbs, &asked.verb) {
            return false;
        }
        match (&self.on, &asked.path) {
            (On::Paths(paths), Some(path)) => paths.iter().any(|known| covers(known, path)),
            (On::Resources { group, resources, name, namespace }, None) => {
                let resource = match asked.subresource.as_str() {
                    "" => asked.resource.clone(),
                    subresource => format!("{}/{subresource}", asked.resource),
                };
                let is =
                    |only: &Option<String>, asked: &String| only.as_ref().is_none_or(|only| only == asked);
                (*group == "*" || *group == asked.group)
                    && has(resources, &resource)
                    && is(name, &asked.name)
                    && is(namespace, &asked.namespace)
            }
            _ => false,
        }
    }
}

fn has(known: &[&str], asked: &str) -> bool {
    known.iter().any(|one| *one == "*" || *one == asked)
}

fn covers(known: &str, path: &str) -> bool {
    match known.strip_suffix('*') {
        Some(start) => path.starts_with(start),
        None => known == path,
    }
}

/// Everything that a user may do.
pub(crate) fn rules_of(identity: &Identity) -> Vec<Rule> {
    let mut rules = Vec::new();
    if identity.is_administrator() {
        rules.push(Rule::on(ANY, "*", ANY));
        rules.push(Rule { verbs: ANY, on: On::Paths(ANY) });
    }
    if identity.is_in(AUTHENTICATED) {
        rules.push(Rule::on(
            CREATE,
            "authorization.k8s.io",
            &["selfsubjectaccessreviews", "selfsubjectrulesreviews"],
        ));
        rules.push(Rule::on(CREATE, "authentication.k8s.io", &["selfsubjectreviews"]));
        rules.push(Rule { verbs: &["get", "head"], on: On::Paths(DISCOVERY) });
    }
    if let Some(namespace) = namespace_of(identity) {
        let view = NAMESPACE_VIEW.iter();
        rules.extend(view.map(|(group, resources)| Rule::on(READ, group, resources).within(namespace)));
    }
    if let Some(node) = identity.user.strip_prefix(NODE_USER).filter(|_| identity.is_in(NODES)) {
        rules.extend(of_node(node));
    }
    rules
}

/// The namespace of a service account.
fn namespace_of(identity: &Identity) -> Option<&str> {
    let (namespace, _) = identity.user.strip_prefix(ACCOUNT_USER)?.split_once(':')?;
    identity.is_in(&format!("{}:{namespace}", super::authentication::ACCOUNTS)).then_some(namespace)
}

/// What a node's agent needs: upstream's `system:node`, with its own node and lease for `NodeRestriction`.
fn of_node(node: &str) -> Vec<Rule> {
    const ALL_READ: &[&str] =
        &["nodes", "pods", "services", "configmaps", "secrets", "serviceaccounts", "namespaces"];
    vec![
        Rule::on(READ, "", ALL_READ),
        Rule::on(READ, "scheduling.k8s.io", &["priorityclasses"]),
        // The name of what is created is not in the path.
        Rule::on(CREATE, "", &["nodes"]),
        Rule::on(&["update", "patch"], "", &["nodes", "nodes/status"]).named(node),
        Rule::on(&["create", "delete"], "", &["pods"]),
        Rule::on(&["update", "patch"], "", &["pods/status"]),
        Rule::on(CREATE, "", &["pods/eviction", "serviceaccounts/token"]),
        Rule::on(&["create", "update", "patch"], "", &["events"]),
        Rule::on(&["create", "update", "patch"], "events.k8s.io", &["events"]),
        Rule::on(CREATE, "coordination.k8s.io", &["leases"]).within(NODE_LEASES),
        Rule::on(&["get", "update", "patch", "delete"], "coordination.k8s.io", &["leases"])
            .within(NODE_LEASES)
            .named(node),
        Rule::on(CREATE, "authentication.k8s.io", &["tokenreviews"]),
        Rule::on(CREATE, "authorization.k8s.io", &["subjectaccessreviews"]),
    ]
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::super::authentication::account_identity;
    use super::*;

    #[test]
    fn who_may_do_what() {
        let nobody = Identity::anonymous();
        let admin = Identity::own();
        let user = Identity::of("jane", []);
        let pod = account_identity("a", "default");
        let node = Identity::of("system:node:n", [NODES.to_owned()]);
        // A name alone makes nobody an account or a node.
        let fake_pod = Identity::of("system:serviceaccount:a:default", []);
        let fake_node = Identity::of("system:node:n", []);
        let (get, post, put, delete) = (Method::GET, Method::POST, Method::PUT, Method::DELETE);
        let everybody = [
            ('-', &nobody),
            ('a', &admin),
            ('u', &user),
            ('s', &pod),
            ('n', &node),
            ('p', &fake_pod),
            ('m', &fake_node),
        ];
        for (method, uri, permitted) in [
            (&get, "/healthz", "-ausnpm"),
            (&get, "/version", "-ausnpm"),
            (&get, "/api", "ausnpm"),
            (&get, "/apis/apps/v1", "ausnpm"),
            (&get, "/openapi/v3/api/v1", "ausnpm"),
            (&get, "/metrics", "a"),
            (&get, "/apinothing", "a"),
            (&post, "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", "ausnpm"),
            (&post, "/apis/authentication.k8s.io/v1/selfsubjectreviews", "ausnpm"),
            (&post, "/apis/authentication.k8s.io/v1/tokenreviews", "an"),
            (&get, "/api/v1/namespaces/a/pods", "asn"),
            (&get, "/api/v1/namespaces/a/pods/b/log", "as"),
            (&get, "/api/v1/namespaces/a/pods/b/exec", "a"),
            (&get, "/api/v1/namespaces/a/configmaps/c", "asn"),
            (&get, "/api/v1/namespaces/a/resourcequotas/q", "as"),
            (&put, "/api/v1/namespaces/a/resourcequotas/q/status", "a"),
            (&get, "/api/v1/namespaces/a/secrets/c", "an"),
            (&get, "/api/v1/namespaces/a", "asn"),
            (&get, "/api/v1/namespaces/b", "an"),
            (&get, "/api/v1/namespaces/b/pods", "an"),
            (&get, "/api/v1/namespaces/b/pods/b/log", "a"),
            (&get, "/api/v1/pods", "an"),
            (&get, "/api/v1/nodes", "an"),
            (&get, "/api/v1/nodes/n/proxy/stats/summary", "a"),
            (&post, "/api/v1/nodes/n/proxy/exec/a/b/c", "a"),
            (&post, "/api/v1/namespaces/a/pods", "an"),
            (&delete, "/api/v1/namespaces/a/pods/b", "an"),
            (&put, "/api/v1/namespaces/a/configmaps/c", "a"),
            (&put, "/api/v1/nodes/n/status", "an"),
            (&put, "/api/v1/nodes/m/status", "a"),
            (&put, "/api/v1/namespaces/a/pods/b", "a"),
            (&put, "/api/v1/namespaces/a/pods/b/status", "an"),
            (&put, "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n", "an"),
            (&put, "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/m", "a"),
            (&put, "/apis/coordination.k8s.io/v1/namespaces/a/leases/n", "a"),
        ] {
            let asked = Attributes::of(method, &uri.parse().unwrap());
            let found: String = everybody
                .iter()
                .filter(|(_, identity)| super::super::authorize(identity, &asked).is_ok())
                .map(|(letter, _)| *letter)
                .collect();
            assert_eq!(found, permitted, "{method} {uri}");
        }
    }
}
