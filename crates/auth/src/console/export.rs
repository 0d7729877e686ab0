//! Exports of whole lists, as files that a browser saves. They are sent page by page, so that the
//! server never has more than one page, and waits for a slow client.

use crate::problem::Problem;
use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;
use std::sync::Arc;
use std::sync::LazyLock;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// A part of an export.
pub struct Part<P> {
    pub text: String,
    /// The number of rows in the text.
    pub rows: usize,
    /// The place of the next part; `None` after the last one.
    pub next: Option<P>,
}

/// The name and the form of a file.
#[derive(Clone, Copy)]
pub struct ExportFile {
    pub name: &'static str,
    pub media_type: &'static str,
    /// The last line, if there are more rows than a file may have.
    pub cut: &'static str,
}

/// Returns a file of the parts that `read` returns, until it has [`EXPORT_ROWS_MAX`] rows. If
/// there are more, the last line says so. The first part is read before the response begins, so
/// that its error has a status.
///
/// # Errors
///
/// [`Problem::Overloaded`] if as many exports are sent as at most at once, and the first part's.
pub async fn export<P, F>(
    file: ExportFile,
    read: impl Fn(Option<P>) -> F + Send + Sync + 'static,
) -> Result<Response, Problem>
where
    P: Send + 'static,
    F: Future<Output = Result<Part<P>, Problem>> + Send + 'static,
{
    let permit = Arc::clone(&EXPORTS).try_acquire_owned().map_err(|_| Problem::Overloaded)?;
    let ends_at = Instant::now() + EXPORT_TIME_MAX;
    let Part { text, rows, next } = read(None).await?;
    let rest = Rest { read, next, rows, ends_at, _permit: permit };
    let first = stream::once(async move { Ok::<String, std::io::Error>(text) });
    let rest = stream::try_unfold(rest, move |mut rest| async move {
        let Some(place) = rest.next.take() else {
            return Ok(None);
        };
        if rest.rows >= EXPORT_ROWS_MAX {
            return Ok(Some((file.cut.to_owned(), rest)));
        }
        if Instant::now() >= rest.ends_at {
            return Err(std::io::Error::other("the export took too long"));
        }
        // The response is cut off, which the client notices.
        let failed = |problem: Problem| std::io::Error::other(problem.code());
        let part = (rest.read)(Some(place)).await.map_err(failed)?;
        rest.rows += part.rows;
        rest.next = part.next;
        Ok(Some((part.text, rest)))
    });
    let fields = [
        (header::CONTENT_TYPE, file.media_type.to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{}\"", file.name)),
    ];
    let body = Body::from_stream(stream::StreamExt::chain(first, rest));
    Ok((fields, body).into_response())
}

/// What is left of an export.
struct Rest<P, R> {
    read: R,
    next: Option<P>,
    rows: usize,
    ends_at: Instant,
    _permit: OwnedSemaphorePermit,
}

/// The most rows of an export.
pub const EXPORT_ROWS_MAX: usize = 100_000;
/// The longest time of an export, after which the response is cut off.
const EXPORT_TIME_MAX: Duration = Duration::from_secs(300);
/// The last line of CSV that lacks rows.
pub const CSV_CUT: &str =
    "error: the export ends after 100000 rows; give a shorter time for the rest\r\n";
/// The exports that are sent at once.
static EXPORTS: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(4)));

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn export_with_more_rows_than_it_may_have_ends_with_a_line_that_says_so() {
        for (parts, end) in [(4, "row\n"), (5, "cut\n")] {
            let read = move |place: Option<usize>| async move {
                let place = place.unwrap_or(1);
                let next = (place < parts).then_some(place + 1);
                Ok(Part { text: "row\n".to_owned(), rows: EXPORT_ROWS_MAX / 4, next })
            };
            let file = ExportFile { name: "x.csv", media_type: "text/csv", cut: "cut\n" };
            let body = export(file, read).await.unwrap().into_body();
            let body = axum::body::to_bytes(body, 1000).await.unwrap();
            let text = std::str::from_utf8(&body).unwrap();
            assert!(text.starts_with(&"row\n".repeat(4)), "{text}");
            assert_eq!(text.trim_start_matches("row\n"), end.trim_start_matches("row\n"));
        }
    }
}
