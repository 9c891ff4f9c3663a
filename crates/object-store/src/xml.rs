//! The few answers that are read by hand, and the one body that is written.

/// The text of the first `<name>` element; entities of the plain kind are resolved.
pub(crate) fn text(xml: &str, name: &str) -> Option<String> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    let (inner, _) = rest.split_once(&format!("</{name}>"))?;
    let plain =
        [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&apos;", "'"), ("&#34;", "\""), ("&amp;", "&")];
    Some(plain.iter().fold(inner.to_owned(), |text, (entity, plain)| text.replace(entity, plain)))
}

/// The insides of every `<name>` element.
pub(crate) fn each<'a>(xml: &'a str, name: &str) -> Vec<&'a str> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    xml.split(&open).skip(1).filter_map(|rest| rest.split_once(&close).map(|(inner, _)| inner)).collect()
}

/// The service's short code in an error's body, if it looks like one.
pub(crate) fn code(body: &[u8]) -> Option<String> {
    let body = std::str::from_utf8(body).ok()?;
    let code = text(body, "Code")?;
    (code.len() <= 64 && code.bytes().all(|b| b.is_ascii_alphanumeric())).then_some(code)
}

/// The body that ends an upload.
pub(crate) fn completion(etags: &[String]) -> String {
    let mut body = String::from("<CompleteMultipartUpload>");
    for (number, etag) in (1..).zip(etags) {
        let etag = etag.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        body.push_str(&format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"));
    }
    body.push_str("</CompleteMultipartUpload>");
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_found_and_codes_are_short() {
        let xml = "<L><U><Key>a&amp;lt;b</Key><Id>1</Id></U><U><Key>c</Key></U></L>";
        let keys: Vec<_> = each(xml, "U").into_iter().map(|u| text(u, "Key").unwrap()).collect();
        assert_eq!(keys, ["a&lt;b", "c"]);
        assert_eq!(text(xml, "Nothing"), None);
        assert_eq!(code(b"<Error><Code>AccessDenied</Code></Error>").as_deref(), Some("AccessDenied"));
        assert_eq!(code(b"<Error><Code>key AKIA 1</Code></Error>"), None);
    }
}
