//! Who calls whom, from the machine code of all functions.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    num::NonZero,
    thread,
};

use crate::{
    binary::{Binary, Function, Index},
    code::{Code, Deed},
    conditions::{Flow, Known, Shown},
    kind::Kind,
    mitigations::{self, Guards, Taken},
    names,
    sinks::{self, Panic, Sink},
    vtables::{self, Vtables},
};

/// How a function leads to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// It calls it.
    Call,
    /// It takes its address: whoever gets it may call.
    Address,
    /// It drops a `dyn Trait`, which may be this.
    Virtual,
}

/// A step from a function to another.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    pub to: Index,
    pub via: Via,
    /// The address of the instruction.
    pub at: u64,
    pub guards: Guards,
}

/// The steps of every function, and where the panics are.
pub struct Graph {
    steps: Vec<Vec<Step>>,
    paths: Vec<Option<String>>,
    pub sinks: Vec<(Index, Sink)>,
    /// Calls whose target only the running program knows.
    pub unknown_calls: usize,
    entering: Entering,
    /// Functions that ask whether there is a context, for their callers: the lowest bit of what they return if there is
    /// none, as far as that alone decides it.
    helpers: HashMap<Index, Option<bool>>,
    /// Functions that no way of a kind leads through, because of the type that they drop.
    vetted: HashSet<(Index, Kind)>,
}

/// Who enters a context and who leaves it.
#[derive(Default)]
struct Entering {
    /// Functions that return a guard of a context, or keep one somewhere.
    enter: HashSet<Index>,
    /// Functions that drop such a guard.
    leave: HashSet<Index>,
}

impl Graph {
    pub fn of(binary: &Binary) -> Self {
        let paths: Vec<_> =
            binary.functions.iter().map(|function| names::path(function.name())).collect();
        let read = read_all(binary, &paths, &Entering::default());
        let vtables = Vtables::of(binary);
        let mut graph = Self {
            steps: Vec::with_capacity(read.len()),
            sinks: vec![],
            unknown_calls: read.iter().map(|function| function.unknown_calls).sum(),
            entering: Entering::default(),
            helpers: HashMap::new(),
            vetted: HashSet::new(),
            paths,
        };
        for (index, function) in (0..).zip(read) {
            graph.steps.push(function.steps);
            graph.sinks.extend(function.sink.map(|sink| (index, sink)));
        }
        graph.see_who_enters(binary);
        graph.follow_trait_objects(binary, &vtables);
        graph.see_what_is_taken(binary);
        graph.see_alternatives(binary);
        graph.see_who_is_vetted(binary);
        graph.see_who_asks_for_others(binary);
        graph.see_who_asks_in_vain(binary);
        graph
    }

    /// What decides the branches of a function.
    pub fn flow(&self, binary: &Binary, function: Index, shown: Option<&Shown<'_>>) -> Flow {
        let body = Body::of(binary, &self.paths, function, &self.entering);
        let calls = body.deeds.iter().filter_map(|(place, _, deed)| match deed {
            Deed::Call(to) => Some((*place, *to, body.guards(*place))),
            _ => None,
        });
        let calls = calls.collect();
        let panics = |it| self.only_panics(binary, it);
        let known = Known { binary, paths: &self.paths, helpers: &self.helpers };
        Flow::of(known, function, &body.code, calls, shown, &panics)
    }

    /// Whether a function that calls what it is given calls something that does not return.
    fn only_panics(&self, binary: &Binary, function: Index) -> bool {
        let called = |it: Index| {
            self.steps(it).iter().filter(|step| step.via == Via::Call).map(|step| step.to)
        };
        let name_of = |it: Index| binary.function(it).name();
        let panics = |it: Index| {
            names::is_anonymous(name_of(it))
                && Code::of(binary, binary.function(it)).never_returns()
        };
        // The closure itself, or what only calls it.
        let calls_it = |it: Index| name_of(it).contains("::call_once") && called(it).any(panics);
        called(function).any(|it| panics(it) || calls_it(it))
    }

    /// Drop glue and destructors of types that a person has read.
    fn see_who_is_vetted(&mut self, binary: &Binary) {
        for (index, function) in (0..).zip(&binary.functions) {
            let dropped = function.names.iter().flat_map(|name| {
                [names::glue_of(name), names::destructor_of(name)].into_iter().flatten()
            });
            let kinds = dropped.flat_map(mitigations::vetted);
            self.vetted.extend(kinds.map(|kind| (index, *kind)));
        }
    }

    /// A function may ask whether there is a context, and return the answer: to another such function, and so on.
    fn see_who_asks_for_others(&mut self, binary: &Binary) {
        /// How many functions are between the question and who panics because of the answer.
        const HELPERS: usize = 3;
        let mut newest: HashSet<Index> = (0..)
            .zip(&self.paths)
            .filter(|(_, path)| path.as_deref().is_some_and(mitigations::asks))
            .map(|(index, _)| index)
            .collect();
        for _ in 0..HELPERS {
            let asks = |it: &Index| {
                let name = binary.function(*it).name();
                let may_answer = Flow::matters(name)
                    && !self.is_glue(binary, *it)
                    && !names::is_destructor(name)
                    && !names::is_wrapper(name);
                let is_question = |step: &Step| step.via == Via::Call && newest.contains(&step.to);
                may_answer
                    && !self.helpers.contains_key(it)
                    && self.steps(*it).iter().any(is_question)
            };
            let found: Vec<_> = self.functions().filter(asks).collect();
            let answers: Vec<_> = found
                .iter()
                .map(|it| (*it, self.flow(binary, *it, None).answer_without_context()))
                .collect();
            self.helpers.extend(answers);
            newest = found.into_iter().collect();
        }
    }

    /// A function may ask whether there is a context, or how many threads its runtime has, and then panic in words of its
    /// own.
    fn see_who_asks_in_vain(&mut self, binary: &Binary) {
        let path_of = |it: Index| self.paths[it as usize].as_deref().unwrap_or_default();
        let asks = |it: &Index| {
            let is_question = |step: &Step| {
                step.via == Via::Call
                    && (mitigations::asks_of_runtime(path_of(step.to))
                        || self.helpers.contains_key(&step.to))
            };
            Flow::matters(binary.function(*it).name()) && self.steps(*it).iter().any(is_question)
        };
        let mut found = Vec::new();
        for function in self.functions().filter(asks) {
            let flow = self.flow(binary, function, None);
            let code = Code::of(binary, binary.function(function));
            let panics = |to: Index| sinks::panics(path_of(to));
            found.extend(flow.worded(panics).into_iter().map(|worded| {
                let (at, to) = (code.instructions()[worded.place].ip(), worded.to);
                let panic = Panic { to, at, is_conditional: !worded.is_sure };
                (function, Sink { kind: worded.kind, worded: Some(panic) })
            }));
        }
        self.sinks.extend(found);
    }

    /// Whether a function is the compiler's, and drops a value.
    pub fn is_glue(&self, binary: &Binary, function: Index) -> bool {
        binary.function(function).glue_of().next().is_some()
    }

    /// The steps of a function.
    pub fn steps(&self, from: Index) -> &[Step] {
        &self.steps[from as usize]
    }

    /// All functions.
    pub fn functions(&self) -> impl Iterator<Item = Index> + use<> {
        0..Index::try_from(self.steps.len()).unwrap_or(Index::MAX)
    }

    /// The functions that panic, without generic arguments.
    pub fn sink_paths(&self) -> Vec<String> {
        let sinks =
            self.sinks.iter().filter_map(|(function, _)| self.paths[*function as usize].clone());
        sinks.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Whether no way of a kind leads through a function.
    pub fn is_closed(&self, function: Index, kind: Kind) -> bool {
        let path = self.paths[function as usize].as_deref();
        self.vetted.contains(&(function, kind))
            || path.is_some_and(|path| mitigations::is_closed(path, kind))
    }

    /// A function that returns the guard of a context has entered it for its caller, and so on.
    fn see_who_enters(&mut self, binary: &Binary) {
        let mut callers: Vec<Vec<Index>> = vec![Vec::new(); self.steps.len()];
        for from in self.functions() {
            for step in self.steps(from).iter().filter(|step| step.via == Via::Call) {
                callers[step.to as usize].push(from);
            }
        }
        let all = |is_it: &dyn Fn(Index) -> bool| -> Vec<Index> {
            self.functions().filter(|it| is_it(*it)).collect()
        };
        let mut entering = Entering::default();
        let mut open =
            all(&|it| binary.function(it).glue_of().any(|of| mitigations::GUARDS.contains(&of)));
        while let Some(it) = open.pop() {
            if entering.leave.insert(it) {
                let drops = |from: &&Index| {
                    let from = binary.function(**from);
                    // An `Option` is also dropped where a guard takes the place of nothing.
                    if from.glue_of().any(|of| of.starts_with("core::option::Option<")) {
                        return false;
                    }
                    let is_drop = from.name() == "core::mem::drop"
                        || from.name().starts_with("core::mem::drop::<");
                    is_drop || from.glue_of().next().is_some()
                };
                open.extend(callers[it as usize].iter().filter(drops));
            }
        }
        let path_of = |it: Index| self.paths[it as usize].as_deref().unwrap_or_default();
        let mut open = all(&|it| mitigations::enters(path_of(it)));
        let mut touched = BTreeSet::new();
        while let Some(it) = open.pop() {
            if !entering.enter.insert(it) {
                continue;
            }
            for from in callers[it as usize].iter().copied() {
                touched.insert(from);
                if Body::of(binary, &self.paths, from, &entering).returns_entered() {
                    open.push(from);
                }
            }
        }
        for function in touched {
            self.steps[function as usize] = read(binary, &self.paths, function, &entering).steps;
        }
        self.entering = entering;
    }

    /// What drops a `dyn Trait` may drop whatever implements it.
    fn follow_trait_objects(&mut self, binary: &Binary, vtables: &Vtables) {
        for (function, steps) in binary.functions.iter().zip(&mut self.steps) {
            let owned = function.names.iter().find_map(|name| names::owned_trait_object(name));
            let Some(of_trait) = owned.filter(|it| vtables::is_followed(it)) else { continue };
            steps.extend(vtables.implementors(of_trait).iter().map(|glue| Step {
                to: *glue,
                via: Via::Virtual,
                at: function.address,
                guards: Guards::NONE,
            }));
        }
    }

    /// A destructor runs before its fields are dropped. What it has taken out of a field is not dropped again.
    fn see_what_is_taken(&mut self, binary: &Binary) {
        for glue in self.functions() {
            if binary.function(glue).glue_of().next().is_none() {
                continue;
            }
            let is_destructor =
                |step: &&Step| names::destructor_of(binary.function(step.to).name()).is_some();
            let Some(destructor) = self.steps(glue).iter().find(is_destructor) else { continue };
            let called = || self.steps(destructor.to).iter().map(|step| binary.function(step.to));
            let drops = |taken: Taken<'_>| {
                called().flat_map(Function::glue_of).any(|of_type| taken.may_be(of_type))
            };
            let taken = called().filter_map(|it| Taken::by(it.name()));
            // Another owner that the destructor itself drops is none any more.
            let taken: Vec<_> =
                taken.filter(|it| it.guard() != Guards::SHARED || !drops(*it)).collect();
            if !taken.is_empty() {
                self.steps[glue as usize] = self.without(binary, glue, &taken, FIELDS_OF_FIELDS);
            }
        }
    }

    /// What has an `Option` of a runtime next to one of a handle has one or the other.
    fn see_alternatives(&mut self, binary: &Binary) {
        let drops =
            |step: &Step, of_type: &str| binary.function(step.to).glue_of().any(|it| it == of_type);
        for steps in &mut self.steps {
            if steps.iter().any(|step| drops(step, OPTION_OF_HANDLE)) {
                let runtimes = steps.iter_mut().filter(|step| drops(step, OPTION_OF_RUNTIME));
                runtimes.for_each(|step| step.guards |= Guards::VARIANT);
            }
        }
    }

    /// The steps of drop glue, with those to what was taken marked. It may be in a field of a field: then the steps of
    /// the field's glue are in the place of the step to the field.
    fn without(&self, binary: &Binary, glue: Index, taken: &[Taken<'_>], depth: u32) -> Vec<Step> {
        let guard_of = |it: &Step| {
            let mut guards = Guards::NONE;
            for of_type in binary.function(it.to).glue_of() {
                let of_field = taken.iter().filter(|taken| taken.may_be(of_type));
                of_field.for_each(|taken| guards |= taken.guard());
            }
            guards
        };
        let mut steps = Vec::new();
        for step in self.steps(glue) {
            let is_field = binary.function(step.to).glue_of().next().is_some();
            let guards = guard_of(step);
            if !guards.is_empty() {
                let mut step = *step;
                step.guards |= guards;
                steps.push(step);
                continue;
            }
            let of_field = match depth {
                0 => vec![],
                _ if !is_field => vec![],
                _ => self.without(binary, step.to, taken, depth - 1),
            };
            let is_of_field = |it: &Step| !it.guards.and(Guards::OF_FIELD).is_empty();
            match of_field.iter().any(is_of_field) {
                true => steps.extend(of_field),
                false => steps.push(*step),
            }
        }
        steps
    }
}

const OPTION_OF_HANDLE: &str = "core::option::Option<tokio::runtime::handle::Handle>";
const OPTION_OF_RUNTIME: &str = "core::option::Option<tokio::runtime::runtime::Runtime>";

/// How deep in the fields of its fields a destructor takes something out.
const FIELDS_OF_FIELDS: u32 = 2;

/// What the code of one function says.
struct Read {
    steps: Vec<Step>,
    sink: Option<Sink>,
    unknown_calls: usize,
}

/// Reads all functions, on all processors.
fn read_all(binary: &Binary, paths: &[Option<String>], entering: &Entering) -> Vec<Read> {
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let share = binary.functions.len().div_ceil(threads).max(1);
    let all: Vec<Index> = (0..).take(binary.functions.len()).collect();
    thread::scope(|scope| {
        let read = |part: &[Index]| -> Vec<Read> {
            part.iter().map(|index| read(binary, paths, *index, entering)).collect()
        };
        let readers: Vec<_> =
            all.chunks(share).map(|part| scope.spawn(move || read(part))).collect();
        let parts = readers
            .into_iter()
            .map(|reader| reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        parts.flatten().collect()
    })
}

/// The code of a function, and what has been done before each place.
struct Body {
    code: Code,
    deeds: Vec<(usize, u64, Deed)>,
    /// Where `try_current` was not asked on some way, if it is asked at all.
    unasked: Option<Vec<bool>>,
    /// Where a context was entered on some way, and not left, if one is entered at all.
    entered: Option<Vec<bool>>,
}

impl Body {
    fn of(
        binary: &Binary,
        paths: &[Option<String>],
        index: Index,
        Entering { enter, leave }: &Entering,
    ) -> Self {
        let path_of = |index: Index| paths[index as usize].as_deref().unwrap_or_default();
        let code = Code::of(binary, binary.function(index));
        let deeds = code.deeds(binary, &code.reached(|_| false));
        let places = |is_it: &dyn Fn(Index) -> bool| -> Vec<usize> {
            let calls =
                deeds.iter().filter(|(_, _, deed)| matches!(deed, Deed::Call(to) if is_it(*to)));
            calls.map(|(place, ..)| *place).collect()
        };
        let asks = places(&|to| mitigations::asks(path_of(to)));
        let unasked = (!asks.is_empty()).then(|| code.reached(|place| asks.contains(&place)));
        let enters = places(&|to| enter.contains(&to));
        let entered = (!enters.is_empty()).then(|| {
            let leaves = places(&|to| leave.contains(&to));
            code.reached_from(&enters, |place| leaves.contains(&place))
        });
        Self { code, deeds, unasked, entered }
    }

    /// What has happened before an instruction.
    fn guards(&self, place: usize) -> Guards {
        let mut guards = Guards::NONE;
        if self.unasked.as_ref().is_some_and(|unasked| !unasked[place]) {
            guards |= Guards::ASKED;
        }
        if self.entered.as_ref().is_some_and(|entered| entered[place]) {
            guards |= Guards::ENTERED;
        }
        guards
    }

    /// Whether the function returns in a context that it has entered.
    fn returns_entered(&self) -> bool {
        let Some(entered) = &self.entered else { return false };
        self.code.returns().any(|place| entered[place])
    }
}

fn read(binary: &Binary, paths: &[Option<String>], index: Index, entering: &Entering) -> Read {
    let function = binary.function(index);
    let path_of = |index: Index| paths[index as usize].as_deref().unwrap_or_default();
    let body = Body::of(binary, paths, index, entering);

    let mut read = Read { steps: vec![], sink: None, unknown_calls: 0 };
    let mut message = None;
    for (place, at, deed) in &body.deeds {
        let (to, via) = match *deed {
            Deed::Call(to) => (to, Via::Call),
            Deed::Take(to) => (to, Via::Address),
            Deed::Address(address) => {
                message = message.or_else(|| message_at(binary, address));
                continue;
            }
            Deed::Unknown => {
                read.unknown_calls += 1;
                continue;
            }
        };
        let (at, guards) = (*at, body.guards(*place));
        let is_known = |step: &Step| step.to == to && step.via == via && step.guards == guards;
        if !read.steps.iter().any(is_known) {
            read.steps.push(Step { to, via, at, guards });
        }
    }
    let path = path_of(index);
    read.sink = sinks::by_path(path).map(|kind| Sink { kind, worded: None });
    // Tokio's own are known by their paths: it has these texts in other places, too.
    let is_tokio = function.name().trim_start_matches('<').starts_with("tokio::");
    if let Some(kind) = message.filter(|_| !is_tokio) {
        let panic = read.steps.iter().find(|step| sinks::panics(path_of(step.to)));
        let worded = panic.map(|step| Panic { to: step.to, at: step.at, is_conditional: false });
        read.sink = read.sink.or(worded.map(|panic| Sink { kind, worded: Some(panic) }));
    }
    read
}

/// The kind of the message at an address: the text itself, or a list that begins with a pointer to it.
fn message_at(binary: &Binary, address: u64) -> Option<Kind> {
    let text = |address| sinks::by_message(binary.data(address)?);
    text(address).or_else(|| text(binary.pointer(address)?))
}
