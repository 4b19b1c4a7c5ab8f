//! Packets of the client, on their way to the broker.

use super::{Cause, Close, Context, DeniedPublish, Note, Output, Phase, Session};
use crate::mqtt::{
    Ack, AckType, Disconnect, Frame, Malformed, PacketLimits, PacketType, Publish, Qos, ReasonCode,
    Sender, Subscribe, Unsubscribe, Version, encode, next_frame,
};
use crate::types::Asked;

impl Session {
    /// Judges the whole packets in `input` and returns how many bytes they were. After the
    /// CONNECT was accepted nothing more is taken until the broker has answered.
    ///
    /// # Errors
    /// The close to carry out. What was judged before it is in `out`.
    pub fn client_bytes(
        &mut self,
        input: &[u8],
        context: &Context<'_>,
        out: &mut Output,
    ) -> Result<usize, Close> {
        self.check_login(context, out)?;
        self.judge_client_bytes(input, context, out)
            .inspect_err(|close| {
                if close.cause != Cause::ClientDisconnected {
                    self.check_will(context, out);
                }
            })
    }

    fn judge_client_bytes(
        &mut self,
        input: &[u8],
        context: &Context<'_>,
        out: &mut Output,
    ) -> Result<usize, Close> {
        let mut rest = input;
        while self.phase != Phase::AwaitConnack {
            let limits = match self.phase {
                Phase::AwaitConnect => PacketLimits {
                    packet_bytes: self.settings.connect_bytes,
                    ..self.settings.limits
                },
                _ => self.settings.limits,
            };
            let frame = match next_frame(rest, Sender::Client, &limits) {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(error) => return Err(self.malformed(&error, out)),
            };
            rest = rest.get(frame.raw.len()..).unwrap_or_default();
            let sent = out.up.len();
            match (self.phase, frame.packet_type) {
                (Phase::AwaitConnect, PacketType::Connect) => {
                    self.on_connect(&frame, context, out)?;
                }
                (Phase::AwaitConnect, _) => {
                    let error = Malformed {
                        rule: "the first packet must be CONNECT (3.1.0-1)",
                        reason: ReasonCode::PROTOCOL_ERROR,
                    };
                    // Not even a CONNACK: nothing shows that this is an MQTT client.
                    return Err(Close::malformed(error));
                }
                _ => self.on_client_packet(&frame, context, out)?,
            }
            self.heard_from_client = context.elapsed;
            self.keep_broker_awake(out.up.len() > sent, context, out);
        }
        Ok(input.len() - rest.len())
    }

    /// A client whose every packet is answered here is silent to the broker, which would end the
    /// session for that.
    fn keep_broker_awake(&mut self, forwarded: bool, context: &Context<'_>, out: &mut Output) {
        let silence = context.elapsed.saturating_sub(self.sent_to_broker);
        if forwarded {
            self.sent_to_broker = context.elapsed;
        } else if self.keep_alive > 0
            && self.phase == Phase::Live
            && silence.as_secs() >= u64::from(self.keep_alive / 2)
        {
            encode::pingreq(&mut out.up);
            self.own_pings += 1;
            self.sent_to_broker = context.elapsed;
        }
    }

    fn on_client_packet(
        &mut self,
        frame: &Frame<'_>,
        context: &Context<'_>,
        out: &mut Output,
    ) -> Result<(), Close> {
        let version = self.version;
        match frame.packet_type {
            PacketType::Publish => {
                let decoded =
                    Publish::decode(frame, version, Sender::Client, &self.settings.limits);
                let publish = decoded.map_err(|error| self.malformed(&error, out))?;
                self.on_publish(&publish, frame, context, out)
            }
            PacketType::Puback | PacketType::Pubrec | PacketType::Pubrel | PacketType::Pubcomp => {
                let decoded = Ack::decode(frame, version);
                let ack = decoded.map_err(|error| self.malformed(&error, out))?;
                let id = ack.packet_id.get();
                if ack.ack_type == AckType::Pubrel && self.denied_qos2.remove(&id) {
                    let done = ReasonCode::SUCCESS;
                    encode::ack(
                        &mut out.down,
                        AckType::Pubcomp,
                        version,
                        ack.packet_id,
                        done,
                    );
                } else {
                    out.up.extend_from_slice(frame.raw);
                }
                Ok(())
            }
            PacketType::Subscribe => {
                let decoded = Subscribe::decode(frame, version, &self.settings.limits);
                let subscribe = decoded.map_err(|error| self.malformed(&error, out))?;
                self.on_subscribe(&subscribe, frame, context, out)
            }
            PacketType::Unsubscribe => {
                let decoded = Unsubscribe::decode(frame, version, &self.settings.limits);
                let unsubscribe = decoded.map_err(|error| self.malformed(&error, out))?;
                self.on_unsubscribe(&unsubscribe, frame, out)
            }
            PacketType::Pingreq => {
                out.up.extend_from_slice(frame.raw);
                Ok(())
            }
            PacketType::Disconnect => {
                let decoded = Disconnect::decode(frame, version, Sender::Client);
                let disconnect = decoded.map_err(|error| self.malformed(&error, out))?;
                let with_will = disconnect.reason == ReasonCode::DISCONNECT_WITH_WILL;
                if self.guest || (with_will && !self.will_still_permitted(context)) {
                    self.leave_broker(out);
                } else {
                    out.up.extend_from_slice(frame.raw);
                }
                Err(Close::quiet(Cause::ClientDisconnected))
            }
            _ => {
                let rule = match frame.packet_type {
                    PacketType::Connect => "a second CONNECT (3.1.0-2)",
                    PacketType::Auth => "AUTH without an authentication method in CONNECT (4.12)",
                    _ => "a packet that only a broker may send",
                };
                let error = Malformed {
                    rule,
                    reason: ReasonCode::PROTOCOL_ERROR,
                };
                Err(self.malformed(&error, out))
            }
        }
    }

    fn on_publish(
        &mut self,
        publish: &Publish<'_>,
        frame: &Frame<'_>,
        context: &Context<'_>,
        out: &mut Output,
    ) -> Result<(), Close> {
        // The gateway's CONNACK allowed no aliases, so every topic is there.
        let alias = publish.properties.topic_alias();
        let (Some(topic), None) = (publish.topic, alias) else {
            let error = Malformed {
                rule: "a topic alias, although CONNACK allowed none (3.3.2-9)",
                reason: ReasonCode::TOPIC_ALIAS_INVALID,
            };
            return Err(self.malformed(&error, out));
        };
        let id = publish.packet_id;
        // A retransmission of what was acknowledged and dropped gets the same answer.
        let repeated = publish.dup && id.is_some_and(|id| self.denied_qos2.contains(&id.get()));
        if !repeated {
            match self.may_publish(topic, publish.properties.response_topic(), context) {
                Ok(_) => {
                    if let Some(id) = id {
                        self.denied_qos2.remove(&id.get());
                    }
                    out.up.extend_from_slice(frame.raw);
                    out.published += 1;
                    return Ok(());
                }
                Err(denial) => out.notes.push(Note::Denied {
                    asked: Asked::Publish,
                    text: topic.as_str().to_owned(),
                    reason: denial,
                }),
            }
        }
        if self.version == Version::V311 && self.settings.denied_publish == DeniedPublish::Close {
            return Err(Close::quiet(Cause::PublishDenied));
        }
        self.answer_denied_publish(publish, out);
        Ok(())
    }

    fn answer_denied_publish(&mut self, publish: &Publish<'_>, out: &mut Output) {
        let Some(id) = publish.packet_id else { return };
        let reason = match self.version {
            Version::V5 => ReasonCode::NOT_AUTHORIZED,
            Version::V311 => ReasonCode::SUCCESS,
        };
        let answer = match publish.qos {
            Qos::AtMostOnce => return,
            Qos::AtLeastOnce => AckType::Puback,
            Qos::ExactlyOnce => {
                self.denied_qos2.insert(id.get());
                AckType::Pubrec
            }
        };
        encode::ack(&mut out.down, answer, self.version, id, reason);
    }
}
