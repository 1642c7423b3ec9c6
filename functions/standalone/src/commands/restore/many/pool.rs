//! Which machine goes to which target next.

use std::collections::{BTreeSet, VecDeque};

/// A machine that waits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Task {
    /// Its position in the list.
    pub machine: usize,
    /// What is written for it at most.
    pub bytes: u64,
    /// The one target that it may go to.
    pub only: Option<usize>,
    /// Where it failed.
    pub tried: BTreeSet<usize>,
}

#[derive(Debug, Default)]
struct Target {
    /// Machines that may go to it at once, and that do.
    at_once: u32,
    busy: u32,
    /// Bytes that have gone to it, or are on their way.
    bytes: u64,
    /// The machine whose failure let it be passed over.
    failed_with: Option<usize>,
}

/// Machines and targets. Machines begin in order, each at the target that least has gone to: so each target gets one before any gets a
/// second. One at which a machine failed is passed over, unless that machine fails everywhere, or no other is left.
#[derive(Debug, Default)]
pub struct Pool {
    targets: Vec<Target>,
    queue: VecDeque<Task>,
}

impl Pool {
    /// Targets by how many machines may go to each at once.
    pub fn new(at_once: impl IntoIterator<Item = u32>, tasks: impl IntoIterator<Item = Task>) -> Self {
        let target = |at_once| Target { at_once, ..Target::default() };
        Self { targets: at_once.into_iter().map(target).collect(), queue: tasks.into_iter().collect() }
    }

    fn takes(&self, number: usize, task: &Task) -> bool {
        let target = &self.targets[number];
        let may = match task.only {
            Some(only) => only == number,
            None => target.failed_with.is_none() || self.targets.iter().all(|other| other.failed_with.is_some()),
        };
        may && target.busy < target.at_once && !task.tried.contains(&number)
    }

    /// A machine that can begin, and where.
    pub fn next(&mut self) -> Option<(Task, usize)> {
        let places = 0..self.targets.len();
        let place = |task: &Task| places.clone().filter(|at| self.takes(*at, task)).min_by_key(|at| self.targets[*at].bytes);
        let (position, at) = self.queue.iter().enumerate().find_map(|(position, task)| Some((position, place(task)?)))?;
        let task = self.queue.remove(position)?;
        self.targets[at].busy += 1;
        self.targets[at].bytes += task.bytes;
        Some((task, at))
    }

    /// A machine is there.
    pub fn done(&mut self, at: usize) {
        self.targets[at].busy -= 1;
    }

    /// A machine failed. Returns whether it begins anew at another target.
    pub fn failed(&mut self, mut task: Task, at: usize) -> bool {
        self.targets[at].busy -= 1;
        self.targets[at].bytes -= task.bytes;
        self.targets[at].failed_with.get_or_insert(task.machine);
        task.tried.insert(at);
        let again = task.only.is_none() && task.tried.len() < self.targets.len();
        if again {
            self.queue.push_front(task);
        } else if task.only.is_none() {
            // It was the machine.
            let fooled = self.targets.iter_mut().filter(|target| target.failed_with == Some(task.machine));
            fooled.for_each(|target| target.failed_with = None);
        }
        again
    }

    /// Machines that no target takes any more.
    pub fn left(self) -> impl Iterator<Item = usize> {
        self.queue.into_iter().map(|task| task.machine)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(targets: usize, machines: &[u64]) -> Pool {
        let task = |(machine, bytes): (usize, &u64)| Task { machine, bytes: *bytes, ..Task::default() };
        Pool::new(vec![1; targets], machines.iter().enumerate().map(task))
    }

    fn began(pool: &mut Pool) -> Vec<(usize, usize)> {
        std::iter::from_fn(|| pool.next()).map(|(task, at)| (task.machine, at)).collect()
    }

    #[test]
    fn each_target_gets_one_machine_and_then_the_one_that_is_free() {
        let mut pool = pool(3, &[5, 50, 5, 5, 5]);
        assert_eq!(began(&mut pool), [(0, 0), (1, 1), (2, 2)]);
        pool.done(2);
        assert_eq!(began(&mut pool), [(3, 2)], "the slow one holds nobody");
        pool.done(0);
        pool.done(1);
        assert_eq!(began(&mut pool), [(4, 0)], "where least has gone to");
    }

    #[test]
    fn a_target_that_failed_is_passed_over_and_its_machine_goes_elsewhere() {
        let mut pool = pool(2, &[1, 1, 1]);
        let (task, at) = pool.next().unwrap();
        assert!(pool.failed(task, at));
        assert_eq!(began(&mut pool), [(0, 1)]);
        pool.done(1);
        assert_eq!(began(&mut pool), [(1, 1)], "not to the one that failed");
    }

    #[test]
    fn a_machine_that_fails_everywhere_takes_no_target_with_it() {
        let mut pool = pool(2, &[1, 1, 1]);
        for again in [true, false] {
            let (task, at) = pool.next().unwrap();
            assert_eq!((task.machine, pool.failed(task, at)), (0, again));
        }
        assert_eq!(began(&mut pool), [(1, 0), (2, 1)]);
        assert_eq!(pool.left().count(), 0);
    }

    #[test]
    fn a_machine_with_a_target_of_its_own_goes_nowhere_else() {
        let mut pool =
            Pool::new([1, 1], [Task { only: Some(1), ..Task::default() }, Task { machine: 1, only: Some(1), ..Task::default() }]);
        assert_eq!(began(&mut pool), [(0, 1)]);
        assert!(!pool.failed(Task { only: Some(1), ..Task::default() }, 1));
        assert_eq!(began(&mut pool), [(1, 1)], "it fails there by itself");
    }
}
