//! What decides the branches of a function: whether a value is there, or something else.
//!
//! A finding is sure if the panic does not depend on the state of the value, apart from its being there. A test whether
//! an `Option` holds something is followed to where it does. A test of a flag that only the destructor sets is followed
//! to where it is not set yet ([`first_values`](crate::first_values)). Every other branch may go either way: another
//! flag, a counter, a comparison, the answer of a function that is not the standard library's. So a call leads to the
//! panic for sure only if no such branch goes past it.
//!
//! Unoptimized code tests a value in a few forms. It has every value on the stack between two blocks, so what a register
//! holds was put there in the same block.

use std::collections::{HashMap, HashSet};

use iced_x86::{ConditionCode, FlowControl, Instruction, Mnemonic, OpKind, Register};

use crate::{
    binary::{Binary, Index},
    code::Code,
    first_values::FirstValues,
    kind::Kind,
    mitigations::{self, Guards},
    names,
};

/// How a call of a function that is not looked into any further decides.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// `Some` or `true` if there is something, as its argument has it.
    There,
    /// The contrary.
    Missing,
    /// The argument itself, or a place in it.
    Same,
    /// `Ok`, as a lock that is not poisoned.
    Good,
    /// `Some` for each thing that is there, and then `None`: an iterator.
    Each,
    /// Whether this is the last owner.
    Last,
    /// `Handle::try_current`.
    Context,
    /// `Handle::runtime_flavor`.
    Flavor,
    /// Whether two flavors are one, or are not.
    IsFlavor(bool),
    /// `false`, unless something has panicked before.
    Never,
    /// Anything else.
    State,
}

impl Answer {
    fn of(name: &str, path: &str) -> Self {
        let (owner, method) = path.rsplit_once("::").unwrap_or(("", path));
        match (owner, method) {
            ("tokio::runtime::handle::Handle", "try_current") => Self::Context,
            ("tokio::runtime::handle::Handle", "runtime_flavor") => Self::Flavor,
            (
                "core::option::Option",
                "take" | "replace" | "as_ref" | "as_mut" | "as_deref" | "as_deref_mut" | "map"
                | "cloned" | "copied" | "as_pin_mut",
            )
            | ("core::result::Result", "as_ref" | "as_mut" | "map" | "map_err")
            | ("core::pin::Pin", "get_mut" | "get_unchecked_mut" | "as_mut" | "as_ref")
            | ("std::sync::once_lock::OnceLock" | "core::cell::once::OnceCell", "get") => {
                Self::Same
            }
            // Of a flag, these are the flag.
            ("core::mem", "take" | "replace")
            | ("core::mem::manually_drop::ManuallyDrop", "take")
            | ("core::cell::Cell", "take" | "replace")
                if is_of_option(name) =>
            {
                Self::Same
            }
            ("core::option::Option", "is_some") | ("core::result::Result", "is_err") => Self::There,
            ("core::option::Option", "is_none") | ("core::result::Result", "is_ok" | "ok") => {
                Self::Missing
            }
            (_, "panicking") if owner.starts_with("std::thread") => Self::Never,
            (_, "is_empty") if owner.starts_with("std::") || owner.starts_with("alloc::") => {
                Self::Missing
            }
            ("std::sync::poison::mutex::Mutex", "lock")
            | ("std::sync::poison::rwlock::RwLock", "read" | "write") => Self::Good,
            ("alloc::sync::Arc" | "alloc::rc::Rc", "strong_count") => Self::Last,
            (_, "fetch_sub") if owner.starts_with("core::sync::atomic::") => Self::Last,
            ("alloc::sync::Arc" | "alloc::rc::Rc", "get_mut" | "into_inner") => Self::There,
            (_, "pop" | "pop_front" | "pop_back") if owner.starts_with("alloc::") => Self::Each,
            _ => Self::of_trait(name).unwrap_or(Self::State),
        }
    }

    fn of_trait(name: &str) -> Option<Self> {
        let (of_type, of_trait) = names::implementation(name)?;
        let method = names::after_implementation(name)?;
        match (of_trait, method) {
            ("core::iter::traits::iterator::Iterator", "::next")
            | ("core::iter::traits::double_ended::DoubleEndedIterator", "::next_back") => {
                Some(Self::Each)
            }
            ("core::ops::deref::Deref" | "core::ops::deref::DerefMut", _) => Some(Self::Same),
            ("core::cmp::PartialEq", "::eq" | "::ne") if of_type == FLAVOR => {
                Some(Self::IsFlavor(method == "::eq"))
            }
            ("core::clone::Clone", _) => of_type.starts_with(OPTION).then_some(Self::Same),
            _ => None,
        }
    }
}

const OPTION: &str = "core::option::Option<";
const FLAVOR: &str = "tokio::runtime::runtime::RuntimeFlavor";

/// Whether a function of the standard library is about an `Option`, by its first generic argument.
fn is_of_option(name: &str) -> bool {
    let Some((_, arguments)) = name.trim_start_matches('<').split_once('<') else { return false };
    arguments.starts_with(OPTION)
}

/// A question whose answer is known of a live value, or of the thread that drops it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    /// Whether a value is there. `Some` has 1, and so has `Err`.
    There,
    /// Whether the thread has no context.
    WithoutContext,
    /// Whether the runtime has one thread only.
    OneThread,
    /// Whether there is another thing; each is there, and then none.
    Each,
}

/// What is known of the lowest bit of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bit {
    /// It is this if the answer is yes.
    If(Question, bool),
    Constant,
    State,
}

impl Bit {
    const fn flipped(self) -> Self {
        match self {
            Self::If(question, bit) => Self::If(question, !bit),
            other => other,
        }
    }

    /// What is known of a value that is one or the other.
    fn or(self, other: Self) -> Self {
        match (self, other) {
            (one, other) if one == other => one,
            _ => Self::State,
        }
    }
}

/// Where a branch goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// To the target if the answer is yes, or if it is no.
    If(Question, bool),
    /// To the target in a live value, or not.
    Live(bool),
    State,
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
            (Question::OneThread, _) | (Question::Each, _) => None,
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

#[derive(Clone)]
enum Next {
    /// Nowhere: it panics.
    Ends,
    /// To the caller.
    Returns,
    To(usize),
    /// To the target, or to the next instruction.
    Branch(Way, usize, usize),
    Table(Vec<usize>),
}

impl Flow {
    /// Whether the branches of a function matter. Those of the standard library ask whether something is there, and whose
    /// it is. Those of Tokio were read by a person, who chose the sinks. Drop glue asks which variant an enum has.
    pub fn matters(name: &str) -> bool {
        match names::glue_of(name) {
            Some(of_type) => names::crate_of(of_type) != Some("tokio"),
            None => {
                !names::is_wrapper(name) && names::crate_of(name) != Some("tokio") || calls_if(name)
            }
        }
    }

    pub fn of(
        binary: &Binary,
        paths: &[Option<String>],
        function: Index,
        code: &Code,
        calls: Vec<(usize, Index, Guards)>,
        first_values: Option<&FirstValues<'_>>,
        panics_instead: &dyn Fn(Index) -> bool,
    ) -> Self {
        let name = binary.function(function).name();
        let first_values = first_values.filter(|_| names::is_destructor(name));
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
        let reader = Reader { binary, code, reached, callees, paths, of_tag, first_values };
        let next = |place: usize| match reader.next(place, ends(place)) {
            Next::Branch(_, target, beside) if is_glue => Next::Branch(Way::State, target, beside),
            next => next,
        };
        let mut next: Vec<_> = (0..code.instructions().len()).map(next).collect();
        let mut in_vain = Vec::new();
        for (place, to, _) in &calls {
            let way = reader.panics_without(*place, *to, path_of(*to), panics_instead);
            if let (Some(bit), Next::To(following)) = (way, next[*place].clone()) {
                let end = next.len();
                next.push(Next::Ends);
                in_vain.push((*place, end));
                let way = Way::If(Question::WithoutContext, bit);
                next[*place] = Next::Branch(way, end, following);
            }
        }
        let is_call = |it: &Instruction| {
            matches!(it.flow_control(), FlowControl::Call | FlowControl::IndirectCall)
        };
        let drops = is_glue.then(|| code.instructions().iter().map(is_call).collect());
        Self { next, calls, drops, in_vain }
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
        threads.into_iter().filter_map(worded).collect()
    }

    /// What is reached on such a thread.
    fn reached(&self, thread: Thread) -> Vec<bool> {
        let mut reached = vec![false; self.next.len()];
        let mut open = vec![0];
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

/// Reads what a function's code tests.
struct Reader<'a> {
    binary: &'a Binary,
    code: &'a Code,
    reached: &'a [bool],
    callees: &'a HashMap<usize, Index>,
    paths: &'a [Option<String>],
    /// What is known of the tag of an enum behind a pointer.
    of_tag: Bit,
    /// What is known of flags, in a destructor.
    first_values: Option<&'a FirstValues<'a>>,
}

/// Where a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Home {
    /// On the stack of this function.
    Slot(Register, i64),
    /// Behind a pointer, in so many bytes.
    Behind(usize),
    Elsewhere,
}

/// Where the value comes from that one branch tests.
struct Trace {
    /// How many more values are looked at.
    left: u32,
    /// Whether one bit is tested, as of an enum with two variants.
    is_bit: bool,
    /// Whether the value is compared with a number that means that nothing is there.
    is_niche: bool,
}

impl Trace {
    const fn new(is_bit: bool) -> Self {
        Self { left: 64, is_bit, is_niche: false }
    }

    const fn goes_on(&mut self) -> bool {
        self.left = self.left.saturating_sub(1);
        self.left > 0
    }
}

impl Reader<'_> {
    fn next(&self, at: usize, ends: bool) -> Next {
        let it = &self.code.instructions()[at];
        let following = || match at + 1 < self.code.instructions().len() {
            true => Next::To(at + 1),
            false => Next::Ends,
        };
        if ends {
            return Next::Ends;
        }
        match it.flow_control() {
            FlowControl::Return => Next::Returns,
            FlowControl::Exception | FlowControl::Interrupt => Next::Ends,
            FlowControl::UnconditionalBranch => {
                let target = self.code.position(it.near_branch_target());
                target.map_or(Next::Returns, |target| self.threaded(at, target))
            }
            FlowControl::ConditionalBranch => {
                match (self.code.position(it.near_branch_target()), following()) {
                    (Some(target), Next::To(beside)) => Next::Branch(self.way(at), target, beside),
                    _ => Next::Returns,
                }
            }
            FlowControl::IndirectBranch if self.code.jumps().is_empty() => Next::Returns,
            FlowControl::IndirectBranch => Next::Table(self.code.jumps().to_vec()),
            _ => match following() {
                Next::To(next) => self.threaded(at + 1, next),
                other => other,
            },
        }
    }

    /// `matches!` stores a constant, and the next block tests it: the way from here is known.
    fn threaded(&self, at: usize, target: usize) -> Next {
        let all = self.code.instructions();
        let known = || {
            let store = all.get(at.checked_sub(1)?)?;
            let (test, branch) = (all.get(target)?, all.get(target + 1)?);
            let stores =
                store.mnemonic() == Mnemonic::Mov && store.op1_kind() == OpKind::Immediate8;
            let tests = test.mnemonic() == Mnemonic::Test && is(test, 1);
            let home = home(store).filter(|it| matches!(it, Home::Slot(..)));
            if !stores || !tests || home.is_none() || home != self::home(test) {
                return None;
            }
            let is_set = store.immediate8() & 1 == 1;
            match jumps_if_set(branch)? == is_set {
                true => self.code.position(branch.near_branch_target()),
                false => Some(target + 2),
            }
        };
        Next::To(known().unwrap_or(target))
    }

    /// What a conditional branch asks.
    fn way(&self, at: usize) -> Way {
        match self.asked(at) {
            Way::State => self.jumps_if_live(at).map_or(Way::State, Way::Live),
            way => way,
        }
    }

    /// Whether a branch on a flag of the value jumps, if the flag is known to have its first value.
    fn jumps_if_live(&self, at: usize) -> Option<bool> {
        let first_values = self.first_values?;
        let all = self.code.instructions();
        let (branch, asked) = (&all[at], at.checked_sub(1)?);
        let test = &all[asked];
        let if_set = jumps_if_set(branch)?;
        let tests = match test.mnemonic() {
            Mnemonic::Test => is(test, 1),
            Mnemonic::Cmp => is(test, 0),
            _ => false,
        };
        // The byte itself, or a register that it was moved to.
        let is_move = |it: &&Instruction| matches!(it.mnemonic(), Mnemonic::Mov | Mnemonic::Movzx);
        let read = match test.op0_kind() {
            OpKind::Register => {
                let writer = self.writer(asked, test.op0_register())?;
                Some(&all[writer]).filter(is_move)?
            }
            _ => test,
        };
        let is_flag = tests && home(read) == Some(Home::Behind(1));
        is_flag.then(|| first_values.at(branch.ip()))?.map(|value| value == if_set)
    }

    /// The same, as far as the code alone shows it.
    fn asked(&self, at: usize) -> Way {
        let all = self.code.instructions();
        let branch = &all[at];
        let Some(asked) = at.checked_sub(1) else { return Way::State };
        let test = &all[asked];
        let Some(if_set) = jumps_if_set(branch) else { return Way::State };
        let tests_bit = test.mnemonic() == Mnemonic::Test && is(test, 1);
        if tests_bit {
            return match self.operand(asked, test, &mut Trace::new(true)) {
                Bit::If(question, bit) => Way::If(question, bit == if_set),
                Bit::Constant | Bit::State => Way::State,
            };
        }
        let compares = matches!(test.mnemonic(), Mnemonic::Cmp | Mnemonic::Sub);
        if !compares || !(is(test, 0) || is(test, 1)) {
            return Way::State;
        }
        // `strong_count(..) == 1`, `fetch_sub(1, ..) == 1`.
        if test.op0_kind() == OpKind::Register && is(test, 1) {
            let callee = self.written_by_call(asked, test.op0_register());
            if callee.is_some_and(|to| self.answer(to) == Answer::Last) {
                return Way::If(Question::There, !if_set);
            }
        }
        // With fewer optimizations, the tag of an `Option` is compared. So is that of an enum with more variants, and a
        // number, if it is a field.
        let jumps_if = is(test, 1) != if_set;
        match self.operand(asked, test, &mut Trace::new(false)) {
            Bit::If(question, bit) => Way::If(question, bit == jumps_if),
            Bit::Constant | Bit::State => Way::State,
        }
    }

    fn answer(&self, to: Index) -> Answer {
        let path = self.paths[to as usize].as_deref().unwrap_or_default();
        Answer::of(self.binary.function(to).name(), path)
    }

    /// The lowest bit of what an instruction has as its first operand.
    fn operand(&self, at: usize, it: &Instruction, trace: &mut Trace) -> Bit {
        match it.op0_kind() {
            OpKind::Register => self.register(at, it.op0_register(), trace),
            OpKind::Memory => self.memory(home(it).unwrap_or(Home::Elsewhere), trace),
            _ => Bit::State,
        }
    }

    /// The instruction before this one, in the same block, that writes a register. A call writes all of them.
    fn writer(&self, at: usize, register: Register) -> Option<usize> {
        let register = register.full_register();
        for before in (0..at).rev() {
            let it = &self.code.instructions()[before];
            match it.flow_control() {
                FlowControl::Next => {
                    let writes =
                        !matches!(it.mnemonic(), Mnemonic::Cmp | Mnemonic::Test | Mnemonic::Push)
                            && it.op_count() > 0
                            && it.op0_kind() == OpKind::Register
                            && it.op0_register().full_register() == register;
                    if writes {
                        return Some(before);
                    }
                }
                FlowControl::Call | FlowControl::IndirectCall => return Some(before),
                _ => return None,
            }
        }
        None
    }

    fn written_by_call(&self, at: usize, register: Register) -> Option<Index> {
        let writer = self.writer(at, register)?;
        let it = &self.code.instructions()[writer];
        let is_moved = it.mnemonic() == Mnemonic::Mov;
        match (self.callees.get(&writer), is_moved.then(|| home(it)).flatten()) {
            (Some(to), _) => Some(*to),
            // From the block before.
            (None, Some(slot @ Home::Slot(..))) => {
                let stores: Vec<_> = self.stores(slot).collect();
                let [store] = stores[..] else { return None };
                let stored = &self.code.instructions()[store];
                let is_register = stored.op1_kind() == OpKind::Register;
                is_register
                    .then(|| self.writer(store, stored.op1_register()))
                    .flatten()
                    .and_then(|it| self.callees.get(&it))
                    .copied()
            }
            _ => None,
        }
    }

    fn register(&self, at: usize, register: Register, trace: &mut Trace) -> Bit {
        let is_open = trace.goes_on();
        let Some(writer) = self.writer(at, register).filter(|_| is_open) else {
            return Bit::State;
        };
        let it = &self.code.instructions()[writer];
        if matches!(it.flow_control(), FlowControl::Call | FlowControl::IndirectCall) {
            let is_result = matches!(register.full_register(), Register::RAX | Register::RDX);
            let callee = self.callees.get(&writer).filter(|_| is_result);
            return callee.map_or(Bit::State, |to| self.result(writer, *to, Register::RDI, trace));
        }
        match it.mnemonic() {
            Mnemonic::Mov | Mnemonic::Movzx => match it.op1_kind() {
                OpKind::Register => self.register(writer, it.op1_register(), trace),
                OpKind::Memory => self.memory(home(it).unwrap_or(Home::Elsewhere), trace),
                _ => Bit::Constant,
            },
            Mnemonic::Xor if it.op0_register() == it.op1_register() => Bit::Constant,
            Mnemonic::And if it.op1_kind() != OpKind::Register => {
                self.register(writer, register, trace)
            }
            Mnemonic::Cmove | Mnemonic::Cmovne => self.niche(writer, it, trace),
            _ => Bit::State,
        }
    }

    /// A value without a tag: one of its numbers means that nothing is there, and the tag is chosen after comparing
    /// with it.
    fn niche(&self, at: usize, it: &Instruction, trace: &mut Trace) -> Bit {
        let constant = |register| {
            let writer = self.writer(at, register)?;
            let it = &self.code.instructions()[writer];
            match it.mnemonic() {
                Mnemonic::Mov
                    if it.op1_kind() != OpKind::Register && it.op1_kind() != OpKind::Memory =>
                {
                    Some(it.immediate(1) & 1 == 1)
                }
                Mnemonic::Xor if it.op0_register() == it.op1_register() => Some(false),
                _ => None,
            }
        };
        let (Some(other), Some(moved)) = (constant(it.op0_register()), constant(it.op1_register()))
        else {
            return Bit::State;
        };
        let compares = (0..at).rev().map(|at| (at, &self.code.instructions()[at])).take(4);
        let compared = compares.into_iter().find(|(_, it)| {
            matches!(it.mnemonic(), Mnemonic::Cmp | Mnemonic::Test | Mnemonic::Sub)
        });
        let Some((place, compare)) = compared.filter(|_| other != moved) else { return Bit::State };
        // Only a value with a niche is compared so.
        (trace.is_bit, trace.is_niche) = (true, true);
        let if_equal = if it.mnemonic() == Mnemonic::Cmove { moved } else { other };
        let whole = match compare.op0_kind() {
            OpKind::Register => self.register(place, compare.op0_register(), trace),
            OpKind::Memory => match home(compare) {
                Some(Home::Behind(_)) => self.of_tag,
                home => self.memory(home.unwrap_or(Home::Elsewhere), trace),
            },
            _ => Bit::State,
        };
        // The tag of a value with something in it is the one that is not the niche's, except that of `Result`.
        match whole {
            Bit::If(Question::WithoutContext, _) => Bit::If(Question::WithoutContext, if_equal),
            Bit::If(question @ (Question::There | Question::Each), _) if !if_equal => {
                Bit::If(question, true)
            }
            _ => Bit::State,
        }
    }

    fn memory(&self, home: Home, trace: &mut Trace) -> Bit {
        if !trace.goes_on() {
            return Bit::State;
        }
        match home {
            // The tag of an enum with fields; a `bool` and an enum without any have one byte.
            Home::Behind(8) if trace.is_bit => self.of_tag,
            Home::Behind(_) | Home::Elsewhere => Bit::State,
            Home::Slot(..) => {
                let stores: Vec<_> = self.stores(home).collect();
                if stores.is_empty() {
                    return self.written_through(home, trace);
                }
                let values = stores.into_iter().map(|store| {
                    let it = &self.code.instructions()[store];
                    match it.op1_kind() {
                        OpKind::Register => self.register(store, it.op1_register(), trace),
                        _ => Bit::Constant,
                    }
                });
                values.reduce(Bit::or).unwrap_or(Bit::State)
            }
        }
    }

    /// The instructions that write to a place on the stack directly.
    fn stores(&self, slot: Home) -> impl Iterator<Item = usize> {
        let all = self.code.instructions().iter().enumerate();
        let stores = all.filter(move |(place, it)| {
            self.reached[*place]
                && matches!(it.mnemonic(), Mnemonic::Mov | Mnemonic::Movups | Mnemonic::Movaps)
                && it.op0_kind() == OpKind::Memory
                && home(it) == Some(slot)
        });
        stores.map(|(place, _)| place)
    }

    /// What the first call has written that got the address of a place on the stack, for its result.
    fn written_through(&self, slot: Home, trace: &mut Trace) -> Bit {
        let calls = self.callees.iter().filter(|(place, _)| self.reached[**place]);
        let got = calls.filter(|(place, _)| self.pointer(**place, Register::RDI) == Some(slot));
        match got.min_by_key(|(place, _)| **place) {
            Some((place, to)) => self.result(*place, *to, Register::RSI, trace),
            None => Bit::State,
        }
    }

    /// What a function answers, whose first argument is in a register.
    fn result(&self, at: usize, to: Index, argument: Register, trace: &mut Trace) -> Bit {
        let path = self.paths[to as usize].as_deref().unwrap_or_default();
        let is_result = path.starts_with("core::result::");
        // The flag in an `Option<bool>` is in the byte of the `Option` itself.
        let is_flag = !trace.is_niche && self.has_flag_in_option();
        let mut of_argument = || match self.pointer(at, argument) {
            Some(slot @ Home::Slot(..)) => self.memory(slot, trace),
            // A field may be `Ok` or `Err`.
            _ if is_result => Bit::State,
            // A field of the value, or something that was passed on.
            _ => Bit::If(Question::There, true),
        };
        match self.answer(to) {
            Answer::Same | Answer::Each if is_flag => Bit::State,
            Answer::There | Answer::Same => of_argument(),
            Answer::Missing => of_argument().flipped(),
            Answer::Good | Answer::Never => Bit::If(Question::There, false),
            Answer::Each => Bit::If(Question::Each, true),
            Answer::Context => Bit::If(Question::WithoutContext, true),
            // `CurrentThread` is 0.
            Answer::Flavor => Bit::If(Question::OneThread, false),
            Answer::IsFlavor(is_equal) => self.compared_flavor(at, is_equal, trace),
            Answer::Last | Answer::State => Bit::State,
        }
    }

    /// Whether a call panics without a context, or with one, as `try_current().expect(..)` does.
    fn panics_without(
        &self,
        at: usize,
        to: Index,
        path: &str,
        panics_instead: &dyn Fn(Index) -> bool,
    ) -> Option<bool> {
        let (owner, method) = path.rsplit_once("::")?;
        // They panic if the tag is this.
        let tag = match owner {
            "core::result::Result" => true,
            "core::option::Option" => false,
            _ => return None,
        };
        let is_it = match method {
            "expect" | "unwrap" => true,
            "unwrap_or_else" => panics_instead(to),
            _ => false,
        };
        if !is_it {
            return None;
        }
        // What it gets: by its address, after that of its result, or in a register.
        let trace = || Trace::new(true);
        let by_address = [Register::RDI, Register::RSI].into_iter().find_map(|register| {
            let slot = self.pointer(at, register).filter(|it| matches!(it, Home::Slot(..)))?;
            match self.memory(slot, &mut trace()) {
                Bit::If(Question::WithoutContext, bit) => Some(bit),
                _ => None,
            }
        });
        let in_register = || match self.register(at, Register::RDI, &mut trace()) {
            Bit::If(Question::WithoutContext, bit) => Some(bit),
            _ => None,
        };
        by_address.or_else(in_register).map(|bit| bit == tag)
    }

    /// Whether a flavor is one that is known when the program is built.
    fn compared_flavor(&self, at: usize, is_equal: bool, trace: &mut Trace) -> Bit {
        let of = |register| self.pointer(at, register).filter(|it| matches!(it, Home::Slot(..)));
        let constant = |register| {
            let taken = &self.code.instructions()[self.writer(at, register)?];
            let is_address = taken.mnemonic() == Mnemonic::Lea && taken.is_ip_rel_memory_operand();
            is_address.then(|| self.binary.data(taken.ip_rel_memory_address())?.first().copied())?
        };
        let (slot, other) = match (of(Register::RDI), of(Register::RSI)) {
            (Some(slot), None) => (slot, constant(Register::RSI)),
            (None, Some(slot)) => (slot, constant(Register::RDI)),
            _ => return Bit::State,
        };
        match (self.memory(slot, trace), other) {
            (Bit::If(Question::OneThread, _), Some(flavor @ (0 | 1))) => {
                Bit::If(Question::OneThread, (flavor == 0) == is_equal)
            }
            _ => Bit::State,
        }
    }

    /// Whether a byte is compared with 2, which is what `None` is where `Some` has a flag.
    fn has_flag_in_option(&self) -> bool {
        let is_it = |it: &Instruction| {
            it.mnemonic() == Mnemonic::Cmp
                && it.op1_kind() == OpKind::Immediate8
                && it.immediate8() == 2
        };
        self.code.instructions().iter().any(is_it)
    }

    /// The place on the stack that a register points to before a call.
    fn pointer(&self, at: usize, register: Register) -> Option<Home> {
        let writer = self.writer(at, register)?;
        let it = &self.code.instructions()[writer];
        match it.mnemonic() {
            Mnemonic::Lea => home(it).filter(|it| matches!(it, Home::Slot(..))),
            Mnemonic::Mov if it.op1_kind() == OpKind::Register => match it.op1_register() {
                Register::RSP => Some(Home::Slot(Register::RSP, 0)),
                other => self.pointer(writer, other),
            },
            // The address itself may be on the stack.
            Mnemonic::Mov if it.op1_kind() == OpKind::Memory => {
                let slot = home(it).filter(|it| matches!(it, Home::Slot(..)))?;
                let stores: Vec<_> = self.stores(slot).collect();
                let [store] = stores[..] else { return None };
                let stored = &self.code.instructions()[store];
                let is_register = stored.op1_kind() == OpKind::Register;
                is_register.then(|| self.pointer(store, stored.op1_register())).flatten()
            }
            _ => None,
        }
    }
}

/// Whether a branch jumps if what was tested is not zero, or else if it is.
fn jumps_if_set(branch: &Instruction) -> Option<bool> {
    match branch.condition_code() {
        ConditionCode::ne => Some(true),
        ConditionCode::e => Some(false),
        _ => None,
    }
}

/// Whether the second operand of a test or comparison is this number.
fn is(it: &Instruction, number: u64) -> bool {
    let kind = it.op1_kind();
    kind != OpKind::Register && kind != OpKind::Memory && it.immediate(1) == number
}

/// Where the operand in memory is.
fn home(it: &Instruction) -> Option<Home> {
    if !it.op_kinds().any(|kind| kind == OpKind::Memory) {
        return None;
    }
    let base = it.memory_base();
    let is_plain = it.memory_index() == Register::None;
    Some(match base {
        Register::RSP | Register::RBP if is_plain => {
            Home::Slot(base, it.memory_displacement64().cast_signed())
        }
        Register::RIP | Register::None => Home::Elsewhere,
        _ => Home::Behind(it.memory_size().size()),
    })
}
