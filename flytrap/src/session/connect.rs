//! The judgement of a CONNECT and of the broker's answer to it.

use std::num::NonZeroU32;

use super::{
    Cause, Close, Context, Denial, Identity, LoginRefusal, Note, Output, Phase, Session, Unspent,
    WillTopics, fits,
};
use crate::identity::{self, Fault, Known, Login, Proof, Refusal};
use crate::mqtt::encode::{ConnectOut, TooLong, WillOut};
use crate::mqtt::{
    Connack, Connect, ConnectError, Frame, Malformed, PacketType, Property, ReasonCode, Version,
    Will, encode, return_code,
};
use crate::offence::Offence;
use crate::policy::{Decision, Why, decide};
use crate::types::{Action, Asked, Principal, Wallet};

/// The user property in which clients that can't set a password carry their token (MQTT 5).
/// Whatever it holds stays here.
const TOKEN_PROPERTY: &str = "flytrap-token";

impl Session {
    /// Judges the first packet. On success the gateway's own CONNECT is in `out.up`.
    pub(super) fn on_connect(
        &mut self,
        frame: &Frame<'_>,
        context: &Context<'_>,
        out: &mut Output,
    ) -> Result<(), Close> {
        let connect = match Connect::decode(frame, &self.settings.limits) {
            Ok(connect) => connect,
            Err(error) => {
                out.down
                    .extend_from_slice(error.answer().unwrap_or_default());
                return Err(match error {
                    ConnectError::UnsupportedVersion { .. } => {
                        Close::quiet(Cause::Refused(LoginRefusal::Version))
                    }
                    ConnectError::Malformed(error) => {
                        if frame.body.starts_with(b"\0\x04MQTT\x05") {
                            self.version = Version::V5;
                        }
                        self.malformed(&error, out)
                    }
                });
            }
        };
        self.version = connect.version;
        self.heard_from_client = context.elapsed;
        self.keep_alive = connect.keep_alive;

        if connect.version == Version::V311 && connect.client_id.is_empty() && !connect.clean_start
        {
            return Err(self.refuse(LoginRefusal::ClientId, out));
        }
        if connect.properties.authentication_method().is_some() {
            return Err(self.refuse(LoginRefusal::AuthenticationMethod, out));
        }
        let proof = self
            .verify(&connect, context)
            .map_err(|why| self.refuse(why, out))?;
        self.admit(&connect, &proof, context)
            .map_err(|why| self.refuse(why, out))?;
        if let Some(will) = &connect.will
            && let Err(why) = self.accept_will(will, context)
        {
            out.notes.push(Note::Denied {
                asked: Asked::Will,
                text: will.topic.as_str().to_owned(),
                reason: why,
            });
            let wallet = proof.wallet;
            return Err(self.refuse(LoginRefusal::Will { wallet, why }, out));
        }
        self.connect_upstream(&connect, out).map_err(|TooLong| {
            self.malformed(
                &Malformed {
                    rule: "the CONNECT is too long to be passed on",
                    reason: ReasonCode::PACKET_TOO_LARGE,
                },
                out,
            )
        })?;
        self.sent_to_broker = context.elapsed;
        self.phase = Phase::AwaitConnack;
        // Last, so that a token isn't used up by a login that is refused for another reason.
        self.to_spend = proof.single_use;
        Ok(())
    }

    /// What became of [`to_spend`](Self::to_spend).
    ///
    /// # Errors
    /// The close to carry out if the token lets nobody in.
    pub fn spent(&mut self, spent: Result<(), Unspent>, out: &mut Output) -> Result<(), Close> {
        let Err(unspent) = spent else {
            self.to_spend = None;
            return Ok(());
        };
        let wallet = self.principal().map_or_else(Wallet::default, |p| p.wallet);
        let why = match unspent {
            Unspent::Stale(why) => LoginRefusal::TokenStale { wallet, why },
            Unspent::Unavailable => LoginRefusal::UseUnwritten { wallet },
        };
        Err(self.refuse(why, out))
    }

    fn verify(&self, connect: &Connect<'_>, context: &Context<'_>) -> Result<Proof, LoginRefusal> {
        let mut carried = connect
            .properties
            .iter()
            .filter_map(|property| match property {
                Property::UserProperty((TOKEN_PROPERTY, token)) => Some(token.as_bytes()),
                _ => None,
            })
            .chain(connect.password);
        let (Some(user_name), Some(password)) = (connect.user_name, carried.next()) else {
            return Err(LoginRefusal::NoCredentials);
        };
        if carried.next().is_some() {
            // Which of them counts must not be a matter of opinion.
            return Err(LoginRefusal::AuthFailed(Fault::TwoTokens));
        }
        let login = Login {
            user_name,
            password,
            client_id: connect.client_id,
        };
        let settings = &self.settings;
        identity::verify(
            &login,
            &settings.deployment,
            &settings.login,
            &Known {
                device_key: &|prefix| context.snapshot.device_key_of_prefix(prefix),
                revoked_before: &|wallet| context.snapshot.tokens_revoked_before(wallet),
            },
            context.now,
        )
        .map_err(|refusal| match refusal {
            Refusal::AuthFailed(fault) => LoginRefusal::AuthFailed(fault),
            Refusal::TokenStale { wallet, why } => LoginRefusal::TokenStale { wallet, why },
        })
    }

    fn admit(
        &mut self,
        connect: &Connect<'_>,
        proof: &Proof,
        context: &Context<'_>,
    ) -> Result<(), LoginRefusal> {
        let client_id = if connect.client_id.is_empty() {
            let assigned = format!("auto-{}", hex::encode(self.entropy));
            self.assigned_client_id = Some(assigned.clone());
            assigned
        } else {
            connect.client_id.to_owned()
        };
        let principal = Principal {
            wallet: proof.wallet,
            device: proof.device,
            client_id,
        };
        match decide(context.snapshot, &principal, Action::Connect, context.now) {
            Decision::Permit { why, .. } => {
                self.guest = why == Why::AdmitAny;
                self.entitled = matches!(why, Why::Owner | Why::Grant);
            }
            Decision::Deny { reason: why } => {
                let wallet = proof.wallet;
                return Err(LoginRefusal::NotAdmitted { wallet, why });
            }
        }
        self.generation = context.snapshot.generation;
        self.identity = Some(Identity {
            principal,
            issued: proof.issued,
            expires: proof.expires,
            token_expires: proof.token_expires,
            subscribe_only: proof.subscribe_only,
        });
        Ok(())
    }

    fn accept_will(&mut self, will: &Will<'_>, context: &Context<'_>) -> Result<(), Denial> {
        if self.guest {
            return Err(Denial::Guest);
        }
        let response_topic = will.properties.response_topic();
        let until = self.may_publish(will.topic, response_topic, context)?;
        self.will = Some(WillTopics {
            until,
            topic: will.topic.as_str().into(),
            response_topic: response_topic.map(|topic| topic.as_str().into()),
        });
        Ok(())
    }

    /// The gateway's own CONNECT: the client's wishes under the gateway's account and an id that
    /// no other wallet can have.
    fn connect_upstream(&self, connect: &Connect<'_>, out: &mut Output) -> Result<(), TooLong> {
        let Some(principal) = self.principal() else {
            return Ok(());
        };
        let client_id =
            identity::upstream_client_id(principal.wallet, principal.device, &principal.client_id);
        let mut properties = Vec::new();
        let mut will_properties = Vec::new();
        if connect.version == Version::V5 {
            let largest = self.largest_packet(connect.properties.maximum_packet_size());
            properties.extend(connect.properties.iter().filter(|property| match property {
                Property::SessionExpiryInterval(_) => !self.guest,
                Property::UserProperty((name, _)) => *name != TOKEN_PROPERTY,
                // No Topic Alias Maximum: the broker names every topic in full.
                Property::TopicAliasMaximum(_)
                | Property::MaximumPacketSize(_)
                | Property::AuthenticationMethod(_)
                | Property::AuthenticationData(_) => false,
                _ => true,
            }));
            properties.push(Property::MaximumPacketSize(largest));
            if let Some(will) = &connect.will {
                let cap = self.settings.will_delay;
                will_properties.extend(will.properties.iter().map(|property| match property {
                    Property::WillDelayInterval(seconds) => {
                        Property::WillDelayInterval(seconds.min(cap))
                    }
                    other => other,
                }));
            }
        }
        let account = self.settings.broker_account.as_ref();
        let will = connect.will.map(|will| WillOut {
            topic: will.topic,
            payload: will.payload,
            qos: will.qos,
            retain: will.retain,
            properties: &will_properties,
        });
        encode::connect(
            &mut out.up,
            &ConnectOut {
                version: connect.version,
                bridge: connect.bridge,
                clean_start: connect.clean_start || self.guest,
                keep_alive: connect.keep_alive,
                client_id: &client_id,
                user_name: account.map(|account| account.user_name.as_str()),
                password: account.map(|account| account.password.as_slice()),
                will,
                properties: &properties,
            },
        )
    }

    /// The smaller of the other side's limit and the gateway's own.
    fn largest_packet(&self, theirs: Option<NonZeroU32>) -> NonZeroU32 {
        let ours = u32::try_from(self.settings.limits.packet_bytes)
            .ok()
            .and_then(NonZeroU32::new);
        theirs
            .into_iter()
            .chain(ours)
            .min()
            .unwrap_or(NonZeroU32::MAX)
    }

    /// The answer to a CONNECT that isn't let in.
    fn refuse(&self, why: LoginRefusal, out: &mut Output) -> Close {
        use return_code as old;
        let (v5, v311, offence, delay) = match &why {
            LoginRefusal::AuthFailed(_) | LoginRefusal::NoCredentials => (
                ReasonCode::BAD_USER_NAME_OR_PASSWORD,
                old::BAD_USER_NAME_OR_PASSWORD,
                Some(Offence::AuthFailed),
                false,
            ),
            LoginRefusal::TokenStale { .. } => {
                (ReasonCode::NOT_AUTHORIZED, old::NOT_AUTHORIZED, None, true)
            }
            LoginRefusal::NotAdmitted { .. } | LoginRefusal::Will { .. } => {
                let offence = Some(Offence::AclDenied);
                (
                    ReasonCode::NOT_AUTHORIZED,
                    old::NOT_AUTHORIZED,
                    offence,
                    true,
                )
            }
            LoginRefusal::UseUnwritten { .. } => (
                ReasonCode::SERVER_UNAVAILABLE,
                old::SERVER_UNAVAILABLE,
                None,
                false,
            ),
            LoginRefusal::AuthenticationMethod => (
                ReasonCode::BAD_AUTHENTICATION_METHOD,
                old::NOT_AUTHORIZED,
                None,
                false,
            ),
            LoginRefusal::ClientId => (
                ReasonCode::CLIENT_IDENTIFIER_NOT_VALID,
                old::IDENTIFIER_REJECTED,
                None,
                false,
            ),
            LoginRefusal::Version => (
                ReasonCode::UNSUPPORTED_PROTOCOL_VERSION,
                old::UNACCEPTABLE_PROTOCOL_VERSION,
                None,
                false,
            ),
        };
        let text = why.to_string();
        // A valid signature earns an explanation; whoever guesses gets none.
        let explained = delay.then_some(Property::ReasonString(&text));
        let code = if self.version == Version::V5 {
            v5.0
        } else {
            v311
        };
        fits(encode::connack(
            &mut out.down,
            self.version,
            false,
            code,
            explained,
        ));
        Close {
            cause: Cause::Refused(why),
            offence,
            delay,
        }
    }

    /// CONNACK for a session that the broker can't take now.
    pub(super) fn refuse_unavailable(&self, out: &mut Output) {
        let code = match self.version {
            Version::V5 => ReasonCode::SERVER_UNAVAILABLE.0,
            Version::V311 => return_code::SERVER_UNAVAILABLE,
        };
        fits(encode::connack(
            &mut out.down,
            self.version,
            false,
            code,
            [],
        ));
    }

    /// Judges and edits the broker's CONNACK.
    pub(super) fn on_connack(&mut self, frame: &Frame<'_>, out: &mut Output) -> Result<(), Close> {
        debug_assert!(
            self.to_spend.is_none(),
            "dialled before the token was used up"
        );
        if frame.packet_type != PacketType::Connack {
            self.refuse_unavailable(out);
            let rule = "a packet before CONNACK (3.2)";
            let error = Malformed {
                rule,
                reason: ReasonCode::PROTOCOL_ERROR,
            };
            return Err(Close::quiet(Cause::BrokerMalformed(error)));
        }
        let connack = Connack::decode(frame, self.version).map_err(|error| {
            self.refuse_unavailable(out);
            Close::quiet(Cause::BrokerMalformed(error))
        })?;
        if connack.reason != 0 {
            let reason = self.passed_on(connack.reason);
            fits(encode::connack(
                &mut out.down,
                self.version,
                false,
                reason,
                [],
            ));
            return Err(Close::quiet(Cause::BrokerEnded(connack.reason)));
        }
        self.phase = Phase::Live;
        self.resumed = connack.session_present;
        if self.version == Version::V5 {
            self.pass_on_capabilities(&connack, out);
        } else {
            out.down.extend_from_slice(frame.raw);
        }
        if let Some(identity) = &self.identity {
            out.notes.push(Note::LoggedIn {
                entitled: self.entitled,
                wallet: identity.principal.wallet,
                device: identity.principal.device,
                client_id: identity.principal.client_id.clone(),
                version: self.version,
            });
        }
        Ok(())
    }

    /// What the broker can do, less what names the broker, with the gateway's own limits.
    fn pass_on_capabilities(&mut self, connack: &Connack<'_>, out: &mut Output) {
        let largest = self.largest_packet(connack.properties.maximum_packet_size());
        if let Some(seconds) = connack.properties.server_keep_alive() {
            self.keep_alive = seconds;
        }
        let mut properties: Vec<Property<'_>> = connack
            .properties
            .iter()
            .filter(|property| {
                matches!(
                    property,
                    Property::SessionExpiryInterval(_)
                        | Property::ReceiveMaximum(_)
                        | Property::MaximumQos(_)
                        | Property::RetainAvailable(_)
                        | Property::WildcardSubscriptionAvailable(_)
                        | Property::SubscriptionIdentifierAvailable(_)
                        | Property::SharedSubscriptionAvailable(_)
                        | Property::ServerKeepAlive(_)
                        | Property::ResponseInformation(_)
                )
            })
            .collect();
        properties.push(Property::MaximumPacketSize(largest));
        if self.guest {
            properties.retain(|property| !matches!(property, Property::SessionExpiryInterval(_)));
            properties.push(Property::SessionExpiryInterval(0));
        }
        if let Some(assigned) = &self.assigned_client_id {
            properties.push(Property::AssignedClientIdentifier(assigned));
        }
        let resumed = connack.session_present;
        fits(encode::connack(
            &mut out.down,
            Version::V5,
            resumed,
            0,
            properties,
        ));
    }

    /// The broker's refusal as the client may see it: one that is about the gateway's own account
    /// or names another server is none of the client's business.
    fn passed_on(&self, reason: u8) -> u8 {
        use return_code as old;
        match self.version {
            Version::V311 => match reason {
                old::SERVER_UNAVAILABLE | old::UNACCEPTABLE_PROTOCOL_VERSION => reason,
                _ => old::SERVER_UNAVAILABLE,
            },
            Version::V5 => match ReasonCode(reason) {
                ReasonCode::BAD_USER_NAME_OR_PASSWORD
                | ReasonCode::NOT_AUTHORIZED
                | ReasonCode::CLIENT_IDENTIFIER_NOT_VALID
                | ReasonCode::BANNED
                | ReasonCode::BAD_AUTHENTICATION_METHOD
                | ReasonCode::USE_ANOTHER_SERVER
                | ReasonCode::SERVER_MOVED => ReasonCode::SERVER_UNAVAILABLE.0,
                _ => reason,
            },
        }
    }
}
