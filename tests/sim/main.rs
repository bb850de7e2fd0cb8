//! `sim`: runs seeds of the simulator, replays or shrinks one, plays scenario files.
//!
//! Exit 0: nothing was broken (or what was planted was found). 1: something was. 2: bad arguments.

use arbiter_core::plant::Plant;
use arbiter_tests::sim::coverage::{Counts, add};
use arbiter_tests::sim::file::File;
use arbiter_tests::sim::shrink::shrink;
use arbiter_tests::sim::table::{self, Cells};
use arbiter_tests::sim::{Options, many, product, replay, run};
use std::collections::BTreeMap;
use std::process::ExitCode;

const USAGE: &str = "usage: sim [--seeds N | --steps N] [--first S] [--jobs J] [--plant NAME|list]
           [--only WORDS] [--trace] [--beyond PPM]
       sim --shrink --first S [--plant NAME] [--only WORDS] [--beyond PPM]
       sim --scenario FILE [--trace]
       sim --product [--only WORDS] [--trace]
--steps N goes on from seed to seed until N steps are done; --first S goes on from there.
--beyond PPM has clocks deviate by so many parts of a million; ρ allows 5000.";

/// What is asked for.
struct Asked {
    seeds: Option<u64>,
    steps: Option<u64>,
    first: u64,
    jobs: u64,
    what: What,
    options: Options,
}

enum What {
    Seeds,
    Product,
    Shrink,
    Scenario(String),
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.windows(2).any(|pair| pair == ["--plant", "list"]) {
        Plant::ALL.iter().for_each(|bug| println!("{bug:?}"));
        return ExitCode::SUCCESS;
    }
    let asked = match parse(&args) {
        Ok(asked) => asked,
        Err(arg) => {
            eprintln!("{arg}: {USAGE}");
            return ExitCode::from(2);
        }
    };
    match &asked.what {
        What::Seeds => go(&asked),
        What::Product => whole_product(asked.options),
        What::Shrink => shrunk(&asked),
        What::Scenario(path) => scenario(path, asked.options.trace),
    }
}

fn parse(args: &[String]) -> Result<Asked, String> {
    let options = Options::default();
    let (what, jobs) = (What::Seeds, 1);
    let mut asked = Asked { seeds: None, steps: None, first: 1, jobs, what, options };
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let mut word = || args.next().cloned().ok_or_else(|| arg.clone());
        let number = |text: String| text.parse::<u64>().map_err(|_| format!("{arg} {text}"));
        let options = &mut asked.options;
        match arg.as_str() {
            "--seeds" => asked.seeds = Some(number(word()?)?),
            "--steps" => asked.steps = Some(number(word()?)?),
            "--first" => asked.first = number(word()?)?,
            "--jobs" => asked.jobs = number(word()?)?.clamp(1, 64),
            "--beyond" => options.beyond = Some(number(word()?)?.min(500_000) as i64),
            "--product" => asked.what = What::Product,
            "--shrink" => asked.what = What::Shrink,
            "--scenario" => asked.what = What::Scenario(word()?),
            "--trace" => options.trace = true,
            // A process of its own ends soon; the words may stay as long.
            "--only" => options.only = word()?.leak(),
            "--plant" => {
                let name = word()?;
                let bug = Plant::ALL.into_iter().find(|bug| format!("{bug:?}") == name);
                options.plant = Some(bug.ok_or(name)?);
            }
            _ => return Err(arg.clone()),
        }
    }
    Ok(asked)
}

/// Every case whose words have those of `--only`, and how each ended.
fn whole_product(options: Options) -> ExitCode {
    let (mut ended, mut broken) = (BTreeMap::new(), 0);
    let mut cells = Cells::new();
    for case in product::cases().filter(|case| case.to_string().contains(options.only)) {
        let played = product::play(case, options.trace);
        played.trace.iter().for_each(|line| println!("{line}"));
        let letter = played.ending.as_ref().map_or('!', |ending| ending.letter(case.row));
        let expected = product::expected(case);
        if !expected.contains(letter) {
            broken += 1;
            println!("{case}: {letter}, not {expected:?}: {:?}", played.ending);
        }
        table::add(&mut cells, played.cells);
        ended.insert(case, letter);
    }
    print!("{}", product::table(|case| ended.get(&case).copied().unwrap_or('.')));
    print!("{}", table::text(&cells));
    println!("{} cases, {broken} not as expected", ended.len());
    if broken == 0 { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

/// The least of what seed `first` breaks, as a file on standard output.
fn shrunk(asked: &Asked) -> ExitCode {
    let outcome = run(asked.first, asked.options);
    let Some(what) = &outcome.broken else {
        eprintln!("seed {} breaks nothing", asked.first);
        return ExitCode::from(1);
    };
    eprintln!("seed {}: {what}", asked.first);
    let Some(mut file) = shrink(&outcome, asked.options, &mut |line| eprintln!("{line}")) else {
        return ExitCode::from(1);
    };
    file.about = vec![format!("Shrunk from seed {}.", asked.first)];
    let options = Options { trace: true, ..asked.options };
    replay(file.scenario.clone(), options).trace.iter().for_each(|line| eprintln!("{line}"));
    print!("{}", file.text());
    ExitCode::SUCCESS
}

/// A file, replayed.
fn scenario(path: &str, trace: bool) -> ExitCode {
    let read = std::fs::read_to_string(path).map_err(|fault| fault.to_string());
    let file = match read.and_then(|text| File::parse(&text)) {
        Ok(file) => file,
        Err(fault) => {
            eprintln!("{path}: {fault}");
            return ExitCode::from(2);
        }
    };
    if trace {
        let (outcome, luck) = file.first();
        outcome.trace.iter().for_each(|line| println!("{line}"));
        println!("by luck {luck}: {}", outcome.broken.as_deref().unwrap_or("nothing broke"));
    }
    match file.replay() {
        Ok(()) => {
            println!("{path}: as expected");
            ExitCode::SUCCESS
        }
        Err(how) => {
            println!("{path}: {how}");
            ExitCode::from(1)
        }
    }
}

fn go(asked: &Asked) -> ExitCode {
    let options = asked.options;
    let seeds = asked.seeds.unwrap_or(if asked.steps.is_some() { u64::MAX } else { 500 });
    let planted = options.plant.is_some() || options.beyond.is_some();
    let mut counts = Counts::new();
    let mut say = |line: many::Line| match line {
        many::Line::Trace(line) | many::Line::Progress(line) => println!("{line}"),
        many::Line::Broken(seed, what) => {
            println!("seed {seed}: {what}");
            println!("replay: ./tests/run sim --seeds 1 --first {seed} --trace");
            println!("shrink: ./tests/run sim --shrink --first {seed} > tests/scenarios/NAME");
        }
    };
    let limits = many::Limits { first: asked.first, seeds, steps: asked.steps, jobs: asked.jobs };
    let done = many::many(limits, options, planted, &mut say);
    add(&mut counts, done.counts);
    counts.iter().for_each(|(what, times)| println!("{times:>9} {what}"));
    print!("{}", table::text(&done.cells));
    let (rate, broken) = (done.steps as f64 / done.took.as_secs_f64(), done.broken);
    println!(
        "{} seeds, {} steps, {} epochs, {broken} broken, in {:.1} s: {rate:.0} steps a second",
        done.seeds,
        done.steps,
        done.epochs,
        done.took.as_secs_f64()
    );
    if (broken > 0) == planted { ExitCode::SUCCESS } else { ExitCode::from(1) }
}
