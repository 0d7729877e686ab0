//! Runs Wycheproof's vectors through the edge's verification: core's key rules and
//! src/js/crypto.js, in node and workerd.

use crate::support::http::client_builder;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_core::{Algorithm, Jwks, KeySource};
use serde_json::{Value, json};
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use wycheproof::{ecdsa, eddsa, mac, rsa_pkcs1_verify as pkcs1, rsa_pss_verify as pss};

struct Case {
    name: String,
    /// Whether the signature is valid; `None` if Wycheproof does not decide that.
    holds: Option<bool>,
    request: Value,
}

#[tokio::test]
async fn wycheproof_vectors_hold_under_node_and_workerd() {
    let (cases, refused) = cases();
    assert!(cases.len() > 2500, "{}", cases.len());
    let folder = Folder::new();
    let requests: Vec<&Value> = cases.iter().map(|case| &case.request).collect();
    let body = serde_json::to_string(&requests).unwrap();
    for (host, verdicts) in
        [("node", under_node(&folder, &body)), ("workerd", in_workerd(&folder, &body).await)]
    {
        let verdicts: Vec<Value> = serde_json::from_str(&verdicts).unwrap();
        assert_eq!(verdicts.len(), cases.len(), "{host}");
        let (mut held, mut not_held) = (0, 0);
        for (case, verdict) in cases.iter().zip(verdicts) {
            // A key that can't be imported verifies nothing.
            let got = verdict == true;
            if let Some(expect) = case.holds {
                assert_eq!(got, expect, "{host}: {}: {verdict}", case.name);
            }
            if got { held += 1 } else { not_held += 1 }
        }
        assert!(held > 500 && not_held > 1000, "{host}: {held} held, {not_held} did not");
        println!(
            "{host}: {held} held, {not_held} did not, {refused} had a key that is refused when loaded"
        );
    }
}

/// Returns all vectors of the edge's algorithms, and how many have a key that is rejected when
/// loaded.
fn cases() -> (Vec<Case>, usize) {
    use ecdsa::TestName as Ec;
    use mac::TestName as Mac;
    use pkcs1::TestName as Rs;
    use pss::TestName as Ps;
    let sets = [
        (Algorithm::EdDsa, eddsa::TestName::Ed25519.json_data()),
        (Algorithm::Es256, Ec::EcdsaSecp256r1Sha256P1363.json_data()),
        (Algorithm::Es384, Ec::EcdsaSecp384r1Sha384P1363.json_data()),
        (Algorithm::Es512, Ec::EcdsaSecp521r1Sha512P1363.json_data()),
        (Algorithm::Hs256, Mac::HmacSha256.json_data()),
        (Algorithm::Hs384, Mac::HmacSha384.json_data()),
        (Algorithm::Hs512, Mac::HmacSha512.json_data()),
        (Algorithm::Ps256, Ps::RsaPss2048Sha256Mgf1SaltLen32.json_data()),
        (Algorithm::Ps256, Ps::RsaPss2048Sha256Mgf1SaltLen0.json_data()),
        (Algorithm::Ps384, Ps::RsaPss2048Sha384Mgf1SaltLen48.json_data()),
        (Algorithm::Ps512, Ps::RsaPss4096Sha512Mgf1SaltLen64.json_data()),
        (Algorithm::Ps512, Ps::RsaPss4096Sha512Mgf1SaltLen32.json_data()),
        (Algorithm::Rs256, Rs::Rsa2048Sha256.json_data()),
        (Algorithm::Rs256, Rs::Rsa4096Sha256.json_data()),
        (Algorithm::Rs384, Rs::Rsa2048Sha384.json_data()),
        (Algorithm::Rs512, Rs::Rsa2048Sha512.json_data()),
    ];
    let (mut cases, mut refused) = (Vec::new(), 0);
    for (algorithm, text) in sets {
        let set: Value = serde_json::from_str(text).unwrap();
        for group in set["testGroups"].as_array().unwrap() {
            // RFC 7518 section 3: a tag has its full length, and the salt is as long as the hash.
            let whole = match algorithm {
                Algorithm::Hs256 | Algorithm::Hs384 | Algorithm::Hs512 => {
                    group["tagSize"] == algorithm_bits(algorithm)
                }
                Algorithm::Ps256 | Algorithm::Ps384 | Algorithm::Ps512 => {
                    group["sLen"] == algorithm_bits(algorithm) / 8
                }
                _ => true,
            };
            for test in group["tests"].as_array().unwrap() {
                let set = json!({ "keys": [jwk(algorithm, group, test)] }).to_string();
                let (jwks, _) = Jwks::parse(&set, &[algorithm], KeySource::Secret).unwrap();
                let Some(key) = jwks.keys().first() else {
                    refused += 1;
                    continue;
                };
                let comment = test["comment"].as_str().unwrap();
                let signature = if test["sig"].is_string() { &test["sig"] } else { &test["tag"] };
                cases.push(Case {
                    name: format!("{} {} {}", algorithm.name(), test["tcId"], test["comment"]),
                    holds: match test["result"].as_str().unwrap() {
                        "valid" => Some(whole),
                        // In a group with another salt length, the changed length may be
                        // correct.
                        "invalid" if !whole && comment.starts_with("s_len changed") => None,
                        "invalid" => Some(false),
                        _ => None,
                    },
                    request: json!({
                        "algorithm": algorithm.name(), "jwk": key.jwk, "message": test["msg"],
                        "signature": signature,
                    }),
                });
            }
        }
    }
    (cases, refused)
}

fn algorithm_bits(algorithm: Algorithm) -> u64 {
    algorithm.name()[2..].parse().unwrap()
}

/// Returns the key of a group, or of a test that has its own.
fn jwk(algorithm: Algorithm, group: &Value, test: &Value) -> Value {
    let key = &group["publicKey"];
    // ASN.1's leading zero is removed from a number, and a coordinate is padded to its curve's
    // length.
    let number = |hex: &Value, bytes: usize| {
        let number = unhex(hex.as_str().unwrap());
        let number: Vec<u8> = number.into_iter().skip_while(|byte| *byte == 0).collect();
        let mut padded = vec![0; bytes.saturating_sub(number.len())];
        padded.extend(number);
        URL_SAFE_NO_PAD.encode(padded)
    };
    match algorithm {
        Algorithm::EdDsa => {
            let x = URL_SAFE_NO_PAD.encode(unhex(key["pk"].as_str().unwrap()));
            json!({ "kty": "OKP", "crv": "Ed25519", "x": x })
        }
        Algorithm::Es256 | Algorithm::Es384 | Algorithm::Es512 => {
            let (crv, bytes) = match algorithm {
                Algorithm::Es256 => ("P-256", 32),
                Algorithm::Es384 => ("P-384", 48),
                _ => ("P-521", 66),
            };
            let (x, y) = (number(&key["wx"], bytes), number(&key["wy"], bytes));
            json!({ "kty": "EC", "crv": crv, "x": x, "y": y })
        }
        Algorithm::Hs256 | Algorithm::Hs384 | Algorithm::Hs512 => {
            let secret = URL_SAFE_NO_PAD.encode(unhex(test["key"].as_str().unwrap()));
            json!({ "kty": "oct", "k": secret })
        }
        _ => {
            let (n, e) = (number(&key["modulus"], 0), number(&key["publicExponent"], 0));
            json!({ "kty": "RSA", "n": n, "e": e })
        }
    }
}

fn unhex(text: &str) -> Vec<u8> {
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// The two modules, in a folder that is deleted after the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("portcullis-vectors-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        for (from, to) in
            [("src/js/crypto.js", "crypto.js"), ("tests/e2e/vectors.mjs", "vectors.mjs")]
        {
            std::fs::copy(format!("{ROOT}/{from}"), folder.join(to)).unwrap();
        }
        std::fs::write(folder.join("package.json"), r#"{"type":"module"}"#).unwrap();
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn under_node(folder: &Folder, body: &str) -> String {
    let mut node = Command::new(format!("{ROOT}/node_modules/.bin/node"))
        .args(["vectors.mjs", "--stdin"])
        .current_dir(&folder.0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = node.stdin.take().unwrap();
    let body = body.to_owned();
    let writer = std::thread::spawn(move || input.write_all(body.as_bytes()));
    let output = node.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

async fn in_workerd(folder: &Folder, body: &str) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let config = format!(
        "using Workerd = import \"/workerd/workerd.capnp\";\n\
         const config :Workerd.Config = (\n\
           services = [(name = \"main\", worker = (compatibilityDate = \"2026-11-01\", modules = [\n\
             (name = \"vectors.mjs\", esModule = embed \"vectors.mjs\"),\n\
             (name = \"crypto.js\", esModule = embed \"crypto.js\")])) ],\n\
           sockets = [(name = \"http\", address = \"127.0.0.1:{port}\", http = (), service = \"main\")],\n\
         );\n"
    );
    std::fs::write(folder.0.join("config.capnp"), config).unwrap();
    let mut workerd = Command::new(format!("{ROOT}/node_modules/.bin/workerd"))
        .args(["serve", "config.capnp"])
        .current_dir(&folder.0)
        .process_group(0)
        .spawn()
        .unwrap();
    let begun = Instant::now();
    let client = client_builder().timeout(Duration::from_secs(60)).build().unwrap();
    let text = loop {
        let url = format!("http://127.0.0.1:{port}/");
        match client.post(url).body(body.to_owned()).send().await {
            Ok(response) => break response.text().await.unwrap(),
            Err(error) => assert!(begun.elapsed() < Duration::from_secs(20), "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    // If npm ran no scripts, the command is a wrapper; the group includes what it started.
    let _ = Command::new("kill").args(["-TERM", "--", &format!("-{}", workerd.id())]).status();
    let _ = workerd.wait();
    text
}

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
