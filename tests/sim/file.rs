//! A scenario as a file that people read and write: one thing a line, in words. Knows the lines;
//! `tests/scenarios/README.md` says them to people.

use super::clock::Nanos;
use super::fault::Fault;
use super::raft::ARBITERS;
use super::scenario::{At, Move, Scenario};
use super::shape::{Cluster, GroupShape, Shape};
use super::text::{parse, parse_variant, seconds, time, words};
use super::topology::Topology;
use super::wish::Wish;
use super::{Options, Outcome};
use arbiter_core::GroupId;
use arbiter_core::plant::Plant;
use std::fmt::Write as _;

/// Lucks that a replay tries from the file's own on.
pub const LUCKS: u64 = 8;

/// What a file holds.
#[derive(Clone, Debug, PartialEq)]
pub struct File {
    /// What it shows, for people.
    pub about: Vec<String>,
    /// The bug that is planted; none: the core as it is.
    pub plant: Option<Plant>,
    /// How the words of what breaks begin; none: nothing may break.
    pub breaks: Option<String>,
    /// What happens.
    pub scenario: Scenario,
}

impl File {
    /// As text.
    pub fn text(&self) -> String {
        let mut out = String::new();
        let mut line = |words: String| {
            out.push_str(words.trim_end());
            out.push('\n');
        };
        self.about.iter().for_each(|about| line(format!("# {about}")));
        if let Some(plant) = self.plant {
            line(format!("plant {plant:?}"));
        }
        line(match &self.breaks {
            Some(what) => format!("expect breaks {what}"),
            None => "expect holds".to_owned(),
        });
        let Scenario { shape, luck, faults, wishes, moves, heal, until, .. } = &self.scenario;
        line(format!("luck {luck}"));
        line(format!("cluster {}", words(&shape.cluster)));
        shape.groups.iter().for_each(|group| line(format!("group {}", words(group))));
        let faults = faults.iter().map(|one| (one.at, format!("fault {}", words(&one.what))));
        let wishes = wishes.iter().map(|one| {
            let (group, wish) = &one.what;
            (one.at, format!("wish {group} {}", words(wish)))
        });
        let mut both: Vec<(Nanos, String)> = faults.chain(wishes).collect();
        both.sort_by_key(|(at, _)| *at);
        both.into_iter().for_each(|(at, what)| line(format!("at {} {what}", seconds(at))));
        line(format!("heal {}", seconds(*heal)));
        if let Some(until) = until {
            line(format!("until {}", seconds(*until)));
        }
        for Move { group, cut } in moves {
            line(format!("then {} {group}", if *cut { "cut" } else { "switchover" }));
        }
        out
    }

    /// From text.
    ///
    /// # Errors
    /// The first line that says nothing known, with what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut made = Draft::default();
        for (number, line) in text.lines().enumerate() {
            made.line(line.trim()).map_err(|fault| format!("line {}: {fault}", number + 1))?;
        }
        made.whole()
    }
}

/// A file of which not all lines are read.
#[derive(Default)]
struct Draft {
    about: Vec<String>,
    plant: Option<Plant>,
    expects: Option<Option<String>>,
    luck: u64,
    cluster: Option<Cluster>,
    groups: Vec<GroupShape>,
    faults: Vec<At<Fault>>,
    wishes: Vec<At<(GroupId, Wish)>>,
    moves: Vec<Move>,
    heal: Option<Nanos>,
    until: Option<Nanos>,
}

impl Draft {
    fn line(&mut self, line: &str) -> Result<(), String> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "" => {}
            "#" => self.about.push(rest.to_owned()),
            "plant" => self.plant = Some(planted(rest)?),
            "expect" if rest == "holds" => self.expects = Some(None),
            "expect" => {
                let what = rest.strip_prefix("breaks ").ok_or("expect holds, or breaks WORDS")?;
                self.expects = Some(Some(what.to_owned()));
            }
            "luck" => self.luck = rest.parse().map_err(|_| format!("{rest:?} is no number"))?,
            "cluster" => self.cluster = Some(parse(rest)?),
            "group" => self.groups.push(parse(rest)?),
            "at" => self.at(rest)?,
            "heal" => self.heal = Some(time(rest)?),
            "until" => self.until = Some(time(rest)?),
            "then" => {
                let (how, group) = rest.split_once(' ').ok_or("then cut GROUP, or switchover")?;
                let cut = match how {
                    "cut" => true,
                    "switchover" => false,
                    _ => return Err(format!("{how:?} is neither cut nor switchover")),
                };
                self.moves.push(Move { group: group.into(), cut });
            }
            _ => return Err(format!("{word:?} begins no line; see tests/scenarios/README.md")),
        }
        Ok(())
    }

    fn at(&mut self, rest: &str) -> Result<(), String> {
        let mut words = rest.splitn(3, ' ');
        let (at, kind) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let (at, rest) = (time(at)?, words.next().unwrap_or_default());
        match kind {
            "fault" => self.faults.push(At { at, what: parse_variant(rest)? }),
            "wish" => {
                let (group, wish) = rest.split_once(' ').ok_or("wish GROUP WISH")?;
                self.wishes.push(At { at, what: (group.into(), parse_variant(wish)?) });
            }
            _ => return Err(format!("{kind:?} is neither fault nor wish")),
        }
        Ok(())
    }

    fn whole(self) -> Result<File, String> {
        let cluster = self.cluster.ok_or("no line says the cluster")?;
        let breaks = self.expects.ok_or("no line says what to expect")?;
        if !matches!(cluster.hosts, 2 | 4) || self.groups.is_empty() {
            return Err("a cluster has 2 or 4 hosts, and a group".to_owned());
        }
        let shape = Shape { cluster, groups: self.groups };
        let topology = Topology::of_shape(&shape);
        let hosts = topology.agents.len();
        let nodes = topology.region_of.len();
        for one in &self.faults {
            let (host, arbiter, node) = one.what.names();
            if host >= hosts || arbiter >= ARBITERS || node >= nodes {
                return Err(format!("{:?} names what this cluster has not", one.what));
            }
        }
        let known = |group: &GroupId| topology.spec.groups.contains_key(group);
        let mut named = self.wishes.iter().map(|one| &one.what.0);
        if let Some(group) = named.find(|group| !known(group)) {
            return Err(format!("there is no group {group}"));
        }
        let scenario = Scenario {
            shape,
            luck: self.luck,
            faults: self.faults,
            wishes: self.wishes,
            moves: self.moves,
            people: None,
            heal: self.heal.ok_or("no line says when all is mended")?,
            until: self.until,
        };
        Ok(File { about: self.about, plant: self.plant, breaks, scenario })
    }
}

fn planted(name: &str) -> Result<Plant, String> {
    let known = Plant::ALL.into_iter().find(|bug| format!("{bug:?}") == name);
    known.ok_or_else(|| format!("no bug is named {name}; sim --plant list names them"))
}

impl File {
    /// The run by the first luck that ends as expected, else by the file's own, with its
    /// transcript.
    pub fn first(&self) -> (Outcome, u64) {
        let options = Options { plant: self.plant, only: self.only(), ..Options::default() };
        let run = |luck, trace| {
            let options = Options { trace, ..options };
            super::replay(Scenario { luck, ..self.scenario.clone() }, options)
        };
        let lucks = (0..LUCKS).map(|more| self.scenario.luck.wrapping_add(more));
        let found = lucks
            .into_iter()
            .find(|luck| run(*luck, false).broken.is_some() == self.breaks.is_some());
        let luck = found.unwrap_or(self.scenario.luck);
        (run(luck, true), luck)
    }

    /// Words stay as long as the process.
    fn only(&self) -> &'static str {
        self.breaks.clone().unwrap_or_default().leak()
    }

    /// Replay it. What breaks must do so by some luck of a few, so that a file outlives a change of
    /// what is drawn; what holds must hold by each.
    ///
    /// # Errors
    /// How it ended instead.
    pub fn replay(&self) -> Result<(), String> {
        let options = Options { plant: self.plant, only: self.only(), ..Options::default() };
        let ends = (0..LUCKS).map(|more| {
            let luck = self.scenario.luck.wrapping_add(more);
            super::replay(Scenario { luck, ..self.scenario.clone() }, options).broken
        });
        let mut ends = ends;
        match (&self.breaks, ends.find_map(|end| end)) {
            (None, None) | (Some(_), Some(_)) => Ok(()),
            (None, Some(broken)) => Err(format!("it breaks: {broken}")),
            (Some(what), None) => Err(format!("nothing breaks {what:?} by {LUCKS} lucks")),
        }
    }
}

/// The words by which what broke is known: the invariant, without what is so of this run alone.
pub fn code(broken: &str) -> String {
    let mut out = String::new();
    let (code, _) = broken.split_once(':').unwrap_or((broken, ""));
    let _ = write!(out, "{code}:");
    out
}
