//! Looks from a vantage point: each told as it ends, none held up by a server that never answers.

use super::bind::Bind;
use arbiter::probes::{Lookout, Round};
use arbiter_core::{ClusterSpec, Layer, ProbeSpec, RegionId, SignalKind};
use std::collections::BTreeMap;
use std::net::{TcpListener, UdpSocket};
use std::time::Duration;

/// Takes questions over UDP and connections over TCP, and never answers.
struct BlackHole {
    udp: UdpSocket,
    tcp: TcpListener,
}

impl BlackHole {
    fn new() -> Self {
        loop {
            let tcp = TcpListener::bind("127.0.0.1:0").expect("a port");
            if let Ok(udp) = UdpSocket::bind(tcp.local_addr().expect("an address")) {
                udp.set_nonblocking(true).expect("can be");
                return Self { udp, tcp };
            }
        }
    }

    fn server(&self) -> String {
        self.tcp.local_addr().expect("an address").to_string()
    }

    /// Questions since the last call.
    fn asked(&self) -> u32 {
        let mut buffer = [0; 512];
        let mut count = 0;
        while self.udp.recv(&mut buffer).is_ok() {
            count += 1;
        }
        count
    }
}

/// A cluster with one group: a name at `servers`, and a probe of `target`.
fn cluster(servers: &[&str], record_type: &str, eu: &str, target: &str) -> ClusterSpec {
    let file = include_str!("../../../cluster-config/examples/bind.toml");
    let file = arbiter::policy_file::parse(file, "bind.toml").expect("whole");
    let mut spec = arbiter::policy_file::to_spec(&file);
    let group = spec.groups.get_mut(&"default".into()).expect("there");
    group.instances.retain(|_, instance| instance.layer == Layer::Traffic);
    let settings = [
        ("zone", "example.test."),
        ("name", "app.example.test."),
        ("server", &servers.join(",")),
        ("record_type", record_type),
        ("value.eu", eu),
    ];
    for instance in group.instances.values_mut() {
        instance.settings = settings.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    }
    let probe = ProbeSpec {
        region: "eu".into(),
        kind: "tcp".into(),
        signal: SignalKind::Health,
        target: target.to_owned(),
        limit: Duration::from_secs(30),
        settings: BTreeMap::new(),
    };
    group.probes = BTreeMap::from([("eu-db".to_owned(), probe)]);
    spec
}

fn seen(round: &Round) -> (Vec<(&str, Option<bool>)>, usize) {
    let probes = round.probes.iter().map(|(_, name, seen)| (name.as_str(), seen.up)).collect();
    (probes, round.services.len())
}

#[tokio::test]
async fn a_server_that_never_answers_holds_up_no_probe_and_is_asked_once() {
    let (hole, bind) = (BlackHole::new(), Bind::start("app 60 IN A 192.0.2.1"));
    let listening = TcpListener::bind("127.0.0.1:0").expect("a port");
    let target = listening.local_addr().expect("an address").to_string();
    let spec = cluster(&[&hole.server(), &bind.server()], "A", "192.0.2.1", &target);
    let mut lookout = Lookout::default();
    lookout.begin(&spec);
    let first = lookout.found().await;
    assert_eq!(seen(&first), (vec![("eu-db", Some(true))], 0), "while the name is asked for");
    assert!(hole.asked() > 0, "it is first in the list");

    // The next look at the probe begins, and ends, while the one at the name goes on.
    drop(listening);
    lookout.begin(&spec);
    let second = lookout.found().await;
    assert_eq!(seen(&second), (vec![("eu-db", Some(false))], 0));
    let third = lookout.found().await;
    let (group, service) = &third.services[0];
    assert_eq!((group.as_str(), service.region.clone()), ("default", Some(RegionId::from("eu"))));

    hole.asked();
    lookout.begin(&spec);
    let mut named = 0;
    while named == 0 {
        let round = lookout.found().await;
        named = round.services.len();
    }
    assert_eq!(hole.asked(), 0, "the one that answered is asked first");
}

#[tokio::test]
async fn a_look_at_a_name_ends_though_nobody_answers() {
    let holes = [BlackHole::new(), BlackHole::new(), BlackHole::new()];
    let servers: Vec<String> = holes.iter().map(BlackHole::server).collect();
    let servers: Vec<&str> = servers.iter().map(String::as_str).collect();
    let mut lookout = Lookout::default();
    let mut spec = cluster(&servers, "A", "192.0.2.1", "127.0.0.1:1");
    spec.groups.values_mut().for_each(|group| group.probes.clear());
    lookout.begin(&spec);
    let round = lookout.found().await;
    let (_, service) = &round.services[0];
    assert!(!service.reached && service.region.is_none());
    assert!(service.detail.contains("not followed within 4s"), "{}", service.detail);
}

/// The target's zone is another's: BIND refuses to answer for it, and this host's resolver does.
#[tokio::test]
async fn an_alias_that_leads_out_of_the_zone_is_followed() {
    let bind = Bind::start("app 60 IN CNAME localhost.\nother 60 IN CNAME db.invalid.");
    let server = bind.server();
    let spec = cluster(&[&server], "CNAME", "localhost", "127.0.0.1:1");
    let looked = look_at_name(&spec).await;
    assert_eq!(looked.region, Some(RegionId::from("eu")), "{}", looked.detail);

    let mut spec = cluster(&[&server], "CNAME", "db.invalid", "127.0.0.1:1");
    for group in spec.groups.values_mut() {
        for instance in group.instances.values_mut() {
            instance.settings.insert("name".to_owned(), "other.example.test.".to_owned());
        }
    }
    let looked = look_at_name(&spec).await;
    assert_eq!(looked.region, None);
    assert!(looked.detail.contains("this host's resolver does not know db.invalid."), "{looked:?}");
}

async fn look_at_name(spec: &ClusterSpec) -> arbiter_core::ServiceSeen {
    let mut lookout = Lookout::default();
    lookout.begin(spec);
    loop {
        if let Some((_, seen)) = lookout.found().await.services.into_iter().next() {
            return seen;
        }
    }
}
