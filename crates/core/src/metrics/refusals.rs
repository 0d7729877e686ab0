//! Samples of refused requests, for operators.

use crate::json::write::object_text;
use serde_json::Value;
use std::fmt::Write as _;

/// A refused request, or one that a shadow route would have refused.
#[derive(Clone, Debug, Default)]
pub struct RefusedRequest<'a> {
    /// When it arrived, in Unix ms.
    pub at_ms: u64,
    /// Its id.
    pub id: &'a str,
    /// The name of its route, if it matches one.
    pub route: Option<&'a str>,
    /// The code of the refusal.
    pub code: &'a str,
    /// The status of the response.
    pub status: u16,
    /// The method.
    pub method: &'a str,
    /// The path, without the query.
    pub path: &'a str,
    /// The group of the client's address, as the log shows it.
    pub address: &'a str,
    /// The client that the token was issued to.
    pub client: Option<&'a str>,
    /// The issuer that the token names.
    pub iss: Option<&'a str>,
    /// The caller as the log names it, if the policy logs it.
    pub subject: Option<&'a str>,
    /// The location that served it.
    pub colo: &'a str,
    /// From its arrival to the head of the response.
    pub ms: u64,
    /// Whether it was not refused in fact.
    pub shadow: bool,
    /// The steps that it took: the name of each, how many ms it waited, and its result.
    pub steps: Vec<(&'static str, u64, String)>,
}

/// A sample of the refusals since the last batch, in which each refusal is equally likely to be.
#[derive(Debug, Default)]
pub struct RefusalSample {
    /// How many refusals it stands for.
    seen: u64,
    kept: Vec<Kept>,
}

/// A refusal of the sample.
#[derive(Debug)]
struct Kept {
    at_ms: u64,
    /// Its JSON, without the weight and the last brace.
    text: String,
}

impl RefusedRequest<'_> {
    /// Returns the request as JSON without the last brace. Leaves out the steps and what the token
    /// says if they make it too long.
    fn text(&self) -> String {
        let text = self.members(true);
        if text.len() > TEXT_BYTES_MAX { self.members(false) } else { text }
    }

    fn members(&self, whole: bool) -> String {
        let text = |text: Option<&str>| text.filter(|_| whole).map(|text| bounded(text).into());
        let or_null = |value: Option<Value>| Some(value.unwrap_or(Value::Null));
        let step = |(name, ms, note): &(&str, u64, String)| -> Value {
            vec![Value::from(*name), (*ms).into(), bounded(note).into()].into()
        };
        let steps: Vec<Value> = self.steps.iter().filter(|_| whole).map(step).collect();
        let mut all = object_text(vec![
            ("at", Some(self.at_ms.into())),
            ("id", Some(bounded(self.id).into())),
            ("route", or_null(self.route.map(Value::from))),
            ("code", Some(self.code.into())),
            ("status", Some(self.status.into())),
            ("method", Some(bounded(self.method).into())),
            ("path", Some(self.path.into())),
            ("address", Some(self.address.into())),
            ("client", or_null(text(self.client))),
            ("iss", or_null(text(self.iss))),
            ("subject", text(self.subject)),
            ("colo", Some(self.colo.into())),
            ("ms", Some(self.ms.into())),
            ("shadow", Some(self.shadow.into())),
            ("steps", Some(steps.into())),
        ]);
        all.pop();
        all
    }
}

impl RefusalSample {
    /// Returns whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Adds a refusal, which `describe` describes if it becomes a part of the sample. `random` is a
    /// random number.
    pub fn add<'a>(&mut self, random: u32, describe: impl FnOnce() -> RefusedRequest<'a>) {
        self.seen += 1;
        // The algorithm R (Vitter, 1985).
        let place = match u64::from(random) % self.seen {
            _ if self.kept.len() < KEPT_MAX => KEPT_MAX,
            place => usize::try_from(place).unwrap_or(usize::MAX),
        };
        let kept =
            |request: RefusedRequest<'_>| Kept { at_ms: request.at_ms, text: request.text() };
        if place == KEPT_MAX && self.kept.len() < KEPT_MAX {
            self.kept.push(kept(describe()));
        } else if let Some(own) = self.kept.get_mut(place) {
            *own = kept(describe());
        }
    }

    /// Adds what an earlier sample holds, because the store did not accept it.
    pub fn restore(&mut self, earlier: Self) {
        self.seen += earlier.seen;
        let room = KEPT_MAX.saturating_sub(self.kept.len());
        self.kept.extend(earlier.kept.into_iter().take(room));
    }

    /// Returns the refusals as JSON, the oldest first. The weights add up to all refusals that the
    /// sample stands for.
    pub fn entries(&mut self) -> Vec<String> {
        self.kept.sort_by_key(|kept| kept.at_ms);
        let mut left = self.seen;
        let mut entries = Vec::new();
        for (at, kept) in self.kept.iter().enumerate() {
            let weight = left.div_ceil((self.kept.len() - at) as u64);
            left -= weight;
            let mut text = kept.text.clone();
            let _ = write!(text, ",\"weight\":{weight}}}");
            entries.push(text);
        }
        entries
    }
}

/// Cuts a text that a client may choose.
fn bounded(text: &str) -> &str {
    text.get(..text.floor_char_boundary(PART_BYTES_MAX)).unwrap_or_default()
}

/// The most refusals of a sample.
const KEPT_MAX: usize = 20;
/// The longest part.
const PART_BYTES_MAX: usize = 160;
/// The longest text without the weight, so that an entry has 2 KiB at most.
const TEXT_BYTES_MAX: usize = 2000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;
    use serde_json::Map;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn refused(at_ms: u64) -> RefusedRequest<'static> {
        RefusedRequest { at_ms, id: "i", code: "token_revoked", status: 401, ..Default::default() }
    }

    fn parsed(sample: &mut RefusalSample) -> Vec<Map<String, Value>> {
        let entries = sample.entries();
        entries.iter().map(|entry| json::object(entry.as_bytes()).unwrap()).collect()
    }

    fn number(entry: &Map<String, Value>, name: &str) -> u64 {
        entry[name].as_u64().unwrap()
    }

    #[test]
    fn entry_has_what_is_known_of_a_request() {
        let mut sample = RefusalSample::default();
        assert!(sample.is_empty());
        let steps = vec![("route", 0, "api".to_owned()), ("store", 8, "revoked: sid".to_owned())];
        let request = RefusedRequest {
            route: Some("api"),
            method: "GET",
            path: "/api/\"x",
            address: "192.0.2.1",
            client: Some("c"),
            colo: "AMS",
            ms: 12,
            steps,
            ..refused(7)
        };
        sample.add(0, || request);
        assert_eq!(
            sample.entries(),
            [
                r#"{"at":7,"id":"i","route":"api","code":"token_revoked","status":401,"method":"GET","path":"/api/\"x","address":"192.0.2.1","client":"c","iss":null,"colo":"AMS","ms":12,"shadow":false,"steps":[["route",0,"api"],["store",8,"revoked: sid"]],"weight":1}"#
            ]
        );
    }

    #[test]
    fn long_texts_are_cut_and_no_entry_is_too_long() {
        let long = "\u{1}".repeat(100) + &"\u{e9}".repeat(100);
        let mut sample = RefusalSample::default();
        let request = RefusedRequest {
            id: &long,
            iss: Some(&long),
            client: Some(&long),
            steps: vec![("token", 0, long.clone())],
            ..refused(1)
        };
        sample.add(0, || request);
        let entries = sample.entries();
        assert!(entries[0].len() <= 2048, "{}", entries[0].len());
        assert_eq!(parsed(&mut sample)[0]["iss"], Value::Null);
        let mut sample = RefusalSample::default();
        let issuer = "a".repeat(400);
        sample.add(0, || RefusedRequest { iss: Some(&issuer), ..refused(1) });
        assert_eq!(parsed(&mut sample)[0]["iss"], "a".repeat(160).as_str());
    }

    #[test]
    fn weights_add_up_to_all_refusals_and_each_is_equally_likely() {
        let mut random = 1_u32;
        let mut chosen = [0_u32; 10];
        for _ in 0..200 {
            let mut sample = RefusalSample::default();
            for at in 0..1007 {
                // xorshift32 (Marsaglia, 2003).
                random ^= random << 13;
                random ^= random >> 17;
                random ^= random << 5;
                sample.add(random, || refused(at));
            }
            let entries = parsed(&mut sample);
            assert_eq!(entries.len(), 20);
            assert_eq!(entries.iter().map(|entry| number(entry, "weight")).sum::<u64>(), 1007);
            assert!(entries.iter().all(|entry| (50..=51).contains(&number(entry, "weight"))));
            assert!(entries.is_sorted_by_key(|entry| number(entry, "at")));
            for entry in entries {
                chosen[number(&entry, "at") as usize * 10 / 1007] += 1;
            }
        }
        assert!(chosen.iter().all(|count| (300..500).contains(count)), "{chosen:?}");
    }

    #[test]
    fn sample_that_the_store_did_not_accept_is_a_part_of_the_next() {
        let (mut earlier, mut later) = (RefusalSample::default(), RefusalSample::default());
        (0..30).for_each(|at| earlier.add(0, || refused(at)));
        (30..45).for_each(|at| later.add(0, || refused(at)));
        later.restore(earlier);
        let entries = parsed(&mut later);
        assert_eq!(entries.len(), 20);
        assert_eq!(entries.iter().map(|entry| number(entry, "weight")).sum::<u64>(), 45);
    }
}
