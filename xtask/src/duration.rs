//! Lengths of time, as they are typed.

use std::time::Duration;

/// A length of time that is not zero: `10`, `2.5`, `90s`, `1m30s`.
pub fn parse(text: &str) -> Result<Duration, String> {
    const EXPECTED: &str = "expected seconds, or a time as in 1m30s";
    let time = match text.parse::<f64>() {
        Ok(seconds) if seconds <= 0.0 => Ok(Duration::ZERO),
        Ok(seconds) if seconds.is_nan() => Err(EXPECTED),
        Ok(seconds) => Duration::try_from_secs_f64(seconds).map_err(|_| "nothing takes so long"),
        Err(_) => humantime::parse_duration(text).map_err(|_| EXPECTED),
    };
    match time {
        Ok(time) if time.is_zero() => Err("expected more than 0".to_owned()),
        time => time.map_err(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_in_seconds_unless_it_has_a_unit() {
        for (text, milliseconds) in [("10", 10_000), ("2.5", 2_500), ("1m30s", 90_000), ("5ms", 5)]
        {
            assert_eq!(parse(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for wrong in ["", "0", "0s", "-1", "NaN", "inf", "1e300", "soon"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
