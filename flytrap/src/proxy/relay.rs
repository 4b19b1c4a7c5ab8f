//! Carries one session's bytes: reads both sides, lets the session judge, writes what it says.
//!
//! Backpressure: a side is read only while the other takes what was read, so a slow reader costs
//! one bounded buffer and then stops the sender.

use std::cell::RefCell;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use super::Surroundings;
use super::leg::{Leg, ReadFailure};
use crate::policy::Snapshot;
use crate::session::{Close, Context, End, Output, Phase, Session};

/// What one read takes at most. One buffer per thread serves all its sessions.
const READ_BYTES: usize = 64 * 1024;

/// A side with this many bytes waiting for it gets no more from the other side's packets.
const HIGH_WATER: usize = 64 * 1024;

/// Rounds of reading and writing before other sessions of the thread get their turn.
const ROUNDS: usize = 8;

/// When nothing else is due.
const IDLE: Duration = Duration::from_hours(1);

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into_boxed_slice());
}

pub(super) struct Relay<C> {
    pub(super) session: Session,
    pub(super) client: Leg<C>,
    broker: Option<Leg<TcpStream>>,
    surroundings: Arc<Surroundings>,
    pub(super) out: Output,
    timer: Pin<Box<Sleep>>,
}

impl<C: AsyncRead + AsyncWrite + Unpin> Relay<C> {
    pub(super) fn new(session: Session, client: C, surroundings: Arc<Surroundings>) -> Self {
        let timer = Box::pin(tokio::time::sleep(surroundings.limits.connect_timeout));
        Self {
            session,
            client: Leg::new(client),
            broker: None,
            surroundings,
            out: Output::default(),
            timer,
        }
    }

    /// Gives the session its broker, which must answer the CONNECT in time.
    pub(super) fn connected(&mut self, broker: TcpStream) {
        self.broker = Some(Leg::new(broker));
        self.queue_output();
        self.arm(self.surroundings.limits.upstream_timeout);
    }

    /// Runs until the phase is no longer `phase`, or to the session's end.
    pub(super) async fn run_while(
        &mut self,
        phase: Phase,
        mut report: impl FnMut(&mut Output),
    ) -> Result<(), Close> {
        std::future::poll_fn(|cx| {
            let snapshot = self.surroundings.mirror.current();
            let step = self.step(cx, &snapshot);
            self.queue_output();
            report(&mut self.out);
            match step {
                Some(close) => Poll::Ready(Err(close)),
                None if self.session.phase() != phase => Poll::Ready(Ok(())),
                None => Poll::Pending,
            }
        })
        .await
    }

    /// Moves what the session wrote to the side it is for.
    pub(super) fn queue_output(&mut self) {
        self.client.queue(&self.out.down);
        self.out.down.clear();
        if let Some(broker) = &mut self.broker {
            broker.queue(&self.out.up);
            self.out.up.clear();
        }
    }

    /// Ends the session for a reason that lies outside.
    pub(super) fn end(&mut self, end: End) -> Close {
        let close = self.session.end(end, &mut self.out);
        self.queue_output();
        close
    }

    /// Writes out what is left for both sides and closes them.
    pub(super) async fn finish(&mut self) {
        // Whoever doesn't take it by now has missed it; the caller limits the time.
        if let Some(broker) = &mut self.broker {
            let (_, _) = tokio::join!(broker.finish(), self.client.finish());
        } else {
            let _ = self.client.finish().await;
        }
    }

    /// Reads and forgets until the client closes, so that the kernel doesn't throw away what was
    /// just written because unread bytes are left.
    pub(super) async fn linger(&mut self) {
        std::future::poll_fn(|cx| {
            SCRATCH.with_borrow_mut(|scratch| {
                for _ in 0..ROUNDS {
                    let forget = |bytes: &[u8]| Ok::<_, ()>(bytes.len());
                    match self.client.poll_read(cx, scratch, forget) {
                        Poll::Pending => return Poll::Pending,
                        Poll::Ready(Ok(true)) => {}
                        Poll::Ready(_) => return Poll::Ready(()),
                    }
                }
                cx.waker().wake_by_ref();
                Poll::Pending
            })
        })
        .await;
    }

    fn step(&mut self, cx: &mut TaskContext<'_>, snapshot: &Snapshot) -> Option<Close> {
        let context = Context {
            snapshot,
            now: self.surroundings.clock.now(),
            elapsed: self.surroundings.started.elapsed(),
        };
        if self.timer.as_mut().poll(cx).is_ready() {
            if let Err(close) = self.on_timer(&context) {
                return Some(close);
            }
            // Registers the timer's new deadline.
            let _ = self.timer.as_mut().poll(cx);
        }
        SCRATCH.with_borrow_mut(|scratch| {
            for _ in 0..ROUNDS {
                match self.round(cx, &context, scratch) {
                    Ok(true) => {}
                    Ok(false) => return None,
                    Err(close) => return Some(close),
                }
            }
            cx.waker().wake_by_ref();
            None
        })
    }

    /// One pass over both sides; says whether it moved anything.
    fn round(
        &mut self,
        cx: &mut TaskContext<'_>,
        context: &Context<'_>,
        scratch: &mut [u8],
    ) -> Result<bool, Close> {
        let phase = self.session.phase();
        self.write_out(cx, context)?;
        let mut moved = self.read_client(cx, context, scratch)?;
        moved |= self.read_broker(cx, context, scratch)?;
        self.queue_output();
        if self.session.phase() == Phase::Live && phase != Phase::Live {
            self.rearm(context);
            let (session, out) = (&mut self.session, &mut self.out);
            self.client
                .judge_again(|bytes| session.client_bytes(bytes, context, out))?;
            self.queue_output();
        }
        // A phase that ends is reported first: a client that reads its CONNACK and fails its next
        // login must not be counted in the other order.
        if moved && self.session.phase() == phase {
            self.write_out(cx, context)?;
        }
        Ok(moved && self.session.phase() == phase)
    }

    fn write_out(&mut self, cx: &mut TaskContext<'_>, context: &Context<'_>) -> Result<(), Close> {
        if let Poll::Ready(Err(_)) = self.client.poll_write_out(cx) {
            return Err(self.session.client_lost(context, &mut self.out));
        }
        if let Some(broker) = &mut self.broker
            && let Poll::Ready(Err(_)) = broker.poll_write_out(cx)
        {
            return Err(self.broker_lost());
        }
        Ok(())
    }

    fn read_client(
        &mut self,
        cx: &mut TaskContext<'_>,
        context: &Context<'_>,
        scratch: &mut [u8],
    ) -> Result<bool, Close> {
        let towards_broker = self.broker.as_ref().map_or(0, Leg::backlog);
        let held = self.session.phase() == Phase::AwaitConnack;
        if held || towards_broker >= HIGH_WATER || self.client.backlog() >= HIGH_WATER {
            return Ok(false);
        }
        let (session, out) = (&mut self.session, &mut self.out);
        let judge = |bytes: &[u8]| session.client_bytes(bytes, context, out);
        match self.client.poll_read(cx, scratch, judge) {
            Poll::Pending => Ok(false),
            Poll::Ready(Ok(true)) => Ok(true),
            Poll::Ready(Err(ReadFailure::Judged(close))) => Err(close),
            Poll::Ready(Ok(false) | Err(ReadFailure::Broken)) => {
                Err(self.session.client_lost(context, &mut self.out))
            }
        }
    }

    fn read_broker(
        &mut self,
        cx: &mut TaskContext<'_>,
        context: &Context<'_>,
        scratch: &mut [u8],
    ) -> Result<bool, Close> {
        let Some(broker) = &mut self.broker else {
            return Ok(false);
        };
        // What reading the broker makes the gateway send up are acknowledgements, at most one per
        // packet of a window that the broker itself bounds: they may exceed the mark, or two full
        // sides could wait for each other for ever.
        if self.client.backlog() >= HIGH_WATER {
            return Ok(false);
        }
        let (session, out) = (&mut self.session, &mut self.out);
        let judge = |bytes: &[u8]| session.broker_bytes(bytes, context, out);
        match broker.poll_read(cx, scratch, judge) {
            Poll::Pending => Ok(false),
            Poll::Ready(Ok(true)) => Ok(true),
            Poll::Ready(Err(ReadFailure::Judged(close))) => Err(close),
            Poll::Ready(Ok(false) | Err(ReadFailure::Broken)) => Err(self.broker_lost()),
        }
    }

    fn broker_lost(&mut self) -> Close {
        let end = match self.session.phase() {
            Phase::Live => End::BrokerLost,
            _ => End::BrokerUnreachable,
        };
        self.session.end(end, &mut self.out)
    }

    fn on_timer(&mut self, context: &Context<'_>) -> Result<(), Close> {
        match self.session.phase() {
            Phase::AwaitConnect => {
                return Err(self.session.end(End::ConnectTimeout, &mut self.out));
            }
            Phase::AwaitConnack => return Err(self.broker_lost()),
            Phase::Live => self.session.tick(context, &mut self.out)?,
        }
        self.rearm(context);
        Ok(())
    }

    fn rearm(&mut self, context: &Context<'_>) {
        // A deadline of zero is due, but not due within this very poll.
        let soonest = Duration::from_millis(10);
        self.arm(
            self.session
                .deadline(context)
                .unwrap_or(IDLE)
                .clamp(soonest, IDLE),
        );
    }

    fn arm(&mut self, after: Duration) {
        self.timer.as_mut().reset(Instant::now() + after);
    }
}
