//! Turns what a session noted into events, counts and offences.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::Surroundings;
use crate::bans::LiveSession;
use crate::events::{
    DeliveryDenied, LoginAccepted, LoginRefusal, LoginRefused, MalformedPacket, PublishDenied,
    SessionEnded, SubscribeDenied, UpstreamFailed, WillDenied,
};
use crate::identity::Refusal;
use crate::session::{Cause, Close, LoginRefusal as Refused, Note, Output};
use crate::types::{Principal, Wallet};

pub(super) struct Reporter {
    peer: SocketAddr,
    surroundings: Arc<Surroundings>,
    /// Since when somebody is logged in.
    login: Option<(Instant, LiveSession)>,
}

impl Reporter {
    pub(super) fn new(peer: SocketAddr, surroundings: Arc<Surroundings>) -> Self {
        Self {
            peer,
            surroundings,
            login: None,
        }
    }

    /// Takes notes and counts out of `out`.
    pub(super) fn report(&mut self, out: &mut Output, principal: Option<&Principal>) {
        let metrics = &self.surroundings.metrics;
        for (count, add) in [
            (
                &mut out.published,
                &(|n| metrics.publishes_permitted(n)) as &dyn Fn(u64),
            ),
            (&mut out.delivered, &|n| metrics.deliveries_permitted(n)),
            (&mut out.subscribed, &|n| metrics.subscriptions_permitted(n)),
        ] {
            if *count > 0 {
                add(std::mem::take(count));
            }
        }
        for note in out.notes.drain(..) {
            self.note(&note, principal);
        }
    }

    fn note(&mut self, note: &Note, principal: Option<&Principal>) {
        let metrics = &self.surroundings.metrics;
        let wallet = principal.map_or(Wallet::default(), |principal| principal.wallet);
        let client_id = principal.map_or("", |principal| principal.client_id.as_str());
        match note {
            Note::LoggedIn {
                wallet,
                client_id,
                version,
            } => {
                let live = self.surroundings.bans.session_opened(self.peer.ip());
                self.login = Some((Instant::now(), live));
                LoginAccepted {
                    peer: self.peer,
                    wallet: *wallet,
                    client_id,
                    version,
                }
                .emit(metrics);
            }
            Note::PublishDenied { topic, reason } => {
                PublishDenied {
                    wallet,
                    client_id,
                    topic,
                    reason,
                }
                .emit(metrics);
            }
            Note::SubscribeDenied { filter, reason } => {
                SubscribeDenied {
                    wallet,
                    client_id,
                    filter,
                    reason,
                }
                .emit(metrics);
            }
            Note::DeliveryDenied { topic, reason } => {
                DeliveryDenied {
                    wallet,
                    client_id,
                    topic,
                    reason,
                }
                .emit(metrics);
            }
            Note::WillDenied { topic, reason } => {
                WillDenied {
                    wallet,
                    client_id,
                    topic,
                    reason,
                }
                .emit(metrics);
            }
        }
    }

    /// The session is over.
    pub(super) fn closed(&mut self, close: &Close, principal: Option<&Principal>) {
        let peer = self.peer;
        let metrics = &self.surroundings.metrics;
        if let Some(offence) = close.offence {
            self.surroundings.bans.offence(peer.ip(), offence);
        }
        match &close.cause {
            Cause::Refused(why) => {
                let kind = match why {
                    Refused::Token(Refusal::AuthFailed(_)) | Refused::NoCredentials => {
                        LoginRefusal::AuthFailed
                    }
                    Refused::Token(Refusal::TokenStale(_)) => LoginRefusal::TokenStale,
                    Refused::NotAdmitted(_) | Refused::Will(_) => LoginRefusal::NotAdmitted,
                    Refused::AuthenticationMethod | Refused::Version | Refused::ClientId => {
                        LoginRefusal::Unsupported
                    }
                };
                LoginRefused { peer, kind, why }.emit(metrics);
            }
            Cause::Malformed(rule) => MalformedPacket { peer, rule }.emit(metrics),
            Cause::BrokerEnded(_) | Cause::BrokerLost | Cause::BrokerMalformed(_) => {
                let address = &self.surroundings.upstream;
                UpstreamFailed {
                    address,
                    error: &close.cause,
                }
                .emit(metrics);
            }
            _ => {}
        }
        if let (Some((since, _)), Some(principal)) = (self.login.take(), principal) {
            SessionEnded {
                peer,
                wallet: principal.wallet,
                client_id: &principal.client_id,
                cause: &close.cause,
                duration: since.elapsed(),
            }
            .emit(metrics);
        }
    }
}
