//! When a recurring message is due: a period, or a set of minutes as cron names them. Compiled from text once, by
//! whoever takes the message in; a few integers from then on. Times are UTC; there is no daylight saving.
//!
//! ```text
//! schedule := "every" number unit                unit: ms, s, m, h, d; 100 ms to 366 days
//!           | minute hour day month weekday      each: * or a list of n, n-n, n-n/step, */step
//!           | "@hourly" | "@daily" | "@midnight" | "@weekly" | "@monthly" | "@yearly" | "@annually"
//! ```
//! Months and weekdays may be English names of three letters; weekdays are 0 to 7, and both ends are Sunday. If
//! neither day nor weekday begins with `*`, either will do; otherwise both have to hold. (So does Vixie's cron.)

use crate::Millis;
use serde::{Deserialize, Serialize};

const MINUTE_MS: u64 = 60_000;
const DAY_MS: u64 = 86_400_000;
/// Bounds of a period, ms.
const EVERY_MS_MIN: u64 = 100;
const EVERY_MS_MAX: u64 = 366 * DAY_MS;
/// The calendar repeats itself after 400 years: what does not come up in so many days never does.
const CYCLE_DAYS: u64 = 146_097;
/// Longer texts are refused unread, octets.
const TEXT_MAX: usize = 512;

/// See the module.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Schedule {
    /// Each so many milliseconds, counted from the time of the template. > 0.
    Every(u64),
    Cron(Cron),
}

/// Sets of allowed values, as bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Cron {
    /// 0 to 59.
    minutes: u64,
    /// 0 to 23.
    hours: u32,
    /// 1 to 31.
    days: u32,
    /// 1 to 12.
    months: u16,
    /// 0 (Sunday) to 6.
    weekdays: u8,
    /// Day and weekday are alternatives.
    either_day: bool,
}

/// A schedule with its ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Recurrence {
    pub schedule: Schedule,
    /// So many times; 0: no bound.
    pub count: u32,
    /// Not after this time, ms since 1970; 0: no bound.
    pub until: Millis,
}

impl Schedule {
    /// # Errors
    /// What is wrong with the text, for people.
    pub fn parse(text: &str) -> Result<Schedule, String> {
        if text.len() > TEXT_MAX {
            return Err(format!("it is longer than {TEXT_MAX} octets"));
        }
        let text = text.trim().to_ascii_lowercase();
        if let Some(period) = text.strip_prefix("every ") {
            return parse_period(period.trim()).map(Schedule::Every);
        }
        let fields = match text.as_str() {
            "@hourly" => "0 * * * *",
            "@daily" | "@midnight" => "0 0 * * *",
            "@weekly" => "0 0 * * 0",
            "@monthly" => "0 0 1 * *",
            "@yearly" | "@annually" => "0 0 1 1 *",
            other => other,
        };
        let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
        let &[minute, hour, day, month, weekday] = fields.as_slice() else {
            return Err(format!(
                "expected five fields (minute hour day month weekday) or 'every N s', got {} fields",
                fields.len()
            ));
        };
        // Sunday has two numbers.
        let weekdays = parse_field(weekday, &WEEKDAY)?;
        let cron = Cron {
            minutes: parse_field(minute, &MINUTE)?,
            hours: parse_field(hour, &HOUR)? as u32,
            days: parse_field(day, &DAY)? as u32,
            months: parse_field(month, &MONTH)? as u16,
            weekdays: (weekdays & 0x7f | weekdays >> 7) as u8,
            either_day: !day.starts_with('*') && !weekday.starts_with('*'),
        };
        if cron.next_day(0, CYCLE_DAYS).is_none() {
            return Err("no day is like that".to_owned());
        }
        Ok(Schedule::Cron(cron))
    }

    /// The first time after `time`, of a schedule that began at `start`. `None`: beyond what numbers can tell.
    pub fn next_after(&self, start: Millis, time: Millis) -> Option<Millis> {
        match self {
            Schedule::Every(period) => {
                let passed = time.saturating_sub(start) / period;
                start.checked_add(passed.checked_add(1)?.checked_mul(*period)?)
            }
            Schedule::Cron(cron) => cron.next_after(time),
        }
    }
}

impl Cron {
    fn next_after(&self, time: Millis) -> Option<Millis> {
        let from = time / MINUTE_MS + 1;
        let (today, minute) = (from / 1440, (from % 1440) as u32);
        if self.is_day(today)
            && let Some(minute) = self.next_minute(minute)
        {
            return minute_at(today, minute);
        }
        let day = self.next_day(today.checked_add(1)?, CYCLE_DAYS)?;
        minute_at(day, self.next_minute(0)?)
    }

    /// The first minute of a day that is not before `from`.
    fn next_minute(&self, from: u32) -> Option<u32> {
        let (hour, minute) = (from / 60, from % 60);
        if self.hours & 1 << hour != 0
            && let Some(minute) = first_from(self.minutes, minute)
        {
            return Some(hour * 60 + minute);
        }
        let hour = first_from(u64::from(self.hours), hour + 1)?;
        Some(hour * 60 + first_from(self.minutes, 0)?)
    }

    /// The first day from `from` on, among so many; days count from 1970.
    fn next_day(&self, from: u64, among: u64) -> Option<u64> {
        let mut day = from;
        while day < from.checked_add(among)? {
            let (year, month, of_month) = civil(day)?;
            if self.months & 1 << month == 0 {
                day += u64::from(month_days(year, month) - of_month) + 1;
            } else if self.is_day(day) {
                return Some(day);
            } else {
                day += 1;
            }
        }
        None
    }

    fn is_day(&self, day: u64) -> bool {
        let Some((_, month, of_month)) = civil(day) else { return false };
        // 1970 began on a Thursday.
        let weekday = self.weekdays & 1 << ((day + 4) % 7) != 0;
        let of_month = self.days & 1 << of_month != 0;
        let is_day = if self.either_day { of_month || weekday } else { of_month && weekday };
        self.months & 1 << month != 0 && is_day
    }
}

impl Recurrence {
    /// As [`Schedule::next_after`]; `None` when it is over.
    pub fn next_after(&self, start: Millis, time: Millis) -> Option<Millis> {
        self.schedule.next_after(start, time).filter(|next| self.until == 0 || *next <= self.until)
    }

    /// As two integers, for the log.
    ///
    /// ```text
    /// first   kind 2 (1: every, 2: cron) | every: period 64
    ///                                    | cron: minutes 60, hours 24, months 12 (from bit 1), weekdays 7, either 1
    /// second  days 32 | count 32 | until 64
    /// ```
    pub(crate) fn pack(&self) -> (u128, u128) {
        let (first, days) = match self.schedule {
            Schedule::Every(period) => (1 | u128::from(period) << 2, 0),
            Schedule::Cron(cron) => {
                let Cron { minutes, hours, days, months, weekdays, either_day } = cron;
                let first = 2
                    | u128::from(minutes) << 2
                    | u128::from(hours) << 62
                    | u128::from(months >> 1) << 86
                    | u128::from(weekdays) << 98
                    | u128::from(either_day) << 105;
                (first, days)
            }
        };
        (first, u128::from(days) | u128::from(self.count) << 32 | u128::from(self.until) << 64)
    }

    /// `None` if it is nothing that [`Recurrence::pack`] makes.
    pub(crate) fn unpack(first: u128, second: u128) -> Option<Recurrence> {
        let bits = |from: u32, n: u32| (first >> from & ((1 << n) - 1)) as u64;
        let schedule = match bits(0, 2) {
            1 => Schedule::Every(bits(2, 64)).checked()?,
            2 => Schedule::Cron(Cron {
                minutes: bits(2, 60),
                hours: bits(62, 24) as u32,
                days: second as u32,
                months: (bits(86, 12) << 1) as u16,
                weekdays: bits(98, 7) as u8,
                either_day: bits(105, 1) != 0,
            }),
            _ => return None,
        };
        Some(Recurrence { schedule, count: (second >> 32) as u32, until: (second >> 64) as u64 })
    }
}

impl Schedule {
    fn checked(self) -> Option<Schedule> {
        (self != Schedule::Every(0)).then_some(self)
    }
}

/// What a field may hold.
struct Field {
    name: &'static str,
    from: u32,
    to: u32,
    /// Of the values from `from` on.
    names: &'static [&'static str],
}

const MINUTE: Field = Field { name: "minute", from: 0, to: 59, names: &[] };
const HOUR: Field = Field { name: "hour", from: 0, to: 23, names: &[] };
const DAY: Field = Field { name: "day", from: 1, to: 31, names: &[] };
const MONTH: Field = Field {
    name: "month",
    from: 1,
    to: 12,
    names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
};
const WEEKDAY: Field =
    Field { name: "weekday", from: 0, to: 7, names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"] };

fn parse_field(text: &str, field: &Field) -> Result<u64, String> {
    let mut set = 0;
    for part in text.split(',') {
        let bad = |what: &str| format!("'{part}' in the field for the {}: {what}", field.name);
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(step)),
            None => (part, None),
        };
        let (from, to) = match range.split_once('-') {
            _ if range == "*" => (field.from, field.to),
            Some((from, to)) => {
                (value(from, field).map_err(|e| bad(&e))?, value(to, field).map_err(|e| bad(&e))?)
            }
            None if step.is_some() => return Err(bad("a step needs a range or *")),
            None => {
                let only = value(range, field).map_err(|e| bad(&e))?;
                (only, only)
            }
        };
        if from > to {
            return Err(bad("the range ends before it begins"));
        }
        let step = match step {
            Some(step) => {
                number(step).filter(|step| *step > 0).ok_or_else(|| bad("the step is no number above 0"))?
            }
            None => 1,
        };
        (from..=to).step_by(step as usize).for_each(|value| set |= 1u64 << value);
    }
    Ok(set)
}

fn value(text: &str, field: &Field) -> Result<u32, String> {
    let named = field.names.iter().position(|name| *name == text).map(|i| i as u32 + field.from);
    let value = named.or_else(|| number(text)).ok_or_else(|| format!("'{text}' is no value"))?;
    if (field.from..=field.to).contains(&value) {
        Ok(value)
    } else {
        Err(format!("{value} is not within {} to {}", field.from, field.to))
    }
}

/// Up to four decimal digits.
fn number(text: &str) -> Option<u32> {
    let is_number = (1..=4).contains(&text.len()) && text.bytes().all(|c| c.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

fn parse_period(text: &str) -> Result<u64, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (n, unit) = text.split_at(digits);
    let unit = match unit.trim() {
        "ms" => 1,
        "s" | "sec" | "second" | "seconds" => 1_000,
        "m" | "min" | "minute" | "minutes" => MINUTE_MS,
        "h" | "hour" | "hours" => 60 * MINUTE_MS,
        "d" | "day" | "days" => DAY_MS,
        other => return Err(format!("'{other}' is no unit of time: ms, s, m, h or d")),
    };
    let period = n.parse::<u64>().ok().and_then(|n| n.checked_mul(unit));
    period
        .filter(|period| (EVERY_MS_MIN..=EVERY_MS_MAX).contains(period))
        .ok_or_else(|| "the period is not within 100 ms to 366 days".to_owned())
}

/// The lowest bit of `set` that is not below `from`.
fn first_from(set: u64, from: u32) -> Option<u32> {
    let rest = set & u64::MAX.checked_shl(from)?;
    (rest != 0).then(|| rest.trailing_zeros())
}

fn minute_at(day: u64, minute: u32) -> Option<Millis> {
    day.checked_mul(DAY_MS)?.checked_add(u64::from(minute) * MINUTE_MS)
}

/// Year, month (1 to 12) and day of the month of a day since 1970, in the Gregorian calendar. Years are counted from
/// March, so that the leap day is the last; 1970-01-01 is day 719 468 of an era that began with March of year 0.
fn civil(day: u64) -> Option<(u64, u32, u32)> {
    let day = day.checked_add(719_468)?;
    let (era, of_era) = (day / CYCLE_DAYS, day % CYCLE_DAYS);
    // Leap years add a day to every fourth year but three in 400.
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    // Months from March on have 31, 30, 31, 30, 31 days, again and again: 153 in five.
    let from_march = (5 * of_year + 2) / 153;
    let of_month = (of_year - (153 * from_march + 2) / 5 + 1) as u32;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 } as u32;
    Some((era * 400 + year + u64::from(month <= 2), month, of_month))
}

fn month_days(year: u64, month: u32) -> u32 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Walks the calendar day by day.
    fn days() -> impl Iterator<Item = (u64, (u64, u32, u32))> {
        let mut date = (1970, 1, 1);
        (0u64..).map(move |day| {
            let today = date;
            let (year, month, of_month) = date;
            date = if of_month < month_days(year, month) {
                (year, month, of_month + 1)
            } else if month < 12 {
                (year, month + 1, 1)
            } else {
                (year + 1, 1, 1)
            };
            (day, today)
        })
    }

    fn day(year: u64, month: u32, of_month: u32) -> u64 {
        days().find(|(_, date)| *date == (year, month, of_month)).unwrap().0
    }

    fn at(year: u64, month: u32, of_month: u32, hour: u64, minute: u64) -> Millis {
        day(year, month, of_month) * DAY_MS + hour * 60 * MINUTE_MS + minute * MINUTE_MS
    }

    fn next(text: &str, time: Millis) -> Millis {
        Schedule::parse(text).unwrap().next_after(0, time).unwrap()
    }

    #[test]
    fn dates_are_what_a_walk_over_two_cycles_finds() {
        for (day, date) in days().take(2 * CYCLE_DAYS as usize) {
            assert_eq!(civil(day), Some(date), "{day}");
        }
    }

    #[test]
    fn the_next_time_is_in_the_sets_and_none_is_left_out() {
        let texts = [
            "*/5 * * * *",
            "0 0 * * *",
            "30 2 1,15 * *",
            "0 12 * * mon-fri",
            "15 */6 31 * *",
            "0 0 29 feb *",
            "59 23 */2 jan,jul 7",
            "7 7 13 * fri",
            "1-9/4 3 * 2 *",
        ];
        let mut random = 1u64;
        for text in texts {
            let schedule = Schedule::parse(text).unwrap();
            let Schedule::Cron(cron) = schedule else { panic!() };
            let fits = |minute: u64| {
                let (day, of_day) = (minute / 1440, minute % 1440);
                cron.is_day(day)
                    && cron.hours >> (of_day / 60) & 1 == 1
                    && cron.minutes >> (of_day % 60) & 1 == 1
            };
            for _ in 0..40 {
                random =
                    random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let time = (random >> 20) % (200 * 366 * DAY_MS);
                let next = schedule.next_after(0, time).unwrap();
                assert!(
                    next > time && next.is_multiple_of(MINUTE_MS) && fits(next / MINUTE_MS),
                    "{text} {time}"
                );
                // Beginning with the first whole minute behind `time`.
                let between = time / MINUTE_MS + 1..next / MINUTE_MS;
                assert!(between.take(400_000).all(|minute| !fits(minute)), "{text} {time}");
                assert_eq!(
                    schedule.next_after(0, next - 1),
                    Some(next),
                    "a time is not its own successor only"
                );
            }
        }
    }

    #[test]
    fn months_end_where_they_do_and_leap_days_come_when_they_do() {
        assert_eq!(next("0 0 31 * *", at(2026, 1, 31, 0, 0)), at(2026, 3, 31, 0, 0));
        assert_eq!(next("0 0 29 2 *", at(2025, 1, 1, 0, 0)), at(2028, 2, 29, 0, 0));
        assert_eq!(next("0 0 29 2 *", at(2096, 3, 1, 0, 0)), at(2104, 2, 29, 0, 0), "2100 has none");
        assert_eq!(next("59 23 28-31 feb *", at(2028, 2, 28, 23, 59)), at(2028, 2, 29, 23, 59));
        assert_eq!(next("0 0 1 1 *", at(2026, 12, 31, 23, 59)), at(2027, 1, 1, 0, 0));
        // 2026-11-27 is a Friday.
        assert_eq!(next("0 9 * * sat", at(2026, 11, 27, 9, 0)), at(2026, 11, 28, 9, 0));
        assert_eq!(next("0 9 * * 7", at(2026, 11, 27, 9, 0)), at(2026, 11, 29, 9, 0));
        assert_eq!(next("0 9 * * 0", at(2026, 11, 27, 9, 0)), at(2026, 11, 29, 9, 0));
        assert_eq!(next("0 9 1 * mon", at(2026, 11, 27, 9, 0)), at(2026, 11, 30, 9, 0), "either day");
        assert_eq!(next("0 9 */31 * mon", at(2026, 11, 27, 9, 0)), at(2027, 2, 1, 9, 0), "both");
    }

    #[test]
    fn periods_count_from_their_start() {
        let every = Schedule::parse("every 30s").unwrap();
        assert_eq!(every, Schedule::Every(30_000));
        assert_eq!(every.next_after(1_000, 1_000), Some(31_000));
        assert_eq!(every.next_after(1_000, 31_000), Some(61_000));
        assert_eq!(every.next_after(1_000, 200_000), Some(211_000), "what was missed is passed over");
        assert_eq!(every.next_after(u64::MAX - 1, 5), None);
        assert_eq!(Schedule::parse("EVERY 2 hours"), Ok(Schedule::Every(7_200_000)));
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_the_reason() {
        for (text, why) in [
            ("", "five fields"),
            ("* * * *", "got 4 fields"),
            ("* * * * * *", "got 6 fields"),
            ("60 * * * *", "60 is not within 0 to 59"),
            ("* 24 * * *", "24 is not within 0 to 23"),
            ("* * 0 * *", "0 is not within 1 to 31"),
            ("* * * 13 *", "13 is not within 1 to 12"),
            ("* * * * 8", "8 is not within 0 to 7"),
            ("* * * * someday", "'someday' is no value"),
            ("5-1 * * * *", "ends before it begins"),
            ("*/0 * * * *", "step is no number above 0"),
            ("5/2 * * * *", "a step needs a range"),
            ("1,,2 * * * *", "'' is no value"),
            ("-1 * * * *", "'' is no value"),
            ("99999 * * * *", "'99999' is no value"),
            ("0 0 30 2 *", "no day is like that"),
            ("0 0 31 4,6 *", "no day is like that"),
            ("every 30", "no unit"),
            ("every s", "period is not"),
            ("every 5 parsecs", "no unit"),
            ("every 50ms", "100 ms to 366 days"),
            ("every 18446744073709551615d", "100 ms to 366 days"),
            ("@reboot", "five fields"),
        ] {
            let error = Schedule::parse(text).unwrap_err();
            assert!(error.contains(why), "{text:?}: {error}");
        }
        assert!(Schedule::parse(&"1,".repeat(300)).unwrap_err().contains("longer"));
        assert_eq!(Schedule::parse("@weekly"), Schedule::parse("0 0 * * sun"));
        assert!(Schedule::parse("0 0 30 2 mon").is_ok(), "Mondays in February");
    }

    #[test]
    fn the_end_of_time_is_none() {
        let yearly = Schedule::parse("0 0 1 1 *").unwrap();
        assert_eq!(yearly.next_after(0, u64::MAX), None);
        assert_eq!(yearly.next_after(0, u64::MAX - DAY_MS), None);
    }

    #[test]
    fn two_integers_tell_all_of_it() {
        for text in ["every 100ms", "every 366d", "* * * * *", "59 23 31 12 6", "0 0 1 1 0", "3 4 */2 5 1-5"]
        {
            for (count, until) in [(0, 0), (1, u64::MAX), (u32::MAX, 5)] {
                let whole = Recurrence { schedule: Schedule::parse(text).unwrap(), count, until };
                let (first, second) = whole.pack();
                assert_eq!(Recurrence::unpack(first, second), Some(whole), "{text}");
            }
        }
        for bad in [0, 3, 1] {
            assert_eq!(Recurrence::unpack(bad, 0), None);
        }
    }
}
