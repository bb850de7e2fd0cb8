//! What a month of the standby costs: amounts of sizes and prices, exact to a millionth. Knows
//! arithmetic and which key names what; never where a number comes from.

use cluster_config::{Cost, Decimal};
use serde::{Serialize, Serializer};
use std::collections::{BTreeMap, BTreeSet};

/// Hours of a month, as cloud providers count them: 365 · 24 / 12.
pub const HOURS: u64 = 730;
/// Key of an instance's details that holds the size of what it keeps, in bytes.
pub const SIZE_BYTES: &str = "size_bytes";
/// Bytes of a GiB.
const GIB: u128 = 1 << 30;

/// Sizes in bytes as agents see them in the standby region, by kind of resource.
pub type Observed = BTreeMap<String, u64>;

/// A month of the standby.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Bill {
    /// The currency of every amount.
    pub currency: String,
    /// One a row of the platform's table, and Redis.
    pub rows: Vec<Row>,
    /// Of all that is known.
    pub total: Amount,
    /// Something is missing: the total is at least so much.
    pub partial: bool,
}

/// One kind of resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// What it is.
    pub item: &'static str,
    /// The cluster has no such thing: there is nothing to pay.
    pub absent: bool,
    /// What it was computed from.
    pub parts: Vec<Part>,
    /// Keys of `[cost]` that are to be added.
    pub missing: Vec<&'static str>,
    /// Of the parts.
    pub amount: Amount,
}

/// A size, its price, and what they make.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Part {
    /// Of what the size is, such as `vCPU`.
    pub unit: &'static str,
    /// How much of it.
    pub size: Number,
    /// Agents saw this size; the file does not say it.
    pub observed: bool,
    /// For each hour of the month.
    pub hourly: bool,
    /// What one costs.
    pub price: Number,
    /// What all of it does.
    pub amount: Amount,
}

/// A decimal number, as a number of JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number(pub Decimal);

/// An amount of money in millionths; shown to the cent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Amount(pub u128);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0.micros as f64 / Decimal::ONE as f64)
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.cents() as f64 / 100.0)
    }
}

impl Amount {
    /// Rounded, half up.
    fn cents(self) -> u128 {
        (self.0 + 5_000) / 10_000
    }
}

impl std::fmt::Display for Amount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let cents = self.cents();
        f.pad(&format!("{}.{:02}", cents / 100, cents % 100))
    }
}

/// One line of a row before it is priced: a size and a price, each with its key.
struct Line {
    unit: &'static str,
    size: (&'static str, Option<Decimal>),
    observed: Option<Decimal>,
    price: (&'static str, Option<Decimal>),
    hourly: bool,
    /// Left out, it is missing; else there is none of it.
    needed: bool,
}

fn line(
    unit: &'static str,
    size: (&'static str, Option<Decimal>),
    price: (&'static str, Option<Decimal>),
) -> Line {
    Line { unit, size, observed: None, price, hourly: false, needed: true }
}

impl Line {
    fn hourly(self) -> Self {
        Self { hourly: true, ..self }
    }

    fn optional(self) -> Self {
        Self { needed: false, ..self }
    }

    fn or(self, observed: Option<Decimal>) -> Self {
        Self { observed, ..self }
    }

    /// Put it into `row`.
    fn price(self, row: &mut Row) {
        let Some(size) = self.size.1.or(self.observed) else {
            row.missing.extend(self.needed.then_some(self.size.0));
            return;
        };
        if size.micros == 0 {
            return;
        }
        let Some(price) = self.price.1 else {
            row.missing.push(self.price.0);
            return;
        };
        let hours = if self.hourly { u128::from(HOURS) } else { 1 };
        let product = u128::from(size.micros) * u128::from(price.micros) * hours;
        let amount = Amount(product / u128::from(Decimal::ONE));
        row.amount.0 += amount.0;
        row.parts.push(Part {
            unit: self.unit,
            size: Number(size),
            observed: self.size.1.is_none(),
            hourly: self.hourly,
            price: Number(price),
            amount,
        });
    }
}

/// The bill: `kinds` are the kinds of resource that the cluster has.
pub fn bill(cost: &Cost, kinds: &BTreeSet<&str>, observed: &Observed) -> Bill {
    let gib = |kind: &str| observed.get(kind).map(|bytes| gib(*bytes));
    let rows = vec![
        kubernetes(cost),
        row("PostgreSQL replica, in full", "postgres", kinds, postgres(cost, gib("postgres"))),
        row("object storage replica", "object-store", kinds, objects(cost, gib("object-store"))),
        row("DNS queries", "", kinds, dns(cost)),
        row("Redis replica", "redis", kinds, redis(cost, gib("redis"))),
    ];
    let total = Amount(rows.iter().map(|row| row.amount.0).sum());
    let partial = rows.iter().any(|row| !row.missing.is_empty());
    Bill { currency: cost.currency.clone(), rows, total, partial }
}

/// To a millionth, rounded up: no size becomes nothing.
fn gib(bytes: u64) -> Decimal {
    let micros = (u128::from(bytes) * u128::from(Decimal::ONE)).div_ceil(GIB);
    Decimal { micros: u64::try_from(micros).unwrap_or(u64::MAX) }
}

/// A row that is absent where the cluster has no resource of `kind` and the file no size of it.
fn row(item: &'static str, kind: &str, kinds: &BTreeSet<&str>, lines: Vec<Line>) -> Row {
    let sized = lines.iter().any(|line| line.size.1.is_some());
    let absent = !kind.is_empty() && !kinds.contains(kind) && !sized;
    let mut row =
        Row { item, absent, parts: Vec::new(), missing: Vec::new(), amount: Amount::default() };
    if !absent {
        lines.into_iter().for_each(|line| line.price(&mut row));
        row.missing.dedup();
    }
    row
}

fn kubernetes(cost: &Cost) -> Row {
    let one = Some(Decimal { micros: Decimal::ONE });
    let fee = line(
        "cluster",
        ("", one.filter(|_| cost.kubernetes_hour.is_some())),
        ("kubernetes_hour", cost.kubernetes_hour),
    );
    let lines = vec![
        cpu("kubernetes_vcpus", cost.kubernetes_vcpus, cost),
        memory("kubernetes_memory_gib", cost.kubernetes_memory_gib, cost),
        disk("kubernetes_disk_gib", cost.kubernetes_disk_gib, cost).optional(),
        fee.hourly().optional(),
    ];
    row("Kubernetes at its minimum", "", &BTreeSet::new(), lines)
}

fn postgres(cost: &Cost, disk_gib: Option<Decimal>) -> Vec<Line> {
    vec![
        cpu("postgres_vcpus", cost.postgres_vcpus, cost),
        memory("postgres_memory_gib", cost.postgres_memory_gib, cost),
        disk("postgres_disk_gib", cost.postgres_disk_gib, cost).or(disk_gib),
        transfer("postgres_transfer_gib", cost.postgres_transfer_gib, cost),
    ]
}

fn objects(cost: &Cost, stored_gib: Option<Decimal>) -> Vec<Line> {
    let price = ("object_gib_month", cost.object_gib_month);
    vec![
        line("GiB", ("object_gib", cost.object_gib), price).or(stored_gib),
        transfer("object_transfer_gib", cost.object_transfer_gib, cost),
    ]
}

fn redis(cost: &Cost, memory_gib: Option<Decimal>) -> Vec<Line> {
    vec![
        cpu("redis_vcpus", cost.redis_vcpus, cost),
        memory("redis_memory_gib", cost.redis_memory_gib, cost).or(memory_gib),
        transfer("redis_transfer_gib", cost.redis_transfer_gib, cost),
    ]
}

fn dns(cost: &Cost) -> Vec<Line> {
    let queries = ("dns_million_queries", cost.dns_million_queries);
    vec![
        line("million queries", ("dns_million", cost.dns_million), queries),
        line("zone", ("dns_zones", cost.dns_zones), ("dns_zone_month", cost.dns_zone_month)),
    ]
}

fn cpu(key: &'static str, size: Option<Decimal>, cost: &Cost) -> Line {
    line("vCPU", (key, size), ("vcpu_hour", cost.vcpu_hour)).hourly()
}

fn memory(key: &'static str, size: Option<Decimal>, cost: &Cost) -> Line {
    line("GiB memory", (key, size), ("memory_gib_hour", cost.memory_gib_hour)).hourly()
}

fn disk(key: &'static str, size: Option<Decimal>, cost: &Cost) -> Line {
    line("GiB disk", (key, size), ("disk_gib_month", cost.disk_gib_month))
}

fn transfer(key: &'static str, size: Option<Decimal>, cost: &Cost) -> Line {
    line("GiB sent", (key, size), ("transfer_gib", cost.transfer_gib))
}

#[cfg(test)]
mod tests;
