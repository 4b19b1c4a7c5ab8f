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
use super::leg::{Leg, Read};
use super::report::Reporter;
use super::upstream::dial;
use crate::identity::Staleness;
use crate::nonces::{Refused, Use};
use crate::session::{Cause, Close, Context, Output, Phase, Session, Unspent};

/// What one read takes at most.
const READ_BYTES: usize = 64 * 1024;

/// A side with this many bytes waiting for it gets no more from the other side's packets.
const HIGH_WATER: usize = 64 * 1024;

/// Rounds of reading and writing before other sessions of the thread get their turn.
const ROUNDS: usize = 8;

/// When nothing else is due.
const IDLE: Duration = Duration::from_hours(1);

/// What all sessions of a thread read into and write from, one after the other.
struct Scratch {
    input: Box<[u8]>,
    out: Output,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch {
        input: vec![0; READ_BYTES].into_boxed_slice(),
        out: Output::default(),
    });
}

pub(super) struct Relay<C> {
    session: Session,
    client: Leg<C>,
    broker: Option<Leg<TcpStream>>,
    /// The gateway's CONNECT, until there is a broker to send it to.
    connect: Vec<u8>,
    reporter: Reporter,
    surroundings: Arc<Surroundings>,
    timer: Pin<Box<Sleep>>,
    /// What the client had taken when the timer last fired.
    taken: u64,
}

impl<C: AsyncRead + AsyncWrite + Unpin> Relay<C> {
    pub(super) fn new(
        session: Session,
        client: C,
        reporter: Reporter,
        surroundings: Arc<Surroundings>,
    ) -> Self {
        let timer = Box::pin(tokio::time::sleep(surroundings.limits.connect_timeout));
        Self {
            session,
            client: Leg::new(client),
            broker: None,
            connect: Vec::new(),
            reporter,
            surroundings,
            timer,
            taken: 0,
        }
    }

    /// Runs the session until its own packets, its peers or the time end it.
    pub(super) async fn run(&mut self) -> Close {
        if let Err(close) = self.carry_in(Phase::AwaitConnect).await {
            return close;
        }
        if let Err(close) = self.use_up().await {
            return close;
        }
        let timeout = self.surroundings.limits.upstream_timeout;
        match dial(&self.surroundings.upstream, timeout).await {
            Ok(broker) => {
                let broker = self.broker.insert(Leg::new(broker));
                broker.queue(&std::mem::take(&mut self.connect));
            }
            Err(error) => return self.end(Cause::BrokerUnreachable(error.to_string())),
        }
        self.arm(timeout);
        loop {
            if let Err(close) = self.carry_in(self.session.phase()).await {
                return close;
            }
        }
    }

    /// Writes down that a single-use token is used, and waits until that is on disk.
    async fn use_up(&mut self) -> Result<(), Close> {
        let Some(single) = self.session.to_spend() else {
            return Ok(());
        };
        let one = Use {
            wallet: single.wallet,
            device: single.device,
            nonce: single.nonce,
            expires: single.expires,
        };
        let now = self.surroundings.clock.now();
        let spent = self.surroundings.nonces.spend(one, now).await;
        let spent = spent.map_err(|refused| match refused {
            Refused::Used => Unspent::Stale(Staleness::Used),
            Refused::Full => Unspent::Stale(Staleness::UsesFull),
            Refused::Unavailable => Unspent::Unavailable,
        });
        let mut out = Output::default();
        let result = self.session.spent(spent, &mut out);
        self.queue(&mut out);
        result
    }

    /// Ends the session for a reason that lies outside.
    pub(super) fn end(&mut self, cause: Cause) -> Close {
        let mut out = Output::default();
        let close = self.session.end(cause, &mut out);
        self.queue(&mut out);
        close
    }

    /// Tells of the end that `close` is.
    pub(super) fn report_end(&mut self, close: &Close) {
        self.reporter.closed(close, self.session.principal());
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
                    match self.client.poll_read(cx, &mut scratch.input, forget) {
                        Poll::Pending => return Poll::Pending,
                        Poll::Ready(Read::Judged) => {}
                        Poll::Ready(_) => return Poll::Ready(()),
                    }
                }
                cx.waker().wake_by_ref();
                Poll::Pending
            })
        })
        .await;
    }

    /// Carries bytes until the phase is no longer `phase`, or to the session's end.
    async fn carry_in(&mut self, phase: Phase) -> Result<(), Close> {
        std::future::poll_fn(|cx| {
            SCRATCH.with_borrow_mut(|scratch| {
                let step = self.step(cx, scratch);
                let out = &mut scratch.out;
                if step.is_err() {
                    self.reporter.report(out, self.session.principal());
                    self.queue(out);
                }
                // Another session writes into it next.
                debug_assert!(out.up.is_empty() && out.down.is_empty() && out.notes.is_empty());
                match step {
                    Err(close) => Poll::Ready(Err(close)),
                    Ok(()) if self.session.phase() != phase => Poll::Ready(Ok(())),
                    Ok(()) => Poll::Pending,
                }
            })
        })
        .await
    }

    fn step(&mut self, cx: &mut TaskContext<'_>, scratch: &mut Scratch) -> Result<(), Close> {
        let snapshot = self.surroundings.mirror.current();
        let context = Context {
            snapshot: &snapshot,
            now: self.surroundings.clock.now(),
            elapsed: self.surroundings.started.elapsed(),
        };
        // A connection from before the ban gets no further guess.
        if self.session.phase() == Phase::AwaitConnect && self.reporter.is_banned() {
            return Err(self.session.end(Cause::Banned, &mut scratch.out));
        }
        if self.timer.as_mut().poll(cx).is_ready() {
            self.on_timer(&context, &mut scratch.out)?;
            // Registers the timer's new deadline.
            let _ = self.timer.as_mut().poll(cx);
        }
        for _ in 0..ROUNDS {
            if !self.round(cx, &context, scratch)? {
                return Ok(());
            }
        }
        cx.waker().wake_by_ref();
        Ok(())
    }

    /// One pass over both sides; says whether another one is worth while.
    fn round(
        &mut self,
        cx: &mut TaskContext<'_>,
        context: &Context<'_>,
        scratch: &mut Scratch,
    ) -> Result<bool, Close> {
        let phase = self.session.phase();
        self.deliver(cx, context, &mut scratch.out)?;
        let mut moved = self.read_client(cx, context, scratch)?;
        moved |= self.read_broker(cx, context, scratch)?;
        self.deliver(cx, context, &mut scratch.out)?;
        if self.session.phase() == Phase::Live && phase != Phase::Live {
            self.rearm(context);
            let (session, out) = (&mut self.session, &mut scratch.out);
            self.client
                .judge_again(|bytes| session.client_bytes(bytes, context, out))?;
            self.deliver(cx, context, out)?;
        }
        Ok(moved && self.session.phase() == phase)
    }

    /// Reports what was judged, then writes it: a client that reads its CONNACK and fails its next
    /// login must not be counted in the other order. Also writes what had to wait before.
    fn deliver(
        &mut self,
        cx: &mut TaskContext<'_>,
        context: &Context<'_>,
        out: &mut Output,
    ) -> Result<(), Close> {
        self.reporter.report(out, self.session.principal());
        if let Some(broker) = &mut self.broker {
            let sent = broker.send(cx, &out.up);
            out.up.clear();
            if sent.is_err() {
                return Err(self.broker_lost(out));
            }
        } else {
            self.connect.append(&mut out.up);
        }
        let sent = self.client.send(cx, &out.down);
        out.down.clear();
        sent.map_err(|_| self.session.client_lost(context, out))
    }

    /// Leaves it to [`finish`](Self::finish) to write what the session says last. What is meant
    /// for a broker that was never reached is forgotten.
    fn queue(&mut self, out: &mut Output) {
        self.client.queue(&out.down);
        if let Some(broker) = &mut self.broker {
            broker.queue(&out.up);
        }
        out.down.clear();
        out.up.clear();
    }

    fn read_client(
        &mut self,
        cx: &mut TaskContext<'_>,
        context: &Context<'_>,
        scratch: &mut Scratch,
    ) -> Result<bool, Close> {
        let held = self.session.phase() == Phase::AwaitConnack;
        if held || self.broker_is_slow() || self.client.backlog() >= HIGH_WATER {
            return Ok(false);
        }
        let (session, out) = (&mut self.session, &mut scratch.out);
        let judge = |bytes: &[u8]| session.client_bytes(bytes, context, out);
        match self.client.poll_read(cx, &mut scratch.input, judge) {
            Poll::Pending => Ok(false),
            Poll::Ready(Read::Judged) => Ok(true),
            Poll::Ready(Read::Ends(close)) => Err(close),
            Poll::Ready(Read::Lost) => Err(self.session.client_lost(context, &mut scratch.out)),
        }
    }

    fn read_broker(
        &mut self,
        cx: &mut TaskContext<'_>,
        context: &Context<'_>,
        scratch: &mut Scratch,
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
        let (session, out) = (&mut self.session, &mut scratch.out);
        let judge = |bytes: &[u8]| session.broker_bytes(bytes, context, out);
        match broker.poll_read(cx, &mut scratch.input, judge) {
            Poll::Pending => Ok(false),
            Poll::Ready(Read::Judged) => Ok(true),
            Poll::Ready(Read::Ends(close)) => Err(close),
            Poll::Ready(Read::Lost) => Err(self.broker_lost(&mut scratch.out)),
        }
    }

    fn broker_is_slow(&self) -> bool {
        self.broker
            .as_ref()
            .is_some_and(|broker| broker.backlog() >= HIGH_WATER)
    }

    fn broker_lost(&mut self, out: &mut Output) -> Close {
        let cause = match self.session.phase() {
            Phase::Live => Cause::BrokerLost,
            _ => Cause::BrokerUnreachable("it closed the connection instead of a CONNACK".into()),
        };
        self.session.end(cause, out)
    }

    fn on_timer(&mut self, context: &Context<'_>, out: &mut Output) -> Result<(), Close> {
        match self.session.phase() {
            Phase::AwaitConnect => return Err(self.session.end(Cause::ConnectTimeout, out)),
            Phase::AwaitConnack => {
                let waited = self.surroundings.limits.upstream_timeout;
                let cause = Cause::BrokerUnreachable(format!("no CONNACK within {waited:?}"));
                return Err(self.session.end(cause, out));
            }
            Phase::Live => {
                // A client that isn't read can't be heard. One that takes bytes is alive.
                let taken = self.client.taken();
                let reads_slowly = self.client.backlog() >= HIGH_WATER && taken != self.taken;
                if self.broker_is_slow() || reads_slowly {
                    self.session.excuse_silence(context);
                }
                self.taken = taken;
                self.session.tick(context, out)?;
            }
        }
        self.rearm(context);
        Ok(())
    }

    fn rearm(&mut self, context: &Context<'_>) {
        // A deadline of zero is due, but not due within this very poll.
        let soonest = Duration::from_millis(10);
        let due = self.session.deadline(context).unwrap_or(IDLE);
        self.arm(due.clamp(soonest, IDLE));
    }

    fn arm(&mut self, after: Duration) {
        self.timer.as_mut().reset(Instant::now() + after);
    }
}
