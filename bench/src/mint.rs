//! Mints access tokens of RFC 9068, and writes the records that register them.

use anyhow::{Context as _, Result, anyhow};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_core::{Seal, StoreKeys, TokenHash, TokenRecord};
use serde_json::json;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

#[derive(clap::Args)]
pub struct Options {
    /// URL of the Redis for the records.
    #[arg(long)]
    redis: String,
    /// `iss` of the tokens.
    #[arg(long)]
    issuer: String,
    /// `aud` of the tokens.
    #[arg(long)]
    audience: String,
    /// Key that encrypts the records.
    #[arg(long, env = "RECORD_ENCRYPTION_KEY")]
    record_encryption_key: String,
    /// Number of tokens. Each has its own user.
    #[arg(long)]
    count: u64,
    /// Folder for tokens.txt, forged.txt (as many, with invalid signatures) and jwks.json.
    #[arg(long)]
    folder: PathBuf,
}

/// Mints the tokens, and writes their records to Redis.
pub async fn run(options: &Options) -> Result<()> {
    let pair = Ed25519KeyPair::generate().map_err(|_| anyhow!("no key"))?;
    let jwk = json!({
        "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": "bench",
        "x": URL_SAFE_NO_PAD.encode(pair.public_key().as_ref()),
    });
    fs::write(options.folder.join("jwks.json"), json!({ "keys": [jwk] }).to_string())?;
    let seal = Seal::new(&options.record_encryption_key, None).context("RECORD_ENCRYPTION_KEY")?;
    let keys = StoreKeys::new(StoreKeys::PREFIX);
    let client = redis::Client::open(options.redis.as_str())?;
    let mut redis = client.get_multiplexed_async_connection().await?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"EdDSA","typ":"at+jwt","kid":"bench"}"#);
    let (mut tokens, mut forged) = (String::new(), String::new());
    let mut batch = redis::pipe();
    for place in 0..options.count {
        let record = TokenRecord {
            sub: format!("user-{place:06}"),
            sid: Some(format!("{place:032x}")),
            client_id: Some("web".to_owned()),
            scope: "api:read api:write".to_owned(),
            exp: Some(now + LIFE_SECONDS),
            ..TokenRecord::default()
        };
        let claims = json!({
            "iss": options.issuer, "aud": options.audience, "sub": record.sub, "sid": record.sid,
            "client_id": record.client_id, "scope": record.scope, "exp": record.exp,
            "iat": now, "jti": format!("{place:022x}"),
        });
        let input = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
        let signature = pair.sign(input.as_bytes());
        let mut broken = signature.as_ref().to_vec();
        if let Some(byte) = broken.first_mut() {
            *byte ^= 1;
        }
        let token = format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature));
        let _ = writeln!(forged, "{input}.{}", URL_SAFE_NO_PAD.encode(broken));
        let key = keys.token(&TokenHash::of(&token));
        // The nonce is unique for this encryption key, because each run has a new key.
        let mut nonce = [0; 12];
        let (_, end) = nonce.split_at_mut(4);
        end.copy_from_slice(&place.to_be_bytes());
        batch.set_ex(&key, record.encode(&key, Some(&seal), nonce), LIFE_SECONDS).ignore();
        tokens.push_str(&token);
        tokens.push('\n');
        if place % 1000 == 999 || place + 1 == options.count {
            batch.query_async::<()>(&mut redis).await?;
            batch = redis::pipe();
        }
    }
    fs::write(options.folder.join("tokens.txt"), tokens)?;
    fs::write(options.folder.join("forged.txt"), forged)?;
    Ok(())
}

/// A time above the duration of any measurement.
const LIFE_SECONDS: u64 = 6 * 3600;
