//! What operators see of an isolate.

use super::*;

/// Returns an isolate with the policy of the other tests and further sections.
fn isolate_with(sections: Value) -> Rc<Instance> {
    let mut policy: Value = serde_json::from_str(POLICY).unwrap();
    policy.as_object_mut().unwrap().extend(sections.as_object().unwrap().clone());
    Rc::new(Instance::new(0, config(&policy.to_string())))
}

/// Returns the body of a response.
fn body(end: &str) -> Value {
    let body = end.lines().last().unwrap_or_default();
    serde_json::from_str(body).unwrap_or_else(|_| panic!("{end}"))
}

/// Begins a request at a time, and returns its first step.
fn begin_at(isolate: &Rc<Instance>, id: u32, path: &str, now_ms: u64) -> String {
    let head = format!(
        "{now_ms}\n0123456{id}-x\nHAM\nGET\nhttps://edge.example{path}\ncf-connecting-ip\n192.0.2.1"
    );
    pipeline::begin(isolate, id, Purpose::Forward, head)
}

/// Starts a background task, and returns its first step.
fn start(isolate: &Instance, id: u32) -> String {
    isolate.executor.resume(id, 2, String::new())
}

#[test]
fn failed_probe_opens_no_breaker() {
    let isolate = isolate_with(json!({ "health": { "path": "/healthz" } }));
    let health = |id: u32| body(&first_step(&isolate, id, "/healthz", "x\ny"));
    let first = health(1);
    assert_eq!((&first["status"], &first["store"]["state"]), (&json!("ok"), &json!("unknown")));
    assert_eq!(first["policy"].as_str().map(str::len), Some(16), "{first}");
    assert_eq!(first.get("auth"), None, "the policy has no auth service: {first}");
    assert_eq!(next(&start(&isolate, 2)), Next::Store);
    assert_eq!(health(3)["store"]["state"], "unknown", "it is probed");
    assert_eq!(store_times_out(&isolate, 2), Next::End(None));
    let down = health(4);
    assert_eq!((&down["status"], &down["store"]["state"]), (&json!("degraded"), &json!("down")));
    assert_eq!(down["store"]["breaker"], "closed", "{down}");
    // The breaker would open at the first failure. That request tells how the store is, too.
    assert_eq!(begin(&isolate, 5, "/limited"), Next::Store);
    assert_eq!(store_replies(&isolate, 5, &[Value::Null, json!([1, 0, 0, 0])]), Next::Upstream);
    assert_eq!(health(6)["store"]["state"], "up");
}

#[test]
fn batch_has_counters_state_policy_and_refusals() {
    let sections = json!({ "metrics": { "interval_seconds": 10 } });
    let isolate = isolate_with(sections);
    let commands = |step: &str| -> Vec<Vec<String>> {
        let body: Value = serde_json::from_str(step.lines().last().unwrap()).unwrap();
        let words = |command: &Value| serde_json::from_value(command.clone()).unwrap();
        body.as_array().unwrap().iter().map(words).collect()
    };
    let names = |commands: &[Vec<String>]| -> Vec<String> {
        let name = |command: &Vec<String>| format!("{} {}", command[0], command[1]);
        commands.iter().map(name).collect()
    };
    let begun_ms = clock::now_ms();
    assert_eq!(next(&begin_at(&isolate, 1, "/nowhere", begun_ms)), Next::End(Some(404)));
    assert_eq!(next(&begin_at(&isolate, 2, "/nowhere", begun_ms + 10_000)), Next::End(Some(404)));
    let sent = commands(&start(&isolate, 3));
    let policy = isolate.isolate().config.policy.unwrap();
    let document = policy.document.as_ref().unwrap();
    let policy_key = format!("pc:policy:{}", document.hash);
    let expected = [
        "RPUSH pc:metrics:batches:{pc:metrics:totals}",
        "EXPIRE pc:metrics:batches:{pc:metrics:totals}",
        "EXPIRE pc:metrics:totals",
        "LPUSH pc:refusals",
        "LTRIM pc:refusals",
        "EXPIRE pc:refusals",
        &format!("EXPIRE {policy_key}"),
        "HSET pc:edges",
        "EXPIRE pc:edges",
        "HLEN pc:edges",
    ];
    assert_eq!(names(&sent), expected);
    let hset = &sent[7];
    assert_eq!(hset[2], "HAM/01234562");
    let state: Value = serde_json::from_str(&hset[3]).unwrap();
    assert_eq!((&state["requests"], &state["policy"]), (&json!(2), &json!(document.hash)));
    let push = &sent[3];
    let entry: Value = serde_json::from_str(&push[2]).unwrap();
    assert_eq!((push.len(), &entry["code"]), (4, &json!("route_not_found")), "{push:?}");

    // The store lacks the policy, has too many states, and refuses the list.
    let mut replies = vec![json!({ "result": 1 }); 10];
    replies[3] = json!({ "error": "NOPERM" });
    replies[6] = json!({ "result": 0 });
    replies[9] = json!({ "result": 5000 });
    isolate.executor.resume(3, 200, Value::from(replies).to_string());
    assert_eq!(next(&begin_at(&isolate, 4, "/nowhere", begun_ms + 20_000)), Next::End(Some(404)));
    let sent = commands(&start(&isolate, 5));
    let field = "requests_total{route=\"none\",outcome=\"refused\",code=\"route_not_found\"}";
    let count = |sent: &[Vec<String>]| {
        let lines = sent[0][2].lines();
        lines.filter_map(|line| line.strip_prefix(field)).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(count(&sent), [" 1"], "what was counted is not counted again: {sent:?}");
    // The batch before has set the life of all.
    let rest = names(&sent[4..]);
    assert_eq!(
        rest,
        [&format!("SET {policy_key}"), "EXPIRE pc:edges", "HSET pc:edges", "EXPIRE pc:edges"]
    );
    assert_eq!(sent[sent.len() - 3][2], "0", "the states are dropped");
    assert_eq!(sent[sent.len() - 4][2], document.text);

    // Without a reply, all of it is a part of the next batch.
    fails(&isolate, 5, "timeout");
    assert_eq!(next(&begin_at(&isolate, 6, "/nowhere", begun_ms + 30_000)), Next::End(Some(404)));
    let sent = commands(&start(&isolate, 7));
    assert_eq!(count(&sent), [" 2"], "{sent:?}");
    let push = sent.iter().find(|own| own[0] == "LPUSH").unwrap();
    assert_eq!(push.len(), 4, "{push:?}");
    let state: Value = serde_json::from_str(&sent[sent.len() - 1][3]).unwrap();
    assert_eq!(state["requests"], 2, "{state}");
    assert!(names(&sent).contains(&format!("SET {policy_key}")), "{sent:?}");

    // The list is refused, and all that was counted is a part of the next batch.
    let replies = |sent: &[Vec<String>], first: Value| {
        let mut replies = vec![json!({ "result": 1 }); sent.len()];
        replies[0] = first;
        Value::from(replies).to_string()
    };
    isolate.executor.resume(7, 200, replies(&sent, json!({ "error": "NOPERM" })));
    assert_eq!(next(&begin_at(&isolate, 8, "/nowhere", begun_ms + 40_000)), Next::End(Some(404)));
    let sent = commands(&start(&isolate, 9));
    assert_eq!(count(&sent), [" 3"], "{sent:?}");
    // A batch of an isolate that goes on has two commands, and three for its refusals.
    let usual = ["RPUSH pc:metrics:batches:{pc:metrics:totals}", "HSET pc:edges"];
    let of_refusals = |name: &String| name.ends_with("pc:refusals");
    let mut found = names(&sent);
    found.retain(|name| !of_refusals(name));
    assert_eq!((found, sent.len()), (usual.map(str::to_owned).to_vec(), 5));

    // The 64th batch that waits is added to the totals with those before, by this isolate.
    let added = isolate.executor.resume(9, 200, replies(&sent, json!({ "result": 64 })));
    let added = commands(&added);
    assert_eq!(added[0][2..], ["2", "pc:metrics:totals", usual[0].split_once(' ').unwrap().1, "1"]);
    assert_eq!(added[1][0], "LTRIM");
    assert_eq!(next(&begin_at(&isolate, 10, "/nowhere", begun_ms + 400_000)), Next::End(Some(404)));
    let sent = commands(&start(&isolate, 11));
    assert_eq!(names(&sent).iter().filter(|name| name.starts_with("EXPIRE")).count(), 5);
}
