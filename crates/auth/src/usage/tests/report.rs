//! Tests of the reports.

use super::*;

fn ask(parameters: &[(&str, &str)]) -> Result<UsageQuestion, &'static str> {
    UsageQuestion::read(parameters.iter().copied(), T)
}

#[tokio::test]
async fn report_is_grouped_filtered_and_paged() {
    on_each_database(
        |_| (),
        async |service: TestService| {
            let mut rows = Vec::new();
            for (number, subject) in ["alice", "bob", "=carol,\"c\"", "dave"].iter().enumerate() {
                for hour in [0, 1, 24] {
                    let hour = HOUR - 86_400 + 3600 * hour;
                    let passed = number as u64 + 1;
                    rows.push(UsageRow { hour, last: hour, refused: 1, ..row(subject, passed) });
                }
            }
            service.db.add_usage(&[batch("a", rows)], T).await.unwrap();
            let answer = async |parameters: &[(&str, &str)]| {
                let question = ask(parameters).unwrap();
                let page = service.db.usage(&question.query).await.unwrap();
                (question.json(&page), question.csv(&page, true))
            };
            let (json, csv) = answer(&[]).await;
            let expect = r#"{"usage":[{"passed":30,"refused":12}],"next":null}"#;
            assert_eq!(json, serde_json::from_str::<serde_json::Value>(expect).unwrap());
            assert_eq!(csv, "passed,refused\r\n30,12\r\n");
            let (json, csv) = answer(&[("by", "subject"), ("subject", "bob")]).await;
            assert_eq!(json["usage"][0]["subject"], "bob");
            assert_eq!(json["usage"][0]["issuer"], "https://a.example");
            assert_eq!(csv, "issuer,subject,passed,refused\r\nhttps://a.example,bob,6,3\r\n");
            let (_, csv) = answer(&[("by", "route,subject"), ("subject", "=carol,\"c\"")]).await;
            assert!(csv.ends_with("api,https://a.example,\"'=carol,\"\"c\"\"\",9,3\r\n"), "{csv}");
            let (json, _) = answer(&[("by", "day")]).await;
            let days = json["usage"].as_array().unwrap();
            assert!(days.iter().all(|day| day["day"].as_u64().unwrap() % 86_400 == 0));
            assert_eq!(days.iter().map(|day| day["passed"].as_u64().unwrap()).sum::<u64>(), 30);
            let from = (HOUR - 86_400 + 3600).to_string();
            let to = HOUR.to_string();
            let (json, _) = answer(&[("by", "hour"), ("from", &from), ("to", &to)]).await;
            assert_eq!(json["usage"].as_array().unwrap().len(), 1, "{json}");
            // Page by page.
            let (mut found, mut after) = (Vec::new(), None::<String>);
            loop {
                let mut parameters = vec![("by", "subject,hour"), ("limit", "5")];
                parameters.extend(after.as_deref().map(|after| ("after", after)));
                let (json, _) = answer(&parameters).await;
                found.extend(json["usage"].as_array().unwrap().iter().cloned());
                match json["next"].as_str() {
                    Some(next) => after = Some(next.to_owned()),
                    None => break,
                }
            }
            let (json, _) = answer(&[("by", "subject,hour")]).await;
            assert_eq!(found.len(), 12);
            assert_eq!(json["usage"].as_array(), Some(&found));
        },
    )
    .await;
}

#[test]
fn invalid_questions_are_rejected() {
    for parameters in [
        [("by", "name"), ("limit", "1")],
        [("by", "hour"), ("by", "hour")],
        [("from", "yesterday"), ("limit", "1")],
        [("from", "2026-02-29"), ("to", "2026-03-01")],
        [("from", "2026-13-01"), ("limit", "1")],
        [("from", "0"), ("to", "2026-03-01")],
        [("limit", "0"), ("by", "hour")],
        [("limit", "10001"), ("by", "hour")],
        [("format", "xml"), ("by", "hour")],
        [("after", "e30"), ("by", "hour")],
        [("after", "WzFd"), ("by", "subject")],
        [("after", "WzFd"), ("limit", "1")],
        [("subject", "a\0"), ("by", "hour")],
        [("colour", "red"), ("by", "hour")],
    ] {
        assert!(ask(&parameters).is_err(), "{parameters:?}");
    }
    let long = "x".repeat(257);
    assert!(ask(&[("key", &long)]).is_err());
    assert!(ask(&[("after", "WzFd"), ("by", "hour")]).is_ok());
}

#[test]
fn times_are_seconds_or_dates() {
    let from = |text: &str| ask(&[("from", text), ("to", text)]).map(|ask| ask.query.filter.from);
    for (text, expect) in [
        ("1970-01-01", 0),
        ("2000-02-29", 951_782_400),
        ("2024-02-29", 1_709_164_800),
        ("2026-11-30", 1_796_000_000 - 1_796_000_000 % 86_400),
        ("2100-03-01", 4_107_542_400),
        ("7200", 7200),
        ("7201", 7200),
    ] {
        assert_eq!(from(text), Ok(expect), "{text}");
    }
    for text in ["2026-1-01", "2026-02-30", "2100-02-29", "-1", "1e9", "2026-11-30T00:00:00Z", ""] {
        assert!(from(text).is_err(), "{text}");
    }
}
