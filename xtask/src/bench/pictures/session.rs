//! The life of a session: its tokens, and what the store holds meanwhile. It is not to scale.

use super::chart::{Anchor, Ink, Picture};

pub fn svg() -> String {
    let mut picture = Picture::new(
        WIDTH,
        BOTTOM + 64.0,
        "The life of a session, with the defaults of the auth service (not to scale)",
        "A login gives an access token for 15 minutes and a refresh token. Each refresh gives a new pair \
         and spends the old refresh token, which gives the same pair again for 10 seconds. A logout \
         deletes the record and writes a revocation marker that outlives every access token.",
    );
    for (at, label) in EVENTS {
        picture.line((at, TOP - 8.0), (at, BOTTOM), Ink::Muted);
        picture.text(at, TOP - 14.0, Anchor::Middle, Ink::Text, label);
    }
    for (place, (name, spans)) in LANES.iter().enumerate() {
        let top = TOP + place as f64 * LANE;
        picture.text(LEFT - 12.0, top + 24.0, Anchor::End, Ink::Text, name);
        for span in *spans {
            let y = top + 6.0 + span.row * 24.0;
            picture.rect(span.from, y, span.to - span.from, 18.0, span.ink);
            let ink = if matches!(span.ink, Ink::Faint) { Ink::Text } else { Ink::Page };
            picture.text(span.from + 6.0, y + 13.0, Anchor::Start, ink, span.label);
        }
        let under = top + LANE - 4.0;
        picture.line((20.0, under), (WIDTH - 20.0, under), Ink::Faint);
    }
    for (line, text) in NOTES.iter().enumerate() {
        picture.text(20.0, BOTTOM + 26.0 + line as f64 * 20.0, Anchor::Start, Ink::Muted, text);
    }
    picture.finish()
}

/// A span of time in a lane. A lane has two rows.
struct Span {
    from: f64,
    to: f64,
    row: f64,
    ink: Ink,
    label: &'static str,
}

const fn span(from: f64, to: f64, row: f64, label: &'static str) -> Span {
    Span { from, to, row, ink: Ink::Faint, label }
}

const EVENTS: [(f64, &str); 4] =
    [(LOGIN, "login"), (REFRESH, "refresh"), (LOGOUT, "logout"), (EXPIRY, "exp")];
const LANES: [(&str, &[Span]); 4] = [
    (
        "access tokens",
        &[
            span(LOGIN, REFRESH + 60.0, 0.0, "access 1: 15 min"),
            span(REFRESH, LOGOUT, 1.0, "access 2: works"),
            Span { ink: Ink::Orange, ..span(LOGOUT, EXPIRY, 1.0, "401 token_revoked") },
        ],
    ),
    (
        "refresh tokens",
        &[
            span(LOGIN, REFRESH, 0.0, "refresh 1: 30 days, 14 days unused"),
            Span { ink: Ink::Blue, ..span(REFRESH, REFRESH + 46.0, 0.0, "10 s") },
            span(REFRESH, LOGOUT, 1.0, "refresh 2"),
        ],
    ),
    (
        "records in the store",
        &[
            span(LOGIN, REFRESH + 90.0, 0.0, "of access 1: its life and 360 s"),
            span(REFRESH, LOGOUT, 1.0, "of access 2"),
        ],
    ),
    (
        "revocation marker",
        &[Span { ink: Ink::Orange, ..span(LOGOUT, WIDTH - 24.0, 0.0, "of the session: 86,760 s") }],
    ),
];
const NOTES: [&str; 2] = [
    "10 s: a second tab or a retry with the spent refresh token gets the same new pair. Later, it ends the \
     session.",
    "The edge finds the marker with the next request, or within revocation.delay_seconds_max.",
];
const WIDTH: f64 = 760.0;
const LEFT: f64 = 160.0;
const TOP: f64 = 66.0;
const LANE: f64 = 62.0;
const BOTTOM: f64 = TOP + 4.0 * LANE;
const LOGIN: f64 = 170.0;
const REFRESH: f64 = 440.0;
const LOGOUT: f64 = 560.0;
const EXPIRY: f64 = 700.0;
