//! What the policy says to this session's principal, and what the session adds to it.

use super::outcome::Denial;
use super::{Context, Session, WillTopics};
use crate::mqtt::SubscribeRequest;
use crate::policy::{Decision, decide};
use crate::types::{Action, TopicName, UnixTime};

impl Session {
    /// Until when `action` is permitted; `None`: until something changes.
    pub(super) fn judge(
        &self,
        action: Action<'_>,
        context: &Context<'_>,
    ) -> Result<Option<UnixTime>, Denial> {
        let identity = self.identity.as_ref().ok_or(Denial::NotLoggedIn)?;
        match decide(context.snapshot, &identity.principal, action, context.now) {
            Decision::Permit { until, .. } => Ok(until),
            Decision::Deny { reason } => Err(Denial::Policy(reason)),
        }
    }

    /// Whether a publish to `topic` that asks for answers at `response_topic` is permitted.
    /// A response topic makes somebody else publish there (3.3.2.3.5): the client must at least
    /// be one who could listen to it. Answers as [`judge`](Self::judge) does.
    pub(super) fn may_publish(
        &self,
        topic: TopicName<'_>,
        response_topic: Option<TopicName<'_>>,
        context: &Context<'_>,
    ) -> Result<Option<UnixTime>, Denial> {
        if self
            .identity
            .as_ref()
            .is_some_and(|identity| identity.subscribe_only)
        {
            return Err(Denial::SubscribeOnlyToken);
        }
        let publish = self.judge(Action::Publish(topic), context)?;
        let listen = match response_topic {
            None => None,
            Some(response) => self
                .judge(Action::Subscribe(response.into()), context)
                .map_err(|_| Denial::ResponseTopic)?,
        };
        Ok(publish.into_iter().chain(listen).min())
    }

    pub(super) fn may_subscribe(
        &self,
        request: &SubscribeRequest<'_>,
        context: &Context<'_>,
    ) -> Result<(), Denial> {
        self.judge(Action::Subscribe(request.subscription.filter), context)?;
        let full = self.filters.len() >= self.settings.subscriptions;
        if full && !self.filters.contains(request.text) {
            return Err(Denial::TooManySubscriptions);
        }
        Ok(())
    }

    /// Whether there is no will, or one that the client may still publish.
    pub(super) fn will_still_permitted(&self, context: &Context<'_>) -> bool {
        self.will
            .as_ref()
            .is_none_or(|will| self.judge_will(will, context).is_ok())
    }

    /// The same, looked at only when the right may have ended. The broker can fire a will without
    /// asking, so it must not hold one a moment longer.
    pub(super) fn renew_will(&mut self, context: &Context<'_>) -> bool {
        let Some(will) = &self.will else { return true };
        if will.until.is_none_or(|until| context.now < until) {
            return true;
        }
        let renewed = self.judge_will(will, context);
        if let (Ok(until), Some(will)) = (&renewed, &mut self.will) {
            will.until = *until;
        }
        renewed.is_ok()
    }

    fn judge_will(
        &self,
        will: &WillTopics,
        context: &Context<'_>,
    ) -> Result<Option<UnixTime>, Denial> {
        // Both were valid names when the CONNECT was judged.
        let name = |text| TopicName::new(text).map_err(|_| Denial::NotLoggedIn);
        let response_topic = will.response_topic.as_deref().map(name).transpose()?;
        self.may_publish(name(&will.topic)?, response_topic, context)
    }
}
