//! TLS against a server with a certificate made for the test.

use std::net::{SocketAddr, TcpListener};

use rcgen::{CertificateParams, CertifiedKey, KeyPair};
use rustls::{ServerConfig, ServerConnection, StreamOwned, crypto::ring, pki_types::PrivateKeyDer};

use super::*;

fn certificate(name: &str) -> CertifiedKey<KeyPair> {
    let signing_key = KeyPair::generate().unwrap();
    let cert = CertificateParams::new(vec![name.to_owned()]).unwrap().self_signed(&signing_key).unwrap();
    CertifiedKey { cert, signing_key }
}

/// Answers every request of every connection with `ok`; returns its port.
fn serve(certified: &CertifiedKey<KeyPair>) -> u16 {
    let key = PrivateKeyDer::Pkcs8(certified.signing_key.serialize_der().into());
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let config = config.clone();
            thread::spawn(move || {
                let mut tls = StreamOwned::new(ServerConnection::new(config).unwrap(), stream.unwrap());
                let mut seen = Vec::new();
                let mut block = [0; 4096];
                // An error is a client that has gone, or that did not like the certificate.
                while let Ok(count @ 1..) = tls.read(&mut block) {
                    seen.extend_from_slice(&block[..count]);
                    if seen.ends_with(b"{}") {
                        seen.clear();
                        if tls.write_all(&bytes(200, &[], "ok")).is_err() {
                            return;
                        }
                    }
                }
            });
        }
    });
    port
}

fn trusting(certified: &CertifiedKey<KeyPair>, port: u16) -> Client {
    let endpoint =
        Policy::new(&DEFAULT_ALLOWED).unwrap().check(&format!("https://localhost:{port}")).unwrap();
    let roots = RootCerts::from([Certificate::from_der(certified.cert.der()).to_owned()]);
    let lookup: Lookup = Arc::new(|_, port| Ok(vec![SocketAddr::from(([127, 0, 0, 1], port))]));
    let key = Some(Credential::bearer(Secret::new(KEY)));
    Client::with_parts(endpoint, key, SOON, lookup, Some(roots))
}

#[test]
fn a_trusted_certificate_is_accepted_and_the_connection_is_kept() {
    let certified = certificate("localhost");
    let client = trusting(&certified, serve(&certified));
    for _ in 0..3 {
        assert_eq!(client.post_json(b"{}", CAP).unwrap(), b"ok");
    }
}

#[test]
fn unknown_and_foreign_certificates_are_refused() {
    let certified = certificate("localhost");
    let message =
        request_failure(trusting(&certificate("localhost"), serve(&certified)).post_json(b"{}", CAP));
    assert!(message.contains("TLS") && message.contains("certificate"), "{message}");
    let foreign = certificate("other.test");
    let message = request_failure(trusting(&foreign, serve(&foreign)).post_json(b"{}", CAP));
    assert!(message.contains("TLS") && message.contains("certificate"), "{message}");
}

#[test]
fn a_server_without_tls_or_without_a_word_is_a_request_failure() {
    let certified = certificate("localhost");
    let plain = Server::start(|_| http(200, &[], "ok"));
    let message = request_failure(trusting(&certified, plain.port()).post_json(b"{}", CAP));
    assert!(message.contains("TLS"), "{message}");
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = trusting(&certified, silent.local_addr().unwrap().port());
    client.timeouts.connect = Duration::from_millis(200);
    let start = Instant::now();
    let message = request_failure(client.post_json(b"{}", CAP));
    assert!(message.contains("no TLS handshake") && message.contains("200ms"), "{message}");
    assert!(start.elapsed() < SOON.request);
}
