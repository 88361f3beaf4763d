//! The `Accept` header: which forms of an answer a client can read, the best first.

use http::{HeaderMap, header};

/// One form that a client accepts: `application/json;as=Table;v=v1;g=meta.k8s.io`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct MediaRange<'a> {
    media_type: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
    /// In thousandths.
    quality: u16,
}

impl MediaRange<'_> {
    /// Whether JSON is in this range.
    pub(crate) fn is_json(&self) -> bool {
        matches!(self.media_type, "application/json" | "application/*" | "*/*")
    }

    pub(crate) fn media_type(&self) -> &str {
        self.media_type
    }

    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(key, _)| *key == name).map(|(_, value)| *value)
    }
}

/// What the client accepts, the best first. No header, and an empty one, accept everything.
pub(crate) fn accepted(headers: &HeaderMap) -> Vec<MediaRange<'_>> {
    let stated: Vec<&str> = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .filter(|text| !text.trim().is_empty())
        .collect();
    if stated.is_empty() && headers.get_all(header::ACCEPT).iter().all(|value| value.to_str().is_ok()) {
        return vec![MediaRange { media_type: "*/*", parameters: Vec::new(), quality: 1000 }];
    }
    let mut ranges: Vec<MediaRange<'_>> =
        stated.iter().flat_map(|text| text.split(',')).filter_map(range).collect();
    ranges.sort_by_key(|range| std::cmp::Reverse(range.quality));
    ranges
}

/// `None` for what the client refuses (quality 0) or what is no media range.
fn range(text: &str) -> Option<MediaRange<'_>> {
    let mut parts = text.split(';').map(str::trim);
    let media_type = parts.next().filter(|media_type| media_type.contains('/'))?;
    let parameters: Vec<(&str, &str)> = parts
        .filter_map(|part| part.split_once('='))
        .map(|(key, value)| (key.trim(), value.trim().trim_matches('"')))
        .collect();
    let quality =
        parameters.iter().find(|(key, _)| *key == "q").map_or(1000, |(_, value)| thousandths(value));
    (quality > 0).then_some(MediaRange { media_type, parameters, quality })
}

fn thousandths(text: &str) -> u16 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if whole != "0" {
        return 1000;
    }
    let digits: String = fraction.chars().chain("000".chars()).take(3).collect();
    digits.parse().unwrap_or(1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(header::ACCEPT, http::HeaderValue::from_static(text))])
    }

    #[test]
    fn the_best_form_comes_first() {
        let headers =
            of("application/json;q=0.5, application/yaml; as=\"Table\" ;v=v1,text/*;q=0,*/*;q=0.55,oops");
        let ranges = accepted(&headers);
        let found: Vec<_> =
            ranges.iter().map(|range| (range.media_type(), range.parameter("as"), range.quality)).collect();
        assert_eq!(
            found,
            [("application/yaml", Some("Table"), 1000), ("*/*", None, 550), ("application/json", None, 500),]
        );
    }

    #[test]
    fn nothing_stated_accepts_everything() {
        for headers in [HeaderMap::new(), of(""), of("  ")] {
            assert!(accepted(&headers).iter().any(MediaRange::is_json));
        }
        assert!(accepted(&of("application/vnd.kubernetes.protobuf")).iter().all(|range| !range.is_json()));
    }
}
