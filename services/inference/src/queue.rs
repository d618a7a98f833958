//! The bounded queue between requests and the threads that compute.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

use prometheus::{IntGauge, Registry};

/// A queue that takes what belongs together as a whole or not at all, and never grows beyond its capacity.
pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
    not_empty: Condvar,
    capacity: usize,
    depth: IntGauge,
}

struct State<T> {
    items: VecDeque<T>,
    closed: bool,
}

/// Why items were not taken.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// There is no room now.
    Full,
    /// There never will be.
    Closed,
}

impl<T> Queue<T> {
    pub fn register(capacity: usize, registry: &Registry) -> Result<Self, prometheus::Error> {
        let depth = IntGauge::new("refit_queue_depth", "Texts that wait for a free worker.")?;
        let limit = IntGauge::new("refit_queue_capacity", "Texts that may wait; more are refused with 429.")?;
        registry.register(Box::new(depth.clone()))?;
        registry.register(Box::new(limit.clone()))?;
        limit.set(i64::try_from(capacity).unwrap_or(i64::MAX));
        let state = Mutex::new(State { items: VecDeque::new(), closed: false });
        Ok(Self { state, not_empty: Condvar::new(), capacity, depth })
    }

    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Takes all items or none.
    pub fn push_all(&self, items: Vec<T>) -> Result<(), Refused> {
        let mut state = self.lock();
        if state.closed {
            return Err(Refused::Closed);
        }
        if state.items.len() + items.len() > self.capacity {
            return Err(Refused::Full);
        }
        let added = items.len();
        state.items.extend(items);
        self.depth.set(state.items.len() as i64);
        drop(state);
        if added == 1 {
            self.not_empty.notify_one()
        } else {
            self.not_empty.notify_all()
        }
        Ok(())
    }

    /// Waits for an item; `None` when the queue is closed and empty.
    pub fn pop(&self) -> Option<T> {
        let mut state = self.lock();
        loop {
            if let Some(item) = state.items.pop_front() {
                self.depth.set(state.items.len() as i64);
                return Some(item);
            }
            if state.closed {
                return None;
            }
            state = self.not_empty.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Takes no more items; what is there is still handed out.
    pub fn close(&self) {
        self.lock().closed = true;
        self.not_empty.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_takes_all_or_nothing_and_ends_when_closed() {
        let queue = Queue::register(3, &Registry::new()).unwrap();
        assert_eq!(queue.push_all(vec![1, 2]), Ok(()));
        assert_eq!(queue.push_all(vec![3, 4]), Err(Refused::Full));
        assert_eq!(queue.push_all(vec![5]), Ok(()));
        assert_eq!(queue.depth.get(), 3);
        queue.close();
        assert_eq!(queue.push_all(vec![6]), Err(Refused::Closed));
        assert_eq!([queue.pop(), queue.pop(), queue.pop(), queue.pop()], [Some(1), Some(2), Some(5), None]);
        assert_eq!(queue.depth.get(), 0);
    }
}
