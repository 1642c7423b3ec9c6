use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use stillpoint_model::JobId;
use stillpoint_vault::GROUP_SEGMENTS;

/// A group of a job's segments.
type Group = (JobId, u32);

/// The segments that this process has in hand, so that only the last one laid down looks at the markers of its group.
///
/// # Why no look is missing
/// A segment is laid down when its marker is there. It goes without a look only while another segment *of the same group* is
/// in hand, and that one will do one of three things: be laid down, after its marker and with the same choice; be given up and
/// delivered again, to find its marker or make it and choose then; or end with its job. So the chain of those that
/// went without ends with one that looks, after all their markers. That one completes the group if anybody does, makes the
/// group's marker and looks at the groups. Segments of another group justify nothing: they look at another folder.
///
/// The process that dies takes all of them along; whoever takes the job on asks for what is outstanding, which may be nothing
/// but the sealing. A process with one segment at a time looks after each.
#[derive(Clone, Default)]
pub struct InHand(Arc<Mutex<HashMap<Group, u32>>>);

/// One segment in hand; given up when dropped.
pub struct Held {
    all: InHand,
    job: JobId,
    segment: u32,
    laid_down: bool,
}

impl InHand {
    fn groups(&self) -> MutexGuard<'_, HashMap<Group, u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a segment in hand. Two deliveries of one segment are two.
    #[must_use]
    pub fn take(&self, job: JobId, segment: u32) -> Held {
        *self.groups().entry((job, segment / GROUP_SEGMENTS)).or_default() += 1;
        Held { all: self.clone(), job, segment, laid_down: false }
    }

    /// Takes one away and returns how many of its group are left.
    fn remove(&self, group: Group) -> u32 {
        let mut groups = self.groups();
        let left = groups.get(&group).map_or(0, |count| count.saturating_sub(1));
        match left {
            0 => drop(groups.remove(&group)),
            left => drop(groups.insert(group, left)),
        }
        left
    }
}

impl Held {
    /// The job.
    #[must_use]
    pub const fn job(&self) -> JobId {
        self.job
    }

    /// The segment's number.
    #[must_use]
    pub const fn segment(&self) -> u32 {
        self.segment
    }

    const fn group(&self) -> Group {
        (self.job, self.segment / GROUP_SEGMENTS)
    }

    /// Lays the segment down, whose marker is there; whether it was the last of its group in this process's hand.
    pub(crate) fn lay_down(mut self) -> bool {
        self.laid_down = true;
        self.all.remove(self.group()) == 0
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.laid_down {
            self.all.remove(self.group());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(number: u8) -> JobId {
        format!("01ARZ3NDEKTSV4RRFFQ69G5FA{number}").parse().unwrap()
    }

    #[test]
    fn the_last_one_of_a_group_looks() {
        let all = InHand::default();
        let [first, second, third] = [0, 1, 1].map(|segment| all.take(job(1), segment));
        assert!(!second.lay_down());
        assert!(!first.lay_down());
        assert!(third.lay_down(), "a second delivery counts by itself");
        assert!(all.groups().is_empty());
    }

    #[test]
    fn other_groups_and_other_jobs_justify_nothing() {
        let all = InHand::default();
        let [_neighbour, _stranger] = [(job(1), GROUP_SEGMENTS), (job(2), 0)].map(|(job, segment)| all.take(job, segment));
        assert!(all.take(job(1), GROUP_SEGMENTS - 1).lay_down());
    }

    #[test]
    fn one_that_is_given_up_is_nobody_s_excuse() {
        let all = InHand::default();
        let (kept, given_up) = (all.take(job(1), 0), all.take(job(1), 1));
        drop(given_up);
        assert!(kept.lay_down());
    }
}
