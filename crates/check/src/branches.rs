//! What one branch of unoptimized code asks: whether something is there, whether there is a context, or something else.
//!
//! Such code tests a value in a few forms. It has every value on the stack between two blocks, so what a register holds was
//! put there in the same block.

use std::collections::HashMap;

use iced_x86::{ConditionCode, FlowControl, Instruction, Mnemonic, OpKind, Register};

use crate::{
    answers::Answer,
    binary::{Binary, Index},
    code::Code,
    first_values::FirstValues,
    patterns::Patterns,
};

/// A question whose answer is known of a live value, or of the thread that drops it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Whether a value is there. `Some` has 1, and so has `Err`.
    There,
    /// Whether the thread has no context.
    WithoutContext,
    /// Whether the runtime has one thread only.
    OneThread,
    /// Whether there is another thing; each is there, and then none.
    Each,
    /// What a function answers that has asked whether there is a context.
    Helper,
}

/// Where a branch goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// To the target if the answer is yes, or if it is no.
    If(Question, bool),
    /// To the target in a live value, or not.
    Live(bool),
    State,
}

#[derive(Clone)]
pub enum Next {
    /// Nowhere: it panics.
    Ends,
    /// To the caller.
    Returns,
    To(usize),
    /// To the target, or to the next instruction.
    Branch(Way, usize, usize),
    Table(Vec<usize>),
}

/// What is known of the lowest bit of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bit {
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

    const fn is_about_context(&self) -> bool {
        matches!(self, Self::If(Question::WithoutContext | Question::Helper, _))
    }

    /// What is known of a value that is one or the other.
    fn or(self, other: Self) -> Self {
        match (self, other) {
            (one, other) if one == other => one,
            _ => Self::State,
        }
    }
}

/// Reads what a function's code tests.
pub struct Reader<'a> {
    pub binary: &'a Binary,
    pub code: &'a Code,
    pub reached: &'a [bool],
    pub callees: &'a HashMap<usize, Index>,
    pub paths: &'a [Option<String>],
    /// What is known of the tag of an enum behind a pointer.
    pub of_tag: Bit,
    /// What is known of flags, in a destructor.
    pub first_values: Option<&'a FirstValues<'a>>,
    pub patterns: Option<&'a Patterns<'a>>,
    /// Functions of others that ask whether there is a context. The value is the lowest bit that they return without one, or
    /// `None` if it is not known.
    pub helpers: &'a HashMap<Index, Option<bool>>,
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
    /// Whether a function has an answer that does not depend on a value.
    is_settled: bool,
}

impl Trace {
    const fn new(is_bit: bool) -> Self {
        Self { left: 64, is_bit, is_niche: false, is_settled: false }
    }

    const fn goes_on(&mut self) -> bool {
        self.left = self.left.saturating_sub(1);
        self.left > 0
    }
}

impl Reader<'_> {
    pub fn next(&self, at: usize, ends: bool) -> Next {
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
            return match self.shown(at, test, Trace::new(true)) {
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
        match self.shown(at, test, Trace::new(false)) {
            Bit::If(question, bit) => Way::If(question, bit == jumps_if),
            Bit::Constant | Bit::State => Way::State,
        }
    }

    /// The lowest bit of what the instruction before a branch tests, unless the source shows that it is the tag of another
    /// enum than `Option`.
    fn shown(&self, branch: usize, test: &Instruction, mut trace: Trace) -> Bit {
        let bit = self.operand(branch - 1, test, &mut trace);
        let is_of_option = matches!(bit, Bit::If(Question::There | Question::Each, _));
        let address = self.code.instructions()[branch].ip();
        let is_other = || self.patterns.is_some_and(|it| it.asks_for_variant(address));
        if is_of_option && !trace.is_settled && is_other() { Bit::State } else { bit }
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
            // `!flag`.
            Mnemonic::Xor if is(it, 1) || is(it, 0xff) || is(it, u64::MAX) => {
                self.register(writer, register, trace).flipped()
            }
            Mnemonic::Not => self.register(writer, register, trace).flipped(),
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
            Bit::If(question @ (Question::WithoutContext | Question::Helper), _) => {
                Bit::If(question, if_equal)
            }
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

    /// What the first call has written that got the address of a place on the stack, for its result. A niche may be
    /// anywhere in the result.
    fn written_through(&self, slot: Home, trace: &mut Trace) -> Bit {
        let begins = if trace.is_niche { self.begin_of(slot) } else { slot };
        let calls = self.callees.iter().filter(|(place, _)| self.reached[**place]);
        let got = calls.filter(|(place, _)| self.pointer(**place, Register::RDI) == Some(begins));
        match got.min_by_key(|(place, _)| **place) {
            Some((place, to)) => self.result(*place, *to, Register::RSI, trace),
            None => Bit::State,
        }
    }

    /// The next place on the stack, at this one or before it, that the code names: there begins what this one is in.
    fn begin_of(&self, slot: Home) -> Home {
        let Home::Slot(base, at) = slot else { return slot };
        let named = self.code.instructions().iter().filter_map(|it| {
            let writes_or_points =
                it.mnemonic() == Mnemonic::Lea || it.op0_kind() == OpKind::Memory;
            match home(it).filter(|_| writes_or_points && it.mnemonic() != Mnemonic::Cmp)? {
                Home::Slot(of, begins) if of == base && begins <= at => Some(begins),
                _ => None,
            }
        });
        named.max().map_or(slot, |begins| Home::Slot(base, begins))
    }

    /// What a function answers, whose first argument is in a register.
    fn result(&self, at: usize, to: Index, argument: Register, trace: &mut Trace) -> Bit {
        let path = self.paths[to as usize].as_deref().unwrap_or_default();
        let is_result = path.starts_with("core::result::");
        // The flag in an `Option<bool>` is in the byte of the `Option` itself.
        let is_flag = !trace.is_niche && self.has_flag_in_option();
        let mut of_argument = || match self.pointer(at, argument) {
            Some(slot @ Home::Slot(..)) => self.memory(slot, trace),
            _ => match self.in_register(at, argument) {
                Some(bit) => bit,
                // A field may be `Ok` or `Err`.
                None if is_result => Bit::State,
                // A field of the value, or something that was passed on.
                None => Bit::If(Question::There, true),
            },
        };
        if let Some(answer) = self.helpers.get(&to) {
            return match answer {
                Some(without) => Bit::If(Question::WithoutContext, *without),
                None => Bit::If(Question::Helper, true),
            };
        }
        match self.answer(to) {
            Answer::Same | Answer::Each if is_flag => Bit::State,
            Answer::There | Answer::Same => of_argument(),
            Answer::Missing => of_argument().flipped(),
            Answer::Good | Answer::Never => {
                trace.is_settled = true;
                Bit::If(Question::There, false)
            }
            Answer::Each => Bit::If(Question::Each, true),
            Answer::Context => Bit::If(Question::WithoutContext, true),
            // `CurrentThread` is 0.
            Answer::Flavor => Bit::If(Question::OneThread, false),
            Answer::IsFlavor(is_equal) => self.compared_flavor(at, is_equal, trace),
            Answer::Last | Answer::State => Bit::State,
        }
    }

    /// What is known of an argument that is passed in a register, if it is about a context.
    fn in_register(&self, at: usize, argument: Register) -> Option<Bit> {
        let bit = self.register(at, argument, &mut Trace::new(true));
        Some(bit).filter(Bit::is_about_context)
    }

    /// What is known of the lowest bit of what the function returns in a register.
    pub fn returned(&self) -> Bit {
        let returns = self.code.returns().filter(|place| self.reached[*place]);
        let bits = returns.map(|at| self.register(at, Register::RAX, &mut Trace::new(true)));
        bits.reduce(Bit::or).unwrap_or(Bit::State)
    }

    /// Whether a call panics without a context, or with one, as `try_current().expect(..)` does.
    pub fn panics_without(
        &self,
        at: usize,
        to: Index,
        path: &str,
        panics_instead: &dyn Fn(Index) -> bool,
    ) -> Option<(Question, bool)> {
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
        let by_address = [Register::RDI, Register::RSI].into_iter().find_map(|register| {
            let slot = self.pointer(at, register).filter(|it| matches!(it, Home::Slot(..)))?;
            let bit = self.memory(slot, &mut Trace::new(true));
            Some(bit).filter(Bit::is_about_context)
        });
        match by_address.or_else(|| self.in_register(at, Register::RDI))? {
            Bit::If(question, bit) => Some((question, bit == tag)),
            Bit::Constant | Bit::State => None,
        }
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
