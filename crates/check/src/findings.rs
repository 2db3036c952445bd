//! What was found: for each type and kind, how sure it is, the way to the panic, and whose destructor goes wrong.

use std::{cmp::Reverse, collections::BTreeMap, time::SystemTime};

use serde::Serialize;

use crate::{
    binary::{Binary, Function, Index},
    conditions::Shown,
    first_values::FirstValues,
    graph::{Graph, Step, Via},
    kind::{Certainty, Kind},
    lines::Lines,
    mitigations::Guards,
    names,
    patterns::Patterns,
    search::{Callers, Flows, Ways},
};

/// Whoever has one can drop it, which panics in async code.
pub const RUNTIME: &str = "tokio::runtime::runtime::Runtime";

/// A type whose destructor reaches a panic.
#[derive(Serialize)]
pub struct Finding {
    /// The code of the panic, for `sundown explain`.
    pub code: &'static str,
    pub certainty: Certainty,
    #[serde(rename = "type")]
    pub of_type: String,
    /// Whether the type has a name that a program can write: not a closure, nor a wrapper of the standard library.
    pub is_named: bool,
    /// From the type to the one whose destructor goes wrong: each holds the next.
    pub holds: Vec<String>,
    /// The type whose own destructor is the last on the way.
    pub culprit: String,
    pub path: Vec<Place>,
    /// How many steps that is. For an order.
    #[serde(skip)]
    pub distance: u32,
    #[serde(skip)]
    pub kind: Kind,
}

/// A step of the way to the panic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The function that is entered.
    pub function: String,
    /// Where the one before it leads there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// Why it may not happen; empty for a plain call.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub doubt: String,
}

/// All that was found in a program.
pub struct Findings {
    pub all: Vec<Finding>,
    /// All types with a destructor in the program.
    pub types: Vec<String>,
    /// The version of Tokio, if a function of its runtime is in the program and says so.
    pub tokio: Option<String>,
    /// Whether a function of Tokio is in the program.
    pub has_tokio: bool,
}

impl Findings {
    /// `built` is when the program was built, if that may have been before its sources were last changed.
    pub fn of(binary: &Binary, graph: &Graph, lines: &Lines, built: Option<SystemTime>) -> Self {
        let callers = Callers::of_all(graph);
        let shown = Shown {
            first_values: FirstValues::of(lines, built),
            patterns: Patterns::of(lines, built),
        };
        let mut flows = Flows::of_all(binary, shown);
        let ways = Kind::ALL.map(|kind| Ways::to(kind, graph, &callers, &mut flows));
        // Two versions of a crate have types of one name.
        let mut types = BTreeMap::<_, Vec<Index>>::new();
        for index in graph.functions() {
            for of_type in binary.function(index).glue_of() {
                types.entry(of_type).or_default().push(index);
            }
        }
        let mut all = Vec::new();
        for (of_type, glue) in &types {
            let of_kinds =
                ways.iter().filter_map(|ways| finding(binary, lines, ways, of_type, glue));
            all.extend(of_kinds);
        }
        let is_of_tokio = |it: &&Function| names::is_in(it.name(), "tokio");
        let mut of_tokio = binary.functions.iter().filter(is_of_tokio).peekable();
        let has_tokio = of_tokio.peek().is_some();
        let tokio = of_tokio.take(1000).find_map(|it| lines.version_of("tokio", it.address));
        all.sort_by_key(|it| (Reverse(it.certainty), it.code, it.culprit.clone(), it.distance));
        Self { all, types: types.into_keys().map(str::to_owned).collect(), tokio, has_tokio }
    }
}

fn finding(
    binary: &Binary,
    lines: &Lines,
    ways: &Ways,
    of_type: &str,
    glue: &[Index],
) -> Option<Finding> {
    let ways_from = glue.iter().filter_map(|glue| Some((ways.from(*glue)?, *glue)));
    let best = ways_from.max_by_key(|((certainty, distance), _)| (*certainty, Reverse(*distance)));
    let ((certainty, distance), glue) = best?;
    let steps = ways.steps(glue);
    let on_the_way = || std::iter::once(glue).chain(steps.iter().map(|step| step.to));
    let name = |index: Index| binary.function(index).name();

    let mut holds: Vec<String> = Vec::new();
    let mut culprit = None;
    for function in on_the_way() {
        let destructor = names::destructor_of(name(function));
        let culprit_now = destructor.filter(|it| !names::is_wrapper(it));
        if let Some(destructor) = culprit_now {
            culprit = Some((destructor.to_owned(), holds.len()));
        }
        let held = binary.function(function).glue_of().next().filter(|it| !names::is_wrapper(it));
        holds.extend(held.map(str::to_owned));
    }
    // What a destructor drops on its way is not a field.
    let (culprit, depth) = culprit.unwrap_or_else(|| {
        let last = holds.last().cloned().unwrap_or_else(|| of_type.to_owned());
        (last, holds.len())
    });
    holds.truncate(depth);
    let culprit = public_of_tokio(&mut holds).unwrap_or(culprit);
    // Nobody can have a part of a runtime alone.
    let is_part = ways.kind == Kind::Runtime && names::is_internal(&culprit);
    let culprit = if is_part { RUNTIME.to_owned() } else { culprit };
    if holds.first().is_none_or(|first| first != of_type) {
        holds.insert(0, of_type.to_owned());
    }

    // The compiler's own code for dropping has no line.
    let has_line = |function, step: &Step| {
        step.via != Via::Virtual && binary.function(function).glue_of().next().is_none()
    };
    let path = on_the_way().zip(&steps).map(|(from, step)| Place {
        function: name(step.to).to_owned(),
        at: has_line(from, step).then(|| lines.of_address(step.at)).flatten(),
        doubt: doubt(step.via, step.guards),
    });
    Some(Finding {
        code: ways.kind.code(),
        certainty,
        of_type: of_type.to_owned(),
        is_named: names::is_named(of_type),
        culprit,
        holds,
        path: path.collect(),
        distance,
        kind: ways.kind,
    })
}

/// Shortens what holds the culprit down to the part that a program can name, if the culprit is internal to Tokio: to the
/// `Runtime` in place of its pool of threads.
fn public_of_tokio(holds: &mut Vec<String>) -> Option<String> {
    let is_tokio = |of_type: &String| names::crate_of(of_type) == Some("tokio");
    let of_others = holds.iter().rposition(|it| !is_tokio(it)).map_or(0, |at| at + 1);
    let public = holds.get(of_others).cloned()?;
    holds.truncate(of_others + 1);
    Some(public)
}

fn doubt(via: Via, guards: Guards) -> String {
    let how = match via {
        Via::Call => return guards.to_string(),
        Via::Address => "by its address",
        Via::Virtual => "if that is behind the `dyn`",
    };
    match guards.is_empty() {
        true => how.to_owned(),
        false => format!("{how}, {guards}"),
    }
}

/// The findings with one culprit.
pub struct Group<'a> {
    pub kind: Kind,
    pub certainty: Certainty,
    /// The culprit, without generic arguments.
    pub culprit: String,
    /// The nearest first.
    pub findings: Vec<&'a Finding>,
}

/// Findings by culprit: dozens of types that hold one pool are one mistake.
pub fn groups<'a>(findings: impl IntoIterator<Item = &'a Finding>) -> Vec<Group<'a>> {
    let mut groups = BTreeMap::<_, Vec<&Finding>>::new();
    for finding in findings {
        let culprit = names::without_generics(&finding.culprit);
        let key = (Reverse(finding.certainty), finding.kind, culprit);
        groups.entry(key).or_default().push(finding);
    }
    let group = |((certainty, kind, culprit), mut findings): (_, Vec<&'a Finding>)| {
        findings.sort_by_key(|it| (!it.is_named, it.distance, it.of_type.len()));
        let Reverse(certainty) = certainty;
        Group { kind, certainty, culprit, findings }
    };
    groups.into_iter().map(group).collect()
}
