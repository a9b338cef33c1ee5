//! Lays a decision graph out as instructions.
//!
//! Owns loads, jumps and their reach. Knows nothing of system calls.

use std::collections::BTreeMap;

use crate::bpf::{AND, Insn, JEQ, JGE, JSET, JUMP, LOAD, RETURN};
use crate::graph::{Graph, Next, Node, Op, Test};

/// Furthest that a comparison may skip here: one less than its 8 bits hold, as an instruction may yet come between.
const REACH: usize = 254;

/// The program that decides as the graph does from `root` on.
pub(crate) fn assemble(graph: &Graph, root: Next) -> Vec<Insn> {
    let mut layout = Layout::default();
    let reachable = graph.reachable(root);
    layout.entries = vec![Entry::default(); reachable.len()];
    let nodes = || graph.nodes().iter().enumerate().zip(&reachable).filter(|(_, r)| **r).map(|(node, _)| node);

    for (id, node) in nodes() {
        for next in [node.yes, node.no] {
            if let Next::Node(next) = next {
                let reload = loaded(&graph.nodes()[next as usize].test) != loaded(&node.test);
                layout.entries[next as usize].loads |= reload;
            }
        }
        // The root comes last and has no predecessor.
        layout.entries[id].loads |= Next::Node(id as u32) == root;
    }
    // Jumps only lead forward, and a node only to earlier ones: written from the end, every target is known.
    for (id, node) in nodes() {
        layout.node(graph, id, node);
    }
    if let Next::Return(verdict) = root {
        layout.push(RETURN, 0, 0, verdict);
    }
    layout.reversed.reverse();
    layout.reversed
}

/// What must be in the accumulator for a test.
fn loaded(test: &Test) -> (u8, u32) {
    (test.word, test.mask)
}

/// Where a node begins, as positions in the reversed program.
#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    /// Whether some way to it comes with another word loaded.
    loads: bool,
    /// Its load, for those ways.
    load: usize,
    /// Its comparison, for the ways that have the word already.
    compare: usize,
}

#[derive(Default)]
struct Layout {
    reversed: Vec<Insn>,
    entries: Vec<Entry>,
    /// Where each verdict was last returned.
    returns: BTreeMap<u32, usize>,
    /// The last long jump to each position.
    relays: BTreeMap<usize, usize>,
}

impl Layout {
    fn push(&mut self, code: u16, jt: u8, jf: u8, k: u32) -> usize {
        self.reversed.push(Insn { code, jt, jf, k });
        self.reversed.len() - 1
    }

    fn node(&mut self, graph: &Graph, id: usize, node: &Node) {
        let test = &node.test;
        let yes = self.target(graph, test, node.yes);
        let no = self.target(graph, test, node.no);
        let code = match test.op {
            Op::Eq => JEQ,
            Op::Ge => JGE,
            Op::Set => JSET,
        };
        let (jt, jf) = (self.distance(yes) as u8, self.distance(no) as u8);
        self.entries[id].compare = self.push(code, jt, jf, test.k);
        if self.entries[id].loads {
            if test.mask != u32::MAX {
                self.push(AND, 0, 0, test.mask);
            }
            self.entries[id].load = self.push(LOAD, 0, 0, test.word.into());
        }
    }

    /// How many instructions lie between the next one to be written and a position.
    fn distance(&self, position: usize) -> usize {
        self.reversed.len() - position - 1
    }

    /// A position within reach that does what `next` says, coming from `test`.
    fn target(&mut self, graph: &Graph, test: &Test, next: Next) -> usize {
        match next {
            Next::Return(verdict) => match self.returns.get(&verdict) {
                Some(&at) if self.distance(at) <= REACH => at,
                _ => {
                    let at = self.push(RETURN, 0, 0, verdict);
                    self.returns.insert(verdict, at);
                    at
                }
            },
            Next::Node(next) => {
                let entry = self.entries[next as usize];
                let same = loaded(&graph.nodes()[next as usize].test) == loaded(test);
                let at = if same { entry.compare } else { entry.load };
                match self.relays.get(&at) {
                    _ if self.distance(at) <= REACH => at,
                    Some(&relay) if self.distance(relay) <= REACH => relay,
                    _ => {
                        let relay = self.push(JUMP, 0, 0, self.distance(at) as u32);
                        self.relays.insert(at, relay);
                        relay
                    }
                }
            }
        }
    }
}
