//! Service accounts' tokens: JSON Web Tokens with upstream's claims, signed by a key of this server's own (ES256).
//!
//! A token is believed as long as its time runs and its signature is right; whether the account and the Pod that it
//! speaks of still exist is asked elsewhere (`authentication`). Any other algorithm, `none` among them, is refused: the
//! header of a token is data of a stranger.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use jiff::Timestamp;
use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, UnparsedPublicKey,
};
use serde::{Deserialize, Serialize};

/// Who signs, and for whom: upstream's default for a cluster of this name.
pub(crate) const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

const ALGORITHM: &str = "ES256";
/// How far this machine's clock may have been set back since a token was made.
const LEEWAY: i64 = 60;
/// No token of this server comes near this length.
const LONGEST: usize = 8 << 10;

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claims {
    pub(crate) aud: Vec<String>,
    pub(crate) exp: i64,
    pub(crate) iat: i64,
    pub(crate) iss: String,
    pub(crate) jti: String,
    #[serde(rename = "kubernetes.io")]
    pub(crate) bound: Bound,
    pub(crate) nbf: i64,
    pub(crate) sub: String,
}

/// What a token is bound to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Bound {
    pub(crate) namespace: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) node: Option<Reference>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pod: Option<Reference>,
    pub(crate) serviceaccount: Reference,
}

/// An object that had this name and was this one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reference {
    pub(crate) name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) uid: String,
}

#[derive(Serialize, Deserialize)]
struct Header {
    alg: String,
    kid: String,
}

/// The key that signs tokens, and tells which it signed.
pub(crate) struct TokenKey {
    pair: EcdsaKeyPair,
    random: SystemRandom,
    id: String,
}

impl TokenKey {
    /// From PKCS#8; fails for a key of another kind.
    pub(crate) fn new(key: &[u8]) -> Result<Self, String> {
        let random = SystemRandom::new();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key, &random)
            .map_err(|error| format!("the key of the service accounts' tokens is of no use: {error}"))?;
        let id = BASE64.encode(digest(&SHA256, pair.public_key().as_ref()));
        Ok(Self { pair, random, id })
    }

    /// `None` where the machine has no randomness to give.
    pub(crate) fn sign(&self, claims: &Claims) -> Option<String> {
        let header = Header { alg: ALGORITHM.to_owned(), kid: self.id.clone() };
        let header = BASE64.encode(serde_json::to_vec(&header).ok()?);
        let payload = BASE64.encode(serde_json::to_vec(claims).ok()?);
        let signed = format!("{header}.{payload}");
        let signature = self.pair.sign(&self.random, signed.as_bytes()).ok()?;
        Some(format!("{signed}.{}", BASE64.encode(signature)))
    }

    /// What a token says, where this key signed it and its time runs.
    pub(crate) fn verify(&self, token: &str, now: Timestamp) -> Option<Claims> {
        if token.len() > LONGEST {
            return None;
        }
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, payload) = signed.split_once('.')?;
        let header: Header = serde_json::from_slice(&BASE64.decode(header).ok()?).ok()?;
        if header.alg != ALGORITHM || header.kid != self.id {
            return None;
        }
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.pair.public_key().as_ref())
            .verify(signed.as_bytes(), &BASE64.decode(signature).ok()?)
            .ok()?;
        let claims: Claims = serde_json::from_slice(&BASE64.decode(payload).ok()?).ok()?;
        let now = now.as_second();
        let holds = claims.iss == ISSUER && now < claims.exp && claims.nbf <= now + LEEWAY;
        holds.then_some(claims)
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    fn key() -> TokenKey {
        TokenKey::new(rcgen::KeyPair::generate().unwrap().serialized_der()).unwrap()
    }

    fn claims(now: Timestamp) -> Claims {
        let named = |name: &str| Reference { name: name.to_owned(), uid: format!("uid-of-{name}") };
        Claims {
            aud: vec![ISSUER.to_owned()],
            exp: now.as_second() + 600,
            iat: now.as_second(),
            iss: ISSUER.to_owned(),
            jti: "1".to_owned(),
            bound: Bound {
                namespace: "a".to_owned(),
                node: None,
                pod: Some(named("eater")),
                serviceaccount: named("default"),
            },
            nbf: now.as_second(),
            sub: "system:serviceaccount:a:default".to_owned(),
        }
    }

    #[test]
    fn a_token_says_what_was_signed_while_its_time_runs() {
        let (key, now) = (key(), Timestamp::now());
        let token = key.sign(&claims(now)).unwrap();
        let at = |seconds| now + SignedDuration::from_secs(seconds);
        assert_eq!(key.verify(&token, now), Some(claims(now)));
        assert!(key.verify(&token, at(599)).is_some());
        assert!(key.verify(&token, at(600)).is_none(), "it has run out");
        assert!(key.verify(&token, at(-60)).is_some(), "the clock was set back a little");
        assert!(key.verify(&token, at(-61)).is_none(), "it is of the future");
    }

    #[test]
    fn claims_are_upstreams() {
        let token = key().sign(&claims(Timestamp::from_second(1_000_000).unwrap())).unwrap();
        let payload = BASE64.decode(token.split('.').nth(1).unwrap()).unwrap();
        insta::assert_snapshot!(String::from_utf8(payload).unwrap(), @r#"{"aud":["https://kubernetes.default.svc.cluster.local"],"exp":1000600,"iat":1000000,"iss":"https://kubernetes.default.svc.cluster.local","jti":"1","kubernetes.io":{"namespace":"a","pod":{"name":"eater","uid":"uid-of-eater"},"serviceaccount":{"name":"default","uid":"uid-of-default"}},"nbf":1000000,"sub":"system:serviceaccount:a:default"}"#);
    }

    #[test]
    fn nothing_else_is_believed() {
        let (key, now) = (key(), Timestamp::now());
        let token = key.sign(&claims(now)).unwrap();
        let [header, payload, signature] = token.split('.').collect::<Vec<_>>()[..] else { panic!() };
        let none = BASE64.encode(format!(r#"{{"alg":"none","kid":"{}"}}"#, key.id));
        let hmac = BASE64.encode(format!(r#"{{"alg":"HS256","kid":"{}"}}"#, key.id));
        let mut greedy = claims(now);
        greedy.exp += 1_000_000;
        let greedy = BASE64.encode(serde_json::to_vec(&greedy).unwrap());
        for forged in [
            format!("{header}.{greedy}.{signature}"),
            format!("{none}.{payload}."),
            format!("{none}.{payload}.{signature}"),
            format!("{hmac}.{payload}.{signature}"),
            format!("{header}.{payload}."),
            format!("{header}.{payload}"),
            format!("{token}."),
            format!("{token}x"),
            token[..token.len() - 4].to_owned(),
            String::new(),
            "..".to_owned(),
            "x".repeat(LONGEST + 1),
        ] {
            assert!(key.verify(&forged, now).is_none(), "{forged:.80}");
        }
        let other = TokenKey::new(rcgen::KeyPair::generate().unwrap().serialized_der()).unwrap();
        assert!(other.verify(&token, now).is_none(), "another key signed it");
        let mut foreign = claims(now);
        foreign.iss = "https://elsewhere".to_owned();
        assert!(key.verify(&key.sign(&foreign).unwrap(), now).is_none(), "another issuer");
    }
}
