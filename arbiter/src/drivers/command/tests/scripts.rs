//! The kinds `command` and `command-workload`.

use super::*;
use arbiter_core::{Condition, EvidenceKind, Goal, Position, Role, Terms, Token};
use std::time::Duration;

const TOKEN: Token = Token::new(7, 1042);

async fn ensure(driver: &dyn Driver, goal: Goal) -> Result<drivers::Done, DriverError> {
    driver.ensure(goal, TOKEN, &Terms::default()).await
}

fn plain(dir: &Path, settings: &[(&str, &str)]) -> Box<dyn Driver> {
    open(&instance(dir, "command", settings), Arc::new(Nobody)).unwrap()
}

/// The arguments and the whole environment, as the script finds them.
async fn told(driver: &dyn Driver, dir: &Path, terms: &Terms) -> (String, Vec<String>) {
    script(
        dir,
        "env | grep -v '^_=\\|^PWD=\\|^SHLVL=\\|^OLDPWD=' | sort > $OUT; echo \"$@\" >> $OUT",
    );
    driver.ensure(Goal::Standby, TOKEN, terms).await.unwrap();
    let text = std::fs::read_to_string(dir.join("told")).unwrap();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    (lines.pop().unwrap(), lines)
}

#[tokio::test]
async fn a_script_is_told_what_is_documented_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("told").display().to_string();
    let driver =
        plain(dir.path(), &[("env.OUT", &out), ("env.URL", "http://q:1"), ("limit", "3s")]);
    let (args, env) = told(driver.as_ref(), dir.path(), &Terms::default()).await;
    assert_eq!(args, "ensure standby");
    let inherited = |line: &&String| {
        !super::super::run::INHERITED.iter().any(|name| line.starts_with(&format!("{name}=")))
    };
    let given: Vec<&String> = env.iter().filter(inherited).collect();
    let wanted = [
        "ARBITER_ACTION=ensure",
        "ARBITER_GOAL=standby",
        "ARBITER_GROUP=shop",
        "ARBITER_INSTANCE=queue-eu",
        "ARBITER_LIMIT_MS=3000",
        "ARBITER_REGION=eu-west",
        "ARBITER_TOKEN=7.1042",
        &format!("OUT={out}"),
        "URL=http://q:1",
    ];
    assert_eq!(given, wanted);
    // Terms that carry nothing are not there; these do.
    let terms = Terms {
        upstream: "10.0.2.2:5432".to_owned(),
        until: Some(Position { timeline: 3, offset: 255 }),
        clean_stop: Some(Duration::from_millis(800)),
        ..Terms::default()
    };
    let (_, env) = told(driver.as_ref(), dir.path(), &terms).await;
    for line in
        ["ARBITER_UPSTREAM=10.0.2.2:5432", "ARBITER_UNTIL=3:0/FF", "ARBITER_CLEAN_STOP_MS=800"]
    {
        assert!(env.iter().any(|other| other == line), "{line}: {env:?}");
    }
}

#[tokio::test]
async fn its_word_is_capped_and_never_confirms() {
    let dir = tempfile::tempdir().unwrap();
    let cases = [
        ("confirmed", "provider-asserted", Some(EvidenceKind::ProviderAsserted)),
        ("provider-asserted", "provider-asserted", Some(EvidenceKind::ProviderAsserted)),
        ("attested", "provider-asserted", None),
        ("confirmed", "none", None),
    ];
    for (claimed, max, counts) in cases {
        script(dir.path(), &format!("echo '{{\"evidence\":\"{claimed}\",\"state\":\"stopped\"}}'"));
        let driver = plain(dir.path(), &[("max_evidence", max)]);
        let done = ensure(driver.as_ref(), Goal::Fenced).await.unwrap();
        assert_eq!(done.evidence, counts, "{claimed} capped by {max}");
        assert!(counts.is_none_or(|kind| driver.declares().evidence.contains(&kind)));
    }
    let refused = instance(dir.path(), "command", &[("max_evidence", "confirmed")]);
    let refused = open(&refused, Arc::new(Nobody)).err().map(text).unwrap();
    assert!(refused.contains("write provider-asserted or none"), "{refused}");
}

#[tokio::test]
async fn an_exit_code_says_what_is_done_next() {
    let dir = tempfile::tempdir().unwrap();
    let driver = plain(dir.path(), &[]);
    let answer = async |text: &str| {
        script(dir.path(), text);
        ensure(driver.as_ref(), Goal::Active).await
    };
    let done = answer(r#"echo '{"position":"1:0/A0"}'"#).await.unwrap();
    assert_eq!((done.facts.role, done.facts.writable), (Role::Primary, true));
    assert_eq!(done.facts.position, Some(Position { timeline: 1, offset: 160 }));
    let not_yet = answer(r#"echo '{"message":"it loads"}'; exit 75"#).await.unwrap_err();
    assert!(matches!(&not_yet, DriverError::Retry(why) if why.ends_with("yet: it loads")));
    let refused = answer(r#"echo '{"message":"no licence"}'; exit 77"#).await.unwrap_err();
    assert!(matches!(&refused, DriverError::Refused(why) if why.ends_with("refuses: no licence")));
    let failed = text(answer("exit 3").await.unwrap_err());
    assert!(failed.contains("exited with 3") && failed.contains("by hand"), "{failed}");
    let stale = answer(r#"echo '{"seen":"8.1"}'; exit 77"#).await.unwrap_err();
    assert_eq!(stale, DriverError::StaleEpoch { seen: Token::new(8, 1) });
    // It says that it is done, and shows that it is not.
    let told = text(answer(r#"echo '{"state":"starting"}'"#).await.unwrap_err());
    assert!(told.contains("must exit with 75"), "{told}");
}

/// What it prints may be a connection string, and so may what it is given.
#[tokio::test]
async fn nothing_that_it_prints_is_shown_but_its_message() {
    let dir = tempfile::tempdir().unwrap();
    let driver = plain(dir.path(), &[("env.DSN", "hunter2"), ("limit", "500ms")]);
    let texts = [
        "echo \"hunter2 $DSN\"",
        "echo \"{\\\"$DSN\\\":1}\"",
        "echo \"$DSN\" >&2; echo \"$DSN\"; exit 3",
        "echo \"$DSN\"; sleep 60",
        "yes $DSN",
    ];
    for body in texts {
        script(dir.path(), body);
        let why = text(ensure(driver.as_ref(), Goal::Active).await.unwrap_err());
        assert!(!why.contains("hunter2") && why.contains("queue-eu"), "{why}");
    }
}

#[tokio::test]
async fn a_look_without_a_state_is_unknown_and_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let driver = plain(dir.path(), &[]);
    script(dir.path(), "echo '{}'");
    let fact = driver.observe().await.unwrap();
    assert_eq!(fact.condition, Condition::Unknown);
    assert!(fact.detail["error"].contains("state"));
    script(
        dir.path(),
        r#"test "$1 $ARBITER_ACTION" = "observe observe" && echo '{"state":"dead"}'"#,
    );
    assert_eq!(driver.observe().await.unwrap().condition, Condition::Dead);
}

#[tokio::test]
async fn services_are_never_writable() {
    let dir = tempfile::tempdir().unwrap();
    let services =
        Instance { layer: Layer::Workload, ..instance(dir.path(), "command-workload", &[]) };
    let driver = open(&services, Arc::new(Nobody)).unwrap();
    script(dir.path(), r#"echo '{"evidence":"provider-asserted"}'"#);
    let done = ensure(driver.as_ref(), Goal::Active).await.unwrap();
    assert_eq!((done.facts.condition, done.facts.writable), (Condition::Healthy, false));
    assert_eq!(ensure(driver.as_ref(), Goal::Fenced).await.unwrap().evidence, None);
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let cases = [
        ("command", "queue now", "absolute path"),
        ("command", " ", "is missing"),
        ("limit", "0s", "more than 0"),
        ("limit", "1h", "at most"),
        ("env.ARBITER_TOKEN", "9.9", "no name"),
        ("env.A-B", "1", "no name"),
        ("user", "nobody-of-this-name", "no system user"),
        ("unknown", "1", "is unknown"),
    ];
    for (key, value, what) in cases {
        let wrong = instance(dir.path(), "command", &[(key, value)]);
        let why = open(&wrong, Arc::new(Nobody)).err().map(text).unwrap();
        assert!(why.contains(what), "{key}: {why}");
    }
}
