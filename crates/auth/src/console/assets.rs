//! The files of the pages, which the program contains.

use crate::problem::Problem;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use std::sync::LazyLock;

/// A file of the pages.
struct Asset {
    /// Its path in the folder `console` and below `/console/`.
    path: &'static str,
    media_type: &'static str,
    bytes: &'static [u8],
}

/// One row for each file: the path, in the folder and in URLs.
macro_rules! assets {
    ($($path:literal),* $(,)?) => {
        &[$(Asset {
            path: $path,
            media_type: media_type($path),
            bytes: include_bytes!(concat!("../../console/", $path)),
        }),*]
    };
}

/// All files. A test compares them with the folder.
static ASSETS: &[Asset] = assets![
    "css/components.css",
    "css/console.css",
    "css/domain.css",
    "css/screens.css",
    "img/logo.svg",
    "index.html",
    "js/actions.js",
    "js/api.js",
    "js/components/bars.js",
    "js/components/basics.js",
    "js/components/chart.js",
    "js/components/dialog.js",
    "js/components/icon.js",
    "js/components/notices.js",
    "js/components/page.js",
    "js/components/series.js",
    "js/components/table.js",
    "js/components/theme.js",
    "js/findings.js",
    "js/format.js",
    "js/live.js",
    "js/login.js",
    "js/main.js",
    "js/range.js",
    "js/router.js",
    "js/screens/audit.js",
    "js/screens/auditTable.js",
    "js/screens/clients.js",
    "js/screens/keyTable.js",
    "js/screens/keys.js",
    "js/screens/limits.js",
    "js/screens/now.js",
    "js/screens/now_parts.js",
    "js/screens/policy.js",
    "js/screens/refusals.js",
    "js/screens/sessionTable.js",
    "js/screens/sessions.js",
    "js/screens/shared.js",
    "js/screens/signing.js",
    "js/screens/usage.js",
    "js/screens/users.js",
    "js/theme.js",
    "js/ui.js",
    "vendor/htm-preact-standalone.module.js",
    "vendor/htm.LICENSE",
    "vendor/inter-latin-wght-normal.woff2",
    "vendor/inter.LICENSE",
    "vendor/jetbrains-mono-latin-wght-normal.woff2",
    "vendor/jetbrains-mono.LICENSE",
    "vendor/preact.LICENSE",
    "vendor/uPlot.LICENSE",
    "vendor/uPlot.esm.js",
    "vendor/uPlot.min.css",
];

/// Returns a file, or the page for each path that is a screen of it.
pub async fn asset(request: Request) -> Result<Response, Problem> {
    let path = request.uri().path();
    let path = path.strip_prefix("/console/").unwrap_or_default();
    let found = ASSETS.iter().position(|asset| asset.path == path);
    let place = match found {
        Some(place) => place,
        None if is_file(path) => return Err(Problem::NotFound),
        None => ASSETS.iter().position(|asset| asset.path == PAGE).ok_or(Problem::NotFound)?,
    };
    let (Some(asset), Some(etag)) = (ASSETS.get(place), ETAGS.get(place)) else {
        return Err(Problem::NotFound);
    };
    let known = request.headers().get_all(header::IF_NONE_MATCH).iter();
    let mut known = known.filter_map(|field| field.to_str().ok()).flat_map(|f| f.split(','));
    let fields = [
        (header::ETAG, HeaderValue::from_str(etag).unwrap_or(HeaderValue::from_static("\"\""))),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    if known.any(|known| known.trim().trim_start_matches("W/") == etag) {
        return Ok((StatusCode::NOT_MODIFIED, fields).into_response());
    }
    let media_type = [(header::CONTENT_TYPE, asset.media_type)];
    Ok((fields, media_type, asset.bytes).into_response())
}

/// Returns whether a path would be that of a file: it is in a folder that has some, or its name has
/// a dot. Other paths are screens.
fn is_file(path: &str) -> bool {
    match path.split_once('/') {
        Some((folder, _)) => ASSETS
            .iter()
            .any(|asset| asset.path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))),
        None => path.contains('.'),
    }
}

/// Returns the media type of a file by its name.
const fn media_type(path: &str) -> &'static str {
    match path.as_bytes() {
        [.., b'.', b'j', b's'] => "text/javascript; charset=utf-8",
        [.., b'.', b'c', b's', b's'] => "text/css; charset=utf-8",
        [.., b'.', b'h', b't', b'm', b'l'] => "text/html; charset=utf-8",
        [.., b'.', b's', b'v', b'g'] => "image/svg+xml",
        [.., b'.', b'p', b'n', b'g'] => "image/png",
        [.., b'.', b'w', b'o', b'f', b'f', b'2'] => "font/woff2",
        _ => "text/plain; charset=utf-8",
    }
}

/// The entity tags of the files, in their order.
static ETAGS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let tag =
        |asset: &Asset| format!("\"{}\"", URL_SAFE_NO_PAD.encode(Sha256::digest(asset.bytes)));
    ASSETS.iter().map(tag).collect()
});

/// The page of all screens.
const PAGE: &str = "index.html";

/// Returns the paths of all files.
#[cfg(test)]
pub fn paths() -> impl Iterator<Item = &'static str> {
    ASSETS.iter().map(|asset| asset.path)
}
