use super::*;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const KEY: &str = "pc:usage";
const HOUR: u64 = 1_800_000_000;

fn row() -> UsageRow {
    UsageRow {
        hour: HOUR,
        route: "api".into(),
        issuer: "https://issuer.example".into(),
        subject: "alice \"a\" \u{e9}".into(),
        client: "web".into(),
        key: "key-1".into(),
        passed: 3,
        refused: 1,
        last: HOUR + 7,
    }
}

fn period() -> PeriodUsage {
    PeriodUsage {
        limit: "api".into(),
        state: "day".into(),
        hash: "A".repeat(43),
        begun: 1_798_761_600_000,
        origin: 1_799_000_000_123,
        used: 42,
    }
}

fn batch() -> UsageBatch {
    let rows = vec![row(), UsageRow { hour: HOUR, last: HOUR, passed: 1, ..UsageRow::default() }];
    let id = "0af76519-16cd-43dd-8448-eb211c80319c".into();
    UsageBatch { id, at: HOUR + 10, rows, periods: vec![period()] }
}

fn decode(text: &str) -> Option<UsageBatch> {
    UsageBatch::decode(text, KEY, None)
}

#[test]
fn batch_is_read_as_it_was_written() {
    let seal = Seal::new(&format!("a:{}", "A".repeat(43)), None).unwrap();
    let empty = UsageBatch { id: "x".into(), at: 1, ..UsageBatch::default() };
    for batch in [batch(), empty] {
        let plain = batch.encode(KEY, None, [0; 12]);
        assert_eq!(decode(&plain), Some(batch.clone()));
        let sealed = batch.encode(KEY, Some(&seal), [7; 12]);
        assert!(!sealed.contains("alice"));
        assert_eq!(UsageBatch::decode(&sealed, KEY, Some(&seal)), Some(batch));
        assert_eq!(UsageBatch::decode(&sealed, "other", Some(&seal)), None);
        assert_eq!(UsageBatch::decode(&plain, KEY, Some(&seal)), None, "not sealed");
        assert_eq!(decode(&sealed), None);
    }
    assert_eq!(batch().requests(), 5);
}

/// The form is a contract between versions of edge and auth service.
#[test]
fn empty_members_are_left_out() {
    let text = UsageBatch { rows: vec![row()], ..batch() }.encode(KEY, None, [0; 12]);
    assert!(text.starts_with(r#"{"v":1,"id":"0af76519-16cd-43dd-8448-eb211c80319c","at":"#));
    let only = UsageBatch {
        id: "a".into(),
        at: HOUR,
        rows: vec![UsageRow { hour: HOUR, last: HOUR, route: "p".into(), ..UsageRow::default() }],
        periods: Vec::new(),
    };
    let expect = format!(
        r#"{{"v":1,"id":"a","at":{HOUR},"rows":[{{"hour":{HOUR},"route":"p","last":{HOUR}}}]}}"#
    );
    assert_eq!(only.encode(KEY, None, [0; 12]), expect);
    let none = UsageBatch { rows: Vec::new(), ..only };
    assert_eq!(none.encode(KEY, None, [0; 12]), format!(r#"{{"v":1,"id":"a","at":{HOUR}}}"#));
}

#[test]
fn malformed_batches_are_rejected() {
    let whole = batch().encode(KEY, None, [0; 12]);
    for end in 0..whole.len() {
        if let Some(cut) = whole.get(..end) {
            assert_eq!(decode(cut), None, "{cut}");
        }
    }
    let change = |from: &str, to: &str| {
        let text = whole.replacen(from, to, 1);
        assert_ne!(text, whole, "{from}");
        assert_eq!(decode(&text), None, "{text}");
    };
    change(r#""v":1"#, r#""v":2"#);
    change(r#""v":1,"#, "");
    change("0af76519-", "a b");
    change("0af76519-", &"a".repeat(64));
    change(r#""passed":3"#, r#""passed":-3"#);
    change(r#""passed":3"#, r#""passed":3.5"#);
    change(r#""passed":3"#, r#""passed":1073741825"#);
    change(r#""passed":3"#, r#""passed":null"#);
    change(r#""passed":3"#, r#""passed":3,"passed":3"#);
    change(&format!(r#""hour":{HOUR}"#), &format!(r#""hour":{}"#, HOUR + 1));
    change(&format!(r#""hour":{HOUR}"#), &format!(r#""hour":{}"#, HOUR - 3600));
    change(&format!(r#""last":{}"#, HOUR + 7), r#""last":0"#);
    change(&format!(r#""at":{}"#, HOUR + 10), r#""at":1"#);
    change(r#""route":"api""#, r#""route":"a\u0000b""#);
    change(r#""route":"api""#, &format!(r#""route":"{}""#, "x".repeat(257)));
    change(r#""route":"api""#, r#""route":7"#);
    change(r#""state":"day""#, r#""state":"bucket""#);
    change(r#""limit":"api""#, r#""limit":"a:b""#);
    change(&"A".repeat(43), &"A".repeat(42));
    change(r#""used":42"#, r#""used":9007199254740993"#);
    let many = UsageBatch { rows: vec![row(); 2 * ROWS_MAX + 1], ..batch() };
    assert_eq!(decode(&many.encode(KEY, None, [0; 12])), None);
}

#[test]
fn use_of_a_period_is_reported_by_its_hash() {
    let usage = PeriodUse {
        limit: "api".into(),
        state: "day",
        hash: [0; 32],
        begun_ms: 1_798_761_600_000,
        origin_ms: 1_799_000_000_123,
        used: 42,
    };
    assert_eq!(PeriodUsage::from(usage), period());
}
