//! Warnings travel in `Warning` headers, as `299 - "text"` (RFC 7234, and client-go's `net/http` helpers).

use http::{HeaderMap, HeaderValue, header};

/// The texts of a response's warnings, in order. Works for the answers of any Kubernetes API server.
///
/// The typed calls of `kube` drop a response's headers. To see the warnings of a create, send the request as it is:
///
/// ```
/// # async fn example(client: kube::Client, pod: Vec<u8>) -> Result<(), Box<dyn std::error::Error>> {
/// let request = http::Request::post("/api/v1/namespaces/default/pods?fieldValidation=Strict")
///     .header("content-type", "application/json")
///     .body(kube::client::Body::from(pod))?;
/// let response = client.send(request).await?;
/// for warning in memlet_apiserver::warnings(response.headers()) {
///     eprintln!("warning: {warning}");
/// }
/// // The body is the object on 201, and otherwise a `Status`.
/// let _ = (response.status(), response.into_body().collect_bytes().await?);
/// # Ok(())
/// # }
/// ```
pub fn warnings(headers: &HeaderMap) -> Vec<String> {
    headers.get_all(header::WARNING).iter().filter_map(from_header).collect()
}

/// `None` where the text cannot stand in a header at all.
pub(crate) fn to_header(text: &str) -> Option<HeaderValue> {
    let text: String = text.chars().filter(|letter| !letter.is_control()).collect();
    let quoted = text.replace('\\', r"\\").replace('"', "\\\"");
    HeaderValue::from_bytes(format!("299 - \"{quoted}\"").as_bytes()).ok()
}

fn from_header(value: &HeaderValue) -> Option<String> {
    let text = std::str::from_utf8(value.as_bytes()).ok()?;
    let (_, quoted) = text.split_once('"')?;
    let mut plain = String::with_capacity(quoted.len());
    let mut letters = quoted.chars();
    loop {
        match letters.next()? {
            '"' => return Some(plain),
            '\\' => plain.push(letters.next()?),
            letter => plain.push(letter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_comes_back_as_it_was() {
        let mut headers = HeaderMap::new();
        let texts = [r#"unknown field "spec.foo""#, r"back\slash", "ünïcode"];
        for text in texts {
            headers.append(header::WARNING, to_header(text).unwrap());
        }
        assert_eq!(headers.get(header::WARNING).unwrap(), r#"299 - "unknown field \"spec.foo\"""#);
        assert_eq!(warnings(&headers), texts);
    }
}
