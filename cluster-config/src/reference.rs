//! `reference.toml`, made from the schema. Knows how keys are shown; never what they mean.

use crate::cost::Cost;
use crate::drill::Drill;
use crate::kinds::{Registry, Setting};
use crate::schema::*;
use crate::section::{Absent, Key};
use crate::tls::Tls;
use std::fmt::Write;

const HEAD: &str = "\
# Every key of a cluster file. Generated from the schema: do not edit.
#
# Keys that begin a line must be there. The others stand behind a `#` with their default, or with an
# example where leaving them out means something else. Names such as eu-west, arbiter-eu, default
# and db are yours to choose. One file is shared by every process of the cluster.
# Durations are text with a unit: \"500ms\", \"8s\", \"15m\", \"1h\".
";

/// The text of `cluster-config/reference.toml`, with the kinds of `registry`.
pub fn reference(registry: &Registry) -> String {
    let mut out = HEAD.to_owned();
    section(&mut out, "cluster", ClusterKeys::about(), &ClusterKeys::keys());
    section(&mut out, "tls", Tls::about(), &Tls::keys());
    section(&mut out, "webhook", WebhookKeys::about(), &WebhookKeys::keys());
    section(&mut out, "alertmanager", Alertmanager::about(), &Alertmanager::keys());
    section(&mut out, "audit", Audit::about(), &Audit::keys());
    section(&mut out, "regions.eu-west", Region::about(), &Region::keys());
    section(&mut out, "arbiters.arbiter-eu", Arbiter::about(), &Arbiter::keys());
    section(&mut out, "agents.agent-eu", Agent::about(), &Agent::keys());
    section(&mut out, "groups.default", Policy::about(), &Policy::keys());
    let resource = "groups.default.resources.db";
    section(&mut out, resource, ResourceKeys::about(), &ResourceKeys::keys());
    let instance = "groups.default.resources.db.instances.db-eu";
    section(&mut out, instance, InstanceKeys::about(), &InstanceKeys::keys());
    section(&mut out, "groups.default.probes.eu-db", ProbeKeys::about(), &ProbeKeys::keys());
    let fence = "groups.default.external_fence.eu-west";
    section(&mut out, fence, ExternalFence::about(), &ExternalFence::keys());
    section(&mut out, "groups.default.drill", Drill::about(), &Drill::keys());
    section(&mut out, "cost", Cost::about(), &Cost::keys());
    kinds(&mut out, registry);
    probes(&mut out, registry);
    out
}

fn comment(out: &mut String, text: &str) {
    for line in text.lines() {
        let _ = writeln!(out, "#{}", line.trim_end());
    }
}

fn section(out: &mut String, header: &str, about: &str, keys: &[Key]) {
    out.push('\n');
    comment(out, about);
    let _ = writeln!(out, "[{header}]");
    for key in keys {
        comment(out, key.doc);
        let notation = match key.notation.as_str() {
            words if words.contains('|') => format!(" One of {words}."),
            _ => String::new(),
        };
        let name = key.name;
        let _ = match &key.absent {
            Absent::Required(example) => {
                let _ = writeln!(out, "# Required.{notation}");
                writeln!(out, "{name} = {example}")
            }
            Absent::Default(value) => {
                let _ = writeln!(out, "# Default: {value}.{notation}");
                writeln!(out, "# {name} = {value}")
            }
            Absent::Unset(example, meaning) => {
                let _ = writeln!(out, "# Left out: {meaning}.{notation}");
                writeln!(out, "# {name} = {example}")
            }
        };
    }
}

fn kinds(out: &mut String, registry: &Registry) {
    out.push_str(
        "\n# Settings of each kind of resource. They may stand at the resource, for all of its\n\
         # instances, or at one instance. Secrets are never among them: name a file instead.\n",
    );
    for kind in &registry.resources {
        let _ = writeln!(
            out,
            "#\n# Kind {:?}: layer {}, control {}, fence {:?} unless said otherwise",
            kind.name,
            kind.layer,
            kind.control,
            kind.fence.as_str()
        );
        settings(out, kind.settings);
    }
}

fn settings(out: &mut String, settings: &[Setting]) {
    for setting in settings {
        let key = setting.key.replace("value.*", "value.eu-west").replace('*', "NAME");
        let need = if setting.required { "Required. " } else { "" };
        let _ = writeln!(out, "#   {key} = {:?}\n#       {need}{}", setting.example, setting.doc);
    }
}

fn probes(out: &mut String, registry: &Registry) {
    out.push_str("\n# Kinds of probe, with their settings. They stand beside its other keys.\n");
    for kind in &registry.probes {
        let (name, signal, doc, target) = (kind.name, kind.signal.as_str(), kind.doc, kind.target);
        let _ =
            writeln!(out, "#\n# Kind {name:?}: signal {signal}. {doc}\n#   target = {target:?}");
        settings(out, kind.settings);
    }
}
