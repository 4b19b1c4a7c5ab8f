//! Which countries are kept out.

use super::Country;

/// What a list of countries means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// These are kept out, all others come in.
    #[default]
    Deny,
    /// These come in, all others are kept out.
    Allow,
}

/// What becomes of addresses that the database has no country for, private ones among them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unknown {
    /// They come in.
    #[default]
    Pass,
    /// They are kept out.
    Drop,
}

/// Which countries are kept out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// What `countries` means.
    pub mode: Mode,
    /// In any order.
    pub countries: Vec<Country>,
    /// Addresses without a country.
    pub unknown: Unknown,
}

impl Policy {
    /// The countries whose packets are dropped, as the kernel takes them: see
    /// [`flytrap_common::geo::CountryPolicy`].
    pub fn drop_set(&self) -> [u64; 4] {
        let mut listed = [0_u64; 4];
        for country in &self.countries {
            let index = country.index();
            if let Some(word) = listed.get_mut(usize::from(index >> 6)) {
                *word |= 1 << (index & 63);
            }
        }
        let [first, rest @ ..] = match self.mode {
            Mode::Deny => listed,
            Mode::Allow => listed.map(|word| !word),
        };
        let unknown = u64::from(self.unknown == Unknown::Drop);
        let [second, third, fourth] = rest;
        [first & !1 | unknown, second, third, fourth]
    }
}

#[cfg(test)]
mod tests {
    use flytrap_common::geo::CountryPolicy;

    use super::*;

    #[test]
    fn every_country_is_dropped_that_should_be_and_no_other() {
        let listed: Vec<Country> = ["AD", "DE", "US", "ZW"]
            .map(|code| code.parse().unwrap())
            .into();
        for mode in [Mode::Deny, Mode::Allow] {
            for unknown in [Unknown::Pass, Unknown::Drop] {
                let policy = Policy {
                    mode,
                    countries: listed.clone(),
                    unknown,
                };
                let drop = CountryPolicy {
                    drop: policy.drop_set(),
                };
                for country in Country::all() {
                    let expected = listed.contains(&country) == (mode == Mode::Deny);
                    assert_eq!(drop.drops(country.index()), expected, "{country} {mode:?}");
                }
                assert_eq!(drop.drops(0), unknown == Unknown::Drop);
            }
        }
    }

    #[test]
    fn without_a_word_nobody_is_dropped() {
        assert_eq!(Policy::default().drop_set(), [0; 4]);
    }
}
