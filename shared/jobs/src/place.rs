use crate::{Carrier, Operation, Request};

/// Where a function's jobs run.
#[derive(Debug, Clone)]
pub struct Place {
    /// Only machines of this site are started from here.
    pub site: String,
    /// Who takes the jobs on: the site, or the host of the one process that carries them.
    pub host: String,
    /// What brings their events.
    pub carrier: Carrier,
}

impl Place {
    /// A site whose jobs a broker carries.
    #[must_use]
    pub fn of_site(site: &str) -> Self {
        Self { site: site.to_owned(), host: site.to_owned(), carrier: Carrier::Broker }
    }

    /// A request for a job here.
    #[must_use]
    pub fn request(&self, what: Operation) -> Request {
        Request { what, host: self.host.clone(), carrier: self.carrier }
    }

    /// Whether a job of this request is one of here.
    #[must_use]
    pub fn is_of(&self, request: &Request) -> bool {
        request.host == self.host && request.carrier == self.carrier
    }
}
