//! One side of a session: a stream, what was read of it but isn't a whole packet yet, and what is
//! still to be written to it. Both buffers exist only while they hold something.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

pub(super) struct Leg<S> {
    stream: S,
    input: Vec<u8>,
    output: Vec<u8>,
    written: usize,
    /// The stream may hold back what it took, as TLS does.
    unflushed: bool,
    /// Bytes that the stream has taken so far.
    taken: u64,
}

/// What reading came to.
pub(super) enum Read<E> {
    /// Something was read and judged.
    Judged,
    /// What was read ends the session.
    Ends(E),
    /// The peer sends nothing more, or the stream broke.
    Lost,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Leg<S> {
    pub(super) fn new(stream: S) -> Self {
        Self {
            stream,
            input: Vec::new(),
            output: Vec::new(),
            written: 0,
            unflushed: false,
            taken: 0,
        }
    }

    /// Bytes that the peer's stream has taken so far.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    /// Bytes that wait to be written.
    pub(super) fn backlog(&self) -> usize {
        self.output.len() - self.written
    }

    /// Reads what is there into `scratch` and hands everything unjudged to `judge`, which says
    /// how many bytes it has dealt with.
    pub(super) fn poll_read<E>(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut [u8],
        judge: impl FnOnce(&[u8]) -> Result<usize, E>,
    ) -> Poll<Read<E>> {
        let mut buffer = ReadBuf::new(scratch);
        match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
            Poll::Pending => return Poll::Pending,
            // Why a stream broke makes no difference to what follows.
            Poll::Ready(Err(_)) => return Poll::Ready(Read::Lost),
            Poll::Ready(Ok(())) => {}
        }
        let fresh = buffer.filled();
        if fresh.is_empty() {
            return Poll::Ready(Read::Lost);
        }
        Poll::Ready(match self.take(fresh, judge) {
            Ok(()) => Read::Judged,
            Err(end) => Read::Ends(end),
        })
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
            if self.input.is_empty() {
                self.input = Vec::new();
            }
        }
        Ok(())
    }

    /// Adds to what is to be written, without writing.
    pub(super) fn queue(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        // A peer that reads slowly but steadily may never let the buffer run empty.
        self.output.drain(..self.written);
        self.written = 0;
        self.output.extend_from_slice(bytes);
    }

    /// Writes `bytes` at once as far as the peer takes them; the rest is queued.
    pub(super) fn send(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        while self.backlog() == 0 && !rest.is_empty() {
            match Pin::new(&mut self.stream).poll_write(cx, rest) {
                Poll::Pending => break,
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(written)) => {
                    rest = rest.get(written..).unwrap_or_default();
                    self.took(written);
                }
                Poll::Ready(Err(error)) => return Err(error),
            }
        }
        self.queue(rest);
        match self.poll_write_out(cx) {
            Poll::Ready(result) => result,
            Poll::Pending => Ok(()),
        }
    }

    /// Writes and flushes as much as the peer takes; `Ready(Ok(()))` when all is out.
    pub(super) fn poll_write_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.backlog() > 0 {
            let rest = self.output.get(self.written..).unwrap_or_default();
            match Pin::new(&mut self.stream).poll_write(cx, rest) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(written)) => {
                    self.written += written;
                    self.took(written);
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            }
        }
        if self.written > 0 {
            self.output = Vec::new();
            self.written = 0;
        }
        if self.unflushed {
            match Pin::new(&mut self.stream).poll_flush(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Ready(Ok(())) => self.unflushed = false,
            }
        }
        Poll::Ready(Ok(()))
    }

    fn took(&mut self, bytes: usize) {
        self.taken += bytes as u64;
        self.unflushed = true;
    }

    /// Writes out everything, then tells the peer that nothing more comes.
    pub(super) async fn finish(&mut self) -> io::Result<()> {
        std::future::poll_fn(|cx| self.poll_write_out(cx)).await?;
        std::future::poll_fn(|cx| Pin::new(&mut self.stream).poll_shutdown(cx)).await
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Takes `take` bytes of whatever it sees and remembers what that was.
    fn taking(take: usize, seen: &mut Vec<u8>) -> impl FnOnce(&[u8]) -> Result<usize, Infallible> {
        move |bytes| {
            *seen = bytes.to_vec();
            Ok(take.min(bytes.len()))
        }
    }

    async fn read(
        leg: &mut Leg<tokio::io::DuplexStream>,
        judge: impl FnOnce(&[u8]) -> Result<usize, Infallible>,
    ) -> Read<Infallible> {
        let mut scratch = [0; 64];
        let mut judge = Some(judge);
        std::future::poll_fn(|cx| {
            leg.poll_read(cx, &mut scratch, |bytes| (judge.take().unwrap())(bytes))
        })
        .await
    }

    #[tokio::test]
    async fn what_is_not_judged_yet_comes_again_with_what_follows() {
        let (stream, mut peer) = tokio::io::duplex(1024);
        let mut leg = Leg::new(stream);
        let mut seen = Vec::new();
        peer.write_all(b"abcde").await.unwrap();
        assert!(matches!(
            read(&mut leg, taking(3, &mut seen)).await,
            Read::Judged
        ));
        assert_eq!(leg.input, b"de");
        peer.write_all(b"fg").await.unwrap();
        assert!(matches!(
            read(&mut leg, taking(9, &mut seen)).await,
            Read::Judged
        ));
        assert_eq!(seen, b"defg");
        assert_eq!(leg.input.capacity(), 0, "an idle side keeps no buffer");
        drop(peer);
        assert!(matches!(
            read(&mut leg, taking(0, &mut seen)).await,
            Read::Lost
        ));
    }

    #[tokio::test]
    async fn what_the_peer_does_not_take_waits_and_keeps_its_order() {
        let (stream, mut peer) = tokio::io::duplex(4);
        let mut leg = Leg::new(stream);
        let mut send = async |bytes: &[u8]| {
            std::future::poll_fn(|cx| Poll::Ready(leg.send(cx, bytes)))
                .await
                .unwrap();
            leg.backlog()
        };
        assert_eq!(send(b"abcdef").await, 2);
        assert_eq!(send(b"gh").await, 4);
        let mut taken = [0; 4];
        peer.read_exact(&mut taken).await.unwrap();
        assert_eq!(&taken, b"abcd");
        std::future::poll_fn(|cx| leg.poll_write_out(cx))
            .await
            .unwrap();
        assert_eq!((leg.backlog(), leg.output.capacity()), (0, 0));
        peer.read_exact(&mut taken).await.unwrap();
        assert_eq!(&taken, b"efgh");
    }

    #[tokio::test]
    async fn a_slow_but_steady_reader_costs_no_more_than_what_waits() {
        let (stream, mut peer) = tokio::io::duplex(8);
        let mut leg = Leg::new(stream);
        leg.queue(&[0; 16]);
        let mut taken = [0; 8];
        for _ in 0..1_000 {
            // Eight bytes come for every eight that are taken: it never runs empty.
            let write = std::future::poll_fn(|cx| Poll::Ready(leg.poll_write_out(cx)));
            let _ = tokio::task::unconstrained(write).await;
            peer.read_exact(&mut taken).await.unwrap();
            tokio::task::yield_now().await;
            leg.queue(&[0; 8]);
            assert!(leg.backlog() > 0);
        }
        assert!(
            leg.output.len() <= 64,
            "{} bytes are kept",
            leg.output.len()
        );
    }
}
