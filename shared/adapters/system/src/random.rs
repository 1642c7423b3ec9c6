use ring::rand::SecureRandom;
use stillpoint_ports::Random;

/// The kernel's random numbers (`getrandom(2)`), fit for keys.
#[derive(Debug, Clone)]
pub struct SystemRandom(ring::rand::SystemRandom);

impl SystemRandom {
    /// Random numbers of this machine.
    #[must_use]
    pub fn new() -> Self {
        Self(ring::rand::SystemRandom::new())
    }
}

impl Default for SystemRandom {
    fn default() -> Self {
        Self::new()
    }
}

impl Random for SystemRandom {
    /// # Panics
    /// When the kernel gives no random numbers: a key made from anything else must not come to be.
    fn fill(&self, bytes: &mut [u8]) {
        self.0.fill(bytes).expect("getrandom(2) does not fail on a kernel that has it");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fill_differs_and_covers_the_whole_buffer() {
        let random = SystemRandom::new();
        let mut first = [0; 64];
        let mut second = [0; 64];
        random.fill(&mut first);
        random.fill(&mut second);
        assert_ne!(first, second);
        // By chance alone 2^-128 each.
        assert!(first.chunks(16).all(|part| part != [0; 16]));
    }
}
