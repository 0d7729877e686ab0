//! Exports of whole lists, as files that a browser saves. They are sent page by page, so that the
//! server never has more than one page, and waits for a slow client.

use crate::problem::Problem;
use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;
use std::sync::Arc;
use std::sync::LazyLock;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

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
}

/// Returns a file of the parts that `read` returns, until it has [`EXPORT_ROWS_MAX`] rows. The
/// first part is read before the response begins, so that its error has a status.
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
    let Part { text, rows, next } = read(None).await?;
    let rest = Rest { read, next, rows, _permit: permit };
    let first = stream::once(async move { Ok::<String, std::io::Error>(text) });
    let rest = stream::try_unfold(rest, |mut rest| async move {
        let Some(place) = rest.next.take().filter(|_| rest.rows < EXPORT_ROWS_MAX) else {
            return Ok(None);
        };
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
    _permit: OwnedSemaphorePermit,
}

/// The most rows of an export.
pub const EXPORT_ROWS_MAX: usize = 100_000;
/// The exports that are sent at once.
static EXPORTS: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(4)));
