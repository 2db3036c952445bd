//! Figures as pictures, for the notebook: ratios to the floor over the number of tasks or waiters.

use std::{
    collections::BTreeMap,
    error::Error,
    fs,
    path::{Path, PathBuf},
};

use plotters::prelude::*;

use crate::figure::Figure;

/// How large a picture is, in pixels.
const SIZE: (u32, u32) = (880, 520);

/// Of text, axes and lines that are not ours: legible on light and on dark ground.
const INK: RGBColor = RGBColor(128, 128, 128);
const OURS: RGBColor = RGBColor(214, 94, 22);
const PEERS: [RGBColor; 11] = [
    RGBColor(58, 130, 196),
    RGBColor(46, 160, 120),
    RGBColor(160, 108, 200),
    RGBColor(190, 150, 40),
    RGBColor(200, 80, 130),
    RGBColor(90, 170, 190),
    RGBColor(130, 150, 70),
    RGBColor(150, 120, 110),
    RGBColor(100, 100, 200),
    RGBColor(220, 130, 130),
    RGBColor(40, 120, 120),
];

/// How far the axis goes beyond the largest number, for the names to stand there.
const ROOM: f64 = 40.0;

/// From the number of tasks to the ratio, for each subject.
type Lines<'a> = BTreeMap<&'a str, Vec<(f64, f64)>>;

/// Draws a picture for each case of the group and the latch on each runtime, into a folder, and says
/// which there are. A case measured at one size only makes no line, and no picture.
pub fn draw(figures: &[Figure], folder: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    fs::create_dir_all(folder)?;
    let mut cases: BTreeMap<(&str, &str, &str), Lines<'_>> = BTreeMap::new();
    for figure in figures.iter().filter(|figure| matches!(figure.bench, "group" | "latch")) {
        if let Some(ratio) = figure.ratio_to_floor {
            let lines = cases.entry((figure.bench, figure.case, &figure.runtime)).or_default();
            lines.entry(figure.subject).or_default().push((figure.n as f64, ratio));
        }
    }
    let mut pictures = Vec::new();
    for ((bench, case, runtime), lines) in cases {
        if lines.values().all(|line| line.len() < 2) {
            continue;
        }
        let path = folder.join(format!("{bench}-{case}-{runtime}.svg"));
        let title = format!("{bench}, {case}, {runtime}: time as a multiple of the floor's");
        picture(&path, &title, bench, &lines)?;
        pictures.push(path);
    }
    Ok(pictures)
}

fn picture(path: &Path, title: &str, bench: &str, lines: &Lines<'_>) -> Result<(), Box<dyn Error>> {
    let points = || lines.values().flatten();
    let most = points().fold(1.0_f64, |most, (n, _)| most.max(*n));
    let top = points().fold(2.0_f64, |top, (_, ratio)| top.max(*ratio)) * 1.2;
    let bottom = points().fold(1.0_f64, |bottom, (_, ratio)| bottom.min(*ratio)) * 0.9;

    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    let ink = |size: i32| ("sans-serif", size).into_font().color(&INK);
    let mut chart = ChartBuilder::on(&root)
        .caption(title, ink(17))
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(56)
        .build_cartesian_2d((1.0..most * ROOM).log_scale(), (bottom..top).log_scale())?;
    chart
        .configure_mesh()
        .axis_style(INK)
        .bold_line_style(INK.mix(0.3))
        .light_line_style(INK.mix(0.1))
        .label_style(ink(13))
        .x_desc(if bench == "latch" { "waiters" } else { "tasks" })
        .y_desc("× floor, logarithmic")
        .x_label_formatter(&|n| format!("{n:.0}"))
        .y_label_formatter(&|ratio| format!("{ratio:.1}"))
        .draw()?;
    let mut peers = PEERS.iter().copied().cycle();
    for (subject, line) in lines {
        let color = match *subject {
            "sundown" => OURS,
            "floor" => INK,
            _ => peers.next().unwrap_or(INK),
        };
        let width = if *subject == "sundown" { 4 } else { 2 };
        let style = color.stroke_width(width);
        chart
            .draw_series(LineSeries::new(line.iter().copied(), style))?
            .label(*subject)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
        chart
            .draw_series(line.iter().map(|point| Circle::new(*point, width + 1, color.filled())))?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .label_font(ink(13))
        .border_style(INK.mix(0.4))
        .draw()?;
    root.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(n: usize, subject: &'static str, ratio: f64) -> Figure {
        let figure = Figure::new("latch", "fire", n, "none", subject);
        Figure { ratio_to_floor: Some(ratio), ..figure }
    }

    #[test]
    fn a_case_of_several_sizes_is_a_picture_with_every_subject_in_it() {
        let folder = std::env::temp_dir().join(format!("bench-plot-{}", std::process::id()));
        let figures = [
            figure(1, "floor", 1.0),
            figure(10, "floor", 1.0),
            figure(1, "sundown", 1.1),
            figure(10, "sundown", 1.2),
        ];
        let pictures = draw(&figures, &folder).unwrap();
        let svg = fs::read_to_string(&pictures[0]).unwrap();
        assert!(
            svg.contains("sundown") && svg.contains("floor") && svg.contains("waiters"),
            "{svg}"
        );
        assert!(draw(&figures[..1], &folder).unwrap().is_empty(), "one size makes no line");
        fs::remove_dir_all(&folder).unwrap();
    }
}
