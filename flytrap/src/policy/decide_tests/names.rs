//! Publishing to, and being delivered, a topic.

use super::*;

#[test]
fn a_topic_of_no_space_is_denied() {
    let s = world().space("plant", FACTORY, READABLE).done();
    for topic in ["other", "other/plant", "/plant", "plan", "plant2"] {
        assert_eq!(
            receive(&s, FACTORY, topic),
            deny(DenyReason::NoSuchSpace),
            "{topic}"
        );
    }
}

#[test]
fn what_is_not_registered_belongs_to_the_nearest_space_above() {
    let s = world()
        .space("plant", FACTORY, CLOSED)
        .space("plant/open", FACTORY, READABLE)
        .done();
    assert_eq!(receive(&s, STRANGER, "plant/open/x/y"), permit(Why::Open));
    assert_eq!(receive(&s, STRANGER, "plant/open/"), permit(Why::Open));
    assert_eq!(
        receive(&s, STRANGER, "plant//open"),
        deny(DenyReason::NotGranted)
    );
    assert_eq!(
        receive(&s, STRANGER, "plant/x"),
        deny(DenyReason::NotGranted)
    );
}

#[test]
fn the_owner_may_and_cannot_be_denied() {
    let s = world()
        .space("plant", FACTORY, CLOSED)
        .grant("plant", FACTORY, DENY_ALL)
        .done();
    assert_eq!(receive(&s, FACTORY, "plant"), permit(Why::Owner));
    assert_eq!(publish(&s, FACTORY, "plant/a/b"), permit(Why::Owner));
    assert_eq!(subscribe(&s, FACTORY, "plant/#"), permit(Why::Owner));
}

#[test]
fn a_sold_child_is_its_owners_alone() {
    let s = world()
        .space("plant", FACTORY, READABLE)
        .space("plant/flat", TENANT, CLOSED)
        .space("plant/flat/box", FACTORY, CLOSED)
        .grant("plant", DEVICE, READ_ALL)
        .grant("plant", TENANT, DENY_ALL)
        .done();
    assert_eq!(
        receive(&s, FACTORY, "plant/flat/x"),
        deny(DenyReason::NotGranted)
    );
    assert_eq!(
        receive(&s, DEVICE, "plant/flat"),
        deny(DenyReason::NotGranted)
    );
    assert_eq!(receive(&s, TENANT, "plant/flat/x"), permit(Why::Owner));
    // Nor does a grant jump over the sold level to a space of the first owner.
    assert_eq!(
        receive(&s, DEVICE, "plant/flat/box"),
        deny(DenyReason::NotGranted)
    );
    assert_eq!(receive(&s, DEVICE, "plant/x"), permit(Why::Grant));
}

#[test]
fn a_grant_without_subtree_is_for_the_name_alone() {
    let s = world()
        .space("plant", FACTORY, CLOSED)
        .space("plant/line", FACTORY, CLOSED)
        .grant("plant", DEVICE, READ)
        .done();
    assert_eq!(receive(&s, DEVICE, "plant"), permit(Why::Grant));
    for topic in ["plant/x", "plant/line", "plant/"] {
        assert_eq!(
            receive(&s, DEVICE, topic),
            deny(DenyReason::NotGranted),
            "{topic}"
        );
    }
    assert_eq!(
        publish(&s, DEVICE, "plant"),
        deny(DenyReason::NotGranted),
        "another right"
    );
}

#[test]
fn a_subtree_grant_reaches_registered_and_other_topics_below() {
    let s = world()
        .space("plant", FACTORY, CLOSED)
        .space("plant/line", FACTORY, CLOSED)
        .grant("plant", DEVICE, READ_ALL)
        .done();
    for topic in ["plant", "plant/x", "plant/line", "plant/line/x"] {
        assert_eq!(receive(&s, DEVICE, topic), permit(Why::Grant), "{topic}");
    }
}

#[test]
fn a_denial_beats_any_grant_and_openness() {
    let s = world()
        .space("plant", FACTORY, READABLE)
        .space("plant/line", FACTORY, READABLE)
        .grant("plant", DEVICE, DENY_ALL)
        .grant("plant/line", DEVICE, READ_ALL)
        .grant("plant", STRANGER, DENY)
        .done();
    for topic in ["plant", "plant/x", "plant/line", "plant/line/x"] {
        assert_eq!(
            receive(&s, DEVICE, topic),
            deny(DenyReason::Denied),
            "{topic}"
        );
    }
    assert_eq!(receive(&s, STRANGER, "plant"), deny(DenyReason::Denied));
    assert_eq!(receive(&s, STRANGER, "plant/x"), permit(Why::Open));
    assert_eq!(
        publish(&s, DEVICE, "plant"),
        deny(DenyReason::NotGranted),
        "another right"
    );
}

#[test]
fn the_longest_of_several_grants_counts_and_ends_on_its_second() {
    let ends = |end| Grant {
        subscribe: until(end),
        subtree: true,
        ..NOTHING
    };
    let s = world()
        .space("plant", FACTORY, CLOSED)
        .space("plant/line", FACTORY, CLOSED)
        .grant("plant", DEVICE, ends(2_000))
        .grant("plant/line", DEVICE, ends(1_500))
        .done();
    let topic = Action::Receive(TopicName::new("plant/line").unwrap());
    assert_eq!(
        ask(&s, DEVICE, topic, UnixTime(1_999)),
        Decision::Permit {
            why: Why::Grant,
            until: Some(UnixTime(2_000))
        }
    );
    assert_eq!(
        ask(&s, DEVICE, topic, UnixTime(2_000)),
        deny(DenyReason::Expired)
    );
}

#[test]
fn an_expired_grant_does_not_close_an_open_space() {
    let s = world()
        .space("plant", FACTORY, READABLE)
        .grant(
            "plant",
            DEVICE,
            Grant {
                subscribe: until(NOW.0),
                ..NOTHING
            },
        )
        .done();
    assert_eq!(receive(&s, DEVICE, "plant"), permit(Why::Open));
}

#[test]
fn a_later_grant_replaces_the_earlier_one() {
    let s = world()
        .space("plant", FACTORY, CLOSED)
        .grant("plant", DEVICE, READ)
        .grant("plant", DEVICE, NOTHING)
        .done();
    assert_eq!(receive(&s, DEVICE, "plant"), deny(DenyReason::NotGranted));
    assert_eq!(s.grants(), 1);
}
