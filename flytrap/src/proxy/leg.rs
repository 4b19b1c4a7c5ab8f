//! One side of a session: a stream, what was read of it but isn't a whole packet yet, and what is
//! still to be written to it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A buffer that grew beyond this is given back when it runs empty: an idle session keeps none.
const KEEP_CAPACITY: usize = 4 * 1024;

pub(super) struct Leg<S> {
    stream: S,
    input: Vec<u8>,
    output: Vec<u8>,
    written: usize,
    /// The peer sends nothing more.
    pub(super) ended: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Leg<S> {
    pub(super) fn new(stream: S) -> Self {
        Self {
            stream,
            input: Vec::new(),
            output: Vec::new(),
            written: 0,
            ended: false,
        }
    }

    /// Bytes that wait to be written.
    pub(super) fn backlog(&self) -> usize {
        self.output.len() - self.written
    }

    /// Reads what is there into `scratch` and hands everything unjudged to `judge`, which says
    /// how many bytes it has dealt with. `Ready(Ok(false))` at the end of the stream.
    pub(super) fn poll_read<E>(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut [u8],
        judge: impl FnOnce(&[u8]) -> Result<usize, E>,
    ) -> Poll<Result<bool, ReadFailure<E>>> {
        let mut buffer = ReadBuf::new(scratch);
        // Why a stream broke makes no difference to what follows.
        match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Err(_)) => return Poll::Ready(Err(ReadFailure::Broken)),
            Poll::Ready(Ok(())) => {}
        }
        let fresh = buffer.filled();
        if fresh.is_empty() {
            self.ended = true;
            return Poll::Ready(Ok(false));
        }
        Poll::Ready(
            self.take(fresh, judge)
                .map(|()| true)
                .map_err(ReadFailure::Judged),
        )
    }

    /// Hands what was held back to `judge` once more.
    pub(super) fn judge_again<E>(
        &mut self,
        judge: impl FnOnce(&[u8]) -> Result<usize, E>,
    ) -> Result<(), E> {
        self.take(&[], judge)
    }

    fn take<E>(
        &mut self,
        fresh: &[u8],
        judge: impl FnOnce(&[u8]) -> Result<usize, E>,
    ) -> Result<(), E> {
        if self.input.is_empty() {
            let consumed = judge(fresh)?;
            self.input
                .extend_from_slice(fresh.get(consumed..).unwrap_or_default());
        } else {
            self.input.extend_from_slice(fresh);
            let consumed = judge(&self.input)?;
            self.input.drain(..consumed.min(self.input.len()));
            if self.input.is_empty() && self.input.capacity() > KEEP_CAPACITY {
                self.input = Vec::new();
            }
        }
        Ok(())
    }

    pub(super) fn queue(&mut self, bytes: &[u8]) {
        self.output.extend_from_slice(bytes);
    }

    /// Writes and flushes as much as the peer takes; `Ready(Ok(()))` when all is out.
    pub(super) fn poll_write_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.output.is_empty() {
            return Poll::Ready(Ok(()));
        }
        while self.backlog() > 0 {
            let rest = self.output.get(self.written..).unwrap_or_default();
            match Pin::new(&mut self.stream).poll_write(cx, rest) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(written)) => self.written += written,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            }
        }
        match Pin::new(&mut self.stream).poll_flush(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) => {}
        }
        self.written = 0;
        if self.output.capacity() > KEEP_CAPACITY {
            self.output = Vec::new();
        } else {
            self.output.clear();
        }
        Poll::Ready(Ok(()))
    }

    /// Writes out everything, then tells the peer that nothing more comes.
    pub(super) async fn finish(&mut self) -> io::Result<()> {
        std::future::poll_fn(|cx| self.poll_write_out(cx)).await?;
        std::future::poll_fn(|cx| Pin::new(&mut self.stream).poll_shutdown(cx)).await
    }
}

/// Why reading ended.
pub(super) enum ReadFailure<E> {
    /// The stream broke.
    Broken,
    /// What was read ends the session.
    Judged(E),
}
