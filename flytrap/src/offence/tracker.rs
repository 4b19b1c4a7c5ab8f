//! Who did how much of what lately.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use super::{Offence, Rule};
use crate::types::Prefix;

/// A source went too far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sentence {
    /// How long the source is to be kept out.
    pub duration: Duration,
    /// The how manieth sentence in a row of this source it is, from 1.
    pub repeat: u32,
}

/// Counts the offences of sources and says when they are too many.
///
/// Sources and remembered offences together never exceed the capacity: the source that has been
/// quiet longest makes room. All times are since the same moment and never run backwards.
#[derive(Debug)]
pub struct Tracker {
    rules: Vec<Rule>,
    capacity: usize,
    memory: Duration,
    sources: HashMap<Prefix, History>,
    by_age: BTreeSet<(Duration, Prefix)>,
    remembered: usize,
}

#[derive(Debug)]
struct History {
    /// The last offence: the order in which sources make room.
    last: Duration,
    /// The last offence, or the end of the sentence it led to.
    quiet_since: Duration,
    sentences: u32,
    /// When the offences that still count happened, one list per rule.
    times: Box<[VecDeque<Duration>]>,
}

impl History {
    fn size(&self) -> usize {
        1 + self.times.iter().map(VecDeque::len).sum::<usize>()
    }
}

impl Tracker {
    /// Sources and offences remembered by default: a few megabytes.
    pub const CAPACITY: usize = 1 << 17;

    /// A tracker that has seen nothing.
    pub fn new(rules: Vec<Rule>, capacity: usize) -> Self {
        let memory = rules
            .iter()
            .map(|rule| rule.window.max(rule.ban_max))
            .max()
            .unwrap_or_default();
        Self {
            rules,
            capacity,
            memory,
            sources: HashMap::new(),
            by_age: BTreeSet::new(),
            remembered: 0,
        }
    }

    /// Counts one offence of `source`.
    pub fn offence(&mut self, source: Prefix, offence: Offence, now: Duration) -> Option<Sentence> {
        if !self.rules.iter().any(|rule| rule.offence == offence) {
            return None;
        }
        let mut history = self
            .take(source)
            .filter(|history| now < history.quiet_since.saturating_add(self.memory))
            .unwrap_or_else(|| self.unknown(now));
        history.last = now;
        history.quiet_since = history.quiet_since.max(now);

        let mut longest = None;
        for (rule, times) in self.rules.iter().zip(&mut history.times) {
            if rule.offence != offence {
                continue;
            }
            while times
                .front()
                .is_some_and(|time| time.saturating_add(rule.window) <= now)
            {
                times.pop_front();
            }
            times.push_back(now);
            if times.len() > rule.more_than as usize {
                longest = longest.max(Some(rule.duration(history.sentences)));
            }
        }
        let sentence = longest.map(|duration| {
            // What led to a sentence is paid for by it.
            history.times.iter_mut().for_each(VecDeque::clear);
            history.sentences = history.sentences.saturating_add(1);
            history.quiet_since = now.saturating_add(duration);
            Sentence {
                duration,
                repeat: history.sentences,
            }
        });
        self.put(source, history);
        self.make_room(now);
        sentence
    }

    /// A login of `source` succeeded: rows of consecutive offences end.
    pub fn success(&mut self, source: Prefix) {
        let Some(mut history) = self.take(source) else {
            return;
        };
        for (rule, times) in self.rules.iter().zip(&mut history.times) {
            if rule.consecutive {
                times.clear();
            }
        }
        if history.sentences > 0 || history.size() > 1 {
            self.put(source, history);
        }
    }

    /// Takes up a sentence from before a restart, so that the next one is longer.
    pub fn resume(&mut self, source: Prefix, repeat: u32, ends: Duration, now: Duration) {
        self.forgive(source);
        let mut history = self.unknown(now);
        history.sentences = repeat;
        history.quiet_since = ends;
        self.put(source, history);
        self.make_room(now);
    }

    /// Forgets all that `source` did.
    pub fn forgive(&mut self, source: Prefix) {
        self.take(source);
    }

    #[cfg(test)]
    fn sources(&self) -> usize {
        self.sources.len()
    }

    fn unknown(&self, now: Duration) -> History {
        History {
            last: now,
            quiet_since: now,
            sentences: 0,
            times: self.rules.iter().map(|_| VecDeque::new()).collect(),
        }
    }

    fn take(&mut self, source: Prefix) -> Option<History> {
        let history = self.sources.remove(&source)?;
        self.by_age.remove(&(history.last, source));
        self.remembered -= history.size();
        Some(history)
    }

    fn put(&mut self, source: Prefix, history: History) {
        self.by_age.insert((history.last, source));
        self.remembered += history.size();
        self.sources.insert(source, history);
    }

    /// Forgets what can no longer matter, and then the quietest sources while there are too many.
    fn make_room(&mut self, now: Duration) {
        // The order is that of the offences; a sentence adds at most another `memory` to one.
        let kept = self.memory.saturating_mul(2);
        while let Some(&(last, source)) = self.by_age.first()
            && (self.remembered > self.capacity || last.saturating_add(kept) <= now)
        {
            self.take(source);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const HOUR: Duration = Duration::from_hours(1);
    const AUTH: Offence = Offence::AuthFailed;

    fn source(n: u32) -> Prefix {
        Prefix::of_source(std::net::Ipv4Addr::from_bits(n).into())
    }

    fn tracker(rules: &[Rule]) -> Tracker {
        Tracker::new(rules.to_vec(), Tracker::CAPACITY)
    }

    /// Offends six times at once and returns the sentence for the last.
    fn six(tracker: &mut Tracker, now: Duration) -> Option<Sentence> {
        for _ in 0..5 {
            assert_eq!(tracker.offence(source(1), AUTH, now), None);
        }
        tracker.offence(source(1), AUTH, now)
    }

    #[test]
    fn the_sixth_in_a_row_is_one_too_many() {
        let mut tracker = tracker(&[Rule::default()]);
        let sentence = six(&mut tracker, SECOND).unwrap();
        assert_eq!(
            sentence,
            Sentence {
                duration: Duration::from_mins(10),
                repeat: 1
            }
        );
        assert_eq!(
            tracker.offence(source(1), AUTH, SECOND),
            None,
            "counts anew"
        );
    }

    #[test]
    fn each_source_counts_for_itself() {
        let mut tracker = tracker(&[Rule::default()]);
        for n in 0..100 {
            assert_eq!(tracker.offence(source(n % 20), AUTH, SECOND), None);
        }
        assert!(tracker.offence(source(7), AUTH, SECOND).is_some());
    }

    #[test]
    fn what_no_rule_names_is_not_even_remembered() {
        let mut tracker = tracker(&[Rule::default()]);
        for _ in 0..100 {
            assert_eq!(tracker.offence(source(1), Offence::AclDenied, SECOND), None);
        }
        assert_eq!(tracker.sources(), 0);
    }

    #[test]
    fn the_window_slides() {
        let mut tracker = tracker(&[Rule::default()]);
        // One each 12 minutes: never more than five within an hour.
        for n in 0..100 {
            assert_eq!(tracker.offence(source(1), AUTH, HOUR / 5 * n), None, "{n}");
        }
        // Half of them at the end of one hour, half at the start of the next.
        let late = HOUR * 1000 + SECOND * 10;
        for n in 0..3 {
            assert_eq!(
                tracker.offence(source(1), AUTH, HOUR * 1000 + SECOND * n),
                None
            );
        }
        for n in 0..2 {
            assert_eq!(tracker.offence(source(1), AUTH, late + SECOND * n), None);
        }
        assert!(
            tracker
                .offence(source(1), AUTH, late + SECOND * 3)
                .is_some()
        );
    }

    #[test]
    fn a_success_ends_only_rows() {
        let in_a_row = Rule::default();
        let in_all = Rule {
            consecutive: false,
            more_than: 7,
            ban: HOUR,
            ..in_a_row
        };
        let mut tracker = tracker(&[in_a_row, in_all]);
        for _ in 0..5 {
            assert_eq!(tracker.offence(source(1), AUTH, SECOND), None);
        }
        tracker.success(source(1));
        assert_eq!(tracker.offence(source(1), AUTH, SECOND), None);
        assert_eq!(tracker.offence(source(1), AUTH, SECOND), None);
        let eighth = tracker.offence(source(1), AUTH, SECOND).unwrap();
        assert_eq!(eighth.duration, HOUR);
    }

    #[test]
    fn a_success_leaves_no_trace_of_a_source_without_sentences() {
        let mut tracker = tracker(&[Rule::default()]);
        tracker.offence(source(1), AUTH, SECOND);
        tracker.success(source(1));
        assert_eq!(tracker.sources(), 0);
    }

    #[test]
    fn sentences_double_up_to_the_longest_and_are_forgotten_after_that_long() {
        let mut tracker = tracker(&[Rule::default()]);
        let mut now = SECOND;
        for minutes in [10, 20, 40, 80, 160, 320, 640, 1280, 1440, 1440] {
            let sentence = six(&mut tracker, now).unwrap();
            assert_eq!(sentence.duration, Duration::from_mins(minutes));
            now += sentence.duration + SECOND;
        }
        // Quiet for a second less than a day behind the end: still known.
        now += Duration::from_secs(24 * 3600 - 2);
        let known = six(&mut tracker, now).unwrap();
        assert_eq!((known.repeat, known.duration), (11, HOUR * 24));
        now += known.duration + Duration::from_hours(24);
        let fresh = six(&mut tracker, now).unwrap();
        assert_eq!((fresh.repeat, fresh.duration), (1, Duration::from_mins(10)));
    }

    #[test]
    fn a_sentence_from_before_a_restart_makes_the_next_longer() {
        let mut tracker = tracker(&[Rule::default()]);
        tracker.resume(source(1), 2, HOUR, SECOND);
        assert_eq!(six(&mut tracker, HOUR).unwrap().repeat, 3);
        tracker.forgive(source(1));
        assert_eq!(six(&mut tracker, HOUR).unwrap().repeat, 1);
    }

    #[test]
    fn many_sources_push_out_the_quietest_and_never_the_newest() {
        let mut tracker = Tracker::new(vec![Rule::default()], 100);
        // A hundred sentenced sources, in force for long, leave room for the newcomer.
        for n in 0..1000 {
            for _ in 0..6 {
                tracker.offence(source(n), AUTH, SECOND * n);
            }
        }
        assert!(tracker.sources() <= 100);
        let newcomer = source(5000);
        let late = SECOND * 1001;
        for _ in 0..5 {
            assert_eq!(tracker.offence(newcomer, AUTH, late), None);
        }
        assert!(tracker.offence(newcomer, AUTH, late).is_some());
    }

    #[test]
    fn time_alone_empties_the_memory() {
        let mut tracker = tracker(&[Rule::default()]);
        for n in 0..1000 {
            tracker.offence(source(n), AUTH, SECOND);
        }
        tracker.offence(source(2000), AUTH, HOUR * 49);
        assert_eq!(tracker.sources(), 1);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Offend(u32),
        Succeed(u32),
        Wait(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0..4_u32).prop_map(Step::Offend),
            1 => (0..4_u32).prop_map(Step::Succeed),
            2 => (0..4000_u64).prop_map(Step::Wait),
        ]
    }

    proptest! {
        /// Against a model that keeps everything for ever.
        #[test]
        fn sentences_fall_exactly_when_the_rule_says(
            steps in proptest::collection::vec(step(), 0..400),
        ) {
            let rule = Rule::default();
            let mut tracker = tracker(&[rule]);
            let mut rows: HashMap<u32, Vec<Duration>> = HashMap::new();
            let mut now = SECOND;
            for step in steps {
                match step {
                    Step::Wait(seconds) => now += Duration::from_secs(seconds),
                    Step::Succeed(n) => {
                        tracker.success(source(n));
                        rows.remove(&n);
                    }
                    Step::Offend(n) => {
                        let row = rows.entry(n).or_default();
                        row.push(now);
                        let counted = row.iter().filter(|time| **time + HOUR > now).count();
                        let sentence = tracker.offence(source(n), AUTH, now);
                        prop_assert_eq!(sentence.is_some(), counted == 6);
                        if let Some(sentence) = sentence {
                            prop_assert!(sentence.duration >= rule.ban);
                            prop_assert!(sentence.duration <= rule.ban_max);
                            row.clear();
                        }
                    }
                }
            }
        }

        /// Sentences within the memory never get shorter, whatever the rule.
        #[test]
        fn escalation_is_monotonic_and_capped(
            ban in 1..10_000_u64,
            times in 1..20_u64,
            rounds in 1..80_u32,
        ) {
            let ban = Duration::from_secs(ban);
            let rule = Rule { more_than: 0, ban, ban_max: ban * u32::try_from(times).unwrap(),
                              ..Rule::default() };
            let mut tracker = tracker(&[rule]);
            let mut now = SECOND;
            let mut last = Duration::ZERO;
            for _ in 0..rounds {
                let sentence = tracker.offence(source(1), AUTH, now).unwrap();
                prop_assert!(sentence.duration >= last);
                prop_assert!(sentence.duration <= rule.ban_max);
                last = sentence.duration;
                now += sentence.duration;
            }
        }

        /// No pattern of sources outgrows the capacity, and the books stay balanced.
        #[test]
        fn memory_is_bounded(
            sources in proptest::collection::vec((0..64_u32, 0..3_u64, any::<bool>()), 0..500),
        ) {
            let mut tracker = Tracker::new(vec![Rule::default()], 40);
            let mut now = SECOND;
            for (n, seconds, succeeds) in sources {
                now += Duration::from_secs(seconds);
                if succeeds && n % 5 == 0 {
                    tracker.success(source(n));
                } else {
                    tracker.offence(source(n), AUTH, now);
                }
                let held: usize = tracker.sources.values().map(History::size).sum();
                prop_assert!(held <= 40);
                prop_assert_eq!(held, tracker.remembered);
                prop_assert_eq!(tracker.by_age.len(), tracker.sources.len());
            }
        }
    }
}
