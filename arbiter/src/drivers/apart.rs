//! A driver whose calls run on threads of their own: a disk or a `/proc` that hangs under one of
//! them holds up neither the session with the arbiters nor any other driver.
//!
//! Knows calls and threads. Never knows what a driver does, or how long it may take.

use super::{Declaration, Done, Driver, DriverError};
use arbiter_core::agent::Waiting;
use arbiter_core::{CommitWait, Fact, Goal, Terms, Token};
use async_trait::async_trait;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio::sync::{Mutex, oneshot};

/// At most one call at a time: one that hangs keeps the next waiting, and takes no second thread.
type Turn = Arc<Mutex<()>>;

/// The driver, and a turn for each sort of call.
pub struct Apart {
    driver: Arc<dyn Driver>,
    observe: Turn,
    ensure: Turn,
    verify: Turn,
    commits: Turn,
    gate: Turn,
    start: Turn,
    running: Turn,
    rehearse: Turn,
}

impl Apart {
    /// `driver`, apart.
    pub fn new(driver: Box<dyn Driver>) -> Self {
        let [observe, ensure, verify, commits, gate, start, running, rehearse] = Default::default();
        let driver = Arc::from(driver);
        Self { driver, observe, ensure, verify, commits, gate, start, running, rehearse }
    }

    /// Run `call` on a thread. Dropped, it is dropped there as soon as it waits for anything, and
    /// the next of its sort begins after that.
    async fn call<T, F>(
        &self,
        turn: &Turn,
        call: impl FnOnce(Arc<dyn Driver>) -> F + Send + 'static,
    ) -> Result<T, DriverError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, DriverError>>,
    {
        let turn = turn.clone().lock_owned().await;
        let (wanted, given_up) = oneshot::channel::<()>();
        let (done, result) = oneshot::channel();
        let (runtime, driver) = (Handle::current(), self.driver.clone());
        let work = move || {
            let _turn = turn;
            let called = catch_unwind(AssertUnwindSafe(|| {
                runtime.block_on(async {
                    tokio::select! {
                        biased;
                        _ = given_up => None,
                        result = call(driver) => Some(result),
                    }
                })
            }));
            let _ = done.send(called);
        };
        let thread = std::thread::Builder::new().name("driver".to_owned()).spawn(work);
        thread.map_err(|error| DriverError::Retry(format!("no thread for a driver: {error}")))?;
        let called = result.await;
        drop(wanted);
        match called {
            Ok(Ok(Some(result))) => result,
            Ok(Err(panicked)) => resume_unwind(panicked),
            Ok(Ok(None)) | Err(_) => Err(DriverError::Retry("the driver was dropped".to_owned())),
        }
    }
}

#[async_trait]
impl Driver for Apart {
    fn declares(&self) -> Declaration {
        self.driver.declares()
    }

    async fn observe(&self) -> Result<Fact, DriverError> {
        self.call(&self.observe, |driver| async move { driver.observe().await }).await
    }

    async fn ensure(&self, goal: Goal, token: Token, terms: &Terms) -> Result<Done, DriverError> {
        let terms = terms.clone();
        let call =
            move |driver: Arc<dyn Driver>| async move { driver.ensure(goal, token, &terms).await };
        self.call(&self.ensure, call).await
    }

    fn limit(&self, goal: Goal) -> std::time::Duration {
        self.driver.limit(goal)
    }

    async fn verify(&self, token: Token) -> Result<Fact, DriverError> {
        self.call(&self.verify, move |driver| async move { driver.verify(token).await }).await
    }

    async fn commits(&self, wait: &CommitWait) -> Result<Waiting, DriverError> {
        let wait = wait.clone();
        let call = move |driver: Arc<dyn Driver>| async move { driver.commits(&wait).await };
        self.call(&self.commits, call).await
    }

    async fn gate(&self, armed: bool) -> Result<(), DriverError> {
        self.call(&self.gate, move |driver| async move { driver.gate(armed).await }).await
    }

    async fn start_as_is(&self) -> Result<(), DriverError> {
        self.call(&self.start, |driver| async move { driver.start_as_is().await }).await
    }

    async fn running(&self) -> Result<Vec<i32>, DriverError> {
        self.call(&self.running, |driver| async move { driver.running().await }).await
    }

    async fn rehearse_fence(&self) -> Result<bool, DriverError> {
        self.call(&self.rehearse, |driver| async move { driver.rehearse_fence().await }).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arbiter_core::{Control, Layer};
    use std::path::PathBuf;
    use std::process::Command;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;
    use tokio::time::timeout;

    /// Looks by reading a file; a goal takes for ever, except `Fenced`, which needs no file.
    struct Reads {
        file: PathBuf,
        looks: Arc<AtomicU32>,
    }

    #[async_trait]
    impl Driver for Reads {
        fn declares(&self) -> Declaration {
            Declaration { control: Control::Owned, evidence: Vec::new(), layer: Layer::Data }
        }

        async fn observe(&self) -> Result<Fact, DriverError> {
            self.looks.fetch_add(1, Ordering::SeqCst);
            let read = std::fs::read(&self.file);
            read.map(|_| Fact::default()).map_err(|error| DriverError::Retry(error.to_string()))
        }

        async fn ensure(&self, goal: Goal, _: Token, _: &Terms) -> Result<Done, DriverError> {
            if goal != Goal::Fenced {
                std::future::pending::<()>().await;
            }
            Ok(Done::default())
        }

        async fn verify(&self, _: Token) -> Result<Fact, DriverError> {
            panic!("it breaks")
        }
    }

    /// A pipe without a writer is a file that never ends being read.
    fn pipe() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hangs");
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        (dir, path)
    }

    /// On one thread: a look that hung there would let nothing else happen, no time limit either.
    #[tokio::test]
    async fn a_look_that_hangs_holds_up_nothing_and_is_begun_once() {
        let (_dir, file) = pipe();
        let looks = Arc::new(AtomicU32::new(0));
        let reads = Reads { file: file.clone(), looks: looks.clone() };
        let driver = Apart::new(Box::new(reads));
        let short = Duration::from_millis(50);
        for _ in 0..3 {
            timeout(short, driver.observe()).await.expect_err("it hangs");
        }
        let (token, terms) = (Token::new(1, 1), Terms::default());
        driver.ensure(Goal::Fenced, token, &terms).await.expect("goes on");
        assert_eq!(looks.load(Ordering::SeqCst), 1, "each look that hangs takes a thread");
        // It ends: what was given up is not waited for, and the next look is a new one.
        std::fs::write(&file, "").unwrap();
        std::fs::remove_file(&file).unwrap();
        driver.observe().await.expect_err("no file");
        assert_eq!(looks.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_goal_that_is_dropped_makes_way_for_the_next() {
        let driver = Apart::new(Box::new(Reads { file: "/".into(), looks: Arc::default() }));
        let (token, terms) = (Token::new(1, 1), Terms::default());
        let short = Duration::from_millis(50);
        timeout(short, driver.ensure(Goal::Active, token, &terms)).await.expect_err("for ever");
        driver.ensure(Goal::Fenced, token, &terms).await.expect("the other is gone");
    }

    #[tokio::test]
    #[should_panic(expected = "it breaks")]
    async fn a_panic_is_the_callers() {
        let driver = Apart::new(Box::new(Reads { file: "/".into(), looks: Arc::default() }));
        let _ = driver.verify(Token::new(1, 1)).await;
    }
}
