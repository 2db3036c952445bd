//! What a fix changes: cells with a diff of a release, beside those of the release.

use std::{collections::BTreeSet, fmt::Write as _};

use super::short;
use crate::{
    census::{
        patched::{self, Applied, Patched},
        record::{self, Record},
    },
    figures::plural,
    workspace::Workspace,
};

/// The block of the overview.
pub const BLOCK: &str = "census-patched";

/// The cells that differ, for each crate.
pub fn block(patched: &[Patched], committed: &[Record]) -> String {
    let mut text = String::new();
    for Patched { patches, record } in patched {
        let before = committed.iter().find(|it| it.package == record.package);
        let (mut asked, mut lines) = (0, String::new());
        for row in &record.rows {
            let old = before.and_then(|it| it.rows.iter().find(|it| it.code == row.code));
            for cell in row.cells.iter().filter(|cell| !cell.answers.is_empty()) {
                asked += 1;
                let mut old = old.into_iter().flat_map(|row| &row.cells);
                let old = old.find(|it| it.question == cell.question);
                if !old.is_some_and(|old| old.agrees(cell)) {
                    let (code, question, now) = (&row.code, &cell.question, counted(cell));
                    let old = old.map_or_else(|| "?".to_owned(), counted);
                    let _ = writeln!(lines, "| `{code}` | `{question}` | {old} | {now} |");
                }
            }
        }
        let patches = patches.iter().map(|it| {
            let Applied { package, version, file, .. } = it;
            format!("`--patch {package}@{version}={file}`")
        });
        let patches = patches.collect::<Vec<_>>().join(" and ");
        let (day, _) = record.measured.started.split_once('T').unwrap_or_default();
        let changed = lines.lines().count();
        let _ = writeln!(
            text,
            "**{}** with {patches}, {day}: {changed} of {} have other answers than the committed ones, and {} have the same.\n",
            record.package,
            plural(asked, "cell"),
            asked - changed,
        );
        if changed > 0 {
            text.push_str(
                "| row | question | as released | with the fix |\n| --- | --- | --- | --- |\n",
            );
            text.push_str(&lines);
            text.push('\n');
        }
    }
    if text.is_empty() {
        return "No cells with a fix are recorded.\n".to_owned();
    }
    text
}

fn counted(cell: &record::Cell) -> String {
    let trials = cell.trials();
    match cell.answers.len() {
        1 => format!("{} {trials} of {trials}", short(cell)),
        _ => short(cell),
    }
}

/// Diffs that are other than those that were measured, and cells of other code than the committed ones, one line each.
pub fn wrong(patched: &[Patched], committed: &[Record], workspace: &Workspace) -> Vec<String> {
    let mut lines = Vec::new();
    for Patched { patches, record } in patched {
        let package = &record.package;
        let file = format!("{}/{package}.json", patched::FOLDER);
        let options =
            patches.iter().map(|it| format!(" --patch {}@{}={}", it.package, it.version, it.file));
        let again = format!(
            "run `cargo xtask census --only {package}{} --accept`",
            options.collect::<String>()
        );
        let changed = patches.iter().filter(|it| {
            patched::digest(&workspace.path(&it.file)).ok().as_ref() != Some(&it.digest)
        });
        for name in changed.map(|it| &it.file).collect::<BTreeSet<_>>() {
            lines.push(format!("{file}: the cells are older than {name}: {again}"));
        }
        let before = committed.iter().find(|it| it.package == *package);
        if !before.is_some_and(|it| record::is_same_code(it, record)) {
            lines.push(format!(
                "{file}: the cells are of other code than the committed ones: {again}"
            ));
        }
    }
    lines
}
