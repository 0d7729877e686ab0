//! The measurements other than speed.

use super::cells::{
    BOUNDED, CONNECTIONS, Contender, EXACT, HOT, JSOPT_LEASED, JSOPT_STRICT, LEASED, Plan,
    ROTATING, STRICT,
};
use super::found::{Distance, LargePolicy, Trips};
use super::load::{Load, Order, Traffic, Wrk};
use super::scene::{Running, Scene};
use super::variables::{ISSUER, QUOTA, WINDOW_SECONDS};
use crate::bench::measure::resident_kib;
use crate::bench::measure::spread;
use crate::edge;
use crate::process;
use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

/// Measures the response time by the distance of the store, with few requests at once.
pub fn distance(scene: &Scene<'_>, seconds: u32) -> Result<Vec<Distance>> {
    let mut found = Vec::new();
    let distances = [(0, scene.gateway)].into_iter().chain(scene.slow.iter().copied());
    for (ms, port) in distances {
        let trips = spread((0..9).map(|_| scene.trip_ms(port)).collect::<Result<_>>()?);
        found.push((ONE_TRIP, ms, trips[1], trips[2], 0.0));
        let contenders = [
            STRICT,
            EXACT,
            BOUNDED,
            Contender::Ref,
            JSOPT_STRICT,
            Contender::Floor,
            Contender::Pass,
        ];
        for contender in contenders {
            process::check_stop()?;
            let running = scene.start(contender, port, &json!({}))?;
            let wrk = scene.wrk(AT_ONCE, Traffic::Good, HOT);
            scene.load(&running, &wrk, 1)?;
            let (load, _) = scene.load(&running, &wrk, seconds.max(2))?;
            found.push(row(contender.name(), ms, &load));
        }
        for contender in [LEASED, JSOPT_LEASED] {
            process::check_stop()?;
            let running = scene.start(contender, port, &json!({}))?;
            let wrk = scene.wrk(AT_ONCE, Traffic::Good, ROTATING);
            scene.load(&running, &wrk, 1)?;
            scene.prime(running.port, ROTATING)?;
            let (load, _) = scene.load(&running, &wrk, seconds.max(2))?;
            found.push(row(contender.name(), ms, &load));
        }
        let (running, wrk) = unprimed(scene, AT_ONCE, port)?;
        let (load, _) = scene.load(&running, &wrk, seconds.max(2))?;
        found.push(row(LEASED_ZIPF, ms, &load));
        eprintln!("distance: {ms} ms");
    }
    Ok(found)
}

fn row(name: &'static str, ms: u32, load: &Load) -> Distance {
    (name, ms, load.p50_ms, load.p99_ms, load.requests_per_second)
}

/// Measures the calls to the store and to the upstream per request, and the store's commands. Every
/// token is cached, except in the row of Zipf. For leases, the store is 40 ms away.
pub fn trips(scene: &Scene<'_>, running: &BTreeMap<Contender, Running>) -> Result<Vec<Trips>> {
    let start = |contender| scene.start(contender, scene.gateway, &json!({}));
    let kept = start(Contender::Portcullis(Plan::Bounded { seconds: 600 }))?;
    let exact = start(EXACT)?;
    let own = |contender| running.get(&contender).context("it was not started");
    let mut found = Vec::new();
    for (name, contender, traffic) in [
        ("strict", own(STRICT)?, Traffic::Good),
        ("exact", &exact, Traffic::Good),
        ("bounded, kept", &kept, Traffic::Good),
        ("garbage", own(STRICT)?, Traffic::Garbage),
        ("forged", own(STRICT)?, Traffic::Forged),
        ("ref", own(Contender::Ref)?, Traffic::Good),
    ] {
        let wrk = scene.wrk(CONNECTIONS, traffic, HOT);
        scene.load(contender, &wrk, 1)?;
        found.push(count(scene, contender, name, &wrk, 3)?);
    }
    // Questions wait for one another's answers, so a distant store gets more of them in one POST.
    let (_, far) = *scene.slow.last().context("no distant store")?;
    let wrk = scene.wrk(CONNECTIONS, Traffic::Good, ROTATING);
    for (name, contender) in [("leased", LEASED), ("jsopt leased", JSOPT_LEASED)] {
        let contender = scene.start(contender, far, &json!({}))?;
        scene.load(&contender, &wrk, 1)?;
        scene.prime(contender.port, ROTATING)?;
        found.push(count(scene, &contender, name, &wrk, LEASES_SECONDS)?);
    }
    let (running, wrk) = unprimed(scene, CONNECTIONS, far)?;
    found.push(count(scene, &running, LEASED_ZIPF, &wrk, LEASES_SECONDS)?);
    Ok(found)
}

fn count(
    scene: &Scene<'_>,
    running: &Running,
    name: &'static str,
    wrk: &Wrk<'_>,
    seconds: u32,
) -> Result<Trips> {
    process::check_stop()?;
    // What an earlier load left in progress must not be counted, and what this one leaves must be.
    std::thread::sleep(SETTLING);
    let before = scene.counts()?;
    let (load, _) = scene.load(running, wrk, seconds)?;
    std::thread::sleep(SETTLING);
    let counted = scene.counts()? - before;
    // wrk does not count the requests in progress at its end, but they did reach the servers.
    let requests = match wrk.traffic {
        Traffic::Good => counted.upstream as f64,
        _ => load.count,
    };
    Ok(Trips {
        name,
        store: counted.posts as f64 / requests,
        upstream: counted.upstream as f64 / load.count,
        commands: counted.commands.all() as f64 / requests,
        requests_per_second: load.requests_per_second,
    })
}

/// Starts an isolate with leases that knows one token alone, and prepares a load of 1,000.
fn unprimed<'s>(scene: &'s Scene<'_>, connections: u32, store: u16) -> Result<(Running, Wrk<'s>)> {
    let running = scene.start(LEASED, store, &json!({}))?;
    scene.load(&running, &scene.wrk(connections, Traffic::Good, 1), 1)?;
    let wrk = scene.wrk(connections, Traffic::Good, ROTATING);
    Ok((running, Wrk { order: Order::Zipf, ..wrk }))
}

/// Measures the time to the first good response, for all contenders in turn.
pub fn start(scene: &Scene<'_>, rounds: u32) -> Result<BTreeMap<&'static str, Vec<f64>>> {
    let mut found: BTreeMap<_, Vec<f64>> = BTreeMap::new();
    for _ in 0..rounds {
        for contender in [STRICT, Contender::Ref, JSOPT_STRICT, Contender::Pass] {
            process::check_stop()?;
            let running = scene.start(contender, scene.gateway, &json!({}))?;
            found.entry(contender.name()).or_default().push(running.start_ms);
        }
    }
    Ok(found)
}

/// Measures the resident memory after each number of requests. Each request has a new token, as
/// long as there are some.
pub fn memory(scene: &Scene<'_>, requests: u64) -> Result<BTreeMap<&'static str, Vec<(u64, u64)>>> {
    let mut found = BTreeMap::new();
    let contenders = [STRICT, Contender::Ref, JSOPT_STRICT, Contender::Pass];
    for contender in contenders {
        let running = scene.start(contender, scene.gateway, &json!({}))?;
        let pid = running.server.pid();
        let mut seen = vec![(0, resident_kib(pid)?)];
        let (mut count, mut a_second) = (0, 2000.0);
        for quarter in 1..=4 {
            let goal = requests * quarter / 4;
            while count < goal {
                process::check_stop()?;
                let seconds = ((goal - count) as f64 / a_second).round().clamp(1.0, 20.0);
                let skip = count as u32;
                let wrk = Wrk { skip, ..scene.wrk(CONNECTIONS, Traffic::Good, scene.tokens) };
                let (load, _) = scene.load(&running, &wrk, seconds as u32)?;
                count += load.count as u64;
                a_second = load.requests_per_second;
            }
            seen.push((count, resident_kib(pid)?));
        }
        eprintln!("memory: {}", contender.name());
        found.insert(contender.name(), seen);
    }
    Ok(found)
}

/// Measures the CPU of a strict request as the work grows, as a ratio to that of the usual amount
/// in the same rounds.
pub fn growth(scene: &Scene<'_>, rounds: u32) -> Result<Vec<(&'static str, u32, f64)>> {
    let mut found = Vec::new();
    let mut compare = |what, many, vars: &Value, tokens| -> Result<()> {
        // Both processes have the same age, because V8 keeps optimising for a while.
        let usual = scene.start(STRICT, scene.gateway, &json!({}))?;
        let running = scene.start(STRICT, scene.gateway, vars)?;
        let (mut ratios, mut skip) = (Vec::new(), 0);
        for round in 0..=rounds {
            process::check_stop()?;
            let base = scene.wrk(CONNECTIONS, Traffic::Good, ROTATING);
            let (_, base_us) = scene.load(&usual, &base, 2)?;
            let wrk = Wrk { skip, ..scene.wrk(CONNECTIONS, Traffic::Good, tokens) };
            let (load, cpu_us) = scene.load(&running, &wrk, 2)?;
            skip += load.count as u32;
            // The first round is a warm-up.
            if round > 0 {
                ratios.push(cpu_us / base_us);
            }
        }
        found.push((what, many, spread(ratios)[1]));
        eprintln!("growth: {many} {what}");
        Ok(())
    };
    for tokens in [1, 1000, 20_000, 200_000].into_iter().filter(|many| *many <= scene.tokens) {
        compare("tokens", tokens, &json!({}), tokens)?;
    }
    let shipped = edge::EdgeConfig::shipped()?;
    let api = json!({ "name": "api", "path": "/api/*", "access": "protected",
        "limit": { "quota": QUOTA, "window_seconds": WINDOW_SECONDS, "by": "subject" } });
    for many in [1, 10, 100, 1000] {
        let other = |place: u32| json!({ "name": format!("r{place}"), "path": format!("/r{place}/*"), "access": "public" });
        let mut list: Vec<Value> = (1..many).map(other).collect();
        list.push(api.clone());
        compare("routes", many, &json!({ "routes": list }), ROTATING)?;
    }
    let jwks: Value = serde_json::from_str(&fs::read_to_string(scene.folder.join("jwks.json"))?)?;
    for many in [1, 10, 64] {
        let mut set = jwks.clone();
        let keys = set.pointer_mut("/keys").and_then(Value::as_array_mut).context("keys")?;
        let own = keys.first().cloned().context("a key")?;
        for place in 1..many {
            let mut key = own.clone();
            key.as_object_mut().context("a key")?.insert("kid".into(), format!("k{place}").into());
            keys.insert(0, key);
        }
        let issuer = json!([{ "issuer": ISSUER, "audience": ISSUER,
            "algorithms": ["EdDSA"], "jwks": set }]);
        compare("keys", many, &json!({ "issuers": issuer }), ROTATING)?;
    }
    for many in [1, 3, 10] {
        let limit = |place: u32| json!({ "name": format!("l{place}"), "quota": QUOTA, "window_seconds": WINDOW_SECONDS, "by": "subject" });
        let limits: Vec<Value> = (0..many).map(limit).collect();
        let names: Vec<String> = (0..many).map(|place| format!("l{place}")).collect();
        let mut list = shipped.policy.get("routes").and_then(Value::as_array).cloned();
        let api = list.as_mut().and_then(|list| list.last_mut()).and_then(Value::as_object_mut);
        let api = api.context("routes: api")?;
        api.remove("limit");
        api.insert("limits".into(), json!(names));
        compare("limits", many, &json!({ "routes": list, "limits": limits }), ROTATING)?;
    }
    Ok(found)
}

/// Measures a policy of 1,000 routes and 200 limits next to the shipped one: the milliseconds of
/// each start to the first response, and the ratio of the CPU of a strict request in each round.
/// The requested route is the last one, and has one limit, as in the shipped policy.
pub fn large_policy(scene: &Scene<'_>, starts: u32, rounds: u32) -> Result<LargePolicy> {
    let limits: Vec<Value> = (0..LIMITS)
        .map(|place| json!({ "name": format!("l{place}"), "quota": QUOTA, "window_seconds": WINDOW_SECONDS, "by": "subject" }))
        .collect();
    let mut routes: Vec<Value> = (1..ROUTES)
        .map(|place| json!({ "name": format!("r{place}"), "path": format!("/r{place}/*"), "access": "protected",
            "limits": [format!("l{}", place % LIMITS)] }))
        .collect();
    routes
        .push(json!({ "name": "api", "path": "/api/*", "access": "protected", "limits": ["l0"] }));
    let large = json!({ "routes": routes, "limits": limits });
    let mut found = LargePolicy::default();
    for _ in 0..starts {
        process::check_stop()?;
        found.shipped_start_ms.push(scene.start(STRICT, scene.gateway, &json!({}))?.start_ms);
        found.start_ms.push(scene.start(STRICT, scene.gateway, &large)?.start_ms);
    }
    let usual = scene.start(STRICT, scene.gateway, &json!({}))?;
    let running = scene.start(STRICT, scene.gateway, &large)?;
    let wrk = scene.wrk(CONNECTIONS, Traffic::Good, ROTATING);
    for round in 0..=rounds {
        process::check_stop()?;
        let (_, usual_us) = scene.load(&usual, &wrk, 2)?;
        let (_, cpu_us) = scene.load(&running, &wrk, 2)?;
        // The first round is a warm-up.
        if round > 0 {
            found.cpu_ratio.push(cpu_us / usual_us);
        }
    }
    Ok(found)
}

const ROUTES: u32 = 1000;
const LIMITS: u32 = 200;

/// The name of a single query of the store.
pub const ONE_TRIP: &str = "one trip to the store";
/// The row in which first requests are included.
pub const LEASED_ZIPF: &str = "portcullis, leased, Zipf";
/// The life of a few leases.
const LEASES_SECONDS: u32 = 15;
const SETTLING: Duration = Duration::from_millis(300);
/// A number of connections so small that no request waits for a core.
const AT_ONCE: u32 = 2;
