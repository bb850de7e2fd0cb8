//! Members come and go while entries are written: nobody is lost, nobody returns.

use super::cluster::{Cluster, LIMIT};
use super::kit;
use crate::raft::change::{ChangeError, Stage};
use crate::raft::handle::RaftHandle;
use crate::raft::timing::VoterAt;
use crate::raft::types::{Member, Membership};
use openraft::EntryPayload;
use openraft::async_runtime::watch::WatchReceiver;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

/// Writes at whoever leads until told to stop; how many were acknowledged.
async fn write(handles: Vec<RaftHandle>, stop: Arc<AtomicBool>, done: Arc<AtomicU32>) {
    let mut turn = 0;
    while !stop.load(Ordering::Relaxed) {
        turn += 1;
        let proposal = kit::harmless(&format!("load-{turn}"));
        for handle in &handles {
            if handle.propose(&proposal).await.is_ok() {
                done.fetch_add(1, Ordering::Relaxed);
                break;
            }
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The same call again until it is done, as the command line does.
async fn bring_in(cluster: &Cluster, newcomer: &VoterAt, replaces: Option<u64>) {
    let asked = async {
        loop {
            let leader = cluster.leader().await;
            match cluster.handle(leader).bring_in(newcomer, replaces).await {
                Ok(Stage::Done) => return,
                Ok(Stage::CatchingUp(_)) | Err(ChangeError::NotLeader | ChangeError::Busy) => {}
                Err(ChangeError::Unknown(why)) => eprintln!("again: {why}"),
                Err(error) => panic!("{error}"),
            }
        }
    };
    tokio::time::timeout(LIMIT, asked).await.expect("it is brought in");
}

fn voters(cluster: &Cluster, at: usize) -> Vec<u64> {
    cluster.handle(at).members().voters.into_keys().collect()
}

#[test]
fn a_voter_is_replaced_under_load_and_its_disk_is_refused_afterwards() {
    kit::runtime().block_on(async {
        let mut cluster = Cluster::start().await;
        cluster.initialize().await;
        cluster.lead(0).await;
        let handles = vec![cluster.handle(0).clone(), cluster.handle(1).clone()];
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let load = tokio::spawn(write(handles, stop.clone(), done.clone()));
        let before = cluster.handle(0).leader().borrow().term;
        let new = cluster.join("w2", 4, 2).await;
        let newcomer = cluster.voter(new);
        let known = voters(&cluster, 0);
        assert_eq!(known, [1, 2, 3], "started is not brought in");
        bring_in(&cluster, &newcomer, Some(3)).await;
        assert_eq!(voters(&cluster, 0), [1, 2, 4]);
        bring_in(&cluster, &newcomer, Some(3)).await;
        assert_eq!(cluster.handle(0).leader().borrow().term, before, "no election");
        let written = done.load(Ordering::Relaxed);
        assert!(written > 0, "it went on meanwhile");
        let goes_on = async {
            while done.load(Ordering::Relaxed) < written + 20 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(LIMIT, goes_on).await.expect("and afterwards");
        stop.store(true, Ordering::Relaxed);
        load.await.expect("it writes");
        // Removed, it is heard by nobody, and says why.
        let why = cluster.refusal(2).await;
        assert!(why.contains("no member") && why.contains("new id"), "{why}");
        cluster.stop(2).await;
        cluster.agree().await;
        // Its old disk comes back: nobody hears it, and the cluster stays as it is.
        cluster.restart(2).await;
        let why = cluster.refusal(2).await;
        assert!(why.contains("no member"), "{why}");
        assert_eq!(cluster.handle(0).leader().borrow().term, before);
        // Two of the new three are a quorum.
        cluster.stop(1).await;
        cluster.propose("with the new one").await;
        cluster.end().await;
    });
}

#[test]
fn a_voter_leaves_and_an_id_that_is_not_new_is_refused() {
    kit::runtime().block_on(async {
        let mut cluster = Cluster::start().await;
        cluster.initialize().await;
        cluster.lead(0).await;
        let leader = cluster.handle(0);
        let follower = cluster.handle(1).take_out(3).await;
        assert_eq!(follower, Err(ChangeError::NotLeader));
        // What has a log already is not new, whatever it is called.
        let mut used = cluster.voter(1);
        used.node_id = 9;
        let refused = leader.bring_in(&used, None).await.expect_err("it is node 2");
        assert!(
            matches!(&refused, ChangeError::Newcomer(why) if why.contains("node 2")),
            "{refused}"
        );
        leader.take_out(3).await.expect("two stay");
        assert_eq!(voters(&cluster, 0), [1, 2]);
        let old = cluster.voter(2);
        let refused = leader.bring_in(&old, None).await.expect_err("it has a log");
        assert!(
            matches!(&refused, ChangeError::Newcomer(why) if why.contains("already")),
            "{refused}"
        );
        assert_eq!(voters(&cluster, 0), [1, 2]);
        cluster.stop(2).await;
        cluster.propose("two are left").await;
        cluster.end().await;
    });
}

#[test]
fn a_change_that_was_left_half_done_is_ended() {
    kit::runtime().block_on(async {
        let cluster = Cluster::start().await;
        cluster.initialize().await;
        cluster.lead(0).await;
        let leader = cluster.handle(0);
        let raft = &leader.inner.raft;
        let nodes: BTreeMap<u64, Member> = {
            let metrics = raft.metrics();
            let known = metrics.borrow_watched().membership_config.clone();
            known.membership().nodes().map(|(id, member)| (*id, member.clone())).collect()
        };
        let sets = vec![BTreeSet::from([1, 2, 3]), BTreeSet::from([1, 2])];
        let joint = Membership::new(sets, nodes).expect("each is a member");
        raft.append_membership(joint.clone(), EntryPayload::Membership(joint), [])
            .await
            .expect("it leads");
        assert!(leader.members().joint);
        assert_eq!(leader.finish_change().await, Ok(true));
        let members = leader.members();
        assert!(!members.joint && members.voters.len() == 2, "{members:?}");
        assert_eq!(leader.finish_change().await, Ok(false));
        cluster.end().await;
    });
}
