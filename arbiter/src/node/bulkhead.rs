//! A runtime with a thread of its own: however much is asked there, what runs elsewhere is not
//! delayed by it. The pattern is M. Nygard's bulkhead (Release It!, 2nd ed., 2018, §5.7).

use std::io;
use tokio::runtime::{Builder, Handle, Runtime};

/// Threads of it: answers are small, and the processor is left to what may not wait.
const WORKERS: usize = 1;

/// The runtime; what runs there is dropped with it.
pub struct Bulkhead {
    handle: Handle,
    runtime: Option<Runtime>,
}

impl Bulkhead {
    /// Begins; its threads are called `name`.
    ///
    /// # Errors
    /// The kernel's.
    pub fn new(name: &str) -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .thread_name(name)
            .enable_all()
            .build()?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }

    /// To run something there.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for Bulkhead {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Whoever drops it may be a task itself, which must not wait.
            runtime.shutdown_background();
        }
    }
}
