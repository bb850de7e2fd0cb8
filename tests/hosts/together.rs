//! One plan moves resources of several kinds, in order.

use super::Case;
use super::stage::{LIMIT, Stage, check, until, wrong};
use arbiter::lab::cluster::{EU, GROUP, Lab};
use arbiter_proto::v1;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::{PermissionsExt, chown};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// Port of both Redis servers.
pub const REDIS_PORT: u16 = 6379;
/// Limit of the commands on one connection, on a machine that is busy.
const ASK_LIMIT: Duration = Duration::from_secs(10);
/// Limit of a region's return.
pub const BACK_LIMIT: Duration = Duration::from_secs(60);
/// Keys written before each move.
const KEYS: u32 = 200;

/// A pair of Redis servers as a resource of the group, for the cluster's file.
pub const REDIS: &str = r#"
[groups.default.resources.sessions]
kind = "redis"
user = "redis"
start = "agent"
[groups.default.resources.sessions.instances.sessions-eu]
agent = "agent-eu"
address = "{eu-db}:6379"
data_dir = "{dir}/redis-eu"
[groups.default.resources.sessions.instances.sessions-us]
agent = "agent-us"
address = "{us-db}:6379"
data_dir = "{dir}/redis-us"
"#;

/// The cases of this file.
pub const CASES: &[Case] = &[Case::new(
    "together",
    "one plan moves PostgreSQL, Redis and DNS: a switchover loses nothing, a failover fences both",
    |stage| Box::pin(together(stage)),
)
.mode("manual")
.with(REDIS, redis_in_place)];

/// Directories and configuration of a pair of Redis servers; the agents start them.
pub fn redis_in_place(lab: &Lab) -> io::Result<()> {
    let user = nix::unistd::User::from_name("redis")?;
    let user = user.ok_or_else(|| wrong("no user redis: install package redis-server"))?;
    for (side, follows) in [("eu", ""), ("us", "replicaof {eu-db} 6379\n")] {
        let dir = lab.options.dir.join(format!("redis-{side}"));
        std::fs::create_dir_all(&dir)?;
        std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o750))?;
        let conf = dir.join("redis.conf");
        let text = format!(
            "bind *\nport {REDIS_PORT}\nprotected-mode no\nappendonly yes\nsave \"\"\n\
             repl-backlog-size 16mb\nrepl-diskless-sync-delay 0\nrepl-timeout 10\n\
             dir {}\n{follows}",
            dir.display()
        );
        std::fs::write(&conf, lab.placed(&text))?;
        for path in [&dir, &conf] {
            chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw()))?;
        }
    }
    Ok(())
}

/// The answers to commands on one connection.
async fn answers(server: IpAddr, commands: &[String]) -> io::Result<Vec<String>> {
    let asked = async {
        let mut stream = BufReader::new(TcpStream::connect((server, REDIS_PORT)).await?);
        let mut found = Vec::new();
        for command in commands {
            stream.write_all(format!("{command}\r\n").as_bytes()).await?;
            let mut line = String::new();
            stream.read_line(&mut line).await?;
            // Of a bulk string the first line is its length.
            if line.starts_with('$') && !line.starts_with("$-1") {
                line.clear();
                stream.read_line(&mut line).await?;
            }
            found.push(line.trim_end().to_owned());
        }
        Ok(found)
    };
    let answered = tokio::time::timeout(ASK_LIMIT, asked).await;
    answered.map_err(|_| wrong(format!("Redis at {server} did not answer within {ASK_LIMIT:?}")))?
}

async fn ask(server: IpAddr, command: &str) -> io::Result<String> {
    Ok(answers(server, &[command.to_owned()]).await?.remove(0))
}

/// Write keys at `server` that begin with `prefix`, and wait until the replica has them: Redis
/// acknowledges first.
pub async fn write(server: IpAddr, prefix: &str) -> io::Result<()> {
    let keys = (0..KEYS).map(|key| format!("SET {prefix}:{key} {key}"));
    let mut found =
        answers(server, &keys.chain(["WAIT 1 1000".to_owned()]).collect::<Vec<_>>()).await?;
    let replicas = found.pop().unwrap_or_default();
    check(found.iter().all(|answer| answer == "+OK"), || format!("SET at {server}: {found:?}"))?;
    check(replicas == ":1", || format!("WAIT at {server}: {replicas}"))
}

/// Every key of `prefix` is at `server`, which takes writes.
pub async fn serves(server: IpAddr, prefix: &str) -> io::Result<()> {
    for key in 0..KEYS {
        let found = ask(server, &format!("GET {prefix}:{key}")).await?;
        check(found == key.to_string(), || format!("{prefix}:{key} at {server} is {found:?}"))?;
    }
    let answer = ask(server, "SET written after").await?;
    check(answer == "+OK", || format!("{server} takes no write: {answer}"))
}

/// The Redis server of `region` follows, and takes no writes.
pub async fn follows(stage: &Stage, region: &str) -> io::Result<()> {
    let server = stage.server(region);
    until(&format!("Redis in {region} follows"), BACK_LIMIT, async || {
        ask(server, "SET x y").await.is_ok_and(|answer| answer.starts_with("-READONLY"))
    })
    .await
}

async fn together(stage: &mut Stage) -> io::Result<()> {
    let (eu, us) = (stage.server("eu-west"), stage.server("us-east"));
    write(eu, "first").await?;
    stage.pin("us-east")?;
    stage.ready_to_move("us-east").await?;
    stage.moved_by("switchover", "us-east").await?;
    stage.nothing_lost("us-east").await?;
    serves(us, "first").await?;
    follows(stage, "eu-west").await?;
    stage.ready_to_move("eu-west").await?;
    stage.moved_by("switchover", "eu-west").await?;
    follows(stage, "us-east").await?;
    write(eu, "second").await?;
    stage.ready_to_move("us-east").await?;
    stage.lab.net.cut_region(EU)?;
    stage.lab.open_plan(GROUP, "failover", "us-east").await.map_err(io::Error::other)?;
    stage.serves("us-east", 4, stage.dead_after() + LIMIT).await?;
    serves(us, "second").await?;
    proven_for_both(&stage.newest_plan().await?)?;
    stage.lab.net.heal()?;
    follows(stage, "eu-west").await?;
    stage.ready_to_move("eu-west").await
}

/// Each database was shown to be fenced before anything was promoted.
pub fn proven_for_both(plan: &v1::Plan) -> io::Result<()> {
    let proven: Vec<&str> = plan.evidence.iter().map(|found| found.instance.as_str()).collect();
    let side = if plan.source == "eu-west" { "eu" } else { "us" };
    let both = ["db", "sessions"].map(|resource| format!("{resource}-{side}"));
    let both = both.iter().all(|instance| proven.contains(&instance.as_str()));
    check(both, || format!("evidence for {proven:?}"))
}
