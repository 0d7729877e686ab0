//! Exports of the audit and of usage.

use super::{get, on_each, seed};
use crate::testing::T;
use serde_json::Value;

#[tokio::test]
async fn audit_is_exported_whole_and_without_formulas() {
    on_each(async |console, browser, _| {
        seed::audit(&console, 2500).await;
        let head = "INSERT INTO audit (id, at, event, actor, address, device, request_id, detail,
             reason)";
        let hostile = "=HYPERLINK(\"http://x\",\"y\")";
        let row =
            |_| format!("'formula', 5, 'login', 'user', '', '@agent', '-1', '{hostile}', '+x'");
        seed::insert(&console.db, head, 1, row).await;
        let csv = console.get(&browser, "/console/api/audit?format=csv&event=login").await;
        csv.assert(200, "");
        assert_eq!(csv.headers["content-disposition"], "attachment; filename=\"audit.csv\"");
        assert!(csv.headers["content-type"].to_str().unwrap().starts_with("text/csv"));
        let lines: Vec<&str> = csv.text.split_terminator("\r\n").collect();
        assert_eq!(lines.len(), 1 + 2498);
        assert!(lines[0].starts_with("id,at,event,actor,by,"), "{}", lines[0]);
        assert!(lines[1].starts_with("a2499,"), "{}", lines[1]);
        let last = lines[2498];
        for cell in ["'@agent", "'-1", "\"'=HYPERLINK(\"\"http://x\"\",\"\"y\"\")\"", "'+x"] {
            assert!(last.contains(cell), "{cell}: {last}");
        }
        let lines = console.get(&browser, "/console/api/audit?format=jsonl&event=login").await;
        let parsed: Vec<Value> =
            lines.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(parsed.len(), 2498);
        assert_eq!(
            parsed[0],
            get(&console, &browser, "/audit?event=login&limit=1").await["items"][0]
        );
        assert_eq!(parsed[2497]["detail"], hostile);
    })
    .await;
}

#[tokio::test]
async fn usage_is_shown_by_pages_and_exported_whole() {
    on_each(async |console, browser, _| {
        let head = "INSERT INTO usage_hours (hour, route, issuer, subject, client, key_id, passed, refused)";
        let hour = T.0 - T.0 % 3600;
        let row = |n: usize| format!("{hour}, 'r{}', 'i', '=s{n}', 'c', '', 2, 1", n % 3);
        seed::insert(&console.db, head, 12_000, row).await;
        let range = format!("from={hour}&to={}", hour + 3600);
        let routes = get(&console, &browser, &format!("/usage?by=route&{range}&subject=")).await;
        let rows = routes["usage"].as_array().unwrap();
        assert_eq!(rows.len(), 3);
        assert_eq!((&rows[0]["passed"], &rows[0]["refused"]), (&8000.into(), &4000.into()));
        let page = get(&console, &browser, &format!("/usage?by=subject&{range}&limit=10")).await;
        assert_eq!(page["usage"].as_array().unwrap().len(), 10);
        let next = page["next"].as_str().unwrap();
        let path = format!("/usage?by=subject&{range}&limit=10&after={next}");
        let page = get(&console, &browser, &path).await;
        assert_eq!(page["usage"].as_array().unwrap().len(), 10);
        let csv = console.get(&browser, &format!("/console/api/usage?by=subject&{range}&format=csv")).await;
        let lines: Vec<&str> = csv.text.split_terminator("\r\n").collect();
        assert_eq!(lines.len(), 12_001);
        assert!(lines[1].starts_with("i,'=s0,") || lines[1].contains("'=s0,"), "{}", lines[1]);
        console.get(&browser, "/console/api/usage?by=x").await.assert(400, "query_invalid");
    })
    .await;
}
