//! The endpoint of the console for what limits counted, and who is over them.

use super::operator::Reader;
use super::range::Range;
use super::state::{ConsoleState, SharedConsole};
use crate::adjustments::{shown_block, shown_quota};
use crate::clock::now;
use crate::db::Counters;
use crate::http::query::Query;
use crate::problem::Problem;
use crate::series::{LimitSettings, RecentRefusal, label, labelled};
use axum::extract::{RawQuery, State};
use axum::routing::get;
use axum::{Json, Router};
use portcullis_core::UnixSeconds;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Returns the routes, relative to `/console/api`.
pub fn routes() -> Router<Arc<ConsoleState>> {
    Router::new().route("/limits", get(show))
}

/// Returns what each limit counted, who was refused by it within five minutes, and the quotas and
/// blocks of single callers.
async fn show(
    State(state): SharedConsole,
    _: Reader,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, Problem> {
    let mut query = Query::parse(query)?;
    let range = Range::take(&mut query)?;
    query.finish()?;
    let (app, now) = (Arc::clone(&state.app), now());
    let work = async move {
        let counted = range.counted(&app.series, now).await?;
        let quotas = app.adjustments.quotas("", LIST_MAX, now).await?;
        let blocks = app.adjustments.blocks("", LIST_MAX, now).await?;
        Ok((counted, quotas, blocks))
    };
    let (counted, quotas, blocks) = state.app.run("console_limits", work).await?;
    let series = &state.app.series;
    let (ring, limits) = tokio::join!(series.recent_refusals(), series.limits());
    let store = if ring.is_ok() && limits.is_ok() { "up" } else { "down" };
    let (hash, settings) = limits.ok().flatten().unzip();
    let items = shown_limits(&counted.total, settings.unwrap_or_default(), hash.as_deref());
    let over_now = ring.map(|ring| over_now(&ring, now)).unwrap_or_default();
    Ok(Json(json!({
        "range": range.name(),
        "items": items,
        "over_now": over_now,
        "quotas": quotas.entries.iter().map(shown_quota).collect::<Vec<_>>(),
        "quotas_next": quotas.next,
        "blocks": blocks.entries.iter().map(shown_block).collect::<Vec<_>>(),
        "blocks_next": blocks.next,
        "store": store,
    })))
}

/// Returns the limits of the policy, and those that only counters name.
fn shown_limits(
    counters: &Counters,
    settings: Vec<LimitSettings>,
    hash: Option<&str>,
) -> Vec<Value> {
    let mut counts: BTreeMap<&str, [u64; 3]> = BTreeMap::new();
    for (labels, count) in labelled(counters, "limit_checks_total") {
        let [passed, refused, shadow] =
            counts.entry(label(labels, "limit").unwrap_or_default()).or_default();
        match label(labels, "result") {
            Some("passed") => *passed += count,
            Some("refused") => *refused += count,
            Some("shadow") => *shadow += count,
            _ => {}
        }
    }
    let mut items: Vec<Value> = Vec::new();
    for limit in settings {
        let [passed, refused, shadow] = counts.remove(limit.name.as_str()).unwrap_or_default();
        items.push(json!({
            "limit": limit.name, "route": limit.routes.join(", "), "routes": limit.routes,
            "passed": passed, "refused": refused, "shadow": shadow,
            "algorithm": limit.algorithm, "quota": limit.quota,
            "window_seconds": limit.window_seconds, "period": limit.period, "by": limit.by,
            "overrides": limit.overrides, "is_shadow": limit.shadow, "policy": hash,
        }));
    }
    for (name, [passed, refused, shadow]) in counts {
        items.push(json!({
            "limit": name, "passed": passed, "refused": refused, "shadow": shadow,
            "policy": null,
        }));
    }
    items
}

/// Returns who was refused by a limit within the last minutes, the latest first.
fn over_now(ring: &[RecentRefusal], now: UnixSeconds) -> Vec<Value> {
    let from_ms = now.0.saturating_sub(OVER_SECONDS).saturating_mul(1000);
    let recent = ring.iter().filter(|refusal| refusal.at_ms >= from_ms);
    let mut callers: Vec<(Caller<'_>, u64, u64)> = Vec::new();
    for refusal in recent.filter(|refusal| OVER.contains(&refusal.code.as_str())) {
        let caller = Caller {
            limit: refusal.exceeded_limit().unwrap_or_default(),
            client: refusal.client.as_deref(),
            address: refusal.address.as_deref(),
            subject: refusal.subject.as_deref(),
            code: &refusal.code,
            shadow: refusal.shadow,
        };
        match callers.iter_mut().find(|(own, ..)| *own == caller) {
            Some((_, count, _)) => *count = count.saturating_add(refusal.weight),
            // The ring has the newest first.
            None => callers.push((caller, refusal.weight, refusal.at_ms / 1000)),
        }
    }
    let shown = callers.into_iter().map(|(caller, count, last_at)| {
        let who = caller.subject.or(caller.client).or(caller.address);
        json!({
            "limit": caller.limit, "who": who, "client": caller.client,
            "subject": caller.subject, "address": caller.address, "count": count,
            "last_at": last_at, "code": caller.code, "shadow": caller.shadow,
        })
    });
    shown.collect()
}

#[derive(PartialEq)]
struct Caller<'a> {
    limit: &'a str,
    client: Option<&'a str>,
    address: Option<&'a str>,
    subject: Option<&'a str>,
    code: &'a str,
    shadow: bool,
}

/// The codes of refusals by a limit.
const OVER: [&str; 3] = ["rate_limited", "credits_exhausted", "too_many_invalid_tokens"];
const OVER_SECONDS: u64 = 300;
/// The most quotas, and the most blocks.
const LIST_MAX: u32 = 1000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::RefusalStep;

    #[test]
    fn callers_over_a_limit_are_put_together() {
        let now = UnixSeconds(1_800_000_000);
        let step = |note: &str| RefusalStep { name: "limit".into(), ms: 0.0, note: note.into() };
        let refusal = |ago: u64, code: &str, client: Option<&str>| RecentRefusal {
            at_ms: (now.0 - ago) * 1000,
            code: code.into(),
            client: client.map(str::to_owned),
            address: Some("203.0.113.7".into()),
            weight: 3,
            steps: vec![step("first: passed, 5 left"), step("api: refused, 0 left")],
            ..RecentRefusal::default()
        };
        let ring = [
            refusal(1, "rate_limited", Some("c")),
            refusal(2, "token_expired", Some("c")),
            refusal(3, "rate_limited", None),
            refusal(4, "rate_limited", Some("c")),
            refusal(301, "rate_limited", Some("old")),
        ];
        let over = over_now(&ring, now);
        let of = |who: &str, client: Option<&str>, count: u64, ago: u64| {
            json!({"limit": "api", "who": who, "client": client, "address": "203.0.113.7",
                   "subject": null, "count": count, "last_at": now.0 - ago,
                   "code": "rate_limited", "shadow": false})
        };
        assert_eq!(over, [of("c", Some("c"), 6, 1), of("203.0.113.7", None, 3, 3)]);
    }

    #[test]
    fn limits_have_their_settings_and_their_counts() {
        let counters: Counters = [
            ("limit_checks_total{limit=\"api\",result=\"passed\"}", 5),
            ("limit_checks_total{limit=\"api\",result=\"refused\"}", 2),
            ("limit_checks_total{limit=\"gone\",result=\"shadow\"}", 1),
        ]
        .map(|(name, count)| (name.to_owned(), count))
        .into();
        let settings = ["api", "idle"].map(|name| LimitSettings {
            name: name.into(),
            routes: vec!["a".into(), "b".into()],
            quota: Some(10),
            ..LimitSettings::default()
        });
        let shown = shown_limits(&counters, settings.into(), Some("h"));
        let counts = |item: &Value| {
            ["passed", "refused", "shadow"].map(|member| item[member].as_u64().unwrap())
        };
        let names: Vec<&str> = shown.iter().map(|item| item["limit"].as_str().unwrap()).collect();
        assert_eq!(names, ["api", "idle", "gone"]);
        assert_eq!(shown.iter().map(counts).collect::<Vec<_>>(), [[5, 2, 0], [0; 3], [0, 0, 1]]);
        assert_eq!((&shown[0]["route"], &shown[0]["policy"]), (&json!("a, b"), &json!("h")));
    }
}
