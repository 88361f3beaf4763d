//! The options of lists and watches, and which of them go together (apimachinery's `ValidateListOptions`).

use super::options::Query;
use crate::error::ApiError;
use crate::field::{FieldErrors, FieldPath};

/// What a list or a watch is to show.
#[derive(Clone, Debug, Default)]
pub(crate) struct ListOptions {
    pub(crate) labels: Option<String>,
    pub(crate) fields: Option<String>,
    pub(crate) watch: bool,
    pub(crate) bookmarks: bool,
    /// Whether a watch begins with the present objects; `None` leaves it to the revision.
    pub(crate) initial_events: Option<bool>,
    /// `None` where unset; 0 means any.
    pub(crate) revision: Option<u64>,
    pub(crate) revision_match: Option<RevisionMatch>,
    pub(crate) timeout_seconds: Option<u64>,
    pub(crate) limit: Option<usize>,
    pub(crate) resume: Option<String>,
}

/// What a stated revision means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RevisionMatch {
    Exact,
    NotOlderThan,
}

impl ListOptions {
    pub(crate) fn parse(query: &Query) -> Result<Self, ApiError> {
        let own = |name: &str| query.get(name).map(str::to_owned);
        let options = Self {
            labels: own("labelSelector"),
            fields: own("fieldSelector"),
            watch: query.flag("watch"),
            bookmarks: query.flag("allowWatchBookmarks"),
            initial_events: query.get("sendInitialEvents").map(|_| query.flag("sendInitialEvents")),
            revision: match query.get("resourceVersion") {
                None => None,
                Some(text) => Some(text.parse().map_err(|_| {
                    ApiError::bad_request(format!(
                        "invalid resource version {text:?}: must be a decimal integer"
                    ))
                })?),
            },
            revision_match: match query.get("resourceVersionMatch") {
                Some("Exact") => Some(RevisionMatch::Exact),
                Some("NotOlderThan") => Some(RevisionMatch::NotOlderThan),
                _ => None,
            },
            timeout_seconds: query.number("timeoutSeconds")?,
            limit: query.number("limit")?.filter(|limit| *limit > 0),
            resume: own("continue"),
        };
        let mut errors = FieldErrors::default();
        let stated = query.get("resourceVersionMatch");
        if options.watch {
            options.check_watch(stated, &mut errors);
        } else {
            options.check_list(stated, &mut errors);
        }
        if !errors.is_empty() {
            return Err(ApiError::invalid("ListOptions", "", errors));
        }
        if options.resume.is_some() && options.revision.is_some_and(|revision| revision > 0) {
            let why = "specifying resource version is not allowed when using continue";
            return Err(ApiError::bad_request(why));
        }
        Ok(options)
    }

    fn check_list(&self, stated: Option<&str>, errors: &mut FieldErrors) {
        let path = FieldPath::new("resourceVersionMatch");
        if let Some(stated) = stated {
            if self.revision.is_none() {
                let detail = "resourceVersionMatch is forbidden unless resourceVersion is provided";
                errors.forbidden(&path, detail);
            }
            if self.resume.is_some() {
                errors.forbidden(&path, "resourceVersionMatch is forbidden when continue is provided");
            }
            if self.revision_match.is_none() {
                errors.not_supported(&path, stated, &["Exact", "NotOlderThan", ""]);
            }
            if self.revision_match == Some(RevisionMatch::Exact) && self.revision == Some(0) {
                let detail = r#"resourceVersionMatch "exact" is forbidden for resourceVersion "0""#;
                errors.forbidden(&path, detail);
            }
        }
        if self.initial_events.is_some() {
            let path = FieldPath::new("sendInitialEvents");
            errors.forbidden(&path, "sendInitialEvents is forbidden for list");
        }
    }

    fn check_watch(&self, stated: Option<&str>, errors: &mut FieldErrors) {
        let path = FieldPath::new("resourceVersionMatch");
        if self.initial_events.is_some() && self.revision_match != Some(RevisionMatch::NotOlderThan) {
            let detail = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
            errors.forbidden(&path, detail);
        }
        let Some(stated) = stated else { return };
        if self.initial_events.is_none() {
            let detail = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
            errors.forbidden(&path, detail);
        }
        if self.revision_match != Some(RevisionMatch::NotOlderThan) {
            errors.not_supported(&path, stated, &["NotOlderThan"]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_options_go_together() {
        let forbidden = |detail: &str| Some(format!("resourceVersionMatch: Forbidden: {detail}"));
        for (query, expected) in [
            ("resourceVersion=5&resourceVersionMatch=Exact", None),
            ("resourceVersion=0&resourceVersionMatch=NotOlderThan", None),
            (
                "resourceVersionMatch=Exact",
                forbidden("resourceVersionMatch is forbidden unless resourceVersion is provided"),
            ),
            (
                "resourceVersion=0&resourceVersionMatch=Exact",
                forbidden(r#"resourceVersionMatch "exact" is forbidden for resourceVersion "0""#),
            ),
            (
                "sendInitialEvents=false",
                Some("sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list".to_owned()),
            ),
            ("watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan", None),
            (
                "watch=1&sendInitialEvents=true",
                forbidden("sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"),
            ),
            (
                "watch=1&resourceVersionMatch=NotOlderThan",
                forbidden("resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"),
            ),
        ] {
            let refused = ListOptions::parse(&Query::parse(query)).err();
            let refused = refused.and_then(|error| error.status().message.clone());
            let expected = expected.map(|detail| format!(r#"ListOptions "" is invalid: {detail}"#));
            assert_eq!(refused, expected, "{query}");
        }
    }
}
