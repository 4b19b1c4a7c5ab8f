//! Subscribing with a filter.

use super::*;

#[test]
fn a_filter_without_wildcards_is_decided_like_a_name() {
    let s = world()
        .space("plant", FACTORY, CLOSED)
        .grant("plant", DEVICE, READ)
        .done();
    assert_eq!(subscribe(&s, DEVICE, "plant"), permit(Why::Grant));
    assert_eq!(
        subscribe(&s, DEVICE, "plant/x"),
        deny(DenyReason::NotGranted)
    );
    assert_eq!(
        subscribe(&s, DEVICE, "other"),
        deny(DenyReason::NoSuchSpace)
    );
}

#[test]
fn a_filter_is_permitted_only_if_all_that_it_matches_is() {
    let s = world()
        .space("plant", FACTORY, CLOSED)
        .space("plant/line1", FACTORY, CLOSED)
        .space("plant/line2", FACTORY, CLOSED)
        .space("plant/sold", TENANT, CLOSED)
        .space("plant/sold/public", TENANT, READABLE)
        .grant("plant/line1", DEVICE, READ_ALL)
        .grant("plant/line2", DEVICE, READ)
        .done();
    for (wallet, filter, expected) in [
        (DEVICE, "plant/line1/#", permit(Why::Grant)),
        (DEVICE, "plant/line1/+/temp", permit(Why::Grant)),
        (DEVICE, "plant/line2/#", deny(DenyReason::NotCovered)),
        (DEVICE, "plant/line2/+", deny(DenyReason::NotCovered)),
        (DEVICE, "plant/+/temp", deny(DenyReason::NotCovered)),
        (DEVICE, "plant/#", deny(DenyReason::NotCovered)),
        (DEVICE, "#", deny(DenyReason::NotCovered)),
        (DEVICE, "+/line1", deny(DenyReason::NotCovered)),
        (DEVICE, "other/#", deny(DenyReason::NoSuchSpace)),
        (STRANGER, "plant/#", deny(DenyReason::NotGranted)),
        // All of the plant is the owner's but for what was sold.
        (FACTORY, "plant/#", deny(DenyReason::NotCovered)),
        (FACTORY, "plant/+", deny(DenyReason::NotCovered)),
        (FACTORY, "plant/+/temp", deny(DenyReason::NotCovered)),
        (FACTORY, "plant/+/public", permit(Why::Owner)),
        (FACTORY, "plant/line1/#", permit(Why::Owner)),
        (FACTORY, "plant/unregistered/#", permit(Why::Owner)),
        (TENANT, "plant/sold/#", permit(Why::Owner)),
        (STRANGER, "plant/sold/public/#", permit(Why::Open)),
    ] {
        assert_eq!(subscribe(&s, wallet, filter), expected, "{wallet} {filter}");
    }
}

#[test]
fn a_single_level_wildcard_needs_no_more_than_that_level() {
    let s = world()
        .space("plant", FACTORY, READABLE)
        .space("plant/sold", TENANT, CLOSED)
        .grant("plant/sold", DEVICE, READ)
        .done();
    assert_eq!(subscribe(&s, DEVICE, "plant/+"), permit(Why::Open));
    assert_eq!(
        subscribe(&s, DEVICE, "plant/+/x"),
        deny(DenyReason::NotCovered)
    );
    assert_eq!(
        subscribe(&s, STRANGER, "plant/+"),
        deny(DenyReason::NotCovered)
    );
}

#[test]
fn a_filter_that_overlaps_a_denial_is_refused() {
    let s = world()
        .space("plant", FACTORY, READABLE)
        .space("plant/line", FACTORY, READABLE)
        .space("plant/line/vault", FACTORY, READABLE)
        .grant("plant/line/vault", DEVICE, DENY)
        .done();
    for (filter, expected) in [
        ("plant/#", deny(DenyReason::Denied)),
        ("plant/+/vault", deny(DenyReason::Denied)),
        ("plant/line/+", deny(DenyReason::Denied)),
        // The denial is for the name alone; below it all is open.
        ("plant/line/vault/+", permit(Why::Open)),
        ("plant/+/vault/+", permit(Why::Open)),
        // `a/#` matches `a`.
        ("plant/line/vault/#", deny(DenyReason::Denied)),
        ("plant/+", permit(Why::Open)),
        ("plant/+/door", permit(Why::Open)),
    ] {
        assert_eq!(subscribe(&s, DEVICE, filter), expected, "{filter}");
    }
    assert_eq!(subscribe(&s, STRANGER, "plant/#"), permit(Why::Open));
}

/// Which child the walk meets first must not show.
#[test]
fn the_reason_does_not_depend_on_the_order_of_spaces() {
    for _ in 0..32 {
        let s = world()
            .space("p", FACTORY, READABLE)
            .space("p/a", FACTORY, CLOSED)
            .space("p/b", FACTORY, READABLE)
            .space("p/c", FACTORY, CLOSED)
            .grant("p/b", DEVICE, DENY)
            .done();
        assert_eq!(subscribe(&s, DEVICE, "p/+"), deny(DenyReason::Denied));
    }
}

#[test]
fn a_filter_is_permitted_until_the_first_part_ends() {
    let ends = |end| Grant {
        subscribe: until(end),
        subtree: true,
        ..NOTHING
    };
    let s = world()
        .space("plant", FACTORY, CLOSED)
        .space("plant/sold", TENANT, CLOSED)
        .grant("plant", DEVICE, ends(3_000))
        .grant("plant/sold", DEVICE, ends(2_000))
        .done();
    let all = Action::Subscribe(TopicFilter::new("plant/#").unwrap());
    assert_eq!(
        ask(&s, DEVICE, all, UnixTime(1_999)),
        Decision::Permit {
            why: Why::Grant,
            until: Some(UnixTime(2_000))
        }
    );
    assert_eq!(
        ask(&s, DEVICE, all, UnixTime(2_000)),
        deny(DenyReason::NotCovered)
    );
    assert_eq!(
        ask(&s, DEVICE, all, UnixTime(3_000)),
        deny(DenyReason::Expired)
    );
}
