//! Which threads belong to which node.
//!
//! A node is used as a place of its own only where the process is larger than one: a process with fewer cores than a node
//! has (a container with a quota) shares the machine with others of its kind, which would all choose the same node. Places
//! are bound to all cores of their node, so that within it the system goes on to balance.

use super::Node;

/// Where everything that computes lives: at least one place, the one with the most cores first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Placement {
    places: Vec<Place>,
    reason: Option<String>,
}

/// Threads whose sessions are made and run beside each other, over one copy of a model's weights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Where its threads are bound to, with the cores that they may use; `None` where they run wherever the system wants.
    pub node: Option<Node>,
    /// Threads that compute.
    pub workers: usize,
    /// Cores that a lone text may have.
    pub cores: usize,
}

impl Placement {
    /// Places `workers` threads of a process that may use `cores` cores: those in `allowed`, or by a quota fewer at a
    /// time.
    pub fn decide(nodes: &[Node], allowed: &[usize], workers: usize, cores: usize) -> Self {
        let (workers, cores) = (workers.max(1), cores.max(1));
        let anywhere = |reason| Self { reason, ..Self::anywhere(workers, cores) };
        let mut usable = usable(nodes, allowed);
        if usable.len() <= 1 {
            return anywhere(None);
        }
        // A stable sort: of equal nodes the one with the lower number.
        usable.sort_by_key(|node| std::cmp::Reverse(node.cpus.len()));
        let largest = usable[0].cpus.len();
        if cores <= largest {
            return anywhere(Some(format!(
                "no thread is bound to one of {} NUMA nodes: {cores} cores fit into one of {largest}",
                usable.len()
            )));
        }
        let mut shares = vec![0; usable.len()];
        for _ in 0..workers {
            // The next thread goes where a core has the least to do with it.
            let crowding = |index: usize| (shares[index] + 1) as f64 / usable[index].cpus.len() as f64;
            let next = (0..usable.len()).min_by(|&a, &b| crowding(a).total_cmp(&crowding(b))).unwrap_or(0);
            shares[next] += 1;
        }
        let mut told = Vec::new();
        let mut places = Vec::new();
        for (node, workers) in usable.into_iter().zip(shares).filter(|(_, share)| *share > 0) {
            told.push(format!("node {} ({} cores) has {workers} of them", node.id, node.cpus.len()));
            places.push(Place { cores: node.cpus.len().min(cores), node: Some(node), workers });
        }
        let reason = format!("threads and their sessions are bound to NUMA nodes: {}", told.join(", "));
        Self { places, reason: Some(reason) }
    }

    /// One place, whose threads run wherever the system wants.
    pub fn anywhere(workers: usize, cores: usize) -> Self {
        Self {
            places: vec![Place { node: None, workers: workers.max(1), cores: cores.max(1) }],
            reason: None,
        }
    }

    /// The places, by the number that they are known by elsewhere.
    pub fn places(&self) -> &[Place] {
        &self.places
    }

    /// What was decided where there are several nodes, and why; one line.
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// Threads in all places.
    pub fn workers(&self) -> usize {
        self.places.iter().map(|place| place.workers).sum()
    }

    /// Cores that a lone text may have in the place that has the most.
    pub fn most_cores(&self) -> usize {
        self.places.iter().map(|place| place.cores).max().unwrap_or(1)
    }
}

/// The nodes with memory, and of their cores those that may be used. Cores of a node without memory are counted to the
/// node whose memory is nearest, of several the one with the fewest cores so far.
fn usable(nodes: &[Node], allowed: &[usize]) -> Vec<Node> {
    let may_use = |node: &Node| Node {
        cpus: node.cpus.iter().copied().filter(|cpu| allowed.contains(cpu)).collect(),
        ..node.clone()
    };
    let places_with_memory: Vec<usize> = (0..nodes.len()).filter(|&place| nodes[place].has_memory).collect();
    let mut usable: Vec<Node> = places_with_memory.iter().map(|&place| may_use(&nodes[place])).collect();
    for guest in nodes.iter().filter(|node| !node.has_memory).map(may_use) {
        let distance = |index: usize| guest.distances.get(places_with_memory[index]).copied();
        let nearest = (0..usable.len())
            .min_by_key(|&index| (distance(index).unwrap_or(u32::MAX), usable[index].cpus.len()));
        if let Some(host) = nearest {
            usable[host].cpus.extend(guest.cpus);
            usable[host].cpus.sort_unstable();
        }
    }
    usable.retain(|node| !node.cpus.is_empty());
    usable
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use super::*;

    fn node(id: usize, cpus: Range<usize>) -> Node {
        Node { id, cpus: cpus.collect(), has_memory: true, distances: Vec::new() }
    }

    fn two_of_32() -> Vec<Node> {
        vec![node(0, 0..32), node(1, 32..64)]
    }

    /// One expected place: node, its cores, workers, cores of a lone text.
    type Expected<'a> = (Option<usize>, &'a [usize], usize, usize);

    fn check(
        nodes: &[Node],
        allowed: Range<usize>,
        (workers, cores): (usize, usize),
        expected: &[Expected<'_>],
    ) {
        let allowed: Vec<usize> = allowed.collect();
        check_list(nodes, &allowed, (workers, cores), expected);
    }

    fn check_list(
        nodes: &[Node],
        allowed: &[usize],
        (workers, cores): (usize, usize),
        expected: &[Expected<'_>],
    ) {
        let placement = Placement::decide(nodes, allowed, workers, cores);
        let found: Vec<Expected<'_>> = placement
            .places()
            .iter()
            .map(|place| {
                let node = place.node.as_ref();
                let cpus = node.map_or(&[][..], |node| &node.cpus);
                (node.map(|node| node.id), cpus, place.workers, place.cores)
            })
            .collect();
        assert_eq!(found, expected);
        assert_eq!(placement.workers(), workers.max(1));
    }

    fn cpus(range: Range<usize>) -> Vec<usize> {
        range.collect()
    }

    #[test]
    fn one_node_or_none_is_left_as_it_is() {
        check(&[node(0, 0..2)], 0..2, (2, 2), &[(None, &[], 2, 2)]);
        check(&[], 0..0, (8, 4), &[(None, &[], 8, 4)]);
        check(&[node(0, 0..4)], 0..0, (0, 4), &[(None, &[], 1, 4)]);
        assert_eq!(Placement::decide(&[node(0, 0..2)], &[0, 1], 2, 2).reason(), None);
    }

    #[test]
    fn threads_are_spread_over_nodes_by_their_cores() {
        let (first, second) = (cpus(0..32), cpus(32..64));
        let both =
            |one: usize, other: usize| [(Some(0), &first[..], one, 32), (Some(1), &second[..], other, 32)];
        check(&two_of_32(), 0..64, (64, 64), &both(32, 32));
        check(&two_of_32(), 0..64, (5, 64), &both(3, 2));
        // One thread needs one node, and the copy of the weights there.
        check(&two_of_32(), 0..64, (1, 64), &both(1, 0)[..1]);
        let placement = Placement::decide(&two_of_32(), &cpus(0..64), 4, 64);
        let told = "threads and their sessions are bound to NUMA nodes: node 0 (32 cores) has 2 of them, node 1 (32 \
                    cores) has 2 of them";
        assert_eq!((placement.reason(), placement.most_cores()), (Some(told), 32));
    }

    #[test]
    fn a_quota_that_fits_into_a_node_binds_nothing() {
        check(&two_of_32(), 0..64, (2, 2), &[(None, &[], 2, 2)]);
        check(&two_of_32(), 0..64, (32, 32), &[(None, &[], 32, 32)]);
        let told = Placement::decide(&two_of_32(), &cpus(0..64), 2, 2);
        let reason = "no thread is bound to one of 2 NUMA nodes: 2 cores fit into one of 32";
        assert_eq!(told.reason(), Some(reason));
        // A larger one needs both.
        let (first, second) = (cpus(0..32), cpus(32..64));
        let both = [(Some(0), &first[..], 20, 32), (Some(1), &second[..], 20, 32)];
        check(&two_of_32(), 0..64, (40, 40), &both);
    }

    #[test]
    fn only_cores_that_it_may_use_count() {
        // Part of one node.
        check(&two_of_32(), 4..12, (8, 8), &[(None, &[], 8, 8)]);
        // Parts of two: the larger one goes first, and a lone text has what its place has.
        let (small, large) = (cpus(28..32), cpus(32..44));
        let parts = [(Some(1), &large[..], 12, 12), (Some(0), &small[..], 4, 4)];
        check(&two_of_32(), 28..44, (16, 16), &parts);
        // Cores 2 and 5 are offline: the nodes list them still, the affinity does not.
        let nodes = [node(0, 0..4), node(1, 4..8)];
        let expected = [(Some(0), &[0, 1, 3][..], 3, 3), (Some(1), &[4, 6, 7][..], 3, 3)];
        check_list(&nodes, &[0, 1, 3, 4, 6, 7], (6, 6), &expected);
    }

    #[test]
    fn nodes_without_cores_or_memory_are_no_places() {
        // Memory alone, as that of an accelerator.
        let nodes = [node(0, 0..4), node(1, 0..0)];
        check(&nodes, 0..4, (4, 4), &[(None, &[], 4, 4)]);
        let bare = |id, cpus, distances: &[u32]| Node {
            has_memory: false,
            distances: distances.to_vec(),
            ..node(id, cpus)
        };
        // Its cores work with the nearest memory.
        let nodes = [node(0, 0..2), bare(1, 2..4, &[32, 10, 16]), node(2, 4..6)];
        let (first, second) = (cpus(2..6), cpus(0..2));
        let expected = [(Some(2), &first[..], 4, 4), (Some(0), &second[..], 2, 2)];
        check(&nodes, 0..6, (6, 6), &expected);
        // Where no distance is told, with the smallest.
        let nodes = [node(0, 0..4), bare(1, 4..6, &[]), node(2, 6..8)];
        let (first, second) = (cpus(0..4), cpus(4..8));
        let expected = [(Some(0), &first[..], 4, 4), (Some(2), &second[..], 4, 4)];
        check(&nodes, 0..8, (8, 8), &expected);
        check(&[bare(0, 0..4, &[])], 0..4, (4, 4), &[(None, &[], 4, 4)]);
    }

    #[test]
    fn there_may_be_more_threads_than_cores() {
        let nodes = [node(0, 0..2), node(1, 2..3)];
        let expected = [(Some(0), &[0, 1][..], 6, 2), (Some(1), &[2][..], 3, 1)];
        check(&nodes, 0..3, (9, 3), &expected);
    }
}
