//! Denials. Permits are only counted.

use std::fmt;

use tracing::info;

use super::budget::LogBudget;
use crate::metrics::{DENY, Metrics};
use crate::types::{Wallet, escape_control};

/// What can be denied within a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deniable {
    /// A message of a client to the broker.
    Publish,
    /// A topic filter of a client.
    Subscribe,
    /// A message of the broker to a client.
    Delivery,
    /// The will that a client's CONNECT carries.
    Will,
}

/// Something that a client may not do, or not get, was kept from happening.
pub struct Denied<'a> {
    /// What it was.
    pub what: Deniable,
    /// Whose client it is.
    pub wallet: Wallet,
    /// Under which client id.
    pub client_id: &'a str,
    /// The topic; for [`Deniable::Subscribe`] the filter.
    pub text: &'a str,
    /// Why it may not.
    pub reason: &'a dyn fmt::Display,
}

impl Denied<'_> {
    /// Logs and counts it.
    pub fn emit(&self, metrics: &Metrics) {
        static PUBLISH: LogBudget = LogBudget::new();
        static SUBSCRIBE: LogBudget = LogBudget::new();
        static DELIVERY: LogBudget = LogBudget::new();
        static WILL: LogBudget = LogBudget::new();
        let fields = metrics.fields();
        let (budget, message) = match self.what {
            Deniable::Publish => {
                fields.publishes.inc(DENY);
                (&PUBLISH, "publish denied")
            }
            Deniable::Subscribe => {
                fields.subscriptions.inc(DENY);
                (&SUBSCRIBE, "subscription denied")
            }
            Deniable::Delivery => {
                fields.deliveries.inc(DENY);
                (&DELIVERY, "delivery denied")
            }
            Deniable::Will => {
                fields.wills_denied.inc();
                (&WILL, "will denied")
            }
        };
        budget.write(metrics, |suppressed| {
            info!(
                wallet = %self.wallet, client_id = %escape_control(self.client_id),
                topic = %escape_control(self.text), reason = %self.reason, suppressed, "{message}"
            );
        });
    }
}
