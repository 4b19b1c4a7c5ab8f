//! Country codes and their numbers.

use std::fmt;
use std::str::FromStr;

/// A country or territory of ISO 3166-1, or one of the codes that databases use beside them: XK
/// (Kosovo), EU and AP (Europe or Asia and the Pacific, the country unknown).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Country(u8);

/// Sorted. The position is part of every table and policy in the kernel: a change here is a change
/// of [`flytrap_common::abi::ABI_VERSION`].
#[rustfmt::skip]
const CODES: [&str; 252] = [
    "AD", "AE", "AF", "AG", "AI", "AL", "AM", "AO", "AP", "AQ", "AR", "AS", "AT", "AU",
    "AW", "AX", "AZ", "BA", "BB", "BD", "BE", "BF", "BG", "BH", "BI", "BJ", "BL", "BM",
    "BN", "BO", "BQ", "BR", "BS", "BT", "BV", "BW", "BY", "BZ", "CA", "CC", "CD", "CF",
    "CG", "CH", "CI", "CK", "CL", "CM", "CN", "CO", "CR", "CU", "CV", "CW", "CX", "CY",
    "CZ", "DE", "DJ", "DK", "DM", "DO", "DZ", "EC", "EE", "EG", "EH", "ER", "ES", "ET",
    "EU", "FI", "FJ", "FK", "FM", "FO", "FR", "GA", "GB", "GD", "GE", "GF", "GG", "GH",
    "GI", "GL", "GM", "GN", "GP", "GQ", "GR", "GS", "GT", "GU", "GW", "GY", "HK", "HM",
    "HN", "HR", "HT", "HU", "ID", "IE", "IL", "IM", "IN", "IO", "IQ", "IR", "IS", "IT",
    "JE", "JM", "JO", "JP", "KE", "KG", "KH", "KI", "KM", "KN", "KP", "KR", "KW", "KY",
    "KZ", "LA", "LB", "LC", "LI", "LK", "LR", "LS", "LT", "LU", "LV", "LY", "MA", "MC",
    "MD", "ME", "MF", "MG", "MH", "MK", "ML", "MM", "MN", "MO", "MP", "MQ", "MR", "MS",
    "MT", "MU", "MV", "MW", "MX", "MY", "MZ", "NA", "NC", "NE", "NF", "NG", "NI", "NL",
    "NO", "NP", "NR", "NU", "NZ", "OM", "PA", "PE", "PF", "PG", "PH", "PK", "PL", "PM",
    "PN", "PR", "PS", "PT", "PW", "PY", "QA", "RE", "RO", "RS", "RU", "RW", "SA", "SB",
    "SC", "SD", "SE", "SG", "SH", "SI", "SJ", "SK", "SL", "SM", "SN", "SO", "SR", "SS",
    "ST", "SV", "SX", "SY", "SZ", "TC", "TD", "TF", "TG", "TH", "TJ", "TK", "TL", "TM",
    "TN", "TO", "TR", "TT", "TV", "TW", "TZ", "UA", "UG", "UM", "US", "UY", "UZ", "VA",
    "VC", "VE", "VG", "VI", "VN", "VU", "WF", "WS", "XK", "YE", "YT", "ZA", "ZM", "ZW",
];

impl Country {
    /// Every country, by code.
    pub fn all() -> impl Iterator<Item = Self> {
        (1..=u8::MAX).map_while(Self::from_index)
    }

    /// The number in tables and policies, from 1 on.
    pub fn index(self) -> u8 {
        self.0
    }

    /// The country of a number; `None` for 0, no country, and for numbers that none has.
    pub fn from_index(index: u8) -> Option<Self> {
        let position = usize::from(index).checked_sub(1)?;
        (position < CODES.len()).then_some(Self(index))
    }

    /// Two capital letters.
    pub fn code(self) -> &'static str {
        let position = usize::from(self.0).checked_sub(1);
        // Every number that is made has a code.
        position
            .and_then(|position| CODES.get(position))
            .copied()
            .unwrap_or("??")
    }
}

impl serde::Serialize for Country {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

impl fmt::Display for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.code())
    }
}

/// No country has this code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no country code: two letters of ISO 3166-1 such as DE, or XK, EU, AP")]
pub struct UnknownCountry(String);

impl FromStr for Country {
    type Err = UnknownCountry;

    /// In capital or small letters.
    fn from_str(text: &str) -> Result<Self, UnknownCountry> {
        let code = text.to_ascii_uppercase();
        CODES
            .binary_search(&code.as_str())
            .ok()
            .and_then(|position| u8::try_from(position + 1).ok())
            .map(Self)
            .ok_or_else(|| UnknownCountry(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_sorted_and_two_capital_letters() {
        assert!(CODES.is_sorted_by(|a, b| a < b));
        for code in CODES {
            assert!(code.len() == 2 && code.bytes().all(|byte| byte.is_ascii_uppercase()));
        }
    }

    #[test]
    fn a_code_and_its_number_find_each_other() {
        assert_eq!(Country::all().count(), CODES.len());
        for (country, code) in Country::all().zip(CODES) {
            assert_eq!(country.to_string(), code);
            assert_eq!(code.to_lowercase().parse(), Ok(country));
            assert_eq!(Country::from_index(country.index()), Some(country));
        }
        assert_eq!(Country::from_index(0), None);
        assert_eq!(Country::from_index(253), None);
    }

    #[test]
    fn what_is_no_code_is_refused_by_name() {
        for text in ["", "D", "DEU", "ZZ", "Ä", "--"] {
            let error = text.parse::<Country>().unwrap_err();
            assert!(error.to_string().contains(&format!("`{text}`")));
        }
    }
}
