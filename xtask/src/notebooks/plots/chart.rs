//! The common parts of all pictures: size, colours, axes, points with intervals, names.
//!
//! Pictures are shown in a column of text, on a light or a dark background, and on phones. So they are
//! no wider than the column, their letters are as large as the text, and their ink follows the reader's
//! colour scheme.

use std::{io, ops::Range};

use plotters::{
    coord::{
        Shift,
        ranged1d::{KeyPointHint, NoDefaultFormatting, ValueFormatter},
    },
    drawing::DrawingAreaErrorKind,
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

use crate::figures::in_short;

/// Why something cannot be drawn.
pub type DrawError = DrawingAreaErrorKind<io::Error>;

/// A part of a picture.
pub type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// How wide a picture is, in pixels: about the column of text.
pub const WIDTH: u32 = 720;

/// The colour of text, axes and floors. The reader's text colour takes its place.
pub const INK: RGBColor = RGBColor(128, 128, 128);
/// The colour of the kit.
pub const OURS: RGBColor = RGBColor(214, 94, 22);
/// The colours of everything else.
pub const OTHERS: [RGBColor; 11] = [
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

const TEXT: i32 = 15;
const SMALL: i32 = 13;
/// About how wide a letter is, as a part of its height.
const LETTER: f64 = 0.55;

/// The ink on a light background and on a dark one. An SVG file takes the colour scheme from the page
/// around it if the browser passes it on, and from the system if not.
const SCHEMES: &str = "<style>svg{color:#4d4d4d}\
    @media(prefers-color-scheme:dark){svg{color:#c8c9db}}</style>";

/// An axis, with its marks and what it describes.
#[derive(Clone, Debug)]
pub struct Axis {
    pub from: f64,
    pub to: f64,
    pub marks: Vec<(f64, String)>,
    pub describes: &'static str,
}

/// A value with its interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    pub x: f64,
    pub y: f64,
    pub interval: [f64; 2],
}

/// The points of one subject.
#[derive(Clone, Debug)]
pub struct Series {
    pub name: String,
    pub color: RGBColor,
    pub points: Vec<Point>,
    /// Whether lines join the points.
    pub joined: bool,
}

impl Axis {
    /// For numbers from 0 to the largest, with some room.
    pub fn from_zero(largest: f64, describes: &'static str) -> Self {
        let to = if largest > 0.0 { largest * 1.12 } else { 1.0 };
        // The largest step that leaves three marks or more.
        let step = round_numbers().rfind(|step| to / step >= 3.0).unwrap_or(to);
        let numbers = (0..=5).map(|number| f64::from(number) * step).filter(|it| *it <= to);
        let marks = numbers.map(|number| (number, in_short(number))).collect();
        Self { from: -to * 0.02, to, marks, describes }
    }

    /// Logarithmic, for numbers from the smallest to the largest.
    pub fn logarithmic(smallest: f64, largest: f64, describes: &'static str) -> Self {
        let (from, to) = (smallest.log10() - 0.05, largest.log10() + 0.05);
        let wide = to - from > 2.5;
        let within = round_numbers()
            .filter(|it| (from..=to).contains(&it.log10()))
            // A long axis has marks at powers of ten only.
            .filter(|it| !wide || (it.log10() - it.log10().round()).abs() < 1e-9);
        let marks = within.map(|number| (number.log10(), in_short(number))).collect();
        Self { from, to, marks, describes }
    }
}

/// 1, 2 and 5, times every power of ten that a figure here can need.
fn round_numbers() -> impl DoubleEndedIterator<Item = f64> {
    (-9..12).flat_map(|zeros| [1.0, 2.0, 5.0].map(|it| it * 10f64.powi(zeros)))
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (low, high): (i32, i32)) -> i32 {
        // Far from the axis, numbers of pixels would be too large to add up. A file of results may say anything.
        let part = ((value - self.from) / (self.to - self.from)).clamp(-1.0, 2.0);
        low + (f64::from(high - low) * part).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        // No lines between the marks.
        let light = hint.weight().allow_light_points();
        self.marks.iter().filter(|_| !light).map(|mark| mark.0).collect()
    }

    fn range(&self) -> Range<f64> {
        self.from..self.to
    }
}

impl ValueFormatter<f64> for Axis {
    fn format(at: &f64) -> String {
        at.to_string()
    }

    fn format_ext(&self, at: &f64) -> String {
        let near = |mark: &&(f64, String)| (mark.0 - at).abs() < 1e-9;
        self.marks.iter().find(near).map(|mark| mark.1.clone()).unwrap_or_default()
    }
}

/// Draws a picture of this height.
pub fn picture(
    title: &str,
    height: u32,
    draw: impl FnOnce(&Area<'_>) -> Result<(), DrawError>,
) -> Result<String, DrawError> {
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
        let below = root.titled(title, ink(TEXT + 1))?;
        draw(&below)?;
        root.present()?;
    }
    let ink = format!("\"#{:02X}{:02X}{:02X}\"", INK.0, INK.1, INK.2);
    let svg = svg.replace(&ink, "\"currentColor\"");
    Ok(match svg.find('>') {
        Some(end) => {
            let (opening, rest) = svg.split_at(end + 1);
            format!("{opening}\n{SCHEMES}{rest}")
        }
        None => svg,
    })
}

/// Draws points between two axes.
pub fn panel(
    area: &Area<'_>,
    title: &str,
    [x, y]: [&Axis; 2],
    series: &[Series],
) -> Result<(), DrawError> {
    let mut chart = ChartBuilder::on(area)
        .caption(title, ink(SMALL + 1))
        .margin(8)
        .x_label_area_size(42)
        .y_label_area_size(54)
        .build_cartesian_2d(x.clone(), y.clone())?;
    chart
        .configure_mesh()
        .axis_style(INK)
        .bold_line_style(INK.mix(0.25))
        .light_line_style(INK.mix(0.0))
        .label_style(ink(SMALL))
        .axis_desc_style(ink(SMALL))
        .x_desc(x.describes)
        .y_desc(y.describes)
        .draw()?;
    // Draw the kit last, on top of the others.
    let (ours, others): (Vec<_>, Vec<_>) = series.iter().partition(|it| it.color == OURS);
    for Series { color, points, joined, .. } in others.into_iter().chain(ours) {
        if *joined {
            let line: Vec<_> = points.iter().map(|point| (point.x, point.y)).collect();
            let width = if *color == OURS { 4 } else { 2 };
            chart.draw_series([PathElement::new(line, color.stroke_width(width))])?;
        }
        for Point { x, y, interval: [low, high] } in points {
            let whisker = PathElement::new([(*x, *low), (*x, *high)], color.stroke_width(2));
            chart.draw_series([whisker])?;
            chart.draw_series([Circle::new((*x, *y), 4, color.filled())])?;
        }
    }
    Ok(())
}

/// Draws a row for each value, with its interval, above one axis. `room` is for the names of the rows.
pub fn rows(
    area: &Area<'_>,
    title: &str,
    room: u32,
    x: &Axis,
    rows: &[(&str, RGBColor, [f64; 3])],
) -> Result<(), DrawError> {
    // The first row is on top.
    let place = |row: usize| (rows.len() - 1 - row) as f64;
    let named = rows.iter().enumerate().filter(|_| room > 20);
    let y = Axis {
        from: -0.5,
        to: rows.len() as f64 - 0.5,
        marks: named.map(|(row, (name, ..))| (place(row), (*name).to_owned())).collect(),
        describes: "",
    };
    let mut chart = ChartBuilder::on(area)
        .caption(title, ink(SMALL + 1))
        .margin(8)
        .x_label_area_size(26)
        .y_label_area_size(room)
        .build_cartesian_2d(x.clone(), y)?;
    chart
        .configure_mesh()
        .axis_style(INK)
        .bold_line_style(INK.mix(0.25))
        .light_line_style(INK.mix(0.0))
        .label_style(ink(SMALL))
        .draw()?;
    for (row, (_, color, [low, middle, high])) in rows.iter().enumerate() {
        let at = place(row);
        let range = PathElement::new([(*low, at), (*high, at)], color.stroke_width(3));
        chart.draw_series([range])?;
        chart.draw_series([Circle::new((*middle, at), 4, color.filled())])?;
    }
    Ok(())
}

/// Draws names from left to right, each beside its colour.
pub fn names(area: &Area<'_>, series: &[(&str, RGBColor)]) -> Result<(), DrawError> {
    let (width, _) = area.dim_in_pixel();
    let (mut x, mut y) = (16, 12);
    for (name, color) in series {
        let needed = 26 + letters(name);
        if x + needed > i32::try_from(width).unwrap_or(i32::MAX) {
            (x, y) = (16, y + 22);
        }
        named(area, (x, y), name, *color)?;
        x += needed;
    }
    Ok(())
}

/// Draws names below each other, each beside its colour.
pub fn list(area: &Area<'_>, series: &[Series]) -> Result<(), DrawError> {
    for (row, Series { name, color, .. }) in (0..).zip(series) {
        named(area, (8, 48 + row * 21), name, *color)?;
    }
    Ok(())
}

fn named(
    area: &Area<'_>,
    (x, y): (i32, i32),
    name: &str,
    color: RGBColor,
) -> Result<(), DrawError> {
    area.draw(&Circle::new((x, y), 5, color.filled()))?;
    let left = ink(SMALL).pos(Pos::new(HPos::Left, VPos::Center));
    area.draw(&Text::new(name.to_owned(), (x + 10, y), left))
}

/// About how wide small text is, in pixels.
fn letters(text: &str) -> i32 {
    (text.chars().count() as f64 * f64::from(SMALL) * LETTER).ceil() as i32
}

fn ink(size: i32) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&INK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_are_marked_at_round_numbers() {
        let labels = |axis: Axis| axis.marks.into_iter().map(|mark| mark.1).collect::<Vec<_>>();
        assert_eq!(labels(Axis::from_zero(100.0, "")), ["0", "20", "40", "60", "80", "100"]);
        assert_eq!(labels(Axis::from_zero(8.0, "")), ["0", "2", "4", "6", "8"]);
        assert_eq!(labels(Axis::from_zero(0.0, ""))[0], "0");
        assert_eq!(labels(Axis::logarithmic(0.8, 6.0, "")), ["1", "2", "5"]);
        let tasks = ["1", "10", "100", "1000", "10 k", "100 k", "1 M"];
        assert_eq!(labels(Axis::logarithmic(1.0, 1e6, "")), tasks);
    }

    #[test]
    fn a_number_far_from_its_axis_has_a_place_beside_it() {
        let axis = Axis::from_zero(100.0, "");
        for (number, expected) in [
            (f64::MAX, 200..=200),
            (f64::INFINITY, 200..=200),
            (f64::MIN, -100..=-100),
            (50.0, 40..=50),
            (f64::NAN, 0..=0),
        ] {
            let place = axis.map(&number, (0, 100));
            assert!(expected.contains(&place), "{number}: {place}");
        }
    }

    #[test]
    fn the_ink_follows_the_colour_scheme() {
        let svg = picture("Title", 100, |area| names(area, &[("ours", OURS)])).unwrap();
        assert!(svg.contains("currentColor") && svg.contains("prefers-color-scheme"), "{svg}");
        assert!(!svg.contains("#808080") && svg.contains("#D65E16"), "{svg}");
    }
}
