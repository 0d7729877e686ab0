//! The format of the log's lines. The edge writes the same.

use crate::telemetry::is_of_telemetry;
use portcullis_core::UnixMillis;
use std::fmt::{self, Debug};
use std::time::SystemTime;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

/// Formats an event as one JSON object: time, level, program, the event's fields, and those of its
/// spans.
pub struct LineFormat {
    pub program: &'static str,
}

impl<S, N> FormatEvent<S, N> for LineFormat
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let metadata = event.metadata();
        let (time, level) = (now(), level_name(*metadata.level()));
        write!(writer, r#"{{"time":"{time}","level":"{level}","program":"{}""#, self.program)?;
        // A line of a dependency.
        if metadata.fields().field("event").is_none() {
            write!(writer, r#","event":"log","target":"{}""#, metadata.target())?;
        }
        context.format_fields(writer.by_ref(), event)?;
        let spans = context.event_scope().into_iter().flatten();
        for span in spans.filter(|span| !is_of_telemetry(span.metadata())) {
            if let Some(fields) = span.extensions().get::<FormattedFields<N>>() {
                writer.write_str(fields)?;
            }
        }
        writer.write_str("}\n")
    }
}

/// Formats fields as members of a JSON object, each after a comma.
pub struct MemberFormat;

impl<'w> FormatFields<'w> for MemberFormat {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut members = Members { writer, outcome: Ok(()) };
        fields.record(&mut members);
        members.outcome
    }
}

struct Members<'w> {
    writer: Writer<'w>,
    outcome: fmt::Result,
}

impl Members<'_> {
    fn write(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        let written = write!(self.writer, r#","{}":{value}"#, field.name());
        self.outcome = self.outcome.and(written);
    }
}

impl Visit for Members<'_> {
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.write(field, format_args!("{value}"));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        if value.is_finite() {
            self.write(field, format_args!("{value}"));
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.write(field, format_args!("{value}"));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.write(field, format_args!("{value}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let is_plain = |b: u8| (b' '..=b'~').contains(&b) && !matches!(b, b'"' | b'\\');
        if value.bytes().all(is_plain) {
            self.write(field, format_args!("\"{value}\""));
        } else {
            self.write(field, format_args!("{}", serde_json::Value::from(value)));
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

fn level_name(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

fn now() -> UnixMillis {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    UnixMillis(u64::try_from(since.as_millis()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn line_is_one_flat_object() {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let subscriber = tracing_subscriber::fmt()
            .event_format(LineFormat { program: "auth" })
            .fmt_fields(MemberFormat)
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            let span = tracing::info_span!("request", request_id = "r\"1");
            let _entered = span.enter();
            let (missing, text) = (None::<&str>, "a\n\u{e9}");
            tracing::warn!(event = "request", status = 401, ms = 0.5, ok = true, text, missing);
            tracing::info!(event = "other", error = %"it \\ fails");
            tracing::error!("of a {}", "dependency");
        });
        let text = String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap();
        let mut lines: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        for line in &mut lines {
            let time = line.as_object_mut().unwrap().remove("time").unwrap();
            assert_eq!(time.as_str().unwrap().len(), 24, "{time}");
        }
        let id = "r\"1";
        let expect = [
            json!({ "level": "warn", "program": "auth", "event": "request", "status": 401,
                    "ms": 0.5, "ok": true, "text": "a\n\u{e9}", "request_id": id }),
            json!({ "level": "info", "program": "auth", "event": "other",
                    "error": "it \\ fails", "request_id": id }),
            json!({ "level": "error", "program": "auth", "event": "log",
                    "target": "portcullis_server::log_format::tests",
                    "message": "of a dependency", "request_id": id }),
        ];
        assert_eq!(lines, expect);
    }
}
