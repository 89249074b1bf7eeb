use proptest::prelude::*;

use super::*;

fn key(url: &str) -> Result<(String, String), String> {
    match Address::parse(url) {
        Ok(Address::Key { store, key, .. }) => Ok((store, key)),
        Ok(other) => Err(format!("{other:?}")),
        Err(refused) => Err(refused.to_string()),
    }
}

fn sent(url: &str) -> Result<String, String> {
    match Address::parse(url) {
        Ok(Address::Web(address)) => Ok(address.target),
        Ok(other) => Err(format!("{other:?}")),
        Err(refused) => Err(refused.to_string()),
    }
}

#[test]
fn a_key_is_what_stands_behind_the_bucket() {
    for (url, expected) in [
        ("s3://b/a/b%20c", "a/b c"),
        ("s3://b/a b ", "a b "),
        ("s3://b//a", "/a"),
        ("s3://b/a//b", "a//b"),
        ("s3://b/a/%2Fb", "a//b"),
        ("s3://b/%2Fa", "/a"),
        ("s3://b/a/", "a/"),
        ("s3://b/a\nb\tc", "a\nb\tc"),
        ("s3://b/a%0Ab%00", "a\nb\0"),
        ("s3://b/a\\b", "a\\b"),
        ("s3://b/%252e%252E", "%2e%2E"),
        ("s3://b/100%", "100%"),
        ("s3://b/%zz", "%zz"),
        ("s3://b/ü%C3%BC", "üü"),
        ("s3://b/a+b&c=d%3F%23", "a+b&c=d?#"),
        ("s3://b/...", "..."),
        ("S3://b/x", "x"),
        ("gs://b/a//b", "a//b"),
        ("az://c/a//b", "a//b"),
    ] {
        assert_eq!(key(url).unwrap().1, expected, "{url}");
    }
}

#[test]
fn a_bucket_is_part_of_the_host_or_of_the_path() {
    for (url, store) in [
        (
            "https://bucket.s3.eu-central-1.amazonaws.com/a/b",
            "https://bucket.s3.eu-central-1.amazonaws.com/",
        ),
        (
            "https://s3.eu-central-1.amazonaws.com/bucket/a/b",
            "https://s3.eu-central-1.amazonaws.com/bucket/",
        ),
        (
            "https://account.blob.core.windows.net/container/a/b",
            "https://account.blob.core.windows.net/container/",
        ),
        ("abfss://c@account.dfs.core.windows.net/a/b", "abfss://c@account.dfs.core.windows.net/"),
        ("gs://bucket/a/b", "gs://bucket/"),
    ] {
        assert_eq!(key(url).unwrap(), (store.to_owned(), "a/b".to_owned()), "{url}");
    }
}

#[test]
fn what_would_be_resolved_on_the_way_is_refused_with_what_would_come() {
    for (url, instead) in [
        ("s3://b/a/../b2", "write s3://b/b2 "),
        ("s3://b/../b2", "write s3://b/b2 "),
        ("s3://b/a/./b", "write s3://b/a/b "),
        ("s3://b/a/%2E%2e/b", "write s3://b/b "),
        ("s3://b/a/.%2E%2Fb", "write s3://b/b "),
        ("gs://b/a/..", "write gs://b/ "),
        ("https://b.s3.us-east-1.amazonaws.com/a/../c", "amazonaws.com/c "),
        ("http://h:1/a/../b", "write http://h:1/b "),
        ("http://h:1/a/%2e%2E/b?c", "write http://h:1/b "),
    ] {
        let refused = key(url).unwrap_err();
        assert!(refused.contains("the part `.") && refused.contains(instead), "{url}: {refused}");
    }
}

#[test]
fn a_web_address_is_sent_as_written() {
    for (url, expected) in [
        ("http://h/x/a%2Fb", "/x/a%2Fb"),
        ("http://h/x//a/", "/x//a/"),
        ("http://h/a?b=c%2F&d=../e", "/a?b=c%2F&d=../e"),
        ("http://h?b", "/?b"),
        ("http://h/a b\\c\nd\"e|f{ü}", "/a%20b%5Cc%0Ad%22e%7Cf%7B%C3%BC%7D"),
        ("https://b.s3.us-east-1.amazonaws.com/k?X-Amz-Signature=f", "/k?X-Amz-Signature=f"),
        ("https://a.blob.core.windows.net/c/b?sv=1&sig=x%3D", "/c/b?sv=1&sig=x%3D"),
    ] {
        assert_eq!(sent(url).unwrap(), expected, "{url}");
    }
}

#[test]
fn user_and_password_make_a_header_and_are_shown_nowhere() {
    let Ok(Address::Web(address)) = Address::parse("http://Aladdin:open%20sesame@h/a") else {
        panic!("it is an address");
    };
    assert_eq!(address.origin, "http://h/");
    let header = address.authorization.as_ref().unwrap();
    assert_eq!(header.to_str().unwrap(), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
    assert!(header.is_sensitive());
    assert!(!format!("{address:?}").contains("QWxh"));
    assert!(key("s3://AK:secret@b/k").unwrap_err().contains("has no user"));
}

#[test]
fn what_is_not_sent_is_refused() {
    for (url, part, instead) in [
        ("s3://b/what?", "`?`", "%3F"),
        ("s3://b/k?X-Amz-Signature=secret", "`?X-Amz-Signature=***`", "%3F"),
        ("s3://b/a#?", "`#?`", "%23"),
        ("http://h/a#b", "`#b`", "%23"),
        ("http://h/a#token=secret", "`#token=***`", "%23"),
        ("file:///tmp/a#b", "`#b`", "%23"),
    ] {
        let refused = Address::parse(url).map(|_| ()).unwrap_err().to_string();
        assert!(refused.contains(part) && refused.contains(instead), "{url}: {refused}");
    }
    assert!(key("s3://b/%ff").unwrap_err().contains("UTF-8"));
    assert!(key("ftp://h/a").is_err() && key("s3://b\n/a").is_err() && key("http:///a").is_err());
}

#[test]
fn a_url_without_its_slashes_is_no_file() {
    for url in ["http:/h/a", "https:h/a", "s3//b/k", "file:/tmp/a", "me:pw@h/a", "HTTP:/me:pw@h"] {
        let refused = Address::parse(url).map(|_| ()).unwrap_err().to_string();
        assert!(refused.contains("without ://") && !refused.contains("pw"), "{url}: {refused}");
    }
    for path in ["./http:/h/a", "./me:pw@h", "http/a", "s3", "10:00/a@b"] {
        assert!(matches!(Address::parse(path), Ok(Address::File(_))), "{path}");
    }
}

#[test]
fn a_spelled_key_is_read_back() {
    for key in [
        "a",
        "a/b c",
        "/a",
        "//",
        "/",
        "a//b",
        "a/",
        "a///b//",
        "\n",
        "a\u{7f}/%41%",
        "%2F/%252F",
        "ü/",
        "/%00\0",
    ] {
        let path = spelled(key);
        let encoded = utf8_percent_encode(path.as_ref(), NON_ALPHANUMERIC).to_string();
        let sent = sent_path(&encoded).unwrap();
        let plain_key = plain(key).is_some();
        let read = percent_decode_str(&sent).decode_utf8().unwrap().into_owned();
        // A plain key isn't escaped, and isn't read back by the client of spelled keys.
        assert!(plain_key || read == key, "{key:?}: {path}, {sent}");
    }
}

#[test]
fn a_file_is_found_by_any_name() {
    let file = |url: &str| match Address::parse(url) {
        Ok(Address::File(path)) => path,
        other => panic!("{url}: {other:?}"),
    };
    assert_eq!(file("file:///tmp/a%0Ab%20c"), PathBuf::from("/tmp/a\nb c"));
    assert_eq!(file("/tmp//./a?#%41"), PathBuf::from("/tmp/a?#%41"));
    assert_eq!(file("file://localhost/tmp/%ff").as_os_str().as_encoded_bytes(), b"/tmp/\xff");
    assert!(Address::parse("/tmp/").is_err() && Address::parse("file:///tmp/").is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 4096, ..ProptestConfig::default() })]

    /// Whatever stands behind the bucket is refused, or is the key that the request has.
    #[test]
    fn any_text_is_refused_or_sent_as_that_key(raw in "[a.%/2eEfF\\\\?# \t\nü]{0,12}") {
        let Ok(Address::Key { key, .. }) = Address::parse(&format!("s3://b/{raw}")) else {
            return Ok(());
        };
        let decoded = percent_decode_str(&raw).decode_utf8().unwrap();
        prop_assert_eq!(&*key, &*decoded);
        prop_assert!(!key.split('/').any(|part| part == "." || part == ".."));
        let path = spelled(&key);
        // As the client of this store encodes it, and then as its connector does.
        let once = utf8_percent_encode(path.as_ref(), NON_ALPHANUMERIC).to_string();
        let sent = if plain(&key).is_some() { once } else { sent_path(&once).unwrap() };
        // As the HTTP client reads it, and the server decodes it.
        let url = Url::parse(&format!("http://h/{sent}")).unwrap();
        let arrived = percent_decode_str(&url.path()[1..]).decode_utf8().unwrap();
        prop_assert_eq!(&*arrived, &*key);
    }

    #[test]
    fn any_text_is_an_address_or_refused(text in "(s3|gs|az|http|https|file|memory|x)?(:/{0,3})?[a.@:/%2f?#\\[\\]\\\\ \u{0}ü]{0,20}") {
        let _ = Address::parse(&text);
        let shown = crate::redact(&text);
        prop_assert!(!shown.chars().any(char::is_control));
    }

    #[test]
    fn a_web_address_arrives_as_it_was_written(target in "[a.%2eEfF\\\\/?& =+;:@!$'()*,~\\-_|^`{}<>\"\t\nü]{1,16}") {
        let Ok(Address::Web(address)) = Address::parse(&format!("http://h/{target}")) else {
            return Ok(());
        };
        let url = Url::parse(&format!("http://h{}", address.target)).unwrap();
        let sent = &url[url::Position::BeforePath..];
        // The HTTP client encodes quotation marks in a query.
        prop_assert_eq!(sent.replace("%27", "'"), address.target.replace("%27", "'"));
        let arrived: Vec<u8> = percent_decode_str(sent).collect();
        let written: Vec<u8> = percent_decode_str(&target).collect();
        prop_assert_eq!(&arrived[1..], &written[..]);
    }
}
