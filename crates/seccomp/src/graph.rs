//! Decisions as a graph: each node tests one word of the call and leads to another node or to a verdict.
//!
//! Owns building it small: equal nodes are one, tests with a known outcome are left out. Knows neither profiles nor
//! how instructions are laid out.

use std::collections::BTreeMap;

use crate::bpf::ARGS;

/// Where a test leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Next {
    /// The verdict: a value of `SECCOMP_RET_*` and its data.
    Return(u32),
    /// A further test.
    Node(u32),
}

/// A comparison with a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Op {
    /// Equal.
    Eq,
    /// Greater or equal.
    Ge,
    /// Any of these bits set.
    Set,
}

/// A question about one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Test {
    /// Offset in `struct seccomp_data`.
    pub(crate) word: u8,
    /// Bits of the word that count; all of them unless `op` is `Eq`.
    pub(crate) mask: u32,
    /// Comparison.
    pub(crate) op: Op,
    /// Compared with.
    pub(crate) k: u32,
}

/// A test and where its outcomes lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Node {
    /// The question.
    pub(crate) test: Test,
    /// If it holds.
    pub(crate) yes: Next,
    /// If it does not.
    pub(crate) no: Next,
}

/// What a path has learned: a test and its outcome.
type Fact = (Test, bool);

/// A graph without cycles: a node only leads to nodes before it.
#[derive(Default)]
pub(crate) struct Graph {
    nodes: Vec<Node>,
    /// For each node, the words (by bit) that it and all after it test.
    words: Vec<u32>,
    known: BTreeMap<Node, u32>,
}

/// Paths to follow at most when leaving out known outcomes: what is more is not worth the time.
const PATHS: usize = 1000;
/// Facts to carry along a path at most.
const FACTS: usize = 100;

/// What became of a node under given facts.
type Done = BTreeMap<(Next, Vec<Fact>), Next>;

impl Graph {
    /// The nodes, each after those that it leads to.
    pub(crate) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// `word == k`.
    pub(crate) fn equal(&mut self, word: u8, k: u32, yes: Next, no: Next) -> Next {
        self.node(Test { word, mask: u32::MAX, op: Op::Eq, k }, yes, no)
    }

    /// `word >= k`.
    pub(crate) fn at_least(&mut self, word: u8, k: u32, yes: Next, no: Next) -> Next {
        match k {
            0 => yes,
            1 => self.equal(word, 0, no, yes),
            u32::MAX => self.equal(word, k, yes, no),
            _ => self.node(Test { word, mask: u32::MAX, op: Op::Ge, k }, yes, no),
        }
    }

    /// `word & mask == k`.
    pub(crate) fn masked(&mut self, word: u8, mask: u32, k: u32, yes: Next, no: Next) -> Next {
        let set = Test { word, mask: u32::MAX, op: Op::Set, k: mask };
        match (mask, k) {
            (_, k) if k & !mask != 0 => no,
            (0, _) => yes,
            (u32::MAX, k) => self.equal(word, k, yes, no),
            (_, 0) => self.node(set, no, yes),
            (mask, k) if mask == k && mask.is_power_of_two() => self.node(set, yes, no),
            (mask, k) => self.node(Test { word, mask, op: Op::Eq, k }, yes, no),
        }
    }

    fn node(&mut self, test: Test, yes: Next, no: Next) -> Next {
        if yes == no {
            return yes;
        }
        let node = Node { test, yes, no };
        let id = *self.known.entry(node).or_insert_with(|| {
            let below = |next| match next {
                Next::Node(id) => self.words[id as usize],
                Next::Return(_) => 0,
            };
            self.words.push(below(yes) | below(no) | bit(test.word));
            self.nodes.push(node);
            (self.nodes.len() - 1) as u32
        });
        Next::Node(id)
    }

    /// The same decisions without tests whose outcome the path to them has settled, if that does not cost size.
    pub(crate) fn simplify(&mut self, root: Next) -> Next {
        let mut done = Done::new();
        match self.follow(root, &[], &mut done) {
            Some(new) if self.size(new) <= self.size(root) => new,
            _ => root,
        }
    }

    /// Rewrites what `next` leads to, given what is known; `None` once that is too much work.
    fn follow(&mut self, mut next: Next, facts: &[Fact], done: &mut Done) -> Option<Next> {
        let (id, node) = loop {
            let Next::Node(id) = next else {
                return Some(next);
            };
            let node = self.nodes[id as usize];
            match settled(facts, node.test) {
                Some(true) => next = node.yes,
                Some(false) => next = node.no,
                None => break (id, node),
            }
        };
        let words = self.words[id as usize];
        let mut facts: Vec<Fact> = facts.iter().copied().filter(|(test, _)| words & bit(test.word) != 0).collect();
        let key = (next, facts.clone());
        if let Some(&known) = done.get(&key) {
            return Some(known);
        }
        if done.len() >= PATHS || facts.len() >= FACTS {
            return None;
        }
        facts.push((node.test, true));
        let yes = self.follow(node.yes, &facts, done)?;
        *facts.last_mut()? = (node.test, false);
        let no = self.follow(node.no, &facts, done)?;
        let new = self.node(node.test, yes, no);
        done.insert(key, new);
        Some(new)
    }

    /// How many nodes can be reached.
    fn size(&self, root: Next) -> usize {
        self.reachable(root).iter().filter(|&&r| r).count()
    }

    /// For each node, whether `root` leads to it.
    pub(crate) fn reachable(&self, root: Next) -> Vec<bool> {
        let Next::Node(root) = root else {
            return Vec::new();
        };
        let mut reached = vec![false; root as usize + 1];
        reached[root as usize] = true;
        for id in (0..=root as usize).rev().filter(|&id| id < self.nodes.len()) {
            if reached[id] {
                for next in [self.nodes[id].yes, self.nodes[id].no] {
                    if let Next::Node(next) = next {
                        reached[next as usize] = true;
                    }
                }
            }
        }
        reached
    }
}

/// The bit of a word of the arguments; the words before them share one.
fn bit(word: u8) -> u32 {
    1 << (word.saturating_sub(ARGS) / 4)
}

/// The outcome of a test, if what is known settles it.
fn settled(facts: &[Fact], test: Test) -> Option<bool> {
    let same = facts.iter().filter(|(f, _)| f.word == test.word && f.mask == test.mask);
    // The word is within [low, high] and is none of the values that were refuted.
    let (mut low, mut high) = (0, u32::MAX);
    for &(fact, holds) in same {
        match (fact.op, holds) {
            _ if fact == test => return Some(holds),
            (Op::Eq, true) => (low, high) = (fact.k, fact.k),
            (Op::Eq, false) | (Op::Set, _) => {}
            (Op::Ge, true) => low = low.max(fact.k),
            (Op::Ge, false) => high = high.min(fact.k - 1),
        }
    }
    match test.op {
        Op::Eq if low == high => Some(low == test.k),
        Op::Eq if test.k < low || test.k > high => Some(false),
        Op::Ge if low >= test.k => Some(true),
        Op::Ge if high < test.k => Some(false),
        Op::Set if low == high => Some(low & test.k != 0),
        _ => None,
    }
}
