//! The parameters after a request's `?`.

use std::str::FromStr;

use super::Refusal;

#[derive(Debug, Default)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn parse(text: Option<&str>) -> Self {
        Self(form_urlencoded::parse(text.unwrap_or_default().as_bytes()).into_owned().collect())
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Present is true, unless it says `false` or `0`.
    pub(super) fn flag(&self, name: &str) -> bool {
        self.all(name).any(|value| !matches!(value, "false" | "0"))
    }

    pub(super) fn number<T: FromStr>(&self, name: &str) -> Result<Option<T>, Refusal> {
        let refuse = |text: &str| Refusal::bad_request(format!("{name}: {text:?} is no number"));
        self.get(name).map(|text| text.parse().map_err(|_| refuse(text))).transpose()
    }
}
