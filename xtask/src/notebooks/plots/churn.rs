//! The picture of experiment 26: descriptors and memory of a process, over logins and logouts.

use lab::{Observation, Role, Spread, results::VariantResult};

use super::chart::{self, Axis, DrawError, INK, OTHERS, OURS, Point, Series};
use crate::notebooks::{committed::Record, markdown::after};

/// The counts: their names in the observations, and in words.
const COUNTS: [(&str, &str); 2] =
    [("descriptors", "open descriptors"), ("kib", "memory of the process, KiB")];

/// The picture, if there are such observations.
pub fn draw(record: &Record) -> Option<Result<String, DrawError>> {
    let charts: Vec<_> = COUNTS
        .iter()
        .map(|(count, title)| (*title, series(&record.experiment.variants, count)))
        .filter(|(_, series)| !series.is_empty())
        .collect();
    (!charts.is_empty()).then(|| picture(&charts))
}

/// A line for each variant with more than one count: `kib_after_10` and so on.
fn series(variants: &[VariantResult], count: &str) -> Vec<Series> {
    let mut others = OTHERS.into_iter();
    let mut cures = [OURS, OTHERS[3]].into_iter();
    let mut all = Vec::new();
    for variant in variants {
        let color = match variant.role {
            Role::Control => Some(INK),
            Role::Cure => cures.next(),
            Role::Hazard => others.next(),
        };
        let mut points: Vec<_> = variant
            .observations
            .iter()
            .filter_map(|(name, seen)| {
                let (of, cycle) = after(name)?;
                let Observation::Integer(Spread { min, median, max, .. }) = seen else {
                    return None;
                };
                let [low, y, high] = [min, median, max].map(|it| *it as f64);
                (of == count).then_some(Point { x: f64::from(cycle), y, interval: [low, high] })
            })
            .collect();
        points.sort_by(|one, other| one.x.total_cmp(&other.x));
        if points.len() > 1 {
            let color = color.unwrap_or(INK);
            all.push(Series { name: variant.name.clone(), color, points, joined: true });
        }
    }
    all
}

fn picture(charts: &[(&str, Vec<Series>)]) -> Result<String, DrawError> {
    let title = "Logging in and out: smallest, median and largest of the trials";
    chart::picture(title, 420, |area| {
        let (above, names) = area.split_vertically(350);
        for (place, (title, series)) in above.split_evenly((1, charts.len())).iter().zip(charts) {
            let most = |of: fn(&Point) -> f64| {
                let points = series.iter().flat_map(|it| &it.points);
                points.fold(0.0_f64, |most, point| most.max(of(point)))
            };
            let x = Axis::from_zero(most(|it| it.x), "logins and logouts");
            let y = Axis::from_zero(most(|it| it.interval[1]), "");
            chart::panel(place, title, [&x, &y], series)?;
        }
        let all = charts.first().map(|(_, series)| series.as_slice()).unwrap_or_default();
        let all: Vec<_> = all.iter().map(|it| (it.name.as_str(), it.color)).collect();
        chart::names(&names, &all)
    })
}
