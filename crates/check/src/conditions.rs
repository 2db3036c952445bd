//! What decides the branches of a function: whether a value is there, or something else.
//!
//! A finding is sure if the panic does not depend on the state of the value, apart from its being there. A test whether
//! an `Option` holds something is followed to where it does. A test of a flag that only the destructor sets is followed
//! to where it is not set yet ([`first_values`](crate::first_values)). Every other branch may go either way: another
//! flag, a counter, a comparison, the answer of a function that is not the standard library's. So a call leads to the
//! panic for sure only if no such branch goes past it. What a branch asks is read by [`branches`](crate::branches).

use std::collections::{HashMap, HashSet};

use iced_x86::{FlowControl, Instruction};

use crate::{
    answers,
    binary::{Binary, Index},
    branches::{Bit, Next, Question, Reader, Way},
    code::Code,
    first_values::FirstValues,
    kind::Kind,
    mitigations::{self, Guards},
    names,
    patterns::Patterns,
};

/// What the sources show of branches.
pub struct Shown<'a> {
    pub first_values: FirstValues<'a>,
    pub patterns: Patterns<'a>,
}

/// What is known of all functions.
#[derive(Clone, Copy)]
pub struct Known<'a> {
    pub binary: &'a Binary,
    /// Without generic arguments.
    pub paths: &'a [Option<String>],
    /// As in [`Reader`].
    pub helpers: &'a HashMap<Index, Option<bool>>,
}

/// The thread that drops a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Thread {
    WithoutContext,
    /// Of a runtime of any kind.
    OfRuntime,
    OfOne,
    OfSeveral,
}

impl Thread {
    /// Where a panic of this kind happens.
    const fn of(kind: Kind) -> Self {
        match kind {
            Kind::Context | Kind::Local => Self::WithoutContext,
            Kind::Runtime | Kind::Block => Self::OfRuntime,
            Kind::InPlace => Self::OfOne,
        }
    }

    /// The answer on such a thread.
    const fn answer(self, question: Question) -> Option<bool> {
        match (question, self) {
            (Question::There, _) => Some(true),
            (Question::WithoutContext, _) => Some(matches!(self, Self::WithoutContext)),
            (Question::OneThread, Self::OfOne) => Some(true),
            (Question::OneThread, Self::OfSeveral) => Some(false),
            (Question::OneThread, _) | (Question::Each | Question::Helper, _) => None,
        }
    }
}

/// The branches and calls of a function.
pub struct Flow {
    /// Where each instruction leads.
    next: Vec<Next>,
    /// Calls of functions, with their places.
    calls: Vec<(usize, Index, Guards)>,
    /// In drop glue, which instructions drop something: a way that drops nothing is that of an empty value.
    drops: Option<Vec<bool>>,
    /// Where calls panic for want of a context that was asked for, as `expect` does: for each, the end that it leads to.
    in_vain: Vec<(usize, usize)>,
    /// Branches on what a function answers that asks.
    on_helpers: Vec<usize>,
    /// What is known of the lowest bit of what the function returns.
    returned: Bit,
}

/// A panic of a function that has asked before, in words of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Worded {
    pub kind: Kind,
    /// The call that panics, and whom it calls.
    pub place: usize,
    pub to: Index,
    /// Whether every way through the function leads to such a panic.
    pub is_sure: bool,
}

impl Flow {
    /// Whether the branches of a function matter. Those of the standard library ask whether something is there, and whose
    /// it is. Those of Tokio were read by a person, who chose the sinks; not those before it drops what it was given.
    /// Drop glue asks which variant an enum has.
    pub fn matters(name: &str) -> bool {
        match names::glue_of(name) {
            Some(of_type) => names::crate_of(of_type) != Some("tokio"),
            None => {
                let is_of_others =
                    !names::is_wrapper(name) && names::crate_of(name) != Some("tokio");
                is_of_others || calls_if(name) || leaves_out(name)
            }
        }
    }

    pub fn of(
        Known { binary, paths, helpers }: Known<'_>,
        function: Index,
        code: &Code,
        calls: Vec<(usize, Index, Guards)>,
        shown: Option<&Shown<'_>>,
        panics_instead: &dyn Fn(Index) -> bool,
    ) -> Self {
        let name = binary.function(function).name();
        let first_values = shown.map(|it| &it.first_values).filter(|_| names::is_destructor(name));
        let patterns = shown.map(|it| &it.patterns);
        let is_glue = names::glue_of(name).is_some();
        let reached = code.reached(|_| false);
        let callees: HashMap<_, _> = calls.iter().map(|(place, to, _)| (*place, *to)).collect();
        let path_of = |index: Index| paths[index as usize].as_deref().unwrap_or_default();
        let ends = |place: usize| {
            callees.get(&place).is_some_and(|to| mitigations::never_returns(path_of(*to)))
        };
        // In a function of `Result`, a tag of 1 is an error.
        let of_tag = match path_of(function).starts_with("core::result::") {
            true => Bit::State,
            false => Bit::If(Question::There, true),
        };
        let (reached, callees) = (&*reached, &callees);
        let reader = Reader {
            binary,
            code,
            reached,
            callees,
            paths,
            of_tag,
            first_values,
            patterns,
            helpers,
        };
        let next = |place: usize| match reader.next(place, ends(place)) {
            Next::Branch(_, target, beside) if is_glue => Next::Branch(Way::State, target, beside),
            next => next,
        };
        let mut next: Vec<_> = (0..code.instructions().len()).map(next).collect();
        let mut in_vain = Vec::new();
        for (place, to, _) in &calls {
            let way = reader.panics_without(*place, *to, path_of(*to), panics_instead);
            if let (Some((question, bit)), Next::To(following)) = (way, next[*place].clone()) {
                let end = next.len();
                next.push(Next::Ends);
                in_vain.push((*place, end));
                let way = Way::If(question, bit);
                next[*place] = Next::Branch(way, end, following);
            }
        }
        let is_call = |it: &Instruction| {
            matches!(it.flow_control(), FlowControl::Call | FlowControl::IndirectCall)
        };
        let drops = is_glue.then(|| code.instructions().iter().map(is_call).collect());
        let is_on_helper =
            |it: &usize| matches!(next[*it], Next::Branch(Way::If(Question::Helper, _), ..));
        let on_helpers = (0..next.len()).filter(is_on_helper).collect();
        Self { calls, drops, in_vain, on_helpers, returned: reader.returned(), next }
    }

    /// The lowest bit of what the function returns where there is no context, if that alone decides it.
    pub const fn answer_without_context(&self) -> Option<bool> {
        match self.returned {
            Bit::If(Question::WithoutContext, bit) => Some(bit),
            _ => None,
        }
    }

    /// Whether every way through the function leads to one of these calls, as far as branches on state are concerned.
    pub fn leads_to(&self, kind: Kind, is_target: impl Fn(Index, Guards) -> bool) -> bool {
        let mut wins = vec![false; self.next.len()];
        for (place, to, guards) in &self.calls {
            wins[*place] |= is_target(*to, *guards);
        }
        self.always_wins(Thread::of(kind), wins)
    }

    /// The panic that the function has where there is no context, or where the runtime has one thread, and only there.
    pub fn worded(&self, panics: impl Fn(Index) -> bool) -> Vec<Worded> {
        let threads = [
            (Kind::Context, Thread::WithoutContext, Thread::OfRuntime),
            (Kind::InPlace, Thread::OfOne, Thread::OfSeveral),
        ];
        let worded = |(kind, there, elsewhere)| {
            let (there_reached, elsewhere) = (self.reached(there), self.reached(elsewhere));
            let mut wins = vec![false; self.next.len()];
            let calls = self.calls.iter().filter(|(_, to, _)| panics(*to));
            let calls =
                calls.map(|(place, ..)| (*place, *place)).chain(self.in_vain.iter().copied());
            let mut places = Vec::new();
            for (call, at) in calls.filter(|(_, at)| there_reached[*at] && !elsewhere[*at]) {
                wins[at] = true;
                places.push(call);
            }
            let place = places.into_iter().min()?;
            let (_, to, _) = *self.calls.iter().find(|(it, ..)| *it == place)?;
            Some(Worded { kind, place, to, is_sure: self.always_wins(there, wins) })
        };
        let mut worded: Vec<_> = threads.into_iter().filter_map(worded).collect();
        if worded.iter().all(|it| it.kind != Kind::Context) {
            worded
                .extend(self.on_helpers.iter().find_map(|at| self.worded_on_helper(*at, &panics)));
        }
        worded
    }

    /// The panic that is the only end of one of two ways. Whether that is the one without a context is not known.
    fn worded_on_helper(&self, branch: usize, panics: impl Fn(Index) -> bool) -> Option<Worded> {
        let Next::Branch(_, target, beside) = self.next[branch] else { return None };
        let all = Thread::WithoutContext;
        if !self.reached(all)[branch] {
            return None;
        }
        [(target, beside), (beside, target)].into_iter().find_map(|(side, other)| {
            let (there, elsewhere) = (self.reached_from(side, all), self.reached_from(other, all));
            let returns = |at: usize| there[at] && matches!(self.next[at], Next::Returns);
            if (0..there.len()).any(returns) {
                return None;
            }
            let calls = self.calls.iter().filter(|(_, to, _)| panics(*to));
            let calls =
                calls.map(|(place, ..)| (*place, *place)).chain(self.in_vain.iter().copied());
            let (place, _) = calls.filter(|(_, at)| there[*at] && !elsewhere[*at]).min()?;
            let (_, to, _) = *self.calls.iter().find(|(it, ..)| *it == place)?;
            Some(Worded { kind: Kind::Context, place, to, is_sure: false })
        })
    }

    /// What is reached on such a thread.
    fn reached(&self, thread: Thread) -> Vec<bool> {
        self.reached_from(0, thread)
    }

    fn reached_from(&self, from: usize, thread: Thread) -> Vec<bool> {
        let mut reached = vec![false; self.next.len()];
        let mut open = vec![from];
        while let Some(at) = open.pop() {
            if at >= reached.len() || reached[at] {
                continue;
            }
            reached[at] = true;
            match &self.next[at] {
                Next::Ends | Next::Returns => {}
                Next::To(next) => open.push(*next),
                Next::Branch(
                    Way::If(question @ (Question::WithoutContext | Question::OneThread), jumps),
                    target,
                    beside,
                ) => match thread.answer(*question) {
                    Some(answer) => open.push(if answer == *jumps { *target } else { *beside }),
                    None => open.extend([*target, *beside]),
                },
                Next::Branch(_, target, beside) => open.extend([*target, *beside]),
                Next::Table(targets) => open.extend(targets),
            }
        }
        reached
    }

    /// Whether every way through the function comes to a place that wins.
    fn always_wins(&self, thread: Thread, mut wins: Vec<bool>) -> bool {
        loop {
            let mut has_changed = false;
            for at in (0..self.next.len()).rev() {
                if wins[at] {
                    continue;
                }
                let won = match &self.next[at] {
                    Next::Ends | Next::Returns => false,
                    Next::To(next) => wins[*next],
                    Next::Branch(way, target, beside) => match way {
                        Way::Live(jumps) => wins[if *jumps { *target } else { *beside }],
                        Way::If(Question::Each, jumps) => {
                            let (each, after) =
                                if *jumps { (*target, *beside) } else { (*beside, *target) };
                            wins[each] || (wins[after] && !self.returns(each, at, &wins))
                        }
                        Way::If(question, jumps) => match thread.answer(*question) {
                            Some(answer) => wins[if answer == *jumps { *target } else { *beside }],
                            None => self.all_win(at, &[*target, *beside], &wins),
                        },
                        Way::State => self.all_win(at, &[*target, *beside], &wins),
                    },
                    Next::Table(targets) => self.all_win(at, targets, &wins),
                };
                wins[at] = won;
                has_changed |= won;
            }
            if !has_changed {
                return wins.first().copied().unwrap_or(false);
            }
        }
    }

    /// Whether one of these wins, and no other returns before it wins or comes back.
    fn all_win(&self, from: usize, to: &[usize], wins: &[bool]) -> bool {
        to.iter().any(|to| wins[*to]) && to.iter().all(|to| !self.returns(*to, from, wins))
    }

    /// Whether the function can return from here, without winning and without coming to a place; in drop glue, after it
    /// has dropped something.
    fn returns(&self, from: usize, except: usize, wins: &[bool]) -> bool {
        let mut seen = HashSet::from([(except, false), (except, true)]);
        let mut open = vec![(from, self.drops.is_none())];
        while let Some((at, has_dropped)) = open.pop() {
            if wins[at] || !seen.insert((at, has_dropped)) {
                continue;
            }
            let has_dropped = has_dropped || self.drops.as_ref().is_some_and(|drops| drops[at]);
            let mut go = |to: usize| open.push((to, has_dropped));
            match &self.next[at] {
                Next::Ends => {}
                Next::Returns if has_dropped => return true,
                Next::Returns => {}
                Next::To(next) => go(*next),
                Next::Branch(_, target, beside) => [*target, *beside].into_iter().for_each(go),
                Next::Table(targets) => targets.iter().copied().for_each(go),
            }
        }
        false
    }
}

/// The modules of adaptors that do not give each thing that is there.
const LEAVE_OUT: [&str; 9] = [
    "filter",
    "filter_map",
    "flatten",
    "map_while",
    "skip",
    "skip_while",
    "step_by",
    "take",
    "take_while",
];

/// Whether a function is of an iterator of the standard library that does not give each thing that is there.
fn leaves_out(name: &str) -> bool {
    const ITERATORS: [&str; 2] = [
        "core::iter::traits::iterator::Iterator",
        "core::iter::traits::double_ended::DoubleEndedIterator",
    ];
    match names::implementation(name) {
        Some((of_type, of_trait)) => ITERATORS.contains(&of_trait) && !answers::gives_each(of_type),
        // What `fold` and its like give to the iterator inside.
        None => name
            .strip_prefix("core::iter::adapters::")
            .and_then(|rest| rest.split_once("::"))
            .is_some_and(|(module, _)| LEAVE_OUT.contains(&module)),
    }
}

/// Whether a function of the standard library calls what it is given only in some states of its argument: without a value,
/// the first time, or if a flag is set.
fn calls_if(name: &str) -> bool {
    const CALLS: [&str; 13] = [
        "unwrap_or_else",
        "or_else",
        "ok_or_else",
        "map_or_else",
        "get_or_insert_with",
        "get_or_init",
        "call_once_force",
        "or_insert_with",
        "is_some_and",
        "is_none_or",
        "filter",
        "and_then",
        "then",
    ];
    let Some(path) = names::path(name) else { return false };
    let is_standard =
        matches!(names::crate_of(&path), None | Some("core" | "alloc" | "std" | "bool"));
    let method = path.rsplit("::").next().unwrap_or(&path);
    is_standard && CALLS.contains(&method)
}
