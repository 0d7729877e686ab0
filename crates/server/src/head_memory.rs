//! Bounds what the heads of anonymous connections take of memory.

use crate::connection::Connection;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What the large heads of all anonymous connections may still take, in bytes.
pub struct HeadMemory(AtomicUsize);

impl HeadMemory {
    /// Creates the memory of a listener.
    pub fn new(bytes: usize) -> Self {
        Self(AtomicUsize::new(bytes))
    }

    fn take(&self, bytes: usize) -> bool {
        let take = |left: usize| left.checked_sub(bytes);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// A client's stream. While the connection is anonymous, a head over [`SMALL_HEAD_BYTES`] takes
/// from the memory of all. If that is used up, reading fails.
pub struct BoundedHeads<S> {
    stream: S,
    connection: Connection,
    memory: Arc<HeadMemory>,
    /// The number of heads when `read` was last set to zero.
    heads: usize,
    /// The bytes that were read since the last head.
    read: usize,
    taken: usize,
}

impl<S> BoundedHeads<S> {
    /// Bounds the heads of a stream.
    pub fn new(stream: S, connection: Connection, memory: Arc<HeadMemory>) -> Self {
        Self { stream, connection, memory, heads: 0, read: 0, taken: 0 }
    }

    /// Counts bytes that were read. Returns `false` if the memory does not suffice.
    fn count(&mut self, bytes: usize) -> bool {
        if self.heads != self.connection.heads() {
            self.heads = self.connection.heads();
            self.release();
        }
        self.read += bytes;
        let wanted = self.read.saturating_sub(SMALL_HEAD_BYTES).saturating_sub(self.taken);
        let is_taken = wanted == 0 || self.memory.take(wanted);
        if is_taken {
            self.taken += wanted;
        }
        is_taken
    }

    fn release(&mut self) {
        self.memory.give_back(self.taken);
        (self.read, self.taken) = (0, 0);
    }
}

impl<S> Drop for BoundedHeads<S> {
    fn drop(&mut self) {
        self.release();
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for BoundedHeads<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.connection.is_authenticated() {
            if this.taken > 0 {
                this.release();
            }
            return Pin::new(&mut this.stream).poll_read(context, buffer);
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(context, buffer))?;
        if this.count(buffer.filled().len() - before) {
            return Poll::Ready(Ok(()));
        }
        Poll::Ready(Err(io::Error::other("too many large heads at once")))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for BoundedHeads<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

/// More than the heads of usual clients have.
const SMALL_HEAD_BYTES: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::{Admission, AdmissionLimits};
    use std::time::Instant;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

    fn connect(memory: &Arc<HeadMemory>) -> (DuplexStream, BoundedHeads<DuplexStream>, Connection) {
        let limits = AdmissionLimits { connections_max: 9, anonymous_per_network_max: 9 };
        let admission = Arc::new(Admission::new(limits, Instant::now()));
        let connection = Connection::new(0, "127.0.0.1:1".parse().unwrap(), admission);
        let (client, server) = tokio::io::duplex(1 << 20);
        let bounded = BoundedHeads::new(server, connection.clone(), Arc::clone(memory));
        (client, bounded, connection)
    }

    #[tokio::test]
    async fn large_heads_of_anonymous_connections_share_a_bound() {
        const LARGE: usize = SMALL_HEAD_BYTES + 1000;
        let memory = Arc::new(HeadMemory::new(2500));
        let mut streams = Vec::new();
        for place in 0..4 {
            let (mut client, mut server, connection) = connect(&memory);
            client.write_all(&vec![b'x'; LARGE]).await.unwrap();
            let read = server.read_exact(&mut vec![0; LARGE]).await;
            assert_eq!(read.is_ok(), place < 2, "{place}");
            streams.push((client, server, connection));
        }
        // A whole head gives its memory back, and so does the end of a connection.
        streams[0].2.begin_request();
        let (client, server, _) = &mut streams[0];
        client.write_all(b"x").await.unwrap();
        server.read_exact(&mut [0]).await.unwrap();
        assert_eq!(memory.0.load(Ordering::Relaxed), 1500);
        streams.clear();
        assert_eq!(memory.0.load(Ordering::Relaxed), 2500);
        // With a token, there is no such bound.
        let (mut client, mut server, connection) = connect(&memory);
        connection.authenticate();
        client.write_all(&vec![b'x'; 2 * LARGE]).await.unwrap();
        server.read_exact(&mut vec![0; 2 * LARGE]).await.unwrap();
        assert_eq!(memory.0.load(Ordering::Relaxed), 2500);
    }
}
