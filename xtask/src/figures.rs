//! Formats numbers for people.

use lab::{Observation, Spread};

/// Formats an interval of a rate: `84–100 %`, with as many decimals as its ends need to differ.
pub fn percent([low, high]: [f64; 2]) -> String {
    let (low, high) = (low * 100.0, high * 100.0);
    let decimals = match high - low {
        width if width >= 2.0 => 0,
        width if width >= 0.2 => 1,
        _ => 2,
    };
    format!("{low:.decimals$}–{high:.decimals$} %")
}

/// A rate: `12 %`, `5.8 %`, `0.030 %`.
pub fn rate(rate: f64) -> String {
    let percent = rate * 100.0;
    let decimals = match percent {
        it if it == 0.0 || it >= 10.0 => 0,
        it if it >= 0.1 => 1,
        _ => 3,
    };
    format!("{percent:.decimals$} %")
}

/// Formats a duration in a suitable unit: `812` and `µs`, `1.20` and `ms`.
fn in_unit(nanoseconds: i64) -> (String, &'static str) {
    let magnitude = nanoseconds.unsigned_abs();
    let (factor, unit) = match magnitude {
        0..1_000 => return (nanoseconds.to_string(), "ns"),
        1_000..1_000_000 => (1_000, "µs"),
        1_000_000..1_000_000_000 => (1_000_000, "ms"),
        _ => (1_000_000_000, "s"),
    };
    // Three significant digits in integer arithmetic, which gives the same text on every machine.
    let (whole, rest) = (nanoseconds / factor, (nanoseconds % factor).abs());
    let number = match whole.abs() {
        0..10 => format!("{whole}.{:02}", rest * 100 / factor),
        10..100 => format!("{whole}.{}", rest * 10 / factor),
        _ => whole.to_string(),
    };
    (number, unit)
}

/// A number of seconds: `2.1 s`.
pub fn seconds(seconds: f64) -> String {
    format!("{seconds:.1} s")
}

/// Formats an observation: `1 · 4 · 4`, `0.81 · 1.20 · 5.30 ms`, or `true × 20`.
pub fn observation(observation: &Observation) -> String {
    match observation {
        Observation::Integer(Spread { min, median, max, .. }) => {
            format!("{min} · {median} · {max}")
        }
        Observation::Nanoseconds(Spread { min, median, max, .. }) => {
            let parts = [min, median, max].map(|nanoseconds| in_unit(*nanoseconds));
            let [(min, of_min), (median, of_median), (max, unit)] = parts;
            if of_min == unit && of_median == unit {
                format!("{min} · {median} · {max} {unit}")
            } else {
                format!("{min} {of_min} · {median} {of_median} · {max} {unit}")
            }
        }
        Observation::Count { values } => values
            .iter()
            .map(|(word, count)| format!("{word} × {count}"))
            .collect::<Vec<_>>()
            .join(" · "),
    }
}

/// Formats a number for an axis or a column's head: `0.5`, `20`, `10 k`, `1 M`.
pub fn in_short(number: f64) -> String {
    match number {
        it if it >= 1e6 => format!("{} M", it / 1e6),
        it if it >= 1e4 => format!("{} k", it / 1e3),
        it if it >= 1.0 || it == 0.0 => format!("{it:.0}"),
        it => format!("{}", (it * 1e4).round() / 1e4),
    }
}

/// `1 trial`, `2 trials`.
pub fn plural(count: usize, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use lab::Value;

    use super::*;

    #[test]
    fn intervals_show_as_many_decimals_as_they_need() {
        assert_eq!(percent([0.838_9, 1.0]), "84–100 %");
        assert_eq!(percent([0.001, 0.012]), "0.1–1.2 %");
        assert_eq!(percent([0.0, 0.000_4]), "0.00–0.04 %");
    }

    #[test]
    fn rates_show_as_many_decimals_as_they_need() {
        assert_eq!([0.0, 0.12, 0.058, 0.000_3].map(rate), ["0 %", "12 %", "5.8 %", "0.030 %"]);
    }

    #[test]
    fn durations_have_a_suitable_unit() {
        let duration = |nanoseconds| {
            let (number, unit) = in_unit(nanoseconds);
            format!("{number} {unit}")
        };
        assert_eq!(duration(17), "17 ns");
        assert_eq!(duration(812_345), "812 µs");
        assert_eq!(duration(1_204_000), "1.20 ms");
        assert_eq!(duration(52_400_000_000), "52.4 s");
    }

    #[test]
    fn observations_name_a_common_unit_once() {
        let of = |values: &[Value]| observation(&Observation::of(values).unwrap());
        assert_eq!(
            of(&[Value::Nanoseconds(1_500_000), Value::Nanoseconds(2_500_000)]),
            "1.50 · 1.50 · 2.50 ms"
        );
        assert_eq!(
            of(&[Value::Nanoseconds(900), Value::Nanoseconds(1_500)]),
            "900 ns · 900 ns · 1.50 µs"
        );
        assert_eq!(of(&[Value::from(4), Value::from(1)]), "1 · 1 · 4");
        assert_eq!(of(&[Value::from(true), Value::from(true)]), "true × 2");
    }
}
