//! The wire format against `src/js/protocol.golden`, which the tests of JavaScript read as well.
//! `UPDATE_GOLDEN=1` writes the file.

use super::*;
use portcullis_core::{CapturedResponse, Country, Location};
use serde_json::{Value, json};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/js/protocol.golden");

/// One line of the golden file: the encoded form, and the value that the other side decodes.
fn line(sender: &str, name: &str, wire: Value, value: Value) -> Value {
    json!({ "sender": sender, "name": name, "wire": wire, "value": value })
}

/// An example of each step, with its name. The `match` fails to compile until a new variant is
/// added.
fn step(step: &Step<'_>) -> Value {
    let value = match step {
        Step::FetchText(request) => json!({
            "kind": "fetchText", "method": request.method, "url": request.url,
            "requestId": request.request_id,
            "authorization": request.authorization.unwrap_or_default(),
            "contentType": request.body.map_or("", |body| body.content_type.name()),
            "deadlineMs": request.deadline_ms, "bytesMax": request.bytes_max,
            "body": request.body.map_or("", |body| body.text),
        }),
        Step::Forward { .. } => panic!("see below"),
        Step::ForwardAgain { deadline_ms } => {
            json!({ "kind": "forwardAgain", "deadlineMs": deadline_ms })
        }
        Step::Settle { within_ms } => json!({ "kind": "settle", "withinMs": within_ms }),
        Step::Compute { within_ms } => json!({ "kind": "compute", "withinMs": within_ms }),
    };
    line("wasm", "step", step.encode().unwrap().into(), value)
}

fn forward(forward: &Forward<'_>, deadline_ms: u32) -> Value {
    let change = forward.encode().unwrap();
    let step = Step::Forward { change: &change, deadline_ms }.encode().unwrap();
    let value = json!({
        "kind": "forward", "deadlineMs": deadline_ms, "personal": forward.personal,
        "permit": forward.permit.unwrap_or_default(),
        "url": forward.url, "remove": forward.remove, "set": flat(forward.set),
    });
    line("wasm", "step", step.into(), value)
}

fn end(end: &End) -> Value {
    let value = match end {
        End::Respond { status, fields, body } => {
            json!({ "kind": "respond", "status": status, "fields": flat(fields), "body": body })
        }
        End::Decorate { owns_cors, fields } => {
            json!({ "kind": "decorate", "ownsCors": owns_cors, "fields": flat(fields) })
        }
        End::Pass => json!({ "kind": "pass" }),
        End::Failed(failure) => json!({ "kind": "failed", "event": failure.event() }),
    };
    line("wasm", "step", end.encode().into(), value)
}

fn resume(resume: &Resume, status: u16, text: &str) -> Value {
    let value = match resume {
        Resume::Start => json!({ "kind": "start" }),
        Resume::Settled => json!({ "kind": "settled" }),
        Resume::Response(response) => {
            json!({ "kind": "response", "status": response.status, "text": response.text })
        }
        Resume::Failed(error) => {
            let constant = match error {
                PlatformError::Timeout => "TIMEOUT",
                PlatformError::TooLarge => "TOO_LARGE",
                PlatformError::Unreachable => "UNREACHABLE",
                PlatformError::Rejected => "REJECTED",
                PlatformError::Protocol => panic!("it has no word"),
            };
            json!({ "kind": "failed", "constant": constant })
        }
    };
    assert_eq!(Resume::decode(status, text.to_owned()).as_ref(), Ok(resume));
    line("js", "resume", json!([status, text]), value)
}

fn location(wire: &str, cf: Value) -> Value {
    let location = Location::parse(wire);
    let (country, asn) = (location.country(), location.asn());
    assert_eq!(country.as_ref().map(Country::as_str), cf["country"].as_str());
    assert_eq!(asn.map(u64::from), cf["asn"].as_u64());
    line("js", "location", wire.into(), cf)
}

fn flat<N: AsRef<str>>(fields: &[(N, String)]) -> Vec<&str> {
    fields.iter().flat_map(|(name, value)| [name.as_ref(), value.as_str()]).collect()
}

fn fields() -> Fields {
    vec![("x-request-id", "id".to_owned()), ("?cache-control", "no-store".to_owned())]
}

fn text_request(body: Option<TextBody<'static>>) -> TextRequest<'static> {
    TextRequest {
        method: if body.is_some() { "POST" } else { "GET" },
        url: "https://store.example/pipeline",
        request_id: "id",
        authorization: body.map(|_| "Bearer secret"),
        body,
        deadline_ms: 250,
        bytes_max: 65_536,
    }
}

fn golden() -> Vec<Value> {
    let json = TextBody { content_type: ContentType::Json, text: "[[\"GET\",\"a\"]]" };
    let form = TextBody { content_type: ContentType::Form, text: "token=a\nb\n" };
    let set = [("x-user", "u".to_owned()), ("-x-old", String::new())];
    let forward = |remove: &[&str], set: &[(&str, String)], personal: bool| {
        let url = "https://upstream.example/a?b";
        let permit = personal.then_some("{\"route\":\"api\"}");
        forward(&Forward { permit, url, remove, set, personal }, 10_000)
    };
    let head = "1700000000000\nid\nHAM\nGET\nhttps://edge.example/a?b\naccept\n*/*\nx-empty\n";
    let request = IncomingRequest::decode(head).unwrap();
    let captured = "content-type\napplication/json\nset-cookie\na=b\n\n{\n\n}";
    let parsed = CapturedResponse::parse(captured).unwrap();
    let point = DataPoint { index: "api", blobs: &["api", "forwarded", ""], doubles: &[200, 3, 0] };
    let response = |status, text: &str| {
        let expected = Resume::Response(TextResponse { status, text: text.to_owned() });
        resume(&expected, status, text)
    };
    let failed = |error, word| resume(&Resume::Failed(error), 0, word);
    let mut lines = vec![
        step(&Step::FetchText(&text_request(None))),
        step(&Step::FetchText(&text_request(Some(json)))),
        step(&Step::FetchText(&text_request(Some(form)))),
        forward(&["authorization", "x-spoofed"], &set, true),
        forward(&[], &[], false),
        step(&Step::ForwardAgain { deadline_ms: 9_000 }),
        step(&Step::Settle { within_ms: 250 }),
        step(&Step::Compute { within_ms: 10_000 }),
        end(&End::Respond { status: 403, fields: fields(), body: "{\n\n\"a\": 1}\n".to_owned() }),
        end(&End::Respond { status: 204, fields: Fields::new(), body: String::new() }),
        end(&End::Decorate { owns_cors: true, fields: fields() }),
        end(&End::Decorate { owns_cors: false, fields: Fields::new() }),
        end(&End::Pass),
    ];
    let failures = [
        TaskFailure::Stalled,
        TaskFailure::Unknown,
        TaskFailure::HeadInvalid,
        TaskFailure::EndInvalid,
    ];
    lines.extend(failures.map(|failure| end(&End::Failed(failure))));
    lines.extend([
        line(
            "wasm",
            "point",
            point.encode().unwrap().into(),
            json!({ "index": point.index, "blobs": point.blobs, "doubles": point.doubles }),
        ),
        line(
            "js",
            "request",
            head.into(),
            json!({
                "nowMs": request.now_ms, "id": request.request_id, "colo": request.colo,
                "method": request.head.method(), "url": "https://edge.example/a?b",
                "headers": request.head.headers(),
            }),
        ),
        line(
            "js",
            "captured",
            captured.into(),
            json!({ "headers": parsed.fields, "body": parsed.body }),
        ),
        location("DE\n3320", json!({ "country": "DE", "asn": 3320 })),
        location("T1\n", json!({ "country": "T1" })),
        location("\n", json!({ "country": null, "asn": null })),
        resume(&Resume::Start, 2, ""),
        resume(&Resume::Settled, 1, ""),
        response(200, "[{\"result\":null}]\n"),
        response(502, "text/html"),
        failed(PlatformError::Timeout, "timeout"),
        failed(PlatformError::TooLarge, "too large"),
        failed(PlatformError::Unreachable, "unreachable"),
        failed(PlatformError::Rejected, "rejected"),
    ]);
    lines
}

#[test]
fn golden_file_has_each_variant_as_it_is_encoded() {
    let golden = golden();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let text: String = golden.iter().map(|line| format!("{line}\n")).collect();
        std::fs::write(GOLDEN, text).unwrap();
    }
    let committed = std::fs::read_to_string(GOLDEN).unwrap();
    let committed: Vec<Value> =
        committed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(committed, golden, "write it with UPDATE_GOLDEN=1");
}

#[test]
fn encoding_fails_if_a_field_contains_a_line_break() {
    let broken = |change: fn(&mut TextRequest<'static>)| {
        let mut request = text_request(None);
        change(&mut request);
        request.encode()
    };
    assert!(broken(|_| {}).is_ok());
    assert_eq!(broken(|request| request.url = "https://a.example\n"), Err(LineBreakInField));
    assert_eq!(broken(|request| request.request_id = "\n"), Err(LineBreakInField));
    assert_eq!(broken(|request| request.authorization = Some("a\nb")), Err(LineBreakInField));

    let forward = |remove: &[&str], name: &str, value: &str| {
        let set = [(name, value.to_owned())];
        let url = "https://a.example";
        Forward { permit: None, url, remove, set: &set, personal: false }
            .encode()
            .map(|change| change.step(1))
    };
    assert!(forward(&["a"], "b", "c").is_ok());
    assert_eq!(forward(&["a\n"], "b", "c"), Err(LineBreakInField));
    assert_eq!(forward(&["a"], "b\n", "c"), Err(LineBreakInField));
    assert_eq!(forward(&["a"], "b", "c\nd"), Err(LineBreakInField));

    let point = DataPoint { index: "a", blobs: &["b\n"], doubles: &[] };
    assert_eq!(point.encode(), Err(LineBreakInField));
    let fields = [("a".to_owned(), "b\n".to_owned())];
    assert_eq!(encode_response(200, &fields, ""), Err(LineBreakInField));
    let fields = || vec![("a", "b\nc".to_owned())];
    for end in [
        End::Respond { status: 200, fields: fields(), body: String::new() },
        End::Decorate { owns_cors: false, fields: fields() },
    ] {
        assert_eq!(end.encode(), "Xend_invalid");
    }
}

#[test]
fn a_request_with_missing_lines_is_not_decoded() {
    assert!(IncomingRequest::decode("1\nid\n\nGET\nhttps://a.example/").is_some());
    for text in [
        "",
        "1\nid\n\nGET",
        "now\nid\n\nGET\nhttps://a.example/",
        "1\nid\n\nGET\nhttps://a.example/\naccept",
    ] {
        assert!(IncomingRequest::decode(text).is_none(), "{text:?}");
    }
}

#[test]
fn an_unknown_word_is_an_error_that_names_it() {
    let decoded = Resume::decode(0, "tiemout".to_owned());
    assert_eq!(decoded, Err(UnknownWord("tiemout".to_owned())));
    assert_eq!(Resume::decode(0, String::new()), Err(UnknownWord(String::new())));
}
