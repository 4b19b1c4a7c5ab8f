//! Packets of the broker, on their way to the client.

use super::{Cause, Close, Context, Note, Output, Phase, Session};
use crate::mqtt::{
    Ack, AckType, Disconnect, Frame, Malformed, PacketType, Publish, Qos, ReasonCode, Sender,
    Version, encode, next_frame,
};
use crate::types::{Action, Asked, TopicName};

impl Session {
    /// Judges the whole packets in `input` and returns how many bytes they were.
    ///
    /// # Errors
    /// The close to carry out. What was judged before it is in `out`.
    pub fn broker_bytes(
        &mut self,
        input: &[u8],
        context: &Context<'_>,
        out: &mut Output,
    ) -> Result<usize, Close> {
        self.check_login(context, out)?;
        self.judge_broker_bytes(input, context, out)
            .inspect_err(|_| self.check_will(context, out))
    }

    fn judge_broker_bytes(
        &mut self,
        input: &[u8],
        context: &Context<'_>,
        out: &mut Output,
    ) -> Result<usize, Close> {
        let mut rest = input;
        loop {
            let frame = match next_frame(rest, Sender::Broker, &self.settings.limits) {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(error) => return Err(self.broker_broke(error, out)),
            };
            rest = rest.get(frame.raw.len()..).unwrap_or_default();
            match self.phase {
                Phase::Live => self.on_broker_packet(&frame, context, out)?,
                _ => self.on_connack(&frame, out)?,
            }
        }
        Ok(input.len() - rest.len())
    }

    fn broker_broke(&mut self, error: Malformed, out: &mut Output) -> Close {
        self.end(Cause::BrokerMalformed(error), out)
    }

    fn on_broker_packet(
        &mut self,
        frame: &Frame<'_>,
        context: &Context<'_>,
        out: &mut Output,
    ) -> Result<(), Close> {
        match frame.packet_type {
            PacketType::Publish => {
                let decoded =
                    Publish::decode(frame, self.version, Sender::Broker, &self.settings.limits);
                let publish = decoded.map_err(|error| self.broker_broke(error, out))?;
                // The gateway's CONNECT allowed no aliases.
                let Some(topic) = publish.topic else {
                    let error = Malformed {
                        rule: "a topic alias, although CONNECT allowed none (3.3.2-9)",
                        reason: ReasonCode::TOPIC_ALIAS_INVALID,
                    };
                    return Err(self.broker_broke(error, out));
                };
                self.on_delivery(&publish, topic, frame, context, out);
                Ok(())
            }
            PacketType::Puback | PacketType::Pubrec | PacketType::Pubrel | PacketType::Pubcomp => {
                let decoded = Ack::decode(frame, self.version);
                let ack = decoded.map_err(|error| self.broker_broke(error, out))?;
                let id = ack.packet_id;
                if ack.ack_type == AckType::Pubrel && self.dropped_qos2.remove(&id.get()) {
                    let done = ReasonCode::SUCCESS;
                    encode::ack(&mut out.up, AckType::Pubcomp, self.version, id, done);
                } else {
                    out.down.extend_from_slice(frame.raw);
                }
                Ok(())
            }
            PacketType::Suback | PacketType::Unsuback => self
                .on_broker_answer(frame, out)
                .map_err(|error| self.broker_broke(error, out)),
            PacketType::Pingresp => {
                if self.own_pings > 0 {
                    self.own_pings -= 1;
                } else {
                    out.down.extend_from_slice(frame.raw);
                }
                Ok(())
            }
            PacketType::Disconnect => {
                let decoded = Disconnect::decode(frame, self.version, Sender::Broker);
                let disconnect = decoded.map_err(|error| self.broker_broke(error, out))?;
                let reason = match disconnect.reason {
                    // It would name a server that the client must not know.
                    ReasonCode::USE_ANOTHER_SERVER | ReasonCode::SERVER_MOVED => {
                        ReasonCode::SERVER_SHUTTING_DOWN
                    }
                    other => other,
                };
                if self.version == Version::V5 {
                    encode::disconnect(&mut out.down, Version::V5, reason);
                }
                Err(Close::quiet(Cause::BrokerEnded(disconnect.reason.0)))
            }
            _ => {
                let rule = "a packet that has no place in a live session";
                let error = Malformed {
                    rule,
                    reason: ReasonCode::PROTOCOL_ERROR,
                };
                Err(self.broker_broke(error, out))
            }
        }
    }

    /// Every delivery is decided: rights run out and are withdrawn, and a broker may hold
    /// subscriptions and messages from before. A withheld one is acknowledged in the client's
    /// place, or the broker's window would fill up.
    fn on_delivery(
        &mut self,
        publish: &Publish<'_>,
        topic: TopicName<'_>,
        frame: &Frame<'_>,
        context: &Context<'_>,
        out: &mut Output,
    ) {
        let Err(denial) = self.judge(Action::Receive(topic), context) else {
            if let Some(id) = publish.packet_id {
                self.dropped_qos2.remove(&id.get());
            }
            out.down.extend_from_slice(frame.raw);
            out.delivered += 1;
            return;
        };
        out.notes.push(Note::Denied {
            asked: Asked::Delivery,
            text: topic.as_str().to_owned(),
            reason: denial,
        });
        let Some(id) = publish.packet_id else { return };
        let answer = match publish.qos {
            Qos::AtMostOnce => return,
            Qos::AtLeastOnce => AckType::Puback,
            Qos::ExactlyOnce => {
                self.dropped_qos2.insert(id.get());
                AckType::Pubrec
            }
        };
        encode::ack(&mut out.up, answer, self.version, id, ReasonCode::SUCCESS);
    }
}
