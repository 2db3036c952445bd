//! Tables and sentences, as wide as the place that they are printed to.

use comfy_table::{CellAlignment, ContentArrangement, LineStyle, Table, presets::NOTHING};

/// An empty table, with a rule below its header or without.
pub fn table(width: u16, ruled: bool) -> Table {
    let mut table = Table::new();
    let rule = LineStyle::none().fill('─').junction('─');
    table.load_style(if ruled { NOTHING.header_separator(rule) } else { NOTHING });
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_width(width);
    table
}

/// The table as text, without blanks at the ends of its lines.
pub fn lines(table: &Table) -> String {
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

/// Moves the numbers of a column to its right.
pub fn align_right(table: &mut Table, column: usize) {
    if let Some(column) = table.column_mut(column) {
        column.set_cell_alignment(CellAlignment::Right);
    }
}

/// A sentence in lines that are at most so wide; all but the first indented.
pub fn wrapped(sentence: &str, width: u16) -> String {
    let (mut text, mut column) = (String::new(), 0);
    for word in sentence.split(' ') {
        let length = word.chars().count();
        if column == 0 {
            column = length;
        } else if column + 1 + length <= usize::from(width) {
            text.push(' ');
            column += 1 + length;
        } else {
            text.push_str("\n    ");
            column = 4 + length;
        }
        text.push_str(word);
    }
    text + "\n"
}
