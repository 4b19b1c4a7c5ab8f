//! SUBSCRIBE and UNSUBSCRIBE: each filter is judged, the permitted ones go up, and the client
//! gets one answer with its reasons in its own order (3.9.3-1).

use std::num::NonZeroU16;

use super::{Close, Context, Denial, Note, Output, PendingAnswer, Session, fits};
use crate::mqtt::{
    Frame, Malformed, PacketType, ReasonCode, Suback, Subscribe, Unsuback, Unsubscribe, Version,
    encode, return_code,
};
use crate::types::Asked;

/// The most SUBSCRIBE and UNSUBSCRIBE packets that may wait for the broker's answer at once.
const MOST_PENDING: usize = 64;

impl Session {
    pub(super) fn on_subscribe(
        &mut self,
        subscribe: &Subscribe<'_>,
        frame: &Frame<'_>,
        context: &Context<'_>,
        out: &mut Output,
    ) -> Result<(), Close> {
        let id = subscribe.packet_id;
        self.check_pending(id.get(), out)?;
        let mut reasons = Vec::with_capacity(subscribe.requests.len());
        let mut withdraw = Vec::new();
        for request in &subscribe.requests {
            let verdict = self.may_subscribe(request, context);
            if let Err(denial) = verdict {
                out.notes.push(Note::Denied {
                    asked: Asked::Subscribe,
                    text: request.text.to_owned(),
                    reason: denial,
                });
                reasons.push(Some(self.refusal_code(denial)));
                if self.filters.remove(request.text) || self.resumed {
                    withdraw.push(request.text.into());
                }
            } else {
                reasons.push(None);
                self.filters.insert(request.text.into());
                out.subscribed += 1;
            }
        }
        let permitted = reasons.iter().filter(|reason| reason.is_none()).count();
        if permitted == reasons.len() {
            out.up.extend_from_slice(frame.raw);
            return Ok(());
        }
        let mut pending = PendingAnswer {
            answer: PacketType::Suback,
            reasons,
            withdraw,
        };
        if permitted > 0 {
            let requests = subscribe.requests.iter().zip(&pending.reasons);
            let kept = requests.filter(|(_, reason)| reason.is_none());
            let kept = kept.map(|(request, _)| (request.text, request.options));
            let properties = subscribe.properties.iter();
            fits(encode::subscribe(
                &mut out.up,
                self.version,
                id,
                properties,
                kept,
            ));
        } else if !self.withdraw(id, &mut pending, out) {
            self.answer(id, &pending, out);
            return Ok(());
        }
        self.pending.insert(id.get(), pending);
        Ok(())
    }

    fn refusal_code(&self, denial: Denial) -> u8 {
        match (self.version, denial) {
            (Version::V311, _) => return_code::SUBSCRIBE_FAILURE,
            (Version::V5, Denial::TooManySubscriptions) => ReasonCode::QUOTA_EXCEEDED.0,
            (Version::V5, _) => ReasonCode::NOT_AUTHORIZED.0,
        }
    }

    pub(super) fn on_unsubscribe(
        &mut self,
        unsubscribe: &Unsubscribe<'_>,
        frame: &Frame<'_>,
        out: &mut Output,
    ) -> Result<(), Close> {
        let id = unsubscribe.packet_id;
        self.check_pending(id.get(), out)?;
        let reasons: Vec<_> = unsubscribe
            .filters
            .iter()
            .map(|filter| {
                let held = self.filters.remove(*filter) || self.resumed;
                (!held).then_some(ReasonCode::NO_SUBSCRIPTION_EXISTED.0)
            })
            .collect();
        let held = reasons.iter().filter(|reason| reason.is_none()).count();
        if held == reasons.len() {
            out.up.extend_from_slice(frame.raw);
            return Ok(());
        }
        let pending = PendingAnswer {
            answer: PacketType::Unsuback,
            reasons,
            withdraw: Vec::new(),
        };
        if held == 0 {
            self.answer(id, &pending, out);
            return Ok(());
        }
        let filters = unsubscribe.filters.iter().zip(&pending.reasons);
        let kept = filters
            .filter(|(_, reason)| reason.is_none())
            .map(|(filter, _)| *filter);
        let properties = unsubscribe.properties.iter();
        fits(encode::unsubscribe(
            &mut out.up,
            self.version,
            id,
            properties,
            kept,
        ));
        self.pending.insert(id.get(), pending);
        Ok(())
    }

    /// The broker's SUBACK or UNSUBACK: passed on as it is, or completed first.
    pub(super) fn on_broker_answer(
        &mut self,
        frame: &Frame<'_>,
        out: &mut Output,
    ) -> Result<(), Malformed> {
        let (id, reasons) = if frame.packet_type == PacketType::Suback {
            let suback = Suback::decode(frame, self.version)?;
            (suback.packet_id, suback.reasons)
        } else {
            let unsuback = Unsuback::decode(frame, self.version)?;
            (unsuback.packet_id, unsuback.reasons)
        };
        let Some(mut pending) = self.pending.remove(&id.get()) else {
            out.down.extend_from_slice(frame.raw);
            return Ok(());
        };
        if frame.packet_type == pending.answer {
            let mut broker = reasons.iter().copied();
            for reason in &mut pending.reasons {
                // A broker that answers fewer filters than it was sent has refused the rest.
                *reason = reason
                    .or_else(|| broker.next())
                    .or(Some(return_code::SUBSCRIBE_FAILURE));
            }
            if self.withdraw(id, &mut pending, out) {
                self.pending.insert(id.get(), pending);
                return Ok(());
            }
        }
        self.answer(id, &pending, out);
        Ok(())
    }

    /// Takes back what was refused but may still be held by the broker; `false` if there is
    /// nothing to take back. The client's packet id serves: it is free until it is answered.
    fn withdraw(&self, id: NonZeroU16, pending: &mut PendingAnswer, out: &mut Output) -> bool {
        if pending.withdraw.is_empty() {
            return false;
        }
        let filters = std::mem::take(&mut pending.withdraw);
        let filters = filters.iter().map(AsRef::as_ref);
        fits(encode::unsubscribe(
            &mut out.up,
            self.version,
            id,
            [],
            filters,
        ));
        true
    }

    fn answer(&self, id: NonZeroU16, pending: &PendingAnswer, out: &mut Output) {
        let reasons: Vec<u8> = pending
            .reasons
            .iter()
            .map(|reason| reason.unwrap_or(return_code::SUBSCRIBE_FAILURE))
            .collect();
        if pending.answer == PacketType::Suback {
            fits(encode::suback(
                &mut out.down,
                self.version,
                id,
                [],
                &reasons,
            ));
        } else {
            fits(encode::unsuback(
                &mut out.down,
                self.version,
                id,
                [],
                &reasons,
            ));
        }
    }

    fn check_pending(&self, id: u16, out: &mut Output) -> Result<(), Close> {
        let error = if self.pending.contains_key(&id) {
            Malformed {
                rule: "the packet id is still in use (2.2.1-3)",
                reason: ReasonCode::PROTOCOL_ERROR,
            }
        } else if self.pending.len() >= MOST_PENDING {
            Malformed {
                rule: "too many SUBSCRIBE and UNSUBSCRIBE packets wait for an answer",
                reason: ReasonCode::QUOTA_EXCEEDED,
            }
        } else {
            return Ok(());
        };
        Err(self.malformed(&error, out))
    }
}
