use super::*;

fn check(patterns: &[&str], url: &str) -> Result<Endpoint, Failure> {
    Policy::new(patterns).unwrap().check(url)
}

fn refusal(patterns: &[&str], url: &str) -> (String, String) {
    match check(patterns, url) {
        Err(Failure::Config { message, hint }) => (message, hint.unwrap()),
        other => panic!("{url}: {other:?}"),
    }
}

#[test]
fn the_defaults_allow_the_known_providers_and_this_machine() {
    for url in [
        "https://api.openai.com/v1",
        "HTTPS://API.OpenAI.com/v1",
        "https://api.openai.com:443/v1",
        "https://api.voyageai.com/v1",
        "http://localhost:11434",
        "https://localhost",
        "http://127.0.0.1:8080/v1/",
        "http://[::1]:11434",
        "http://[0:0:0:0:0:0:0:1]:11434",
    ] {
        check(&DEFAULT_ALLOWED, url).unwrap();
    }
}

#[test]
fn what_nobody_listed_is_refused_and_the_hint_names_the_setting() {
    for url in [
        "http://api.openai.com/v1",
        "https://api.openai.com:8443/v1",
        "https://api.openai.com.evil.test/v1",
        "https://evilapi.openai.com/v1",
        "https://api.openai.com./v1",
        "https://example.com",
        "http://10.0.0.5:11434",
        "http://169.254.169.254/latest/meta-data",
        "http://0.0.0.0:11434",
        "http://[::]:11434",
        "http://[::ffff:127.0.0.1]:11434",
        "http://[::ffff:169.254.169.254]/",
        "http://127.0.0.2:80",
        "http://localhost.:11434",
        "http://localhost.localdomain:11434",
    ] {
        let (message, hint) = refusal(&DEFAULT_ALLOWED, url);
        assert!(message.contains("not allowed"), "{url}: {message}");
        assert!(hint.contains("autovector.allowed_endpoints"), "{url}: {hint}");
    }
}

#[test]
fn what_a_browser_would_repair_is_refused() {
    let all = ["http://127.0.0.1:*", "http://localhost:*", "http://[::1]:*", "http://169.254.169.254:*"];
    for url in [
        "http://2130706433/",
        "http://0x7f000001/",
        "http://0x7f.0.0.1/",
        "http://0177.0.0.1/",
        "http://127.1/",
        "http://127.0.0.1./",
        "http://127.0.0.01/",
        "http://%31%32%37.0.0.1/",
        "http://loc%61lhost/",
        "http://１２７.0.0.1/",
        "http://127。0。0。1/",
        "http:127.0.0.1/",
        "http:/127.0.0.1/",
        "http:\\\\127.0.0.1/",
        "http://127.0.0.1\\@evil.test/",
        "http://127.0.0.1:/",
        "http://127.0.0.1:0/",
        "http://127.0.0.1:99999/",
        "http://[::1%25lo]/",
        "http://",
        "http:///v1",
        "localhost:11434",
        "127.0.0.1:11434",
        "file:///etc/passwd",
        "ftp://localhost/",
        "gopher://localhost:11434/_x",
        "unix:///tmp/socket",
        "http+unix://%2Ftmp/x",
        "http://local\nhost/",
        "http://local host/",
        "http://user@localhost/",
        "http://user:pass@localhost/",
        "http://:@localhost/",
        "",
    ] {
        let (message, hint) = refusal(&all, url);
        assert!(message.starts_with("the provider's URL cannot be used"), "{url}: {message}");
        assert_eq!(
            message.contains("a user name or a password"),
            url.contains('@') && !url.contains('\\'),
            "{url}"
        );
        assert!(!message.contains("user:pass"), "{message}");
        assert!(!hint.is_empty());
    }
}

#[test]
fn patterns_match_by_scheme_host_and_port() {
    let patterns =
        ["https://*.example.com", "http://ollama.internal:11434", "http://10.0.0.5:*", "https://[fd00::5]"];
    for (url, reach) in [
        ("https://a.example.com/v1", Reach::Public),
        ("https://a.b.EXAMPLE.com", Reach::Public),
        ("http://ollama.internal:11434", Reach::Listed),
        ("http://10.0.0.5:80", Reach::Address("10.0.0.5".parse().unwrap())),
        ("https://[fd00::5]:443", Reach::Address("fd00::5".parse().unwrap())),
    ] {
        assert_eq!(check(&patterns, url).unwrap().reach(), reach, "{url}");
    }
    for url in [
        "https://example.com",
        "https://.example.com",
        "https://notexample.com",
        "https://a.example.com:444",
        "http://a.example.com",
        "http://ollama.internal",
        "http://x.ollama.internal:11434",
        "http://10.0.0.6:80",
        "https://10.0.0.5",
    ] {
        assert!(check(&patterns, url).is_err(), "{url}");
    }
}

#[test]
fn a_name_listed_as_it_is_reaches_further_than_a_wildcard() {
    let both = ["https://*.example.com", "https://a.example.com"];
    assert_eq!(check(&both, "https://a.example.com").unwrap().reach(), Reach::Listed);
    assert_eq!(check(&both, "https://b.example.com").unwrap().reach(), Reach::Public);
}

#[test]
fn link_local_and_unspecified_addresses_stay_forbidden_even_when_listed() {
    for host in
        ["169.254.169.254", "0.0.0.0", "[fe80::1]", "[::]", "255.255.255.255", "[::ffff:169.254.169.254]"]
    {
        let pattern = format!("http://{host}:*");
        let (message, _) = refusal(&[&pattern], &format!("http://{host}/"));
        assert!(message.contains("never allowed"), "{host}: {message}");
    }
}

#[test]
fn which_addresses_each_reach_admits() {
    let cases =
        ["8.8.8.8", "10.0.0.5", "100.64.0.1", "127.0.0.1", "::1", "169.254.169.254", "fd00::5", "0.0.0.0"];
    let table = [
        (Reach::Public, [true, false, false, false, false, false, false, false]),
        (Reach::Listed, [true, true, true, false, false, false, true, false]),
        (Reach::Loopback, [false, false, false, true, true, false, false, false]),
        (
            Reach::Address("10.0.0.5".parse().unwrap()),
            [false, true, false, false, false, false, false, false],
        ),
    ];
    for (reach, expected) in table {
        for (ip, expected) in cases.iter().zip(expected) {
            assert_eq!(reach.admits(ip.parse().unwrap()), expected, "{reach:?} {ip}");
        }
    }
}

#[test]
fn patterns_that_cannot_be_meant_are_refused_by_name() {
    for pattern in [
        "api.openai.com",
        "ftp://host",
        "https://",
        "https://host/v1",
        "https://user@host",
        "https://host:port",
        "https://host:",
        "https://*",
        "https://*.",
        "https://*.*.com",
        "https://a*.com",
        "https://*.10.0.0.1",
        "http://2130706433",
        "http://0x7f.1",
    ] {
        match Policy::new(&[pattern]) {
            Err(Failure::Config { message, hint }) => {
                assert!(message.contains(pattern), "{message}");
                assert!(hint.unwrap().contains(SETTING));
            }
            other => panic!("{pattern}: {other:?}"),
        }
    }
    assert!(Policy::new(&["", "  ", " https://host/ "]).is_ok());
}

#[test]
fn joining_keeps_the_base_path_and_the_query_but_shows_neither() {
    let base = check(&["https://h.test:*"], "https://h.test:8443/openai/v1/?api-version=1#x").unwrap();
    let joined = base.join(&["embeddings"]);
    assert_eq!(joined.url().as_str(), "https://h.test:8443/openai/v1/embeddings?api-version=1");
    assert_eq!(joined.origin(), "https://h.test:8443");
    let bare = check(&["https://h.test"], "https://h.test").unwrap();
    assert_eq!(bare.join(&["api", "embed"]).url().as_str(), "https://h.test/api/embed");
}
