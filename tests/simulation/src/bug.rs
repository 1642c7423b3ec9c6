#[cfg(feature = "mutations")]
use stillpoint_model::Mutation;

/// The bug of another product that the installation's processes have, if one is put back. What judges them has none.
#[derive(Default)]
pub(crate) struct Bug {
    #[cfg(feature = "mutations")]
    put_back: Option<Mutation>,
}

impl Bug {
    #[cfg(feature = "mutations")]
    pub(crate) fn new(put_back: Mutation) -> Self {
        Mutation::forget_counts();
        Self { put_back: Some(put_back) }
    }

    /// Has a process do something.
    #[cfg(feature = "mutations")]
    pub(crate) fn during<T>(&self, work: impl FnOnce() -> T) -> T {
        Mutation::during(self.put_back, work)
    }

    /// Has a process do something.
    #[cfg(not(feature = "mutations"))]
    pub(crate) fn during<T>(&self, work: impl FnOnce() -> T) -> T {
        work()
    }
}
