//! An index of routes by the segments of their paths, for tools that route many requests. The
//! Worker routes one request at a time, and needs none.

use super::Destination;
use crate::policy::Policy;
use crate::policy::route::Route;
use crate::refusal::Denial;
use crate::request::head::RequestHead;
use std::collections::{BTreeSet, HashMap};

/// The routes of a policy, found by the segments of a path.
#[derive(Debug)]
pub struct RouteIndex<'p> {
    policy: &'p Policy,
    root: Node,
}

/// The routes whose patterns begin with the same segments. Routes are their places in the policy.
#[derive(Debug, Default)]
struct Node {
    /// By the next segment, in lower case.
    literals: HashMap<String, Self>,
    /// Those whose next segment is any.
    any: Option<Box<Self>>,
    ending: Vec<usize>,
    /// Those that match all paths from here on.
    below: Vec<usize>,
}

impl<'p> RouteIndex<'p> {
    /// Returns the index of a policy.
    pub fn of(policy: &'p Policy) -> Self {
        let mut root = Node::default();
        for (place, route) in policy.routes.iter().enumerate() {
            let mut node = &mut root;
            for segment in route.pattern.literals() {
                node = match segment {
                    Some(literal) => node.literals.entry(literal.to_ascii_lowercase()).or_default(),
                    None => node.any.get_or_insert_default(),
                };
            }
            let is_subtree = route.pattern.is_subtree();
            let routes = if is_subtree { &mut node.below } else { &mut node.ending };
            routes.push(place);
        }
        Self { policy, root }
    }

    /// Returns what [`Policy::destination`] does.
    pub fn destination(&self, head: &RequestHead<'_>) -> Result<Destination<'p>, Denial> {
        match self.candidates(head) {
            Some(routes) => self.policy.destination_among(routes.iter().copied(), head),
            None => self.policy.destination_among(self.policy.routes.iter(), head),
        }
    }

    /// Returns the routes that a request's path may match, in their order, and maybe some more.
    /// Requests of the path have one destination by all methods that the same of them list. Returns
    /// `None` if the index does not know all readings of the path.
    pub fn candidates(&self, head: &RequestHead<'_>) -> Option<Vec<&'p Route>> {
        // The edge's own documents are for some methods alone.
        if head.path().starts_with("/.well-known/") {
            return None;
        }
        let path = head.path();
        if !path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'%') {
            return None;
        }
        let path = path.to_ascii_lowercase();
        let mut places: BTreeSet<usize> = BTreeSet::new();
        let mut nodes = vec![&self.root];
        for segment in path.split('/').filter(|segment| !segment.is_empty()) {
            places.extend(nodes.iter().flat_map(|node| &node.below));
            // A segment may be that of a route and a suffix, and a literal may have dots itself.
            let stems = segment.match_indices('.').map(|(dot, _)| segment.split_at(dot).0);
            let readings: Vec<&str> = stems.chain([segment]).collect();
            nodes = nodes
                .into_iter()
                .flat_map(|node| {
                    let literals =
                        readings.iter().filter_map(|reading| node.literals.get(*reading));
                    literals.chain(node.any.as_deref()).collect::<Vec<_>>()
                })
                .collect();
        }
        places.extend(nodes.iter().flat_map(|node| node.below.iter().chain(&node.ending)));
        Some(places.into_iter().filter_map(|place| self.policy.routes.get(place)).collect())
    }
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests;
