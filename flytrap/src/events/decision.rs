//! Denials. Permits are only counted.

use std::fmt;

use tracing::info;

use super::budget::LogBudget;
use crate::metrics::{DENY, Metrics};
use crate::types::{Wallet, escape_control};

/// A message of a client was kept from the broker.
pub struct PublishDenied<'a> {
    /// Who published.
    pub wallet: Wallet,
    /// Under which client id.
    pub client_id: &'a str,
    /// To which topic.
    pub topic: &'a str,
    /// Why it may not.
    pub reason: &'a dyn fmt::Display,
}

impl PublishDenied<'_> {
    /// Logs and counts it.
    pub fn emit(&self, metrics: &Metrics) {
        static BUDGET: LogBudget = LogBudget::new();
        metrics.fields().publishes.inc(DENY);
        BUDGET.write(metrics, |suppressed| {
            info!(
                wallet = %self.wallet, client_id = %escape_control(self.client_id),
                topic = %escape_control(self.topic), reason = %self.reason, suppressed,
                "publish denied"
            );
        });
    }
}

/// A topic filter of a client was kept from the broker.
pub struct SubscribeDenied<'a> {
    /// Who subscribed.
    pub wallet: Wallet,
    /// Under which client id.
    pub client_id: &'a str,
    /// To what.
    pub filter: &'a str,
    /// Why it may not.
    pub reason: &'a dyn fmt::Display,
}

impl SubscribeDenied<'_> {
    /// Logs and counts it.
    pub fn emit(&self, metrics: &Metrics) {
        static BUDGET: LogBudget = LogBudget::new();
        metrics.fields().subscriptions.inc(DENY);
        BUDGET.write(metrics, |suppressed| {
            info!(
                wallet = %self.wallet, client_id = %escape_control(self.client_id),
                filter = %escape_control(self.filter), reason = %self.reason, suppressed,
                "subscription denied"
            );
        });
    }
}

/// A message of the broker was kept from a client.
pub struct DeliveryDenied<'a> {
    /// Who was to get it.
    pub wallet: Wallet,
    /// Under which client id.
    pub client_id: &'a str,
    /// Of which topic.
    pub topic: &'a str,
    /// Why it may not.
    pub reason: &'a dyn fmt::Display,
}

impl DeliveryDenied<'_> {
    /// Logs and counts it.
    pub fn emit(&self, metrics: &Metrics) {
        static BUDGET: LogBudget = LogBudget::new();
        metrics.fields().deliveries.inc(DENY);
        BUDGET.write(metrics, |suppressed| {
            info!(
                wallet = %self.wallet, client_id = %escape_control(self.client_id),
                topic = %escape_control(self.topic), reason = %self.reason, suppressed,
                "delivery denied"
            );
        });
    }
}

/// A client may not leave the will its CONNECT carries.
pub struct WillDenied<'a> {
    /// Who connected.
    pub wallet: Wallet,
    /// Under which client id.
    pub client_id: &'a str,
    /// The will's topic.
    pub topic: &'a str,
    /// Why it may not.
    pub reason: &'a dyn fmt::Display,
}

impl WillDenied<'_> {
    /// Logs and counts it.
    pub fn emit(&self, metrics: &Metrics) {
        static BUDGET: LogBudget = LogBudget::new();
        metrics.fields().wills_denied.inc();
        BUDGET.write(metrics, |suppressed| {
            info!(
                wallet = %self.wallet, client_id = %escape_control(self.client_id),
                topic = %escape_control(self.topic), reason = %self.reason, suppressed,
                "will denied"
            );
        });
    }
}
