//! How a session ends, and whether the broker may fire the client's will.

use super::{Cause, Close, Context, Output, Phase, Session};
use crate::mqtt::{ReasonCode, Version, encode};
use crate::offence::Offence;
use crate::policy::{Decision, decide};
use crate::types::{Action, TopicFilter, TopicName};

/// Ends that come from outside the session's own packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The login token ran out.
    TokenExpired,
    /// The client was silent for too long.
    KeepAliveTimeout,
    /// The CONNECT packet didn't come in time.
    ConnectTimeout,
    /// The source was banned.
    Banned,
    /// The gateway is stopping.
    Draining,
    /// The client's connection broke.
    ClientLost,
    /// The connection to the broker broke.
    BrokerLost,
    /// The broker couldn't be reached.
    BrokerUnreachable,
}

impl Session {
    /// Says goodbye to both sides as the protocol has it. Whoever is thrown out doesn't get to
    /// speak through the will: the broker sees an orderly DISCONNECT.
    pub fn end(&mut self, end: End, out: &mut Output) -> Close {
        match end {
            End::TokenExpired => self.tell(ReasonCode::NOT_AUTHORIZED, out),
            End::KeepAliveTimeout => self.tell(ReasonCode::KEEP_ALIVE_TIMEOUT, out),
            End::Banned => self.tell(ReasonCode::ADMINISTRATIVE_ACTION, out),
            End::Draining => self.tell(ReasonCode::SERVER_SHUTTING_DOWN, out),
            End::BrokerLost => self.tell(ReasonCode::UNSPECIFIED_ERROR, out),
            End::BrokerUnreachable => self.refuse_unavailable(out),
            End::ClientLost | End::ConnectTimeout => {}
        }
        if matches!(end, End::TokenExpired | End::Banned | End::Draining) {
            self.leave_broker(out);
        }
        let offence = (end == End::ConnectTimeout).then_some(Offence::HandshakeTimeout);
        let cause = match end {
            End::ConnectTimeout => Cause::ConnectTimeout,
            End::TokenExpired => Cause::TokenExpired,
            End::KeepAliveTimeout => Cause::KeepAliveTimeout,
            End::Banned => Cause::Banned,
            End::Draining => Cause::Draining,
            End::ClientLost => Cause::ClientLost,
            End::BrokerLost | End::BrokerUnreachable => Cause::BrokerLost,
        };
        Close {
            cause,
            offence,
            delay: false,
        }
    }

    /// The client is gone without a DISCONNECT. Its will fires, if it still may.
    pub fn client_lost(&mut self, context: &Context<'_>, out: &mut Output) -> Close {
        self.check_will(context, out);
        self.end(End::ClientLost, out)
    }

    /// To be called where the broker is about to see a lost connection: a will that its client may
    /// no longer publish must not fire.
    pub(super) fn check_will(&mut self, context: &Context<'_>, out: &mut Output) {
        if !self.will_still_permitted(context) {
            self.leave_broker(out);
        }
    }

    /// Whether there is no will, or one that the client may still publish.
    pub(super) fn will_still_permitted(&self, context: &Context<'_>) -> bool {
        let (Some(will), Some(identity)) = (&self.will, &self.identity) else {
            return true;
        };
        let permitted = |action| {
            let decision = decide(context.snapshot, &identity.principal, action, context.now);
            matches!(decision, Decision::Permit { .. })
        };
        // Both were valid names when the CONNECT was judged.
        TopicName::new(&will.topic).is_ok_and(|topic| permitted(Action::Publish(topic)))
            && will.response_topic.as_deref().is_none_or(|topic| {
                TopicFilter::new(topic).is_ok_and(|filter| permitted(Action::Subscribe(filter)))
            })
    }

    /// An orderly DISCONNECT to the broker: it discards the will (3.14.4-3).
    pub(super) fn leave_broker(&mut self, out: &mut Output) {
        if self.phase != Phase::AwaitConnect {
            encode::disconnect(&mut out.up, self.version, ReasonCode::SUCCESS);
        }
    }

    /// The reason, where the client's version and the session's phase have a packet for it.
    fn tell(&self, reason: ReasonCode, out: &mut Output) {
        match (self.phase, self.version) {
            (Phase::Live, Version::V5) => {
                encode::disconnect(&mut out.down, Version::V5, reason);
            }
            (Phase::AwaitConnack, _) => self.refuse_unavailable(out),
            _ => {}
        }
    }
}
