//! Turns what a session noted into events, counts and offences.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::Surroundings;
use crate::bans::{LiveSession, Standing};
use crate::events::{
    Denied, LoginAccepted, LoginRefused, MalformedPacket, RefusalKind, SessionEnded, UpstreamFailed,
};
use crate::metrics::SessionGuard;
use crate::session::{Cause, Close, LoginRefusal, Note, Output};
use crate::types::Principal;

pub(super) struct Reporter {
    peer: SocketAddr,
    surroundings: Arc<Surroundings>,
    /// Since when somebody is logged in.
    login: Option<(Instant, Option<LiveSession>, SessionGuard)>,
}

impl Reporter {
    pub(super) fn new(peer: SocketAddr, surroundings: Arc<Surroundings>) -> Self {
        Self {
            peer,
            surroundings,
            login: None,
        }
    }

    /// Whether the peer may not even try to log in.
    pub(super) fn is_banned(&self) -> bool {
        self.surroundings.bans.standing(self.peer.ip()) == Standing::Banned
    }

    /// Takes notes and counts out of `out`.
    pub(super) fn report(&mut self, out: &mut Output, principal: Option<&Principal>) {
        let metrics = &self.surroundings.metrics;
        if out.published > 0 {
            metrics.publishes_permitted(std::mem::take(&mut out.published));
        }
        if out.delivered > 0 {
            metrics.deliveries_permitted(std::mem::take(&mut out.delivered));
        }
        if out.subscribed > 0 {
            metrics.subscriptions_permitted(std::mem::take(&mut out.subscribed));
        }
        for note in out.notes.drain(..) {
            self.note(&note, principal);
        }
    }

    fn note(&mut self, note: &Note, principal: Option<&Principal>) {
        let metrics = &self.surroundings.metrics;
        match note {
            Note::LoggedIn {
                wallet,
                device,
                client_id,
                version,
                entitled,
            } => {
                // Anybody can make a wallet that only has what everybody has: that proves nothing
                // in favour of its address.
                let live = entitled.then(|| self.surroundings.bans.session_opened(self.peer.ip()));
                self.login = Some((Instant::now(), live, metrics.session()));
                LoginAccepted {
                    peer: self.peer,
                    wallet: *wallet,
                    device: *device,
                    client_id,
                    version,
                }
                .emit(metrics);
            }
            Note::Denied {
                asked,
                text,
                reason,
            } => {
                let Some(Principal {
                    wallet, client_id, ..
                }) = principal
                else {
                    return;
                };
                Denied {
                    asked: *asked,
                    wallet: *wallet,
                    client_id,
                    text,
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
        let logged_in = self.login.is_some();
        match &close.cause {
            Cause::Refused(why) => {
                let kind = match why {
                    LoginRefusal::AuthFailed(_) | LoginRefusal::NoCredentials => {
                        RefusalKind::AuthFailed
                    }
                    LoginRefusal::TokenStale { .. } => RefusalKind::TokenStale,
                    LoginRefusal::NotAdmitted { .. } | LoginRefusal::Will { .. } => {
                        RefusalKind::NotAdmitted
                    }
                    LoginRefusal::UseUnwritten { .. } => RefusalKind::Unavailable,
                    LoginRefusal::AuthenticationMethod
                    | LoginRefusal::Version
                    | LoginRefusal::ClientId => RefusalKind::Unsupported,
                };
                LoginRefused {
                    peer,
                    wallet: why.wallet(),
                    kind,
                    why,
                }
                .emit(metrics);
            }
            Cause::Malformed(rule) => MalformedPacket { peer, rule }.emit(metrics),
            Cause::BrokerUnreachable(_) | Cause::BrokerLost | Cause::BrokerMalformed(_) => {
                let address = &self.surroundings.upstream;
                let error = &close.cause;
                UpstreamFailed { address, error }.emit(metrics);
            }
            _ => {}
        }
        let by_broker = matches!(
            close.cause,
            Cause::BrokerUnreachable(_) | Cause::BrokerEnded(_) | Cause::BrokerMalformed(_)
        );
        if by_broker && !logged_in {
            let (kind, why) = (RefusalKind::Unavailable, &close.cause);
            LoginRefused {
                peer,
                wallet: principal.map(|principal| principal.wallet),
                kind,
                why,
            }
            .emit(metrics);
        }
        if let (Some((since, ..)), Some(principal)) = (self.login.take(), principal) {
            SessionEnded {
                peer,
                wallet: principal.wallet,
                client_id: &principal.client_id,
                cause: &close.cause,
                duration: since.elapsed(),
            }
            .emit();
        }
    }
}
