//! `--list`: which experiments there are.

use std::process::ExitCode;

use comfy_table::{CellAlignment, ContentArrangement, Table, presets::NOTHING};

use super::{Run, options::Format, trials};
use crate::{failure::Failure, output, workspace::Source};

/// Lists what the experiments declare of themselves.
pub fn run(run: &Run<'_>, chosen: &[Source]) -> Result<ExitCode, Failure> {
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_width(output::width()).set_header(["experiment", "asks", "claims", "trials"]);
    let (mut lines, mut complete) = (String::new(), true);
    for (binary, declaration) in run.declarations(chosen)? {
        match declaration {
            Ok(declaration) => {
                lines += &(serde_json::to_string(&declaration)? + "\n");
                table.add_row([
                    binary.source.title(),
                    declaration.question.clone(),
                    declaration.claims.join(" "),
                    trials(&declaration).to_string(),
                ]);
            }
            Err(trouble) => {
                complete = false;
                output::complain(&format!("{} {trouble}", binary.source.title()));
            }
        }
    }
    if let Some(column) = table.column_mut(3) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    match run.options.format {
        Format::Json => output::print(&lines),
        Format::Auto | Format::Table => output::print(&(table.trim_fmt() + "\n")),
    }
    Ok(if complete { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
