//! Service-account tokens of one Pod: asked for when a volume first shows them, and again before they end.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Pod, PodSpec, ServiceAccount, ServiceAccountTokenProjection};
use kube::Api;
use kube::api::PostParams;

/// `expirationSeconds` where none is given.
const DEFAULT_LIFE: i64 = 3600;
/// A token is renewed when this part of its life is over, and in any case at this age.
const PERCENT: i64 = 80;
const OLDEST: SignedDuration = SignedDuration::from_hours(24);

/// What tokens of a Pod differ by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Wanted {
    /// Empty: the API server itself.
    audience: String,
    seconds: i64,
}

impl Wanted {
    pub(crate) fn by(source: &ServiceAccountTokenProjection) -> Self {
        Self {
            audience: source.audience.clone().unwrap_or_default(),
            seconds: source.expiration_seconds.unwrap_or(DEFAULT_LIFE),
        }
    }

    /// All that a Pod's volumes show.
    pub(crate) fn of_volumes(spec: &PodSpec) -> Vec<Self> {
        let volumes = spec.volumes.iter().flatten();
        let sources = volumes
            .filter_map(|volume| volume.projected.as_ref())
            .flat_map(|projected| projected.sources.iter().flatten());
        let mut wanted: Vec<Self> =
            sources.filter_map(|source| source.service_account_token.as_ref()).map(Self::by).collect();
        wanted.sort();
        wanted.dedup();
        wanted
    }
}

#[derive(Clone, Debug)]
struct Token {
    text: String,
    issued: Timestamp,
    expires: Timestamp,
}

impl Token {
    fn is_to_be_renewed(&self, now: Timestamp) -> bool {
        let life = self.expires.duration_since(self.issued);
        let part = SignedDuration::from_secs(life.as_secs().saturating_mul(PERCENT) / 100);
        now.duration_since(self.issued) >= part.min(OLDEST)
    }
}

/// The tokens, or why there is none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tokens(BTreeMap<Wanted, Result<Token, String>>);

impl Tokens {
    /// Gets what is missing or old. A token that still is good stays where no new one can be had.
    pub(crate) async fn renew(&mut self, client: &kube::Client, pod: &Pod, now: Timestamp) {
        let empty = PodSpec::default();
        for wanted in Wanted::of_volumes(pod.spec.as_ref().unwrap_or(&empty)) {
            if matches!(self.0.get(&wanted), Some(Ok(token)) if !token.is_to_be_renewed(now)) {
                continue;
            }
            match request(client, pod, &wanted, now).await {
                Ok(token) => drop(self.0.insert(wanted, Ok(token))),
                Err(error) => {
                    let good =
                        |token: &Result<Token, String>| matches!(token, Ok(token) if token.expires > now);
                    if self.0.get(&wanted).is_some_and(good) {
                        tracing::warn!("a service-account token is not renewed: {error}");
                    } else {
                        self.0.insert(wanted, Err(format!("failed to fetch token: {error}")));
                    }
                }
            }
        }
    }

    pub(crate) fn get(&self, wanted: &Wanted) -> Result<&str, String> {
        match self.0.get(wanted) {
            Some(Ok(token)) => Ok(&token.text),
            Some(Err(error)) => Err(error.clone()),
            None => Err("failed to fetch token: it was not asked for".to_owned()),
        }
    }
}

/// A token that is good for this Pod, as long as the Pod is there.
async fn request(client: &kube::Client, pod: &Pod, wanted: &Wanted, now: Timestamp) -> Result<Token, String> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
    let account = pod.spec.as_ref().and_then(|spec| spec.service_account_name.as_deref());
    let bound = BoundObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        name: pod.metadata.name.clone(),
        uid: pod.metadata.uid.clone(),
    };
    let wish = TokenRequest {
        spec: Some(TokenRequestSpec {
            audiences: Some(wanted.audience.clone())
                .filter(|audience| !audience.is_empty())
                .map(|it| vec![it]),
            bound_object_ref: Some(bound),
            expiration_seconds: Some(wanted.seconds),
            ..TokenRequestSpec::default()
        }),
        ..TokenRequest::default()
    };
    let account = account.filter(|account| !account.is_empty()).unwrap_or("default");
    let answer = accounts.create_token_request(account, &PostParams::default(), &wish).await;
    let status = match answer {
        Ok(answer) => answer.status,
        Err(kube::Error::Api(status)) => return Err(status.message.clone()),
        Err(error) => return Err(error.to_string()),
    };
    let status = status.unwrap_or_default();
    let both = status.token.zip(status.expiration_timestamp);
    let (text, expires) = both.ok_or_else(|| "the API server answered without one".to_owned())?;
    Ok(Token { text, issued: now, expires: expires.0 })
}

#[cfg(test)]
impl Tokens {
    /// The same token, whoever asks.
    pub(crate) fn of_test(text: &str) -> Self {
        let (issued, expires) = (Timestamp::UNIX_EPOCH, Timestamp::MAX);
        let wanted = Wanted { audience: String::new(), seconds: 3607 };
        Self([(wanted, Ok(Token { text: text.to_owned(), issued, expires }))].into())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use serde_json::json;

    #[test]
    fn tokens_are_renewed_in_time() {
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        for (life, renewed_at) in [(600, 480), (3607, 2885), (1_000_000, 86_400)] {
            let token = Token { text: String::new(), issued: at(0), expires: at(life) };
            assert!(!token.is_to_be_renewed(at(renewed_at - 1)), "{life}");
            assert!(token.is_to_be_renewed(at(renewed_at)), "{life}");
        }
    }

    /// An API server that knows one thing.
    fn server(answer: serde_json::Value, code: u16) -> (kube::Client, Arc<Mutex<Vec<String>>>) {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let noted = asked.clone();
        let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            let (noted, answer) = (noted.clone(), answer.clone());
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect_bytes().await.unwrap();
                let line = format!("{} {} {}", head.method, head.uri, String::from_utf8_lossy(&body));
                noted.lock().unwrap().push(line);
                let body = kube::client::Body::from(answer.to_string().into_bytes());
                Ok::<_, std::io::Error>(http::Response::builder().status(code).body(body).unwrap())
            }
        });
        (kube::Client::new(service, "default"), asked)
    }

    fn pod() -> Pod {
        let sources = json!([{"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}}]);
        let volumes = json!([{"name": "t", "projected": {"sources": sources}}]);
        serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "shop", "uid": "u-1"},
            "spec": {"containers": [], "serviceAccountName": "clerk", "volumes": volumes},
        }))
        .unwrap()
    }

    #[tokio::test]
    async fn a_token_is_bound_to_its_pod_and_renewed_when_old() {
        let (client, asked) = server(
            json!({
                "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "metadata": {},
                "spec": {"audiences": ["x"]},
                "status": {"token": "abc", "expirationTimestamp": "1970-01-01T01:00:07Z"},
            }),
            201,
        );
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        let wanted = &Wanted::of_volumes(pod().spec.as_ref().unwrap())[0];
        let mut tokens = Tokens::default();
        tokens.renew(&client, &pod(), at(0)).await;
        tokens.renew(&client, &pod(), at(2000)).await;
        assert_eq!(tokens.get(wanted).unwrap(), "abc");
        tokens.renew(&client, &pod(), at(2900)).await;
        let asked = asked.lock().unwrap();
        assert_eq!(asked.len(), 2, "a good token is kept");
        insta::assert_snapshot!(asked[0], @r#"POST /api/v1/namespaces/shop/serviceaccounts/clerk/token? {"apiVersion":"authentication.k8s.io/v1","kind":"TokenRequest","metadata":{},"spec":{"boundObjectRef":{"apiVersion":"v1","kind":"Pod","name":"web","uid":"u-1"},"expirationSeconds":3607}}"#);
    }

    #[tokio::test]
    async fn a_refusal_is_told_and_a_good_token_outlives_it() {
        let refusal = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": "serviceaccounts \"clerk\" not found", "reason": "NotFound", "code": 404,
        });
        let (client, _) = server(refusal, 404);
        let wanted = &Wanted::of_volumes(pod().spec.as_ref().unwrap())[0];
        let mut tokens = Tokens::default();
        tokens.renew(&client, &pod(), Timestamp::UNIX_EPOCH).await;
        insta::assert_snapshot!(tokens.get(wanted).unwrap_err(), @r#"failed to fetch token: serviceaccounts "clerk" not found"#);
        let mut good = Tokens::of_test("good");
        let token = good.0.values_mut().next().unwrap().as_mut().unwrap();
        token.expires = Timestamp::from_second(3600).unwrap();
        good.renew(&client, &pod(), Timestamp::from_second(3000).unwrap()).await;
        assert_eq!(good.get(wanted), Ok("good"));
        good.renew(&client, &pod(), Timestamp::from_second(3601).unwrap()).await;
        assert!(good.get(wanted).is_err(), "a token that is over is none");
    }

    #[test]
    fn each_kind_of_token_is_asked_for_once() {
        let source = |audience: &str| json!({"serviceAccountToken": {"audience": audience, "path": "t"}});
        let spec = json!({"containers": [], "volumes": [
            {"name": "a", "projected": {"sources": [source(""), source("bank")]}},
            {"name": "b", "projected": {"sources": [source(""), {"secret": {"name": "s"}}]}},
        ]});
        let wanted = Wanted::of_volumes(&serde_json::from_value(spec).unwrap());
        let audiences: Vec<&str> = wanted.iter().map(|wanted| wanted.audience.as_str()).collect();
        assert_eq!((audiences, wanted[0].seconds), (vec!["", "bank"], DEFAULT_LIFE));
    }
}
