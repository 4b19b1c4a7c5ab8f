//! The algorithm against its definition: what any window of time may hold.

extern crate std;

use std::vec::Vec;

use proptest::prelude::*;

use super::*;

const HOUR: u64 = 3_600 * SECOND;

/// A limit and its state.
struct Gate(Limit, u64);

impl Gate {
    fn lets_through(&mut self, now: u64) -> bool {
        let Arrival { within, due } = self.0.arrival(self.1, now);
        self.1 = due;
        within
    }
}

/// The definition, counted: with this arrival, no window that ends now holds more than it may.
fn conforms(limit: Limit, admitted: &[u64], now: u64) -> bool {
    admitted.iter().rev().zip(1_u128..).all(|(first, further)| {
        further * u128::from(limit.interval)
            <= u128::from(now - first) + u128::from(limit.tolerance)
    })
}

fn limits() -> impl Strategy<Value = Limit> {
    (1..5_000_u32, 1..50_u32).prop_map(|(rate, burst)| Limit::per_second(rate, burst))
}

/// Times between arrivals: floods, arrivals at about the rate, and pauses.
fn gaps() -> impl Strategy<Value = Vec<u64>> {
    let gap = prop_oneof![
        3 => 0..1_000_u64,
        3 => 0..2_000_000_u64,
        1 => 0..SECOND,
    ];
    prop::collection::vec(gap, 1..300)
}

proptest! {
    /// Neither one more nor one less than the definition, from any start of the clock.
    #[test]
    fn it_is_its_definition(limit in limits(), start in 0..HOUR, gaps in gaps()) {
        let mut gate = Gate(limit, 0);
        let mut admitted = Vec::new();
        let mut now = start;
        for gap in gaps {
            now += gap;
            let within = conforms(limit, &admitted, now);
            prop_assert_eq!(gate.lets_through(now), within);
            if within {
                admitted.push(now);
            }
        }
    }

    /// As on another CPU, whose clock is a little behind.
    #[test]
    fn a_clock_that_steps_back_lets_little_more_through(
        limit in limits(),
        step in 0..SECOND,
        arrivals in prop::collection::vec((0..SECOND, any::<bool>()), 1..300),
    ) {
        let wider = Limit { tolerance: limit.tolerance + step, ..limit };
        let mut gate = Gate(limit, 0);
        let mut admitted = Vec::new();
        let mut now = HOUR;
        for (gap, behind) in arrivals {
            now += gap;
            if gate.lets_through(if behind { now - step } else { now }) {
                prop_assert!(conforms(wider, &admitted, now));
                admitted.push(now);
            }
        }
    }

    #[test]
    fn whoever_was_idle_has_the_whole_burst(limit in limits(), now in 0..HOUR, gaps in gaps()) {
        let mut gate = Gate(limit, 0);
        let mut now = now;
        for gap in gaps {
            now += gap;
            gate.lets_through(now);
        }
        now += limit.interval + limit.tolerance;
        for _ in 0..limit.burst() {
            prop_assert!(gate.lets_through(now));
        }
        prop_assert!(!gate.lets_through(now));
        prop_assert!(gate.lets_through(now + limit.interval));
    }

    /// Whatever an earlier limit left, what is in force now holds from the first arrival on.
    #[test]
    fn no_state_blocks_for_longer_than_a_burst(limit in limits(), due: u64, now in 0..HOUR) {
        let mut gate = Gate(limit, due);
        gate.lets_through(now);
        let rested = now + SECOND + limit.interval + limit.tolerance;
        for _ in 0..limit.burst() {
            prop_assert!(gate.lets_through(rested));
        }
        prop_assert!(!gate.lets_through(rested));
    }

    /// No number overflows, and an arrival over the limit changes nothing but nonsense.
    #[test]
    fn any_numbers_will_do(interval: u64, tolerance: u64, due: u64, now: u64) {
        let limit = Limit { interval, tolerance };
        let arrival = limit.arrival(due, now);
        prop_assert_eq!(arrival.within || due > now, true);
        if !arrival.within {
            prop_assert!(arrival.due <= due);
        }
        let again = limit.arrival(arrival.due, now);
        if !arrival.within {
            prop_assert_eq!(again, arrival);
        }
        let _: (u64, u64) = (limit.rate(), limit.burst());
    }

    #[test]
    fn a_limit_is_what_was_asked_for(rate in 1..=1_000_000_u32, burst in 1..=1_000_000_u32) {
        let limit = Limit::per_second(rate, burst);
        prop_assert!(limit.is_set());
        prop_assert_eq!(limit.burst(), u64::from(burst));
        prop_assert!(limit.rate() <= u64::from(rate));
        prop_assert!(limit.rate() * 1_000 >= u64::from(rate) * 999);
        prop_assert!(limit.interval * u64::from(rate) >= SECOND);
    }
}

#[test]
fn without_a_limit_everything_is_within() {
    let mut gate = Gate(Limit::NONE, 0);
    assert!((0..1_000).all(|_| gate.lets_through(7)));
    assert_eq!(gate.1, 0);
    assert_eq!(Limit::per_second(0, 40), Limit::NONE);
    assert_eq!((Limit::NONE.rate(), Limit::NONE.burst()), (0, 0));
    // A burst of nothing would never let anything through.
    assert_eq!(Limit::per_second(5, 0), Limit::per_second(5, 1));
}

#[test]
fn extremes_hold() {
    for (rate, burst) in [(1, u32::MAX), (u32::MAX, u32::MAX), (u32::MAX, 1)] {
        let limit = Limit::per_second(rate, burst);
        assert_eq!(limit.burst(), u64::from(burst));
    }
}
