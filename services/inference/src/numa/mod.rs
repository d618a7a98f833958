//! Where threads and the memory of their sessions lie on a machine whose cores have memories of their own (NUMA).
//!
//! `topology` reads the nodes, `placement` decides from them as a pure function, and this file carries the decision out:
//! a thread is bound to its node's cores before it touches anything, and the system then gives it memory of that node. On
//! one node, and wherever one node is enough, nothing is bound.

mod placement;
mod topology;

use std::{io, panic, path::Path, thread};

pub(crate) use placement::{Place, Placement};
pub(crate) use topology::Node;

/// Where Linux tells of the nodes.
const NODES: &str = "/sys/devices/system/node";

impl Placement {
    /// The placement of `workers` threads on this machine, of which the process may use `cores` cores; it goes to the
    /// log where there is a choice.
    pub fn of_this_machine(workers: usize, cores: usize) -> Self {
        let placement = match topology::read(Path::new(NODES)) {
            Ok(nodes) => Self::decide(&nodes, &allowed_cpus(), workers, cores),
            Err(error) => {
                let error = crate::error::chain(&error);
                tracing::warn!(error, "the NUMA nodes cannot be read, so no thread is bound to one");
                Self::decide(&[], &[], workers, cores)
            }
        };
        if let Some(reason) = placement.reason() {
            tracing::info!("{reason}");
        }
        placement
    }

    /// Does `work` where `place` is: on a thread bound to its node, or on this one where nothing is bound.
    ///
    /// # Panics
    /// As `work` does, and when the system gives no thread.
    pub fn run_at<T: Send>(&self, place: usize, work: impl FnOnce() -> T + Send) -> T {
        let Some(node) = self.places().get(place).and_then(|place| place.node.as_ref()) else {
            return work();
        };
        thread::scope(|scope| {
            let bound = scope.spawn(|| {
                bind(node);
                work()
            });
            bound.join().unwrap_or_else(|payload| panic::resume_unwind(payload))
        })
    }
}

impl Place {
    /// Binds the calling thread, and those that it will start, to the place's cores.
    pub fn settle(&self) {
        if let Some(node) = &self.node {
            bind(node);
        }
    }
}

fn bind(node: &Node) {
    if let Err(error) = set_affinity(&node.cpus) {
        tracing::warn!(node = node.id, %error, "a thread cannot be bound to its NUMA node");
    }
}

/// The cores that the calling thread may run on; none where the system does not tell.
#[cfg(target_os = "linux")]
fn allowed_cpus() -> Vec<usize> {
    // SAFETY: a set of zeroes is a valid, empty one; it lives in this frame, and thread 0 is the calling one.
    let (done, allowed) = unsafe {
        let mut allowed: libc::cpu_set_t = std::mem::zeroed();
        let done = libc::sched_getaffinity(0, std::mem::size_of::<libc::cpu_set_t>(), &mut allowed);
        (done, allowed)
    };
    if done != 0 {
        return Vec::new();
    }
    // SAFETY: the number is below the size of the set.
    (0..libc::CPU_SETSIZE as usize).filter(|&cpu| unsafe { libc::CPU_ISSET(cpu, &allowed) }).collect()
}

#[cfg(not(target_os = "linux"))]
fn allowed_cpus() -> Vec<usize> {
    Vec::new()
}

#[cfg(target_os = "linux")]
fn set_affinity(cpus: &[usize]) -> io::Result<()> {
    // SAFETY: a set of zeroes is a valid, empty one; it lives in this frame, numbers beyond its size are left out, and
    // thread 0 is the calling one.
    let done = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        for &cpu in cpus.iter().filter(|&&cpu| cpu < libc::CPU_SETSIZE as usize) {
            libc::CPU_SET(cpu, &mut set);
        }
        libc::sched_setaffinity(0, std::mem::size_of::<libc::cpu_set_t>(), &set)
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(not(target_os = "linux"))]
fn set_affinity(_cpus: &[usize]) -> io::Result<()> {
    Ok(())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    /// Two made-up nodes over the cores that there are.
    fn placement() -> Option<(Placement, Vec<usize>)> {
        let allowed = allowed_cpus();
        let [first, second, ..] = allowed[..] else {
            eprintln!("skipped: this process may use one core only");
            return None;
        };
        let node = |id, cpu| Node { id, cpus: vec![cpu], has_memory: true, distances: Vec::new() };
        let nodes = [node(0, first), node(1, second)];
        Some((Placement::decide(&nodes, &[first, second], 2, 2), allowed))
    }

    #[test]
    fn work_and_the_threads_that_it_starts_are_on_the_node_and_the_caller_stays_free() {
        let Some((placement, allowed)) = placement() else { return };
        for (index, place) in placement.places().iter().enumerate() {
            let cpus =
                placement.run_at(index, || [allowed_cpus(), thread::spawn(allowed_cpus).join().unwrap()]);
            let node = place.node.as_ref().unwrap();
            assert_eq!(cpus, [node.cpus.clone(), node.cpus.clone()]);
        }
        assert_eq!(allowed_cpus(), allowed);
    }

    #[test]
    fn without_a_choice_work_runs_on_the_calling_thread() {
        let placement = Placement::decide(&[], &[], 2, 2);
        assert_eq!(placement.run_at(0, || thread::current().id()), thread::current().id());
    }
}
