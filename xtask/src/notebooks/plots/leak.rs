//! The picture of experiment 31: what a logout leaves behind.

use lab::{Observation, Role, Spread, results::VariantResult};
use plotters::style::RGBColor;

use super::chart::{self, Axis, DrawError, OTHERS, OURS};
use crate::notebooks::committed::Record;

/// The counts: their names in the observations, and in words.
const COUNTS: [(&str, &str); 4] = [
    ("descriptors_per_cycle", "descriptors"),
    ("threads_per_cycle", "threads"),
    ("kib_per_cycle", "memory of the process, KiB"),
    ("heap_bytes_per_cycle", "of that, Rust's heap, bytes"),
];

/// The width of the variants' names, in pixels.
const NAMES: u32 = 90;

const ROLES: [(Role, &str, RGBColor); 3] = [
    (Role::Hazard, "forgotten", OTHERS[0]),
    (Role::Control, "dropped in a context", OTHERS[1]),
    (Role::Cure, "the kit", OURS),
];

/// The picture, if every variant has all counts.
pub fn draw(record: &Record) -> Option<Result<String, DrawError>> {
    let variants = &record.experiment.variants;
    let counted =
        COUNTS.iter().all(|(name, _)| variants.iter().all(|it| spread(it, name).is_some()));
    (counted && !variants.is_empty()).then(|| picture(variants))
}

fn spread(variant: &VariantResult, name: &str) -> Option<[f64; 3]> {
    match variant.observations.get(name)? {
        Observation::Integer(Spread { min, median, max, .. }) => {
            Some([min, median, max].map(|it| *it as f64))
        }
        _ => None,
    }
}

fn picture(variants: &[VariantResult]) -> Result<String, DrawError> {
    let title = "Left behind by each logout: smallest, median and largest of the trials";
    chart::picture(title, 480, |area| {
        let (charts, names) = area.split_vertically(410);
        let (left, right) = charts.split_horizontally((chart::WIDTH + NAMES) / 2);
        let (left, right) = (left.split_evenly((2, 1)), right.split_evenly((2, 1)));
        // From left to right, and then down.
        let places = left.iter().zip(&right).flat_map(|(left, right)| [(left, NAMES), (right, 8)]);
        for ((place, room), (count, title)) in places.zip(COUNTS) {
            let rows: Vec<_> = variants
                .iter()
                .filter_map(|it| {
                    let color = ROLES.iter().find(|(role, ..)| *role == it.role)?.2;
                    Some((it.name.as_str(), color, spread(it, count)?))
                })
                .collect();
            let largest = rows.iter().fold(0.0_f64, |largest, row| largest.max(row.2[2]));
            chart::rows(place, title, room, &Axis::from_zero(largest, ""), &rows)?;
        }
        chart::names(&names, &ROLES.map(|(_, name, color)| (name, color)))
    })
}
