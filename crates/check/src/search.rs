//! The way from every function to the nearest panic.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
};

use crate::{
    binary::{Binary, Index},
    conditions::{Flow, Shown},
    graph::{Graph, Step, Via},
    kind::{Certainty, Kind},
    mitigations::Guards,
    names,
    sinks::{Panic, Sink},
};

/// More than any way has steps: one step that may not happen is worse than any number that do.
const DOUBT: u32 = 1 << 16;

/// The ways of a kind.
pub struct Ways {
    pub kind: Kind,
    next: Vec<Option<Next>>,
}

/// The first step of the best way from a function.
#[derive(Clone, Copy)]
struct Next {
    distance: u32,
    /// `None` in the sink itself.
    step: Option<Step>,
    /// In the sink, if it panics in words of its own.
    worded: Option<Panic>,
}

impl Ways {
    /// The best way from every function: with the fewest steps that may not happen, and then the shortest.
    pub fn to(kind: Kind, graph: &Graph, callers: &Callers, flows: &mut Flows<'_>) -> Self {
        let mut ways = Self { kind, next: vec![None; callers.0.len()] };
        for is_worded in [false, true] {
            ways.search(is_worded, graph, callers, flows);
        }
        ways
    }

    fn search(&mut self, is_worded: bool, graph: &Graph, callers: &Callers, flows: &mut Flows<'_>) {
        let kind = self.kind;
        let counting = Guards::that_count(kind, is_worded);
        let mut next: Vec<Option<Next>> = vec![None; callers.0.len()];
        let mut open = BinaryHeap::new();
        let is_it = |sink: &Sink| sink.kind == kind && sink.worded.is_some() == is_worded;
        for (function, sink) in graph.sinks.iter().filter(|(_, sink)| is_it(sink)) {
            let distance = match sink.worded {
                Some(panic) if panic.is_conditional => DOUBT,
                _ => 0,
            };
            let place = &mut next[*function as usize];
            if place.is_some_and(|it| it.distance <= distance) {
                continue;
            }
            *place = Some(Next { distance, step: None, worded: sink.worded });
            open.push(Reverse((distance, *function)));
        }
        while let Some(Reverse((distance, to))) = open.pop() {
            let is_old = next[to as usize].is_some_and(|it| it.distance < distance);
            let is_sink = distance == 0;
            if is_old || (!is_sink && graph.is_closed(to, kind)) {
                continue;
            }
            for (from, step) in callers.of(graph, to) {
                // No way leads through it, and none begins in it.
                if graph.is_closed(from, kind) {
                    continue;
                }
                let mut step = step;
                // What does not prevent this panic is no reason for a doubt.
                step.guards = step.guards.and(counting);
                let is_plain = step.via == Via::Call && step.guards.is_empty();
                // A function that leads to the panic anyway may have calls that only together do so on each way.
                let is_sure = |next: &[Option<Next>], it: Index| {
                    let distance = next[it as usize].map(|it| it.distance);
                    let is_sink = distance == Some(0);
                    distance.is_some_and(|it| it < DOUBT) && (is_sink || !graph.is_closed(it, kind))
                };
                let is_decided = is_plain && is_sure(&next, to) && !is_sure(&next, from);
                if is_decided {
                    let leads = flows.of(graph, from, to).is_none_or(|flow| {
                        flow.leads_to(kind, |to, guards| {
                            guards.and(counting).is_empty() && is_sure(&next, to)
                        })
                    });
                    if !leads {
                        step.guards |= if flows.is_glue(graph, from) {
                            Guards::VARIANT
                        } else {
                            Guards::CONDITION
                        };
                    }
                }
                let is_sure = is_plain && step.guards.is_empty();
                let distance = distance + if is_sure { 1 } else { DOUBT };
                let place = &mut next[from as usize];
                if place.is_none_or(|it| it.distance > distance) {
                    *place = Some(Next { distance, step: Some(step), worded: None });
                    open.push(Reverse((distance, from)));
                }
            }
        }
        for (best, found) in self.next.iter_mut().zip(next) {
            if best.map_or(u32::MAX, |it| it.distance) > found.map_or(u32::MAX, |it| it.distance) {
                *best = found;
            }
        }
    }

    /// How sure the panic is, and how far away, if there is a way.
    pub fn from(&self, function: Index) -> Option<(Certainty, u32)> {
        let next = self.next[function as usize]?;
        let certainty = if next.distance < DOUBT { Certainty::Will } else { Certainty::May };
        Some((certainty, next.distance % DOUBT + next.distance / DOUBT))
    }

    /// The steps of the way; the last is the panic itself, if it is not Tokio's.
    pub fn steps(&self, mut from: Index) -> Vec<Step> {
        let mut steps = Vec::new();
        while let Some(step) = self.next[from as usize].and_then(|next| next.step) {
            steps.push(step);
            from = step.to;
        }
        let worded = self.next[from as usize].and_then(|next| next.worded);
        steps.extend(worded.map(|Panic { to, at, is_conditional }| {
            let guards = if is_conditional { Guards::CONDITION } else { Guards::NONE };
            Step { to, via: Via::Call, at, guards }
        }));
        steps
    }
}

/// What decides the branches of the functions that a search comes to.
pub struct Flows<'a> {
    binary: &'a Binary,
    shown: Shown<'a>,
    known: HashMap<Index, Flow>,
}

impl<'a> Flows<'a> {
    pub fn of_all(binary: &'a Binary, shown: Shown<'a>) -> Self {
        Self { binary, shown, known: HashMap::new() }
    }

    fn is_glue(&self, graph: &Graph, function: Index) -> bool {
        graph.is_glue(self.binary, function)
    }

    /// `None` if the branches of the function do not matter for a call.
    fn of(&mut self, graph: &Graph, function: Index, to: Index) -> Option<&Flow> {
        let name = self.binary.function(function).name();
        let mut dropped = self.binary.function(to).glue_of();
        let matters = Flow::matters(name)
            || names::crate_of(name) == Some("tokio") && dropped.any(names::has_of_others);
        let flow = || graph.flow(self.binary, function, Some(&self.shown));
        matters.then(|| &*self.known.entry(function).or_insert_with(flow))
    }
}

/// For every function, who steps to it: the caller, and which of its steps.
pub struct Callers(Vec<Vec<(Index, u32)>>);

impl Callers {
    pub fn of_all(graph: &Graph) -> Self {
        let mut callers = vec![Vec::new(); graph.functions().count()];
        for from in graph.functions() {
            for (number, step) in (0..).zip(graph.steps(from)) {
                callers[step.to as usize].push((from, number));
            }
        }
        Self(callers)
    }

    fn of<'a>(&'a self, graph: &'a Graph, to: Index) -> impl Iterator<Item = (Index, Step)> + 'a {
        let callers = self.0[to as usize].iter();
        callers.map(|(from, number)| (*from, graph.steps(*from)[*number as usize]))
    }
}
