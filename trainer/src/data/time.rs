//! When a row was made: numbers, dates and timestamps in one order.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

/// A time as a number whose order is that of time; its last bit tells dates from plain numbers, so that a
/// column with both can be refused.
pub(super) fn order(text: &str) -> Option<u64> {
    let text = text.trim();
    let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
    let (seconds, is_date) = match number {
        Some(number) => (number, false),
        None => (seconds(text)?, true),
    };
    // -0.0 is 0.0; the bits of a double are in the order of its value once those of negatives are turned.
    let bits = (seconds + 0.0).to_bits();
    let ordered = if bits >> 63 == 1 { !bits } else { bits | 1 << 63 };
    Some(ordered & !1 | u64::from(is_date))
}

/// Seconds since 1970; without an offset in UTC.
fn seconds(text: &str) -> Option<f64> {
    // Parquet's timestamps have a blank before their offset.
    let text = text.replace(" +", "+").replace(" UTC", "Z");
    if let Ok(timestamp) = text.parse::<jiff::Timestamp>() {
        return Some(timestamp.as_duration().as_secs_f64());
    }
    let civil = text.parse::<DateTime>().or_else(|_| text.parse::<Date>().map(DateTime::from)).ok()?;
    Some(civil.to_zoned(TimeZone::UTC).ok()?.timestamp().as_duration().as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::order;

    #[test]
    fn times_are_in_order() {
        for times in [
            &["-3.5", "-1", "0", "1e-3", "2", "1700000000"][..],
            &[
                "1969-12-31",
                "1970-01-01T00:00:01Z",
                "2024-02-29",
                "2024-02-29 10:00",
                "2024-02-29T12:00+01:00",
                "2024-02-29 11:00:00.5",
                "2024-02-29 12:00:00 +00:00",
            ][..],
        ] {
            let orders: Vec<_> = times.iter().map(|text| order(text).expect(text)).collect();
            assert!(orders.is_sorted() && orders[0] < orders[times.len() - 1], "{times:?} {orders:?}");
        }
        assert_eq!(order("-0"), order("0"));
        assert_ne!(order("1").map(|o| o & 1), order("2020-01-01").map(|o| o & 1));
        for no_time in ["", "yesterday", "inf", "2024-13-01"] {
            assert_eq!(order(no_time), None, "{no_time}");
        }
    }
}
