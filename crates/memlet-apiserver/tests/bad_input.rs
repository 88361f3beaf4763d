//! What is wrong with a manifest is told in upstream's words: one table of mistakes, each with its exact answer.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]
#![allow(clippy::needless_pass_by_value, reason = "the tables read better with plain json!")]

mod support;

use http::StatusCode;
use kube::Client;
use memlet_apiserver::ApiServer;
use serde_json::{Value, json};
use support::send;

const PODS: &str = "/api/v1/namespaces/default/pods";

fn client() -> Client {
    ApiServer::in_memory().client()
}

/// A sound Pod, changed by a merge patch.
fn manifest(change: &Value) -> Value {
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"},
        "spec": {"containers": [{"name": "c", "image": "i:1"}]},
    });
    json_patch::merge(&mut pod, change);
    pod
}

/// A sound Pod whose container is changed.
fn container(change: &Value) -> Value {
    let mut pod = manifest(&json!({}));
    json_patch::merge(&mut pod["spec"]["containers"][0], change);
    pod
}

fn resources(table: Value) -> Value {
    container(&json!({"resources": table}))
}

fn spec(change: Value) -> Value {
    manifest(&json!({"spec": change}))
}

async fn refused(client: &Client, pod: &Value) -> (StatusCode, Value) {
    let (code, _, body) = send(client, "POST", PODS, pod.to_string()).await;
    (code, body)
}

/// The field errors of a 422, as `field: body`.
async fn field_errors(client: &Client, pod: &Value) -> Vec<String> {
    let (code, status) = refused(client, pod).await;
    assert_eq!(code, 422, "{pod} gave {status}");
    assert_eq!((&status["reason"], &status["details"]["kind"]), (&json!("Invalid"), &json!("Pod")));
    let causes = status["details"]["causes"].as_array().unwrap();
    let texts: Vec<String> = causes
        .iter()
        .map(|cause| format!("{}: {}", cause["field"].as_str().unwrap(), cause["message"].as_str().unwrap()))
        .collect();
    let listed = if texts.len() == 1 { texts[0].clone() } else { format!("[{}]", texts.join(", ")) };
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    assert_eq!(status["message"], format!("Pod \"{name}\" is invalid: {listed}"));
    texts
}

const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";

#[tokio::test]
async fn names_and_containers() {
    let client = client();
    let bad_label = format!(r#"Invalid value: "C_1": {LABEL}"#);
    let twice = json!({"containers": [{"name": "c", "image": "i"}, {"name": "c", "image": "i"}]});
    let shared = json!({"initContainers": [{"name": "c", "image": "i"}]});
    let cases = [
        (manifest(&json!({"metadata": {"name": null}})), "metadata.name: Required value: name or generateName is required".to_owned()),
        (manifest(&json!({"metadata": {"labels": {"a": "b c"}}})), "metadata.labels: Invalid value: \"b c\": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')".to_owned()),
        (spec(json!({"containers": []})), "spec.containers: Required value".to_owned()),
        (spec(twice), r#"spec.containers[1].name: Duplicate value: "c""#.to_owned()),
        (spec(shared), r#"spec.initContainers[0].name: Duplicate value: "c""#.to_owned()),
        (container(&json!({"name": "C_1"})), format!("spec.containers[0].name: {bad_label}")),
        (container(&json!({"name": ""})), "spec.containers[0].name: Required value".to_owned()),
        (container(&json!({"image": null})), "spec.containers[0].image: Required value".to_owned()),
        (container(&json!({"image": " i"})), r#"spec.containers[0].image: Invalid value: " i": must not have leading or trailing whitespace"#.to_owned()),
        (container(&json!({"imagePullPolicy": "Sometimes"})), r#"spec.containers[0].imagePullPolicy: Unsupported value: "Sometimes": supported values: "Always", "IfNotPresent", "Never""#.to_owned()),
        (container(&json!({"terminationMessagePolicy": "X"})), r#"spec.containers[0].terminationMessagePolicy: Unsupported value: "X": supported values: "FallbackToLogsOnError", "File""#.to_owned()),
        (spec(json!({"restartPolicy": "Sometimes"})), r#"spec.restartPolicy: Unsupported value: "Sometimes": supported values: "Always", "OnFailure", "Never""#.to_owned()),
        (spec(json!({"activeDeadlineSeconds": 0})), "spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive".to_owned()),
        (spec(json!({"hostname": "A"})), format!(r#"spec.hostname: Invalid value: "A": {LABEL}"#)),
        (container(&json!({"restartPolicy": "Always"})), "spec.containers[0].restartPolicy: Forbidden: may not be set for non-init containers".to_owned()),
        (container(&json!({"ports": [{"containerPort": 0}]})), "spec.containers[0].ports[0].containerPort: Required value".to_owned()),
        (container(&json!({"ports": [{"containerPort": 70000}]})), "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive".to_owned()),
        (container(&json!({"ports": [{"containerPort": 80, "name": "a--b"}]})), r#"spec.containers[0].ports[0].name: Invalid value: "a--b": must not contain consecutive hyphens"#.to_owned()),
        (container(&json!({"env": [{"name": ""}]})), "spec.containers[0].env[0].name: Required value".to_owned()),
        (container(&json!({"env": [{"name": "a=b"}]})), "spec.containers[0].env[0].name: Invalid value: \"a=b\": a valid environment variable name must consist only of printable ASCII characters other than '='".to_owned()),
    ];
    for (pod, expected) in cases {
        assert_eq!(field_errors(&client, &pod).await, [expected], "{pod}");
    }
}

#[tokio::test]
async fn amounts() {
    let client = client();
    for (table, expected) in [
        (
            json!({"requests": {"memory": "200Mi"}, "limits": {"memory": "100Mi"}}),
            vec![
                r#"spec.containers[0].resources.requests: Invalid value: "200Mi": must be less than or equal to memory limit of 100Mi"#,
            ],
        ),
        (
            json!({"limits": {"memory": "-1"}}),
            vec![
                r#"spec.containers[0].resources.limits[memory]: Invalid value: "-1": must be greater than or equal to 0"#,
                r#"spec.containers[0].resources.requests[memory]: Invalid value: "-1": must be greater than or equal to 0"#,
            ],
        ),
        (
            json!({"limits": {"foo": "1"}, "requests": {}}),
            vec![
                r#"spec.containers[0].resources.limits[foo]: Invalid value: "foo": must be a standard resource type or fully qualified"#,
                r#"spec.containers[0].resources.limits[foo]: Invalid value: "foo": must be a standard resource for containers"#,
                r#"spec.containers[0].resources.requests[foo]: Invalid value: "foo": must be a standard resource type or fully qualified"#,
                r#"spec.containers[0].resources.requests[foo]: Invalid value: "foo": must be a standard resource for containers"#,
            ],
        ),
        (
            json!({"limits": {"example.com/gpu": "1"}, "requests": {"example.com/gpu": "2"}}),
            vec![
                r#"spec.containers[0].resources.requests: Invalid value: "2": must be equal to example.com/gpu limit of 1"#,
            ],
        ),
        (
            json!({"requests": {"example.com/gpu": "2"}}),
            vec![
                "spec.containers[0].resources.limits: Required value: Limit must be set for non overcommitable resources",
            ],
        ),
        (
            json!({"limits": {"hugepages-2Mi": "2Mi"}}),
            vec!["spec.containers[0].resources: Forbidden: HugePages require cpu or memory"],
        ),
    ] {
        assert_eq!(field_errors(&client, &resources(table.clone())).await, expected, "{table}");
    }
    let bounded = json!({"resources": {"limits": {"memory": "1Gi"}}, "containers": [
        {"name": "c", "image": "i", "resources": {"limits": {"memory": "2Gi"}}},
    ]});
    assert_eq!(
        field_errors(&client, &spec(bounded)).await,
        [
            r#"spec.resources.requests: Invalid value: "2Gi": must be less than or equal to memory limit of 1Gi"#,
            r#"spec.resources.containers[0][memory].limits: Invalid value: "2Gi": must be less than or equal to pod limits of 1Gi"#,
        ]
    );
}

const SHAPE: &str =
    r"quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
const SUFFIX: &str = "unable to parse quantity's suffix";

#[tokio::test]
async fn unreadable_amounts_are_decoding_errors() {
    let client = client();
    for (text, why) in
        [("128Mb", SHAPE), ("", SHAPE), ("one", SHAPE), ("1 Gi", SHAPE), ("1K", SUFFIX), ("128mi", SUFFIX)]
    {
        let (code, status) = refused(&client, &resources(json!({"limits": {"memory": text}}))).await;
        assert_eq!(code, 400, "{text}");
        assert_eq!(status["reason"], "BadRequest");
        assert_eq!(
            status["message"],
            format!(r#"Pod in version "v1" cannot be handled as a Pod: {why}"#),
            "{text}"
        );
    }
    // Read, but beyond anything: refused in some way, and at once.
    let (code, _) = refused(&client, &resources(json!({"limits": {"memory": "1e2147483648"}}))).await;
    assert_eq!(code, 400);
}

#[tokio::test]
async fn volumes_and_mounts() {
    let client = client();
    let mounted = |mounts: Value, volumes: Value| {
        let mut pod = container(&json!({"volumeMounts": mounts}));
        pod["spec"]["volumes"] = volumes;
        pod
    };
    let data = || json!([{"name": "data"}]);
    for (pod, expected) in [
        (
            mounted(json!([{"name": "x", "mountPath": "/x"}]), json!([])),
            r#"spec.containers[0].volumeMounts[0].name: Not found: "x""#,
        ),
        (
            mounted(json!([{"name": "data", "mountPath": ""}]), data()),
            "spec.containers[0].volumeMounts[0].mountPath: Required value",
        ),
        (
            mounted(
                json!([{"name": "data", "mountPath": "/a"}, {"name": "data", "mountPath": "/a"}]),
                data(),
            ),
            r#"spec.containers[0].volumeMounts[1].mountPath: Invalid value: "/a": must be unique"#,
        ),
        (
            mounted(json!([{"name": "data", "mountPath": "/a", "subPath": "../b"}]), data()),
            r#"spec.containers[0].volumeMounts[0].subPath: Invalid value: "../b": must not contain '..'"#,
        ),
        (
            mounted(json!([{"name": "data", "mountPath": "/a", "subPath": "/b"}]), data()),
            r#"spec.containers[0].volumeMounts[0].subPath: Invalid value: "/b": must be a relative path"#,
        ),
        (
            mounted(
                json!([{"name": "data", "mountPath": "/a", "mountPropagation": "Bidirectional"}]),
                data(),
            ),
            "spec.containers[0].volumeMounts[0].mountPropagation: Forbidden: Bidirectional mount propagation is available only to privileged containers",
        ),
        (
            mounted(json!([]), json!([{"name": "a"}, {"name": "a"}])),
            r#"spec.volumes[1].name: Duplicate value: "a""#,
        ),
        (
            mounted(json!([]), json!([{"name": "a", "emptyDir": {}, "hostPath": {"path": "/x"}}])),
            "spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type",
        ),
        (
            mounted(json!([]), json!([{"name": "a", "hostPath": {"path": ""}}])),
            "spec.volumes[0].hostPath.path: Required value",
        ),
        (
            mounted(json!([]), json!([{"name": "a", "hostPath": {"path": "/a/../b"}}])),
            r#"spec.volumes[0].hostPath.path: Invalid value: "/a/../b": must not contain '..'"#,
        ),
        (
            mounted(json!([]), json!([{"name": "a", "hostPath": {"path": "/a", "type": "Folder"}}])),
            r#"spec.volumes[0].hostPath.type: Unsupported value: "Folder": supported values: "", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket""#,
        ),
        (
            mounted(json!([]), json!([{"name": "a", "emptyDir": {"sizeLimit": "-1"}}])),
            "spec.volumes[0].emptyDir.sizeLimit: Forbidden: SizeLimit field must be a valid resource quantity",
        ),
    ] {
        assert_eq!(field_errors(&client, &pod).await, [expected], "{pod}");
    }
}

#[tokio::test]
async fn privileges() {
    let client = client();
    let within = |context: Value| container(&json!({"securityContext": context}));
    for (pod, expected) in [
        (
            within(json!({"runAsUser": -1})),
            "spec.containers[0].securityContext.runAsUser: Invalid value: -1: must be between 0 and 4294967295, inclusive",
        ),
        (
            within(json!({"runAsGroup": 4_294_967_296_i64})),
            "spec.containers[0].securityContext.runAsGroup: Invalid value: 4294967296: must be between 0 and 4294967295, inclusive",
        ),
        (
            within(json!({"allowPrivilegeEscalation": false, "privileged": true})),
            r#"spec.containers[0].securityContext: Invalid value: {"allowPrivilegeEscalation":false,"privileged":true}: cannot set `allowPrivilegeEscalation` to false and `privileged` to true"#,
        ),
        (
            within(json!({"allowPrivilegeEscalation": false, "capabilities": {"add": ["CAP_SYS_ADMIN"]}})),
            r#"spec.containers[0].securityContext: Invalid value: {"allowPrivilegeEscalation":false,"capabilities":{"add":["CAP_SYS_ADMIN"]}}: cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"#,
        ),
        (
            within(json!({"procMount": "X"})),
            r#"spec.containers[0].securityContext.procMount: Unsupported value: "X": supported values: "Default", "Unmasked""#,
        ),
        (
            within(json!({"seccompProfile": {"type": "Localhost"}})),
            "spec.containers[0].securityContext.seccompProfile.localhostProfile: Required value: must be set when seccomp type is Localhost",
        ),
        (
            spec(json!({"securityContext": {"fsGroup": -5}})),
            "spec.securityContext.fsGroup: Invalid value: -5: must be between 0 and 4294967295, inclusive",
        ),
        (
            spec(
                json!({"hostNetwork": true, "containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80, "hostPort": 81}]}]}),
            ),
            "spec.containers[0].ports[0].hostPort: Invalid value: 81: must match `containerPort` when `hostNetwork` is true",
        ),
        (
            spec(json!({"hostPID": true, "shareProcessNamespace": true})),
            "spec.shareProcessNamespace: Invalid value: true: ShareProcessNamespace and HostPID cannot both be enabled",
        ),
    ] {
        assert_eq!(field_errors(&client, &pod).await, [expected], "{pod}");
    }
}

/// Field for field what a real cluster answered.
#[tokio::test]
async fn whole_statuses_are_as_recorded() {
    let recorded: Value = serde_json::from_str(include_str!("golden/refusals.json")).unwrap();
    let client = client();
    let named = |name: &str, mut pod: Value| {
        pod["metadata"]["name"] = name.into();
        pod
    };
    let two = named("Bad_Name", spec(json!({"containers": []})));
    assert_eq!(refused(&client, &two).await.1, recorded["two-causes"]);
    let table = json!({"requests": {"memory": "200Mi"}, "limits": {"memory": "100Mi"}});
    assert_eq!(refused(&client, &named("bad", resources(table))).await.1, recorded["request-above-limit"]);
    let unreadable = resources(json!({"limits": {"memory": "128Mb"}}));
    assert_eq!(refused(&client, &unreadable).await.1, recorded["bad-quantity"]);
    let missing = send(&client, "GET", &format!("{PODS}/nope"), "").await.2;
    assert_eq!(missing, recorded["not-found"]);
}

#[tokio::test]
async fn unknown_and_repeated_fields_are_named_with_their_path() {
    let client = client();
    let odd = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"odd"},"spec":{"foo":1,
        "containers":[{"name":"c","image":"i","image":"j","resorces":{}}]}}"#;
    let (code, _, status) = send(&client, "POST", &format!("{PODS}?fieldValidation=Strict"), odd).await;
    assert_eq!(code, 400);
    let message = status["message"].as_str().unwrap();
    let start = r#"Pod in version "v1" cannot be handled as a Pod: strict decoding error: "#;
    let mut named: Vec<&str> = message.strip_prefix(start).unwrap().split(", ").collect();
    named.sort_unstable();
    assert_eq!(
        named,
        [
            r#"duplicate field "spec.containers[0].image""#,
            r#"unknown field "spec.containers[0].resorces""#,
            r#"unknown field "spec.foo""#,
        ]
    );
    let (code, mut warnings, pod) = send(&client, "POST", PODS, odd).await;
    assert_eq!(code, 201);
    warnings.sort_unstable();
    assert_eq!(warnings, named);
    assert_eq!((&pod["spec"]["foo"], &pod["spec"]["containers"][0]["image"]), (&Value::Null, &json!("j")));
    let ignored = send(
        &client,
        "POST",
        &format!("{PODS}?fieldValidation=Ignore&dryRun=All"),
        odd.replace("odd", "two"),
    )
    .await;
    assert_eq!((ignored.0, ignored.1), (StatusCode::CREATED, vec![]));
}

#[tokio::test]
async fn a_fraction_of_a_byte_is_warned_of() {
    let pod = resources(json!({"limits": {"memory": "128m"}}));
    let (code, warnings, _) = send(&client(), "POST", PODS, pod.to_string()).await;
    assert_eq!(code, 201);
    assert_eq!(
        warnings,
        [
            r#"spec.containers[0].resources.limits[memory]: fractional byte value "128m" is invalid, must be an integer"#,
            r#"spec.containers[0].resources.requests[memory]: fractional byte value "128m" is invalid, must be an integer"#,
        ]
    );
}

#[tokio::test]
async fn what_is_legal_but_hardly_meant_is_warned_of() {
    let mut pod = container(&json!({"env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]}));
    pod["spec"]["terminationGracePeriodSeconds"] = (-5).into();
    let (code, warnings, _) = send(&client(), "POST", PODS, pod.to_string()).await;
    assert_eq!(code, 201);
    assert_eq!(
        warnings,
        [
            "spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1",
            r#"spec.containers[0].env[1]: hides previous definition of "A", which may be dropped when using apply"#,
        ]
    );
}

#[tokio::test]
async fn bodies_that_are_no_pod() {
    let client = client();
    for (body, expected) in [
        (
            json!({"apiVersion": "v1", "kind": "Service"}).to_string(),
            r#"Service in version "v1" cannot be handled as a Pod: converting (v1.Service) to (core.Pod): unknown conversion"#,
        ),
        (
            json!({"apiVersion": "v2", "kind": "Pod"}).to_string(),
            "the API version in the data (v2) does not match the expected API version (v1)",
        ),
        (
            manifest(&json!({"metadata": {"namespace": "other"}})).to_string(),
            "the namespace of the provided object does not match the namespace sent on the request",
        ),
        (
            manifest(&json!({"metadata": {"resourceVersion": "1"}})).to_string(),
            "resourceVersion should not be set on objects to be created",
        ),
        (
            container(&json!({"name": 7})).to_string(),
            r#"Pod in version "v1" cannot be handled as a Pod: spec.containers[0].name: invalid type: integer `7`, expected a string"#,
        ),
    ] {
        let (code, _, status) = send(&client, "POST", PODS, body.clone()).await;
        assert_eq!(
            (code, status["message"].as_str().unwrap()),
            (StatusCode::BAD_REQUEST, expected),
            "{body}"
        );
    }
    for body in ["", "nope", "[]", "{", "\u{0}"] {
        let (code, _, status) = send(&client, "POST", PODS, body).await;
        assert_eq!(code, 400, "{body:?}");
        assert!(
            status["message"]
                .as_str()
                .unwrap()
                .starts_with("the object provided is unrecognized (must be of type Pod): "),
            "{status}"
        );
    }
    let huge = format!(r#"{{"metadata":{{"name":"{}"}}}}"#, "x".repeat(4 << 20));
    assert_eq!(send(&client, "POST", PODS, huge).await.0, 413);
}

#[tokio::test]
async fn paths_and_verbs_that_are_not_served() {
    let client = client();
    for (method, path, code, message) in [
        (
            "GET",
            "/api/v1/namespaces/default/widgets",
            404,
            "the server could not find the requested resource",
        ),
        ("GET", "/apis/apps/v1/deployments", 404, "the server could not find the requested resource"),
        (
            "GET",
            "/api/v1/namespaces/default/pods/x/frob",
            404,
            "the server could not find the requested resource",
        ),
        ("GET", "/nowhere", 404, "the server could not find the requested resource"),
        ("POST", "/api/v1/pods", 405, r#"create is not supported on resources of kind "pods""#),
        (
            "POST",
            "/api/v1/namespaces/default/pods/x",
            405,
            r#"create is not supported on resources of kind "pods""#,
        ),
    ] {
        let (found, _, status) = send(&client, method, path, "").await;
        assert_eq!((found.as_u16(), status["message"].as_str().unwrap()), (code, message), "{method} {path}");
        assert_eq!(status["kind"], "Status");
    }
}

#[tokio::test]
async fn a_running_pod_keeps_its_spec() {
    let client = client();
    let pod = resources(json!({"limits": {"memory": "128Mi"}}));
    assert_eq!(send(&client, "POST", PODS, pod.to_string()).await.0, 201);
    let path = format!("{PODS}/x");
    let stored = send(&client, "GET", &path, "").await.2;
    let put = |change: fn(&mut Value)| {
        let mut changed = stored.clone();
        changed["metadata"]["resourceVersion"].take();
        change(&mut changed);
        let (client, path) = (client.clone(), path.clone());
        async move { send(&client, "PUT", &path, changed.to_string()).await }
    };
    let (code, _, status) = put(|pod| pod["spec"]["containers"][0]["image"] = "other:2".into()).await;
    assert_eq!(code, 200, "{status}");
    assert_eq!(status["metadata"]["generation"], 2);
    let grow =
        |pod: &mut Value| pod["spec"]["containers"][0]["resources"]["limits"]["memory"] = "256Mi".into();
    let (code, _, status) = put(grow).await;
    assert_eq!(code, 422);
    insta::assert_snapshot!(status["message"].as_str().unwrap(), @r#"
    Pod "x" is invalid: spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)
    - spec.containers[0].resources.limits.memory: "128Mi"
    + spec.containers[0].resources.limits.memory: "256Mi"
    "#);
    let (_, _, status) = put(|pod| {
        let again = json!({"name": "d", "image": "i:1"});
        pod["spec"]["containers"].as_array_mut().unwrap().push(again);
    })
    .await;
    assert_eq!(
        status["message"],
        r#"Pod "x" is invalid: spec.containers: Forbidden: pod updates may not add or remove containers"#
    );
    let (_, _, status) = put(|pod| pod["metadata"]["name"] = "y".into()).await;
    assert_eq!(status["message"], "the name of the object (y) does not match the name on the URL (x)");
    // What admission decided at creation stands where a manifest leaves it out.
    let (code, _, status) = put(|pod| {
        for field in ["priority", "tolerations"] {
            pod["spec"].as_object_mut().unwrap().remove(field);
        }
    })
    .await;
    assert_eq!((code, &status["spec"]["priority"]), (StatusCode::OK, &json!(0)), "{status}");
}
