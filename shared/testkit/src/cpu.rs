use async_trait::async_trait;
use stillpoint_ports::{Cpu, Work};

/// Computes at once, where it is asked.
#[derive(Debug, Clone, Copy, Default)]
pub struct InlineCpu;

#[async_trait]
impl Cpu for InlineCpu {
    async fn run(&self, work: Work) {
        work();
    }

    fn width(&self) -> usize {
        1
    }
}
