//! Who calls whom, from the machine code of all functions.

use std::{collections::BTreeSet, num::NonZero, thread};

use crate::{
    binary::{Binary, Index},
    code::{Code, Deed},
    kind::Kind,
    mitigations::{self, Guards},
    names,
    sinks::{self, Sink},
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
}

impl Graph {
    pub fn of(binary: &Binary) -> Self {
        let paths: Vec<_> =
            binary.functions.iter().map(|function| names::path(function.name())).collect();
        let read = read_all(binary, &paths);
        let vtables = Vtables::of(binary);
        let mut graph = Self {
            steps: Vec::with_capacity(read.len()),
            sinks: vec![],
            unknown_calls: read.iter().map(|function| function.unknown_calls).sum(),
            paths,
        };
        for (index, function) in (0..).zip(read) {
            graph.steps.push(function.steps);
            graph.sinks.extend(function.sink.map(|sink| (index, sink)));
        }
        graph.follow_trait_objects(binary, &vtables);
        graph.see_what_is_taken(binary);
        graph
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
        path.is_some_and(|path| mitigations::is_closed(path, kind))
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
            let called =
                self.steps(destructor.to).iter().map(|step| binary.function(step.to).name());
            let taken: Vec<_> = called.filter_map(mitigations::taken_out).collect();
            for step in &mut self.steps[glue as usize] {
                if binary.function(step.to).glue_of().any(|of| taken.contains(&of)) {
                    step.guards |= Guards::TAKEN;
                }
            }
        }
    }
}

/// What the code of one function says.
struct Read {
    steps: Vec<Step>,
    sink: Option<Sink>,
    unknown_calls: usize,
}

/// Reads all functions, on all processors.
fn read_all(binary: &Binary, paths: &[Option<String>]) -> Vec<Read> {
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let share = binary.functions.len().div_ceil(threads).max(1);
    let all: Vec<Index> = (0..).take(binary.functions.len()).collect();
    thread::scope(|scope| {
        let read = |part: &[Index]| -> Vec<Read> {
            part.iter().map(|index| read(binary, paths, *index)).collect()
        };
        let readers: Vec<_> =
            all.chunks(share).map(|part| scope.spawn(move || read(part))).collect();
        let parts = readers
            .into_iter()
            .map(|reader| reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        parts.flatten().collect()
    })
}

fn read(binary: &Binary, paths: &[Option<String>], index: Index) -> Read {
    let function = binary.function(index);
    let path_of = |index: Index| paths[index as usize].as_deref().unwrap_or_default();
    let code = Code::of(binary, function);
    let deeds = code.deeds(binary, &code.reached(|_| false));

    let mut guarded = Vec::new();
    for guard in Guards::IN_CODE {
        let is_guard = |deed: &Deed| matches!(deed, Deed::Call(to) if !mitigations::guard_of(path_of(*to)).and(guard).is_empty());
        let stops: Vec<_> =
            deeds.iter().filter(|(_, _, deed)| is_guard(deed)).map(|(place, ..)| *place).collect();
        if !stops.is_empty() {
            guarded.push((guard, code.reached(|place| stops.contains(&place))));
        }
    }
    let guards = |place: usize| {
        let mut guards = Guards::NONE;
        for (guard, open) in &guarded {
            if !open[place] {
                guards |= *guard;
            }
        }
        guards
    };

    let mut read = Read { steps: vec![], sink: None, unknown_calls: 0 };
    let mut message = None;
    for (place, at, deed) in deeds {
        let (to, via) = match deed {
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
        let guards = guards(place);
        let is_known = |step: &Step| step.to == to && step.via == via && step.guards == guards;
        if !read.steps.iter().any(is_known) {
            read.steps.push(Step { to, via, at, guards });
        }
    }
    let path = path_of(index);
    read.sink = sinks::by_path(path).map(|kind| Sink { kind, is_worded: false });
    // Tokio's own are known by their paths: it has these texts in other places, too.
    let is_tokio = function.name().trim_start_matches('<').starts_with("tokio::");
    if let Some(kind) = message.filter(|_| !is_tokio) {
        let panics = read.steps.iter().any(|step| sinks::panics(path_of(step.to)));
        read.sink = read.sink.or(panics.then_some(Sink { kind, is_worded: true }));
    }
    read
}

/// The kind of the message at an address: the text itself, or a list that begins with a pointer to it.
fn message_at(binary: &Binary, address: u64) -> Option<Kind> {
    let text = |address| sinks::by_message(binary.data(address)?);
    text(address).or_else(|| text(binary.pointer(address)?))
}
