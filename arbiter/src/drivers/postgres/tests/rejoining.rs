//! How a server that left its upstream's line is brought back, and that nothing is lost on the way.

use super::rig::{Node, eventually};
use crate::drivers::DriverError;
use crate::drivers::postgres::keep::LOSS;
use crate::drivers::postgres::rewind::DIRTY;
use crate::drivers::processes;
use arbiter_core::{Loss, Role};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

/// Data that can be rewound.
const REWINDABLE: &[(&str, &str)] = &[];

/// A primary that can be rewound, and a standby of it.
async fn pair() -> (Node, Node) {
    let a = Node::primary("a", REWINDABLE).await;
    a.sql("ALTER SYSTEM SET wal_log_hints = on").await;
    a.fence(Duration::from_secs(5)).await.unwrap();
    a.active().await;
    let b = a.standby("b", &[]).await;
    (a, b)
}

/// Commit one row, and tell the id of the transaction.
async fn insert(node: &Node, row: i32) -> u64 {
    let session = node.driver.session().await.unwrap();
    let sql =
        format!("INSERT INTO t VALUES ({row}) RETURNING pg_current_xact_id()::text::int8 AS id");
    session.row(&sql).await.unwrap().get::<_, i64>("id") as u64
}

/// Ask as the executor would, until it follows.
async fn brought_back(node: &Node, upstream: &Node) {
    eventually("brought back", async || match node.follow(&upstream.address).await {
        Ok(done) => done.facts.role == Role::Replica,
        Err(DriverError::Retry(why)) => {
            println!("not yet: {why}");
            false
        }
        Err(error) => panic!("{error}\n{}", node.log()),
    })
    .await;
    // It receives what is written now.
    upstream.sql("INSERT INTO t VALUES (1000)").await;
    let written = upstream.look().await.position;
    eventually("received", async || node.look().await.replayed >= written).await;
}

async fn has(node: &Node, row: i32) -> bool {
    let session = node.driver.session().await.unwrap();
    let sql = format!("SELECT EXISTS (SELECT FROM t WHERE id = {row}) AS there");
    session.row(&sql).await.unwrap().get("there")
}

fn lost(node: &Node) -> Loss {
    node.driver.newest_loss().expect("a divergence was kept")
}

#[tokio::test]
async fn a_diverged_primary_is_rewound_and_what_it_had_is_listed_id_by_id() {
    let (a, b) = pair().await;
    insert(&a, 1).await;
    b.drain(None).await.unwrap();
    let ids = [insert(&a, 2).await, insert(&a, 3).await];
    let fenced = a.fence(Duration::ZERO).await.unwrap();
    let fork = b.active().await.facts.fork;
    brought_back(&a, &b).await;
    assert!(has(&a, 1).await && !has(&a, 2).await && !has(&a, 3).await);
    let lost = lost(&a);
    assert_eq!(lost.listed.iter().map(|one| one.id).collect::<Vec<_>>(), ids);
    assert_eq!((lost.count, Some(lost.from)), (Some(2), fork));
    assert!(Some(lost.end) >= fenced.end);
    // Everything from the fork on can be looked into where it is kept.
    let kept = PathBuf::from(&lost.kept);
    let wal = std::fs::read_dir(&kept).unwrap().flatten();
    let wal = wal.filter(|entry| entry.file_name().len() == 24).count();
    assert!(wal >= 1 && kept.join("pg_control").exists() && kept.join(LOSS).exists());
    assert!(a.driver.old_data().is_empty(), "rewound, not copied");
    // Its own configuration is there again: it listens where it did.
    assert_eq!(a.look().await.condition, arbiter_core::Condition::Healthy);
}

#[tokio::test]
async fn one_two_failovers_behind_is_rewound_to_where_it_left() {
    let (a, b) = pair().await;
    let c = a.standby("c", &[]).await;
    b.drain(None).await.unwrap();
    c.drain(None).await.unwrap();
    let id = insert(&a, 2).await;
    a.fence(Duration::ZERO).await.unwrap();
    b.active().await;
    brought_back(&c, &b).await;
    let end = b.drain(None).await.unwrap().end;
    c.drain(end).await.unwrap();
    c.active().await;
    insert(&c, 4).await;
    brought_back(&a, &c).await;
    assert!(has(&a, 4).await && !has(&a, 2).await);
    assert_eq!(lost(&a).listed.iter().map(|one| one.id).collect::<Vec<_>>(), [id]);
}

#[tokio::test]
async fn a_standby_that_received_more_than_the_new_primary_is_brought_back() {
    let (a, b) = pair().await;
    let c = a.standby("c", &[]).await;
    b.drain(None).await.unwrap();
    insert(&a, 2).await;
    let written = a.look().await.position;
    eventually("received", async || c.look().await.position >= written).await;
    a.fence(Duration::ZERO).await.unwrap();
    b.active().await;
    brought_back(&c, &b).await;
    assert!(!has(&c, 2).await);
}

#[tokio::test]
async fn data_that_cannot_be_rewound_is_copied_anew_and_the_old_stays() {
    let a = Node::primary("a", &[]).await;
    let b = a.standby("b", &[]).await;
    b.drain(None).await.unwrap();
    let id = insert(&a, 2).await;
    a.fence(Duration::ZERO).await.unwrap();
    b.active().await;
    brought_back(&a, &b).await;
    assert!(!has(&a, 2).await);
    assert_eq!(lost(&a).listed[0].id, id);
    let old = a.driver.old_data();
    assert_eq!(old.len(), 1);
    assert!(old[0].join("global/pg_control").exists(), "the old data is whole");
    assert!(a.look().await.faults.iter().any(|fault| fault.contains("old data")));
    assert!(a.look().await.detail["rejoin"].contains("wal_log_hints"));
}

#[tokio::test]
async fn where_policy_only_rewinds_what_cannot_be_is_left_as_it_is() {
    let a = Node::primary("a", &[("rejoin", "rewind")]).await;
    let b = a.standby("b", &[]).await;
    b.drain(None).await.unwrap();
    insert(&a, 2).await;
    a.fence(Duration::ZERO).await.unwrap();
    b.active().await;
    let refused = a.follow(&b.address).await;
    let Err(DriverError::Refused(text)) = &refused else { panic!("{refused:?}") };
    assert!(text.contains("wal_log_hints") && text.contains("rebuild"), "{text}");
    assert_eq!(lost(&a).count, Some(1), "and what it has is kept and told");
    assert!(a.driver.old_data().is_empty());
}

#[tokio::test]
async fn a_rewind_that_was_broken_off_is_never_started_as_it_is() {
    let (a, b) = pair().await;
    b.drain(None).await.unwrap();
    insert(&a, 2).await;
    a.fence(Duration::from_secs(5)).await.unwrap();
    b.active().await;
    // As a crash in the middle of it leaves it: the mark stands, the data is anything.
    std::fs::write(a.driver.beside(DIRTY), "b").unwrap();
    std::fs::remove_file(a.data_dir.join("global/pg_control")).unwrap();
    brought_back(&a, &b).await;
    assert!(!a.driver.beside(DIRTY).exists());
    assert_eq!(a.driver.old_data().len(), 1);
}

/// Kill pg_rewind once it has begun to bring `file` of `whole` bytes to `node`.
async fn killed_half_way(node: &Node, file: &str, whole: u64) {
    let (file, dir) = (node.data_dir.join(file), node.data_dir.display().to_string());
    eventually("half rewound", async || {
        let begun = std::fs::metadata(&file).is_ok_and(|meta| (1..whole).contains(&meta.len()));
        let ours = |title: &str| title.contains("pg_rewind") && title.contains(&dir);
        let all = processes::all().unwrap();
        let found = all.iter().find(|process| begun && ours(&process.title));
        found.is_some_and(|process| kill(Pid::from_raw(process.pid), Signal::SIGKILL).is_ok())
    })
    .await;
}

#[tokio::test]
async fn a_rewind_that_is_killed_half_way_ends_in_a_new_copy() {
    let (a, b) = pair().await;
    b.drain(None).await.unwrap();
    insert(&a, 2).await;
    a.fence(Duration::from_secs(5)).await.unwrap();
    b.active().await;
    b.sql("CREATE TABLE big (x text)").await;
    for _ in 0..50 {
        b.sql("INSERT INTO big SELECT repeat('x', 1000) FROM generate_series(1, 1000)").await;
    }
    eventually("on disk", async || b.try_sql("CHECKPOINT").await.is_ok()).await;
    let (file, whole) = {
        let session = b.driver.session().await.unwrap();
        let sql = "SELECT pg_relation_filepath('big') AS file, pg_relation_size('big') AS size";
        let row = session.row(sql).await.unwrap();
        (row.get::<_, String>("file"), row.get::<_, i64>("size") as u64)
    };
    let follow = brought_back(&a, &b);
    tokio::join!(follow, killed_half_way(&a, &file, whole));
    assert!(!a.driver.beside(DIRTY).exists());
    assert_eq!(a.driver.old_data().len(), 1, "half of a rewind is kept, and never started");
    assert!(!has(&a, 2).await);
    assert_eq!(lost(&a).count, Some(1));
}

#[tokio::test]
async fn wal_that_a_rewind_needs_and_nobody_has_ends_in_a_new_copy() {
    let (a, b) = pair().await;
    // The last checkpoint before the fork is in a segment of its own, which is then gone.
    a.sql("CHECKPOINT").await;
    a.sql("SELECT pg_switch_wal()").await;
    insert(&a, 1).await;
    let written = a.look().await.position;
    eventually("received", async || b.look().await.replayed >= written).await;
    b.drain(None).await.unwrap();
    insert(&a, 2).await;
    a.sql("CHECKPOINT").await;
    a.fence(Duration::from_secs(5)).await.unwrap();
    b.active().await;
    let wal = a.data_dir.join("pg_wal");
    let names: BTreeSet<_> =
        std::fs::read_dir(&wal).unwrap().flatten().map(|e| e.file_name()).collect();
    let segments: Vec<_> = names.iter().filter(|name| name.len() == 24).collect();
    let (_, older) = segments.split_last().unwrap();
    older.iter().for_each(|name| std::fs::remove_file(wal.join(name)).unwrap());
    brought_back(&a, &b).await;
    assert_eq!(a.driver.old_data().len(), 1, "{:?}", a.look().await.detail.get("rejoin"));
}

#[tokio::test]
async fn a_standby_whose_wal_its_upstream_has_not_kept_is_copied_anew() {
    let (a, b) = pair().await;
    b.fence(Duration::from_secs(5)).await.unwrap();
    a.sql("ALTER SYSTEM SET wal_keep_size = 0").await;
    a.sql("SELECT pg_reload_conf()").await;
    for row in 0..3 {
        insert(&a, row).await;
        a.sql("SELECT pg_switch_wal()").await;
        a.sql("CHECKPOINT").await;
    }
    brought_back(&b, &a).await;
    assert_eq!(b.driver.old_data().len(), 1);
    assert!(has(&b, 2).await);
}

/// A file system in memory, of `megabytes`.
struct Small(tempfile::TempDir);

impl Small {
    fn mount(megabytes: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let small = Self(dir);
        small.grow(megabytes, MsFlags::empty());
        small
    }

    fn grow(&self, megabytes: u32, flags: MsFlags) {
        let size = format!("size={megabytes}m,mode=0755");
        mount(Some("tmpfs"), self.0.path(), Some("tmpfs"), flags, Some(size.as_str())).unwrap();
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = umount2(self.0.path(), MntFlags::MNT_DETACH);
    }
}

#[tokio::test]
async fn a_copy_that_does_not_fit_is_refused_and_made_once_there_is_room() {
    if !nix::unistd::Uid::effective().is_root() {
        eprintln!("a copy that does not fit: left out, since it needs root to mount");
        return;
    }
    let small = Small::mount(220);
    let a = Node::primary("a", &[]).await;
    let b = a.copied_to(Node::below(small.0.path(), "b", &[])).await;
    let c = a.standby("c", &[]).await;
    c.drain(None).await.unwrap();
    insert(&a, 2).await;
    let written = a.look().await.position;
    eventually("received", async || b.look().await.position >= written).await;
    a.fence(Duration::ZERO).await.unwrap();
    c.active().await;
    // Neither checksums nor hints: it cannot be rewound.
    eventually("refused", async || match b.follow(&c.address).await {
        Err(DriverError::Refused(text)) => text.contains("make room"),
        other => {
            println!("not yet: {other:?}");
            false
        }
    })
    .await;
    assert!(b.data_dir.join("global/pg_control").exists(), "its data is left as it is");
    assert!(b.driver.old_data().is_empty() && !b.driver.beside("rebuild").exists());
    assert_eq!(lost(&b).count, Some(1));
    small.grow(2000, MsFlags::MS_REMOUNT);
    brought_back(&b, &c).await;
    assert!(!has(&b, 2).await);
}

#[tokio::test]
async fn a_swap_that_was_broken_off_is_finished() {
    let a = Node::primary("a", &[]).await;
    let b = a.standby("b", &[]).await;
    b.fence(Duration::from_secs(5)).await.unwrap();
    // A whole copy waits, as a crash right before the swap leaves it.
    b.driver.rebuild(&a.address, "a test").await.unwrap();
    let (copy, old) = (b.driver.beside("rebuild"), b.driver.old_data().remove(0));
    std::fs::rename(&b.data_dir, &copy).unwrap();
    std::fs::rename(&old, &b.data_dir).unwrap();
    use std::os::unix::fs::MetadataExt;
    let inode = std::fs::metadata(&copy).unwrap().ino();
    std::fs::write(b.driver.beside("rebuilt"), format!("why\n{inode}")).unwrap();
    brought_back(&b, &a).await;
    assert_eq!(std::fs::metadata(&b.data_dir).unwrap().ino(), inode);
    assert_eq!(b.driver.old_data().len(), 1);
}
