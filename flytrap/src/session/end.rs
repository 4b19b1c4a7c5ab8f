//! How a session ends, and whether the broker may fire the client's will.

use super::{Cause, Close, Context, Output, Phase, Session};
use crate::mqtt::{ReasonCode, Version, encode};
use crate::offence::Offence;
use crate::types::Principal;

impl Session {
    /// Says goodbye to both sides as the protocol has it, for a reason that lies outside the
    /// session's own packets. Whoever is thrown out doesn't get to speak through the will: the
    /// broker sees an orderly DISCONNECT.
    pub fn end(&mut self, cause: Cause, out: &mut Output) -> Close {
        let told = match &cause {
            Cause::TokenExpired | Cause::TokenRevoked | Cause::DeviceKeyEnded | Cause::WillLost => {
                Some(ReasonCode::NOT_AUTHORIZED)
            }
            Cause::KeepAliveTimeout => Some(ReasonCode::KEEP_ALIVE_TIMEOUT),
            Cause::Banned => Some(ReasonCode::ADMINISTRATIVE_ACTION),
            Cause::Draining => Some(ReasonCode::SERVER_SHUTTING_DOWN),
            Cause::BrokerUnreachable(_) | Cause::BrokerLost | Cause::BrokerMalformed(_) => {
                Some(ReasonCode::UNSPECIFIED_ERROR)
            }
            _ => None,
        };
        if let Some(reason) = told {
            self.tell(reason, out);
        }
        if matches!(
            cause,
            Cause::TokenExpired
                | Cause::TokenRevoked
                | Cause::DeviceKeyEnded
                | Cause::WillLost
                | Cause::Banned
                | Cause::Draining
        ) {
            self.leave_broker(out);
        }
        let offence = (cause == Cause::ConnectTimeout).then_some(Offence::HandshakeTimeout);
        Close {
            cause,
            offence,
            delay: false,
        }
    }

    /// Ends the session whose wallet revoked its login, or ended its device key. Looks when the
    /// policy changed.
    pub(super) fn check_login(
        &mut self,
        context: &Context<'_>,
        out: &mut Output,
    ) -> Result<(), Close> {
        let Some(identity) = &self.identity else {
            return Ok(());
        };
        if self.generation == context.snapshot.generation {
            return Ok(());
        }
        let Principal { wallet, device, .. } = &identity.principal;
        let key_ended = device.as_ref().is_some_and(|id| {
            let key = context.snapshot.device_key(id);
            key.is_none_or(|key| !key.until.holds(context.now))
        });
        let revoked = context.snapshot.tokens_revoked_before(*wallet);
        if key_ended {
            Err(self.end(Cause::DeviceKeyEnded, out))
        } else if revoked.is_some_and(|until| identity.issued <= until) {
            Err(self.end(Cause::TokenRevoked, out))
        } else {
            self.generation = context.snapshot.generation;
            Ok(())
        }
    }

    /// The client is gone without a DISCONNECT. Its will fires, if it still may.
    pub fn client_lost(&mut self, context: &Context<'_>, out: &mut Output) -> Close {
        self.check_will(context, out);
        self.end(Cause::ClientLost, out)
    }

    /// To be called where the broker is about to see a lost connection: a will that its client may
    /// no longer publish must not fire.
    pub(super) fn check_will(&mut self, context: &Context<'_>, out: &mut Output) {
        if !self.will_still_permitted(context) {
            self.leave_broker(out);
        }
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
