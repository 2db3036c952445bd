//! `cargo xtask census`: asks released crates the same questions about the end of a runtime, by trials.

mod binary;
pub mod patched;
pub mod record;
pub mod workshop;

use std::process::ExitCode;

use lab::{
    guardian::Guardian,
    interrupt::{self, Interrupt},
    nearest,
};
use serde_json::json;

use self::{
    binary::Binary,
    record::{Declared, FAILED, Record, Row},
    workshop::Workshop,
};
use crate::{
    failure::{Failure, Result},
    figures::plural,
    flags::{self, Format},
    output::{self, Paper},
    workspace::Workspace,
};

pub fn run(flags: &flags::Census, workspace: &Workspace) -> Result<ExitCode> {
    let writes = flags.accept || flags.again;
    if let Some(trials) = flags.trials.filter(|it| writes && *it < record::TRIALS) {
        let (least, option) = (record::TRIALS, if flags.again { "--again" } else { "--accept" });
        return Err(Failure::Usage(format!(
            "{option} with --trials {trials}: a committed cell needs at least {least} trials"
        )));
    }
    let patches =
        if flags.accept { patched::applied(&flags.patch, workspace)? } else { Vec::new() };
    let (interrupt, guardian) = (Interrupt::install()?, Guardian::start()?);
    let committed = record::read(workspace)?;
    likely(flags, &committed, workspace)?;
    let workshop = Workshop::of(flags, workspace, &interrupt)?;
    let binary = Binary::build(&workshop, workspace, &interrupt)?;
    let declared = binary.declared()?;
    let chosen = chosen(&declared, &flags.only)?;
    if flags.list {
        list(&chosen, flags.format)?;
        return Ok(ExitCode::SUCCESS);
    }
    let questions = questions(&declared, &flags.question)?;
    if flags.again {
        record::can_repeat(workspace, &workshop, &chosen, &committed)?;
    }
    let Some(result) = binary.run(flags, &chosen, &questions, &guardian, &interrupt)? else {
        return Ok(ExitCode::from(interrupt::EXIT_CODE));
    };
    let mut found = record::of(&chosen, &questions, &result, &workshop, workspace)?;
    if flags.add {
        record::add(&mut found, &committed)?;
    }
    let differences = differences(&found, &committed);
    let wrong = wrong(&found);
    print(&found, &differences, &wrong, flags.format)?;
    // A doubtful crate keeps the cells that it has.
    if writes {
        found.retain(|record| self::wrong(std::slice::from_ref(record)).is_empty());
    }
    if !patches.is_empty() {
        let (count, folder) = (plural(found.len(), "file"), patched::FOLDER);
        patched::write(workspace, &patches, found)?;
        output::note(&format!(
            "Wrote {count} in {folder}. `cargo xtask notebooks` writes the page."
        ));
    } else if flags.accept {
        let count = record::write(workspace, found, committed)?;
        output::note(&format!(
            "Wrote {} in {}. `cargo xtask notebooks` writes the pages.",
            plural(count, "file"),
            record::FOLDER
        ));
    } else if flags.again {
        record::write_again(workspace, &found)?;
        let (count, folder) = (plural(found.len(), "file"), record::AGAIN);
        output::note(&format!(
            "Wrote {count} in {folder}. `cargo xtask notebooks` writes the page."
        ));
    }
    let differs = !differences.is_empty() && !writes && !workshop.is_a_copy();
    Ok(if differs || !wrong.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Refuses, before a build that takes minutes, a name that is neither committed nor begins with a crate that is built.
fn likely(flags: &flags::Census, committed: &[Record], workspace: &Workspace) -> Result<()> {
    let rows = || committed.iter().flat_map(|it| &it.rows);
    let crates = workshop::crates(workspace)?;
    for name in &flags.only {
        let known = || committed.iter().map(|it| &*it.package).chain(rows().map(|it| &*it.code));
        if !known().any(|it| it == name) && !crates.iter().any(|it| name.starts_with(&**it)) {
            let known = known().chain(crates.iter().map(String::as_str));
            return Err(unknown("crate or row", name, known));
        }
    }
    let cells: Vec<_> = rows().take(1).flat_map(|row| &row.cells).collect();
    let is_known = |code: &&String| cells.iter().any(|it| it.question == **code);
    match flags.question.iter().find(|code| !cells.is_empty() && !is_known(code)) {
        Some(code) => Err(unknown("question", code, cells.iter().map(|it| &*it.question))),
        None => Ok(()),
    }
}

/// The rows of these names: of crates, or of single rows.
fn chosen(declared: &[Declared], names: &[String]) -> Result<Vec<Declared>> {
    for name in names {
        if !declared.iter().any(|row| row.is_called(name)) {
            let known = declared.iter().flat_map(|row| [&*row.package, &*row.code]);
            return Err(unknown("crate or row", name, known));
        }
    }
    let is_chosen = |row: &&Declared| names.is_empty() || names.iter().any(|it| row.is_called(it));
    Ok(declared.iter().filter(is_chosen).cloned().collect())
}

/// The codes of the questions to ask.
fn questions(declared: &[Declared], codes: &[String]) -> Result<Vec<String>> {
    let all: Vec<_> = declared.iter().take(1).flat_map(|row| &row.cells).collect();
    if let Some(code) = codes.iter().find(|code| all.iter().all(|it| it.question != **code)) {
        return Err(unknown("question", code, all.iter().map(|it| &*it.question)));
    }
    let is_asked = |code: &String| codes.is_empty() || codes.contains(code);
    Ok(all.into_iter().map(|it| it.question.clone()).filter(is_asked).collect())
}

fn unknown<'a>(what: &str, name: &str, known: impl IntoIterator<Item = &'a str>) -> Failure {
    let like =
        nearest::of(name, known).map_or(String::new(), |it| format!("; did you mean `{it}`?"));
    Failure::Usage(format!(
        "the census has no {what} `{name}`{like} (`cargo xtask census --list` shows them all)"
    ))
}

fn list(chosen: &[Declared], format: Format) -> Result<()> {
    let text = match format {
        Format::Json => serde_json::to_string(chosen)? + "\n",
        Format::Text => {
            let rows = chosen.iter().map(|row| {
                let not_asked = row.cells.iter().filter(|it| it.not_asked.is_some());
                let not_asked: Vec<_> = not_asked.map(|it| &*it.question).collect();
                vec![row.code.clone(), row.value.replace('`', ""), not_asked.join(" ")]
            });
            Paper::stdout().table(&["row", "value", "not asked"], rows.collect(), &[])
        }
    };
    output::print(&text);
    Ok(())
}

/// Where the cells differ from the committed ones, one line each.
fn differences(found: &[Record], committed: &[Record]) -> Vec<String> {
    let mut lines = Vec::new();
    for record in found {
        let before = committed.iter().find(|it| it.package == record.package);
        for row in &record.rows {
            let Some(old) = before.and_then(|it| it.rows.iter().find(|it| it.code == row.code))
            else {
                lines.push(format!("{}: it is not committed", row.code));
                continue;
            };
            if old.version != row.version {
                lines.push(format!("{}: version {} → {}", row.code, old.version, row.version));
            }
            for cell in &row.cells {
                let (code, question, now) = (&row.code, &cell.question, cell.to_string());
                match old.cells.iter().find(|it| it.question == cell.question) {
                    None => {
                        lines.push(format!("{code}/{question}: {now}, and it is not committed"))
                    }
                    Some(old) if old.agrees(cell) => {}
                    Some(old) => lines.push(format!("{code}/{question}: {old} → {now}")),
                }
            }
        }
    }
    lines
}

/// What makes the cells worthless: a control that is not clean, and trials that could not ask their question.
fn wrong(found: &[Record]) -> Vec<String> {
    let mut lines = Vec::new();
    let rows: Vec<&Row> = found.iter().flat_map(|record| &record.rows).collect();
    for row in rows {
        for cell in &row.cells {
            let name = format!("{}/{}", row.code, cell.question);
            let is_asked = !cell.answers.is_empty() && !cell.is("skipped");
            let expected = record::expected(&cell.question).filter(|it| is_asked && !cell.is(it));
            if let Some(expected) = expected {
                lines.push(format!("{name}: the control is not `{expected}`, but {cell}"));
            } else if let Some(count) = cell.answers.get(FAILED) {
                let why = cell.problems.join("; ");
                lines.push(format!("{name}: {count} of {} trials failed: {why}", cell.trials()));
            }
        }
    }
    lines
}

fn print(found: &[Record], differences: &[String], wrong: &[String], format: Format) -> Result<()> {
    let text = match format {
        Format::Json => {
            let all = json!({ "crates": found, "differences": differences, "wrong": wrong });
            serde_json::to_string(&all)? + "\n"
        }
        Format::Text => {
            let rows = found.iter().flat_map(|record| &record.rows);
            let lines = rows.clone().flat_map(|row| {
                let asked = row.cells.iter().filter(|cell| cell.not_asked.is_none());
                asked.map(|cell| vec![row.code.clone(), cell.question.clone(), cell.to_string()])
            });
            let table = Paper::stdout().table(&["row", "question", "answer"], lines.collect(), &[]);
            let cells: usize = rows.map(|row| row.cells.len()).sum();
            let mut text = format!("{table}\n{}, ", plural(cells, "cell"));
            text += &match differences.len() {
                0 => "all as committed.\n".to_owned(),
                count => format!("{}:\n", plural(count, "difference")),
            };
            text + &differences.iter().map(|line| format!("  {line}\n")).collect::<String>()
        }
    };
    output::print(&text);
    for line in wrong {
        output::complain(line);
    }
    Ok(())
}
