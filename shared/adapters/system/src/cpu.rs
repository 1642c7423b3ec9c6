use std::{num::NonZero, sync::Arc, thread::available_parallelism};

use async_trait::async_trait;
use stillpoint_ports::{Cpu, Work};
use tokio::sync::Semaphore;

/// Runs computations on tokio's blocking threads, at most `width` at once, so that hashing never holds up the threads
/// that wait for the network. Needs a running tokio runtime.
///
/// A computation that panics ends alone: its permit is given back, the process goes on, and
/// [`stillpoint_ports::execute`] reports `internal` to the one who waited for its value.
#[derive(Debug, Clone)]
pub struct CpuPool {
    permits: Arc<Semaphore>,
    width: usize,
}

impl CpuPool {
    /// A pool of `width` computations at once; 0 counts as 1.
    #[must_use]
    pub fn new(width: usize) -> Self {
        let width = width.clamp(1, Semaphore::MAX_PERMITS);
        Self { permits: Arc::new(Semaphore::new(width)), width }
    }

    /// How many processors this process may use (affinity and cgroup quota counted); 1 if that cannot be told.
    #[must_use]
    pub fn default_width() -> usize {
        available_parallelism().map_or(1, NonZero::get)
    }
}

impl Default for CpuPool {
    fn default() -> Self {
        Self::new(Self::default_width())
    }
}

#[async_trait]
impl Cpu for CpuPool {
    async fn run(&self, work: Work) {
        // The semaphore is never closed; were it, the work would be dropped and its caller would see that.
        let Ok(permit) = Arc::clone(&self.permits).acquire_owned().await else { return };
        let ran = tokio::task::spawn_blocking(move || {
            // Inside, not around: work that outlives a cancelled caller still occupies its processor.
            let _permit = permit;
            work();
        });
        // A panic, or a runtime that is shutting down, shows to the caller as a value that never comes.
        drop(ran.await);
    }

    fn width(&self) -> usize {
        self.width
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        time::Duration,
    };

    use stillpoint_ports::execute;

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn no_more_than_width_run_at_once_and_all_run() {
        let pool = CpuPool::new(2);
        let (running, most, done) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let tasks: Vec<_> = (0..16)
            .map(|_| {
                let (pool, running, most, done) = (pool.clone(), running.clone(), most.clone(), done.clone());
                tokio::spawn(async move {
                    execute(&pool, move || {
                        most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        std::thread::sleep(Duration::from_millis(2));
                        running.fetch_sub(1, Ordering::SeqCst);
                        done.fetch_add(1, Ordering::SeqCst);
                    })
                    .await
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap().unwrap();
        }
        assert_eq!(done.load(Ordering::SeqCst), 16);
        assert_eq!(most.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_panic_is_the_callers_error_and_gives_the_processor_back() {
        let pool = CpuPool::new(1);
        for _ in 0..3 {
            let error = execute(&pool, || -> u8 { panic!("wanted by the test") }).await.unwrap_err();
            assert_eq!(error.to_string(), "a computation panicked");
        }
        assert_eq!(execute(&pool, || 7).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn work_goes_on_and_keeps_its_processor_when_the_caller_is_gone() {
        let pool = CpuPool::new(1);
        let (release, held) = std::sync::mpsc::channel::<()>();
        let finished = Arc::new(AtomicUsize::new(0));
        let mark = finished.clone();
        let work: Work = Box::new(move || {
            held.recv().unwrap();
            mark.store(1, Ordering::SeqCst);
        });
        assert!(tokio::time::timeout(Duration::from_millis(10), pool.run(work)).await.is_err(), "the caller gave up");
        let second = execute(&pool, || ());
        tokio::pin!(second);
        assert!(tokio::time::timeout(Duration::from_millis(10), &mut second).await.is_err(), "the processor is taken");
        release.send(()).unwrap();
        second.await.unwrap();
        assert_eq!(finished.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn width_is_at_least_one() {
        assert_eq!(CpuPool::new(0).width(), 1);
        assert!(CpuPool::default().width() >= 1);
    }
}
