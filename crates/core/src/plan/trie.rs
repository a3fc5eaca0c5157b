//! The prefix trie of a set of calls: which prompts share which beginnings.
//!
//! A call is a path of blocks; a node stands for a beginning of prompts and knows its key, its depth
//! in tokens and the calls that end there. For decisions the trie is contracted: chains without a
//! branch become one segment, and tokens above the shortest prefix that a model caches belong to the
//! first segment that reaches it, as nothing shorter can be read. Leaves out what a segment costs
//! (`bound`, `marks`).

use std::collections::HashMap;

use crate::units::{Span, Timestamp};

/// One block of a prompt: its content's identity and its tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PromptBlock {
    /// Equal for equal content.
    pub id: u64,
    /// Tokens of the block.
    pub tokens: u32,
}

/// A node of a [`Trie`]; [`Trie::ROOT`] stands for the empty prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(u32);

impl NodeId {
    /// The place of the node in lists over all nodes.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }

    fn at(index: usize) -> Self {
        Self(u32::try_from(index).expect("a trie of fewer than 2^32 nodes"))
    }
}

/// A beginning that prompts have in common.
#[derive(Debug, Clone)]
pub struct Node {
    /// The beginning without its last block; `None` for the root.
    pub parent: Option<NodeId>,
    /// The same for the same blocks in the same order, in every trie.
    pub key: u128,
    /// Tokens up to here.
    pub depth: u64,
    children: Vec<NodeId>,
    ends: Vec<u32>,
}

/// The prefix trie of calls.
#[derive(Debug, Clone)]
pub struct Trie {
    nodes: Vec<Node>,
    index: HashMap<(NodeId, PromptBlock), NodeId>,
    calls: Vec<(Timestamp, NodeId)>,
}

impl Default for Trie {
    fn default() -> Self {
        Self::new()
    }
}

impl Trie {
    /// The empty prompt.
    pub const ROOT: NodeId = NodeId(0);

    /// A trie of no calls.
    #[must_use]
    pub fn new() -> Self {
        let root = Node {
            parent: None,
            key: 0,
            depth: 0,
            children: Vec::new(),
            ends: Vec::new(),
        };
        Self {
            nodes: vec![root],
            index: HashMap::new(),
            calls: Vec::new(),
        }
    }

    /// Adds a call and returns the node it ends at. Calls are numbered in the order they are added.
    pub fn insert(
        &mut self,
        at: Timestamp,
        blocks: impl IntoIterator<Item = PromptBlock>,
    ) -> NodeId {
        let end = self.extend(Self::ROOT, blocks);
        let call = u32::try_from(self.calls.len()).expect("fewer than 2^32 calls");
        self.nodes[end.index()].ends.push(call);
        self.calls.push((at, end));
        end
    }

    /// The node that so many blocks lead to from another one, made if it is new.
    pub fn extend(
        &mut self,
        from: NodeId,
        blocks: impl IntoIterator<Item = PromptBlock>,
    ) -> NodeId {
        blocks.into_iter().fold(from, |parent, block| {
            if let Some(&known) = self.index.get(&(parent, block)) {
                return known;
            }
            let id = NodeId::at(self.nodes.len());
            let above = &mut self.nodes[parent.index()];
            above.children.push(id);
            let node = Node {
                parent: Some(parent),
                key: chained(above.key, block),
                depth: above.depth + u64::from(block.tokens),
                children: Vec::new(),
                ends: Vec::new(),
            };
            self.nodes.push(node);
            self.index.insert((parent, block), id);
            id
        })
    }

    /// A node of this trie.
    #[must_use]
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.index()]
    }

    /// Number of nodes, the root included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is no block in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.len() == 1
    }

    /// When each call arrived and where it ends, in their order.
    #[must_use]
    pub fn calls(&self) -> &[(Timestamp, NodeId)] {
        &self.calls
    }

    /// The nodes from the first block to `end`.
    #[must_use]
    pub fn path(&self, end: NodeId) -> Vec<NodeId> {
        let mut path = Vec::new();
        let mut at = end;
        while let Some(parent) = self.node(at).parent {
            path.push(at);
            at = parent;
        }
        path.reverse();
        path
    }

    /// The trie as its segments, for a model that caches nothing shorter than `minimum` tokens.
    #[must_use]
    pub fn contracted(&self, minimum: u64) -> Segments {
        let mut segments = Segments {
            list: Vec::new(),
            short: Vec::new(),
        };
        let from = Place {
            node: Self::ROOT,
            parent: None,
            above: 0,
        };
        let mut open = vec![from];
        while let Some(place) = open.pop() {
            self.contract(place, minimum, &mut segments, &mut open);
        }
        segments.collect_users(self);
        segments
    }

    /// Takes up one node: as a segment's end, as a part of one, or as too short to be cached.
    fn contract(&self, place: Place, minimum: u64, out: &mut Segments, open: &mut Vec<Place>) {
        let node = self.node(place.node);
        let is_short = node.depth < minimum || place.node == Self::ROOT;
        let goes_on = node.ends.is_empty() && node.children.len() == 1;
        let mut below = place;
        if is_short {
            let too_short = node.ends.iter().map(|&call| (call, node.depth));
            out.short.extend(too_short);
        } else if !goes_on {
            let index = out.list.len();
            out.list.push(Segment {
                node: place.node,
                parent: place.parent,
                depth: node.depth,
                tokens: node.depth - place.above,
                ends: u32::try_from(node.ends.len()).expect("fewer than 2^32 calls"),
                users: node.ends.clone(),
            });
            below.parent = Some(index);
            below.above = node.depth;
        }
        let children = node.children.iter().rev();
        open.extend(children.map(|&child| Place {
            node: child,
            ..below
        }));
    }
}

/// A node on the way of the contraction: the segment above it, and the tokens up to that one's end.
#[derive(Clone, Copy)]
struct Place {
    node: NodeId,
    parent: Option<usize>,
    above: u64,
}

/// The segments of a contracted trie; parents stand before their children, whole branches together.
#[derive(Debug, Clone)]
pub struct Segments {
    /// All segments.
    pub list: Vec<Segment>,
    /// Calls too short to be cached, each with its tokens.
    pub short: Vec<(u32, u64)>,
}

/// Tokens that the same calls have in common.
#[derive(Debug, Clone)]
pub struct Segment {
    /// The node it ends at.
    pub node: NodeId,
    /// The segment before it, by its place in the list.
    pub parent: Option<usize>,
    /// Tokens up to its end.
    pub depth: u64,
    /// Tokens of the segment itself.
    pub tokens: u64,
    /// Calls that end with it.
    pub ends: u32,
    /// The calls through it, ordered by arrival.
    pub users: Vec<u32>,
}

impl Segments {
    fn collect_users(&mut self, trie: &Trie) {
        for index in (0..self.list.len()).rev() {
            let order = |call: &u32| (trie.calls[*call as usize].0, *call);
            self.list[index].users.sort_unstable_by_key(order);
            if let Some(parent) = self.list[index].parent {
                let (before, from) = self.list.split_at_mut(index);
                before[parent].users.extend(&from[0].users);
            }
        }
    }
}

/// How many of these calls find nothing to read if each of them marks the same prefix: an entry can
/// be read from `delay` after the call that wrote it, and every use keeps it for `lifetime` more.
#[must_use]
pub fn cold_arrivals(arrivals: &[Timestamp], lifetime: Span, delay: Span) -> u64 {
    let mut entry: Option<(Timestamp, Timestamp)> = None;
    let mut cold = 0;
    for &at in arrivals {
        entry = Some(match entry {
            Some((ready, dead)) if ready <= at && at < dead => (ready, at + lifetime),
            Some((ready, dead)) if at < dead => {
                cold += 1;
                (ready.min(at + delay), at + lifetime)
            }
            _ => {
                cold += 1;
                (at + delay, at + lifetime)
            }
        });
    }
    cold
}

/// Two rounds of SplitMix64's finaliser over key and block: two prompts of one key would have to be
/// looked for, and nothing is believed on a key alone.
fn chained(key: u128, block: PromptBlock) -> u128 {
    let mix = |mut x: u64| {
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    };
    let low = u64::try_from(key & u128::from(u64::MAX)).expect("64 bits");
    let high = u64::try_from(key >> 64).expect("64 bits");
    let left = mix(low.wrapping_add(0x9e37_79b9_7f4a_7c15) ^ mix(block.id));
    let right = mix(high.wrapping_add(left) ^ mix(block.id ^ u64::from(block.tokens)));
    (u128::from(right) << 64) | u128::from(left ^ mix(right))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(ids: &[(u64, u32)]) -> Vec<PromptBlock> {
        let block = |&(id, tokens): &(u64, u32)| PromptBlock { id, tokens };
        ids.iter().map(block).collect()
    }

    fn second(n: i64) -> Timestamp {
        Timestamp::EPOCH + Span::from_secs(n)
    }

    fn example() -> Trie {
        let mut trie = Trie::new();
        let prompts: [&[(u64, u32)]; 4] = [
            &[(1, 600), (2, 300), (3, 500), (10, 9)],
            &[(1, 600), (2, 300), (3, 500), (11, 9)],
            &[(1, 600), (4, 50)],
            &[(1, 600), (2, 300), (3, 500)],
        ];
        for (n, prompt) in prompts.iter().enumerate() {
            let at = second(10 - i64::try_from(n).unwrap());
            trie.insert(at, blocks(prompt));
        }
        trie
    }

    #[test]
    fn equal_beginnings_are_one_node() {
        let trie = example();
        assert_eq!(trie.len(), 1 + 6);
        let (_, end) = trie.calls()[0];
        let path = trie.path(end);
        assert_eq!(path.len(), 4);
        assert_eq!(trie.node(end).depth, 1_409);
        let mut other = Trie::new();
        let same = other.insert(second(0), blocks(&[(1, 600), (2, 300)]));
        assert_eq!(other.node(same).key, trie.node(path[1]).key);
        assert_ne!(other.node(same).key, trie.node(path[0]).key);
    }

    #[test]
    fn chains_become_one_segment_and_short_tokens_go_down() {
        let segments = example().contracted(0);
        let shape = |segments: &Segments| {
            let all = segments.list.iter();
            all.map(|s| (s.depth, s.tokens, s.parent, s.users.clone()))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            shape(&segments),
            [
                (600, 600, None, vec![3, 2, 1, 0]),
                (1_400, 800, Some(0), vec![3, 1, 0]),
                (1_409, 9, Some(1), vec![0]),
                (1_409, 9, Some(1), vec![1]),
                (650, 50, Some(0), vec![2]),
            ]
        );
        let segments = example().contracted(1_024);
        assert_eq!(
            shape(&segments),
            [
                (1_400, 1_400, None, vec![3, 1, 0]),
                (1_409, 9, Some(0), vec![0]),
                (1_409, 9, Some(0), vec![1]),
            ]
        );
        assert_eq!(segments.short, [(2, 650)]);
    }

    #[test]
    fn cold_arrivals_by_lifetime_and_delay() {
        let at = |times: &[i64]| times.iter().map(|&t| second(t)).collect::<Vec<_>>();
        let five = Span::from_secs(300);
        let cold = |times: &[i64], delay| cold_arrivals(&at(times), five, Span::from_millis(delay));
        assert_eq!(cold(&[0, 299, 598], 800), 1);
        assert_eq!(cold(&[0, 300], 800), 2, "dead at exactly its lifetime");
        assert_eq!(
            cold(&[0, 0, 0, 1], 800),
            3,
            "not readable before the first answer begins"
        );
        assert_eq!(cold(&[], 0), 0);
    }
}
