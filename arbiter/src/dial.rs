//! How a connection to another arbiter is opened: when it is used first, and again when it is lost.
//! Knows endpoints; never what is asked.

use tonic::transport::{Channel, Endpoint};

/// A connection to `endpoint`, opened when it is used first.
pub fn lazily(endpoint: &Endpoint) -> Channel {
    #[cfg(feature = "simulated")]
    if let Some(dial) = instead::DIAL.get() {
        return dial(endpoint);
    }
    endpoint.connect_lazy()
}

/// Connections of a simulation, which has no sockets.
#[cfg(feature = "simulated")]
pub mod instead {
    use std::cell::Cell;
    use tonic::transport::{Channel, Endpoint};

    /// Opens a connection its own way.
    pub type Dial = fn(&Endpoint) -> Channel;

    thread_local! {
        pub(super) static DIAL: Cell<Option<Dial>> = const { Cell::new(None) };
    }

    /// From now on connections of this thread are opened by `dial`.
    pub fn of_this_thread(dial: Dial) {
        DIAL.set(Some(dial));
    }
}
