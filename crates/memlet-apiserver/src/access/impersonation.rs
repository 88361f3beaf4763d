//! Acting as somebody else (`kubectl --as`), which administrators may.

use http::HeaderMap;
use percent_encoding::percent_decode_str;

use super::authentication::{ACCOUNT_USER, account_identity};
use super::{Attributes, Identity};
use crate::error::ApiError;

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA: &str = "impersonate-extra-";

/// The identity that the request is to count for. Asking for another's groups or particulars without a name is refused,
/// as is asking at all by anybody but an administrator.
pub(super) fn apply(identity: Identity, headers: &HeaderMap) -> Result<Identity, ApiError> {
    let asked = headers.keys().any(|name| {
        let name = name.as_str();
        matches!(name, USER | GROUP | UID) || name.starts_with(EXTRA)
    });
    if !asked {
        return Ok(identity);
    }
    let Some(user) = text(headers, USER).filter(|user| !user.is_empty()) else {
        return Err(ApiError::bad_request(format!(
            "requested {} without impersonating a user",
            headers
                .keys()
                .find(|name| name.as_str().starts_with("impersonate-"))
                .map_or("", |name| name.as_str())
        )));
    };
    if !identity.is_administrator() {
        let act = Attributes {
            verb: "impersonate".to_owned(),
            resource: "users".to_owned(),
            name: user.to_owned(),
            ..Attributes::default()
        };
        return Err(ApiError::not_permitted(&identity.user, &act));
    }
    Ok(impersonated(user, headers))
}

fn impersonated(user: &str, headers: &HeaderMap) -> Identity {
    let groups: Vec<String> =
        headers.get_all(GROUP).iter().filter_map(|value| value.to_str().ok().map(str::to_owned)).collect();
    let account = user.strip_prefix(ACCOUNT_USER).and_then(|account| account.split_once(':'));
    let mut other = match account {
        // An account's groups follow from its name.
        Some((namespace, name)) if groups.is_empty() => account_identity(namespace, name),
        _ => Identity::of(user, groups),
    };
    text(headers, UID).unwrap_or_default().clone_into(&mut other.uid);
    for (name, value) in headers {
        if let (Some(key), Ok(value)) = (name.as_str().strip_prefix(EXTRA), value.to_str()) {
            let key = percent_decode_str(key).decode_utf8_lossy().into_owned();
            other.extra.entry(key).or_default().push(value.to_owned());
        }
    }
    other
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn an_administrator_acts_as_anybody() {
        let act = |pairs| apply(Identity::own(), &headers(pairs)).unwrap();
        assert_eq!(act(&[]), Identity::own());
        assert_eq!(act(&[(USER, "jane")]), Identity::of("jane", []));
        let of_group = act(&[(USER, "jane"), (GROUP, "dev"), (GROUP, "ops")]);
        assert_eq!(of_group.groups, ["dev", "ops", "system:authenticated"]);
        let account = act(&[(USER, "system:serviceaccount:a:b")]);
        assert_eq!(
            account.groups,
            ["system:serviceaccounts", "system:serviceaccounts:a", "system:authenticated"]
        );
        let more = act(&[(USER, "jane"), (UID, "7"), ("impersonate-extra-a%2fb", "c")]);
        assert_eq!((more.uid.as_str(), &more.extra["a/b"][..]), ("7", &["c".to_owned()][..]));
    }

    #[test]
    fn nobody_else_does() {
        let error = apply(Identity::of("joe", []), &headers(&[(USER, "jane")])).unwrap_err();
        assert_eq!(
            error.status().message.as_deref(),
            Some(
                r#"users "jane" is forbidden: User "joe" cannot impersonate resource "users" in API group "" at the cluster scope"#
            )
        );
        for pairs in [[(GROUP, "system:masters")], [(UID, "1")], [("impersonate-extra-x", "1")], [(USER, "")]]
        {
            let error = apply(Identity::of("joe", []), &headers(&pairs)).unwrap_err();
            assert_eq!(error.code().as_u16(), 400, "{pairs:?}");
        }
    }
}
