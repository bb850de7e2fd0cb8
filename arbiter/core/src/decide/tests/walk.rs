//! A random walk: whatever happens, no entry breaks an invariant (`apply` panics here on a breach),
//! the leader comes to rest, and once everything is well again a switchover goes through.

use crate::testing::*;
use crate::*;

/// Seeds walked; each is replayed by its number.
const SEEDS: u64 = 40;
/// Things that happen in one walk.
const STEPS_MAX: usize = 60;

/// SplitMix64 (Steele, Lea and Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn region(&mut self) -> &'static str {
        if self.below(2) == 0 { EU } else { US }
    }

    fn instance(&mut self) -> InstanceId {
        let kinds = ["db", "bucket", "web", "dns", "pool"];
        let kind = kinds[self.below(5) as usize];
        format!("{kind}-{}", self.region()).into()
    }
}

fn request(world: &World, random: &mut Random) -> OpenRequest {
    let kind = if random.below(2) == 0 { PlanKind::Switchover } else { PlanKind::Failover };
    OpenRequest {
        immediate: random.below(4) == 0,
        accept_loss: random.below(2) == 0,
        overrides: std::collections::BTreeSet::new(),
        ..world.request(kind)
    }
}

/// An operator does something; refusals are answers too.
fn operate(world: &mut World, random: &mut Random) {
    let epoch = world.group().epoch();
    let plan = world.group().plan.as_ref().map(|plan| plan.id);
    let group = group();
    let command = match (random.below(6), plan) {
        (0, _) => {
            let modes = [Mode::Manual, Mode::Automatic, Mode::Automatic, Mode::Observe];
            let mode = modes[random.below(4) as usize];
            Command::SetMode { group, mode, expected_epoch: epoch }
        }
        (1, Some(plan)) => Command::AbortPlan { group, plan, expected_epoch: epoch, took: ms(1) },
        (2, Some(plan)) => {
            let accept_loss = random.below(2) == 0;
            Command::ResumePlan { group, plan, expected_epoch: epoch, accept_loss }
        }
        (3, Some(plan)) => {
            let id = random.instance();
            match attest(&world.state, &world.view, &group, plan, &id, world.now) {
                Ok(command) => command,
                Err(_) => return,
            }
        }
        (4, _) => Command::Arm { group, armed: random.below(3) > 0 },
        _ => {
            let request = request(world, random);
            match supersede(&world.state, &world.view, world.now, &request) {
                Ok(command) => command,
                Err(_) => return,
            }
        }
    };
    let _ = world.operator(command);
}

fn happen(world: &mut World, random: &mut Random) {
    let region = random.region();
    match random.below(10) {
        0 => world.cut(region),
        1 | 2 => world.heal(region),
        3 => world.elect(),
        4 => {
            let id = random.instance();
            world.agent(region).stubborn.insert(id);
        }
        5 => world.agent(region).stubborn.clear(),
        6 => {
            let id = random.instance();
            let agent = world.agent(region);
            if !agent.refusing.remove(&id) {
                agent.refusing.insert(id);
            }
        }
        7 => {
            let agent = world.agent(region);
            agent.life.0 += 1000;
            agent.arming = None;
        }
        8 => {
            world.link_cut = !world.link_cut;
            world.written += 100;
        }
        _ => operate(world, random),
    }
    let time = 250 + random.below(40) * 250;
    world.run(ms(time));
    if random.below(2) == 0 {
        operate(world, random);
    }
}

/// Everything is well: what is open ends, and a switchover goes through.
fn recover(world: &mut World, seed: u64) {
    world.link_cut = false;
    for region in [EU, US] {
        world.heal(region);
        world.agent(region).stubborn.clear();
        world.agent(region).refusing.clear();
    }
    for _ in 0..10 {
        world.run(ms(20_000));
        let Some(plan) = &world.group().plan else { break };
        assert!(plan.halt.is_some(), "seed {seed}: {plan:#?}");
        let (group, plan, expected_epoch) = (group(), plan.id, world.group().epoch());
        let resume = Command::ResumePlan { group, plan, expected_epoch, accept_loss: true };
        world.operator(resume).unwrap_or_else(|refused| panic!("seed {seed}: {refused}"));
    }
    assert!(world.group().plan.is_none(), "seed {seed}: {:#?}", world.group().plan);
    world.operator(Command::Arm { group: group(), armed: true }).unwrap();
    world.run(ms(20_000));
    let (group, expected_epoch) = (group(), world.group().epoch());
    let mode = Command::SetMode { group, mode: Mode::Manual, expected_epoch };
    world.operator(mode).unwrap_or_else(|refused| panic!("seed {seed}: {refused}"));
    world.run(ms(2000));
    world
        .open(&world.request(PlanKind::Switchover))
        .unwrap_or_else(|reasons| panic!("seed {seed}: {reasons:#?}"));
    world.run(ms(5000));
    assert_eq!(world.last_plan().end, Some(PlanEnd::Completed), "seed {seed}");
}

#[test]
fn whatever_happens_no_invariant_breaks_and_all_is_well_after() {
    let mut epochs = 0;
    for seed in 0..SEEDS {
        let mut random = Random(seed);
        // Clients come through poolers in every other one.
        let spec = if seed % 2 == 0 { spec() } else { super::pooled::pooled() };
        let mut world = World::with(spec);
        world.enter(Mode::Automatic);
        for _ in 0..STEPS_MAX {
            happen(&mut world, &mut random);
        }
        recover(&mut world, seed);
        epochs += world.group().epoch().0;
    }
    assert!(epochs > 2 * SEEDS, "too little happened: {epochs} epochs");
}
