//! A configuration with any number of faults prints them all, each with file, line, key and remedy.

const GOOD: &str = include_str!("../../../cluster-config/examples/bind.toml");

fn faults(text: &str) -> Vec<String> {
    match arbiter::policy_file::parse(text, "cluster.toml") {
        Ok(_) => Vec::new(),
        Err(faults) => faults.0.iter().map(ToString::to_string).collect(),
    }
}

/// The one fault that replacing `from` by `to` in a good file makes.
fn only_fault(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "the example lacks {from:?}");
    let text = GOOD.replacen(from, to, 1);
    let found = faults(&text);
    assert_eq!(found.len(), 1, "{found:#?}");
    found.into_iter().next().unwrap()
}

#[track_caller]
fn says(fault: &str, words: &[&str]) {
    assert!(fault.starts_with("cluster.toml:"), "{fault}");
    assert!(fault.contains(" — "), "no remedy: {fault}");
    for word in words {
        assert!(fault.contains(word), "{word:?} is not in {fault}");
    }
}

#[test]
fn the_good_file_has_none() {
    assert_eq!(faults(GOOD), Vec::<String>::new());
}

#[test]
fn an_unknown_key_names_the_nearest() {
    let fault = only_fault("initial_active = ", "rp0 = \"9s\"\ninitial_active = ");
    says(&fault, &["groups.default.rp0: unknown key", "did you mean \"rpo\"?"]);
    let line = 1 + GOOD[..GOOD.find("initial_active").unwrap()].matches('\n').count();
    says(&fault, &[&format!("cluster.toml:{line}:")]);
    says(&only_fault("ttl = 5", "tttl = 5"), &["resources.dns.tttl", "did you mean \"ttl\"?"]);
}

#[test]
fn timers_show_the_inequality_with_numbers() {
    let fault = only_fault("initial_active", "lease = \"6s\"\ninitial_active");
    let rule = "r + 2·election_max + 5·rtt + fsync ≤ L − F does not hold";
    says(&fault, &["groups.default.lease", rule, "= 5.02s > 6s − 2s = 4s", "at least 7.02s"]);
    let fault = only_fault("id = \"shop\"", "id = \"shop\"\nheartbeat = \"100ms\"");
    says(&fault, &["cluster.heartbeat", "0.75·100ms = 75ms ≤ 80ms + 20ms = 100ms"]);
    let fault = only_fault("id = \"shop\"", "id = \"shop\"\nelection_max = \"1300ms\"");
    says(&fault, &["cluster.election_max", "100ms < 2·(2·80ms + 60ms + 1ms) + 3·2ms = 448ms"]);
    let fault = only_fault("id = \"shop\"", "id = \"shop\"\ncgroup_kill = false");
    says(&fault, &["groups.default.fence", "2s < 6s"]);
}

#[test]
fn commits_wait_only_where_something_can_be_told_to() {
    let strict = "durability = \"strict\"\ninitial_active";
    assert_eq!(faults(&GOOD.replacen("initial_active", strict, 1)), Vec::<String>::new());
    let both = format!("on_isolation = \"stall\"\n{strict}");
    says(&only_fault("initial_active", &both), &["default.on_isolation", "wait always"]);
    let named = GOOD.replacen("initial_active", strict, 1);
    let named = named.replacen("data_dir =", "synchronous_standby_names = \"x\"\ndata_dir =", 1);
    let found = faults(&named);
    assert_eq!(found.len(), 2, "of the resource, so of each instance: {found:#?}");
    says(&found[0], &["db-eu.synchronous_standby_names", "leave it out"]);
    let redis = include_str!("../../../cluster-config/examples/redis.toml");
    let found = faults(&redis.replacen("initial_active", strict, 1));
    assert_eq!(found.len(), 1, "{found:#?}");
    says(&found[0], &["nothing makes a redis wait", "a group of its own"]);
}

#[test]
fn a_low_rpo_is_refused_for_automatic_only() {
    let fault = only_fault("initial_active", "rpo = \"5s\"\ninitial_active");
    says(&fault, &["groups.default.rpo", "5s < 4s + 2·1s = 6s", "raise rpo to 6s"]);
    let manual = "rpo = \"5s\"\nallow_automatic = false\ninitial_active";
    assert_eq!(faults(&GOOD.replacen("initial_active", manual, 1)), Vec::<String>::new());
}

#[test]
fn automatic_needs_as_many_kinds_of_signal_as_must_agree() {
    let probe = &GOOD[GOOD.find("[groups.default.probes.db-us]").unwrap()..];
    let probe = &probe[..probe.find("\n\n").unwrap()];
    let fault = only_fault(probe, "");
    says(&fault, &["groups.default.probes", "\"us-east\" has agent silence only"]);
    for one in ["signal_kinds_min = 1", "allow_automatic = false"] {
        let text = GOOD.replacen(probe, "", 1);
        let text = text.replacen("initial_active", &format!("{one}\ninitial_active"), 1);
        assert_eq!(faults(&text), Vec::<String>::new());
    }
    let fault = only_fault("initial_active", "signal_kinds_min = 4\ninitial_active");
    says(&fault, &["is 4", "from 1 to 3"]);
}

/// What a provider says of itself is no kind of signal that can count.
#[test]
fn a_third_kind_of_signal_is_alerts_and_never_the_provider() {
    let three = GOOD.replacen("initial_active", "signal_kinds_min = 3\ninitial_active", 1);
    let probe = |region: &str, kind: &str, more: &str| {
        format!(
            "\n[groups.default.probes.{kind}-{region}]\nregion = \"{region}\"\nkind = \"{kind}\"\n\
             target = \"http://10.0.3.9:9093\"\n{more}"
        )
    };
    let found = faults(&three);
    assert_eq!(found.len(), 2, "{found:#?}");
    says(&found[0], &["automatic needs 3 kinds", "has agent silence and health only"]);
    let of = |kind: &str, more: &str| {
        let both = ["eu-west", "us-east"].map(|region| probe(region, kind, more));
        faults(&format!("{three}{}", both.concat()))
    };
    assert_eq!(of("provider-status", "match = \"eu\"\n").len(), 2);
    assert_eq!(of("alertmanager", ""), Vec::<String>::new());
    let one = faults(&format!("{three}{}", probe("eu-west", "alertmanager", "")));
    assert_eq!(one.len(), 1, "{one:#?}");
    says(&one[0], &["\"us-east\" has agent silence and health only"]);
}

#[test]
fn settings_of_a_probe_are_checked_by_its_kind() {
    let tcp = "kind = \"tcp\"\ntarget = \"10.0.1.2:5432\"";
    let as_kind = |kind: &str, more: &str| {
        let to = format!("kind = \"{kind}\"\ntarget = \"http://10.0.3.9\"\n{more}");
        faults(&GOOD.replacen(tcp, &to, 1))
    };
    let found = as_kind("provider-status", "limit = \"20s\"");
    assert!(found.iter().any(|fault| fault.contains("match is missing: a provider-status")));
    let found = as_kind("alertmanager", "services_min = 0\nmatch = \"eu\"\nlimit = \"20s\"");
    for words in ["services_min: \"0\" is no number", "unknown setting of kind alertmanager"] {
        assert!(found.iter().any(|fault| fault.contains(words)), "{words}: {found:#?}");
    }
    assert!(found.iter().any(|fault| fault.contains("limit is 20s, at most 4s")), "{found:#?}");
    let found = as_kind("alertmanager", "bearer_token = \"hunter2\"");
    assert!(found.iter().any(|fault| fault.contains("a secret does not belong")), "{found:#?}");
    assert!(found.iter().all(|fault| !fault.contains("hunter2")), "{found:#?}");
}

#[test]
fn receivers_of_events_are_urls_without_secrets() {
    let with = |keys: &str| faults(&format!("{GOOD}\n[alertmanager]\n{keys}"));
    assert_eq!(
        with("url = \"http://10.0.3.9:9093, http://10.0.3.8:9093/am\""),
        Vec::<String>::new()
    );
    let found = with("url = \"http://me:hunter2@10.0.3.9:9093,10.0.3.8:9093\"");
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(found.iter().all(|fault| fault.contains("alertmanager.url")), "{found:#?}");
    assert!(found.iter().all(|fault| !fault.contains("hunter2")), "{found:#?}");
    let found = with("url = \"http://a\"\nbearer_file = \"/a\"\nbasic_auth_file = \"/b\"");
    assert!(found[0].contains("alertmanager.basic_auth_file: is beside bearer_file"), "{found:#?}");
}

#[test]
fn prices_are_exact_numbers() {
    let with = |keys: &str| {
        arbiter::policy_file::parse(&format!("{GOOD}\n[cost]\n{keys}"), "cluster.toml")
    };
    let cost = with("vcpu_hour = 0.0416\npostgres_vcpus = 8\n").unwrap().cost.unwrap();
    assert_eq!(cost.currency, "EUR");
    assert_eq!(cost.vcpu_hour.unwrap().to_string(), "0.0416");
    assert_eq!(cost.postgres_vcpus.unwrap().to_string(), "8");
    assert_eq!(cost.dns_million, None);
    for wrong in ["-1", "inf", "1e3", "\"0.1\"", "true", "0.0000001"] {
        let found = with(&format!("vcpu_hour = {wrong}\n")).unwrap_err().to_string();
        assert!(found.contains("cost.vcpu_hour: is "), "{wrong}: {found}");
    }
}

#[test]
fn a_failover_does_not_wait_long_for_a_clean_stop() {
    let fault = only_fault("initial_active", "clean_stop_limit = \"1500ms\"\ninitial_active");
    says(&fault, &["groups.default.clean_stop_limit", "is 1.5s", "at most 1s"]);
}

#[test]
fn no_two_groups_share_a_data_directory_on_one_host() {
    let group = &GOOD[GOOD.find("[groups.default]").unwrap()..];
    let group = &group[..group.find("[groups.default.resources.dns]").unwrap()];
    let other = group.replace("groups.default", "groups.other").replace("5432", "5433");
    let found = faults(&format!("{GOOD}\n{other}"));
    assert_eq!(found.len(), 2, "{found:#?}");
    let words =
        ["groups.other.resources.db.instances.db-", "groups.default.resources.db.instances.db-"];
    found.iter().for_each(|fault| says(fault, &words));
    let apart = other.replace("15/main", "15/other");
    assert_eq!(faults(&format!("{GOOD}\n{apart}")), Vec::<String>::new());
}

#[test]
fn voters_stand_apart() {
    let fault = only_fault("region = \"eu-west\"\naddress", "region = \"us-east\"\naddress");
    says(&fault, &["two voters in one failure domain: arbiter-eu and arbiter-us"]);
}

#[test]
fn two_failure_domains_of_one_name_are_one() {
    let to = "[regions.witness]\nfailure_domain = \"eu-west\"";
    let fault = only_fault("[regions.witness]", to);
    says(&fault, &["arbiters.arbiter-witness.region", "in \"eu-west\""]);
}

#[test]
fn node_ids_are_unique() {
    let fault = only_fault("node_id = 3", "node_id = 2");
    says(&fault, &["arbiters.arbiter-witness.node_id", "node id of arbiter-us too"]);
}

#[test]
fn the_only_dns_server_is_not_in_the_active_region() {
    let fault = only_fault("server_region = \"witness\"", "server_region = \"eu-west\"");
    says(&fault, &["resources.dns.server", "the only DNS server is in the active region eu-west"]);
    // Not said, but seen: it has the host of the primary.
    let text = GOOD.replacen("server_region = \"witness\"\n", "", 1);
    let text = text.replacen("server = \"10.0.3.2:53\"", "server = \"10.0.1.2:53\"", 1);
    let found = faults(&text);
    assert_eq!(found.len(), 1, "{found:#?}");
    says(&found[0], &["active region eu-west"]);
    // A second one elsewhere outlives it.
    let two = "server = \"10.0.1.2:53, 10.0.3.2:53\"\nserver_region = \"eu-west, witness\"";
    let text = GOOD.replacen("server = \"10.0.3.2:53\"\nserver_region = \"witness\"", two, 1);
    assert_eq!(faults(&text), Vec::<String>::new());
}

#[test]
fn what_only_this_crate_reads_reaches_no_driver() {
    let cluster = arbiter::policy_file::parse(GOOD, "cluster.toml").unwrap();
    let settings = &cluster.groups["default"].resources["dns"].instances["dns-eu"].settings;
    assert!(settings.contains_key("server") && !settings.contains_key("server_region"));
}

#[test]
fn one_group_needs_one_batch() {
    let second = "\n[groups.default.resources.dns2]\nkind = \"rfc2136\"\nzone = \"other.test.\"\n\
                  name = \"app.other.test.\"\nserver = \"10.0.3.2:53\"\ntsig_key_file = \"/etc/k\"\nvalue.eu-west = \"10.0.1.2\"\n\
                  value.us-east = \"10.0.2.2\"\n\
                  [groups.default.resources.dns2.instances.dns2-eu]\nagent = \"agent-eu\"\n\
                  [groups.default.resources.dns2.instances.dns2-us]\nagent = \"agent-us\"\n";
    let found = faults(&format!("{GOOD}{second}"));
    assert_eq!(found.len(), 1, "{found:#?}");
    says(&found[0], &["example.test. and other.test.: that takes two DNS batches"]);
    let fault = only_fault("name = \"app.example.test.\"", "name = \"app.other.test.\"");
    says(&fault, &["app.other.test. is not in the zone example.test."]);
    // A profile of Traffic Manager is changed alone as well.
    let azure = include_str!("../../../cluster-config/examples/azure.toml");
    let profile = &azure[azure.find("[groups.default.resources.traffic]").unwrap()..];
    let found = faults(&format!("{GOOD}\n{profile}"));
    assert_eq!(found.len(), 1, "{found:#?}");
    says(&found[0], &["groups.default", "that takes two DNS batches"]);
}

#[test]
fn a_profile_of_traffic_manager_needs_what_a_write_needs() {
    let azure = include_str!("../../../cluster-config/examples/azure.toml");
    for key in ["arbiters", "name_servers", "subscription_id", "tenant_id", "value.us-east"] {
        let kept = |line: &&str| !line.starts_with(&format!("{key} = "));
        let lines: Vec<&str> = azure.lines().filter(kept).collect();
        let found = faults(&lines.join("\n"));
        assert!(found.iter().any(|fault| fault.contains(key)), "{key}: {found:#?}");
    }
}

#[test]
fn references_lead_somewhere() {
    let fault = only_fault("initial_active = \"eu-west\"", "initial_active = \"eu-wset\"");
    says(&fault, &["no region \"eu-wset\"", "did you mean \"eu-west\"?"]);
    let fault = only_fault("initial_active = \"eu-west\"", "initial_active = \"witness\"");
    says(&fault, &["is a witness", "name a data region: eu-west, us-east"]);
    let fault = only_fault("agent = \"agent-us\"\naddress", "agent = \"agnet-us\"\naddress");
    says(&fault, &["no agent \"agnet-us\"", "did you mean \"agent-us\"?"]);
    let fault = only_fault("kind = \"postgres\"", "kind = \"postgers\"");
    says(&fault, &["no driver of kind \"postgers\"", "did you mean \"postgres\"?"]);
}

#[test]
fn a_fence_that_nothing_can_prove_is_not_required() {
    let bucket = "\n[groups.default.resources.files]\nkind = \"object-store\"\nfence = \"required\"\n\
        provider = \"s3\"\n[groups.default.resources.files.instances.files-eu]\n\
        agent = \"agent-eu\"\nbucket = \"files-eu\"\npeer_bucket = \"files-us\"\n\
        [groups.default.resources.files.instances.files-us]\n\
        agent = \"agent-us\"\nbucket = \"files-us\"\npeer_bucket = \"files-eu\"\n";
    let found = faults(&format!("{GOOD}{bucket}"));
    let fault = found.iter().find(|fault| fault.contains("resources.files.fence"));
    let fault = fault.unwrap_or_else(|| panic!("{found:#?}"));
    says(fault, &["provider-asserted", "evidence_min is lease-expired", "leave fence out"]);
    let weaker = format!("{GOOD}{bucket}").replacen(
        "initial_active = ",
        "evidence_min = \"provider-asserted\"\ninitial_active = ",
        1,
    );
    assert!(faults(&weaker).iter().all(|fault| !fault.contains("resources.files.fence")));
}

#[test]
fn a_witness_has_no_resources() {
    let text = GOOD.replacen(
        "[agents.agent-us]\nregion = \"us-east\"",
        "[agents.agent-us]\nregion = \"witness\"",
        1,
    );
    let found = faults(&text);
    assert!(found.iter().any(|fault| fault.contains("a witness has no resources")), "{found:#?}");
}

#[test]
fn addresses_are_there_and_can_be_dialled() {
    let fault = only_fault("address = \"10.0.2.2:5432\"\n", "");
    says(&fault, &["instances.db-us.address", "a postgres instance needs an address"]);
    let fault = only_fault("\"10.0.2.1:7400\"", "\"10.0.2.1\"");
    says(&fault, &["arbiters.arbiter-us.address", "is not host:port"]);
    let fault = only_fault("\"10.0.2.1:7400\"", "\"0.0.0.0:7400\"");
    says(&fault, &["cannot be dialled"]);
}

/// TLS is what there is unless the file says otherwise, and says it once.
#[test]
fn plaintext_is_a_choice_that_is_made() {
    let file = |from: &str, to: &str| {
        let text = GOOD.replacen(from, to, 1);
        arbiter::policy_file::parse(&text, "cluster.toml").unwrap()
    };
    assert_eq!(file("", "").tls, None, "as insecure_plaintext says");
    let tls = file("insecure_plaintext = true", "").tls.expect("between hosts");
    assert_eq!(tls.files("arbiter-eu")[1], "/etc/region-arbiter/tls/arbiter-eu.pem");
    let local = GOOD.replacen("insecure_plaintext = true", "", 1);
    let local =
        local.replace("\"10.0.1.1:74", "\"127.0.0.1:74").replace("\"10.0.2.1:74", "\"[::1]:74");
    let local = local.replace("\"10.0.3.1:74", "\"localhost:74");
    let parse = |text: &str| arbiter::policy_file::parse(text, "cluster.toml").unwrap().tls;
    assert_eq!(parse(&local), None, "nobody else reaches loopback");
    let asked = parse(&format!("{local}\n[tls]\nkey = \"/keys/{{name}}.key\"\n"));
    assert_eq!(asked.expect("asked for").files("agent-us")[2], "/keys/agent-us.key");
    let fault = only_fault("[regions.eu-west]", "[tls]\n[regions.eu-west]");
    says(&fault, &["cluster.insecure_plaintext", "there is a table [tls]", "remove one"]);
}

/// The cluster and each name stand in certificates.
#[test]
fn names_in_certificates_are_told_apart() {
    let good = GOOD.replacen("insecure_plaintext = true", "", 1);
    let id = faults(&good.replacen("id = \"shop\"", "id = \"the shop/2\"", 1));
    assert!(id.len() == 1 && id[0].contains("stands in every certificate"), "{id:#?}");
    let same = faults(&good.replace("agent-eu", "arbiter-eu"));
    assert!(
        same.iter().any(|fault| fault.contains("an arbiter is called arbiter-eu")),
        "{same:#?}"
    );
}

#[test]
fn secrets_are_named_by_file() {
    let named = "tsig_key_file = \"/etc/arbiter/tsig.key\"";
    let fault = only_fault(named, &format!("{named}\ntsig_key = \"c2VjcmV0\""));
    says(&fault, &["resources.dns.tsig_key", "a secret does not belong into this file"]);
    assert!(!fault.contains("c2VjcmV0"));
}

/// Any name will do; none, or a table within, is a mistake.
#[test]
fn checks_of_a_new_primary_have_names() {
    let checked = "verify.primary = \"SELECT NOT pg_is_in_recovery()\"";
    let cluster = arbiter::policy_file::parse(GOOD, "cluster.toml").unwrap();
    let settings = &cluster.groups["default"].resources["db"].instances["db-us"].settings;
    assert_eq!(settings["verify.primary"], "SELECT NOT pg_is_in_recovery()");
    let fault = only_fault(checked, "verify = \"SELECT true\"");
    says(&fault, &["resources.db.verify: unknown setting of kind postgres"]);
    let fault = only_fault(checked, "verify.primary = [\"SELECT true\"]");
    says(&fault, &["resources.db.verify.primary", "is a"]);
}

/// Everybody who may ask for status reads a probe's target.
#[test]
fn a_probe_names_no_user() {
    let tcp = "kind = \"tcp\"\ntarget = \"10.0.1.2:5432\"";
    for url in ["http://me:hunter2@10.0.1.2/healthz", "https://hunter2@10.0.1.2"] {
        let fault = only_fault(tcp, &format!("kind = \"http\"\ntarget = \"{url}\""));
        says(&fault, &["probes.db-eu.target", "holds a user or a password"]);
        assert!(!fault.contains("hunter2"), "{fault}");
    }
    let fault = only_fault(tcp, "kind = \"http\"\ntarget = \"ftp://me:hunter2@10.0.1.2\"");
    assert!(!fault.contains("hunter2"), "{fault}");
    let at_sign = "kind = \"http\"\ntarget = \"http://10.0.1.2/user@host\"";
    assert_eq!(faults(&GOOD.replacen(tcp, at_sign, 1)), Vec::<String>::new());
}

#[test]
fn all_faults_come_at_once_in_the_order_of_the_file() {
    let text = GOOD
        .replacen("node_id = 2", "node_id = \"two\"", 1)
        .replacen("kind = \"witness\"", "kind = \"wintess\"", 1)
        .replacen("initial_active", "rpo = \"60\"\ninitial_active", 1)
        .replacen("kind = \"tcp\"", "kind = \"icmp\"", 1);
    let found = arbiter::policy_file::parse(&text, "cluster.toml").unwrap_err();
    let lines: Vec<usize> = found.0.iter().map(|fault| fault.line).collect();
    assert!(lines.is_sorted(), "{found}");
    for word in ["node_id: is a string", "\"wintess\"", "\"60\" is not a duration", "\"icmp\""] {
        assert!(found.to_string().contains(word), "{word} is not in\n{found}");
    }
    assert!(found.to_string().ends_with("faults; nothing was started"));
}

#[test]
fn text_that_is_not_toml_is_a_fault_with_its_line() {
    let text = GOOD.replacen("id = \"shop\"", "id = shop\"", 1);
    let found = faults(&text);
    let line = 1 + GOOD[..GOOD.find("id = \"shop\"").unwrap()].matches('\n').count();
    says(&found[0], &[&format!("cluster.toml:{line}: file: not TOML")]);
    for text in
        ["", "[", "\u{0}", "a = 1\na = 2", "[cluster]\nid = []", "cluster = 1", "groups = 7"]
    {
        assert!(!faults(text).is_empty(), "{text:?}");
    }
}

#[test]
fn no_text_makes_it_panic() {
    // Every prefix, and every byte in turn replaced: what an editor may leave behind.
    for end in (0..GOOD.len()).step_by(7).filter(|end| GOOD.is_char_boundary(*end)) {
        let _ = faults(&GOOD[..end]);
    }
    for at in (0..GOOD.len() - 1).step_by(11) {
        if GOOD.is_char_boundary(at) && GOOD.is_char_boundary(at + 1) {
            let _ = faults(&format!("{}[\"{}", &GOOD[..at], &GOOD[at + 1..]));
        }
    }
}

#[test]
fn a_pooler_must_know_whose_primary_it_leads_to() {
    let pooled = include_str!("../../../cluster-config/examples/pgbouncer.toml");
    assert_eq!(faults(pooled), Vec::<String>::new());
    let pool = "[groups.default.resources.pool]\n";
    let with = |line: &str| pooled.replacen(pool, &format!("{pool}{line}\n"), 1);
    assert_eq!(faults(&with("pools = \"db\"")), Vec::<String>::new());
    let found = faults(&with("pools = \"dbs\""));
    assert_eq!(found.len(), 1, "of the resource, once: {found:#?}");
    says(&found[0], &["resources.pool.pools", "no resource \"dbs\"", "did you mean \"db\"?"]);
    let found = faults(&with("server.witness = \"10.0.3.2:5432\""));
    says(&found[0], &["resources.pool.server.witness", "is a witness"]);
    let found = faults(&with("server.us-east = \"10.0.2.2\""));
    says(&found[0], &["resources.pool.server.us-east", "is not host:port"]);

    let other = "[groups.default.resources.orders]\nkind = \"postgres\"\ndata_dir = \"/d\"\n\
                 [groups.default.resources.orders.instances.orders-eu]\nagent = \"agent-eu\"\n\
                 address = \"10.0.1.2:5433\"\n\
                 [groups.default.resources.orders.instances.orders-us]\nagent = \"agent-us\"\n\
                 address = \"10.0.2.2:5433\"\n";
    let two = |text: &str| faults(&format!("{text}\n{other}"));
    let found = two(pooled);
    assert_eq!(found.len(), 2, "{found:#?}");
    says(&found[0], &["instances.pool-eu.pools", "2 resources", "add pools", "db, orders"]);
    assert_eq!(two(&with("pools = \"orders\"")), Vec::<String>::new());
    let both = "server.eu-west = \"10.0.1.2:5432\"\nserver.us-east = \"10.0.2.2:5432\"";
    assert_eq!(two(&with(both)), Vec::<String>::new());
}

#[test]
fn a_group_that_holds_needs_another_proof_for_automatic() {
    let hold = "on_quorum_loss = \"hold\"\ninitial_active";
    let fault = only_fault("initial_active", hold);
    says(&fault, &["groups.default.on_quorum_loss", "proves nothing", "external_fence.eu-west"]);
    let operators = format!("allow_automatic = false\n{hold}");
    assert_eq!(faults(&GOOD.replacen("initial_active", &operators, 1)), Vec::<String>::new());
    let cut = |region| {
        format!(
            "[groups.default.external_fence.{region}]\nfence_command = \"/bin/off\"\n\
             fence_check = \"/bin/is-off\"\n"
        )
    };
    let text = GOOD.replacen("initial_active", hold, 1);
    let found = faults(&format!("{text}\n{}", cut("eu-west")));
    assert_eq!(found.len(), 1, "{found:#?}");
    says(&found[0], &["external_fence.us-east"]);
    let both = format!("{text}\n{}{}", cut("eu-west"), cut("us-east"));
    assert_eq!(faults(&both), Vec::<String>::new());
}

#[test]
fn the_audit_log_goes_where_something_can_be() {
    let with = |lines: &str| faults(&format!("{GOOD}\n[audit]\n{lines}\n"));
    let good =
        ["file = \"a.jsonl\"", "syslog = \"unix:/dev/log\"", "syslog = \"udp://10.0.3.9:514\""];
    for lines in good {
        assert_eq!(with(lines), Vec::<String>::new());
    }
    for lines in
        ["syslog = \"tcp://10.0.3.9:514\"", "syslog = \"udp://10.0.3.9\"", "syslog = \"unix:log\""]
    {
        let found = with(lines);
        assert_eq!(found.len(), 1, "{found:#?}");
        says(&found[0], &["audit.syslog", "neither udp://host:port nor unix:/PATH"]);
    }
    says(&with("file = \" \"")[0], &["audit.file", "is empty"]);
}
