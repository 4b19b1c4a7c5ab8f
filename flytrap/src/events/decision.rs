//! Denials. Permits are only counted.

use std::fmt;

use tracing::info;

use super::budget::LogBudget;
use crate::metrics::{DENY, Metrics};
use crate::types::{Asked, Wallet, escape_control};

/// Something that a client may not do, or not get, was kept from happening.
pub struct Denied<'a> {
    /// What it was.
    pub asked: Asked,
    /// Whose client it is.
    pub wallet: Wallet,
    /// Under which client id.
    pub client_id: &'a str,
    /// The topic; for [`Asked::Subscribe`] the filter.
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
        let (budget, message) = match self.asked {
            Asked::Publish => {
                fields.publishes.inc(DENY);
                (&PUBLISH, "publish denied")
            }
            Asked::Subscribe => {
                fields.subscriptions.inc(DENY);
                (&SUBSCRIBE, "subscription denied")
            }
            Asked::Delivery => {
                fields.deliveries.inc(DENY);
                (&DELIVERY, "delivery denied")
            }
            Asked::Will => {
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
