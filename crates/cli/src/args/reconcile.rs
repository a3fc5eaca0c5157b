//! The options of `offpeak reconcile`, and a calendar month.

use std::str::FromStr;

use clap::Args;
use offpeak_core::units::Timestamp;

/// The exit codes of `reconcile`, below its help.
pub(crate) const EXIT_CODES: &str = "\
The reports need an admin key of the organisation, in ANTHROPIC_ADMIN_KEY.

Exit codes:
   0  books and reports agree, or what differs is explained, is the traffic of others, or is not yet
      in the reports
   2  wrong argument or setting; nothing was asked
   4  the API refused or did not answer
  70  the upstream reports less than the books say, although its reports are complete";

#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("what").required(true)))]
pub(crate) struct ReconcileArgs {
    /// The job's name or id: its time is looked at, and all jobs that ran then
    #[arg(group = "what")]
    pub(crate) job: Option<String>,
    /// A calendar month, UTC
    #[arg(long, value_name = "YYYY-MM", group = "what")]
    pub(crate) month: Option<Month>,
    /// Count only calls by the API key of this id (apikey_…); may be repeated. Money is not compared
    /// then
    #[arg(long = "api-key-id", value_name = "ID")]
    pub(crate) api_key_ids: Vec<String>,
    /// Where the API is [env: ANTHROPIC_BASE_URL] [default: https://api.anthropic.com]
    #[arg(long, value_name = "URL")]
    pub(crate) base_url: Option<String>,
    /// Look among the simulated jobs, whose upstream is gone when their run ends; says what to do
    #[arg(long, hide = true)]
    pub(crate) sim: bool,
}

/// A calendar month, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Month {
    pub(crate) year: u16,
    /// 1 to 12.
    pub(crate) month: u8,
}

impl Month {
    /// Its first moment, and the first one after it.
    pub(crate) fn edges(self) -> (Timestamp, Timestamp) {
        let first = |year: u16, month: u8| {
            Timestamp::of_day(&format!("{year:04}-{month:02}-01"))
                .expect("a month begins with a day")
        };
        let next = match self.month {
            12 => first(self.year + 1, 1),
            month => first(self.year, month + 1),
        };
        (first(self.year, self.month), next)
    }
}

impl std::fmt::Display for Month {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:04}-{:02}", self.year, self.month)
    }
}

impl FromStr for Month {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let month = text.split_once('-').and_then(|(year, month)| {
            let digits =
                |text: &str, len| text.len() == len && text.bytes().all(|b| b.is_ascii_digit());
            let whole = digits(year, 4) && digits(month, 2);
            let (year, month) = (year.parse().ok()?, month.parse().ok()?);
            // The moment after it must have a date too.
            let real = (1..=12).contains(&month) && (1..9_999).contains(&year);
            (whole && real).then_some(Self { year, month })
        });
        month.ok_or_else(|| format!("`{text}` is not a month; write it like `2026-11`"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_is_a_year_and_a_month() {
        let (from, to) = "2026-12".parse::<Month>().unwrap().edges();
        assert_eq!(
            (from.day(), to.day()),
            ("2026-12-01".to_owned(), "2027-01-01".to_owned())
        );
        for wrong in [
            "",
            "2026",
            "2026-13",
            "2026-00",
            "2026-1",
            "26-01",
            "2026-12-01",
            "+026-01",
        ] {
            assert!(wrong.parse::<Month>().is_err(), "{wrong}");
        }
    }
}
