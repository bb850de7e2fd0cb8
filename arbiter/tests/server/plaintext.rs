//! Plaintext off loopback: refused without leave, and said while it is allowed.

use super::trio::Trio;
use arbiter::node::{self, NodeError, NodeOptions};
use arbiter_proto::v1 as pb;

fn file_of(trio: &Trio, listen: &str, leave: bool) -> cluster_config::Cluster {
    let keys = format!("node_id = 1\nlisten = \"{listen}\"");
    let text = trio.config.replacen("node_id = 1", &keys, 1);
    let text = text.replacen("profile", "insecure_plaintext = true\nprofile", 1);
    let mut cluster = arbiter::policy_file::parse(&text, "trio.toml").expect("a good file");
    cluster.insecure_plaintext = leave;
    cluster
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn off_loopback_it_takes_leave_and_status_says_so() {
    let mut trio = Trio::start().await;
    let listen = format!("0.0.0.0:{}", trio.port("a1"));
    trio.stop_node("a1").await;
    let start = |leave| {
        let (cluster, data_dir) = (file_of(&trio, &listen, leave), trio.data_dir("another"));
        node::start(NodeOptions { cluster, name: "a1".to_owned(), data_dir })
    };
    match start(false).await {
        Err(NodeError::Plaintext(which)) => assert_eq!(which, listen),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it starts without leave"),
    }
    let started = start(true).await.expect("starts");
    trio.nodes.insert("a1", started);
    for (name, insecure) in [("a1", true), ("a2", false)] {
        let answer = trio.query(name).await.get_status(pb::GetStatusRequest::default()).await;
        assert_eq!(answer.expect("answers").into_inner().insecure, insecure, "{name}");
    }
}
